/* Every call to the hypervisor that an `up` makes fails once. The failure is told with its
 * step, its machine and its cause; what failed is tried again by itself or by another `up`;
 * `down` leaves nothing of ours. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"
#include "enshu/hyp.h"

static const char scenario[] = "enshu: 1\n"
                               "name: hyp\n"
                               "title: {en: Faults}\n"
                               "languages: {default: en, complete: [en]}\n"
                               "networks: {lab: {cidr: 10.30.0.0/24}}\n"
                               "nodes:\n"
                               "  web: {image: fake, memory: 64 MiB, networks: {lab: "
                               "10.30.0.10}}\n"
                               "conditions:\n"
                               "  bad: {node: web, file: {path: /tmp/bad, exists: true}, "
                               "every: 1s}\n"
                               "objectives:\n"
                               "  found: {title: {en: Found}, when: bad, points: 100}\n";

static const char planned[] = "failure planned by a test";
static struct core_world w;

/* A machine's own retry, told as it happened. */
static bool told_of_machine(void)
{
    for (size_t i = 0; i < json_array_size(w.progress); i++) {
        const json_t *event = json_array_get(w.progress, i);
        const char *detail = json_string_value(json_object_get(event, "detail"));
        if (es_str_eq(json_string_value(json_object_get(event, "state")), "failed") &&
            es_str_eq(json_string_value(json_object_get(event, "machine")), "t1/web") &&
            detail != NULL && strstr(detail, planned) != NULL &&
            strstr(detail, ": ") != NULL)
            return true;
    }
    return false;
}

static void assert_nothing_left(long n)
{
    char path[128];
    const char *const folders[] = {"ranges", "s"};
    cw_call(&w, "down", NULL);
    json_t *none =
        json_object_get((cw_try_bare(&w, "gc") == 0 ? w.result : NULL), "removed");
    ck_assert_msg(none != NULL && json_array_size(none) == 0, "call %ld left objects", n);
    for (size_t f = 0; f < ES_COUNT(folders); f++) {
        snprintf(path, sizeof path, "%s/%s", w.state, folders[f]);
        DIR *dir = opendir(path);
        ck_assert_ptr_nonnull(dir);
        for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
            ck_assert_msg(entry->d_name[0] == '.', "call %ld left %s/%s", n, path,
                          entry->d_name);
        closedir(dir);
    }
}

START_TEST(every_call_of_up_may_fail)
{
    long n = 1;
    cw_open(&w, scenario, 1);
    cw_start_here(&w);
    cw_agents(&w, true);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg); /* what opening asked for is over */
    assert_nothing_left(0);
    for (bool failed = true; failed; n++) {
        cw_agents(&w, true); /* their sockets went with the last `down` */
        es_hyp_fail_nth(n);
        int rc = cw_up(&w);
        failed = es_hyp_failed();
        es_hyp_fail_nth(0);
        if (rc != 0) {
            ck_assert_msg(strstr(w.err.msg, planned) != NULL, "call %ld: %s", n,
                          w.err.msg);
            rc = cw_up(&w);
        } else if (failed)
            ck_assert_msg(told_of_machine(), "call %ld failed in silence", n);
        ck_assert_msg(rc == 0, "call %ld: %s", n, w.err.msg);
        assert_nothing_left(n);
        ck_assert_int_lt(n, 200);
    }
    ck_assert_int_gt(n, 15);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

Suite *core_hyp_suite(void);
Suite *core_hyp_suite(void)
{
    Suite *suite = suite_create("core_hyp");
    TCase *tc = tcase_create("core_hyp");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, every_call_of_up_may_fail);
    suite_add_tcase(suite, tc);
    return suite;
}
