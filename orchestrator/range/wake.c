/* A machine that was suspended runs again, after a moment or a month: its agent, the same
 * as before, must answer; then its clock is set. Nothing of it is personalised anew, unless
 * its agent was started anew as the machine was suspended. */
#include "inner.h"

static void become_ready(struct machine *m)
{
    m->on_timer = NULL;
    machine_set(m, M_READY, "");
    if (m->was_suspended)
        range_machine_event(m, ES_MEV_READY, "resumed: its range was parked meanwhile");
    m->was_suspended = false;
    machine_settle(m, true, NULL);
}

static void fail(struct machine *m, struct es_err *err)
{
    es_err_prefix(err, "%s: wake", m->label);
    es_log_warn("range %s: %s", m->range->name, err->msg);
    m->on_timer = NULL;
    machine_close_link(m);
    machine_lost(m, err->msg);
    machine_settle(m, false, err);
}

static void on_limit(struct machine *m)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ETIMEDOUT,
               "its agent answered before it was suspended and not within %d s after; "
               "`enshu reset` makes the machine anew",
               WAKE_LIMIT_MS / 1000);
    fail(m, &err);
}

void machine_wake(struct machine *m)
{
    struct es_err err = {0};
    machine_set(m, M_WAKING, "waiting for its agent");
    m->clock_stale = true;
    m->private_bytes = 0;
    m->looks = 0;
    m->grouped = false;
    if (machine_open_link(m, &err) != 0)
        fail(m, &err);
    else if (!m->answered) /* a trainee may have stopped it */
        become_ready(m);
    else
        machine_timer(m, WAKE_LIMIT_MS, on_limit);
}

void machine_awake(struct machine *m)
{
    if (m->done_epoch[0] == '\0' || es_str_eq(m->done_epoch, m->epoch)) {
        es_str_printf(m->done_epoch, sizeof m->done_epoch, "%s", m->epoch);
        become_ready(m);
        return;
    }
    m->on_timer = NULL;
    m->clock_stale = false;
    machine_personalise(m);
}
