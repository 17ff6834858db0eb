/* wire/lines: cutting a stream, however its bytes arrive. */
#include <check.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/wire.h"

static struct es_lines lines;

static void setup(void)
{
    es_lines_init(&lines);
}

static void teardown(void)
{
    es_lines_finish(&lines);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static int feed(const char *s)
{
    return es_lines_feed(&lines, s, strlen(s));
}

static void expect(const char *wanted)
{
    const char *line;
    size_t len;
    bool got = es_lines_next(&lines, &line, &len);
    ck_assert_int_eq(got, wanted != NULL);
    if (got) {
        ck_assert_uint_eq(len, strlen(wanted));
        ck_assert_mem_eq(line, wanted, len);
    }
}

START_TEST(lines_in_pieces)
{
    ck_assert_int_eq(feed("one\ntw"), 0);
    expect("one");
    expect(NULL);
    ck_assert_int_eq(feed("o"), 0);
    expect(NULL);
    ck_assert_int_eq(feed("\n\n\nthree\nfo"), 0);
    expect("two");
    ck_assert_int_eq(feed("ur\n"), 0); /* "three" was not taken out yet */
    expect("three");
    expect("four");
    expect(NULL);
}
END_TEST

START_TEST(every_cut_of_a_stream_gives_the_same_lines)
{
    static const char stream[] = "a\nbb\n\nccc\n";
    for (size_t cut = 0; cut < sizeof stream; cut++) {
        ck_assert_int_eq(es_lines_feed(&lines, stream, cut), 0);
        ck_assert_int_eq(es_lines_feed(&lines, stream + cut, sizeof stream - 1 - cut), 0);
        expect("a");
        expect("bb");
        expect("ccc");
        expect(NULL);
    }
}
END_TEST

START_TEST(an_endless_line_is_reported_once_and_skipped)
{
    static char block[30000];
    memset(block, 'x', sizeof block);
    int limits = 0;
    ck_assert_int_eq(feed("first\n"), 0);
    for (int i = 0; i < 100; i++) {
        int rc = es_lines_feed(&lines, block, sizeof block);
        ck_assert(rc == 0 || rc == ES_ELIMIT);
        limits += rc != 0;
        ck_assert_uint_le(lines.buf.len, ES_WIRE_LINE_MAX + sizeof block);
    }
    ck_assert_int_eq(limits, 1);
    ck_assert_int_eq(feed("end\nnext\n"), 0);
    expect("first");
    expect("next");
    expect(NULL);
}
END_TEST

START_TEST(the_longest_line_fits_and_one_byte_more_does_not)
{
    static char block[ES_WIRE_LINE_MAX + 1];
    memset(block, 'x', sizeof block);
    block[ES_WIRE_LINE_MAX - 1] = '\n';
    ck_assert_int_eq(es_lines_feed(&lines, block, ES_WIRE_LINE_MAX), 0);
    const char *line;
    size_t len;
    ck_assert(es_lines_next(&lines, &line, &len));
    ck_assert_uint_eq(len, ES_WIRE_LINE_MAX - 1);
    ck_assert_int_eq(es_lines_feed(&lines, block, ES_WIRE_LINE_MAX - 1), 0);
    ck_assert_int_eq(feed("y\n"), ES_ELIMIT);
    ck_assert_int_eq(feed("z\n"), 0);
    expect("z");
    memset(block, 'x', sizeof block);
    block[ES_WIRE_LINE_MAX] = '\n';
    ck_assert_int_eq(es_lines_feed(&lines, block, sizeof block), ES_ELIMIT);
    ck_assert_int_eq(feed("z\n"), 0);
    expect("z");
}
END_TEST

START_TEST(a_reset_forgets_everything)
{
    ck_assert_int_eq(feed("whole\npart"), 0);
    es_lines_reset(&lines);
    ck_assert_int_eq(feed("ial\n"), 0);
    expect("ial");
    expect(NULL);
}
END_TEST

START_TEST(failed_allocations_lose_one_line_at_most)
{
    for (long n = 1; n < 4; n++) {
        es_lines_finish(&lines);
        es_lines_init(&lines);
        static char block[400];
        memset(block, 'x', sizeof block);
        es_mem_fail_nth(n);
        int failures = feed("one\n") != 0;
        failures += es_lines_feed(&lines, block, sizeof block) != 0;
        failures += feed("end\n") != 0;
        ck_assert_int_eq(failures, es_mem_failed() ? 1 : 0);
        es_mem_fail_nth(0);
        ck_assert_int_eq(feed("last\n"), 0);
        const char *line = "";
        size_t len = 0;
        int count = 0;
        while (es_lines_next(&lines, &line, &len))
            count++;
        ck_assert_int_eq(count, 3 - failures);
        ck_assert_mem_eq(line, "last", 4);
    }
}
END_TEST

Suite *lines_suite(void);
Suite *lines_suite(void)
{
    Suite *suite = suite_create("lines");
    TCase *tc = tcase_create("lines");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, lines_in_pieces);
    tcase_add_test(tc, every_cut_of_a_stream_gives_the_same_lines);
    tcase_add_test(tc, an_endless_line_is_reported_once_and_skipped);
    tcase_add_test(tc, the_longest_line_fits_and_one_byte_more_does_not);
    tcase_add_test(tc, a_reset_forgets_everything);
    tcase_add_test(tc, failed_allocations_lose_one_line_at_most);
    suite_add_tcase(suite, tc);
    return suite;
}
