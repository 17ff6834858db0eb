/* The real agent on this host, and the core's side of its channel. */
#include "guest.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/buf.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#define PATIENCE_MS 60000

pid_t guest_run(const char *port, const char *root)
{
    char path[512];
    const char *bin = getenv("ENSHU_BIN");
    ck_assert_ptr_nonnull(bin);
    ck_assert_int_eq(es_str_printf(path, sizeof path, "%s/enshu-agent-host", bin), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (root != NULL)
            execl(path, path, "--port", port, "--root", root, (char *)NULL);
        else
            execl(path, path, "--port", port, (char *)NULL);
        _exit(127);
    }
    return pid;
}

void guest_start(struct guest *guest, bool with_root)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    memset(guest, 0, sizeof *guest);
    es_str_printf(guest->dir, sizeof guest->dir, "/tmp/enshu-guest-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(guest->dir));
    es_str_printf(guest->root, sizeof guest->root, "%s/root", guest->dir);
    mkdir(guest->root, 0755);
    es_str_printf(addr.sun_path, sizeof addr.sun_path, "%s/port", guest->dir);
    guest->fd = -1;
    guest->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(guest->listen_fd, (const struct sockaddr *)&addr, sizeof addr),
                     0);
    ck_assert_int_eq(listen(guest->listen_fd, 4), 0);
    guest->pid = guest_run(addr.sun_path, with_root ? guest->root : NULL);
    guest_accept(guest);
    json_decref(guest_sync(guest, "first"));
}

void guest_stop(struct guest *guest)
{
    int status;
    char command[128];
    guest_hang_up(guest);
    kill(guest->pid, SIGTERM);
    ck_assert_int_eq(waitpid(guest->pid, &status, 0), guest->pid);
    /* Sanitizers end the agent otherwise. */
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                  "the agent ended with status 0x%x", (unsigned)status);
    close(guest->listen_fd);
    es_str_printf(command, sizeof command, "rm -rf %s", guest->dir);
    ck_assert_int_eq(system(command), 0);
}

static void wait_for(int fd, short events)
{
    struct pollfd polled = {fd, events, 0};
    ck_assert_msg(poll(&polled, 1, PATIENCE_MS) == 1, "the agent is silent");
}

void guest_accept(struct guest *guest)
{
    ck_assert_int_lt(guest->fd, 0);
    wait_for(guest->listen_fd, POLLIN);
    guest->fd = accept4(guest->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(guest->fd, 0);
}

void guest_hang_up(struct guest *guest)
{
    if (guest->fd >= 0)
        close(guest->fd);
    guest->fd = -1;
    free(guest->bytes);
    guest->bytes = NULL;
    guest->len = 0;
}

void guest_write(struct guest *guest, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t n = send(guest->fd, text, left, MSG_NOSIGNAL);
        ck_assert_msg(n > 0, "the agent hung up");
        text += n, left -= (size_t)n;
    }
}

static char *next_line(struct guest *guest)
{
    for (;;) {
        char *newline = guest->len > 0 ? memchr(guest->bytes, '\n', guest->len) : NULL;
        if (newline != NULL) {
            size_t len = (size_t)(newline - guest->bytes);
            char *line = strndup(guest->bytes, len);
            guest->len -= len + 1;
            memmove(guest->bytes, newline + 1, guest->len);
            return line;
        }
        char *bytes = realloc(guest->bytes, guest->len + 65536);
        ck_assert_ptr_nonnull(bytes);
        guest->bytes = bytes;
        wait_for(guest->fd, POLLIN);
        ssize_t n = read(guest->fd, guest->bytes + guest->len, 65536);
        ck_assert_msg(n > 0, "the agent hung up");
        guest->len += (size_t)n;
        ck_assert_uint_le(guest->len, 64U << 20);
    }
}

char *guest_line(struct guest *guest)
{
    char *line = next_line(guest);
    while (es_str_starts(line, "{\"beat\"")) {
        free(line);
        line = next_line(guest);
    }
    return line;
}

json_t *guest_sync(struct guest *guest, const char *nonce)
{
    char text[128];
    json_t *hello = NULL;
    es_str_printf(text, sizeof text, "\n{\"sync\": \"%s\"}\n", nonce);
    guest_write(guest, text);
    while (hello == NULL) {
        struct es_err err = {0};
        struct es_wire_msg msg;
        char *line = guest_line(guest);
        if (es_wire_decode(line, strlen(line), true, &msg, &err) == 0) {
            if (msg.type == ES_WIRE_SYNC && strcmp(msg.nonce, nonce) == 0) {
                hello = json_loads(line, 0, NULL);
                memcpy(guest->epoch, msg.hello.epoch, sizeof guest->epoch);
            }
            es_wire_msg_finish(&msg);
        }
        free(line);
    }
    return hello;
}

void guest_send_as(struct guest *guest, int64_t id, const char *op, json_t *args,
                   int64_t deadline_ms)
{
    json_t *request =
        json_pack("{s:I, s:s, s:o, s:I, s:i}", "id", (json_int_t)id, "op", op, "args",
                  args, "deadline_ms", (json_int_t)deadline_ms, "max_bytes", 0);
    ck_assert_ptr_nonnull(request);
    char *text = json_dumps(request, JSON_COMPACT);
    guest->part_bytes = 0;
    guest_write(guest, text);
    guest_write(guest, "\n");
    free(text);
    json_decref(request);
}

int64_t guest_send(struct guest *guest, const char *op, json_t *args, int64_t deadline_ms)
{
    guest_send_as(guest, ++guest->next_id, op, args, deadline_ms);
    return guest->next_id;
}

json_t *guest_result(struct guest *guest, int64_t id)
{
    for (;;) {
        char *line = guest_line(guest);
        json_t *message = json_loads(line, 0, NULL);
        free(line);
        const json_t *data = json_object_get(message, "data");
        if (json_object_get(message, "part") != NULL)
            guest->part_bytes += (int64_t)(json_string_length(data) / 4 * 3) -
                                 (es_str_ends(json_string_value(data), "==")  ? 2
                                  : es_str_ends(json_string_value(data), "=") ? 1
                                                                              : 0);
        if (json_object_get(message, "seq") != NULL && guest_int(message, "id") == id)
            return message;
        json_decref(message);
    }
}

void guest_ack(struct guest *guest, int64_t seq)
{
    char text[96];
    es_str_printf(text, sizeof text, "{\"ack\": %lld, \"epoch\": \"%s\"}\n",
                  (long long)seq, guest->epoch);
    guest_write(guest, text);
}

json_t *guest_ask(struct guest *guest, const char *op, json_t *args)
{
    json_t *result = guest_result(guest, guest_send(guest, op, args, PATIENCE_MS));
    guest_ack(guest, guest_int(result, "seq"));
    return result;
}

json_t *guest_probe(struct guest *guest, const char *kind, json_t *args)
{
    json_object_set_new(args, "kind", json_string(kind));
    json_t *result = guest_ask(guest, "probe", args);
    json_t *evidence = json_object_get(result, "evidence");
    ck_assert_msg(evidence != NULL, "%s: %s: %s", kind, guest_code(result),
                  guest_text(json_object_get(result, "error"), "text"));
    json_incref(evidence);
    json_decref(result);
    return evidence;
}

const char *guest_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    ck_assert_msg(text != NULL, "no text %s", key);
    return text;
}

int64_t guest_int(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_integer(value), "no number %s", key);
    return json_integer_value(value);
}

bool guest_bool(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_boolean(value), "no truth value %s", key);
    return json_is_true(value);
}

const char *guest_code(const json_t *result)
{
    const json_t *error = json_object_get(result, "error");
    return error != NULL ? guest_text(error, "code") : "ok";
}

char *guest_bytes(const json_t *object, const char *key, size_t *ret_len)
{
    struct es_buf buf;
    const char *text = guest_text(object, key);
    es_buf_init(&buf, 1U << 20);
    ck_assert_int_eq(es_base64_decode(text, strlen(text), &buf), 0);
    char *bytes = malloc(buf.len + 1);
    ck_assert_ptr_nonnull(bytes);
    memcpy(bytes, es_buf_str(&buf), buf.len + 1);
    *ret_len = buf.len;
    es_buf_finish(&buf);
    return bytes;
}

void guest_write_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    ck_assert_int_eq(es_str_printf(path, sizeof path, "%s/%s", dir, name), 0);
    for (char *slash = strchr(path + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

char *guest_read_file(const char *dir, const char *name)
{
    char path[512], *text = calloc(1, 1 << 20);
    ck_assert_int_eq(es_str_printf(path, sizeof path, "%s/%s", dir, name), 0);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    size_t n = fread(text, 1, (1 << 20) - 1, file);
    text[n] = '\0';
    fclose(file);
    return text;
}
