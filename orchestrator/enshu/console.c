/* enshu console: a machine's serial line on this terminal, raw, until Ctrl-].
 *
 * Here the guest's bytes reach the terminal as they are: that is what a console is for,
 * and the person asked for it. */
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#define ESCAPE    0x1d /* Ctrl-] */
#define CHUNK_MAX (1U << 20)

struct console {
    struct cli *cli;
    struct es_client *client;
    uv_poll_t input;
    uv_signal_t ends[2];
    int open_handles;
    bool input_open, ended;
    int64_t id;
    char machine[128];
    struct es_err why;
};

static struct termios saved;
static bool is_raw;

static void leave_raw(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    is_raw = false;
}

static void enter_raw(void)
{
    if (isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &saved) != 0)
        return;
    struct termios raw = saved;
    cfmakeraw(&raw);
    is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct console *c = handle->data;
    c->open_handles--;
}

static void end(struct console *c)
{
    if (c->ended)
        return;
    c->ended = true;
    if (c->input_open) {
        uv_poll_stop(&c->input);
        uv_close((uv_handle_t *)&c->input, on_handle_closed);
    }
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&c->ends[i], on_handle_closed);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    end(handle->data);
}

static int send_keys(struct console *c, const char *data, size_t len, struct es_err *err)
{
    json_t *params = json_pack("{s:s, s:s, s:o}", "range", c->cli->range, "machine",
                               c->machine, "data", es_base64_json(data, len));
    if (params == NULL)
        return es_err_nomem(err);
    return es_client_call(c->client, "console.send", params, NULL, err);
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct console *c = poll->data;
    char keys[1024];
    ssize_t n = status == 0 ? read(STDIN_FILENO, keys, sizeof keys) : -1;
    if (n <= 0) {
        uv_poll_stop(poll);
        if (is_raw || n < 0)
            end(c);
        return;
    }
    const char *escape = is_raw ? memchr(keys, ESCAPE, (size_t)n) : NULL;
    size_t len = escape != NULL ? (size_t)(escape - keys) : (size_t)n;
    if (len > 0 && send_keys(c, keys, len, &c->why) != 0)
        end(c);
    if (escape != NULL)
        end(c);
}

static void on_progress(void *ctx, int64_t id, const json_t *event)
{
    struct console *c = ctx;
    const char *text = member_text(event, "data");
    struct es_buf bytes;
    if (id != c->id)
        return;
    es_buf_init(&bytes, CHUNK_MAX);
    if (es_base64_decode(text, strlen(text), &bytes) == 0 && bytes.len > 0)
        fwrite(bytes.data, 1, bytes.len, stdout);
    es_buf_finish(&bytes);
    fflush(stdout);
}

static void on_answer(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err)
{
    (void)result;
    struct console *c = ctx;
    /* Keys that were refused are told by the stream's own end. */
    if (id != c->id)
        return;
    if (err != NULL && !c->ended)
        c->why = *err;
    end(c);
}

static void on_closed(void *ctx, const struct es_err *why)
{
    struct console *c = ctx;
    if (!c->ended)
        c->why = *why;
    end(c);
}

static int open_handles(struct console *c)
{
    static const int numbers[2] = {SIGTERM, SIGHUP};
    uv_loop_t *loop = &c->cli->loop;
    for (int i = 0; i < 2; i++) {
        uv_signal_init(loop, &c->ends[i]);
        c->ends[i].data = c;
        uv_signal_start(&c->ends[i], on_signal, numbers[i]);
        c->open_handles++;
    }
    /* A file cannot be polled; its keys are then not sent. */
    if (uv_poll_init(loop, &c->input, STDIN_FILENO) != 0)
        return 0;
    c->input.data = c;
    c->input_open = true;
    c->open_handles++;
    return uv_poll_start(&c->input, UV_READABLE, on_input);
}

static int talk(struct console *c, struct es_err *err)
{
    static const struct es_client_events events = {on_progress, on_answer, on_closed};
    char path[1200];
    int rc = core_socket_path(c->cli, path, sizeof path, err);
    if (rc == 0)
        rc = es_client_connect(&c->cli->loop, path, &events, c, &c->client, err);
    if (rc != 0)
        return rc;
    json_t *params =
        json_pack("{s:s, s:s}", "range", c->cli->range, "machine", c->machine);
    rc = params != NULL ? es_client_call(c->client, "console", params, &c->id, err)
                        : es_err_nomem(err);
    if (rc == 0) {
        open_handles(c);
        if (is_raw)
            fprintf(stderr, "%s: Ctrl-] leaves\r\n", c->machine);
        while (!c->ended || c->open_handles > 0)
            uv_run(&c->cli->loop, UV_RUN_ONCE);
    }
    es_client_close(c->client, NULL, NULL);
    return rc;
}

int run_console(struct cli *cli, struct es_err *err)
{
    struct console c = {.cli = cli};
    int rc = machine_name(cli->args[0], c.machine, sizeof c.machine, err);
    if (rc == 0)
        rc = core_range(cli, NULL, err);
    if (rc == 0 && !cli->loop_open) {
        rc = uv_loop_init(&cli->loop) == 0 ? 0 : es_err_nomem(err);
        cli->loop_open = rc == 0;
    }
    if (rc != 0)
        return rc;
    enter_raw();
    rc = talk(&c, err);
    leave_raw();
    if (rc == 0 && c.why.code != 0 && c.why.code != ES_ECANCELED) {
        *err = c.why;
        rc = c.why.code;
    }
    if (isatty(STDIN_FILENO) == 1)
        fputc('\n', stderr);
    return rc;
}
