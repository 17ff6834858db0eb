/* The agent's side of the protocol, pure: bytes from the core in, tasks to start and bytes
 * for the core out. Called by port.c (bytes) and agent.c (tasks); driven without a port by
 * the tests and the fuzzer.
 *
 * A task: QUEUED -> RUNNING -> its result is held -> acknowledged. At most
 * ES_SESSION_RUNNING_MAX run at once. A sync drops the queued ones (the core sends them
 * again), leaves the running ones alone and sends what is held again. A task's id counts as
 * seen from its start on; seen ids are not run again.
 *
 * A personalisation that names an epoch makes the session another one: it begins with that
 * result. A quieting ends with a session that remembers nothing but its epoch. */
#ifndef ENSHU_AGENT_SESSION_H
#define ENSHU_AGENT_SESSION_H

#include <stdbool.h>

#include "enshu/common/list.h"
#include "enshu/wire.h"
#include "held.h"

#define ES_SESSION_RUNNING_MAX 16
#define ES_SESSION_QUEUE_MAX   256
#define ES_SESSION_SEEN_MAX    8192 /* ids remembered */
#define ES_SESSION_GRACE_MS    1000 /* a probe may tell that its time was over this late */
#define ES_SESSION_OUT_MAX     (1U << 20)
#define ES_SESSION_OUT_FULL    (256U << 10) /* parts wait while more is unsent */

struct es_task {
    struct es_list link;
    struct es_session *session;
    struct es_request request;
    int64_t since_ms;    /* arrival, on the clock of now_ms */
    int64_t deadline_ms; /* its time is over */
    int64_t stop_ms;     /* it is stopped */
    bool running;
    const char *stop_code; /* "timeout" or "cancelled" once on_stop was called */
    int64_t part_count;
    void *job; /* the runner's */
};

struct es_session_events {
    /* Run the task; es_session_finish may be called at once or later. */
    void (*on_start)(void *ctx, struct es_task *task);
    /* End it as soon as possible: its deadline passed or it was cancelled. */
    void (*on_stop)(void *ctx, struct es_task *task);
};

struct es_session {
    const struct es_session_events *events;
    void *ctx;
    char epoch[17];
    char boot_id[40];
    bool synced;
    char unanswered[ES_WIRE_NONCE_MAX + 1]; /* a sync of whose answer nothing is sent */
    struct es_lines lines;
    struct es_buf out; /* bytes for the core; the port consumes them */
    struct es_held held;
    struct es_list queue, running;
    int queue_count, running_count;
    int64_t seq; /* of the last result */
    int64_t *seen;
    size_t seen_count; /* ever; the ring holds the last ES_SESSION_SEEN_MAX */
    bool starting; /* in start_queued: no second entry from a task that ends at once */
};

int es_session_init(struct es_session *session, const struct es_session_events *events,
                    void *ctx, const char *epoch, const char *boot_id);
/* Queued tasks are dropped; running ones must have been finished. */
void es_session_finish_all(struct es_session *session);

/* Bytes from the core. */
void es_session_feed(struct es_session *session, const char *data, size_t len,
                     int64_t now_ms);
/* The connection broke: nothing is sent until the next sync. */
void es_session_lost(struct es_session *session);
/* It is there again. A sync not answered is answered now: a port tells late that the other
 * side has left, and may have brought the next connection's sync before. */
void es_session_found(struct es_session *session);
/* So many bytes of `out` are sent. */
void es_session_sent(struct es_session *session, size_t count);
/* Enforces deadlines. Returns when to call again, INT64_MAX when there is none. */
int64_t es_session_tick(struct es_session *session, int64_t now_ms);
void es_session_beat(struct es_session *session);

/* Ends a task and frees it: with evidence (taken), or with a status and its message when
 * evidence is NULL. A task that was stopped ends as "timeout" or "cancelled" whatever the
 * evidence, unless `whole` says that the evidence tells of the stop itself. */
void es_session_finish(struct es_task *task, json_t *evidence, bool whole,
                       const struct es_err *err, int64_t now_ms);
/* Sends a chunk when the core is there, else drops it. */
void es_session_part(struct es_task *task, const char *stream, const void *data,
                     size_t len);
/* Whether parts should wait. */
bool es_session_is_full(const struct es_session *session);
/* Bytes of evidence a task may give. */
int64_t es_session_max_bytes(const struct es_task *task);
/* Starts what is queued as far as there is room. */
void es_session_start_queued(struct es_session *session, int64_t now_ms);
int64_t es_session_uptime_ms(void);

#endif
