/* Fuzz entry for agent lines: the cutter, the decoder both ways, base64.
 *
 * The first byte says how the rest is fed: bit 0 from the agent or from the core, bits 1-7
 * the size of the pieces. What is checked besides memory: pieces never change the lines,
 * what was decoded can be encoded and decodes to the same, nothing leaks. */
#include <stdint.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/wire.h"
#include "fuzz.h"

static void check_base64(const struct es_wire_msg *msg)
{
    struct es_buf bytes;
    const char *text = json_string_value(msg->part_data);
    es_buf_init(&bytes, ES_WIRE_DATA_MAX + 2);
    if (es_base64_decode(text, json_string_length(msg->part_data), &bytes) == 0) {
        json_t *again = es_base64_json(bytes.data, bytes.len);
        ES_ASSERT(json_equal(again, msg->part_data));
        json_decref(again);
    }
    es_buf_finish(&bytes);
}

static int encode(struct es_buf *out, const struct es_wire_msg *msg, bool from_agent)
{
    switch (msg->type) {
    case ES_WIRE_SYNC:
        return es_wire_put_sync(out, msg->nonce, from_agent ? &msg->hello : NULL);
    case ES_WIRE_REQUEST:
        return es_wire_put_request(out, &msg->request);
    case ES_WIRE_ACK:
        return es_wire_put_ack(out, msg->ack_epoch, msg->ack_seq);
    case ES_WIRE_RESULT:
        return es_wire_put_result(out, &msg->result);
    case ES_WIRE_BEAT:
        return es_wire_put_beat(out, msg->beat_ms);
    case ES_WIRE_PART:
        check_base64(msg);
        return es_wire_put_part(out, msg->part_id, msg->part_no, msg->part_stream, "x",
                                1);
    }
    return ES_EINTERNAL;
}

static void check_line(const char *line, size_t len, bool from_agent)
{
    struct es_wire_msg msg, again;
    struct es_err err = {0};
    struct es_buf out;
    int rc = es_wire_decode(line, len, from_agent, &msg, &err);
    ES_ASSERT(rc == 0 || (rc == err.code && err.msg[0] != '\0'));
    if (rc != 0)
        return;
    es_buf_init(&out, ES_WIRE_LINE_MAX);
    rc = encode(&out, &msg, from_agent);
    /* Escapes and full numbers can make a line longer than it came. */
    ES_ASSERT(rc == 0 || rc == ES_ELIMIT);
    if (rc == 0) {
        ES_ASSERT(es_wire_decode(out.data, out.len - 1, from_agent, &again, &err) == 0);
        ES_ASSERT(again.type == msg.type && again.ack_seq == msg.ack_seq);
        ES_ASSERT(again.result.seq == msg.result.seq && again.result.id == msg.result.id);
        ES_ASSERT(strcmp(again.result.error_text, msg.result.error_text) == 0);
        ES_ASSERT(strcmp(again.hello.epoch, msg.hello.epoch) == 0);
        ES_ASSERT(strcmp(again.nonce, msg.nonce) == 0);
        ES_ASSERT(json_equal(again.result.evidence, msg.result.evidence) ||
                  msg.result.evidence == NULL);
        ES_ASSERT(json_equal(again.request.args, msg.request.args) ||
                  msg.request.args == NULL);
        es_wire_msg_finish(&again);
    }
    es_buf_finish(&out);
    es_wire_msg_finish(&msg);
}

/* Cuts the stream fed in pieces; each line must be the next one of the stream. */
static void check_stream(const char *data, size_t size, size_t piece, bool from_agent)
{
    struct es_lines lines;
    const char *line;
    size_t len, at = 0;
    es_lines_init(&lines);
    for (size_t off = 0; off < size; off += piece) {
        size_t n = size - off < piece ? size - off : piece;
        int rc = es_lines_feed(&lines, data + off, n);
        ES_ASSERT(rc == 0 || rc == ES_ELIMIT);
        while (es_lines_next(&lines, &line, &len)) {
            const char *end;
            for (;;) {
                end = memchr(data + at, '\n', size - at);
                ES_ASSERT(end != NULL);
                size_t here = (size_t)(end - data) - at;
                if (here != 0 && here < ES_WIRE_LINE_MAX)
                    break;
                at += here + 1;
            }
            ES_ASSERT(len == (size_t)(end - data) - at);
            ES_ASSERT(memcmp(line, data + at, len) == 0);
            at += len + 1;
            check_line(line, len, from_agent);
        }
    }
    es_lines_finish(&lines);
}

int fuzz_wire(const uint8_t *data, size_t size)
{
    es_wire_use_allocator();
    if (size < 1 || size > ES_LINES_FEED_MAX)
        return 0;
    bool from_agent = (data[0] & 1) != 0;
    size_t piece = data[0] >> 1;
    const char *text = (const char *)data + 1;
    check_stream(text, size - 1, piece != 0 ? piece : ES_LINES_FEED_MAX, from_agent);
    check_line(text, size - 1, from_agent);
    ES_ASSERT(es_mem_live_count() == 0);
    return 0;
}
FUZZ_MAIN(fuzz_wire)
