/* Birth and end of a fold: one block of state for each team, all of it allocated here. */
#include "fold.h"

#define POINTS_MAX 10000000

static int check_points(const struct es_scenario *scenario, struct es_err *err)
{
    for (size_t i = 0; i < scenario->objectives_count; i++) {
        const struct es_objective *def = &scenario->objectives[i];
        if (def->points > POINTS_MAX || def->points < -POINTS_MAX)
            return es_err_set(err, ES_EINVAL,
                              "objective %s: points must be between -%d and %d",
                              def->name, POINTS_MAX, POINTS_MAX);
    }
    for (size_t i = 0; i < scenario->services_count; i++) {
        const struct es_service *def = &scenario->services[i];
        if (def->points > POINTS_MAX || def->points < -POINTS_MAX ||
            def->sla_penalty > POINTS_MAX || def->sla_penalty < 0)
            return es_err_set(err, ES_EINVAL,
                              "service %s: points and penalty must be at most %d",
                              def->name, POINTS_MAX);
    }
    return 0;
}

static void reset_team(const struct model *model, struct team *team)
{
    for (size_t i = 0; i < model->conditions; i++) {
        struct cond_state *state = &team->conds[i];
        state->observed_run_ms = state->observed_ex_ms = state->held_from_ms = -1;
        state->after_reached = !model->scenario->conditions[i].after.set;
    }
    for (size_t i = 0; i < model->facts; i++)
        team->facts[i].first_ex_ms = -1;
    for (size_t i = 0; i < model->objectives; i++)
        team->objectives[i].opened_ex_ms = team->objectives[i].met_ex_ms =
            team->objectives[i].ended_ex_ms = -1;
    for (size_t i = 0; i < model->phases; i++)
        team->phases[i].begun_ex_ms = team->phases[i].done_ex_ms = -1;
    for (size_t i = 0; i < model->services; i++)
        team->services[i].last_reason = -1;
}

static int make_team(const struct model *model, struct team *team)
{
    team->conds = es_calloc(model->conditions + 1, sizeof *team->conds);
    team->facts = es_calloc(model->facts + 1, sizeof *team->facts);
    team->objectives = es_calloc(model->objectives + 1, sizeof *team->objectives);
    team->phases = es_calloc(model->phases + 1, sizeof *team->phases);
    team->services = es_calloc(model->services + 1, sizeof *team->services);
    team->nodes = es_calloc(model->nodes + 1, sizeof *team->nodes);
    team->part_points_mpts =
        es_calloc(model->part_count + 1, sizeof *team->part_points_mpts);
    if (team->conds == NULL || team->facts == NULL || team->objectives == NULL ||
        team->phases == NULL || team->services == NULL || team->nodes == NULL ||
        team->part_points_mpts == NULL)
        return ES_ENOMEM;
    reset_team(model, team);
    return 0;
}

static int reserve_timers(struct es_score *score)
{
    const struct model *model = &score->model;
    size_t lasting = 0, deadlines = 0;
    for (size_t i = 0; i < model->conditions; i++) {
        const struct es_condition *cond = &model->scenario->conditions[i];
        lasting += cond->kind == ES_COND_PROBE ? 1 : 0;
        lasting += cond->for_ms > 0 ? 1 : 0;
        deadlines += cond->kind == ES_COND_FACT && cond->within_ms >= 0;
    }
    size_t teams = (size_t)score->team_count;
    size_t ex = teams * (model->anchor_count + deadlines + 2 * model->phases);
    if (heap_reserve(&score->run_heap, teams * lasting + 1) != 0)
        return ES_ENOMEM;
    return heap_reserve(&score->ex_heap, ex + model->services + 1);
}

static int make_state(struct es_score *score)
{
    score->teams = es_calloc((size_t)score->team_count, sizeof *score->teams);
    if (score->teams == NULL)
        return ES_ENOMEM;
    for (int i = 0; i < score->team_count; i++)
        if (make_team(&score->model, &score->teams[i]) != 0)
            return ES_ENOMEM;
    score->dirty_words = score->model.conditions / 64 + 1;
    score->dirty = es_calloc(score->dirty_words, sizeof *score->dirty);
    score->changed = es_calloc(score->model.conditions + 1, sizeof *score->changed);
    score->rounds = es_calloc(score->model.services + 1, sizeof *score->rounds);
    if (score->dirty == NULL || score->changed == NULL || score->rounds == NULL)
        return ES_ENOMEM;
    return reserve_timers(score);
}

int es_score_create(const struct es_scenario *scenario, int team_count,
                    es_score_on_change on_change, void *ctx, struct es_score **ret_score,
                    struct es_err *err)
{
    ES_ASSERT(scenario != NULL && ret_score != NULL);
    if (team_count < 1 || team_count > ES_SCORE_TEAMS_MAX)
        return es_err_set(err, ES_EINVAL, "cannot score %d teams: choose 1 to %d",
                          team_count, ES_SCORE_TEAMS_MAX);
    int status = check_points(scenario, err);
    if (status != 0)
        return status;
    struct es_score *score = es_calloc(1, sizeof *score);
    if (score == NULL)
        return es_err_nomem(err);
    score->on_change = on_change;
    score->ctx = ctx;
    score->team_count = team_count;
    score->speed_permille = 1000;
    score->next_due_ms = INT64_MAX;
    status = model_make(scenario, &score->model, err);
    if (status == 0 && make_state(score) != 0)
        status = es_err_nomem(err);
    if (status != 0) {
        es_score_destroy(score);
        return status;
    }
    *ret_score = score;
    return 0;
}

void es_score_set_on_change(struct es_score *score, es_score_on_change on_change,
                            void *ctx)
{
    score->on_change = on_change;
    score->ctx = ctx;
}

void es_score_destroy(struct es_score *score)
{
    if (score == NULL)
        return;
    for (int i = 0; score->teams != NULL && i < score->team_count; i++) {
        es_free(score->teams[i].conds);
        es_free(score->teams[i].facts);
        es_free(score->teams[i].objectives);
        es_free(score->teams[i].phases);
        es_free(score->teams[i].services);
        es_free(score->teams[i].nodes);
        es_free(score->teams[i].part_points_mpts);
    }
    es_free(score->teams);
    model_finish(&score->model);
    heap_finish(&score->ex_heap);
    heap_finish(&score->run_heap);
    seen_finish(&score->seen);
    log_finish(score);
    es_free(score->voids);
    es_free(score->rounds);
    es_free(score->dirty);
    es_free(score->changed);
    es_free(score);
}
