/* Text: parsing of bounded numbers, suggestions, escaping. Nothing here depends on the
 * locale. [any] */
#ifndef ENSHU_COMMON_STR_H
#define ENSHU_COMMON_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/common/buf.h"

bool es_str_eq(const char *a, const char *b); /* false when either is NULL */
bool es_str_starts(const char *s, const char *prefix);
bool es_str_ends(const char *s, const char *suffix);
/* snprintf that reports truncation as ES_ELIMIT, and cuts between characters of UTF-8. */
int es_str_printf(char *dst, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Whole string must be the number; ES_EINVAL otherwise, ES_ELIMIT when out of [min, max].
 */
int es_str_int(const char *s, int64_t min, int64_t max, int64_t *ret_value);
/* "90s" "15m" "1h30m" "2d" "500ms" (units descending, each once) to milliseconds. */
int es_str_duration(const char *s, int64_t *ret_ms);
/* "512 MiB" "10GiB" "64 KiB" "4096" (bytes) to bytes. */
int es_str_size(const char *s, int64_t *ret_bytes);
/* 5400000 to "1h30m"; 0 to "0s". Returns dst. */
char *es_str_from_ms(int64_t ms, char *dst, size_t size);

/* The candidate nearest to `word` if near enough to be a likely slip (edit distance),
 * else NULL. `next(ctx, i)` gives the i-th candidate, NULL after the last. */
const char *es_str_nearest(const char *word,
                           const char *(*next)(const void *ctx, size_t i),
                           const void *ctx);

/* Appends the text so that a POSIX extended regular expression takes it as it is. */
int es_str_escape_regex(struct es_buf *out, const char *s);

bool es_utf8_valid(const char *s, size_t len);
/* Leaves out, in place, the bytes that are no part of a character. */
void es_utf8_repair(char *s);
/* Appends bytes that came from a guest so that a terminal shows but never obeys them:
 * control bytes, C1, bidi overrides and invalid UTF-8 as \xNN; newline and tab stay when
 * `multiline`. */
int es_str_escape_terminal(struct es_buf *out, const char *s, size_t len, bool multiline);
/* Names of the language: [a-z0-9] first, then [a-z0-9_.-], at most `max` bytes. */
bool es_str_is_name(const char *s, size_t max);

/* IPv4 in host byte order. */
int es_ip4_parse(const char *s, uint32_t *ret_addr);
int es_cidr4_parse(const char *s, uint32_t *ret_net,
                   int *ret_prefix); /* host bits set: ES_EINVAL */
char *es_ip4_format(uint32_t addr, char dst[16]);
#define ES_IP4_MASK(prefix) ((prefix) == 0 ? 0U : 0xffffffffU << (32 - (prefix)))

#endif
