/* Simulated agents. A test that fails one allocation on purpose means the code under test,
 * but the planned failure may fall here: what can fail is tried twice. */
#include "simagent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/list.h"
#include "enshu/common/str.h"

#define SEEN_MAX 512

/* A held result, or an answer that is not due yet. */
struct held {
    struct es_list node;
    int64_t seq, id;
    uint64_t made_us, due_ms;
    size_t len;
    char line[];
};

struct simagent {
    uv_loop_t *loop;
    char *path;
    uv_pipe_t server, client;
    uv_timer_t late;
    uv_prepare_t flush;
    int handles;
    bool closing, connected, waiting, synced, flooding;
    enum simagent_mode mode;
    uint64_t late_ms;
    simagent_answer_fn *answer;
    void *answer_ctx;
    simagent_acked_fn *acked;
    void *acked_ctx;
    struct es_lines lines;
    struct es_buf out;
    struct es_list held, later;
    int64_t seen[SEEN_MAX];
    bool answered[SEEN_MAX]; /* of those: it made a result */
    size_t seen_next;
    char epoch[17];
    struct simagent_counts counts;
};

struct write {
    uv_write_t req;
    struct simagent *agent;
    char bytes[];
};

static void *need(void *ptr)
{
    if (ptr == NULL) {
        fprintf(stderr, "simagent: out of memory\n");
        abort();
    }
    return ptr;
}

static void new_epoch(struct simagent *agent)
{
    unsigned char random[8];
    if (uv_random(NULL, NULL, random, sizeof random, 0, NULL) != 0)
        abort();
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(agent->epoch + 2 * i, 3, "%02x", random[i]);
}

static void forget_list(struct es_list *list)
{
    ES_LIST_EACH (node, tmp, list) {
        es_list_remove(node);
        free(ES_CONTAINER(node, struct held, node));
    }
}

/* ------------------------------------------------------------------ writing */

static void flood(struct simagent *agent);

static void on_written(uv_write_t *req, int status)
{
    struct write *write = (struct write *)(void *)req;
    struct simagent *agent = write->agent;
    free(write);
    if (status == 0 && agent->connected && agent->flooding)
        flood(agent);
}

static void send_bytes(struct simagent *agent, const char *bytes, size_t len)
{
    if (!agent->connected || len == 0)
        return;
    struct write *write = need(malloc(sizeof *write + len));
    memcpy(write->bytes, bytes, len);
    write->agent = agent;
    uv_buf_t buf = uv_buf_init(write->bytes, (unsigned)len);
    agent->counts.bytes_sent += (int64_t)len;
    if (uv_write(&write->req, (uv_stream_t *)&agent->client, &buf, 1, on_written) != 0)
        free(write);
}

static void on_flush(uv_prepare_t *prepare)
{
    struct simagent *agent = prepare->data;
    uv_prepare_stop(prepare);
    send_bytes(agent, es_buf_str(&agent->out), agent->out.len);
    es_buf_clear(&agent->out);
}

static void say(struct simagent *agent, const char *bytes, size_t len)
{
    if (!agent->connected)
        return;
    if (es_buf_append(&agent->out, bytes, len) != 0) {
        agent->out.status = 0;
        if (es_buf_append(&agent->out, bytes, len) != 0)
            abort();
    }
    uv_prepare_start(&agent->flush, on_flush);
}

void simagent_raw(struct simagent *agent, const char *bytes, size_t len)
{
    say(agent, bytes, len);
}

static void flood(struct simagent *agent)
{
    static char block[65536];
    bool endless = agent->mode == SIMAGENT_ENDLESS;
    if (!endless && agent->mode != SIMAGENT_FLOOD)
        return;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = endless ? 'x' : "{\"beat\":12345}\n "[i % 16];
    agent->flooding = true;
    send_bytes(agent, block, sizeof block);
}

void simagent_beat(struct simagent *agent)
{
    say(agent, "{\"beat\":1}\n", 11);
}

/* ------------------------------------------------------------------ results */

static struct held *held_of(struct es_list *node)
{
    return ES_CONTAINER(node, struct held, node);
}

static struct held *make_held(struct simagent *agent, const struct es_result *result)
{
    struct es_buf line;
    es_buf_init(&line, ES_WIRE_LINE_MAX);
    if (es_wire_put_result(&line, result) != 0 && es_wire_put_result(&line, result) != 0)
        abort();
    static const char claim[] = "{\"team\":\"red\",\"machine\":\"other/web\",";
    bool lies = agent->mode == SIMAGENT_OTHER_TEAM;
    size_t extra = lies ? sizeof claim - 2 : 0;
    struct held *held = need(calloc(1, sizeof *held + line.len + extra + 1));
    held->seq = result->seq;
    held->id = result->id;
    held->made_us = uv_hrtime() / 1000;
    held->len = line.len + extra;
    if (lies)
        memcpy(held->line, claim, sizeof claim - 1);
    memcpy(held->line + (lies ? sizeof claim - 1 : 0), line.data + (lies ? 1 : 0),
           line.len - (lies ? 1 : 0));
    es_buf_finish(&line);
    return held;
}

static void say_chunks(struct simagent *agent, int64_t id)
{
    struct es_buf out;
    char bad[80];
    es_buf_init(&out, 1024);
    if (agent->mode == SIMAGENT_CHUNKS) { /* not meant for failing allocations */
        es_wire_put_part(&out, id, 0, "out", "ab", 2);
        es_wire_put_part(&out, id, 1, "out", "cd", 2);
        say(agent, out.data, out.len);
    } else if (agent->mode == SIMAGENT_BAD_BASE64) {
        int n = snprintf(bad, sizeof bad,
                         "{\"id\":%lld,\"part\":0,\"stream\":\"out\",\"data\":\"?\"}\n",
                         (long long)id);
        say(agent, bad, (size_t)n);
    }
    es_buf_finish(&out);
}

static void say_held(struct simagent *agent, struct held *held)
{
    if (!agent->synced)
        return;
    struct es_list *last = agent->held.prev->prev;
    switch (agent->mode) {
    case SIMAGENT_HALF_LINE:
        agent->mode = SIMAGENT_GOOD;
        on_flush(&agent->flush);
        uv_buf_t half = uv_buf_init(held->line, (unsigned)held->len / 2);
        uv_try_write((uv_stream_t *)&agent->client, &half, 1);
        simagent_disconnect(agent);
        return;
    case SIMAGENT_BACKWARDS:
        if (held->seq % 2 == 1)
            return;
        say(agent, held->line, held->len);
        if (last != &agent->held)
            say(agent, held_of(last)->line, held_of(last)->len);
        return;
    case SIMAGENT_TWICE:
        say(agent, held->line, held->len);
        break;
    default:
        break;
    }
    say(agent, held->line, held->len);
}

static void add_result(struct simagent *agent, struct es_result *result)
{
    for (size_t i = 0; i < SEEN_MAX; i++)
        agent->answered[i] |= agent->seen[i] == result->id;
    result->seq = ++agent->counts.last_seq;
    memcpy(result->epoch, agent->epoch, sizeof result->epoch);
    struct held *held = make_held(agent, result);
    es_list_push(&agent->held, &held->node);
    agent->counts.held++;
    say_chunks(agent, result->id);
    say_held(agent, held);
}

bool simagent_emit(struct simagent *agent, int64_t id, json_t *evidence)
{
    bool room = agent->counts.held < ES_WIRE_HELD_MAX;
    struct es_result result = {.id = id, .ok = true, .evidence = evidence};
    if (room)
        add_result(agent, &result);
    json_decref(evidence);
    return room;
}

/* ------------------------------------------------------------------ requests */

static bool seen_before(struct simagent *agent, int64_t id)
{
    for (size_t i = 0; i < SEEN_MAX; i++)
        if (agent->seen[i] == id)
            return true;
    agent->seen[agent->seen_next % SEEN_MAX] = id;
    agent->answered[agent->seen_next++ % SEEN_MAX] = false;
    return false;
}

static bool holds(const struct simagent *agent, int64_t id)
{
    ES_LIST_EACH (node, tmp, &agent->held)
        if (held_of(node)->id == id)
            return true;
    return false;
}

/* Its result was acknowledged: it is not run again, and what came of it is not known. */
static void refuse(struct simagent *agent, int64_t id)
{
    struct es_result result = {.id = id};
    for (size_t i = 0; i < SEEN_MAX; i++)
        if (agent->seen[i] == id && !agent->answered[i])
            return; /* still at it */
    if (holds(agent, id))
        return; /* sent after the hello */
    strcpy(result.error_code, "bad-request");
    strcpy(result.error_text, "a request of this id was run");
    add_result(agent, &result);
}

static void answer(struct simagent *agent, const struct es_request *request)
{
    struct es_result result = {.id = request->id, .ok = true, .took_ms = 1};
    if (request->op == ES_OP_PERSONALISE &&
        json_is_true(json_object_get(request->args, "fork"))) {
        simagent_restart(agent);
        seen_before(agent, request->id);
    }
    if (agent->answer != NULL)
        result.evidence = agent->answer(agent->answer_ctx, agent, request);
    for (int i = 0; i < 2 && agent->answer == NULL && result.evidence == NULL; i++)
        result.evidence =
            json_pack("{s:s,s:b}", "op", es_wire_op_name(request->op), "sim", 1);
    result.ok = result.evidence != NULL;
    if (!result.ok) {
        strcpy(result.error_code, "unsupported");
        strcpy(result.error_text, "the simulated agent cannot do this");
    }
    add_result(agent, &result);
    json_decref(result.evidence);
}

static void on_late(uv_timer_t *timer)
{
    struct simagent *agent = timer->data;
    uint64_t now = uv_now(agent->loop);
    ES_LIST_EACH (node, tmp, &agent->later) {
        struct held *later = held_of(node);
        if (later->due_ms > now) {
            uv_timer_start(timer, on_late, later->due_ms - now, 0);
            return;
        }
        struct es_request request = {.id = later->seq, .op = (enum es_wire_op)later->len};
        es_list_remove(node);
        free(later);
        answer(agent, &request);
    }
}

static void answer_later(struct simagent *agent, const struct es_request *request)
{
    struct held *later = need(calloc(1, sizeof *later));
    later->seq = request->id;
    later->len = (size_t)request->op;
    later->due_ms = uv_now(agent->loop) + agent->late_ms;
    es_list_push(&agent->later, &later->node);
    if (!uv_is_active((uv_handle_t *)&agent->late))
        uv_timer_start(&agent->late, on_late, agent->late_ms, 0);
}

static void handle_request(struct simagent *agent, const struct es_request *request)
{
    agent->counts.requests++;
    if (request->op == ES_OP_CANCEL)
        agent->counts.cancels++;
    if (seen_before(agent, request->id)) {
        agent->counts.repeats++;
        refuse(agent, request->id);
        return;
    }
    if (agent->mode == SIMAGENT_GARBAGE)
        say(agent, "\x01 not json {{{\n", 15);
    else if (agent->mode == SIMAGENT_LATE)
        answer_later(agent, request);
    else if (agent->mode != SIMAGENT_NEVER)
        answer(agent, request);
}

static void handle_ack(struct simagent *agent, const char *epoch, int64_t seq)
{
    agent->counts.acks++;
    if (strcmp(epoch, agent->epoch) != 0)
        return;
    if (seq > agent->counts.acked_seq)
        agent->counts.acked_seq = seq;
    uint64_t now_us = uv_hrtime() / 1000;
    ES_LIST_EACH (node, tmp, &agent->held) {
        struct held *held = held_of(node);
        if (held->seq > seq)
            break;
        if (agent->acked != NULL)
            agent->acked(agent->acked_ctx, agent, epoch, held->seq,
                         now_us - held->made_us);
        es_list_remove(node);
        agent->counts.held--;
        free(held);
    }
}

static void handle_sync(struct simagent *agent, const char *nonce)
{
    struct es_hello hello = {.wire = ES_WIRE_VERSION, .version = "sim", .boot_id = "sim"};
    char wrong[] = "0000000000000000";
    static const char noise[] =
        "17,\"ok\":true}\n{\"sync\":\"of-before\",\"hello\":{\"wire\""
        ":1}}\n\xff\xfe\x00\n{{{{\n{\"beat\":\n\n[]\n{\"half\":\"";
    agent->counts.syncs++;
    if (agent->mode == SIMAGENT_DEAF)
        return;
    if (agent->mode == SIMAGENT_NOISE)
        say(agent, noise, sizeof noise - 1);
    if (agent->mode == SIMAGENT_OTHER_WIRE)
        hello.wire = 999;
    hello.held_count = agent->counts.held;
    memcpy(hello.epoch, agent->epoch, sizeof hello.epoch);
    struct es_buf line;
    es_buf_init(&line, 4096);
    if (agent->mode == SIMAGENT_WRONG_NONCE)
        nonce = wrong;
    if (es_wire_put_sync(&line, nonce, &hello) != 0 &&
        es_wire_put_sync(&line, nonce, &hello) != 0)
        abort();
    say(agent, "\n", 1);
    say(agent, line.data, line.len);
    es_buf_finish(&line);
    agent->synced = true;
    ES_LIST_EACH (node, tmp, &agent->held)
        say(agent, held_of(node)->line, held_of(node)->len);
    on_flush(&agent->flush);
    flood(agent);
}

static void handle_line(struct simagent *agent, const char *line, size_t len)
{
    struct es_wire_msg msg;
    int rc = es_wire_decode(line, len, false, &msg, NULL);
    if (rc == ES_ENOMEM)
        rc = es_wire_decode(line, len, false, &msg, NULL);
    if (rc != 0)
        return;
    if (msg.type == ES_WIRE_SYNC)
        handle_sync(agent, msg.nonce);
    else if (msg.type == ES_WIRE_ACK)
        handle_ack(agent, msg.ack_epoch, msg.ack_seq);
    else
        handle_request(agent, &msg.request);
    es_wire_msg_finish(&msg);
}

/* ------------------------------------------------------------------ connections */

static void accept_client(struct simagent *agent);

static void on_closed(uv_handle_t *handle)
{
    struct simagent *agent = handle->data;
    agent->handles--;
    if (handle == (uv_handle_t *)&agent->client && agent->waiting && !agent->closing)
        accept_client(agent);
    if (!agent->closing || agent->handles != 0)
        return;
    forget_list(&agent->held);
    forget_list(&agent->later);
    es_lines_finish(&agent->lines);
    es_buf_finish(&agent->out);
    free(agent->path);
    free(agent);
}

void simagent_disconnect(struct simagent *agent)
{
    if (!agent->connected)
        return;
    agent->connected = agent->synced = agent->flooding = false;
    es_buf_clear(&agent->out);
    uv_close((uv_handle_t *)&agent->client, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
    static char bytes[65536];
    (void)handle;
    (void)wanted;
    *ret_buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct simagent *agent = stream->data;
    const char *line;
    size_t len;
    if (!agent->connected || count == 0)
        return;
    if (count < 0) {
        simagent_disconnect(agent);
        return;
    }
    if (es_lines_feed(&agent->lines, buf->base, (size_t)count) == ES_ENOMEM) {
        simagent_disconnect(agent);
        return;
    }
    while (agent->connected && es_lines_next(&agent->lines, &line, &len))
        handle_line(agent, line, len);
}

static void accept_client(struct simagent *agent)
{
    agent->waiting = false;
    uv_pipe_init(agent->loop, &agent->client, 0);
    agent->client.data = agent;
    agent->handles++;
    if (uv_accept((uv_stream_t *)&agent->server, (uv_stream_t *)&agent->client) != 0) {
        uv_close((uv_handle_t *)&agent->client, on_closed);
        return;
    }
    agent->connected = true;
    agent->counts.connections++;
    es_lines_reset(&agent->lines);
    uv_read_start((uv_stream_t *)&agent->client, on_alloc, on_read);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct simagent *agent = server->data;
    if (status != 0 || agent->closing)
        return;
    /* libuv asks for the next one only after this one was accepted. */
    agent->waiting = true;
    if (!agent->connected && !(agent->handles > 3))
        accept_client(agent);
}

/* ------------------------------------------------------------------ life */

struct simagent *simagent_create(uv_loop_t *loop, const char *path, int *ret_uv)
{
    struct simagent *agent = need(calloc(1, sizeof *agent));
    agent->path = need(strdup(path));
    agent->loop = loop;
    es_list_init(&agent->held);
    es_list_init(&agent->later);
    es_lines_init(&agent->lines);
    es_buf_init(&agent->out, 64U << 20);
    new_epoch(agent);
    unlink(path);
    uv_pipe_init(loop, &agent->server, 0);
    uv_timer_init(loop, &agent->late);
    uv_prepare_init(loop, &agent->flush);
    agent->server.data = agent->late.data = agent->flush.data = agent;
    agent->handles = 3;
    int rc = uv_pipe_bind(&agent->server, path);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&agent->server, 1, on_connection);
    if (ret_uv != NULL)
        *ret_uv = rc;
    if (rc != 0) {
        simagent_close(agent);
        return NULL;
    }
    return agent;
}

void simagent_close(struct simagent *agent)
{
    agent->closing = true;
    simagent_disconnect(agent);
    uv_close((uv_handle_t *)&agent->server, on_closed);
    uv_close((uv_handle_t *)&agent->late, on_closed);
    uv_close((uv_handle_t *)&agent->flush, on_closed);
}

void simagent_restart(struct simagent *agent)
{
    forget_list(&agent->held);
    forget_list(&agent->later);
    memset(agent->seen, 0, sizeof agent->seen);
    agent->counts.held = agent->counts.last_seq = agent->counts.acked_seq = 0;
    new_epoch(agent);
}

void simagent_forget(struct simagent *agent)
{
    forget_list(&agent->held);
    forget_list(&agent->later);
    agent->counts.held = 0;
    memset(agent->answered, 1, sizeof agent->answered);
}

void simagent_set_mode(struct simagent *agent, enum simagent_mode mode, uint64_t late_ms)
{
    agent->mode = mode;
    agent->late_ms = late_ms;
    agent->flooding = false;
    if (agent->synced)
        flood(agent);
}

void simagent_on_request(struct simagent *agent, simagent_answer_fn *fn, void *ctx)
{
    agent->answer = fn;
    agent->answer_ctx = ctx;
}

void simagent_on_acked(struct simagent *agent, simagent_acked_fn *fn, void *ctx)
{
    agent->acked = fn;
    agent->acked_ctx = ctx;
}

const struct simagent_counts *simagent_counts(const struct simagent *agent)
{
    return &agent->counts;
}

const char *simagent_epoch(const struct simagent *agent)
{
    return agent->epoch;
}

const char *simagent_path(const struct simagent *agent)
{
    return agent->path;
}
