/* The hash of a scenario: over the names and contents of all files that take part, in order
 * of name. Equal hash, equal exercise. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "room.h"

struct item {
    const char *name;
    const struct source_file *source; /* NULL: read from the folder */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static void hash_number(crypto_generichash_state *state, uint64_t n)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n >> (8 * i));
    crypto_generichash_update(state, bytes, sizeof bytes);
}

/* Content of an asset, its own hash of it fed into the whole: lengths need not be known
 * before. */
static void hash_asset(struct load *ld, crypto_generichash_state *state, const char *name)
{
    unsigned char chunk[16384], digest[crypto_generichash_BYTES];
    crypto_generichash_state inner;
    struct stat st;
    struct es_pos pos = {name, 0, 0};
    int fd = files_open(ld, name, pos, false, &st);
    if (fd < 0)
        return;
    crypto_generichash_init(&inner, NULL, 0, sizeof digest);
    int64_t total = 0;
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && total <= ES_ASSET_BYTES_MAX) {
        crypto_generichash_update(&inner, chunk, (unsigned long long)n);
        total += n;
    }
    if (n < 0)
        load_error(ld, pos, "the file cannot be read: %s", strerror(errno));
    close(fd);
    crypto_generichash_final(&inner, digest, sizeof digest);
    crypto_generichash_update(state, digest, sizeof digest);
}

static void hash_source(crypto_generichash_state *state, const struct source_file *source)
{
    unsigned char digest[crypto_generichash_BYTES];
    crypto_generichash(digest, sizeof digest, (const unsigned char *)source->text,
                       source->len, NULL, 0);
    crypto_generichash_update(state, digest, sizeof digest);
}

void files_hash(struct load *ld)
{
    size_t count = 0, total = ld->source_count + ld->asset_count;
    struct item *items = es_arena_alloc(&ld->temp, (total + 1) * sizeof *items);
    unsigned char digest[32];
    crypto_generichash_state state;
    if (items == NULL)
        return;
    for (size_t i = 0; i < ld->source_count; i++) {
        if (names_find(&ld->s->inner->names, SPACE_FILE, ld->sources[i].name) == NULL)
            items[count++] = (struct item){ld->sources[i].name, &ld->sources[i]};
    }
    for (size_t i = 0; i < ld->asset_count; i++)
        items[count++] = (struct item){ld->assets[i].name, NULL};
    qsort(items, count, sizeof *items, by_name);
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    for (size_t i = 0; i < count; i++) {
        hash_number(&state, strlen(items[i].name));
        crypto_generichash_update(&state, (const unsigned char *)items[i].name,
                                  strlen(items[i].name));
        if (items[i].source != NULL)
            hash_source(&state, items[i].source);
        else
            hash_asset(ld, &state, items[i].name);
    }
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(ld->s->hash, sizeof ld->s->hash, digest, sizeof digest);
}
