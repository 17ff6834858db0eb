/* score: the bundled drill, as the loader reads it, played in virtual time. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/score.h"

#define S   INT64_C(1000)
#define MIN (60 * S)

static struct es_scenario *scenario;
static struct es_score *score;
static int64_t pos;

static void load(void)
{
    static struct es_diags diags;
    struct es_err err = {0};
    char path[4096];
    const char *top = getenv("ENSHU_TOP");
    es_str_printf(path, sizeof path, "%s/scenarios/city-hall-tiny",
                  top != NULL ? top : ".");
    int status = es_scenario_load(path, &diags, &scenario, &err);
    ck_assert_msg(status == 0, "%s: %s", path, err.msg);
    es_diags_finish(&diags);
    status = es_score_create(scenario, 2, NULL, NULL, &score, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
}

static void apply(struct es_event *event)
{
    struct es_err err = {0};
    event->pos = ++pos;
    int status = es_score_apply(score, event, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
}

/* What team 1 does, and when. */
static bool solved(const char *condition, int64_t ex_ms)
{
    static const struct {
        const char *condition;
        int64_t from_ms;
    } steps[] = {{"noted", 2 * MIN},
                 {"c2-cut", 5 * MIN},
                 {"webshell-gone", 7 * MIN},
                 {"replanter-gone", 7 * MIN},
                 {"implant-gone", 8 * MIN}};
    for (size_t i = 0; i < ES_COUNT(steps); i++)
        if (strcmp(condition, steps[i].condition) == 0)
            return ex_ms >= steps[i].from_ms;
    return true;
}

static void look(int64_t ex_ms, int team)
{
    for (size_t i = 0; i < scenario->conditions_count; i++) {
        const struct es_condition *def = &scenario->conditions[i];
        if (def->kind != ES_COND_PROBE)
            continue;
        bool pass = team == 1 ? solved(def->name, ex_ms) : def->starts_pass;
        apply(&(struct es_event){.ex_ms = ex_ms,
                                 .type = ES_EV_OBSERVED,
                                 .team = team,
                                 .subject = (int)i,
                                 .a = pass ? ES_OUTCOME_PASS : ES_OUTCOME_FAIL});
    }
}

static int64_t fact_at(int team, const char *name)
{
    int fact = es_scenario_fact(scenario, name);
    ck_assert_msg(fact >= 0, "no fact %s", name);
    return es_score_fact_at(score, team, fact);
}

static enum es_objective_status status_of(int team, const char *name)
{
    struct es_objective_state state;
    int objective = es_scenario_objective(scenario, name);
    ck_assert_int_ge(objective, 0);
    es_score_objective(score, team, objective, &state);
    ck_assert(!state.started_met);
    return state.status;
}

START_TEST(city_hall)
{
    load();
    apply(&(struct es_event){
        .type = ES_EV_CLOCK, .team = -1, .a = ES_CLOCK_RUNNING, .b = 1000});
    for (int64_t t = 4 * S; t <= 10 * MIN; t += 4 * S)
        for (int team = 1; team <= 2; team++)
            look(t, team);
    apply(&(struct es_event){.ex_ms = 10 * MIN,
                             .type = ES_EV_CLOCK,
                             .team = -1,
                             .a = ES_CLOCK_STOPPED,
                             .b = 1000});
    ck_assert_int_eq(fact_at(1, "detect.begun"), 0);
    ck_assert_int_eq(fact_at(1, "detect.done"), 2 * MIN);
    ck_assert_int_eq(fact_at(1, "contain.begun"), 2 * MIN);
    /* c2-cut is confirmed by its control at the next look, then holds for 4 s */
    ck_assert_int_ge(fact_at(1, "contain.done"), 5 * MIN + 4 * S);
    ck_assert_int_le(fact_at(1, "contain.done"), 5 * MIN + 12 * S);
    ck_assert_int_eq(fact_at(1, "eradicate.done"), 8 * MIN + 4 * S);
    ck_assert_int_eq(fact_at(1, "recover.done"), 8 * MIN + 8 * S);
    static const char *const once[] = {"find-c2", "cut-c2", "remove-webshell",
                                       "back-to-work"};
    for (size_t i = 0; i < ES_COUNT(once); i++) {
        ck_assert_int_eq(status_of(1, once[i]), ES_OBJ_MET);
        ck_assert_int_eq(status_of(2, once[i]), ES_OBJ_MISSED);
    }
    struct es_objective_state held;
    es_score_objective(score, 1, es_scenario_objective(scenario, "remove-implant"),
                       &held);
    ck_assert_int_eq(held.held_ms, 2 * MIN);
    ck_assert_int_eq(held.open_ms, 10 * MIN - 4 * S);
    ck_assert_int_eq(held.mpts, 100000 * 120 / 596);
    ck_assert_int_eq(fact_at(2, "detect.done"), -1);
    struct es_part_state part;
    es_score_part(score, 1, 0, &part);
    ck_assert_int_eq(part.scaled_mpts, 80 * (500000 + held.mpts) / 600);
    /* both kept the site up */
    ck_assert_int_eq(es_score_total_mpts(score, 1), part.scaled_mpts + 20000);
    ck_assert_int_eq(es_score_total_mpts(score, 2), 20000);
    es_score_destroy(score);
    es_scenario_destroy(scenario);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

Suite *score_drill_suite(void);
Suite *score_drill_suite(void)
{
    Suite *suite = suite_create("score_drill");
    TCase *tc = tcase_create("drill");
    tcase_add_test(tc, city_hall);
    suite_add_tcase(suite, tc);
    return suite;
}
