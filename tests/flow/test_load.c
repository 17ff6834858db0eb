/* `up` of a scenario with many files: they are copied, and put into the ledger, beside the
 * loop; the name is taken meanwhile. */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "../support/core_world.h"
#include "../support/shell.h"
#include "enshu/common/str.h"
#include "enshu/common/tree.h"
#include "enshu/store.h"

#define FILES 2000

static const char scenario[] =
    "enshu: 1\n"
    "name: load\n"
    "title: {en: Load}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "nodes: {web: {image: fake, memory: 64 MiB, networks: {lab: 10.30.0.10}}}\n"
    "conditions:\n"
    "  page: {node: web, file: {path: /srv/page, exists: true}, every: 1s}\n"
    "objectives: {found: {title: {en: Found}, when: page, points: 100}}\n";

static struct core_world w;

static void fill_folder(void)
{
    char path[128];
    struct es_err err = {0};
    snprintf(path, sizeof path, "%s/scenario/assets", w.dir);
    ck_assert_int_eq(es_tree_make(path, 0755, &err), 0);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "%s/scenario/assets/%d", w.dir, i);
        ck_assert_int_eq(es_tree_write(path, path, strlen(path), 0644, &err), 0);
    }
}

static json_t *up_params(void)
{
    return json_pack("{s:s, s:i}", "file", w.file, "teams", 1);
}

static size_t count_ranges(void)
{
    json_t *ranges =
        cw_try_bare(&w, "status") == 0 ? json_object_get(w.result, "ranges") : NULL;
    ck_assert(json_is_array(ranges));
    return json_array_size(ranges);
}

/* Every file is in the ledger that is kept. */
static void assert_bundled(void)
{
    glob_t found;
    char pattern[128], name[64];
    struct es_store *store = NULL;
    struct es_err err = {0};
    struct es_buf data;
    snprintf(pattern, sizeof pattern, "%s/ledgers/*.db", w.state);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_int_eq(es_store_open(found.gl_pathv[0], false, &store, &err), 0);
    es_buf_init(&data, 1U << 20);
    for (int i = 0; i < FILES; i += 100) {
        snprintf(name, sizeof name, "scenario/assets/%d", i);
        ck_assert_int_eq(es_store_get_blob(store, name, &data, &err), 0);
    }
    ck_assert_int_eq(es_store_get_blob(store, "scenario", &data, &err), 0);
    es_buf_finish(&data);
    es_store_close(store);
    globfree(&found);
}

START_TEST(the_core_goes_on_while_a_scenario_is_copied)
{
    cw_open(&w, scenario, 1);
    fill_folder();
    cw_agents(&w, true);
    cw_start(&w);
    cw_aside(&w, "up", up_params());
    ck_assert_uint_eq(count_ranges(), 0); /* it answers, and the copy is not done */
    ck_assert_int_eq(cw_try(&w, "up", up_params()), ES_EBUSY);
    ck_assert_int_eq(cw_try_bare(&w, "gc"), 0); /* leaves the copy alone */
    cw_agents(&w, true);                        /* but not sockets without a range */
    while (!w.aside_answered)
        cw_step(&w);
    ck_assert_ptr_nonnull(w.aside_result);
    ck_assert_uint_eq(count_ranges(), 1);
    ck_assert_int_eq(cw_up(&w), 0); /* again: nothing is missing */
    cw_call(&w, "down", NULL);
    cw_end(&w);
    assert_bundled();
    cw_close(&w);
}
END_TEST

START_TEST(the_core_ends_while_a_scenario_is_copied)
{
    cw_open(&w, scenario, 1);
    fill_folder();
    cw_agents(&w, true);
    cw_start(&w);
    cw_aside(&w, "up", up_params());
    ck_assert_uint_eq(count_ranges(), 0);
    cw_end(&w);
    cw_start(&w);
    ck_assert_uint_eq(count_ranges(), 0);
    ck_assert_int_eq(cw_up(&w), 0);
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

/* What is found wrong with the copy leaves the name free. */
START_TEST(a_folder_that_cannot_be_copied_is_told)
{
    char out[16];
    cw_open(&w, scenario, 1);
    ck_assert_int_eq(shell_run(out, sizeof out,
                               "cd %s/scenario && mkdir -p "
                               "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s",
                               w.dir),
                     0);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_int_eq(cw_up(&w), ES_ELIMIT);
    ck_assert_uint_eq(count_ranges(), 0);
    ck_assert_int_eq(shell_run(out, sizeof out, "rm -r %s/scenario/a", w.dir), 0);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

START_TEST(names_that_no_range_has)
{
    static const char *const names[] = {"mould", "no/name", "-x"};
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start(&w);
    for (size_t i = 0; i < ES_COUNT(names); i++) {
        json_t *params = up_params();
        json_object_set_new(params, "range", json_string(names[i]));
        ck_assert_int_eq(cw_try(&w, "up", params), ES_EINVAL);
        ck_assert_ptr_nonnull(strstr(w.err.msg, names[i]));
    }
    ck_assert_uint_eq(count_ranges(), 0);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

Suite *load_suite(void);
Suite *load_suite(void)
{
    Suite *suite = suite_create("load");
    TCase *tc = tcase_create("load");
    tcase_set_timeout(tc, 200);
    tcase_add_test(tc, the_core_goes_on_while_a_scenario_is_copied);
    tcase_add_test(tc, the_core_ends_while_a_scenario_is_copied);
    tcase_add_test(tc, names_that_no_range_has);
    tcase_add_test(tc, a_folder_that_cannot_be_copied_is_told);
    suite_add_tcase(suite, tc);
    return suite;
}
