/* A ledger made again from its exported lines; every hash is recomputed on the way. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "store_inner.h"

#define LINE_BYTES (1U << 20) /* a text of 64 KiB, each byte escaped, and room */

struct in {
    const char *path, *store_path;
    FILE *file;
    int64_t line_no;
    char *line;
    struct es_store *store;
    struct es_event *events; /* of the batch whose line has not come */
    size_t count, text_bytes;
    struct es_arena texts;
    char blob_name[201];
    int64_t blob_size;
    struct es_buf blob;
    bool is_over;
    struct es_err *err;
};

static int bad_line(struct in *in, const char *what)
{
    return es_err_set(in->err, ES_ECORRUPT, "%s:%lld: %s: export the ledger again",
                      in->path, (long long)in->line_no, what);
}

static bool get_int(const json_t *object, const char *key, int64_t min, int64_t max,
                    int64_t *ret_value)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        return false;
    *ret_value = json_integer_value(value);
    return *ret_value >= min && *ret_value <= max;
}

static bool get_i32(const json_t *object, const char *key, int *ret_value)
{
    int64_t value;
    if (!get_int(object, key, INT32_MIN, INT32_MAX, &value))
        return false;
    *ret_value = (int)value;
    return true;
}

static bool get_hex(const json_t *object, const char *key, unsigned char *dst,
                    size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    size_t len = 0;
    return text != NULL && strlen(text) == 2 * size &&
           sodium_hex2bin(dst, size, text, 2 * size, NULL, &len, NULL) == 0 &&
           len == size;
}

static int take_head(struct in *in, const json_t *object)
{
    int64_t format, created_us;
    unsigned char id[ID_BYTES], hash[HASH_BYTES];
    if (!get_int(object, "enshu_ledger", 1, INT32_MAX, &format))
        return bad_line(in, "this is no exported ledger");
    if (format != FORMAT)
        return es_err_set(
            in->err, ES_ENOTSUP,
            "%s has format %lld, this enshu reads format %d: use the version "
            "that wrote it",
            in->path, (long long)format, FORMAT);
    if (!get_hex(object, "id", id, sizeof id) ||
        !get_int(object, "created_us", INT64_MIN, INT64_MAX, &created_us) ||
        !get_hex(object, "hash", hash, sizeof hash))
        return bad_line(in, "the head line is incomplete");
    int status = create_store(in->store_path, id, created_us, &in->store, in->err);
    if (status < 0)
        return status;
    if (memcmp(hash, in->store->origin, HASH_BYTES) != 0)
        return bad_line(in, "the first hash does not match");
    /* Nothing is acknowledged before the end, which syncs it all. */
    return db_exec(in->store, "PRAGMA synchronous=OFF", in->err);
}

static int take_event(struct in *in, const json_t *object)
{
    struct es_event event = {0};
    int64_t instance;
    unsigned char epoch[8];
    const json_t *text = json_object_get(object, "text");
    if (in->count == ES_STORE_BATCH_MAX)
        return bad_line(in, "the batch has too many events");
    if (!get_int(object, "pos", 1, INT64_MAX, &event.pos) ||
        !get_int(object, "ex_ms", INT64_MIN, INT64_MAX, &event.ex_ms) ||
        !get_i32(object, "type", &event.type) || !get_i32(object, "team", &event.team) ||
        !get_i32(object, "subject", &event.subject) || !get_i32(object, "a", &event.a) ||
        !get_int(object, "b", INT64_MIN, INT64_MAX, &event.b) ||
        !get_int(object, "instance", 0, UINT32_MAX, &instance) ||
        !get_hex(object, "epoch", epoch, sizeof epoch) ||
        !get_int(object, "seq", INT64_MIN, INT64_MAX, &event.seq) ||
        (text != NULL && !json_is_string(text)))
        return bad_line(in, "the event is incomplete");
    if (event.pos != es_store_head(in->store) + 1 + (int64_t)in->count)
        return bad_line(in, "an event is missing before this one");
    event.instance = (uint32_t)instance;
    for (size_t i = 0; i < sizeof epoch; i++)
        event.epoch = event.epoch << 8 | epoch[i];
    if (text != NULL) {
        in->text_bytes += json_string_length(text) + 1;
        if (in->text_bytes > 2 * ES_STORE_BATCH_TEXT_MAX)
            return bad_line(in, "the texts of the batch are too long");
        event.text = es_arena_strdup(&in->texts, json_string_value(text));
        if (event.text == NULL)
            return es_err_nomem(in->err);
    }
    in->events[in->count++] = event;
    return 0;
}

static int take_batch(struct in *in, const json_t *object)
{
    struct es_clock_mark mark = {0};
    int64_t id, count, state, at_wall_us;
    unsigned char hash[HASH_BYTES];
    const char *boot_id = json_string_value(json_object_get(object, "boot_id"));
    if (!get_int(object, "batch", 1, INT64_MAX, &id) ||
        !get_int(object, "events", 0, ES_STORE_BATCH_MAX, &count) || boot_id == NULL ||
        strlen(boot_id) >= sizeof mark.boot_id ||
        !get_int(object, "boottime_ms", INT64_MIN, INT64_MAX, &mark.boottime_ms) ||
        !get_int(object, "ex_ms", INT64_MIN, INT64_MAX, &mark.ex_ms) ||
        !get_int(object, "state", ES_CLOCK_READY, ES_CLOCK_STOPPED, &state) ||
        !get_i32(object, "speed", &mark.speed_permille) ||
        !get_int(object, "wall_us", INT64_MIN, INT64_MAX, &at_wall_us) ||
        !get_hex(object, "hash", hash, sizeof hash))
        return bad_line(in, "the batch is incomplete");
    if (id != head_of(in->store).id + 1 || (size_t)count != in->count)
        return bad_line(in, "a batch or one of its events is missing");
    memcpy(mark.boot_id, boot_id, strlen(boot_id));
    mark.state = (enum es_clock_state)state;
    int status = store_batch(in->store, &mark, in->events, in->count, NULL, NULL,
                             at_wall_us, in->err);
    if (status == ES_EINVAL || status == ES_ELIMIT)
        return bad_line(in, "an event of the batch is out of bounds");
    if (status == 0 && memcmp(head_of(in->store).hash, hash, HASH_BYTES) != 0)
        return bad_line(in, "the hash of the batch does not match");
    in->count = 0;
    in->text_bytes = 0;
    es_arena_finish(&in->texts);
    return status;
}

static int take_piece(struct in *in, const json_t *object)
{
    const char *name = json_string_value(json_object_get(object, "blob"));
    const char *data = json_string_value(json_object_get(object, "data"));
    int64_t size, off;
    if (name == NULL || name[0] == '\0' || strlen(name) >= sizeof in->blob_name ||
        data == NULL || !get_int(object, "size", 0, ES_STORE_BLOB_MAX, &size) ||
        !get_int(object, "off", 0, size, &off))
        return bad_line(in, "the piece of a blob is incomplete");
    if (off == 0 && in->blob_name[0] == '\0') {
        memcpy(in->blob_name, name, strlen(name) + 1);
        in->blob_size = size;
        es_buf_clear(&in->blob);
    }
    if (strcmp(name, in->blob_name) != 0 || size != in->blob_size ||
        (size_t)off != in->blob.len)
        return bad_line(in, "a piece of a blob is missing");
    /* The line is parsed: its space takes the bytes, which are fewer than their text. */
    size_t len = 0;
    unsigned char *bytes = (unsigned char *)in->line;
    if (sodium_base642bin(bytes, LINE_BYTES, data, strlen(data), NULL, &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return bad_line(in, "the piece is not base64");
    if (es_buf_append(&in->blob, bytes, len) < 0)
        return es_err_nomem(in->err);
    if (in->blob.len > (size_t)size || (len == 0 && size != 0))
        return bad_line(in, "the piece has the wrong size");
    if (in->blob.len < (size_t)size)
        return 0;
    int status =
        es_store_put_blob(in->store, in->blob_name, in->blob.data, in->blob.len, in->err);
    in->blob_name[0] = '\0';
    return status;
}

static int take_person(struct in *in, const json_t *object)
{
    const char *id = json_string_value(json_object_get(object, "person"));
    const char *name = json_string_value(json_object_get(object, "name"));
    if (id == NULL || name == NULL || id[0] == '\0' ||
        strlen(id) >= ES_STORE_PERSON_BYTES)
        return bad_line(in, "the person is incomplete");
    return put_person(in->store, id, name, in->err);
}

static int take_end(struct in *in, const json_t *object)
{
    int64_t events, batches;
    unsigned char hash[HASH_BYTES];
    struct batch head = head_of(in->store);
    in->is_over = true;
    if (!get_int(object, "events", 0, INT64_MAX, &events) ||
        !get_int(object, "batches", 0, INT64_MAX, &batches) ||
        !get_hex(object, "hash", hash, sizeof hash))
        return bad_line(in, "the last line is incomplete");
    if (in->count != 0 || in->blob_name[0] != '\0' || events != head.last_pos ||
        batches != head.id || memcmp(hash, head.hash, HASH_BYTES) != 0)
        return bad_line(in, "lines are missing before the last one");
    if (json_object_get(object, "signature") == NULL)
        return 0;
    struct signature signature = {.batch = head.id};
    if (!get_hex(object, "public_key", signature.public_key,
                 sizeof signature.public_key) ||
        !get_hex(object, "signature", signature.bytes, sizeof signature.bytes))
        return bad_line(in, "the signature is incomplete");
    if (!signature_fits(&signature, in->store, &head))
        return bad_line(in, "the signature does not match");
    return add_signature(in->store, &signature, in->err);
}

static int take_line(struct in *in, const json_t *object)
{
    if (in->store == NULL)
        return take_head(in, object);
    if (in->is_over)
        return bad_line(in, "a line after the last one");
    if (json_object_get(object, "pos") != NULL)
        return take_event(in, object);
    if (json_object_get(object, "batch") != NULL)
        return take_batch(in, object);
    if (json_object_get(object, "blob") != NULL)
        return take_piece(in, object);
    if (json_object_get(object, "person") != NULL)
        return take_person(in, object);
    if (json_is_true(json_object_get(object, "end")))
        return take_end(in, object);
    return bad_line(in, "a line of no known kind");
}

static int take_lines(struct in *in)
{
    int status = 0;
    while (status == 0 && fgets(in->line, LINE_BYTES, in->file) != NULL) {
        in->line_no++;
        size_t len = strlen(in->line);
        if (len == 0 || in->line[len - 1] != '\n')
            return bad_line(in, "the line is cut off or too long");
        json_error_t error;
        json_t *object = json_loadb(in->line, len, JSON_REJECT_DUPLICATES, &error);
        if (object == NULL && json_error_code(&error) == json_error_out_of_memory)
            return es_err_nomem(in->err);
        status = json_is_object(object) ? take_line(in, object)
                                        : bad_line(in, "the line is no JSON object");
        json_decref(object);
    }
    if (status == 0 && ferror(in->file))
        return es_err_set(in->err, ES_EIO, "%s cannot be read: %s", in->path,
                          strerror(errno));
    if (status == 0 && !in->is_over)
        return bad_line(in, "the end is missing");
    return status;
}

static int settle(struct in *in)
{
    int status = db_exec(in->store, "PRAGMA synchronous=FULL", in->err);
    if (status < 0)
        return status;
    int rc = sqlite3_wal_checkpoint_v2(in->store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE,
                                       NULL, NULL);
    return rc == SQLITE_OK ? 0 : db_fail(in->store, rc, "write", in->err);
}

static int import(struct in *in)
{
    in->file = fopen(in->path, "re");
    if (in->file == NULL)
        return es_err_set(in->err, errno == ENOENT ? ES_ENOENT : ES_EIO,
                          "%s cannot be opened: %s: check the path", in->path,
                          strerror(errno));
    in->line = es_alloc(LINE_BYTES);
    in->events = es_calloc(ES_STORE_BATCH_MAX, sizeof *in->events);
    es_buf_init(&in->blob, ES_STORE_BLOB_MAX);
    int status =
        in->line != NULL && in->events != NULL ? take_lines(in) : es_err_nomem(in->err);
    if (status == 0)
        status = settle(in);
    es_store_close(in->store);
    es_arena_finish(&in->texts);
    es_buf_finish(&in->blob);
    es_free(in->events);
    es_free(in->line);
    fclose(in->file);
    return status;
}

/* Built under another name, so that the right one never holds half a ledger. */
static void remove_all(const char *path)
{
    static const char *const ends[] = {"", "-wal", "-journal", "-reserve"};
    char name[4096];
    for (size_t i = 0; i < ES_COUNT(ends); i++)
        if (es_str_printf(name, sizeof name, "%s%s", path, ends[i]) == 0)
            unlink(name);
}

int es_store_import(const char *export_path, const char *path, struct es_err *err)
{
    ES_ASSERT(export_path != NULL && path != NULL && path[0] != '\0');
    char part[4096];
    if (sodium_init() < 0)
        return es_err_set(err, ES_EINTERNAL, "libsodium cannot be initialised");
    if (es_str_printf(part, sizeof part, "%s.part", path) < 0)
        return es_err_set(err, ES_ELIMIT, "the path %s is too long", path);
    if (access(path, F_OK) == 0)
        return es_err_set(err, ES_EEXIST, "%s is there already: choose another name",
                          path);
    remove_all(part);
    struct in in = {.path = export_path, .store_path = part, .err = err};
    int status = import(&in);
    if (status == 0 && link(part, path) < 0)
        status = es_err_set(err, errno == EEXIST ? ES_EEXIST : ES_EIO,
                            "%s cannot be made: %s", path, strerror(errno));
    remove_all(part);
    return status;
}
