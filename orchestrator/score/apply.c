/* Takes events. An event that is refused changes nothing. */
#include <string.h>

#include "fold.h"

#define CORRECTION_MAX 1000000000

/* ---- checks */

static int refuse(struct es_err *err, const struct es_event *event, const char *why)
{
    return es_err_set(
        err, ES_EINVAL, "event %lld (%s) of the ledger: %s", (long long)event->pos,
        es_event_name(event->type) != NULL ? es_event_name(event->type) : "?", why);
}

static bool within(int index, size_t count)
{
    return index >= 0 && (size_t)index < count;
}

static const char *check_observed(const struct es_score *score,
                                  const struct es_event *event)
{
    if (event->team < 1 || event->team > score->team_count)
        return "there is no such team";
    if (!within(event->subject, score->model.conditions))
        return "there is no such condition";
    if (score->model.conds[event->subject].kind != ES_COND_PROBE)
        return "the condition is not one that is observed";
    if (event->a < ES_OUTCOME_NONE || event->a > ES_OUTCOME_ABSENT)
        return "there is no such outcome";
    if (event->type == ES_EV_STEADY && (event->b < 0 || event->b > event->ex_ms))
        return "its last observation lies in the future";
    return NULL;
}

static const char *check_clock(const struct es_score *score, const struct es_event *event)
{
    if (event->a < ES_CLOCK_READY || event->a > ES_CLOCK_STOPPED)
        return "there is no such state of the clock";
    if (event->b < 1 || event->b > ES_CLOCK_SPEED_MAX)
        return "the speed is out of range";
    if (event->seq != 0 && event->seq <= event->ex_ms)
        return "a jump is stamped with the time it leaves and goes forwards";
    if (event->seq > ES_CLOCK_EX_MAX_MS)
        return "the jump goes too far";
    if (event->seq != 0 && !score->started)
        return "a jump before the start";
    if (score->stopped && event->a != ES_CLOCK_STOPPED)
        return "the exercise was stopped";
    return NULL;
}

static const char *check(const struct es_score *score, const struct es_event *event)
{
    bool some_team = event->team >= 1 && event->team <= score->team_count;
    switch (event->type) {
    case ES_EV_OBSERVED:
    case ES_EV_STEADY:
        return check_observed(score, event);
    case ES_EV_CLOCK:
        return check_clock(score, event);
    case ES_EV_MACHINE:
        if (!some_team && event->team != -1)
            return "there is no such team";
        if (!within(event->subject, score->model.nodes))
            return "there is no such node";
        if (event->a < ES_MEV_UP || event->a > ES_MEV_RESET)
            return "there is no such machine event";
        return NULL;
    case ES_EV_POINTS:
        if (!some_team && event->team != -1)
            return "there is no such team";
        if (event->b > CORRECTION_MAX || event->b < -CORRECTION_MAX)
            return "so many points are not corrected at once";
        return NULL;
    case ES_EV_OVERRIDE:
        if (!some_team && event->team != -1)
            return "there is no such team";
        if (!within(event->subject, score->model.objectives))
            return "there is no such objective";
        return NULL;
    case ES_EV_PARK:
        return event->a < ES_PARK_PARKING || event->a > ES_PARK_UNPARKED
                   ? "there is no such step of parking"
                   : NULL;
    case ES_EV_VOID:
        for (size_t i = 0; i < score->void_count; i++)
            if (score->voids[i].pos == event->pos)
                return NULL;
        return "it reaches back in time: fold the ledger anew with its corrections first";
    default:
        return es_event_name(event->type) != NULL ? NULL : "its type is unknown";
    }
}

/* ---- kinds of events */

static int observe(struct es_score *score, const struct es_event *event)
{
    const struct node_state *nodes = team_of(score, event->team)->nodes;
    int node = score->model.conds[event->subject].node;
    /* A result that was under way when its machine went down. */
    bool late = node >= 0 && event->instance != 0 && nodes[node].down &&
                nodes[node].instance == event->instance;
    if (score->stopped || late)
        return 0;
    if (event->type == ES_EV_STEADY)
        condition_observe_steady(score, event);
    else
        condition_observe(score, event->team, event->subject, event->a);
    if (score->pending)
        settle(score, event->team);
    return 0;
}

static void start(struct es_score *score)
{
    const struct model *model = &score->model;
    score->started = true;
    for (int team = 1; team <= score->team_count; team++) {
        anchors_fire(score, team, model->facts, 0);
        for (size_t i = 0; i < model->conditions; i++) {
            const struct es_condition *cond = &model->scenario->conditions[i];
            if (cond->kind == ES_COND_FACT && cond->within_ms >= 0 && cond->of < 0)
                heap_push(&score->ex_heap, cond->within_ms + 1, TIMER_WITHIN, team,
                          (int)i);
            if (cond->kind != ES_COND_PROBE)
                condition_mark(score, (int)i);
        }
        settle(score, team);
    }
    for (size_t i = 0; i < model->services; i++)
        heap_push(&score->ex_heap, model->scenario->services[i].round_ms, TIMER_ROUND, 0,
                  (int)i);
}

static void stop(struct es_score *score)
{
    for (int team = 1; team <= score->team_count; team++) {
        for (size_t i = 0; i < score->model.objectives; i++)
            if (team_of(score, team)->objectives[i].status == ES_OBJ_OPEN)
                objective_close(score, team, (int)i);
        settle(score, team);
    }
    score->stopped = true;
}

/* Other ages and gaps: timers may come earlier than queued, so they are queued anew. */
static void change_speed(struct es_score *score, int32_t permille)
{
    model_set_speed(&score->model, permille);
    score->run_heap.count = 0;
    for (int team = 1; team <= score->team_count; team++)
        for (size_t i = 0; i < score->model.conditions; i++) {
            const struct cond_def *def = &score->model.conds[i];
            struct cond_state *state = &team_of(score, team)->conds[i];
            int64_t hold_ms = state->held_from_ms + def->for_ms - state->held_ms;
            state->for_queued = state->for_queued && state->held_from_ms >= 0;
            if (state->for_queued)
                heap_push(&score->run_heap, hold_ms, TIMER_FOR, team, (int)i);
            if (state->stale_queued)
                heap_push(&score->run_heap, state->observed_run_ms + def->stale_ms,
                          TIMER_STALE, team, (int)i);
        }
}

static void take_clock(struct es_score *score, const struct es_event *event)
{
    if (score->stopped)
        return;
    if (event->b != score->speed_permille) {
        score->speed_permille = (int32_t)event->b;
        change_speed(score, (int32_t)event->b);
    }
    if (event->a == ES_CLOCK_RUNNING && !score->started)
        start(score);
    if (event->seq != 0)
        time_jump(score, event->seq);
    if (event->a == ES_CLOCK_STOPPED)
        stop(score);
}

static int take_points(struct es_score *score, const struct es_event *event,
                       const json_t *text)
{
    const char *part = json_string_value(json_object_get(text, "part"));
    int index = part != NULL ? model_part(&score->model, part) : -1;
    int status = 0;
    for (int team = 1; team <= score->team_count && status == 0; team++) {
        if (event->team != team && event->team != -1)
            continue;
        status = log_correction(score, REASON_POINTS, team, index, event->b * 1000, event,
                                text);
        if (index >= 0)
            team_of(score, team)->part_points_mpts[index] += event->b * 1000;
        else
            team_of(score, team)->loose_mpts += event->b * 1000;
    }
    return status;
}

static int take_override(struct es_score *score, const struct es_event *event,
                         const json_t *text)
{
    int status = 0;
    for (int team = 1; team <= score->team_count && status == 0; team++)
        if (event->team == team || event->team == -1) {
            status = log_correction(score, REASON_OVERRIDE, team, event->subject, 0,
                                    event, text);
            objective_override(score, team, event->subject, event->a != 0);
            settle(score, team);
        }
    return status;
}

static int take_correction(struct es_score *score, const struct es_event *event)
{
    json_t *text = event->text != NULL ? json_loads(event->text, 0, NULL) : NULL;
    int status = event->type == ES_EV_POINTS ? take_points(score, event, text)
                                             : take_override(score, event, text);
    json_decref(text);
    return status;
}

static int take(struct es_score *score, const struct es_event *event)
{
    switch (event->type) {
    case ES_EV_OBSERVED:
    case ES_EV_STEADY:
        return observe(score, event);
    case ES_EV_CLOCK:
        take_clock(score, event);
        return 0;
    case ES_EV_MACHINE:
        if (!score->stopped)
            machine_event(score, event);
        return 0;
    case ES_EV_POINTS:
    case ES_EV_OVERRIDE:
        return take_correction(score, event);
    default:
        return 0;
    }
}

/* ---- the door */

int es_score_apply(struct es_score *score, const struct es_event *event,
                   struct es_err *err)
{
    ES_ASSERT(score != NULL && event != NULL);
    const char *why = check(score, event);
    if (why != NULL)
        return refuse(err, event, why);
    if (score->failed)
        return es_err_nomem(err);
    if (event->ex_ms < score->now_ms)
        return refuse(err, event, "it is older than what was taken before it");
    if (!score->started && event->ex_ms > 0)
        return refuse(err, event, "exercise time passed before the start");
    score->touched = true;
    bool numbered = event->instance != 0 && event->seq > 0 && event->type != ES_EV_CLOCK;
    /* A sum of observations repeats none, but stands behind what was seen since. */
    bool is_old =
        numbered && seen_has(&score->seen, event->instance, event->epoch, event->seq);
    if (is_old && event->type != ES_EV_STEADY) {
        es_score_advance(score, event->ex_ms);
        return 0;
    }
    if (numbered && !is_old &&
        seen_note(&score->seen, event->instance, event->epoch, event->seq) != 0)
        return es_err_nomem(err);
    es_score_advance(score, event->ex_ms);
    score->cause = event->pos;
    int status = take(score, event);
    score->cause = 0;
    time_cache(score);
    if (score->next_due_ms <= score->now_ms)
        time_run(score, score->now_ms);
    ES_ASSERT(!score->pending);
    return status != 0 || score->failed ? es_err_nomem(err) : 0;
}

void es_score_advance(struct es_score *score, int64_t ex_ms)
{
    ES_ASSERT(score != NULL);
    if (ex_ms <= score->now_ms || !score->started || score->stopped)
        return;
    if (score->next_due_ms <= ex_ms)
        time_run(score, ex_ms);
    else
        score->now_ms = ex_ms;
}

bool es_score_seen(const struct es_score *score, uint32_t instance, uint64_t epoch,
                   int64_t seq)
{
    ES_ASSERT(score != NULL);
    return seen_has(&score->seen, instance, epoch, seq);
}

int64_t es_score_next_due(const struct es_score *score)
{
    ES_ASSERT(score != NULL);
    return score->next_due_ms;
}

int64_t es_score_now(const struct es_score *score)
{
    ES_ASSERT(score != NULL);
    return score->now_ms;
}
