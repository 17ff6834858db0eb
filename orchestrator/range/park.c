/* The method `park`: a range goes to sleep. Its clock pauses, its machines are suspended
 * together, so that sessions between them see one moment, and saved; what was in the host's
 * cache is flushed, and only then is it said to be parked. park.h shows the whole way. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "park.h"

/* ---------------------------------------------------------------- the walk */

/* A call may answer from inside: the walk itself counts what is under way. */
static void walk(struct park *p)
{
    struct range *r = p->range;
    if (p->walking)
        return;
    p->walking = true;
    while (p->at < r->machine_count && p->waiting < p->wide) {
        struct machine *m = &r->machines[p->at++];
        if (machine_state(m) != p->state)
            continue;
        p->waiting++;
        p->one(p, m);
    }
    p->walking = false;
    if (p->waiting == 0)
        p->next(p);
}

void park_each(struct park *p, enum machine_state state, size_t wide,
               void (*one)(struct park *p, struct machine *m),
               void (*next)(struct park *p))
{
    p->state = state;
    p->wide = wide;
    p->one = one;
    p->next = next;
    p->at = 0;
    walk(p);
}

void park_arrived(struct park *p)
{
    ES_ASSERT(p->waiting > 0);
    p->waiting--;
    walk(p);
}

void park_note(struct park *p, int status, const struct es_err *err)
{
    if (status == 0)
        return;
    p->disconnected |= status == ES_ECONN;
    if (!p->failed)
        p->first = *err;
    p->failed = true;
}

/* ---------------------------------------------------------------- telling */

void park_tell(struct park *p, const char *text)
{
    if (p->reply != NULL)
        p->reply->progress(p->reply,
                           json_pack("{s:s, s:s}", "step",
                                     p->range->phase == R_PARKING ? "park" : "unpark",
                                     "text", text));
}

void park_progress(struct machine *m)
{
    struct park *p = m->range->park;
    if (p != NULL && p->reply != NULL)
        p->reply->progress(p->reply, machine_progress_json(m));
}

static void on_committed(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct range *r = arg;
    (void)pos;
    if (r->phase == R_LEAVING)
        return;
    if (status != 0)
        es_log_error("range %s: %s", r->name, err->msg);
    park_note(r->park, status, err);
    r->park->next(r->park);
}

void park_event(struct park *p, enum es_park_event what, const char *reason,
                void (*next)(struct park *p))
{
    struct es_event event = {
        .type = ES_EV_PARK, .team = -1, .subject = -1, .a = (int)what};
    struct es_err err = {0};
    const char *id;
    p->next = next;
    int rc =
        person_id(p->range, json_string_value(json_object_get(p->who, "by")), &id, &err);
    if (rc != 0) {
        on_committed(p->range, rc, &err, 0);
        return;
    }
    json_t *json = json_deep_copy(p->who);
    json_object_set_new(json, "by", json_string(id));
    if (reason != NULL)
        json_object_set_new(json, "reason", json_string(reason));
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    rc = text != NULL ? range_event(p->range, &event, text, NULL, on_committed, p->range)
                      : ES_ENOMEM;
    if (rc != 0) {
        range_event_refused(p->range, rc, &err);
        on_committed(p->range, rc, &err, 0);
    }
}

static void after_job(struct job *job)
{
    struct range *r = job->arg;
    if (!range_release(r))
        r->park->next(r->park);
}

void park_job(struct park *p, const char *what, void (*work)(struct job *job),
              void (*next)(struct park *p))
{
    struct range *r = p->range;
    p->next = next;
    p->job = (struct job){.what = what, .work = work, .after = after_job, .arg = r};
    range_hold(r);
    if (job_start(r->core, &p->job, &p->job.err) != 0) {
        p->job.status = p->job.err.code;
        after_job(&p->job);
    }
}

static void answer(struct park *p, json_t *result)
{
    struct es_reply *reply = p->reply;
    if (p->failed)
        es_log_warn("range %s: %s", p->range->name, p->first.msg);
    if (reply == NULL || p->failed)
        json_decref(result);
    if (reply != NULL && p->failed)
        reply->fail(reply, &p->first);
    else if (reply != NULL)
        reply->done(reply, result);
}

void park_finish(struct park *p, enum range_phase phase, json_t *result)
{
    struct range *r = p->range;
    r->phase = phase;
    r->park = NULL;
    range_changed(r);
    answer(p, result);
    json_decref(p->who);
    bool again = p->disconnected && r->core->hyp_up;
    es_free(p);
    if (again) /* it came back before all calls had failed */
        core_list_machines(r->core);
}

/* Freed with the range: a call or a job may be under way. */
void park_cancel(struct range *r)
{
    struct park *p = r->park;
    if (p == NULL || p->reply == NULL)
        return;
    struct es_reply *reply = p->reply;
    p->reply = NULL;
    reply_fail_new(reply, ES_ECANCELED,
                   "range %s: the core ends; it is seen to when the core is back",
                   r->name);
}

void park_free(struct range *r)
{
    if (r->park != NULL)
        json_decref(r->park->who);
    es_free(r->park);
}

/* ---------------------------------------------------------------- parked */

static json_t *result_of(const struct park *p)
{
    const struct range *r = p->range;
    return json_pack("{s:s, s:I, s:I, s:I}", "range", r->name, "machines",
                     (json_int_t)p->machines, "bytes", (json_int_t)p->bytes, "took_ms",
                     (json_int_t)(uv_now(r->core->loop) - p->began_ms));
}

static void after_parked(struct park *p)
{
    if (p->failed) {
        park_undo(p);
        return;
    }
    es_log_info("range %s: parked, %zu machines in %lld MiB", p->range->name, p->machines,
                (long long)(p->bytes >> 20));
    park_finish(p, R_PARKED, result_of(p));
}

/* What QEMU and libvirt wrote lies in the host's cache; so do the names of the files. */
static void work_flush(struct job *job)
{
    const struct range *r = job->arg;
    job->status = parked_keep(r, &job->err);
    int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job->status == 0 && (fd < 0 || syncfs(fd) != 0))
        job->status = es_err_set(&job->err, ES_EIO, "cannot flush the disk below %s: %s",
                                 r->dir, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void after_flush(struct park *p)
{
    park_note(p, p->job.status, &p->job.err);
    if (p->failed)
        park_undo(p);
    else
        park_event(p, ES_PARK_PARKED, NULL, after_parked);
}

/* ---------------------------------------------------------------- saving */

static void after_save(struct park *p)
{
    if (p->disconnected) {
        park_finish(p, R_PARKING, NULL);
    } else if (p->failed) {
        park_undo(p);
    } else {
        park_tell(p, "flushing the disks");
        park_job(p, "flush", work_flush, after_flush);
    }
}

/* A machine that had ended, or that a crash of the host took, keeps nobody else up. */
static void on_saved(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    if (range_release(r))
        return;
    if (status == ES_ENOENT) {
        machine_lost(m, "it ended before it was saved");
    } else if (status != 0) {
        park_note(r->park, status, err);
    } else {
        r->park->machines++;
        r->park->bytes += parked_bytes(m);
        machine_set(m, M_PARKED, "");
    }
    park_arrived(r->park);
}

static void save_machine(struct park *p, struct machine *m)
{
    char path[PATH_BYTES + ES_PLAN_NAME_MAX + 32];
    struct range *r = p->range;
    if (p->failed) { /* it is undone: the fewer are saved, the sooner */
        park_arrived(p);
        return;
    }
    parked_file(m, path, sizeof path);
    range_hold(r);
    machine_set(m, M_PARKING, "saving");
    hyp_submit(es_hyp_machine_save(r->core->hyp, m->plan->name, path, on_saved, m),
               on_saved, m);
}

static void after_suspend(struct park *p)
{
    if (p->disconnected)
        park_finish(p, R_PARKING, NULL);
    else if (p->failed)
        park_undo(p);
    else
        park_each(p, M_PARKING, PARK_WIDE, save_machine, after_save);
}

/* Whether it is there at all is seen when it is saved. */
static void on_suspended(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    if (range_release(r))
        return;
    park_note(r->park, status == ES_ENOENT ? 0 : status, err);
    park_arrived(r->park);
}

static void suspend_machine(struct park *p, struct machine *m)
{
    struct range *r = p->range;
    range_hold(r);
    hyp_submit(es_hyp_machine_suspend(r->core->hyp, m->plan->name, on_suspended, m),
               on_suspended, m);
}

static void suspend_machines(struct park *p)
{
    park_tell(p, "suspending all machines, then saving each");
    park_each(p, M_PARKING, SIZE_MAX, suspend_machine, after_suspend);
}

/* ---------------------------------------------------------------- the intent */

static void after_intent(struct park *p)
{
    if (p->failed)
        park_undo(p);
    else
        suspend_machines(p);
}

static void after_folder(struct park *p)
{
    struct range *r = p->range;
    struct es_err err = {0};
    park_note(p, p->job.status, &p->job.err);
    if (!p->failed && r->clock.state == ES_CLOCK_RUNNING)
        park_note(p,
                  range_clock_move(r, ES_CLOCK_PAUSED,
                                   json_string_value(json_object_get(p->who, "by")),
                                   "parked", NULL, NULL, &err),
                  &err);
    if (p->failed)
        park_undo(p);
    else
        park_event(p, ES_PARK_PARKING, NULL, after_intent);
}

static void work_folder(struct job *job)
{
    struct range *r = job->arg;
    job->status = parked_clear(r, &job->err);
    if (job->status == 0)
        job->status = parked_keep(r, &job->err);
}

static bool is_to_park(const struct machine *m)
{
    return machine_state(m) == M_READY || machine_state(m) == M_SUSPENDED;
}

/* Nothing is asked of the agents any more; what they hold they tell when they are back. */
static void leave_machines(struct range *r)
{
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        if (!is_to_park(m))
            continue;
        m->was_suspended = machine_state(m) == M_SUSPENDED;
        m->answered = m->link != NULL && es_link_state(m->link) == ES_LINK_UP;
        machine_set(m, M_PARKING, "suspending");
        machine_close_link(m);
    }
}

/* ---------------------------------------------------------------- the request */

/* Machines that are on their way are waited for; those that are not up stay as they are. */
static int check_machines(const struct range *r, struct es_plan *need, struct es_err *err)
{
    for (size_t i = 0; i < r->machine_count; i++) {
        const struct machine *m = &r->machines[i];
        enum machine_state state = machine_state(m);
        if (is_to_park(m) && !m->pausing)
            need->disk_bytes += m->plan->memory_bytes;
        else if (state != M_PLANNED && state != M_FAILED && state != M_DOWN &&
                 state != M_FAULT)
            return es_err_set(err, ES_EBUSY, "%s is %s; wait for it", m->label,
                              es_sm_name(&m->sm));
    }
    return 0;
}

static int check(struct range *r, struct es_err *err)
{
    struct es_plan need = {.team_count = r->team_count};
    struct es_plan_host host = {.disk_bytes = core_disk_free(r->core)};
    memcpy(need.range, r->name, sizeof need.range);
    int rc = range_check_up(r, err);
    if (rc == 0 && (range_is_busy(r) || r->rehearsal != NULL))
        rc = es_err_set(err, ES_EBUSY, "range %s is being worked on; wait for it",
                        r->name);
    if (rc == 0 && !es_list_empty(&r->effects))
        rc = es_err_set(err, ES_EBUSY,
                        "something asked of a machine of range %s is not answered yet; "
                        "wait for it",
                        r->name);
    if (rc == 0)
        rc = check_machines(r, &need, err);
    if (rc == 0)
        rc = es_plan_fits(&need, &host, NULL, err);
    if (rc == 0)
        rc = range_reopen_ledger(r, err);
    return rc;
}

struct park *park_begin(struct es_range_core *core, const json_t *params,
                        struct es_reply *reply)
{
    const char *name = json_string_value(json_object_get(params, "range"));
    const char *by = json_string_value(json_object_get(params, "by"));
    struct range *r = core_find_range(core, name);
    struct park *p = NULL;
    if (r == NULL)
        reply_fail_new(reply, ES_ENOENT, "no range %s; `enshu status` lists them", name);
    else if (!core->hyp_up)
        reply_fail_new(reply, ES_ECONN,
                       "libvirt at %s does not answer; `enshu doctor` says why",
                       core->uri);
    else if ((p = es_calloc(1, sizeof *p)) == NULL)
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
    if (p == NULL)
        return NULL;
    *p = (struct park){.range = r, .reply = reply, .began_ms = uv_now(core->loop)};
    p->who = json_pack("{s:s, s:O*}", "by", by != NULL ? by : "admin", "reason",
                       json_object_get(params, "reason"));
    return p;
}

void es_range_call_park(struct es_range_core *core, const json_t *params,
                        struct es_reply *reply)
{
    struct es_err err = {0};
    struct park *p = park_begin(core, params, reply);
    if (p == NULL)
        return;
    struct range *r = p->range;
    if (check(r, &err) != 0) {
        reply->fail(reply, &err);
        json_decref(p->who);
        es_free(p);
        return;
    }
    r->park = p;
    r->phase = R_PARKING;
    leave_machines(r);
    park_job(p, "park", work_folder, after_folder);
}

/* ---------------------------------------------------------------- begun before */

void park_mend(struct range *r)
{
    struct park *p = es_calloc(1, sizeof *p);
    if (p != NULL)
        *p = (struct park){.range = r,
                           .began_ms = uv_now(r->core->loop),
                           .who = json_pack("{s:s}", "by", "core")};
    if (p == NULL || p->who == NULL) {
        es_log_error("range %s: out of memory; it stays as it is", r->name);
        es_free(p);
        return;
    }
    r->park = p;
    es_log_info("range %s: its %s, begun before, is ended", r->name,
                r->phase == R_PARKING ? "parking" : "unparking");
    if (r->phase == R_PARKING) /* forwards: what is saved stays saved */
        suspend_machines(p);
    else
        park_return(p);
}
