/* The corpus of what a core may send to an agent, replayed. */
#include <check.h>

#include "../fuzz/fuzz_agent_lines.c"
#include "../support/corpus.h"

START_TEST(corpus_of_core_lines)
{
    es_wire_use_allocator();
    ck_assert_int_ge(corpus_replay("agent_lines", fuzz_agent_lines), 4);
}
END_TEST

Suite *agent_fuzz_suite(void);
Suite *agent_fuzz_suite(void)
{
    Suite *suite = suite_create("agent_fuzz");
    TCase *tc = tcase_create("agent_fuzz");
    tcase_add_test(tc, corpus_of_core_lines);
    suite_add_tcase(suite, tc);
    return suite;
}
