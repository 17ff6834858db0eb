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

int range_event(struct range *r, const struct es_event *event, char *text,
                struct machine *m,
                void (*committed)(void *arg, int status, const struct es_err *err,
                                  int64_t pos),
                void *arg)
{
    /* One event the store would refuse is no reason to lose its batch. */
    int rc = r->store == NULL                                   ? ES_EIO
             : text != NULL && strlen(text) > ES_STORE_TEXT_MAX ? ES_ELIMIT
                                                                : grow(r);
    if (rc != 0) {
        es_free(text);
        return rc;
    }
    struct pending *p = &r->pending[r->pending_count++];
    *p = (struct pending){
        .event = *event, .text = text, .machine = m, .committed = committed, .arg = arg};
    /* A start is at 0 although the clock may show 1 by this line. */
    int64_t now = event->type == ES_EV_CLOCK ? r->clock.base_ex_ms : range_now_ex(r);
    p->event.ex_ms = now > r->last_ex_ms ? now : r->last_ex_ms;
    r->last_ex_ms = p->event.ex_ms;
    p->event.text = text;
    p->event.pos = 0;
    range_flush(r);
    return 0;
}

static void commit(struct range *r, size_t count)
{
    struct es_clock_mark mark;
    struct es_err err = {0};
    es_clock_mark(&r->clock, r->core->boot_id, core_boottime_ms(), &mark);
    r->last_mark_ms = core_boottime_ms();
    r->flying_count = count;
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

void range_flush(struct range *r)
{
    if (r->commit_in_flight || r->pending_count == 0 || r->store == NULL)
        return;
    size_t count =
        r->pending_count < ES_STORE_BATCH_MAX ? r->pending_count : ES_STORE_BATCH_MAX;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += r->pending[i].text != NULL ? strlen(r->pending[i].text) : 0;
        if (bytes > ES_STORE_BATCH_TEXT_MAX)
            count = i;
    }
    if (count > r->flying_cap) {
        struct pending *flying = es_grow(r->flying, count, sizeof *flying);
        struct es_event *events = es_grow(r->flying_events, count, sizeof *events);
        r->flying = flying != NULL ? flying : r->flying;
        r->flying_events = events != NULL ? events : r->flying_events;
        if (flying == NULL || events == NULL)
            return; /* tried again at the next event or tick */
        r->flying_cap = count;
    }
    memcpy(r->flying, r->pending, count * sizeof *r->flying);
    r->pending_count -= count;
    memmove(r->pending, r->pending + count, r->pending_count * sizeof *r->pending);
    for (size_t i = 0; i < count; i++)
        r->flying_events[i] = r->flying[i].event;
    commit(r, count);
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
    for (size_t i = 0; i < r->flying_count; i++)
        range_fold(r, &r->flying_events[i]);
    for (size_t i = 0; i < r->machine_count; i++)
        r->machines[i].seq_held = 0;
    mark_held(r);
    for (size_t i = 0; i < r->flying_count; i++) {
        struct pending *p = &r->flying[i];
        if (p->committed != NULL)
            p->committed(p->arg, 0, NULL, r->flying_events[i].pos);
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
                             .instance = machine_identity(m)};
    char *text = NULL;
    if (cause != NULL) {
        json_t *json = json_pack("{s:s}", "cause", cause);
        text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
        json_decref(json);
    }
    range_event(m->range, &event, text, NULL, NULL, NULL);
}
