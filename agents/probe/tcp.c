/* tcp: whether a port accepts connections, and what it says.
 *
 * Keys:     host: an address, or a name in the guest's /etc/hosts; port; send: a text sent
 *           first; read (0): bytes of the answer wanted, at most 16 KiB.
 * Evidence: open; error when it is not: "refused" "timeout" "unreachable" or the system's
 *           words; banner_b64 with read: what came until so many bytes, the other side's
 *           end, half a second of silence after the first, or the time was over. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe.h"

#define READ_MAX 16384
#define QUIET_MS 500

static bool wait_for(int fd, short events, int64_t until_ms)
{
    int64_t left = until_ms - es_probe_now_ms();
    struct pollfd polled = {fd, events, 0};
    return left > 0 && poll(&polled, 1, (int)left) == 1;
}

static const char *why_closed(int code)
{
    switch (code) {
    case ECONNREFUSED:
        return "refused";
    case ETIMEDOUT:
        return "timeout";
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "unreachable";
    default:
        return strerror(code);
    }
}

/* 0 or an errno. */
static int connect_by(int fd, const struct sockaddr_storage *addr, unsigned len,
                      int64_t until_ms)
{
    int code = 0;
    socklen_t size = sizeof code;
    if (connect(fd, (const struct sockaddr *)addr, len) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (!wait_for(fd, POLLOUT, until_ms))
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 ? code : errno;
}

static void say(int fd, const char *text, int64_t until_ms)
{
    for (size_t left = strlen(text); left > 0 && wait_for(fd, POLLOUT, until_ms);) {
        ssize_t n = send(fd, text, left, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        text += n, left -= (size_t)n;
    }
}

static void listen_to(struct es_probe *p, int fd, size_t want, int64_t until_ms)
{
    char *data = es_arena_alloc(&p->arena, want);
    size_t len = 0;
    while (data != NULL && len < want && wait_for(fd, POLLIN, until_ms)) {
        ssize_t n = recv(fd, data + len, want - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        int64_t quiet = es_probe_now_ms() + QUIET_MS;
        until_ms = quiet < until_ms ? quiet : until_ms;
    }
    es_probe_set_bytes(p, "banner_b64", data, len);
}

ES_PROBE_LOOK(tcp)
{
    const char *text;
    int64_t want;
    struct sockaddr_storage addr;
    unsigned len;
    int rc = es_probe_arg_target(p, &addr, &len, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "send", false, &text, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "read", 0, 0, READ_MAX, &want, err);
    if (rc != 0)
        return rc;
    int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return es_probe_errno(err, "tcp", "no socket", errno);
    int code = connect_by(fd, &addr, len, p->deadline_ms);
    es_probe_set_bool(p, "open", code == 0);
    if (code != 0)
        es_probe_set_text(p, "error", why_closed(code));
    if (code == 0 && text != NULL)
        say(fd, text, p->deadline_ms);
    if (code == 0 && want > 0)
        listen_to(p, fd, (size_t)want, p->deadline_ms);
    close(fd);
    return 0;
}
