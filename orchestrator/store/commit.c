/* Storing batches: one transaction each, blocking or on a worker. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "store_inner.h"

int64_t wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct batch head_of(struct es_store *store)
{
    uv_mutex_lock(&store->state_lock);
    struct batch head = store->head;
    uv_mutex_unlock(&store->state_lock);
    return head;
}

int check_writable(struct es_store *store, struct es_err *err)
{
    if (!store->is_broken)
        return 0;
    return es_err_set(
        err, ES_ESTATE,
        "ledger %s had an I/O error and takes nothing more: check the disk, "
        "then open the ledger again",
        store->path);
}

int end_write(struct es_store *store, int status, struct es_err *err)
{
    int rc = store->last_rc;
    if (status == 0) {
        status = db_commit(store, err);
        rc = store->last_rc;
        /* A commit record may have reached the disk although its sync, or what followed,
         * failed; only a full disk is known to have cut it short. */
        if (status < 0 && rc != SQLITE_FULL)
            store->is_broken = true;
    }
    if (status == 0)
        return 0;
    db_rollback(store);
    if (sqlite3_get_autocommit(store->db) == 0)
        store->is_broken = true;
    store->last_rc = rc;
    return status;
}

static int check_events(const struct es_event *events, size_t count, struct es_err *err)
{
    size_t total = 0;
    if (count > ES_STORE_BATCH_MAX)
        return es_err_set(err, ES_ELIMIT, "a batch of %zu events: at most %d", count,
                          ES_STORE_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *text = events[i].text;
        if (text == NULL)
            continue;
        size_t len = strnlen(text, ES_STORE_TEXT_MAX + 1);
        total += len;
        if (len > ES_STORE_TEXT_MAX || total > ES_STORE_BATCH_TEXT_MAX)
            return es_err_set(err, ES_ELIMIT,
                              "the text of event %zu of a batch is too long: at most %d "
                              "bytes an event, %u a batch",
                              i + 1, ES_STORE_TEXT_MAX, ES_STORE_BATCH_TEXT_MAX);
        if (!es_utf8_valid(text, len))
            return es_err_set(err, ES_EINVAL,
                              "the text of event %zu of a batch is not UTF-8", i + 1);
    }
    return 0;
}

static int add_event(struct es_store *store, sqlite3_stmt *stmt,
                     const struct es_event *event, size_t text_len, struct es_err *err)
{
    sqlite3_bind_int64(stmt, 1, event->pos);
    sqlite3_bind_int64(stmt, 2, event->ex_ms);
    sqlite3_bind_int(stmt, 3, event->type);
    sqlite3_bind_int(stmt, 4, event->team);
    sqlite3_bind_int(stmt, 5, event->subject);
    sqlite3_bind_int(stmt, 6, event->a);
    sqlite3_bind_int64(stmt, 7, event->b);
    sqlite3_bind_int64(stmt, 8, event->instance);
    sqlite3_bind_int64(stmt, 9, (int64_t)event->epoch);
    sqlite3_bind_int64(stmt, 10, event->seq);
    if (event->text != NULL)
        sqlite3_bind_text(stmt, 11, event->text, (int)text_len, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, 11);
    return db_run(store, stmt, "store an event", err);
}

static int add_events(struct es_store *store, const struct batch *prev,
                      struct batch *batch, const struct es_event *events,
                      struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_ADD_EVENT, &stmt, err);
    if (status < 0)
        return status;
    struct chain chain;
    chain_begin(&chain, prev->hash, batch);
    for (int64_t i = 0; i < batch->count && status == 0; i++) {
        struct es_event event = events[i];
        event.pos = prev->last_pos + 1 + i;
        size_t text_len = event.text != NULL ? strlen(event.text) : 0;
        chain_event(&chain, &event, text_len);
        status = add_event(store, stmt, &event, text_len, err);
    }
    chain_end(&chain, batch->hash);
    sqlite3_clear_bindings(stmt);
    return status;
}

static int add_batch(struct es_store *store, const struct batch *batch,
                     struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_ADD_BATCH, &stmt, err);
    if (status < 0)
        return status;
    sqlite3_bind_int64(stmt, 1, batch->id);
    sqlite3_bind_int64(stmt, 2, batch->last_pos);
    sqlite3_bind_text(stmt, 3, batch->mark.boot_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, batch->mark.boottime_ms);
    sqlite3_bind_int64(stmt, 5, batch->mark.ex_ms);
    sqlite3_bind_int(stmt, 6, (int)batch->mark.state);
    sqlite3_bind_int(stmt, 7, batch->mark.speed_permille);
    sqlite3_bind_int64(stmt, 8, batch->wall_us);
    sqlite3_bind_blob(stmt, 9, batch->hash, HASH_BYTES, SQLITE_STATIC);
    status = db_run(store, stmt, "store a batch", err);
    sqlite3_clear_bindings(stmt);
    return status;
}

/* Under the lock. */
static int write_batch(struct es_store *store, const struct batch *prev,
                       struct batch *batch, const struct es_event *events,
                       const struct evidence *evidence, const struct looks *looks,
                       struct es_err *err)
{
    int status = check_writable(store, err);
    if (status == 0)
        status = db_begin(store, err);
    if (status < 0)
        return status;
    for (; evidence != NULL && status == 0; evidence = evidence->next)
        status =
            put_blob(store, evidence->name, evidence->is_keyed ? evidence->key : NULL,
                     evidence->data, evidence->len, err);
    if (status == 0 && looks != NULL)
        status = put_looks(store, looks, err);
    if (status == 0 && batch->id == prev->id)
        status = put_mark(store, &batch->mark, prev, err);
    else if (status == 0)
        status = add_events(store, prev, batch, events, err);
    if (status == 0 && batch->id != prev->id)
        status = add_batch(store, batch, err);
    return end_write(store, status, err);
}

int store_batch(struct es_store *store, const struct es_clock_mark *mark,
                struct es_event *events, size_t count, const struct evidence *evidence,
                const struct looks *looks, int64_t at_wall_us, struct es_err *err)
{
    int status = check_events(events, count, err);
    if (status < 0)
        return status;
    store_lock(store);
    struct batch prev = head_of(store);
    bool looks_alone = count == 0 && looks != NULL && looks->count > 0;
    struct batch batch = {.id = prev.id + (looks_alone ? 0 : 1),
                          .count = (int64_t)count,
                          .last_pos = prev.last_pos + (int64_t)count,
                          .wall_us = at_wall_us,
                          .mark = *mark};
    store->last_rc = SQLITE_OK;
    status = write_batch(store, &prev, &batch, events, evidence, looks, err);
    uv_mutex_lock(&store->state_lock);
    store->is_full = status < 0 && store->last_rc == SQLITE_FULL;
    if (status == 0) {
        store->mark = *mark;
        store->has_mark = true;
    }
    if (status == 0 && !looks_alone)
        store->head = batch;
    uv_mutex_unlock(&store->state_lock);
    uv_mutex_unlock(&store->lock);
    if (status < 0)
        return status;
    for (size_t i = 0; i < count; i++)
        events[i].pos = prev.last_pos + 1 + (int64_t)i;
    return 0;
}

/* ------------------------------------------------------------------ the two ways in */

static int append(struct es_store *store, const struct es_clock_mark *mark,
                  struct es_event *events, size_t count, struct es_err *err)
{
    ES_ASSERT(store != NULL && mark != NULL && (events != NULL || count == 0));
    struct evidence *evidence = take_evidence(store);
    struct looks looks = take_looks(store);
    int status =
        store_batch(store, mark, events, count, evidence, &looks, wall_us(), err);
    drop_evidence(evidence);
    drop_looks(&looks);
    return status;
}

int es_store_append(struct es_store *store, const struct es_clock_mark *mark,
                    struct es_event *events, size_t count, struct es_err *err)
{
    return append(store, mark, events, count, err);
}

int es_store_append_reserved(struct es_store *store, const struct es_clock_mark *mark,
                             struct es_event *events, size_t count, struct es_err *err)
{
    unlink(store->reserve_path);
    return append(store, mark, events, count, err);
}

static void on_work(uv_work_t *work)
{
    struct commit_req *req = ES_CONTAINER(work, struct commit_req, work);
    struct es_store *store = req->store;
    if (req->reserved)
        unlink(store->reserve_path);
    req->status = store_batch(store, &req->mark, req->events, req->count, req->evidence,
                              &req->looks, wall_us(), &req->err);
    drop_evidence(req->evidence);
    drop_looks(&req->looks);
    req->evidence = NULL;
}

static void on_after_work(uv_work_t *work, int uv_status)
{
    struct commit_req *req = ES_CONTAINER(work, struct commit_req, work);
    ES_ASSERT(uv_status == 0);
    ES_ASSERT(req->store->in_flight);
    req->store->in_flight = false;
    /* The callback may start the next commit, which reuses the request. */
    int status = req->status;
    struct es_err err = req->err;
    req->on_commit(req->ctx, status, status < 0 ? &err : NULL);
}

static int commit(struct es_store *store, uv_loop_t *loop, bool reserved,
                  const struct es_clock_mark *mark, struct es_event *events, size_t count,
                  es_store_on_commit on_commit, void *ctx, struct es_err *err)
{
    ES_ASSERT(store != NULL && loop != NULL && mark != NULL && on_commit != NULL);
    ES_ASSERT(events != NULL || count == 0);
    if (store->in_flight)
        return es_err_set(err, ES_EBUSY, "ledger %s: a commit is in flight", store->path);
    struct commit_req *req = &store->req;
    memset(req, 0, sizeof *req);
    req->store = store;
    req->mark = *mark;
    req->events = events;
    req->count = count;
    req->reserved = reserved;
    req->on_commit = on_commit;
    req->ctx = ctx;
    req->evidence = take_evidence(store);
    req->looks = take_looks(store);
    int rc = uv_queue_work(loop, &req->work, on_work, on_after_work);
    ES_ASSERT(rc == 0);
    store->in_flight = true;
    return 0;
}

int es_store_commit(struct es_store *store, uv_loop_t *loop,
                    const struct es_clock_mark *mark, struct es_event *events,
                    size_t count, es_store_on_commit on_commit, void *ctx,
                    struct es_err *err)
{
    return commit(store, loop, false, mark, events, count, on_commit, ctx, err);
}

int es_store_commit_reserved(struct es_store *store, uv_loop_t *loop,
                             const struct es_clock_mark *mark, struct es_event *events,
                             size_t count, es_store_on_commit on_commit, void *ctx,
                             struct es_err *err)
{
    return commit(store, loop, true, mark, events, count, on_commit, ctx, err);
}
