/* Namespaces: leaving the caller's, entering those of a running nest, finding what lives
 * in them. */
#include "nest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/idmap.h"

int space_check(const struct nest *nest, struct es_err *err)
{
    struct es_idmap map;
    if (!nest->user_ns)
        return 0;
    int rc = es_idmap_find(&map, err);
    if (rc != 0)
        return rc;
    if (access("/dev/net/tun", R_OK | W_OK) != 0)
        return es_err_set(err, ES_EDENIED,
                          "/dev/net/tun cannot be opened by this user (%s), so machines "
                          "could get no network; as root: modprobe tun; chmod 0666 "
                          "/dev/net/tun",
                          strerror(errno));
    return 0;
}

int space_map_ids(pid_t child, struct es_err *err)
{
    struct es_idmap map;
    int rc = es_idmap_find(&map, err);
    return rc != 0 ? rc : es_idmap_apply(&map, child, err);
}

static int raise_loopback(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq req = {.ifr_name = "lo"};
    req.ifr_flags = IFF_UP;
    int rc = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &req);
    if (fd >= 0)
        close(fd);
    return rc;
}

static int enter_user_ns(int ask_fd, int answer_fd, struct es_err *err)
{
    char byte = 0;
    if (unshare(CLONE_NEWUSER) != 0)
        return es_err_set(
            err, ES_EDENIED,
            "this kernel refuses user namespaces to ordinary users (%s); as "
            "root: sysctl kernel.unprivileged_userns_clone=1 "
            "user.max_user_namespaces=10000",
            strerror(errno));
    if (write(ask_fd, "m", 1) != 1 || read(answer_fd, &byte, 1) != 1 || byte != 'y')
        return es_err_set(err, ES_EDENIED, "the ids could not be mapped");
    if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
        return es_err_set(err, ES_EDENIED, "cannot become root of the namespace: %s",
                          strerror(errno));
    return 0;
}

int space_leave(struct nest *nest, int ask_fd, int answer_fd, struct es_err *err)
{
    if (nest->user_ns) {
        struct es_idmap map;
        int rc = es_idmap_find(&map, err);
        if (rc == 0)
            rc = enter_user_ns(ask_fd, answer_fd, err);
        if (rc != 0)
            return rc;
        nest->qemu_uid = map.uid_count >= QEMU_ID ? QEMU_ID : (uid_t)map.uid_count;
        nest->qemu_gid = map.gid_count >= QEMU_ID ? QEMU_ID : (gid_t)map.gid_count;
    } else {
        nest->qemu_uid = nest->qemu_gid = QEMU_ID;
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0)
        return es_err_set(
            err, ES_EDENIED,
            "cannot make mount and network namespaces: %s; root here lacks "
            "CAP_SYS_ADMIN (a container?): run as an ordinary user, or give "
            "the container that capability",
            strerror(errno));
    if (raise_loopback() != 0)
        return es_err_set(err, ES_EIO, "cannot bring up lo: %s", strerror(errno));
    struct stat st;
    if (stat("/proc/self/ns/net", &st) != 0)
        return es_err_set(err, ES_EIO,
                          "cannot read /proc/self/ns/net: %s; is /proc "
                          "mounted?",
                          strerror(errno));
    nest->net_ino = st.st_ino;
    return 0;
}

int space_enter(const struct nest *nest, pid_t pid, struct es_err *err)
{
    static const struct {
        const char *name;
        int type;
    } kinds[] = {{"user", CLONE_NEWUSER}, {"net", CLONE_NEWNET}, {"mnt", CLONE_NEWNS}};
    int fds[ES_COUNT(kinds)];
    for (size_t i = 0; i < ES_COUNT(kinds); i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kinds[i].name);
        fds[i] = open(path, O_RDONLY | O_CLOEXEC);
    }
    int rc = 0;
    for (size_t i = nest->user_ns ? 0 : 1; rc == 0 && i < ES_COUNT(kinds); i++)
        if (fds[i] < 0 || setns(fds[i], kinds[i].type) != 0)
            rc =
                es_err_set(err, ES_EDENIED,
                           "cannot enter the %s namespace of process %d: %s; run this as "
                           "the user who started the nest",
                           kinds[i].name, (int)pid, strerror(errno));
    for (size_t i = 0; i < ES_COUNT(kinds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (rc == 0 && nest->user_ns && (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0))
        rc = es_err_set(err, ES_EDENIED, "cannot become root of the namespace: %s",
                        strerror(errno));
    return rc;
}

int space_each(const struct nest *nest, void (*each)(pid_t pid, void *ctx), void *ctx)
{
    int count = 0;
    DIR *proc = nest->net_ino != 0 ? opendir("/proc") : NULL;
    if (proc == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        int64_t pid;
        char path[64];
        struct stat st;
        if (es_str_int(entry->d_name, 1, INT32_MAX, &pid) != 0 || pid == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
        if (stat(path, &st) != 0 || st.st_ino != nest->net_ino)
            continue;
        count++;
        if (each != NULL)
            each((pid_t)pid, ctx);
    }
    closedir(proc);
    return count;
}

static void keep_one(pid_t pid, void *ctx)
{
    *(pid_t *)ctx = pid;
}

pid_t space_survivor(const struct nest *nest)
{
    pid_t pid = 0;
    space_each(nest, keep_one, &pid);
    return pid;
}

static void send_signal(pid_t pid, void *ctx)
{
    kill(pid, *(const int *)ctx);
}

int space_kill_all(const struct nest *nest)
{
    /* QEMU ends on SIGTERM at once; what has not gone after five seconds is forced. */
    for (int step = 0; step < 1000; step++) {
        int sig = step < 500 ? SIGTERM : SIGKILL;
        bool say = step == 0 || step >= 500;
        if (space_each(nest, say ? send_signal : NULL, &sig) == 0)
            return 0;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return ES_ETIMEDOUT;
}
