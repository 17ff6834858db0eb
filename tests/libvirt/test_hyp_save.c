/* hyp on libvirt's test driver: a machine is saved to a file and continued from it, by a
 * hypervisor that never saw it; what is not whole is refused. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../support/hyp_world.h"

#define MACHINE "es-may12-t01-web"

static struct hyp_world w;
static char file[128];

static void setup(void)
{
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    snprintf(file, sizeof file, "%s/web.save", w.dir);
}

static void begin(void)
{
    setup();
    ck_assert_msg(hw_network(&w, 0) == 0, "%s", w.err.msg);
    struct es_hyp_machine spec = hw_spec(&w, 1, 0);
    spec.instance = 7;
    ck_assert_msg(hw_start(&w, &spec) == 0, "%s", w.err.msg);
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_suspend(w.hyp, MACHINE, hw_done, &w), 0);
    hw_wait(&w);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
}

static int save(const char *path)
{
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_save(w.hyp, MACHINE, path, hw_done, &w), 0);
    hw_wait(&w);
    return w.status;
}

static int restore(const char *range)
{
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_restore(w.hyp, range, MACHINE, file, hw_done, &w), 0);
    hw_wait(&w);
    return w.status;
}

static const struct es_hyp_object *found(void)
{
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    return hw_find(&w, MACHINE);
}

START_TEST(comes_back_as_it_was)
{
    char kept[128];
    begin();
    char uuid[37];
    memcpy(uuid, found()->uuid, sizeof uuid);
    ck_assert_msg(save(file) == 0, "%s", w.err.msg);
    hw_wait_event(&w, MACHINE, ES_HYP_SAVED);
    ck_assert_ptr_null(found());
    /* A host that was started anew knows nothing but the file. */
    snprintf(kept, sizeof kept, "/tmp/enshu-save-%d", (int)getpid());
    ck_assert_int_eq(rename(file, kept), 0);
    hw_finish(&w);
    setup();
    ck_assert_int_eq(rename(kept, file), 0);
    ck_assert_msg(hw_network(&w, 0) == 0, "%s", w.err.msg);
    ck_assert_msg(restore("may12") == 0, "%s", w.err.msg);
    const struct es_hyp_object *web = found();
    ck_assert_ptr_nonnull(web);
    ck_assert(web->paused);
    ck_assert_str_eq(web->uuid, uuid);
    ck_assert_str_eq(web->range, "may12");
    ck_assert_uint_eq(web->instance, 7);
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_resume(w.hyp, MACHINE, hw_done, &w), 0);
    hw_wait(&w);
    ck_assert(found()->running);
    ck_assert_int_eq(access(file, R_OK), 0);
    hw_finish(&w);
}
END_TEST

START_TEST(both_may_be_repeated)
{
    begin();
    ck_assert_msg(save(file) == 0, "%s", w.err.msg);
    ck_assert_msg(save(file) == 0, "%s", w.err.msg); /* is saved already */
    ck_assert_msg(restore("may12") == 0, "%s", w.err.msg);
    ck_assert_msg(restore("may12") == 0, "%s", w.err.msg); /* in its own place */
    ck_assert(found()->paused);
    ck_assert_uint_eq(w.object_count, 2);
    hw_finish(&w);
}
END_TEST

START_TEST(what_is_not_whole_is_refused)
{
    begin();
    ck_assert_int_eq(save("/nonexistent/folder/file"), ES_EHYP);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "save machine " MACHINE));
    ck_assert(found()->paused);                    /* and is still there */
    ck_assert_int_eq(restore("other"), ES_EEXIST); /* another range's */
    ck_assert(found()->paused);
    ck_assert_int_eq(hw_stop(&w, MACHINE, false), 0);
    ck_assert_int_eq(save(file), ES_ENOENT); /* neither machine nor file */
    FILE *part = fopen(file, "w");
    ck_assert_ptr_nonnull(part);
    ck_assert_int_ge(fputs("TestGuestMagic, and no more", part), 0);
    ck_assert_int_eq(fclose(part), 0);
    ck_assert_int_eq(save(file), ES_ENOENT);
    ck_assert_int_eq(restore("may12"), ES_EHYP);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "restore machine " MACHINE));
    ck_assert_ptr_null(found());
    hw_finish(&w);
}
END_TEST

Suite *hyp_save_suite(void);
Suite *hyp_save_suite(void)
{
    Suite *suite = suite_create("hyp_save");
    TCase *tc = tcase_create("hyp_save");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, comes_back_as_it_was);
    tcase_add_test(tc, both_may_be_repeated);
    tcase_add_test(tc, what_is_not_whole_is_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
