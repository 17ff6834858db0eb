/* Opening and closing a ledger; its reserve file. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "store_inner.h"

/* Blocks that a full disk cannot take from us; given back by unlinking the file. */
static int make_reserve(struct es_store *store, struct es_err *err)
{
    const char *path = store->reserve_path;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "reserve %s: %s: make room or check the rights",
                          path, strerror(errno));
    int rc = posix_fallocate(fd, 0, ES_STORE_RESERVE_BYTES);
    close(fd);
    if (rc == 0)
        return 0;
    unlink(path);
    return es_err_set(err, ES_EIO,
                      "reserve %s: %u bytes cannot be set aside: %s: make room", path,
                      ES_STORE_RESERVE_BYTES, strerror(rc));
}

/* The last batch and, through its hash, the events in it. */
static int check_tail(struct es_store *store, struct es_err *err)
{
    int64_t last = 0;
    sqlite3_stmt *stmt = NULL;
    int status = db_prepare(store,
                            "SELECT (SELECT coalesce(max(id), 0) FROM batch),"
                            " (SELECT coalesce(max(pos), 0) FROM event)",
                            &stmt, err);
    if (status < 0)
        return status;
    int rc = sqlite3_step(stmt);
    int64_t events = 0;
    if (rc == SQLITE_ROW) {
        last = sqlite3_column_int64(stmt, 0);
        events = sqlite3_column_int64(stmt, 1);
    } else {
        status = db_fail(store, rc, "read its head", err);
    }
    sqlite3_finalize(stmt);
    if (status == 0)
        status = read_batch(store, last, &store->head, err);
    if (status < 0)
        return status;
    if (store->head.last_pos != events)
        return es_err_set(err, ES_ECORRUPT,
                          "ledger %s: event %lld belongs to no batch: restore the file "
                          "from a copy",
                          store->path, (long long)(store->head.last_pos + 1));
    struct reader reader = {.store = store, .verify = true, .last_batch = last};
    struct chunk chunk = {0};
    if (last != 0) {
        status = read_batch(store, last - 1, &reader.before, err);
        if (status == 0)
            status = reader_next(&reader, &chunk, err);
    }
    chunk_finish(&chunk);
    return status;
}

static int open_store(struct es_store *store, bool create, struct es_err *err)
{
    int status = db_open(store, create, err);
    if (status < 0)
        return status;
    chain_origin(store->id, store->created_us, store->origin);
    status = check_tail(store, err);
    if (status == 0)
        status = read_mark(store, err);
    if (status < 0)
        return status;
    struct es_err reserve_err = {0};
    if (make_reserve(store, &reserve_err) < 0) {
        if (store->head.id == 0 && create)
            return es_err_set(err, reserve_err.code, "%s", reserve_err.msg);
        /* A ledger on a full disk must still be readable. */
        es_log_warn("%s", reserve_err.msg);
    }
    return 0;
}

static int make_store(const char *path, bool create, const unsigned char id[ID_BYTES],
                      int64_t created_us, struct es_store **ret_store, struct es_err *err)
{
    struct es_store *store = es_calloc(1, sizeof *store);
    if (store == NULL)
        return es_err_nomem(err);
    int rc = uv_mutex_init(&store->lock);
    ES_ASSERT(rc == 0);
    rc = uv_mutex_init(&store->turn);
    ES_ASSERT(rc == 0);
    rc = uv_mutex_init(&store->state_lock);
    ES_ASSERT(rc == 0);
    memcpy(store->id, id, ID_BYTES);
    store->created_us = created_us;
    store->path = es_strdup(path);
    store->reserve_path = es_asprintf("%s-reserve", path);
    int status = 0;
    if (store->path == NULL || store->reserve_path == NULL)
        status = es_err_nomem(err);
    if (status == 0)
        status = open_store(store, create, err);
    if (status < 0) {
        es_store_close(store);
        return status;
    }
    *ret_store = store;
    return 0;
}

int create_store(const char *path, const unsigned char id[ID_BYTES], int64_t created_us,
                 struct es_store **ret_store, struct es_err *err)
{
    return make_store(path, true, id, created_us, ret_store, err);
}

int es_store_open(const char *path, bool create, struct es_store **ret_store,
                  struct es_err *err)
{
    ES_ASSERT(path != NULL && path[0] != '\0');
    if (sodium_init() < 0)
        return es_err_set(err, ES_EINTERNAL, "libsodium cannot be initialised");
    unsigned char id[ID_BYTES];
    randombytes_buf(id, sizeof id);
    return make_store(path, create, id, wall_us(), ret_store, err);
}

void es_store_close(struct es_store *store)
{
    if (store == NULL)
        return;
    ES_ASSERT(!store->in_flight);
    drop_evidence(take_evidence(store));
    drop_looks(&store->looks);
    db_close(store);
    uv_mutex_destroy(&store->lock);
    uv_mutex_destroy(&store->turn);
    uv_mutex_destroy(&store->state_lock);
    es_free(store->path);
    es_free(store->reserve_path);
    es_free(store);
}

void store_lock(struct es_store *store)
{
    uv_mutex_lock(&store->turn);
    uv_mutex_lock(&store->lock);
    uv_mutex_unlock(&store->turn);
}

int64_t es_store_head(const struct es_store *store)
{
    ES_ASSERT(store != NULL);
    return head_of((struct es_store *)(uintptr_t)store).last_pos;
}

int es_store_last_mark(struct es_store *store, struct es_clock_mark *ret_mark)
{
    uv_mutex_lock(&store->state_lock);
    bool there = store->has_mark;
    if (there)
        *ret_mark = store->mark;
    uv_mutex_unlock(&store->state_lock);
    return there ? 0 : ES_ENOENT;
}

bool es_store_is_full(const struct es_store *store)
{
    struct es_store *s = (struct es_store *)(uintptr_t)store;
    uv_mutex_lock(&s->state_lock);
    bool full = s->is_full;
    uv_mutex_unlock(&s->state_lock);
    return full;
}
