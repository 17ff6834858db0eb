/* score: whole exercises in virtual time. */
#include <check.h>
#include <stdlib.h>

#include "../support/score_world.h"

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

Suite *score_suite(void);
Suite *score_suite(void)
{
    Suite *suite = suite_create("score");
    TCase *tc = tcase_create("exercises");
    tcase_add_test(tc, a_drill_of_two_teams);
    suite_add_tcase(suite, tc);
    return suite;
}
