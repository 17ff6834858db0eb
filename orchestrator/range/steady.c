/* Steady observations. A look that tells nothing new (es_score_news) becomes no event of
 * the ledger: it is durable at once, as a look beside the chain, and acknowledged; a run of
 * them becomes one STEADY event: before what brings news of its condition is queued, or of
 * one it controls, of a machine of the team, of the clock; at the latest after
 * ES_SCORE_STEADY_MS.
 *
 *   look --same again--> run --10 s, or news--> STEADY
 *
 * After a restart the runs are made again from the looks that no event of the chain covers.
 * What the core itself saw (no agent told it) has no look: nobody waits for it. */
#include <stdio.h>
#include <string.h>

#include "inner.h"

static int64_t late_ms(const struct range *r)
{
    return ES_SCORE_STEADY_MS * (int64_t)r->clock.speed_permille / 1000;
}

int64_t steady_due(const struct range *r)
{
    return r->run_count > 0 ? r->runs_since_ms + late_ms(r) : INT64_MAX;
}

/* ---------------------------------------------------------------- runs */

static bool same_source(const struct look_run *run, const struct es_event *look)
{
    return run->instance == look->instance && run->epoch == look->epoch;
}

static void extend(struct range *r, struct probe_slot *slot, const struct es_event *look)
{
    struct look_run *run = &slot->run;
    if (run->count == 0) {
        *run = (struct look_run){.first_ms = look->ex_ms, .last_ms = look->ex_ms};
        run->outcome = look->a;
        if (r->run_count++ == 0 || look->ex_ms < r->runs_since_ms)
            r->runs_since_ms = look->ex_ms;
    }
    if (look->ex_ms - run->last_ms > run->gap_ms)
        run->gap_ms = look->ex_ms - run->last_ms;
    run->last_ms = look->ex_ms;
    run->count++;
    if (look->seq == 0)
        return;
    slot->told = *look;
    if (run->told++ == 0)
        run->first_seq = look->seq;
    run->instance = look->instance;
    run->epoch = look->epoch;
    run->last_seq = look->seq;
}

/* The fold stands at what was queued for the team: nothing is on its way to it. */
static bool is_folded(const struct range *r, int team)
{
    return r->rebuild == NULL && r->changed_at[team] <= r->folded_count &&
           r->changed_at[0] <= r->folded_count;
}

static int take(struct range *r, struct probe_slot *slot, struct es_event *look,
                enum es_score_news news, struct machine *m)
{
    if (news == ES_NEWS_AGE) {
        int status = range_seen_again(r, look, m);
        if (status == 0)
            steady_note(r, look);
        return status;
    }
    int rc = look->seq != 0 ? range_look(r, look, m) : 0;
    if (rc == 0)
        extend(r, slot, look);
    return rc;
}

int steady_take(struct range *r, struct probe_slot *slot, const struct es_event *event,
                struct machine *m)
{
    struct es_event look = *event;
    const struct look_run *run = &slot->run;
    if (r->store == NULL || !is_folded(r, slot->team))
        return 0;
    look.ex_ms = range_stamp(r);
    enum es_score_news news =
        es_score_news(r->score, slot->team, slot->condition, (enum es_outcome)look.a,
                      run->count > 0 ? run->first_ms : look.ex_ms, look.ex_ms);
    bool other = look.seq != 0 && run->told > 0 && !same_source(run, &look);
    if (news == ES_NEWS_SOME || (run->count > 0 && (other || news == ES_NEWS_AGE)))
        return 0;
    int rc = take(r, slot, &look, news, m);
    return rc != 0 ? rc : 1;
}

/* ---------------------------------------------------------------- the event of a run */

static int close_run(struct range *r, struct probe_slot *slot)
{
    struct look_run *run = &slot->run;
    if (run->count == 0)
        return 0;
    struct es_event event = {.type = ES_EV_STEADY,
                             .team = slot->team,
                             .subject = slot->condition,
                             .a = run->outcome,
                             .b = run->last_ms,
                             .instance = run->instance,
                             .epoch = run->epoch,
                             .seq = run->last_seq};
    char *text =
        es_asprintf("{\"count\":%lld,\"told\":%lld,\"first_ms\":%lld,"
                    "\"first_seq\":%lld,\"gap_ms\":%lld}",
                    (long long)run->count, (long long)run->told, (long long)run->first_ms,
                    (long long)run->first_seq, (long long)run->gap_ms);
    int rc = text != NULL ? range_push(r, &event, text) : ES_ENOMEM;
    if (rc != 0)
        return rc;
    *run = (struct look_run){0};
    ES_ASSERT(r->run_count > 0);
    r->run_count--;
    return 0;
}

int steady_close_condition(struct range *r, int team, int condition)
{
    int control = r->scenario->conditions[condition].control;
    struct probe_slot *slots[] = {probing_slot(r, team, condition),
                                  probing_slot(r, team, control)};
    int rc = 0;
    for (size_t i = 0; i < ES_COUNT(slots) && rc == 0; i++)
        if (slots[i] != NULL)
            rc = close_run(r, slots[i]);
    return rc;
}

int steady_close(struct range *r, int team)
{
    int rc = 0;
    if (r->run_count == 0)
        return 0;
    for (size_t c = 0; team > 0 && c < r->scenario->conditions_count && rc == 0; c++)
        if (r->slot_of[c] >= 0)
            rc = close_run(r, &r->slots[r->slot_of[c] + team - 1]);
    for (size_t i = 0; team <= 0 && i < r->slot_count && rc == 0; i++)
        rc = close_run(r, &r->slots[i]);
    if (r->run_count == 0) /* no look is needed any more */
        r->pending[r->pending_count - 1].afresh = true;
    return rc;
}

void steady_tick(struct range *r)
{
    if (range_now_ex(r) >= steady_due(r))
        steady_close(r, 0);
}

/* ---------------------------------------------------------------- from the ledger */

void steady_forget(struct range *r)
{
    for (size_t i = 0; i < r->slot_count; i++) {
        r->slots[i].run = (struct look_run){0};
        r->slots[i].told = (struct es_event){.ex_ms = -1};
    }
    r->run_count = 0;
}

void steady_note(struct range *r, const struct es_event *event)
{
    struct probe_slot *slot = probing_slot(r, event->team, event->subject);
    if (slot == NULL || event->seq == 0)
        return;
    slot->told = *event;
    slot->told.text = NULL;
    if (event->type == ES_EV_STEADY)
        slot->told.ex_ms = event->b;
}

/* Looks of one moment are told apart by their numbers. */
static bool is_covered(const struct es_event *told, const struct es_event *look)
{
    return look->ex_ms < told->ex_ms ||
           (look->ex_ms == told->ex_ms && look->instance == told->instance &&
            look->epoch == told->epoch && look->seq <= told->seq);
}

static int recall_each(void *ctx, const struct es_event *look)
{
    struct range *r = ctx;
    struct probe_slot *slot = probing_slot(r, look->team, look->subject);
    if (slot != NULL && !is_covered(&slot->told, look))
        extend(r, slot, look);
    return 0;
}

int steady_recall(struct range *r, struct es_err *err)
{
    return es_store_read_looks(r->store, recall_each, r, err);
}
