/* Reset: a machine gets a new disk and starts again, as a new instance. The ledger says so,
 * and what was seen on the old instance counts no longer as its present state. */
#include <string.h>

#include "inner.h"
#include "programme.h"

struct reset {
    struct es_reply *reply; /* NULL: a rehearsal's */
    struct range *range;
    size_t waiting, count;
    struct es_err first;
    bool failed;
    void (*done)(void *arg, int status, const struct es_err *err);
    void *arg;
};

static void finish_one(struct reset *reset, bool ok, const struct es_err *err)
{
    if (!ok && !reset->failed) {
        reset->failed = true;
        reset->first = *err;
    }
    if (--reset->waiting > 0)
        return;
    if (reset->done != NULL && reset->range->rehearsal == NULL)
        es_log_debug("range %s: reset after its rehearsal's end", reset->range->name);
    else if (reset->done != NULL)
        reset->done(reset->arg, reset->failed ? reset->first.code : 0, &reset->first);
    else if (reset->failed)
        reset->reply->fail(reset->reply, &reset->first);
    else
        reset->reply->done(reset->reply,
                           json_pack("{s:I}", "machines", (json_int_t)reset->count));
    es_free(reset);
}

static void on_settled(struct machine *m, bool ok, const struct es_err *err)
{
    finish_one(m->settled_arg, ok, err);
}

void reset_machine_progress(const struct machine *m)
{
    const struct reset *reset = m->settled_arg;
    if (m->on_settled == on_settled && reset->reply != NULL)
        reset->reply->progress(reset->reply, machine_progress_json(m));
}

static void on_stopped(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct reset *reset = m->settled_arg;
    if (m->range->phase == R_LEAVING) {
        struct es_err ends = {0};
        es_err_set(&ends, ES_ECANCELED, "%s: its range ends", m->label);
        finish_one(reset, false, &ends);
        range_release(m->range);
        return;
    }
    range_release(m->range);
    if (status != 0 && status != ES_ENOENT) {
        struct es_err stop_err = *err;
        m->on_settled = NULL;
        m->resetting = false;
        es_err_prefix(&stop_err, "%s: stop", m->label);
        finish_one(reset, false, &stop_err);
        return;
    }
    m->resetting = false;
    if (machine_state(m) == M_STOPPING)
        machine_set(m, M_PLANNED, "reset");
    m->on_settled = on_settled;
    machine_bring_up(m);
}

static bool can_reset(const struct machine *m)
{
    enum machine_state state = machine_state(m);
    return !m->mould && !m->resetting && m->on_settled == NULL && !m->pausing &&
           (state == M_READY || state == M_DOWN || state == M_FAULT ||
            state == M_FAILED || state == M_SUSPENDED);
}

static void reset_one(struct machine *m, struct reset *reset)
{
    enum machine_state state = machine_state(m);
    m->settled_arg = reset;
    m->on_settled = NULL;
    m->on_timer = NULL;
    m->resetting = true;
    range_machine_event(m, ES_MEV_RESET, NULL);
    if (state == M_READY || state == M_SUSPENDED)
        machine_set(m, M_STOPPING, "reset");
    steps_abort(m);
    machine_close_link(m);
    range_hold(m->range);
    hyp_submit(
        es_hyp_machine_stop(m->range->core->hyp, m->plan->name, false, on_stopped, m),
        on_stopped, m);
}

static bool is_meant(const struct machine *m, const struct machine *only, int team)
{
    return (only != NULL ? m == only : m->plan->team == team) && can_reset(m);
}

/* A disk of months is not lost by a word. */
static int drop_kept(struct range *r, const struct machine *only, int team, bool force,
                     struct es_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->machine_count && rc == 0; i++) {
        struct machine *m = &r->machines[i];
        if (!is_meant(m, only, team) || !machine_is_kept(m))
            continue;
        rc = force ? programme_drop(m, err)
                   : es_err_set(err, ES_ESTATE,
                                "%s has a disk that is kept (lifetime: programme), and a "
                                "reset drops all that is on it; --force does so",
                                m->label);
    }
    return rc;
}

static void reset_machines(struct reset *reset, const struct machine *only, int team)
{
    struct range *r = reset->range;
    reset->waiting = 1;
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        if (!is_meant(m, only, team))
            continue;
        reset->waiting++;
        reset->count++;
        reset_one(m, reset);
    }
    finish_one(reset, true, NULL);
}

void range_reset_team(struct range *r, int team,
                      void (*done)(void *arg, int status, const struct es_err *err),
                      void *arg)
{
    struct reset *reset = es_calloc(1, sizeof *reset);
    if (reset == NULL) {
        struct es_err err = {0};
        es_err_nomem(&err);
        done(arg, ES_ENOMEM, &err);
        return;
    }
    *reset = (struct reset){.range = r, .done = done, .arg = arg};
    reset_machines(reset, NULL, team);
}

void es_range_call_reset(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply)
{
    const char *name = json_string_value(json_object_get(params, "range"));
    const char *label = json_string_value(json_object_get(params, "machine"));
    json_int_t team = json_integer_value(json_object_get(params, "team"));
    struct range *r = core_find_range(core, name);
    struct es_err err = {0};
    if (r == NULL) {
        reply_fail_new(reply, ES_ENOENT, "no range %s; `enshu status` lists them", name);
        return;
    }
    if (range_check_up(r, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    struct machine *m = label != NULL ? range_find_machine(r, label, &err) : NULL;
    if (label != NULL && m == NULL) {
        reply->fail(reply, &err);
        return;
    }
    if (m == NULL && (team < 1 || team > r->team_count)) {
        reply_fail_new(reply, ES_EINVAL, "say which machine or team (1 to %d) to reset",
                       r->team_count);
        return;
    }
    if (m != NULL && !can_reset(m)) {
        reply_fail_new(reply, ES_EBUSY, "%s is %s; wait for it", m->label,
                       es_sm_name(&m->sm));
        return;
    }
    if (r->scenario->nodes_count > 0 && r->images[0].digest[0] == '\0') {
        reply_fail_new(reply, ES_ESTATE,
                       "the images of range %s are not known; `enshu up` finds them",
                       name);
        return;
    }
    if (drop_kept(r, m, (int)team, json_is_true(json_object_get(params, "force")),
                  &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    struct reset *reset = es_calloc(1, sizeof *reset);
    if (reset == NULL) {
        es_err_nomem(&err);
        reply->fail(reply, &err);
        return;
    }
    *reset = (struct reset){.range = r, .reply = reply};
    reset_machines(reset, m, (int)team);
}
