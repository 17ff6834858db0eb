/* The fold of a range: made from the ledger, kept up with it, and made anew where a void
 * reaches back. That happens on a worker: the live fold stands still meanwhile, catches up
 * and is replaced.
 *
 *   live --void committed--> worker reads all --> worker reads what came since (while it is
 *   much) --> the loop reads the rest, swaps --> live
 *                    another void: from the beginning */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "inner.h"

#define TAIL_MAX 2000 /* events that the loop may read itself */

/* ---------------------------------------------------------------- from the ledger */

#define ENOUGH 1 /* ends a reading in good order */

struct reading {
    struct es_score *score;
    int64_t upto;
    struct es_err *err;
    struct range *range; /* [loop] whose runs of looks are to be found again; or NULL */
    int (*each)(void *ctx, const struct es_event *event); /* or NULL */
    void *ctx;
};

static int fold_each(void *ctx, const struct es_event *event)
{
    struct reading *reading = ctx;
    bool is_seen = event->type == ES_EV_OBSERVED || event->type == ES_EV_STEADY;
    if (event->pos > reading->upto)
        return ENOUGH;
    if (is_seen && reading->range != NULL)
        steady_note(reading->range, event);
    int rc = es_score_apply(reading->score, event, reading->err);
    return rc == 0 && !is_seen && reading->each != NULL
               ? reading->each(reading->ctx, event)
               : rc;
}

static int correct_each(void *ctx, const struct es_event *event)
{
    struct reading *reading = ctx;
    return event->pos > reading->upto
               ? ENOUGH
               : es_score_correct(reading->score, event, reading->err);
}

static int read_on(struct es_store *store, struct reading *reading, int64_t from)
{
    int rc = es_store_read(store, from, true, fold_each, reading, reading->err);
    return rc == ENOUGH ? 0 : rc;
}

static int make(struct range *r, struct reading *reading)
{
    int rc = es_score_create(r->scenario, r->team_count, NULL, NULL, &reading->score,
                             reading->err);
    if (rc == 0)
        rc = es_store_read_types(r->store, 1U << ES_EV_VOID, correct_each, reading,
                                 reading->err);
    if (rc == 0 || rc == ENOUGH)
        rc = read_on(r->store, reading, 1);
    if (rc != 0)
        es_score_destroy(reading->score);
    return rc;
}

int range_refold(struct range *r, int64_t upto, struct es_score **ret_score,
                 struct es_err *err)
{
    struct reading reading = {.upto = upto, .err = err};
    int rc = make(r, &reading);
    if (rc == 0)
        *ret_score = reading.score;
    return rc;
}

/* ---------------------------------------------------------------- live */

static void on_score_change(void *ctx, const struct es_score_change *change)
{
    struct range *r = ctx;
    if (r->on_change != NULL)
        r->on_change(r, change);
    if (change->fact < 0)
        return;
    json_t *news = json_pack(
        "{s:I, s:i, s:s, s:b}", "ex_ms", (json_int_t)change->ex_ms, "team", change->team,
        "fact", r->scenario->facts[change->fact].name, "now", (int)change->now);
    range_news(r, news);
}

static void go_live(struct range *r, struct es_score *score, int64_t pos)
{
    r->score = score;
    r->folded_pos = pos;
    es_score_set_on_change(score, on_score_change, r);
}

static void fold_live(struct range *r, struct es_score *score,
                      const struct es_event *event)
{
    struct es_err err = {0};
    if (es_score_apply(score, event, &err) != 0)
        es_log_error("range %s: event %lld does not fold: %s", r->name,
                     (long long)event->pos, err.msg);
}

/* The fold and the runs of looks, as the ledger has them. */
static int read_all(struct range *r, struct reading *reading)
{
    reading->range = r;
    reading->upto = es_store_head(r->store);
    steady_forget(r);
    int rc = persons_load(r, reading->err);
    if (rc == 0)
        rc = make(r, reading);
    if (rc == 0 && (rc = steady_recall(r, reading->err)) != 0)
        es_score_destroy(reading->score);
    if (rc != 0)
        return rc;
    go_live(r, reading->score, reading->upto);
    r->last_ex_ms = es_score_now(reading->score);
    return 0;
}

int range_open_ledger(struct range *r, bool create,
                      int (*each)(void *ctx, const struct es_event *event), void *ctx,
                      struct es_err *err)
{
    char path[PATH_BYTES + 16];
    struct reading reading = {.each = each, .ctx = ctx, .err = err};
    if (es_str_printf(path, sizeof path, "%s/ledger.db", r->dir) != 0)
        return es_err_set(err, ES_ELIMIT, "the path of range %s is too long", r->name);
    int rc = es_store_open(path, create, &r->store, err);
    if (rc == 0 && chmod(path, 0600) != 0) /* the teams' secrets lie in it */
        rc = es_err_set(err, ES_EIO, "cannot close %s to others: %s", path,
                        strerror(errno));
    return rc == 0 ? read_all(r, &reading) : rc;
}

void range_rebuild_now(struct range *r)
{
    struct es_score *old = r->score;
    struct es_err err = {0};
    struct reading reading = {.err = &err};
    if (read_all(r, &reading) != 0) {
        es_log_error("range %s: the fold cannot be rebuilt: %s", r->name, err.msg);
        return;
    }
    es_score_destroy(old);
    range_changed(r);
}

/* ---------------------------------------------------------------- made anew */

struct rebuild {
    struct job job;
    struct range *range;
    struct es_score *score;
    int64_t upto; /* what it holds, or is to hold */
    bool again;   /* another void came */
};

static void rebuild_work(struct job *job)
{
    struct rebuild *b = job->arg;
    struct range *r = b->range;
    int64_t from = b->upto + 1;
    b->upto = es_store_head(r->store);
    struct reading on = {.score = b->score, .upto = b->upto, .err = &job->err};
    job->status = b->score == NULL ? range_refold(r, b->upto, &b->score, &job->err)
                                   : read_on(r->store, &on, from);
}

static void rebuild_after(struct job *job);

static int start(struct rebuild *b, struct es_err *err)
{
    b->job = (struct job){.what = "making the score anew",
                          .work = rebuild_work,
                          .after = rebuild_after,
                          .arg = b};
    int rc = job_start(b->range->core, &b->job, err);
    if (rc == 0)
        range_reader(b->range);
    return rc;
}

static int catch_up_each(void *ctx, const struct es_event *event)
{
    struct range *r = ctx;
    if (event->type != ES_EV_VOID) /* its commit comes back here and begins anew */
        fold_live(r, r->score, event);
    r->folded_pos = event->pos;
    return 0;
}

/* Ends the rebuilding: the fold there is takes what came since. */
static void settle(struct rebuild *b, const struct es_err *failed)
{
    struct range *r = b->range;
    struct es_err err = {0};
    if (failed != NULL)
        es_log_error("range %s: the fold cannot be rebuilt: %s", r->name, failed->msg);
    else {
        es_score_destroy(r->score);
        go_live(r, b->score, b->upto);
        b->score = NULL;
    }
    r->rebuild = NULL;
    if (es_store_read(r->store, r->folded_pos + 1, true, catch_up_each, r, &err) != 0)
        es_log_error("range %s: the fold stands behind the ledger: %s", r->name, err.msg);
    es_score_destroy(b->score);
    es_free(b);
    range_changed(r);
    range_corrected(r);
    range_rescore_waiting(r);
    probing_tick(r);
}

static void rebuild_after(struct job *job)
{
    struct rebuild *b = job->arg;
    struct range *r = b->range;
    struct es_err err = job->err;
    bool again = b->again;
    if (range_reader_done(r)) {
        es_score_destroy(b->score);
        es_free(b);
        return;
    }
    if (again) {
        es_score_destroy(b->score);
        b->score = NULL;
        b->again = false;
    }
    bool more = job->status == 0 && es_store_head(r->store) - b->upto > TAIL_MAX;
    if ((again || more) && (job->status = start(b, &err)) == 0)
        return;
    settle(b, job->status != 0 ? &err : NULL);
}

static void rebuild(struct range *r)
{
    struct es_err err = {0};
    if (r->rebuild != NULL) {
        r->rebuild->again = true;
        return;
    }
    struct rebuild *b = es_calloc(1, sizeof *b);
    if (b == NULL) {
        es_log_error("range %s: the fold cannot be rebuilt: out of memory", r->name);
        return;
    }
    b->range = r;
    r->rebuild = b;
    if (start(b, &err) != 0)
        settle(b, &err);
}

void range_fold(struct range *r, const struct es_event *event)
{
    if (event->type == ES_EV_VOID)
        rebuild(r);
    if (r->rebuild != NULL || event->pos <= r->folded_pos)
        return;
    fold_live(r, r->score, event);
    r->folded_pos = event->pos;
}

void range_advance(struct range *r)
{
    if (r->score == NULL || r->rebuild != NULL || !range_quiet(r) ||
        r->clock.state == ES_CLOCK_STOPPED)
        return;
    int64_t now = range_now_ex(r);
    if (now > es_score_now(r->score))
        es_score_advance(r->score, now);
}
