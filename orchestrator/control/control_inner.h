/* What the files of the room control share: the line cutter, JSON-RPC messages, parameter
 * checks. */
#ifndef ENSHU_CONTROL_INNER_H
#define ENSHU_CONTROL_INNER_H

#include <jansson.h>

#include "enshu/common/buf.h"
#include "enshu/control.h"

/* ---- lines of up to `max` bytes, cut from a stream */

struct control_lines {
    struct es_buf buf;
    size_t next;    /* where the next line to hand out starts */
    size_t scanned; /* bytes from `next` on known to hold no newline */
    size_t max;
    bool overlong; /* met a line longer than max: nothing more comes out */
};
#define CONTROL_READ_BYTES 65536U /* the most one feed may hold */

void control_lines_init(struct control_lines *lines, size_t max);
void control_lines_finish(struct control_lines *lines);
/* 0 or ES_ENOMEM. Take every whole line out before the next feed. */
int control_lines_feed(struct control_lines *lines, const char *data, size_t len);
/* The next whole line without its newline, empty ones skipped; borrows until the next
 * call. */
bool control_lines_next(struct control_lines *lines, const char **ret_line,
                        size_t *ret_len);

/* ---- JSON-RPC 2.0 */

enum control_rpc_code {
    RPC_PARSE = -32700,
    RPC_REQUEST = -32600,
    RPC_METHOD = -32601,
    RPC_PARAMS = -32602
};

struct control_request {
    json_t *message;  /* owns the others */
    const json_t *id; /* NULL: a notification */
    const char *method;
    json_t *params; /* an object; never NULL */
};
/* 0, a control_rpc_code, or ES_ENOMEM; with the id as far as it was readable in ret->id. Release with
 * control_request_finish whatever it returns. */
int control_request_read(const char *line, size_t len, struct control_request *ret,
                         struct es_err *err);
void control_request_finish(struct control_request *request);

/* Each appends one line; 0, ES_ENOMEM or ES_ELIMIT. */
int control_put_call(struct es_buf *out, int64_t id_or_0, const char *method,
                     json_t *params);
int control_put_result(struct es_buf *out, const json_t *id_or_null, json_t *result);
int control_put_error(struct es_buf *out, const json_t *id_or_null, int rpc_code,
                      const struct es_err *err);
int control_put_progress(struct es_buf *out, const json_t *id, json_t *event);

/* ---- parameters */

/* Checks params against a row's words. ES_EINVAL with what is wrong and what is known. */
int control_params_check(const struct es_method *method, const json_t *params,
                         struct es_err *err);
const struct es_method *control_method_find(const struct es_method *table,
                                            const char *name, struct es_err *err);

/* ---- sockets */

/* Fills the address; ES_ELIMIT when the path does not fit. */
struct sockaddr_un;
int control_address(const char *path, struct sockaddr_un *ret_address,
                    struct es_err *err);

#endif
