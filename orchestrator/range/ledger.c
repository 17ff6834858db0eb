/* Decide, commit, publish. Events queue here while a commit is in flight and go together
 * in the next; only what is durable reaches the fold (refold.c), the watchers and the
 * agents' acknowledgements. What a commit that fails leads to stands in lost.c. */
#include <stdlib.h>
#include <string.h>

#include "inner.h"

static void on_commit(void *ctx, int status, const struct es_err *err);

bool range_quiet(const struct range *r)
{
    return r->pending_count == 0 && !r->commit_in_flight;
}

static int grow(struct range *r)
{
    if (r->pending_count < r->pending_cap)
        return 0;
    size_t cap = r->pending_cap != 0 ? r->pending_cap * 2 : 64;
    struct pending *grown = es_grow(r->pending, cap, sizeof *grown);
    if (grown == NULL)
        return ES_ENOMEM;
    r->pending = grown;
    r->pending_cap = cap;
    return 0;
}

int range_event_refused(const struct range *r, int rc, struct es_err *err)
{
    if (rc == ES_ENOMEM)
        return es_err_nomem(err);
    return es_err_set(err, rc,
                      rc == ES_ELIMIT
                          ? "range %s: the ledger takes at most 64 KiB of text at a time"
                          : "range %s: its ledger could not be opened; resume it once "
                            "the disk is well",
                      r->name);
}

int64_t range_stamp(const struct range *r)
{
    int64_t now = range_now_ex(r);
    return now > r->last_ex_ms ? now : r->last_ex_ms;
}

static int push(struct range *r, const struct pending *pending)
{
    int rc = r->store != NULL ? grow(r) : ES_EIO;
    if (rc != 0)
        return rc;
    struct pending *p = &r->pending[r->pending_count++];
    *p = *pending;
    p->event.text = p->text;
    p->event.pos = 0;
    r->last_ex_ms = p->event.ex_ms;
    r->queued_count++;
    return 0;
}

int range_push(struct range *r, const struct es_event *event, char *text)
{
    struct pending p = {.event = *event, .text = text};
    p.event.ex_ms = range_stamp(r);
    int rc = push(r, &p);
    if (rc != 0)
        es_free(text);
    return rc;
}

int range_look(struct range *r, const struct es_event *look, struct machine *m)
{
    int rc = push(r, &(struct pending){.event = *look, .look = true, .machine = m});
    if (rc == 0)
        range_flush(r);
    return rc;
}

int range_seen_again(struct range *r, const struct es_event *event, struct machine *m)
{
    int rc = push(r, &(struct pending){.event = *event, .machine = m});
    if (rc == 0)
        range_flush(r);
    return rc;
}

/* Whether the fold makes anything of it. */
static bool counts(const struct es_event *event)
{
    return event->type == ES_EV_OBSERVED || event->type == ES_EV_CLOCK ||
           event->type == ES_EV_MACHINE || event->type == ES_EV_VOID ||
           event->type == ES_EV_POINTS || event->type == ES_EV_OVERRIDE;
}

/* The runs of looks that the fold must have before the event. */
static int close_before(struct range *r, const struct es_event *event)
{
    switch (event->type) {
    case ES_EV_OBSERVED:
        return steady_close_condition(r, event->team, event->subject);
    case ES_EV_MACHINE:
        return steady_close(r, event->team > 0 ? event->team : 0);
    case ES_EV_CLOCK:
    case ES_EV_VOID:
        return steady_close(r, 0);
    default:
        return 0;
    }
}

int range_event(struct range *r, const struct es_event *event, char *text,
                struct machine *m,
                void (*committed)(void *arg, int status, const struct es_err *err,
                                  int64_t pos),
                void *arg)
{
    struct pending p = {
        .event = *event, .text = text, .machine = m, .committed = committed, .arg = arg};
    int team = event->team > 0 ? event->team : 0;
    /* One event the store would refuse is no reason to lose its batch. */
    int rc = r->store == NULL                                   ? ES_EIO
             : text != NULL && strlen(text) > ES_STORE_TEXT_MAX ? ES_ELIMIT
                                                                : close_before(r, event);
    p.event.ex_ms = range_stamp(r);
    /* A start is at 0 although the clock may show 1 by this line. */
    if (event->type == ES_EV_CLOCK)
        p.event.ex_ms =
            r->clock.base_ex_ms > r->last_ex_ms ? r->clock.base_ex_ms : r->last_ex_ms;
    if (rc == 0)
        rc = push(r, &p);
    if (rc != 0) {
        es_free(text);
        return rc;
    }
    if (counts(event))
        r->changed_at[team] = r->queued_count;
    range_flush(r);
    return 0;
}

static void commit(struct range *r, size_t count)
{
    struct es_clock_mark mark;
    struct es_err err = {0};
    es_clock_mark(&r->clock, r->core->boot_id, core_boottime_ms(), &mark);
    r->last_mark_ms = core_boottime_ms();
    r->commit_in_flight = true;
    int rc = es_store_commit(r->store, r->core->loop, &mark, r->flying_events, count,
                             on_commit, r, &err);
    if (rc != 0)
        on_commit(r, rc, &err);
}

void range_mark(struct range *r)
{
    if (range_quiet(r) && r->store != NULL)
        commit(r, 0);
}

/* How many of what is queued go together. */
static size_t batch_size(const struct range *r)
{
    size_t count =
        r->pending_count < ES_STORE_BATCH_MAX ? r->pending_count : ES_STORE_BATCH_MAX;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += r->pending[i].text != NULL ? strlen(r->pending[i].text) : 0;
        if (bytes > ES_STORE_BATCH_TEXT_MAX)
            count = i;
    }
    return count;
}

static bool make_room(struct range *r, size_t count)
{
    if (count <= r->flying_cap)
        return true;
    struct pending *flying = es_grow(r->flying, count, sizeof *flying);
    struct es_event *events = es_grow(r->flying_events, count, sizeof *events);
    r->flying = flying != NULL ? flying : r->flying;
    r->flying_events = events != NULL ? events : r->flying_events;
    if (flying == NULL || events == NULL)
        return false;
    r->flying_cap = count;
    return true;
}

/* Sorts what is first in the queue into events and, behind them, the looks that no event
 * among these sums up. */
static bool sort_out(struct range *r, size_t count, size_t *ret_events)
{
    struct es_err err = {0};
    size_t events = 0, all = 0, since = 0;
    bool afresh = false;
    for (size_t i = 0; i < count; i++) {
        if (!r->pending[i].look)
            r->flying_events[all++] = r->pending[i].event;
        if (r->pending[i].afresh) {
            afresh = true;
            since = i;
        }
    }
    events = all;
    for (size_t i = since; i < count; i++)
        if (r->pending[i].look)
            r->flying_events[all++] = r->pending[i].event;
    *ret_events = events;
    return (all == events && !afresh) ||
           es_store_stage_looks(r->store, r->flying_events + events, all - events, afresh,
                                &err) == 0;
}

void range_flush(struct range *r)
{
    if (r->commit_in_flight || r->pending_count == 0 || r->store == NULL)
        return;
    size_t count = batch_size(r), events;
    if (!make_room(r, count) || !sort_out(r, count, &events))
        return; /* tried again at the next event or tick */
    memcpy(r->flying, r->pending, count * sizeof *r->flying);
    r->flying_count = count;
    r->pending_count -= count;
    memmove(r->pending, r->pending + count, r->pending_count * sizeof *r->pending);
    commit(r, events);
}

static void ack_machines(struct range *r)
{
    for (size_t i = 0; i < r->machine_count; i++)
        if (r->machines[i].seq_seen > r->machines[i].seq_acked)
            machine_ack(&r->machines[i]);
}

void range_hold_ack(struct machine *m, int64_t seq)
{
    if (m->seq_held == 0 || seq < m->seq_held)
        m->seq_held = seq;
}

void range_not_taken(struct machine *m, int64_t seq)
{
    m->seq_taken = m->seq_seen = seq - 1;
    if (m->link != NULL)
        machine_connect_again(m);
}

/* What of a machine is still on its way to the disc. */
static void mark_held(struct range *r)
{
    for (size_t i = 0; i < r->pending_count; i++) {
        const struct pending *p = &r->pending[i];
        if (p->machine != NULL && p->machine->seq_held == 0 &&
            p->event.epoch == strtoull(p->machine->seq_epoch, NULL, 16))
            p->machine->seq_held = p->event.seq;
    }
}

static void on_commit(void *ctx, int status, const struct es_err *commit_err)
{
    struct range *r = ctx;
    if (status != 0) {
        range_lost_ledger(r, status, commit_err);
        return;
    }
    for (size_t i = 0, k = 0; i < r->flying_count; i++)
        if (!r->flying[i].look)
            range_fold(r, &r->flying_events[k++]);
    r->folded_count += (int64_t)r->flying_count;
    for (size_t i = 0; i < r->machine_count; i++)
        r->machines[i].seq_held = 0;
    mark_held(r);
    for (size_t i = 0, k = 0; i < r->flying_count; i++) {
        struct pending *p = &r->flying[i];
        int64_t pos = p->look ? 0 : r->flying_events[k++].pos;
        if (p->committed != NULL)
            p->committed(p->arg, 0, NULL, pos);
        es_free(p->text);
    }
    r->flying_count = 0;
    r->commit_in_flight = false; /* what was called back may have queued more */
    if (r->held_back && r->clock.state != ES_CLOCK_PAUSED)
        range_take_again(r);
    ack_machines(r);
    range_rescore_waiting(r);
    range_flush(r);
    range_advance(r);
    if (r->clock.state ==
        ES_CLOCK_STOPPED) /* a correction, a reset: the head has moved */
        r->sign_wanted = true;
    range_sign_if_stopped(r);
    range_changed(r);
    if (r->phase == R_LEAVING)
        range_close(r, NULL, NULL);
}

void range_machine_event(struct machine *m, enum es_machine_event what, const char *cause)
{
    if (m->range->store == NULL || m->mould)
        return;
    struct es_event event = {.type = ES_EV_MACHINE,
                             .team = m->plan->team,
                             .subject = m->plan->node,
                             .a = what,
                             .b = machine_state(m) == M_SUSPENDED,
                             .instance = machine_identity(m)};
    char *text = NULL;
    if (cause != NULL) {
        json_t *json = json_pack("{s:s}", "cause", cause);
        text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
    }
    range_event(m->range, &event, text, NULL, NULL, NULL);
}
