/* The method `unpark`: a range wakes up, on a host that may have been started anew. What it
 * stood on is made again, its machines are restored suspended, and once the ledger says so
 * they run on together. The clock stays paused. The same way back is taken when a range
 * cannot be parked. park.h shows the whole way. */
#include <string.h>

#include "capacity.h"
#include "park.h"

/* ---------------------------------------------------------------- they run again */

static json_t *result_of(const struct park *p)
{
    const struct range *r = p->range;
    return json_pack("{s:s, s:I, s:I, s:{s:s, s:I}}", "range", r->name, "machines",
                     (json_int_t)p->machines, "took_ms",
                     (json_int_t)(uv_now(r->core->loop) - p->began_ms), "clock", "state",
                     es_clock_state_name(r->clock.state), "ex_ms",
                     (json_int_t)range_now_ex(r));
}

static void work_clear(struct job *job)
{
    job->status = parked_clear(job->arg, &job->err);
}

static void after_clear(struct park *p)
{
    if (p->job.status != 0)
        es_log_warn("range %s: %s", p->range->name, p->job.err.msg);
    if (!p->failed)
        es_log_info("range %s: unparked, %zu machines", p->range->name, p->machines);
    park_finish(p, R_UP, result_of(p));
}

static void after_wake(struct park *p)
{
    if (p->failed && !p->undoing)
        es_err_prefix(&p->first, "range %s is up again, but", p->range->name);
    park_job(p, "remove parked machines", work_clear, after_clear);
}

static void on_awake(struct machine *m, bool ok, const struct es_err *err)
{
    struct park *p = m->range->park;
    if (m->range->phase == R_LEAVING)
        return;
    park_note(p, ok ? 0 : err->code, err);
    park_arrived(p);
}

static void on_resumed(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    if (range_release(r))
        return;
    if (status != 0) {
        park_note(r->park, status, err);
        machine_lost(m, err->msg);
        park_arrived(r->park);
        return;
    }
    m->on_settled = on_awake;
    machine_wake(m);
}

static void resume_machine(struct park *p, struct machine *m)
{
    struct range *r = p->range;
    range_hold(r);
    hyp_submit(es_hyp_machine_resume(r->core->hyp, m->plan->name, on_resumed, m),
               on_resumed, m);
}

/* From here on their disks change: the files are nothing any more. */
static void resume_machines(struct park *p)
{
    p->range->phase = R_WAKING;
    for (size_t i = 0; i < p->range->machine_count; i++)
        p->range->machines[i].whole |= machine_state(&p->range->machines[i]) == M_WAKING;
    park_tell(p, "all machines run on");
    park_each(p, M_WAKING, SIZE_MAX, resume_machine, after_wake);
}

/* ---------------------------------------------------------------- restoring */

static void restore_machine(struct park *p, struct machine *m, es_hyp_done on_restored)
{
    char path[PATH_BYTES + ES_PLAN_NAME_MAX + 32];
    struct range *r = p->range;
    parked_file(m, path, sizeof path);
    machine_set(m, M_PARKED, "restoring");
    range_hold(r);
    hyp_submit(es_hyp_machine_restore(r->core->hyp, r->name, m->plan->name, path,
                                      on_restored, m),
               on_restored, m);
}

/* ---------------------------------------------------------------- parked as before */

static void after_return(struct park *p)
{
    park_finish(p, R_PARKED, json_object());
}

static void after_end(struct park *p)
{
    if (p->disconnected)
        park_finish(p, R_UNPARKING, NULL);
    else
        park_event(p, ES_PARK_PARKED, p->failed ? p->first.msg : "the core had ended",
                   after_return);
}

/* One that stays is ended when it is restored again. */
static void on_ended(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    if (range_release(r))
        return;
    if (status != 0)
        es_log_warn("range %s: %s", r->name, err->msg);
    r->park->disconnected |= status == ES_ECONN;
    park_arrived(r->park);
}

static void end_machine(struct park *p, struct machine *m)
{
    struct range *r = p->range;
    range_hold(r);
    hyp_submit(es_hyp_machine_stop(r->core->hyp, m->plan->name, false, on_ended, m),
               on_ended, m);
}

void park_return(struct park *p)
{
    struct range *r = p->range;
    if (p->failed)
        es_err_prefix(&p->first, "range %s stays parked", r->name);
    for (size_t i = 0; i < r->machine_count; i++)
        if (machine_state(&r->machines[i]) == M_WAKING ||
            machine_state(&r->machines[i]) == M_PARKED)
            machine_set(&r->machines[i], M_PARKED, "");
    park_each(p, M_PARKED, SIZE_MAX, end_machine, after_end);
}

/* ---------------------------------------------------------------- unpark */

static void after_unparked(struct park *p)
{
    if (p->failed)
        park_return(p);
    else
        resume_machines(p);
}

static void after_restore(struct park *p)
{
    if (p->disconnected)
        park_finish(p, R_UNPARKING, NULL);
    else if (p->failed)
        park_return(p);
    else
        park_event(p, ES_PARK_UNPARKED, NULL, after_unparked);
}

static void on_restored(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    if (range_release(r))
        return;
    park_note(r->park, status, err);
    if (status == 0) {
        r->park->machines++;
        machine_set(m, M_WAKING, "restored, suspended");
    } else
        machine_set(m, M_PARKED, err->msg);
    park_arrived(r->park);
}

static void restore_one(struct park *p, struct machine *m)
{
    if (p->failed)
        park_arrived(p);
    else
        restore_machine(p, m, on_restored);
}

static void on_ground(struct range *r, int status, const struct es_err *err, void *arg)
{
    struct park *p = arg;
    if (range_release(r))
        return;
    park_note(p, status, err);
    if (p->disconnected) {
        park_finish(p, R_UNPARKING, NULL);
    } else if (p->failed) {
        park_return(p);
    } else {
        park_tell(p, "restoring each machine");
        park_each(p, M_PARKED, PARK_WIDE, restore_one, after_restore);
    }
}

static void after_intent(struct park *p)
{
    struct range *r = p->range;
    if (p->failed) {
        park_finish(p, R_PARKED, NULL);
        return;
    }
    park_tell(p, "making networks");
    range_hold(r);
    ground_apply(r, false, on_ground, p);
}

/* A machine that comes back takes at least what was written of it. */
static int check_room(const struct range *r, const struct es_hyp_info *info,
                      struct es_err *err)
{
    struct es_plan need = {.team_count = r->team_count};
    struct es_plan_host host = info->host;
    capacity_host(r->core, &host);
    memcpy(need.range, r->name, sizeof need.range);
    for (size_t i = 0; i < r->machine_count; i++)
        if (machine_state(&r->machines[i]) == M_PARKED)
            need.memory_bytes += parked_bytes(&r->machines[i]) + ES_PLAN_QEMU_BYTES;
    return es_plan_fits(&need, &host, NULL, err);
}

static void on_info(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *info_err)
{
    struct range *r = ctx;
    struct park *p = r->park;
    struct es_err err = {0};
    if (range_release(r))
        return;
    park_note(p, status, info_err);
    if (status == 0)
        park_note(p, check_room(r, info, &err), &err);
    if (p->failed) {
        p->disconnected = false; /* nothing was begun */
        park_finish(p, R_PARKED, NULL);
    } else
        park_event(p, ES_PARK_UNPARKING, NULL, after_intent);
}

void es_range_call_unpark(struct es_range_core *core, const json_t *params,
                          struct es_reply *reply)
{
    struct es_err err = {0};
    struct park *p = park_begin(core, params, reply);
    if (p == NULL)
        return;
    struct range *r = p->range;
    if (r->phase != R_PARKED || r->taking_down)
        es_err_set(&err, r->phase == R_UP ? ES_ESTATE : ES_EBUSY, "range %s is %s",
                   r->name,
                   r->phase == R_UP ? "not parked" : "being worked on; wait for it");
    else
        range_reopen_ledger(r, &err);
    if (err.code != 0) {
        reply->fail(reply, &err);
        json_decref(p->who);
        es_free(p);
        return;
    }
    r->park = p;
    r->phase = R_UNPARKING;
    range_changed(r);
    range_hold(r);
    if (es_hyp_info(core->hyp, on_info, r) != 0)
        on_info(r, es_err_nomem(&err), NULL, &err);
}

/* ---------------------------------------------------------------- a parking undone */

/* Before the ledger says that they run: a core that comes after must find no file then.
 * They run on even if it cannot say so. */
static void after_undo_clear(struct park *p)
{
    struct range *r = p->range;
    if (p->job.status != 0)
        es_log_warn("range %s: %s", r->name, p->job.err.msg);
    for (size_t i = 0; i < r->machine_count; i++)
        if (machine_state(&r->machines[i]) == M_PARKING)
            machine_set(&r->machines[i], M_WAKING, "suspended");
    park_event(p, ES_PARK_UNPARKED, p->first.msg, resume_machines);
}

static void after_undo(struct park *p)
{
    if (p->disconnected)
        park_finish(p, R_PARKING, NULL);
    else
        park_job(p, "remove parked machines", work_clear, after_undo_clear);
}

static void on_back(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    if (range_release(r))
        return;
    r->park->disconnected |= status == ES_ECONN;
    if (status == 0)
        machine_set(m, M_WAKING, "restored, suspended");
    else if (status != ES_ECONN)
        machine_lost(m, err->msg);
    park_arrived(r->park);
}

static void undo_one(struct park *p, struct machine *m)
{
    restore_machine(p, m, on_back);
}

void park_undo(struct park *p)
{
    es_err_prefix(&p->first, "range %s is not parked, its clock is paused",
                  p->range->name);
    p->undoing = true;
    park_tell(p, "cannot be parked; its machines run on");
    park_each(p, M_PARKED, PARK_WIDE, undo_one, after_undo);
}
