/* hyp on libvirt's test driver: idempotence, events, what is ours, what is not. */
#include <check.h>
#include <string.h>

#include "../support/hyp_world.h"

/* A machine and a network of somebody else, the latter with a name like ours. */
static const char foreign_node[] =
    "<node>"
    "<domain type='test'><name>es-may12-t01-web</name><memory>1024</memory>"
    "<os><type>hvm</type></os></domain>"
    "<network><name>es-may12-game</name><bridge name='virbr7'/></network>"
    "</node>";

static void apply_all(struct hyp_world *w)
{
    for (size_t i = 0; i < w->plan->network_count; i++)
        ck_assert_msg(hw_network(w, i) == 0, "%s", w->err.msg);
    for (size_t i = 0; i < w->plan->machine_count; i++) {
        struct es_hyp_machine spec =
            hw_spec(w, w->plan->machines[i].team, w->plan->machines[i].node);
        ck_assert_msg(hw_start(w, &spec) == 0, "%s", w->err.msg);
    }
}

static void on_info(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *err)
{
    struct hyp_world *w = ctx;
    if (info != NULL)
        w->info = *info;
    hw_done(w, status, err);
}

START_TEST(tells_about_the_host)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    w.pending++;
    ck_assert_int_eq(es_hyp_info(w.hyp, on_info, &w), 0);
    hw_wait(&w);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
    ck_assert_str_eq(w.info.hypervisor, "TEST");
    ck_assert_int_gt(w.info.host.cpus, 0);
    ck_assert_int_gt(w.info.host.memory_bytes, 0);
    ck_assert_ptr_nonnull(strchr(w.info.libvirt_version, '.'));
    hw_finish(&w);
}
END_TEST

START_TEST(a_range_comes_and_goes)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 2);
    apply_all(&w);
    hw_wait_event(&w, "es-may12-t02-pc", ES_HYP_STARTED);
    ck_assert_int_eq(hw_list(&w, "may12"), 0);
    ck_assert_uint_eq(w.object_count, 8); /* 5 machines, 3 networks */
    const struct es_hyp_object *web = hw_find(&w, "es-may12-t01-web");
    ck_assert_ptr_nonnull(web);
    ck_assert_int_eq(web->kind, ES_HYP_MACHINE);
    ck_assert_str_eq(web->range, "may12");
    ck_assert_str_eq(web->node, "web");
    ck_assert_int_eq(web->team, 1);
    ck_assert_uint_eq(web->instance, 1);
    ck_assert(web->running && !web->paused);
    ck_assert_str_eq(web->uuid, w.plan->machines[1].uuid);
    const struct es_hyp_object *game = hw_find(&w, "es-may12-game");
    ck_assert_ptr_nonnull(game);
    ck_assert_int_eq(game->team, -1);
    ck_assert_str_eq(game->node, "game");
    ck_assert_int_eq(hw_list(&w, "other"), 0);
    ck_assert_uint_eq(w.object_count, 0);
    ck_assert_msg(hw_remove(&w, "may12") == 0, "%s", w.err.msg);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert_uint_eq(w.object_count, 0);
    hw_finish(&w);
}
END_TEST

static size_t started(struct hyp_world *w, const char *machine)
{
    size_t n = 0;
    for (size_t i = 0; i < w->event_count; i++)
        n += w->events[i].event == ES_HYP_STARTED &&
             strcmp(w->events[i].machine, machine) == 0;
    return n;
}

START_TEST(applying_again_changes_nothing)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    apply_all(&w);
    apply_all(&w);
    /* another instance is another machine */
    struct es_hyp_machine spec = hw_spec(&w, 1, 1);
    spec.instance = 2;
    ck_assert_int_eq(hw_start(&w, &spec), 0);
    hw_wait_event(&w, "es-may12-t01-pc", ES_HYP_STOPPED);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert_uint_eq(hw_find(&w, "es-may12-t01-pc")->instance, 2);
    ck_assert_uint_eq(started(&w, "es-may12-t01-web"), 1);
    ck_assert_uint_eq(started(&w, "es-may12-t01-pc"), 2);
    ck_assert_uint_eq(w.object_count, 5);
    ck_assert_int_eq(hw_remove(&w, "may12"), 0);
    hw_finish(&w);
}
END_TEST

START_TEST(suspend_resume_stop)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    apply_all(&w);
    const char *name = "es-may12-t01-web";
    for (int twice = 0; twice < 2; twice++) {
        w.pending++;
        ck_assert_int_eq(es_hyp_machine_suspend(w.hyp, name, hw_done, &w), 0);
        hw_wait(&w);
        ck_assert_msg(w.status == 0, "%s", w.err.msg);
    }
    hw_wait_event(&w, name, ES_HYP_SUSPENDED);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert(hw_find(&w, name)->paused);
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_resume(w.hyp, name, hw_done, &w), 0);
    hw_wait(&w);
    hw_wait_event(&w, name, ES_HYP_RESUMED);
    ck_assert_int_eq(hw_stop(&w, name, true), 0);
    ck_assert(hw_saw(&w, name, ES_HYP_STOPPED));
    ck_assert_int_eq(hw_stop(&w, name, true), 0); /* it is stopped: done */
    ck_assert_int_eq(hw_stop(&w, "es-may12-t01-pc", false), 0);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert_ptr_null(hw_find(&w, name));
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_resume(w.hyp, name, hw_done, &w), 0);
    hw_wait(&w);
    ck_assert_int_eq(w.status, ES_ENOENT);
    ck_assert_str_eq(w.err.msg, "there is no machine es-may12-t01-web");
    ck_assert_int_eq(hw_remove(&w, "may12"), 0);
    hw_finish(&w);
}
END_TEST

START_TEST(strangers_are_left_alone)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, foreign_node);
    hw_make_plan(&w, "may12", 1);
    ck_assert_int_eq(hw_network(&w, 0), ES_EEXIST);
    ck_assert_str_eq(w.err.msg,
                     "network es-may12-game is there and is not enshu's; remove "
                     "it or use another range name");
    ck_assert_int_eq(hw_network(&w, 1), 0);
    struct es_hyp_machine spec = hw_spec(&w, 1, 0);
    ck_assert_msg(hw_start(&w, &spec) == ES_EEXIST, "%s", w.err.msg);
    ck_assert_int_eq(hw_stop(&w, "es-may12-t01-web", false), ES_EEXIST);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert_uint_eq(w.object_count, 1);
    ck_assert_int_eq(hw_remove(&w, "may12"), 0);
    /* the strangers are there still */
    ck_assert_int_eq(hw_network(&w, 0), ES_EEXIST);
    ck_assert_int_eq(hw_start(&w, &spec), ES_EEXIST);
    ck_assert(!hw_saw(&w, "es-may12-t01-web", ES_HYP_STOPPED));
    hw_finish(&w);
}
END_TEST

START_TEST(disks_in_the_ranges_pool)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    w.pending += 1;
    ck_assert_int_eq(
        es_hyp_volume_apply(w.hyp, "may12", "a.qcow2", NULL, 1 << 20, false, hw_done, &w),
        0);
    hw_wait(&w);
    ck_assert_int_eq(w.status, ES_ENOENT);
    ck_assert_str_eq(w.err.msg, "there is no pool es-may12; apply the range's pool");
    for (int twice = 0; twice < 2; twice++) {
        w.pending++;
        ck_assert_int_eq(es_hyp_pool_apply(w.hyp, "may12", w.dir, hw_done, &w), 0);
        hw_wait(&w);
        ck_assert_msg(w.status == 0, "%s", w.err.msg);
    }
    for (int i = 0; i < 3; i++) { /* made, kept, renewed */
        w.pending++;
        ck_assert_int_eq(es_hyp_volume_apply(w.hyp, "may12", "a.qcow2", NULL, 1 << 20,
                                             i == 2, hw_done, &w),
                         0);
        hw_wait(&w);
        ck_assert_msg(w.status == 0, "%s", w.err.msg);
    }
    ck_assert_int_eq(hw_list(&w, "may12"), 0);
    ck_assert_uint_eq(w.object_count, 1);
    ck_assert_int_eq(w.objects[0].kind, ES_HYP_POOL);
    ck_assert_str_eq(w.objects[0].name, "es-may12");
    w.pending++;
    ck_assert_int_eq(es_hyp_volume_remove(w.hyp, "may12", "a.qcow2", hw_done, &w), 0);
    hw_wait(&w);
    ck_assert_int_eq(w.status, 0);
    ck_assert_int_eq(hw_remove(&w, "may12"), 0);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert_uint_eq(w.object_count, 0);
    hw_finish(&w);
}
END_TEST

static int console_status;
static bool console_ended;

static void on_console_data(void *ctx, const char *data, size_t len)
{
    (void)ctx;
    (void)data;
    ck_abort_msg("%zu bytes from no console", len);
}

static void on_console_end(void *ctx, const struct es_err *why)
{
    (void)ctx;
    console_status = why->code;
    console_ended = true;
}

static bool console_has_ended(struct hyp_world *w)
{
    (void)w;
    return console_ended;
}

START_TEST(consoles_that_cannot_be)
{
    static const struct es_hyp_console_events events = {on_console_data, on_console_end};
    struct hyp_world w;
    struct es_hyp_console *console = NULL;
    struct es_err err = {0};
    char much[65536] = "";
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    ck_assert_int_eq(es_hyp_console_open(w.hyp, "es-nobody", &events, &w, &console, &err),
                     0);
    ck_assert_int_eq(es_hyp_console_send(console, much, sizeof much), 0);
    ck_assert_int_eq(es_hyp_console_send(console, "x", 1), ES_EBUSY);
    ck_assert(!console_ended); /* never from inside */
    hw_wait_for(&w, console_has_ended);
    ck_assert_int_eq(console_status, ES_ENOENT);
    /* closed while it opens: no callback */
    console_ended = false;
    ck_assert_int_eq(es_hyp_console_open(w.hyp, "es-nobody", &events, &w, &console, &err),
                     0);
    es_hyp_console_close(console);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert(!console_ended);
    /* the hypervisor closes first */
    ck_assert_int_eq(es_hyp_console_open(w.hyp, "es-nobody", &events, &w, &console, &err),
                     0);
    hw_finish(&w);
    ck_assert(console_ended);
    ck_assert_int_eq(console_status, ES_ECANCELED);
}
END_TEST

START_TEST(nobody_there)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open(&w, "qemu:///system?socket=/nonexistent/libvirt-sock");
    ck_assert_int_eq(w.status, ES_ECONN);
    ck_assert_ptr_null(strchr(w.err.msg, '\n'));
    ck_assert_msg(strstr(w.err.msg,
                         "cannot connect to "
                         "qemu:///system?socket=/nonexistent/libvirt-sock: Failed to "
                         "connect socket to '/nonexistent/libvirt-sock': No such file or "
                         "directory; start libvirtd, or use the embedded default") !=
                      NULL,
                  "%s", w.err.msg);
    hw_finish(&w);
}
END_TEST

START_TEST(closing_answers_what_waits)
{
    struct hyp_world w;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    struct es_hyp_machine spec = hw_spec(&w, 1, 0);
    for (int i = 0; i < 50; i++) {
        w.pending++;
        ck_assert_int_eq(es_hyp_machine_start(w.hyp, &spec, hw_done, &w), 0);
    }
    hw_finish(&w);
    ck_assert_int_eq(w.pending, 0);
}
END_TEST

Suite *hyp_state_suite(void);
Suite *hyp_state_suite(void)
{
    Suite *suite = suite_create("hyp_state");
    TCase *tc = tcase_create("state");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, tells_about_the_host);
    tcase_add_test(tc, a_range_comes_and_goes);
    tcase_add_test(tc, applying_again_changes_nothing);
    tcase_add_test(tc, suspend_resume_stop);
    tcase_add_test(tc, strangers_are_left_alone);
    tcase_add_test(tc, disks_in_the_ranges_pool);
    tcase_add_test(tc, consoles_that_cannot_be);
    tcase_add_test(tc, nobody_there);
    tcase_add_test(tc, closing_answers_what_waits);
    suite_add_tcase(suite, tc);
    return suite;
}
