/* What the methods share, and the shortest of them. The others have files of their own: the
 * clock's, the scores', corrections, export, exec, reset, rehearse, up, down. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "capacity.h"
#include "inner.h"

const char *call_param(const json_t *params, const char *key)
{
    return json_string_value(json_object_get(params, key));
}

struct range *call_range(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply)
{
    const char *name = call_param(params, "range");
    struct range *r = core_find_range(core, name);
    if (r == NULL)
        reply_fail_new(reply, ES_ENOENT, "no range %s; `enshu status` lists them", name);
    return r;
}

struct range *call_scored_range(struct es_range_core *core, const json_t *params,
                                struct es_reply *reply)
{
    struct range *r = call_range(core, params, reply);
    if (r != NULL && (r->store == NULL || r->phase == R_LEAVING)) {
        reply_fail_new(reply, ES_ESTATE, "range %s has no ledger (it is %s)", r->name,
                       r->phase == R_LEAVING ? "leaving" : "not up");
        return NULL;
    }
    return r;
}

bool call_ledger_work(struct range *r, struct es_reply *reply, struct job *job)
{
    struct es_err err = {0};
    int rc = job != NULL ? job_start(r->core, job, &err) : es_err_nomem(&err);
    if (rc == 0)
        range_reader(r);
    else
        reply->fail(reply, &err);
    return rc == 0;
}

/* ---------------------------------------------------------------- who waits */

struct waiting {
    struct es_list link;
    struct es_reply *reply;
    int64_t number;
};

struct es_reply *waiting_end(struct es_list *link, int64_t *ret_number)
{
    struct waiting *waiting = ES_CONTAINER(link, struct waiting, link);
    struct es_reply *reply = waiting->reply;
    if (ret_number != NULL)
        *ret_number = waiting->number;
    es_list_remove(link);
    es_free(waiting);
    reply->on_gone = NULL;
    return reply;
}

static void on_waiter_gone(struct es_reply *reply)
{
    struct waiting *waiting = reply->callee;
    waiting_end(&waiting->link, NULL);
    reply->done(reply, json_object());
}

bool waiting_add(struct es_list *list, struct es_reply *reply, int64_t number)
{
    struct waiting *waiting = es_calloc(1, sizeof *waiting);
    if (waiting == NULL) {
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
        return false;
    }
    waiting->reply = reply;
    waiting->number = number;
    reply->callee = waiting;
    reply->on_gone = on_waiter_gone;
    es_list_push(list, &waiting->link);
    return true;
}

/* ---------------------------------------------------------------- looking */

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
    const char *name = call_param(params, "range");
    json_t *ranges = json_array();
    if (name != NULL && call_range(core, params, reply) == NULL) {
        json_decref(ranges);
        return;
    }
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        if (name == NULL || es_str_eq(r->name, name))
            json_array_append_new(ranges, status_json(r));
    }
    reply->done(reply, json_pack("{s:o, s:o}", "ranges", ranges, "capacity",
                                 capacity_json(core)));
}

void es_range_call_ledger_export(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = call_scored_range(core, params, reply);
    if (r != NULL)
        export_start(r, reply);
}

struct verify {
    struct job job;
    struct range *range;
    struct es_reply *reply;
    struct es_store_check check;
};

static void verify_work(struct job *job)
{
    struct verify *x = job->arg;
    job->status = es_store_verify(x->range->store, &x->check, &job->err);
}

static void verify_after(struct job *job)
{
    struct verify *x = job->arg;
    const struct es_store_check *check = &x->check;
    if (job->status != 0)
        x->reply->fail(x->reply, &job->err);
    else
        x->reply->done(x->reply,
                       json_pack("{s:I, s:I, s:b, s:b, s:b, s:I, s:s}", "events",
                                 (json_int_t)check->events, "batches",
                                 (json_int_t)check->batches, "chain_ok",
                                 (int)check->chain_ok, "signed", (int)check->is_signed,
                                 "signature_ok", (int)check->signature_ok, "bad_pos",
                                 (json_int_t)check->bad_pos, "head", check->head_hash));
    range_reader_done(x->range);
    es_free(x);
}

void es_range_call_ledger_verify(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = call_scored_range(core, params, reply);
    struct verify *x = r != NULL ? es_calloc(1, sizeof *x) : NULL;
    if (r == NULL)
        return;
    if (x != NULL)
        *x = (struct verify){.range = r,
                             .reply = reply,
                             .job = {.what = "verifying the ledger",
                                     .work = verify_work,
                                     .after = verify_after,
                                     .arg = x}};
    if (!call_ledger_work(r, reply, x != NULL ? &x->job : NULL))
        es_free(x);
}

void es_range_call_shutdown(struct es_range_core *core, const json_t *params,
                            struct es_reply *reply)
{
    (void)params;
    reply->done(reply, json_object());
    core->on_shutdown(core->ctx);
}
