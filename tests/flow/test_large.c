/* A ledger so large that to read it takes a while: what reads all of it (rescore, verify,
 * a void) runs beside the loop, which goes on to answer, to probe and to commit. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"
#include "enshu/store.h"

#define BATCHES 80

static const char scenario[] =
    "enshu: 1\n"
    "name: large\n"
    "title: {en: Large}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "nodes:\n"
    "  pc: {image: fake, memory: 64 MiB, networks: {lab: 10.30.0.11}}\n"
    "conditions:\n"
    "  clean: {node: pc, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: 9s}\n"
    "  dirty: {node: pc, file: {path: /tmp/bad, exists: true}, every: 1s, timeout: 9s}\n"
    "objectives:\n"
    "  clean-pc: {title: {en: Clean the PC}, when: clean, points: 50}\n"
    "  dirty-pc: {title: {en: Soil the PC}, when: dirty, points: 30}\n"
    "scoring: {model: drill, parts: {handling: 80}}\n";

static struct core_world w;
static struct core_agent *pc;

/* Observations as the core makes them, at the last moment the ledger knows. */
static void fill_ledger(void)
{
    static struct es_event events[ES_STORE_BATCH_MAX];
    char path[128];
    struct es_store *store = NULL;
    struct es_clock_mark mark;
    struct es_err err = {0};
    struct timespec now;
    snprintf(path, sizeof path, "%s/ranges/" CORE_RANGE "/ledger.db", w.state);
    int rc = es_store_open(path, false, &store, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_int_eq(es_store_last_mark(store, &mark), 0);
    clock_gettime(CLOCK_BOOTTIME, &now);
    mark.boottime_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    for (size_t i = 0; i < ES_COUNT(events); i++)
        events[i] =
            (struct es_event){.type = ES_EV_OBSERVED,
                              .ex_ms = mark.ex_ms,
                              .team = 1,
                              .subject = 1,
                              .a = i % 2 == 0 ? ES_OUTCOME_PASS : ES_OUTCOME_FAIL};
    for (int i = 0; i < BATCHES && rc == 0; i++)
        rc = es_store_append(store, &mark, events, ES_COUNT(events), &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    es_store_close(store);
}

static void begin(void)
{
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_machines_run(&w);
    pc = cw_agent(&w, 1, "pc");
    cw_call(&w, "start", NULL);
    while (simagent_counts(pc->sim)->acked_seq < 2)
        cw_step(&w);
    cw_kill(&w);
    fill_ledger();
    cw_start(&w);
    int acks = simagent_counts(pc->sim)->acks;
    while (simagent_counts(pc->sim)->acks == acks)
        cw_step(&w);
}

static void finish(void)
{
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}

/* The core answers, and what an agent tells becomes durable, before the long call ends. */
static void assert_goes_on(void)
{
    cw_call(&w, "status", NULL);
    ck_assert(!w.aside_answered);
    pc->exists = !pc->exists;
    ck_assert(
        simagent_emit(pc->sim, pc->probe_id, json_pack("{s:b}", "exists", pc->exists)));
    int64_t seq = simagent_counts(pc->sim)->last_seq;
    while (simagent_counts(pc->sim)->acked_seq < seq)
        cw_step(&w);
    ck_assert(!w.aside_answered);
    while (!w.aside_answered)
        cw_step(&w);
    ck_assert_ptr_nonnull(w.aside_result);
}

static json_int_t total(void)
{
    json_t *teams = json_object_get(cw_call(&w, "score", NULL), "teams");
    return json_integer_value(json_object_get(json_array_get(teams, 0), "total_mpts"));
}

START_TEST(the_core_goes_on_meanwhile)
{
    begin();
    cw_aside(&w, "rescore", NULL);
    assert_goes_on();
    ck_assert(json_is_true(json_object_get(w.aside_result, "equal")));
    cw_aside(&w, "ledger.verify", NULL);
    assert_goes_on();
    ck_assert(json_is_true(json_object_get(w.aside_result, "chain_ok")));
    ck_assert_int_gt(json_integer_value(json_object_get(w.aside_result, "events")),
                     (json_int_t)BATCHES * ES_STORE_BATCH_MAX);
    finish();
}
END_TEST

START_TEST(a_void_reaches_back_meanwhile)
{
    begin();
    ck_assert_int_gt(total(), 0);
    cw_aside(&w, "correct",
             json_pack("{s:s, s:s, s:s}", "what", "void-condition", "subject", "dirty",
                       "reason", "badly put"));
    assert_goes_on();
    /* Others that come meanwhile are not lost, and the last word has them all. */
    cw_aside(&w, "correct",
             json_pack("{s:s, s:s, s:s}", "what", "void-condition", "subject", "clean",
                       "reason", "badly put as well"));
    cw_call(&w, "correct",
            json_pack("{s:s, s:i, s:i, s:s}", "what", "points", "team", 1, "points", 7,
                      "reason", "helped"));
    while (!w.aside_answered)
        cw_step(&w);
    ck_assert_int_eq(total(), 7000);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

START_TEST(the_core_ends_meanwhile)
{
    begin();
    cw_aside(&w, "rescore", NULL);
    cw_aside(&w, "correct",
             json_pack("{s:s, s:s, s:s}", "what", "void-condition", "subject", "dirty",
                       "reason", "badly put"));
    cw_end(&w);
    cw_start(&w);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

Suite *large_suite(void);
Suite *large_suite(void)
{
    Suite *suite = suite_create("large");
    TCase *tc = tcase_create("large");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, the_core_goes_on_meanwhile);
    tcase_add_test(tc, a_void_reaches_back_meanwhile);
    tcase_add_test(tc, the_core_ends_meanwhile);
    suite_add_tcase(suite, tc);
    return suite;
}
