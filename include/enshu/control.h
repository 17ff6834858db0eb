/* The control socket: JSON-RPC 2.0, one message a line, on a Unix socket (mode 0600; the
 * peer must be the core's user or root, by SO_PEERCRED).
 *
 *   -> {"jsonrpc":"2.0","id":1,"method":"up","params":{…}}
 *   <- {"jsonrpc":"2.0","method":"progress","params":{"id":1,"event":{…}}}
 *   <- {"jsonrpc":"2.0","id":1,"result":{…}} | {…"error":{"code":-3,"message":"…",
 *       "data":{"status":"ENOENT"}}}
 *   -> {"jsonrpc":"2.0","method":"cancel","params":{"id":1}}
 *
 * Limits: 256 clients, 64 calls in flight a client, 1 MiB a line in, 8 MiB of unsent
 * output a client (past it the client is dropped; watch snapshots are coalesced). */
#ifndef ENSHU_CONTROL_H
#define ENSHU_CONTROL_H

#include <stdbool.h>
#include <uv.h>

#include "enshu/range.h"

#define ES_CONTROL_LINE_MAX (1U << 20)

struct es_control;
/* Listens on `path` (a stale socket of a dead core is replaced, a live one is EEXIST). */
int es_control_create(uv_loop_t *loop, struct es_range_core *core, const char *path,
                      struct es_control **ret_control, struct es_err *err);
void es_control_close(struct es_control *control, void (*on_closed)(void *ctx),
                      void *ctx);

/* The client side, on a loop. */
struct es_client;
struct es_client_events {
    void (*on_progress)(void *ctx, int64_t id, const json_t *event);
    /* result or err is set */
    void (*on_answer)(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err);
    void (*on_closed)(void *ctx, const struct es_err *why); /* the core went away */
};
int es_client_connect(uv_loop_t *loop, const char *path,
                      const struct es_client_events *events, void *ctx,
                      struct es_client **ret_client, struct es_err *err);
/* Takes params (may be NULL). *ret_id names the call in the callbacks. */
int es_client_call(struct es_client *client, const char *method, json_t *params,
                   int64_t *ret_id, struct es_err *err);
void es_client_cancel(struct es_client *client, int64_t id);
void es_client_close(struct es_client *client, void (*on_closed)(void *ctx), void *ctx);

/* A method's row, for help and checks. */
struct es_method {
    const char *name, *params, *result;
    bool stream;
    void (*function)(struct es_range_core *core, const json_t *params,
                     struct es_reply *reply);
};
extern const struct es_method es_methods[]; /* ends with name NULL */

#endif
