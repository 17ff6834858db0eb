/* Starting children and killing their trees. */
#include "spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "enshu/common/str.h"

static void close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
        return;
#endif
    for (int fd = first; fd < 1024; fd++)
        close(fd);
}

static void say(const char *what, const char *which)
{
    dprintf(2, "enshu-agent: %s %s: %s\n", what, which, strerror(errno));
}

static void signals_to_default(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &action, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void oom_unprotect(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "0", 1) < 0) {
        /* a child that stays protected is no reason not to run it */
    }
    close(fd);
}

static bool become_user(const struct es_spawn *spawn)
{
    if (setgroups(spawn->group_count, spawn->groups) != 0 && geteuid() == 0)
        return false;
    return setgid(spawn->gid) == 0 && setuid(spawn->uid) == 0;
}

/* In the child. `fds` are what becomes 0, 1 and 2. */
static _Noreturn void child(const struct es_spawn *spawn, const int fds[3])
{
    if (spawn->session)
        setsid();
    else
        setpgid(0, 0);
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0)
            _exit(126);
    close_from(3);
    signals_to_default();
    oom_unprotect();
    umask(022);
    if (spawn->as_user && !become_user(spawn)) {
        say("cannot become the user for", spawn->argv[0]);
        _exit(126);
    }
    const char *cwd = spawn->cwd != NULL ? spawn->cwd : "/";
    if (chdir(cwd) != 0 && (!spawn->any_cwd || chdir("/") != 0)) {
        say("cannot change to", cwd);
        _exit(126);
    }
    if (spawn->argv == NULL)
        _exit(spawn->run(spawn->ctx));
    union {
        const char *const *in;
        char *const *out;
    } argv = {spawn->argv}, env = {spawn->env};
    execve(spawn->path != NULL ? spawn->path : spawn->argv[0], argv.out, env.out);
    say("cannot run", spawn->argv[0]);
    _exit(errno == ENOENT ? 127 : 126);
}

/* Both ends at 3 or above, so that moving them to 0, 1, 2 overwrites none of them. */
static int high_pipe(int fds[2])
{
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        if (fds[i] > 2)
            continue;
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        close(fds[i]);
        fds[i] = fd;
    }
    if (fds[0] >= 0 && fds[1] >= 0)
        return 0;
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return -1;
}

static void close_pair(int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static int open_pipes(const struct es_spawn *spawn, int in[2], int out[2], int errs[2])
{
    in[0] = in[1] = out[0] = out[1] = errs[0] = errs[1] = -1;
    if (high_pipe(out) != 0 || high_pipe(errs) != 0)
        return -1;
    if (spawn->feeds)
        return high_pipe(in);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* a guest without /dev/null: an input that ends at once will do */
        return high_pipe(in) == 0 ? (close(in[1]), in[1] = -1, 0) : -1;
    in[0] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return in[0] >= 0 ? 0 : -1;
}

int es_spawn_start(const struct es_spawn *spawn, struct es_spawned *ret_child,
                   struct es_err *err)
{
    int in[2], out[2], errs[2];
    ES_ASSERT((spawn->argv == NULL) == (spawn->run != NULL));
    int bad = open_pipes(spawn, in, out, errs);
    pid_t pid = -1;
    if (bad == 0) {
        sigset_t all, old;
        /* No handler of the agent may run in the child: it shares the loop's pipes. */
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, &old);
        /* Not fork(): libuv's handler for it closes the numbers of its own pipes in the
         * child, which in a child's child are somebody else's. There is one thread, so all
         * of libc works in the child. */
        pid = _Fork();
        if (pid == 0)
            child(spawn, (int[]){in[0], out[1], errs[1]});
        sigprocmask(SIG_SETMASK, &old, NULL);
    }
    if (pid < 0) {
        int code = errno;
        close_pair(in), close_pair(out), close_pair(errs);
        return es_err_set(err, ES_EIO, "no child process could be started: %s",
                          strerror(code));
    }
    close(in[0]), close(out[1]), close(errs[1]);
    *ret_child =
        (struct es_spawned){.pid = pid, .in = in[1], .out = out[0], .err = errs[0]};
    for (int i = 0; i < 3; i++) {
        int fd = (int[]){in[1], out[0], errs[0]}[i];
        if (fd >= 0)
            fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    return 0;
}

/* ------------------------------------------------------------------ killing */

struct process {
    pid_t pid, parent, group, session;
    bool doomed;
};

static bool read_process(pid_t pid, struct process *ret)
{
    char path[32], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    char *after = strrchr(text, ')'); /* the name may hold anything */
    int parent, group, session;
    char state;
    if (after == NULL ||
        sscanf(after + 1, " %c %d %d %d", &state, &parent, &group, &session) != 4)
        return false;
    *ret = (struct process){
        .pid = pid, .parent = parent, .group = group, .session = session};
    return state != 'Z';
}

static size_t list_processes(struct process **ret_list)
{
    struct process *list = NULL;
    size_t count = 0, room = 0;
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int64_t pid;
        if (es_str_int(entry->d_name, 1, INT32_MAX, &pid) != 0)
            continue;
        if (count == room) {
            struct process *grown = es_grow(list, room += 256, sizeof *list);
            if (grown == NULL)
                break;
            list = grown;
        }
        if (read_process((pid_t)pid, &list[count]))
            count++;
    }
    if (dir != NULL)
        closedir(dir);
    *ret_list = list;
    return count;
}

static bool mark(struct process *list, size_t count, pid_t root)
{
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        struct process *p = &list[i];
        if (p->doomed || p->pid == getpid())
            continue;
        p->doomed = p->pid == root || p->group == root || p->session == root;
        for (size_t k = 0; k < count && !p->doomed; k++)
            p->doomed = list[k].doomed && list[k].pid == p->parent;
        any |= p->doomed;
    }
    return any;
}

void es_spawn_kill_tree(pid_t pid)
{
    ES_ASSERT(pid > 1);
    /* Repeated while there is something left, for what forked in between. */
    for (int round = 0; round < 8; round++) {
        struct process *list;
        size_t count = list_processes(&list);
        bool any = false;
        while (mark(list, count, pid))
            any = true;
        for (size_t i = 0; i < count; i++)
            if (list[i].doomed)
                kill(list[i].pid, SIGKILL);
        es_free(list);
        if (!any)
            break;
    }
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
}
