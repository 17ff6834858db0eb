/* hyp with every libvirt call, and every allocation, failing once: each failure is told
 * with its step and name, nothing leaks, and what is left behind can be removed. */
#include <check.h>
#include <string.h>

#include "../support/hyp_world.h"
#include "enshu/common/mem.h"

/* Keeps the first error of a run. */
struct outcome {
    int status;
    struct es_err err;
};

static bool went_well(struct hyp_world *w, struct outcome *o, int status)
{
    if (status != 0 && o->status == 0) {
        o->status = status;
        o->err = w->err;
    }
    return status == 0;
}

static int answered(struct hyp_world *w, int rc)
{
    if (rc != 0) {
        w->pending--;
        w->status = rc;
        memset(&w->err, 0, sizeof w->err);
        es_err_nomem(&w->err);
    }
    hw_wait(w);
    return w->status;
}

static void on_info(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *err)
{
    (void)info;
    hw_done(ctx, status, err);
}

/* A small life: up, looked at, paused, replaced, saved, stopped, taken down. */
static void live(struct hyp_world *w, struct outcome *o)
{
    struct es_hyp_machine spec = hw_spec(w, 1, 1);
    bool ok;
    memset(o, 0, sizeof *o);
#define STEP(call) (w->pending++, went_well(w, o, answered(w, (call))))
    ok = STEP(es_hyp_info(w->hyp, on_info, w)) &&
         STEP(es_hyp_pool_apply(w->hyp, "may12", w->dir, hw_done, w)) &&
         STEP(es_hyp_pool_apply(w->hyp, "may12", w->dir, hw_done, w)) &&
         STEP(es_hyp_volume_apply(w->hyp, "may12", "a", NULL, 1024, false, hw_done, w)) &&
         STEP(es_hyp_volume_apply(w->hyp, "may12", "a", NULL, 1024, true, hw_done, w)) &&
         STEP(es_hyp_volume_apply(w->hyp, "may12", "b", NULL, 1024, true, hw_done, w)) &&
         STEP(es_hyp_volume_remove(w->hyp, "may12", "b", hw_done, w));
    for (size_t i = 0; ok && i < w->plan->network_count; i++)
        ok = STEP(es_hyp_network_apply(w->hyp, "may12", &w->plan->networks[i], hw_done,
                                       w)) &&
             STEP(es_hyp_network_apply(w->hyp, "may12", &w->plan->networks[i], hw_done,
                                       w));
    ok = ok && STEP(es_hyp_machine_start(w->hyp, &spec, hw_done, w)) &&
         STEP(es_hyp_machine_suspend(w->hyp, spec.machine->name, hw_done, w)) &&
         STEP(es_hyp_machine_resume(w->hyp, spec.machine->name, hw_done, w));
    spec.instance = 2;
    ok = ok && STEP(es_hyp_machine_start(w->hyp, &spec, hw_done, w)) &&
         went_well(w, o, hw_list(w, NULL));
    if (ok && !es_mem_failed())
        ck_assert_uint_eq(w->object_count, 4); /* pool, two networks, machine */
    char file[96];
    snprintf(file, sizeof file, "%s/saved", w->dir);
    ok = ok && STEP(es_hyp_machine_save(w->hyp, spec.machine->name, file, hw_done, w)) &&
         STEP(es_hyp_machine_restore(w->hyp, "may12", spec.machine->name, file, hw_done,
                                     w)) &&
         STEP(es_hyp_machine_stop(w->hyp, spec.machine->name, false, hw_done, w)) &&
         STEP(es_hyp_machine_start(w->hyp, &spec, hw_done, w)) &&
         STEP(es_hyp_range_remove(w->hyp, "may12", hw_done, w));
#undef STEP
}

static void nothing_is_left(struct hyp_world *w)
{
    ck_assert_msg(hw_remove(w, "may12") == 0, "%s", w->err.msg);
    ck_assert_int_eq(hw_list(w, NULL), 0);
    ck_assert_uint_eq(w->object_count, 0);
}

START_TEST(every_call_may_fail)
{
    struct hyp_world w;
    struct outcome o;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    long n = 1;
    for (;; n++) {
        es_hyp_fail_nth(n);
        live(&w, &o);
        bool failed = es_hyp_failed();
        es_hyp_fail_nth(0);
        if (!failed)
            break;
        ck_assert_msg(o.status == ES_EHYP, "call %ld: status %d", n, o.status);
        ck_assert_msg(strstr(o.err.msg, ": failure planned by a test") != NULL, "%ld: %s",
                      n, o.err.msg);
        nothing_is_left(&w);
        ck_assert_int_lt(n, 1000);
    }
    ck_assert_msg(o.status == 0, "%s", o.err.msg);
    ck_assert_int_gt(n, 60);
    nothing_is_left(&w);
    hw_finish(&w);
}
END_TEST

/* libvirt allocates too when it calls our event room, so a failure may come back as its
 * own error; what counts is an answer, no leak and a way back. */
START_TEST(every_allocation_may_fail)
{
    struct hyp_world w;
    struct outcome o;
    hw_init(&w);
    hw_open_test(&w, "<node/>");
    hw_make_plan(&w, "may12", 1);
    long n = 1;
    for (;; n++) {
        long before = es_mem_live_count();
        es_free(w.objects);
        w.objects = NULL;
        es_mem_fail_nth(n);
        live(&w, &o);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        if (!failed)
            break;
        ck_assert_msg(o.status == 0 || o.status == ES_ENOMEM, "allocation %ld: %s", n,
                      o.err.msg);
        nothing_is_left(&w);
        ck_assert_int_le(es_mem_live_count(), before);
        ck_assert_int_lt(n, 2000);
    }
    ck_assert_msg(o.status == 0, "%s", o.err.msg);
    hw_finish(&w);
}
END_TEST

START_TEST(opening_may_fail)
{
    for (long n = 1;; n++) {
        struct hyp_world w;
        struct es_err err = {0};
        hw_init(&w);
        struct es_hyp_config config = {.uri = "qemu:///system?socket=/nonexistent/sock",
                                       .accel = "tcg",
                                       .on_event = hw_on_event,
                                       .ctx = &w};
        w.pending++;
        es_mem_fail_nth(n);
        int rc = es_hyp_open(&w.loop, &config, hw_done, &w, &w.hyp, &err);
        if (rc == 0)
            hw_wait(&w);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        if (rc == 0)
            ck_assert_int_eq(w.status, ES_ECONN);
        else
            ck_assert_int_eq(rc, ES_ENOMEM);
        hw_finish(&w);
        if (!failed)
            break;
        ck_assert_int_lt(n, 100);
    }
}
END_TEST

START_TEST(bad_settings_are_refused)
{
    struct hyp_world w;
    struct es_err err = {0};
    hw_init(&w);
    struct es_hyp_config config = {
        .uri = "test:///default", .accel = "vax", .on_event = hw_on_event, .ctx = &w};
    ck_assert_int_eq(es_hyp_open(&w.loop, &config, hw_done, &w, &w.hyp, &err), ES_EINVAL);
    config.accel = "tcg";
    config.connections = 17;
    ck_assert_int_eq(es_hyp_open(&w.loop, &config, hw_done, &w, &w.hyp, &err), ES_EINVAL);
    ck_assert_str_eq(err.msg, "connections must be 1 to 16");
    hw_finish(&w);
}
END_TEST

Suite *hyp_fault_suite(void);
Suite *hyp_fault_suite(void)
{
    Suite *suite = suite_create("hyp_fault");
    TCase *tc = tcase_create("fault");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, every_call_may_fail);
    tcase_add_test(tc, every_allocation_may_fail);
    tcase_add_test(tc, opening_may_fail);
    tcase_add_test(tc, bad_settings_are_refused);
    suite_add_tcase(suite, tc);
    return suite;
}
