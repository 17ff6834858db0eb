/* The control socket between a client and a fake range: answers, progress, cancelling,
 * clients that lie, flood, sleep or leave, and an end in the middle of everything. */
#include <check.h>
#undef fail /* es_reply has a member of that name */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../fuzz/fuzz_control.c"
#include "../support/corpus.h"
#include "../support/fake_range.h"
#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#define LIMIT_MS 60000
#define HELD_MAX 128

static uv_loop_t loop;
static uv_timer_t guard;
static char dir[64], path[108];
static struct fake_range fake;
static struct es_control *control;
static long live_before;

/* What the fake does with a call, by the `range` parameter of `status`. */
static struct es_reply *held[HELD_MAX];
static int held_count, gone_count, drain_count;

static void on_gone(struct es_reply *reply)
{
    (void)reply;
    gone_count++;
}

static void on_gone_fail(struct es_reply *reply)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ECANCELED, "left");
    gone_count++;
    reply->fail(reply, &err);
}

static void on_drain(struct es_reply *reply)
{
    drain_count++;
    if (reply->unsent_bytes(reply) < ES_REPLY_FULL_BYTES)
        reply->progress(reply, json_pack("{s:i}", "drained", drain_count));
}

static json_t *bulk(const char *key, int number, size_t bytes)
{
    char *text = malloc(bytes + 1);
    memset(text, 'x', bytes);
    text[bytes] = '\0';
    json_t *event = json_pack("{s:i, s:s}", key, number, "text", text);
    free(text);
    return event;
}

static void on_call(struct fake_range *self, const char *method, const json_t *params,
                    struct es_reply *reply)
{
    (void)self;
    struct es_err err = {0};
    const char *what = json_string_value(json_object_get(params, "range"));
    if (what == NULL) {
        reply->done(reply, json_pack("{s:s}", "method", method));
    } else if (strcmp(what, "fail") == 0) {
        es_err_set(&err, ES_ENOENT, "there is no range \"%s\"", what);
        reply->fail(reply, &err);
    } else if (strcmp(what, "steps") == 0) {
        for (int i = 1; i <= 3; i++)
            reply->progress(reply, json_pack("{s:i}", "step", i));
        reply->done(reply, json_pack("{s:b}", "ok", 1));
    } else if (strcmp(what, "hold") == 0 || strcmp(what, "hold-fail") == 0) {
        ck_assert_int_lt(held_count, HELD_MAX);
        reply->on_gone = strcmp(what, "hold") == 0 ? on_gone : on_gone_fail;
        reply->on_drain = on_drain;
        held[held_count++] = reply;
    } else if (strcmp(what, "flood") == 0) {
        for (int i = 0; i < 200; i++)
            reply->progress(reply, bulk("n", i, 65536));
        reply->on_gone = on_gone;
        held[held_count++] = reply;
    } else if (strcmp(what, "snapshots") == 0) {
        for (int i = 0; i < 200; i++)
            reply->progress(reply, bulk("snapshot", i, 65536));
        reply->done(reply, json_pack("{s:b}", "ok", 1));
    } else {
        reply->done(reply, json_pack("{s:s}", "range", what));
    }
}

static void on_guard(uv_timer_t *timer)
{
    (void)timer;
    ck_abort_msg("the test's time limit passed");
}

static void count_step(void *ctx)
{
    ++*(int *)ctx;
}

static void run_until(const int *flag, int wanted)
{
    while (*flag < wanted)
        uv_run(&loop, UV_RUN_ONCE);
}

static void setup(void)
{
    es_wire_use_allocator();
    es_log_set_level(ES_LOG_ERROR);
    live_before = es_mem_live_count();
    held_count = gone_count = drain_count = 0;
    snprintf(dir, sizeof dir, "/tmp/enshu-control-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sock", dir);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &guard);
    uv_timer_start(&guard, on_guard, LIMIT_MS, 0);
    fake = (struct fake_range){.on_call = on_call};
    struct es_err err = {0};
    ck_assert_int_eq(es_control_create_with_table(&loop, fake_range_core(&fake),
                                                  fake_range_methods, path, &control,
                                                  &err),
                     0);
}

static void close_control(void)
{
    int closed = 0;
    es_control_close(control, count_step, &closed);
    run_until(&closed, 1);
    control = NULL;
}

static void teardown(void)
{
    if (control != NULL)
        close_control();
    ck_assert_int_eq(access(path, F_OK), -1);
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(rmdir(dir), 0);
    ck_assert_int_eq(es_mem_live_count(), live_before);
}

/* ---- a client that may say anything */

static int raw_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void raw_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            uv_run(&loop, UV_RUN_NOWAIT);
            continue;
        }
        data += n;
        len -= (size_t)n;
    }
}

static void raw_say(int fd, const char *text)
{
    raw_send(fd, text, strlen(text));
}

/* The next line; NULL at the end of the connection. The caller frees. */
static char *raw_line(int fd)
{
    size_t len = 0, cap = 1U << 20;
    char *line = malloc(cap);
    for (;;) {
        ssize_t n = recv(fd, line + len, 1, 0);
        if (n == 1 && line[len] == '\n') {
            line[len] = '\0';
            return line;
        }
        if (n == 1) {
            ck_assert_uint_lt(++len, cap);
            continue;
        }
        if (n == 0 || errno == ECONNRESET)
            break;
        ck_assert_int_eq(errno, EAGAIN);
        uv_run(&loop, UV_RUN_ONCE);
    }
    free(line);
    return NULL;
}

static void expect(int fd, const char *wanted)
{
    char *line = raw_line(fd);
    ck_assert_ptr_nonnull(line);
    ck_assert_msg(strstr(line, wanted) != NULL, "got %s, wanted %s", line, wanted);
    free(line);
}

static void expect_end(int fd)
{
    char *line = raw_line(fd);
    ck_assert_msg(line == NULL, "the connection goes on with %s", line);
    close(fd);
}

#define CALL_STATUS(id, range)                                                           \
    "{\"jsonrpc\":\"2.0\",\"id\":" id                                                    \
    ",\"method\":\"status\",\"params\":{\"range\":\"" range "\"}}\n"

START_TEST(bad_lines_get_errors_and_the_connection_stays)
{
    static const struct {
        const char *line, *answer;
    } rows[] = {
        {"nonsense\n", "\"id\":null,\"error\":{\"code\":-32700"},
        {"{\"a\":1,\"a\":2}\n", "-32700"},
        {"\xff\xfe\n", "-32700"},
        {"{\"a\":\"\\u0000\"}\n", "-32700"},
        {"[]\n", "-32600"},
        {"[1,2]\n", "-32600"},
        {"{}\n", "-32600"},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"version\"}\n",
         "\"id\":1,\"error\":{\"code\":-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"version\"}\n", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"version\"}\n", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}\n", "-32600"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"statsu\"}\n", "did you mean"},
        {"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"nothing-like-it\"}\n",
         "\"id\":\"x\",\"error\":{\"code\":-32601"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":[]}\n",
         "-32602"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":{\"range\":1}}"
         "\n",
         "must be of type string"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"start\"}\n",
         "parameter \\\"range\\\" is missing"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":{\"rnage\":"
         "\"a\"}}\n",
         "did you mean"},
        {"\n\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n",
         "\"id\":1,\"result\":{\"method\":\"version\"}"},
        {"{\"jsonrpc\":\"2.0\",\"method\":\"version\"}\n{\"jsonrpc\":\"2.0\",\"id\":9,"
         "\"method\":\"gc\"}\n",
         "\"id\":9,\"result\""},
    };
    int fd = raw_connect();
    for (size_t i = 0; i < ES_COUNT(rows); i++) {
        raw_say(fd, rows[i].line);
        expect(fd, rows[i].answer);
    }
    close(fd);
}
END_TEST

START_TEST(failures_carry_status_and_number)
{
    int fd = raw_connect();
    raw_say(fd, CALL_STATUS("7", "fail"));
    expect(
        fd,
        "\"id\":7,\"error\":{\"code\":-3,\"message\":\"there is no range \\\"fail\\\"\","
        "\"data\":{\"status\":\"ENOENT\"}}");
    close(fd);
}
END_TEST

START_TEST(bytes_arrive_one_by_one_or_all_at_once)
{
    int fd = raw_connect();
    const char *one = CALL_STATUS("1", "a");
    for (const char *c = one; *c != '\0'; c++) {
        raw_send(fd, c, 1);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    expect(fd, "\"id\":1,\"result\":{\"range\":\"a\"}");
    raw_say(fd, CALL_STATUS("2", "b") CALL_STATUS("3", "c") CALL_STATUS("4", "steps"));
    expect(fd, "\"id\":2,");
    expect(fd, "\"id\":3,");
    expect(fd, "\"params\":{\"id\":4,\"event\":{\"step\":1}}");
    expect(fd, "\"step\":2");
    expect(fd, "\"step\":3");
    expect(fd, "\"id\":4,\"result\"");
    close(fd);
}
END_TEST

START_TEST(a_line_up_to_the_cap_is_read_a_longer_one_ends_the_connection)
{
    for (int over = 0; over <= 1; over++) {
        int fd = raw_connect();
        size_t len = ES_CONTROL_LINE_MAX + (size_t)over;
        char *line = malloc(len + 1);
        memset(line, ' ', len);
        const char *head = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"";
        memcpy(line, head, strlen(head));
        line[len - 1] = '}';
        line[len] = '\n';
        raw_send(fd, line, len + 1);
        free(line);
        if (over == 0) {
            expect(fd, "\"result\":{\"method\":\"version\"}");
            close(fd);
        } else {
            expect(fd, "\"status\":\"ELIMIT\"");
            expect_end(fd);
        }
    }
    int endless = raw_connect();
    char spaces[4096];
    memset(spaces, ' ', sizeof spaces);
    for (size_t sent = 0; sent < ES_CONTROL_LINE_MAX + sizeof spaces;
         sent += sizeof spaces)
        raw_send(endless, spaces, sizeof spaces);
    expect(endless, "\"status\":\"ELIMIT\"");
    expect_end(endless);
}
END_TEST

START_TEST(cancel_answers_at_once_and_tells_the_callee)
{
    int fd = raw_connect();
    raw_say(fd, CALL_STATUS("5", "hold") CALL_STATUS("6", "hold-fail"));
    raw_say(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"cancel\",\"params\":{\"id\":99}}\n"
                "{\"jsonrpc\":\"2.0\",\"method\":\"cancel\",\"params\":{\"id\":5}}\n"
                "{\"jsonrpc\":\"2.0\",\"method\":\"cancel\",\"params\":{\"id\":6}}\n");
    expect(fd, "\"id\":5,\"error\":{\"code\":-11");
    expect(fd, "\"id\":6,\"error\":{\"code\":-11");
    ck_assert_int_eq(gone_count, 2);
    held[0]->progress(held[0], json_pack("{s:i}", "late", 1));
    held[0]->done(held[0], json_object());
    raw_say(fd, CALL_STATUS("5", "again"));
    expect(fd, "\"id\":5,\"result\":{\"range\":\"again\"}");
    close(fd);
}
END_TEST

START_TEST(a_client_that_leaves_is_told_to_its_calls)
{
    int fd = raw_connect();
    raw_say(fd, CALL_STATUS("1", "hold") CALL_STATUS("2", "hold-fail"));
    run_until(&held_count, 2);
    close(fd);
    run_until(&gone_count, 2);
    held[0]->done(held[0], json_object());
}
END_TEST

START_TEST(calls_in_flight_are_counted)
{
    int fd = raw_connect();
    char line[200];
    for (int i = 1; i <= 65; i++) {
        snprintf(line, sizeof line,
                 "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"status\","
                 "\"params\":{\"range\":\"hold\"}}\n",
                 i);
        raw_say(fd, line);
    }
    expect(fd, "\"id\":65,\"error\":{\"code\":-6");
    raw_say(fd, CALL_STATUS("3", "x"));
    expect(fd, "\"id\":3,\"error\":{\"code\":-4");
    for (int i = 0; i < held_count; i++)
        held[i]->done(held[i], json_object());
    for (int i = 0; i < held_count; i++)
        expect(fd, "\"result\":{}");
    raw_say(fd, CALL_STATUS("66", "x"));
    expect(fd, "\"id\":66,\"result\"");
    close(fd);
}
END_TEST

START_TEST(the_257th_client_is_turned_away)
{
    int fds[257];
    for (int i = 0; i < 257; i++) {
        fds[i] = raw_connect();
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    expect(fds[256], "\"status\":\"ELIMIT\"");
    expect_end(fds[256]);
    raw_say(fds[255], CALL_STATUS("1", "x"));
    expect(fds[255], "\"id\":1,\"result\"");
    for (int i = 0; i < 256; i++)
        close(fds[i]);
}
END_TEST

START_TEST(a_client_that_never_reads_is_dropped_alone)
{
    int sleeper = raw_connect(), other = raw_connect();
    raw_say(sleeper, CALL_STATUS("1", "flood"));
    run_until(&gone_count, 1);
    held[0]->done(held[0], json_object());
    raw_say(other, CALL_STATUS("2", "x"));
    expect(other, "\"id\":2,\"result\"");
    close(sleeper);
    close(other);
}
END_TEST

START_TEST(a_slow_reader_gets_the_newest_snapshot)
{
    int fd = raw_connect();
    raw_say(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"watch\","
                "\"params\":{\"range\":\"snapshots\"}}\n");
    int lines = 0;
    bool has_newest = false;
    for (;;) {
        char *line = raw_line(fd);
        ck_assert_ptr_nonnull(line);
        bool is_answer = strstr(line, "\"result\"") != NULL;
        has_newest = has_newest || strstr(line, "\"snapshot\":199") != NULL;
        free(line);
        if (is_answer)
            break;
        lines++;
    }
    ck_assert(has_newest);
    ck_assert_int_lt(lines, 100);
    close(fd);
}
END_TEST

START_TEST(a_callee_with_much_to_send_waits_for_room)
{
    int fd = raw_connect();
    raw_say(fd, CALL_STATUS("1", "hold"));
    run_until(&held_count, 1);
    int sent = 0;
    while (held[0]->unsent_bytes(held[0]) <= ES_REPLY_FULL_BYTES) {
        held[0]->progress(held[0], bulk("n", sent++, 65536));
        ck_assert_int_lt(sent, 100);
    }
    ck_assert_int_eq(drain_count, 0);
    for (int i = 0; i < sent; i++) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "\"n\":%d,", i);
        expect(fd, wanted);
    }
    expect(fd, "\"drained\":1");
    held[0]->done(held[0], json_object());
    expect(fd, "\"id\":1,\"result\"");
    close(fd);
}
END_TEST

START_TEST(closing_with_calls_running_lets_them_finish_later)
{
    int fd = raw_connect();
    raw_say(fd, CALL_STATUS("1", "hold") CALL_STATUS("2", "hold-fail"));
    run_until(&held_count, 2);
    close_control();
    ck_assert_int_eq(gone_count, 2);
    held[0]->progress(held[0], json_object());
    held[0]->done(held[0], json_object());
    expect_end(fd);
}
END_TEST

START_TEST(the_socket_is_private)
{
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    if (geteuid() != 0)
        return;
    /* Even where the file would let them in, other users are turned away. */
    ck_assert_int_eq(chmod(path, 0666), 0);
    ck_assert_int_eq(chmod(dir, 0755), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    int fd = raw_connect();
    ck_assert_int_eq(seteuid(0), 0);
    expect_end(fd);
}
END_TEST

static int create_at(const char *where, struct es_err *err)
{
    struct es_control *other = NULL;
    int rc = es_control_create_with_table(&loop, fake_range_core(&fake),
                                          fake_range_methods, where, &other, err);
    if (rc == 0) {
        int closed = 0;
        es_control_close(other, count_step, &closed);
        run_until(&closed, 1);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    return rc;
}

START_TEST(only_a_dead_cores_socket_is_replaced)
{
    struct es_err err = {0};
    ck_assert_int_eq(create_at(path, &err), ES_EEXIST);
    ck_assert_ptr_nonnull(strstr(err.msg, "already listens"));

    char other[108];
    snprintf(other, sizeof other, "%s/stale", dir);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, other, strlen(other) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    ck_assert_int_eq(create_at(other, &err), 0);
    ck_assert_int_eq(access(other, F_OK), -1);

    snprintf(other, sizeof other, "%s/file", dir);
    close(open(other, O_CREAT | O_WRONLY, 0600));
    ck_assert_int_eq(create_at(other, &err), ES_EEXIST);
    ck_assert_int_eq(unlink(other), 0);

    ck_assert_int_eq(create_at("/nonexistent/sock", &err), ES_EIO);
    memset(other, 'a', sizeof other);
    char long_path[300];
    memset(long_path, 'a', sizeof long_path);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    ck_assert_int_eq(create_at(long_path, &err), ES_ELIMIT);
}
END_TEST

/* ---- the client */

struct seen {
    int answers, events, closed, freed;
    int64_t id;
    int status;
    char text[200];
};

static void on_progress(void *ctx, int64_t id, const json_t *event)
{
    struct seen *seen = ctx;
    ck_assert_int_eq(id, seen->id);
    ck_assert_int_eq(json_integer_value(json_object_get(event, "step")), ++seen->events);
}

static void on_answer(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err)
{
    struct seen *seen = ctx;
    seen->answers++;
    seen->id = id;
    seen->status = err != NULL ? err->code : 0;
    ck_assert((result != NULL) != (err != NULL));
    if (err != NULL)
        snprintf(seen->text, sizeof seen->text, "%.199s", err->msg);
}

static void on_closed(void *ctx, const struct es_err *why)
{
    struct seen *seen = ctx;
    seen->closed++;
    seen->status = why->code;
}

static const struct es_client_events client_events = {on_progress, on_answer, on_closed};

static struct es_client *client_make(struct seen *seen)
{
    struct es_client *client = NULL;
    struct es_err err = {0};
    ck_assert_int_eq(es_client_connect(&loop, path, &client_events, seen, &client, &err),
                     0);
    return client;
}

static void client_end(struct es_client *client, struct seen *seen)
{
    es_client_close(client, count_step, &seen->freed);
    run_until(&seen->freed, 1);
}

START_TEST(client_calls_and_hears)
{
    struct seen seen = {0};
    struct es_err err = {0};
    struct es_client *client = client_make(&seen);
    ck_assert_int_eq(es_client_call(client, "version", NULL, &seen.id, &err), 0);
    run_until(&seen.answers, 1);
    ck_assert_int_eq(seen.status, 0);
    ck_assert_int_eq(es_client_call(client, "status",
                                    json_pack("{s:s}", "range", "steps"), &seen.id, &err),
                     0);
    run_until(&seen.answers, 2);
    ck_assert_int_eq(seen.events, 3);
    ck_assert_int_eq(es_client_call(client, "status", json_pack("{s:s}", "range", "fail"),
                                    &seen.id, &err),
                     0);
    run_until(&seen.answers, 3);
    ck_assert_int_eq(seen.status, ES_ENOENT);
    ck_assert_str_eq(seen.text, "there is no range \"fail\"");
    int64_t id;
    ck_assert_int_eq(
        es_client_call(client, "status", json_pack("{s:s}", "range", "hold"), &id, &err),
        0);
    run_until(&held_count, 1);
    es_client_cancel(client, id);
    run_until(&seen.answers, 4);
    ck_assert_int_eq(seen.status, ES_ECANCELED);
    ck_assert_int_eq(seen.id, id);
    held[0]->done(held[0], json_object());
    client_end(client, &seen);
}
END_TEST

START_TEST(client_hears_that_the_core_went_away)
{
    struct seen seen = {0};
    struct es_err err = {0};
    struct es_client *client = client_make(&seen);
    ck_assert_int_eq(es_client_call(client, "version", NULL, &seen.id, &err), 0);
    run_until(&seen.answers, 1);
    close_control();
    run_until(&seen.closed, 1);
    ck_assert_int_eq(seen.status, ES_ECONN);
    ck_assert_int_eq(es_client_call(client, "version", NULL, NULL, &err), ES_ECONN);
    es_client_cancel(client, 1);
    client_end(client, &seen);
    ck_assert_int_eq(seen.closed, 1);
    ck_assert_int_eq(es_client_connect(&loop, path, &client_events, &seen, &client, &err),
                     ES_ECONN);
}
END_TEST

static const struct es_client_events quiet_events = {NULL, on_answer, on_closed};

/* One whole exchange with the n-th allocation failing, wherever it falls. */
static void exchange_once(void)
{
    struct seen seen = {0};
    struct es_err err = {0};
    struct es_client *client = NULL;
    if (es_client_connect(&loop, path, &quiet_events, &seen, &client, &err) != 0) {
        ck_assert_int_eq(err.code, ES_ENOMEM);
        return;
    }
    int rc = es_client_call(client, "status", json_pack("{s:s}", "range", "steps"),
                            &seen.id, &err);
    while (rc == 0 && seen.answers == 0 && seen.closed == 0)
        uv_run(&loop, UV_RUN_ONCE);
    client_end(client, &seen);
}

START_TEST(memory_runs_out_anywhere)
{
    bool went_through = false;
    for (long n = 1; n < 400 && !went_through; n++) {
        es_mem_fail_nth(n);
        exchange_once();
        went_through = !es_mem_failed();
        es_mem_fail_nth(0);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    ck_assert(went_through);
}
END_TEST

START_TEST(the_corpus_is_replayed)
{
    ck_assert_int_ge(corpus_replay("control", fuzz_control), 14);
}
END_TEST

Suite *control_suite(void);
Suite *control_suite(void)
{
    Suite *suite = suite_create("control");
    TCase *tc = tcase_create("socket");
    tcase_set_timeout(tc, 2 * LIMIT_MS / 1000);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bad_lines_get_errors_and_the_connection_stays);
    tcase_add_test(tc, failures_carry_status_and_number);
    tcase_add_test(tc, bytes_arrive_one_by_one_or_all_at_once);
    tcase_add_test(tc, a_line_up_to_the_cap_is_read_a_longer_one_ends_the_connection);
    tcase_add_test(tc, cancel_answers_at_once_and_tells_the_callee);
    tcase_add_test(tc, a_client_that_leaves_is_told_to_its_calls);
    tcase_add_test(tc, calls_in_flight_are_counted);
    tcase_add_test(tc, the_257th_client_is_turned_away);
    tcase_add_test(tc, a_client_that_never_reads_is_dropped_alone);
    tcase_add_test(tc, a_slow_reader_gets_the_newest_snapshot);
    tcase_add_test(tc, a_callee_with_much_to_send_waits_for_room);
    tcase_add_test(tc, closing_with_calls_running_lets_them_finish_later);
    tcase_add_test(tc, the_socket_is_private);
    tcase_add_test(tc, only_a_dead_cores_socket_is_replaced);
    tcase_add_test(tc, client_calls_and_hears);
    tcase_add_test(tc, client_hears_that_the_core_went_away);
    tcase_add_test(tc, memory_runs_out_anywhere);
    suite_add_tcase(suite, tc);
    TCase *fuzz = tcase_create("fuzz");
    tcase_set_timeout(fuzz, 2 * LIMIT_MS / 1000);
    tcase_add_test(fuzz, the_corpus_is_replayed);
    suite_add_tcase(suite, fuzz);
    return suite;
}
