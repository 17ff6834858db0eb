/* Looks beside the chain: observations that an event of it will sum up. */
#include <string.h>

#include "enshu/common/mem.h"
#include "store_inner.h"

int es_store_stage_looks(struct es_store *store, const struct es_event *looks,
                         size_t count, bool afresh, struct es_err *err)
{
    ES_ASSERT(store != NULL && (looks != NULL || count == 0));
    struct looks *staged = &store->looks;
    bool done = true;
    uv_mutex_lock(&store->state_lock);
    if (staged->count + count > staged->cap) {
        size_t cap = 2 * staged->cap + count;
        struct es_event *items = es_grow(staged->items, cap, sizeof *items);
        done = items != NULL;
        if (done) {
            staged->items = items;
            staged->cap = cap;
        }
    }
    if (done && count > 0)
        memcpy(staged->items + staged->count, looks, count * sizeof *looks);
    if (done) {
        staged->count += count;
        staged->afresh = staged->afresh || afresh;
    }
    uv_mutex_unlock(&store->state_lock);
    return done ? 0 : es_err_nomem(err);
}

struct looks take_looks(struct es_store *store)
{
    uv_mutex_lock(&store->state_lock);
    struct looks looks = store->looks;
    store->looks = (struct looks){0};
    uv_mutex_unlock(&store->state_lock);
    return looks;
}

void drop_looks(struct looks *looks)
{
    es_free(looks->items);
    *looks = (struct looks){0};
}

static int put_look(struct es_store *store, sqlite3_stmt *stmt,
                    const struct es_event *look, struct es_err *err)
{
    sqlite3_bind_int64(stmt, 1, look->ex_ms);
    sqlite3_bind_int(stmt, 2, look->team);
    sqlite3_bind_int(stmt, 3, look->subject);
    sqlite3_bind_int(stmt, 4, look->a);
    sqlite3_bind_int64(stmt, 5, look->instance);
    sqlite3_bind_int64(stmt, 6, (int64_t)look->epoch);
    sqlite3_bind_int64(stmt, 7, look->seq);
    return db_run(store, stmt, "store a look", err);
}

int put_looks(struct es_store *store, const struct looks *looks, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = 0;
    if (looks->afresh) {
        status = db_stmt(store, STMT_CLEAR_LOOKS, &stmt, err);
        if (status == 0)
            status = db_run(store, stmt, "remove looks", err);
    }
    if (status == 0 && looks->count > 0)
        status = db_stmt(store, STMT_ADD_LOOK, &stmt, err);
    for (size_t i = 0; i < looks->count && status == 0; i++)
        status = put_look(store, stmt, &looks->items[i], err);
    return status;
}

int put_mark(struct es_store *store, const struct es_clock_mark *mark,
             const struct batch *head, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_PUT_MARK, &stmt, err);
    if (status < 0)
        return status;
    sqlite3_bind_int64(stmt, 1, head->id);
    sqlite3_bind_text(stmt, 2, mark->boot_id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 3, mark->boottime_ms);
    sqlite3_bind_int64(stmt, 4, mark->ex_ms);
    sqlite3_bind_int(stmt, 5, (int)mark->state);
    sqlite3_bind_int(stmt, 6, mark->speed_permille);
    status = db_run(store, stmt, "store the clock", err);
    sqlite3_clear_bindings(stmt);
    return status;
}

int read_mark(struct es_store *store, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_GET_MARK, &stmt, err);
    if (status < 0)
        return status;
    store->has_mark = store->head.id > 0;
    store->mark = store->head.mark;
    int rc = sqlite3_step(stmt);
    const unsigned char *boot_id = rc == SQLITE_ROW ? sqlite3_column_text(stmt, 1) : NULL;
    /* One of before the last batch is older than the batch's own. */
    if (boot_id != NULL && sqlite3_column_int64(stmt, 0) == store->head.id) {
        struct es_clock_mark *mark = &store->mark;
        snprintf(mark->boot_id, sizeof mark->boot_id, "%s", (const char *)boot_id);
        mark->boottime_ms = sqlite3_column_int64(stmt, 2);
        mark->ex_ms = sqlite3_column_int64(stmt, 3);
        mark->state = (enum es_clock_state)sqlite3_column_int(stmt, 4);
        mark->speed_permille = sqlite3_column_int(stmt, 5);
        store->has_mark = true;
    } else if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        status = db_fail(store, rc, "read the clock", err);
    }
    sqlite3_reset(stmt);
    return status;
}

/* Under lock: up to `room` looks behind *after. */
static int read_some(struct es_store *store, int64_t *after, struct es_event *looks,
                     size_t room, size_t *ret_count, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_SCAN_LOOKS, &stmt, err);
    int rc = SQLITE_DONE;
    *ret_count = 0;
    if (status < 0)
        return status;
    sqlite3_bind_int64(stmt, 1, *after);
    while (*ret_count < room && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        *after = sqlite3_column_int64(stmt, 0);
        looks[(*ret_count)++] =
            (struct es_event){.type = ES_EV_OBSERVED,
                              .ex_ms = sqlite3_column_int64(stmt, 1),
                              .team = sqlite3_column_int(stmt, 2),
                              .subject = sqlite3_column_int(stmt, 3),
                              .a = sqlite3_column_int(stmt, 4),
                              .instance = (uint32_t)sqlite3_column_int64(stmt, 5),
                              .epoch = (uint64_t)sqlite3_column_int64(stmt, 6),
                              .seq = sqlite3_column_int64(stmt, 7)};
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = db_fail(store, rc, "read looks", err);
    sqlite3_reset(stmt);
    return status;
}

int es_store_read_looks(struct es_store *store,
                        int (*each)(void *ctx, const struct es_event *look), void *ctx,
                        struct es_err *err)
{
    ES_ASSERT(store != NULL && each != NULL);
    struct es_event looks[256];
    size_t count = 1;
    int64_t after = 0;
    int status = 0;
    while (status == 0 && count > 0) {
        store_lock(store);
        status = read_some(store, &after, looks, ES_COUNT(looks), &count, err);
        uv_mutex_unlock(&store->lock);
        for (size_t i = 0; i < count && status == 0; i++)
            status = each(ctx, &looks[i]);
    }
    return status;
}
