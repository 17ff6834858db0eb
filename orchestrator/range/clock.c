/* The exercise clock of a range: its moves are events, and its stop signs the ledger. */
#include <string.h>

#include "inner.h"

int64_t range_now_ex(const struct range *r)
{
    return es_clock_now(&r->clock, core_boottime_ms());
}

int range_clock_move(struct range *r, enum es_clock_state to, const char *by,
                     const char *reason,
                     void (*committed)(void *arg, int status, const struct es_err *err,
                                       int64_t pos),
                     void *arg, struct es_err *err)
{
    int rc = to == ES_CLOCK_RUNNING ? range_reopen_ledger(r, err) : 0;
    if (rc != 0)
        return rc;
    int64_t mono_ms = core_boottime_ms();
    struct es_clock before = r->clock, next = before;
    rc = to == ES_CLOCK_PAUSED          ? es_clock_pause(&next, mono_ms, err)
         : to == ES_CLOCK_STOPPED       ? es_clock_stop(&next, mono_ms, err)
         : next.state == ES_CLOCK_READY ? es_clock_start(&next, mono_ms, err)
                                        : es_clock_resume(&next, mono_ms, err);
    if (rc != 0)
        return rc;
    struct es_event event = {.type = ES_EV_CLOCK,
                             .team = -1,
                             .subject = -1,
                             .a = (int)to,
                             .b = next.speed_permille};
    const char *id;
    rc = person_id(r, by, &id, err);
    if (rc != 0)
        return rc;
    json_t *json = json_pack("{s:s, s:s*}", "by", id, "reason", reason);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (text == NULL)
        return es_err_nomem(err);
    r->clock = next;
    r->trouble[0] = '\0'; /* before the commit, which may say it anew */
    rc = range_event(r, &event, text, NULL, committed, arg);
    if (rc != 0) {
        r->clock = before;
        return range_event_refused(r, rc, err);
    }
    probing_tick(r);
    return 0;
}

/* ---------------------------------------------------------------- the methods */

struct clock_call {
    struct es_reply *reply;
    struct range *range;
    bool stop;
};

json_t *clock_json(const struct range *r)
{
    return json_pack("{s:s, s:I}", "state", es_clock_state_name(r->clock.state), "ex_ms",
                     (json_int_t)range_now_ex(r));
}

static void sign(struct range *r)
{
    char key[PATH_BYTES + 16];
    struct es_err err = {0};
    es_str_printf(key, sizeof key, "%s/ledger.key", r->core->state_dir);
    bool is_signed = es_store_sign(r->store, key, &err) == 0;
    if (!is_signed)
        es_log_error("range %s: the ledger's head is not signed: %s", r->name, err.msg);
    struct es_reply *reply = r->sign_reply;
    r->sign_reply = NULL;
    if (reply != NULL)
        reply->done(reply, json_pack("{s:o, s:b}", "clock", clock_json(r), "signed",
                                     (int)is_signed));
}

static void on_clock(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct clock_call *call = arg;
    (void)pos;
    if (status != 0)
        call->reply->fail(call->reply, err);
    else if (call->stop) {
        call->range->sign_wanted = true;
        call->range->sign_reply = call->reply;
    } else
        call->reply->done(call->reply,
                          json_pack("{s:o}", "clock", clock_json(call->range)));
    es_free(call);
}

/* The head is signed once nothing more is on its way to the ledger. */
void range_sign_if_stopped(struct range *r)
{
    if (r->sign_wanted && range_quiet(r)) {
        r->sign_wanted = false;
        sign(r);
    }
}

static void move_clock(struct es_range_core *core, const json_t *params,
                       struct es_reply *reply, enum es_clock_state to, bool is_start)
{
    struct range *r = call_scored_range(core, params, reply);
    struct es_err err = {0};
    if (r == NULL)
        return;
    if (range_check_up(r, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    if (to == ES_CLOCK_RUNNING && is_start != (r->clock.state == ES_CLOCK_READY)) {
        reply_fail_new(reply, ES_ESTATE, "range %s is %s; %s", r->name,
                       es_clock_state_name(r->clock.state),
                       is_start ? "an exercise starts once"
                                : "only a paused exercise resumes");
        return;
    }
    struct clock_call *call = es_calloc(1, sizeof *call);
    if (call == NULL) {
        es_err_nomem(&err);
        reply->fail(reply, &err);
        return;
    }
    *call =
        (struct clock_call){.reply = reply, .range = r, .stop = to == ES_CLOCK_STOPPED};
    int rc = range_clock_move(r, to, call_param(params, "by"),
                              call_param(params, "reason"), on_clock, call, &err);
    if (rc != 0) {
        es_free(call);
        reply->fail(reply, &err);
    }
}

void es_range_call_start(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply)
{
    move_clock(core, params, reply, ES_CLOCK_RUNNING, true);
}

void es_range_call_resume(struct es_range_core *core, const json_t *params,
                          struct es_reply *reply)
{
    move_clock(core, params, reply, ES_CLOCK_RUNNING, false);
}

void es_range_call_pause(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply)
{
    move_clock(core, params, reply, ES_CLOCK_PAUSED, false);
}

void es_range_call_stop(struct es_range_core *core, const json_t *params,
                        struct es_reply *reply)
{
    move_clock(core, params, reply, ES_CLOCK_STOPPED, false);
}
