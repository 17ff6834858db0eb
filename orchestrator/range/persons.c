/* Who did it. The ledger holds a random id for each person, its names lie beside it
 * (es_store_stage_person); here both are known by heart. The words for who is no person
 * stand for themselves. */
#include <string.h>

#include "inner.h"

static bool is_role(const char *by)
{
    return es_str_eq(by, "admin") || es_str_eq(by, "core") || es_str_eq(by, "rehearsal");
}

int person_id(struct range *r, const char *by, const char **ret_id, struct es_err *err)
{
    char id[ES_STORE_PERSON_BYTES];
    const char *key;
    json_t *name;
    int rc = 0;
    if (by == NULL || is_role(by)) {
        *ret_id = by != NULL ? by : "admin";
        return 0;
    }
    json_object_foreach (r->persons, key, name) {
        if (es_str_eq(json_string_value(name), by)) {
            *ret_id = key;
            return 0;
        }
    }
    rc = r->store != NULL ? es_store_stage_person(r->store, by, id, err)
                          : range_event_refused(r, ES_EIO, err);
    if (rc == 0 && json_object_set_new(r->persons, id, json_string(by)) != 0)
        rc = es_err_nomem(err);
    if (rc == 0)
        *ret_id = json_object_iter_key(json_object_iter_at(r->persons, id));
    return rc;
}

const char *person_name(const struct range *r, const char *id)
{
    const char *name = json_string_value(json_object_get(r->persons, id));
    return name != NULL ? name : id;
}

static int load_each(void *ctx, const char *id, const char *name)
{
    return json_object_set_new(ctx, id, json_string(name)) == 0 ? 0 : ES_ENOMEM;
}

int persons_load(struct range *r, struct es_err *err)
{
    json_object_clear(r->persons);
    int rc = es_store_read_persons(r->store, load_each, r->persons, err);
    return rc == ES_ENOMEM ? es_err_nomem(err) : rc;
}

/* ---------------------------------------------------------------- forgetting */

struct forget {
    struct job job;
    struct range *range;
    struct es_reply *reply;
    char *who;
    int count;
};

static void forget_work(struct job *job)
{
    struct forget *x = job->arg;
    job->status = es_store_forget_person(x->range->store, x->who, &x->count, &job->err);
}

static void forget_after(struct job *job)
{
    struct forget *x = job->arg;
    struct range *r = x->range;
    const char *id;
    json_t *name;
    void *next;
    json_object_foreach_safe(r->persons, next, id, name)
    {
        if (job->status == 0 &&
            (es_str_eq(id, x->who) || es_str_eq(json_string_value(name), x->who)))
            json_object_del(r->persons, id);
    }
    if (job->status == 0)
        x->reply->done(x->reply, json_pack("{s:i}", "erased", x->count));
    else
        x->reply->fail(x->reply, &job->err);
    es_free(x->who);
    es_free(x);
    range_reader_done(r);
}

void es_range_call_ledger_forget(struct es_range_core *core, const json_t *params,
                                 struct es_reply *reply)
{
    struct range *r = call_scored_range(core, params, reply);
    struct forget *x = r != NULL ? es_calloc(1, sizeof *x) : NULL;
    char *who = x != NULL ? es_strdup(call_param(params, "person")) : NULL;
    if (r == NULL)
        return;
    if (who != NULL)
        *x = (struct forget){.range = r,
                             .reply = reply,
                             .who = who,
                             .job = {.what = "erasing a name",
                                     .work = forget_work,
                                     .after = forget_after,
                                     .arg = x}};
    if (call_ledger_work(r, reply, who != NULL ? &x->job : NULL))
        return;
    es_free(who);
    es_free(x);
}
