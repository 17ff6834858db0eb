/* The fuzz corpus of scenarios, replayed; the malformed scenarios go the same way. */
#include <check.h>

#include "../fuzz/fuzz_scenario.c"
#include "../support/corpus.h"

START_TEST(corpus)
{
    ck_assert_int_ge(corpus_replay("scenario", fuzz_scenario), 2);
}
END_TEST

Suite *fuzz_scenario_suite(void);
Suite *fuzz_scenario_suite(void)
{
    Suite *suite = suite_create("fuzz_scenario");
    TCase *tc = tcase_create("fuzz_scenario");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, corpus);
    suite_add_tcase(suite, tc);
    return suite;
}
