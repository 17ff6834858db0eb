/* A team's state as one JSON object. */
#include "fold.h"

static const char *const status_words[] = {"closed", "open", "met", "missed"};

static int add(json_t *object, const char *name, json_t *value)
{
    return json_object_set_new(object, name, value);
}

static json_t *conditions_json(const struct es_score *score, int team)
{
    static const char *const trust[] = {"A", "B", "C"};
    json_t *all = json_object();
    for (size_t i = 0; all != NULL && i < score->model.conditions; i++) {
        const struct es_condition *def = &score->model.scenario->conditions[i];
        struct es_condition_state state;
        es_score_condition(score, team, (int)i, &state);
        ES_ASSERT((size_t)def->trust < ES_COUNT(trust));
        json_t *one = json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:s}", "outcome", es_outcome_name(state.outcome),
            "raw", es_outcome_name(state.raw), "since_ms", (json_int_t)state.since_ex_ms,
            "observed_ms", (json_int_t)state.observed_ex_ms, "cause",
            (json_int_t)state.cause_pos, "trust", trust[def->trust]);
        if (def->for_ms > 0)
            add(one, "held_ms", json_integer(state.held_ms));
        if (add(all, def->name, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *objectives_json(const struct es_score *score, int team)
{
    json_t *all = json_object();
    for (size_t i = 0; all != NULL && i < score->model.objectives; i++) {
        const struct es_objective *def = &score->model.scenario->objectives[i];
        struct es_objective_state state;
        es_score_objective(score, team, (int)i, &state);
        ES_ASSERT((size_t)state.status < ES_COUNT(status_words));
        json_t *one = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:b, s:b}", "status", status_words[state.status],
            "met_ms", (json_int_t)state.met_ex_ms, "mpts", (json_int_t)state.mpts,
            "points", (json_int_t)def->points, "cause", (json_int_t)state.cause_pos,
            "overridden", state.overridden, "started_met", state.started_met);
        if (def->judged == ES_JUDGED_HELD) {
            add(one, "held_ms", json_integer(state.held_ms));
            add(one, "open_ms", json_integer(state.open_ms));
        }
        if (add(all, def->name, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *phases_json(const struct es_score *score, int team)
{
    json_t *all = json_object();
    for (size_t i = 0; all != NULL && i < score->model.phases; i++) {
        struct es_phase_state state;
        es_score_phase(score, team, (int)i, &state);
        json_t *one = json_pack(
            "{s:I, s:I, s:b, s:b}", "begun_ms", (json_int_t)state.begun_ex_ms, "done_ms",
            (json_int_t)state.done_ex_ms, "stuck", state.stuck, "late", state.late);
        if (add(all, score->model.scenario->phases[i].name, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *services_json(const struct es_score *score, int team)
{
    json_t *all = json_object();
    for (size_t i = 0; all != NULL && i < score->model.services; i++) {
        struct es_service_state state;
        es_score_service(score, team, (int)i, &state);
        json_t *one = json_pack(
            "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "rounds",
            (json_int_t)state.rounds, "passed", (json_int_t)state.passed, "failed",
            (json_int_t)state.failed, "waived", (json_int_t)state.waived, "unknown",
            (json_int_t)state.unknown, "absent", (json_int_t)state.absent,
            "misses_in_a_row", (json_int_t)state.misses_in_a_row, "penalties",
            (json_int_t)state.penalties, "mpts", (json_int_t)state.mpts, "last",
            es_outcome_name(state.last));
        if (add(all, score->model.scenario->services[i].name, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *parts_json(const struct es_score *score, int team)
{
    json_t *all = json_array();
    for (size_t i = 0; all != NULL && i < score->model.part_count; i++) {
        struct es_part_state state;
        es_score_part(score, team, i, &state);
        json_t *one =
            json_pack("{s:s, s:I, s:I, s:I, s:I}", "name", state.name, "earned_mpts",
                      (json_int_t)state.earned_mpts, "possible_mpts",
                      (json_int_t)state.possible_mpts, "weight", (json_int_t)state.weight,
                      "scaled_mpts", (json_int_t)state.scaled_mpts);
        if (json_array_append_new(all, one) != 0) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

json_t *es_score_json(const struct es_score *score, int team)
{
    ES_ASSERT(score != NULL);
    json_t *all = json_object();
    int failed = add(all, "team", json_integer(team));
    failed |= add(all, "now_ms", json_integer(score->now_ms));
    failed |= add(all, "total_mpts", json_integer(es_score_total_mpts(score, team)));
    failed |=
        add(all, "corrections_mpts", json_integer(team_of(score, team)->loose_mpts));
    failed |= add(all, "parts", parts_json(score, team));
    failed |= add(all, "objectives", objectives_json(score, team));
    failed |= add(all, "phases", phases_json(score, team));
    failed |= add(all, "services", services_json(score, team));
    failed |= add(all, "conditions", conditions_json(score, team));
    if (failed == 0)
        return all;
    json_decref(all);
    return NULL;
}
