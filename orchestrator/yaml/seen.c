/* Keys seen in the maps of one document: duplicates are found in one look-up each, because
 * a file may hold a map of a hundred thousand keys. */
#include <string.h>

#include "room.h"

static size_t hash(const struct es_yaml *map, const char *key)
{
    uint64_t h = 1469598103934665603ULL ^ (uint64_t)(uintptr_t)map;
    for (; *key != '\0'; key++)
        h = (h ^ (unsigned char)*key) * 1099511628211ULL;
    return (size_t)(h ^ h >> 29);
}

/* The slot of (map, key): its item's, or the free one where it belongs. */
static size_t slot_of(const struct yaml_seen *seen, const struct es_yaml *map,
                      const char *key)
{
    size_t i = hash(map, key) & (seen->cap - 1);
    while (seen->slots[i] != NULL &&
           (seen->maps[i] != map || strcmp(seen->slots[i]->key, key) != 0))
        i = (i + 1) & (seen->cap - 1);
    return i;
}

static bool grow(struct yaml_seen *seen)
{
    struct yaml_seen more = {.cap = seen->cap != 0 ? seen->cap * 2 : 256,
                             .count = seen->count};
    more.slots = es_calloc(more.cap, sizeof(*more.slots));
    more.maps = es_calloc(more.cap, sizeof(*more.maps));
    if (more.slots == NULL || more.maps == NULL) {
        yaml_seen_finish(&more);
        return false;
    }
    for (size_t i = 0; i < seen->cap; i++) {
        if (seen->slots[i] == NULL)
            continue;
        size_t to = slot_of(&more, seen->maps[i], seen->slots[i]->key);
        more.slots[to] = seen->slots[i];
        more.maps[to] = seen->maps[i];
    }
    yaml_seen_finish(seen);
    *seen = more;
    return true;
}

const struct es_yaml *yaml_seen_add(struct yaml_seen *seen, const struct es_yaml *map,
                                    const struct es_yaml *item, bool *ret_failed)
{
    if (seen->count * 2 >= seen->cap && !grow(seen)) {
        *ret_failed = true;
        return NULL;
    }
    size_t i = slot_of(seen, map, item->key);
    if (seen->slots[i] != NULL)
        return seen->slots[i];
    seen->slots[i] = item;
    seen->maps[i] = map;
    seen->count++;
    return NULL;
}

void yaml_seen_finish(struct yaml_seen *seen)
{
    es_free(seen->slots);
    es_free(seen->maps);
    memset(seen, 0, sizeof *seen);
}
