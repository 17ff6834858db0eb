/* How a machine comes to run: forked from its frozen mould, or booted from a disk of its own.
 * Both wait for their turn; the agent's hello ends it. */
#include <stdio.h>
#include <string.h>

#include "capacity.h"
#include "inner.h"
#include "moulds.h"
#include "programme.h"

static bool is_aborted(struct machine *m)
{
    struct es_err err = {0};
    if (!m->range->aborting)
        return false;
    es_err_set(&err, ES_ECANCELED, "its range is taken down");
    machine_fail(m, "start", &err);
    return true;
}

static void queue(struct machine *m)
{
    if (is_aborted(m))
        return;
    machine_set(m, M_QUEUED, "waiting for its turn");
    es_list_push(&m->range->core->boot_queue, &m->boot_link);
    core_try_boots(m->range->core);
}

static void on_disk(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    if (range_release(m->range))
        return;
    if (status != 0) {
        machine_fail(m, "make the disk", err);
        return;
    }
    queue(m);
}

static void on_cleared(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    const struct es_image *image = &m->range->images[m->plan->node];
    char name[ES_PLAN_NAME_MAX + 8];
    if (range_release(m->range))
        return;
    if (status != 0 && status != ES_ENOENT) {
        machine_fail(m, "stop what runs under its name", err);
        return;
    }
    if (machine_is_kept(m)) {
        range_hold(m->range);
        programme_disk(m, on_disk);
        return;
    }
    es_str_printf(name, sizeof name, "%s.qcow2", m->plan->name);
    range_hold(m->range);
    hyp_submit(es_hyp_volume_apply(m->range->core->hyp, m->range->name, name, image->disk,
                                   m->plan->disk_bytes, true, on_disk, m),
               on_disk, m);
}

/* The host may be another since the range came up: a reset asks again whether its moulds
 * serve. With ES_ESTATE they do not and nothing else is wanted. */
static int choose(struct machine *m, struct es_err *err)
{
    const struct range *r = m->range;
    char why[sizeof m->no_fork];
    m->forked = m->plan->team > 0 && r->no_fork[0] == '\0' && m->no_fork[0] == '\0';
    if (m->forked && machine_is_kept(m)) {
        m->forked = false;
        es_str_printf(m->no_fork, sizeof m->no_fork, "its disk is kept");
    }
    if (!m->forked || frozen_stands(r, why, sizeof why))
        return 0;
    if (r->mode == MODE_FORK)
        return es_err_set(err, ES_ESTATE, "%s; take the range down and up again", why);
    m->forked = false;
    memcpy(m->no_fork, why, sizeof why);
    return 0;
}

/* A try that failed may have left it running: on a disk that goes, and starting it again
 * would find it there and do nothing. */
void machine_begin(struct machine *m)
{
    struct es_err err = {0};
    machine_set(m, M_DISK, "making the disk");
    m->setup_done = m->own_done = false;
    m->took = (struct took){0};
    json_object_clear(m->baselines);
    if (choose(m, &err) != 0) {
        machine_fail(m, "fork", &err);
        return;
    }
    if (m->forked) { /* the fork ends what runs and makes the disk */
        queue(m);
        return;
    }
    range_hold(m->range);
    hyp_submit(
        es_hyp_machine_stop(m->range->core->hyp, m->plan->name, false, on_cleared, m),
        on_cleared, m);
}

int64_t machine_lap_us(struct machine *m)
{
    uint64_t now = uv_hrtime(), began = m->step_ns;
    m->step_ns = now;
    return (int64_t)((now - began) / 1000);
}

void machine_boot_late(struct machine *m)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ETIMEDOUT,
               "its agent did not answer within %d s; look at the end of %s for what the "
               "guest printed",
               (m->forked ? FORK_LIMIT_MS : BOOT_LIMIT_MS) / 1000, m->serial_log);
    machine_fail(m, m->forked ? "fork" : "boot", &err);
}

const char *machine_why_booted(const struct machine *m)
{
    if (m->forked || m->plan->team <= 0)
        return "";
    return m->no_fork[0] != '\0' ? m->no_fork : m->range->no_fork;
}

static void started(struct machine *m)
{
    if (is_aborted(m))
        return;
    struct es_err err = {0};
    char how[8 + sizeof m->no_fork];
    const char *why = machine_why_booted(m);
    es_str_printf(how, sizeof how, "%s%s%s", m->forked ? "fork" : "boot",
                  *why != '\0' ? ": " : "", why);
    machine_set(m, M_BOOTING, "waiting for its agent");
    m->step_ns = uv_hrtime();
    range_machine_event(m, ES_MEV_UP, how);
    if (machine_open_link(m, &err) != 0)
        machine_fail(m, "connect to the agent", &err);
    else
        machine_timer(m, m->forked ? FORK_LIMIT_MS : BOOT_LIMIT_MS, machine_boot_late);
}

static void on_started(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    if (range_release(m->range) || machine_state(m) != M_STARTING)
        return;
    if (status != 0)
        machine_fail(m, "start", err);
    else
        started(m);
}

static void on_forked(void *ctx, int status, const struct es_hyp_fork_times *times,
                      const struct es_err *err)
{
    struct machine *m = ctx;
    if (range_release(m->range) || machine_state(m) != M_STARTING)
        return;
    if (status != 0) {
        machine_fail(m, "fork", err);
        return;
    }
    m->took.fork = *times;
    started(m);
}

static void fork_machine(struct machine *m)
{
    struct range *r = m->range;
    char overlay[PATH_BYTES + ES_NAME_MAX + 64], state[PATH_BYTES + ES_NAME_MAX + 64],
        ram[PATH_BYTES + ES_NAME_MAX + 64], seed[PATH_BYTES + 64];
    frozen_path(r, m->node->name, "overlay", overlay, sizeof overlay);
    frozen_path(r, m->node->name, "state", state, sizeof state);
    frozen_path(r, m->node->name, "ram", ram, sizeof ram);
    frozen_path(r, NULL, FROZEN_SEED, seed, sizeof seed);
    struct es_hyp_fork fork = {.machine = m->spec, .overlay = overlay, .state = state};
    fork.machine.memory = ES_HYP_MEMORY_FORK;
    fork.machine.ram = ram;
    fork.machine.seed = seed;
    range_hold(r);
    if (es_hyp_machine_fork(r->core->hyp, &fork, on_forked, m) != 0) {
        struct es_err err = {0};
        on_forked(m, es_err_nomem(&err), NULL, &err);
    }
}

static void start_machine(struct machine *m)
{
    char ram[PATH_BYTES + ES_NAME_MAX + 64];
    struct es_hyp_machine spec = m->spec;
    if (m->freezing) {
        frozen_path(m->range, m->node->name, "ram", ram, sizeof ram);
        spec.memory = ES_HYP_MEMORY_MOULD;
        spec.ram = ram;
    }
    range_hold(m->range);
    hyp_submit(es_hyp_machine_start(m->range->core->hyp, &spec, on_started, m),
               on_started, m);
}

static void boot(struct machine *m)
{
    const struct es_image *image = &m->range->images[m->plan->node];
    m->spec = (struct es_hyp_machine){.plan = m->range->plan,
                                      .machine = m->plan,
                                      .kernel = image->kernel,
                                      .initrd = image->initrd,
                                      .cmdline = image->cmdline,
                                      .disk = m->disk,
                                      .disk_kept = machine_is_kept(m),
                                      .seed = m->range->seed_disc,
                                      .channel = m->channel,
                                      .serial_log = m->serial_log,
                                      .instance = m->instance,
                                      .accel = m->range->accel,
                                      .graphics =
                                          es_str_eq(m->node->trainee.console, "graphic")};
    m->boot_began_ms = uv_now(m->range->core->loop);
    m->epoch[0] = m->done_epoch[0] = '\0';
    m->private_bytes = 0;
    m->looks = 0;
    m->grouped = m->whole = false;
    machine_set(m, M_STARTING, m->forked ? "forking" : "starting");
    if (m->forked)
        fork_machine(m);
    else
        start_machine(m);
}

/* Booting takes processors; more at once than they can carry makes all of them late. */
static int boots_max(const struct es_range_core *core)
{
    int64_t cpus = core->info.host.cpus > 0 ? core->info.host.cpus : 2;
    return (int)(es_str_eq(core->accel, "kvm") ? 4 * cpus : 2 * cpus);
}

void core_try_boots(struct es_range_core *core)
{
    while (core->boots < boots_max(core) && !es_list_empty(&core->boot_queue)) {
        struct machine *m =
            ES_CONTAINER(core->boot_queue.next, struct machine, boot_link);
        if (!capacity_admits(m))
            return;
        es_list_remove(&m->boot_link);
        core->boots++;
        m->has_boot_slot = true;
        boot(m);
    }
}
