/* The agent's side of the protocol. */
#include "session.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../probe/probe.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

#define SEND_AHEAD (64U << 10)

static struct es_task *task_of(struct es_list *link)
{
    return ES_CONTAINER(link, struct es_task, link);
}

int64_t es_session_uptime_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int es_session_init(struct es_session *session, const struct es_session_events *events,
                    void *ctx, const char *epoch, const char *boot_id)
{
    ES_ASSERT(strlen(epoch) == sizeof session->epoch - 1);
    memset(session, 0, sizeof *session);
    session->events = events;
    session->ctx = ctx;
    es_str_printf(session->epoch, sizeof session->epoch, "%s", epoch);
    es_str_printf(session->boot_id, sizeof session->boot_id, "%s", boot_id);
    es_lines_init(&session->lines);
    es_buf_init(&session->out, ES_SESSION_OUT_MAX);
    es_held_init(&session->held);
    es_list_init(&session->queue);
    es_list_init(&session->running);
    session->seen = es_calloc(ES_SESSION_SEEN_MAX, sizeof *session->seen);
    return session->seen != NULL ? 0 : ES_ENOMEM;
}

static void free_task(struct es_task *task)
{
    es_list_remove(&task->link);
    json_decref(task->request.args);
    es_free(task);
}

static void drop_queue(struct es_session *session)
{
    ES_LIST_EACH (pos, tmp, &session->queue)
        free_task(task_of(pos));
    session->queue_count = 0;
}

void es_session_finish_all(struct es_session *session)
{
    drop_queue(session);
    ES_ASSERT(session->running_count == 0);
    es_lines_finish(&session->lines);
    es_buf_finish(&session->out);
    es_held_finish(&session->held);
    es_free(session->seen);
}

/* ------------------------------------------------------------------ results */

static bool encode(struct es_buf *line, const struct es_result *result)
{
    es_buf_clear(line);
    return es_wire_put_result(line, result) == 0;
}

static void fail(struct es_result *result, const char *code, const char *text)
{
    result->ok = false;
    result->evidence = NULL;
    es_str_printf(result->error_code, sizeof result->error_code, "%s", code);
    /* Cut to what a result may carry. */
    es_str_printf(result->error_text, sizeof result->error_text, "%s", text);
}

static int64_t evidence_bytes(const json_t *evidence)
{
    return (int64_t)json_dumpb(evidence, NULL, 0, JSON_COMPACT);
}

int64_t es_session_max_bytes(const struct es_task *task)
{
    int64_t max = task->request.max_bytes;
    return max > 0 && max < ES_WIRE_LINE_MAX ? max : ES_WIRE_LINE_MAX;
}

/* Fills `out` from what is held. */
static void fill(struct es_session *session)
{
    if (session->synced)
        es_held_send(&session->held, &session->out, SEND_AHEAD);
}

void es_session_sent(struct es_session *session, size_t count)
{
    es_buf_consume(&session->out, count);
    session->unanswered[0] = '\0';
    fill(session);
}

/* Encodes and holds a result; one that cannot be held is sent without. */
static void conclude(struct es_session *session, struct es_result *result,
                     int64_t max_bytes, bool hold)
{
    struct es_buf line;
    es_buf_init(&line, ES_WIRE_LINE_MAX);
    result->seq = ++session->seq;
    memcpy(result->epoch, session->epoch, sizeof result->epoch);
    if (result->ok && evidence_bytes(result->evidence) > max_bytes)
        fail(result, "limit", "the evidence is larger than the request allows");
    if (!encode(&line, result)) {
        fail(result, "limit", "the evidence does not fit in a line");
        encode(&line, result);
    }
    bool held =
        hold && line.len > 0 &&
        es_held_add(&session->held, result->seq, result->id, line.data, line.len) == 0;
    if (!held && session->synced && line.len > 0 &&
        es_buf_append(&session->out, line.data, line.len) != 0)
        session->out.status = 0;
    es_buf_finish(&line);
    fill(session);
}

/* Refused before it ran: the id stays unseen, so the core may ask again. */
static void refuse(struct es_session *session, int64_t id, const char *code,
                   const char *text)
{
    struct es_result result = {.id = id};
    fail(&result, code, text);
    conclude(session, &result, ES_WIRE_LINE_MAX, false);
}

/* Every result and every id, but for the ids of what runs beside `except`. */
static void forget(struct es_session *session, const struct es_task *except)
{
    es_held_finish(&session->held);
    es_held_init(&session->held);
    session->seen_count = 0;
    ES_LIST_EACH (pos, tmp, &session->running)
        if (task_of(pos) != except)
            session->seen[session->seen_count++] = task_of(pos)->request.id;
}

/* Copies of one guest share ids, results and epoch until each is personalised. */
static void begin_epoch(struct es_session *session, const char *epoch)
{
    ES_ASSERT(strlen(epoch) == sizeof session->epoch - 1);
    memcpy(session->epoch, epoch, sizeof session->epoch);
    session->seq = 0;
    forget(session, NULL);
}

/* Concludes a task that did what it was to do, for ops that change the session itself. */
static void conclude_done(struct es_task *task, struct es_result *result)
{
    struct es_session *session = task->session;
    const char *epoch = json_string_value(json_object_get(result->evidence, "epoch"));
    bool quiet = task->request.op == ES_OP_QUIET;
    if (task->request.op == ES_OP_PERSONALISE && epoch != NULL)
        begin_epoch(session, epoch);
    conclude(session, result, es_session_max_bytes(task), !quiet);
    if (quiet)
        forget(session, task);
}

void es_session_finish(struct es_task *task, json_t *evidence, bool whole,
                       const struct es_err *err, int64_t now_ms)
{
    struct es_session *session = task->session;
    struct es_result result = {.id = task->request.id,
                               .ok = true,
                               .evidence = evidence,
                               .took_ms = now_ms - task->since_ms};
    ES_ASSERT((evidence != NULL) == (err == NULL));
    if (result.took_ms < 0)
        result.took_ms = 0;
    if (task->stop_code != NULL && (!whole || evidence == NULL))
        fail(&result, task->stop_code,
             strcmp(task->stop_code, "timeout") == 0 ? "the deadline passed"
                                                     : "cancelled by the core");
    else if (evidence == NULL)
        fail(&result, es_probe_error_code(err->code), err->msg);
    if (result.ok)
        conclude_done(task, &result);
    else
        conclude(session, &result, es_session_max_bytes(task), true);
    json_decref(evidence);
    if (task->running)
        session->running_count--;
    else
        session->queue_count--;
    free_task(task);
    es_session_start_queued(session, now_ms);
}

void es_session_part(struct es_task *task, const char *stream, const void *data,
                     size_t len)
{
    struct es_session *session = task->session;
    if (session->synced)
        es_wire_put_part(&session->out, task->request.id, task->part_count++, stream,
                         data, len);
}

bool es_session_is_full(const struct es_session *session)
{
    return session->synced && session->out.len > ES_SESSION_OUT_FULL;
}

void es_session_beat(struct es_session *session)
{
    if (session->synced)
        es_wire_put_beat(&session->out, es_session_uptime_ms());
}

/* ------------------------------------------------------------------ tasks */

static bool is_seen(const struct es_session *session, int64_t id)
{
    size_t count = session->seen_count < ES_SESSION_SEEN_MAX ? session->seen_count
                                                             : ES_SESSION_SEEN_MAX;
    for (size_t i = 0; i < count; i++)
        if (session->seen[i] == id)
            return true;
    return false;
}

static struct es_task *find(struct es_list *list, int64_t id)
{
    ES_LIST_EACH (pos, tmp, list)
        if (task_of(pos)->request.id == id)
            return task_of(pos);
    return NULL;
}

/* Room to hold the results of all that runs and one more. */
static bool has_room(const struct es_session *session)
{
    size_t running = (size_t)session->running_count + 1;
    return session->held.count + running <= ES_WIRE_HELD_MAX &&
           session->held.bytes + running * ES_WIRE_LINE_MAX <= ES_HELD_BYTES_MAX;
}

void es_session_start_queued(struct es_session *session, int64_t now_ms)
{
    if (session->starting)
        return;
    session->starting = true;
    while (!es_list_empty(&session->queue) &&
           session->running_count < ES_SESSION_RUNNING_MAX && has_room(session)) {
        struct es_task *task = task_of(session->queue.next);
        es_list_remove(&task->link);
        es_list_push(&session->running, &task->link);
        session->queue_count--;
        session->running_count++;
        task->running = true;
        session->seen[session->seen_count++ % ES_SESSION_SEEN_MAX] = task->request.id;
        session->events->on_start(session->ctx, task);
    }
    session->starting = false;
    (void)now_ms;
}

static void stop(struct es_task *task, const char *code, int64_t now_ms)
{
    struct es_session *session = task->session;
    struct es_err err = {.code = ES_ECANCELED};
    if (task->stop_code != NULL)
        return;
    task->stop_code = code;
    if (task->running)
        session->events->on_stop(session->ctx, task);
    else
        es_session_finish(task, NULL, false, &err, now_ms);
}

int64_t es_session_tick(struct es_session *session, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    struct es_list *lists[] = {&session->queue, &session->running};
    /* A queued task that times out must not let the next one start amid the walk. */
    bool was_starting = session->starting;
    session->starting = true;
    for (size_t i = 0; i < ES_COUNT(lists); i++)
        ES_LIST_EACH (pos, tmp, lists[i]) {
            struct es_task *task = task_of(pos);
            if (task->stop_code != NULL)
                continue;
            if (task->stop_ms <= now_ms)
                stop(task, "timeout", now_ms);
            else if (task->stop_ms < next)
                next = task->stop_ms;
        }
    session->starting = was_starting;
    es_session_start_queued(session, now_ms);
    return next;
}

static void cancel(struct es_session *session, const struct es_request *request,
                   int64_t now_ms)
{
    struct es_result result = {.id = request->id, .ok = true};
    const json_t *target = json_object_get(request->args, "target");
    if (!json_is_integer(target)) {
        refuse(session, request->id, "bad-request", "target: missing or not a number");
        return;
    }
    struct es_task *task = find(&session->queue, json_integer_value(target));
    if (task == NULL)
        task = find(&session->running, json_integer_value(target));
    json_t *evidence = json_pack("{s:b}", "found", task != NULL);
    if (evidence == NULL)
        return;
    result.evidence = evidence;
    if (task != NULL)
        stop(task, "cancelled", now_ms);
    conclude(session, &result, ES_WIRE_LINE_MAX, session->held.count < ES_WIRE_HELD_MAX);
    json_decref(evidence);
}

static void accept(struct es_session *session, struct es_request *request, int64_t now_ms)
{
    int64_t id = request->id;
    if (find(&session->queue, id) != NULL || find(&session->running, id) != NULL ||
        es_held_resend(&session->held, id, &session->out))
        return;
    if (is_seen(session, id)) {
        refuse(session, id, "bad-request",
               "a request of this id was run and its result acknowledged");
        return;
    }
    if (request->op == ES_OP_CANCEL) {
        cancel(session, request, now_ms);
        return;
    }
    if (session->queue_count >= ES_SESSION_QUEUE_MAX || !has_room(session)) {
        refuse(session, id, "limit",
               "too many requests or results not acknowledged: ask again later");
        return;
    }
    struct es_task *task = es_calloc(1, sizeof *task);
    if (task == NULL) {
        refuse(session, id, "limit", "out of memory: ask again later");
        return;
    }
    task->session = session;
    task->request = *request;
    request->args = NULL;
    task->since_ms = now_ms;
    task->deadline_ms = now_ms + task->request.deadline_ms;
    task->stop_ms =
        task->deadline_ms + (task->request.op == ES_OP_PROBE ? ES_SESSION_GRACE_MS : 0);
    es_list_push(&session->queue, &task->link);
    session->queue_count++;
    es_session_start_queued(session, now_ms);
}

/* ------------------------------------------------------------------ lines */

static void sync(struct es_session *session, const char *nonce)
{
    struct es_hello hello = {.wire = ES_WIRE_VERSION,
                             .uptime_ms = es_session_uptime_ms(),
                             .held_count = (int64_t)session->held.count};
    drop_queue(session);
    es_buf_clear(&session->out);
    es_held_rewind(&session->held);
    es_str_printf(session->unanswered, sizeof session->unanswered, "%s", nonce);
    es_str_printf(hello.version, sizeof hello.version, "%s", ES_VERSION);
    memcpy(hello.epoch, session->epoch, sizeof hello.epoch);
    memcpy(hello.boot_id, session->boot_id, sizeof hello.boot_id);
    /* The newline ends what half line the other side may have. */
    session->synced = es_buf_putc(&session->out, '\n') == 0 &&
                      es_wire_put_sync(&session->out, nonce, &hello) == 0;
    fill(session);
}

/* A line that is no message gets an answer when it has an id to answer to. */
static void complain(struct es_session *session, const char *line, size_t len,
                     const struct es_err *why)
{
    json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *id = json_object_get(root, "id");
    if (json_is_integer(id) && json_integer_value(id) > 0 &&
        json_integer_value(id) <= ES_WIRE_INT_MAX)
        refuse(session, json_integer_value(id), es_probe_error_code(why->code), why->msg);
    json_decref(root);
}

static void on_line(struct es_session *session, const char *line, size_t len,
                    int64_t now_ms)
{
    struct es_wire_msg msg;
    struct es_err err = {0};
    int rc = es_wire_decode(line, len, false, &msg, &err);
    if (rc != 0) {
        bool shaped = len < 4096; /* what is longer is not worth parsing twice */
        if (session->synced && rc == ES_ENOTSUP)
            refuse(session, msg.request.id, "unsupported", err.msg);
        else if (session->synced && rc == ES_EPROTO && shaped)
            complain(session, line, len, &err);
        return;
    }
    if (msg.type == ES_WIRE_SYNC)
        sync(session, msg.nonce);
    else if (session->synced && msg.type == ES_WIRE_REQUEST)
        accept(session, &msg.request, now_ms);
    else if (session->synced && msg.type == ES_WIRE_ACK &&
             strcmp(msg.ack_epoch, session->epoch) == 0) {
        es_held_ack(&session->held, msg.ack_seq);
        es_session_start_queued(session, now_ms);
    }
    es_wire_msg_finish(&msg);
}

void es_session_feed(struct es_session *session, const char *data, size_t len,
                     int64_t now_ms)
{
    const char *line;
    size_t line_len;
    /* What a feed loses (an overlong line, a line without memory for it) is one line; the
     * core asks again when no answer comes. */
    es_lines_feed(&session->lines, data, len);
    while (es_lines_next(&session->lines, &line, &line_len))
        on_line(session, line, line_len, now_ms);
    fill(session);
}

void es_session_lost(struct es_session *session)
{
    session->synced = false;
    es_lines_reset(&session->lines);
    es_buf_clear(&session->out);
    drop_queue(session);
}

void es_session_found(struct es_session *session)
{
    char nonce[sizeof session->unanswered];
    memcpy(nonce, session->unanswered, sizeof nonce);
    if (!session->synced && nonce[0] != '\0')
        sync(session, nonce);
}
