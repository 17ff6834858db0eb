/* Objectives: closed, open, then met or missed.
 *
 *   once    met the first time its condition passes while open, and kept
 *   held    points by the share of known running time that it held while open
 *   at-end  judged when it closes or the exercise stops; when the condition is then not
 *           known through no fault of the team (not absent), its last known outcome counts
 */
#include "fold.h"

static const struct es_objective *def_of(const struct es_score *score, int objective)
{
    ES_ASSERT(objective >= 0 && (size_t)objective < score->model.objectives);
    return &score->model.scenario->objectives[objective];
}

static const struct cond_state *cond_of(const struct es_score *score, int team,
                                        int objective)
{
    return &team_of(score, team)->conds[def_of(score, objective)->when];
}

static enum held_class class_of(int outcome)
{
    switch (outcome) {
    case ES_OUTCOME_PASS:
        return HELD_YES;
    case ES_OUTCOME_FAIL:
    case ES_OUTCOME_ABSENT:
        return HELD_NO;
    default:
        return HELD_NOT_COUNTED;
    }
}

/* Held objectives: books the time since the last change. */
static void book(struct es_score *score, struct obj_state *state)
{
    int64_t gone_ms = run_now(score) - state->counted_run_ms;
    ES_ASSERT(gone_ms >= 0);
    if (state->held_class == HELD_YES)
        state->held_ms += gone_ms;
    if (state->held_class != HELD_NOT_COUNTED)
        state->open_ms += gone_ms;
    state->counted_run_ms = run_now(score);
}

void objective_count(const struct es_score *score, const struct obj_state *state,
                     int64_t *ret_held_ms, int64_t *ret_open_ms)
{
    int64_t gone_ms = run_now(score) - state->counted_run_ms;
    bool runs = state->status == ES_OBJ_OPEN && !state->over;
    *ret_held_ms = state->held_ms + (runs && state->held_class == HELD_YES ? gone_ms : 0);
    *ret_open_ms =
        state->open_ms + (runs && state->held_class != HELD_NOT_COUNTED ? gone_ms : 0);
    ES_ASSERT(*ret_held_ms >= 0 && *ret_held_ms <= *ret_open_ms);
}

static void set_fact(struct es_score *score, int team, int objective,
                     enum es_fact_kind kind, bool now, int64_t cause)
{
    fact_set(score, team, model_fact(&score->model, kind, objective), now, cause);
}

static void become_met(struct es_score *score, int team, int objective, int64_t cause)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    state->status = ES_OBJ_MET;
    if (state->met_ex_ms < 0) {
        state->met_ex_ms = score->now_ms;
        state->cause = cause;
    }
    set_fact(score, team, objective, ES_FACT_OBJECTIVE_LOST, false, cause);
    set_fact(score, team, objective, ES_FACT_OBJECTIVE_MET, true, cause);
}

static void become_missed(struct es_score *score, int team, int objective, int64_t cause)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    state->status = ES_OBJ_MISSED;
    if (state->met_ex_ms < 0)
        state->cause = cause;
    set_fact(score, team, objective, ES_FACT_OBJECTIVE_MET, false, cause);
    set_fact(score, team, objective, ES_FACT_OBJECTIVE_LOST, true, cause);
}

static void judge_held(struct es_score *score, int team, int objective)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    const struct cond_state *cond = cond_of(score, team, objective);
    book(score, state);
    state->held_class = (uint8_t)class_of(cond->outcome);
    bool met = state->held_class == HELD_YES, was = state->met_ex_ms >= 0;
    if (met && !was) {
        state->met_ex_ms = score->now_ms;
        state->cause = cond->cause;
    }
    if (state->held_class == HELD_NOT_COUNTED)
        return;
    set_fact(score, team, objective, ES_FACT_OBJECTIVE_MET, met, cond->cause);
    if (was || met)
        set_fact(score, team, objective, ES_FACT_OBJECTIVE_LOST, !met, cond->cause);
}

/* What passes without ever having been seen to fail was so before anybody looked. */
static bool met_at_first_sight(const struct es_score *score, int cond,
                               const struct cond_state *state)
{
    return state->outcome == ES_OUTCOME_PASS && !state->failed &&
           !score->model.conds[cond].waits;
}

void objective_judge(struct es_score *score, int team, int objective)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    const struct cond_state *cond = cond_of(score, team, objective);
    if (state->status != ES_OBJ_OPEN || state->overridden)
        return;
    if (met_at_first_sight(score, def_of(score, objective)->when, cond))
        state->started_met = true;
    switch (def_of(score, objective)->judged) {
    case ES_JUDGED_ONCE:
        if (cond->outcome == ES_OUTCOME_PASS)
            become_met(score, team, objective, cond->cause);
        break;
    case ES_JUDGED_HELD:
        judge_held(score, team, objective);
        break;
    case ES_JUDGED_AT_END:
        break;
    }
}

void objective_open(struct es_score *score, int team, int objective)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    if (state->status != ES_OBJ_CLOSED)
        return;
    ES_ASSERT(score->started && !state->over);
    state->status = ES_OBJ_OPEN;
    state->opened_ex_ms = score->now_ms;
    state->counted_run_ms = run_now(score);
    state->started_met = cond_of(score, team, objective)->outcome == ES_OUTCOME_PASS;
    objective_judge(score, team, objective);
}

void objective_close(struct es_score *score, int team, int objective)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    const struct cond_state *cond = cond_of(score, team, objective);
    if (state->status == ES_OBJ_MET || state->status == ES_OBJ_MISSED)
        return;
    bool met = false;
    if (state->status == ES_OBJ_OPEN) {
        int outcome = cond->outcome;
        switch (def_of(score, objective)->judged) {
        case ES_JUDGED_ONCE:
            break;
        case ES_JUDGED_HELD:
            book(score, state);
            met = state->held_ms > 0;
            break;
        case ES_JUDGED_AT_END:
            if (!outcome_known(outcome) && outcome != ES_OUTCOME_ABSENT)
                outcome = cond->known;
            met = outcome == ES_OUTCOME_PASS;
            break;
        }
    }
    state->over = true;
    state->ended_ex_ms = score->now_ms;
    if (met)
        become_met(score, team, objective, cond->cause);
    else
        become_missed(score, team, objective, cond->cause);
}

void objective_override(struct es_score *score, int team, int objective, bool met)
{
    struct obj_state *state = &team_of(score, team)->objectives[objective];
    if (state->status == ES_OBJ_OPEN)
        book(score, state);
    state->held_class = HELD_NOT_COUNTED;
    state->overridden = true;
    state->override_met = met;
    state->over = true;
    if (state->ended_ex_ms < 0)
        state->ended_ex_ms = score->now_ms;
    if (met)
        become_met(score, team, objective, score->cause);
    else
        become_missed(score, team, objective, score->cause);
    state->cause = score->cause;
}

int64_t objective_mpts(const struct es_score *score, int team, int objective)
{
    const struct es_objective *def = def_of(score, objective);
    const struct obj_state *state = &team_of(score, team)->objectives[objective];
    int64_t full_mpts = def->points * 1000;
    if (state->overridden)
        return state->override_met ? full_mpts : 0;
    if (def->judged != ES_JUDGED_HELD)
        return state->status == ES_OBJ_MET ? full_mpts : 0;
    int64_t held_ms, open_ms;
    objective_count(score, state, &held_ms, &open_ms);
    return open_ms > 0 ? mul_div(full_mpts, held_ms, open_ms) : 0;
}
