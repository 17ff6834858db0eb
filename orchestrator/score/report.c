/* What the fold says of each thing, and what it adds up to. */
#include <string.h>

#include "fold.h"

void es_score_condition(const struct es_score *score, int team, int condition,
                        struct es_condition_state *ret_state)
{
    ES_ASSERT(condition >= 0 && (size_t)condition < score->model.conditions);
    const struct cond_def *def = &score->model.conds[condition];
    const struct cond_state *state = &team_of(score, team)->conds[condition];
    *ret_state = (struct es_condition_state){
        .raw = (enum es_outcome)state->raw,
        .outcome = (enum es_outcome)state->outcome,
        .since_ex_ms = state->since_ex_ms,
        .observed_ex_ms = state->observed_ex_ms,
        .held_ms = def->for_ms > 0 ? condition_held(score, def, state) : 0,
        .cause_pos = state->cause,
    };
}

int64_t es_score_fact_at(const struct es_score *score, int team, int fact)
{
    ES_ASSERT(fact >= 0 && (size_t)fact < score->model.facts);
    return team_of(score, team)->facts[fact].first_ex_ms;
}

bool es_score_fact_now(const struct es_score *score, int team, int fact)
{
    ES_ASSERT(fact >= 0 && (size_t)fact < score->model.facts);
    return team_of(score, team)->facts[fact].now;
}

void es_score_objective(const struct es_score *score, int team, int objective,
                        struct es_objective_state *ret_state)
{
    ES_ASSERT(objective >= 0 && (size_t)objective < score->model.objectives);
    const struct obj_state *state = &team_of(score, team)->objectives[objective];
    *ret_state = (struct es_objective_state){
        .status = (enum es_objective_status)state->status,
        .met_ex_ms = state->met_ex_ms,
        .mpts = objective_mpts(score, team, objective),
        .cause_pos = state->cause,
        .overridden = state->overridden,
        .started_met = state->started_met,
    };
    if (score->model.scenario->objectives[objective].judged == ES_JUDGED_HELD)
        objective_count(score, state, &ret_state->held_ms, &ret_state->open_ms);
}

void es_score_phase(const struct es_score *score, int team, int phase,
                    struct es_phase_state *ret_state)
{
    ES_ASSERT(phase >= 0 && (size_t)phase < score->model.phases);
    const struct es_phase *def = &score->model.scenario->phases[phase];
    const struct phase_state *state = &team_of(score, team)->phases[phase];
    *ret_state = (struct es_phase_state){state->begun_ex_ms, state->done_ex_ms, 0, 0};
    if (state->begun_ex_ms < 0)
        return;
    bool done = state->done_ex_ms >= 0;
    int64_t took_ms = (done ? state->done_ex_ms : score->now_ms) - state->begun_ex_ms;
    ES_ASSERT(took_ms >= 0);
    ret_state->stuck = !done && def->stuck_ms > 0 && took_ms > def->stuck_ms;
    ret_state->late = def->plan_ms > 0 && took_ms > def->plan_ms;
}

void es_score_service(const struct es_score *score, int team, int service,
                      struct es_service_state *ret_state)
{
    ES_ASSERT(service >= 0 && (size_t)service < score->model.services);
    const struct service_state *state = &team_of(score, team)->services[service];
    *ret_state = (struct es_service_state){
        .rounds = score->rounds[service],
        .passed = state->passed,
        .failed = state->failed,
        .waived = state->waived,
        .unknown = state->unknown,
        .absent = state->absent,
        .misses_in_a_row = state->misses_in_a_row,
        .penalties = state->penalties,
        .mpts = service_mpts(score, team, service),
        .last = (enum es_outcome)state->last,
    };
}

/* ---- parts and total */

size_t es_score_part_count(const struct es_score *score)
{
    ES_ASSERT(score != NULL);
    return score->model.part_count;
}

/* Rounds that count for nobody leave the maximum; when that empties a part after it had
 * begun, it is given whole, for what is not known never costs a point. */
static int64_t scale(const struct es_part_state *part, bool only_uncounted)
{
    ES_ASSERT(part->weight >= 0);
    if (part->possible_mpts <= 0)
        return only_uncounted ? part->weight * 1000 : 0;
    int64_t scaled_mpts =
        mul_div(part->weight * 1000, part->earned_mpts, part->possible_mpts);
    return scaled_mpts > 0 ? scaled_mpts : 0;
}

void es_score_part(const struct es_score *score, int team, size_t part,
                   struct es_part_state *ret_state)
{
    const struct model *model = &score->model;
    const struct team *of_team = team_of(score, team);
    ES_ASSERT(part < model->part_count);
    struct es_part_state state = {.name = model->parts[part],
                                  .weight = model->weights[part],
                                  .earned_mpts = of_team->part_points_mpts[part]};
    bool only_uncounted = false;
    for (size_t i = 0; i < model->objectives; i++) {
        if ((size_t)model->objective_part[i] != part)
            continue;
        int64_t points = model->scenario->objectives[i].points;
        state.earned_mpts += objective_mpts(score, team, (int)i);
        state.possible_mpts += points > 0 ? points * 1000 : 0;
    }
    for (size_t i = 0; i < model->services; i++) {
        if ((size_t)model->service_part[i] != part)
            continue;
        const struct service_state *service = &of_team->services[i];
        int64_t counted = service->passed + service->failed + service->absent;
        int64_t points = model->scenario->services[i].points;
        state.earned_mpts += service_mpts(score, team, (int)i);
        state.possible_mpts += points > 0 ? counted * points * 1000 : 0;
        only_uncounted = only_uncounted || (counted == 0 && score->rounds[i] > 0);
    }
    state.scaled_mpts = model->scaled ? scale(&state, only_uncounted) : state.earned_mpts;
    *ret_state = state;
}

int64_t es_score_total_mpts(const struct es_score *score, int team)
{
    int64_t total_mpts = team_of(score, team)->loose_mpts;
    for (size_t i = 0; i < score->model.part_count; i++) {
        struct es_part_state part;
        es_score_part(score, team, i, &part);
        total_mpts += part.scaled_mpts;
    }
    return total_mpts;
}
