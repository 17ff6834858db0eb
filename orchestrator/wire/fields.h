/* Inside the wire room: taking typed fields out of a JSON object. Each takes the object's
 * name for messages ("", "hello.") and returns 0, or ES_EPROTO with the field named. */
#ifndef ENSHU_WIRE_FIELDS_H
#define ENSHU_WIRE_FIELDS_H

#include <jansson.h>
#include <stdint.h>

#include "enshu/common/err.h"

int es_wire_int(const json_t *object, const char *of, const char *key, int64_t min,
                int64_t max, int64_t *ret_value, struct es_err *err);
/* Words, see es_wire_is_word, into `dst` of `size`. */
int es_wire_word(const json_t *object, const char *of, const char *key, char *dst,
                 size_t size, struct es_err *err);
/* Exactly 16 hex digits. */
int es_wire_epoch(const json_t *object, const char *of, const char *key, char dst[17],
                  struct es_err *err);
/* Any text, cut to what fits `dst` between two characters. */
int es_wire_text(const json_t *object, const char *of, const char *key, char *dst,
                 size_t size, struct es_err *err);
int es_wire_object(const json_t *object, const char *of, const char *key,
                   json_t **ret_object, struct es_err *err);

#endif
