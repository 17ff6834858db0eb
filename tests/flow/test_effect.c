/* Effects over a crash: what was to be done inside a machine is done once, whatever the
 * moment at which the core is killed, and what came of it stands in the ledger. */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"
#include "enshu/store.h"

#define LATE_MS 1500

static const char scenario[] =
    "enshu: 1\n"
    "name: effects\n"
    "title: {en: Effects}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes: {web: {image: fake, networks: {lab: 10.30.0.10}}}\n"
    "conditions:\n"
    "  page: {node: web, file: {path: /srv/page, exists: true}, every: 1s}\n"
    "objectives: {found: {title: {en: Found}, when: page, points: 100}}\n";

static struct core_world w;
static struct core_agent *web;

static void begin(void)
{
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_machines_run(&w);
    web = cw_agent(&w, 1, "web");
    web->execs = 0;
}

static void finish(void)
{
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}

static json_t *exec_params(int limit_ms)
{
    return json_pack("{s:s, s:[s, s], s:s, s:i}", "machine", "t1/web", "argv",
                     "/bin/touch", "/tmp/x", "stdin", "c2VjcmV0", "timeout_ms", limit_ms);
}

/* Says so, and waits until the agent was asked. */
static void exec_reaches(enum simagent_mode mode, int limit_ms)
{
    int before = simagent_counts(web->sim)->requests;
    simagent_set_mode(web->sim, mode, LATE_MS);
    cw_begin(&w, "exec", exec_params(limit_ms));
    while (simagent_counts(web->sim)->requests == before)
        cw_step(&w);
}

/* Waits for the outcome in the ledger; there is one intent, and what was asked is not in
 * the chain itself. */
static json_int_t outcome(void)
{
    for (;;) {
        json_t *events = cw_events(&w);
        size_t count = cw_count(events, "outcome", -1);
        json_int_t a = -1;
        ck_assert_uint_eq(cw_count(events, "intent", -1), 1);
        ck_assert_uint_le(count, 1);
        for (json_int_t i = 0; i < 3; i++)
            a = cw_count(events, "outcome", i) == 1 ? i : a;
        char *text = json_dumps(events, JSON_COMPACT);
        ck_assert_ptr_null(strstr(text, "c2VjcmV0"));
        free(text);
        json_decref(events);
        if (count == 1)
            return a;
        cw_pause(&w, 50);
    }
}

/* A third core finds nothing open. */
static void assert_settled(int execs)
{
    json_int_t before = outcome();
    ck_assert_int_eq(web->execs, execs);
    cw_kill(&w);
    cw_start(&w);
    int acks = simagent_counts(web->sim)->acks;
    cw_call(&w, "start", NULL);
    while (simagent_counts(web->sim)->acks == acks)
        cw_step(&w);
    ck_assert_int_eq(outcome(), before);
    ck_assert_int_eq(web->execs, execs);
    ck_assert_int_eq(simagent_counts(web->sim)->held, 0);
    cw_assert_rescore(&w);
}

START_TEST(an_answer_under_way_is_waited_for)
{
    begin();
    exec_reaches(SIMAGENT_LATE, 20000);
    cw_kill(&w);
    ck_assert_int_eq(web->execs, 0);
    cw_start(&w);
    ck_assert_int_eq(outcome(), 0);
    ck_assert_int_ge(simagent_counts(web->sim)->repeats, 1);
    simagent_set_mode(web->sim, SIMAGENT_GOOD, 0);
    assert_settled(1);
    finish();
}
END_TEST

START_TEST(an_answer_given_meanwhile_is_found)
{
    begin();
    exec_reaches(SIMAGENT_LATE, 20000);
    cw_kill(&w);
    while (web->execs == 0)
        cw_step(&w);
    simagent_set_mode(web->sim, SIMAGENT_GOOD, 0);
    cw_start(&w);
    ck_assert_int_eq(outcome(), 0);
    assert_settled(1);
    finish();
}
END_TEST

START_TEST(what_was_never_sent_is_sent)
{
    size_t intents = 0;
    begin();
    simagent_set_mode(web->sim, SIMAGENT_DEAF, 0);
    simagent_disconnect(web->sim);
    cw_begin(&w, "exec", exec_params(20000));
    int64_t id = w.call_id;
    while (intents == 0) {
        json_t *events = cw_events(&w);
        intents = cw_count(events, "intent", -1);
        json_decref(events);
    }
    ck_assert_int_ne(id, w.call_id);
    cw_kill(&w);
    ck_assert_int_eq(web->execs, 0);
    simagent_set_mode(web->sim, SIMAGENT_GOOD, 0);
    cw_start(&w);
    ck_assert_int_eq(outcome(), 0);
    ck_assert_int_eq(simagent_counts(web->sim)->repeats, 0);
    assert_settled(1);
    finish();
}
END_TEST

static void restart_agent(void)
{
    simagent_restart(web->sim);
}

static void forget_answer(void)
{
    simagent_forget(web->sim);
}

static void remove_machine(void)
{
    cw_write_node(&w, "");
}

static void stay_silent(void)
{
    simagent_set_mode(web->sim, SIMAGENT_NEVER, 0);
}

static void (*const losses[])(void) = {restart_agent, forget_answer, remove_machine,
                                       stay_silent};

START_TEST(what_nobody_can_tell_is_uncertain)
{
    begin();
    exec_reaches(SIMAGENT_NEVER, 300);
    cw_kill(&w);
    simagent_set_mode(web->sim, SIMAGENT_GOOD, 0);
    losses[_i]();
    cw_start(&w);
    ck_assert_int_eq(outcome(), 2);
    ck_assert_int_eq(web->execs, 0);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

/* An upgrade is no crash, but leaves the same to the core that comes after. */
START_TEST(the_core_ends_in_good_order)
{
    begin();
    exec_reaches(SIMAGENT_LATE, 20000);
    cw_end(&w);
    ck_assert_int_eq(web->execs, 0);
    cw_start(&w);
    ck_assert_int_eq(outcome(), 0);
    simagent_set_mode(web->sim, SIMAGENT_GOOD, 0);
    assert_settled(1);
    finish();
}
END_TEST

static int on_outcome(void *ctx, const struct es_event *event)
{
    int *a = ctx;
    ck_assert_int_eq(*a, -1);
    *a = event->a;
    return 0;
}

/* In the ledger that `down` keeps. */
static void assert_kept_outcome(int wanted)
{
    glob_t found;
    char pattern[128];
    struct es_store *store = NULL;
    struct es_err err = {0};
    int a = -1;
    snprintf(pattern, sizeof pattern, "%s/ledgers/*.db", w.state);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_uint_eq(found.gl_pathc, 1);
    int rc = es_store_open(found.gl_pathv[0], false, &store, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_int_eq(
        es_store_read_types(store, 1U << ES_EV_OUTCOME, on_outcome, &a, &err), 0);
    ck_assert_int_eq(a, wanted);
    es_store_close(store);
    globfree(&found);
}

START_TEST(a_range_taken_down_leaves_nothing_open)
{
    begin();
    exec_reaches(SIMAGENT_NEVER, 60000);
    int64_t exec = w.call_id;
    cw_begin(&w, "down", NULL);
    ck_assert_int_ne(exec, w.call_id);
    while (!w.answered)
        cw_step(&w);
    ck_assert_msg(w.err.code == 0, "%s", w.err.msg);
    cw_end(&w);
    assert_kept_outcome(2);
    cw_close(&w);
}
END_TEST

Suite *effect_suite(void);
Suite *effect_suite(void)
{
    Suite *suite = suite_create("effect");
    TCase *tc = tcase_create("effect");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, an_answer_under_way_is_waited_for);
    tcase_add_test(tc, an_answer_given_meanwhile_is_found);
    tcase_add_test(tc, what_was_never_sent_is_sent);
    tcase_add_loop_test(tc, what_nobody_can_tell_is_uncertain, 0, (int)ES_COUNT(losses));
    tcase_add_test(tc, the_core_ends_in_good_order);
    tcase_add_test(tc, a_range_taken_down_leaves_nothing_open);
    suite_add_tcase(suite, tc);
    return suite;
}
