/* The core when the host's memory runs short: machines wait for their turn and say so; the
 * least important ones stand still, which is our fault in the ledger and costs nobody a
 * point; all come back. The host is a folder of the test's, and looked at without pause. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/core_world.h"
#include "../support/scratch.h"
#include "enshu/common/str.h"

#define LOOK_MS 50

static const char scenario[] =
    "enshu: 1\n"
    "name: density\n"
    "title: {en: Short of memory}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes:\n"
    "  web: {image: fake, networks: {lab: 10.30.0.10}}\n"
    "  pc: {image: fake, networks: {lab: 10.30.0.11}}\n"
    "  noise: {image: fake, hidden: true, networks: {lab: 10.30.0.12}}\n"
    "conditions:\n"
    "  pc-clean: {node: pc, file: {path: /tmp/bad, exists: true}, every: 1s, timeout: "
    "2s}\n"
    "  web-up: {node: web, file: {path: /srv/page, exists: true}, every: 1s, timeout: 2s,"
    " starts: pass}\n"
    "objectives:\n"
    "  clean-pc: {title: {en: Clean the PC}, when: pc-clean, judged: held, points: 50}\n"
    "services:\n"
    "  page: {title: {en: The page}, condition: web-up, round: 1s, points: 1}\n";

static struct core_world w;
static char root[256];

/* ---------------------------------------------------------------- the host */

static void put(const char *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void put(const char *name, const char *fmt, ...)
{
    char beside[270], path[256];
    va_list args;
    snprintf(path, sizeof path, "%s", scratch_path(name));
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "w");
    ck_assert_msg(file != NULL, "%s", beside);
    va_start(args, fmt);
    ck_assert_int_gt(vfprintf(file, fmt, args), 0);
    va_end(args);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(rename(beside, path), 0);
}

static void host_memory(int total_mib, int available_mib)
{
    put("proc/meminfo", "MemTotal: %d kB\nMemAvailable: %d kB\nSwapFree: 0 kB\n",
        total_mib * 1024, available_mib * 1024);
}

static void host_pressure(int percent)
{
    put("proc/pressure/memory",
        "some avg10=%d.00 avg60=0.00 avg300=0.00 total=1\n"
        "full avg10=%d.00 avg60=0.00 avg300=0.00 total=1\n",
        percent, percent);
}

/* The machine's QEMU, as if it ran with so much memory of its own. */
static void host_runs(const struct es_plan_machine *m, int pid, int private_mib)
{
    char name[64];
    snprintf(name, sizeof name, "proc/%d", pid);
    mkdir(scratch_path(name), 0755);
    snprintf(name, sizeof name, "proc/%d/cmdline", pid);
    put(name, "qemu-system-x86_64%c-name%cguest=%s,debug-threads=on", 0, 0, m->name);
    snprintf(name, sizeof name, "proc/%d/status", pid);
    put(name, "RssAnon: %d kB\nVmSwap: 0 kB\n", private_mib * 1024);
}

static void open_world(int teams)
{
    scratch_make();
    mkdir(scratch_path("proc"), 0755);
    mkdir(scratch_path("proc/pressure"), 0755);
    host_memory(8192, 4096);
    host_pressure(0);
    cw_open(&w, scenario, teams);
    snprintf(root, sizeof root, "%s", scratch_path(""));
    w.root = root;
    w.look_ms = LOOK_MS;
    cw_start_here(&w);
    cw_agents(&w, true);
}

static void close_world(void)
{
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
    scratch_remove();
}

/* ---------------------------------------------------------------- what is told */

static const char *state_of(const json_t *range, const char *label, const char *key)
{
    size_t i;
    const json_t *m;
    json_array_foreach (json_object_get(range, "machines"), i, m) {
        if (es_str_eq(json_string_value(json_object_get(m, "machine")), label))
            return json_string_value(json_object_get(m, key));
    }
    return NULL;
}

static size_t count_of(const json_t *range, const char *state)
{
    size_t i, count = 0;
    const json_t *m;
    json_array_foreach (json_object_get(range, "machines"), i, m) {
        count += es_str_eq(json_string_value(json_object_get(m, "state")), state);
    }
    return count;
}

struct wanted {
    const char *state;
    size_t count;
};

static bool are_so_many(const json_t *range, void *ctx)
{
    const struct wanted *wanted = ctx;
    return count_of(range, wanted->state) == wanted->count;
}

static void until(const char *state, size_t count)
{
    struct wanted wanted = {state, count};
    cw_until(&w, are_so_many, &wanted);
}

static bool is_outcome(const json_t *range, void *ctx)
{
    const json_t *condition = cw_named(range, 1, "conditions", "pc-clean");
    return es_str_eq(json_string_value(json_object_get(condition, "outcome")), ctx);
}

static void until_outcome(char *outcome)
{
    cw_until(&w, is_outcome, outcome);
}

static json_t *capacity(void)
{
    ck_assert_int_eq(cw_try_bare(&w, "status"), 0);
    return json_object_get(w.result, "capacity");
}

static json_int_t number(const char *object, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(capacity(), object), key));
}

/* How many events say of a node that it is at fault because it was suspended, or is ready
 * again. */
static int told(json_t *events, const char *node, json_int_t a, json_int_t b,
                const char *cause)
{
    int count = 0, subject = es_scenario_node(w.scenario, node);
    size_t i;
    const json_t *e;
    json_array_foreach (events, i, e) {
        char *text = json_dumps(e, JSON_COMPACT);
        count += json_integer_value(json_object_get(e, "type")) == 4 &&
                 json_integer_value(json_object_get(e, "subject")) == subject &&
                 json_integer_value(json_object_get(e, "a")) == a &&
                 json_integer_value(json_object_get(e, "b")) == b &&
                 strstr(text, cause) != NULL;
        free(text);
    }
    return count;
}

/* ---------------------------------------------------------------- admission */

START_TEST(what_does_not_fit_is_refused_with_its_numbers)
{
    open_world(3);
    host_memory(8192, 512 + 9 * 128 - 1);
    cw_pause(&w, 10 * LOOK_MS); /* several looks */
    ck_assert_int_eq(cw_up(&w), ES_ECAPACITY);
    ck_assert_msg(strstr(w.err.msg, "needs 1152 MiB of memory") != NULL, "%s", w.err.msg);
    ck_assert_msg(strstr(w.err.msg, "512 MiB stay in reserve") != NULL, "%s", w.err.msg);
    host_memory(8192, 512 + 9 * 128);
    cw_pause(&w, 10 * LOOK_MS);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    ck_assert_int_eq(number("memory", "reserve_bytes"), 512LL << 20);
    /* none of their QEMUs is seen: all that they may take is still promised */
    ck_assert_int_eq(number("memory", "promised_bytes"), 9 * (128LL << 20));
    for (int i = 0; i < 12; i++)
        if (w.plan->machines[i].team > 0)
            host_runs(&w.plan->machines[i], 100 + i, 100);
    cw_pause(&w, 10 * LOOK_MS);
    ck_assert_int_eq(number("machines", "running"), 9);
    ck_assert_int_eq(number("machines", "private_bytes"), 9 * (100LL << 20));
    ck_assert_int_eq(number("memory", "promised_bytes"), 9 * (28LL << 20));
    close_world();
}
END_TEST

static bool waiting_told;
static const char *waits_for;

/* Once a machine says what it waits for, the host is well again. */
static void on_watch(uv_timer_t *timer)
{
    size_t i;
    const json_t *event;
    (void)timer;
    json_array_foreach (w.progress, i, event) {
        const char *detail = json_string_value(json_object_get(event, "detail"));
        if (waiting_told || detail == NULL || strstr(detail, waits_for) == NULL)
            continue;
        waiting_told = true;
        host_pressure(0);
        host_memory(8192, 4096);
    }
}

static void up_and_wait_for(const char *text)
{
    uv_timer_t watch;
    waits_for = text;
    waiting_told = false;
    uv_timer_init(&w.loop, &watch);
    uv_timer_start(&watch, on_watch, 5, 5);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    ck_assert(waiting_told);
    uv_close((uv_handle_t *)&watch, NULL);
    uv_run(&w.loop, UV_RUN_NOWAIT);
    ck_assert_uint_eq(
        count_of(
            json_array_get(json_object_get(cw_call(&w, "status", NULL), "ranges"), 0),
            "ready"),
        6);
}

START_TEST(machines_wait_while_memory_is_tight)
{
    open_world(2);
    host_pressure(20);
    cw_pause(&w, 10 * LOOK_MS);
    ck_assert_str_eq(json_string_value(json_object_get(capacity(), "level")), "short");
    up_and_wait_for("waiting: memory is short on the host");
    ck_assert_str_eq(json_string_value(json_object_get(capacity(), "level")), "calm");
    close_world();
}
END_TEST

/* The first of the queue, whichever it is. */
static bool waits_for_room(const json_t *range, void *ctx)
{
    static const char text[] = "waiting for memory: needs 128 MiB, 1000 MiB are free, of "
                               "which 384 MiB are for what runs and 512 MiB stay in "
                               "reserve";
    size_t i;
    const json_t *m;
    bool waits = false;
    (void)ctx;
    json_array_foreach (json_object_get(range, "machines"), i, m) {
        const char *detail = json_string_value(json_object_get(m, "detail"));
        waits |= es_str_eq(json_string_value(json_object_get(m, "state")), "queued") &&
                 detail != NULL && strstr(detail, text) != NULL;
    }
    return waits;
}

/* 1000 less 512 in reserve less 3 x 128 that the other team may still take. */
START_TEST(machines_wait_for_room)
{
    int64_t id;
    open_world(2);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    host_memory(8192, 1000);
    cw_pause(&w, 10 * LOOK_MS);
    int rc = es_client_call(w.client, "reset",
                            json_pack("{s:s, s:i}", "range", CORE_RANGE, "team", 1), &id,
                            &w.err);
    ck_assert_msg(rc == 0, "%s", w.err.msg);
    cw_until(&w, waits_for_room, NULL);
    ck_assert(json_is_true(json_object_get(capacity(), "waiting_for_memory")));
    ck_assert_int_eq(json_integer_value(json_object_get(capacity(), "waiting")), 3);
    host_memory(8192, 4096);
    until("ready", 6);
    close_world();
}
END_TEST

START_TEST(who_waits_too_long_is_told_why)
{
    open_world(1);
    host_pressure(20);
    cw_pause(&w, 10 * LOOK_MS);
    ck_assert_int_eq(cw_up(&w), ES_ECAPACITY);
    ck_assert_msg(strstr(w.err.msg, "memory is short on the host; use fewer teams") !=
                      NULL,
                  "%s", w.err.msg);
    close_world();
}
END_TEST

/* ---------------------------------------------------------------- suspension */

static void begin_exercise(void)
{
    open_world(2);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    for (int i = 0; i < 9; i++)
        if (w.plan->machines[i].team > 0)
            host_runs(&w.plan->machines[i], 100 + i, 100 + i);
    cw_call(&w, "start", NULL);
    until_outcome((char[]){"pass"});
}

START_TEST(the_least_important_stand_still_and_come_back)
{
    begin_exercise();
    host_pressure(50);
    until("suspended", 4);
    const json_t *range =
        json_array_get(json_object_get(cw_call(&w, "status", NULL), "ranges"), 0);
    ck_assert_str_eq(state_of(range, "t1/web", "state"), "ready"); /* a service's */
    ck_assert_str_eq(state_of(range, "t2/web", "state"), "ready");
    ck_assert_str_eq(state_of(range, "t1/noise", "state"), "suspended");
    ck_assert_ptr_nonnull(strstr(state_of(range, "t1/pc", "detail"), "short of memory"));
    ck_assert_int_eq(number("machines", "suspended"), 4);
    until_outcome((char[]){"fault"}); /* ours, not the team's */
    int clocks = cw_agent(&w, 1, "pc")->personalised;
    cw_pause(&w, 10 * LOOK_MS);
    host_pressure(0);
    until("ready", 6);
    until_outcome((char[]){"pass"});
    ck_assert_int_gt(cw_agent(&w, 1, "pc")->personalised, clocks); /* set anew */
    cw_call(&w, "pause", NULL);
    json_t *events = cw_events(&w);
    static const char *const nodes[] = {"noise", "pc"};
    for (size_t i = 0; i < ES_COUNT(nodes); i++) {
        ck_assert_int_eq(told(events, nodes[i], 4, 1, "suspended"), 2);
        ck_assert_int_eq(told(events, nodes[i], 2, 0, "resumed"), 2);
    }
    ck_assert_int_eq(told(events, "web", 4, 1, ""), 0);
    json_decref(events);
    cw_assert_rescore(&w);
    close_world();
}
END_TEST

START_TEST(a_suspended_machine_can_be_reset)
{
    begin_exercise();
    host_pressure(50);
    until("suspended", 4);
    /* Asked for while memory is short: it waits for its turn. */
    cw_aside(&w, "reset", json_pack("{s:s}", "machine", "t1/pc"));
    cw_call(&w, "status", NULL);
    host_pressure(0);
    while (!w.aside_answered)
        cw_step(&w);
    ck_assert_int_eq(json_integer_value(json_object_get(w.aside_result, "machines")), 1);
    until("ready", 6);
    until_outcome((char[]){"pass"});
    close_world();
}
END_TEST

/* Parked with the others, and all run on together. */
START_TEST(suspended_machines_are_parked_too)
{
    begin_exercise();
    host_pressure(50);
    until("suspended", 4);
    cw_call(&w, "park", NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(w.result, "machines")), 6);
    ck_assert_int_eq(number("machines", "suspended"), 0);
    host_pressure(0);
    cw_pause(&w, 10 * LOOK_MS); /* nothing is resumed of it */
    until("parked", 6);
    cw_call(&w, "unpark", NULL);
    until("ready", 6);
    cw_call(&w, "resume", NULL);
    until_outcome((char[]){"pass"});
    cw_call(&w, "pause", NULL);
    json_t *events = cw_events(&w);
    ck_assert_int_eq(told(events, "pc", 2, 0, "parked meanwhile"), 2);
    ck_assert_int_eq(told(events, "noise", 2, 0, "parked meanwhile"), 2);
    ck_assert_int_eq(told(events, "web", 2, 0, "parked meanwhile"), 0);
    json_decref(events);
    cw_assert_rescore(&w);
    close_world();
}
END_TEST

/* The machines as the hypervisor has them: pc and noise paused. */
static void write_paused_world(void)
{
    struct es_buf text;
    es_buf_init(&text, 1U << 20);
    for (size_t i = 0; i < w.plan->machine_count; i++) {
        const struct es_plan_machine *m = &w.plan->machines[i];
        const char *node = w.scenario->nodes[m->node].name;
        if (m->team == 0)
            continue;
        es_buf_printf(
            &text,
            "<domain type='test' "
            "xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>%s</name>"
            "<uuid>%s</uuid><memory>65536</memory><metadata><enshu:object "
            "xmlns:enshu='https://enshu.org/libvirt/1' range='" CORE_RANGE "' team='%d' "
            "node='%s' kind='machine' hash='0' instance='1'/></metadata><os><type>hvm"
            "</type></os><test:runstate>%d</test:runstate></domain>",
            m->name, m->uuid, m->team, node, es_str_eq(node, "web") ? 1 : 3);
    }
    cw_write_node(&w, es_buf_str(&text));
    es_buf_finish(&text);
}

START_TEST(a_core_that_comes_after_resumes_them)
{
    begin_exercise();
    host_pressure(50);
    until("suspended", 4);
    cw_call(&w, "pause", NULL);
    cw_end(&w);
    write_paused_world();
    cw_start_here(&w);
    until("suspended", 4);
    until("ready", 2);
    host_pressure(0);
    until("ready", 6);
    cw_call(&w, "resume", NULL);
    until_outcome((char[]){"pass"});
    cw_assert_rescore(&w);
    close_world();
}
END_TEST

Suite *core_density_suite(void);
Suite *core_density_suite(void)
{
    Suite *suite = suite_create("core_density");
    TCase *tc = tcase_create("core_density");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, what_does_not_fit_is_refused_with_its_numbers);
    tcase_add_test(tc, machines_wait_while_memory_is_tight);
    tcase_add_test(tc, machines_wait_for_room);
    tcase_add_test(tc, who_waits_too_long_is_told_why);
    tcase_add_test(tc, the_least_important_stand_still_and_come_back);
    tcase_add_test(tc, a_suspended_machine_can_be_reset);
    tcase_add_test(tc, suspended_machines_are_parked_too);
    tcase_add_test(tc, a_core_that_comes_after_resumes_them);
    suite_add_tcase(suite, tc);
    return suite;
}
