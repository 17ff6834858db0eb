/* A machine that was suspended runs again, after a moment or a month: its agent, the same
 * as before, must answer, and its clock be set. Nothing of it is personalised anew, unless
 * its agent was started anew as the machine was suspended. */
#include <time.h>

#include "inner.h"

#define CLOCK_LIMIT_MS 20000

static void become_ready(struct machine *m)
{
    m->on_timer = NULL;
    machine_set(m, M_READY, "");
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
               "its agent answered before it was parked and not within %d s after; "
               "`enshu reset` makes the machine anew",
               WAKE_LIMIT_MS / 1000);
    fail(m, &err);
}

void machine_wake(struct machine *m)
{
    struct es_err err = {0};
    machine_set(m, M_WAKING, "waiting for its agent");
    if (machine_open_link(m, &err) != 0)
        fail(m, &err);
    else if (!m->answered) /* a trainee may have stopped it */
        become_ready(m);
    else
        machine_timer(m, WAKE_LIMIT_MS, on_limit);
}

static void on_clock(struct machine *m, const struct es_result *result, void *arg)
{
    (void)arg;
    if (m->link == NULL || machine_state(m) != M_WAKING)
        return;
    if (!result->ok && (es_str_eq(result->error_code, "timeout") ||
                        es_str_eq(result->error_code, "lost"))) {
        machine_awake(m); /* until the limit */
        return;
    }
    if (!result->ok)
        es_log_warn("%s: its clock is not set: %s: %s", m->label, result->error_code,
                    result->error_text);
    become_ready(m);
}

void machine_awake(struct machine *m)
{
    struct es_err err = {0};
    struct timespec now;
    if (m->done_epoch[0] != '\0' && !es_str_eq(m->done_epoch, m->epoch)) {
        m->on_timer = NULL;
        machine_personalise(m);
        return;
    }
    es_str_printf(m->done_epoch, sizeof m->done_epoch, "%s", m->epoch);
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *args = json_pack("{s:I}", "time_us",
                             (json_int_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    machine_set(m, M_WAKING, "setting its clock");
    if (machine_call(m, ES_OP_PERSONALISE, args, CLOCK_LIMIT_MS, 4096, on_clock, NULL,
                     &err) != 0)
        fail(m, &err);
}
