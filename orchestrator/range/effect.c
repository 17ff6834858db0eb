/* Effects: what is done inside a machine and leaves a trace there. Two events, the intent
 * before and the outcome after. An intent without an outcome is open: after a crash, or when
 * the connection was made anew, it is sent again under the same id to the same epoch of the
 * agent, which knows what it has run and what it answered. Nobody runs it twice.
 *
 *   MEANT --intent durable--> OPEN <--link--> SENT --answer--> TOLD --outcome durable--> gone
 *     | not kept: refused        | machine gone, time over: TOLD, uncertain
 *
 * The agent keeps its answer until the outcome is durable: the ack waits for that commit. */
#include <stdio.h>
#include <string.h>

#include "inner.h"

#define EFFECT_ID_BASE (1LL << 32) /* beside the ids of machine_call and of probes */
#define CONNECT_MS     20000       /* for the agent to be found again after a restart */
#define REQUEST_BYTES  (1U << 20)  /* of one kept for sending again */

enum outcome { DONE = 0, FAILED = 1, UNCERTAIN = 2 };
enum effect_state { MEANT, OPEN, SENT, TOLD };

struct effect {
    struct es_list link;
    struct range *range;
    struct machine *machine;
    enum effect_state state;
    int64_t number;
    char epoch[17]; /* of the agent that is to do it; "": not known */
    bool again;     /* an agent may know of it */
    struct effect_call call;
    uint64_t deadline_ms; /* while OPEN */
    enum outcome outcome;
    json_t *evidence;
    struct es_err err;
    char request[65]; /* after a restart: where it is kept; "" nowhere */
};

static struct effect *effect_of(struct es_list *link)
{
    return ES_CONTAINER(link, struct effect, link);
}

static void destroy(struct effect *e)
{
    es_list_remove(&e->link);
    json_decref(e->call.args);
    json_decref(e->evidence);
    es_free(e);
}

/* Tells who waits, once. */
static void answer(struct effect *e, const struct es_err *err)
{
    void (*done)(void *arg, const json_t *evidence, const struct es_err *err) =
        e->call.done;
    e->call.done = NULL;
    e->call.part = NULL;
    if (done != NULL)
        done(e->call.arg, err == NULL ? e->evidence : NULL, err);
}

static struct es_event event_of(const struct effect *e, int type, const char *epoch)
{
    struct es_event event = {.type = type,
                             .team = e->machine->plan->team,
                             .subject = e->machine->plan->node,
                             .b = e->number};
    if (sscanf(epoch, "%16llx", (unsigned long long *)&event.epoch) == 1)
        event.instance = machine_identity(e->machine);
    return event;
}

/* ---------------------------------------------------------------- the outcome */

static void wait_for_link(struct effect *e)
{
    e->state = OPEN;
    e->deadline_ms =
        uv_now(e->range->core->loop) + (uint64_t)e->call.limit_ms + CONNECT_MS;
}

static void on_outcome(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct effect *e = arg;
    (void)pos;
    if (status != 0 && e->range->phase != R_LEAVING) {
        /* Still open: asked for again once the ledger takes events. */
        answer(e, err);
        e->again = true;
        wait_for_link(e);
        return;
    }
    answer(e, status != 0 ? err : e->outcome == DONE ? NULL : &e->err);
    destroy(e);
}

static json_t *outcome_json(const struct effect *e)
{
    static const char *const kept[] = {"exit", "signal", "timeout"};
    if (e->outcome != DONE)
        return json_pack("{s:s}", "error", e->err.msg);
    json_t *json = json_object();
    for (size_t i = 0; i < ES_COUNT(kept); i++)
        if (json_object_get(e->evidence, kept[i]) != NULL)
            json_object_set(json, kept[i], json_object_get(e->evidence, kept[i]));
    return json;
}

/* result: the agent's word, which it keeps until the event is durable; NULL: ours. */
static void tell(struct effect *e, enum outcome outcome, const struct es_result *result)
{
    struct machine *m = e->machine;
    struct es_event event =
        event_of(e, ES_EV_OUTCOME, result != NULL ? result->epoch : "");
    e->state = TOLD;
    e->outcome = outcome;
    event.a = (int)outcome;
    event.seq = result != NULL ? result->seq : 0;
    if (event.seq != 0)
        range_hold_ack(m, event.seq);
    json_t *json = outcome_json(e);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int rc =
        range_event(e->range, &event, text, event.seq != 0 ? m : NULL, on_outcome, e);
    if (rc == 0)
        return;
    struct es_err err = {0};
    range_event_refused(e->range, rc, &err);
    on_outcome(e, rc, &err, 0);
    if (event.seq != 0)
        range_not_taken(m, event.seq);
}

static void on_result(struct machine *m, const struct es_result *result, void *arg)
{
    struct effect *e = arg;
    bool lost = result->seq == 0;
    if (lost && m->link == NULL) { /* our end of it was closed */
        wait_for_link(e);
        return;
    }
    if (result->ok) {
        e->evidence = json_incref(result->evidence);
        tell(e, DONE, result);
        return;
    }
    /* It knows the id and has no answer any more. */
    bool forgotten = e->again && es_str_eq(result->error_code, "bad-request");
    es_err_set(&e->err, lost ? ES_ETIMEDOUT : ES_EGUEST, "%s: %s: %s", m->label,
               result->error_code, result->error_text);
    tell(e, lost || forgotten ? UNCERTAIN : FAILED, lost ? NULL : result);
}

/* ---------------------------------------------------------------- sending */

static void on_part(struct machine *m, const char *stream, const char *data, size_t len,
                    void *arg)
{
    struct effect *e = arg;
    (void)m;
    if (e->call.part != NULL)
        e->call.part(e->call.arg, stream, data, len);
}

static int request(struct effect *e, struct es_err *err)
{
    struct machine *m = e->machine;
    struct op *op = es_calloc(1, sizeof *op);
    if (op == NULL)
        return es_err_nomem(err);
    *op = (struct op){.id = EFFECT_ID_BASE + e->number,
                      .done = on_result,
                      .on_part = on_part,
                      .arg = e};
    struct es_request request = {.id = op->id,
                                 .op = e->call.op,
                                 .args = json_incref(e->call.args),
                                 .deadline_ms = e->call.limit_ms,
                                 .max_bytes = e->call.max_bytes};
    int rc = es_link_send_bound(m->link, &request, e->epoch, err);
    if (rc != 0) {
        es_free(op);
        return rc;
    }
    es_list_push(&m->ops, &op->link);
    return 0;
}

static void send_again(struct effect *e)
{
    if (e->machine->link == NULL || e->range->held_back)
        return; /* the next link does, or the tick ends it */
    if (request(e, &e->err) == 0) {
        e->state = SENT;
        e->again = true;
    } else
        tell(e, e->again ? UNCERTAIN : FAILED, NULL);
}

void effects_connected(struct machine *m)
{
    ES_LIST_EACH (pos, tmp, &m->range->effects)
        if (effect_of(pos)->machine == m && effect_of(pos)->state == OPEN)
            send_again(effect_of(pos));
}

static void give_up(struct effect *e, const char *why)
{
    es_err_set(&e->err, ES_ETIMEDOUT, "%s: %s", e->machine->label, why);
    tell(e, e->again ? UNCERTAIN : FAILED, NULL);
}

void effects_tick(struct range *r)
{
    uint64_t now = uv_now(r->core->loop);
    if (r->unlisted || r->held_back)
        return; /* whether the machine runs is not known yet; nothing can be recorded */
    ES_LIST_EACH (pos, tmp, &r->effects) {
        struct effect *e = effect_of(pos);
        if (e->state != OPEN)
            continue;
        if (e->machine->link == NULL)
            give_up(e, "the machine ended before its answer came");
        else if (now > e->deadline_ms)
            give_up(e, "no answer came in time");
    }
}

/* ---------------------------------------------------------------- the intent */

/* The intent is durable: act. */
static void on_intent(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct effect *e = arg;
    (void)pos;
    if (status != 0) {
        answer(e, err);
        destroy(e);
        return;
    }
    wait_for_link(e);
    if (e->range->phase == R_LEAVING)
        give_up(e, "the core ended before it was sent");
    else
        send_again(e);
}

/* What it takes to send it again lies beside the chain: it may hold secrets. */
static int keep_request(const struct effect *e, char ret_name[65], struct es_err *err)
{
    const struct effect_call *call = &e->call;
    json_t *json = json_pack("{s:i, s:I, s:I, s:O}", "op", (int)call->op, "limit_ms",
                             (json_int_t)call->limit_ms, "max_bytes",
                             (json_int_t)call->max_bytes, "args", call->args);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int rc = text != NULL ? es_store_stage_evidence(e->range->store, text, strlen(text),
                                                    ret_name, err)
                          : es_err_nomem(err);
    es_free(text);
    return rc;
}

int effect_start(struct machine *m, const struct effect_call *call, json_t *shown,
                 struct es_err *err)
{
    struct range *r = m->range;
    struct effect *e = es_calloc(1, sizeof *e);
    char *text = NULL;
    if (e == NULL || call->args == NULL || shown == NULL) {
        es_free(e);
        json_decref(call->args);
        json_decref(shown);
        return es_err_nomem(err);
    }
    *e = (struct effect){
        .range = r, .machine = m, .number = ++r->next_effect, .call = *call};
    memcpy(e->epoch, m->epoch, sizeof e->epoch);
    es_list_push(&r->effects, &e->link);
    int rc = r->store == NULL ? range_event_refused(r, ES_EIO, err)
                              : keep_request(e, e->request, err);
    if (rc == 0) {
        json_object_set_new(shown, "request", json_string(e->request));
        text = json_dumps(shown, JSON_COMPACT);
        rc = text != NULL ? 0 : es_err_nomem(err);
    }
    json_decref(shown);
    struct es_event event = event_of(e, ES_EV_INTENT, e->epoch);
    if (rc == 0 && (rc = range_event(r, &event, text, NULL, on_intent, e)) != 0)
        range_event_refused(r, rc, err);
    if (rc != 0)
        destroy(e);
    return rc;
}

/* ---------------------------------------------------------------- ends and beginnings */

void effects_end(struct range *r)
{
    ES_LIST_EACH (pos, tmp, &r->effects)
        if (effect_of(pos)->state == OPEN)
            give_up(effect_of(pos), "the range is taken down");
}

void effects_leave(struct range *r)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ECANCELED,
               "range %s: the core ends; the outcome will be known "
               "when it runs again",
               r->name);
    ES_LIST_EACH (pos, tmp, &r->effects) {
        struct effect *e = effect_of(pos);
        if (e->state != OPEN && e->state != SENT)
            continue; /* a commit comes back to it */
        answer(e, &err);
        destroy(e);
    }
}

static int begin_anew(struct range *r, const struct es_event *event, struct es_err *err)
{
    int index = es_plan_machine_of(r->plan, event->team, event->subject);
    struct effect *e = index >= 0 ? es_calloc(1, sizeof *e) : NULL;
    if (index < 0)
        return 0;
    if (e == NULL)
        return es_err_nomem(err);
    *e = (struct effect){.range = r,
                         .machine = &r->machines[index],
                         .state = OPEN,
                         .number = event->b,
                         .again = true};
    es_str_printf(e->epoch, sizeof e->epoch, "%016llx", (unsigned long long)event->epoch);
    json_t *json = event->text != NULL ? json_loads(event->text, 0, NULL) : NULL;
    const char *name = json_string_value(json_object_get(json, "request"));
    es_str_printf(e->request, sizeof e->request, "%s", name != NULL ? name : "");
    json_decref(json);
    es_list_push(&r->effects, &e->link);
    return 0;
}

int effects_recall(struct range *r, const struct es_event *event, struct es_err *err)
{
    if (event->b > r->next_effect)
        r->next_effect = event->b;
    if (event->type == ES_EV_INTENT)
        return begin_anew(r, event, err);
    ES_LIST_EACH (pos, tmp, &r->effects)
        if (effect_of(pos)->number == event->b)
            destroy(effect_of(pos));
    return 0;
}

static bool read_request(struct effect *e)
{
    struct es_buf text;
    es_buf_init(&text, REQUEST_BYTES);
    json_t *json = e->request[0] != '\0' && es_store_get_blob(e->range->store, e->request,
                                                              &text, &e->err) == 0
                       ? json_loadb(es_buf_str(&text), text.len, 0, NULL)
                       : NULL;
    json_t *args = json_object_get(json, "args");
    e->call.op = (enum es_wire_op)json_integer_value(json_object_get(json, "op"));
    e->call.limit_ms = json_integer_value(json_object_get(json, "limit_ms"));
    e->call.max_bytes = json_integer_value(json_object_get(json, "max_bytes"));
    e->call.args = json_incref(args);
    json_decref(json);
    es_buf_finish(&text);
    return json_is_object(args);
}

void effects_restored(struct range *r)
{
    ES_LIST_EACH (pos, tmp, &r->effects) {
        struct effect *e = effect_of(pos);
        if (read_request(e))
            wait_for_link(e);
        else
            give_up(e, "what was asked is not kept any more");
    }
}
