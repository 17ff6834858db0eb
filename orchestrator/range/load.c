/* From a scenario's file to a range. The range works on a copy of the scenario's folder: what
 * is edited meanwhile belongs to the next range. A worker copies; the name is taken for so
 * long. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "inner.h"

struct load {
    struct job job;
    struct es_list link; /* core->loads */
    struct bring_request request;
    on_load done;
    char name[ES_NAME_MAX + 1];
    char *accel;
    char from[PATH_BYTES], folder[PATH_BYTES], file[PATH_BYTES];
};

static int load_file(const char *file, struct es_scenario **ret_scenario,
                     struct es_err *err)
{
    struct es_diags *diags = es_calloc(1, sizeof *diags);
    if (diags == NULL)
        return es_err_nomem(err);
    int rc = es_scenario_load(file, diags, ret_scenario, err);
    if (rc == ES_ESCENARIO && diags->count > 0)
        es_err_set(err, rc, "%s:%d:%d: %s: %s (%zu in all; `enshu validate` shows them)",
                   diags->items[0].pos.file, diags->items[0].pos.line,
                   diags->items[0].pos.col, diags->items[0].path, diags->items[0].text,
                   diags->error_count);
    es_diags_finish(diags);
    es_free(diags);
    return rc;
}

static int make_paths(struct load *load, const struct es_scenario *original,
                      struct es_err *err)
{
    const char *state = load->job.core->state_dir;
    const char *base = strrchr(original->file, '/');
    int rc = es_str_printf(load->from, sizeof load->from, "%s", original->dir);
    rc |= es_str_printf(load->folder, sizeof load->folder, "%s/ranges/%s", state,
                        load->name);
    if (rc == 0 && mkdir(load->folder, 0711) != 0 && errno != EEXIST)
        return es_err_set(err, ES_EIO, "cannot make %s: %s", load->folder,
                          strerror(errno));
    rc |= es_str_printf(load->folder, sizeof load->folder, "%s/ranges/%s/scenario", state,
                        load->name);
    rc |= es_str_printf(load->file, sizeof load->file, "%s/%s", load->folder,
                        base != NULL ? base + 1 : original->file);
    return rc == 0 ? 0
                   : es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
}

static void copy_work(struct job *job)
{
    struct load *load = job->arg;
    job->status = es_tree_remove(AT_FDCWD, load->folder, &job->err);
    if (job->status == 0)
        job->status =
            files_copy(load->from, load->folder, job->core->state_dir, &job->err);
}

static int make_range(struct load *load, struct range **ret_range, struct es_err *err)
{
    struct es_range_core *core = load->job.core;
    struct es_scenario *copy = NULL;
    int teams = load->request.teams > 0 ? load->request.teams : 1;
    if (core->closing || !core->hyp_up)
        return es_err_set(err, ES_ECANCELED, "range %s: %s; repeat it", load->name,
                          core->closing ? "the core ends" : "libvirt went away");
    int rc = load_file(load->file, &copy, err);
    if (rc == 0)
        rc = range_create(core, load->name, copy, teams, ret_range, err);
    if (rc != 0)
        es_scenario_destroy(copy);
    return rc;
}

static void copy_after(struct job *job)
{
    struct load *load = job->arg;
    struct range *r = NULL;
    es_list_remove(&load->link);
    if (job->status == 0)
        job->status = make_range(load, &r, &job->err);
    load->done(job->core, &load->request, r, job->status, &job->err);
    es_free(load->accel);
    es_free(load);
}

static int begin(struct es_range_core *core, const struct bring_request *request,
                 const char *name, const struct es_scenario *original, on_load done,
                 struct es_err *err)
{
    struct load *load = es_calloc(1, sizeof *load);
    if (load == NULL)
        return es_err_nomem(err);
    load->request = *request;
    load->done = done;
    load->job = (struct job){.core = core,
                             .what = "copying the scenario",
                             .work = copy_work,
                             .after = copy_after,
                             .arg = load};
    es_str_printf(load->name, sizeof load->name, "%s", name);
    /* What was asked for is gone when the copy is there. */
    load->request.file = load->file;
    load->request.name = load->name;
    if (request->accel != NULL)
        load->request.accel = load->accel = es_strdup(request->accel);
    int rc = request->accel != NULL && load->accel == NULL
                 ? es_err_nomem(err)
                 : make_paths(load, original, err);
    if (rc == 0)
        rc = job_start(core, &load->job, err);
    if (rc == 0) {
        es_list_push(&core->loads, &load->link);
    } else {
        es_free(load->accel);
        es_free(load);
    }
    return rc;
}

bool load_has(const struct es_range_core *core, const char *name)
{
    ES_LIST_EACH (pos, tmp, &core->loads)
        if (es_str_eq(ES_CONTAINER(pos, struct load, link)->name, name))
            return true;
    return false;
}

/* A range that is there already goes on as it is. */
static int check_old(const struct range *old, const struct bring_request *request,
                     const struct es_scenario *original, struct es_err *err)
{
    if (!es_str_eq(old->scenario->hash, original->hash) ||
        (request->teams != 0 && request->teams != old->team_count))
        return es_err_set(err, ES_EEXIST,
                          "range %s is already there with another scenario or number of "
                          "teams; take it down first, or name this one with --range",
                          old->name);
    if (old->phase == R_PARKED)
        return range_check_up(old, err);
    return range_is_busy(old)
               ? es_err_set(err, ES_EBUSY, "range %s is being worked on; wait for it",
                            old->name)
               : 0;
}

void load_scenario(struct es_range_core *core, const struct bring_request *request,
                   on_load done)
{
    struct es_scenario *original = NULL;
    struct es_err err = {0};
    struct range *old = NULL;
    int rc = load_file(request->file, &original, &err);
    const char *name = rc == 0 && request->name == NULL ? original->name : request->name;
    if (rc == 0 && load_has(core, name))
        rc = es_err_set(&err, ES_EBUSY, "range %s is being worked on; wait for it", name);
    else if (rc == 0 && es_str_eq(name, MOULD_RANGE) && !request->moulds_only)
        rc = es_err_set(&err, ES_EINVAL,
                        "in a range %s moulds are built; name this one with --range",
                        name);
    else if (rc == 0 && (old = core_find_range(core, name)) != NULL)
        rc = check_old(old, request, original, &err);
    else if (rc == 0 && !es_str_is_name(name, ES_NAME_MAX))
        rc = es_err_set(&err, ES_EINVAL, "%s is no name for a range: a-z, 0-9, - . _",
                        name);
    else if (rc == 0)
        rc = begin(core, request, name, original, done, &err);
    bool is_begun = rc == 0 && old == NULL;
    es_scenario_destroy(original);
    if (!is_begun)
        done(core, request, rc == 0 ? old : NULL, rc, &err);
}
