/* A connected agent: the host's side of one machine's channel. [loop]
 *
 * A link connects to the Unix socket of the machine's virtio-serial port (QEMU listens
 * there), synchronises, sends requests, hands results up, and connects again with
 * back-off when the connection breaks or the guest breaks the rules. Bytes and lines are
 * counted: a guest that sends more than ES_LINK_RATE_BYTES or ES_LINK_RATE_LINES a second
 * is read more slowly; a line that is not of the protocol after the sync costs a strike,
 * three strikes within a minute close the connection for a back-off. Identity is the
 * socket, never a field in a message.
 *
 *   IDLE -> CONNECTING -> SYNCING -> UP    each of the last three -> BACKOFF -> CONNECTING
 *   any -> CLOSING -> CLOSED
 *
 * The link connects again, to the same effect as a broken connection, when an agent has
 * been silent for longer than its heartbeat allows, when a request timed out and no result
 * came since it was written, and when a result carries an epoch that no hello announced:
 * an agent that was restarted inside the guest leaves the socket connected. The result of
 * a personalisation may begin an epoch (a fork's); the link goes on in it, and what else
 * was written in the old one is lost.
 *
 * Callbacks come from the loop only, never from inside a call made to the link. Any of
 * them may call any function here, es_link_close included.
 */
#ifndef ENSHU_LINK_H
#define ENSHU_LINK_H

#include <uv.h>

#include "enshu/wire.h"

#define ES_LINK_RATE_BYTES   (4U << 20)
#define ES_LINK_RATE_LINES   4096U
#define ES_LINK_REQUESTS_MAX 256        /* on one link; more are refused with ES_EBUSY */
#define ES_LINK_QUEUE_BYTES  (4U << 20) /* of them together; likewise */
#define ES_LINK_ID_MAX       (ES_WIRE_INT_MAX - (1LL << 40)) /* above: the link's own cancels */

/* clang-format off */
#define ES_LINK_STATE_MAP(X) X(IDLE) X(CONNECTING) X(SYNCING) X(UP) X(BACKOFF) X(CLOSING) X(CLOSED)
/* clang-format on */
enum es_link_state {
#define X(name) ES_LINK_##name,
    ES_LINK_STATE_MAP(X)
#undef X
};
const char *es_link_state_name(enum es_link_state state);

struct es_link;

/* Patience, in real time. */
struct es_link_times {
    uint32_t sync_ms;        /* for the hello after connecting */
    uint32_t silent_ms;      /* without a line while UP; heartbeats come every 30 s */
    uint32_t slack_ms;       /* added to each deadline for the channel */
    uint32_t backoff_min_ms; /* doubled at each failure, with jitter, up to … */
    uint32_t backoff_max_ms;
    uint32_t
        refused_max_ms; /* … this where nobody listens yet: a machine being started */
    uint32_t stable_ms; /* UP for so long starts the back-off anew */
};
extern const struct es_link_times es_link_times_default;

struct es_link_events {
    /* The state changed. On UP `hello` is set (borrows). On BACKOFF `why` says what went
     * wrong. */
    void (*on_state)(void *ctx, struct es_link *link, enum es_link_state state,
                     const struct es_hello *hello, const struct es_err *why);
    /* A result, asked for on this link or kept by the agent from before. Borrows. seq 0:
     * made here because the deadline (plus slack for the channel) passed ("timeout") or
     * the agent's epoch changed ("lost"). Requests survive a reconnect to the same epoch:
     * they are sent again with their id; one never written yet survives any, and so does a
     * personalisation, which is safe to repeat. Every result
     * an agent sends is handed up, also those of unknown ids: late ones, cancelled ones,
     * answers to cancels (id above ES_LINK_ID_MAX), so that no seq is missing. Duplicates
     * are possible after a reconnect; the receiver recognises them by (epoch, seq).
     * Acknowledge with es_link_ack once durable. */
    void (*on_result)(void *ctx, struct es_link *link, const struct es_result *result);
    /* A chunk, decoded, that precedes the result of a request in flight; may be NULL.
     * Chunks are not held by the agent: some may be missing after a reconnect. Borrows. */
    void (*on_part)(void *ctx, struct es_link *link, int64_t id, const char *stream,
                    const char *data, size_t len);
};

/* Copies `name` (shown in errors) and `path`, borrows `events`. ES_ELIMIT when the path is
 * longer than a socket address holds. Sets SIGPIPE to be ignored where it has its default
 * action: libuv writes without MSG_NOSIGNAL. */
int es_link_create(uv_loop_t *loop, const char *name, const char *path,
                   const struct es_link_events *events, void *ctx,
                   struct es_link **ret_link, struct es_err *err);
/* Before es_link_open; copies. */
void es_link_set_times(struct es_link *link, const struct es_link_times *times);
/* Once. The first state is told from the loop. */
void es_link_open(struct es_link *link);
/* Ends everything; requests in flight get no result. Frees the link, then calls
 * on_closed(ctx). */
void es_link_close(struct es_link *link, void (*on_closed)(void *ctx));

/* Takes request->args in every case. Queued while the link is not UP, up to the deadline;
 * the agent is told what is left of it. ES_EBUSY beyond the caps above, ES_EEXIST for an id
 * in flight, ES_EINVAL for an id or deadline out of range, ES_ELIMIT when it makes too long
 * a line. */
int es_link_send(struct es_link *link, struct es_request *request, struct es_err *err);
/* The same for the agent of `epoch` alone, which may know the id already: from another one
 * the result is "lost", and it is never told of the request. */
int es_link_send_bound(struct es_link *link, struct es_request *request,
                       const char *epoch, struct es_err *err);
/* Says that every result of `epoch` up to `seq` is durable. One line is sent for all acks
 * of a loop iteration. */
void es_link_ack(struct es_link *link, const char *epoch, int64_t seq);
/* Forgets a request in flight and, where it was written, tells the agent. No effect for an
 * id that is not in flight. */
void es_link_cancel(struct es_link *link, int64_t id);

enum es_link_state es_link_state(const struct es_link *link);
/* uv_now() of the last line that was of the protocol; 0 before the first. */
uint64_t es_link_last_heard_ms(const struct es_link *link);
const char *es_link_name(const struct es_link *link);

#endif
