/* Voids: spans in which a check, a machine or everything is not known. Observations made
 * within one are dropped, so that after it nothing is known until it is seen again. */
#include "fold.h"

enum { VOID_CONDITION, VOID_NODE, VOID_SPAN };

static const char *read_void(const struct es_score *score, const struct es_event *event,
                             struct void_span *ret_span)
{
    const struct model *model = &score->model;
    size_t subjects = event->a == VOID_CONDITION ? model->conditions
                      : event->a == VOID_NODE    ? model->nodes
                                                 : 1;
    if (event->a < VOID_CONDITION || event->a > VOID_SPAN)
        return "there is no such kind of void";
    if (event->a != VOID_SPAN &&
        (event->subject < 0 || (size_t)event->subject >= subjects))
        return "there is no such condition or node";
    if (event->team != -1 && (event->team < 1 || event->team > score->team_count))
        return "there is no such team";
    json_t *text = event->text != NULL ? json_loads(event->text, 0, NULL) : NULL;
    json_t *from = json_object_get(text, "from_ms"), *to = json_object_get(text, "to_ms");
    *ret_span = (struct void_span){
        .kind = event->a,
        .team = event->team,
        .subject = event->subject,
        .from_ms = json_is_integer(from) ? json_integer_value(from) : 0,
        .to_ms = json_is_integer(to) ? json_integer_value(to) : ES_CLOCK_EX_MAX_MS,
        .pos = event->pos,
    };
    bool sane = ret_span->from_ms >= 0 && ret_span->to_ms <= ES_CLOCK_EX_MAX_MS &&
                ret_span->from_ms < ret_span->to_ms;
    json_decref(text);
    return sane ? NULL : "its span is empty or out of range";
}

static void apply_span(struct es_score *score, const struct void_span *span, int team,
                       bool begins)
{
    if (span->kind == VOID_CONDITION) {
        condition_void(score, team, span->subject, begins);
    } else if (span->kind == VOID_NODE) {
        LISTS_EACH(cond, &score->model.conds_of, span->subject)
        condition_void(score, team, *cond, begins);
    } else {
        for (size_t i = 0; i < score->model.conditions; i++)
            condition_void(score, team, (int)i, begins);
    }
    settle(score, team);
}

void void_begin_or_end(struct es_score *score, int subject)
{
    ES_ASSERT(subject >= 0 && (size_t)subject / 2 < score->void_count);
    const struct void_span *span = &score->voids[subject / 2];
    score->cause = span->pos;
    for (int team = 1; team <= score->team_count; team++)
        if (span->team == team || span->team == -1)
            apply_span(score, span, team, subject % 2 == 0);
    score->cause = 0;
}

bool void_touches(const struct es_score *score, int team, int cond)
{
    for (size_t i = 0; i < score->void_count; i++) {
        const struct void_span *span = &score->voids[i];
        if (span->to_ms <= score->now_ms || (span->team != team && span->team != -1))
            continue;
        if (span->kind == VOID_SPAN ||
            (span->kind == VOID_CONDITION && span->subject == cond) ||
            (span->kind == VOID_NODE && span->subject == score->model.conds[cond].node))
            return true;
    }
    return false;
}

int es_score_correct(struct es_score *score, const struct es_event *event,
                     struct es_err *err)
{
    ES_ASSERT(score != NULL && event != NULL);
    if (event->type != ES_EV_VOID)
        return 0;
    struct void_span span;
    const char *why = score->touched ? "corrections come before what they correct"
                      : score->void_count >= ES_SCORE_VOIDS_MAX
                          ? "there are too many corrections"
                          : read_void(score, event, &span);
    if (why != NULL)
        return es_err_set(err, ES_EINVAL, "event %lld (void) of the ledger: %s",
                          (long long)event->pos, why);
    struct void_span *voids =
        es_grow(score->voids, score->void_count + 1, sizeof *score->voids);
    if (voids != NULL)
        score->voids = voids;
    if (voids == NULL || heap_reserve(&score->ex_heap, score->ex_heap.cap + 2) != 0)
        return es_err_nomem(err);
    int index = (int)score->void_count++;
    score->voids[index] = span;
    if (span.from_ms > 0)
        heap_push(&score->ex_heap, span.from_ms, TIMER_VOID, 0, 2 * index);
    else
        void_begin_or_end(score, 2 * index);
    heap_push(&score->ex_heap, span.to_ms, TIMER_VOID, 0, 2 * index + 1);
    return 0;
}
