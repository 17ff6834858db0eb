/* Typed fields of a decoded line. */
#include "fields.h"

#include <inttypes.h>
#include <string.h>

#include "enshu/common/str.h"
#include "wire_inner.h"

static int not_a(struct es_err *err, const char *of, const char *key, const json_t *value,
                 const char *wanted)
{
    return es_err_set(err, ES_EPROTO, "field %s%s is %s, expected %s", of, key,
                      value == NULL ? "missing" : "something else", wanted);
}

int es_wire_int(const json_t *object, const char *of, const char *key, int64_t min,
                int64_t max, int64_t *ret_value, struct es_err *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        return not_a(err, of, key, value, "an integer");
    int64_t v = json_integer_value(value);
    if (v < min || v > max)
        return es_err_set(err, ES_EPROTO,
                          "field %s%s is %" PRId64 ", expected %" PRId64 " … %" PRId64,
                          of, key, v, min, max);
    *ret_value = v;
    return 0;
}

bool es_wire_is_word(const char *s, size_t max)
{
    size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                           "0123456789_.+~-");
    return len != 0 && len <= max && s[len] == '\0';
}

int es_wire_word(const json_t *object, const char *of, const char *key, char *dst,
                 size_t size, struct es_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *s = json_string_value(value);
    if (s == NULL || !es_wire_is_word(s, size - 1))
        return not_a(err, of, key, value, "a word of A-Z a-z 0-9 _ . + ~ -");
    memcpy(dst, s, strlen(s) + 1);
    return 0;
}

int es_wire_epoch(const json_t *object, const char *of, const char *key, char dst[17],
                  struct es_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *s = json_string_value(value);
    if (s == NULL || strlen(s) != 16 || strspn(s, "0123456789abcdef") != 16)
        return not_a(err, of, key, value, "16 hex digits");
    memcpy(dst, s, 17);
    return 0;
}

int es_wire_text(const json_t *object, const char *of, const char *key, char *dst,
                 size_t size, struct es_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *s = json_string_value(value);
    if (s == NULL)
        return not_a(err, of, key, value, "a text");
    size_t len = json_string_length(value);
    if (len > size - 1) {
        len = size - 1;
        while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
            len--;
    }
    memcpy(dst, s, len);
    dst[len] = '\0';
    return 0;
}

int es_wire_object(const json_t *object, const char *of, const char *key,
                   json_t **ret_object, struct es_err *err)
{
    json_t *value = json_object_get(object, key);
    if (!json_is_object(value))
        return not_a(err, of, key, value, "an object");
    *ret_object = value;
    return 0;
}
