/* A range is parked and wakes up again: with the same core; with a core and a hypervisor
 * that know nothing of it, as after a reboot of the host; when a step fails, which undoes
 * it; and when the core ended in the middle, which the next one mends.
 *
 * libvirt's test driver lives inside the core and dies with it; what "the hypervisor" has
 * running when the core comes back is what its file lists. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "../support/core_world.h"
#include "../support/sqlite_faults.h"
#include "enshu/common/str.h"
#include "enshu/hyp.h"
#include "enshu/store.h"

#define NODE "<memory>67108864</memory>"

static const char scenario[] =
    "enshu: 1\n"
    "name: park\n"
    "title: {en: Parking}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes:\n"
    "  web: {image: fake, networks: {lab: 10.30.0.10}}\n"
    "  pc: {image: fake, networks: {lab: 10.30.0.11}}\n"
    "conditions:\n"
    "  web-clean: {node: web, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: "
    "5s}\n"
    "  web-up: {node: web, file: {path: /srv/page, exists: true}, every: 1s, timeout: 5s,"
    " starts: pass}\n"
    "objectives:\n"
    "  clean: {title: {en: Clean it}, when: web-clean, points: 100}\n"
    "services:\n"
    "  page: {title: {en: The page}, condition: web-up, round: 1s, points: 1}\n"
    "scoring: {model: drill, parts: {handling: 80, uptime: 20}}\n";

static struct core_world w;

/* ---------------------------------------------------------------- what is so */

static const json_t *look(void)
{
    return json_array_get(json_object_get(cw_call(&w, "status", NULL), "ranges"), 0);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static void assert_range(const char *state, const char *clock, const char *machines)
{
    const json_t *range = look(), *list = json_object_get(range, "machines");
    ck_assert_str_eq(text_of(range, "state"), state);
    ck_assert_str_eq(text_of(json_object_get(range, "clock"), "state"), clock);
    ck_assert_uint_eq(json_array_size(list), 2 * (size_t)w.plan->team_count);
    for (size_t i = 0; i < json_array_size(list); i++)
        ck_assert_msg(es_str_eq(text_of(json_array_get(list, i), "state"), machines),
                      "%s is %s: %s", text_of(json_array_get(list, i), "machine"),
                      text_of(json_array_get(list, i), "state"),
                      text_of(json_array_get(list, i), "detail"));
}

static json_int_t ex_ms(void)
{
    return json_integer_value(json_object_get(json_object_get(look(), "clock"), "ex_ms"));
}

static void digest(char dst[65])
{
    cw_call(&w, "rescore", NULL);
    snprintf(dst, 65, "%s", text_of(w.result, "live_digest"));
    ck_assert(json_is_true(json_object_get(w.result, "equal")));
}

static const char *below(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/ranges/" CORE_RANGE "/%s", w.state, name);
    return path;
}

/* ---------------------------------------------------------------- agents */

static int clocks_set; /* requests that set the clock and nothing else */

static json_t *on_request(void *ctx, struct simagent *sim,
                          const struct es_request *request)
{
    struct core_agent *agent = ctx;
    (void)sim;
    if (request->op == ES_OP_PERSONALISE) {
        bool clock_only = json_object_size(request->args) == 1 &&
                          json_is_integer(json_object_get(request->args, "time_us"));
        clocks_set += clock_only;
        agent->personalised += !clock_only;
    }
    if (request->op != ES_OP_PROBE)
        return json_pack("{s:b}", "sim", 1);
    agent->probes++;
    return json_pack("{s:b}", "exists", agent->exists);
}

static void until_clocks_are_set(int count)
{
    while (clocks_set < count)
        cw_step(&w);
    ck_assert_int_eq(clocks_set, count);
}

static int personalised(void)
{
    int all = 0;
    for (size_t i = 0; i < w.plan->machine_count; i++)
        all += w.agents[i].personalised;
    return all;
}

static void open_agents(void)
{
    cw_agents(&w, true);
    for (size_t i = 0; i < w.plan->machine_count; i++)
        if (w.agents[i].sim != NULL)
            simagent_on_request(w.agents[i].sim, on_request, &w.agents[i]);
}

static bool web_is_up(const json_t *range, void *ctx)
{
    (void)ctx;
    return es_str_eq(text_of(cw_named(range, 1, "conditions", "web-up"), "outcome"),
                     "pass");
}

static void begin(int teams, bool here)
{
    clocks_set = 0;
    cw_open(&w, scenario, teams);
    open_agents();
    if (here)
        cw_start_here(&w);
    else
        cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
}

static void play(void)
{
    cw_call(&w, "start", NULL);
    cw_until(&w, web_is_up, NULL);
    cw_agent(&w, 1, "web")->exists = false;
}

static void finish(void)
{
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}

/* ---------------------------------------------------------------- the usual way */

static void assert_refused(const char *method, json_t *params)
{
    int rc = cw_try(&w, method, params);
    ck_assert_msg(rc == ES_ESTATE, "%s: %d %s", method, rc, w.err.msg);
    ck_assert_msg(strstr(w.err.msg, "is parked") != NULL &&
                      strstr(w.err.msg, "unpark") != NULL,
                  "%s: %s", method, w.err.msg);
}

static void parked_refuses(void)
{
    static const char *const methods[] = {"park", "start", "pause", "resume", "stop"};
    for (size_t i = 0; i < ES_COUNT(methods); i++)
        assert_refused(methods[i], NULL);
    assert_refused("up", json_pack("{s:s}", "file", w.file));
    assert_refused("reset", json_pack("{s:s}", "machine", "t1/web"));
    assert_refused("reset", json_pack("{s:i}", "team", 1));
    assert_refused("console", json_pack("{s:s}", "machine", "t1/web"));
    ck_assert_int_eq(
        cw_try(&w, "exec", json_pack("{s:s, s:s}", "machine", "t1/web", "shell", "ls")),
        ES_ECONN);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "t1/web is parked"));
    ck_assert_int_eq(cw_try_bare(&w, "gc"), 0); /* it is no leftover */
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "removed")), 0);
}

static int park_events(json_int_t *dst, int max)
{
    json_t *events = cw_events(&w), *event;
    size_t i;
    int count = 0;
    json_array_foreach (events, i, event) {
        if (es_str_eq(text_of(event, "name"), "park") && count < max)
            dst[count++] = json_integer_value(json_object_get(event, "a"));
    }
    json_decref(events);
    return count;
}

static void assert_events(const json_int_t *wanted, int count)
{
    json_int_t seen[16];
    ck_assert_int_eq(park_events(seen, 16), count);
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(seen[i], wanted[i]);
}

static void assert_goes_on(void)
{
    struct core_agent *web = cw_agent(&w, 1, "web");
    int probes = web->probes;
    cw_call(&w, "resume", NULL);
    web->exists = true;
    while (web->probes < probes + 2)
        cw_step(&w);
    cw_until(&w, web_is_up, NULL);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
}

static const json_int_t there_and_back[] = {ES_PARK_PARKING, ES_PARK_PARKED,
                                            ES_PARK_UNPARKING, ES_PARK_UNPARKED};

START_TEST(sleeps_and_wakes)
{
    char before[65], after[65], epoch[17];
    begin(2, false);
    play();
    snprintf(epoch, sizeof epoch, "%s", simagent_epoch(cw_agent(&w, 1, "web")->sim));
    int done = personalised();
    cw_call(&w, "park", json_pack("{s:s}", "reason", "until monday"));
    ck_assert_int_eq(json_integer_value(json_object_get(w.result, "machines")), 4);
    ck_assert_int_gt(json_integer_value(json_object_get(w.result, "bytes")), 0);
    assert_range("parked", "paused", "parked");
    json_int_t at = ex_ms();
    digest(before);
    parked_refuses();
    ck_assert_int_eq(ex_ms(), at);

    cw_call(&w, "unpark", NULL);
    assert_range("up", "paused", "ready");
    ck_assert_int_eq(ex_ms(), at);
    digest(after);
    ck_assert_str_eq(before, after);
    until_clocks_are_set(4);
    ck_assert_int_eq(personalised(), done); /* nothing of it again */
    ck_assert_str_eq(simagent_epoch(cw_agent(&w, 1, "web")->sim), epoch);
    ck_assert_int_ne(access(below("parked"), F_OK), 0);
    assert_events(there_and_back, 4);
    assert_goes_on();
    finish();
}
END_TEST

/* Neither the core nor the hypervisor knows anything but what lies on the disk. */
START_TEST(outlives_a_reboot)
{
    char before[65], after[65];
    begin(2, false);
    play();
    int done = personalised();
    cw_call(&w, "park", NULL);
    json_int_t at = ex_ms();
    digest(before);
    for (int twice = 0; twice < 2; twice++) {
        cw_end(&w);
        cw_start(&w);
        assert_range("parked", "paused", "parked");
    }
    parked_refuses();
    cw_call(&w, "unpark", NULL);
    assert_range("up", "paused", "ready");
    ck_assert_int_eq(ex_ms(), at);
    digest(after);
    ck_assert_str_eq(before, after);
    until_clocks_are_set(4);
    ck_assert_int_eq(personalised(), done);
    assert_goes_on();
    finish();
}
END_TEST

START_TEST(sleeps_before_the_start_too)
{
    begin(1, false);
    cw_call(&w, "park", NULL);
    assert_range("parked", "ready", "parked");
    cw_call(&w, "unpark", NULL);
    assert_range("up", "ready", "ready");
    play();
    cw_call(&w, "stop", NULL);
    cw_call(&w, "park", NULL);
    assert_range("parked", "stopped", "parked");
    cw_call(&w, "down", NULL); /* a parked range goes as any other */
    ck_assert_int_ne(access(below(""), F_OK), 0);
    ck_assert_int_eq(cw_try_bare(&w, "gc"), 0);
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "removed")), 0);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

/* ---------------------------------------------------------------- agents of all kinds */

START_TEST(what_is_under_way_is_waited_for)
{
    begin(1, false);
    struct core_agent *web = cw_agent(&w, 1, "web");
    simagent_set_mode(web->sim, SIMAGENT_LATE, 500);
    cw_aside(&w, "exec",
             json_pack("{s:s, s:s, s:s}", "range", CORE_RANGE, "machine", "t1/web",
                       "shell", "true"));
    ck_assert_int_eq(cw_try(&w, "park", NULL), ES_EBUSY);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "wait for it"));
    while (!w.aside_answered)
        cw_step(&w);
    simagent_set_mode(web->sim, SIMAGENT_GOOD, 0);
    cw_call(&w, "park", NULL);
    finish();
}
END_TEST

static bool is_silent(const json_t *range, void *ctx)
{
    const json_t *list = json_object_get(range, "machines");
    (void)ctx;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (es_str_eq(text_of(json_array_get(list, i), "machine"), "t1/pc"))
            return !es_str_eq(text_of(json_array_get(list, i), "link"), "UP");
    return false;
}

START_TEST(agents_are_waited_for_as_they_were)
{
    begin(1, false);
    play();
    struct core_agent *web = cw_agent(&w, 1, "web"), *pc = cw_agent(&w, 1, "pc");
    simagent_set_mode(pc->sim, SIMAGENT_DEAF, 0);
    simagent_disconnect(pc->sim);
    cw_until(&w, is_silent, NULL);
    cw_call(&w, "park", NULL);
    int done = web->personalised;
    simagent_restart(web->sim); /* as the guest was suspended */
    cw_call(&w, "unpark", NULL);
    assert_range("up", "paused", "ready");
    ck_assert_int_eq(web->personalised, done + 1);
    ck_assert_int_eq(clocks_set, 0);
    finish();
}
END_TEST

/* ---------------------------------------------------------------- steps that fail */

static const char planned[] = "failure planned by a test";

static void assert_can_begin_anew(long n)
{
    int rc = cw_try(&w, "park", NULL);
    ck_assert_msg(rc == 0, "call %ld: %s", n, w.err.msg);
    assert_range("parked", "paused", "parked");
    rc = cw_try(&w, "unpark", NULL);
    ck_assert_msg(rc == 0, "call %ld: %s", n, w.err.msg);
    assert_range("up", "paused", "ready");
}

/* Each call to the hypervisor: undone, all machines run on. */
START_TEST(what_cannot_be_parked_runs_on)
{
    long n = 1;
    begin(2, true);
    play();
    assert_can_begin_anew(0);
    for (bool failed = true; failed; n++) {
        es_hyp_fail_nth(n);
        int rc = cw_try(&w, "park", NULL);
        failed = es_hyp_failed();
        es_hyp_fail_nth(0);
        ck_assert_msg((rc != 0) == failed, "call %ld: %d %s", n, rc, w.err.msg);
        if (failed) {
            ck_assert_msg(strstr(w.err.msg, planned) != NULL &&
                              strstr(w.err.msg, "is not parked") != NULL,
                          "call %ld: %s", n, w.err.msg);
            assert_range("up", "paused", "ready");
            ck_assert_int_ne(access(below("parked"), F_OK), 0);
            assert_can_begin_anew(n);
        } else
            cw_call(&w, "unpark", NULL);
        ck_assert_int_lt(n, 200);
    }
    ck_assert_int_gt(n, 16); /* four calls for each of four machines */
    cw_assert_rescore(&w);
    finish();
}
END_TEST

static size_t count_machines(const char *state)
{
    const json_t *list = json_object_get(look(), "machines");
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        n += es_str_eq(text_of(json_array_get(list, i), "state"), state);
    return n;
}

/* Before they run, all sleep on; later, one machine is lost. */
START_TEST(what_cannot_be_unparked_sleeps_on)
{
    long n = 1;
    size_t slept = 0, lost = 0;
    begin(1, true);
    cw_call(&w, "park", NULL);
    for (bool failed = true; failed; n++) {
        es_hyp_fail_nth(n);
        int rc = cw_try(&w, "unpark", NULL);
        failed = es_hyp_failed();
        es_hyp_fail_nth(0);
        ck_assert_msg((rc != 0) == failed, "call %ld: %d %s", n, rc, w.err.msg);
        if (rc != 0)
            ck_assert_msg(strstr(w.err.msg, planned) != NULL, "call %ld: %s", n,
                          w.err.msg);
        if (rc != 0 && es_str_eq(text_of(look(), "state"), "parked")) {
            assert_range("parked", "ready", "parked");
            slept++;
            continue;
        }
        ck_assert_str_eq(text_of(look(), "state"), "up");
        ck_assert_uint_eq(count_machines("fault"), failed ? 1 : 0);
        lost += failed;
        ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
        assert_range("up", "ready", "ready");
        cw_call(&w, "park", NULL);
        ck_assert_int_lt(n, 200);
    }
    ck_assert_uint_gt(slept, 12);
    ck_assert_uint_gt(lost, 2);
    finish();
}
END_TEST

/* Whether the n-th sync of it failed. */
static bool try_with_fault(const char *method, long n)
{
    sqlite_faults_set(FAULT_SYNC, n, NULL);
    int rc = cw_try(&w, method, NULL);
    bool failed = sqlite_faults_happened();
    sqlite_faults_set(FAULT_NONE, 0, NULL);
    ck_assert_msg((rc != 0) == failed, "%s, sync %ld: %s", method, n, w.err.msg);
    ck_assert_int_lt(n, 100);
    return failed;
}

/* What is not durable did not happen. Each step is a commit of one sync, in a ledger that
 * is opened anew after each failure. */
START_TEST(steps_that_cannot_be_kept_are_taken_back)
{
    long n = 1;
    sqlite_faults_install();
    begin(1, true);
    for (; try_with_fault("park", n); n++) {
        assert_range("up", "ready", "ready");
        cw_call(&w, "park", NULL);
        cw_call(&w, "unpark", NULL);
    }
    ck_assert_int_eq(n, 3); /* PARKING, PARKED; none */
    assert_range("parked", "ready", "parked");
    for (n = 1; try_with_fault("unpark", n); n++) {
        assert_range("parked", "ready", "parked");
        cw_call(&w, "unpark", NULL);
        cw_call(&w, "park", NULL);
    }
    ck_assert_int_eq(n, 3);
    assert_range("up", "ready", "ready");
    play();
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

/* ---------------------------------------------------------------- room */

static json_int_t number_in(const char *text, const char *before)
{
    const char *at = strstr(text, before);
    ck_assert_msg(at != NULL, "%s", text);
    return strtoll(at + strlen(before), NULL, 10);
}

START_TEST(room_is_looked_for_first)
{
    char text[sizeof scenario + 32], path[128];
    struct statvfs fs;
    ck_assert_int_eq(statvfs(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", &fs),
                     0);
    long long disk_mib = (long long)(fs.f_bavail * (fsblkcnt_t)fs.f_frsize >> 20);
    const char *size = strstr(scenario, "64 MiB");
    snprintf(text, sizeof text, "%.*s%lld MiB%s", (int)(size - scenario), scenario,
             disk_mib, size + strlen("64 MiB"));
    cw_open(&w, text, 1);
    snprintf(path, sizeof path, "%s/node.xml", w.dir);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_gt(fprintf(file, "<node><memory>%lld</memory></node>", disk_mib * 4096),
                     0);
    ck_assert_int_eq(fclose(file), 0);
    open_agents();
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    ck_assert_int_eq(cw_try(&w, "park", NULL), ES_ECAPACITY);
    ck_assert_int_eq(number_in(w.err.msg, "needs "), 2 * disk_mib);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "MiB of disk"));
    assert_range("up", "ready", "ready");
    finish();
}
END_TEST

START_TEST(memory_is_looked_for_first)
{
    begin(1, false);
    cw_call(&w, "park", NULL);
    ck_assert_int_eq(truncate(below("parked/es-r-t01-web.save"), 1LL << 40), 0);
    ck_assert_int_eq(cw_try(&w, "unpark", NULL), ES_ECAPACITY);
    ck_assert_int_ge(number_in(w.err.msg, "needs "), 1 << 20);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "MiB of memory"));
    assert_range("parked", "ready", "parked");
    ck_assert_int_eq(truncate(below("parked/es-r-t01-web.save"), 20000), 0);
    cw_call(&w, "unpark", NULL);
    assert_range("up", "ready", "ready");
    finish();
}
END_TEST

/* ---------------------------------------------------------------- cores that end */

/* What the hypervisor has when the core comes back. */
static void have_machines(const char *skip, bool paused)
{
    struct es_buf text;
    char one[700];
    es_buf_init(&text, 1U << 20);
    for (size_t i = 0; i < w.plan->machine_count; i++) {
        const struct es_plan_machine *m = &w.plan->machines[i];
        if (m->team == 0 || (skip != NULL && es_str_ends(m->name, skip)))
            continue;
        snprintf(one, sizeof one,
                 "<domain type='test' "
                 "xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>"
                 "<name>%s</name><uuid>%s</uuid><memory>65536</memory>"
                 "<metadata><enshu:object xmlns:enshu='https://enshu.org/libvirt/1' "
                 "range='" CORE_RANGE "' team='%d' node='%s' kind='machine' hash='0' "
                 "instance='1'/></metadata><os><type>hvm</type></os>"
                 "<test:runstate>%d</test:runstate></domain>",
                 m->name, m->uuid, m->team, w.scenario->nodes[m->node].name,
                 paused ? 3 : 1);
        ck_assert_int_eq(es_buf_puts(&text, one), 0);
    }
    cw_write_node(&w, es_buf_str(&text));
    es_buf_finish(&text);
}

/* The ledger as a core left it that had come to this step. */
static void leave_step(int step)
{
    struct es_store *store = NULL;
    struct es_clock_mark mark;
    struct es_err err = {0};
    struct es_event event = {.type = ES_EV_PARK, .team = -1, .subject = -1, .a = step};
    int rc = es_store_open(below("ledger.db"), false, &store, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_int_eq(es_store_last_mark(store, &mark), 0);
    event.ex_ms = mark.ex_ms;
    rc = es_store_append(store, &mark, &event, 1, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    es_store_close(store);
}

static bool is_parked(const json_t *range, void *ctx)
{
    (void)ctx;
    return es_str_eq(text_of(range, "state"), "parked");
}

/* A range that was parked; the core is then found to have ended at the step. */
static void park_and_end(int step)
{
    begin(2, false);
    play();
    cw_call(&w, "park", NULL);
    cw_end(&w);
    leave_step(step);
}

static void assert_wakes(void)
{
    cw_call(&w, "unpark", NULL);
    assert_range("up", "paused", "ready");
    assert_goes_on();
    finish();
}

/* All saved but not said; one not saved yet; none. */
static const char *const unsaved[] = {"none", "-t02-pc", ""};

START_TEST(a_parking_that_was_begun_is_ended)
{
    char path[256];
    park_and_end(ES_PARK_PARKING);
    for (size_t i = 0; i < w.plan->machine_count; i++) {
        snprintf(path, sizeof path, "parked/%s.save", w.plan->machines[i].name);
        if (w.plan->machines[i].team != 0 &&
            es_str_ends(w.plan->machines[i].name, unsaved[_i]))
            ck_assert_int_eq(unlink(below(path)), 0);
    }
    /* The rest is what the hypervisor still has. */
    if (_i == 2)
        have_machines(NULL, true);
    else if (_i == 1)
        have_machines("-web", true);
    cw_start(&w);
    cw_until(&w, is_parked, NULL);
    if (_i == 1) /* t01-pc was saved, and is there: it is saved again */
        ck_assert_uint_eq(count_machines("parked"), 4);
    assert_range("parked", "paused", "parked");
    cw_write_node(&w, "");
    cw_end(&w);
    cw_start(&w);
    assert_wakes();
}
END_TEST

START_TEST(a_machine_that_a_crash_took_is_our_fault)
{
    park_and_end(ES_PARK_PARKING);
    ck_assert_int_eq(truncate(below("parked/es-r-t01-pc.save"), 10), 0);
    cw_start(&w);
    cw_until(&w, is_parked, NULL);
    ck_assert_uint_eq(count_machines("parked"), 3);
    ck_assert_uint_eq(count_machines("fault"), 1);
    cw_call(&w, "unpark", NULL);
    ck_assert_uint_eq(count_machines("ready"), 3);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    assert_range("up", "paused", "ready");
    cw_assert_rescore(&w);
    finish();
}
END_TEST

/* Restored, never run: their files still hold. */
START_TEST(an_unparking_that_was_begun_is_taken_back)
{
    json_int_t last[16];
    park_and_end(ES_PARK_UNPARKING);
    have_machines(_i == 0 ? NULL : "-pc", true);
    cw_start(&w);
    cw_until(&w, is_parked, NULL);
    assert_range("parked", "paused", "parked");
    int count = park_events(last, 16);
    ck_assert_int_eq(last[count - 1], ES_PARK_PARKED);
    assert_wakes();
}
END_TEST

static bool all_ready(const json_t *range, void *ctx)
{
    const json_t *list = json_object_get(range, "machines");
    (void)ctx;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!es_str_eq(text_of(json_array_get(list, i), "state"), "ready"))
            return false;
    return true;
}

/* The ledger says that they run; the core ended before it had said so to them. */
START_TEST(what_was_unparked_is_resumed)
{
    park_and_end(ES_PARK_UNPARKED);
    ck_assert_int_eq(access(below("parked"), F_OK), 0);
    have_machines(NULL, true);
    cw_start(&w);
    cw_until(&w, all_ready, NULL);
    ck_assert_int_ne(access(below("parked"), F_OK), 0); /* they hold nothing any more */
    assert_range("up", "paused", "ready");
    until_clocks_are_set(4);
    assert_goes_on();
    finish();
}
END_TEST

static bool is_settled(const json_t *range, void *ctx)
{
    bool *parked = ctx;
    *parked = es_str_eq(text_of(range, "state"), "parked");
    return *parked || (es_str_eq(text_of(range, "state"), "up") &&
                       (all_ready(range, NULL) || count_machines("fault") > 0));
}

/* The core ends in good order, after so many turns of its loop; the one after it finds each
 * machine saved, or lost with the hypervisor. */
START_TEST(may_end_at_any_moment)
{
    bool parked = false;
    int cut_short = -1;
    for (int turns = 0; !parked || count_machines("parked") < 2; turns++) {
        json_t *params = json_pack("{s:s}", "range", CORE_RANGE);
        int64_t id;
        if (turns > 0) {
            cw_call(&w, "down", NULL);
            cw_end(&w);
            cw_close(&w);
        }
        begin(1, true);
        ck_assert_int_eq(es_client_call(w.client, "park", params, &id, &w.err), 0);
        for (int i = 0; i < turns; i++)
            cw_step(&w);
        cw_end(&w);
        cw_start_here(&w);
        cw_until(&w, is_settled, &parked);
        cut_short++;
        ck_assert_int_lt(turns, 200);
    }
    ck_assert_int_gt(cut_short, 0);
    cw_call(&w, "unpark", NULL);
    assert_range("up", "ready", "ready");
    finish();
}
END_TEST

Suite *park_suite(void);
Suite *park_suite(void)
{
    Suite *suite = suite_create("park");
    TCase *tc = tcase_create("park");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, sleeps_and_wakes);
    tcase_add_test(tc, outlives_a_reboot);
    tcase_add_test(tc, sleeps_before_the_start_too);
    tcase_add_test(tc, what_is_under_way_is_waited_for);
    tcase_add_test(tc, agents_are_waited_for_as_they_were);
    tcase_add_test(tc, what_cannot_be_parked_runs_on);
    tcase_add_test(tc, what_cannot_be_unparked_sleeps_on);
    tcase_add_test(tc, steps_that_cannot_be_kept_are_taken_back);
    tcase_add_test(tc, room_is_looked_for_first);
    tcase_add_test(tc, memory_is_looked_for_first);
    tcase_add_loop_test(tc, a_parking_that_was_begun_is_ended, 0, (int)ES_COUNT(unsaved));
    tcase_add_test(tc, a_machine_that_a_crash_took_is_our_fault);
    tcase_add_loop_test(tc, an_unparking_that_was_begun_is_taken_back, 0, 2);
    tcase_add_test(tc, what_was_unparked_is_resumed);
    tcase_add_test(tc, may_end_at_any_moment);
    suite_add_tcase(suite, tc);
    return suite;
}
