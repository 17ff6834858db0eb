/* The server's objects: the socket, its peers, their calls.
 *
 * A call is in exactly one list: its peer's while someone waits for it, else (cancelled,
 * or the peer left) the control's orphans, until the callee finishes it. It outlives peer
 * and control, never its core. */
#ifndef ENSHU_CONTROL_SERVER_INNER_H
#define ENSHU_CONTROL_SERVER_INNER_H

#include "control_inner.h"
#include "enshu/common/list.h"

#define PEERS_MAX        256
#define PEER_CALLS_MAX   64
#define CALLS_MAX        1024 /* of all peers, those nobody waits for included */
#define PEER_UNSENT_MAX  (8U << 20)
#define PEER_BACKLOG_LOW (64U << 10) /* below it held snapshots and on_drain go */

struct es_control {
    uv_loop_t *loop;
    struct es_range_core *core;
    const struct es_method *table;
    char *path;
    uv_pipe_t listener, rejected;
    struct es_list peers, orphans;
    size_t peer_count, call_count;
    bool closing, listener_closed, is_rejecting, is_stalled;
    char chunk[CONTROL_READ_BYTES]; /* every peer reads through it */
    void (*on_closed)(void *ctx);
    void *ctx;
};

struct peer {
    struct es_list link; /* in control->peers */
    struct es_control *control;
    uv_pipe_t pipe;
    struct control_lines lines;
    struct es_list calls;
    size_t call_count; /* orphans of this peer are not in it */
    size_t unsent_bytes;
    bool closing;
};

struct call {
    struct es_reply reply;
    struct es_list link;
    struct es_control *control; /* NULL: closed */
    struct peer *peer;          /* NULL: nobody waits */
    json_t *id;
    json_t *snapshot;     /* of a watch: the newest held back from a slow reader */
    bool is_watch, waits; /* waits for on_drain */
};

/* peer.c */
void peer_accept(struct es_control *control);
void peer_close(struct peer *peer);
/* Takes the bytes; drops the peer when memory or its allowance is out. */
void peer_send(struct peer *peer, struct es_buf *line, int status);
void control_maybe_closed(struct es_control *control); /* server.c */

/* call.c */
void call_start(struct peer *peer, const struct es_method *method, const json_t *id,
                const json_t *params);
struct call *call_find(struct peer *peer, const json_t *id);
void call_cancel(struct call *call);
void call_leave(struct call *call); /* nobody waits any more */
void calls_drained(struct peer *peer);
/* A refusal of what never became a call. */
void peer_refuse(struct peer *peer, const json_t *id, int rpc_code,
                 const struct es_err *err);

#endif
