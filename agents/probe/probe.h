/* The probes: what an agent can observe.
 *
 * A probe runs in a worker, a forked child of the agent (agent/op_probe.c), so its code is
 * plain and blocking, may be killed at its deadline, and takes the agent with it neither
 * when it hangs nor when it crashes. It returns raw evidence, a flat JSON object, and
 * judges nothing: "it is not there" is evidence, "it could not be seen" is an error.
 *
 * A kind is a row of include/enshu/tbl/probe.h and a file <kind>.c with its look function;
 * the head of that file documents its keys and evidence exactly.
 *
 * Evidence that is text inside a guest (names, paths, options) is made valid UTF-8: other
 * bytes become \xNN. Bytes that matter are base64 in fields named *_b64. */
#ifndef ENSHU_PROBE_PROBE_H
#define ENSHU_PROBE_PROBE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "enshu/common/buf.h"
#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/tbl/probe.h"

/* Raw bytes one piece of evidence may carry, so that its base64 fits a line. */
#define ES_PROBE_BYTES_MAX (46U << 10)
#define ES_PROBE_LIST_MAX  (40U << 10) /* bytes of text in a list */

struct es_probe {
    const char *root;    /* "" or, in tests, the folder that stands for / */
    const json_t *args;  /* borrows */
    int64_t deadline_ms; /* on es_probe_now_ms()'s clock; waits and tools end then, and a
                            little time is left to tell what was seen */
    json_t *evidence;
    struct es_arena arena;
    bool nomem; /* a field could not be set */
};

int64_t es_probe_now_ms(void); /* monotonic */

/* Observes. Gives *ret_evidence (json_decref). */
int es_probe_run(const char *root, const json_t *args, int64_t deadline_ms,
                 json_t **ret_evidence, struct es_err *err);
/* The wire's code for a status: "denied", "timeout", … */
const char *es_probe_error_code(int status);

/* ---- for the kinds ---- */

#define ES_PROBE_LOOK(kind)                                                              \
    int es_probe_look_##kind(struct es_probe *p, struct es_err *err)
#define X(kind, place, does) ES_PROBE_LOOK(kind);
ES_PROBE_MAP(X)
#undef X

/* Look keys. ES_EINVAL when one is missing or of the wrong type or range. */
int es_probe_arg_text(const struct es_probe *p, const char *key, bool required,
                      const char **ret_text, struct es_err *err);
int es_probe_arg_int(const struct es_probe *p, const char *key, int64_t otherwise,
                     int64_t min, int64_t max, int64_t *ret_value, struct es_err *err);
int es_probe_arg_bool(const struct es_probe *p, const char *key, bool otherwise,
                      bool *ret_value, struct es_err *err);

/* Evidence. Failure is sticky (nomem) and reported by es_probe_run. */
void es_probe_set(struct es_probe *p, const char *key, json_t *value /* takes */);
void es_probe_set_int(struct es_probe *p, const char *key, int64_t value);
void es_probe_set_bool(struct es_probe *p, const char *key, bool value);
void es_probe_set_text(struct es_probe *p, const char *key, const char *text);
void es_probe_set_bytes(struct es_probe *p, const char *key, const void *data,
                        size_t len);
/* Appends to the list `key` (made when absent), and counts its bytes against `*left`:
 * false, and nothing appended, when they do not suffice. */
bool es_probe_add_text(struct es_probe *p, const char *key, const char *text,
                       size_t *left);
bool es_probe_add_bytes(struct es_probe *p, const char *key, const void *data, size_t len,
                        size_t *left);
json_t *es_probe_text_json(const char *text, size_t len);

/* root + path in the arena; NULL when memory is out. */
const char *es_probe_path(struct es_probe *p, const char *path);
/* Status and message for an errno: "PATH: WHAT: strerror". */
int es_probe_errno(struct es_err *err, const char *path, const char *what, int code);
bool es_probe_exists(struct es_probe *p, const char *path);

/* The keys `host`, an address or a name that stands in /etc/hosts, and `port` as a socket
 * address; for names that only DNS knows there is no resolver here: ES_ENOTSUP. */
struct sockaddr_storage;
int es_probe_arg_target(struct es_probe *p, struct sockaddr_storage *ret_addr,
                        unsigned *ret_len, struct es_err *err);

/* ---- tools: real programs of the guest, without a shell ---- */

struct es_spawn;
struct es_tool {
    const char *const *argv; /* NULL-terminated; argv[0] is looked for in a fixed path */
    const struct es_spawn *spawn; /* instead of argv: a prepared command */
    const char *const *env;       /* further "NAME=value", NULL-terminated, or NULL */
    const void *feed;             /* standard input, or NULL */
    size_t feed_len;
    size_t keep; /* bytes kept of each stream; 0: ES_PROBE_BYTES_MAX */
    /* results */
    int exit; /* exit code; -1 when killed */
    int signal;
    bool timeout; /* killed because the time was over */
    bool truncated;
    struct es_buf out, err_out;
};
/* ES_ENOENT when the guest has no such program. Release with es_tool_finish in every case
 * (zeroed before). */
int es_tool_run(struct es_probe *p, struct es_tool *tool, struct es_err *err);
void es_tool_finish(struct es_tool *tool);
bool es_tool_there(struct es_probe *p, const char *name);
/* Runs it and demands an end within time, whatever the exit code: ES_ETIMEDOUT. */
int es_tool_must(struct es_probe *p, struct es_tool *tool, struct es_err *err);

#endif
