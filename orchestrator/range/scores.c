/* The methods that tell the score: as it stands, with the reason behind each point, and
 * recomputed from the ledger. */
#include <string.h>

#include "inner.h"

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
    struct range *r = call_scored_range(core, params, reply);
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

struct reasons {
    const struct range *range;
    json_t *list;
};

static void add_reason(void *ctx, const struct es_score_reason *reason)
{
    struct reasons *reasons = ctx;
    const char *by = reason->by != NULL ? person_name(reasons->range, reason->by) : NULL;
    json_array_append_new(reasons->list,
                          json_pack("{s:I, s:I, s:s, s:s, s:s, s:s*, s:I}", "ex_ms",
                                    (json_int_t)reason->ex_ms, "pos",
                                    (json_int_t)reason->pos, "part",
                                    reason->part != NULL ? reason->part : "", "what",
                                    reason->what != NULL ? reason->what : "", "text",
                                    reason->text != NULL ? reason->text : "", "by", by,
                                    "mpts", (json_int_t)reason->mpts));
}

void es_range_call_score_explain(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = call_scored_range(core, params, reply);
    struct es_err err = {0};
    int team = r != NULL ? team_of(r, params, reply) : 0;
    if (team == 0)
        return;
    struct reasons reasons = {.range = r, .list = json_array()};
    range_advance(r);
    if (es_score_explain(r->score, team, add_reason, &reasons, &err) != 0) {
        json_decref(reasons.list);
        reply->fail(reply, &err);
        return;
    }
    reply->done(reply, json_pack("{s:i, s:s, s:I, s:o}", "team", team, "name",
                                 r->team_names[team], "total_mpts",
                                 (json_int_t)es_score_total_mpts(r->score, team),
                                 "reasons", reasons.list));
}

/* ---------------------------------------------------------------- recomputed */

/* A worker folds the ledger up to where the live fold stood when it began. */
struct rescore {
    struct job job;
    struct range *range;
    struct es_reply *reply;
    int64_t events, now_ms;
    char live[65];
    struct es_score *fold;
};

static void rescore_work(struct job *job)
{
    struct rescore *x = job->arg;
    job->status = range_refold(x->range, x->events, &x->fold, &job->err);
    if (job->status == 0)
        es_score_advance(x->fold, x->now_ms);
}

static json_t *rescore_json(const struct rescore *x)
{
    const struct range *r = x->range;
    char digest[65];
    json_t *teams = json_array();
    es_score_digest(x->fold, digest);
    for (int team = 1; team <= r->team_count; team++)
        json_array_append_new(teams,
                              json_pack("{s:i, s:s, s:I}", "team", team, "name",
                                        r->team_names[team], "total_mpts",
                                        (json_int_t)es_score_total_mpts(x->fold, team)));
    return json_pack("{s:I, s:s, s:s, s:b, s:o}", "events", (json_int_t)x->events,
                     "digest", digest, "live_digest", x->live, "equal",
                     (int)es_str_eq(digest, x->live), "teams", teams);
}

static void rescore_after(struct job *job)
{
    struct rescore *x = job->arg;
    if (job->status == 0)
        x->reply->done(x->reply, rescore_json(x));
    else
        x->reply->fail(x->reply, &job->err);
    es_score_destroy(x->fold);
    range_reader_done(x->range);
    es_free(x);
}

/* Between two commits the ledger and the live fold stand at the same event. */
static void rescore(struct range *r, struct es_reply *reply)
{
    struct rescore *x = es_calloc(1, sizeof *x);
    range_advance(r);
    if (x != NULL) {
        *x = (struct rescore){.range = r,
                              .reply = reply,
                              .events = r->folded_pos,
                              .now_ms = es_score_now(r->score),
                              .job = {.what = "computing the score anew",
                                      .work = rescore_work,
                                      .after = rescore_after,
                                      .arg = x}};
        es_score_digest(r->score, x->live);
    }
    if (!call_ledger_work(r, reply, x != NULL ? &x->job : NULL))
        es_free(x);
}

void range_rescore_waiting(struct range *r)
{
    if ((r->commit_in_flight || r->rebuild != NULL) && r->phase != R_LEAVING)
        return;
    ES_LIST_EACH (pos, tmp, &r->rescores) {
        struct es_reply *reply = waiting_end(pos, NULL);
        if (r->phase == R_LEAVING)
            reply_fail_new(reply, ES_ECANCELED, "range %s is being taken down", r->name);
        else
            rescore(r, reply);
    }
}

void es_range_call_rescore(struct es_range_core *core, const json_t *params,
                           struct es_reply *reply)
{
    struct range *r = call_scored_range(core, params, reply);
    if (r != NULL && waiting_add(&r->rescores, reply, 0))
        range_rescore_waiting(r);
}
