/* The canonical bytes of batches and events, and the hash over them (store.h has the
 * format). */
#include <endian.h>
#include <string.h>

#include "store_inner.h"

static unsigned char *put64(unsigned char *at, uint64_t value)
{
    value = htole64(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static unsigned char *put32(unsigned char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

void chain_origin(const unsigned char id[ID_BYTES], int64_t created_us,
                  unsigned char ret_hash[HASH_BYTES])
{
    static const char magic[] = "enshu ledger 1\n";
    unsigned char bytes[sizeof magic - 1 + ID_BYTES + 8];
    memcpy(bytes, magic, sizeof magic - 1);
    memcpy(bytes + sizeof magic - 1, id, ID_BYTES);
    put64(bytes + sizeof magic - 1 + ID_BYTES, (uint64_t)created_us);
    crypto_generichash(ret_hash, HASH_BYTES, bytes, sizeof bytes, NULL, 0);
}

void chain_begin(struct chain *chain, const unsigned char prev[HASH_BYTES],
                 const struct batch *batch)
{
    crypto_generichash_init(&chain->state, NULL, 0, HASH_BYTES);
    unsigned char *at = chain->bytes;
    memcpy(at, prev, HASH_BYTES);
    at += HASH_BYTES;
    at = put64(at, (uint64_t)batch->id);
    at = put64(at, (uint64_t)batch->count);
    at = put64(at, (uint64_t)batch->mark.boottime_ms);
    at = put64(at, (uint64_t)batch->mark.ex_ms);
    at = put64(at, (uint64_t)batch->wall_us);
    at = put32(at, (uint32_t)batch->mark.state);
    at = put32(at, (uint32_t)batch->mark.speed_permille);
    memset(at, 0, 40);
    memcpy(at, batch->mark.boot_id, strnlen(batch->mark.boot_id, 36));
    chain->used = HASH_BYTES + BATCH_BYTES;
}

static void flush(struct chain *chain)
{
    crypto_generichash_update(&chain->state, chain->bytes, chain->used);
    chain->used = 0;
}

void chain_event(struct chain *chain, const struct es_event *event, size_t text_len)
{
    if (sizeof chain->bytes - chain->used < EVENT_BYTES)
        flush(chain);
    unsigned char *at = chain->bytes + chain->used;
    at = put64(at, (uint64_t)event->pos);
    at = put64(at, (uint64_t)event->ex_ms);
    at = put64(at, (uint64_t)event->b);
    at = put64(at, event->epoch);
    at = put64(at, (uint64_t)event->seq);
    at = put32(at, (uint32_t)event->type);
    at = put32(at, (uint32_t)event->team);
    at = put32(at, (uint32_t)event->subject);
    at = put32(at, (uint32_t)event->a);
    at = put32(at, event->instance);
    put32(at, event->text == NULL ? NO_TEXT : (uint32_t)text_len);
    chain->used += EVENT_BYTES;
    if (event->text == NULL)
        return;
    if (sizeof chain->bytes - chain->used < text_len)
        flush(chain);
    if (text_len > sizeof chain->bytes) {
        crypto_generichash_update(&chain->state, (const unsigned char *)event->text,
                                  text_len);
        return;
    }
    memcpy(chain->bytes + chain->used, event->text, text_len);
    chain->used += text_len;
}

void chain_end(struct chain *chain, unsigned char ret_hash[HASH_BYTES])
{
    flush(chain);
    crypto_generichash_final(&chain->state, ret_hash, HASH_BYTES);
}

void chain_head(const unsigned char id[ID_BYTES], const struct batch *head,
                unsigned char ret_bytes[HEAD_BYTES])
{
    unsigned char *at = ret_bytes;
    memcpy(at, "enshu ledger head 1\n", 20);
    memcpy(at + 20, id, ID_BYTES);
    at = put64(at + 20 + ID_BYTES, (uint64_t)head->id);
    at = put64(at, (uint64_t)head->last_pos);
    memcpy(at, head->hash, HASH_BYTES);
}
