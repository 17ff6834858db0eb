/* wire: what is decoded, what is refused, and that nothing leaks when memory runs out. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/wire.h"

static struct es_wire_msg msg;
static struct es_err err;

static int decode(const char *line, bool from_agent)
{
    memset(&err, 0, sizeof err);
    return es_wire_decode(line, strlen(line), from_agent, &msg, &err);
}

static void setup(void)
{
    es_wire_use_allocator();
}

static void teardown(void)
{
    es_mem_fail_nth(0);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static const struct es_hello hello = {.wire = 1,
                                      .version = "0.1.0",
                                      .epoch = "0123456789abcdef",
                                      .boot_id = "1e4f-2",
                                      .uptime_ms = 5,
                                      .held_count = 3};

START_TEST(sync_goes_both_ways)
{
    struct es_buf out;
    es_buf_init(&out, ES_WIRE_LINE_MAX);
    ck_assert_int_eq(es_wire_put_sync(&out, "n0nce", NULL), 0);
    ck_assert_str_eq(es_buf_str(&out), "{\"sync\":\"n0nce\"}\n");
    ck_assert_int_eq(decode(es_buf_str(&out), false), 0);
    ck_assert_int_eq(msg.type, ES_WIRE_SYNC);
    ck_assert_str_eq(msg.nonce, "n0nce");
    es_wire_msg_finish(&msg);
    ck_assert_int_eq(decode(es_buf_str(&out), true), ES_EPROTO);
    ck_assert_str_eq(err.msg, "field hello is missing, expected an object");

    es_buf_clear(&out);
    ck_assert_int_eq(es_wire_put_sync(&out, "n0nce", &hello), 0);
    ck_assert_int_eq(decode(es_buf_str(&out), true), 0);
    ck_assert_int_eq(msg.hello.wire, 1);
    ck_assert_str_eq(msg.hello.version, "0.1.0");
    ck_assert_str_eq(msg.hello.epoch, "0123456789abcdef");
    ck_assert_str_eq(msg.hello.boot_id, "1e4f-2");
    ck_assert_int_eq(msg.hello.uptime_ms, 5);
    ck_assert_int_eq(msg.hello.held_count, 3);
    es_wire_msg_finish(&msg);
    es_buf_finish(&out);
}
END_TEST

START_TEST(requests_go_to_the_agent)
{
    struct es_buf out;
    es_buf_init(&out, ES_WIRE_LINE_MAX);
    struct es_request request = {
        .id = 7, .op = ES_OP_PUT, .deadline_ms = 900, .max_bytes = 10};
    request.args = json_pack("{s:s,s:i}", "path", "/\xe6\xbc\x94 \"x\"", "off", 3);
    ck_assert_int_eq(es_wire_put_request(&out, &request), 0);
    json_decref(request.args);
    ck_assert_int_eq(decode(es_buf_str(&out), false), 0);
    ck_assert_int_eq(msg.type, ES_WIRE_REQUEST);
    ck_assert_int_eq(msg.request.id, 7);
    ck_assert_int_eq(msg.request.op, ES_OP_PUT);
    ck_assert_int_eq(msg.request.deadline_ms, 900);
    ck_assert_int_eq(msg.request.max_bytes, 10);
    ck_assert_str_eq(json_string_value(json_object_get(msg.request.args, "path")),
                     "/\xe6\xbc\x94 \"x\"");
    es_wire_msg_finish(&msg);
    ck_assert_int_eq(decode(es_buf_str(&out), true), ES_EPROTO);
    es_buf_clear(&out);
    request.args = NULL;
    ck_assert_int_eq(es_wire_put_request(&out, &request), 0);
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "\"args\":{},"));
    es_buf_finish(&out);
}
END_TEST

START_TEST(an_unknown_op_keeps_its_id)
{
    ck_assert_int_eq(decode("{\"id\":12,\"op\":\"dance\",\"args\":{},\"deadline_ms\":1,"
                            "\"max_bytes\":0}",
                            false),
                     ES_ENOTSUP);
    ck_assert_int_eq(msg.type, ES_WIRE_REQUEST);
    ck_assert_int_eq(msg.request.id, 12);
    ck_assert_str_eq(err.msg, "op dance is not known to this version");
}
END_TEST

START_TEST(results_come_from_the_agent)
{
    struct es_buf out;
    es_buf_init(&out, ES_WIRE_LINE_MAX);
    struct es_result result = {
        .id = 7, .seq = 9, .epoch = "00000000000000ff", .ok = true};
    result.took_ms = 41;
    result.evidence = json_pack("{s:b}", "exists", 1);
    ck_assert_int_eq(es_wire_put_result(&out, &result), 0);
    json_decref(result.evidence);
    ck_assert_int_eq(decode(es_buf_str(&out), true), 0);
    ck_assert_int_eq(msg.type, ES_WIRE_RESULT);
    ck_assert_int_eq(msg.result.seq, 9);
    ck_assert_str_eq(msg.result.epoch, "00000000000000ff");
    ck_assert_int_eq(msg.result.took_ms, 41);
    ck_assert(msg.result.ok);
    ck_assert(json_is_true(json_object_get(msg.result.evidence, "exists")));
    es_wire_msg_finish(&msg);

    es_buf_clear(&out);
    result.ok = false;
    result.evidence = NULL;
    snprintf(result.error_code, sizeof result.error_code, "not-found");
    snprintf(result.error_text, sizeof result.error_text, "no \"%s\"\n\xff\xe6\xbc",
             "web");
    ck_assert_int_eq(es_wire_put_result(&out, &result), 0);
    ck_assert_int_eq(decode(es_buf_str(&out), true), 0);
    ck_assert(!msg.result.ok);
    ck_assert_str_eq(msg.result.error_code, "not-found");
    ck_assert_str_eq(msg.result.error_text, "no \"web\"\n???");
    es_wire_msg_finish(&msg);
    snprintf(result.error_code, sizeof result.error_code, "not found");
    ck_assert_int_eq(es_wire_put_result(&out, &result), ES_EINVAL);
    es_buf_finish(&out);
}
END_TEST

START_TEST(acks_parts_and_beats)
{
    struct es_buf out, data;
    es_buf_init(&out, ES_WIRE_LINE_MAX);
    es_buf_init(&data, 16);
    ck_assert_int_eq(es_wire_put_ack(&out, "00000000000000ff", 8), 0);
    ck_assert_int_eq(decode(es_buf_str(&out), false), 0);
    ck_assert_int_eq(msg.type, ES_WIRE_ACK);
    ck_assert_int_eq(msg.ack_seq, 8);
    ck_assert_str_eq(msg.ack_epoch, "00000000000000ff");
    es_buf_clear(&out);
    ck_assert_int_eq(es_wire_put_part(&out, 7, 2, "out", "a\0\xff", 3), 0);
    ck_assert_int_eq(decode(es_buf_str(&out), true), 0);
    ck_assert_int_eq(msg.type, ES_WIRE_PART);
    ck_assert_int_eq(msg.part_id, 7);
    ck_assert_int_eq(msg.part_no, 2);
    ck_assert_str_eq(msg.part_stream, "out");
    ck_assert_int_eq(es_base64_decode(json_string_value(msg.part_data),
                                      json_string_length(msg.part_data), &data),
                     0);
    ck_assert_mem_eq(data.data, "a\0\xff", 3);
    es_wire_msg_finish(&msg);
    es_buf_clear(&out);
    ck_assert_int_eq(es_wire_put_beat(&out, 1234), 0);
    ck_assert_int_eq(decode(es_buf_str(&out), true), 0);
    ck_assert_int_eq(msg.type, ES_WIRE_BEAT);
    ck_assert_int_eq(msg.beat_ms, 1234);
    es_wire_msg_finish(&msg);
    es_buf_finish(&out);
    es_buf_finish(&data);
}
END_TEST

/* clang-format off */
#define RESULT(seq, epoch, id, rest) \
    "{\"seq\":" seq ",\"epoch\":\"" epoch "\",\"id\":" id "," rest "}"
#define EPOCH "0123456789abcdef"
/* clang-format on */

static const char *const bad_from_agent[] = {
    "",
    " ",
    "null",
    "17",
    "[]",
    "{",
    "{}",
    "{}{}",
    "{\"beat\":1} x",
    "garbage \x01\x02",
    "{\"beat\":-1}",
    "{\"beat\":1.0}",
    "{\"beat\":\"1\"}",
    "{\"beat\":9007199254740992}",
    "{\"beat\":9223372036854775808}",
    "{\"beat\":1e999}",
    "{\"beat\":1,\"beat\":2}",
    "{\"beat\":1,\"x\":\"\xff\"}",
    "{\"beat\":1,\"x\":\"\xed\xa0\x80\"}",
    "{\"beat\":1,\"x\":\"a\\u0000b\"}",
    "{\"ack\":1,\"epoch\":\"" EPOCH "\"}",
    "{\"id\":1,\"op\":\"probe\",\"args\":{},\"deadline_ms\":1,\"max_bytes\":0}",
    RESULT("0", EPOCH, "1", "\"ok\":true,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", EPOCH, "0", "\"ok\":true,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", EPOCH, "-4", "\"ok\":true,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", "0123456789ABCDEF", "1", "\"ok\":true,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", "0123456789abcde", "1", "\"ok\":true,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", EPOCH, "1", "\"ok\":1,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", EPOCH, "1", "\"ok\":true,\"evidence\":[],\"took_ms\":1"),
    RESULT("1", EPOCH, "1", "\"ok\":true,\"took_ms\":1"),
    RESULT("1", EPOCH, "1", "\"ok\":true,\"evidence\":{}"),
    RESULT("1", EPOCH, "1", "\"ok\":true,\"evidence\":{},\"took_ms\":null"),
    RESULT("1", EPOCH, "1", "\"ok\":false,\"evidence\":{},\"took_ms\":1"),
    RESULT("1", EPOCH, "1",
           "\"ok\":false,\"error\":{\"code\":\"\",\"text\":\"\"},\"took_ms\":1"),
    RESULT("1", EPOCH, "1", "\"ok\":false,\"error\":{\"code\":\"x\"},\"took_ms\":1"),
    RESULT("1", EPOCH, "1",
           "\"ok\":false,\"error\":{\"code\":\"aaaaaaaaaaaaaaaaaaaaaaaa\",\"text\":\"\"},"
           "\"took_ms\":1"),
    "{\"id\":1,\"part\":0,\"stream\":\"in\",\"data\":\"\"}",
    "{\"id\":1,\"part\":0,\"stream\":\"out\",\"data\":1}",
    "{\"id\":1,\"part\":0,\"stream\":\"a-longer-name\",\"data\":\"\"}",
    "{\"sync\":\"n\",\"hello\":{}}",
    "{\"sync\":\"n n\",\"hello\":{}}",
    "{\"sync\":1}",
    "{\"sync\":\"n\",\"hello\":{\"wire\":0,\"version\":\"1\",\"epoch\":\"" EPOCH
    "\",\"boot_id\":\"b\",\"uptime_ms\":1,\"held\":0}}",
    "{\"sync\":\"n\",\"hello\":{\"wire\":1,\"version\":\"\\u001b[2J\",\"epoch\":\"" EPOCH
    "\",\"boot_id\":\"b\",\"uptime_ms\":1,\"held\":0}}",
};

START_TEST(refused_from_an_agent)
{
    const char *line = bad_from_agent[_i];
    ck_assert_msg(decode(line, true) == ES_EPROTO, "accepted: %s", line);
    ck_assert_msg(err.code == ES_EPROTO && err.msg[0] != '\0', "no reason for: %s", line);
    ck_assert_ptr_null(msg.result.evidence);
    for (const char *c = err.msg; *c != '\0'; c++)
        ck_assert_msg((unsigned char)*c >= ' ', "control byte in: %s", err.msg);
}
END_TEST

static const char *const bad_from_core[] = {
    "{\"beat\":1}",
    "{\"ack\":0,\"epoch\":\"" EPOCH "\"}",
    "{\"ack\":1}",
    "{\"ack\":1,\"epoch\":\"x\"}",
    "{\"sync\":\"\"}",
    "{\"sync\":\"01234567890123456789012345678901234567890123456789012345678901234\"}",
    "{\"id\":1,\"op\":\"probe\",\"args\":[],\"deadline_ms\":1,\"max_bytes\":0}",
    "{\"id\":1,\"op\":\"probe\",\"args\":{},\"deadline_ms\":0,\"max_bytes\":0}",
    "{\"id\":1,\"op\":\"probe\",\"args\":{},\"deadline_ms\":604800001,\"max_bytes\":0}",
    "{\"id\":1,\"op\":\"probe\",\"args\":{},\"deadline_ms\":1,\"max_bytes\":-1}",
    "{\"id\":9007199254740992,\"op\":\"probe\",\"args\":{},\"deadline_ms\":1,\"max_"
    "bytes\":0}",
    "{\"id\":1,\"op\":7,\"args\":{},\"deadline_ms\":1,\"max_bytes\":0}",
};

START_TEST(refused_from_the_core)
{
    const char *line = bad_from_core[_i];
    ck_assert_msg(decode(line, false) == ES_EPROTO, "accepted: %s", line);
    ck_assert_msg(err.msg[0] != '\0', "no reason for: %s", line);
}
END_TEST

START_TEST(unknown_fields_are_ignored)
{
    ck_assert_int_eq(decode("{\"beat\":1,\"team\":9,\"later\":{\"a\":[1.5,null]}}", true),
                     0);
    es_wire_msg_finish(&msg);
}
END_TEST

START_TEST(an_embedded_nul_is_refused)
{
    static const char line[] = "{\"beat\":1}\0{\"beat\":2}";
    ck_assert_int_eq(es_wire_decode(line, sizeof line - 1, true, &msg, &err), ES_EPROTO);
    static const char inside[] = "{\"beat\":1,\"x\":\"a\0b\"}";
    ck_assert_int_eq(es_wire_decode(inside, sizeof inside - 1, true, &msg, &err),
                     ES_EPROTO);
}
END_TEST

static char *filled(const char *head, const char *piece, size_t times, const char *tail)
{
    struct es_buf text;
    es_buf_init(&text, 1U << 20);
    es_buf_puts(&text, head);
    for (size_t i = 0; i < times; i++)
        es_buf_puts(&text, piece);
    es_buf_puts(&text, tail);
    return es_buf_take(&text);
}

START_TEST(depth_length_and_number_of_values_are_capped)
{
    char *deep = filled("{\"beat\":1,\"x\":", "[", 30000, "");
    ck_assert_int_eq(decode(deep, true), ES_EPROTO);
    ck_assert_str_eq(err.msg, "line is nested deeper than 32");
    es_free(deep);
    char *quoted = filled("{\"beat\":1,\"x\":\"\\\"", "[", 3000, "\"}");
    ck_assert_int_eq(decode(quoted, true), 0);
    es_wire_msg_finish(&msg);
    es_free(quoted);
    char *wide = filled("{\"beat\":1,\"x\":[0", ",0", 20000, "]}");
    ck_assert_int_eq(decode(wide, true), ES_EPROTO);
    ck_assert_str_eq(err.msg, "line holds more than 16384 values");
    es_free(wide);
    char *longest = filled("{\"beat\":1}", " ", ES_WIRE_LINE_MAX - 1 - 10, "");
    ck_assert_int_eq(decode(longest, true), 0);
    es_wire_msg_finish(&msg);
    es_free(longest);
    char *longer = filled("{\"beat\":1}", " ", ES_WIRE_LINE_MAX - 10, "");
    ck_assert_int_eq(decode(longer, true), ES_EPROTO);
    ck_assert_str_eq(err.msg, "line of 65536 bytes is longer than 65535");
    es_free(longer);
}
END_TEST

START_TEST(long_error_texts_are_cut_between_characters)
{
    char *line =
        filled("{\"seq\":1,\"epoch\":\"" EPOCH "\",\"id\":1,\"ok\":false,\"took_ms\":0,"
               "\"error\":{\"code\":\"failed\",\"text\":\"",
               "\xe6\xbc\x94", 90, "\"}}");
    ck_assert_int_eq(decode(line, true), 0);
    ck_assert_uint_eq(strlen(msg.result.error_text), 255);
    es_wire_msg_finish(&msg);
    es_free(line);
    line =
        filled("{\"seq\":1,\"epoch\":\"" EPOCH "\",\"id\":1,\"ok\":false,\"took_ms\":0,"
               "\"error\":{\"code\":\"failed\",\"text\":\"x",
               "\xe6\xbc\x94", 90, "\"}}");
    ck_assert_int_eq(decode(line, true), 0);
    ck_assert_uint_eq(strlen(msg.result.error_text), 253);
    es_wire_msg_finish(&msg);
    es_free(line);
}
END_TEST

START_TEST(lines_too_long_leave_the_buffer_as_it_was)
{
    struct es_buf out;
    es_buf_init(&out, 4U << 20);
    es_buf_puts(&out, "before");
    char *text = filled("", "x", ES_WIRE_LINE_MAX, "");
    struct es_request request = {.id = 1, .op = ES_OP_EXEC, .deadline_ms = 1};
    request.args = json_pack("{s:s}", "shell", text);
    ck_assert_int_eq(es_wire_put_request(&out, &request), ES_ELIMIT);
    ck_assert_str_eq(es_buf_str(&out), "before");
    ck_assert_int_eq(es_buf_status(&out), 0);
    ck_assert_int_eq(es_wire_put_part(&out, 1, 0, "out", text, ES_WIRE_DATA_MAX), 0);
    ck_assert_int_eq(es_wire_put_part(&out, 1, 0, "out", text, ES_WIRE_DATA_MAX + 1),
                     ES_ELIMIT);
    json_decref(request.args);
    request.args = json_array();
    ck_assert_int_eq(es_wire_put_request(&out, &request), ES_EINVAL);
    json_decref(request.args);
    es_free(text);
    es_buf_finish(&out);

    es_buf_init(&out, 4);
    ck_assert_int_eq(es_wire_put_beat(&out, 1), ES_ELIMIT);
    ck_assert_str_eq(es_buf_str(&out), "");
    ck_assert_int_eq(es_buf_status(&out), 0);
    es_buf_finish(&out);
}
END_TEST

START_TEST(base64_is_strict)
{
    struct es_buf out;
    es_buf_init(&out, 8);
    static const char *const bad[] = {
        "QQ",   "QQ=",   "Q===",          "QQ==QQ==",      "QR==",
        "Q Q=", "QQ=\n", "\xe6\xbc\x94=", "RDAQJU\xc3\xb8"};
    for (size_t i = 0; i < ES_COUNT(bad); i++)
        ck_assert_msg(es_base64_decode(bad[i], strlen(bad[i]), &out) == ES_EPROTO,
                      "accepted: %s", bad[i]);
    ck_assert_int_eq(es_base64_decode("QUI=", 4, &out), 0);
    ck_assert_int_eq(es_base64_decode("", 0, &out), 0);
    ck_assert_str_eq(es_buf_str(&out), "AB");
    ck_assert_int_eq(es_base64_decode("QUJDREVGR0hJ", 12, &out), ES_ELIMIT);
    ck_assert_str_eq(es_buf_str(&out), "AB");
    ck_assert_int_eq(es_buf_status(&out), 0);
    es_buf_finish(&out);
    json_t *json = es_base64_json("", 0);
    ck_assert_str_eq(json_string_value(json), "");
    json_decref(json);
}
END_TEST

/* Each allocation in turn fails: the decoder says so, or the whole line is right. */
START_TEST(decoding_survives_every_failed_allocation)
{
    static const char *const lines[] = {
        RESULT("123456789", EPOCH, "1234567890123456",
               "\"ok\":true,\"evidence\":{\"a long key of more than sixteen\":"
               "\"a long text of more than sixteen bytes\",\"list\":[1,2.5,{\"b\":{}}],"
               "\"c\":1,\"d\":2,\"e\":3,\"f\":4,\"g\":5,\"h\":6,\"i\":7,\"j\":8},\"took_"
               "ms\":1"),
        "{\"id\":1,\"part\":0,\"stream\":\"out\",\"data\":\"QUJDREVGR0hJSktMTU5PUFFSU1Q="
        "\"}",
    };
    for (size_t k = 0; k < ES_COUNT(lines); k++) {
        bool failed = true;
        for (long n = 1; failed; n++) {
            es_mem_fail_nth(n);
            int rc = decode(lines[k], true);
            failed = es_mem_failed();
            es_mem_fail_nth(0);
            ck_assert_int_eq(rc, failed ? ES_ENOMEM : 0);
            es_wire_msg_finish(&msg);
            ck_assert_int_eq(es_mem_live_count(), 0);
            ck_assert_int_lt(n, 1000);
        }
    }
}
END_TEST

START_TEST(encoding_survives_every_failed_allocation)
{
    struct es_result result = {.id = 7, .seq = 9, .epoch = EPOCH, .error_code = "failed"};
    struct es_request request = {.id = 7, .op = ES_OP_EXEC, .deadline_ms = 9};
    memset(result.error_text, 'x', sizeof result.error_text - 1);
    request.args =
        json_pack("{s:[s,{s:s}]}", "argv", "a", "b",
                  "a text of some length, so that the buffer has to grow at least "
                  "once while it is written into a line of this size");
    long before = es_mem_live_count();
    bool failed = true;
    for (long n = 1; failed; n++) {
        struct es_buf out;
        es_buf_init(&out, ES_WIRE_LINE_MAX * 4);
        es_mem_fail_nth(n);
        json_t *b64 = es_base64_json("abc", 3);
        int rcs[] = {es_wire_put_result(&out, &result),
                     es_wire_put_request(&out, &request),
                     es_wire_put_sync(&out, "n", &hello),
                     es_wire_put_part(&out, 1, 1, "err", "abc", 3),
                     es_base64_decode("QUI=", 4, &out)};
        failed = es_mem_failed();
        es_mem_fail_nth(0);
        int failures = b64 == NULL ? 1 : 0;
        for (size_t i = 0; i < ES_COUNT(rcs); i++) {
            ck_assert(rcs[i] == 0 || rcs[i] == ES_ENOMEM);
            failures += rcs[i] != 0;
        }
        ck_assert_int_eq(failures, failed ? 1 : 0);
        ck_assert_int_eq(es_buf_status(&out), 0);
        json_decref(b64);
        es_buf_finish(&out);
        ck_assert_int_eq(es_mem_live_count(), before);
    }
    json_decref(request.args);
}
END_TEST

Suite *wire_suite(void);
Suite *wire_suite(void)
{
    Suite *suite = suite_create("wire");
    TCase *tc = tcase_create("wire");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, sync_goes_both_ways);
    tcase_add_test(tc, requests_go_to_the_agent);
    tcase_add_test(tc, an_unknown_op_keeps_its_id);
    tcase_add_test(tc, results_come_from_the_agent);
    tcase_add_test(tc, acks_parts_and_beats);
    tcase_add_loop_test(tc, refused_from_an_agent, 0, (int)ES_COUNT(bad_from_agent));
    tcase_add_loop_test(tc, refused_from_the_core, 0, (int)ES_COUNT(bad_from_core));
    tcase_add_test(tc, unknown_fields_are_ignored);
    tcase_add_test(tc, an_embedded_nul_is_refused);
    tcase_add_test(tc, depth_length_and_number_of_values_are_capped);
    tcase_add_test(tc, long_error_texts_are_cut_between_characters);
    tcase_add_test(tc, lines_too_long_leave_the_buffer_as_it_was);
    tcase_add_test(tc, base64_is_strict);
    tcase_add_test(tc, decoding_survives_every_failed_allocation);
    tcase_add_test(tc, encoding_survives_every_failed_allocation);
    suite_add_tcase(suite, tc);
    return suite;
}
