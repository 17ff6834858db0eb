/* The core's beginning and end: folders, the embedded libvirt, the hypervisor's connection,
 * and what the hypervisor tells. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "capacity.h"
#include "domains.h"
#include "inner.h"

int64_t core_boottime_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct range *core_find_range(struct es_range_core *core, const char *name)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        if (es_str_eq(r->name, name))
            return r;
    }
    return NULL;
}

int64_t core_disk_free(const struct es_range_core *core)
{
    struct statvfs fs;
    if (statvfs(core->state_dir, &fs) != 0)
        return 0;
    return (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
}

/* ---------------------------------------------------------------- folders */

static int make_state(struct es_range_core *core, struct es_err *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } folders[] = {{"", 0711},        {"/ranges", 0711},   {"/images", 0711},
                   {"/moulds", 0711}, {"/s", 0777},        {"/ledgers", 0700},
                   {"/made", 0700},   {"/programme", 0711}};
    char path[PATH_BYTES + 16];
    for (size_t i = 0; i < ES_COUNT(folders); i++) {
        es_str_printf(path, sizeof path, "%s%s", core->state_dir, folders[i].name);
        int rc = es_tree_make(path, 0711, err);
        if (rc != 0)
            return rc;
        if (chmod(path, folders[i].mode) != 0)
            return es_err_set(err, ES_EIO, "cannot set the mode of %s: %s", path,
                              strerror(errno));
    }
    return 0;
}

/* ---------------------------------------------------------------- what the hypervisor tells */

static void on_stray(void *ctx, int status, const struct es_err *err)
{
    (void)ctx;
    if (status != 0)
        es_log_warn("a mould that was left running stays: %s", err->msg);
}

/* A range that was restored is looked at only once it is known which machines run: what
 * the host said of them before would stand in the ledger. */
static void go_on(struct es_range_core *core)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        if (!r->unlisted || r->phase == R_LEAVING)
            continue;
        r->unlisted = false;
        probing_tick(r);
    }
}

enum { LISTED_RUNS = 1, LISTED_PAUSED = 2, LISTED_FORKED = 4 };

/* What the list says of each of our machines. */
static void note_listed(struct es_range_core *core, const struct es_hyp_object *objects,
                        size_t count)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++)
            r->machines[i].listed = 0;
    }
    for (size_t i = 0; i < count; i++) {
        const struct es_hyp_object *object = &objects[i];
        struct machine *m =
            object->kind == ES_HYP_MACHINE ? domains_find(core, object->name) : NULL;
        if (m != NULL)
            m->listed = (object->running ? LISTED_RUNS : 0U) |
                        (object->paused ? LISTED_PAUSED : 0U) |
                        (object->forked ? LISTED_FORKED : 0U);
    }
}

static void on_resumed(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    if (range_release(m->range))
        return;
    if (status == 0)
        machine_wake(m);
    else
        machine_lost(m, err->msg);
}

/* It was unparked as the core, or the connection, ended: the ledger says that it runs. */
static void resume(struct machine *m)
{
    m->answered = m->own_done = true;
    machine_set(m, M_WAKING, "suspended");
    range_hold(m->range);
    hyp_submit(es_hyp_machine_resume(m->range->core->hyp, m->plan->name, on_resumed, m),
               on_resumed, m);
}

static void reconcile(struct machine *m)
{
    struct es_range_core *core = m->range->core;
    bool runs = (m->listed & LISTED_RUNS) != 0;
    bool paused = (m->listed & LISTED_PAUSED) != 0;
    enum machine_state state = machine_state(m);
    if ((runs || paused) && state == M_PLANNED &&
        m->mould) /* half set up or frozen: begun anew by `up` */
        hyp_submit(es_hyp_machine_stop(core->hyp, m->plan->name, false, on_stray, core),
                   on_stray, core);
    else if (state == M_PLANNED && m->was_suspended && paused) {
        m->forked = (m->listed & LISTED_FORKED) != 0;
        capacity_adopt(m);
    } else if (paused && m->link == NULL &&
               (state == M_WAKING || (state == M_PLANNED && m->was_ready))) {
        m->forked = (m->listed & LISTED_FORKED) != 0;
        resume(m);
    } else if (runs && state == M_PLANNED) {
        m->forked = (m->listed & LISTED_FORKED) != 0;
        machine_adopt(m, m->was_ready);
    } else if ((!runs && state == M_READY) || (m->listed == 0 && state == M_SUSPENDED))
        machine_gone(m, true, "it ended while the core or libvirt was away");
    else if (!runs && state == M_PLANNED && (m->was_ready || m->was_suspended))
        machine_lost(m, "it ended while the core was away");
}

static void on_list(void *ctx, int status, const struct es_hyp_object *objects,
                    size_t count, const struct es_err *err)
{
    struct es_range_core *core = ctx;
    if (status != 0) {
        es_log_warn("cannot list machines: %s", err->msg);
        go_on(core);
        return;
    }
    note_listed(core, objects, count);
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count && r->phase == R_UP; i++)
            reconcile(&r->machines[i]);
        if ((r->phase == R_PARKING || r->phase == R_UNPARKING) && r->park == NULL)
            park_mend(r);
    }
    go_on(core);
}

void core_list_machines(struct es_range_core *core)
{
    if (es_hyp_list(core->hyp, NULL, on_list, core) == 0)
        return;
    es_log_error("cannot list machines: out of memory");
    go_on(core);
}

static void on_info(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *err)
{
    struct es_range_core *core = ctx;
    if (core->closing)
        return;
    if (status == 0)
        core->info = *info;
    else
        es_log_warn("the hypervisor does not say what it is: %s", err->msg);
    core_list_machines(core);
}

/* Behind a new connection may be another hypervisor: what it is must be known before a
 * machine is forked on it. */
static void look_around(struct es_range_core *core)
{
    if (es_hyp_info(core->hyp, on_info, core) != 0)
        core_list_machines(core);
}

void core_hyp_event(void *ctx, const char *name, enum es_hyp_event event,
                    const char *detail)
{
    struct es_range_core *core = ctx;
    if (core->closing)
        return;
    if (event == ES_HYP_LOST || event == ES_HYP_CONNECTED) {
        es_log_info("libvirt: %s%s%s", es_hyp_event_name(event),
                    detail != NULL ? ": " : "", detail != NULL ? detail : "");
        core->hyp_up = event == ES_HYP_CONNECTED;
        if (core->hyp_up)
            look_around(core);
        return;
    }
    if (event == ES_HYP_PRESSED) {
        capacity_look(core);
        return;
    }
    struct machine *m = domains_find(core, name);
    if (m == NULL || m->range->phase == R_LEAVING)
        return;
    es_log_debug("%s: %s %s", m->label, es_hyp_event_name(event),
                 detail != NULL ? detail : "");
    if (event == ES_HYP_CRASHED)
        machine_gone(m, true, detail != NULL ? detail : "its QEMU ended");
    else if (event == ES_HYP_REBOOTED)
        machine_rebooted(m);
    else if (event == ES_HYP_SAVED && m->range->phase == R_UP)
        machine_gone(m, true, "it was saved, but not by enshu");
    else if (event == ES_HYP_STOPPED)
        machine_gone(m, false, detail != NULL ? detail : "it was switched off");
}

/* ---------------------------------------------------------------- opening */

static void tell_ready(struct es_range_core *core, int status, const struct es_err *err)
{
    if (core->ready_told)
        return;
    core->ready_told = true;
    core->on_ready(core->ctx, status, err);
}

static void on_hyp_open(void *ctx, int status, const struct es_err *err)
{
    struct es_range_core *core = ctx;
    if (core->closing)
        return;
    core->hyp_up = status == 0;
    capacity_look(core);
    if (status == 0) {
        range_restore_all(core);
        look_around(core);
    }
    tell_ready(core, status, err);
}

static int open_hyp(struct es_range_core *core, struct es_err *err)
{
    struct es_hyp_config config = {.uri = core->uri,
                                   .accel = core->accel[0] != '\0' ? core->accel : "tcg",
                                   .root = core->root,
                                   .on_event = core_hyp_event,
                                   .ctx = core};
    return es_hyp_open(core->loop, &config, on_hyp_open, core, &core->hyp, err);
}

struct nest_job {
    struct job job;
    char uri[PATH_BYTES];
};

/* The embedded libvirt: enshu-nest answers with the URI when its daemon does. */
static void nest_work(struct job *job)
{
    struct nest_job *nest = ES_CONTAINER(job, struct nest_job, job);
    struct es_range_core *core = job->core;
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0) {
        job->status = es_err_set(&job->err, ES_EIO, "no pipe: %s", strerror(errno));
        return;
    }
    const char *kvm = es_str_eq(core->accel, "tcg") ? "no" : "auto";
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        if (es_str_eq(kvm, "no"))
            execl(core->nest_path, core->nest_path, "start", "--state", core->state_dir,
                  "--kvm", "no", (char *)NULL);
        else
            execl(core->nest_path, core->nest_path, "start", "--state", core->state_dir,
                  (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(out[0], nest->uri + len, sizeof nest->uri - 1 - len)) > 0)
        len += (size_t)n;
    close(out[0]);
    nest->uri[len] = '\0';
    int wait_status = 0;
    if (pid > 0)
        waitpid(pid, &wait_status, 0);
    nest->uri[strcspn(nest->uri, "\n")] = '\0';
    if (pid < 0 || !WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0 ||
        nest->uri[0] == '\0')
        job->status = es_err_set(
            &job->err, ES_EHYP,
            "the embedded libvirt did not start (%s); its reason stands above, and "
            "`enshu doctor` explains the host",
            core->nest_path);
}

static void nest_after(struct job *job)
{
    struct nest_job *nest = ES_CONTAINER(job, struct nest_job, job);
    struct es_range_core *core = job->core;
    if (job->status == 0) {
        es_str_printf(core->uri, sizeof core->uri, "%s", nest->uri);
        if (!core->closing)
            job->status = open_hyp(core, &job->err);
    }
    if (job->status != 0)
        tell_ready(core, job->status, &job->err);
    es_free(nest);
}

static int begin_open(struct es_range_core *core, struct es_err *err)
{
    if (!core->embedded)
        return open_hyp(core, err);
    struct nest_job *nest = es_calloc(1, sizeof *nest);
    if (nest == NULL)
        return es_err_nomem(err);
    nest->job =
        (struct job){.what = "embedded libvirt", .work = nest_work, .after = nest_after};
    int rc = job_start(core, &nest->job, err);
    if (rc != 0)
        es_free(nest);
    return rc;
}

static void read_boot_id(char dst[37])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, dst, 36) : 0;
    dst[n > 0 ? n : 0] = '\0';
    if (fd >= 0)
        close(fd);
}

static int fill(struct es_range_core *core, const struct es_range_config *config,
                struct es_err *err)
{
    int rc =
        es_str_printf(core->state_dir, sizeof core->state_dir, "%s", config->state_dir);
    rc |= es_str_printf(core->recipes_dir, sizeof core->recipes_dir, "%s",
                        config->recipes_dir);
    rc |= es_str_printf(core->agent_path, sizeof core->agent_path, "%s",
                        config->agent_path);
    rc |= es_str_printf(core->nest_path, sizeof core->nest_path, "%s",
                        config->nest_path != NULL ? config->nest_path : "");
    rc |= es_str_printf(core->uri, sizeof core->uri, "%s",
                        config->uri != NULL ? config->uri : "");
    rc |= es_str_printf(core->accel, sizeof core->accel, "%s",
                        config->accel != NULL ? config->accel : "");
    if (rc != 0)
        return es_err_set(err, ES_ELIMIT,
                          "a path or name of the configuration is too long");
    if (core->accel[0] != '\0' && !es_str_eq(core->accel, "kvm") &&
        !es_str_eq(core->accel, "tcg"))
        return es_err_set(err, ES_EINVAL, "the accelerator is kvm or tcg, not %s",
                          core->accel);
    core->root = config->root;
    core->look_ms = config->look_ms;
    core->accel_forced = config->accel != NULL;
    core->embedded = config->uri == NULL;
    /* The nest keeps a folder in which QEMU's sockets are open to its caller, whoever that is. */
    if (es_str_printf(core->channel_dir, sizeof core->channel_dir, "%s/%s",
                      core->state_dir, core->embedded ? "run" : "s") != 0)
        return es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
    return make_state(core, err);
}

int es_range_core_create(uv_loop_t *loop, const struct es_range_config *config,
                         void (*on_ready)(void *ctx, int status,
                                          const struct es_err *err),
                         void (*on_shutdown)(void *ctx), void *ctx,
                         struct es_range_core **ret_core, struct es_err *err)
{
    if (sodium_init() < 0)
        return es_err_set(err, ES_EINTERNAL, "libsodium cannot be used");
    struct es_range_core *core = es_calloc(1, sizeof *core);
    if (core == NULL)
        return es_err_nomem(err);
    core->loop = loop;
    core->on_ready = on_ready;
    core->on_shutdown = on_shutdown;
    core->ctx = ctx;
    es_list_init(&core->ranges);
    es_list_init(&core->jobs);
    es_list_init(&core->loads);
    es_list_init(&core->boot_queue);
    es_list_init(&core->consoles);
    read_boot_id(core->boot_id);
    int rc = fill(core, config, err);
    if (rc == 0 && !core->accel_forced)
        accel_cached(core->state_dir, core->accel, sizeof core->accel);
    if (rc == 0)
        rc = job_lines_init(core, err);
    if (rc != 0) {
        es_free(core);
        return rc;
    }
    rc = capacity_open(core, err);
    if (rc != 0) {
        es_range_core_close(core, NULL, NULL);
        return rc;
    }
    rc = begin_open(core, err);
    if (rc != 0) {
        es_range_core_close(core, NULL, NULL);
        return rc;
    }
    *ret_core = core;
    return 0;
}

/* ---------------------------------------------------------------- closing */

static void on_hyp_closed(void *ctx)
{
    struct es_range_core *core = ctx;
    core->hyp = NULL;
    core->open_handles--;
    core_maybe_closed(core);
}

/* First the ranges, then what they stand on: the hypervisor, the workers' lines. */
void core_maybe_closed(struct es_range_core *core)
{
    if (!core->closing || core->range_count > 0 || !es_list_empty(&core->jobs))
        return;
    if (!core->closing_base) {
        core->closing_base = true;
        job_lines_close(core);
        capacity_close(core);
        if (core->hyp != NULL) {
            core->open_handles++;
            es_hyp_close(core->hyp, on_hyp_closed, core);
        }
        return;
    }
    if (core->open_handles > 0)
        return;
    void (*on_closed)(void *ctx) = core->on_closed;
    void *ctx = core->closed_ctx;
    capacity_free(core);
    es_free(core);
    if (on_closed != NULL)
        on_closed(ctx);
}

void es_range_core_close(struct es_range_core *core, void (*on_closed)(void *ctx),
                         void *ctx)
{
    core->closing = true;
    core->on_closed = on_closed;
    core->closed_ctx = ctx;
    ES_LIST_EACH (pos, tmp, &core->ranges)
        range_close(ES_CONTAINER(pos, struct range, link), NULL, NULL);
    core_maybe_closed(core);
}
