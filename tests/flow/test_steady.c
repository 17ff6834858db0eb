/* Observations that tell nothing new: acknowledged when they are durable, kept beside the
 * chain, summed up in it; what changes is told at once and in order. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "../support/core_account.h"
#include "enshu/common/str.h"
#include "enshu/score.h"

static const char scenario[] =
    "enshu: 1\n"
    "name: steady\n"
    "title: {en: Steady}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes: {web: {image: fake, networks: {lab: 10.30.0.10}}}\n"
    "conditions:\n"
    "  page: {node: web, file: {path: /srv/page, exists: true}, every: 1s, timeout: 20s,"
    " starts: pass}\n"
    "  clean: {node: web, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: 20s,"
    " for: 2s}\n"
    "  slow: {node: web, file: {path: /tmp/bad, exists: true}, every: 6s, timeout: 20s}\n"
    "objectives:\n"
    "  clean-web: {title: {en: Clean the server}, when: clean, points: 100}\n"
    "  soiled: {title: {en: Soil it}, when: slow, points: 10}\n"
    "services:\n"
    "  site: {title: {en: The page}, condition: page, round: 1s, points: 1}\n"
    "scoring: {model: drill, parts: {handling: 80, uptime: 20}}\n";

static struct core_world w;

static void begin(int teams)
{
    cw_open(&w, scenario, teams);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_machines_run(&w);
    account_begin(&w);
    cw_call(&w, "start", NULL);
}

static void wait_for_acks(size_t upto)
{
    while (w.acks < upto)
        cw_step(&w);
}

/* Gives how many events hold it all. */
static size_t end(void)
{
    account_settle(&w);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    size_t events = account_check(&w);
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
    return events;
}

START_TEST(an_ack_does_not_wait_for_the_sum)
{
    size_t acked;
    begin(1);
    do {
        cw_step(&w);
        acked = w.acks;
    } while (account_stored(&w) >= (int64_t)acked);
    ck_assert_int_le(simagent_counts(cw_agent(&w, 1, "web")->sim)->held, 3);
    wait_for_acks(15);
    acked = w.acks;
    ck_assert_uint_lt(end(), acked / 2);
}
END_TEST

static const json_t *first_steady(const json_t *events)
{
    size_t i;
    const json_t *event;
    json_array_foreach (events, i, event) {
        if (es_str_eq(json_string_value(json_object_get(event, "name")), "steady"))
            return event;
    }
    return NULL;
}

/* Nothing else happens: the sum comes by itself. */
START_TEST(a_sum_is_made_in_time)
{
    begin(1);
    json_t *events = cw_events(&w);
    while (first_steady(events) == NULL) {
        json_decref(events);
        cw_pause(&w, 200);
        events = cw_events(&w);
    }
    const json_t *sum = first_steady(events);
    json_t *text = json_loads(json_string_value(json_object_get(sum, "text")), 0, NULL);
    json_int_t first_ms = json_integer_value(json_object_get(text, "first_ms"));
    /* with those that began a moment before it */
    ck_assert_int_ge(json_integer_value(json_object_get(sum, "ex_ms")),
                     first_ms + ES_SCORE_STEADY_MS - 2000);
    ck_assert_int_ge(json_integer_value(json_object_get(text, "count")), 2);
    ck_assert_int_ge(json_integer_value(json_object_get(sum, "b")), first_ms);
    json_decref(text);
    json_decref(events);
    end();
}
END_TEST

struct wanted {
    const char *condition, *outcome;
};

static bool is_so(const json_t *range, void *ctx)
{
    const struct wanted *want = ctx;
    const json_t *item = cw_named(range, 1, "conditions", want->condition);
    return es_str_eq(json_string_value(json_object_get(item, "outcome")), want->outcome);
}

static void until(const char *condition, const char *outcome)
{
    struct wanted want = {condition, outcome};
    cw_until(&w, is_so, &want);
}

START_TEST(a_change_ends_the_runs_of_its_team)
{
    struct core_agent *web;
    begin(2);
    web = cw_agent(&w, 1, "web");
    until("page", "pass");
    wait_for_acks(16);
    web->exists = false;
    until("page", "fail");
    until("clean", "pass"); /* two seconds of it, look by look */
    wait_for_acks(w.acks + 8);
    web->exists = true;
    until("clean", "fail");
    end();
}
END_TEST

START_TEST(looks_outlive_the_core)
{
    begin(1);
    wait_for_acks(8);
    cw_kill(&w);
    cw_start(&w);
    wait_for_acks(w.acks + 4);
    cw_end(&w);
    cw_start(&w);
    wait_for_acks(w.acks + 4);
    size_t acked = w.acks;
    ck_assert_uint_lt(end(), acked);
}
END_TEST

/* A machine that is switched off is looked at from here alone. */
START_TEST(what_the_core_sees_itself_is_summed_up_too)
{
    begin(2);
    wait_for_acks(4);
    cw_kill(&w);
    cw_write_node(&w, "");
    cw_start(&w);
    until("page", "fault");
    cw_pause(&w, 4000);
    account_settle(&w);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    json_t *events = cw_events(&w);
    size_t i, alone = 0;
    const json_t *event;
    json_array_foreach (events, i, event) {
        alone += es_str_eq(json_string_value(json_object_get(event, "name")), "steady") &&
                 json_integer_value(json_object_get(event, "a")) == ES_OUTCOME_FAULT &&
                 json_integer_value(json_object_get(event, "seq")) == 0;
    }
    ck_assert_uint_gt(alone, 0);
    json_decref(events);
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

Suite *steady_suite(void);
Suite *steady_suite(void)
{
    Suite *suite = suite_create("steady");
    TCase *tc = tcase_create("steady");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, an_ack_does_not_wait_for_the_sum);
    tcase_add_test(tc, a_sum_is_made_in_time);
    tcase_add_test(tc, a_change_ends_the_runs_of_its_team);
    tcase_add_test(tc, looks_outlive_the_core);
    tcase_add_test(tc, what_the_core_sees_itself_is_summed_up_too);
    suite_add_tcase(suite, tc);
    return suite;
}
