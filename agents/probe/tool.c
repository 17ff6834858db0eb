/* Running a program of the guest from inside a worker: output capped, time limited. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "probe.h"
#include "spawn.h"

static const char *const standard_env[] = {
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin",
    "HOME=/",
    "LC_ALL=C",
    "USER=root",
    "LOGNAME=root",
    NULL};

static const char *const *with_env(struct es_probe *p, const char *const *extra)
{
    size_t count = 0, standard = ES_COUNT(standard_env) - 1;
    if (extra == NULL)
        return standard_env;
    while (extra[count] != NULL)
        count++;
    const char **env = es_arena_alloc(&p->arena, (standard + count + 1) * sizeof *env);
    if (env == NULL)
        return NULL;
    memcpy(env, standard_env, standard * sizeof *env);
    memcpy(env + standard, extra, count * sizeof *env);
    return env;
}

/* What lies in a pipe, up to the cap; the rest is read and dropped, so the tool goes on. */
static bool drain(int fd, struct es_buf *out, bool *truncated)
{
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0) {
        size_t room = out->max_bytes - out->len,
               take = (size_t)n < room ? (size_t)n : room;
        es_buf_append(out, chunk, take);
        *truncated = *truncated || take < (size_t)n;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void feed(struct es_tool *tool, int *fd, size_t *done)
{
    ssize_t n = 0;
    while (*done < tool->feed_len &&
           (n = write(*fd, (const char *)tool->feed + *done, tool->feed_len - *done)) > 0)
        *done += (size_t)n;
    if (*done == tool->feed_len || (n < 0 && errno != EAGAIN && errno != EINTR))
        close_at(fd);
}

/* Until the tool has ended or the time is over. A child of the tool may keep the pipes: the
 * end of the tool counts, so it is looked for at least every 20 ms while output is quiet. */
static void collect(struct es_tool *tool, struct es_spawned *child, int64_t until_ms)
{
    size_t fed = 0;
    int status, quiet_ms = 1;
    for (;;) {
        bool ended = waitpid(child->pid, &status, WNOHANG) == child->pid;
        if (child->out >= 0 && !drain(child->out, &tool->out, &tool->truncated))
            close_at(&child->out);
        if (child->err >= 0 && !drain(child->err, &tool->err_out, &tool->truncated))
            close_at(&child->err);
        if (ended)
            break;
        int64_t left = until_ms - es_probe_now_ms();
        if (left <= 0) {
            tool->timeout = true;
            es_spawn_kill_tree(child->pid);
            waitpid(child->pid, &status, 0);
            break;
        }
        if (child->in >= 0)
            feed(tool, &child->in, &fed);
        struct pollfd polled[3] = {
            {child->out, POLLIN, 0}, {child->err, POLLIN, 0}, {child->in, POLLOUT, 0}};
        int wait_ms = left < quiet_ms ? (int)left : quiet_ms;
        quiet_ms = poll(polled, 3, wait_ms) > 0 ? 1 : quiet_ms < 20 ? quiet_ms * 2 : 20;
    }
    tool->exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    tool->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int es_tool_run(struct es_probe *p, struct es_tool *tool, struct es_err *err)
{
    struct es_spawn plain = {.argv = tool->argv}, *spawn = &plain;
    struct es_spawned child;
    size_t keep = tool->keep != 0 ? tool->keep : ES_PROBE_BYTES_MAX;
    es_buf_init(&tool->out, keep);
    es_buf_init(&tool->err_out, keep);
    tool->exit = -1;
    if (tool->spawn != NULL) {
        plain = *tool->spawn;
    } else {
        plain.path = es_spawn_find(&p->arena, tool->argv[0]);
        plain.env = with_env(p, tool->env);
        if (p->arena.failed)
            return es_err_nomem(err);
        if (plain.path == NULL)
            return es_err_set(err, ES_ENOENT, "%s: not installed in this guest",
                              tool->argv[0]);
    }
    plain.feeds = tool->feed != NULL;
    signal(SIGPIPE, SIG_IGN);
    int rc = es_spawn_start(spawn, &child, err);
    if (rc != 0)
        return rc;
    collect(tool, &child, p->deadline_ms);
    close_at(&child.in);
    close_at(&child.out);
    close_at(&child.err);
    if (tool->out.status == ES_ENOMEM || tool->err_out.status == ES_ENOMEM)
        return es_err_nomem(err);
    return 0;
}

void es_tool_finish(struct es_tool *tool)
{
    es_buf_finish(&tool->out);
    es_buf_finish(&tool->err_out);
}

bool es_tool_there(struct es_probe *p, const char *name)
{
    return es_spawn_find(&p->arena, name) != NULL;
}

int es_tool_must(struct es_probe *p, struct es_tool *tool, struct es_err *err)
{
    int rc = es_tool_run(p, tool, err);
    if (rc == ES_ENOENT)
        return es_err_set(err, ES_ENOTSUP, "%s: not installed in this guest",
                          tool->argv[0]);
    if (rc == 0 && tool->timeout)
        return es_err_set(err, ES_ETIMEDOUT, "%s took too long", tool->argv[0]);
    if (rc == 0 && tool->exit == -1)
        return es_err_set(err, ES_EIO, "%s was killed by signal %d", tool->argv[0],
                          tool->signal);
    return rc;
}
