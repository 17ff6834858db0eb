/* Rehearsal: one team, the real machines, the scenario's own proofs.
 *
 *   UP -> BASELINE -> (SABOTAGE -> RESET -> BASELINE) -> SOLVE … -> SETTLE -> certificate
 *
 * Each condition that looks at something must be seen both ways; conditions made of others
 * must be seen to pass. Every wait has a deadline and names what did not come. */
#include <stdio.h>
#include <string.h>

#include "rehearsal.h"

#define POLL_MS      200
#define PATIENCE_MS  90000 /* real time beyond what the conditions themselves need */
#define PROBLEMS_MAX 100

enum stage { S_UP, S_BASELINE, S_SABOTAGE, S_RESET, S_SOLVE, S_SETTLE, S_DOWN };
static const char *const stage_names[] = {"up",    "baseline", "sabotage", "reset",
                                          "solve", "settle",   "down"};

struct rehearsal {
    struct es_range_core *core;
    struct range *range;
    struct es_reply *reply;
    bool keep;
    enum stage stage;
    uv_timer_t poll;
    struct seen *seen;
    size_t solution, step; /* of sabotage or of the solution in hand */
    size_t resets;
    bool step_running, step_done;
    uint64_t began_ms, stage_began_ms, deadline_ms, patience_ms;
    json_t *problems, *timings;
    char path[PATH_BYTES + 128];
    json_t *certificate;
    struct es_err down_err;
};

static void enter(struct rehearsal *h, enum stage stage);
static void finish(struct rehearsal *h);

static void problem(struct rehearsal *h, const char *what, const char *text)
{
    if (json_array_size(h->problems) < PROBLEMS_MAX)
        json_array_append_new(h->problems,
                              json_pack("{s:s, s:s, s:s}", "stage", stage_names[h->stage],
                                        "what", what, "text", text));
    h->reply->progress(h->reply, json_pack("{s:s, s:s, s:s}", "step", "problem", "what",
                                           what, "text", text));
}

static void tell(struct rehearsal *h, const char *text)
{
    h->reply->progress(
        h->reply, json_pack("{s:s, s:s}", "step", stage_names[h->stage], "text", text));
}

/* ---------------------------------------------------------------- what was seen */

static void on_change(struct range *r, const struct es_score_change *change)
{
    struct rehearsal *h = r->rehearsal;
    if (h == NULL || change->fact < 0 || !change->now)
        return;
    const struct es_fact *fact = &r->scenario->facts[change->fact];
    if (fact->kind == ES_FACT_CONDITION_PASS && h->seen[fact->subject].pass_ex_ms < 0)
        h->seen[fact->subject].pass_ex_ms = change->ex_ms;
    if (fact->kind == ES_FACT_CONDITION_FAIL && h->seen[fact->subject].fail_ex_ms < 0)
        h->seen[fact->subject].fail_ex_ms = change->ex_ms;
}

static enum es_outcome outcome_of(const struct rehearsal *h, int condition)
{
    struct es_condition_state state;
    es_score_condition(h->range->score, 1, condition, &state);
    return state.outcome;
}

/* Parts come before what they make up, so each condition is worked out once. */
static void work_out(struct rehearsal *h)
{
    const struct es_scenario *s = h->range->scenario;
    for (size_t n = 0; n < s->conditions_count; n++) {
        int at = s->condition_order[n];
        const struct es_condition *c = &s->conditions[at];
        int64_t ex_ms = c->for_ms + 4 * c->every_ms, real_ms = c->timeout_ms;
        bool waits = c->kind == ES_COND_FACT || c->after.set;
        for (size_t i = 0; i < c->part_count; i++) {
            const struct seen *part = &h->seen[c->parts[i]];
            real_ms = part->need_ms > real_ms ? part->need_ms : real_ms;
            waits = waits || part->waits;
        }
        h->seen[at] = (struct seen){
            .pass_ex_ms = -1,
            .fail_ex_ms = -1,
            .need_ms = real_ms + ex_ms * 1000 / h->range->clock.speed_permille,
            .waits = waits};
    }
}

static void set_deadline(struct rehearsal *h)
{
    int64_t longest = 0;
    for (size_t c = 0; c < h->range->scenario->conditions_count; c++)
        longest = h->seen[c].need_ms > longest ? h->seen[c].need_ms : longest;
    h->deadline_ms = uv_now(h->core->loop) + h->patience_ms + (uint64_t)longest;
}

static bool late(const struct rehearsal *h)
{
    return uv_now(h->core->loop) > h->deadline_ms;
}

/* ---------------------------------------------------------------- stages */

static bool baseline_reached(struct rehearsal *h, bool complain)
{
    const struct es_scenario *s = h->range->scenario;
    bool all = true;
    for (size_t c = 0; c < s->conditions_count; c++) {
        enum es_outcome outcome = outcome_of(h, (int)c);
        enum es_outcome wanted =
            s->conditions[c].starts_pass ? ES_OUTCOME_PASS : ES_OUTCOME_FAIL;
        if (outcome == wanted || h->seen[c].waits)
            continue;
        all = false;
        if (complain) {
            char text[160];
            es_str_printf(
                text, sizeof text,
                "should start as %s, but is %s; `starts:` says what is right at first",
                es_outcome_name(wanted), es_outcome_name(outcome));
            problem(h, s->conditions[c].name, text);
        }
    }
    return all;
}

static void after_baseline(struct rehearsal *h)
{
    const struct es_scenario *s = h->range->scenario;
    if (s->sabotage_count > 0 && h->resets == 0)
        enter(h, S_SABOTAGE);
    else if (h->solution < s->solutions_count)
        enter(h, S_SOLVE);
    else
        enter(h, S_SETTLE);
}

static void on_step(struct machine *m, int status, const struct es_err *err, void *arg)
{
    struct rehearsal *h = arg;
    (void)m;
    h->step_done = true;
    if (status != 0)
        problem(h, "step", err->msg);
}

static const struct es_solution_step *steps_of(const struct rehearsal *h,
                                               size_t *ret_count)
{
    const struct es_scenario *s = h->range->scenario;
    *ret_count =
        h->stage == S_SABOTAGE ? s->sabotage_count : s->solutions[h->solution].step_count;
    return h->stage == S_SABOTAGE ? s->sabotage : s->solutions[h->solution].steps;
}

static bool anchor_reached(const struct rehearsal *h, const struct es_anchor *anchor)
{
    if (!anchor->set)
        return true;
    int64_t from =
        anchor->fact < 0 ? 0 : es_score_fact_at(h->range->score, 1, anchor->fact);
    return from >= 0 && range_now_ex(h->range) >= from + anchor->offset_ms;
}

static void start_step(struct rehearsal *h, const struct es_solution_step *step)
{
    struct machine *m = step->node >= 0 ? range_machine(h->range, 1, step->node) : NULL;
    char text[160];
    h->step_running = true;
    h->step_done = m == NULL;
    set_deadline(h);
    if (m == NULL)
        return;
    es_str_printf(text, sizeof text, "step %zu: %s: %.100s", h->step + 1, m->label,
                  step->run.from != NULL ? step->run.from : step->run.text);
    tell(h, text);
    if (machine_state(m) != M_READY || m->steps != NULL) {
        problem(h, m->label, "is not ready for the step");
        h->step_done = true;
        return;
    }
    steps_start(m, &step->run, 1, 1, on_step, h);
}

static bool step_proved(struct rehearsal *h, const struct es_solution_step *step,
                        bool complain)
{
    enum es_outcome wanted = h->stage == S_SABOTAGE ? ES_OUTCOME_FAIL : ES_OUTCOME_PASS;
    bool all = true;
    for (size_t i = 0; i < step->prove_count; i++) {
        enum es_outcome outcome = outcome_of(h, step->proves[i]);
        if (outcome == wanted)
            continue;
        all = false;
        if (complain) {
            char text[200];
            es_str_printf(text, sizeof text,
                          "%s:%d: the step should make it %s, but it stays %s",
                          step->pos.file, step->pos.line, es_outcome_name(wanted),
                          es_outcome_name(outcome));
            problem(h, h->range->scenario->conditions[step->proves[i]].name, text);
            h->seen[step->proves[i]].named = true;
        }
    }
    return all;
}

/* What the solution promises beside its steps' proofs. */
static bool expectations_met(struct rehearsal *h, bool complain)
{
    const struct es_scenario *s = h->range->scenario;
    bool all = true;
    if (h->stage == S_SABOTAGE)
        return true;
    const struct es_solution *solution = &s->solutions[h->solution];
    for (size_t i = 0; i < solution->expect_count; i++) {
        if (es_score_fact_at(h->range->score, 1, solution->expects[i]) >= 0)
            continue;
        all = false;
        if (complain)
            problem(h, s->facts[solution->expects[i]].name,
                    "is expected of the solution, but did not come about");
    }
    return all;
}

static void leave_steps(struct rehearsal *h)
{
    if (h->stage == S_SABOTAGE) {
        enter(h, S_RESET);
        return;
    }
    h->solution++;
    enter(h, h->solution < h->range->scenario->solutions_count ? S_RESET : S_SETTLE);
}

static void poll_steps(struct rehearsal *h)
{
    size_t count;
    const struct es_solution_step *steps = steps_of(h, &count);
    if (h->step == count) {
        if (expectations_met(h, false) || (late(h) && (expectations_met(h, true), true)))
            leave_steps(h);
        return;
    }
    const struct es_solution_step *step = &steps[h->step];
    if (!h->step_running) {
        if (anchor_reached(h, &step->await))
            start_step(h, step);
        else if (late(h)) {
            problem(h,
                    step->await.fact >= 0
                        ? h->range->scenario->facts[step->await.fact].name
                        : "await",
                    "what the step waits for did not come");
            h->step = count;
        }
        return;
    }
    if (!h->step_done && !late(h))
        return;
    if (!h->step_done)
        problem(h, "step", "did not end in time");
    if (!step_proved(h, step, false)) {
        if (!late(h))
            return;
        step_proved(h, step, true);
    }
    h->step_running = false;
    h->step++;
    set_deadline(h);
}

static bool settled(struct rehearsal *h, bool complain)
{
    const struct es_scenario *s = h->range->scenario;
    bool all = true;
    for (size_t c = 0; c < s->conditions_count; c++) {
        bool looks = s->conditions[c].kind == ES_COND_PROBE;
        bool pass = h->seen[c].pass_ex_ms >= 0, fail = h->seen[c].fail_ex_ms >= 0;
        if ((pass && (fail || !looks)) || h->seen[c].named)
            continue;
        all = false;
        if (complain)
            problem(h, s->conditions[c].name,
                    !pass ? "was never seen to pass: no solution makes it true"
                          : "was never seen to fail: it proves nothing; a `sabotage` "
                            "step should break it");
    }
    return all;
}

static void check_objectives(struct rehearsal *h)
{
    const struct es_scenario *s = h->range->scenario;
    for (size_t i = 0; i < s->objectives_count; i++) {
        struct es_objective_state state;
        es_score_objective(h->range->score, 1, (int)i, &state);
        if (state.started_met && !s->objectives[i].may_start_met)
            problem(h, s->objectives[i].name,
                    "is already met when it opens; say `may-start-met` if that is meant");
    }
}

static void on_reset(void *arg, int status, const struct es_err *err)
{
    struct rehearsal *h = arg;
    h->resets++;
    if (status != 0) {
        problem(h, "reset", err->msg);
        enter(h, S_SETTLE);
        return;
    }
    enter(h, S_BASELINE);
}

static void enter(struct rehearsal *h, enum stage stage)
{
    uint64_t now = uv_now(h->core->loop);
    json_array_append_new(h->timings,
                          json_pack("{s:s, s:I}", "stage", stage_names[h->stage],
                                    "took_ms", (json_int_t)(now - h->stage_began_ms)));
    h->stage_began_ms = now;
    h->stage = stage;
    h->step = 0;
    h->step_running = h->step_done = false;
    static const char *const says[] = {"",
                                       "looking at how everything starts",
                                       "breaking what starts well",
                                       "resetting the team",
                                       "solving",
                                       "waiting for what is left",
                                       "taking it down"};
    tell(h, says[stage]);
    if (h->range != NULL && stage != S_DOWN)
        set_deadline(h);
    if (stage == S_RESET)
        range_reset_team(h->range, 1, on_reset, h);
}

static void on_poll(uv_timer_t *timer)
{
    struct rehearsal *h = timer->data;
    range_advance(h->range);
    switch (h->stage) {
    case S_BASELINE:
        if (baseline_reached(h, false) || (late(h) && (baseline_reached(h, true), true)))
            after_baseline(h);
        break;
    case S_SABOTAGE:
    case S_SOLVE:
        poll_steps(h);
        break;
    case S_SETTLE:
        if (settled(h, false) || (late(h) && (settled(h, true), true))) {
            check_objectives(h);
            finish(h);
        }
        break;
    case S_UP:
    case S_RESET:
    case S_DOWN:
        break;
    }
}

/* ---------------------------------------------------------------- the end */

static void answer(struct rehearsal *h)
{
    struct es_reply *reply = h->reply;
    if (h->down_err.code != 0)
        reply->fail(reply, &h->down_err);
    else
        reply->done(reply,
                    json_pack("{s:o, s:b, s:s}", "certificate",
                              h->certificate != NULL ? h->certificate : json_null(),
                              "proved", json_array_size(h->problems) == 0, "path",
                              h->path));
    if (h->down_err.code != 0)
        json_decref(h->certificate);
    json_decref(h->problems);
    json_decref(h->timings);
    es_free(h->seen);
    es_free(h);
}

static void on_down(void *arg, int status, const struct es_err *err, json_t *removed)
{
    struct rehearsal *h = arg;
    json_decref(removed);
    if (status != 0 && h->down_err.code == 0)
        h->down_err = *err;
    answer(h);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct rehearsal *h = handle->data;
    struct range *r = h->range;
    r->open_handles--;
    r->rehearsal = NULL;
    r->on_change = NULL;
    r->rehearsal_busy = false;
    for (size_t i = 0; i < r->machine_count; i++)
        steps_abort(&r->machines[i]);
    if (r->phase == R_LEAVING) {
        answer(h);
        range_close(r, NULL, NULL);
    } else if (h->keep)
        answer(h);
    else
        range_down(r, true, on_down, h);
}

void rehearse_cancel(struct range *r)
{
    struct rehearsal *h = r->rehearsal;
    if (h == NULL)
        return;
    es_err_set(&h->down_err, ES_ECANCELED, "the core ends; rehearse again");
    h->stage = S_DOWN;
    if (!uv_is_closing((uv_handle_t *)&h->poll))
        uv_close((uv_handle_t *)&h->poll, on_poll_closed);
}

static void finish(struct rehearsal *h)
{
    enter(h, S_DOWN);
    h->certificate = certificate_make(h->range, h->seen, h->problems, h->timings,
                                      (int64_t)(uv_now(h->core->loop) - h->began_ms));
    certificate_write(h->core, h->range->scenario, h->certificate, h->path,
                      sizeof h->path);
    uv_close((uv_handle_t *)&h->poll, on_poll_closed);
}

/* ---------------------------------------------------------------- the beginning */

/* Faster than the conditions are looked at would prove nothing. */
static int32_t fitting_speed(const struct es_scenario *s)
{
    int64_t speed = s->rehearse_speed_permille;
    for (size_t c = 0; c < s->conditions_count; c++)
        if (s->conditions[c].kind == ES_COND_PROBE &&
            s->conditions[c].every_ms / 2 < speed)
            speed = s->conditions[c].every_ms / 2;
    return (int32_t)(speed < 1000 ? 1000 : speed);
}

static void on_started(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct rehearsal *h = arg;
    (void)pos;
    if (status != 0)
        problem(h, "clock", err->msg);
}

static void on_up(struct range *r, int status, const struct es_err *up_err, void *arg)
{
    struct rehearsal *h = arg;
    struct es_err err = {0};
    if (status != 0) {
        h->down_err = *up_err;
        if (r != NULL && !h->keep)
            range_down(r, true, on_down, h);
        else
            answer(h);
        return;
    }
    h->range = r;
    h->seen = es_calloc(r->scenario->conditions_count, sizeof *h->seen);
    if (h->seen == NULL) {
        es_err_nomem(&h->down_err);
        range_down(r, true, on_down, h);
        return;
    }
    r->rehearsal = h;
    r->rehearsal_busy = true;
    r->on_change = on_change;
    uv_timer_init(h->core->loop, &h->poll);
    h->poll.data = h;
    r->open_handles++;
    es_clock_set_speed(&r->clock, core_boottime_ms(), fitting_speed(r->scenario), &err);
    if (range_clock_move(r, ES_CLOCK_RUNNING, "rehearsal", NULL, on_started, h, &err) !=
        0)
        problem(h, "clock", err.msg);
    work_out(h);
    enter(h, S_BASELINE);
    uv_timer_start(&h->poll, on_poll, POLL_MS, POLL_MS);
}

static void on_progress(json_t *event, void *arg)
{
    struct rehearsal *h = arg;
    h->reply->progress(h->reply, event);
}

void es_range_call_rehearse(struct es_range_core *core, const json_t *params,
                            struct es_reply *reply)
{
    const char *accel = json_string_value(json_object_get(params, "accel"));
    const json_t *patience = json_object_get(params, "patience_ms");
    json_int_t patience_ms =
        patience != NULL ? json_integer_value(patience) : PATIENCE_MS;
    if (patience_ms < 0 || patience_ms > 24 * 3600 * 1000) {
        reply_fail_new(reply, ES_EINVAL, "the patience is at most 24 hours");
        return;
    }
    struct rehearsal *h = es_calloc(1, sizeof *h);
    if (h == NULL) {
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
        return;
    }
    h->core = core;
    h->reply = reply;
    h->patience_ms = (uint64_t)patience_ms;
    h->keep = json_is_true(json_object_get(params, "keep"));
    h->problems = json_array();
    h->timings = json_array();
    h->began_ms = h->stage_began_ms = uv_now(core->loop);
    struct bring_request request = {
        .file = json_string_value(json_object_get(params, "file")),
        .name = REHEARSAL_RANGE,
        .accel = accel,
        .teams = 1,
        .done = on_up,
        .progress = on_progress,
        .arg = h};
    bring_up(core, &request);
}
