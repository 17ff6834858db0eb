/* Text helpers without locale. */
#include "enshu/common/str.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/err.h"

bool es_str_eq(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

bool es_str_starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool es_str_ends(const char *s, const char *suffix)
{
    size_t a = strlen(s), b = strlen(suffix);
    return a >= b && memcmp(s + a - b, suffix, b) == 0;
}

/* Takes away what was begun of a character: JSON has no room for a part of one. */
static void cut_whole(char *s)
{
    size_t len = strlen(s), tail = 0;
    while (tail < 3 && tail < len && ((unsigned char)s[len - 1 - tail] & 0xC0) == 0x80)
        tail++;
    if (tail == len)
        return;
    unsigned char lead = (unsigned char)s[len - 1 - tail];
    size_t needs = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (needs > tail + 1)
        s[len - 1 - tail] = '\0';
}

int es_str_printf(char *dst, size_t size, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(dst, size, fmt, args);
    va_end(args);
    if (n >= 0 && (size_t)n < size)
        return 0;
    if (n >= 0 && size > 0)
        cut_whole(dst);
    return ES_ELIMIT;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits at *s to a number; moves *s. */
static int digits(const char **s, int64_t *ret_value)
{
    int64_t v = 0;
    if (!is_digit(**s))
        return ES_EINVAL;
    for (; is_digit(**s); (*s)++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, **s - '0', &v))
            return ES_ELIMIT;
    *ret_value = v;
    return 0;
}

int es_str_int(const char *s, int64_t min, int64_t max, int64_t *ret_value)
{
    bool negative = *s == '-';
    int64_t v;
    s += negative;
    int rc = digits(&s, &v);
    if (rc != 0)
        return rc;
    if (*s != '\0')
        return ES_EINVAL;
    v = negative ? -v : v;
    if (v < min || v > max)
        return ES_ELIMIT;
    *ret_value = v;
    return 0;
}

static const struct unit {
    const char *name;
    int64_t factor;
} time_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}},
  size_units[] = {
      {"KiB", 1LL << 10}, {"MiB", 1LL << 20}, {"GiB", 1LL << 30}, {"TiB", 1LL << 40}};

int es_str_duration(const char *s, int64_t *ret_ms)
{
    int64_t total = 0;
    size_t unit = 0;
    if (*s == '\0')
        return ES_EINVAL;
    while (*s != '\0') {
        int64_t v;
        int rc = digits(&s, &v);
        if (rc != 0)
            return rc;
        size_t len = strspn(s, "dhms");
        while (unit < ES_COUNT(time_units) &&
               (strlen(time_units[unit].name) != len ||
                strncmp(s, time_units[unit].name, len) != 0))
            unit++;
        if (unit == ES_COUNT(time_units))
            return ES_EINVAL;
        if (__builtin_mul_overflow(v, time_units[unit].factor, &v) ||
            __builtin_add_overflow(total, v, &total))
            return ES_ELIMIT;
        s += len;
        unit++;
    }
    *ret_ms = total;
    return 0;
}

int es_str_size(const char *s, int64_t *ret_bytes)
{
    int64_t v;
    int rc = digits(&s, &v);
    if (rc != 0)
        return rc;
    if (*s == ' ')
        s++;
    else if (*s == '\0') {
        *ret_bytes = v;
        return 0;
    }
    for (size_t i = 0; i < ES_COUNT(size_units); i++) {
        if (strcmp(s, size_units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(v, size_units[i].factor, &v))
            return ES_ELIMIT;
        *ret_bytes = v;
        return 0;
    }
    return ES_EINVAL;
}

char *es_str_from_ms(int64_t ms, char *dst, size_t size)
{
    size_t n = 0;
    const char *sign = ms < 0 ? "-" : "";
    uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (left == 0)
        snprintf(dst, size, "0s");
    for (size_t i = 0; i < ES_COUNT(time_units) && n < size; i++) {
        uint64_t f = (uint64_t)time_units[i].factor;
        if (left / f != 0) {
            n += (size_t)snprintf(dst + n, size - n, "%s%" PRIu64 "%s", sign, left / f,
                                  time_units[i].name);
            sign = "";
        }
        left %= f;
    }
    return dst;
}

/* Edit distance, or `below` when it is not less than that; words longer than the table
 * never match. */
static size_t distance(const char *a, const char *b, size_t below)
{
    enum { LONGEST = 64 };
    size_t la = strlen(a), lb = strlen(b);
    if (la > LONGEST || lb > LONGEST || (la > lb ? la - lb : lb - la) >= below)
        return below;
    size_t row[LONGEST + 1];
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0], least = i;
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = best < above + 1 ? best : above + 1;
            row[j] = best < row[j - 1] + 1 ? best : row[j - 1] + 1;
            least = row[j] < least ? row[j] : least;
            diagonal = above;
        }
        if (least >= below)
            return below;
    }
    return row[lb];
}

const char *es_str_nearest(const char *word,
                           const char *(*next)(const void *ctx, size_t i),
                           const void *ctx)
{
    const char *best = NULL, *candidate;
    size_t limit = strlen(word) / 3 + 1, best_distance = limit + 1;
    for (size_t i = 0; (candidate = next(ctx, i)) != NULL; i++) {
        size_t d = distance(word, candidate, best_distance);
        if (d < best_distance && d < strlen(candidate)) {
            best_distance = d;
            best = candidate;
        }
    }
    return best;
}

/* Length of the valid UTF-8 sequence at s (RFC 3629), 0 when there is none; its code
 * point in *ret_cp. */
static size_t utf8_next(const unsigned char *s, size_t len, uint32_t *ret_cp)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t cp = n == 1 ? s[0] : s[0] & (0xffU >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (s[i] & 0x3f);
    }
    if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return 0;
    *ret_cp = cp;
    return n;
}

bool es_utf8_valid(const char *s, size_t len)
{
    uint32_t cp;
    for (size_t i = 0, n; i < len; i += n)
        if ((n = utf8_next((const unsigned char *)s + i, len - i, &cp)) == 0)
            return false;
    return true;
}

int es_str_escape_regex(struct es_buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (strchr("\\^$.[]|()*+?{}", *s) != NULL)
            es_buf_putc(out, '\\');
        es_buf_putc(out, *s);
    }
    return es_buf_status(out);
}

void es_utf8_repair(char *s)
{
    size_t len = strlen(s), to = 0;
    uint32_t cp;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_next((const unsigned char *)s + i, len - i, &cp);
        memmove(s + to, s + i, n);
        to += n;
        i += n != 0 ? n : 1;
    }
    s[to] = '\0';
}

static bool shown_as_is(uint32_t cp, bool multiline)
{
    if (cp == '\n' || cp == '\t')
        return multiline;
    if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
        return false;
    /* Marks and overrides of direction, line and paragraph separators, byte order mark.
     */
    return !((cp >= 0x200b && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202e) ||
             (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff);
}

int es_str_escape_terminal(struct es_buf *out, const char *s, size_t len, bool multiline)
{
    for (size_t i = 0; i < len;) {
        uint32_t cp = 0;
        size_t n = utf8_next((const unsigned char *)s + i, len - i, &cp);
        if (n != 0 && shown_as_is(cp, multiline))
            es_buf_append(out, s + i, n);
        else
            for (size_t k = 0; k < (n != 0 ? n : 1); k++)
                es_buf_printf(out, "\\x%02x", (unsigned char)s[i + k]);
        i += n != 0 ? n : 1;
    }
    return es_buf_status(out);
}

bool es_str_is_name(const char *s, size_t max)
{
    size_t len = strlen(s);
    if (len == 0 || len > max || !((s[0] >= 'a' && s[0] <= 'z') || is_digit(s[0])))
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

int es_ip4_parse(const char *s, uint32_t *ret_addr)
{
    uint32_t addr = 0;
    for (int i = 0; i < 4; i++) {
        int64_t v;
        const char *start = s;
        if (digits(&s, &v) != 0 || v > 255 || (*start == '0' && s - start > 1) ||
            s - start > 3)
            return ES_EINVAL;
        addr = addr << 8 | (uint32_t)v;
        if (*s++ != (i < 3 ? '.' : '\0'))
            return ES_EINVAL;
    }
    *ret_addr = addr;
    return 0;
}

int es_cidr4_parse(const char *s, uint32_t *ret_net, int *ret_prefix)
{
    char addr[16];
    const char *slash = strchr(s, '/');
    int64_t prefix;
    uint32_t net;
    if (slash == NULL || slash - s >= (ptrdiff_t)sizeof addr)
        return ES_EINVAL;
    memcpy(addr, s, (size_t)(slash - s));
    addr[slash - s] = '\0';
    if (es_ip4_parse(addr, &net) != 0 || es_str_int(slash + 1, 0, 32, &prefix) != 0)
        return ES_EINVAL;
    if ((net & ~ES_IP4_MASK(prefix)) != 0)
        return ES_EINVAL;
    *ret_net = net;
    *ret_prefix = (int)prefix;
    return 0;
}

char *es_ip4_format(uint32_t addr, char dst[16])
{
    snprintf(dst, 16, "%u.%u.%u.%u", addr >> 24, addr >> 16 & 255, addr >> 8 & 255,
             addr & 255);
    return dst;
}
