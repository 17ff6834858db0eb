/* Requests in flight: from es_link_send to a result, a deadline, a cancel or the close. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "link_inner.h"

struct flight {
    struct es_list node;
    struct es_request request; /* owns args */
    size_t bytes;              /* of its line */
    uint64_t from_ms;
    uint64_t due_ms;     /* deadline and slack */
    uint64_t written_ms; /* last */
    char epoch[17];      /* it was written to, or is meant for; "": any */
    bool to_write;
    bool silent; /* a cancel: nobody waits for it */
    int64_t next_part;
};

static struct flight *flight_of(struct es_list *node)
{
    return ES_CONTAINER(node, struct flight, node);
}

static struct flight *find(struct es_link *link, int64_t id)
{
    ES_LIST_EACH (node, tmp, &link->requests)
        if (flight_of(node)->request.id == id)
            return flight_of(node);
    return NULL;
}

static void forget(struct es_link *link, struct flight *flight)
{
    es_list_remove(&flight->node);
    ES_ASSERT(link->request_count > 0 && link->request_bytes >= flight->bytes);
    link->request_count--;
    link->request_bytes -= flight->bytes;
    json_decref(flight->request.args);
    es_free(flight);
}

void es_link_requests_finish(struct es_link *link)
{
    ES_LIST_EACH (node, tmp, &link->requests)
        forget(link, flight_of(node));
}

void es_link_requests_renew(struct es_link *link)
{
    ES_LIST_EACH (node, tmp, &link->requests)
        flight_of(node)->to_write = true;
}

/* ------------------------------------------------------------------ deadlines */

static void arm(struct es_link *link, uint64_t due_ms)
{
    if (link->due_armed_ms != 0 && link->due_armed_ms <= due_ms)
        return;
    uint64_t now = uv_now(link->loop);
    link->due_armed_ms = due_ms;
    uv_timer_start(&link->due_timer, es_link_on_due, due_ms > now ? due_ms - now : 0, 0);
}

/* Ends a request without the agent; calls out unless nobody waits for it. */
static void fail(struct es_link *link, struct flight *flight, const char *code,
                 const char *text)
{
    struct es_result result = {.id = flight->request.id, .ok = false};
    bool silent = flight->silent;
    memcpy(result.epoch, flight->epoch, sizeof result.epoch);
    snprintf(result.error_code, sizeof result.error_code, "%s", code);
    snprintf(result.error_text, sizeof result.error_text, "%s", text);
    result.took_ms = (int64_t)(uv_now(link->loop) - flight->from_ms);
    forget(link, flight);
    if (!silent)
        link->events->on_result(link->ctx, link, &result);
}

static struct flight *first_due(struct es_link *link, uint64_t now)
{
    ES_LIST_EACH (node, tmp, &link->requests)
        if (flight_of(node)->due_ms <= now)
            return flight_of(node);
    return NULL;
}

/* An answer is overdue, even the agent's own word that it ran out of time, and nothing else
 * was answered since: the two sides may have lost each other. */
static bool looks_deaf(const struct es_link *link, const struct flight *flight)
{
    return es_link_state(link) == ES_LINK_UP && !flight->to_write &&
           link->result_ms <= flight->written_ms;
}

void es_link_on_due(uv_timer_t *timer)
{
    struct es_link *link = timer->data;
    uint64_t now = uv_now(link->loop);
    bool deaf = false;
    struct flight *flight;
    link->due_armed_ms = 0;
    /* From the start each time: the callback may send and cancel. */
    while (!link->closing && (flight = first_due(link, now)) != NULL) {
        deaf = deaf || looks_deaf(link, flight);
        fail(link, flight, "timeout",
             flight->epoch[0] != '\0' ? "the agent did not answer in time"
                                      : "the agent could not be reached in time");
    }
    if (link->closing)
        return;
    ES_LIST_EACH (node, tmp, &link->requests)
        arm(link, flight_of(node)->due_ms);
    if (deaf && es_link_state(link) == ES_LINK_UP) {
        struct es_err why = {0};
        es_err_set(&why, ES_ETIMEDOUT, "%s: a request was not answered in time",
                   link->name);
        es_link_drop(link, &why);
    }
}

/* A personalisation may begin an epoch itself, and its result wait behind the hello that
 * tells of it: it is asked again, and an agent that has not done it does it. */
static struct flight *first_of_another_epoch(struct es_link *link)
{
    ES_LIST_EACH (node, tmp, &link->requests)
        if (flight_of(node)->epoch[0] != '\0' &&
            flight_of(node)->request.op != ES_OP_PERSONALISE &&
            strcmp(flight_of(node)->epoch, link->hello.epoch) != 0)
            return flight_of(node);
    return NULL;
}

void es_link_requests_lost(struct es_link *link)
{
    struct flight *flight;
    while (es_link_alive(link) && (flight = first_of_another_epoch(link)) != NULL)
        fail(link, flight, "lost", "the agent was restarted before it answered");
}

/* ------------------------------------------------------------------ answers */

bool es_link_requests_answer(struct es_link *link, int64_t id)
{
    struct flight *flight = find(link, id);
    bool begins = flight != NULL && flight->request.op == ES_OP_PERSONALISE;
    if (flight != NULL)
        forget(link, flight);
    return begins;
}

bool es_link_requests_part(struct es_link *link, int64_t id, int64_t part_no)
{
    struct flight *flight = find(link, id);
    if (flight == NULL || part_no < flight->next_part)
        return false;
    flight->next_part = part_no + 1;
    return true;
}

/* ------------------------------------------------------------------ sending */

int es_link_requests_put(struct es_link *link, struct es_buf *out, bool *ret_more)
{
    uint64_t now = uv_now(link->loop);
    *ret_more = false;
    ES_LIST_EACH (node, tmp, &link->requests) {
        struct flight *flight = flight_of(node);
        if (!flight->to_write)
            continue;
        if (out->len >= FLUSH_BYTES) {
            *ret_more = true;
            return 0;
        }
        uint64_t deadline_ms = flight->due_ms - link->times.slack_ms;
        struct es_request request = flight->request;
        request.deadline_ms = deadline_ms > now ? (int64_t)(deadline_ms - now) : 1;
        int rc = es_wire_put_request(out, &request);
        if (rc != 0)
            return rc;
        flight->to_write = false;
        flight->written_ms = now;
        memcpy(flight->epoch, link->hello.epoch, sizeof flight->epoch);
    }
    return 0;
}

static int check(struct es_link *link, const struct es_request *request,
                 struct es_err *err)
{
    if (link->closing)
        return es_err_set(err, ES_ESTATE, "%s: the link is being closed", link->name);
    if (request->id < 1 || request->id > ES_LINK_ID_MAX)
        return es_err_set(err, ES_EINVAL, "%s: request id %" PRId64 " is out of range",
                          link->name, request->id);
    if (request->deadline_ms < 1 || request->deadline_ms > ES_WIRE_DEADLINE_MAX_MS)
        return es_err_set(
            err, ES_EINVAL,
            "%s: request %" PRId64 " has a deadline of %" PRId64 " ms; give 1 … %lld",
            link->name, request->id, request->deadline_ms, ES_WIRE_DEADLINE_MAX_MS);
    if (request->max_bytes < 0 || request->max_bytes > ES_WIRE_INT_MAX)
        return es_err_set(err, ES_EINVAL, "%s: request %" PRId64 " has a bad max_bytes",
                          link->name, request->id);
    if (link->request_count >= ES_LINK_REQUESTS_MAX)
        return es_err_set(err, ES_EBUSY, "%s: %d requests wait for the agent already",
                          link->name, ES_LINK_REQUESTS_MAX);
    if (find(link, request->id) != NULL)
        return es_err_set(err, ES_EEXIST, "%s: request %" PRId64 " is in flight already",
                          link->name, request->id);
    return 0;
}

/* Takes request->args when it succeeds. */
static int add(struct es_link *link, const struct es_request *request, size_t bytes,
               const char *epoch, bool silent)
{
    struct flight *flight = es_calloc(1, sizeof *flight);
    if (flight == NULL)
        return ES_ENOMEM;
    flight->request = *request;
    flight->bytes = bytes;
    snprintf(flight->epoch, sizeof flight->epoch, "%s", epoch);
    flight->silent = silent;
    flight->to_write = true;
    flight->from_ms = uv_now(link->loop);
    flight->due_ms =
        flight->from_ms + (uint64_t)request->deadline_ms + link->times.slack_ms;
    es_list_push(&link->requests, &flight->node);
    link->request_count++;
    link->request_bytes += bytes;
    arm(link, flight->due_ms);
    es_link_wants_flush(link);
    return 0;
}

static int measure(const struct es_request *request, size_t *ret_bytes)
{
    struct es_buf line;
    es_buf_init(&line, ES_WIRE_LINE_MAX);
    int rc = es_wire_put_request(&line, request);
    *ret_bytes = line.len;
    es_buf_finish(&line);
    return rc;
}

static bool is_for_another(const struct es_link *link, const char *epoch)
{
    return epoch[0] != '\0' && es_link_state(link) == ES_LINK_UP &&
           strcmp(link->hello.epoch, epoch) != 0;
}

int es_link_send_bound(struct es_link *link, struct es_request *request,
                       const char *epoch, struct es_err *err)
{
    size_t bytes = 0;
    int rc = check(link, request, err);
    if (rc == 0 && is_for_another(link, epoch))
        rc = es_err_set(err, ES_ESTATE, "%s: the agent was restarted meanwhile",
                        link->name);
    if (rc == 0 && (rc = measure(request, &bytes)) != 0)
        es_err_set(err, rc, "%s: request %" PRId64 " (%s) cannot be sent: %s", link->name,
                   request->id, es_wire_op_name(request->op), es_status_text(rc));
    if (rc == 0 && bytes > ES_LINK_QUEUE_BYTES - link->request_bytes)
        rc = es_err_set(err, ES_EBUSY,
                        "%s: %zu bytes of requests wait for the agent already",
                        link->name, link->request_bytes);
    if (rc == 0 && (rc = add(link, request, bytes, epoch, false)) != 0)
        es_err_nomem(err);
    if (rc != 0)
        json_decref(request->args);
    request->args = NULL;
    return rc;
}

int es_link_send(struct es_link *link, struct es_request *request, struct es_err *err)
{
    return es_link_send_bound(link, request, "", err);
}

void es_link_cancel(struct es_link *link, int64_t id)
{
    struct flight *flight = find(link, id);
    if (link->closing || flight == NULL || flight->silent)
        return;
    bool written = flight->epoch[0] != '\0';
    forget(link, flight);
    if (!written)
        return;
    /* Its own id lies above the caller's, and is new to the agent even when an earlier core
     * cancelled things in the same epoch. */
    uint32_t random = 0;
    if (uv_random(NULL, NULL, &random, sizeof random, 0, NULL) != 0)
        return;
    struct es_request cancel = {.id = ES_WIRE_INT_MAX - random,
                                .op = ES_OP_CANCEL,
                                .deadline_ms = CANCEL_LIFE_MS};
    cancel.args = json_pack("{s:I}", "target", (json_int_t)id);
    if (cancel.args == NULL || add(link, &cancel, 0, "", true) != 0)
        /* Without memory the agent is not told; its own deadline ends the work. */
        json_decref(cancel.args);
}
