/* Inside the wire room. */
#ifndef ENSHU_WIRE_INNER_H
#define ENSHU_WIRE_INNER_H

#include <stdbool.h>
#include <stddef.h>

/* 1 … max bytes of [A-Za-z0-9_.+~-]: needs no escaping in JSON, a log or a path's part. */
bool es_wire_is_word(const char *s, size_t max);

#endif
