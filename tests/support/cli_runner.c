/* The program enshu as a child, the core as a fake on our own loop. */
#include "cli_runner.h"

#include <check.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#undef fail /* check's; es_reply has a member of that name */

#define LIMIT_MS  60000
#define WORDS_MAX 32

struct cli_world world;

static uv_process_t process;
static uv_pipe_t pipes[3];
static uv_poll_t terminal_poll;
static int terminal = -1;
static char chunk[65536];

/* ------------------------------------------------------------------ the fake's answers */

static void on_gone(struct es_reply *reply)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ECANCELED, "left");
    world.gone_count++;
    world.held = NULL;
    reply->fail(reply, &err);
}

static void send_progress(struct es_reply *reply, const char *lines)
{
    while (lines != NULL && *lines != '\0') {
        size_t len = strcspn(lines, "\n");
        json_t *event = json_loadb(lines, len, 0, NULL);
        ck_assert_msg(event != NULL, "bad event %s", lines);
        reply->progress(reply, event);
        lines += len + (lines[len] == '\n' ? 1 : 0);
    }
}

static void on_call(struct fake_range *fake, const char *method, const json_t *params,
                    struct es_reply *reply)
{
    (void)fake;
    const struct cli_script *script = world.scripts;
    while (script->method != NULL && strcmp(script->method, method) != 0)
        script++;
    ck_assert_msg(script->method != NULL, "the program called %s", method);
    if (strcmp(method, "status") != 0) {
        size_t n = json_dumpb(params, world.params, sizeof world.params - 1,
                              JSON_COMPACT | JSON_SORT_KEYS);
        world.params[n < sizeof world.params ? n : 0] = '\0';
    }
    send_progress(reply, script->progress);
    if (script->error != 0) {
        struct es_err err = {0};
        es_err_set(&err, script->error, "%s", script->result);
        reply->fail(reply, &err);
    } else if (script->result != NULL) {
        json_t *result = json_loads(script->result, 0, NULL);
        ck_assert_msg(result != NULL, "bad result %s", script->result);
        reply->done(reply, result);
    } else {
        reply->on_gone = on_gone;
        world.held = reply;
        world.held_count++;
    }
}

static void on_guard(uv_timer_t *timer)
{
    (void)timer;
    ck_abort_msg("the test's time limit passed; output so far: %s\nerrors: %s", world.out,
                 world.err);
}

void cli_world_open(const struct cli_script *scripts)
{
    es_wire_use_allocator();
    es_log_set_level(ES_LOG_ERROR);
    memset(&world, 0, sizeof world);
    world.scripts = scripts;
    world.fake.on_call = on_call;
    snprintf(world.dir, sizeof world.dir, "/tmp/enshu-cli-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(world.dir));
    snprintf(world.socket, sizeof world.socket, "%s/sock", world.dir);
    ck_assert_int_eq(uv_loop_init(&world.loop), 0);
    uv_timer_init(&world.loop, &world.guard);
    uv_timer_start(&world.guard, on_guard, LIMIT_MS, 0);
    struct es_err err = {0};
    if (scripts != NULL)
        ck_assert_int_eq(es_control_create_with_table(
                             &world.loop, fake_range_core(&world.fake),
                             fake_range_methods, world.socket, &world.control, &err),
                         0);
}

static void on_control_closed(void *ctx)
{
    *(bool *)ctx = true;
}

void cli_world_close(void)
{
    bool closed = world.control == NULL;
    if (world.control != NULL)
        es_control_close(world.control, on_control_closed, &closed);
    while (!closed)
        uv_run(&world.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&world.guard, NULL);
    uv_run(&world.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&world.loop), 0);
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", world.dir);
    ck_assert_int_eq(system(command), 0);
}

/* ------------------------------------------------------------------ the child */

static int cut(const char *words, char *store, size_t size, char **argv)
{
    int argc = 0;
    static char name[] = "enshu";
    argv[argc++] = name;
    snprintf(store, size, "%s", words);
    for (char *at = store; *at != '\0';) {
        at += strspn(at, " ");
        if (*at == '\0')
            break;
        bool quoted = *at == '\'';
        at += quoted;
        ck_assert_int_lt(argc, WORDS_MAX);
        argv[argc++] = at;
        at += strcspn(at, quoted ? "'" : " ");
        if (*at != '\0')
            *at++ = '\0';
    }
    argv[argc] = NULL;
    return argc;
}

static const char *program(void)
{
    static char path[4096];
    const char *bin = getenv("ENSHU_BIN");
    ck_assert_ptr_nonnull(bin);
    snprintf(path, sizeof path, "%s/enshu", bin);
    return path;
}

extern char **environ;
static char **environment(void)
{
    static char socket[160], term[] = "TERM=xterm", user[] = "USER=mori";
    static char *all[512];
    int n = 0;
    for (int i = 0; environ[i] != NULL && n < 480; i++)
        if (!es_str_starts(environ[i], "ENSHU_") && !es_str_starts(environ[i], "LANG=") &&
            !es_str_starts(environ[i], "LC_") && !es_str_starts(environ[i], "NO_COLOR") &&
            !es_str_starts(environ[i], "TERM=") && !es_str_starts(environ[i], "USER="))
            all[n++] = environ[i];
    snprintf(socket, sizeof socket, "ENSHU_SOCKET=%s", world.socket);
    /* The first of a name counts. */
    for (int i = 0; world.env[i] != NULL; i++)
        all[n++] = (char *)(uintptr_t)world.env[i];
    all[n++] = socket;
    all[n++] = term;
    all[n++] = user;
    all[n] = NULL;
    return all;
}

static void on_handle_closed(uv_handle_t *handle)
{
    (void)handle;
    world.open_ends--;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)handle;
    (void)suggested;
    *ret = uv_buf_init(chunk, sizeof chunk);
}

static void keep(char *dst, size_t *len, const char *data, size_t n)
{
    if (n > CLI_OUT_MAX - 1 - *len)
        n = CLI_OUT_MAX - 1 - *len;
    memcpy(dst + *len, data, n);
    *len += n;
    dst[*len] = '\0';
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_handle_closed);
        return;
    }
    if (stream == (uv_stream_t *)&pipes[1])
        keep(world.out, &world.out_len, buf->base, (size_t)n);
    else
        keep(world.err, &world.err_len, buf->base, (size_t)n);
}

static void on_ended(uv_process_t *handle, int64_t status, int signal)
{
    world.exit_code = signal != 0 ? 1000 + signal : (int)status;
    uv_close((uv_handle_t *)handle, on_handle_closed);
}

static void on_input_written(uv_write_t *request, int status)
{
    (void)status;
    uv_close((uv_handle_t *)request->handle, on_handle_closed);
}

void cli_begin(const char *words)
{
    static char store[8192];
    static uv_write_t write;
    char *argv[WORDS_MAX + 1];
    cut(words, store, sizeof store, argv);
    world.out_len = world.err_len = 0;
    world.out[0] = world.err[0] = '\0';
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}};
    for (int i = 0; i < 3; i++) {
        if (i == 0 && world.input == NULL)
            continue;
        uv_pipe_init(&world.loop, &pipes[i], 0);
        stdio[i].flags = UV_CREATE_PIPE | (i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE);
        stdio[i].data.stream = (uv_stream_t *)&pipes[i];
        world.open_ends++;
    }
    uv_process_options_t options = {.file = program(),
                                    .args = argv,
                                    .env = environment(),
                                    .exit_cb = on_ended,
                                    .stdio = stdio,
                                    .stdio_count = 3};
    ck_assert_msg(uv_spawn(&world.loop, &process, &options) == 0, "cannot run %s",
                  options.file);
    world.open_ends++;
    world.pid = process.pid;
    for (int i = 1; i < 3; i++)
        uv_read_start((uv_stream_t *)&pipes[i], on_alloc, on_output);
    if (world.input == NULL)
        return;
    uv_buf_t input =
        uv_buf_init((char *)(uintptr_t)world.input, (unsigned)strlen(world.input));
    uv_write(&write, (uv_stream_t *)&pipes[0], &input, 1, on_input_written);
}

int cli_wait(void)
{
    while (world.open_ends > 0)
        uv_run(&world.loop, UV_RUN_ONCE);
    return world.exit_code;
}

int cli_run(const char *words)
{
    cli_begin(words);
    return cli_wait();
}

void cli_await(const char *text)
{
    while (strstr(world.out, text) == NULL && strstr(world.err, text) == NULL)
        uv_run(&world.loop, UV_RUN_ONCE);
}

void cli_await_held(int count)
{
    while (world.held_count < count)
        uv_run(&world.loop, UV_RUN_ONCE);
}

/* ------------------------------------------------------------------ on a terminal */

static void on_terminal(uv_poll_t *poll, int status, int events)
{
    (void)events;
    ssize_t n = status == 0 ? read(terminal, chunk, sizeof chunk) : -1;
    if (n > 0) {
        keep(world.out, &world.out_len, chunk, (size_t)n);
        return;
    }
    /* EIO: the last one on the other side has closed it. */
    uv_close((uv_handle_t *)poll, on_handle_closed);
}

int cli_begin_terminal(const char *words)
{
    static char store[8192];
    char *argv[WORDS_MAX + 1];
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    cut(words, store, sizeof store, argv);
    world.out_len = world.err_len = 0;
    world.out[0] = world.err[0] = '\0';
    char **env = environment();
    const char *file = program();
    world.pid = forkpty(&terminal, NULL, NULL, &size);
    ck_assert_int_ge(world.pid, 0);
    if (world.pid == 0) {
        execve(file, argv, env);
        _exit(127);
    }
    fcntl(terminal, F_SETFD, FD_CLOEXEC);
    uv_poll_init(&world.loop, &terminal_poll, terminal);
    uv_poll_start(&terminal_poll, UV_READABLE | UV_DISCONNECT, on_terminal);
    world.open_ends++;
    return terminal;
}

int cli_wait_terminal(void)
{
    int status = 0;
    while (world.open_ends > 0)
        uv_run(&world.loop, UV_RUN_ONCE);
    close(terminal);
    ck_assert_int_eq(waitpid(world.pid, &status, 0), world.pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void cli_type(const char *keys, size_t len)
{
    ck_assert_int_eq(write(terminal, keys, len), (ssize_t)len);
}
