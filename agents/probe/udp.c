/* udp: an answer to a datagram.
 *
 * Keys:     host: an address, or a name in the guest's /etc/hosts; port; send: the text
 *           sent; read (2048): bytes of the answer given, at most 16 KiB.
 * Evidence: answered; data_b64 (the first datagram) when it was. The request is sent again
 *           once a second. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe.h"

#define READ_MAX 16384

ES_PROBE_LOOK(udp)
{
    const char *text;
    int64_t want;
    struct sockaddr_storage addr;
    unsigned len;
    int rc = es_probe_arg_target(p, &addr, &len, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "send", true, &text, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "read", 2048, 1, READ_MAX, &want, err);
    char *data = es_arena_alloc(&p->arena, READ_MAX);
    if (rc != 0)
        return rc;
    int fd = socket(addr.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || data == NULL)
        return data == NULL ? es_err_nomem(err)
                            : es_probe_errno(err, "udp", "no socket", errno);
    int64_t left;
    ssize_t n = -1;
    bool routed = connect(fd, (const struct sockaddr *)&addr, len) == 0;
    while (routed && n < 0 && (left = p->deadline_ms - es_probe_now_ms()) > 0) {
        struct pollfd polled = {fd, POLLIN, 0};
        /* A refusal (ICMP) is no answer yet: the service may be starting. */
        send(fd, text, strlen(text), 0);
        int64_t again_ms = es_probe_now_ms() + (left < 1000 ? left : 1000);
        while (n < 0 && (left = again_ms - es_probe_now_ms()) > 0) {
            polled.revents = 0;
            if (poll(&polled, 1, (int)left) == 1)
                n = recv(fd, data, (size_t)want, 0);
            if (n < 0 && (polled.revents & POLLERR) != 0)
                poll(NULL, 0, (int)(left < 100 ? left : 100));
        }
    }
    close(fd);
    es_probe_set_bool(p, "answered", n >= 0);
    if (n >= 0)
        es_probe_set_bytes(p, "data_b64", data, (size_t)n);
    return 0;
}
