/* A ledger as JSON lines (store.h has the format). */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "store_inner.h"

#define PIECE_BYTES 49152 /* of a blob on one line */

struct out {
    struct es_store *store;
    int (*write)(void *ctx, const char *line, size_t len);
    void *ctx;
    struct es_buf line;
    struct es_err *err;
};

static int on_json(const char *bytes, size_t len, void *ctx)
{
    return es_buf_append(ctx, bytes, len);
}

/* Takes the object, which may be NULL when memory was out. */
static int put_line(struct out *out, json_t *object)
{
    es_buf_clear(&out->line);
    int rc = object != NULL
                 ? json_dump_callback(object, on_json, &out->line, JSON_COMPACT)
                 : -1;
    json_decref(object);
    if (rc != 0 || es_buf_putc(&out->line, '\n') < 0)
        return es_err_nomem(out->err);
    return out->write(out->ctx, out->line.data, out->line.len);
}

static void hex(char *dst, size_t size, const unsigned char *bytes, size_t len)
{
    sodium_bin2hex(dst, size, bytes, len);
}

static int put_head(struct out *out)
{
    char id[2 * ID_BYTES + 1], hash[2 * HASH_BYTES + 1];
    hex(id, sizeof id, out->store->id, ID_BYTES);
    hex(hash, sizeof hash, out->store->origin, HASH_BYTES);
    return put_line(out, json_pack("{s:i, s:s, s:I, s:s}", "enshu_ledger", FORMAT, "id",
                                   id, "created_us", (json_int_t)out->store->created_us,
                                   "hash", hash));
}

static int put_event(struct out *out, const struct es_event *event)
{
    char epoch[17];
    const char *name = es_event_name(event->type);
    snprintf(epoch, sizeof epoch, "%016" PRIx64, event->epoch);
    return put_line(
        out,
        json_pack("{s:I, s:I, s:i, s:s, s:i, s:i, s:i, s:I, s:I, s:s, s:I, s:s*}", "pos",
                  (json_int_t)event->pos, "ex_ms", (json_int_t)event->ex_ms, "type",
                  event->type, "name", name != NULL ? name : "", "team", event->team,
                  "subject", event->subject, "a", event->a, "b", (json_int_t)event->b,
                  "instance", (json_int_t)event->instance, "epoch", epoch, "seq",
                  (json_int_t)event->seq, "text", event->text));
}

static int put_batch(struct out *out, const struct batch *batch)
{
    char hash[2 * HASH_BYTES + 1];
    hex(hash, sizeof hash, batch->hash, HASH_BYTES);
    return put_line(
        out,
        json_pack("{s:I, s:I, s:s, s:I, s:I, s:i, s:i, s:I, s:s}", "batch",
                  (json_int_t)batch->id, "events", (json_int_t)batch->count, "boot_id",
                  batch->mark.boot_id, "boottime_ms", (json_int_t)batch->mark.boottime_ms,
                  "ex_ms", (json_int_t)batch->mark.ex_ms, "state", (int)batch->mark.state,
                  "speed", (int)batch->mark.speed_permille, "wall_us",
                  (json_int_t)batch->wall_us, "hash", hash));
}

static int put_end(struct out *out, const struct batch *head)
{
    struct signature signature;
    store_lock(out->store);
    int status = read_signature(out->store, &signature, out->err);
    uv_mutex_unlock(&out->store->lock);
    if (status < 0)
        return status;
    bool is_signed = signature.batch != 0 && signature.batch == head->id;
    char hash[2 * HASH_BYTES + 1], key[2 * sizeof signature.public_key + 1],
        bytes[2 * sizeof signature.bytes + 1];
    hex(hash, sizeof hash, head->hash, HASH_BYTES);
    hex(key, sizeof key, signature.public_key, sizeof signature.public_key);
    hex(bytes, sizeof bytes, signature.bytes, sizeof signature.bytes);
    return put_line(out,
                    json_pack("{s:b, s:I, s:I, s:s, s:s*, s:s*}", "end", 1, "events",
                              (json_int_t)head->last_pos, "batches", (json_int_t)head->id,
                              "hash", hash, "public_key", is_signed ? key : NULL,
                              "signature", is_signed ? bytes : NULL));
}

/* ------------------------------------------------------------------ blobs */

static int put_piece(struct out *out, const char *name, const struct es_buf *blob,
                     size_t off)
{
    size_t len = blob->len - off < PIECE_BYTES ? blob->len - off : PIECE_BYTES;
    size_t size = sodium_base64_ENCODED_LEN(PIECE_BYTES, sodium_base64_VARIANT_ORIGINAL);
    char *text = es_alloc(size);
    if (text == NULL)
        return es_err_nomem(out->err);
    sodium_bin2base64(text, size, (const unsigned char *)es_buf_str(blob) + off, len,
                      sodium_base64_VARIANT_ORIGINAL);
    int status = put_line(out, json_pack("{s:s, s:I, s:I, s:s}", "blob", name, "size",
                                         (json_int_t)blob->len, "off", (json_int_t)off,
                                         "data", text));
    es_free(text);
    return status;
}

static int put_blob_lines(struct out *out, const char *name)
{
    struct es_buf blob;
    es_buf_init(&blob, ES_STORE_BLOB_MAX);
    int status = es_store_get_blob(out->store, name, &blob, out->err);
    for (size_t off = 0; status == 0 && (off < blob.len || off == 0); off += PIECE_BYTES)
        status = put_piece(out, name, &blob, off);
    es_buf_finish(&blob);
    return status;
}

static int put_blobs(struct out *out)
{
    static const char *const travel[] = {"scenario", "scenario/*"};
    struct es_buf name;
    int status = 0;
    es_buf_init(&name, 256);
    for (size_t i = 0; i < ES_COUNT(travel) && status == 0; i++) {
        es_buf_clear(&name);
        status = next_blob(out->store, travel[i], &name, out->err);
        while (status == 0 && name.len != 0) {
            status = put_blob_lines(out, es_buf_str(&name));
            if (status == 0)
                status = next_blob(out->store, travel[i], &name, out->err);
        }
    }
    es_buf_finish(&name);
    return status;
}

static int put_person_line(void *ctx, const char *id, const char *name)
{
    return put_line(ctx, json_pack("{s:s, s:s}", "person", id, "name", name));
}

/* ------------------------------------------------------------------ all of it */

static int put_chunk(struct out *out, const struct chunk *chunk)
{
    size_t next = 0;
    int status = 0;
    for (size_t i = 0; i < chunk->batch_count && status == 0; i++) {
        const struct batch *batch = &chunk->batches[i];
        for (; status == 0 && next < chunk->count &&
               chunk->events[next].pos <= batch->last_pos;
             next++)
            status = put_event(out, &chunk->events[next]);
        if (status == 0)
            status = put_batch(out, batch);
    }
    return status;
}

int es_store_export(struct es_store *store,
                    int (*write)(void *ctx, const char *line, size_t len), void *ctx,
                    struct es_err *err)
{
    ES_ASSERT(store != NULL && write != NULL);
    struct out out = {.store = store, .write = write, .ctx = ctx, .err = err};
    struct reader reader;
    struct chunk chunk = {0};
    es_buf_init(&out.line, (size_t)1 << 20);
    int status = reader_init(&reader, store, 1, true, err);
    if (status == 0)
        status = put_head(&out);
    if (status == 0)
        status = es_store_read_persons(store, put_person_line, &out, err);
    if (status == 0)
        status = put_blobs(&out);
    while (status == 0) {
        status = reader_next(&reader, &chunk, err);
        if (status < 0 || chunk.batch_count == 0)
            break;
        status = put_chunk(&out, &chunk);
    }
    if (status == 0)
        status = put_end(&out, &reader.before);
    chunk_finish(&chunk);
    es_buf_finish(&out.line);
    return status;
}
