/* The methods `up` and `image.*`. */
#include <stdio.h>
#include <string.h>

#include "inner.h"

static void on_progress(json_t *event, void *arg)
{
    struct es_reply *reply = arg;
    reply->progress(reply, event);
}

static void on_up(struct range *r, int status, const struct es_err *err, void *arg)
{
    struct es_reply *reply = arg;
    if (status != 0) {
        reply->fail(reply, err);
        return;
    }
    json_int_t machines = 0;
    for (size_t i = 0; i < r->machine_count; i++)
        machines += !r->machines[i].mould;
    reply->done(reply, json_pack("{s:s, s:i, s:I}", "range", r->name, "teams",
                                 r->team_count, "machines", machines));
}

void es_range_call_up(struct es_range_core *core, const json_t *params,
                      struct es_reply *reply)
{
    const char *accel = json_string_value(json_object_get(params, "accel"));
    json_int_t teams = json_integer_value(json_object_get(params, "teams"));
    enum mode mode = MODE_AUTO;
    if (json_object_get(params, "teams") != NULL &&
        (teams < 1 || teams > ES_PLAN_TEAMS_MAX)) {
        reply_fail_new(reply, ES_ELIMIT, "the number of teams is 1 to %d",
                       ES_PLAN_TEAMS_MAX);
        return;
    }
    if (accel != NULL && !es_str_eq(accel, "kvm") && !es_str_eq(accel, "tcg")) {
        reply_fail_new(reply, ES_EINVAL, "the accelerator is kvm or tcg, not %s", accel);
        return;
    }
    if (mode_read(json_string_value(json_object_get(params, "mode")), &mode) != 0) {
        reply_fail_new(reply, ES_EINVAL, "the mode is auto, fork or boot");
        return;
    }
    struct bring_request request = {
        .file = json_string_value(json_object_get(params, "file")),
        .name = json_string_value(json_object_get(params, "range")),
        .teams = (int)teams,
        .accel = accel,
        .mode = mode,
        .done = on_up,
        .progress = on_progress,
        .arg = reply};
    bring_up(core, &request);
}

/* ---------------------------------------------------------------- images */

struct image_job {
    struct job job;
    struct es_reply *reply;
    char name[64], digest[80];
    const char **packages;
    json_t *package_list;
    bool force;
    uint64_t began_ms;
    struct es_image image;
    json_t *list;
};

static void image_config(struct job *job, char *cache, size_t size,
                         struct es_image_config *config,
                         void (*on_line)(void *ctx, const char *line))
{
    es_str_printf(cache, size, "%s/images", job->core->state_dir);
    *config = (struct es_image_config){.recipes_dir = job->core->recipes_dir,
                                       .cache_dir = cache,
                                       .on_line = on_line,
                                       .ctx = job};
}

static void on_line_worker(void *ctx, const char *line)
{
    job_line(ctx, line);
}

static void on_line_loop(struct job *job, const char *line)
{
    struct image_job *image = job->arg;
    image->reply->progress(image->reply,
                           json_pack("{s:s, s:s}", "step", "images", "text", line));
}

static void build_work(struct job *job)
{
    struct image_job *image = job->arg;
    struct es_image_config config;
    char cache[PATH_BYTES + 16];
    image_config(job, cache, sizeof cache, &config, on_line_worker);
    job->status = es_image_get(&config, image->name, image->packages, image->force,
                               &image->image, &job->err);
}

static void list_work(struct job *job)
{
    struct image_job *image = job->arg;
    struct es_image_config config;
    char cache[PATH_BYTES + 16];
    image_config(job, cache, sizeof cache, &config, NULL);
    job->status = es_image_list(&config, &image->list, &job->err);
}

static void rm_work(struct job *job)
{
    struct image_job *image = job->arg;
    struct es_image_config config;
    char cache[PATH_BYTES + 16];
    image_config(job, cache, sizeof cache, &config, NULL);
    job->status = es_image_remove(&config, image->digest, &job->err);
}

static json_t *image_result(const struct image_job *image)
{
    if (image->job.work == list_work)
        return json_pack("{s:O}", "images", image->list);
    if (image->job.work == rm_work)
        return json_pack("{s:s}", "removed", image->digest);
    return json_pack("{s:s, s:s, s:I, s:I, s:b}", "name", image->image.name, "digest",
                     image->image.digest, "bytes", (json_int_t)image->image.bytes,
                     "took_ms",
                     (json_int_t)(uv_now(image->job.core->loop) - image->began_ms),
                     "cached", (int)image->image.cached);
}

static void image_after(struct job *job)
{
    struct image_job *image = job->arg;
    if (job->status != 0)
        image->reply->fail(image->reply, &job->err);
    else
        image->reply->done(image->reply, image_result(image));
    json_decref(image->list);
    json_decref(image->package_list);
    es_free(image->packages);
    es_free(image);
}

static struct image_job *image_job_new(struct es_reply *reply,
                                       void (*work)(struct job *job))
{
    struct image_job *image = es_calloc(1, sizeof *image);
    if (image == NULL) {
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
        return NULL;
    }
    image->reply = reply;
    image->job = (struct job){.what = "images",
                              .work = work,
                              .after = image_after,
                              .on_line = on_line_loop,
                              .arg = image};
    return image;
}

static void image_job_start(struct es_range_core *core, struct image_job *image)
{
    struct es_err err = {0};
    image->began_ms = uv_now(core->loop);
    if (job_start(core, &image->job, &err) == 0)
        return;
    image->job.core = core;
    image->job.status = err.code;
    image->job.err = err;
    image_after(&image->job);
}

void es_range_call_image_build(struct es_range_core *core, const json_t *params,
                               struct es_reply *reply)
{
    struct image_job *image = image_job_new(reply, build_work);
    json_t *packages = json_object_get(params, "packages");
    if (image == NULL)
        return;
    es_str_printf(image->name, sizeof image->name, "%s",
                  json_string_value(json_object_get(params, "name")));
    image->force = json_is_true(json_object_get(params, "force"));
    image->package_list = json_incref(packages);
    if (json_array_size(packages) > 0)
        image->packages =
            es_calloc(json_array_size(packages) + 1, sizeof *image->packages);
    for (size_t i = 0, n = 0; image->packages != NULL && i < json_array_size(packages);
         i++)
        if (json_is_string(json_array_get(packages, i)))
            image->packages[n++] = json_string_value(json_array_get(packages, i));
    image_job_start(core, image);
}

void es_range_call_image_list(struct es_range_core *core, const json_t *params,
                              struct es_reply *reply)
{
    struct image_job *image = image_job_new(reply, list_work);
    (void)params;
    if (image != NULL)
        image_job_start(core, image);
}

void es_range_call_image_rm(struct es_range_core *core, const json_t *params,
                            struct es_reply *reply)
{
    struct image_job *image = image_job_new(reply, rm_work);
    if (image == NULL)
        return;
    es_str_printf(image->digest, sizeof image->digest, "%s",
                  json_string_value(json_object_get(params, "digest")));
    image_job_start(core, image);
}
