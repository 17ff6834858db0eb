/* Inside the wire room. */
#ifndef ENSHU_WIRE_INNER_H
#define ENSHU_WIRE_INNER_H

#include <stdbool.h>
#include <stddef.h>

/* Whether jansson met a failed allocation on this thread since the last watch. */
void es_wire_alloc_watch(void);
bool es_wire_alloc_failed(void);

/* 1 … max bytes of [A-Za-z0-9_.+~-]: needs no escaping in JSON, a log or a path's part. */
bool es_wire_is_word(const char *s, size_t max);

#endif
