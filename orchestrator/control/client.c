/* A client of the control socket. After the connection has ended `on_closed` has told why,
 * once; the memory goes with es_client_close. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control_inner.h"
#include "enshu/common/mem.h"
#include "enshu/wire.h"

#define CLIENT_LINE_MAX (9U << 20) /* more than a server sends */

struct es_client {
    uv_pipe_t pipe;
    struct es_client_events events;
    void *ctx;
    struct control_lines lines;
    int64_t last_id;
    bool closing, ended;
    void (*on_freed)(void *ctx);
    void *freed_ctx;
    char chunk[CONTROL_READ_BYTES];
};

struct write {
    uv_write_t request;
    struct es_client *client;
    char *data;
};

static void end(struct es_client *client, int code, const char *why)
{
    if (client->closing || client->ended)
        return;
    client->ended = true;
    uv_read_stop((uv_stream_t *)&client->pipe);
    struct es_err err = {0};
    es_err_set(&err, code, "%s", why);
    if (client->events.on_closed != NULL)
        client->events.on_closed(client->ctx, &err);
}

static int code_from_name(const char *name)
{
#define X(status, number, exit_code, text)                                               \
    if (name != NULL && strcmp(name, #status) == 0)                                      \
        return ES_##status;
    ES_STATUS_MAP(X)
#undef X
    return ES_EINTERNAL;
}

static void take_answer(struct es_client *client, const json_t *message)
{
    const json_t *id = json_object_get(message, "id");
    const json_t *error = json_object_get(message, "error");
    struct es_err err = {0};
    if (error != NULL) {
        const json_t *data = json_object_get(error, "data");
        const char *text = json_string_value(json_object_get(error, "message"));
        es_err_set(&err,
                   code_from_name(json_string_value(json_object_get(data, "status"))),
                   "%s", text != NULL ? text : "the core gave no reason");
    }
    if (!json_is_integer(id)) {
        end(client, error != NULL ? err.code : ES_EPROTO,
            error != NULL ? err.msg : "the core sent an answer without an id");
        return;
    }
    if (client->events.on_answer != NULL)
        client->events.on_answer(client->ctx, json_integer_value(id),
                                 error != NULL ? NULL
                                               : json_object_get(message, "result"),
                                 error != NULL ? &err : NULL);
}

static void take_line(struct es_client *client, const char *line, size_t len)
{
    es_wire_alloc_watch();
    json_t *message = json_loadb(line, len, 0, NULL);
    if (es_wire_alloc_failed()) {
        json_decref(message);
        end(client, ES_ENOMEM, "out of memory; free some and try again");
        return;
    }
    const char *method = json_string_value(json_object_get(message, "method"));
    const json_t *params = json_object_get(message, "params");
    if (message == NULL) {
        end(client, ES_EPROTO, "the core sent a line that is not JSON");
    } else if (json_object_get(message, "result") != NULL ||
               json_object_get(message, "error") != NULL) {
        take_answer(client, message);
    } else if (method != NULL && strcmp(method, "progress") == 0 &&
               client->events.on_progress != NULL) {
        client->events.on_progress(client->ctx,
                                   json_integer_value(json_object_get(params, "id")),
                                   json_object_get(params, "event"));
    }
    json_decref(message);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct es_client *client = handle->data;
    *ret = uv_buf_init(client->chunk, sizeof client->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct es_client *client = stream->data;
    if (client->closing || client->ended || n == 0)
        return;
    if (n < 0) {
        end(client, ES_ECONN, "the core ended the connection");
        return;
    }
    if (control_lines_feed(&client->lines, buf->base, (size_t)n) != 0) {
        end(client, ES_ENOMEM, "out of memory; free some and try again");
        return;
    }
    const char *line;
    size_t len;
    while (!client->closing && !client->ended &&
           control_lines_next(&client->lines, &line, &len))
        take_line(client, line, len);
    if (client->lines.overlong)
        end(client, ES_EPROTO, "the core sent a line that is too long");
}

static int open_socket(const char *path, int *ret_fd, struct es_err *err)
{
    struct sockaddr_un address;
    int rc = control_address(path, &address, err);
    if (rc != 0)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "cannot make a socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        *ret_fd = fd;
        return 0;
    }
    int why = errno;
    close(fd);
    if (why == EACCES || why == EPERM)
        return es_err_set(err, ES_EDENIED, "the core's socket %s belongs to another user",
                          path);
    return es_err_set(err, ES_ECONN, "no core answers on %s: %s", path, strerror(why));
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct es_client *client = handle->data;
    void (*on_freed)(void *) = client->on_freed;
    void *ctx = client->freed_ctx;
    control_lines_finish(&client->lines);
    es_free(client);
    if (on_freed != NULL)
        on_freed(ctx);
}

void es_client_close(struct es_client *client, void (*on_closed)(void *ctx), void *ctx)
{
    ES_ASSERT(client != NULL && !client->closing);
    client->closing = true;
    client->on_freed = on_closed;
    client->freed_ctx = ctx;
    uv_close((uv_handle_t *)&client->pipe, on_handle_closed);
}

int es_client_connect(uv_loop_t *loop, const char *path,
                      const struct es_client_events *events, void *ctx,
                      struct es_client **ret_client, struct es_err *err)
{
    ES_ASSERT(loop != NULL && path != NULL && events != NULL && ret_client != NULL);
    int fd = -1;
    int rc = open_socket(path, &fd, err);
    if (rc != 0)
        return rc;
    struct es_client *client = es_calloc(1, sizeof *client);
    if (client == NULL) {
        close(fd);
        return es_err_nomem(err);
    }
    uv_pipe_init(loop, &client->pipe, 0);
    client->pipe.data = client;
    client->events = *events;
    client->ctx = ctx;
    control_lines_init(&client->lines, CLIENT_LINE_MAX);
    rc = uv_pipe_open(&client->pipe, fd);
    if (rc != 0)
        close(fd);
    else
        rc = uv_read_start((uv_stream_t *)&client->pipe, on_alloc, on_read);
    if (rc != 0) {
        es_client_close(client, NULL, NULL);
        return es_err_set(err, ES_EIO, "cannot use the core's socket: %s",
                          uv_strerror(rc));
    }
    *ret_client = client;
    return 0;
}

static void on_written(uv_write_t *request, int status)
{
    struct write *write = ES_CONTAINER(request, struct write, request);
    struct es_client *client = write->client;
    es_free(write->data);
    es_free(write);
    if (status != 0)
        end(client, ES_ECONN, "the core ended the connection");
}

/* Takes the bytes of buf. */
static int send_line(struct es_client *client, struct es_buf *buf, struct es_err *err)
{
    size_t len = buf->len;
    char *data = es_buf_take(buf);
    struct write *write = data != NULL ? es_calloc(1, sizeof *write) : NULL;
    if (write == NULL) {
        es_free(data);
        return es_err_nomem(err);
    }
    write->client = client;
    write->data = data;
    uv_buf_t out = uv_buf_init(data, (unsigned)len);
    int rc = uv_write(&write->request, (uv_stream_t *)&client->pipe, &out, 1, on_written);
    if (rc == 0)
        return 0;
    es_free(data);
    es_free(write);
    return es_err_set(err, ES_ECONN, "the core cannot be reached: %s", uv_strerror(rc));
}

int es_client_call(struct es_client *client, const char *method, json_t *params,
                   int64_t *ret_id, struct es_err *err)
{
    ES_ASSERT(client != NULL && !client->closing);
    struct es_buf buf;
    es_buf_init(&buf, ES_CONTROL_LINE_MAX);
    if (params == NULL)
        params = json_object();
    int64_t id = client->last_id + 1;
    int rc = params != NULL ? control_put_call(&buf, id, method, params) : ES_ENOMEM;
    json_decref(params);
    if (rc == ES_ELIMIT)
        es_err_set(err, rc, "%s: the parameters are longer than %u bytes", method,
                   ES_CONTROL_LINE_MAX);
    else if (rc != 0)
        es_err_nomem(err);
    else if (client->ended)
        rc = es_err_set(err, ES_ECONN, "the core ended the connection");
    else
        rc = send_line(client, &buf, err);
    es_buf_finish(&buf);
    if (rc != 0)
        return rc;
    client->last_id = id;
    if (ret_id != NULL)
        *ret_id = id;
    return 0;
}

void es_client_cancel(struct es_client *client, int64_t id)
{
    if (client->closing || client->ended)
        return;
    struct es_buf buf;
    es_buf_init(&buf, 256);
    json_t *params = json_pack("{s:I}", "id", (json_int_t)id);
    /* Without memory the call simply goes on. */
    if (params != NULL && control_put_call(&buf, 0, "cancel", params) == 0)
        send_line(client, &buf, NULL);
    es_buf_finish(&buf);
    json_decref(params);
}
