/* `down` and `gc`: nothing of ours stays, nothing else is touched. The ledger of a range is
 * the record of an exercise: it is moved to STATE/ledgers, not removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"
#include "moulds.h"
#include "programme.h"

struct leave {
    struct es_range_core *core;
    char name[ES_NAME_MAX + 1];
    struct job job;
    bool purge;
    json_t *removed;
    struct es_err err;
    void (*done)(void *arg, int status, const struct es_err *err, json_t *removed);
    void *arg;
};

static int keep_ledger(const struct leave *leave, struct es_err *err)
{
    char from[PATH_BYTES + 128], to[PATH_BYTES + 128], when[32];
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &tm);
    static const char *const parts[] = {"", "-wal"};
    for (size_t i = 0; i < ES_COUNT(parts); i++) {
        es_str_printf(from, sizeof from, "%s/ranges/%s/ledger.db%s",
                      leave->core->state_dir, leave->name, parts[i]);
        es_str_printf(to, sizeof to, "%s/ledgers/%s-%s.db%s", leave->core->state_dir,
                      leave->name, when, parts[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            return es_err_set(err, ES_EIO, "cannot keep the ledger as %s: %s", to,
                              strerror(errno));
    }
    return 0;
}

/* Channel sockets lie beside, under short names; QEMU leaves them behind. */
static void remove_sockets(struct range *r)
{
    for (size_t i = 0; i < r->machine_count; i++)
        if (unlink(r->machines[i].channel) != 0 && errno != ENOENT)
            es_log_warn("cannot remove %s: %s", r->machines[i].channel, strerror(errno));
}

static void files_work(struct job *job)
{
    struct leave *leave = job->arg;
    char path[PATH_BYTES + 64];
    es_str_printf(path, sizeof path, "%s/ranges/%s", leave->core->state_dir, leave->name);
    job->status = keep_ledger(leave, &job->err);
    if (job->status == 0)
        job->status = es_tree_remove(AT_FDCWD, path, &job->err);
    if (job->status == 0 && leave->purge)
        job->status = programme_remove(leave->core, leave->name, &job->err);
}

static void finish(struct leave *leave, int status, const struct es_err *err)
{
    leave->done(leave->arg, status, err, leave->removed);
    es_free(leave);
}

static void files_after(struct job *job)
{
    struct leave *leave = job->arg;
    moulds_sweep(leave->core);
    finish(leave, job->status, &job->err);
}

static void on_range_gone(void *arg)
{
    struct leave *leave = arg;
    leave->job = (struct job){
        .what = "remove files", .work = files_work, .after = files_after, .arg = leave};
    if (job_start(leave->core, &leave->job, &leave->err) != 0)
        finish(leave, leave->err.code, &leave->err);
}

static void on_removed(void *ctx, int status, const struct es_err *err)
{
    struct leave *leave = ctx;
    struct range *r = core_find_range(leave->core, leave->name);
    ES_ASSERT(r != NULL && r->taking_down && r->open_handles > 0);
    r->open_handles--;
    if (status != 0) {
        leave->err = *err;
        es_err_prefix(&leave->err, "take down %s (repeat it to try again)", leave->name);
        r->taking_down = false;
        if (r->phase == R_LEAVING)
            range_close(r, NULL, NULL);
        else
            r->phase = R_FAILED;
        finish(leave, status, &leave->err);
        return;
    }
    remove_sockets(r);
    range_close(r, on_range_gone, leave);
}

static void begin_removal(struct leave *leave, struct range *r)
{
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        if (machine_state(m) != M_PLANNED)
            json_array_append_new(leave->removed, json_string(m->plan->name));
        steps_abort(m);
        m->on_timer = NULL;
        machine_close_link(m);
    }
    effects_end(r);
    if (steady_close(r, 0) == 0)
        range_flush(r);
    for (size_t i = 0; i < r->plan->network_count; i++)
        json_array_append_new(leave->removed, json_string(r->plan->networks[i].name));
    r->taking_down = true;
    range_hold(r);
    hyp_submit(es_hyp_range_remove(r->core->hyp, r->name, on_removed, leave), on_removed,
               leave);
}

static void on_switched_off(void *arg)
{
    struct leave *leave = arg;
    struct range *r = core_find_range(leave->core, leave->name);
    if (r->phase != R_LEAVING) {
        begin_removal(leave, r);
        return;
    }
    es_err_set(&leave->err, ES_ECANCELED, "range %s: the core ends; repeat it to go on",
               leave->name);
    finish(leave, leave->err.code, &leave->err);
}

static int check_down(const struct range *r, bool purge, struct es_err *err)
{
    if (range_is_busy(r))
        return es_err_set(err, ES_EBUSY, "range %s is being worked on; wait for it",
                          r->name);
    for (size_t i = 0; i < r->machine_count && !purge; i++)
        if (machine_state(&r->machines[i]) == M_PARKED &&
            machine_is_kept(&r->machines[i]))
            return es_err_set(err, ES_ESTATE,
                              "%s has a disk that is kept, and not all is on it while it "
                              "is parked; unpark the range first, or drop the disks too "
                              "with --purge",
                              r->machines[i].label);
    return 0;
}

void range_down(struct range *r, bool purge,
                void (*done)(void *arg, int status, const struct es_err *err,
                             json_t *removed),
                void *arg)
{
    struct es_err err = {0};
    int rc = check_down(r, purge, &err);
    struct leave *leave = rc == 0 ? es_calloc(1, sizeof *leave) : NULL;
    if (leave == NULL) {
        if (rc == 0)
            es_err_nomem(&err);
        done(arg, err.code, &err, NULL);
        return;
    }
    *leave = (struct leave){.core = r->core,
                            .done = done,
                            .arg = arg,
                            .purge = purge,
                            .removed = json_array()};
    es_str_printf(leave->name, sizeof leave->name, "%s", r->name);
    if (purge)
        begin_removal(leave, r);
    else
        range_switch_off_kept(r, on_switched_off, leave);
}

/* ---------------------------------------------------------------- the calls */

struct down {
    struct es_range_core *core;
    struct es_reply *reply;
    char name[ES_NAME_MAX + 1];
    bool with_disks;
    struct job job;
};

static void on_down(void *arg, int status, const struct es_err *err, json_t *removed)
{
    struct down *down = arg;
    if (status == 0)
        down->reply->done(down->reply, json_pack("{s:o, s:o}", "removed", removed, "kept",
                                                 programme_list(down->core, down->name)));
    else {
        json_decref(removed);
        down->reply->fail(down->reply, err);
    }
    es_free(down);
}

/* Disks of a range that is down already. */
static void purge_work(struct job *job)
{
    struct down *down = job->arg;
    job->status = programme_remove(down->core, down->name, &job->err);
}

static void purge_after(struct job *job)
{
    on_down(job->arg, job->status, &job->err, json_array());
}

static void purge(struct down *down)
{
    struct es_err err = {0};
    down->job = (struct job){
        .what = "remove disks", .work = purge_work, .after = purge_after, .arg = down};
    if (job_start(down->core, &down->job, &err) != 0)
        on_down(down, err.code, &err, json_array());
}

/* gc: objects that carry our mark but belong to no range of this core. */
struct gc {
    struct es_range_core *core;
    struct es_reply *reply;
    char (*names)[ES_NAME_MAX + 1];
    size_t count, at;
    json_t *removed;
};

static void gc_next(struct gc *gc);

static bool is_channel(const struct es_range_core *core, const char *path)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        const struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++)
            if (es_str_eq(r->machines[i].channel, path))
                return true;
    }
    return false;
}

/* Channel sockets of machines that no range of this core has. */
static void gc_sockets(const struct es_range_core *core)
{
    char path[PATH_BYTES + 300];
    DIR *dir = opendir(core->channel_dir);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        es_str_printf(path, sizeof path, "%s/%s", core->channel_dir, entry->d_name);
        if (entry->d_name[0] != '.' && !is_channel(core, path) && unlink(path) != 0)
            es_log_warn("cannot remove %s: %s", path, strerror(errno));
    }
    if (dir != NULL)
        closedir(dir);
}

static void gc_finish(struct gc *gc, const struct es_err *err)
{
    if (err == NULL) {
        gc_sockets(gc->core);
        moulds_sweep(gc->core);
    }
    if (err != NULL) {
        json_decref(gc->removed);
        gc->reply->fail(gc->reply, err);
    } else
        gc->reply->done(gc->reply, json_pack("{s:o}", "removed", gc->removed));
    es_free(gc->names);
    es_free(gc);
}

static bool is_ending(const struct gc *gc, struct es_err *err)
{
    if (gc->core->closing)
        es_err_set(err, ES_ECANCELED, "the core ends; repeat `enshu gc`");
    return gc->core->closing;
}

static void on_gc_removed(void *ctx, int status, const struct es_err *err)
{
    struct gc *gc = ctx;
    struct es_err ends = {0};
    if (status != 0 || is_ending(gc, &ends)) {
        gc_finish(gc, status != 0 ? err : &ends);
        return;
    }
    struct leave leave = {.core = gc->core};
    struct es_err tree_err = {0};
    char path[PATH_BYTES + 64];
    es_str_printf(leave.name, sizeof leave.name, "%s", gc->names[gc->at]);
    es_str_printf(path, sizeof path, "%s/ranges/%s", gc->core->state_dir, leave.name);
    if (keep_ledger(&leave, &tree_err) != 0 ||
        es_tree_remove(AT_FDCWD, path, &tree_err) != 0) {
        gc_finish(gc, &tree_err);
        return;
    }
    json_array_append_new(gc->removed, json_string(gc->names[gc->at]));
    gc->at++;
    gc_next(gc);
}

static void gc_next(struct gc *gc)
{
    /* A range may have been made under such a name meanwhile. */
    while (gc->at < gc->count && (core_find_range(gc->core, gc->names[gc->at]) != NULL ||
                                  load_has(gc->core, gc->names[gc->at])))
        gc->at++;
    if (gc->at == gc->count)
        gc_finish(gc, NULL);
    else
        hyp_submit(
            es_hyp_range_remove(gc->core->hyp, gc->names[gc->at], on_gc_removed, gc),
            on_gc_removed, gc);
}

/* On a libvirt that other cores may use too, only names this core once gave count. */
static bool gc_is_ours(const struct gc *gc, const char *name)
{
    char path[PATH_BYTES + 64];
    if (gc->core->embedded)
        return true;
    return es_str_printf(path, sizeof path, "%s/made/%s", gc->core->state_dir, name) ==
               0 &&
           access(path, F_OK) == 0;
}

/* A range whose folder is whole could not be restored: `down NAME` ends it, gc does not. */
static bool could_come_back(const struct es_range_core *core, const char *name)
{
    char path[PATH_BYTES + 64];
    return es_str_printf(path, sizeof path, "%s/ranges/%s/range.json", core->state_dir,
                         name) == 0 &&
           access(path, F_OK) == 0;
}

static void gc_add(struct gc *gc, const char *name)
{
    if (name[0] == '\0' || name[0] == '.' || core_find_range(gc->core, name) != NULL ||
        load_has(gc->core, name) || !es_str_is_name(name, ES_NAME_MAX) ||
        !gc_is_ours(gc, name) || could_come_back(gc->core, name))
        return;
    for (size_t i = 0; i < gc->count; i++)
        if (es_str_eq(gc->names[i], name))
            return;
    char(*grown)[ES_NAME_MAX + 1] = es_grow(gc->names, gc->count + 1, sizeof *grown);
    if (grown == NULL)
        return;
    gc->names = grown;
    es_str_printf(gc->names[gc->count++], ES_NAME_MAX + 1, "%s", name);
}

static void on_gc_list(void *ctx, int status, const struct es_hyp_object *objects,
                       size_t count, const struct es_err *err)
{
    struct gc *gc = ctx;
    char path[PATH_BYTES + 16];
    struct es_err ends = {0};
    if (status != 0 || is_ending(gc, &ends)) {
        gc_finish(gc, status != 0 ? err : &ends);
        return;
    }
    for (size_t i = 0; i < count; i++)
        gc_add(gc, objects[i].range);
    es_str_printf(path, sizeof path, "%s/ranges", gc->core->state_dir);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        gc_add(gc, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    gc_next(gc);
}

void es_range_call_gc(struct es_range_core *core, const json_t *params,
                      struct es_reply *reply)
{
    struct gc *gc = es_calloc(1, sizeof *gc);
    (void)params;
    if (gc == NULL || !core->hyp_up) {
        es_free(gc);
        reply_fail_new(reply, ES_ECONN,
                       "libvirt at %s does not answer; `enshu doctor` says why",
                       core->uri);
        return;
    }
    gc->core = core;
    gc->reply = reply;
    gc->removed = json_array();
    if (es_hyp_list(core->hyp, NULL, on_gc_list, gc) != 0) {
        struct es_err err = {0};
        es_err_nomem(&err);
        gc_finish(gc, &err);
    }
}

/* What is left of a range that could not be restored. */
static void down_lost(struct es_range_core *core, const char *name,
                      struct es_reply *reply)
{
    struct gc *gc = es_calloc(1, sizeof *gc);
    if (gc != NULL)
        gc->names = es_calloc(1, sizeof *gc->names);
    if (gc == NULL || gc->names == NULL || !core->hyp_up ||
        !es_str_is_name(name, ES_NAME_MAX) || !could_come_back(core, name)) {
        es_free(gc != NULL ? gc->names : NULL);
        es_free(gc);
        reply_fail_new(reply, ES_ENOENT, "no range %s; `enshu status` lists them", name);
        return;
    }
    gc->core = core;
    gc->reply = reply;
    gc->removed = json_array();
    es_str_printf(gc->names[gc->count++], ES_NAME_MAX + 1, "%s", name);
    gc_next(gc);
}

static void on_given_up(struct range *r, void *arg)
{
    struct down *down = arg;
    range_down(r, down->with_disks, on_down, down);
}

void es_range_call_down(struct es_range_core *core, const json_t *params,
                        struct es_reply *reply)
{
    const char *name = json_string_value(json_object_get(params, "range"));
    bool with_disks = json_is_true(json_object_get(params, "purge"));
    struct range *r = core_find_range(core, name);
    bool only_disks = r == NULL && with_disks && es_str_is_name(name, ES_NAME_MAX) &&
                      !could_come_back(core, name) && programme_exists(core, name);
    if (r == NULL && !only_disks) {
        down_lost(core, name, reply);
        return;
    }
    struct down *down = es_calloc(1, sizeof *down);
    if (down == NULL) {
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
        return;
    }
    down->core = core;
    down->reply = reply;
    down->with_disks = with_disks;
    es_str_printf(down->name, sizeof down->name, "%s", name);
    if (only_disks)
        purge(down);
    else if (r->bring != NULL && r->on_aborted == NULL)
        bring_abort(r, on_given_up, down);
    else
        range_down(r, with_disks, on_down, down);
}
