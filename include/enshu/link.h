/* A connected agent: the host's side of one machine's channel. [loop]
 *
 * A link connects to the Unix socket of the machine's virtio-serial port (QEMU listens
 * there), synchronises, sends requests, hands results up, and connects again with
 * back-off when the connection breaks or the guest breaks the rules. Bytes are counted: a
 * guest that sends more than ES_LINK_RATE_BYTES a second is read more slowly, a line that
 * is not of the protocol after the sync costs a strike, three strikes within a minute
 * close the connection for a back-off. Identity is the socket, never a field in a
 * message.
 *
 *   IDLE -> CONNECTING -> SYNCING -> UP -> (BACKOFF -> CONNECTING …)      any -> CLOSING
 * -> CLOSED
 */
#ifndef ENSHU_LINK_H
#define ENSHU_LINK_H

#include <uv.h>

#include "enshu/wire.h"

#define ES_LINK_RATE_BYTES (4U << 20)
#define ES_LINK_REQUESTS_MAX                                                             \
    256 /* in flight on one link; more are refused with ES_EBUSY */

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

struct es_link_events {
    /* The state changed. On UP `hello` is set (borrows). On BACKOFF `why` says what went
     * wrong. */
    void (*on_state)(void *ctx, struct es_link *link, enum es_link_state state,
                     const struct es_hello *hello, const struct es_err *why);
    /* A result, asked for on this link or kept by the agent from before. Borrows. seq 0:
     * made here because the deadline (plus slack for the channel) passed ("timeout") or
     * the agent's epoch changed ("lost"). Requests survive a reconnect to the same epoch:
     * they are sent again with their id. Duplicates are possible after a reconnect; the
     * receiver recognises them by (epoch, seq). Acknowledge with es_link_ack once
     * durable. */
    void (*on_result)(void *ctx, struct es_link *link, const struct es_result *result);
    /* A chunk that precedes a result; may be NULL. Borrows. */
    void (*on_part)(void *ctx, struct es_link *link, int64_t id, const char *stream,
                    const char *data, size_t len);
};

/* Copies `name` (shown in errors) and `path`. ES_ELIMIT when the path is longer than a
 * socket address holds. */
int es_link_create(uv_loop_t *loop, const char *name, const char *path,
                   const struct es_link_events *events, void *ctx,
                   struct es_link **ret_link, struct es_err *err);
void es_link_open(struct es_link *link);
/* Ends everything; requests in flight get no result. Frees the link, then calls
 * on_closed(ctx). */
void es_link_close(struct es_link *link, void (*on_closed)(void *ctx));

/* Takes request->args in every case. Queued while the link is not UP, up to the deadline.
 */
int es_link_send(struct es_link *link, struct es_request *request, struct es_err *err);
void es_link_ack(struct es_link *link, const char *epoch, int64_t seq);
/* Forgets a request in flight and tells the agent. */
void es_link_cancel(struct es_link *link, int64_t id);

enum es_link_state es_link_state(const struct es_link *link);
/* uv_now() of the last line that was of the protocol; 0 before the first. */
uint64_t es_link_last_heard_ms(const struct es_link *link);
const char *es_link_name(const struct es_link *link);

#endif
