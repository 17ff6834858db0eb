/* JSON-RPC 2.0 messages: reading requests, writing calls, answers and notifications. */
#include <string.h>

#include "control_inner.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#define ID_TEXT_MAX 64

static int bad_request(struct es_err *err, const char *what)
{
    es_err_set(err, ES_EPROTO, "%s; see `enshu help methods`", what);
    return RPC_REQUEST;
}

static bool id_ok(const json_t *id)
{
    if (json_is_string(id))
        return json_string_length(id) <= ID_TEXT_MAX;
    return json_is_integer(id);
}

static int read_members(struct control_request *ret, struct es_err *err)
{
    if (!json_is_object(ret->message))
        return bad_request(err, "a message must be one JSON object");
    json_t *id = json_object_get(ret->message, "id");
    if (id != NULL && !id_ok(id))
        return bad_request(err, "\"id\" must be an integer or a short string");
    ret->id = id;
    if (!es_str_eq(json_string_value(json_object_get(ret->message, "jsonrpc")), "2.0"))
        return bad_request(err, "\"jsonrpc\" must be \"2.0\"");
    ret->method = json_string_value(json_object_get(ret->message, "method"));
    if (ret->method == NULL)
        return bad_request(err, "\"method\" must be a string");
    ret->params = json_object_get(ret->message, "params");
    if (ret->params == NULL) {
        ret->params = json_object();
        if (ret->params == NULL ||
            json_object_set_new(ret->message, "params", ret->params) != 0) {
            es_err_nomem(err);
            return RPC_REQUEST;
        }
    }
    if (json_is_object(ret->params))
        return 0;
    es_err_set(err, ES_EINVAL, "\"params\" must be an object");
    return RPC_PARAMS;
}

int control_request_read(const char *line, size_t len, struct control_request *ret,
                         struct es_err *err)
{
    memset(ret, 0, sizeof *ret);
    json_error_t why;
    es_wire_alloc_watch();
    ret->message = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    if (es_wire_alloc_failed()) {
        json_decref(ret->message);
        ret->message = NULL;
        es_err_nomem(err);
        return ES_ENOMEM;
    }
    if (ret->message == NULL) {
        char text[2 * JSON_ERROR_TEXT_LENGTH];
        struct es_buf safe;
        es_buf_init(&safe, sizeof text);
        es_str_escape_terminal(&safe, why.text, strlen(why.text), false);
        es_err_set(err, ES_EPROTO, "the line is not JSON: %s (at byte %d)",
                   es_buf_str(&safe), why.position);
        es_buf_finish(&safe);
        return RPC_PARSE;
    }
    return read_members(ret, err);
}

void control_request_finish(struct control_request *request)
{
    json_decref(request->message);
    memset(request, 0, sizeof *request);
}

static int on_dump(const char *data, size_t len, void *ctx)
{
    return es_buf_append(ctx, data, len) == 0 ? 0 : -1;
}

/* Takes message (NULL: memory was out). */
static int put(struct es_buf *out, json_t *message)
{
    if (message == NULL)
        return ES_ENOMEM;
    int rc = json_dump_callback(message, on_dump, out, JSON_COMPACT);
    json_decref(message);
    if (es_buf_status(out) != 0)
        return es_buf_status(out);
    if (rc != 0)
        return ES_ENOMEM;
    return es_buf_putc(out, '\n');
}

/* The id is only read, jansson's counting apart. */
static json_t *shared(const json_t *id)
{
    return id != NULL ? json_incref((json_t *)(uintptr_t)id) : json_null();
}

int control_put_call(struct es_buf *out, int64_t id_or_0, const char *method,
                     json_t *params)
{
    json_t *message = json_pack("{s:s, s:s, s:O}", "jsonrpc", "2.0", "method", method,
                                "params", params);
    if (message != NULL && id_or_0 != 0 &&
        json_object_set_new(message, "id", json_integer(id_or_0)) != 0) {
        json_decref(message);
        message = NULL;
    }
    return put(out, message);
}

int control_put_result(struct es_buf *out, const json_t *id_or_null, json_t *result)
{
    return put(out, json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", "id",
                              shared(id_or_null), "result", result));
}

int control_put_error(struct es_buf *out, const json_t *id_or_null, int rpc_code,
                      const struct es_err *err)
{
    /* A message may carry text from anywhere; JSON takes UTF-8 only. */
    char text[sizeof err->msg];
    memcpy(text, err->msg, sizeof text);
    es_utf8_repair(text);
    return put(out, json_pack("{s:s, s:o, s:{s:i, s:s, s:{s:s}}}", "jsonrpc", "2.0", "id",
                              shared(id_or_null), "error", "code", rpc_code, "message",
                              text, "data", "status", es_status_name(err->code)));
}

int control_put_progress(struct es_buf *out, const json_t *id, json_t *event)
{
    return put(out, json_pack("{s:s, s:s, s:{s:o, s:O}}", "jsonrpc", "2.0", "method",
                              "progress", "params", "id", shared(id), "event", event));
}
