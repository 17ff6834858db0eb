/* What is recorded: events on their way to the ledger, the fold, looks, effects, persons.
 * Part of inner.h, and for those who include it. */
#ifndef ORCHESTRATOR_RANGE_RECORD_H
#define ORCHESTRATOR_RANGE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "enshu/link.h"
#include "enshu/score.h"
#include "enshu/store.h"

struct range;
struct machine;

/* Looks that told nothing new and are no event yet. */
struct look_run {
    int64_t count, told; /* told: by an agent */
    int64_t first_ms, last_ms, gap_ms;
    int outcome;
    uint32_t instance; /* of those that were told */
    uint64_t epoch;
    int64_t first_seq, last_seq;
};

struct probe_slot { /* one condition of one team */
    int team, condition;
    int64_t due_ex_ms;
    struct machine *machine; /* that looks */
    bool in_flight;
    int last; /* outcome told last: text goes into the ledger on change */
    int64_t busy_id;
    struct look_run run;
    struct es_event told; /* the newest observation by an agent */
};

struct pending { /* an event waiting for its commit */
    struct es_event event;
    char *text;
    bool look;               /* goes beside the chain */
    bool afresh;             /* the looks up to here are summed up */
    struct machine *machine; /* whose seq may be acknowledged */
    void (*committed)(void *arg, int status, const struct es_err *err, int64_t pos);
    void *arg;
};

/* Something to be done inside a machine by its agent. */
struct effect_call {
    enum es_wire_op op;
    json_t *args;
    int64_t limit_ms, max_bytes;
    void (*part)(void *arg, const char *stream, const char *data, size_t len);
    /* Once, when the outcome is durable: evidence, or err. */
    void (*done)(void *arg, const json_t *evidence, const struct es_err *err);
    void *arg;
};

/* ---- ledger.c: decide, commit, publish */
/* Queues an event. `text` is taken (may be NULL). ex_ms is stamped here. ES_ELIMIT for too
 * long a text, ES_EIO without a ledger. */
int range_event(struct range *r, const struct es_event *event, char *text,
                struct machine *m,
                void (*committed)(void *arg, int status, const struct es_err *err,
                                  int64_t pos),
                void *arg);
int range_event_refused(const struct range *r, int rc, struct es_err *err); /* says why */
/* For steady.c: the exercise time of what is queued now; a look; an observation that brings
 * no news; the sum of a run. */
int64_t range_stamp(const struct range *r);
int range_look(struct range *r, const struct es_event *look, struct machine *m);
int range_seen_again(struct range *r, const struct es_event *event, struct machine *m);
int range_push(struct range *r, const struct es_event *event, char *text);
/* A result that is to become an event of the machine is not acknowledged before that; when
 * there was no room for the event, the agent is asked to tell it again. */
void range_hold_ack(struct machine *m, int64_t seq);
void range_not_taken(struct machine *m, int64_t seq);
void range_machine_event(struct machine *m, enum es_machine_event what,
                         const char *cause);
bool range_quiet(const struct range *r); /* nothing is on its way */
void range_flush(struct range *r);
void range_mark(struct range *r); /* stores the clock with an empty batch */

/* ---- refold.c */
/* Opens and folds; tells each event that is no observation, unless that is NULL. Blocks. */
int range_open_ledger(struct range *r, bool create,
                      int (*each)(void *ctx, const struct es_event *event), void *ctx,
                      struct es_err *err);
void range_fold(struct range *r, const struct es_event *event); /* a durable one */
/* A fold of the ledger's events up to a position. [worker] */
int range_refold(struct range *r, int64_t upto, struct es_score **ret_score,
                 struct es_err *err);
void range_rebuild_now(struct range *r); /* blocks */
void range_advance(
    struct range *r); /* lets time pass in the fold when nothing is pending */

/* ---- scores.c, correct.c */
/* Answers who waits for `rescore` once no commit is in flight; at the range's end, too. */
void range_rescore_waiting(struct range *r);
void range_corrected(struct range *r); /* and who waits for a void */

/* ---- lost.c */
void range_lost_ledger(struct range *r, int status, const struct es_err *err);
void range_take_again(struct range *r); /* what the agents hold is asked for again */
int range_reopen_ledger(struct range *r, struct es_err *err);

/* ---- clock.c */
int64_t range_now_ex(const struct range *r);
int range_clock_move(struct range *r, enum es_clock_state to, const char *by,
                     const char *reason,
                     void (*committed)(void *arg, int status, const struct es_err *err,
                                       int64_t pos),
                     void *arg, struct es_err *err);
void range_sign_if_stopped(struct range *r);
json_t *clock_json(const struct range *r);

/* ---- probing.c */
int probing_init(struct range *r, struct es_err *err);
void probing_tick(struct range *r);     /* sends what is due, sets the timer */
void probing_forget(struct machine *m); /* its link is gone, and what was asked with it */
void probing_finish(struct range *r);

struct probe_slot *probing_slot(struct range *r, int team, int condition); /* or NULL */

/* ---- observe.c */
void observe_result(struct machine *m, const struct es_result *result);
/* No agent was asked: why not, or NULL when the machine is not up. */
void observe_unasked(struct range *r, struct probe_slot *slot, const struct es_err *err);

/* ---- steady.c */
/* 1: it brings no news, and was taken; 0: it is an event; a status: no memory. */
int steady_take(struct range *r, struct probe_slot *slot, const struct es_event *event,
                struct machine *m);
/* Queues the events of runs: of a condition and of its control; of a team, of all with 0.
 * On failure some stay. */
int steady_close_condition(struct range *r, int team, int condition);
int steady_close(struct range *r, int team);
void steady_tick(struct range *r);
int64_t steady_due(const struct range *r); /* exercise time */
/* The ledger is read anew: forget, every observation of it noted, the looks recalled. */
void steady_forget(struct range *r);
void steady_note(struct range *r, const struct es_event *event); /* taken, or read */
int steady_recall(struct range *r, struct es_err *err);

/* ---- effect.c */
/* Takes call->args and `shown`, which stands in the intent's text. When it succeeds, done
 * is called once, later. */
int effect_start(struct machine *m, const struct effect_call *call, json_t *shown,
                 struct es_err *err);
void effects_connected(struct machine *m); /* it has a new link */
void effects_tick(struct range *r);
void effects_end(struct range *r);   /* taken down: what is open stays uncertain */
void effects_leave(struct range *r); /* the core ends: the next one goes on */
/* After a restart: every INTENT and OUTCOME of the ledger, then the end of them. */
int effects_recall(struct range *r, const struct es_event *event, struct es_err *err);
void effects_restored(struct range *r);

/* ---- persons.c */
/* For the `by` of an event; NULL is the core's owner. Borrows until the next call. */
int person_id(struct range *r, const char *by, const char **ret_id, struct es_err *err);
const char *person_name(const struct range *r,
                        const char *id); /* the id when forgotten */
int persons_load(struct range *r, struct es_err *err);

#endif
