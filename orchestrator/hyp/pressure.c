/* The kernel's word that memory is short, as soon as it is: a trigger on its pressure stall
 * information. Where that is not to be had, whoever asks for the usage now and then sees it
 * a little later. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"

/* Some task waits for memory a tenth of two seconds: the shortest window that the kernel
 * grants to everybody. */
static const char trigger[] = "some 200000 2000000";

static void on_pressed(uv_poll_t *poll, int status, int events)
{
    struct es_hyp *hyp = poll->data;
    (void)events;
    if (status != 0) { /* the kernel tells no more */
        uv_poll_stop(poll);
        return;
    }
    if (hyp->state == ES_HYP_UP)
        hyp->on_event(hyp->ctx, NULL, ES_HYP_PRESSED, NULL);
}

void es_hyp_pressure_open(struct es_hyp *hyp)
{
    char path[256];
    hyp->pressed_fd = -1;
    if (!es_hyp_is_local(hyp) || hyp->has_root || /* a test's is no kernel's */
        es_str_printf(path, sizeof path, "%s/proc/pressure/memory", hyp->root) != 0)
        return;
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, trigger, sizeof trigger) != (ssize_t)sizeof trigger ||
        uv_poll_init(hyp->loop, &hyp->pressed, fd) != 0) {
        close(fd);
        return;
    }
    hyp->pressed_fd = fd;
    hyp->pressed.data = hyp;
    hyp->open_handles++;
    uv_poll_start(&hyp->pressed, UV_PRIORITIZED, on_pressed);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct es_hyp *hyp = handle->data;
    close(hyp->pressed_fd);
    es_hyp_handle_closed(handle);
}

void es_hyp_pressure_close(struct es_hyp *hyp)
{
    if (hyp->pressed_fd >= 0)
        uv_close((uv_handle_t *)&hyp->pressed, on_poll_closed);
}
