/* The short methods: look, clock, score, ledger, corrections. The long ones (up, exec,
 * reset, rehearse, down) have files of their own. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inner.h"

static const char *param(const json_t *params, const char *key)
{
    return json_string_value(json_object_get(params, key));
}

static struct range *range_of(struct es_range_core *core, const json_t *params,
                              struct es_reply *reply)
{
    const char *name = param(params, "range");
    struct range *r = core_find_range(core, name);
    if (r == NULL)
        reply_fail_new(reply, ES_ENOENT, "no range %s; `enshu status` lists them", name);
    return r;
}

/* A range whose ledger and fold stand. */
static struct range *scored_range_of(struct es_range_core *core, const json_t *params,
                                     struct es_reply *reply)
{
    struct range *r = range_of(core, params, reply);
    if (r != NULL && (r->store == NULL || r->phase == R_LEAVING)) {
        reply_fail_new(reply, ES_ESTATE, "range %s has no ledger (it is %s)", r->name,
                       r->phase == R_LEAVING ? "leaving" : "not up");
        return NULL;
    }
    return r;
}

void es_range_call_version(struct es_range_core *core, const json_t *params,
                           struct es_reply *reply)
{
    json_t *ranges = json_array();
    (void)params;
    ES_LIST_EACH (pos, tmp, &core->ranges)
        json_array_append_new(ranges,
                              json_string(ES_CONTAINER(pos, struct range, link)->name));
    reply->done(reply,
                json_pack("{s:s, s:i, s:s, s:s, s:b, s:s, s:o}", "version", ES_VERSION,
                          "pid", (int)getpid(), "state", core->state_dir, "uri",
                          core->uri, "hypervisor", (int)core->hyp_up, "accel",
                          core->accel, "ranges", ranges));
}

void es_range_call_status(struct es_range_core *core, const json_t *params,
                          struct es_reply *reply)
{
    const char *name = param(params, "range");
    json_t *ranges = json_array();
    if (name != NULL && range_of(core, params, reply) == NULL) {
        json_decref(ranges);
        return;
    }
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        if (name == NULL || es_str_eq(r->name, name))
            json_array_append_new(ranges, status_json(r));
    }
    reply->done(reply, json_pack("{s:o}", "ranges", ranges));
}

/* ---------------------------------------------------------------- clock */

struct clock_call {
    struct es_reply *reply;
    struct range *range;
    bool stop;
};

static json_t *clock_json(const struct range *r)
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
    struct range *r = scored_range_of(core, params, reply);
    struct es_err err = {0};
    if (r == NULL)
        return;
    if (r->phase != R_UP) {
        reply_fail_new(reply, ES_ESTATE,
                       "range %s is not up; bring it up first with `enshu up`", r->name);
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
    int rc = range_clock_move(r, to, param(params, "by"), param(params, "reason"),
                              on_clock, call, &err);
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

/* ---------------------------------------------------------------- score */

static int team_of(const struct range *r, const json_t *params, struct es_reply *reply)
{
    json_int_t team = json_integer_value(json_object_get(params, "team"));
    if (team >= 1 && team <= r->team_count)
        return (int)team;
    reply_fail_new(reply, ES_ENOENT, "range %s has teams 1 to %d, no team %lld", r->name,
                   r->team_count, (long long)team);
    return 0;
}

void es_range_call_score(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply)
{
    struct range *r = scored_range_of(core, params, reply);
    json_t *teams = json_array();
    int only = 0;
    if (r == NULL || (json_object_get(params, "team") != NULL &&
                      (only = team_of(r, params, reply)) == 0)) {
        json_decref(teams);
        return;
    }
    range_advance(r);
    for (int team = 1; team <= r->team_count; team++) {
        if (only != 0 && team != only)
            continue;
        json_t *json = es_score_json(r->score, team);
        json_object_set_new(json, "name", json_string(r->team_names[team]));
        json_array_append_new(teams, json);
    }
    reply->done(reply, json_pack("{s:s, s:o, s:o}", "range", r->name, "clock",
                                 clock_json(r), "teams", teams));
}

static void add_reason(void *ctx, const struct es_score_reason *reason)
{
    json_array_append_new(ctx, json_pack("{s:I, s:I, s:s, s:s, s:s, s:I}", "ex_ms",
                                         (json_int_t)reason->ex_ms, "pos",
                                         (json_int_t)reason->pos, "part",
                                         reason->part != NULL ? reason->part : "", "what",
                                         reason->what != NULL ? reason->what : "", "text",
                                         reason->text != NULL ? reason->text : "", "mpts",
                                         (json_int_t)reason->mpts));
}

void es_range_call_score_explain(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = scored_range_of(core, params, reply);
    struct es_err err = {0};
    int team = r != NULL ? team_of(r, params, reply) : 0;
    if (team == 0)
        return;
    json_t *reasons = json_array();
    range_advance(r);
    if (es_score_explain(r->score, team, add_reason, reasons, &err) != 0) {
        json_decref(reasons);
        reply->fail(reply, &err);
        return;
    }
    reply->done(reply, json_pack("{s:i, s:s, s:I, s:o}", "team", team, "name",
                                 r->team_names[team], "total_mpts",
                                 (json_int_t)es_score_total_mpts(r->score, team),
                                 "reasons", reasons));
}

static void rescore(struct range *r, struct es_reply *reply)
{
    struct es_score *fold = NULL;
    struct es_err err = {0};
    char digest[65], live[65];
    int64_t events = 0;
    range_advance(r);
    if (range_refold(r, &fold, &events, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    es_score_advance(fold, es_score_now(r->score));
    es_score_digest(fold, digest);
    es_score_digest(r->score, live);
    json_t *teams = json_array();
    for (int team = 1; team <= r->team_count; team++)
        json_array_append_new(
            teams, json_pack("{s:i, s:s, s:I}", "team", team, "name", r->team_names[team],
                             "total_mpts", (json_int_t)es_score_total_mpts(fold, team)));
    es_score_destroy(fold);
    reply->done(reply,
                json_pack("{s:I, s:s, s:s, s:b, s:o}", "events", (json_int_t)events,
                          "digest", digest, "live_digest", live, "equal",
                          (int)es_str_eq(digest, live), "teams", teams));
}

/* Between two commits the ledger and the live fold stand at the same event. */
struct rescore_wait {
    struct es_list link;
    struct es_reply *reply;
};

static struct es_reply *end_wait(struct rescore_wait *wait)
{
    struct es_reply *reply = wait->reply;
    es_list_remove(&wait->link);
    es_free(wait);
    reply->on_gone = NULL;
    return reply;
}

static void on_waiter_gone(struct es_reply *reply)
{
    end_wait(reply->callee);
    reply->done(reply, json_object());
}

void range_rescore_waiting(struct range *r)
{
    ES_LIST_EACH (pos, tmp, &r->rescores) {
        struct es_reply *reply = end_wait(ES_CONTAINER(pos, struct rescore_wait, link));
        if (r->phase == R_LEAVING)
            reply_fail_new(reply, ES_ECANCELED, "range %s is being taken down", r->name);
        else
            rescore(r, reply);
    }
}

void es_range_call_rescore(struct es_range_core *core, const json_t *params,
                           struct es_reply *reply)
{
    struct range *r = scored_range_of(core, params, reply);
    if (r == NULL)
        return;
    if (!r->commit_in_flight) {
        rescore(r, reply);
        return;
    }
    struct rescore_wait *wait = es_calloc(1, sizeof *wait);
    if (wait == NULL) {
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
        return;
    }
    wait->reply = reply;
    reply->callee = wait;
    reply->on_gone = on_waiter_gone;
    es_list_push(&r->rescores, &wait->link);
}

/* ---------------------------------------------------------------- corrections */

static void on_corrected(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct es_reply *reply = arg;
    if (status != 0)
        reply->fail(reply, err);
    else
        reply->done(reply, json_pack("{s:I}", "pos", (json_int_t)pos));
}

static int correction(const struct range *r, const json_t *params, struct es_event *event,
                      struct es_err *err)
{
    const char *what = param(params, "what"), *subject = param(params, "subject");
    json_int_t team = json_integer_value(json_object_get(params, "team"));
    event->team = team > 0 ? (int)team : -1;
    event->subject = -1;
    if (team > r->team_count)
        return es_err_set(err, ES_ENOENT, "range %s has teams 1 to %d", r->name,
                          r->team_count);
    if (es_str_eq(what, "points")) {
        event->type = ES_EV_POINTS;
        event->b = json_integer_value(json_object_get(params, "points"));
        return team > 0 ? 0 : es_err_set(err, ES_EINVAL, "points need a team");
    }
    if (es_str_eq(what, "void-span")) {
        event->type = ES_EV_VOID;
        event->a = 2;
        return 0;
    }
    if (subject == NULL)
        return es_err_set(err, ES_EINVAL, "%s needs a subject", what);
    if (es_str_eq(what, "void-condition") || es_str_eq(what, "void-node")) {
        event->type = ES_EV_VOID;
        event->a = es_str_eq(what, "void-node");
        event->subject = event->a == 1 ? es_scenario_node(r->scenario, subject)
                                       : es_scenario_condition(r->scenario, subject);
    } else if (es_str_eq(what, "override")) {
        event->type = ES_EV_OVERRIDE;
        event->a = json_is_true(json_object_get(params, "met"));
        event->subject = es_scenario_objective(r->scenario, subject);
        if (team <= 0)
            return es_err_set(err, ES_EINVAL, "an override needs a team");
    } else
        return es_err_set(err, ES_EINVAL,
                          "%s is no correction; there are points, override, "
                          "void-condition, void-node, void-span",
                          what);
    return event->subject >= 0
               ? 0
               : es_err_set(err, ES_ENOENT, "the scenario has no %s", subject);
}

void es_range_call_correct(struct es_range_core *core, const json_t *params,
                           struct es_reply *reply)
{
    struct range *r = scored_range_of(core, params, reply);
    struct es_event event = {0};
    struct es_err err = {0};
    if (r == NULL)
        return;
    if (correction(r, params, &event, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    json_t *json = json_pack("{s:s, s:s}", "by",
                             param(params, "by") != NULL ? param(params, "by") : "admin",
                             "reason", param(params, "reason"));
    static const char *const spans[] = {"from_ms", "to_ms"};
    for (size_t i = 0; i < ES_COUNT(spans); i++)
        if (json_object_get(params, spans[i]) != NULL)
            json_object_set(json, spans[i], json_object_get(params, spans[i]));
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int rc = text != NULL ? range_event(r, &event, text, NULL, on_corrected, reply)
                          : ES_ENOMEM;
    if (rc != 0) {
        range_event_refused(r, rc, &err);
        reply->fail(reply, &err);
    }
}

/* ---------------------------------------------------------------- ledger */

void es_range_call_ledger_export(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = scored_range_of(core, params, reply);
    if (r != NULL)
        export_start(r, reply);
}

void es_range_call_ledger_verify(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = scored_range_of(core, params, reply);
    struct es_store_check check = {0};
    struct es_err err = {0};
    if (r == NULL)
        return;
    if (es_store_verify(r->store, &check, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    reply->done(reply,
                json_pack("{s:I, s:I, s:b, s:b, s:b, s:I, s:s}", "events",
                          (json_int_t)check.events, "batches", (json_int_t)check.batches,
                          "chain_ok", (int)check.chain_ok, "signed", (int)check.is_signed,
                          "signature_ok", (int)check.signature_ok, "bad_pos",
                          (json_int_t)check.bad_pos, "head", check.head_hash));
}

void es_range_call_shutdown(struct es_range_core *core, const json_t *params,
                            struct es_reply *reply)
{
    (void)params;
    reply->done(reply, json_object());
    core->on_shutdown(core->ctx);
}
