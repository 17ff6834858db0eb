/* Blocking work off the loop, and lines that a worker tells while it goes on. */
#include <string.h>

#include "inner.h"

struct job_line_entry {
    struct job_line_entry *next;
    struct job *job;
    char text[];
};

static void on_work(uv_work_t *req)
{
    struct job *job = req->data;
    job->work(job);
}

/* Lines of a job are all delivered before its `after`. */
static void deliver_lines(struct es_range_core *core)
{
    uv_mutex_lock(&core->lines_mutex);
    struct job_line_entry *entry = core->lines_head;
    core->lines_head = core->lines_tail = NULL;
    uv_mutex_unlock(&core->lines_mutex);
    while (entry != NULL) {
        struct job_line_entry *next = entry->next;
        if (entry->job->on_line != NULL)
            entry->job->on_line(entry->job, entry->text);
        es_free(entry);
        entry = next;
    }
}

static void on_after(uv_work_t *req, int status)
{
    struct job *job = req->data;
    struct es_range_core *core = job->core;
    deliver_lines(core);
    es_list_remove(&job->link);
    if (status == UV_ECANCELED)
        job->status = es_err_set(&job->err, ES_ECANCELED, "%s was cancelled", job->what);
    job->after(job);
    if (core->closing)
        core_maybe_closed(core);
}

int job_start(struct es_range_core *core, struct job *job, struct es_err *err)
{
    ES_ASSERT(job->work != NULL && job->after != NULL && job->what != NULL);
    job->core = core;
    job->req.data = job;
    job->status = 0;
    memset(&job->err, 0, sizeof job->err);
    int rc = uv_queue_work(core->loop, &job->req, on_work, on_after);
    if (rc != 0)
        return es_err_set(err, ES_EIO, "%s: cannot use a worker thread: %s", job->what,
                          uv_strerror(rc));
    es_list_push(&core->jobs, &job->link);
    return 0;
}

void job_line(struct job *job, const char *line)
{
    struct es_range_core *core = job->core;
    size_t len = strlen(line);
    struct job_line_entry *entry = es_alloc(sizeof *entry + len + 1);
    if (entry == NULL)
        return; /* a progress line may be lost, the work's result may not */
    entry->next = NULL;
    entry->job = job;
    memcpy(entry->text, line, len + 1);
    uv_mutex_lock(&core->lines_mutex);
    if (core->lines_tail != NULL)
        core->lines_tail->next = entry;
    else
        core->lines_head = entry;
    core->lines_tail = entry;
    uv_mutex_unlock(&core->lines_mutex);
    uv_async_send(&core->lines_async);
}

static void on_lines(uv_async_t *async)
{
    deliver_lines(async->data);
}

int job_lines_init(struct es_range_core *core, struct es_err *err)
{
    if (uv_mutex_init(&core->lines_mutex) != 0)
        return es_err_nomem(err);
    int rc = uv_async_init(core->loop, &core->lines_async, on_lines);
    if (rc != 0) {
        uv_mutex_destroy(&core->lines_mutex);
        return es_err_set(err, ES_EIO, "cannot watch worker threads: %s",
                          uv_strerror(rc));
    }
    core->lines_async.data = core;
    core->open_handles++;
    return 0;
}

static void on_lines_closed(uv_handle_t *handle)
{
    struct es_range_core *core = handle->data;
    uv_mutex_destroy(&core->lines_mutex);
    core->open_handles--;
    core_maybe_closed(core);
}

void job_lines_close(struct es_range_core *core)
{
    ES_ASSERT(es_list_empty(&core->jobs));
    deliver_lines(core);
    uv_close((uv_handle_t *)&core->lines_async, on_lines_closed);
}
