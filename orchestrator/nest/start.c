/* `start`: one supervisor per state directory, however many callers. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/str.h"

#define READY_TRIES 3000 /* 20 ms each */
#define LOG_MAX     (8 << 20)

struct wires {
    int ask[2];    /* child: 'm' map my ids; then a line when the first start fails */
    int answer[2]; /* parent: 'y' mapped */
};

static void rotate_log(const char *path)
{
    struct stat st;
    char old[300];
    if (stat(path, &st) == 0 && st.st_size > LOG_MAX &&
        es_str_printf(old, sizeof old, "%s.1", path) == 0)
        rename(path, old);
}

static void detach(const struct nest *nest)
{
    char path[256];
    rotate_log(nest_path(nest, "nest.log", path));
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    setsid();
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(log >= 0 ? log : null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    if (chdir("/") != 0)
        es_log_warn("cannot change to /");
}

/* Descriptors of the caller must not live on in libvirtd and every machine. */
static void close_others(const struct wires *w)
{
    for (int fd = 3; fd < 1024; fd++)
        if (fd != w->ask[1] && fd != w->answer[0])
            close(fd);
}

static _Noreturn void child_main(struct nest *nest, pid_t survivor, struct wires *w)
{
    struct es_err err = {0};
    close_others(w);
    fcntl(w->ask[1], F_SETFD, FD_CLOEXEC);
    fcntl(w->answer[0], F_SETFD, FD_CLOEXEC);
    detach(nest);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    int rc = record_take_lock(nest, &err);
    if (rc == 0 && survivor != 0) {
        if (nest->libvirtd > 0) /* not a child of ours: one of our own replaces it */
            kill(nest->libvirtd, SIGTERM);
        rc = space_enter(nest, survivor, &err);
    } else if (rc == 0) {
        rc = space_leave(nest, w->ask[1], w->answer[0], &err);
        if (rc == 0)
            rc = mounts_build(nest, &err);
        if (rc == 0)
            kvm_decide(nest);
    }
    if (rc == 0)
        rc = daemon_configure(nest, &err);
    if (rc == 0)
        supervise(nest, w->ask[1]);
    es_log_error("%s", err.msg);
    dprintf(w->ask[1], "%s\n", err.msg);
    _exit(1);
}

/* Serves the child's wish for mapped ids and waits until libvirtd answers. */
static int wait_ready(const struct nest *nest, pid_t child, struct wires *w,
                      struct es_err *err)
{
    char line[ES_ERR_MSG_MAX];
    for (int i = 0; i < READY_TRIES; i++) {
        struct pollfd in = {.fd = w->ask[0], .events = POLLIN};
        if (poll(&in, 1, 20) == 1) {
            ssize_t n = read(w->ask[0], line, sizeof line - 1);
            if (n <= 0)
                return es_err_set(err, ES_EIO,
                                  "the supervisor ended early; see %s/nest.log",
                                  nest->dir);
            line[n] = '\0';
            if (!es_str_eq(line, "m")) {
                line[strcspn(line, "\n")] = '\0';
                return es_err_set(err, ES_EHYP, "%s", line);
            }
            int rc = space_map_ids(child, err);
            if (rc != 0 || write(w->answer[1], "y", 1) != 1)
                return rc != 0 ? rc : es_err_set(err, ES_EIO, "the supervisor has gone");
        } else if (daemon_answers(nest, 30000)) {
            return 0;
        }
    }
    return es_err_set(err, ES_ETIMEDOUT,
                      "libvirtd does not answer within a minute; see "
                      "%s/nest.log",
                      nest->dir);
}

static int launch(struct nest *nest, pid_t survivor, struct es_err *err)
{
    struct wires w;
    if (pipe2(w.ask, O_CLOEXEC) != 0 || pipe2(w.answer, O_CLOEXEC) != 0)
        return es_err_set(err, ES_EIO, "cannot make a pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return es_err_set(err, ES_EIO, "cannot fork: %s", strerror(errno));
    if (child == 0)
        child_main(nest, survivor, &w);
    close(w.ask[1]);
    close(w.answer[0]);
    int rc = wait_ready(nest, child, &w, err);
    close(w.ask[0]);
    close(w.answer[1]);
    if (rc != 0) {
        kill(child, SIGTERM);
        waitpid(child, NULL, 0);
    }
    return rc;
}

static int resolve_shares(struct options *options, struct es_err *err)
{
    for (size_t i = 0; i < options->share_count; i++) {
        char *real = realpath(options->shares[i], NULL);
        if (real == NULL)
            return es_err_set(err, ES_ENOENT, "--share %s: %s; make the folder first",
                              options->shares[i], strerror(errno));
        options->shares[i] = real; /* until the process ends */
    }
    return 0;
}

static void print_uri(const struct nest *nest)
{
    printf("qemu:///system?socket=%s/sock/libvirt-sock\n", nest->dir);
}

int command_start(struct options *options, struct es_err *err)
{
    struct nest nest;
    int rc = resolve_shares(options, err);
    if (rc == 0)
        rc = nest_open(&nest, options, err);
    if (rc == 0)
        rc = space_check(&nest, err);
    if (rc != 0)
        return rc;
    int lock = record_start_lock(&nest, err);
    if (lock < 0)
        return lock;
    if (record_supervisor(&nest) != 0) {
        for (int i = 0; i < READY_TRIES && !daemon_answers(&nest, 30000); i++)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        rc = daemon_answers(&nest, 30000)
                 ? 0
                 : es_err_set(err, ES_ETIMEDOUT,
                              "the nest in %s runs but libvirtd "
                              "does not answer; see its nest.log, "
                              "or: enshu-nest stop --state %s",
                              nest.dir, nest.dir);
    } else {
        pid_t survivor = record_read(&nest) == 0 ? space_survivor(&nest) : 0;
        rc = launch(&nest, survivor, err);
    }
    close(lock);
    if (rc == 0)
        print_uri(&nest);
    return rc;
}
