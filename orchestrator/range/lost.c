/* A ledger that cannot be written: the batch is dropped, the clock paused through the
 * store's reserve, the fold built anew from what the ledger holds. Agents keep what they
 * told since, unacknowledged, until the clock is to run again; then the ledger is opened
 * anew and they are asked once more. */
#include <string.h>

#include "inner.h"

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
    r->folded_count = r->queued_count;
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

void range_lost_ledger(struct range *r, int status, const struct es_err *err)
{
    es_log_error("range %s: the ledger cannot be written: %s", r->name, err->msg);
    es_str_printf(r->trouble, sizeof r->trouble,
                  "paused: the ledger cannot be written: %.180s", err->msg);
    r->held_back = true;
    stop_clock(r);
    range_rebuild_now(r);
    forget_unacked(r);
    refuse_all(r, status, err);
    r->commit_in_flight = false;
    range_rescore_waiting(r);
    range_sign_if_stopped(r);
    if (r->phase == R_LEAVING)
        range_close(r, NULL, NULL);
}

void range_take_again(struct range *r)
{
    r->held_back = false;
    forget_unacked(r);
    for (size_t i = 0; i < r->machine_count; i++)
        machine_connect_again(&r->machines[i]);
}

/* After an error nobody knows what the disc kept: what it holds is read again, and the
 * reserve made again. */
int range_reopen_ledger(struct range *r, struct es_err *err)
{
    struct es_score *old = r->score;
    struct es_clock_mark mark;
    if (!r->held_back)
        return 0;
    if (r->commit_in_flight || r->readers > 0)
        return es_err_set(err, ES_EBUSY,
                          "the ledger is being written or read; repeat it");
    es_store_close(r->store);
    r->store = NULL;
    int rc = range_open_ledger(r, false, NULL, NULL, err);
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
