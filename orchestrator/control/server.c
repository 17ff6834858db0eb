/* The control socket: from bind to close.
 *
 * Closing: listener and peers are closed at once; when the last close callback has run, the
 * calls still running forget the control, and its memory goes. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "server_inner.h"

#define BACKLOG 128

/* Whether somebody answers on the address. */
static bool is_live(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return true;
    bool live = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                (errno != ECONNREFUSED && errno != ENOENT);
    close(fd);
    return live;
}

static int clear_stale(const struct sockaddr_un *address, struct es_err *err)
{
    const char *path = address->sun_path;
    struct stat st;
    if (lstat(path, &st) != 0)
        return 0; /* a real trouble shows at bind */
    if (!S_ISSOCK(st.st_mode))
        return es_err_set(err, ES_EEXIST,
                          "%s exists and is no socket; move it away or choose another "
                          "path with --socket",
                          path);
    if (is_live(address))
        return es_err_set(err, ES_EEXIST,
                          "a core already listens on %s; use it, or end it with SIGTERM",
                          path);
    if (unlink(path) != 0 && errno != ENOENT)
        return es_err_set(err, ES_EIO, "cannot remove the stale socket %s: %s", path,
                          strerror(errno));
    return 0;
}

/* A bound socket only the owner can open: the mode is set before the name exists. */
static int bind_socket(const char *path, int *ret_fd, struct es_err *err)
{
    struct sockaddr_un address;
    int rc = control_address(path, &address, err);
    if (rc == 0)
        rc = clear_stale(&address, err);
    if (rc != 0)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fchmod(fd, 0600) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        rc = es_err_set(err, errno == EADDRINUSE ? ES_EEXIST : ES_EIO,
                        "cannot listen on %s: %s; check that its folder exists and can "
                        "be written",
                        path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct es_control *control = listener->data;
    if (control->closing)
        return;
    if (status != 0)
        es_log_warn("control: accepting a client: %s", uv_strerror(status));
    else
        peer_accept(control);
}

void control_maybe_closed(struct es_control *control)
{
    if (!control->closing || !control->listener_closed || control->is_rejecting ||
        control->peer_count > 0)
        return;
    ES_ASSERT(es_list_empty(&control->peers));
    while (!es_list_empty(&control->orphans)) {
        struct call *call = ES_CONTAINER(control->orphans.next, struct call, link);
        es_list_remove(&call->link);
        call->control = NULL;
    }
    void (*on_closed)(void *) = control->on_closed;
    void *ctx = control->ctx;
    es_free(control->path);
    es_free(control);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct es_control *control = handle->data;
    control->listener_closed = true;
    control_maybe_closed(control);
}

static int listen_on(struct es_control *control, struct es_err *err)
{
    int fd = -1;
    int rc = bind_socket(control->path, &fd, err);
    if (rc != 0)
        return rc;
    rc = uv_pipe_open(&control->listener, fd);
    if (rc != 0)
        close(fd);
    else
        rc = uv_listen((uv_stream_t *)&control->listener, BACKLOG, on_connection);
    if (rc == 0)
        return 0;
    unlink(control->path);
    return es_err_set(err, ES_EIO, "cannot listen on %s: %s", control->path,
                      uv_strerror(rc));
}

int es_control_create_with_table(uv_loop_t *loop, struct es_range_core *core,
                                 const struct es_method *table, const char *path,
                                 struct es_control **ret_control, struct es_err *err)
{
    ES_ASSERT(loop != NULL && table != NULL && path != NULL && ret_control != NULL);
    struct es_control *control = es_calloc(1, sizeof *control);
    if (control == NULL)
        return es_err_nomem(err);
    control->loop = loop;
    control->core = core;
    control->table = table;
    es_list_init(&control->peers);
    es_list_init(&control->orphans);
    control->path = es_strdup(path);
    if (control->path == NULL) {
        es_free(control);
        return es_err_nomem(err);
    }
    uv_pipe_init(loop, &control->listener, 0);
    control->listener.data = control;
    int rc = listen_on(control, err);
    if (rc != 0) {
        control->closing = true;
        uv_close((uv_handle_t *)&control->listener, on_listener_closed);
        return rc;
    }
    *ret_control = control;
    return 0;
}

void es_control_close(struct es_control *control, void (*on_closed)(void *ctx), void *ctx)
{
    ES_ASSERT(control != NULL && !control->closing);
    control->closing = true;
    control->on_closed = on_closed;
    control->ctx = ctx;
    unlink(control->path);
    uv_close((uv_handle_t *)&control->listener, on_listener_closed);
    while (!es_list_empty(&control->peers))
        peer_close(ES_CONTAINER(control->peers.next, struct peer, link));
}
