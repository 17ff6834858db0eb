/* Persons beside the chain: blobs "person/ID" that hold a name. */
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "store_inner.h"

#define PREFIX         "person/"
#define NAME_MAX_BYTES 1000

int es_store_stage_person(struct es_store *store, const char *name,
                          char ret_id[ES_STORE_PERSON_BYTES], struct es_err *err)
{
    ES_ASSERT(store != NULL && name != NULL && ret_id != NULL);
    unsigned char random[8];
    char id[ES_STORE_PERSON_BYTES] = "p-", blob[sizeof PREFIX + sizeof id];
    size_t len = strnlen(name, NAME_MAX_BYTES + 1);
    if (len == 0 || len > NAME_MAX_BYTES || !es_utf8_valid(name, len))
        return es_err_set(err, ES_EINVAL,
                          "the name of a person is UTF-8 text of 1 to %d bytes",
                          NAME_MAX_BYTES);
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(id + 2, sizeof id - 2, random, sizeof random);
    es_str_printf(blob, sizeof blob, PREFIX "%s", id);
    int status = stage_blob(store, blob, name, len, err);
    if (status == 0)
        memcpy(ret_id, id, sizeof id);
    return status;
}

int es_store_read_persons(struct es_store *store,
                          int (*each)(void *ctx, const char *id, const char *name),
                          void *ctx, struct es_err *err)
{
    struct es_buf blob, name;
    es_buf_init(&blob, 256);
    es_buf_init(&name, NAME_MAX_BYTES);
    int status = next_blob(store, PREFIX "*", &blob, err);
    while (status == 0 && blob.len != 0) {
        es_buf_clear(&name);
        status = es_store_get_blob(store, es_buf_str(&blob), &name, err);
        if (status == 0)
            status = each(ctx, es_buf_str(&blob) + strlen(PREFIX), es_buf_str(&name));
        else if (status == ES_ENOENT) /* erased meanwhile */
            status = 0;
        if (status == 0)
            status = next_blob(store, PREFIX "*", &blob, err);
    }
    es_buf_finish(&blob);
    es_buf_finish(&name);
    return status;
}

int put_person(struct es_store *store, const char *id, const char *name,
               struct es_err *err)
{
    char blob[sizeof PREFIX + ES_STORE_PERSON_BYTES];
    if (es_str_printf(blob, sizeof blob, PREFIX "%s", id) != 0)
        return es_err_set(err, ES_EINVAL, "%.40s is no person's id", id);
    return es_store_put_blob(store, blob, name, strlen(name), err);
}

struct forgetting {
    struct es_store *store;
    const char *who;
    int count;
    struct es_err *err;
};

static int forget_each(void *ctx, const char *id, const char *name)
{
    struct forgetting *x = ctx;
    char blob[sizeof PREFIX + ES_STORE_PERSON_BYTES];
    if (!es_str_eq(id, x->who) && !es_str_eq(name, x->who))
        return 0;
    es_str_printf(blob, sizeof blob, PREFIX "%s", id);
    int status = es_store_erase_blob(x->store, blob, x->err);
    x->count += status == 0;
    return status;
}

int es_store_forget_person(struct es_store *store, const char *who, int *ret_count,
                           struct es_err *err)
{
    struct forgetting x = {.store = store, .who = who, .err = err};
    int status = es_store_read_persons(store, forget_each, &x, err);
    if (status == 0 && x.count == 0)
        status = es_err_set(err, ES_ENOENT, "the ledger knows no person %.100s", who);
    if (status == 0)
        *ret_count = x.count;
    return status;
}
