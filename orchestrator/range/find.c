/* What a range's machines are made of, found out on a worker: images, built when there are
 * none; the seed disc; the accelerator; the names of its moulds. */
#include <stdatomic.h>
#include <string.h>

#include "inner.h"
#include "moulds.h"
#include "programme.h"

struct find {
    struct range *range;
    struct job job;
    struct found found;
    atomic_bool *cancel;
    void (*line)(const char *line, void *arg);
    void (*done)(struct range *r, int status, const struct es_err *err, void *arg);
    void *arg;
};

static void free_find(struct find *f)
{
    es_free(f->found.images);
    es_free(f->found.mould_hash);
    es_free(f);
}

static struct find *make_find(struct range *r)
{
    size_t count = r->scenario->nodes_count;
    struct find *f = es_calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->range = r;
    f->found.images = es_calloc(count, sizeof *f->found.images);
    f->found.mould_hash = es_calloc(count, sizeof *f->found.mould_hash);
    memcpy(f->found.accel, r->accel, sizeof r->accel);
    memcpy(f->found.frozen_key, r->frozen_key, sizeof r->frozen_key);
    if (f->found.images != NULL && f->found.mould_hash != NULL)
        return f;
    free_find(f);
    return NULL;
}

static void take_over(struct range *r, const struct found *found)
{
    size_t count = r->scenario->nodes_count;
    memcpy(r->images, found->images, count * sizeof *r->images);
    memcpy(r->mould_hash, found->mould_hash, count * sizeof *r->mould_hash);
    memcpy(r->accel, found->accel, sizeof r->accel);
    memcpy(r->frozen_key, found->frozen_key, sizeof r->frozen_key);
    if (r->core->accel[0] == '\0')
        memcpy(r->core->accel, r->accel, sizeof r->core->accel);
}

/* ---------------------------------------------------------------- on the worker */

static void on_image_line(void *ctx, const char *line)
{
    job_line(ctx, line);
}

static int get_images(struct find *f)
{
    const struct range *r = f->range;
    struct es_err *err = &f->job.err;
    char cache[PATH_BYTES + 16];
    es_str_printf(cache, sizeof cache, "%s/images", r->core->state_dir);
    struct es_image_config config = {.recipes_dir = r->core->recipes_dir,
                                     .cache_dir = cache,
                                     .on_line = on_image_line,
                                     .ctx = &f->job,
                                     .cancel = f->cancel};
    int rc = 0;
    for (size_t n = 0; n < r->scenario->nodes_count && rc == 0; n++) {
        const struct es_node *node = &r->scenario->nodes[n];
        rc = es_image_get(&config, node->recipe, node->packages, false,
                          &f->found.images[n], err);
        if (rc != 0)
            es_err_prefix(err, "image %s of node %s", node->recipe, node->name);
    }
    return rc;
}

static int find_accel(struct find *f)
{
    struct found *found = &f->found;
    if (found->accel[0] != '\0')
        return 0;
    job_line(&f->job, "finding out whether KVM works here");
    return accel_probe(&found->images[0], f->range->core->state_dir, found->accel,
                       sizeof found->accel, &f->job.err);
}

static void find_work(struct job *job)
{
    struct find *f = job->arg;
    const struct range *r = f->range;
    int rc = programme_check(r, &job->err);
    if (rc == 0)
        rc = files_bundle(r->scenario, r->store, &job->err);
    if (rc == 0)
        rc = get_images(f);
    if (rc == 0)
        rc =
            es_image_seed(r->seed_disc, r->core->agent_path, "enshu", "enshu", &job->err);
    if (rc == 0)
        rc = mould_hashes(r, &f->found, &job->err);
    if (rc == 0)
        rc = find_accel(f);
    if (rc == 0 && r->no_fork[0] == '\0')
        rc = frozen_find(r, &f->found, &job->err);
    job->status = rc;
}

/* ---------------------------------------------------------------- on the loop */

static void find_line(struct job *job, const char *line)
{
    struct find *f = job->arg;
    f->line(line, f->arg);
}

static void find_after(struct job *job)
{
    struct find *f = job->arg;
    if (job->status == 0)
        take_over(f->range, &f->found);
    f->done(f->range, job->status, job->status != 0 ? &job->err : NULL, f->arg);
    free_find(f);
}

void find_begin(struct range *r, atomic_bool *cancel,
                void (*line)(const char *line, void *arg),
                void (*done)(struct range *r, int status, const struct es_err *err,
                             void *arg),
                void *arg)
{
    struct es_err err = {0};
    struct find *f = make_find(r);
    if (f == NULL) {
        done(r, es_err_nomem(&err), &err, arg);
        return;
    }
    f->cancel = cancel;
    f->line = line;
    f->done = done;
    f->arg = arg;
    f->job = (struct job){.what = "images",
                          .work = find_work,
                          .after = find_after,
                          .on_line = find_line,
                          .arg = f};
    if (job_start(r->core, &f->job, &err) == 0)
        return;
    done(r, err.code, &err, arg);
    free_find(f);
}
