/* Services: one verdict a round, taken at its end. */
#include "fold.h"

#define ABSENT_FREE_ROUNDS 3

static bool waived(const struct es_score *score, int team, int service)
{
    const struct es_service *def = &score->model.scenario->services[service];
    for (size_t i = 0; i < def->waive_count; i++)
        if (team_of(score, team)->facts[def->waive[i]].now)
            return true;
    return false;
}

static enum round_verdict verdict_of(const struct es_score *score, int team, int service,
                                     int outcome)
{
    if (score->jumping)
        return ROUND_UNKNOWN;
    switch (outcome) {
    case ES_OUTCOME_PASS:
        return ROUND_PASS;
    case ES_OUTCOME_FAIL:
        return waived(score, team, service) ? ROUND_WAIVED : ROUND_MISS;
    case ES_OUTCOME_ABSENT:
        if (waived(score, team, service))
            return ROUND_WAIVED;
        return team_of(score, team)->services[service].absent_in_a_row >=
                       ABSENT_FREE_ROUNDS
                   ? ROUND_MISS
                   : ROUND_ABSENT;
    default:
        return ROUND_UNKNOWN;
    }
}

static void take(struct es_score *score, int team, int service,
                 enum round_verdict verdict, int outcome)
{
    const struct es_service *def = &score->model.scenario->services[service];
    struct service_state *state = &team_of(score, team)->services[service];
    state->last = (uint8_t)outcome;
    if (verdict == ROUND_PASS || outcome == ES_OUTCOME_FAIL)
        state->absent_in_a_row = 0;
    ES_ASSERT((verdict == ROUND_PASS) == (outcome == ES_OUTCOME_PASS && !score->jumping));
    switch (verdict) {
    case ROUND_PASS:
        state->passed++;
        state->misses_in_a_row = 0;
        break;
    case ROUND_MISS:
        state->failed++;
        state->misses_in_a_row++;
        break;
    case ROUND_ABSENT:
        state->absent++;
        state->absent_in_a_row++;
        break;
    case ROUND_WAIVED:
        state->waived++;
        break;
    case ROUND_UNKNOWN:
        state->unknown++;
        break;
    }
    ES_ASSERT(state->passed + state->failed + state->absent + state->waived +
                  state->unknown ==
              score->rounds[service]);
    log_round(score, team, service, (int)verdict, score->rounds[service]);
    if (def->sla_after > 0 && state->misses_in_a_row >= def->sla_after) {
        state->misses_in_a_row = 0;
        state->penalties++;
        log_penalty(score, team, service);
    }
}

void service_round(struct es_score *score, int service)
{
    const struct es_service *def = &score->model.scenario->services[service];
    ES_ASSERT(service >= 0 && (size_t)service < score->model.services);
    score->rounds[service]++;
    for (int team = 1; team <= score->team_count; team++) {
        int outcome = team_of(score, team)->conds[def->condition].outcome;
        take(score, team, service, verdict_of(score, team, service, outcome), outcome);
    }
    heap_push(&score->ex_heap, score->now_ms + def->round_ms, TIMER_ROUND, 0, service);
}

int64_t service_mpts(const struct es_score *score, int team, int service)
{
    const struct es_service *def = &score->model.scenario->services[service];
    const struct service_state *state = &team_of(score, team)->services[service];
    return (state->passed * def->points - state->penalties * def->sla_penalty) * 1000;
}
