/* Freezing and forking in the hypervisor room, on real QEMUs: each call of libvirt failing
 * once. The error is told, nothing is left running, and the next try does it. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/hyp_world.h"
#include "../support/shell.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/image.h"

#define MOULD     "es-may12-t00-web"
#define FORK      "es-may12-t02-web"
#define CALLS_MAX 60

static struct hyp_world w;
static struct es_image image;
static char state[96];
static struct paths {
    char disk[160], overlay[160], channel[160], log[160], ram[160], devices[160];
} paths;

static const char *env(const char *name)
{
    const char *value = getenv(name);
    ck_assert_msg(value != NULL, "%s is not set; run this through make", name);
    return value;
}

static void setup(void)
{
    char out[512], cache[256], recipes[256];
    struct es_err err = {0};
    hw_init(&w);
    signal(SIGPIPE, SIG_IGN); /* as every program of ours does */
    chmod(w.dir, 0711);
    snprintf(state, sizeof state, "%s/n", w.dir);
    snprintf(cache, sizeof cache, "%s/build/images", env("ENSHU_TOP"));
    snprintf(recipes, sizeof recipes, "%s/scenarios/images", env("ENSHU_TOP"));
    struct es_image_config config = {.recipes_dir = recipes, .cache_dir = cache};
    int rc = es_image_get(&config, "tiny", NULL, false, &image, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    rc = shell_run(out, sizeof out,
                   "%s/enshu-nest start --state %s --kvm no --share %s --share %s 2>&1",
                   env("ENSHU_BIN"), state, w.dir, cache);
    ck_assert_msg(rc == 0, "%s", out);
    out[strcspn(out, "\n")] = '\0';
    hw_open(&w, out);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
    es_plan_destroy(w.plan);
    rc = es_plan_make(&w.scenario, "may12", 2, true, &w.plan, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
}

static void teardown(void)
{
    char out[512];
    es_hyp_fail_nth(0);
    int rc = shell_run(out, sizeof out, "%s/enshu-nest stop --state %s --purge 2>&1",
                       env("ENSHU_BIN"), state);
    hw_finish(&w);
    ck_assert_msg(rc == 0, "%s", out);
}

/* ------------------------------------------------------------------ calls */

static int answer(int rc)
{
    ck_assert_int_eq(rc, 0);
    hw_wait(&w);
    return w.status;
}

static int volume(const char *name, const char *backing)
{
    w.pending++;
    return answer(
        es_hyp_volume_apply(w.hyp, "may12", name, backing, 96 << 20, true, hw_done, &w));
}

static struct es_hyp_machine spec_of(int team)
{
    struct es_hyp_machine spec = hw_spec(&w, team, 0);
    spec.kernel = image.kernel;
    spec.initrd = image.initrd;
    spec.cmdline = image.cmdline;
    spec.disk = paths.disk;
    spec.seed = NULL;
    spec.channel = paths.channel;
    spec.serial_log = paths.log;
    spec.ram = paths.ram;
    spec.memory = team == 0 ? ES_HYP_MEMORY_MOULD : ES_HYP_MEMORY_FORK;
    return spec;
}

static void apply_ground(void)
{
    char pool[96], out[256];
    snprintf(pool, sizeof pool, "%s/disks", w.dir);
    w.pending++;
    ck_assert_msg(answer(es_hyp_pool_apply(w.hyp, "may12", pool, hw_done, &w)) == 0, "%s",
                  w.err.msg);
    for (size_t i = 0; i < w.plan->network_count; i++)
        ck_assert_msg(hw_network(&w, i) == 0, "%s", w.err.msg);
    snprintf(paths.channel, sizeof paths.channel, "%s/run/c", state);
    snprintf(paths.log, sizeof paths.log, "%s/run/log", state);
    snprintf(paths.ram, sizeof paths.ram, "%s/m/web.ram", w.dir);
    snprintf(paths.devices, sizeof paths.devices, "%s/m/web.state", w.dir);
    snprintf(paths.disk, sizeof paths.disk, "%s/m/web.qcow2", w.dir);
    snprintf(paths.overlay, sizeof paths.overlay, "%s/m/web.overlay", w.dir);
    ck_assert_msg(volume("web.qcow2", image.disk) == 0, "%s", w.err.msg);
    ck_assert_int_eq(shell_run(out, sizeof out,
                               "mkdir -m 0711 %s/m && mv %s/disks/web.qcow2 %s 2>&1",
                               w.dir, w.dir, paths.disk),
                     0);
    ck_assert_msg(volume("web.overlay", paths.disk) == 0, "%s", w.err.msg);
    ck_assert_int_eq(shell_run(out, sizeof out, "mv %s/disks/web.overlay %s 2>&1", w.dir,
                               paths.overlay),
                     0);
}

static void start_mould(void)
{
    struct es_hyp_machine spec = spec_of(0);
    ck_assert_msg(hw_start(&w, &spec) == 0, "%s", w.err.msg);
    w.pending++;
    ck_assert_msg(answer(es_hyp_machine_suspend(w.hyp, MOULD, hw_done, &w)) == 0, "%s",
                  w.err.msg);
}

static int freeze(void)
{
    w.pending++;
    return answer(es_hyp_machine_freeze(w.hyp, MOULD, paths.devices, hw_done, &w));
}

static void on_forked(void *ctx, int status, const struct es_hyp_fork_times *times,
                      const struct es_err *err)
{
    ck_assert((status == 0) == (times != NULL));
    hw_done(ctx, status, err);
}

static int fork_one(void)
{
    static char disk[160];
    struct es_hyp_fork fork = {
        .machine = spec_of(2), .overlay = paths.overlay, .state = paths.devices};
    snprintf(disk, sizeof disk, "%s/disks/fork.qcow2", w.dir);
    fork.machine.disk = disk;
    w.pending++;
    return answer(es_hyp_machine_fork(w.hyp, &fork, on_forked, &w));
}

/* The call failed where it was told to, and says so. True when no call was left to fail. */
static bool is_over(int n, int status)
{
    bool failed = es_hyp_failed();
    es_hyp_fail_nth(0);
    if (!failed) {
        ck_assert_msg(status == 0, "call %d: %s", n, w.err.msg);
        return true;
    }
    ck_assert_msg(status == ES_EHYP, "call %d: %d", n, status);
    ck_assert_msg(strstr(w.err.msg, "failure planned by a test") != NULL, "call %d: %s",
                  n, w.err.msg);
    return false;
}

static const struct es_hyp_object *look(const char *name)
{
    ck_assert_msg(hw_list(&w, "may12") == 0, "%s", w.err.msg);
    return hw_find(&w, name);
}

/* ------------------------------------------------------------------ the test */

static int fail_freezes(void)
{
    for (int n = 1; n < CALLS_MAX; n++) {
        start_mould();
        es_hyp_fail_nth(n);
        bool over = is_over(n, freeze());
        ck_assert(look(MOULD)->paused); /* whoever froze it ends it */
        ck_assert_msg(hw_stop(&w, MOULD, false) == 0, "%s", w.err.msg);
        if (over)
            return n;
    }
    return CALLS_MAX;
}

static int fail_forks(void)
{
    for (int n = 1; n < CALLS_MAX; n++) {
        es_hyp_fail_nth(n);
        if (is_over(n, fork_one()))
            return n;
        ck_assert_msg(look(FORK) == NULL, "after call %d a machine is left: %s", n,
                      w.err.msg);
    }
    return CALLS_MAX;
}

static void hash_of(char dst[256])
{
    ck_assert_int_eq(shell_run(dst, 256, "cd %s/m && sha256sum * | sha256sum", w.dir), 0);
}

START_TEST(each_call_of_a_freeze_and_a_fork_fails_once)
{
    char before[256], after[256], out[256];
    apply_ground();
    int freezes = fail_freezes();
    ck_assert_int_ge(freezes, 8); /* the seven that it takes at least */
    ck_assert_int_lt(freezes, CALLS_MAX);
    ck_assert_int_eq(shell_run(out, sizeof out, "chmod 0666 %s/m/*", w.dir), 0);
    hash_of(before);
    int forks = fail_forks();
    ck_assert_int_ge(forks, 10);
    ck_assert_int_lt(forks, CALLS_MAX);
    ck_assert(look(FORK)->running);
    ck_assert(look(FORK)->forked);
    ck_assert_int_eq(look(FORK)->team, 2);
    /* Its NICs: that of the mould, and the one that was plugged in. */
    ck_assert_int_eq(shell_run(out, sizeof out,
                               "%s/enshu-nest exec --state %s -- ip -o link show type "
                               "tun | wc -l",
                               env("ENSHU_BIN"), state),
                     0);
    ck_assert_str_eq(out, "2\n");
    ck_assert_int_eq(fork_one(), 0); /* in the place of the first */
    ck_assert_msg(hw_remove(&w, "may12") == 0, "%s", w.err.msg);
    ck_assert_ptr_null(look(FORK));
    hash_of(after);
    ck_assert_str_eq(before, after);
    fprintf(stderr, "  %d calls of a freeze, %d of a fork failed\n", freezes - 1,
            forks - 1);
}
END_TEST

/* A state that ends too soon, memory that is not there, a mould that runs. */
START_TEST(what_cannot_be_forked_says_why)
{
    char out[256];
    apply_ground();
    struct es_hyp_machine spec = spec_of(0);
    ck_assert_msg(hw_start(&w, &spec) == 0, "%s", w.err.msg);
    ck_assert_int_eq(freeze(), ES_ESTATE);
    ck_assert_str_eq(w.err.msg, "machine " MOULD " is not suspended");
    start_mould(); /* it runs: is only suspended */
    ck_assert_msg(freeze() == 0, "%s", w.err.msg);
    ck_assert_int_eq(hw_stop(&w, MOULD, false), 0);

    ck_assert_int_eq(shell_run(out, sizeof out,
                               "cd %s/m && chmod 0666 * && cp web.state kept && truncate "
                               "-s 100000 web.state",
                               w.dir),
                     0);
    ck_assert_int_eq(fork_one(), ES_EHYP);
    ck_assert_msg(strstr(w.err.msg, "its mould's state could not be loaded") != NULL,
                  "%s", w.err.msg);
    ck_assert_ptr_null(look(FORK));
    ck_assert_int_eq(shell_run(out, sizeof out,
                               "cd %s/m && mv kept web.state && mv web.ram kept", w.dir),
                     0);
    ck_assert_int_eq(fork_one(), ES_EHYP);
    ck_assert_msg(strstr(w.err.msg, "web.ram") != NULL, "%s", w.err.msg);
    ck_assert_ptr_null(look(FORK));
    ck_assert_int_eq(shell_run(out, sizeof out,
                               "cd %s/m && mv kept web.ram && mv web.state kept", w.dir),
                     0);
    ck_assert_int_eq(fork_one(), ES_EIO);
    ck_assert_msg(strstr(w.err.msg, "cannot read") != NULL &&
                      strstr(w.err.msg, "web.state") != NULL,
                  "%s", w.err.msg);
    ck_assert_ptr_null(look(FORK));
    ck_assert_int_eq(shell_run(out, sizeof out, "cd %s/m && mv kept web.state", w.dir),
                     0);
    ck_assert_msg(fork_one() == 0, "%s", w.err.msg);
    ck_assert_msg(hw_remove(&w, "may12") == 0, "%s", w.err.msg);
}
END_TEST

Suite *hyp_fork_suite(void);
Suite *hyp_fork_suite(void)
{
    Suite *suite = suite_create("hyp_fork");
    TCase *tc = tcase_create("forks");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_cannot_be_forked_says_why);
    tcase_add_test(tc, each_call_of_a_freeze_and_a_fork_fails_once);
    suite_add_tcase(suite, tc);
    return suite;
}
