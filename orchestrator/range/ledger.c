/* Decide, commit, publish. Events queue here while a commit is in flight and go together
 * in the next; only what is durable reaches the fold, the watchers and the agents'
 * acknowledgements. A commit that fails drops its batch, pauses the clock through the
 * store's reserve and builds the fold anew from the ledger. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "inner.h"

static void on_commit(void *ctx, int status, const struct es_err *err);

int64_t range_now_ex(const struct range *r)
{
    return es_clock_now(&r->clock, core_boottime_ms());
}

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

struct refold {
    struct es_score *score;
    struct es_err *err;
};

static int fold_each(void *ctx, const struct es_event *event)
{
    struct refold *refold = ctx;
    return es_score_apply(refold->score, event, refold->err);
}

static bool is_correction(const struct es_event *event)
{
    return event->type == ES_EV_VOID || event->type == ES_EV_POINTS ||
           event->type == ES_EV_OVERRIDE;
}

static int correct_each(void *ctx, const struct es_event *event)
{
    struct refold *refold = ctx;
    return is_correction(event) ? es_score_correct(refold->score, event, refold->err) : 0;
}

int range_refold(struct range *r, struct es_score **ret_score, int64_t *ret_events,
                 struct es_err *err)
{
    struct es_score *score = NULL;
    int rc = es_score_create(r->scenario, r->team_count, NULL, NULL, &score, err);
    struct refold refold = {.score = score, .err = err};
    if (rc == 0)
        rc = es_store_read(r->store, 1, false, correct_each, &refold, err);
    if (rc == 0)
        rc = es_store_read(r->store, 1, true, fold_each, &refold, err);
    if (rc != 0) {
        es_score_destroy(score);
        return rc;
    }
    *ret_events = es_store_head(r->store);
    *ret_score = score;
    return 0;
}

static void on_score_change(void *ctx, const struct es_score_change *change)
{
    struct range *r = ctx;
    if (r->on_change != NULL)
        r->on_change(r, change);
    if (change->fact < 0)
        return;
    json_t *news = json_pack(
        "{s:I, s:i, s:s, s:b}", "ex_ms", (json_int_t)change->ex_ms, "team", change->team,
        "fact", r->scenario->facts[change->fact].name, "now", (int)change->now);
    range_news(r, news);
}

/* A fold of its own makes corrections reach back; the live one is replaced by it. */
static void rebuild(struct range *r)
{
    struct es_score *score = NULL;
    struct es_err err = {0};
    int64_t events;
    if (range_refold(r, &score, &events, &err) != 0) {
        es_log_error("range %s: the fold cannot be rebuilt: %s", r->name, err.msg);
        return;
    }
    es_score_destroy(r->score);
    r->score = score;
    es_score_set_on_change(score, on_score_change, r);
    range_changed(r);
}

int range_open_ledger(struct range *r, bool create, struct es_err *err)
{
    char path[PATH_BYTES + 16];
    int64_t events;
    if (es_str_printf(path, sizeof path, "%s/ledger.db", r->dir) != 0)
        return es_err_set(err, ES_ELIMIT, "the path of range %s is too long", r->name);
    int rc = es_store_open(path, create, &r->store, err);
    if (rc == 0 && chmod(path, 0600) != 0) /* the teams' secrets lie in it */
        rc = es_err_set(err, ES_EIO, "cannot close %s to others: %s", path,
                        strerror(errno));
    if (rc == 0)
        rc = range_refold(r, &r->score, &events, err);
    if (rc == 0)
        es_score_set_on_change(r->score, on_score_change, r);
    if (rc == 0)
        r->last_ex_ms = es_score_now(r->score);
    return rc;
}

static void ack_machines(struct range *r)
{
    for (size_t i = 0; i < r->machine_count; i++)
        if (r->machines[i].seq_seen > r->machines[i].seq_acked)
            machine_ack(&r->machines[i]);
}

/* Which observations of a machine are still on their way to the disc. */
static void mark_held(struct range *r)
{
    for (size_t i = 0; i < r->pending_count; i++) {
        const struct pending *p = &r->pending[i];
        if (p->machine != NULL && p->machine->seq_held == 0 &&
            p->event.epoch == strtoull(p->machine->seq_epoch, NULL, 16))
            p->machine->seq_held = p->event.seq;
    }
}

static void refuse(const struct pending *list, size_t count, int status,
                   const struct es_err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].committed != NULL)
            list[i].committed(list[i].arg, status, err, 0);
        es_free(list[i].text);
    }
}

/* What waited behind the batch was decided against a state that is not to be. */
static void refuse_all(struct range *r, int status, const struct es_err *err)
{
    struct pending *waiting = r->pending;
    size_t count = r->pending_count, flying = r->flying_count;
    r->pending = NULL;
    r->pending_count = r->pending_cap = r->flying_count = 0;
    refuse(r->flying, flying, status, err);
    refuse(waiting, count, status, err);
    es_free(waiting);
}

static const char lost_text[] =
    "{\"by\":\"core\",\"reason\":\"the ledger cannot be written\"}";

static struct es_event pause_event(const struct range *r)
{
    return (struct es_event){.type = ES_EV_CLOCK,
                             .team = -1,
                             .subject = -1,
                             .a = ES_CLOCK_PAUSED,
                             .b = r->clock.speed_permille,
                             .ex_ms = range_now_ex(r)};
}

/* The clock goes back to what the ledger knows of it, and pauses. */
static void stop_clock(struct range *r)
{
    struct es_clock_mark mark;
    struct es_err err = {0};
    int64_t now_ms = core_boottime_ms();
    es_clock_init(&r->clock);
    if (es_store_last_mark(r->store, &mark) != 0)
        return;
    es_clock_restore(&r->clock, &mark, r->core->boot_id, now_ms, NULL);
    if (mark.state != ES_CLOCK_RUNNING)
        return;
    if (r->clock.state == ES_CLOCK_RUNNING)
        es_clock_pause(&r->clock, now_ms, &err);
    struct es_event pause = pause_event(r);
    pause.text = lost_text;
    es_clock_mark(&r->clock, r->core->boot_id, now_ms, &mark);
    if (es_store_append_reserved(r->store, &mark, &pause, 1, &err) != 0)
        es_log_error("range %s: not even the pause could be recorded: %s", r->name,
                     err.msg);
}

static void forget_unacked(struct range *r)
{
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        m->seq_held = 0;
        m->seq_taken = m->seq_seen = m->seq_acked;
    }
}

/* The disc refused: stop the clock where the ledger stands, say so, take nothing more.
 * Agents keep what they told since, unacknowledged, until the clock runs again. */
static void on_lost_ledger(struct range *r, int status, const struct es_err *err)
{
    es_log_error("range %s: the ledger cannot be written: %s", r->name, err->msg);
    es_str_printf(r->trouble, sizeof r->trouble,
                  "paused: the ledger cannot be written: %.180s", err->msg);
    r->held_back = true;
    stop_clock(r);
    rebuild(r);
    r->last_ex_ms = es_score_now(r->score);
    forget_unacked(r);
    refuse_all(r, status, err);
    r->commit_in_flight = false;
    range_rescore_waiting(r);
    range_sign_if_stopped(r);
    if (r->phase == R_LEAVING)
        range_close(r, NULL, NULL);
}

/* What the agents hold is asked for again. */
static void take_again(struct range *r)
{
    r->held_back = false;
    forget_unacked(r);
    for (size_t i = 0; i < r->machine_count; i++)
        machine_connect_again(&r->machines[i]);
}

/* After an error nobody knows what the disc kept: what it holds is read again, and the
 * reserve made again. */
static int reopen_ledger(struct range *r, struct es_err *err)
{
    struct es_score *old = r->score;
    struct es_clock_mark mark;
    if (r->commit_in_flight || r->readers > 0)
        return es_err_set(err, ES_EBUSY,
                          "the ledger is being written or exported; repeat it");
    es_store_close(r->store);
    r->store = NULL;
    int rc = range_open_ledger(r, false, err);
    if (rc != 0)
        return rc;
    es_score_destroy(old);
    range_changed(r);
    if (es_store_last_mark(r->store, &mark) != 0 || mark.state != ES_CLOCK_RUNNING)
        return 0;
    struct es_event pause = pause_event(r);
    char *text = es_strdup(lost_text);
    return text != NULL && range_event(r, &pause, text, NULL, NULL, NULL) == 0
               ? 0
               : es_err_nomem(err);
}

static void on_commit(void *ctx, int status, const struct es_err *commit_err)
{
    struct range *r = ctx;
    bool corrected = false;
    if (status != 0) {
        on_lost_ledger(r, status, commit_err);
        return;
    }
    for (size_t i = 0; i < r->flying_count; i++) {
        struct es_err err = {0};
        const struct es_event *event = &r->flying_events[i];
        corrected |= is_correction(event);
        if (!corrected && es_score_apply(r->score, event, &err) != 0)
            es_log_error("range %s: event %lld does not fold: %s", r->name,
                         (long long)event->pos, err.msg);
    }
    if (corrected)
        rebuild(r);
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
        take_again(r);
    ack_machines(r);
    range_rescore_waiting(r);
    range_flush(r);
    range_advance(r);
    range_sign_if_stopped(r);
    range_changed(r);
    if (r->phase == R_LEAVING)
        range_close(r, NULL, NULL);
}

void range_advance(struct range *r)
{
    if (r->score == NULL || !range_quiet(r) || r->clock.state == ES_CLOCK_STOPPED)
        return;
    int64_t now = range_now_ex(r);
    if (now > es_score_now(r->score))
        es_score_advance(r->score, now);
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

int range_clock_move(struct range *r, enum es_clock_state to, const char *by,
                     const char *reason,
                     void (*committed)(void *arg, int status, const struct es_err *err,
                                       int64_t pos),
                     void *arg, struct es_err *err)
{
    if (to == ES_CLOCK_RUNNING && r->held_back) {
        int rc = reopen_ledger(r, err);
        if (rc != 0)
            return rc;
    }
    int64_t mono_ms = core_boottime_ms();
    struct es_clock before = r->clock, next = before;
    int rc = to == ES_CLOCK_PAUSED          ? es_clock_pause(&next, mono_ms, err)
             : to == ES_CLOCK_STOPPED       ? es_clock_stop(&next, mono_ms, err)
             : next.state == ES_CLOCK_READY ? es_clock_start(&next, mono_ms, err)
                                            : es_clock_resume(&next, mono_ms, err);
    if (rc != 0)
        return rc;
    struct es_event event = {.type = ES_EV_CLOCK,
                             .team = -1,
                             .subject = -1,
                             .a = (int)to,
                             .b = next.speed_permille};
    json_t *json =
        json_pack("{s:s, s:s*}", "by", by != NULL ? by : "admin", "reason", reason);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text == NULL)
        return es_err_nomem(err);
    r->clock = next;
    r->trouble[0] = '\0'; /* before the commit, which may say it anew */
    rc = range_event(r, &event, text, NULL, committed, arg);
    if (rc != 0) {
        r->clock = before;
        return range_event_refused(r, rc, err);
    }
    probing_tick(r);
    return 0;
}
