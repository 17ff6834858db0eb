/* Phases: a stop-watch from an anchor to a condition. A phase whose condition passes
 * already when it begins is done at once. */
#include "fold.h"

static void finish(struct es_score *score, int team, int phase, int64_t cause)
{
    struct phase_state *state = &team_of(score, team)->phases[phase];
    ES_ASSERT(state->begun_ex_ms >= 0 && state->done_ex_ms < 0);
    state->done_ex_ms = score->now_ms;
    state->done_cause = cause;
    fact_set(score, team, model_fact(&score->model, ES_FACT_PHASE_DONE, phase), true,
             cause);
    size_t next = (size_t)phase + 1;
    if (next < score->model.phases && !score->model.scenario->phases[next].from.set)
        phase_begin(score, team, (int)next, cause);
}

void phase_begin(struct es_score *score, int team, int phase, int64_t cause)
{
    const struct es_phase *def = &score->model.scenario->phases[phase];
    struct phase_state *state = &team_of(score, team)->phases[phase];
    ES_ASSERT(score->started);
    if (state->begun_ex_ms >= 0)
        return;
    state->begun_ex_ms = score->now_ms;
    state->begun_cause = cause;
    if (def->plan_ms > 0)
        heap_push(&score->ex_heap, score->now_ms + def->plan_ms + 1, TIMER_MARK, team,
                  phase);
    if (def->stuck_ms > 0)
        heap_push(&score->ex_heap, score->now_ms + def->stuck_ms + 1, TIMER_MARK, team,
                  phase);
    fact_set(score, team, model_fact(&score->model, ES_FACT_PHASE_BEGUN, phase), true,
             cause);
    phase_judge(score, team, phase);
}

void phase_judge(struct es_score *score, int team, int phase)
{
    const struct es_phase *def = &score->model.scenario->phases[phase];
    const struct phase_state *state = &team_of(score, team)->phases[phase];
    if (state->begun_ex_ms < 0 || state->done_ex_ms >= 0 || def->done < 0)
        return;
    const struct cond_state *cond = &team_of(score, team)->conds[def->done];
    if (cond->outcome == ES_OUTCOME_PASS)
        finish(score, team, phase, cond->cause);
}
