/* Signing the head, the installation's key, and the check of a whole ledger. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "store_inner.h"

#define SEED_BYTES crypto_sign_SEEDBYTES

static int write_key(const char *path, const unsigned char seed[SEED_BYTES],
                     struct es_err *err)
{
    /* Complete under its own name before it gets the real one: a crash leaves no half key,
     * and of two makers the first wins. */
    char temp[4096];
    if (snprintf(temp, sizeof temp, "%s.%ld", path, (long)getpid()) >= (int)sizeof temp)
        return es_err_set(err, ES_ELIMIT, "the path of key %s is too long", path);
    unlink(temp);
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "key %s cannot be made: %s: check the folder",
                          path, strerror(errno));
    bool done = write(fd, seed, SEED_BYTES) == SEED_BYTES && fsync(fd) == 0;
    int saved = errno;
    close(fd);
    if (done && link(temp, path) < 0 && errno != EEXIST) {
        saved = errno;
        done = false;
    }
    unlink(temp);
    if (!done)
        return es_err_set(err, ES_EIO, "key %s cannot be written: %s: make room", path,
                          strerror(saved));
    return 0;
}

static int read_key(const char *path, unsigned char seed[SEED_BYTES], struct es_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return ES_ENOENT;
    if (fd < 0)
        return es_err_set(err, ES_EDENIED, "key %s cannot be read: %s: check its rights",
                          path, strerror(errno));
    struct stat st;
    int status = 0;
    unsigned char more;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        status =
            es_err_set(err, ES_EDENIED,
                       "key %s can be read by others: make a new one, or chmod 600 it "
                       "if nobody did",
                       path);
    else if (read(fd, seed, SEED_BYTES) != SEED_BYTES || read(fd, &more, 1) != 0)
        status =
            es_err_set(err, ES_ECORRUPT,
                       "key %s is damaged: restore it, or remove it and a new one is "
                       "made",
                       path);
    close(fd);
    return status;
}

static int get_key(const char *path, unsigned char seed[SEED_BYTES], struct es_err *err)
{
    int status = read_key(path, seed, err);
    if (status != ES_ENOENT)
        return status;
    unsigned char fresh[SEED_BYTES];
    randombytes_buf(fresh, sizeof fresh);
    status = write_key(path, fresh, err);
    sodium_memzero(fresh, sizeof fresh);
    if (status < 0)
        return status;
    status = read_key(path, seed, err);
    if (status == ES_ENOENT)
        return es_err_set(err, ES_EIO, "key %s disappeared as it was made", path);
    return status;
}

int read_signature(struct es_store *store, struct signature *ret_signature,
                   struct es_err *err)
{
    memset(ret_signature, 0, sizeof *ret_signature);
    sqlite3_stmt *stmt = NULL;
    int status = db_prepare(store,
                            "SELECT batch, public_key, signature FROM signature"
                            " ORDER BY batch DESC LIMIT 1",
                            &stmt, err);
    if (status < 0)
        return status;
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        const void *key = sqlite3_column_blob(stmt, 1);
        const void *bytes = sqlite3_column_blob(stmt, 2);
        ret_signature->batch = sqlite3_column_int64(stmt, 0);
        /* Of a wrong length: left zero, which no signature check accepts. */
        if (sqlite3_column_bytes(stmt, 1) == (int)sizeof ret_signature->public_key)
            memcpy(ret_signature->public_key, key, sizeof ret_signature->public_key);
        if (sqlite3_column_bytes(stmt, 2) == (int)sizeof ret_signature->bytes)
            memcpy(ret_signature->bytes, bytes, sizeof ret_signature->bytes);
    } else if (rc != SQLITE_DONE) {
        status = db_fail(store, rc, "read the signature", err);
    }
    sqlite3_finalize(stmt);
    return status;
}

static int insert_signature(struct es_store *store, const struct signature *signature,
                            struct es_err *err)
{
    sqlite3_stmt *stmt = NULL;
    int status = db_prepare(store,
                            "INSERT OR REPLACE INTO signature(batch, public_key,"
                            " signature, wall_us) VALUES(?1,?2,?3,?4)",
                            &stmt, err);
    if (status < 0)
        return status;
    sqlite3_bind_int64(stmt, 1, signature->batch);
    sqlite3_bind_blob(stmt, 2, signature->public_key, sizeof signature->public_key,
                      SQLITE_STATIC);
    sqlite3_bind_blob(stmt, 3, signature->bytes, sizeof signature->bytes, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, wall_us());
    status = db_run(store, stmt, "store the signature", err);
    sqlite3_finalize(stmt);
    return status;
}

int add_signature(struct es_store *store, const struct signature *signature,
                  struct es_err *err)
{
    int status = check_writable(store, err);
    if (status == 0)
        status = db_begin(store, err);
    if (status == 0)
        status = end_write(store, insert_signature(store, signature, err), err);
    return status;
}

bool signature_fits(const struct signature *signature, const struct es_store *store,
                    const struct batch *head)
{
    unsigned char bytes[HEAD_BYTES];
    chain_head(store->id, head, bytes);
    return crypto_sign_verify_detached(signature->bytes, bytes, sizeof bytes,
                                       signature->public_key) == 0;
}

int es_store_sign(struct es_store *store, const char *key_path, struct es_err *err)
{
    ES_ASSERT(store != NULL && key_path != NULL);
    unsigned char seed[SEED_BYTES];
    unsigned char secret[crypto_sign_SECRETKEYBYTES];
    int status = get_key(key_path, seed, err);
    if (status < 0)
        return status;
    struct signature signature = {0};
    crypto_sign_seed_keypair(signature.public_key, secret, seed);
    store_lock(store);
    struct batch head = head_of(store);
    unsigned char bytes[HEAD_BYTES];
    chain_head(store->id, &head, bytes);
    signature.batch = head.id;
    crypto_sign_detached(signature.bytes, NULL, bytes, sizeof bytes, secret);
    status = add_signature(store, &signature, err);
    uv_mutex_unlock(&store->lock);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(seed, sizeof seed);
    return status;
}

/* ------------------------------------------------------------------ the check */

static int check_signature(struct es_store *store, struct es_store_check *check,
                           const struct batch *head, struct es_err *err)
{
    struct signature signature;
    store_lock(store);
    int status = read_signature(store, &signature, err);
    uv_mutex_unlock(&store->lock);
    if (status < 0 || signature.batch == 0)
        return status;
    check->is_signed = signature.batch == head->id;
    check->signature_ok = check->is_signed && signature_fits(&signature, store, head);
    sodium_bin2hex(check->public_key, sizeof check->public_key, signature.public_key,
                   sizeof signature.public_key);
    return 0;
}

int es_store_verify(struct es_store *store, struct es_store_check *ret_check,
                    struct es_err *err)
{
    struct es_store_check check = {0};
    struct reader reader;
    struct chunk chunk = {0};
    int status = reader_init(&reader, store, 1, true, err);
    do {
        if (status == 0)
            status = reader_next(&reader, &chunk, err);
    } while (status == 0 && chunk.batch_count != 0);
    chunk_finish(&chunk);
    if (status < 0 && status != ES_ECORRUPT)
        return status;
    check.chain_ok = status == 0;
    check.bad_pos = reader.bad_pos;
    check.events = reader.before.last_pos;
    check.batches = reader.before.id;
    sodium_bin2hex(check.head_hash, sizeof check.head_hash, reader.before.hash,
                   HASH_BYTES);
    if (check.chain_ok) {
        status = check_signature(store, &check, &reader.before, err);
        if (status < 0)
            return status;
    }
    *ret_check = check;
    return 0;
}
