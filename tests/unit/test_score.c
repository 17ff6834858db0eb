/* score: whole exercises in virtual time. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/score_world.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

#define PASS    ES_OUTCOME_PASS
#define FAIL    ES_OUTCOME_FAIL
#define UNKNOWN ES_OUTCOME_UNKNOWN
#define FAULT   ES_OUTCOME_FAULT
#define ABSENT  ES_OUTCOME_ABSENT
#define NONE    ES_OUTCOME_NONE
#define S       INT64_C(1000)
#define MIN     (60 * S)

static struct es_objective_state objective(const struct world *world, int team, int i)
{
    struct es_objective_state state;
    es_score_objective(world->score, team, i, &state);
    return state;
}

static struct es_service_state service(const struct world *world, int team, int i)
{
    struct es_service_state state;
    es_score_service(world->score, team, i, &state);
    return state;
}

/* Two teams, a site and a web shell: one team contains it, one does nothing. */
START_TEST(a_drill_of_two_teams)
{
    struct world world;
    world_init(&world);
    world_part(&world, "uptime", 10);
    int site = world_probe(&world), shell = world_probe(&world);
    int contained = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, site, shell);
    world.conds[contained].for_ms = MIN;
    int goal = world_objective(&world, contained, 40);
    int phase = world_phase(&world, contained);
    int up = world_service(&world, site, MIN, 5);
    world.services[up].part = "uptime";
    world_start(&world, 2);
    for (int team = 1; team <= 2; team++) {
        world_see(&world, 0, team, site, PASS);
        world_see(&world, 0, team, shell, FAIL);
    }
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    for (int64_t t = 20 * S; t <= 10 * MIN; t += 20 * S)
        for (int team = 1; team <= 2; team++) {
            world_see(&world, t, team, site, team == 2 && t >= 5 * MIN ? FAIL : PASS);
            world_see(&world, t, team, shell, team == 1 && t >= 3 * MIN ? PASS : FAIL);
        }
    world_clock(&world, 10 * MIN + 1, ES_CLOCK_STOPPED);

    struct es_objective_state met = objective(&world, 1, goal);
    ck_assert_int_eq(met.status, ES_OBJ_MET);
    ck_assert_int_eq(met.met_ex_ms, 4 * MIN);
    ck_assert_int_eq(met.mpts, 40000);
    ck_assert_int_gt(met.cause_pos, 0);
    ck_assert_int_eq(objective(&world, 2, goal).status, ES_OBJ_MISSED);
    struct es_phase_state took;
    es_score_phase(world.score, 1, phase, &took);
    ck_assert_int_eq(took.begun_ex_ms, 0);
    ck_assert_int_eq(took.done_ex_ms, 4 * MIN);
    ck_assert_int_eq(service(&world, 1, up).passed, 10);
    ck_assert_int_eq(service(&world, 2, up).passed, 5);
    ck_assert_int_eq(service(&world, 2, up).failed, 5);
    /* handling 40 of 40 weighs 100, uptime 10 of 10 rounds weighs 10 */
    ck_assert_int_eq(es_score_total_mpts(world.score, 1), 110000);
    ck_assert_int_eq(es_score_total_mpts(world.score, 2), 5000);
    json_t *json = es_score_json(world.score, 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "total_mpts")), 110000);
    json_decref(json);
    world_finish(&world);
}
END_TEST

static struct es_part_state part(const struct world *world, int team, size_t i)
{
    struct es_part_state state;
    es_score_part(world->score, team, i, &state);
    return state;
}

START_TEST(objectives_open_and_close)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), trigger = world_probe(&world);
    world.conds[a].every_ms = 1000 * S;
    int early = world_objective(&world, a, 10), late = world_objective(&world, a, 20);
    int never = world_objective(&world, trigger, 30);
    int fact = world_fact(&world, ES_FACT_CONDITION_PASS, trigger);
    world.objectives[early].closes = world_anchor(-1, 60 * S);
    world.objectives[late].opens = world_anchor(fact, 10 * S);
    world.objectives[late].closes = world_anchor(-1, 200 * S);
    world.objectives[never].opens =
        world_anchor(world_fact(&world, ES_FACT_CONDITION_FAIL, a), 0);
    int lost = world_fact(&world, ES_FACT_OBJECTIVE_LOST, early);
    int met = world_fact(&world, ES_FACT_OBJECTIVE_MET, late);
    world_start(&world, 1);
    ck_assert_int_eq(objective(&world, 1, early).status, ES_OBJ_CLOSED);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    ck_assert_int_eq(objective(&world, 1, early).status, ES_OBJ_OPEN);
    world_see(&world, 60 * S, 1, a, PASS); /* at the very moment of closing: too late */
    ck_assert_int_eq(objective(&world, 1, early).status, ES_OBJ_MISSED);
    ck_assert_int_eq(es_score_fact_at(world.score, 1, lost), 60 * S);
    world_see(&world, 70 * S, 1, trigger, PASS);
    ck_assert_int_eq(objective(&world, 1, late).status, ES_OBJ_CLOSED);
    es_score_advance(world.score, 79 * S);
    ck_assert_int_eq(es_score_next_due(world.score), 80 * S);
    es_score_advance(world.score, 90 * S);
    ck_assert_int_eq(objective(&world, 1, late).status, ES_OBJ_MET);
    ck_assert_int_eq(objective(&world, 1, late).met_ex_ms, 80 * S);
    ck_assert(objective(&world, 1, late).started_met);
    ck_assert_int_eq(es_score_fact_at(world.score, 1, met), 80 * S);
    world_clock(&world, 300 * S, ES_CLOCK_STOPPED);
    ck_assert_int_eq(objective(&world, 1, never).status, ES_OBJ_CLOSED);
    ck_assert_int_eq(objective(&world, 1, late).mpts, 20000);
    world_see(&world, 300 * S, 1, a, FAIL); /* nothing after the stop counts */
    ck_assert_int_eq(objective(&world, 1, never).status, ES_OBJ_CLOSED);
    ck_assert_int_eq(es_score_next_due(world.score), INT64_MAX);
    world_finish(&world);
}
END_TEST

START_TEST(for_reached_as_the_window_closes_is_in_time)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), all = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, a);
    world.conds[all].for_ms = 30 * S;
    int goal = world_objective(&world, all, 10);
    world.objectives[goal].closes = world_anchor(-1, 40 * S);
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    world_see(&world, 10 * S, 1, a, PASS);
    es_score_advance(world.score, 3600 * S);
    ck_assert_int_eq(objective(&world, 1, goal).met_ex_ms, 40 * S);
    world_finish(&world);
}
END_TEST

START_TEST(met_before_anybody_looked)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), b = world_probe(&world);
    int fact = world_composite(&world, ES_COND_FACT, 0, 0, NULL);
    world.conds[fact].fact = world_fact(&world, ES_FACT_CONDITION_PASS, b);
    world.conds[fact].within_ms = MIN;
    int first = world_objective(&world, a, 10), second = world_objective(&world, b, 10);
    int third = world_objective(&world, fact, 10);
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    world_see(&world, 10 * S, 1, a, UNKNOWN);
    world_see(&world, 20 * S, 1, a, PASS);
    world_see(&world, 20 * S, 1, b, FAIL);
    world_see(&world, 40 * S, 1, b, PASS);
    ck_assert(objective(&world, 1, first).started_met);
    ck_assert(!objective(&world, 1, second).started_met);
    ck_assert(!objective(&world, 1, third).started_met);
    ck_assert_int_eq(objective(&world, 1, third).status, ES_OBJ_MET);
    world_finish(&world);
}
END_TEST

START_TEST(held_counts_the_share_of_known_time)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), goal = world_objective(&world, a, 90);
    world.objectives[goal].judged = ES_JUDGED_HELD;
    world.objectives[goal].closes = world_anchor(-1, 200 * S);
    int met = world_fact(&world, ES_FACT_OBJECTIVE_MET, goal);
    int lost = world_fact(&world, ES_FACT_OBJECTIVE_LOST, goal);
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    world_see(&world, 20 * S, 1, a, PASS); /* before: not known, not counted */
    world_see(&world, 60 * S, 1, a, UNKNOWN);
    world_see(&world, 80 * S, 1, a, FAIL);
    ck_assert(!es_score_fact_now(world.score, 1, met));
    ck_assert_int_eq(es_score_fact_at(world.score, 1, lost), 80 * S);
    world_see(&world, 100 * S, 1, a, ABSENT); /* costs, as a fail does */
    world_see(&world, 120 * S, 1, a, FAULT);
    ck_assert_int_eq(objective(&world, 1, goal).held_ms, 40 * S);
    ck_assert_int_eq(objective(&world, 1, goal).open_ms, 80 * S);
    world_see(&world, 160 * S, 1, a, PASS);
    es_score_advance(world.score, 400 * S);
    struct es_objective_state state = objective(&world, 1, goal);
    ck_assert_int_eq(state.held_ms, 80 * S);
    ck_assert_int_eq(state.open_ms, 120 * S);
    ck_assert_int_eq(state.mpts, 60000);
    ck_assert_int_eq(state.status, ES_OBJ_MET);
    world_finish(&world);
}
END_TEST

START_TEST(at_end_judges_the_last_that_is_known)
{
    static const struct {
        int before, at_end;
        enum es_objective_status want;
    } cases[] = {
        {FAIL, PASS, ES_OBJ_MET},      {PASS, FAIL, ES_OBJ_MISSED},
        {PASS, FAULT, ES_OBJ_MET},     {PASS, UNKNOWN, ES_OBJ_MET},
        {PASS, ABSENT, ES_OBJ_MISSED}, {FAIL, FAULT, ES_OBJ_MISSED},
        {NONE, NONE, ES_OBJ_MISSED},
    };
    struct world world;
    world_init(&world);
    int a = world_probe(&world), goal = world_objective(&world, a, 10);
    world.objectives[goal].judged = ES_JUDGED_AT_END;
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        world_start(&world, 1);
        world_clock(&world, 0, ES_CLOCK_RUNNING);
        world_see(&world, 10 * S, 1, a, cases[i].before);
        world_see(&world, 20 * S, 1, a, cases[i].at_end);
        ck_assert_int_eq(objective(&world, 1, goal).status, ES_OBJ_OPEN);
        world_clock(&world, 30 * S, ES_CLOCK_STOPPED);
        ck_assert_msg(objective(&world, 1, goal).status == cases[i].want, "case %zu", i);
    }
    world_finish(&world);
}
END_TEST

START_TEST(phases_follow_each_other)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), b = world_probe(&world), c = world_probe(&world);
    int detect = world_phase(&world, a), contain = world_phase(&world, b);
    int recover = world_phase(&world, c);
    world.phases[detect].plan_ms = 60 * S;
    world.phases[contain].stuck_ms = 30 * S;
    world.phases[recover].from = world_anchor(-1, 500 * S);
    world_start(&world, 2);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    struct es_phase_state state;
    es_score_phase(world.score, 1, contain, &state);
    ck_assert_int_eq(state.begun_ex_ms, -1);
    world_see(&world, 70 * S, 1, c, PASS);
    world_see(&world, 90 * S, 1, a, PASS);
    es_score_phase(world.score, 1, detect, &state);
    ck_assert_int_eq(state.begun_ex_ms, 0);
    ck_assert_int_eq(state.done_ex_ms, 90 * S);
    ck_assert(state.late && !state.stuck);
    es_score_advance(world.score, 120 * S);
    es_score_phase(world.score, 1, contain, &state);
    ck_assert_int_eq(state.begun_ex_ms, 90 * S);
    ck_assert(!state.stuck);
    ck_assert_int_eq(es_score_next_due(world.score), 120 * S + 1);
    es_score_advance(world.score, 120 * S + 1);
    es_score_phase(world.score, 1, contain, &state);
    ck_assert(state.stuck);
    world_see(&world, 130 * S, 1, b, PASS);
    es_score_phase(world.score, 1, contain, &state);
    ck_assert(!state.stuck && state.done_ex_ms == 130 * S);
    world_see(&world, 490 * S, 1, c, PASS);
    es_score_advance(world.score, 500 * S);
    es_score_phase(world.score, 1, recover, &state); /* done as it begins */
    ck_assert_int_eq(state.begun_ex_ms, 500 * S);
    ck_assert_int_eq(state.done_ex_ms, 500 * S);
    es_score_phase(world.score, 2, detect, &state);
    ck_assert_int_eq(state.done_ex_ms, -1);
    world_finish(&world);
}
END_TEST

/* One observation in the middle of each round. */
static void rounds(struct world *world, int cond, const char *outcomes)
{
    world_start(world, 1);
    world_clock(world, 0, ES_CLOCK_RUNNING);
    for (int64_t i = 0; outcomes[i] != 0; i++) {
        int outcome = outcomes[i] == 'p'   ? PASS
                      : outcomes[i] == 'f' ? FAIL
                      : outcomes[i] == 'u' ? UNKNOWN
                      : outcomes[i] == 'x' ? FAULT
                                           : ABSENT;
        world_see(world, i * MIN + 30 * S, 1, cond, outcome);
        es_score_advance(world->score, (i + 1) * MIN);
    }
}

START_TEST(services_by_rounds)
{
    static const struct {
        const char *outcomes;
        int64_t passed, failed, unknown, absent, penalties, misses, mpts;
    } cases[] = {
        {"pppp", 4, 0, 0, 0, 0, 0, 20000},
        {"ppff", 2, 2, 0, 0, 0, 2, 10000},
        {"pfff", 1, 3, 0, 0, 1, 0, -20000},
        {"ffffff", 0, 6, 0, 0, 2, 0, -50000},
        {"ffpff", 1, 4, 0, 0, 0, 2, 5000},
        {"ffuxf", 0, 3, 2, 0, 1, 0, -25000}, /* what is not known leaves the row */
        {"uuxx", 0, 0, 4, 0, 0, 0, 0},
        {"paaa", 1, 0, 0, 3, 0, 0, 5000},
        {"paaaaaa", 1, 3, 0, 3, 1, 0, -20000}, /* from the fourth on a miss */
        {"aaapaaa", 1, 0, 0, 6, 0, 0, 5000},
        {"aauaa", 0, 1, 1, 3, 0, 1, 0},
    };
    struct world world;
    world_init(&world);
    int a = world_probe(&world), site = world_service(&world, a, MIN, 5);
    world.conds[a].every_ms = MIN;
    world.services[site].sla_after = 3;
    world.services[site].sla_penalty = 25;
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        rounds(&world, a, cases[i].outcomes);
        struct es_service_state state = service(&world, 1, site);
        ck_assert_msg(
            state.passed == cases[i].passed && state.failed == cases[i].failed &&
                state.unknown == cases[i].unknown && state.absent == cases[i].absent &&
                state.penalties == cases[i].penalties &&
                state.misses_in_a_row == cases[i].misses && state.mpts == cases[i].mpts,
            "%s: %ld passed, %ld failed, %ld unknown, %ld absent, %ld "
            "penalties, %ld in a row, %ld mpts",
            cases[i].outcomes, (long)state.passed, (long)state.failed,
            (long)state.unknown, (long)state.absent, (long)state.penalties,
            (long)state.misses_in_a_row, (long)state.mpts);
    }
    world_finish(&world);
}
END_TEST

START_TEST(a_service_taken_down_on_purpose)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), reason = world_probe(&world);
    int site = world_service(&world, a, MIN, 5);
    int fact = world_fact(&world, ES_FACT_CONDITION_PASS, reason);
    world.services[site].waive = &fact;
    world.services[site].waive_count = 1;
    world.services[site].sla_after = 2;
    world.services[site].sla_penalty = 25;
    world.conds[a].every_ms = world.conds[reason].every_ms = MIN;
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    for (int64_t i = 0; i < 9; i++) {
        world_see(&world, i * MIN + S, 1, reason, i >= 2 && i < 6 ? PASS : FAIL);
        world_see(&world, i * MIN + S, 1, a, i == 0 || i == 5 ? PASS : FAIL);
    }
    es_score_advance(world.score, 9 * MIN);
    struct es_service_state state = service(&world, 1, site);
    ck_assert_int_eq(state.passed, 2); /* a pass earns also while waived */
    ck_assert_int_eq(state.waived, 3);
    ck_assert_int_eq(state.failed, 4);
    ck_assert_int_eq(state.penalties, 1); /* 1 before, 3 after: 2 and 1 over */
    ck_assert_int_eq(part(&world, 1, 0).possible_mpts, 6 * 5000);
    world_finish(&world);
}
END_TEST

START_TEST(parts_are_scaled_then_weighted)
{
    struct world world;
    world_init(&world);
    world_part(&world, "uptime", 10);
    world_part(&world, "reports", 40);
    int a = world_probe(&world), b = world_probe(&world);
    world.conds[a].every_ms = world.conds[b].every_ms = MIN;
    world_objective(&world, a, 30);
    world_objective(&world, b, 90);
    int site = world_service(&world, a, MIN, 5);
    world.services[site].part = "uptime";
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    ck_assert_int_eq(part(&world, 1, 1).scaled_mpts, 0);
    world_see(&world, 0, 1, a, UNKNOWN);
    es_score_advance(world.score, MIN);
    ck_assert_int_eq(part(&world, 1, 1).scaled_mpts, 10000); /* not known costs nothing */
    world_see(&world, MIN, 1, a, PASS);
    es_score_advance(world.score, 2 * MIN);
    ck_assert_int_eq(part(&world, 1, 0).possible_mpts, 120000);
    ck_assert_int_eq(part(&world, 1, 0).scaled_mpts, 25000); /* 30 of 120, weighs 100 */
    ck_assert_int_eq(part(&world, 1, 1).scaled_mpts, 10000);
    ck_assert_int_eq(part(&world, 1, 2).scaled_mpts, 0);
    world_see(&world, 2 * MIN, 1, a, FAIL);
    es_score_advance(world.score, 4 * MIN);
    ck_assert_int_eq(part(&world, 1, 1).scaled_mpts, 3333);
    ck_assert_int_eq(es_score_total_mpts(world.score, 1), 28333);

    world.scenario.scoring.model = "uptime"; /* plain sums */
    struct es_score *plain = world_fold(&world, 1, NULL, NULL);
    for (size_t i = 0; i < world.event_count; i++)
        ck_assert_int_eq(es_score_apply(plain, &world.events[i], NULL), 0);
    es_score_advance(plain, 4 * MIN);
    ck_assert_int_eq(es_score_total_mpts(plain, 1), 35000);
    es_score_destroy(plain);
    world_finish(&world);
}
END_TEST

static void correct(struct world *world, int64_t ex_ms, int type, int subject, int a,
                    int64_t b, const char *text)
{
    world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                         .type = type,
                                         .team = 1,
                                         .subject = subject,
                                         .a = a,
                                         .b = b,
                                         .text = text});
}

struct told {
    char text[2048];
};
static void tell(void *ctx, const struct es_score_reason *reason)
{
    struct told *told = ctx;
    size_t len = strlen(told->text);
    snprintf(told->text + len, sizeof told->text - len, "%ld #%ld %s/%s %+ld: %s%s%s\n",
             (long)reason->ex_ms / 1000, (long)reason->pos, reason->part, reason->what,
             (long)reason->mpts, reason->text, reason->by != NULL ? ", by " : "",
             reason->by != NULL ? reason->by : "");
}

START_TEST(corrections_and_what_explains_them)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), b = world_probe(&world);
    world.conds[a].every_ms = world.conds[b].every_ms = MIN;
    int met = world_objective(&world, a, 30), missed = world_objective(&world, b, 20);
    int site = world_service(&world, a, MIN, 5);
    world.services[site].sla_after = 1;
    world.services[site].sla_penalty = 2;
    world.objectives[missed].closes = world_anchor(-1, 5 * MIN);
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    world_see(&world, 10 * S, 1, a, PASS);
    world_see(&world, 130 * S, 1, a, FAIL);
    es_score_advance(world.score, 200 * S);
    correct(&world, 200 * S, ES_EV_POINTS, -1, 0, 7,
            "{\"part\": \"handling\", \"by\": \"i\", \"reason\": \"good notes\"}");
    correct(&world, 210 * S, ES_EV_POINTS, -1, 0, -3, "{\"reason\": \"too loud\"}");
    correct(&world, 215 * S, ES_EV_OVERRIDE, met, 1, 0,
            "{\"reason\": \"a mistake\", \"by\": \"you\"}");
    correct(&world, 220 * S, ES_EV_OVERRIDE, met, 0, 0,
            "{\"reason\": \"seen by eye\", \"by\": \"p-1\"}");
    world_clock(&world, 310 * S, ES_CLOCK_STOPPED);
    correct(&world, 310 * S, ES_EV_OVERRIDE, missed, 1, 0, NULL);
    ck_assert_int_eq(objective(&world, 1, met).mpts, 0);
    ck_assert_int_eq(objective(&world, 1, met).status, ES_OBJ_MISSED);
    ck_assert_int_eq(objective(&world, 1, missed).mpts, 20000);
    ck_assert(objective(&world, 1, missed).overridden);
    ck_assert_int_eq(part(&world, 1, 0).earned_mpts, 20000 + 10000 - 6000 + 7000);
    struct told told = {""};
    ck_assert_int_eq(es_score_explain(world.score, 1, tell, &told, NULL), 0);
    ck_assert_str_eq(told.text,
                     "60 #2 handling/s0 +10000: c0: rounds 1 to 2 passed\n"
                     "180 #3 handling/s0 +0: c0: rounds 3 to 5 missed\n"
                     "180 #3 handling/s0 -2000: rounds missed in a row: 1\n"
                     "200 #4 handling/correction +7000: good notes, by i\n"
                     "210 #5 /correction -3000: too loud\n"
                     "215 #7 handling/o0 +0: set to not met by a correction at T+3m35s: "
                     "seen by eye, by p-1\n"
                     "240 #3 handling/s0 -2000: rounds missed in a row: 1\n"
                     "300 #9 handling/o1 +20000: set to met by a correction at T+5m\n"
                     "300 #3 handling/s0 -2000: rounds missed in a row: 1\n");
    world_finish(&world);
}
END_TEST

static void on_long_reason(void *ctx, const struct es_score_reason *reason)
{
    size_t *len = ctx;
    *len = strlen(reason->text);
    ck_assert(es_utf8_valid(reason->text, *len));
}

START_TEST(a_long_reason_is_cut_between_characters)
{
    struct world world;
    char text[1200] = "{\"reason\": \"x";
    size_t len = 0;
    world_init(&world);
    world_probe(&world);
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    for (int i = 0; i < 300; i++)
        strcat(text, "理");
    strcat(text, "\"}");
    correct(&world, 1 * S, ES_EV_POINTS, -1, 0, 7, text);
    ck_assert_int_eq(es_score_explain(world.score, 1, on_long_reason, &len, NULL), 0);
    ck_assert_uint_gt(len, 500);
    world_finish(&world);
}
END_TEST

START_TEST(what_was_void_is_folded_anew)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), b = world_probe(&world);
    world.conds[a].every_ms = world.conds[b].every_ms = MIN;
    int goal = world_objective(&world, a, 30);
    int site = world_service(&world, b, MIN, 5);
    world_start(&world, 2);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    for (int i = 0; i < 2; i++)
        for (int team = 1; team <= 2; team++) {
            world_see(&world, (30 + 60 * i) * S, team, a, i == 0 ? PASS : FAIL);
            world_see(&world, (30 + 60 * i) * S, team, b, i == 0 ? FAIL : PASS);
        }
    es_score_advance(world.score, 120 * S);
    struct es_event span = {.pos = 100,
                            .ex_ms = 120 * S,
                            .type = ES_EV_VOID,
                            .team = 1,
                            .subject = -1,
                            .a = 2,
                            .text = "{\"from_ms\": 20000, \"to_ms\": 90000}"};
    struct es_err err = {0};
    ck_assert_int_eq(es_score_apply(world.score, &span, &err), ES_EINVAL);
    ck_assert_str_eq(err.msg, "event 100 (void) of the ledger: it reaches back in time: "
                              "fold the ledger anew with its corrections first");
    ck_assert_int_eq(es_score_correct(world.score, &span, &err), ES_EINVAL);
    struct es_score *anew = world_fold(&world, 2, NULL, NULL);
    ck_assert_int_eq(es_score_correct(anew, &span, &err), 0);
    ck_assert_int_eq(es_score_correct(anew, &world.events[0], &err), 0);
    for (size_t i = 0; i < world.event_count; i++)
        ck_assert_int_eq(es_score_apply(anew, &world.events[i], &err), 0);
    ck_assert_int_eq(es_score_apply(anew, &span, &err), 0);
    ck_assert_int_eq(es_score_now(anew), 120 * S);
    struct es_objective_state state;
    es_score_objective(anew, 1, goal, &state);
    ck_assert_int_eq(state.status, ES_OBJ_OPEN);
    es_score_objective(anew, 2, goal, &state);
    ck_assert_int_eq(state.status, ES_OBJ_MET);
    struct es_service_state rounds_of;
    es_score_service(anew, 1, site, &rounds_of);
    ck_assert_int_eq(rounds_of.unknown, 1);
    ck_assert_int_eq(rounds_of.passed, 1); /* seen at the end of the span: counts */
    es_score_service(anew, 2, site, &rounds_of);
    ck_assert_int_eq(rounds_of.failed, 1);
    es_score_destroy(anew);
    world_finish(&world);
}
END_TEST

START_TEST(events_that_do_not_fit_are_refused)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), all = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, a);
    world_objective(&world, a, 10);
    world_start(&world, 2);
    struct es_err err = {0};
    struct es_event early = {.type = ES_EV_OBSERVED, .team = 1, .a = PASS, .ex_ms = 1};
    ck_assert_int_eq(es_score_apply(world.score, &early, &err), ES_EINVAL);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    world_see(&world, 100 * S, 1, a, PASS);
    const struct es_event bad[] = {
        {.type = 99, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 0, .subject = a, .a = PASS, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 3, .subject = a, .a = PASS, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 1, .subject = 7, .a = PASS, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 1, .subject = -1, .a = PASS, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 1, .subject = all, .a = PASS, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 1, .subject = a, .a = 6, .ex_ms = 200 * S},
        {.type = ES_EV_OBSERVED, .team = 1, .subject = a, .a = PASS, .ex_ms = 99 * S},
        {.type = ES_EV_MACHINE, .team = 1, .subject = 1, .a = 1, .ex_ms = 200 * S},
        {.type = ES_EV_MACHINE, .team = 1, .subject = 0, .a = 9, .ex_ms = 200 * S},
        {.type = ES_EV_MACHINE, .team = 9, .subject = 0, .a = 1, .ex_ms = 200 * S},
        {.type = ES_EV_CLOCK, .a = 4, .b = 1000, .ex_ms = 200 * S},
        {.type = ES_EV_CLOCK, .a = 1, .b = 0, .ex_ms = 200 * S},
        {.type = ES_EV_CLOCK, .a = 1, .b = 1000, .seq = 200 * S, .ex_ms = 200 * S},
        {.type = ES_EV_CLOCK, .a = 1, .b = 1000, .seq = INT64_MAX, .ex_ms = 200 * S},
        {.type = ES_EV_POINTS, .team = 1, .b = INT64_MIN, .ex_ms = 200 * S},
        {.type = ES_EV_POINTS, .team = 0, .b = 1, .ex_ms = 200 * S},
        {.type = ES_EV_OVERRIDE, .team = 1, .subject = 1, .ex_ms = 200 * S},
    };
    char before[65], after[65];
    es_score_digest(world.score, before);
    for (size_t i = 0; i < ES_COUNT(bad); i++)
        ck_assert_msg(es_score_apply(world.score, &bad[i], &err) == ES_EINVAL, "case %zu",
                      i);
    ck_assert_str_eq(err.msg,
                     "event 0 (override) of the ledger: there is no such objective");
    es_score_digest(world.score, after);
    ck_assert_str_eq(before, after);
    static const char *const spans[] = {NULL, "[", "{\"from_ms\": 5, \"to_ms\": 5}",
                                        "{\"from_ms\": -1}"};
    struct es_score *anew = world_fold(&world, 2, NULL, NULL);
    for (size_t i = 0; i < ES_COUNT(spans); i++) {
        struct es_event span = {.type = ES_EV_VOID, .team = -1, .text = spans[i]};
        span.subject = i < 2 ? 9 : 0;
        ck_assert_int_eq(es_score_correct(anew, &span, &err), ES_EINVAL);
    }
    es_score_destroy(anew);
    world_finish(&world);
}
END_TEST

START_TEST(scenarios_that_cannot_be_scored)
{
    struct world world;
    struct es_score *score = NULL;
    struct es_err err = {0};
    world_init(&world);
    int a = world_probe(&world), goal = world_objective(&world, a, 10);
    ck_assert_int_eq(es_score_create(&world.scenario, 0, NULL, NULL, &score, &err),
                     ES_EINVAL);
    world.objectives[goal].part = "nowhere";
    ck_assert_int_eq(es_score_create(&world.scenario, 1, NULL, NULL, &score, &err),
                     ES_EINVAL);
    ck_assert_str_eq(err.msg,
                     "objective o0 counts for part nowhere, which scoring.parts does not "
                     "name; run enshu validate on the scenario");
    world.objectives[goal].part = NULL;
    world.objectives[goal].points = INT64_MAX;
    ck_assert_int_eq(es_score_create(&world.scenario, 1, NULL, NULL, &score, &err),
                     ES_EINVAL);
    world.objectives[goal].points = 1;
    world.conds[a].control = a;
    ck_assert_int_eq(es_score_create(&world.scenario, 1, NULL, NULL, &score, &err),
                     ES_EINVAL);
    ck_assert_ptr_null(score);
    ck_assert_int_eq(es_mem_live_count(), 0);
    world_finish(&world);
}
END_TEST

/* Every allocation fails once: no leak, no crash, ES_ENOMEM. */
START_TEST(out_of_memory)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world);
    world_objective(&world, a, 10);
    world_phase(&world, a);
    world_service(&world, a, S, 1);
    world_fact(&world, ES_FACT_CONDITION_PASS, a);
    const struct es_event events[] = {
        {.type = ES_EV_CLOCK, .a = ES_CLOCK_RUNNING, .b = 1000},
        {.type = ES_EV_OBSERVED, .team = 1, .a = PASS, .instance = 1, .seq = 1, .pos = 2},
        {.type = ES_EV_POINTS, .team = -1, .b = 3, .ex_ms = 5 * S, .pos = 3},
        {.type = ES_EV_NOTE, .team = -1, .ex_ms = 9 * S, .pos = 4},
    };
    struct es_event span = {.type = ES_EV_VOID, .team = -1, .pos = 9};
    bool all_through = false;
    for (long nth = 1; !all_through; nth++) {
        ck_assert_int_lt(nth, 200);
        struct es_score *score = NULL;
        struct es_err err = {0};
        es_mem_fail_nth(nth);
        int status = es_score_create(&world.scenario, 2, NULL, NULL, &score, &err);
        if (status == 0)
            status = es_score_correct(score, &span, &err);
        for (size_t i = 0; i < ES_COUNT(events) && status == 0; i++)
            status = es_score_apply(score, &events[i], &err);
        struct told told = {""};
        if (status == 0)
            status = es_score_explain(score, 1, tell, &told, &err);
        all_through = !es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(status, all_through ? 0 : ES_ENOMEM);
        es_score_destroy(score);
        ck_assert_int_eq(es_mem_live_count(), 0);
    }
    world_finish(&world);
}
END_TEST

START_TEST(results_seen)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world);
    world_start(&world, 1);
    struct es_event event = {.type = ES_EV_OBSERVED, .team = 1, .subject = a, .a = PASS};
    for (uint32_t instance = 1; instance <= 500; instance++) {
        event.instance = instance;
        event.epoch = instance * 0x9e3779b97f4a7c15ULL;
        event.seq = 5;
        world_tell(&world, &event);
    }
    struct es_score *score = world.score;
    for (uint32_t instance = 1; instance <= 500; instance++) {
        uint64_t epoch = instance * 0x9e3779b97f4a7c15ULL;
        ck_assert(es_score_seen(score, instance, epoch, 4));
        ck_assert(es_score_seen(score, instance, epoch, 5));
        ck_assert(!es_score_seen(score, instance, epoch, 6));
        ck_assert(!es_score_seen(score, instance, epoch + 1, 1));
    }
    ck_assert(!es_score_seen(score, 501, 0, 1));
    ck_assert(!es_score_seen(score, 1, 0x9e3779b97f4a7c15ULL, 0));
    ck_assert(!es_score_seen(score, 0, 0, 1));
    for (uint64_t epoch = 1; epoch <= 4; epoch++) {
        event.instance = 7;
        event.epoch = epoch;
        event.seq = 1;
        world_tell(&world, &event);
        for (uint64_t former = 1; former < epoch; former++)
            ck_assert(es_score_seen(score, 7, former, 1000)); /* stale */
        ck_assert(!es_score_seen(score, 7, epoch, 2));
    }
    world_finish(&world);
}
END_TEST

START_TEST(as_json)
{
    struct world world;
    world_init(&world);
    int a = world_probe(&world), all = WORLD_COMPOSITE(&world, ES_COND_ALL, 0, a);
    world.conds[all].for_ms = S;
    int goal = world_objective(&world, a, 10);
    world.objectives[goal].judged = ES_JUDGED_HELD;
    world_phase(&world, a);
    world_service(&world, a, S, 1);
    world_start(&world, 1);
    world_clock(&world, 0, ES_CLOCK_RUNNING);
    world_see(&world, 500, 1, a, PASS);
    es_score_advance(world.score, 1500);
    json_t *json = es_score_json(world.score, 1);
    char *text = json_dumps(json, JSON_COMPACT);
    ck_assert_str_eq(
        text, "{\"team\":1,\"now_ms\":1500,\"total_mpts\":100000,\"corrections_mpts\":0,"
              "\"parts\":[{\"name\":\"handling\",\"earned_mpts\":11000,\"possible_mpts\":"
              "11000,\"weight\":100,\"scaled_mpts\":100000}],"
              "\"objectives\":{\"o0\":{\"status\":\"open\",\"met_ms\":500,\"mpts\":10000,"
              "\"points\":10,\"cause\":2,\"overridden\":false,\"started_met\":true,"
              "\"held_ms\":1000,\"open_ms\":1000}},"
              "\"phases\":{\"p0\":{\"begun_ms\":0,\"done_ms\":500,\"stuck\":false,"
              "\"late\":false}},"
              "\"services\":{\"s0\":{\"rounds\":1,\"passed\":1,\"failed\":0,\"waived\":0,"
              "\"unknown\":0,\"absent\":0,\"misses_in_a_row\":0,\"penalties\":0,"
              "\"mpts\":1000,\"last\":\"pass\"}},"
              "\"conditions\":{\"c0\":{\"outcome\":\"pass\",\"raw\":\"pass\","
              "\"since_ms\":500,\"observed_ms\":500,\"cause\":2,\"trust\":\"A\"},"
              "\"c1\":{\"outcome\":\"pass\",\"raw\":\"pass\",\"since_ms\":1500,"
              "\"observed_ms\":-1,\"cause\":2,\"trust\":\"A\",\"held_ms\":1000}}}");
    free(text);
    json_decref(json);
    world_finish(&world);
}
END_TEST

Suite *score_suite(void);
Suite *score_suite(void)
{
    Suite *suite = suite_create("score");
    TCase *tc = tcase_create("exercises");
    tcase_add_test(tc, a_drill_of_two_teams);
    tcase_add_test(tc, objectives_open_and_close);
    tcase_add_test(tc, for_reached_as_the_window_closes_is_in_time);
    tcase_add_test(tc, met_before_anybody_looked);
    tcase_add_test(tc, held_counts_the_share_of_known_time);
    tcase_add_test(tc, at_end_judges_the_last_that_is_known);
    tcase_add_test(tc, phases_follow_each_other);
    tcase_add_test(tc, services_by_rounds);
    tcase_add_test(tc, a_service_taken_down_on_purpose);
    tcase_add_test(tc, parts_are_scaled_then_weighted);
    tcase_add_test(tc, corrections_and_what_explains_them);
    tcase_add_test(tc, a_long_reason_is_cut_between_characters);
    tcase_add_test(tc, what_was_void_is_folded_anew);
    tcase_add_test(tc, events_that_do_not_fit_are_refused);
    tcase_add_test(tc, scenarios_that_cannot_be_scored);
    tcase_add_test(tc, out_of_memory);
    tcase_add_test(tc, results_seen);
    tcase_add_test(tc, as_json);
    suite_add_tcase(suite, tc);
    return suite;
}
