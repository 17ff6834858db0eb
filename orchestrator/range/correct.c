/* The method `correct`: points, overrides and voids, each an event like any other. */
#include <string.h>

#include "inner.h"

struct correction {
    struct range *range;
    struct es_reply *reply;
};

static void answer(struct es_reply *reply, int64_t pos)
{
    reply->done(reply, json_pack("{s:I}", "pos", (json_int_t)pos));
}

/* A void counts once the score was made anew. */
static void on_corrected(void *arg, int status, const struct es_err *err, int64_t pos)
{
    struct correction correction = *(struct correction *)arg;
    struct range *r = correction.range;
    es_free(arg);
    if (status != 0)
        correction.reply->fail(correction.reply, err);
    else if (r->rebuild == NULL || r->phase == R_LEAVING)
        answer(correction.reply, pos);
    else
        waiting_add(&r->corrections, correction.reply, pos);
}

void range_corrected(struct range *r)
{
    ES_LIST_EACH (link, tmp, &r->corrections) {
        int64_t pos;
        struct es_reply *reply = waiting_end(link, &pos);
        answer(reply, pos);
    }
}

static int correction(const struct range *r, const json_t *params, struct es_event *event,
                      struct es_err *err)
{
    const char *what = call_param(params, "what"),
               *subject = call_param(params, "subject");
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
    struct range *r = call_scored_range(core, params, reply);
    struct es_event event = {0};
    struct es_err err = {0};
    if (r == NULL)
        return;
    if (correction(r, params, &event, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    const char *by;
    if (person_id(r, call_param(params, "by"), &by, &err) != 0) {
        reply->fail(reply, &err);
        return;
    }
    json_t *json =
        json_pack("{s:s, s:s}", "by", by, "reason", call_param(params, "reason"));
    static const char *const spans[] = {"from_ms", "to_ms"};
    for (size_t i = 0; i < ES_COUNT(spans); i++)
        if (json_object_get(params, spans[i]) != NULL)
            json_object_set(json, spans[i], json_object_get(params, spans[i]));
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    struct correction *arg = text != NULL ? es_calloc(1, sizeof *arg) : NULL;
    if (arg == NULL) {
        es_free(text);
        es_err_nomem(&err);
        reply->fail(reply, &err);
        return;
    }
    *arg = (struct correction){r, reply};
    int rc = range_event(r, &event, text, NULL, on_corrected, arg);
    if (rc != 0) {
        es_free(arg);
        range_event_refused(r, rc, &err);
        reply->fail(reply, &err);
    }
}
