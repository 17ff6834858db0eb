/* Freezing a scenario's moulds. All of team zero's machines come up from their disks, as a
 * team's would, but belong to none; when all are ready they become quiet, are suspended
 * together, and only then frozen, one by one: they are of one moment.
 *
 *   folder -> up -> booted to the end -> services stopped, where the node says so ->
 *   quiet -> links closed, all suspended -> each frozen -> all ended -> disks kept ->
 *   overlays made -> hashed
 *
 * Whatever fails, team zero's machines are ended before the answer. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "moulds.h"

#define STOP_LIMIT_MS 120000

struct freeze {
    struct range *range;
    struct job job;
    size_t waiting;
    void (*next)(struct freeze *f); /* when nothing is waited for any more */
    struct es_err first;            /* the first failure */
    bool failed;
    uint64_t began_ms;
    void (*done)(struct range *r, int status, const struct es_err *err, void *arg);
    void *arg;
};

static void finish(struct freeze *f)
{
    struct range *r = f->range;
    struct es_range_core *core = r->core;
    void (*done)(struct range *, int, const struct es_err *, void *) = f->done;
    void *arg = f->arg;
    struct es_err err = f->first;
    int status = f->failed ? err.code : 0;
    if (!f->failed)
        es_log_info("range %s: moulds frozen after %llu ms", r->name,
                    (unsigned long long)(uv_now(r->core->loop) - f->began_ms));
    r->freeze = NULL;
    es_free(f);
    done(r, status, status != 0 ? &err : NULL, arg);
    bring_freeze_ended(core);
}

static void note(struct freeze *f, int status, const struct es_err *err)
{
    if (status == 0 || f->failed)
        return;
    f->failed = true;
    f->first = *err;
}

static void arrived(struct freeze *f)
{
    ES_ASSERT(f->waiting > 0);
    if (--f->waiting == 0)
        f->next(f);
}

/* What was asked of a machine: without an answer to come it has arrived. That an agent left
 * is a matter of this machine, not of libvirt's connection. */
static void ask(struct freeze *f, int rc, const struct es_err *err)
{
    struct es_err told = {0};
    if (rc == 0)
        return;
    es_err_set(&told, rc == ES_ECONN ? ES_EGUEST : rc, "%s", err->msg);
    note(f, told.code, &told);
    arrived(f);
}

/* Does `one` for each machine and goes on when all have arrived. */
static void for_each(struct freeze *f, void (*one)(struct freeze *f, struct machine *m),
                     void (*next)(struct freeze *f))
{
    struct range *r = f->range;
    f->next = next;
    f->waiting = 1;
    for (size_t i = 0; i < r->machine_count; i++)
        if (r->machines[i].mould) {
            f->waiting++;
            one(f, &r->machines[i]);
        }
    arrived(f);
}

/* The answer of a hypervisor call for a machine. */
static void on_call(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    struct range *r = m->range;
    struct es_err told = {0};
    if (range_release(r))
        return;
    if (status != 0) {
        told = *err;
        es_err_prefix(&told, "%s: freeze", m->label);
    }
    note(r->freeze, status, &told);
    arrived(r->freeze);
}

/* ---------------------------------------------------------------- the end */

static void work_finish(struct job *job)
{
    job->status = frozen_finish(job->arg, &job->err);
}

static void after_finish(struct job *job)
{
    struct range *r = job->arg;
    if (range_release(r))
        return;
    note(r->freeze, job->status, &job->err);
    finish(r->freeze);
}

static void start_job(struct freeze *f, void (*work)(struct job *job),
                      void (*after)(struct job *job))
{
    struct es_err err = {0};
    f->job = (struct job){
        .what = "freeze moulds", .work = work, .after = after, .arg = f->range};
    if (job_start(f->range->core, &f->job, &err) != 0) {
        note(f, err.code, &err);
        finish(f);
    } else
        range_hold(f->range);
}

static void keep_overlays(struct freeze *f)
{
    struct range *r = f->range;
    char from[PATH_BYTES + ES_PLAN_NAME_MAX], to[PATH_BYTES + ES_NAME_MAX + 64];
    struct es_err err = {0};
    for (size_t i = 0; i < r->machine_count && !f->failed; i++) {
        const struct machine *m = &r->machines[i];
        if (!m->mould)
            continue;
        es_str_printf(from, sizeof from, "%s", m->disk);
        frozen_path(r, m->node->name, "overlay", to, sizeof to);
        if (rename(from, to) != 0 || chmod(to, 0644) != 0)
            note(f, es_err_set(&err, ES_EIO, "cannot keep %s: %s", to, strerror(errno)),
                 &err);
    }
    if (f->failed)
        finish(f);
    else
        start_job(f, work_finish, after_finish);
}

static void make_overlay(struct freeze *f, struct machine *m)
{
    struct range *r = f->range;
    char name[ES_PLAN_NAME_MAX + 8], backing[PATH_BYTES + ES_NAME_MAX + 64];
    es_str_printf(name, sizeof name, "%s.qcow2", m->plan->name);
    frozen_path(r, m->node->name, "qcow2", backing, sizeof backing);
    range_hold(r);
    hyp_submit(es_hyp_volume_apply(r->core->hyp, r->name, name, backing,
                                   m->plan->disk_bytes, true, on_call, m),
               on_call, m);
}

static void keep_disks(struct freeze *f)
{
    struct range *r = f->range;
    char to[PATH_BYTES + ES_NAME_MAX + 64];
    struct es_err err = {0};
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        if (!m->mould)
            continue;
        m->freezing = false;
        if (machine_state(m) == M_STOPPING)
            machine_set(m, M_DOWN, "frozen");
        frozen_path(r, m->node->name, "qcow2", to, sizeof to);
        if (!f->failed && rename(m->disk, to) != 0)
            note(f, es_err_set(&err, ES_EIO, "cannot keep %s: %s", to, strerror(errno)),
                 &err);
    }
    if (f->failed)
        finish(f);
    else
        for_each(f, make_overlay, keep_overlays);
}

static void end_machine(struct freeze *f, struct machine *m)
{
    struct range *r = f->range;
    steps_abort(m);
    m->on_timer = NULL;
    m->on_settled = NULL;
    machine_release_boot(m);
    machine_close_link(m);
    if (machine_state(m) == M_READY) /* another one failed */
        machine_set(m, M_STOPPING, "ending");
    range_hold(r);
    hyp_submit(es_hyp_machine_stop(r->core->hyp, m->plan->name, false, on_call, m),
               on_call, m);
}

static void end_machines(struct freeze *f)
{
    for_each(f, end_machine, keep_disks);
}

/* ---------------------------------------------------------------- the moment */

static void freeze_machine(struct freeze *f, struct machine *m)
{
    struct range *r = f->range;
    char state[PATH_BYTES + ES_NAME_MAX + 64];
    frozen_path(r, m->node->name, "state", state, sizeof state);
    range_hold(r);
    hyp_submit(es_hyp_machine_freeze(r->core->hyp, m->plan->name, state, on_call, m),
               on_call, m);
}

static void freeze_machines(struct freeze *f)
{
    if (f->failed)
        end_machines(f);
    else
        for_each(f, freeze_machine, end_machines);
}

static void suspend_machine(struct freeze *f, struct machine *m)
{
    struct range *r = f->range;
    struct es_err err = {0};
    if (machine_state(m) != M_READY) { /* while the others became quiet */
        ask(f,
            es_err_set(&err, ES_EGUEST, "%s: freeze: it is %s: %s", m->label,
                       es_sm_name(&m->sm), m->detail),
            &err);
        return;
    }
    machine_close_link(m); /* the guest sees its host leave, and waits for it */
    machine_set(m, M_STOPPING, "freezing");
    range_hold(r);
    hyp_submit(es_hyp_machine_suspend(r->core->hyp, m->plan->name, on_call, m), on_call,
               m);
}

static void suspend_machines(struct freeze *f)
{
    if (f->failed)
        end_machines(f);
    else
        for_each(f, suspend_machine, freeze_machines);
}

/* ---------------------------------------------------------------- quiet */

static void on_op_done(struct machine *m, const struct es_result *result, void *arg)
{
    struct freeze *f = arg;
    struct es_err err = {0};
    if (m->range->phase == R_LEAVING || m->range->freeze != f)
        return;
    if (!result->ok)
        note(f,
             es_err_set(&err, ES_EGUEST, "%s: make it quiet: %s: %s", m->label,
                        result->error_code, result->error_text),
             &err);
    arrived(f);
}

static void quiet_machine(struct freeze *f, struct machine *m)
{
    struct es_err err = {0};
    ask(f, machine_quiet(m, on_op_done, f, &err), &err);
}

static void quiet_machines(struct freeze *f)
{
    if (f->failed)
        end_machines(f);
    else
        for_each(f, quiet_machine, suspend_machines);
}

static void on_services(struct machine *m, const struct es_result *result, void *arg)
{
    struct freeze *f = arg;
    struct es_err err = {0};
    json_int_t code = json_integer_value(json_object_get(result->evidence, "exit"));
    bool ended = json_is_integer(json_object_get(result->evidence, "exit"));
    if (m->range->phase == R_LEAVING || m->range->freeze != f)
        return;
    if (!result->ok)
        es_err_set(&err, ES_EGUEST, "%s: stop its services: %s: %s", m->label,
                   result->error_code, result->error_text);
    else if (!ended || code != 0)
        es_err_set(&err, ES_EGUEST, "%s: stop its services: %s %lld", m->label,
                   ended ? "exit code" : "no exit code", (long long)code);
    note(f, err.code, &err);
    arrived(f);
}

/* Their processes would be the same in every fork, down to the addresses. The first thing a
 * fork does with them is to start them, when it is personalised. */
static void stop_services(struct freeze *f, struct machine *m)
{
    static const char line[] =
        "if [ -d /run/systemd/system ]; then exec systemctl stop -- \"$@\"; fi; "
        "for s; do /etc/init.d/\"$s\" stop || exit; done";
    const char *names[ES_MAX_SERVICES_OF];
    struct es_err err = {0};
    size_t count = m->node->before_services ? es_node_services(m->node, names) : 0;
    json_t *argv = json_pack("[s,s,s,s]", "/bin/sh", "-c", line, "sh");
    for (size_t i = 0; i < count && i < ES_COUNT(names); i++)
        json_array_append_new(argv, json_string(names[i]));
    json_t *args = json_pack("{s:o}", "argv", argv);
    if (count == 0) {
        json_decref(args);
        arrived(f);
        return;
    }
    ask(f, machine_call(m, ES_OP_EXEC, args, STOP_LIMIT_MS, 4096, on_services, f, &err),
        &err);
}

static void stop_all_services(struct freeze *f)
{
    if (f->failed)
        end_machines(f);
    else
        for_each(f, stop_services, quiet_machines);
}

/* What still starts or works would go on in every fork: the end of the boot is waited for,
 * then a second in which the guest is all but idle, half a minute at most. The first line of
 * /proc/stat: cpu user nice system idle iowait irq softirq, in hundredths of a second. */
static void await_boot(struct freeze *f, struct machine *m)
{
    static const char line[] =
        "{ if [ -d /run/systemd/system ]; then systemctl is-system-running --wait; fi\n"
        "busy() { set -- $(head -n 1 /proc/stat); echo $(($2 + $3 + $4 + $7 + $8)); }\n"
        "for i in $(seq 30); do\n"
        "  before=$(busy); sleep 1; [ $(($(busy) - before)) -gt 10 ] || break\n"
        "done; } >/dev/null 2>&1; :";
    struct es_err err = {0};
    json_t *args = json_pack("{s:[s,s,s]}", "argv", "/bin/sh", "-c", line);
    ask(f, machine_call(m, ES_OP_EXEC, args, BOOT_LIMIT_MS, 4096, on_op_done, f, &err),
        &err);
}

static void await_boots(struct freeze *f)
{
    if (f->failed)
        end_machines(f);
    else
        for_each(f, await_boot, stop_all_services);
}

/* ---------------------------------------------------------------- team zero comes up */

static void on_settled(struct machine *m, bool ok, const struct es_err *err)
{
    struct freeze *f = m->settled_arg;
    if (!ok)
        note(f, err->code, err);
    arrived(f);
}

static void bring_up_machine(struct freeze *f, struct machine *m)
{
    m->freezing = true;
    m->on_settled = on_settled;
    m->settled_arg = f;
    machine_bring_up(m);
}

static void work_folder(struct job *job)
{
    job->status = frozen_begin(job->arg, &job->err);
}

static void after_folder(struct job *job)
{
    struct range *r = job->arg;
    struct freeze *f = r->freeze;
    if (range_release(r))
        return;
    note(f, job->status, &job->err);
    if (f->failed)
        finish(f);
    else
        for_each(f, bring_up_machine, await_boots);
}

void freeze_begin(struct range *r,
                  void (*done)(struct range *r, int status, const struct es_err *err,
                               void *arg),
                  void *arg)
{
    struct es_err err = {0};
    struct freeze *f = es_calloc(1, sizeof *f);
    if (f == NULL) {
        done(r, es_err_nomem(&err), &err, arg);
        return;
    }
    ES_ASSERT(r->freeze == NULL);
    *f = (struct freeze){
        .range = r, .done = done, .arg = arg, .began_ms = uv_now(r->core->loop)};
    r->freeze = f;
    start_job(f, work_folder, after_folder);
}
