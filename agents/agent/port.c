/* The agent's end of the channel.
 *
 * A virtio-serial port whose host side is closed answers read() with 0 at once and polls as
 * hung up for ever; it is then watched for edges only. That the host came back is told by an
 * edge (the driver wakes its waiters when the host opens the port), and looked for by a
 * timer in case the edge is missed. A socket or a terminal is closed and opened again
 * instead. The descriptor is watched by an epoll of its own, for the sake of the edges; the
 * loop watches that.
 *
 *   no fd --timer: open--> HUNG UP <--read 0 / not hung up--> LIVE      error: no fd */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/log.h"
#include "enshu/common/str.h"

#define BACKOFF_FIRST_MS 250
#define BACKOFF_MAX_MS   2000
#define READ_BYTES       16384
#define READS_AT_ONCE    8

static void on_retry(uv_timer_t *timer);

/* ------------------------------------------------------------------ opening */

static bool has_name(const char *dir)
{
    char path[512], name[64] = "";
    es_str_printf(path, sizeof path, "/sys/class/virtio-ports/%s/name", dir);
    FILE *file = fopen(path, "re");
    bool right = file != NULL && fgets(name, sizeof name, file) != NULL;
    if (file != NULL)
        fclose(file);
    name[strcspn(name, "\n")] = '\0';
    return right && strcmp(name, ES_WIRE_PORT) == 0;
}

/* The device of a port, made when neither udev nor devtmpfs made it. */
static bool node_for(const char *dir, char *dst, size_t size)
{
    char path[512];
    unsigned major_no, minor_no;
    if (es_str_printf(dst, size, "/dev/%s", dir) != 0)
        return false;
    if (access(dst, F_OK) == 0)
        return true;
    es_str_printf(path, sizeof path, "/sys/class/virtio-ports/%s/dev", dir);
    FILE *file = fopen(path, "re");
    bool known = file != NULL && fscanf(file, "%u:%u", &major_no, &minor_no) == 2;
    if (file != NULL)
        fclose(file);
    return known && mknod(dst, S_IFCHR | 0600, makedev(major_no, minor_no)) == 0;
}

static bool find_port(char *dst, size_t size)
{
    es_str_printf(dst, size, "/dev/virtio-ports/%s", ES_WIRE_PORT);
    if (access(dst, F_OK) == 0)
        return true;
    DIR *dir = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    bool found = false;
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = entry->d_name[0] != '.' && has_name(entry->d_name) &&
                node_for(entry->d_name, dst, size);
    if (dir != NULL)
        closedir(dir);
    return found;
}

static int open_socket(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (es_str_printf(addr.sun_path, sizeof addr.sun_path, "%s", path) != 0)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int open_path(struct es_port *port, const char *path)
{
    struct stat st;
    struct termios mode;
    if (stat(path, &st) != 0)
        return -1;
    port->device = S_ISCHR(st.st_mode);
    if (S_ISSOCK(st.st_mode))
        return open_socket(path);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 && tcgetattr(fd, &mode) == 0) {
        port->device = false;
        cfmakeraw(&mode);
        tcsetattr(fd, TCSANOW, &mode);
    }
    return fd;
}

/* ------------------------------------------------------------------ states */

/* What the descriptor is watched for. Hung up: edges only. */
static void watch(struct es_port *port, bool fresh)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (!port->live)
        event.events |= EPOLLOUT | EPOLLET;
    else if (port->agent->session.out.len > 0)
        event.events |= EPOLLOUT;
    if (!fresh && event.events == port->watched)
        return;
    port->watched = event.events;
    if (epoll_ctl(port->epoll_fd, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, port->fd,
                  &event) != 0)
        es_log_error("the port cannot be watched: %s", strerror(errno));
}

static void retry_later(struct es_port *port)
{
    uv_timer_start(&port->retry, on_retry, port->backoff_ms, 0);
    port->backoff_ms *= 2;
    if (port->backoff_ms > BACKOFF_MAX_MS)
        port->backoff_ms = BACKOFF_MAX_MS;
}

/* The other side is gone. A device stays open, so that no edge is missed. */
static void lost(struct es_port *port, bool keep_open)
{
    es_session_lost(&port->agent->session);
    port->live = false;
    if (keep_open && port->device) {
        watch(port, false);
    } else if (port->fd >= 0) {
        close(port->fd); /* leaves the epoll with it */
        port->fd = -1;
    }
    retry_later(port);
}

/* A port without its host side is also readable: its read() ends at once. */
static bool is_hung_up(int fd)
{
    struct pollfd polled = {fd, POLLIN, 0};
    return poll(&polled, 1, 0) > 0 && (polled.revents & POLLHUP) != 0;
}

static void go_live(struct es_port *port)
{
    port->live = true;
    uv_timer_stop(&port->retry);
    es_session_found(&port->agent->session);
    watch(port, false);
}

/* Once a second or two while there is no core: opens, or looks whether the host is there. */
static void try_again(struct es_port *port)
{
    char found[300];
    const char *path = port->path;
    if (port->fd < 0) {
        if (path == NULL && find_port(found, sizeof found))
            path = found;
        port->fd = path != NULL ? open_path(port, path) : -1;
        if (port->fd >= 0)
            watch(port, true);
    }
    if (port->fd >= 0 && !is_hung_up(port->fd))
        go_live(port);
    else
        retry_later(port);
}

static void on_retry(uv_timer_t *timer)
{
    struct es_port *port = timer->data;
    if (!port->live)
        try_again(port);
}

/* ------------------------------------------------------------------ bytes */

static void on_broken(struct es_port *port, int code)
{
    es_log_debug("the port broke: %s", strerror(code));
    lost(port, false);
}

static void read_some(struct es_port *port)
{
    char chunk[READ_BYTES];
    for (int i = 0; i < READS_AT_ONCE && port->live; i++) {
        ssize_t n = read(port->fd, chunk, sizeof chunk);
        if (n > 0) {
            port->backoff_ms = BACKOFF_FIRST_MS;
            es_session_feed(&port->agent->session, chunk, (size_t)n, es_probe_now_ms());
        } else if (n == 0) {
            lost(port, true);
        } else if (errno == EAGAIN || errno == EINTR) {
            return;
        } else {
            on_broken(port, errno);
        }
    }
}

void es_port_flush(struct es_port *port)
{
    struct es_session *session = &port->agent->session;
    while (port->live && session->out.len > 0) {
        ssize_t n = write(port->fd, session->out.data, session->out.len);
        if (n > 0) {
            es_session_sent(session, (size_t)n);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n == 0 || errno == EAGAIN) {
            break;
        } else {
            on_broken(port, errno);
            return;
        }
    }
    if (port->live)
        watch(port, false);
    if (!es_session_is_full(session))
        es_jobs_resume(port->agent);
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
    struct es_port *port = handle->data;
    struct epoll_event event;
    (void)events;
    if (status < 0 || epoll_wait(port->epoll_fd, &event, 1, 0) != 1)
        return;
    if (!port->live && !is_hung_up(port->fd))
        go_live(port);
    if (port->live && (event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        read_some(port);
    es_agent_settle(port->agent);
}

/* ------------------------------------------------------------------ life */

int es_port_open(struct es_port *port, struct es_agent *agent, const char *path,
                 struct es_err *err)
{
    port->agent = agent;
    port->path = path;
    port->fd = -1;
    port->backoff_ms = BACKOFF_FIRST_MS;
    port->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (port->epoll_fd < 0)
        return es_err_set(err, ES_EIO, "no epoll: %s", strerror(errno));
    int rc = uv_poll_init(&agent->loop, &port->poll, port->epoll_fd);
    if (rc != 0)
        return es_err_set(err, ES_EIO, "no poll: %s", uv_strerror(rc));
    uv_timer_init(&agent->loop, &port->retry);
    port->poll.data = port->retry.data = port;
    uv_poll_start(&port->poll, UV_READABLE, on_ready);
    try_again(port);
    return 0;
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct es_port *port = handle->data;
    close(port->epoll_fd);
    port->epoll_fd = -1;
}

void es_port_close(struct es_port *port)
{
    port->live = false;
    uv_close((uv_handle_t *)&port->retry, NULL);
    uv_close((uv_handle_t *)&port->poll, on_poll_closed);
    if (port->fd >= 0)
        close(port->fd);
    port->fd = -1;
}
