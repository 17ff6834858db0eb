/* One client's connection: lines in, lines out, and its end.
 *
 * peer_close may be called from anywhere, also under a callee that reports progress: it
 * only begins. Calls hear that nobody waits, and the memory goes, in the handle's close
 * callback. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "server_inner.h"

struct write {
    uv_write_t request;
    struct peer *peer;
    char *data;
    size_t len;
};

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    struct es_control *control = peer->control;
    while (!es_list_empty(&peer->calls))
        call_leave(ES_CONTAINER(peer->calls.next, struct call, link));
    ES_ASSERT(peer->call_count == 0 && peer->unsent_bytes == 0);
    control_lines_finish(&peer->lines);
    es_free(peer);
    ES_ASSERT(control->peer_count > 0);
    control->peer_count--;
    control_maybe_closed(control);
}

void peer_close(struct peer *peer)
{
    if (peer->closing)
        return;
    peer->closing = true;
    es_list_remove(&peer->link);
    uv_close((uv_handle_t *)&peer->pipe, on_peer_closed);
}

static void on_written(uv_write_t *request, int status)
{
    struct write *write = ES_CONTAINER(request, struct write, request);
    struct peer *peer = write->peer;
    ES_ASSERT(peer->unsent_bytes >= write->len);
    peer->unsent_bytes -= write->len;
    es_free(write->data);
    es_free(write);
    if (peer->closing)
        return;
    if (status != 0)
        peer_close(peer);
    else
        calls_drained(peer);
}

void peer_send(struct peer *peer, struct es_buf *line, int status)
{
    size_t len = line->len;
    char *data = status == 0 ? es_buf_take(line) : NULL;
    es_buf_finish(line);
    if (peer->closing) {
        es_free(data);
        return;
    }
    struct write *write = data != NULL ? es_calloc(1, sizeof *write) : NULL;
    if (write == NULL || peer->unsent_bytes + len > PEER_UNSENT_MAX) {
        es_log_warn("control: a client was dropped: %s",
                    status == ES_ELIMIT || write != NULL
                        ? "it does not read what it asked for"
                        : "out of memory");
        es_free(data);
        es_free(write);
        peer_close(peer);
        return;
    }
    write->peer = peer;
    write->data = data;
    write->len = len;
    peer->unsent_bytes += len;
    uv_buf_t buf = uv_buf_init(data, (unsigned)len);
    if (uv_write(&write->request, (uv_stream_t *)&peer->pipe, &buf, 1, on_written) == 0)
        return;
    peer->unsent_bytes -= len;
    es_free(data);
    es_free(write);
    peer_close(peer);
}

/* The one notification a client may send. */
static void take_notification(struct peer *peer, const struct control_request *request)
{
    if (!es_str_eq(request->method, "cancel"))
        return;
    struct call *call = call_find(peer, json_object_get(request->params, "id"));
    if (call != NULL)
        call_cancel(call);
}

static void take_line(struct peer *peer, const char *line, size_t len)
{
    struct control_request request;
    struct es_err err = {0};
    int rc = control_request_read(line, len, &request, &err);
    const struct es_method *method = NULL;
    if (rc != 0) {
        peer_refuse(peer, request.id, rc, &err);
    } else if (request.id == NULL) {
        take_notification(peer, &request);
    } else if ((method = control_method_find(peer->control->table, request.method,
                                             &err)) == NULL) {
        peer_refuse(peer, request.id, RPC_METHOD, &err);
    } else if (control_params_check(method, request.params, &err) != 0) {
        peer_refuse(peer, request.id, RPC_PARAMS, &err);
    } else {
        call_start(peer, method, request.id, request.params);
    }
    control_request_finish(&request);
}

static void refuse_overlong(struct peer *peer)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ELIMIT, "a line is longer than %u bytes; the connection ends",
               ES_CONTROL_LINE_MAX);
    peer_refuse(peer, NULL, RPC_REQUEST, &err);
    peer_close(peer);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct peer *peer = handle->data;
    *ret = uv_buf_init(peer->control->chunk, sizeof peer->control->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;
    if (peer->closing || n == 0)
        return;
    if (n < 0 || control_lines_feed(&peer->lines, buf->base, (size_t)n) != 0) {
        peer_close(peer);
        return;
    }
    const char *line;
    size_t len;
    while (!peer->closing && control_lines_next(&peer->lines, &line, &len))
        take_line(peer, line, len);
    if (!peer->closing && peer->lines.overlong)
        refuse_overlong(peer);
}

/* Only the core's user and root may speak. */
static bool is_allowed(const struct peer *peer)
{
    uv_os_fd_t fd;
    struct ucred who;
    socklen_t len = sizeof who;
    if (uv_fileno((const uv_handle_t *)&peer->pipe, &fd) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
        return false;
    if (who.uid == 0 || who.uid == geteuid())
        return true;
    es_log_warn("control: a client of uid %u was turned away", (unsigned)who.uid);
    return false;
}

static void on_rejected(uv_handle_t *handle)
{
    struct es_control *control = handle->data;
    control->is_rejecting = false;
    if (control->is_stalled && !control->closing) {
        control->is_stalled = false;
        peer_accept(control);
    }
    control_maybe_closed(control);
}

/* Ends a connection there is no memory for. libuv listens no more until the connection it
 * announced is accepted, so this needs no memory. */
static void reject(struct es_control *control)
{
    if (control->is_rejecting) {
        control->is_stalled = true;
        return;
    }
    control->is_rejecting = true;
    uv_pipe_init(control->loop, &control->rejected, 0);
    control->rejected.data = control;
    uv_accept((uv_stream_t *)&control->listener, (uv_stream_t *)&control->rejected);
    uv_close((uv_handle_t *)&control->rejected, on_rejected);
}

void peer_accept(struct es_control *control)
{
    struct peer *peer = es_calloc(1, sizeof *peer);
    if (peer == NULL) {
        reject(control);
        return;
    }
    uv_pipe_init(control->loop, &peer->pipe, 0);
    peer->control = control;
    peer->pipe.data = peer;
    control_lines_init(&peer->lines, ES_CONTROL_LINE_MAX);
    es_list_init(&peer->calls);
    es_list_push(&control->peers, &peer->link);
    control->peer_count++;
    if (uv_accept((uv_stream_t *)&control->listener, (uv_stream_t *)&peer->pipe) != 0 ||
        !is_allowed(peer)) {
        peer_close(peer);
        return;
    }
    if (control->peer_count > PEERS_MAX) {
        struct es_err err = {0};
        es_err_set(&err, ES_ELIMIT, "%d clients are connected; end one and try again",
                   PEERS_MAX);
        peer_refuse(peer, NULL, err.code, &err);
        peer_close(peer);
        return;
    }
    if (uv_read_start((uv_stream_t *)&peer->pipe, on_alloc, on_read) != 0)
        peer_close(peer);
}
