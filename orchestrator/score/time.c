/* Time: fires what is due, at its exact moment and in a fixed order, however coarsely time
 * is told to pass. Timers of the run heap are lazy: an observation or a new hold only moves
 * them later, which is looked up when they come to the front. */
#include "fold.h"

int64_t mul_div(int64_t a, int64_t b, int64_t c)
{
    ES_ASSERT(c > 0);
    __extension__ typedef __int128 wide;
    wide result = (wide)a * b / c;
    if (result > INT64_MAX)
        return INT64_MAX;
    return result < INT64_MIN ? INT64_MIN : (int64_t)result;
}

void time_cache(struct es_score *score)
{
    int64_t due_ms = INT64_MAX;
    if (score->ex_heap.count > 0)
        due_ms = score->ex_heap.items[0].due_ms;
    if (score->run_heap.count > 0 &&
        score->run_heap.items[0].due_ms + score->jumped_ms < due_ms)
        due_ms = score->run_heap.items[0].due_ms + score->jumped_ms;
    score->next_due_ms = score->started && !score->stopped ? due_ms : INT64_MAX;
}

/* ---- the run heap: held and stale */

/* When the front timer's reason still stands: its moment; -1: it does not. */
static int64_t run_due(const struct es_score *score, const struct timer *timer)
{
    int cond = timer_subject(timer);
    const struct cond_def *def = &score->model.conds[cond];
    const struct cond_state *state = &team_of(score, timer_team(timer))->conds[cond];
    if (timer_kind(timer) == TIMER_FOR)
        return state->held_from_ms >= 0
                   ? state->held_from_ms + def->for_ms - state->held_ms
                   : -1;
    ES_ASSERT(timer_kind(timer) == TIMER_STALE);
    bool ages = outcome_known(state->raw) || state->raw == ES_OUTCOME_ABSENT;
    return ages ? state->observed_run_ms + def->stale_ms : -1;
}

static void fire_run(struct es_score *score)
{
    struct timer timer = score->run_heap.items[0];
    int team = timer_team(&timer), cond = timer_subject(&timer);
    struct cond_state *state = &team_of(score, team)->conds[cond];
    int64_t due_ms = run_due(score, &timer);
    if (due_ms > timer.due_ms) {
        heap_delay(&score->run_heap, due_ms);
        return;
    }
    heap_pop(&score->run_heap);
    bool held = timer_kind(&timer) == TIMER_FOR;
    if (held)
        state->for_queued = false;
    else
        state->stale_queued = false;
    if (due_ms < 0)
        return;
    if (held)
        condition_mark(score, cond);
    else
        condition_forget(score, team, cond, ES_OUTCOME_UNKNOWN);
    settle(score, team);
}

/* ---- the heap of exercise time */

static void reach_after(struct es_score *score, int team, int cond)
{
    team_of(score, team)->conds[cond].after_reached = true;
    condition_mark(score, cond);
}

static void pass_deadline(struct es_score *score, int team, int cond)
{
    team_of(score, team)->conds[cond].late = true;
    condition_mark(score, cond);
}

static void fire_ex(struct es_score *score)
{
    struct timer timer = score->ex_heap.items[0];
    int team = timer_team(&timer), subject = timer_subject(&timer);
    heap_pop(&score->ex_heap);
    switch (timer_kind(&timer)) {
    case TIMER_VOID:
        void_begin_or_end(score, subject);
        return;
    case TIMER_ROUND:
        service_round(score, subject);
        return;
    case TIMER_AFTER:
        reach_after(score, team, subject);
        break;
    case TIMER_WITHIN:
        pass_deadline(score, team, subject);
        break;
    case TIMER_FROM:
        phase_begin(score, team, subject, 0);
        break;
    case TIMER_OPENS:
        objective_open(score, team, subject);
        break;
    case TIMER_CLOSES:
        objective_close(score, team, subject);
        break;
    case TIMER_MARK:
        break;
    case TIMER_FOR:
    case TIMER_STALE:
        ES_ASSERT(false && "a timer of the run heap");
    }
    settle(score, team);
}

/* ---- passing */

void time_run(struct es_score *score, int64_t to_ex_ms)
{
    ES_ASSERT(to_ex_ms >= score->now_ms);
    if (score->stopped)
        return;
    while (time_cache(score), score->next_due_ms <= to_ex_ms) {
        const struct timer *ex = score->ex_heap.items, *run = score->run_heap.items;
        bool take_run = score->ex_heap.count == 0;
        if (!take_run && score->run_heap.count > 0) {
            struct timer front = {run->due_ms + score->jumped_ms, run->key};
            take_run = timer_before(&front, ex);
        }
        if (score->next_due_ms > score->now_ms)
            score->now_ms = score->next_due_ms;
        score->cause = 0;
        if (take_run)
            fire_run(score);
        else
            fire_ex(score);
        ES_ASSERT(!score->pending);
    }
    if (score->started)
        score->now_ms = to_ex_ms;
}

/* Run time stands still: windows close and rounds end, but nothing is held or ages. */
void time_jump(struct es_score *score, int64_t to_ex_ms)
{
    ES_ASSERT(score->started && !score->stopped && to_ex_ms > score->now_ms);
    int64_t run_ms = run_now(score);
    score->jumping = true;
    while (score->ex_heap.count > 0 && score->ex_heap.items[0].due_ms <= to_ex_ms) {
        if (score->ex_heap.items[0].due_ms > score->now_ms)
            score->now_ms = score->ex_heap.items[0].due_ms;
        score->jumped_ms = score->now_ms - run_ms;
        score->cause = 0;
        fire_ex(score);
    }
    score->now_ms = to_ex_ms;
    score->jumped_ms = to_ex_ms - run_ms;
    score->jumping = false;
    ES_ASSERT(run_now(score) == run_ms);
    time_run(score, to_ex_ms);
}
