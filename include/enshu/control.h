/* The control socket: JSON-RPC 2.0, one message a line, on a Unix socket (mode 0600; the
 * peer must be the core's user or root, by SO_PEERCRED).
 *
 *   -> {"jsonrpc":"2.0","id":1,"method":"up","params":{…}}
 *   <- {"jsonrpc":"2.0","method":"progress","params":{"id":1,"event":{…}}}
 *   <- {"jsonrpc":"2.0","id":1,"result":{…}} | {…"error":{"code":-3,"message":"…",
 *       "data":{"status":"ENOENT"}}}
 *   -> {"jsonrpc":"2.0","method":"cancel","params":{"id":1}}
 *
 * Error codes: -32700 no JSON, -32600 no request, -32601 no such method, -32602 wrong
 * parameters (the connection goes on after each of them), else a number of tbl/status.h;
 * data.status always names the status. A cancelled call is answered with ECANCELED at once.
 *
 * Shapes the command line reads (members may be added; absent ones are left out):
 *   clock     {"state": "running", "ex_ms": N, "planned_ms": N, "speed_permille": 1000}
 *             planned_ms: the scenario's duration, 0 when it has none
 *   machine   {"machine": "t1/web", "team": 1, "node": "web", "state": "ready", "detail": S}
 *             states as in the conductor's table: planned … ready, failed, down, fault
 *   range     {"range": S, "state": S, "trouble": S?, "title": {LANG: S}, "clock",
 *              "teams": [es_score_json + {"name": S}…], "machines": [machine…]}
 *   progress  of up, reset, rehearse, down, gc, image.build: a machine as above, or
 *             {"step": S, "text": S, "done": N?, "total": N?} for work of no machine
 *   watch     a range as above with {"news": [{"ex_ms", "team", "fact", "now"}…]}
 *   exec      {"stream": "out"|"err", "data": BASE64}; params.stdin is base64 too
 *   console   {"data": BASE64}; console.send's data is base64
 *
 * Limits: 256 clients, 64 calls in flight a client, 1 MiB a line in, 8 MiB of unsent
 * output a client (past it the client is dropped; of what `watch` tells only the newest is
 * kept for a client that reads slowly). */
#ifndef ENSHU_CONTROL_H
#define ENSHU_CONTROL_H

#include <stdbool.h>
#include <uv.h>

#include "enshu/range.h"

#define ES_CONTROL_LINE_MAX (1U << 20)

/* A method's row, for help and checks. */
struct es_method {
    const char *name, *params, *result;
    bool stream;
    void (*function)(struct es_range_core *core, const json_t *params,
                     struct es_reply *reply);
};
extern const struct es_method es_methods[]; /* ends with name NULL */

struct es_control;
/* Listens on `path` (a stale socket of a dead core is replaced, a live one is ES_EEXIST;
 * ES_ELIMIT when the path is longer than a socket address holds). Keeps core. */
int es_control_create(uv_loop_t *loop, struct es_range_core *core, const char *path,
                      struct es_control **ret_control, struct es_err *err);
/* The same over another table, for tests. Keeps core and table. */
int es_control_create_with_table(uv_loop_t *loop, struct es_range_core *core,
                                 const struct es_method *table, const char *path,
                                 struct es_control **ret_control, struct es_err *err);
/* Stops listening, lets go of every client (running calls see on_gone and may still finish
 * later, up to the core's own close), removes the socket, frees, calls back. */
void es_control_close(struct es_control *control, void (*on_closed)(void *ctx),
                      void *ctx);

/* The client side, on a loop. What callbacks hand out is borrowed. es_client_close may be
 * called inside any callback; after on_closed it must still be called. */
struct es_client;
struct es_client_events {
    void (*on_progress)(void *ctx, int64_t id, const json_t *event);
    /* result or err is set */
    void (*on_answer)(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err);
    void (*on_closed)(void *ctx, const struct es_err *why); /* the core went away */
};
/* Connects at once; ES_ECONN when no core listens on `path`. */
int es_client_connect(uv_loop_t *loop, const char *path,
                      const struct es_client_events *events, void *ctx,
                      struct es_client **ret_client, struct es_err *err);
/* Takes params (may be NULL). *ret_id names the call in the callbacks. */
int es_client_call(struct es_client *client, const char *method, json_t *params,
                   int64_t *ret_id, struct es_err *err);
void es_client_cancel(struct es_client *client, int64_t id);
void es_client_close(struct es_client *client, void (*on_closed)(void *ctx), void *ctx);

#endif
