/* link against simulated agents, both on one real loop over real sockets. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/simagent.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/link.h"

#define LIMIT_MS 20000U

/* Quick, so that waiting for patience to run out does not take long; generous where
 * running out would fail a test. */
static const struct es_link_times quick = {
    .sync_ms = 10000,
    .silent_ms = 60000,
    .slack_ms = 20,
    .backoff_min_ms = 2,
    .backoff_max_ms = 20,
    .refused_max_ms = 5,
    .stable_ms = 60000,
};

static uv_loop_t loop;
static char dir[64], path[96];
static struct simagent *agent;
static struct es_link *link_;
static bool gave_up;

/* What came up the link. */
static struct seen {
    int states[7];
    char why[ES_ERR_MSG_MAX];
    int why_code;
    char hello_epoch[17];
    int results, ok, timeouts, lost;
    int64_t ids[1024], seqs[1024];
    char epoch[17];
    struct es_buf parts;
    bool closed;
    bool acks;          /* acknowledge at once */
    int close_at_state; /* -1: never */
    bool close_at_result;
} seen;

static void on_link_closed(void *ctx)
{
    ck_assert_ptr_eq(ctx, &seen);
    seen.closed = true;
    link_ = NULL;
}

static void on_state(void *ctx, struct es_link *link, enum es_link_state state,
                     const struct es_hello *hello, const struct es_err *why)
{
    ck_assert_ptr_eq(ctx, &seen);
    ck_assert(!seen.closed && seen.close_at_state != -2);
    ck_assert_int_eq(es_link_state(link), state);
    ck_assert_int_eq(hello != NULL, state == ES_LINK_UP);
    ck_assert_int_eq(why != NULL, state == ES_LINK_BACKOFF);
    seen.states[state]++;
    if (hello != NULL)
        strcpy(seen.hello_epoch, hello->epoch);
    if (why != NULL) {
        seen.why_code = why->code;
        strcpy(seen.why, why->msg);
    }
    if (seen.close_at_state == (int)state) {
        seen.close_at_state = -2;
        es_link_close(link, on_link_closed);
    }
}

static void on_result(void *ctx, struct es_link *link, const struct es_result *result)
{
    ck_assert_ptr_eq(ctx, &seen);
    ck_assert(!seen.closed && seen.close_at_state != -2);
    ck_assert_int_lt(seen.results, (int)ES_COUNT(seen.ids));
    seen.ids[seen.results] = result->id;
    seen.seqs[seen.results++] = result->seq;
    strcpy(seen.epoch, result->epoch);
    seen.ok += result->ok;
    seen.timeouts += strcmp(result->error_code, "timeout") == 0;
    seen.lost += strcmp(result->error_code, "lost") == 0;
    if (seen.acks)
        es_link_ack(link, result->epoch, result->seq);
    if (seen.close_at_result) {
        seen.close_at_state = -2;
        es_link_close(link, on_link_closed);
    }
}

static void on_part(void *ctx, struct es_link *link, int64_t id, const char *stream,
                    const char *data, size_t len)
{
    ck_assert_ptr_eq(ctx, &seen);
    ck_assert_ptr_nonnull(link);
    ck_assert_int_gt(id, 0);
    ck_assert_str_eq(stream, "out");
    es_buf_append(&seen.parts, data, len);
}

static const struct es_link_events events = {on_state, on_result, on_part};

static void on_limit(uv_timer_t *timer)
{
    (void)timer;
    gave_up = true;
}

/* Runs the loop until `cond` holds. */
#define UNTIL(cond)                                                                      \
    do {                                                                                 \
        uv_timer_t until_timer;                                                          \
        gave_up = false;                                                                 \
        uv_timer_init(&loop, &until_timer);                                              \
        uv_timer_start(&until_timer, on_limit, LIMIT_MS, 0);                             \
        uv_unref((uv_handle_t *)&until_timer);                                           \
        while (!(cond) && !gave_up)                                                      \
            uv_run(&loop, UV_RUN_ONCE);                                                  \
        uv_close((uv_handle_t *)&until_timer, NULL);                                     \
        uv_run(&loop, UV_RUN_NOWAIT);                                                    \
        ck_assert_msg(!gave_up, "waited in vain for: %s (last: %s)", #cond, seen.why);   \
    } while (0)

/* A fixed number of loop iterations, for what must not happen. */
static void spin(int times)
{
    while (times-- > 0)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void setup(void)
{
    es_wire_use_allocator();
    strcpy(dir, "/tmp/enshu-link-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/agent", dir);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    memset(&seen, 0, sizeof seen);
    seen.close_at_state = -1;
    es_buf_init(&seen.parts, 4096);
    agent = NULL;
    link_ = NULL;
}

static void start_agent(enum simagent_mode mode)
{
    int rc;
    agent = simagent_create(&loop, path, &rc);
    ck_assert_msg(agent != NULL, "%s", uv_strerror(rc));
    simagent_set_mode(agent, mode, 0);
}

static void start_link(const struct es_link_times *times)
{
    struct es_err err = {0};
    ck_assert_msg(es_link_create(&loop, "web", path, &events, &seen, &link_, &err) == 0,
                  "%s", err.msg);
    es_link_set_times(link_, times);
    es_link_open(link_);
    ck_assert_int_eq(seen.states[ES_LINK_CONNECTING], 0); /* told from the loop only */
}

static void start(enum simagent_mode mode)
{
    start_agent(mode);
    start_link(&quick);
}

static int try_send(int64_t id, int64_t deadline_ms, struct es_err *err)
{
    struct es_request request = {.id = id, .op = ES_OP_PROBE, .deadline_ms = deadline_ms};
    request.args = json_pack("{s:s}", "kind", "file");
    int results = seen.results;
    int rc = es_link_send(link_, &request, err);
    ck_assert_ptr_null(request.args);
    ck_assert_int_eq(seen.results, results); /* never from inside the submitting call */
    return rc;
}

static void send_one(int64_t id, int64_t deadline_ms)
{
    struct es_err err = {0};
    ck_assert_msg(try_send(id, deadline_ms, &err) == 0, "%s", err.msg);
}

static void close_link(void)
{
    es_link_close(link_, on_link_closed);
    ck_assert(!seen.closed);
    UNTIL(seen.closed);
}

static void teardown(void)
{
    if (link_ != NULL && seen.close_at_state != -2)
        close_link();
    if (agent != NULL)
        simagent_close(agent);
    es_buf_finish(&seen.parts);
    UNTIL(!uv_loop_alive(&loop));
    ck_assert_int_eq(uv_loop_close(&loop), 0); /* no live handle is left */
    ck_assert_int_eq(es_mem_live_count(), 0);
    unlink(path);
    rmdir(dir);
}

/* ------------------------------------------------------------------ the good agent */

START_TEST(a_request_is_answered_and_acknowledged)
{
    seen.acks = true;
    start(SIMAGENT_GOOD);
    send_one(1, 60000); /* queued: not connected yet */
    UNTIL(seen.ok == 1);
    ck_assert_int_eq(seen.ids[0], 1);
    ck_assert_int_eq(seen.seqs[0], 1);
    ck_assert_str_eq(seen.epoch, simagent_epoch(agent));
    ck_assert_str_eq(seen.hello_epoch, simagent_epoch(agent));
    UNTIL(simagent_counts(agent)->acked_seq == 1);
    ck_assert_int_eq(simagent_counts(agent)->held, 0);
    ck_assert_uint_gt(es_link_last_heard_ms(link_), 0);
    ck_assert_str_eq(es_link_name(link_), "web");
}
END_TEST

START_TEST(acks_of_one_iteration_are_one_line)
{
    seen.acks = true;
    start(SIMAGENT_GOOD);
    UNTIL(seen.states[ES_LINK_UP] == 1);
    for (int i = 0; i < 200; i++)
        ck_assert(simagent_emit(agent, 1000 + i, json_object()));
    UNTIL(simagent_counts(agent)->acked_seq == 200);
    ck_assert_int_eq(seen.results, 200);
    ck_assert_int_lt(simagent_counts(agent)->acks, 20);
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(seen.seqs[i], i + 1);
}
END_TEST

START_TEST(unacknowledged_results_come_again)
{
    start(SIMAGENT_GOOD);
    send_one(1, 60000);
    send_one(2, 60000);
    UNTIL(seen.ok == 2);
    ck_assert_int_eq(simagent_counts(agent)->held, 2);
    simagent_disconnect(agent);
    UNTIL(seen.ok == 4);
    ck_assert_int_eq(seen.seqs[2], 1);
    ck_assert_int_eq(seen.seqs[3], 2);
    es_link_ack(link_, seen.epoch, 2);
    UNTIL(simagent_counts(agent)->held == 0);
    ck_assert_int_eq(simagent_counts(agent)->repeats, 0); /* answered: not asked again */
}
END_TEST

START_TEST(an_ack_made_while_the_connection_is_away_is_sent_later)
{
    start(SIMAGENT_GOOD);
    send_one(1, 60000);
    UNTIL(seen.ok == 1);
    simagent_disconnect(agent);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 1);
    es_link_ack(link_, seen.epoch, 1);
    UNTIL(simagent_counts(agent)->held == 0);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 2);
}
END_TEST

START_TEST(chunks_are_decoded_in_order)
{
    start(SIMAGENT_CHUNKS);
    send_one(5, 60000);
    UNTIL(seen.ok == 1);
    ck_assert_str_eq(es_buf_str(&seen.parts), "abcd");
}
END_TEST

START_TEST(nobody_listens_at_first)
{
    start_link(&quick);
    send_one(1, 60000);
    UNTIL(seen.states[ES_LINK_BACKOFF] >= 3);
    ck_assert_int_eq(seen.why_code, ES_ECONN);
    ck_assert_ptr_nonnull(strstr(seen.why, path));
    start_agent(SIMAGENT_GOOD);
    UNTIL(seen.ok == 1);
}
END_TEST

/* ------------------------------------------------------------------ reconnects */

START_TEST(requests_are_sent_again_with_their_id)
{
    start(SIMAGENT_NEVER);
    send_one(7, 60000);
    UNTIL(simagent_counts(agent)->requests == 1);
    simagent_disconnect(agent);
    UNTIL(simagent_counts(agent)->requests == 2);
    ck_assert_int_eq(simagent_counts(agent)->repeats, 1);
    ck_assert_int_eq(seen.results, 0);
    simagent_emit(agent, 7, json_object());
    UNTIL(seen.ok == 1);
    simagent_disconnect(agent);
    UNTIL(seen.states[ES_LINK_UP] == 3 && seen.ok == 2); /* held; not asked again */
    ck_assert_int_eq(simagent_counts(agent)->requests, 2);
}
END_TEST

static int send_bound(int64_t id, const char *epoch)
{
    struct es_err err = {0};
    struct es_request request = {
        .id = id, .op = ES_OP_EXEC, .args = json_object(), .deadline_ms = 60000};
    return es_link_send_bound(link_, &request, epoch, &err);
}

START_TEST(a_request_bound_to_an_epoch_goes_to_no_other)
{
    char epoch[17];
    start_agent(SIMAGENT_GOOD);
    snprintf(epoch, sizeof epoch, "%s", simagent_epoch(agent));
    start_link(&quick);
    ck_assert_int_eq(send_bound(1, epoch), 0);
    ck_assert_int_eq(send_bound(2, "0123456789abcdef"), 0);
    UNTIL(seen.ok == 1 && seen.lost == 1);
    ck_assert_int_eq(simagent_counts(agent)->requests, 1);
    ck_assert_int_eq(send_bound(3, "0123456789abcdef"), ES_ESTATE);
    simagent_disconnect(agent);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 1);
    ck_assert_int_eq(send_bound(4, epoch), 0);
    simagent_restart(agent);
    UNTIL(seen.lost == 2);
    ck_assert_int_eq(simagent_counts(agent)->requests, 1);
}
END_TEST

START_TEST(a_connection_that_breaks_mid_line)
{
    start(SIMAGENT_HALF_LINE);
    send_one(1, 60000);
    UNTIL(seen.ok == 1);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 2);
    ck_assert_int_eq(seen.results, 1);
    ck_assert_int_eq(seen.seqs[0], 1);
}
END_TEST

START_TEST(noise_before_the_hello_costs_nothing)
{
    start(SIMAGENT_NOISE);
    send_one(1, 60000);
    UNTIL(seen.ok == 1);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 0);
}
END_TEST

START_TEST(requests_of_a_gone_epoch_are_lost)
{
    start(SIMAGENT_NEVER);
    send_one(1, 60000);
    send_one(2, 60000);
    UNTIL(simagent_counts(agent)->requests == 2);
    simagent_restart(agent);
    simagent_disconnect(agent);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 1);
    send_one(3, 60000); /* never written to the old epoch */
    simagent_set_mode(agent, SIMAGENT_GOOD, 0);
    UNTIL(seen.ok == 1);
    ck_assert_int_eq(seen.lost, 2);
    ck_assert_int_eq(seen.results, 3);
    ck_assert_int_eq(seen.seqs[0], 0);
    ck_assert_int_eq(seen.ids[2], 3);
}
END_TEST

START_TEST(an_agent_restarted_behind_an_open_socket)
{
    start(SIMAGENT_NEVER);
    send_one(1, 60000);
    UNTIL(simagent_counts(agent)->requests == 1);
    simagent_restart(agent);
    simagent_emit(agent, 99, json_object()); /* of an epoch without a hello */
    UNTIL(seen.lost == 1);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 2);
    ck_assert_str_eq(seen.hello_epoch, simagent_epoch(agent));
    UNTIL(seen.ok == 2); /* handed up at once, and again after the sync */
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 1);
}
END_TEST

static void send_fork(int64_t id)
{
    struct es_request request = {.id = id, .op = ES_OP_PERSONALISE, .deadline_ms = 60000};
    request.args = json_pack("{s:b}", "fork", 1);
    ck_assert_int_eq(es_link_send(link_, &request, NULL), 0);
}

START_TEST(a_fork_begins_an_epoch_with_its_result)
{
    char before[17];
    seen.acks = true;
    start(SIMAGENT_NEVER);
    send_one(1, 60000);
    UNTIL(simagent_counts(agent)->requests == 1);
    strcpy(before, simagent_epoch(agent));
    simagent_set_mode(agent, SIMAGENT_GOOD, 0);
    send_fork(2);
    UNTIL(seen.lost == 1); /* nobody answers what was asked of the mould */
    ck_assert_int_eq(seen.ok, 1);
    ck_assert_int_eq(seen.ids[0], 2);
    ck_assert_int_eq(seen.seqs[0], 1);
    ck_assert_str_ne(simagent_epoch(agent), before);
    send_one(3, 60000);
    UNTIL(simagent_counts(agent)->acked_seq == 2);
    ck_assert_str_eq(seen.epoch, simagent_epoch(agent));
    ck_assert_int_eq(seen.states[ES_LINK_UP], 1);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 0);
}
END_TEST

START_TEST(the_result_of_a_fork_may_come_after_its_hello)
{
    start(SIMAGENT_HALF_LINE);
    send_fork(1);
    UNTIL(seen.ok == 1);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 2);
    ck_assert_str_eq(seen.hello_epoch, simagent_epoch(agent));
    ck_assert_int_eq(seen.lost, 0);
    ck_assert_int_eq(seen.seqs[0], 1);
    send_one(2, 60000);
    UNTIL(seen.ok == 2);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 1);
}
END_TEST

START_TEST(a_silent_agent_is_connected_anew)
{
    struct es_link_times times = quick;
    times.silent_ms = 30;
    start_agent(SIMAGENT_GOOD);
    start_link(&times);
    UNTIL(seen.states[ES_LINK_UP] == 2);
    ck_assert_int_eq(seen.why_code, ES_ETIMEDOUT);
    ck_assert_ptr_nonnull(strstr(seen.why, "silent"));
}
END_TEST

/* ------------------------------------------------------------------ deadlines, caps */

START_TEST(a_deadline_passes)
{
    start(SIMAGENT_NEVER);
    UNTIL(seen.states[ES_LINK_UP] == 1);
    send_one(1, 10);
    send_one(2, 60000);
    UNTIL(seen.timeouts == 1);
    ck_assert_int_eq(seen.ids[0], 1);
    ck_assert_int_eq(seen.seqs[0], 0);
    ck_assert_int_eq(seen.results, 1);
    /* No answer at all: the two may have lost each other, so it syncs again. */
    UNTIL(seen.states[ES_LINK_UP] == 2);
    simagent_emit(agent, 1, json_object());
    simagent_emit(agent, 2, json_object());
    UNTIL(seen.ok == 2); /* the late one is handed up too */
}
END_TEST

START_TEST(a_deadline_passes_while_not_connected)
{
    start_link(&quick);
    send_one(1, 10);
    UNTIL(seen.timeouts == 1);
    ck_assert_str_eq(seen.epoch, "");
}
END_TEST

START_TEST(late_answers_in_time)
{
    start_agent(SIMAGENT_LATE);
    simagent_set_mode(agent, SIMAGENT_LATE, 30);
    start_link(&quick);
    for (int i = 1; i <= 20; i++)
        send_one(i, 60000);
    UNTIL(seen.ok == 20);
    ck_assert_int_eq(seen.timeouts, 0);
}
END_TEST

START_TEST(caps_and_ranges)
{
    struct es_err err = {0};
    start_link(&quick);
    ck_assert_int_eq(try_send(0, 1, &err), ES_EINVAL);
    ck_assert_int_eq(try_send(ES_LINK_ID_MAX + 1, 1, &err), ES_EINVAL);
    ck_assert_int_eq(try_send(1, 0, &err), ES_EINVAL);
    ck_assert_int_eq(try_send(1, ES_WIRE_DEADLINE_MAX_MS + 1, &err), ES_EINVAL);
    for (int i = 1; i <= ES_LINK_REQUESTS_MAX; i++)
        send_one(i, 60000);
    ck_assert_int_eq(try_send(9999, 60000, &err), ES_EBUSY);
    es_link_cancel(link_, 3);
    ck_assert_int_eq(try_send(4, 60000, &err), ES_EEXIST);
    ck_assert_int_eq(try_send(9999, 60000, &err), 0);
    for (int i = 1; i <= ES_LINK_REQUESTS_MAX; i++)
        es_link_cancel(link_, i);
    es_link_cancel(link_, 9999);

    char *text = es_calloc(1, 50001);
    memset(text, 'x', 50000);
    int rc = 0, sent = 0;
    while (rc == 0) {
        struct es_request request = {.id = ++sent, .op = ES_OP_PUT, .deadline_ms = 60000};
        request.args = json_pack("{s:s}", "data", text);
        rc = es_link_send(link_, &request, &err);
    }
    ck_assert_int_eq(rc, ES_EBUSY);
    ck_assert_int_gt(sent, 80);
    ck_assert_int_lt(sent, 85);
    struct es_request huge = {.id = 5000, .op = ES_OP_PUT, .deadline_ms = 60000};
    huge.args = json_pack("{s:s,s:s}", "data", text, "more", text);
    ck_assert_int_eq(es_link_send(link_, &huge, &err), ES_ELIMIT);
    es_free(text);
    /* All of them arrive once there is an agent, over several writes. */
    start_agent(SIMAGENT_GOOD);
    UNTIL(seen.ok == sent - 1);
}
END_TEST

START_TEST(cancelling)
{
    start(SIMAGENT_NEVER);
    send_one(1, 60000);
    es_link_cancel(link_, 1); /* not written yet: simply forgotten */
    send_one(2, 60000);
    UNTIL(simagent_counts(agent)->requests == 1);
    simagent_set_mode(agent, SIMAGENT_GOOD, 0);
    es_link_cancel(link_, 2);
    es_link_cancel(link_, 2);
    es_link_cancel(link_, 77);
    UNTIL(simagent_counts(agent)->cancels == 1);
    UNTIL(seen.ok == 1);
    ck_assert_int_gt(seen.ids[0],
                     ES_LINK_ID_MAX); /* its answer has a seq like any other */
    ck_assert_int_eq(seen.seqs[0], 1);
}
END_TEST

START_TEST(paths_too_long_are_refused)
{
    struct es_err err = {0};
    char longest[109] = "/", name[] = "web";
    memset(longest + 1, 'x', 107);
    ck_assert_int_eq(es_link_create(&loop, name, longest, &events, &seen, &link_, &err),
                     ES_ELIMIT);
    ck_assert_ptr_nonnull(strstr(err.msg, "108 bytes"));
    ck_assert_int_eq(es_link_create(&loop, name, "", &events, &seen, &link_, &err),
                     ES_ELIMIT);
    ck_assert_ptr_null(link_);
    longest[107] = '\0';
    ck_assert_int_eq(es_link_create(&loop, name, longest, &events, &seen, &link_, &err),
                     0);
}
END_TEST

/* ------------------------------------------------------------------ misbehaviour */

START_TEST(an_agent_that_is_deaf)
{
    struct es_link_times times = quick;
    times.sync_ms = 20;
    start_agent(SIMAGENT_DEAF);
    start_link(&times);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 2);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 0);
    ck_assert_int_eq(seen.why_code, ES_ETIMEDOUT);
    simagent_set_mode(agent, SIMAGENT_GOOD, 0);
    UNTIL(seen.states[ES_LINK_UP] == 1);
}
END_TEST

START_TEST(an_agent_that_answers_another_nonce)
{
    struct es_link_times times = quick;
    times.sync_ms = 20;
    start_agent(SIMAGENT_WRONG_NONCE);
    start_link(&times);
    send_one(1, 60000);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 2);
    ck_assert_int_ge(simagent_counts(agent)->syncs, 2);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 0);
    ck_assert_int_eq(simagent_counts(agent)->requests, 0);
}
END_TEST

START_TEST(an_agent_of_another_version)
{
    start(SIMAGENT_OTHER_WIRE);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 1);
    ck_assert_int_eq(seen.why_code, ES_ENOTSUP);
    ck_assert_int_eq(seen.states[ES_LINK_UP], 0);
}
END_TEST

START_TEST(an_agent_that_sends_garbage)
{
    start(SIMAGENT_GARBAGE);
    send_one(1, 60000);
    send_one(2, 60000);
    UNTIL(simagent_counts(agent)->requests == 2);
    spin(20);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 0); /* two strikes */
    send_one(3, 60000);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 1);
    ck_assert_int_eq(seen.why_code, ES_EPROTO);
    for (const char *c = seen.why; *c != '\0'; c++)
        ck_assert((unsigned char)*c >= ' '); /* none of its bytes */
    UNTIL(seen.states[ES_LINK_UP] == 2);     /* and again, three more */
    ck_assert_int_eq(seen.results, 0);
}
END_TEST

START_TEST(an_agent_that_sends_an_endless_line)
{
    start(SIMAGENT_ENDLESS);
    UNTIL(simagent_counts(agent)->bytes_sent > 1 << 20);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 0); /* one line, one strike */
    simagent_set_mode(agent, SIMAGENT_GOOD, 0);
    simagent_raw(agent, "\n", 1);
    send_one(1, 60000);
    UNTIL(seen.ok == 1);
}
END_TEST

START_TEST(an_agent_that_floods_is_read_slowly_and_alone)
{
    char other_path[128];
    snprintf(other_path, sizeof other_path, "%s/other", dir);
    start(SIMAGENT_FLOOD);
    UNTIL(seen.states[ES_LINK_UP] == 1);
    uint64_t began = uv_now(&loop);
    UNTIL(simagent_counts(agent)->bytes_sent > 200000);
    uv_update_time(&loop);
    /* The cap in lines holds: what was read cannot exceed it by more than a window, a
     * socket's buffers and the line cutter's. */
    UNTIL(uv_now(&loop) - began > 600);
    uint64_t seconds = (uv_now(&loop) - began) / 1000 + 2;
    ck_assert_int_lt(simagent_counts(agent)->bytes_sent,
                     (int64_t)(seconds * ES_LINK_RATE_LINES * 16 + (4U << 20)));
    /* Meanwhile another machine's link works. */
    struct simagent *other = simagent_create(&loop, other_path, NULL);
    struct es_link *second = NULL, *first = link_;
    ck_assert_ptr_nonnull(other);
    ck_assert_int_eq(
        es_link_create(&loop, "fw", other_path, &events, &seen, &second, NULL), 0);
    es_link_open(second);
    link_ = second;
    send_one(1, 60000);
    UNTIL(seen.ok == 1);
    close_link();
    seen.closed = false;
    link_ = first;
    simagent_close(other);
    /* And the flooder itself is heard once it stops. */
    simagent_set_mode(agent, SIMAGENT_GOOD, 0);
    simagent_raw(agent, "\n", 1);
    send_one(2, 600000);
    UNTIL(seen.ok == 2);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 0);
    unlink(other_path);
}
END_TEST

START_TEST(an_agent_that_claims_another_team)
{
    start(SIMAGENT_OTHER_TEAM);
    send_one(1, 60000);
    UNTIL(seen.ok == 1);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF],
                     0); /* fields we do not have: ignored */
}
END_TEST

START_TEST(an_agent_that_says_everything_twice)
{
    start(SIMAGENT_TWICE);
    send_one(1, 60000);
    UNTIL(seen.ok == 2);
    ck_assert_int_eq(seen.seqs[0], 1);
    ck_assert_int_eq(seen.seqs[1], 1); /* for the receiver to recognise */
    send_one(1, 60000);                /* the id is free again */
}
END_TEST

START_TEST(an_agent_that_sends_in_another_order)
{
    start(SIMAGENT_BACKWARDS);
    send_one(1, 60000);
    send_one(2, 60000);
    UNTIL(seen.ok == 2);
    ck_assert_int_eq(seen.ids[0], 2);
    ck_assert_int_eq(seen.ids[1], 1);
    es_link_ack(link_, seen.epoch, 2);
    es_link_ack(link_, seen.epoch, 1);
    UNTIL(simagent_counts(agent)->acked_seq == 2);
}
END_TEST

START_TEST(an_agent_that_sends_bad_base64)
{
    start(SIMAGENT_BAD_BASE64);
    send_one(1, 60000);
    send_one(2, 60000);
    UNTIL(seen.ok == 2);
    ck_assert_int_eq(seen.states[ES_LINK_BACKOFF], 0);
    send_one(3, 60000);
    UNTIL(seen.states[ES_LINK_BACKOFF] == 1);
    ck_assert_int_eq(seen.why_code, ES_EPROTO);
    ck_assert_uint_eq(seen.parts.len, 0);
}
END_TEST

/* ------------------------------------------------------------------ closing */

START_TEST(closing_in_a_state_callback)
{
    static const enum es_link_state at[] = {ES_LINK_CONNECTING, ES_LINK_SYNCING,
                                            ES_LINK_UP, ES_LINK_BACKOFF};
    seen.close_at_state = (int)at[_i];
    if (at[_i] != ES_LINK_BACKOFF)
        start_agent(SIMAGENT_GOOD);
    start_link(&quick);
    send_one(1, 60000);
    UNTIL(seen.closed);
    ck_assert_int_eq(seen.results, 0);
}
END_TEST

START_TEST(closing_in_a_result_callback)
{
    seen.close_at_result = true;
    start(_i == 0 ? SIMAGENT_GOOD : SIMAGENT_NEVER);
    send_one(1, _i == 0 ? 60000 : 5);
    send_one(2, _i == 0 ? 60000 : 5);
    UNTIL(seen.closed);
    ck_assert_int_eq(seen.results, 1);
}
END_TEST

START_TEST(closing_at_rest)
{
    start(SIMAGENT_NEVER);
    if (_i == 1)
        spin(1);
    if (_i >= 2)
        UNTIL(seen.states[ES_LINK_UP] == 1);
    if (_i == 3) {
        send_one(1, 60000);
        UNTIL(simagent_counts(agent)->requests == 1);
        send_one(2, 60000);
    }
    if (_i == 4)
        simagent_set_mode(agent, SIMAGENT_FLOOD, 0);
    if (_i == 4)
        UNTIL(simagent_counts(agent)->bytes_sent > 100000);
    es_link_close(link_, on_link_closed);
    es_link_ack(link_, "0123456789abcdef", 1); /* harmless until it is gone */
    es_link_cancel(link_, 1);
    ck_assert_int_eq(try_send(5, 60000, NULL), ES_ESTATE);
    UNTIL(seen.closed);
    ck_assert_int_eq(seen.results, 0);
}
END_TEST

/* ------------------------------------------------------------------ failures */

/* Whatever allocation fails, each request gets exactly one end once memory is back. */
START_TEST(every_failed_allocation_is_survived)
{
    struct es_err err = {0};
    bool failed = true;
    for (long n = 1; failed; n++) {
        ck_assert_int_lt(n, 2000);
        memset(seen.states, 0, sizeof seen.states);
        seen.results = seen.ok = 0;
        seen.acks = true;
        seen.closed = false;
        start_agent(SIMAGENT_GOOD);
        es_mem_fail_nth(n);
        int rc = es_link_create(&loop, "web", path, &events, &seen, &link_, &err);
        if (rc != 0) {
            ck_assert_int_eq(rc, ES_ENOMEM);
            es_mem_fail_nth(0);
            simagent_close(agent);
            agent = NULL;
            spin(5);
            continue;
        }
        es_link_set_times(link_, &quick);
        es_link_open(link_);
        rc = try_send(1, 60000, &err);
        ck_assert(rc == 0 || rc == ES_ENOMEM);
        if (rc == 0)
            UNTIL(seen.ok >= 1 || seen.results > 0);
        failed = es_mem_failed();
        es_mem_fail_nth(0);
        close_link();
        simagent_close(agent);
        agent = NULL;
        spin(5);
        ck_assert_int_eq(es_mem_live_count(), 0);
    }
}
END_TEST

START_TEST(every_failed_allocation_of_a_cancel_is_survived)
{
    start(SIMAGENT_NEVER);
    bool failed = true;
    for (int n = 1; failed; n++) {
        ck_assert_int_lt(n, 100);
        int requests = simagent_counts(agent)->requests;
        send_one(n, 60000);
        UNTIL(simagent_counts(agent)->requests > requests);
        es_mem_fail_nth(n);
        es_link_cancel(link_, n);
        failed = es_mem_failed();
        es_mem_fail_nth(0);
    }
    UNTIL(simagent_counts(agent)->cancels == 1); /* the last, for which memory sufficed */
    ck_assert_int_eq(seen.results, 0);
}
END_TEST

Suite *link_suite(void);
Suite *link_suite(void)
{
    Suite *suite = suite_create("link");
    TCase *tc = tcase_create("link");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_request_is_answered_and_acknowledged);
    tcase_add_test(tc, acks_of_one_iteration_are_one_line);
    tcase_add_test(tc, unacknowledged_results_come_again);
    tcase_add_test(tc, an_ack_made_while_the_connection_is_away_is_sent_later);
    tcase_add_test(tc, chunks_are_decoded_in_order);
    tcase_add_test(tc, nobody_listens_at_first);
    tcase_add_test(tc, requests_are_sent_again_with_their_id);
    tcase_add_test(tc, a_request_bound_to_an_epoch_goes_to_no_other);
    tcase_add_test(tc, a_connection_that_breaks_mid_line);
    tcase_add_test(tc, noise_before_the_hello_costs_nothing);
    tcase_add_test(tc, requests_of_a_gone_epoch_are_lost);
    tcase_add_test(tc, an_agent_restarted_behind_an_open_socket);
    tcase_add_test(tc, a_fork_begins_an_epoch_with_its_result);
    tcase_add_test(tc, the_result_of_a_fork_may_come_after_its_hello);
    tcase_add_test(tc, a_silent_agent_is_connected_anew);
    tcase_add_test(tc, a_deadline_passes);
    tcase_add_test(tc, a_deadline_passes_while_not_connected);
    tcase_add_test(tc, late_answers_in_time);
    tcase_add_test(tc, caps_and_ranges);
    tcase_add_test(tc, cancelling);
    tcase_add_test(tc, paths_too_long_are_refused);
    tcase_add_test(tc, an_agent_that_is_deaf);
    tcase_add_test(tc, an_agent_that_answers_another_nonce);
    tcase_add_test(tc, an_agent_of_another_version);
    tcase_add_test(tc, an_agent_that_sends_garbage);
    tcase_add_test(tc, an_agent_that_sends_an_endless_line);
    tcase_add_test(tc, an_agent_that_floods_is_read_slowly_and_alone);
    tcase_add_test(tc, an_agent_that_claims_another_team);
    tcase_add_test(tc, an_agent_that_says_everything_twice);
    tcase_add_test(tc, an_agent_that_sends_in_another_order);
    tcase_add_test(tc, an_agent_that_sends_bad_base64);
    tcase_add_loop_test(tc, closing_in_a_state_callback, 0, 4);
    tcase_add_loop_test(tc, closing_in_a_result_callback, 0, 2);
    tcase_add_loop_test(tc, closing_at_rest, 0, 5);
    tcase_add_test(tc, every_failed_allocation_is_survived);
    tcase_add_test(tc, every_failed_allocation_of_a_cancel_is_survived);
    suite_add_tcase(suite, tc);
    return suite;
}
