/* The conductor: everything the running core knows and does. It owns the hypervisor
 * connection, the ranges with their links, clocks, ledgers and folds, and carries out the
 * methods of tbl/methods.h. [loop] */
#ifndef ENSHU_RANGE_H
#define ENSHU_RANGE_H

#include <jansson.h>
#include <uv.h>

#include "enshu/common/err.h"
#include "enshu/tbl/methods.h"

struct es_range_core;

struct es_range_config {
    const char *state_dir;   /* ledgers, images, disks, sockets */
    const char *uri;         /* NULL: the embedded libvirt, started through nest_path */
    const char *accel;       /* NULL: found out by booting a probe guest, cached */
    const char *recipes_dir; /* scenarios/images */
    const char *agent_path;  /* the static agent for seed discs */
    const char *nest_path;   /* enshu-nest */
    /* Tests only: a folder in the place of the host's root for what is looked at there; how
     * often. */
    const char *root;
    uint64_t look_ms;
};

/* Creates and begins to open: on_ready tells when methods can be called (or why not). */
int es_range_core_create(uv_loop_t *loop, const struct es_range_config *config,
                         void (*on_ready)(void *ctx, int status,
                                          const struct es_err *err),
                         void (*on_shutdown)(void *ctx), void *ctx,
                         struct es_range_core **ret_core, struct es_err *err);
/* Closes links and ledgers, leaves machines running, frees, calls back. */
void es_range_core_close(struct es_range_core *core, void (*on_closed)(void *ctx),
                         void *ctx);

/* One call's way back to its client; implemented by the room control. Exactly one of done
 * and fail is called, once; afterwards the reply is gone. `on_gone` may be set by the
 * callee: the client left or cancelled; the callee must then finish with done or fail soon
 * (it goes nowhere); never called from inside progress, done or fail. */
struct es_reply {
    void (*progress)(struct es_reply *reply, json_t *event); /* takes event */
    void (*done)(struct es_reply *reply, json_t *result);    /* takes result */
    void (*fail)(struct es_reply *reply, const struct es_err *err);
    void (*on_gone)(struct es_reply *reply);
    void *callee; /* the callee's own */
    /* Flow control for a callee with much to send: past ES_REPLY_FULL_BYTES on the way it
     * waits until its on_drain (set by the callee) is called. */
    size_t (*unsent_bytes)(struct es_reply *reply);
    void (*on_drain)(struct es_reply *reply);
};
#define ES_REPLY_FULL_BYTES (256U << 10)

/* Parameters were checked against the table: present, of the type, no unknown ones. */
#define X(name, function, kind, params, result)                                          \
    void es_range_call_##function(struct es_range_core *core, const json_t *params_json, \
                                  struct es_reply *reply);
ES_METHOD_MAP(X)
#undef X

/* What forks of this scenario's nodes kept of memory for themselves once they had run a
 * while: {node: bytes}, a new reference; NULL when none was measured. Blocking. [any] */
json_t *es_range_measured(const char *state_dir, const char *scenario);
/* $ENSHU_STATE, else $XDG_STATE_HOME/enshu, else ~/.local/state/enshu. [any] */
int es_range_default_state(char *dst, size_t size, struct es_err *err);

#endif
