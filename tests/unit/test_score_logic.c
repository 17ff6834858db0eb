/* score: truth tables, and what makes a verdict count. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "../support/score_world.h"
#include "enshu/common/mem.h"

#define PASS    ES_OUTCOME_PASS
#define FAIL    ES_OUTCOME_FAIL
#define UNKNOWN ES_OUTCOME_UNKNOWN
#define FAULT   ES_OUTCOME_FAULT
#define ABSENT  ES_OUTCOME_ABSENT
#define NONE    ES_OUTCOME_NONE
#define S       INT64_C(1000)

static struct world world;
static void setup(void)
{
    world_init(&world);
}
static void teardown(void)
{
    world_finish(&world);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static void begin(void)
{
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
}
static void see(int64_t ex_ms, int cond, int outcome)
{
    world_see(&world, ex_ms, 1, cond, outcome);
}
#define EXPECT(cond, want)                                                               \
    ck_assert_str_eq(es_outcome_name(world_outcome(&world, 1, cond)),                    \
                     es_outcome_name((enum es_outcome)(want)))

START_TEST(composites_of_two)
{
    static const struct {
        int a, b, all, any, at_least_2, not_a;
    } table[] = {
        {PASS, PASS, PASS, PASS, PASS, FAIL},
        {PASS, FAIL, FAIL, PASS, FAIL, FAIL},
        {FAIL, FAIL, FAIL, FAIL, FAIL, PASS},
        {PASS, NONE, NONE, PASS, NONE, FAIL},
        {PASS, UNKNOWN, UNKNOWN, PASS, UNKNOWN, FAIL},
        {PASS, FAULT, FAULT, PASS, FAULT, FAIL},
        {PASS, ABSENT, ABSENT, PASS, ABSENT, FAIL},
        {FAIL, NONE, FAIL, NONE, FAIL, PASS},
        {FAIL, UNKNOWN, FAIL, UNKNOWN, FAIL, PASS},
        {FAIL, FAULT, FAIL, FAULT, FAIL, PASS},
        {FAIL, ABSENT, FAIL, ABSENT, FAIL, PASS},
        {UNKNOWN, FAULT, FAULT, FAULT, FAULT, UNKNOWN},
        {FAULT, ABSENT, FAULT, FAULT, FAULT, FAULT},
        {UNKNOWN, ABSENT, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT},
        {ABSENT, NONE, NONE, NONE, NONE, ABSENT},
        {NONE, NONE, NONE, NONE, NONE, NONE},
    };
    int a = world_probe(&world), b = world_probe(&world);
    int all = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, a, b);
    int any = WORLD_COMPOSITE(&world, ES_COND_ANY, 0, a, b);
    int both = WORLD_COMPOSITE(&world, ES_COND_AT_LEAST, 2, a, b);
    int not_a = WORLD_COMPOSITE(&world, ES_COND_NOT, 0, a);
    for (size_t i = 0; i < 2 * ES_COUNT(table); i++) {
        bool swapped = i >= ES_COUNT(table);
        size_t row = i % ES_COUNT(table);
        begin();
        see(1 * S, swapped ? b : a, table[row].a);
        see(1 * S, swapped ? a : b, table[row].b);
        EXPECT(all, table[row].all);
        EXPECT(any, table[row].any);
        EXPECT(both, table[row].at_least_2);
        if (!swapped)
            EXPECT(not_a, table[row].not_a);
    }
}
END_TEST

START_TEST(at_least_two_of_three)
{
    static const struct {
        int a, b, c, want;
    } table[] = {
        {PASS, PASS, FAIL, PASS},          {PASS, PASS, UNKNOWN, PASS},
        {PASS, FAIL, FAIL, FAIL},          {PASS, UNKNOWN, FAIL, UNKNOWN},
        {FAIL, FAIL, UNKNOWN, FAIL},       {PASS, UNKNOWN, UNKNOWN, UNKNOWN},
        {UNKNOWN, UNKNOWN, FAIL, UNKNOWN},
    };
    int a = world_probe(&world), b = world_probe(&world), c = world_probe(&world);
    int two = WORLD_COMPOSITE(&world, ES_COND_AT_LEAST, 2, a, b, c);
    for (size_t i = 0; i < ES_COUNT(table); i++) {
        begin();
        see(0, a, table[i].a);
        see(0, b, table[i].b);
        see(0, c, table[i].c);
        EXPECT(two, table[i].want);
    }
}
END_TEST

/* D = all(A, not A) is never true, not even for an instant. */
START_TEST(a_diamond_never_glitches)
{
    int a = world_probe(&world);
    int not_a = WORLD_COMPOSITE(&world, ES_COND_NOT, 0, a);
    int same = WORLD_COMPOSITE(&world, ES_COND_ANY, 0, a);
    int never = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, same, not_a);
    int goal = world_objective(&world, never, 10);
    begin();
    for (int i = 0; i < 10; i++)
        see(i * S, a, i % 2 == 0 ? PASS : FAIL);
    struct es_objective_state state;
    es_score_objective(world.score, 1, goal, &state);
    ck_assert_int_eq(state.status, ES_OBJ_OPEN);
    ck_assert_int_eq(es_score_fact_at(world.score, 1,
                                      world_fact(&world, ES_FACT_CONDITION_PASS, never)),
                     -1);
}
END_TEST

START_TEST(a_control_decides_whether_it_counts)
{
    int control = world_probe(&world), cut = world_probe(&world);
    world.conds[cut].control = control;
    begin();
    see(1 * S, cut, NONE);
    EXPECT(cut, NONE);
    see(1 * S, cut, PASS);
    EXPECT(cut, FAULT);
    see(2 * S, control, PASS);
    EXPECT(cut, PASS);
    see(3 * S, control, FAIL);
    EXPECT(cut, FAULT);
    see(4 * S, control, PASS);
    see(4 * S, cut, FAIL);
    EXPECT(cut, FAIL);
    see(5 * S, control, UNKNOWN);
    EXPECT(cut, FAULT);
    see(6 * S, control, ABSENT);
    EXPECT(cut, FAULT);
}
END_TEST

/* The attacker dies by itself at 12 s; the client is seen to be cut off before our prober
 * notices. Nothing may be won by that. */
START_TEST(a_pass_waits_for_its_control)
{
    int control = world_probe(&world), cut = world_probe(&world);
    world.conds[cut].control = control;
    int goal = world_objective(&world, cut, 10);
    struct es_objective_state state;
    begin();
    see(5 * S, control, PASS);
    see(6 * S, cut, FAIL);
    see(10 * S, control, PASS);
    see(13 * S, cut, PASS);
    EXPECT(cut, FAIL);
    see(15 * S, control, FAIL);
    EXPECT(cut, FAULT);
    see(18 * S, cut, PASS);
    es_score_objective(world.score, 1, goal, &state);
    ck_assert_int_eq(state.status, ES_OBJ_OPEN);
    see(20 * S, control, PASS); /* it came back, but then the client reaches it again */
    see(21 * S, cut, FAIL);
    see(25 * S, control, PASS);
    see(26 * S, cut, PASS); /* now by the team */
    EXPECT(cut, FAIL);
    see(30 * S, control, PASS); /* the same again, yet it confirms */
    EXPECT(cut, PASS);
    see(31 * S, cut, PASS);
    EXPECT(cut, PASS);
}
END_TEST

START_TEST(a_probe_holds_between_near_passes)
{
    int a = world_probe(&world);
    world.conds[a].for_ms = 60 * S;
    struct es_condition_state state;
    begin();
    see(10 * S, a, FAIL);
    see(20 * S, a, PASS);
    EXPECT(a, FAIL); /* not yet: a fail stays one */
    see(40 * S, a, PASS);
    see(55 * S, a, UNKNOWN); /* holds what was summed */
    EXPECT(a, UNKNOWN);
    see(70 * S, a, PASS); /* 30 s after the last pass: counts */
    es_score_condition(world.score, 1, a, &state);
    ck_assert_int_eq(state.held_ms, 50 * S);
    see(111 * S, a, PASS); /* 41 s: more than twice every, adds nothing */
    es_score_condition(world.score, 1, a, &state);
    ck_assert_int_eq(state.held_ms, 50 * S);
    EXPECT(a, FAIL);
    es_score_advance(world.score, 125 * S); /* time alone brings nothing */
    EXPECT(a, FAIL);
    see(126 * S, a, PASS);
    EXPECT(a, PASS);
    see(127 * S, a, ABSENT);
    EXPECT(a, ABSENT);
    see(128 * S, a, PASS); /* was held already */
    EXPECT(a, PASS);
    see(129 * S, a, FAIL);
    see(130 * S, a, PASS);
    EXPECT(a, FAIL);
    es_score_condition(world.score, 1, a, &state);
    ck_assert_int_eq(state.held_ms, 0);
}
END_TEST

START_TEST(a_pass_that_never_failed_is_not_known_until_held)
{
    int a = world_probe(&world);
    world.conds[a].for_ms = 20 * S;
    begin();
    see(0, a, PASS);
    EXPECT(a, NONE);
    ck_assert(!es_score_fact_now(world.score, 1,
                                 world_fact(&world, ES_FACT_CONDITION_FAIL, a)));
    see(20 * S, a, PASS);
    EXPECT(a, PASS);
}
END_TEST

START_TEST(a_composite_holds_by_time)
{
    int a = world_probe(&world), b = world_probe(&world);
    world.conds[a].every_ms = world.conds[b].every_ms = 60 * S;
    int both = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, a, b);
    world.conds[both].for_ms = 60 * S;
    int pass = world_fact(&world, ES_FACT_CONDITION_PASS, both);
    begin();
    see(0, a, PASS);
    see(5 * S, b, PASS);
    see(25 * S, b, UNKNOWN); /* 20 s so far */
    see(30 * S, b, PASS);
    ck_assert_int_eq(es_score_next_due(world.score), 65 * S); /* of the first try */
    es_score_advance(world.score, 65 * S);
    ck_assert_int_eq(es_score_next_due(world.score), 70 * S);
    es_score_advance(world.score, 300 * S);
    ck_assert_int_eq(es_score_fact_at(world.score, 1, pass), 70 * S);
    see(301 * S, a, FAIL);
    EXPECT(both, FAIL);
}
END_TEST

START_TEST(what_was_jumped_over_adds_nothing)
{
    int a = world_probe(&world), both = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, a);
    int held = world_objective(&world, a, 100);
    world.objectives[held].judged = ES_JUDGED_HELD;
    int service = world_service(&world, a, 60 * S, 5);
    world.conds[a].for_ms = 30 * S;
    world.conds[both].for_ms = 60 * S;
    begin();
    see(0, a, PASS);
    see(10 * S, a, PASS);
    world_jump(&world, 20 * S, 3600 * S);
    see(3600 * S, a, PASS); /* 20 s of running time held */
    EXPECT(a, NONE);
    es_score_advance(world.score, 3609 * S);
    see(3610 * S, a, PASS);
    EXPECT(a, PASS);
    es_score_advance(world.score, 3610 * S + 59 * S);
    EXPECT(both, NONE);
    see(3669 * S, a, PASS);
    es_score_advance(world.score, 3670 * S);
    EXPECT(both, PASS);
    struct es_service_state rounds;
    es_score_service(world.score, 1, service, &rounds);
    ck_assert_int_eq(rounds.unknown, 60);
    ck_assert_int_eq(rounds.passed, 1);
    struct es_objective_state state;
    es_score_objective(world.score, 1, held, &state);
    ck_assert_int_eq(state.held_ms, 60 * S);
    ck_assert_int_eq(state.open_ms, 60 * S);
}
END_TEST

START_TEST(after_waits_for_its_fact)
{
    int first = world_probe(&world), later = world_probe(&world);
    world.conds[later].after =
        world_anchor(world_fact(&world, ES_FACT_CONDITION_PASS, first), 30 * S);
    begin();
    see(0, later, PASS);
    EXPECT(later, NONE);
    see(10 * S, first, PASS);
    es_score_advance(world.score, 40 * S - 1);
    EXPECT(later, NONE);
    es_score_advance(world.score, 40 * S);
    EXPECT(later, PASS);
    see(41 * S, first, FAIL);
    EXPECT(later, PASS);
}
END_TEST

START_TEST(old_observations_are_not_known)
{
    int a = world_probe(&world); /* stale after 3 * 20 + 5 s */
    begin();
    see(0, a, PASS);
    see(20 * S, a, PASS);
    es_score_advance(world.score, 85 * S - 1);
    EXPECT(a, PASS);
    es_score_advance(world.score, 85 * S);
    EXPECT(a, UNKNOWN);
    see(90 * S, a, FAIL);
    EXPECT(a, FAIL);
    es_score_advance(world.score, 1000 * S);
    EXPECT(a, UNKNOWN);
    struct es_condition_state state;
    es_score_condition(world.score, 1, a, &state);
    ck_assert_int_eq(state.observed_ex_ms, 90 * S);
    ck_assert_int_eq(state.since_ex_ms, 155 * S);
}
END_TEST

START_TEST(speed_stretches_real_time)
{
    int a = world_probe(&world);
    world.conds[a].for_ms = 120 * S;
    begin();
    see(0, a, PASS);
    world_tell(&world, &(struct es_event){.ex_ms = 1 * S,
                                          .type = ES_EV_CLOCK,
                                          .a = ES_CLOCK_RUNNING,
                                          .b = 60000});
    see(60 * S, a, PASS); /* one real second later */
    see(120 * S, a, PASS);
    EXPECT(a, PASS);
    /* looked at each real second: steady looks may be told later, by ten of them */
    es_score_advance(world.score, (120 + 3 * 60 + 5 * 60 + 10 * 60) * S - 1);
    EXPECT(a, PASS);
    es_score_advance(world.score, (120 + 3 * 60 + 5 * 60 + 10 * 60) * S);
    EXPECT(a, UNKNOWN);
    see(1300 * S, a, PASS);
    world_tell(&world, &(struct es_event){.ex_ms = 1300 * S,
                                          .type = ES_EV_CLOCK,
                                          .a = ES_CLOCK_RUNNING,
                                          .b = 1000});
    es_score_advance(world.score, 1365 * S); /* real time again: stale sooner */
    EXPECT(a, UNKNOWN);
}
END_TEST

START_TEST(facts_as_conditions)
{
    int a = world_probe(&world), b = world_probe(&world);
    int fact_a = world_fact(&world, ES_FACT_CONDITION_PASS, a);
    int fact_b = world_fact(&world, ES_FACT_CONDITION_PASS, b);
    int plain = world_composite(&world, ES_COND_FACT, 0, 0, NULL);
    world.conds[plain].fact = fact_a;
    int soon = world_composite(&world, ES_COND_FACT, 0, 0, NULL);
    world.conds[soon].fact = fact_a;
    world.conds[soon].within_ms = 30 * S;
    int quick = world_composite(&world, ES_COND_FACT, 0, 0, NULL);
    world.conds[quick].fact = fact_b;
    world.conds[quick].of = fact_a;
    world.conds[quick].within_ms = 10 * S;
    world_start(&world, 1);
    EXPECT(plain, NONE);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    EXPECT(plain, FAIL);
    EXPECT(soon, NONE);
    see(30 * S, a, PASS); /* the last moment */
    EXPECT(plain, PASS);
    EXPECT(soon, PASS);
    EXPECT(quick, NONE);
    see(31 * S, a, FAIL);
    EXPECT(plain, PASS); /* once true */
    es_score_advance(world.score, 40 * S);
    EXPECT(quick, NONE);
    es_score_advance(world.score, 40 * S + 1);
    EXPECT(quick, FAIL);
    see(41 * S, b, PASS);
    EXPECT(quick, FAIL);
}
END_TEST

START_TEST(machines_take_what_they_told_with_them)
{
    int inside = world_probe(&world), outside = world_probe(&world);
    int cut = world_probe(&world);
    int other = world_node(&world);
    world.conds[outside].node = world.conds[cut].node = other;
    world.conds[outside].probe.kind = world.conds[cut].probe.kind = ES_PROBE_http;
    world.conds[cut].probe.present = false;
    int down = world_fact(&world, ES_FACT_NODE_DOWN, 0);
    int reset = world_fact(&world, ES_FACT_NODE_RESET, 0);
    begin();
    see(0, inside, PASS);
    see(0, outside, PASS);
    see(0, cut, PASS);
    world_machine(&world, 1 * S, 1, 0, ES_MEV_DOWN);
    EXPECT(inside, UNKNOWN);
    EXPECT(outside, PASS); /* another machine sees it */
    ck_assert(es_score_fact_now(world.score, 1, down));
    see(2 * S, outside, FAIL); /* shut down by its team: a fail */
    EXPECT(outside, FAIL);
    world_machine(&world, 3 * S, 1, 0, ES_MEV_UP);
    ck_assert(!es_score_fact_now(world.score, 1, down));
    see(4 * S, inside, PASS);
    see(4 * S, outside, PASS);
    EXPECT(inside, PASS);

    world_machine(&world, 5 * S, 1, 0, ES_MEV_FAULT); /* killed from outside */
    EXPECT(inside, FAULT);
    EXPECT(outside, PASS);
    EXPECT(cut, FAULT); /* that nothing is reached says nothing */
    see(6 * S, outside, FAIL);
    EXPECT(outside, FAULT);
    see(6 * S, outside, PASS);
    EXPECT(outside, PASS);
    world_machine(&world, 7 * S, 1, 0, ES_MEV_DOWN);
    EXPECT(inside, FAULT);
    world_machine(&world, 8 * S, 1, 0, ES_MEV_RESET);
    ck_assert_int_eq(es_score_fact_at(world.score, 1, reset), 8 * S);
    see(9 * S, outside, FAIL);
    EXPECT(outside, FAIL);
}
END_TEST

START_TEST(a_late_result_of_a_dead_machine_does_not_count)
{
    int a = world_probe(&world);
    begin();
    struct es_event event = {.type = ES_EV_MACHINE,
                             .team = 1,
                             .subject = 0,
                             .a = ES_MEV_DOWN,
                             .instance = 17,
                             .ex_ms = 1 * S};
    world_tell(&world, &event);
    event = (struct es_event){.type = ES_EV_OBSERVED,
                              .team = 1,
                              .subject = a,
                              .a = PASS,
                              .instance = 17,
                              .epoch = 1,
                              .seq = 1,
                              .ex_ms = 1 * S};
    world_tell(&world, &event);
    EXPECT(a, NONE);
    ck_assert(es_score_seen(world.score, 17, 1, 1));
    event.instance = 18;
    world_tell(&world, &event);
    EXPECT(a, PASS);
}
END_TEST

START_TEST(probers_observe_from_their_node)
{
    int a = world_probe(&world), prober = world_node(&world);
    static const struct es_nic nic = {.network = 3};
    world.nodes[prober].is_prober = true;
    world.nodes[prober].nics = &nic;
    world.nodes[prober].nic_count = 1;
    world.conds[a].node = -1;
    world.conds[a].prober = 3;
    begin();
    see(0, a, FAIL);
    world_machine(&world, 1 * S, -1, prober, ES_MEV_DOWN);
    EXPECT(a, UNKNOWN);
}
END_TEST

/* ---- what is told together */

static void see_steady(int64_t ex_ms, int cond, int outcome, int64_t last_ms,
                       const char *text)
{
    world_tell(&world, &(struct es_event){.ex_ms = ex_ms,
                                          .type = ES_EV_STEADY,
                                          .team = 1,
                                          .subject = cond,
                                          .a = outcome,
                                          .b = last_ms,
                                          .text = text});
}

static int probe_each_second(void)
{
    int a = world_probe(&world);
    world.conds[a].every_ms = 1 * S;
    world.conds[a].timeout_ms = 2 * S;
    return a;
}

START_TEST(a_sum_ages_from_its_last_look)
{
    int a = probe_each_second(); /* stale after 3 * 1 + 2 s, and 10 for the sum */
    struct es_condition_state state;
    begin();
    see(0, a, PASS);
    see_steady(10 * S, a, PASS, 9 * S, NULL);
    es_score_condition(world.score, 1, a, &state);
    ck_assert_int_eq(state.observed_ex_ms, 9 * S);
    ck_assert_int_eq(state.since_ex_ms, 0);
    es_score_advance(world.score, 24 * S - 1);
    EXPECT(a, PASS);
    es_score_advance(world.score, 24 * S);
    EXPECT(a, UNKNOWN);
    see_steady(30 * S, a, PASS, 28 * S, NULL);
    EXPECT(a, PASS);
    es_score_condition(world.score, 1, a, &state);
    ck_assert_int_eq(state.observed_ex_ms, 28 * S);
    ck_assert_int_eq(state.since_ex_ms, 30 * S);
}
END_TEST

static enum es_score_news news(int cond, int outcome, int64_t since_ms, int64_t ex_ms)
{
    return es_score_news(world.score, 1, cond, (enum es_outcome)outcome, since_ms, ex_ms);
}

START_TEST(what_brings_news)
{
    int a = probe_each_second(), rare = world_probe(&world), held = probe_each_second(),
        control = probe_each_second(), cut = probe_each_second();
    world.conds[held].for_ms = 2 * S;
    world.conds[cut].control = control;
    world_start(&world, 1);
    ck_assert_int_eq(news(a, PASS, 0, 0), ES_NEWS_SOME); /* not started */
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    ck_assert_int_eq(news(a, PASS, 0, 0), ES_NEWS_SOME); /* never seen */
    see(0, a, PASS);
    see(0, rare, PASS);
    see(0, held, PASS);
    see(0, control, PASS);
    ck_assert_int_eq(news(a, FAIL, 1 * S, 1 * S), ES_NEWS_SOME);
    ck_assert_int_eq(news(a, PASS, 1 * S, 1 * S), ES_NEWS_NONE);
    ck_assert_int_eq(news(a, PASS, 2 * S + 1, 2 * S + 1), ES_NEWS_AGE); /* late */
    ck_assert_int_eq(news(a, PASS, 2 * S, 12 * S - 1), ES_NEWS_NONE);
    ck_assert_int_eq(news(a, PASS, 2 * S, 12 * S), ES_NEWS_AGE);   /* the sum is due */
    ck_assert_int_eq(news(a, PASS, 15 * S, 15 * S), ES_NEWS_SOME); /* stale by then */
    ck_assert_int_eq(news(rare, PASS, 1 * S, 1 * S), ES_NEWS_AGE);
    ck_assert_int_eq(news(held, PASS, 1 * S, 1 * S),
                     ES_NEWS_SOME); /* for: waits for it */
    see(2 * S, held, PASS);
    ck_assert_int_eq(news(held, PASS, 3 * S, 3 * S), ES_NEWS_NONE);
    ck_assert_int_eq(news(control, PASS, 2 * S, 2 * S), ES_NEWS_NONE);
    see(2 * S, cut, PASS); /* counts once its control was seen again */
    EXPECT(cut, NONE);
    ck_assert_int_eq(news(control, PASS, 2 * S, 2 * S), ES_NEWS_SOME);
    see(2 * S, control, PASS);
    EXPECT(cut, PASS);
    ck_assert_int_eq(news(control, PASS, 3 * S, 3 * S), ES_NEWS_NONE);
    world_machine(&world, 3 * S, 1, 0, ES_MEV_FAULT);
    ck_assert_int_eq(news(a, PASS, 4 * S, 4 * S), ES_NEWS_SOME);
    ck_assert_int_eq(news(a, FAULT, 4 * S, 4 * S), ES_NEWS_AGE);
}
END_TEST

/* A void takes the fail and the first passes away: how the later ones lay decides. */
static void after_a_void(int64_t for_ms, const char *to_ms, const char *text, int want)
{
    int a = probe_each_second();
    char span_text[64];
    snprintf(span_text, sizeof span_text, "{\"from_ms\": 0, \"to_ms\": %s}", to_ms);
    world.conds[a].for_ms = for_ms;
    begin();
    see(0, a, FAIL);
    for (int64_t at = 1; at <= 12; at++)
        see(at * S, a, PASS);
    EXPECT(a, PASS);
    see_steady(21 * S, a, PASS, 20 * S, text);
    struct es_event span = {
        .pos = 99, .type = ES_EV_VOID, .team = -1, .a = 2, .text = span_text};
    struct es_score *anew = world_fold(&world, 1, NULL, NULL), *kept = world.score;
    ck_assert_int_eq(es_score_correct(anew, &span, NULL), 0);
    for (size_t i = 0; i < world.event_count; i++)
        ck_assert_int_eq(es_score_apply(anew, &world.events[i], NULL), 0);
    world.score = anew;
    EXPECT(a, want);
    world.score = kept;
    es_score_destroy(anew);
}

START_TEST(a_sum_tells_how_its_passes_lay)
{
    after_a_void(10 * S, "6000", "{\"first_ms\": 13000, \"gap_ms\": 1000}", PASS);
}
END_TEST

START_TEST(a_sum_alone_may_be_enough)
{
    after_a_void(5 * S, "12500", "{\"first_ms\": 13000, \"gap_ms\": 1000}", PASS);
}
END_TEST

START_TEST(a_sum_alone_may_be_too_little)
{
    after_a_void(8 * S, "12500", "{\"first_ms\": 13000, \"gap_ms\": 1000}", NONE);
}
END_TEST

START_TEST(passes_far_apart_add_nothing)
{
    after_a_void(10 * S, "6000", "{\"first_ms\": 13000, \"gap_ms\": 5000}", NONE);
}
END_TEST

static void see_numbered(int type, int cond, uint64_t epoch, int64_t seq)
{
    world_tell(&world, &(struct es_event){.ex_ms = 5 * S,
                                          .type = type,
                                          .team = 1,
                                          .subject = cond,
                                          .a = PASS,
                                          .b = type == ES_EV_STEADY ? 4 * S : 0,
                                          .instance = 5,
                                          .epoch = epoch,
                                          .seq = seq});
}

/* What was told meanwhile of other conditions has higher numbers. */
START_TEST(a_sum_repeats_nothing)
{
    int a = probe_each_second(), b = probe_each_second();
    struct es_condition_state state;
    struct es_err err = {0};
    begin();
    see_numbered(ES_EV_OBSERVED, a, 1, 10);
    see_numbered(ES_EV_STEADY, b, 1, 8);
    es_score_condition(world.score, 1, b, &state);
    ck_assert_int_eq(state.observed_ex_ms, 4 * S);
    ck_assert(es_score_seen(world.score, 5, 1, 10));
    ck_assert(!es_score_seen(world.score, 5, 1, 11));
    see_numbered(ES_EV_OBSERVED, a, 2, 1);
    see_numbered(ES_EV_STEADY, b, 1, 12);
    ck_assert(!es_score_seen(world.score, 5, 2, 2));
    see_numbered(ES_EV_STEADY, b, 2, 7);
    ck_assert(es_score_seen(world.score, 5, 2, 7));
    struct es_event later = {.pos = 99,
                             .ex_ms = 6 * S,
                             .type = ES_EV_STEADY,
                             .team = 1,
                             .a = PASS,
                             .b = 6 * S + 1};
    ck_assert_int_eq(es_score_apply(world.score, &later, &err), ES_EINVAL);
}
END_TEST

Suite *score_logic_suite(void);
Suite *score_logic_suite(void)
{
    Suite *suite = suite_create("score_logic");
    TCase *tc = tcase_create("logic");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, composites_of_two);
    tcase_add_test(tc, at_least_two_of_three);
    tcase_add_test(tc, a_diamond_never_glitches);
    tcase_add_test(tc, a_control_decides_whether_it_counts);
    tcase_add_test(tc, a_pass_waits_for_its_control);
    tcase_add_test(tc, a_probe_holds_between_near_passes);
    tcase_add_test(tc, a_pass_that_never_failed_is_not_known_until_held);
    tcase_add_test(tc, a_composite_holds_by_time);
    tcase_add_test(tc, what_was_jumped_over_adds_nothing);
    tcase_add_test(tc, after_waits_for_its_fact);
    tcase_add_test(tc, old_observations_are_not_known);
    tcase_add_test(tc, speed_stretches_real_time);
    tcase_add_test(tc, a_sum_ages_from_its_last_look);
    tcase_add_test(tc, what_brings_news);
    tcase_add_test(tc, a_sum_tells_how_its_passes_lay);
    tcase_add_test(tc, a_sum_alone_may_be_enough);
    tcase_add_test(tc, a_sum_alone_may_be_too_little);
    tcase_add_test(tc, passes_far_apart_add_nothing);
    tcase_add_test(tc, a_sum_repeats_nothing);
    tcase_add_test(tc, facts_as_conditions);
    tcase_add_test(tc, machines_take_what_they_told_with_them);
    tcase_add_test(tc, a_late_result_of_a_dead_machine_does_not_count);
    tcase_add_test(tc, probers_observe_from_their_node);
    suite_add_tcase(suite, tc);
    return suite;
}
