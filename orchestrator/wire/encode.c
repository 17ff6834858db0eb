/* Encoders. JSON values are written by jansson; the frame around them holds only numbers
 * and words of a fixed alphabet, so it is printed. */
#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"
#include "wire_inner.h"

static const char *const op_names[] = {
#define X(name, word) word,
    ES_WIRE_OP_MAP(X)
#undef X
};

const char *es_wire_op_name(enum es_wire_op op)
{
    ES_ASSERT((size_t)op < ES_COUNT(op_names));
    return op_names[op];
}

/* One line being written; `rc` is the first failure. */
struct line {
    struct es_buf *out;
    size_t start;
    int status; /* the buffer's before */
    int rc;
};

static struct line begin(struct es_buf *out)
{
    return (struct line){
        .out = out, .start = out->len, .status = out->status, .rc = out->status};
}

static int end(struct line *line)
{
    struct es_buf *out = line->out;
    if (line->rc == 0)
        line->rc = es_buf_putc(out, '\n');
    if (line->rc == 0 && out->status != 0)
        line->rc = out->status;
    if (line->rc == 0 && out->len - line->start > ES_WIRE_LINE_MAX)
        line->rc = ES_ELIMIT;
    if (line->rc != 0 && out->len != line->start) {
        out->len = line->start;
        out->data[out->len] = '\0';
    }
    if (line->rc != 0)
        out->status = line->status;
    return line->rc;
}

static int on_json_bytes(const char *bytes, size_t len, void *ctx)
{
    struct line *line = ctx;
    if (line->out->len - line->start + len >= ES_WIRE_LINE_MAX)
        line->rc = ES_ELIMIT;
    else
        line->rc = es_buf_append(line->out, bytes, len);
    return line->rc == 0 ? 0 : -1;
}

static void put_json(struct line *line, const json_t *json)
{
    if (line->rc != 0)
        return;
    es_wire_alloc_watch();
    if (json_dump_callback(json, on_json_bytes, line, JSON_COMPACT | JSON_ENCODE_ANY) !=
            0 &&
        line->rc == 0)
        line->rc = es_wire_alloc_failed() ? ES_ENOMEM : ES_EINVAL;
}

static void put_object(struct line *line, const json_t *object)
{
    if (object == NULL)
        es_buf_puts(line->out, "{}");
    else if (json_is_object(object))
        put_json(line, object);
    else if (line->rc == 0)
        line->rc = ES_EINVAL;
}

/* A word of the protocol's alphabet, in quotes. */
static void put_word(struct line *line, const char *word)
{
    if (line->rc == 0 && !es_wire_is_word(word, ES_WIRE_NONCE_MAX))
        line->rc = ES_EINVAL;
    es_buf_putc(line->out, '"');
    es_buf_puts(line->out, word);
    es_buf_putc(line->out, '"');
}

/* Text that may hold anything, as a JSON string. */
static void put_text(struct line *line, const char *text, size_t max)
{
    char clean[256];
    size_t len = strnlen(text, max < sizeof clean ? max : sizeof clean);
    memcpy(clean, text, len);
    for (size_t i = 0; i < len;) {
        size_t n = 1;
        while (n < 4 && i + n <= len && !es_utf8_valid(clean + i, n))
            n++;
        if (i + n > len || !es_utf8_valid(clean + i, n)) {
            clean[i] = '?';
            n = 1;
        }
        i += n;
    }
    json_t *json = json_stringn_nocheck(clean, len);
    if (json == NULL)
        line->rc = line->rc != 0 ? line->rc : ES_ENOMEM;
    else
        put_json(line, json);
    json_decref(json);
}

int es_wire_put_sync(struct es_buf *out, const char *nonce, const struct es_hello *hello)
{
    struct line line = begin(out);
    es_buf_puts(out, "{\"sync\":");
    put_word(&line, nonce);
    if (hello != NULL) {
        es_buf_printf(out, ",\"hello\":{\"wire\":%d,\"version\":", hello->wire);
        put_word(&line, hello->version);
        es_buf_puts(out, ",\"epoch\":");
        put_word(&line, hello->epoch);
        es_buf_puts(out, ",\"boot_id\":");
        put_word(&line, hello->boot_id);
        es_buf_printf(out, ",\"uptime_ms\":%" PRId64 ",\"held\":%" PRId64 "}",
                      hello->uptime_ms, hello->held_count);
    }
    es_buf_putc(out, '}');
    return end(&line);
}

int es_wire_put_request(struct es_buf *out, const struct es_request *request)
{
    struct line line = begin(out);
    es_buf_printf(out, "{\"id\":%" PRId64 ",\"op\":\"%s\",\"args\":", request->id,
                  es_wire_op_name(request->op));
    put_object(&line, request->args);
    es_buf_printf(out, ",\"deadline_ms\":%" PRId64 ",\"max_bytes\":%" PRId64 "}",
                  request->deadline_ms, request->max_bytes);
    return end(&line);
}

int es_wire_put_result(struct es_buf *out, const struct es_result *result)
{
    struct line line = begin(out);
    es_buf_printf(out, "{\"seq\":%" PRId64 ",\"epoch\":", result->seq);
    put_word(&line, result->epoch);
    es_buf_printf(out, ",\"id\":%" PRId64, result->id);
    if (result->ok) {
        es_buf_puts(out, ",\"ok\":true,\"evidence\":");
        put_object(&line, result->evidence);
    } else {
        es_buf_puts(out, ",\"ok\":false,\"error\":{\"code\":");
        put_word(&line, result->error_code);
        es_buf_puts(out, ",\"text\":");
        put_text(&line, result->error_text, sizeof result->error_text);
        es_buf_putc(out, '}');
    }
    es_buf_printf(out, ",\"took_ms\":%" PRId64 "}", result->took_ms);
    return end(&line);
}

int es_wire_put_ack(struct es_buf *out, const char *epoch, int64_t seq)
{
    struct line line = begin(out);
    es_buf_printf(out, "{\"ack\":%" PRId64 ",\"epoch\":", seq);
    put_word(&line, epoch);
    es_buf_putc(out, '}');
    return end(&line);
}

int es_wire_put_part(struct es_buf *out, int64_t id, int64_t part_no, const char *stream,
                     const void *data, size_t len)
{
    if (len > ES_WIRE_DATA_MAX)
        return ES_ELIMIT;
    size_t size = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_ORIGINAL);
    char *text = es_alloc(size);
    if (text == NULL)
        return ES_ENOMEM;
    sodium_bin2base64(text, size, data, len, sodium_base64_VARIANT_ORIGINAL);
    struct line line = begin(out);
    es_buf_printf(out, "{\"id\":%" PRId64 ",\"part\":%" PRId64 ",\"stream\":", id,
                  part_no);
    put_word(&line, stream);
    es_buf_puts(out, ",\"data\":\"");
    es_buf_append(out, text, size - 1);
    es_buf_puts(out, "\"}");
    es_free(text);
    return end(&line);
}

int es_wire_put_beat(struct es_buf *out, int64_t uptime_ms)
{
    struct line line = begin(out);
    es_buf_printf(out, "{\"beat\":%" PRId64 "}", uptime_ms);
    return end(&line);
}
