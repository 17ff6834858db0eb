/* common/str: numbers with bounds, durations, suggestions, escaping. */
#include <check.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

START_TEST(durations)
{
    int64_t ms;
    ck_assert_int_eq(es_str_duration("1h30m", &ms), 0);
    ck_assert_int_eq(ms, 5400000);
    ck_assert_int_eq(es_str_duration("2d", &ms), 0);
    ck_assert_int_eq(ms, 172800000);
    ck_assert_int_eq(es_str_duration("500ms", &ms), 0);
    ck_assert_int_eq(ms, 500);
    static const char *const bad[] = {"",     "90",  "30m1h", "1h1h", "h",
                                      "1.5h", "-1s", "1 h",   "5S"};
    for (size_t i = 0; i < ES_COUNT(bad); i++)
        ck_assert_int_eq(es_str_duration(bad[i], &ms), ES_EINVAL);
    ck_assert_int_eq(es_str_duration("99999999999999999d", &ms), ES_ELIMIT);
    char text[32];
    ck_assert_str_eq(es_str_from_ms(5400000, text, sizeof text), "1h30m");
    ck_assert_str_eq(es_str_from_ms(0, text, sizeof text), "0s");
    ck_assert_str_eq(es_str_from_ms(-1500, text, sizeof text), "-1s500ms");
}
END_TEST

START_TEST(cut_between_characters)
{
    static const char text[] =
        "a\xc3\xa9\xe6\xbc\x94\xf0\x9f\x98\x80"; /* 1, 2, 3, 4 bytes */
    char dst[sizeof text];
    for (size_t size = 1; size < sizeof text; size++) {
        ck_assert_int_eq(es_str_printf(dst, size, "%s", text), ES_ELIMIT);
        ck_assert_int_eq(strncmp(dst, text, strlen(dst)), 0);
        ck_assert(es_utf8_valid(dst, strlen(dst)));
        ck_assert_uint_gt(strlen(dst) + 4, size - 1); /* and not more than one is lost */
    }
    ck_assert_int_eq(es_str_printf(dst, sizeof dst, "%s", text), 0);
    ck_assert_str_eq(dst, text);
    ck_assert_int_eq(es_str_printf(dst, 4, "%s", "\x80\x80\x80\x80"), ES_ELIMIT);
    ck_assert_uint_eq(strlen(dst), 3); /* not UTF-8 at all: as it is */
}
END_TEST

START_TEST(sizes)
{
    int64_t bytes;
    ck_assert_int_eq(es_str_size("512 MiB", &bytes), 0);
    ck_assert_int_eq(bytes, 512LL << 20);
    ck_assert_int_eq(es_str_size("4096", &bytes), 0);
    ck_assert_int_eq(bytes, 4096);
    ck_assert_int_eq(es_str_size("1 MB", &bytes), ES_EINVAL);
    ck_assert_int_eq(es_str_size("9999999999 TiB", &bytes), ES_ELIMIT);
}
END_TEST

static const char *word_at(const void *ctx, size_t i)
{
    return ((const char *const *)ctx)[i];
}

START_TEST(nearest_word)
{
    static const char *const words[] = {"image", "memory", "networks", "cpus", NULL};
    ck_assert_str_eq(es_str_nearest("imgae", word_at, words), "image");
    ck_assert_str_eq(es_str_nearest("network", word_at, words), "networks");
    ck_assert_ptr_null(es_str_nearest("zebra", word_at, words));
}
END_TEST

START_TEST(utf8_repair)
{
    char cut[] = "\xe3\x81\x82\xe3\x81", mixed[] = "a\xff"
                                                   "b\xe3\x81\x82\x80"
                                                   "c";
    es_utf8_repair(cut);
    ck_assert_str_eq(cut, "\xe3\x81\x82");
    es_utf8_repair(mixed);
    ck_assert_str_eq(mixed, "ab\xe3\x81\x82"
                            "c");
    char whole[] = "caf\xc3\xa9";
    es_utf8_repair(whole);
    ck_assert_str_eq(whole, "caf\xc3\xa9");
}
END_TEST

START_TEST(terminal_escapes)
{
    struct es_buf out;
    es_buf_init(&out, 4096);
    static const char hostile[] = "a\x1b[31m\xe2\x80\xae\xff\n\xe6\xbc\x94";
    es_str_escape_terminal(&out, hostile, sizeof hostile - 1, false);
    ck_assert_str_eq(es_buf_str(&out), "a\\x1b[31m\\xe2\\x80\\xae\\xff\\x0a\xe6\xbc\x94");
    es_buf_finish(&out);
}
END_TEST

START_TEST(addresses)
{
    uint32_t addr;
    int prefix;
    char text[16];
    ck_assert_int_eq(es_ip4_parse("10.20.0.10", &addr), 0);
    ck_assert_str_eq(es_ip4_format(addr, text), "10.20.0.10");
    ck_assert_int_eq(es_ip4_parse("10.20.0.256", &addr), ES_EINVAL);
    ck_assert_int_eq(es_ip4_parse("10.020.0.1", &addr), ES_EINVAL);
    ck_assert_int_eq(es_cidr4_parse("10.20.0.0/24", &addr, &prefix), 0);
    ck_assert_int_eq(prefix, 24);
    ck_assert_int_eq(es_cidr4_parse("10.20.0.1/24", &addr, &prefix), ES_EINVAL);
}
END_TEST

START_TEST(buffers_stop_at_their_limit)
{
    struct es_buf buf;
    es_buf_init(&buf, 4);
    ck_assert_int_eq(es_buf_puts(&buf, "abcd"), 0);
    ck_assert_int_eq(es_buf_putc(&buf, 'e'), ES_ELIMIT);
    ck_assert_str_eq(es_buf_str(&buf), "abcd");
    ck_assert_ptr_null(es_buf_take(&buf));
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

Suite *str_suite(void);
Suite *str_suite(void)
{
    Suite *suite = suite_create("str");
    TCase *tc = tcase_create("str");
    tcase_add_test(tc, durations);
    tcase_add_test(tc, cut_between_characters);
    tcase_add_test(tc, sizes);
    tcase_add_test(tc, nearest_word);
    tcase_add_test(tc, utf8_repair);
    tcase_add_test(tc, terminal_escapes);
    tcase_add_test(tc, addresses);
    tcase_add_test(tc, buffers_stop_at_their_limit);
    suite_add_tcase(suite, tc);
    return suite;
}
