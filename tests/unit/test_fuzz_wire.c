/* The corpus of agent lines, replayed. */
#include <check.h>

#include "../fuzz/fuzz_wire.c"
#include "../support/corpus.h"

START_TEST(corpus_of_agent_lines)
{
    ck_assert_int_gt(corpus_replay("wire", fuzz_wire), 20);
}
END_TEST

Suite *fuzz_wire_suite(void);
Suite *fuzz_wire_suite(void)
{
    Suite *suite = suite_create("fuzz_wire");
    TCase *tc = tcase_create("fuzz_wire");
    tcase_add_test(tc, corpus_of_agent_lines);
    suite_add_tcase(suite, tc);
    return suite;
}
