/* Running other programs: their lines go to the log, their last words into the error. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

#define TICK_MS 100

struct run {
    const struct build *build;
    struct es_buf line;
    char last[400]; /* the last line said */
};

void tool_say(const struct build *b, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    if (b->config->on_line == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    b->config->on_line(b->config->ctx, line);
}

bool build_cancelled(const struct build *b)
{
    return b->config->cancel != NULL && atomic_load(b->config->cancel);
}

static _Noreturn void child_main(const struct build *b, const struct tool *tool,
                                 const int pipes[3][2], int ready, int go)
{
    char byte = 0;
    setsid();
    if (chdir(tool->cwd != NULL ? tool->cwd : b->work) != 0)
        _exit(126);
    if (tool->mapped && (unshare(CLONE_NEWUSER) != 0 || write(ready, "m", 1) != 1 ||
                         read(go, &byte, 1) != 1 || byte != 'y' ||
                         setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0))
        _exit(125);
    dup2(pipes[0][0], STDIN_FILENO);
    dup2(pipes[1][1], STDOUT_FILENO);
    dup2(pipes[2][1], STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    umask(022);
    execvp(tool->argv[0], (char *const *)(uintptr_t)tool->argv);
    _exit(errno == ENOENT ? 127 : 126);
}

static void end_line(struct run *run)
{
    const char *text = es_buf_str(&run->line);
    if (text[0] != '\0') {
        snprintf(run->last, sizeof run->last, "%s", text);
        tool_say(run->build, "%s", text);
    }
    es_buf_clear(&run->line);
}

/* Lines longer than the buffer are cut: they are only for reading. */
static void take_log(struct run *run, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (data[i] == '\n' || data[i] == '\r')
            end_line(run);
        else if ((unsigned char)data[i] >= ' ' || data[i] == '\t')
            es_buf_putc(&run->line, data[i]);
}

/* Reads until both pipes are closed. Returns ES_ECANCELED when asked to stop. */
static int pump(struct run *run, const struct tool *tool, int out_fd, int err_fd,
                pid_t child)
{
    struct pollfd fds[2] = {{.fd = out_fd, .events = POLLIN},
                            {.fd = err_fd, .events = POLLIN}};
    char chunk[16384];
    int rc = 0;
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        poll(fds, 2, TICK_MS);
        if (rc == 0 && build_cancelled(run->build)) {
            kill(-child, SIGKILL);
            rc = ES_ECANCELED;
        }
        for (int i = 0; i < 2; i++) {
            if (fds[i].fd < 0 || fds[i].revents == 0)
                continue;
            ssize_t n = read(fds[i].fd, chunk, sizeof chunk);
            if (n <= 0)
                fds[i].fd = -1;
            else if (i == 0 && tool->output != NULL)
                es_buf_append(tool->output, chunk, (size_t)n);
            else
                take_log(run, chunk, (size_t)n);
        }
    }
    end_line(run);
    return rc;
}

static int explain(const struct tool *tool, const struct run *run, int status,
                   struct es_err *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        return es_err_set(err, ES_ENOENT, "%s is missing; as root: apt-get install %s",
                          tool->argv[0], tool->package);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 125)
        return es_err_set(err, ES_EDENIED,
                          "cannot make a user namespace; as root: sysctl "
                          "kernel.unprivileged_userns_clone=1 "
                          "user.max_user_namespaces=10000");
    return es_err_set(err, ES_EIO, "%s ended with %s %d: %s", tool->argv[0],
                      WIFSIGNALED(status) ? "signal" : "status",
                      WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                      run->last[0] != '\0' ? run->last : "it gave no reason");
}

static void close_pair(int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    fds[0] = fds[1] = -1;
}

static int follow(const struct build *b, const struct tool *tool, pid_t child,
                  int pipes[3][2], int ready[2], int go[2], struct es_err *err)
{
    struct run run = {.build = b};
    char byte;
    int status = 0, rc = 0;
    es_buf_init(&run.line, 800);
    close(pipes[1][1]);
    close(pipes[2][1]);
    close(ready[1]);
    pipes[1][1] = pipes[2][1] = ready[1] = -1;
    if (tool->mapped && read(ready[0], &byte, 1) == 1) {
        rc = es_idmap_apply(&b->map, child, err);
        if (write(go[1], rc == 0 ? "y" : "n", 1) != 1 && rc == 0)
            rc = es_err_set(err, ES_EIO, "%s ended early", tool->argv[0]);
    }
    int pumped = pump(&run, tool, pipes[1][0], pipes[2][0], child);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (pumped != 0)
        rc = es_err_set(err, ES_ECANCELED, "the build was cancelled");
    else if (rc == 0)
        rc = explain(tool, &run, status, err);
    if (rc == 0 && tool->output != NULL && es_buf_status(tool->output) != 0)
        rc = es_err_set(err, es_buf_status(tool->output), "%s said too much",
                        tool->argv[0]);
    es_buf_finish(&run.line);
    return rc;
}

int tool_run(const struct build *b, const struct tool *tool, struct es_err *err)
{
    int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, ready[2] = {-1, -1},
        go[2] = {-1, -1};
    int rc = 0;
    if (build_cancelled(b))
        return es_err_set(err, ES_ECANCELED, "the build was cancelled");
    pipes[0][0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t child = -1;
    if (pipes[0][0] < 0 || pipe2(pipes[1], O_CLOEXEC) != 0 ||
        pipe2(pipes[2], O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0 ||
        pipe2(go, O_CLOEXEC) != 0 || (child = fork()) < 0)
        rc = es_err_set(err, ES_EIO, "cannot start %s: %s", tool->argv[0],
                        strerror(errno));
    if (child == 0)
        child_main(b, tool, (const int(*)[2])pipes, ready[1], go[0]);
    if (rc == 0)
        rc = follow(b, tool, child, pipes, ready, go, err);
    for (int i = 0; i < 3; i++)
        close_pair(pipes[i]);
    close_pair(ready);
    close_pair(go);
    return rc;
}
