/* Inside the room: what the tree builder takes from its neighbours. */
#ifndef YAML_ROOM_H
#define YAML_ROOM_H

#include <yaml.h>

#include "enshu/yaml.h"

/* Checks that need no scanner: size, byte order marks, UTF-16, NUL, broken UTF-8. Returns
 * 0, or ES_ESCENARIO with a diagnostic when the text cannot be read at all. */
int yaml_check_bytes(const char *file, const char *text, size_t len,
                     struct es_diags *diags);

/* Says in the words of an author what libyaml found wrong. */
void yaml_explain(const yaml_parser_t *parser, const char *file, const char *text,
                  size_t len, struct es_diags *diags);

/* The set of keys seen, over all maps of one document, to find duplicates. */
struct yaml_seen {
    const struct es_yaml **slots; /* keys, open addressing; NULL: free */
    const struct es_yaml **maps;  /* the map each slot's key stands in */
    size_t cap, count;
};
/* The item of `map` that has the same key, or NULL after remembering `item`. *ret_failed
 * is set when memory is out. */
const struct es_yaml *yaml_seen_add(struct yaml_seen *seen, const struct es_yaml *map,
                                    const struct es_yaml *item, bool *ret_failed);
void yaml_seen_finish(struct yaml_seen *seen);

#endif
