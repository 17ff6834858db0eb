/* Every reason for points of a team, in order of time. */
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "fold.h"

struct line {
    int64_t ex_ms;
    size_t order;
    int objective;               /* -1: from the log */
    const struct reason *reason; /* NULL: an objective */
};

static int by_time(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->ex_ms != y->ex_ms)
        return x->ex_ms < y->ex_ms ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void tell_objective(const struct es_score *score, int team, int objective,
                           struct es_score_reason *ret, char *text, size_t size)
{
    const struct es_scenario *scenario = score->model.scenario;
    const struct es_objective *def = &scenario->objectives[objective];
    const struct obj_state *state = &team_of(score, team)->objectives[objective];
    const char *cond = scenario->conditions[def->when].name;
    char at[48], held[48], open[48];
    ret->part = score->model.parts[score->model.objective_part[objective]];
    ret->what = def->name;
    ret->mpts = objective_mpts(score, team, objective);
    ret->pos = state->cause;
    es_str_from_ms(ret->ex_ms, at, sizeof at);
    if (state->overridden) {
        const struct reason *why = log_override(score, team, objective);
        ES_ASSERT(why != NULL);
        ret->by = why->by;
        snprintf(text, size, "set to %s by a correction at T+%s%s%s",
                 state->override_met ? "met" : "not met", at,
                 why->text[0] != '\0' ? ": " : "", why->text);
    } else if (def->judged == ES_JUDGED_HELD) {
        int64_t held_ms, open_ms;
        objective_count(score, state, &held_ms, &open_ms);
        snprintf(text, size, "%s held for %s of %s", cond,
                 es_str_from_ms(held_ms, held, sizeof held),
                 es_str_from_ms(open_ms, open, sizeof open));
    } else if (state->status == ES_OBJ_MET) {
        snprintf(text, size, "%s %s at T+%s%s", cond,
                 def->judged == ES_JUDGED_ONCE ? "passed" : "held at the end,", at,
                 state->started_met ? ", as it was from the first" : "");
    } else {
        snprintf(text, size, "%s did not pass in time, closed at T+%s", cond, at);
    }
}

static void tell_rounds(const struct es_score *score, const struct reason *reason,
                        char *text, size_t size)
{
    static const char *const words[] = {
        [ROUND_PASS] = "passed",
        [ROUND_MISS] = "missed",
        [ROUND_ABSENT] = "absent",
        [ROUND_WAIVED] = "waived",
        [ROUND_UNKNOWN] = "not known, not counted",
    };
    const struct es_service *def = &score->model.scenario->services[reason->subject];
    const char *cond = score->model.scenario->conditions[def->condition].name;
    ES_ASSERT((size_t)reason->verdict < ES_COUNT(words));
    if (reason->first == reason->last)
        snprintf(text, size, "%s: round %lld %s", cond, (long long)reason->first,
                 words[reason->verdict]);
    else
        snprintf(text, size, "%s: rounds %lld to %lld %s", cond, (long long)reason->first,
                 (long long)reason->last, words[reason->verdict]);
}

static void tell_reason(const struct es_score *score, const struct reason *reason,
                        struct es_score_reason *ret, char *text, size_t size)
{
    const struct model *model = &score->model;
    ret->pos = reason->pos;
    ret->mpts = reason->mpts;
    if (reason->kind == REASON_POINTS) {
        ret->part = reason->subject >= 0 ? model->parts[reason->subject] : "";
        ret->what = "correction";
        ret->by = reason->by;
        snprintf(text, size, "%s", reason->text);
        return;
    }
    const struct es_service *def = &model->scenario->services[reason->subject];
    ret->part = model->parts[model->service_part[reason->subject]];
    ret->what = def->name;
    if (reason->kind == REASON_ROUNDS)
        tell_rounds(score, reason, text, size);
    else
        snprintf(text, size, "rounds missed in a row: %lld", (long long)def->sla_after);
}

static bool worth_telling(const struct obj_state *state, int64_t mpts)
{
    return mpts != 0 || state->overridden || state->status == ES_OBJ_MISSED ||
           state->status == ES_OBJ_MET;
}

static size_t collect(const struct es_score *score, int team, struct line *lines)
{
    size_t count = 0;
    for (size_t i = 0; i < score->model.objectives; i++) {
        const struct obj_state *state = &team_of(score, team)->objectives[i];
        if (!worth_telling(state, objective_mpts(score, team, (int)i)))
            continue;
        int64_t ex_ms = state->met_ex_ms >= 0 && !state->overridden ? state->met_ex_ms
                                                                    : state->ended_ex_ms;
        lines[count] = (struct line){ex_ms, count, (int)i, NULL};
        count++;
    }
    for (size_t i = 0; i < score->log_count; i++) {
        if (score->log[i].team != team || score->log[i].kind == REASON_OVERRIDE)
            continue;
        lines[count] = (struct line){score->log[i].ex_ms, count, -1, &score->log[i]};
        count++;
    }
    return count;
}

int es_score_explain(const struct es_score *score, int team,
                     void (*each)(void *ctx, const struct es_score_reason *reason),
                     void *ctx, struct es_err *err)
{
    ES_ASSERT(score != NULL && each != NULL);
    struct line *lines =
        es_calloc(score->model.objectives + score->log_count + 1, sizeof *lines);
    if (lines == NULL || score->failed) {
        es_free(lines);
        return es_err_nomem(err);
    }
    size_t count = collect(score, team, lines);
    qsort(lines, count, sizeof *lines, by_time);
    for (size_t i = 0; i < count; i++) {
        char text[512];
        struct es_score_reason reason = {.ex_ms = lines[i].ex_ms, .text = text};
        if (lines[i].reason != NULL)
            tell_reason(score, lines[i].reason, &reason, text, sizeof text);
        else
            tell_objective(score, team, lines[i].objective, &reason, text, sizeof text);
        es_utf8_repair(text); /* what did not fit was cut */
        each(ctx, &reason);
    }
    es_free(lines);
    return 0;
}
