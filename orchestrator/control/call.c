/* One method call: from its start to the one answer, whoever still listens.
 *
 *   WAITED FOR (in peer->calls) --done/fail--> answered, freed
 *        | cancel, peer left, control closed
 *   ORPHAN (in control->orphans, or in no list once the control is gone) --done/fail-->
 *   freed */
#include <string.h>

#include "enshu/common/mem.h"
#include "server_inner.h"

static void call_free(struct call *call)
{
    if (call->peer != NULL)
        call->peer->call_count--;
    if (call->control != NULL) {
        ES_ASSERT(call->control->call_count > 0);
        call->control->call_count--;
    }
    es_list_remove(&call->link);
    json_decref(call->id);
    json_decref(call->snapshot);
    es_free(call);
}

static void send_progress(struct call *call, json_t *event)
{
    struct es_buf line;
    es_buf_init(&line, PEER_UNSENT_MAX);
    int rc = control_put_progress(&line, call->id, event);
    peer_send(call->peer, &line, rc);
}

static void send_held(struct call *call)
{
    json_t *held = call->snapshot;
    call->snapshot = NULL;
    if (held != NULL)
        send_progress(call, held);
    json_decref(held);
}

static void reply_progress(struct es_reply *reply, json_t *event)
{
    struct call *call = ES_CONTAINER(reply, struct call, reply);
    if (call->peer == NULL || event == NULL) {
        json_decref(event);
        return;
    }
    if (call->is_watch && call->peer->unsent_bytes > PEER_BACKLOG_LOW) {
        json_decref(call->snapshot);
        call->snapshot = event;
        return;
    }
    send_progress(call, event);
    json_decref(event);
}

static void reply_done(struct es_reply *reply, json_t *result)
{
    struct call *call = ES_CONTAINER(reply, struct call, reply);
    if (call->peer != NULL) {
        send_held(call);
        struct es_buf line;
        es_buf_init(&line, PEER_UNSENT_MAX);
        int rc = result != NULL ? control_put_result(&line, call->id, result) : ES_ENOMEM;
        peer_send(call->peer, &line, rc);
    }
    json_decref(result);
    call_free(call);
}

static void reply_fail(struct es_reply *reply, const struct es_err *err)
{
    struct call *call = ES_CONTAINER(reply, struct call, reply);
    ES_ASSERT(err != NULL && err->code < 0);
    if (call->peer != NULL) {
        send_held(call);
        peer_refuse(call->peer, call->id, err->code, err);
    }
    call_free(call);
}

static size_t reply_unsent(struct es_reply *reply)
{
    struct call *call = ES_CONTAINER(reply, struct call, reply);
    size_t bytes = call->peer != NULL ? call->peer->unsent_bytes : 0;
    if (bytes > ES_REPLY_FULL_BYTES)
        call->waits = true;
    return bytes;
}

void peer_refuse(struct peer *peer, const json_t *id, int rpc_code,
                 const struct es_err *err)
{
    struct es_buf line;
    es_buf_init(&line, PEER_UNSENT_MAX);
    int rc = control_put_error(&line, id, rpc_code, err);
    peer_send(peer, &line, rc);
}

static int check_room(struct peer *peer, const json_t *id, struct es_err *err)
{
    if (call_find(peer, id) != NULL)
        return es_err_set(err, ES_EEXIST, "a call with this id is still running");
    if (peer->call_count >= PEER_CALLS_MAX)
        return es_err_set(err, ES_ELIMIT,
                          "%d calls are running on this connection; "
                          "wait for one to end",
                          PEER_CALLS_MAX);
    if (peer->control->call_count >= CALLS_MAX)
        return es_err_set(err, ES_ELIMIT, "%d calls are running; wait for one to end",
                          CALLS_MAX);
    return 0;
}

void call_start(struct peer *peer, const struct es_method *method, const json_t *id,
                const json_t *params)
{
    struct es_err err = {0};
    int rc = check_room(peer, id, &err);
    struct call *call = rc == 0 ? es_calloc(1, sizeof *call) : NULL;
    json_t *id_copy = call != NULL ? json_deep_copy(id) : NULL;
    if (id_copy == NULL) {
        if (rc == 0)
            es_err_nomem(&err);
        es_free(call);
        peer_refuse(peer, id, err.code, &err);
        return;
    }
    call->reply = (struct es_reply){.progress = reply_progress,
                                    .done = reply_done,
                                    .fail = reply_fail,
                                    .unsent_bytes = reply_unsent};
    call->control = peer->control;
    call->peer = peer;
    call->id = id_copy;
    call->is_watch = strcmp(method->name, "watch") == 0;
    es_list_push(&peer->calls, &call->link);
    peer->call_count++;
    peer->control->call_count++;
    method->function(peer->control->core, params, &call->reply);
}

struct call *call_find(struct peer *peer, const json_t *id)
{
    ES_LIST_EACH (pos, tmp, &peer->calls) {
        struct call *call = ES_CONTAINER(pos, struct call, link);
        if (json_equal(call->id, id))
            return call;
    }
    return NULL;
}

void call_leave(struct call *call)
{
    ES_ASSERT(call->peer != NULL);
    es_list_remove(&call->link);
    call->peer->call_count--;
    call->peer = NULL;
    es_list_push(&call->control->orphans, &call->link);
    json_decref(call->snapshot);
    call->snapshot = NULL;
    if (call->reply.on_gone != NULL)
        call->reply.on_gone(&call->reply);
}

void call_cancel(struct call *call)
{
    struct peer *peer = call->peer;
    struct es_err err = {0};
    es_err_set(&err, ES_ECANCELED, "cancelled");
    peer_refuse(peer, call->id, ES_ECANCELED, &err);
    call_leave(call);
}

/* The next call of the peer that has something waiting for room; callees may finish any
 * call from on_drain, so the list is looked through anew each time. */
static struct call *next_waiting(struct peer *peer)
{
    ES_LIST_EACH (pos, tmp, &peer->calls) {
        struct call *call = ES_CONTAINER(pos, struct call, link);
        if (call->waits || call->snapshot != NULL)
            return call;
    }
    return NULL;
}

void calls_drained(struct peer *peer)
{
    struct call *call;
    while (!peer->closing && peer->unsent_bytes <= PEER_BACKLOG_LOW &&
           (call = next_waiting(peer)) != NULL) {
        bool waited = call->waits;
        call->waits = false;
        send_held(call);
        if (waited && call->reply.on_drain != NULL)
            call->reply.on_drain(&call->reply);
    }
}
