/* Brings a team to rest after a change: conditions in topological order, then what
 * follows from those that changed, until nothing is left to do. */
#include "fold.h"

static int next_dirty(struct es_score *score)
{
    for (size_t word = 0; word < score->dirty_words; word++) {
        if (score->dirty[word] == 0)
            continue;
        int bit = __builtin_ctzll(score->dirty[word]);
        score->dirty[word] &= score->dirty[word] - 1;
        return (int)word * 64 + bit;
    }
    return -1;
}

static void evaluate_dirty(struct es_score *score, int team)
{
    ES_ASSERT(score->changed_count == 0);
    int last = -1;
    for (int rank; (rank = next_dirty(score)) >= 0; last = rank) {
        ES_ASSERT(rank > last);
        int cond = score->model.order[rank];
        if (!condition_evaluate(score, team, cond))
            continue;
        score->changed[score->changed_count++] = cond;
        LISTS_EACH(reader, &score->model.readers, cond)
        condition_mark(score, *reader);
    }
    score->pending = false;
}

static void follow(struct es_score *score, int team, int cond)
{
    const struct cond_def *def = &score->model.conds[cond];
    const struct cond_state *state = &team_of(score, team)->conds[cond];
    ES_ASSERT(state->since_ex_ms == score->now_ms);
    fact_set(score, team, def->fact_pass, state->outcome == ES_OUTCOME_PASS,
             state->cause);
    fact_set(score, team, def->fact_fail, state->outcome == ES_OUTCOME_FAIL,
             state->cause);
    LISTS_EACH(objective, &score->model.objectives_of, cond)
    objective_judge(score, team, *objective);
    LISTS_EACH(phase, &score->model.phases_of, cond)
    phase_judge(score, team, *phase);
}

void settle(struct es_score *score, int team)
{
    while (score->pending) {
        evaluate_dirty(score, team);
        size_t count = score->changed_count;
        score->changed_count = 0;
        for (size_t i = 0; i < count; i++)
            follow(score, team, score->changed[i]);
    }
}

/* ---- facts */

void anchors_fire(struct es_score *score, int team, size_t row, int64_t from_ms)
{
    const struct model *model = &score->model;
    ES_ASSERT(row <= model->facts && from_ms <= score->now_ms);
    LISTS_EACH(index, &model->anchors_of, row)
    {
        const struct anchor *anchor = &model->anchors[*index];
        int64_t due_ms = from_ms + anchor->offset_ms;
        if (due_ms < score->now_ms)
            due_ms = score->now_ms;
        heap_push(&score->ex_heap, due_ms, anchor->kind, team, anchor->subject);
    }
}

/* A deadline of `within` begins to run. */
static void deadlines_fire(struct es_score *score, int team, int fact)
{
    const struct es_scenario *scenario = score->model.scenario;
    LISTS_EACH(cond, &score->model.fact_readers, fact)
    {
        const struct es_condition *def = &scenario->conditions[*cond];
        if (def->within_ms >= 0 && def->of == fact)
            heap_push(&score->ex_heap, score->now_ms + def->within_ms + 1, TIMER_WITHIN,
                      team, *cond);
        condition_mark(score, *cond);
    }
}

void fact_set(struct es_score *score, int team, int fact, bool now, int64_t cause)
{
    if (fact < 0)
        return;
    ES_ASSERT((size_t)fact < score->model.facts);
    struct fact_state *state = &team_of(score, team)->facts[fact];
    if (state->now == now)
        return;
    state->now = now;
    if (now && state->first_ex_ms < 0) {
        state->first_ex_ms = score->now_ms;
        state->cause = cause;
        deadlines_fire(score, team, fact);
        anchors_fire(score, team, (size_t)fact, score->now_ms);
    }
    if (score->on_change != NULL) {
        struct es_score_change change = {.ex_ms = score->now_ms,
                                         .team = team,
                                         .fact = fact,
                                         .now = now,
                                         .cause_pos = cause};
        score->on_change(score->ctx, &change);
    }
}
