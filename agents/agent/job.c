/* Tasks that are child processes: their pipes, their end, their result.
 *
 * A job ends when its child has been reaped; what its pipes still hold is read then, and
 * what a grandchild may write later is not waited for. Its memory goes when both pipe
 * watchers have closed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"

#define KEEP_DEFAULT 16384
#define WORKER_KEEP  (2U * ES_WIRE_LINE_MAX) /* a worker's JSON */
#define STDIN_MAX    65536U

struct stream {
    uv_poll_t poll;
    struct job *job;
    const char *name; /* in parts */
    int fd;
    bool reading;
    struct es_buf kept;
};

struct job {
    struct es_list link;
    struct es_agent *agent;
    struct es_task *task; /* NULL once it has ended */
    pid_t pid;
    bool worker;
    bool parts; /* output goes out in parts as it comes */
    bool truncated;
    struct stream out, err;
    uv_poll_t in_poll; /* fd -1: nothing to feed */
    int in_fd;
    struct es_buf feed;
    int held; /* by its open handles, and by its child until that is reaped */
};

static struct job *job_of(struct es_list *link)
{
    return ES_CONTAINER(link, struct job, link);
}

/* ------------------------------------------------------------------ end */

static void let_go(struct job *job)
{
    ES_ASSERT(job->held > 0);
    if (--job->held > 0)
        return;
    ES_ASSERT(!es_list_linked(&job->link));
    es_buf_finish(&job->out.kept);
    es_buf_finish(&job->err.kept);
    es_buf_finish(&job->feed);
    es_free(job);
}

static void on_handle_closed(uv_handle_t *handle)
{
    let_go(handle->data);
}

static void close_in(struct job *job)
{
    if (job->in_fd < 0)
        return;
    uv_close((uv_handle_t *)&job->in_poll, on_handle_closed);
    close(job->in_fd);
    job->in_fd = -1;
}

static void close_stream(struct stream *stream)
{
    if (stream->fd < 0)
        return;
    uv_close((uv_handle_t *)&stream->poll, on_handle_closed);
    close(stream->fd);
    stream->fd = -1;
}

/* Call once, when the task has ended: with the last handle the job goes. */
static void release(struct job *job)
{
    es_list_remove(&job->link);
    close_in(job);
    close_stream(&job->out);
    close_stream(&job->err);
    let_go(job);
}

/* ------------------------------------------------------------------ output */

static void take(struct stream *stream, const char *data, size_t len)
{
    struct job *job = stream->job;
    size_t room = stream->kept.max_bytes - stream->kept.len;
    size_t keep = len < room ? len : room;
    if (es_buf_append(&stream->kept, data, keep) != 0)
        keep = 0;
    job->truncated = job->truncated || (keep < len && !job->parts);
    if (job->parts)
        es_session_part(job->task, stream->name, data, len);
}

/* False when there is no more to come. */
static bool read_chunk(struct stream *stream)
{
    char chunk[ES_WIRE_DATA_MAX / 2];
    ssize_t n = read(stream->fd, chunk, sizeof chunk);
    if (n > 0)
        take(stream, chunk, (size_t)n);
    return n > 0 || (n < 0 && errno == EINTR);
}

static void on_output(uv_poll_t *handle, int status, int events)
{
    struct job *job = handle->data;
    struct stream *stream = handle == &job->out.poll ? &job->out : &job->err;
    (void)events;
    if (status < 0 || stream->fd < 0)
        return;
    if (!read_chunk(stream) && errno != EAGAIN)
        close_stream(stream);
    if (job->parts && stream->fd >= 0 && es_session_is_full(&job->agent->session)) {
        uv_poll_stop(&stream->poll);
        stream->reading = false;
    }
    es_agent_settle(job->agent);
}

static void resume(struct stream *stream)
{
    if (stream->fd < 0 || stream->reading)
        return;
    stream->reading = uv_poll_start(&stream->poll, UV_READABLE, on_output) == 0;
}

void es_jobs_resume(struct es_agent *agent)
{
    ES_LIST_EACH (pos, tmp, &agent->jobs) {
        resume(&job_of(pos)->out);
        resume(&job_of(pos)->err);
    }
}

static void on_input(uv_poll_t *handle, int status, int events)
{
    struct job *job = handle->data;
    (void)events;
    if (job->in_fd < 0)
        return;
    ssize_t n = status < 0 ? -1 : write(job->in_fd, job->feed.data, job->feed.len);
    if (n > 0)
        es_buf_consume(&job->feed, (size_t)n);
    if (job->feed.len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_in(job);
}

/* ------------------------------------------------------------------ results */

static void end_task(struct job *job, json_t *evidence, bool whole, struct es_err *err)
{
    struct es_task *task = job->task;
    struct es_err nomem = {0};
    if (evidence == NULL && err->code == 0)
        es_err_nomem(&nomem), err = &nomem;
    job->task = NULL;
    task->job = NULL;
    es_session_finish(task, evidence, whole, evidence != NULL ? NULL : err,
                      es_probe_now_ms());
}

/* {"evidence": {...}} or {"code": N, "text": S} */
static void conclude_worker(struct job *job, int status)
{
    struct es_err err = {0};
    const struct es_buf *told = &job->out.kept;
    json_t *root = json_loadb(es_buf_str(told), told->len, 0, NULL);
    json_t *evidence = json_object_get(root, "evidence");
    const json_t *code = json_object_get(root, "code");
    if (!json_is_object(evidence))
        evidence = NULL;
    if (WIFSIGNALED(status))
        es_err_set(&err, ES_EIO, "the probe was killed by signal %d", WTERMSIG(status));
    else if (json_is_integer(code) && json_integer_value(code) < 0)
        es_err_set(&err, (int)json_integer_value(code), "%s",
                   json_string_value(json_object_get(root, "text")) != NULL
                       ? json_string_value(json_object_get(root, "text"))
                       : "?");
    else
        es_err_set(&err, ES_EIO, "the probe ended without a result");
    end_task(job, json_incref(evidence), false, &err);
    json_decref(root);
}

static void conclude_exec(struct job *job, int status)
{
    struct es_task *task = job->task;
    struct es_err err = {0};
    bool timeout = es_str_eq(task->stop_code, "timeout");
    size_t room = ES_PROBE_BYTES_MAX - job->out.kept.len;
    size_t errs = job->err.kept.len < room ? job->err.kept.len : room;
    json_t *out = es_base64_json(es_buf_str(&job->out.kept), job->out.kept.len);
    json_t *err_out = es_base64_json(es_buf_str(&job->err.kept), errs);
    bool signalled = WIFSIGNALED(status);
    json_t *evidence = NULL;
    if (out != NULL && err_out != NULL)
        evidence =
            json_pack("{s:i, s:O, s:O, s:b, s:b}", signalled ? "signal" : "exit",
                      signalled ? WTERMSIG(status) : WEXITSTATUS(status), "stdout", out,
                      "stderr", err_out, "truncated",
                      job->truncated || errs < job->err.kept.len, "timeout", timeout);
    json_decref(out);
    json_decref(err_out);
    end_task(job, evidence, timeout, &err);
}

void es_jobs_reap(struct es_agent *agent)
{
    ES_LIST_EACH (pos, tmp, &agent->jobs) {
        struct job *job = job_of(pos);
        int status;
        if (waitpid(job->pid, &status, WNOHANG) != job->pid)
            continue;
        while (job->out.fd >= 0 && read_chunk(&job->out))
            continue;
        while (job->err.fd >= 0 && read_chunk(&job->err))
            continue;
        /* Out of the list first: ending a task may start the next, at the list's end. */
        es_list_remove(&job->link);
        if (job->worker)
            conclude_worker(job, status);
        else
            conclude_exec(job, status);
        release(job);
    }
}

void es_job_stop(struct es_task *task)
{
    struct job *job = task->job;
    if (job != NULL)
        es_spawn_kill_tree(job->pid);
}

void es_jobs_kill(struct es_agent *agent)
{
    ES_LIST_EACH (pos, tmp, &agent->jobs) {
        struct job *job = job_of(pos);
        struct es_err err = {.code = ES_ECANCELED};
        int status;
        es_spawn_kill_tree(job->pid);
        waitpid(job->pid, &status, 0);
        end_task(job, NULL, false, &err);
        release(job);
    }
}

/* ------------------------------------------------------------------ start */

static int open_stream(struct job *job, struct stream *stream, const char *name, int fd,
                       size_t keep)
{
    stream->job = job;
    stream->name = name;
    stream->fd = -1;
    es_buf_init(&stream->kept, keep);
    int rc = uv_poll_init(&job->agent->loop, &stream->poll, fd);
    if (rc != 0) {
        close(fd);
        return rc;
    }
    stream->fd = fd;
    stream->poll.data = job;
    job->held++;
    resume(stream);
    return 0;
}

static void open_input(struct job *job, int fd)
{
    if (fd < 0)
        return;
    if (job->feed.len == 0 || uv_poll_init(&job->agent->loop, &job->in_poll, fd) != 0) {
        close(fd);
        return;
    }
    job->in_fd = fd;
    job->in_poll.data = job;
    job->held++;
    uv_poll_start(&job->in_poll, UV_WRITABLE, on_input);
}

static void start(struct job *job, const struct es_spawn *spawn, size_t keep)
{
    struct es_spawned child;
    struct es_err err = {0};
    if (es_spawn_start(spawn, &child, &err) != 0) {
        end_task(job, NULL, false, &err);
        es_buf_finish(&job->feed);
        es_free(job);
        return;
    }
    job->pid = child.pid;
    job->task->job = job;
    es_list_push(&job->agent->jobs, &job->link);
    int rc = open_stream(job, &job->out, "out", child.out, keep);
    int rc2 = open_stream(job, &job->err, "err", child.err, job->worker ? 256 : keep);
    open_input(job, child.in);
    if (rc != 0 || rc2 != 0)
        es_spawn_kill_tree(job->pid);
}

static struct job *make_job(struct es_agent *agent, struct es_task *task, bool worker)
{
    struct job *job = es_calloc(1, sizeof *job);
    struct es_err err = {0};
    if (job == NULL) {
        es_err_nomem(&err);
        es_session_finish(task, NULL, false, &err, es_probe_now_ms());
        return NULL;
    }
    job->agent = agent;
    job->task = task;
    job->worker = worker;
    job->in_fd = -1;
    job->held = 1;
    es_buf_init(&job->feed, STDIN_MAX);
    return job;
}

struct work {
    es_op_run *run;
    const char *root;
    const struct es_task *task;
};

/* In the worker. */
static int do_work(void *ctx)
{
    const struct work *work = ctx;
    struct es_err err = {0};
    json_t *evidence = NULL, *told;
    int rc = work->run(work->root, work->task->request.args, work->task->deadline_ms,
                       &evidence, &err);
    told = rc == 0 ? json_pack("{s:o}", "evidence", evidence)
                   : json_pack("{s:i, s:o}", "code", rc, "text",
                               es_probe_text_json(err.msg, strlen(err.msg)));
    return told != NULL && json_dumpfd(told, 1, JSON_COMPACT) == 0 ? 0 : 1;
}

void es_job_work(struct es_agent *agent, struct es_task *task, es_op_run *run)
{
    struct job *job = make_job(agent, task, true);
    struct work work = {run, agent->root, task};
    struct es_spawn spawn = {.run = do_work, .ctx = &work, .session = true};
    if (job != NULL)
        start(job, &spawn, WORKER_KEEP);
}

static int read_exec(struct es_arena *arena, struct job *job, struct es_spawn *spawn,
                     int64_t *ret_keep, struct es_err *err)
{
    const json_t *args = job->task->request.args;
    struct es_probe p = {.args = args};
    const char *user, *cwd, *feed;
    int rc = es_probe_arg_text(&p, "user", false, &user, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&p, "cwd", false, &cwd, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&p, "stdin", false, &feed, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(&p, "stream", false, &job->parts, err);
    rc = rc != 0 ? rc
                 : es_probe_arg_int(&p, "keep", job->parts ? 0 : KEEP_DEFAULT, 0,
                                    INT32_MAX, ret_keep, err);
    if (rc != 0)
        return rc;
    if (*ret_keep > (int64_t)ES_PROBE_BYTES_MAX)
        *ret_keep = ES_PROBE_BYTES_MAX;
    const json_t *run = json_object_get(args, "argv");
    if (run == NULL)
        run = json_object_get(args, "shell");
    rc = es_spawn_command(arena, job->agent->root, run, json_object_get(args, "env"),
                          user, cwd, spawn, err);
    if (rc == 0 && feed != NULL) {
        spawn->feeds = true;
        rc = es_base64_decode(feed, strlen(feed), &job->feed);
        if (rc != 0)
            es_err_set(err, rc, "stdin: not base64 of at most %u bytes", STDIN_MAX);
    }
    return rc;
}

void es_job_exec(struct es_agent *agent, struct es_task *task)
{
    struct es_arena arena = {.max_bytes = 1U << 20};
    struct job *job = make_job(agent, task, false);
    struct es_spawn spawn = {0};
    struct es_err err = {0};
    int64_t keep;
    if (job == NULL)
        return;
    if (read_exec(&arena, job, &spawn, &keep, &err) != 0) {
        end_task(job, NULL, false, &err);
        es_buf_finish(&job->feed);
        es_free(job);
    } else {
        start(job, &spawn, (size_t)keep);
    }
    es_arena_finish(&arena);
}
