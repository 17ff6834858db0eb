/* agent/session without a port: caps, what is remembered, what a sync drops, memory. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../agents/agent/session.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

struct world {
    struct es_session session;
    struct es_task *running[ES_SESSION_RUNNING_MAX];
    int running_count;
    int started, stopped;
    bool at_once;      /* tasks end as they start, with evidence of this many bytes */
    const char *epoch; /* and with this, when set */
    size_t evidence_bytes;
    int64_t now_ms;
};
static struct world w;

static void end_task(struct es_task *task)
{
    char *text = malloc(w.evidence_bytes + 1);
    memset(text, 'e', w.evidence_bytes);
    text[w.evidence_bytes] = '\0';
    json_t *evidence = json_pack("{s:s, s:s*}", "text", text, "epoch", w.epoch);
    struct es_err err = {.code = ES_ENOMEM};
    free(text);
    es_session_finish(task, evidence, false, evidence != NULL ? NULL : &err, w.now_ms);
}

static void on_start(void *ctx, struct es_task *task)
{
    (void)ctx;
    w.started++;
    if (w.at_once)
        end_task(task);
    else
        w.running[w.running_count++] = task;
}

static void end_running(int i)
{
    struct es_task *task = w.running[i];
    w.running[i] = w.running[--w.running_count];
    end_task(task);
}

static void on_stop(void *ctx, struct es_task *task)
{
    (void)ctx;
    w.stopped++;
    for (int i = 0; i < w.running_count; i++)
        if (w.running[i] == task) {
            end_running(i);
            return;
        }
}

static const struct es_session_events events = {on_start, on_stop};

static void feed(const char *text)
{
    es_session_feed(&w.session, text, strlen(text), w.now_ms);
}

static void request(int64_t id, const char *op, int64_t deadline_ms)
{
    char line[256];
    es_str_printf(line, sizeof line,
                  "{\"id\": %lld, \"op\": \"%s\", \"args\": {}, \"deadline_ms\": %lld, "
                  "\"max_bytes\": 0}\n",
                  (long long)id, op, (long long)deadline_ms);
    feed(line);
}

static void acknowledge(int64_t seq)
{
    char line[96];
    es_str_printf(line, sizeof line, "{\"ack\": %lld, \"epoch\": \"%s\"}\n",
                  (long long)seq, w.session.epoch);
    feed(line);
}

/* What has been sent is read, and there is room for more. */
static void take_out(void)
{
    es_session_sent(&w.session, w.session.out.len);
}

static bool out_has(const char *text)
{
    return strstr(es_buf_str(&w.session.out), text) != NULL;
}

static void setup(void)
{
    es_wire_use_allocator();
    memset(&w, 0, sizeof w);
    ck_assert_int_eq(
        es_session_init(&w.session, &events, NULL, "0123456789abcdef", "boot"), 0);
    feed("\n{\"sync\": \"one\"}\n");
    ck_assert(w.session.synced);
    es_buf_clear(&w.session.out);
}

static void teardown(void)
{
    while (w.running_count > 0)
        end_running(0);
    /* What was queued has started meanwhile. */
    es_session_finish_all(&w.session);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

START_TEST(as_many_run_as_may)
{
    for (int64_t id = 1; id <= ES_SESSION_RUNNING_MAX + 5; id++)
        request(id, "exec", 1000);
    ck_assert_int_eq(w.started, ES_SESSION_RUNNING_MAX);
    end_running(3);
    ck_assert_int_eq(w.started, ES_SESSION_RUNNING_MAX + 1);
    /* A sync forgets what has not started; sent again it is run. */
    feed("\n{\"sync\": \"two\"}\n");
    while (w.running_count > 0)
        end_running(0);
    ck_assert_int_eq(w.started, ES_SESSION_RUNNING_MAX + 1);
    request(ES_SESSION_RUNNING_MAX + 5, "exec", 1000);
    ck_assert_int_eq(w.started, ES_SESSION_RUNNING_MAX + 2);
}
END_TEST

START_TEST(results_are_held_up_to_their_number)
{
    w.at_once = true;
    for (int64_t id = 1; id <= ES_WIRE_HELD_MAX; id++) {
        request(id, "exec", 1000);
        take_out();
    }
    ck_assert_int_eq(w.started, ES_WIRE_HELD_MAX);
    ck_assert_uint_eq(w.session.held.count, ES_WIRE_HELD_MAX);
    request(ES_WIRE_HELD_MAX + 1, "exec", 1000);
    ck_assert(out_has("\"limit\""));
    ck_assert_int_eq(w.started, ES_WIRE_HELD_MAX);
    acknowledge(1);
    ck_assert_uint_eq(w.session.held.count, ES_WIRE_HELD_MAX - 1);
    request(ES_WIRE_HELD_MAX + 1, "exec", 1000);
    ck_assert_int_eq(w.started, ES_WIRE_HELD_MAX + 1);
}
END_TEST

START_TEST(results_are_held_up_to_their_bytes)
{
    int64_t id = 0;
    w.at_once = true;
    w.evidence_bytes = 60000;
    while (w.started == id) {
        request(++id, "exec", 1000);
        take_out();
        ck_assert_int_lt(id, 1000);
    }
    ck_assert_uint_le(w.session.held.bytes, ES_HELD_BYTES_MAX);
    ck_assert_uint_gt(w.session.held.bytes, ES_HELD_BYTES_MAX / 2);
}
END_TEST

START_TEST(held_results_are_sent_in_order_as_there_is_room)
{
    w.at_once = true;
    w.evidence_bytes = 30000;
    for (int64_t id = 1; id <= 20; id++)
        request(id, "exec", 1000);
    es_session_lost(&w.session);
    ck_assert_uint_eq(w.session.out.len, 0);
    feed("{\"sync\": \"two\"}\n");
    ck_assert(out_has("\"held\":20"));
    int64_t seen = 0;
    while (w.session.out.len > 0) {
        ck_assert_uint_lt(w.session.out.len, 200000);
        for (const char *at = es_buf_str(&w.session.out);
             (at = strstr(at, "{\"seq\":")) != NULL; at++) {
            ck_assert_int_eq(atoi(at + 7), seen + 1);
            seen++;
        }
        take_out();
    }
    ck_assert_int_eq(seen, 20);
}
END_TEST

START_TEST(deadlines_of_queued_and_running)
{
    for (int64_t id = 1; id <= ES_SESSION_RUNNING_MAX; id++)
        request(id, "exec", 1000 + id);
    request(100, "exec", 500);
    ck_assert_int_eq(es_session_tick(&w.session, 0), 500);
    w.now_ms = 500;
    ck_assert_int_eq(es_session_tick(&w.session, 500), 1001);
    ck_assert(out_has("\"id\":100,\"ok\":false,\"error\":{\"code\":\"timeout\""));
    ck_assert_int_eq(w.stopped, 0);
    w.now_ms = 1002;
    ck_assert_int_eq(es_session_tick(&w.session, 1002), 1003);
    ck_assert_int_eq(w.stopped, 2);
    ck_assert_int_eq(w.running_count, ES_SESSION_RUNNING_MAX - 2);
    /* An id that timed out in the queue was never started, so it may come again; there is a
     * held result for it, which is what comes. */
    es_buf_clear(&w.session.out);
    request(100, "exec", 500);
    ck_assert(out_has("\"id\":100"));
    ck_assert_int_eq(w.started, ES_SESSION_RUNNING_MAX);
}
END_TEST

START_TEST(what_was_refused_is_not_remembered)
{
    char line[] = "{\"id\": 5, \"op\": \"fly\", \"args\": {}, \"deadline_ms\": 1, "
                  "\"max_bytes\": 0}\n";
    feed(line);
    ck_assert(out_has("\"unsupported\""));
    ck_assert_uint_eq(w.session.held.count, 0);
    request(5, "exec", 1000);
    ck_assert_int_eq(w.started, 1);
}
END_TEST

START_TEST(lines_before_the_sync_and_halves_are_dropped)
{
    es_session_lost(&w.session);
    request(1, "exec", 1000);
    feed("{\"id\": 2, \"op\": \"exec\", \"ar");
    es_session_lost(&w.session);
    feed("gs\": {}}\n{\"sync\": \"two\"}\n");
    ck_assert_int_eq(w.started, 0);
    ck_assert(w.session.synced);
    ck_assert_int_eq(es_buf_str(&w.session.out)[0], '\n');
}
END_TEST

/* A port's driver may bring the next connection's sync before it tells that the last one
 * ended. */
START_TEST(a_sync_not_answered_is_answered_when_the_other_side_is_back)
{
    take_out();
    es_session_lost(&w.session);
    es_session_found(&w.session);
    ck_assert(!w.session.synced);
    ck_assert_uint_eq(w.session.out.len, 0);

    feed("\n{\"sync\": \"two\"}\n");
    es_session_lost(&w.session);
    ck_assert(!w.session.synced);
    ck_assert_uint_eq(w.session.out.len, 0);
    es_session_found(&w.session);
    ck_assert(w.session.synced);
    ck_assert(out_has("\n{\"sync\":\"two\""));

    es_session_sent(&w.session, 5);
    es_session_lost(&w.session);
    es_session_found(&w.session);
    ck_assert(!w.session.synced);
    feed("\n{\"sync\": \"three\"}\n");
    ck_assert(out_has("\n{\"sync\":\"three\""));
}
END_TEST

START_TEST(a_fork_begins_its_epoch_with_its_result)
{
    request(1, "exec", 1000); /* goes on in every copy */
    w.at_once = true;
    request(2, "exec", 1000);
    w.epoch = "fedcba9876543210";
    request(3, "exec", 1000); /* an epoch is a personalisation's to name */
    ck_assert_str_eq(w.session.epoch, "0123456789abcdef");
    es_buf_clear(&w.session.out);
    request(4, "personalise", 1000);
    ck_assert(out_has("{\"seq\":1,\"epoch\":\"fedcba9876543210\",\"id\":4,"));
    ck_assert_uint_eq(w.session.held.count, 1);
    acknowledge(1);
    ck_assert_uint_eq(w.session.held.count, 0);
    /* Ids of before are new again, but for what still runs and the one just done. */
    w.epoch = NULL;
    w.at_once = false;
    int started = w.started;
    request(1, "exec", 1000);
    request(4, "personalise", 1000);
    ck_assert_int_eq(w.started, started);
    request(2, "exec", 1000);
    ck_assert_int_eq(w.started, started + 1);
    feed("\n{\"sync\": \"two\"}\n");
    ck_assert(out_has("\"epoch\":\"fedcba9876543210\",\"boot_id\""));
}
END_TEST

START_TEST(a_quiet_session_remembers_nothing)
{
    w.at_once = true;
    request(1, "exec", 1000);
    request(2, "quiet", 1000);
    ck_assert(out_has("\"id\":2,\"ok\":true"));
    ck_assert_uint_eq(w.session.held.count, 0);
    ck_assert_str_eq(w.session.epoch, "0123456789abcdef");
    es_session_lost(&w.session);
    feed("{\"sync\": \"two\"}\n");
    ck_assert(out_has("\"held\":0"));
    int started = w.started;
    request(2, "quiet", 1000);
    request(1, "exec", 1000);
    ck_assert_int_eq(w.started, started + 2);
}
END_TEST

/* Whatever allocation fails, nothing leaks, nothing is run twice, and a later sync works. */
START_TEST(every_allocation_may_fail)
{
    w.at_once = true;
    bool failed = true;
    for (long n = 1; failed; n++) {
        int before = w.started;
        es_mem_fail_nth(n);
        feed("\n{\"sync\": \"two\"}\n");
        request(n, "exec", 1000);
        request(n, "exec", 1000);
        feed("{\"id\": 9000000, \"op\": \"fly\"}\n");
        feed("{\"id\": 9000001, \"op\": \"cancel\", \"args\": {\"target\": 1}, "
             "\"deadline_ms\": 5, \"max_bytes\": 0}\n");
        failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_le(w.started, before + 1);
        es_session_lost(&w.session);
        feed("\n{\"sync\": \"three\"}\n");
        ck_assert(w.session.synced);
        acknowledge(w.session.seq + 1);
        ck_assert_uint_eq(w.session.held.count, 0);
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

Suite *agent_session_suite(void);
Suite *agent_session_suite(void)
{
    Suite *suite = suite_create("agent_session");
    TCase *tc = tcase_create("agent_session");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, as_many_run_as_may);
    tcase_add_test(tc, results_are_held_up_to_their_number);
    tcase_add_test(tc, results_are_held_up_to_their_bytes);
    tcase_add_test(tc, held_results_are_sent_in_order_as_there_is_room);
    tcase_add_test(tc, deadlines_of_queued_and_running);
    tcase_add_test(tc, what_was_refused_is_not_remembered);
    tcase_add_test(tc, lines_before_the_sync_and_halves_are_dropped);
    tcase_add_test(tc, a_sync_not_answered_is_answered_when_the_other_side_is_back);
    tcase_add_test(tc, a_fork_begins_its_epoch_with_its_result);
    tcase_add_test(tc, a_quiet_session_remembers_nothing);
    tcase_add_test(tc, every_allocation_may_fail);
    suite_add_tcase(suite, tc);
    return suite;
}
