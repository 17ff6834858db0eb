/* Observations that tell nothing new: which they are, and many of them as one event. */
#include "fold.h"

/* The live core does not put together what `for:` waits for; only where a void took away
 * what was held before does it matter how the passes lay. */
static int64_t held_between(const struct cond_def *def, const struct cond_state *state,
                            const struct es_event *event)
{
    if (def->for_ms == 0 || event->a != ES_OUTCOME_PASS || state->held_ms >= def->for_ms)
        return 0;
    json_t *text = event->text != NULL ? json_loads(event->text, 0, NULL) : NULL;
    const json_t *first = json_object_get(text, "first_ms"),
                 *gap = json_object_get(text, "gap_ms");
    int64_t between_ms = 0;
    if (json_is_integer(first) && json_is_integer(gap) &&
        json_integer_value(gap) <= def->gap_ms && json_integer_value(first) >= 0 &&
        json_integer_value(first) <= event->b)
        between_ms = event->b - json_integer_value(first);
    json_decref(text);
    return between_ms < def->for_ms ? between_ms : def->for_ms;
}

void condition_observe_steady(struct es_score *score, const struct es_event *event)
{
    int cond = event->subject;
    const struct cond_state *state = &team_of(score, event->team)->conds[cond];
    int64_t ago_ms = score->now_ms - event->b;
    int64_t run_ms = run_now(score) - ago_ms, ex_ms = event->b;
    ES_ASSERT(ago_ms >= 0);
    /* Nothing came between, so nothing known is younger; a void may have made it so. */
    if (run_ms < state->observed_run_ms) {
        run_ms = state->observed_run_ms;
        ex_ms = state->observed_ex_ms;
    }
    condition_observe_at(score, event->team, cond, event->a, run_ms, ex_ms,
                         held_between(&score->model.conds[cond], state, event));
}

/* The same again, and nobody waits for it. */
static bool tells_nothing(const struct es_score *score, int team, int cond, int outcome)
{
    const struct cond_def *def = &score->model.conds[cond];
    const struct cond_state *state = &team_of(score, team)->conds[cond];
    if (!score->started || score->stopped || void_touches(score, team, cond) ||
        state->observed_run_ms < 0 || state->raw == ES_OUTCOME_NONE ||
        state->raw != condition_spoilt(score, team, def, outcome))
        return false;
    if (outcome != ES_OUTCOME_PASS)
        return true;
    if (def->for_ms > 0 && state->held_ms < def->for_ms)
        return false;
    LISTS_EACH(reader, &score->model.readers, cond)
    if (condition_waits(score, team, *reader, cond))
        return false;
    return true;
}

enum es_score_news es_score_news(const struct es_score *score, int team, int condition,
                                 enum es_outcome outcome, int64_t since_ms, int64_t ex_ms)
{
    const struct cond_def *def = &score->model.conds[condition];
    const struct cond_state *state = &team_of(score, team)->conds[condition];
    int64_t age_ms = since_ms - score->jumped_ms - state->observed_run_ms;
    ES_ASSERT(def->kind == ES_COND_PROBE && since_ms <= ex_ms);
    if (age_ms >= def->stale_ms || !tells_nothing(score, team, condition, (int)outcome))
        return ES_NEWS_SOME;
    return age_ms <= def->gap_ms && ex_ms - since_ms < def->late_ms ? ES_NEWS_NONE
                                                                    : ES_NEWS_AGE;
}
