/* Conditions: from raw observations to outcomes. Three-valued logic: pass, fail and not
 * known (none, unknown, fault, absent). Which of the not-known words a composite gets says
 * who is to blame: fault before unknown before none; absent only when absence alone is why
 * it is not known, for absence is the one that costs. */
#include "fold.h"

void condition_mark(struct es_score *score, int cond)
{
    ES_ASSERT(cond >= 0 && (size_t)cond < score->model.conditions);
    int rank = score->model.conds[cond].rank;
    score->dirty[rank / 64] |= 1ULL << (rank % 64);
    score->pending = true;
}

/* ---- from raw to what counts */

/* A pass that its control has not been seen to pass since: the attacker that died by itself
 * a moment ago looks just like this. */
static bool unconfirmed(const struct es_score *score, int team,
                        const struct cond_def *def, const struct cond_state *state)
{
    return def->control >= 0 && state->raw == ES_OUTCOME_PASS &&
           def->kind == ES_COND_PROBE &&
           score->model.conds[def->control].kind == ES_COND_PROBE &&
           team_of(score, team)->conds[def->control].observed_run_ms < state->raw_run_ms;
}

/* What the raw verdict counts for, `for:` apart. */
static int effective(const struct es_score *score, int team, const struct cond_def *def,
                     const struct cond_state *state)
{
    if (state->voids > 0)
        return ES_OUTCOME_UNKNOWN;
    if (!state->after_reached || state->raw == ES_OUTCOME_NONE)
        return ES_OUTCOME_NONE;
    if (def->control >= 0 &&
        team_of(score, team)->conds[def->control].outcome != ES_OUTCOME_PASS)
        return ES_OUTCOME_FAULT;
    return unconfirmed(score, team, def, state) ? ES_OUTCOME_NONE : state->raw;
}

/* Probes: sums time between passes; those farther apart than gap_ms add nothing. */
static void sum_passes(const struct cond_def *def, struct cond_state *state, int counts,
                       int64_t run_ms, int64_t between_ms)
{
    if (counts != ES_OUTCOME_PASS)
        return;
    int64_t gap_ms = run_ms - between_ms - state->held_from_ms;
    if (state->held_from_ms >= 0 && gap_ms <= def->gap_ms)
        state->held_ms += gap_ms;
    state->held_ms += between_ms;
    if (state->held_ms > def->for_ms)
        state->held_ms = def->for_ms;
    state->held_from_ms = run_ms;
}

/* Composites: sums the time they pass; a timer tells when it is enough. */
static void sum_passing(struct es_score *score, int team, int cond, int counts)
{
    const struct cond_def *def = &score->model.conds[cond];
    struct cond_state *state = &team_of(score, team)->conds[cond];
    if (counts == ES_OUTCOME_PASS) {
        if (state->held_from_ms < 0)
            state->held_from_ms = run_now(score);
        if (condition_held(score, def, state) < def->for_ms && !state->for_queued) {
            state->for_queued = true;
            heap_push(&score->run_heap,
                      state->held_from_ms + def->for_ms - state->held_ms, TIMER_FOR, team,
                      cond);
        }
    } else if (state->held_from_ms >= 0) {
        state->held_ms = condition_held(score, def, state);
        state->held_from_ms = -1;
    }
}

int64_t condition_held(const struct es_score *score, const struct cond_def *def,
                       const struct cond_state *state)
{
    int64_t held_ms = state->held_ms;
    if (def->kind != ES_COND_PROBE && state->held_from_ms >= 0)
        held_ms += run_now(score) - state->held_from_ms;
    return held_ms < def->for_ms ? held_ms : def->for_ms;
}

/* A pass not yet held long enough leaves a fail a fail, and is else not known. */
static int held_outcome(struct es_score *score, int team, int cond, int counts)
{
    const struct cond_def *def = &score->model.conds[cond];
    struct cond_state *state = &team_of(score, team)->conds[cond];
    if (def->kind != ES_COND_PROBE)
        sum_passing(score, team, cond, counts);
    if (counts == ES_OUTCOME_FAIL) {
        state->held_ms = 0;
        state->held_from_ms = -1;
    }
    if (counts != ES_OUTCOME_PASS || condition_held(score, def, state) >= def->for_ms)
        return counts;
    return state->known == ES_OUTCOME_FAIL ? ES_OUTCOME_FAIL : ES_OUTCOME_NONE;
}

/* ---- composites */

static int not_known(const int *counts, size_t total)
{
    if (counts[ES_OUTCOME_FAULT] > 0)
        return ES_OUTCOME_FAULT;
    if (counts[ES_OUTCOME_UNKNOWN] > 0)
        return ES_OUTCOME_UNKNOWN;
    ES_ASSERT((size_t)counts[ES_OUTCOME_NONE] <= total);
    return counts[ES_OUTCOME_NONE] > 0 ? ES_OUTCOME_NONE : ES_OUTCOME_ABSENT;
}

static int combine(const struct es_condition *cond, const int *counts)
{
    int passes = counts[ES_OUTCOME_PASS], fails = counts[ES_OUTCOME_FAIL];
    int others = (int)cond->part_count - passes - fails;
    ES_ASSERT(others >= 0);
    bool pass = false, fail = false;
    switch (cond->kind) {
    case ES_COND_ALL:
        fail = fails > 0;
        pass = !fail && others == 0;
        break;
    case ES_COND_ANY:
        pass = passes > 0;
        fail = !pass && others == 0;
        break;
    case ES_COND_NOT:
        ES_ASSERT(cond->part_count == 1);
        pass = fails > 0;
        fail = passes > 0;
        break;
    case ES_COND_AT_LEAST:
        pass = passes >= cond->least;
        fail = passes + others < cond->least;
        break;
    case ES_COND_PROBE:
    case ES_COND_FACT:
        ES_ASSERT(false && "a composite");
    }
    ES_ASSERT(!(pass && fail));
    return pass   ? ES_OUTCOME_PASS
           : fail ? ES_OUTCOME_FAIL
                  : not_known(counts, cond->part_count);
}

static int raw_of_parts(const struct es_score *score, int team, int cond,
                        int64_t *ret_cause)
{
    const struct es_condition *def = &score->model.scenario->conditions[cond];
    const struct cond_state *conds = team_of(score, team)->conds;
    int counts[ES_OUTCOME_ABSENT + 1] = {0};
    *ret_cause = 0;
    for (size_t i = 0; i < def->part_count; i++) {
        const struct cond_state *part = &conds[def->parts[i]];
        counts[part->outcome]++;
        if (part->cause > *ret_cause)
            *ret_cause = part->cause;
    }
    return combine(def, counts);
}

static int raw_of_fact(const struct es_score *score, int team, int cond,
                       int64_t *ret_cause)
{
    const struct es_condition *def = &score->model.scenario->conditions[cond];
    const struct team *of_team = team_of(score, team);
    const struct cond_state *state = &of_team->conds[cond];
    const struct fact_state *fact = &of_team->facts[def->fact];
    *ret_cause = fact->cause;
    if (!score->started)
        return ES_OUTCOME_NONE;
    if (def->within_ms < 0)
        return fact->first_ex_ms >= 0 ? ES_OUTCOME_PASS : ES_OUTCOME_FAIL;
    int64_t of_ms = def->of >= 0 ? of_team->facts[def->of].first_ex_ms : 0;
    if (of_ms < 0)
        return ES_OUTCOME_NONE;
    if (fact->first_ex_ms >= 0)
        return fact->first_ex_ms - of_ms <= def->within_ms ? ES_OUTCOME_PASS
                                                           : ES_OUTCOME_FAIL;
    return state->late ? ES_OUTCOME_FAIL : ES_OUTCOME_NONE;
}

bool condition_evaluate(struct es_score *score, int team, int cond)
{
    const struct cond_def *def = &score->model.conds[cond];
    struct cond_state *state = &team_of(score, team)->conds[cond];
    if (def->kind != ES_COND_PROBE) {
        int64_t cause;
        state->raw = (uint8_t)(def->kind == ES_COND_FACT
                                   ? raw_of_fact(score, team, cond, &cause)
                                   : raw_of_parts(score, team, cond, &cause));
        state->raw_cause = cause;
    }
    int outcome = effective(score, team, def, state);
    if (def->for_ms > 0)
        outcome = held_outcome(score, team, cond, outcome);
    if (outcome == ES_OUTCOME_NONE && state->known == ES_OUTCOME_FAIL &&
        unconfirmed(score, team, def, state))
        outcome = ES_OUTCOME_FAIL;
    if (outcome == state->outcome)
        return false;
    state->outcome = (uint8_t)outcome;
    state->since_ex_ms = score->now_ms;
    state->cause = score->cause > 0 ? score->cause : state->raw_cause;
    state->failed = state->failed || outcome == ES_OUTCOME_FAIL;
    if (outcome_known(outcome))
        state->known = (uint8_t)outcome;
    return true;
}

/* ---- what happens to observations */

/* A machine of ours that is at fault spoils what looks at it over the network: that
 * something cannot be reached then says nothing. */
int condition_spoilt(const struct es_score *score, int team, const struct cond_def *def,
                     int outcome)
{
    if (!def->outward || team_of(score, team)->faults == 0)
        return outcome;
    if (outcome == ES_OUTCOME_FAIL || (outcome == ES_OUTCOME_PASS && !def->present))
        return ES_OUTCOME_FAULT;
    return outcome;
}

bool condition_waits(const struct es_score *score, int team, int reader, int control)
{
    const struct cond_state *state = &team_of(score, team)->conds[reader];
    return score->model.conds[reader].control == control &&
           state->raw == ES_OUTCOME_PASS && state->outcome != ES_OUTCOME_PASS;
}

/* The control was seen to pass again: passes that waited for it may count. */
static void confirm(struct es_score *score, int team, int control)
{
    LISTS_EACH(reader, &score->model.readers, control)
    if (condition_waits(score, team, *reader, control))
        condition_mark(score, *reader);
}

void condition_observe_at(struct es_score *score, int team, int cond, int outcome,
                          int64_t run_ms, int64_t ex_ms, int64_t between_ms)
{
    const struct cond_def *def = &score->model.conds[cond];
    struct cond_state *state = &team_of(score, team)->conds[cond];
    ES_ASSERT(def->kind == ES_COND_PROBE);
    if (state->voids > 0)
        return;
    outcome = condition_spoilt(score, team, def, outcome);
    state->observed_run_ms = run_ms;
    state->observed_ex_ms = ex_ms;
    if (!state->stale_queued && def->stale_ms > 0) {
        state->stale_queued = true;
        heap_push(&score->run_heap, state->observed_run_ms + def->stale_ms, TIMER_STALE,
                  team, cond);
    }
    bool same = outcome == state->raw;
    if (!same) {
        state->raw = (uint8_t)outcome;
        state->raw_cause = score->cause;
        state->raw_run_ms = run_ms;
    }
    if (def->controls && outcome == ES_OUTCOME_PASS)
        confirm(score, team, cond);
    if (def->for_ms > 0 && outcome == ES_OUTCOME_PASS)
        sum_passes(def, state, effective(score, team, def, state), run_ms, between_ms);
    /* The same again changes nothing, unless it is what `for:` was waiting for. */
    if (same && (def->for_ms == 0 || state->outcome == ES_OUTCOME_PASS ||
                 state->held_ms < def->for_ms))
        return;
    condition_mark(score, cond);
}

void condition_observe(struct es_score *score, int team, int cond, int outcome)
{
    condition_observe_at(score, team, cond, outcome, run_now(score), score->now_ms, 0);
}

void condition_forget(struct es_score *score, int team, int cond, int raw)
{
    struct cond_state *state = &team_of(score, team)->conds[cond];
    ES_ASSERT(score->model.conds[cond].kind == ES_COND_PROBE);
    ES_ASSERT(!outcome_known(raw));
    state->held_from_ms = -1;
    if (state->raw == raw)
        return;
    state->raw = (uint8_t)raw;
    if (score->cause > 0)
        state->raw_cause = score->cause;
    condition_mark(score, cond);
}

void condition_void(struct es_score *score, int team, int cond, bool begins)
{
    struct cond_state *state = &team_of(score, team)->conds[cond];
    if (begins) {
        ES_ASSERT(state->voids < UINT16_MAX);
        state->voids++;
        if (score->model.conds[cond].kind == ES_COND_PROBE)
            condition_forget(score, team, cond, ES_OUTCOME_UNKNOWN);
    } else {
        ES_ASSERT(state->voids > 0);
        state->voids--;
    }
    condition_mark(score, cond);
}
