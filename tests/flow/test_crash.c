/* The core is killed with -9, forty times, while simulated agents tell what they see.
 * Whatever was acknowledged stands in the ledger once, the score is the one the ledger
 * gives, the clock runs on, and no machine is touched.
 *
 * libvirt's test driver lives inside the core and dies with it; what "the hypervisor" has
 * running when the core comes back is what its file lists: the machines as they were. */
#include <check.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/core_account.h"
#include "enshu/common/str.h"
#include "enshu/store.h"

#define ROUNDS 40
#define TEAMS  12

static const char scenario[] =
    "enshu: 1\n"
    "name: crash\n"
    "title: {en: Crashes}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes:\n"
    "  web: {image: fake, networks: {lab: 10.30.0.10}}\n"
    "  pc: {image: fake, networks: {lab: 10.30.0.11}}\n"
    "conditions:\n"
    "  page: {node: web, file: {path: /srv/page, exists: true}, every: 1s, timeout: 20s,"
    " starts: pass}\n"
    "  bad: {node: web, file: {path: /tmp/bad, exists: true}, every: 1s, timeout: 20s}\n"
    "  worse: {node: pc, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: "
    "20s}\n"
    "objectives:\n"
    "  found: {title: {en: Found}, when: bad, points: 100}\n"
    "  gone: {title: {en: Gone}, when: worse, points: 50}\n"
    "services:\n"
    "  site: {title: {en: The page}, condition: page, round: 1s, points: 1}\n"
    "scoring: {model: drill, parts: {handling: 80, uptime: 20}}\n";

static struct core_world w;
static int64_t boottime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void begin(int teams, int extra)
{
    ck_assert_int_ge(sodium_init(), 0);
    cw_open(&w, scenario, teams);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_machines_run(&w);
    account_begin(&w);
    for (size_t i = 0; i < w.plan->machine_count; i++)
        w.agents[i].extra = extra;
    cw_call(&w, "start", NULL);
}

static void finish(void)
{
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}

struct clock_seen {
    int64_t before_ms, after_ms; /* the call */
    int64_t ex_ms;
    char state[16];
    char trouble[200];
};

static struct clock_seen look_at_clock(void)
{
    struct clock_seen seen = {.before_ms = boottime_ms()};
    cw_call(&w, "status", NULL);
    seen.after_ms = boottime_ms();
    const json_t *range = json_array_get(json_object_get(w.result, "ranges"), 0);
    const json_t *clock = json_object_get(range, "clock");
    ck_assert_msg(range != NULL, "the range did not come back");
    seen.ex_ms = json_integer_value(json_object_get(clock, "ex_ms"));
    snprintf(seen.state, sizeof seen.state, "%s",
             json_string_value(json_object_get(clock, "state")));
    snprintf(seen.trouble, sizeof seen.trouble, "%s",
             json_string_value(json_object_get(range, "trouble")));
    return seen;
}

/* ---------------------------------------------------------------- forty times */

static void wait_for_acks(size_t more)
{
    size_t upto = w.acks + more;
    uint64_t limit = uv_now(&w.loop) + CORE_LIMIT_MS;
    while (w.acks < upto) {
        ck_assert_msg(uv_now(&w.loop) < limit, "no acknowledgements came");
        cw_step(&w);
    }
}

/* Killed before it says that it is ready, somewhere on its way there. */
static void start_and_kill_early(void)
{
    w.pid = fork();
    ck_assert_int_ge(w.pid, 0);
    if (w.pid == 0)
        cw_exec(&w, STDOUT_FILENO);
    cw_pause(&w, randombytes_uniform(60));
    cw_kill(&w);
}

static void assert_machines_untouched(void)
{
    json_t *events = cw_events(&w);
    /* each came up once: up, ready */
    ck_assert_uint_eq(cw_count(events, "machine", -1), (size_t)TEAMS * 2 * 2);
    json_decref(events);
}

static void tell_times(int64_t *ms, size_t count, size_t results, size_t events)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && ms[k] < ms[k - 1]; k--) {
            int64_t t = ms[k];
            ms[k] = ms[k - 1];
            ms[k - 1] = t;
        }
    printf("crash: %d kills, %zu results acknowledged, in %zu events; ready again after"
           " %lld ms (median), %lld ms (worst)\n",
           ROUNDS, results, events, (long long)ms[count / 2], (long long)ms[count - 1]);
}

START_TEST(nothing_acknowledged_is_lost)
{
    int64_t ready_ms[ROUNDS];
    size_t measured = 0;
    begin(TEAMS, 2);
    struct clock_seen before = look_at_clock();
    for (int round = 0; round < ROUNDS; round++) {
        struct core_agent *changed =
            &w.agents[randombytes_uniform((uint32_t)w.plan->machine_count)];
        changed->exists = !changed->exists;
        wait_for_acks(randombytes_uniform(120));
        if (round % 4 == 0)
            before = look_at_clock();
        cw_kill(&w);
        if (round % 8 == 7)
            start_and_kill_early();
        int64_t began = boottime_ms();
        cw_start(&w);
        ready_ms[measured++] = boottime_ms() - began;
        struct clock_seen after = look_at_clock();
        ck_assert_str_eq(after.state, "running");
        ck_assert_int_ge(after.ex_ms - before.ex_ms,
                         after.before_ms - before.after_ms - 2);
        ck_assert_int_le(after.ex_ms - before.ex_ms,
                         after.after_ms - before.before_ms + 2);
        if (round % 10 == 9)
            cw_assert_rescore(&w);
    }
    account_settle(&w);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    assert_machines_untouched();
    tell_times(ready_ms, measured, w.acks, account_check(&w));
    cw_call(&w, "ledger.verify", NULL);
    ck_assert(json_is_true(json_object_get(w.result, "chain_ok")));
    finish();
}
END_TEST

/* ---------------------------------------------------------------- a longer absence */

static void leave_mark(const char *boot_id, int64_t boottime, int64_t *ret_ex_ms)
{
    char path[128];
    struct es_store *store = NULL;
    struct es_clock_mark mark;
    struct es_err err = {0};
    snprintf(path, sizeof path, "%s/ranges/" CORE_RANGE "/ledger.db", w.state);
    int rc = es_store_open(path, false, &store, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_int_eq(es_store_last_mark(store, &mark), 0);
    ck_assert_int_eq(mark.state, ES_CLOCK_RUNNING);
    if (boot_id != NULL)
        snprintf(mark.boot_id, sizeof mark.boot_id, "%s", boot_id);
    mark.boottime_ms = boottime;
    rc = es_store_append(store, &mark, NULL, 0, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    es_store_close(store);
    *ret_ex_ms = mark.ex_ms;
}

static const struct {
    const char *boot_id;
    int64_t away_ms;
} absences[] = {{"another-boot", 1000}, {NULL, ES_CLOCK_GAP_MAX_MS + 1000}};

START_TEST(after_a_longer_absence_the_clock_stands)
{
    int64_t ex_ms;
    begin(1, 0);
    wait_for_acks(5);
    cw_kill(&w);
    leave_mark(absences[_i].boot_id, boottime_ms() - absences[_i].away_ms, &ex_ms);
    cw_start(&w);
    struct clock_seen seen = look_at_clock();
    ck_assert_str_eq(seen.state, "paused");
    ck_assert_int_eq(seen.ex_ms, ex_ms);
    ck_assert_msg(strstr(seen.trouble, "resume") != NULL, "%s", seen.trouble);
    cw_assert_rescore(&w);
    /* The pause itself is in the ledger: another crash changes nothing. */
    cw_kill(&w);
    cw_start(&w);
    ck_assert_int_eq(look_at_clock().ex_ms, ex_ms);
    cw_call(&w, "resume", NULL);
    ck_assert_str_eq(look_at_clock().trouble, "");
    wait_for_acks(5);
    ck_assert_int_gt(look_at_clock().ex_ms, ex_ms);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

/* ---------------------------------------------------------------- machines that ended */

static bool all_at_fault(const json_t *range, void *ctx)
{
    const json_t *machines = json_object_get(range, "machines");
    size_t n = 0;
    (void)ctx;
    ck_assert_uint_eq(json_array_size(machines), 4);
    for (size_t i = 0; i < json_array_size(machines); i++)
        n += es_str_eq(
            json_string_value(json_object_get(json_array_get(machines, i), "state")),
            "fault");
    return n == 4;
}

START_TEST(a_machine_that_ended_meanwhile_is_our_fault)
{
    begin(2, 0);
    wait_for_acks(5);
    cw_kill(&w);
    cw_write_node(&w, "");
    cw_start(&w);
    cw_until(&w, all_at_fault, NULL);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    wait_for_acks(5);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

Suite *crash_suite(void);
Suite *crash_suite(void)
{
    Suite *suite = suite_create("crash");
    TCase *tc = tcase_create("crash");
    tcase_set_timeout(tc, 400);
    tcase_add_test(tc, nothing_acknowledged_is_lost);
    tcase_add_loop_test(tc, after_a_longer_absence_the_clock_stands, 0,
                        (int)ES_COUNT(absences));
    tcase_add_test(tc, a_machine_that_ended_meanwhile_is_our_fault);
    suite_add_tcase(suite, tc);
    return suite;
}
