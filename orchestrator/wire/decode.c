/* The decoder. A line is first scanned for its depth and number of values, so that
 * jansson never recurses deeply nor allocates out of proportion; then parsed; then each
 * field is taken with its type and range. */
#include <string.h>

#include "enshu/common/str.h"
#include "enshu/wire.h"
#include "fields.h"
#include "wire_inner.h"

#define TRY(call)                                                                        \
    do {                                                                                 \
        int try_rc = (call);                                                             \
        if (try_rc != 0)                                                                 \
            return try_rc;                                                               \
    } while (0)

static int check_shape(const char *line, size_t len, struct es_err *err)
{
    int depth = 0, values = 0;
    bool in_string = false;
    if (len >= ES_WIRE_LINE_MAX)
        return es_err_set(err, ES_EPROTO, "line of %zu bytes is longer than %u", len,
                          ES_WIRE_LINE_MAX - 1);
    for (size_t i = 0; i < len; i++) {
        char c = line[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string && c == '\\')
            i++;
        if (in_string)
            continue;
        if (c == '{' || c == '[' || c == ',')
            values++;
        if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        if (depth > ES_WIRE_DEPTH_MAX)
            return es_err_set(err, ES_EPROTO, "line is nested deeper than %d",
                              ES_WIRE_DEPTH_MAX);
        if (values > ES_WIRE_VALUES_MAX)
            return es_err_set(err, ES_EPROTO, "line holds more than %d values",
                              ES_WIRE_VALUES_MAX);
    }
    return 0;
}

/* jansson quotes what it did not understand; bytes of a guest are not for a log. */
static int explain(const json_error_t *why, struct es_err *err)
{
    if (es_wire_alloc_failed() || why->text[0] == '\0' ||
        json_error_code(why) == json_error_out_of_memory)
        return es_err_nomem(err);
    switch (json_error_code(why)) {
    case json_error_duplicate_key:
        return es_err_set(err, ES_EPROTO, "an object has the same key twice");
    case json_error_numeric_overflow:
        return es_err_set(err, ES_EPROTO, "a number does not fit");
    case json_error_invalid_utf8:
        return es_err_set(err, ES_EPROTO, "text is not UTF-8");
    default:
        return es_err_set(err, ES_EPROTO, "not a JSON object (at byte %d)",
                          why->position);
    }
}

static int decode_hello(const json_t *hello, struct es_hello *ret, struct es_err *err)
{
    int64_t wire = 0;
    TRY(es_wire_int(hello, "hello.", "wire", 1, 1000, &wire, err));
    ret->wire = (int)wire;
    TRY(es_wire_word(hello, "hello.", "version", ret->version, sizeof ret->version, err));
    TRY(es_wire_epoch(hello, "hello.", "epoch", ret->epoch, err));
    TRY(es_wire_word(hello, "hello.", "boot_id", ret->boot_id, sizeof ret->boot_id, err));
    TRY(es_wire_int(hello, "hello.", "uptime_ms", 0, ES_WIRE_INT_MAX, &ret->uptime_ms,
                    err));
    return es_wire_int(hello, "hello.", "held", 0, ES_WIRE_INT_MAX, &ret->held_count,
                       err);
}

static int decode_sync(const json_t *root, bool from_agent, struct es_wire_msg *msg,
                       struct es_err *err)
{
    json_t *hello = NULL;
    msg->type = ES_WIRE_SYNC;
    TRY(es_wire_word(root, "", "sync", msg->nonce, sizeof msg->nonce, err));
    if (!from_agent)
        return 0;
    TRY(es_wire_object(root, "", "hello", &hello, err));
    return decode_hello(hello, &msg->hello, err);
}

static int decode_request(const json_t *root, struct es_wire_msg *msg, struct es_err *err)
{
    struct es_request *request = &msg->request;
    char op[16];
    json_t *args = NULL;
    msg->type = ES_WIRE_REQUEST;
    TRY(es_wire_int(root, "", "id", 1, ES_WIRE_INT_MAX, &request->id, err));
    TRY(es_wire_word(root, "", "op", op, sizeof op, err));
    TRY(es_wire_object(root, "", "args", &args, err));
    TRY(es_wire_int(root, "", "deadline_ms", 1, ES_WIRE_DEADLINE_MAX_MS,
                    &request->deadline_ms, err));
    TRY(es_wire_int(root, "", "max_bytes", 0, ES_WIRE_INT_MAX, &request->max_bytes, err));
    int known = 0;
#define X(name, word)                                                                    \
    if (strcmp(op, word) == 0) {                                                         \
        request->op = ES_OP_##name;                                                      \
        known = 1;                                                                       \
    }
    ES_WIRE_OP_MAP(X)
#undef X
    if (!known)
        return es_err_set(err, ES_ENOTSUP, "op %s is not known to this version", op);
    request->args = json_incref(args);
    return 0;
}

static int decode_ack(const json_t *root, struct es_wire_msg *msg, struct es_err *err)
{
    msg->type = ES_WIRE_ACK;
    TRY(es_wire_int(root, "", "ack", 1, ES_WIRE_INT_MAX, &msg->ack_seq, err));
    return es_wire_epoch(root, "", "epoch", msg->ack_epoch, err);
}

static int decode_result(const json_t *root, struct es_wire_msg *msg, struct es_err *err)
{
    struct es_result *result = &msg->result;
    json_t *object = NULL;
    msg->type = ES_WIRE_RESULT;
    TRY(es_wire_int(root, "", "seq", 1, ES_WIRE_INT_MAX, &result->seq, err));
    TRY(es_wire_epoch(root, "", "epoch", result->epoch, err));
    TRY(es_wire_int(root, "", "id", 1, ES_WIRE_INT_MAX, &result->id, err));
    TRY(es_wire_int(root, "", "took_ms", 0, ES_WIRE_INT_MAX, &result->took_ms, err));
    const json_t *ok = json_object_get(root, "ok");
    if (!json_is_boolean(ok))
        return es_err_set(err, ES_EPROTO, "field ok is %s, expected true or false",
                          ok == NULL ? "missing" : "something else");
    result->ok = json_is_true(ok);
    if (result->ok) {
        TRY(es_wire_object(root, "", "evidence", &object, err));
        result->evidence = json_incref(object);
        return 0;
    }
    TRY(es_wire_object(root, "", "error", &object, err));
    TRY(es_wire_word(object, "error.", "code", result->error_code,
                     sizeof result->error_code, err));
    return es_wire_text(object, "error.", "text", result->error_text,
                        sizeof result->error_text, err);
}

static int decode_part(const json_t *root, struct es_wire_msg *msg, struct es_err *err)
{
    msg->type = ES_WIRE_PART;
    TRY(es_wire_int(root, "", "id", 1, ES_WIRE_INT_MAX, &msg->part_id, err));
    TRY(es_wire_int(root, "", "part", 0, ES_WIRE_INT_MAX, &msg->part_no, err));
    TRY(es_wire_word(root, "", "stream", msg->part_stream, sizeof msg->part_stream, err));
    if (!es_str_eq(msg->part_stream, "out") && !es_str_eq(msg->part_stream, "err") &&
        !es_str_eq(msg->part_stream, "data"))
        return es_err_set(err, ES_EPROTO, "field stream is not out, err or data");
    json_t *data = json_object_get(root, "data");
    if (!json_is_string(data) ||
        json_string_length(data) > (ES_WIRE_DATA_MAX + 2) / 3 * 4)
        return es_err_set(err, ES_EPROTO, "field data is not a text for at most %u bytes",
                          ES_WIRE_DATA_MAX);
    msg->part_data = json_incref(data);
    return 0;
}

static int decode_root(const json_t *root, bool from_agent, struct es_wire_msg *msg,
                       struct es_err *err)
{
    if (json_object_get(root, "sync") != NULL)
        return decode_sync(root, from_agent, msg, err);
    if (!from_agent && json_object_get(root, "op") != NULL)
        return decode_request(root, msg, err);
    if (!from_agent && json_object_get(root, "ack") != NULL)
        return decode_ack(root, msg, err);
    if (from_agent && json_object_get(root, "seq") != NULL)
        return decode_result(root, msg, err);
    if (from_agent && json_object_get(root, "part") != NULL)
        return decode_part(root, msg, err);
    if (from_agent && json_object_get(root, "beat") != NULL) {
        msg->type = ES_WIRE_BEAT;
        return es_wire_int(root, "", "beat", 0, ES_WIRE_INT_MAX, &msg->beat_ms, err);
    }
    return es_err_set(err, ES_EPROTO, "no message of the protocol");
}

void es_wire_msg_finish(struct es_wire_msg *msg)
{
    if (msg == NULL)
        return;
    json_decref(msg->request.args);
    json_decref(msg->result.evidence);
    json_decref(msg->part_data);
    msg->request.args = NULL;
    msg->result.evidence = NULL;
    msg->part_data = NULL;
}

int es_wire_decode(const char *line, size_t len, bool from_agent,
                   struct es_wire_msg *ret_msg, struct es_err *err)
{
    memset(ret_msg, 0, sizeof *ret_msg);
    TRY(check_shape(line, len, err));
    json_error_t why;
    es_wire_alloc_watch();
    json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL || es_wire_alloc_failed()) {
        json_decref(root);
        return explain(&why, err);
    }
    int rc = json_is_object(root) ? decode_root(root, from_agent, ret_msg, err)
                                  : es_err_set(err, ES_EPROTO, "not a JSON object");
    json_decref(root);
    if (rc != 0) {
        int64_t id = rc == ES_ENOTSUP ? ret_msg->request.id : 0;
        es_wire_msg_finish(ret_msg);
        memset(ret_msg, 0, sizeof *ret_msg);
        if (id != 0) {
            ret_msg->type = ES_WIRE_REQUEST;
            ret_msg->request.id = id;
        }
    }
    return rc;
}
