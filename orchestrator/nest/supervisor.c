/* The supervisor's loop: signals come through a descriptor, so nothing happens between
 * them.
 *
 *   libvirtd ends  -> started again, after a pause that doubles while it keeps ending early
 *   SIGTERM        -> libvirtd, then every machine, ended; state tidied; exit
 *   a machine ends -> reaped at once (machines are orphans of libvirtd: subreaper) */
#include "nest.h"

#include <errno.h>
#include <fts.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/log.h"

#define EARLY_MS    10000
#define PAUSE_MS    100
#define PAUSE_MAX   10000
#define FIRST_TRIES 3

struct supervisor {
    struct nest *nest;
    int report_fd; /* -1 once the starter has gone */
    int signals;
    int64_t started_ms; /* when libvirtd was last started */
    int64_t again_ms;   /* when to start it; 0: it runs */
    int pause_ms;
    int early; /* ends in a row soon after a start */
};

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Files that libvirtd gave to QEMU's user come back to the caller, who could not remove
 * them otherwise. */
static void take_back(const char *path)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", path);
    char *roots[] = {copy, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (tree == NULL)
        return;
    for (FTSENT *entry; (entry = fts_read(tree)) != NULL;)
        if (entry->fts_info != FTS_DP && lchown(entry->fts_accpath, 0, 0) != 0)
            es_log_warn("cannot take back %s: %s", entry->fts_path, strerror(errno));
    fts_close(tree);
}

static void tidy(const struct nest *nest)
{
    static const char *const gone[] = {"sock", "run", "v/run", "nest.json"};
    char path[256];
    take_back(nest_path(nest, "v", path));
    for (size_t i = 0; i < ES_COUNT(gone); i++)
        es_tree_remove(AT_FDCWD, nest_path(nest, gone[i], path), NULL);
}

static _Noreturn void finish(struct supervisor *s, int code)
{
    struct nest *nest = s->nest;
    s->again_ms = 0;
    if (nest->libvirtd > 0)
        kill(nest->libvirtd, SIGTERM);
    if (space_kill_all(nest) != 0)
        es_log_error("some processes of the nest do not end; look at them with ps");
    while (waitpid(-1, NULL, 0) > 0)
        ;
    tidy(nest);
    exit(code);
}

static void fail_first(struct supervisor *s, const char *text)
{
    es_log_error("%s", text);
    if (s->report_fd < 0)
        return;
    char line[ES_ERR_MSG_MAX + 2];
    int n = snprintf(line, sizeof line, "%s\n", text);
    /* Nobody at the other end: the start succeeded long ago, so keep trying. */
    if (write(s->report_fd, line, (size_t)n) == n)
        finish(s, 1);
    close(s->report_fd);
    s->report_fd = -1;
}

static void start_libvirtd(struct supervisor *s)
{
    struct es_err err = {0};
    s->again_ms = 0;
    s->started_ms = now_ms();
    /* The names again: a host that replaces its /etc/passwd takes away what lay over it. */
    if (names_add(s->nest, &err) != 0 || daemon_spawn(s->nest, &err) != 0 ||
        record_write(s->nest, &err) != 0) {
        fail_first(s, err.msg);
        if (s->nest->libvirtd <= 0)
            s->again_ms = now_ms() + PAUSE_MAX;
    }
}

static void on_libvirtd_end(struct supervisor *s, int status)
{
    int64_t lived = now_ms() - s->started_ms;
    s->nest->libvirtd = 0;
    s->nest->restarts++;
    s->early = lived < EARLY_MS ? s->early + 1 : 0;
    s->pause_ms = s->early <= 1 ? PAUSE_MS : s->pause_ms * 2;
    if (s->pause_ms > PAUSE_MAX)
        s->pause_ms = PAUSE_MAX;
    s->again_ms = now_ms() + s->pause_ms;
    es_log_warn("libvirtd ended (%s %d) after %lld ms; starting it again in %d ms",
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                (long long)lived, s->pause_ms);
    if (s->early >= FIRST_TRIES) {
        char text[400];
        snprintf(text, sizeof text,
                 "libvirtd does not stay up; its reason is at the end of %s/nest.log",
                 s->nest->dir);
        fail_first(s, text);
    }
}

static void reap(struct supervisor *s)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == s->nest->libvirtd)
            on_libvirtd_end(s, status);
}

static int watch_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_SETMASK, &set, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

_Noreturn void supervise(struct nest *nest, int report_fd)
{
    struct supervisor s = {.nest = nest, .report_fd = report_fd, .pause_ms = PAUSE_MS};
    s.signals = watch_signals();
    ES_ASSERT(s.signals >= 0);
    start_libvirtd(&s);
    for (;;) {
        int64_t wait = s.again_ms == 0 ? -1 : s.again_ms - now_ms();
        struct pollfd in = {.fd = s.signals, .events = POLLIN};
        if (s.again_ms != 0 && wait < 0)
            wait = 0;
        poll(&in, 1, (int)wait);
        struct signalfd_siginfo info;
        while (read(s.signals, &info, sizeof info) == (ssize_t)sizeof info)
            if (info.ssi_signo != SIGCHLD)
                finish(&s, 0);
        reap(&s);
        if (s.again_ms != 0 && now_ms() >= s.again_ms)
            start_libvirtd(&s);
    }
}
