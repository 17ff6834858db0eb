/* Bytes from a client into the control socket's server, over a table of its own. The first
 * byte says how the bytes are cut into writes and whether answers are read. Everything the
 * server says must be JSON-RPC, and nothing may be left when it has closed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/control.h"
#include "enshu/wire.h"
#include "fuzz.h"

#define FUZZ_HELD_MAX 64

static struct es_reply *fuzz_held[FUZZ_HELD_MAX];
static size_t fuzz_held_count;

static void fuzz_gone(struct es_reply *reply)
{
    struct es_err err = {.code = ES_ECANCELED, .msg = "left"};
    for (size_t i = 0; i < fuzz_held_count; i++)
        if (fuzz_held[i] == reply)
            fuzz_held[i] = fuzz_held[--fuzz_held_count];
    reply->fail(reply, &err);
}

/* What a method does follows from the words of its row. */
static void fuzz_call(const char *method, bool streams, const json_t *params,
                      struct es_reply *reply)
{
    struct es_err err = {0};
    ES_ASSERT(json_is_object(params));
    if (strcmp(method, "pause") == 0) {
        es_err_set(&err, ES_ESTATE, "%s: %.100s", method,
                   json_string_value(json_object_get(params, "range")));
        reply->fail(reply, &err);
        return;
    }
    for (int i = 0; streams && i < 3; i++)
        reply->progress(reply, json_pack("{s:i, s:O}", "n", i, "params", params));
    if (streams && fuzz_held_count < FUZZ_HELD_MAX) {
        reply->on_gone = fuzz_gone;
        fuzz_held[fuzz_held_count++] = reply;
        return;
    }
    reply->done(reply, json_pack("{s:s}", "method", method));
}

#define CALL   false
#define STREAM true
#define X(name, function, kind, params, result)                                          \
    static void fuzz_##function(struct es_range_core *core, const json_t *json,          \
                                struct es_reply *reply)                                  \
    {                                                                                    \
        (void)core;                                                                      \
        fuzz_call(name, kind, json, reply);                                              \
    }
ES_METHOD_MAP(X)
#undef X
static const struct es_method fuzz_methods[] = {
#define X(name, function, kind, params, result)                                          \
    {name, params, result, kind, fuzz_##function},
    ES_METHOD_MAP(X)
#undef X
        {NULL, NULL, NULL, false, NULL}};

static void check_answers(const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        if (end == NULL)
            return;
        size_t line = (size_t)(end - text) - at;
        json_t *json = json_loadb(text + at, line, JSON_REJECT_DUPLICATES, NULL);
        ES_ASSERT(es_str_eq(json_string_value(json_object_get(json, "jsonrpc")), "2.0"));
        json_decref(json);
        at += line + 1;
    }
}

static char fuzz_said[1U << 20];
static size_t fuzz_said_len;

static void fuzz_turn(uv_loop_t *loop, int fd, bool reads)
{
    for (int i = 0; i < 3; i++)
        uv_run(loop, UV_RUN_NOWAIT);
    ssize_t n = 1;
    while (reads && n > 0 && fuzz_said_len < sizeof fuzz_said) {
        n = recv(fd, fuzz_said + fuzz_said_len, sizeof fuzz_said - fuzz_said_len,
                 MSG_DONTWAIT);
        fuzz_said_len += n > 0 ? (size_t)n : 0;
    }
}

static void fuzz_talk(uv_loop_t *loop, const char *path, const uint8_t *data, size_t size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t step = (size_t)(data[0] & 0x7f) * 64 + 1;
    bool reads = (data[0] & 0x80) == 0, open = true;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ES_ASSERT(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0);
    fuzz_said_len = 0;
    for (size_t at = 1; open && at < size;) {
        size_t len = size - at < step ? size - at : step;
        ssize_t n = send(fd, data + at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        open = n > 0 || errno == EAGAIN;
        at += n > 0 ? (size_t)n : 0;
        fuzz_turn(loop, fd, reads);
        if (fuzz_said_len == sizeof fuzz_said)
            reads = false;
    }
    fuzz_turn(loop, fd, reads);
    check_answers(fuzz_said, fuzz_said_len);
    /* Some calls end while the client is there, the others when it has gone. */
    for (size_t i = fuzz_held_count / 2; i > 0; i--) {
        struct es_reply *reply = fuzz_held[--fuzz_held_count];
        reply->done(reply, json_object());
    }
    close(fd);
}

int fuzz_control(const uint8_t *data, size_t size)
{
    struct es_control *control;
    struct es_err err = {0};
    uv_loop_t loop;
    char path[64];
    if (size < 1)
        return 0;
    es_wire_use_allocator();
    es_log_set_level(ES_LOG_ERROR);
    long live = es_mem_live_count();
    snprintf(path, sizeof path, "/tmp/enshu-fuzz-%ld.sock", (long)getpid());
    ES_ASSERT(uv_loop_init(&loop) == 0);
    ES_ASSERT(es_control_create_with_table(&loop, NULL, fuzz_methods, path, &control,
                                           &err) == 0);
    fuzz_talk(&loop, path, data, size);
    es_control_close(control, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ES_ASSERT(fuzz_held_count == 0);
    ES_ASSERT(uv_loop_close(&loop) == 0);
    ES_ASSERT(es_mem_live_count() == live);
    return 0;
}
FUZZ_MAIN(fuzz_control)
