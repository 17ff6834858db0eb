/* Reading: whole batches, checked against their hash before anyone sees an event. */
#include <string.h>

#include "enshu/common/mem.h"
#include "store_inner.h"

#define CHUNK_EVENTS 4096 /* a chunk ends with the batch that reaches this */

struct scan {
    sqlite3_stmt *batches, *events;
};

static int damaged(struct reader *reader, int64_t pos, const char *what,
                   struct es_err *err)
{
    reader->bad_pos = pos > 0 ? pos : 1;
    return es_err_set(err, ES_ECORRUPT,
                      "ledger %s: event %lld: %s: the file was changed or damaged: "
                      "restore it from a copy",
                      reader->store->path, (long long)reader->bad_pos, what);
}

static bool batch_from_row(sqlite3_stmt *row, struct batch *batch)
{
    memset(batch, 0, sizeof *batch);
    batch->id = sqlite3_column_int64(row, 0);
    batch->last_pos = sqlite3_column_int64(row, 1);
    const unsigned char *boot_id = sqlite3_column_text(row, 2);
    int boot_len = sqlite3_column_bytes(row, 2);
    const void *hash = sqlite3_column_blob(row, 8);
    if (boot_id == NULL || boot_len < 0 || boot_len > 36 || hash == NULL ||
        sqlite3_column_bytes(row, 8) != HASH_BYTES)
        return false;
    memcpy(batch->mark.boot_id, boot_id, (size_t)boot_len);
    memcpy(batch->hash, hash, HASH_BYTES);
    batch->mark.boottime_ms = sqlite3_column_int64(row, 3);
    batch->mark.ex_ms = sqlite3_column_int64(row, 4);
    batch->mark.state = (enum es_clock_state)sqlite3_column_int(row, 5);
    batch->mark.speed_permille = sqlite3_column_int(row, 6);
    batch->wall_us = sqlite3_column_int64(row, 7);
    return batch->mark.state >= ES_CLOCK_READY && batch->mark.state <= ES_CLOCK_STOPPED;
}

int read_batch(struct es_store *store, int64_t id, struct batch *ret_batch,
               struct es_err *err)
{
    memset(ret_batch, 0, sizeof *ret_batch);
    memcpy(ret_batch->hash, store->origin, HASH_BYTES);
    if (id == 0)
        return 0;
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_BATCH_AT, &stmt, err);
    if (status < 0)
        return status;
    sqlite3_bind_int64(stmt, 1, id);
    int rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW || !batch_from_row(stmt, ret_batch))
        status = rc == SQLITE_ROW || rc == SQLITE_DONE
                     ? es_err_set(err, ES_ECORRUPT,
                                  "ledger %s: batch %lld is missing or damaged: restore "
                                  "the file from a copy",
                                  store->path, (long long)id)
                     : db_fail(store, rc, "read", err);
    sqlite3_reset(stmt);
    return status;
}

int reader_init(struct reader *reader, struct es_store *store, int64_t from_pos,
                bool verify, struct es_err *err)
{
    memset(reader, 0, sizeof *reader);
    reader->store = store;
    reader->verify = verify;
    store_lock(store);
    reader->last_batch = head_of(store).id;
    /* The last batch that ends before from_pos, by halving: ids are 1 … n. */
    int64_t low = 0, high = reader->last_batch;
    int status = 0;
    while (low < high && from_pos > 1 && status == 0) {
        int64_t middle = low + (high - low + 1) / 2;
        struct batch batch;
        status = read_batch(store, middle, &batch, err);
        if (status == 0 && batch.last_pos < from_pos)
            low = middle;
        else
            high = middle - 1;
    }
    if (status == 0)
        status = read_batch(store, low, &reader->before, err);
    uv_mutex_unlock(&store->lock);
    return status;
}

static int chunk_grow(struct chunk *chunk, struct es_err *err)
{
    size_t cap = chunk->cap == 0 ? 1024 : chunk->cap * 2;
    struct es_event *events = es_grow(chunk->events, cap, sizeof *events);
    if (events == NULL)
        return es_err_nomem(err);
    chunk->events = events;
    struct text_ref *refs = es_grow(chunk->refs, cap, sizeof *refs);
    if (refs == NULL)
        return es_err_nomem(err);
    chunk->refs = refs;
    chunk->cap = cap;
    return 0;
}

void chunk_finish(struct chunk *chunk)
{
    es_free(chunk->events);
    es_free(chunk->refs);
    es_free(chunk->batches);
    es_buf_finish(&chunk->texts);
    memset(chunk, 0, sizeof *chunk);
}

static int take_event(struct chunk *chunk, sqlite3_stmt *row, struct es_err *err)
{
    if (chunk->count == chunk->cap) {
        int status = chunk_grow(chunk, err);
        if (status < 0)
            return status;
    }
    struct es_event *event = &chunk->events[chunk->count];
    event->pos = sqlite3_column_int64(row, 0);
    event->ex_ms = sqlite3_column_int64(row, 1);
    event->type = sqlite3_column_int(row, 2);
    event->team = sqlite3_column_int(row, 3);
    event->subject = sqlite3_column_int(row, 4);
    event->a = sqlite3_column_int(row, 5);
    event->b = sqlite3_column_int64(row, 6);
    event->instance = (uint32_t)sqlite3_column_int64(row, 7);
    event->epoch = (uint64_t)sqlite3_column_int64(row, 8);
    event->seq = sqlite3_column_int64(row, 9);
    event->text = NULL;
    struct text_ref *ref = &chunk->refs[chunk->count];
    *ref = (struct text_ref){.at = NO_TEXT};
    const unsigned char *text = sqlite3_column_text(row, 10);
    if (text != NULL) {
        ref->at = (uint32_t)chunk->texts.len;
        ref->len = (uint32_t)sqlite3_column_bytes(row, 10);
        es_buf_append(&chunk->texts, text, ref->len);
        es_buf_append(&chunk->texts, "", 1);
        if (es_buf_status(&chunk->texts) < 0)
            return es_err_nomem(err);
    } else if (sqlite3_column_type(row, 10) != SQLITE_NULL) {
        return es_err_nomem(err);
    }
    chunk->count++;
    return 0;
}

/* The batch's events, from the chunk's index `first`, their texts in place. */
static int check_batch(struct reader *reader, struct chunk *chunk, size_t first,
                       const struct batch *batch, struct es_err *err)
{
    struct chain chain;
    unsigned char hash[HASH_BYTES];
    chain_begin(&chain, reader->before.hash, batch);
    for (size_t i = first; i < chunk->count; i++) {
        struct es_event event = chunk->events[i];
        const struct text_ref *ref = &chunk->refs[i];
        if (ref->at != NO_TEXT)
            event.text = chunk->texts.data + ref->at;
        chain_event(&chain, &event, ref->len);
    }
    chain_end(&chain, hash);
    if (memcmp(hash, batch->hash, HASH_BYTES) != 0)
        return damaged(reader, reader->before.last_pos + 1,
                       "the hash of its batch does not match", err);
    return 0;
}

static int step(struct reader *reader, sqlite3_stmt *stmt, struct es_err *err)
{
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        return 0;
    if (rc == SQLITE_DONE)
        return damaged(reader, reader->before.last_pos + 1, "it is missing", err);
    int status = db_fail(reader->store, rc, "read", err);
    if (status == ES_ECORRUPT)
        reader->bad_pos = reader->before.last_pos + 1;
    return status;
}

static int next_batch(struct reader *reader, struct scan *scan, struct chunk *chunk,
                      struct es_err *err)
{
    struct batch batch;
    int64_t pos = reader->before.last_pos;
    int status = step(reader, scan->batches, err);
    if (status < 0)
        return status;
    if (!batch_from_row(scan->batches, &batch) || batch.id != reader->before.id + 1)
        return damaged(reader, pos + 1, "its batch is missing or damaged", err);
    batch.count = batch.last_pos - pos;
    if (batch.count < 0 || batch.count > ES_STORE_BATCH_MAX)
        return damaged(reader, pos + 1, "its batch has an impossible size", err);
    size_t first = chunk->count;
    while (pos < batch.last_pos && status == 0) {
        status = step(reader, scan->events, err);
        if (status == 0)
            status = take_event(chunk, scan->events, err);
        pos++;
        if (status == 0 && chunk->events[chunk->count - 1].pos != pos)
            status = damaged(reader, pos, "it is missing", err);
    }
    if (status == 0 && reader->verify)
        status = check_batch(reader, chunk, first, &batch, err);
    if (status < 0)
        return status;
    if (chunk->batch_count == chunk->batch_cap) {
        size_t cap = chunk->batch_cap == 0 ? 64 : chunk->batch_cap * 2;
        struct batch *batches = es_grow(chunk->batches, cap, sizeof *batches);
        if (batches == NULL)
            return es_err_nomem(err);
        chunk->batches = batches;
        chunk->batch_cap = cap;
    }
    chunk->batches[chunk->batch_count++] = batch;
    reader->before = batch;
    return 0;
}

static int scan_begin(struct reader *reader, struct scan *scan, struct es_err *err)
{
    struct es_store *store = reader->store;
    int status = db_stmt(store, STMT_SCAN_BATCHES, &scan->batches, err);
    if (status == 0)
        status = db_stmt(store, STMT_SCAN_EVENTS, &scan->events, err);
    if (status < 0)
        return status;
    sqlite3_bind_int64(scan->batches, 1, reader->before.id);
    sqlite3_bind_int64(scan->events, 1, reader->before.last_pos);
    return 0;
}

static void chunk_clear(struct chunk *chunk)
{
    chunk->count = 0;
    chunk->batch_count = 0;
    if (chunk->texts.max_bytes == 0)
        es_buf_init(&chunk->texts, (size_t)3 * ES_STORE_BATCH_TEXT_MAX);
    es_buf_clear(&chunk->texts);
}

/* Once the texts lie still. */
static void place_texts(struct chunk *chunk)
{
    for (size_t i = 0; i < chunk->count; i++)
        if (chunk->refs[i].at != NO_TEXT)
            chunk->events[i].text = chunk->texts.data + chunk->refs[i].at;
}

int reader_next(struct reader *reader, struct chunk *chunk, struct es_err *err)
{
    chunk_clear(chunk);
    if (reader->before.id >= reader->last_batch)
        return 0;
    struct es_store *store = reader->store;
    struct scan scan;
    store_lock(store);
    int status = scan_begin(reader, &scan, err);
    if (status == 0) {
        while (status == 0 && reader->before.id < reader->last_batch &&
               chunk->count < CHUNK_EVENTS && chunk->batch_count < CHUNK_EVENTS &&
               chunk->texts.len < ES_STORE_BATCH_TEXT_MAX)
            status = next_batch(reader, &scan, chunk, err);
        sqlite3_reset(scan.batches);
        sqlite3_reset(scan.events);
    }
    uv_mutex_unlock(&store->lock);
    if (status == 0)
        place_texts(chunk);
    return status;
}

int es_store_read(struct es_store *store, int64_t from_pos, bool verify,
                  int (*each)(void *ctx, const struct es_event *event), void *ctx,
                  struct es_err *err)
{
    struct reader reader;
    struct chunk chunk = {0};
    int status = reader_init(&reader, store, from_pos, verify, err);
    while (status == 0) {
        status = reader_next(&reader, &chunk, err);
        if (status < 0 || chunk.batch_count == 0)
            break;
        for (size_t i = 0; i < chunk.count && status == 0; i++)
            if (chunk.events[i].pos >= from_pos)
                status = each(ctx, &chunk.events[i]);
    }
    chunk_finish(&chunk);
    return status;
}

/* Under lock: the chosen events with pos in (after, upto]. */
static int scan_types(struct es_store *store, int64_t after, int64_t upto,
                      uint32_t type_set, struct chunk *chunk, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_SCAN_TYPES, &stmt, err);
    if (status < 0)
        return status;
    sqlite3_bind_int64(stmt, 1, after);
    sqlite3_bind_int64(stmt, 2, upto);
    sqlite3_bind_int64(stmt, 3, type_set);
    int rc;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && status == 0)
        status = take_event(chunk, stmt, err);
    if (status == 0 && rc != SQLITE_DONE)
        status = db_fail(store, rc, "read", err);
    sqlite3_reset(stmt);
    return status;
}

int es_store_read_types(struct es_store *store, uint32_t type_set,
                        int (*each)(void *ctx, const struct es_event *event), void *ctx,
                        struct es_err *err)
{
    int64_t head = es_store_head(store);
    struct chunk chunk = {0};
    int status = 0;
    for (int64_t after = 0; after < head && status == 0; after += CHUNK_EVENTS) {
        int64_t upto = after + CHUNK_EVENTS < head ? after + CHUNK_EVENTS : head;
        chunk_clear(&chunk);
        store_lock(store);
        status = scan_types(store, after, upto, type_set, &chunk, err);
        uv_mutex_unlock(&store->lock);
        if (status == 0)
            place_texts(&chunk);
        for (size_t i = 0; i < chunk.count && status == 0; i++)
            status = each(ctx, &chunk.events[i]);
    }
    chunk_finish(&chunk);
    return status;
}
