/* The link and the real agent, with a stand-in for QEMU's port between them: it keeps the
 * guest's side open while the host's comes and goes, and cuts streams in the middle of
 * lines. */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/guest.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/link.h"

#define LIMIT_MS 60000U

static const struct es_link_times quick = {.sync_ms = 10000,
                                           .silent_ms = 100000,
                                           .slack_ms = 1000,
                                           .backoff_min_ms = 2,
                                           .backoff_max_ms = 50,
                                           .refused_max_ms = 20,
                                           .stable_ms = 100000};

/* One side of the port. */
struct side {
    uv_pipe_t server, pipe;
    bool connected, closing, waiting;
    struct side *other;
};

static uv_loop_t loop;
static struct side host, guest_side;
static char dir[64], host_path[96], guest_path[96];
static long cut_after; /* bytes to the host until its connection breaks; -1: never */
static struct es_link *link_;
static pid_t pid;

static struct {
    int up, backoff, results, ok, lost;
    int64_t last_id, last_seq;
    char epoch[17], why[ES_ERR_MSG_MAX];
    char text[256]; /* decoded "stdout" of the last result */
    bool closed;
} seen;

/* ------------------------------------------------------------------ the port */

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
    static char bytes[65536];
    (void)handle;
    (void)wanted;
    *ret_buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_written(uv_write_t *req, int status)
{
    (void)status;
    free(req);
}

static void pass_on(struct side *to, const char *bytes, size_t len)
{
    uv_write_t *req = malloc(sizeof *req + len);
    char *copy = (char *)(req + 1);
    memcpy(copy, bytes, len);
    uv_buf_t buf = uv_buf_init(copy, (unsigned)len);
    ck_assert_int_eq(uv_write(req, (uv_stream_t *)&to->pipe, &buf, 1, on_written), 0);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf);

/* The host is read only while there is a guest to take it, as QEMU does. */
static void read_sides(void)
{
    if (guest_side.connected)
        uv_read_start((uv_stream_t *)&guest_side.pipe, on_alloc, on_read);
    if (host.connected && guest_side.connected)
        uv_read_start((uv_stream_t *)&host.pipe, on_alloc, on_read);
}

static void take(struct side *side)
{
    side->waiting = false;
    uv_pipe_init(&loop, &side->pipe, 0);
    side->pipe.data = side;
    ck_assert_int_eq(uv_accept((uv_stream_t *)&side->server, (uv_stream_t *)&side->pipe),
                     0);
    side->connected = true;
    read_sides();
}

static void on_side_closed(uv_handle_t *handle)
{
    struct side *side = handle->data;
    side->closing = false;
    if (side->waiting && !uv_is_closing((uv_handle_t *)&side->server))
        take(side);
}

static void hang_up(struct side *side)
{
    if (!side->connected)
        return;
    side->connected = false;
    side->closing = true;
    uv_close((uv_handle_t *)&side->pipe, on_side_closed);
    if (side == &guest_side && host.connected)
        uv_read_stop((uv_stream_t *)&host.pipe);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct side *side = stream->data;
    size_t len = count > 0 ? (size_t)count : 0;
    if (count < 0)
        hang_up(side);
    if (len == 0 || !side->other->connected)
        return; /* what a guest says to nobody is lost */
    bool cuts = side == &guest_side && cut_after >= 0;
    if (cuts && (long)len >= cut_after)
        len = (size_t)cut_after;
    if (len > 0)
        pass_on(side->other, buf->base, len);
    if (cuts)
        cut_after -= (long)len;
    if (cuts && cut_after == 0) {
        cut_after = -1;
        hang_up(&host);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct side *side = server->data;
    if (status != 0)
        return;
    side->waiting = true;
    hang_up(side);
    if (!side->closing)
        take(side);
}

static void listen_side(struct side *side, struct side *other, const char *path)
{
    memset(side, 0, sizeof *side);
    side->other = other;
    uv_pipe_init(&loop, &side->server, 0);
    side->server.data = side;
    ck_assert_int_eq(uv_pipe_bind(&side->server, path), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&side->server, 1, on_connection), 0);
}

/* ------------------------------------------------------------------ the core */

static void on_state(void *ctx, struct es_link *link, enum es_link_state state,
                     const struct es_hello *hello, const struct es_err *why)
{
    (void)ctx;
    (void)link;
    seen.up += state == ES_LINK_UP;
    seen.backoff += state == ES_LINK_BACKOFF;
    if (hello != NULL)
        strcpy(seen.epoch, hello->epoch);
    if (why != NULL)
        strcpy(seen.why, why->msg);
}

static void on_result(void *ctx, struct es_link *link, const struct es_result *result)
{
    struct es_buf text;
    const json_t *out = json_object_get(result->evidence, "stdout");
    (void)ctx;
    seen.results++;
    seen.ok += result->ok;
    seen.lost += strcmp(result->error_code, "lost") == 0;
    seen.last_id = result->id;
    seen.last_seq = result->seq;
    es_buf_init(&text, sizeof seen.text - 1);
    if (out != NULL &&
        es_base64_decode(json_string_value(out), json_string_length(out), &text) == 0)
        strcpy(seen.text, es_buf_str(&text));
    es_buf_finish(&text);
    es_link_ack(link, result->epoch, result->seq);
}

static void on_link_closed(void *ctx)
{
    (void)ctx;
    seen.closed = true;
}

static const struct es_link_events events = {on_state, on_result, NULL};

static bool gave_up;

static void on_limit(uv_timer_t *timer)
{
    (void)timer;
    gave_up = true;
}

#define UNTIL(cond)                                                                      \
    do {                                                                                 \
        uv_timer_t until_timer;                                                          \
        gave_up = false;                                                                 \
        uv_timer_init(&loop, &until_timer);                                              \
        uv_timer_start(&until_timer, on_limit, LIMIT_MS, 0);                             \
        while (!(cond) && !gave_up)                                                      \
            uv_run(&loop, UV_RUN_ONCE);                                                  \
        uv_close((uv_handle_t *)&until_timer, NULL);                                     \
        uv_run(&loop, UV_RUN_NOWAIT);                                                    \
        ck_assert_msg(!gave_up, "waited in vain for: %s (last: %s)", #cond, seen.why);   \
    } while (0)

static void run_shell(int64_t id, const char *shell)
{
    struct es_err err = {0};
    struct es_request request = {.id = id, .op = ES_OP_EXEC, .deadline_ms = 60000};
    request.args = json_pack("{s:s,s:i}", "shell", shell, "keep", 4096);
    ck_assert_msg(es_link_send(link_, &request, &err) == 0, "%s", err.msg);
}

static void setup(void)
{
    es_wire_use_allocator();
    memset(&seen, 0, sizeof seen);
    cut_after = -1;
    strcpy(dir, "/tmp/enshu-port-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(host_path, sizeof host_path, "%s/host", dir);
    snprintf(guest_path, sizeof guest_path, "%s/guest", dir);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    listen_side(&host, &guest_side, host_path);
    listen_side(&guest_side, &host, guest_path);
    ck_assert_int_eq(es_link_create(&loop, "web", host_path, &events, NULL, &link_, NULL),
                     0);
    es_link_set_times(link_, &quick);
    es_link_open(link_);
    pid = guest_run(guest_path, NULL);
}

static void stop_agent(int number)
{
    int status;
    kill(pid, number);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

static void teardown(void)
{
    char command[128];
    es_link_close(link_, on_link_closed);
    UNTIL(seen.closed);
    stop_agent(SIGTERM);
    hang_up(&host);
    hang_up(&guest_side);
    uv_close((uv_handle_t *)&host.server, NULL);
    uv_close((uv_handle_t *)&guest_side.server, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(es_mem_live_count(), 0);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

/* ------------------------------------------------------------------ tests */

START_TEST(a_command_runs_and_answers)
{
    run_shell(1, "echo hello; exit 3");
    UNTIL(seen.ok == 1);
    ck_assert_str_eq(seen.text, "hello\n");
    ck_assert_int_eq(seen.last_seq, 1);
    ck_assert_int_eq(seen.backoff, 0);
}
END_TEST

/* Wherever the stream to the host is cut, every result arrives and nothing runs twice. */
START_TEST(cut_in_the_middle_of_lines)
{
    char shell[256];
    snprintf(shell, sizeof shell, "echo x >> %s/ran; wc -l < %s/ran", dir, dir);
    UNTIL(seen.up == 1);
    for (int i = 1; i <= 40; i++) {
        char wanted[16];
        int up = seen.up;
        cut_after = 1 + i * 7;
        run_shell(i, shell);
        UNTIL(seen.last_id == i && seen.ok >= i);
        snprintf(wanted, sizeof wanted, "%d\n", i);
        ck_assert_str_eq(seen.text, wanted);
        ck_assert_int_ge(seen.up, up);
    }
    ck_assert_int_gt(seen.backoff, 10);
    ck_assert_int_eq(seen.lost, 0);
    ck_assert_ptr_null(strstr(seen.why, "broke the protocol"));
}
END_TEST

START_TEST(the_host_goes_while_a_command_runs)
{
    char shell[320];
    snprintf(
        shell, sizeof shell,
        "echo x >> %s/ran; while [ ! -e %s/go ]; do sleep 0.02; done; wc -l < %s/ran",
        dir, dir, dir);
    run_shell(1, shell);
    char ran[96];
    snprintf(ran, sizeof ran, "%s/ran", dir);
    UNTIL(access(ran, F_OK) == 0);
    hang_up(&host);
    UNTIL(seen.up == 2);
    guest_write_file(dir, "go", "");
    UNTIL(seen.ok == 1);
    ck_assert_str_eq(seen.text, "1\n");
}
END_TEST

START_TEST(the_agent_is_killed_and_started_again)
{
    char epoch[17];
    run_shell(1, "echo before");
    UNTIL(seen.ok == 1);
    strcpy(epoch, seen.epoch);
    run_shell(2, "sleep 1000");
    run_shell(3, "echo three");
    UNTIL(seen.ok == 2);
    stop_agent(SIGKILL);
    /* The host's socket stays connected: the core has to find out by itself. */
    pid = guest_run(guest_path, NULL);
    UNTIL(guest_side.connected);
    struct es_request request = {.id = 4, .op = ES_OP_EXEC, .deadline_ms = 1};
    request.args = json_pack("{s:s}", "shell", "true");
    ck_assert_int_eq(es_link_send(link_, &request, NULL), 0);
    UNTIL(seen.lost == 1);
    ck_assert_str_ne(seen.epoch, epoch);
    run_shell(5, "echo after");
    UNTIL(seen.ok == 3);
    ck_assert_str_eq(seen.text, "after\n");
    ck_assert_int_eq(seen.last_seq, 1);
}
END_TEST

Suite *link_agent_suite(void);
Suite *link_agent_suite(void)
{
    Suite *suite = suite_create("link_agent");
    TCase *tc = tcase_create("link_agent");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_command_runs_and_answers);
    tcase_add_test(tc, cut_in_the_middle_of_lines);
    tcase_add_test(tc, the_host_goes_while_a_command_runs);
    tcase_add_test(tc, the_agent_is_killed_and_started_again);
    suite_add_tcase(suite, tc);
    return suite;
}
