/* Reading: throttling, the sync, strikes, and what each line means. */
#include <string.h>

#include "enshu/common/log.h"
#include "link_inner.h"

/* libuv asks for room, reads and calls back without anything in between, so all links of a
 * thread share one buffer. */
static _Thread_local char read_bytes[65536];

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
    (void)handle;
    (void)wanted;
    *ret_buf = uv_buf_init(read_bytes, sizeof read_bytes);
}

static void drop(struct es_link *link, int code, const char *text, const char *detail)
{
    struct es_err why = {0};
    es_err_set(&why, code, "%s: %s%s", link->name, text, detail);
    es_link_drop(link, &why);
}

/* ------------------------------------------------------------------ lines */

static void strike(struct es_link *link, const char *reason)
{
    uint64_t now = uv_now(link->loop);
    es_log_debug("%s: a bad line from the guest: %s", link->name, reason);
    link->strike_ms[link->strikes++ % STRIKES] = now;
    if (link->strikes < STRIKES ||
        now - link->strike_ms[link->strikes % STRIKES] > STRIKE_MS)
        return;
    link->strikes = 0;
    drop(link, ES_EPROTO,
         "the guest broke the protocol three times within a minute: ", reason);
}

/* Lines that are not the answer to this connection's sync are noise of an earlier one, and
 * not even decoded. */
static void handle_syncing(struct es_link *link, const char *line, size_t len)
{
    struct es_wire_msg msg;
    if (memmem(line, len, link->nonce, strlen(link->nonce)) == NULL)
        return;
    int rc = es_wire_decode(line, len, true, &msg, NULL);
    if (rc == ES_ENOMEM)
        drop(link, rc, es_status_text(rc), "");
    if (rc != 0)
        return;
    if (msg.type == ES_WIRE_SYNC && strcmp(msg.nonce, link->nonce) == 0) {
        link->heard_ms = uv_now(link->loop);
        if (msg.hello.wire == ES_WIRE_VERSION)
            es_link_came_up(link, &msg.hello);
        else
            drop(link, ES_ENOTSUP,
                 "the agent speaks another version of the protocol; restart the machine "
                 "to get the agent of this version: ",
                 msg.hello.version);
    }
    es_wire_msg_finish(&msg);
}

static void handle_result(struct es_link *link, const struct es_result *result)
{
    bool foreign = strcmp(result->epoch, link->hello.epoch) != 0 &&
                   strcmp(result->epoch, link->foreign) != 0;
    link->result_ms = uv_now(link->loop);
    bool begins = es_link_requests_answer(link, result->id) && result->ok && foreign;
    if (begins)
        memcpy(link->hello.epoch, result->epoch, sizeof link->hello.epoch);
    else if (foreign)
        memcpy(link->foreign, result->epoch, sizeof link->foreign);
    link->events->on_result(link->ctx, link, result);
    if (begins)
        es_link_requests_lost(link);
    else if (foreign && es_link_alive(link))
        drop(link, ES_ESTATE, "the agent was restarted", "");
}

static void handle_part(struct es_link *link, const struct es_wire_msg *msg)
{
    struct es_buf bytes;
    es_buf_init(&bytes, ES_WIRE_DATA_MAX);
    int rc = es_base64_decode(json_string_value(msg->part_data),
                              json_string_length(msg->part_data), &bytes);
    if (rc == ES_ENOMEM)
        drop(link, rc, es_status_text(rc), "");
    else if (rc != 0)
        strike(link, "a chunk is not base64");
    else if (link->events->on_part != NULL &&
             es_link_requests_part(link, msg->part_id, msg->part_no))
        link->events->on_part(link->ctx, link, msg->part_id, msg->part_stream,
                              es_buf_str(&bytes), bytes.len);
    es_buf_finish(&bytes);
}

static void handle_up(struct es_link *link, const char *line, size_t len)
{
    struct es_wire_msg msg;
    struct es_err why = {0};
    int rc = es_wire_decode(line, len, true, &msg, &why);
    if (rc == ES_ENOMEM) {
        drop(link, rc, es_status_text(rc), "");
        return;
    }
    if (rc != 0) {
        strike(link, why.msg);
        return;
    }
    link->heard_ms = uv_now(link->loop);
    if (msg.type == ES_WIRE_RESULT)
        handle_result(link, &msg.result);
    else if (msg.type == ES_WIRE_PART)
        handle_part(link, &msg);
    es_wire_msg_finish(&msg);
}

/* ------------------------------------------------------------------ bytes */

static void throttle(struct es_link *link)
{
    uint64_t spent = uv_now(link->loop) - link->window_ms;
    uv_read_stop((uv_stream_t *)&link->pipe);
    uv_timer_start(&link->throttle_timer, es_link_on_throttle,
                   spent < WINDOW_MS ? WINDOW_MS - spent : 1, 0);
}

/* Handles whole lines as far as the window allows. */
static void handle_lines(struct es_link *link)
{
    const char *line;
    size_t len;
    while (link->window_lines < WINDOW_LINES) {
        if (!es_lines_next(&link->lines, &line, &len)) {
            if (link->window_bytes >= WINDOW_BYTES)
                throttle(link);
            return;
        }
        link->window_lines++;
        if (es_link_state(link) == ES_LINK_UP)
            handle_up(link, line, len);
        else
            handle_syncing(link, line, len);
        if (!es_link_alive(link))
            return;
    }
    throttle(link);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    struct es_link *link = stream->data;
    if (!es_link_alive(link) || count == 0)
        return;
    if (count < 0) {
        drop(link, ES_ECONN, "the agent's channel broke: ", uv_strerror((int)count));
        return;
    }
    uint64_t now = uv_now(link->loop);
    if (now - link->window_ms >= WINDOW_MS) {
        link->window_ms = now;
        link->window_bytes = link->window_lines = 0;
    }
    link->window_bytes += (size_t)count;
    int rc = es_lines_feed(&link->lines, buf->base, (size_t)count);
    if (rc == ES_ENOMEM)
        drop(link, rc, es_status_text(rc), "");
    else if (rc != 0 && es_link_state(link) == ES_LINK_UP)
        strike(link, "a line is too long");
    if (es_link_alive(link))
        handle_lines(link);
}

void es_link_on_throttle(uv_timer_t *timer)
{
    struct es_link *link = timer->data;
    ES_ASSERT(es_link_alive(link));
    link->window_ms = uv_now(link->loop);
    link->window_bytes = link->window_lines = 0;
    handle_lines(link);
    if (!es_link_alive(link) || uv_is_active((uv_handle_t *)timer))
        return;
    int rc = es_link_read_start(link);
    if (rc != 0)
        drop(link, rc, "cannot read from the agent's channel", "");
}

int es_link_read_start(struct es_link *link)
{
    int rc = uv_read_start((uv_stream_t *)&link->pipe, on_alloc, on_read);
    return rc == 0 ? 0 : rc == UV_ENOMEM ? ES_ENOMEM : ES_ECONN;
}

void es_link_read_forget(struct es_link *link)
{
    es_lines_reset(&link->lines);
    link->window_bytes = link->window_lines = 0;
}
