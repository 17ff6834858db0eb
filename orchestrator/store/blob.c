/* Blobs beside the chain, and evidence that waits for its commit. */
#include <string.h>

#include "enshu/common/mem.h"
#include "store_inner.h"

#define NAME_MAX_BYTES 200

int put_blob(struct es_store *store, const char *name, const unsigned char *key,
             const void *data, size_t len, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = db_stmt(store, STMT_PUT_BLOB, &stmt, err);
    if (status < 0)
        return status;
    sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
    if (key != NULL)
        sqlite3_bind_blob(stmt, 2, key, HASH_BYTES, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, 2);
    sqlite3_bind_blob64(stmt, 3, len != 0 ? data : "", len, SQLITE_STATIC);
    status = db_run(store, stmt, "store a blob", err);
    sqlite3_clear_bindings(stmt);
    return status;
}

static int check_name(const char *name, struct es_err *err)
{
    ES_ASSERT(name != NULL);
    size_t len = strnlen(name, NAME_MAX_BYTES + 1);
    if (len == 0 || len > NAME_MAX_BYTES)
        return es_err_set(err, ES_EINVAL, "the name of a blob has 1 to %d bytes",
                          NAME_MAX_BYTES);
    return 0;
}

int es_store_put_blob(struct es_store *store, const char *name, const void *data,
                      size_t len, struct es_err *err)
{
    ES_ASSERT(store != NULL && (data != NULL || len == 0));
    int status = check_name(name, err);
    if (status < 0)
        return status;
    if (len > ES_STORE_BLOB_MAX)
        return es_err_set(err, ES_ELIMIT, "blob %s has %zu bytes: at most %u", name, len,
                          ES_STORE_BLOB_MAX);
    store_lock(store);
    status = check_writable(store, err);
    if (status == 0)
        status = db_begin(store, err);
    if (status == 0)
        status = end_write(store, put_blob(store, name, NULL, data, len, err), err);
    uv_mutex_unlock(&store->lock);
    return status;
}

static int take_blob(struct es_store *store, sqlite3_stmt *row, const char *name,
                     struct es_buf *out, struct es_err *err)
{
    const void *data = sqlite3_column_blob(row, 1);
    size_t len = (size_t)sqlite3_column_bytes(row, 1);
    if (data == NULL && len != 0)
        return es_err_nomem(err);
    if (sqlite3_column_bytes(row, 0) == HASH_BYTES) {
        unsigned char hash[HASH_BYTES];
        char hex[2 * HASH_BYTES + 1];
        crypto_generichash(hash, sizeof hash, data, len, sqlite3_column_blob(row, 0),
                           HASH_BYTES);
        sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
        if (strcmp(hex, name) != 0)
            return es_err_set(err, ES_ECORRUPT,
                              "ledger %s: evidence %s was changed: restore the file from "
                              "a copy",
                              store->path, name);
    }
    int status = es_buf_append(out, data, len);
    if (status < 0)
        return es_err_set(err, status, "blob %s of %zu bytes: %s", name, len,
                          es_status_text(status));
    return 0;
}

int es_store_get_blob(struct es_store *store, const char *name, struct es_buf *out,
                      struct es_err *err)
{
    int status = check_name(name, err);
    if (status < 0)
        return status;
    store_lock(store);
    sqlite3_stmt *stmt;
    status = db_stmt(store, STMT_GET_BLOB, &stmt, err);
    if (status == 0) {
        sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            status = take_blob(store, stmt, name, out, err);
        else if (rc == SQLITE_DONE)
            status =
                es_err_set(err, ES_ENOENT, "ledger %s has no blob %s", store->path, name);
        else
            status = db_fail(store, rc, "read a blob", err);
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    uv_mutex_unlock(&store->lock);
    return status;
}

int next_blob(struct es_store *store, const char *glob, struct es_buf *name,
              struct es_err *err)
{
    sqlite3_stmt *stmt;
    store_lock(store);
    int status = db_stmt(store, STMT_NEXT_BLOB, &stmt, err);
    if (status == 0) {
        sqlite3_bind_text(stmt, 1, es_buf_str(name), -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(stmt, 2, glob, -1, SQLITE_STATIC);
        int rc = sqlite3_step(stmt);
        es_buf_clear(name);
        if (rc == SQLITE_ROW)
            status = es_buf_puts(name, (const char *)sqlite3_column_text(stmt, 0));
        else if (rc != SQLITE_DONE)
            status = db_fail(store, rc, "list blobs", err);
        if (status == ES_ENOMEM)
            es_err_nomem(err);
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    uv_mutex_unlock(&store->lock);
    return status;
}

/* secure_delete overwrites the row; the checkpoint overwrites it in the file and empties
 * the WAL, which may still hold a copy. */
static int erase(struct es_store *store, const char *name, struct es_err *err)
{
    sqlite3_stmt *stmt;
    int status = check_writable(store, err);
    if (status == 0)
        status = db_begin(store, err);
    if (status < 0)
        return status;
    int changes = 0;
    status = db_stmt(store, STMT_ERASE_BLOB, &stmt, err);
    if (status == 0) {
        sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        status = db_run(store, stmt, "erase a blob", err);
        changes = sqlite3_changes(store->db);
        sqlite3_clear_bindings(stmt);
    }
    status = end_write(store, status, err);
    if (status < 0)
        return status;
    int rc = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                       NULL);
    if (rc != SQLITE_OK)
        return db_fail(store, rc, "overwrite an erased blob", err);
    if (changes == 0)
        return es_err_set(err, ES_ENOENT, "ledger %s has no blob %s", store->path, name);
    return 0;
}

int es_store_erase_blob(struct es_store *store, const char *name, struct es_err *err)
{
    int status = check_name(name, err);
    if (status < 0)
        return status;
    store_lock(store);
    status = erase(store, name, err);
    uv_mutex_unlock(&store->lock);
    return status;
}

/* ------------------------------------------------------------------ evidence */

static int make_evidence(const void *data, size_t len, struct evidence **ret_evidence,
                         struct es_err *err)
{
    if (len > ES_STORE_STAGED_MAX)
        return es_err_set(err, ES_ELIMIT, "evidence of %zu bytes: at most %u", len,
                          ES_STORE_STAGED_MAX);
    struct evidence *evidence = es_alloc(sizeof *evidence + len);
    if (evidence == NULL)
        return es_err_nomem(err);
    memset(evidence, 0, sizeof *evidence);
    evidence->len = len;
    if (len != 0)
        memcpy(evidence->data, data, len);
    *ret_evidence = evidence;
    return 0;
}

/* Takes it. */
static int stage(struct es_store *store, struct evidence *evidence, struct es_err *err)
{
    uv_mutex_lock(&store->state_lock);
    bool fits = store->staged_bytes + evidence->len <= ES_STORE_STAGED_MAX;
    if (fits) {
        evidence->next = store->staged;
        store->staged = evidence;
        store->staged_bytes += evidence->len;
    }
    uv_mutex_unlock(&store->state_lock);
    if (fits)
        return 0;
    es_free(evidence);
    return es_err_set(err, ES_ELIMIT,
                      "ledger %s: more than %u bytes of evidence wait for a commit",
                      store->path, ES_STORE_STAGED_MAX);
}

int es_store_stage_evidence(struct es_store *store, const void *data, size_t len,
                            char ret_name[65], struct es_err *err)
{
    ES_ASSERT(store != NULL && ret_name != NULL && (data != NULL || len == 0));
    struct evidence *evidence;
    int status = make_evidence(data, len, &evidence, err);
    if (status < 0)
        return status;
    unsigned char hash[HASH_BYTES];
    char name[65];
    evidence->is_keyed = true;
    randombytes_buf(evidence->key, sizeof evidence->key);
    crypto_generichash(hash, sizeof hash, evidence->data, len, evidence->key, HASH_BYTES);
    sodium_bin2hex(evidence->name, sizeof evidence->name, hash, sizeof hash);
    memcpy(name, evidence->name, sizeof name);
    status = stage(store, evidence, err);
    if (status == 0)
        memcpy(ret_name, name, sizeof name);
    return status;
}

int stage_blob(struct es_store *store, const char *name, const void *data, size_t len,
               struct es_err *err)
{
    struct evidence *evidence;
    int status = make_evidence(data, len, &evidence, err);
    if (status < 0)
        return status;
    int rc = snprintf(evidence->name, sizeof evidence->name, "%s", name);
    ES_ASSERT(rc > 0 && (size_t)rc < sizeof evidence->name);
    return stage(store, evidence, err);
}

struct evidence *take_evidence(struct es_store *store)
{
    uv_mutex_lock(&store->state_lock);
    struct evidence *list = store->staged;
    store->staged = NULL;
    store->staged_bytes = 0;
    uv_mutex_unlock(&store->state_lock);
    return list;
}

void drop_evidence(struct evidence *list)
{
    struct evidence *next;
    for (; list != NULL; list = next) {
        next = list->next;
        es_free(list);
    }
}
