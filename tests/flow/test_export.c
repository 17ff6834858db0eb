/* ledger.export of a ledger larger than what a client may leave unread: every line arrives,
 * and a client that leaves in the middle does no harm. */
#include <check.h>
#include <string.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"

#define EVENTS     240
#define TEXT_BYTES 40000

static const char scenario[] =
    "enshu: 1\n"
    "name: core\n"
    "title: {en: The core alone}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "nodes:\n"
    "  pc: {image: fake, memory: 64 MiB, networks: {lab: 10.30.0.11}}\n"
    "conditions:\n"
    "  clean: {node: pc, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: 2s}\n"
    "objectives:\n"
    "  clean-pc: {title: {en: Clean the PC}, when: clean, points: 50}\n";

static struct core_world w;

/* What an exec is to run stands in its intent. */
static void fill_ledger(void)
{
    static char line[TEXT_BYTES + 1];
    memset(line, 'x', TEXT_BYTES);
    for (int i = 0; i < EVENTS; i++)
        cw_call(&w, "exec", json_pack("{s:s, s:s}", "machine", "t1/pc", "shell", line));
}

static void assert_whole(void)
{
    size_t large = 0, i;
    json_t *event, *events = cw_events(&w);
    json_array_foreach (events, i, event) {
        ck_assert_int_eq(json_integer_value(json_object_get(event, "pos")),
                         (json_int_t)i + 1);
        large += es_str_eq(json_string_value(json_object_get(event, "name")), "intent");
    }
    json_decref(events);
    ck_assert_uint_eq(large, EVENTS);
}

START_TEST(every_line_of_a_large_ledger_arrives)
{
    struct es_err err = {0};
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    fill_ledger();
    assert_whole();
    ck_assert_int_eq(es_client_call(w.client, "ledger.export",
                                    json_pack("{s:s}", "range", CORE_RANGE), NULL, &err),
                     0);
    cw_step(&w);
    cw_disconnect(&w);
    cw_connect(&w);
    assert_whole();
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

Suite *export_suite(void);
Suite *export_suite(void)
{
    Suite *suite = suite_create("export");
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, every_line_of_a_large_ledger_arrives);
    suite_add_tcase(suite, tc);
    return suite;
}
