/* See hand_fork.h. */
#include "hand_fork.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "lab.h"

#define LINE_MAX_BYTES 16384
#define LOOK_EVERY_NS  1000000

/* ------------------------------------------------------------------ descriptors */

static ssize_t send_with_fd(int socket, const char *bytes, size_t len, int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char copy[256];
    if (len > sizeof copy)
        return -1;
    memcpy(copy, bytes, len);
    struct iovec part = {.iov_base = copy, .iov_len = len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

static int receive_fd(int socket)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    int fd = -1;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1 &&
        CMSG_FIRSTHDR(&message) != NULL)
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* ------------------------------------------------------------------ the tap */

static int open_tap(void)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_good = fd >= 0 && socket_fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0;
    if (is_good) {
        request.ifr_flags = IFF_UP;
        is_good = ioctl(socket_fd, SIOCSIFFLAGS, &request) == 0;
    }
    if (socket_fd >= 0)
        close(socket_fd);
    if (is_good || fd < 0)
        return fd;
    close(fd);
    return -1;
}

int hand_fork_tap(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        lab_die("tap", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        int made = unshare(CLONE_NEWNET | (geteuid() != 0 ? CLONE_NEWUSER : 0)) == 0
                       ? open_tap()
                       : -1;
        _exit(made >= 0 && send_with_fd(pair[1], "t", 1, made) == 1 ? 0 : 1);
    }
    close(pair[1]);
    int fd = receive_fd(pair[0]);
    close(pair[0]);
    waitpid(pid, NULL, 0);
    if (fd < 0)
        lab_die("tap", "cannot be made; is /dev/net/tun open to you?");
    return fd;
}

/* ------------------------------------------------------------------ the monitor */

void hand_fork_listen(struct hand_fork *fork, size_t n)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    es_str_printf(fork->monitor, sizeof fork->monitor, "%s/monitor%zu.sock", lab.dir, n);
    es_str_printf(address.sun_path, sizeof address.sun_path, "%s", fork->monitor);
    unlink(fork->monitor);
    fork->monitor_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fork->monitor_fd < 0 ||
        bind(fork->monitor_fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fork->monitor_fd, 1) != 0)
        lab_die(fork->monitor, strerror(errno));
}

struct monitor {
    int fd;
    size_t len;
    char bytes[LINE_MAX_BYTES];
    struct hand_fork *fork;
};

static bool fail(struct monitor *m, const char *what, const char *why)
{
    if (m->fork->why[0] == '\0')
        snprintf(m->fork->why, sizeof m->fork->why, "%.40s: %.150s", what, why);
    return false;
}

/* The next line, without its end; NULL at the end of QEMU. */
static const char *next_line(struct monitor *m, char *dst, size_t size)
{
    for (;;) {
        char *end = memchr(m->bytes, '\n', m->len);
        if (end != NULL) {
            size_t len = (size_t)(end - m->bytes);
            es_str_printf(dst, size, "%.*s", (int)len, m->bytes);
            m->len -= len + 1;
            memmove(m->bytes, end + 1, m->len);
            return dst;
        }
        ssize_t n = m->len < sizeof m->bytes
                        ? recv(m->fd, m->bytes + m->len, sizeof m->bytes - m->len, 0)
                        : 0;
        if (n <= 0)
            return NULL;
        m->len += (size_t)n;
    }
}

/* Waits for the answer and leaves events out. */
static bool command(struct monitor *m, const char *text, int fd, char *ret, size_t size)
{
    if (text != NULL && send_with_fd(m->fd, text, strlen(text), fd) < 0)
        return fail(m, text, strerror(errno));
    while (next_line(m, ret, size) != NULL) {
        if (strstr(ret, "\"error\"") != NULL)
            return fail(m, text != NULL ? text : "QEMU", ret);
        if (strstr(ret, "\"return\"") != NULL || strstr(ret, "\"QMP\"") != NULL)
            return true;
    }
    return fail(m, text != NULL ? text : "QEMU", "it ended");
}

static bool send_all(int socket, const char *bytes, ssize_t len)
{
    ssize_t n = 0;
    for (ssize_t sent = 0; sent < len; sent += n)
        if ((n = send(socket, bytes + sent, (size_t)(len - sent), MSG_NOSIGNAL)) <= 0)
            return false;
    return true;
}

/* That QEMU takes no more of it, QEMU tells why. */
static bool feed(struct monitor *m, int socket)
{
    char path[1040], block[65536];
    ssize_t n = 0;
    es_str_printf(path, sizeof path, "%.*s.state",
                  (int)(strlen(m->fork->ram) - strlen(".ram")), m->fork->ram);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return fail(m, path, strerror(errno));
    while ((n = read(file, block, sizeof block)) > 0 && send_all(socket, block, n))
        ;
    close(file);
    return true;
}

static bool load(struct monitor *m, char *line, size_t size)
{
    const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return fail(m, "socketpair", strerror(errno));
    bool ok =
        command(
            m,
            "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
            "[{\"capability\":\"x-ignore-shared\",\"state\":true}]}}",
            -1, line, size) &&
        command(m, "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"f\"}}", pair[1],
                line, size) &&
        command(m, "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:f\"}}",
                -1, line, size) &&
        feed(m, pair[0]);
    close(pair[0]);
    close(pair[1]);
    while (ok && command(m, "{\"execute\":\"query-migrate\"}", -1, line, size) &&
           strstr(line, "\"completed\"") == NULL) {
        ok = strstr(line, "\"failed\"") == NULL ||
             fail(m, "its state was not taken", line);
        nanosleep(&pause, NULL);
    }
    return ok && m->fork->why[0] == '\0' &&
           command(m,
                   "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{"
                   "\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":"
                   "false}]}}",
                   -1, line, size);
}

void hand_fork_drive(struct hand_fork *fork)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct monitor m = {.fork = fork,
                        .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    char line[LINE_MAX_BYTES];
    fork->why[0] = '\0';
    es_str_printf(address.sun_path, sizeof address.sun_path, "%s", fork->monitor);
    if (connect(m.fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail(&m, fork->monitor, strerror(errno));
    bool ok = fork->why[0] == '\0' && command(&m, NULL, -1, line, sizeof line) &&
              command(&m, "{\"execute\":\"qmp_capabilities\"}", -1, line, sizeof line);
    fork->started = lab_now() - fork->began;
    ok = ok && load(&m, line, sizeof line);
    fork->loaded = lab_now() - fork->began;
    if (ok)
        command(&m, "{\"execute\":\"cont\"}", -1, line, sizeof line);
    fork->resumed = lab_now() - fork->began;
    close(m.fd);
}
