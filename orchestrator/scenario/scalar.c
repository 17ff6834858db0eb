/* Single values: numbers, words, texts, durations, sizes, each with the messages for the
 * traps of YAML (a `no` that is a false, a 1.10 that is a number). */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

static bool is_boolean_word(const char *s)
{
    static const char *const words[] = {"yes", "no", "on", "off", "true", "false"};
    for (size_t i = 0; i < ES_COUNT(words); i++)
        if (strcasecmp(s, words[i]) == 0)
            return true;
    return false;
}

/* Whether a YAML reader would take the plain scalar as a number. */
static bool is_number(const char *s)
{
    s += *s == '-' || *s == '+';
    if (s[0] == '0' && (s[1] == 'x' || s[1] == 'o'))
        return s[2] != '\0' && strspn(s + 2, "0123456789abcdefABCDEF") == strlen(s + 2);
    size_t whole = strspn(s, "0123456789_");
    size_t n = whole;
    if (s[n] == '.')
        n += 1 + strspn(s + n + 1, "0123456789");
    if (whole == 0 && n < 2)
        return strcasecmp(s, ".inf") == 0 || strcasecmp(s, ".nan") == 0;
    if ((s[n] == 'e' || s[n] == 'E') && n > 0) {
        size_t digits = n + 1 + (s[n + 1] == '-' || s[n + 1] == '+');
        size_t count = strspn(s + digits, "0123456789");
        n = count > 0 ? digits + count : n;
    }
    return s[n] == '\0';
}

void scalar_expects(struct load *ld, const struct es_yaml *y, const char *what)
{
    bool text = strcmp(what, "a text") == 0 || strcmp(what, "a word") == 0;
    if (y->broken)
        return;
    switch (y->type) {
    case ES_YAML_NULL:
        load_error(ld, y->pos, "expected %s, found nothing", what);
        break;
    case ES_YAML_LIST:
        load_error(ld, y->pos, "expected %s, found a list%s", what,
                   text && y->flow ? "; quote a text that begins with \"[\"" : "");
        break;
    case ES_YAML_MAP:
        load_error(ld, y->pos, "expected %s, found a map%s", what,
                   !text     ? ""
                   : y->flow ? "; quote a text that begins with \"{\""
                             : "; quote a text that holds \": \"");
        break;
    case ES_YAML_SCALAR:
        load_error(ld, y->pos, "expected %s, found \"%.60s\"", what, y->text);
        break;
    }
}

const char *scalar_word(struct load *ld, const struct es_yaml *y)
{
    if (y->type != ES_YAML_SCALAR || y->broken || *y->text == '\0') {
        scalar_expects(ld, y, "a word");
        return NULL;
    }
    return y->text;
}

const char *scalar_string(struct load *ld, const struct es_yaml *y)
{
    if (y->type != ES_YAML_SCALAR || y->broken) {
        scalar_expects(ld, y, "a text");
        return NULL;
    }
    if (!y->quoted && is_boolean_word(y->text)) {
        load_error(ld, y->pos, "%s means true or false here; quote this text: \"%s\"",
                   y->text, y->text);
        return NULL;
    }
    if (!y->quoted && is_number(y->text)) {
        load_error(ld, y->pos, "%.40s is a number here; quote this text: \"%.40s\"",
                   y->text, y->text);
        return NULL;
    }
    return y->text;
}

bool scalar_bool(struct load *ld, const struct es_yaml *y, bool *ret_value)
{
    if (y->type == ES_YAML_SCALAR && !y->quoted) {
        if (strcmp(y->text, "true") == 0 || strcmp(y->text, "false") == 0) {
            *ret_value = y->text[0] == 't';
            return true;
        }
        if (is_boolean_word(y->text)) {
            load_error(ld, y->pos, "write true or false, not %s", y->text);
            return false;
        }
    }
    scalar_expects(ld, y, "true or false");
    return false;
}

bool scalar_int(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max,
                int64_t *ret_value)
{
    if (y->type != ES_YAML_SCALAR || y->quoted) {
        scalar_expects(ld, y, "a number without quotes");
        return false;
    }
    const char *digits = y->text + (y->text[0] == '-');
    int rc = es_str_int(y->text, min, max, ret_value);
    /* Some readers of YAML take 010 for eight. */
    if (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9') {
        load_error(ld, y->pos, "%.40s begins with 0; write the number without it",
                   y->text);
        return false;
    }
    if (rc == ES_ELIMIT)
        load_error(ld, y->pos, "%.40s is out of range: from %lld to %lld", y->text,
                   (long long)min, (long long)max);
    else if (rc != 0)
        scalar_expects(ld, y, "a whole number");
    return rc == 0;
}

bool scalar_duration(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max,
                     int64_t *ret_ms)
{
    int64_t ms;
    char low[48], high[48];
    if (y->type != ES_YAML_SCALAR || es_str_duration(y->text, &ms) == ES_EINVAL) {
        scalar_expects(ld, y, "a duration such as 90s, 15m or 1h30m");
        return false;
    }
    if (es_str_duration(y->text, &ms) != 0 || ms < min || ms > max) {
        load_error(ld, y->pos, "%.40s is out of range: from %s to %s", y->text,
                   es_str_from_ms(min, low, sizeof low),
                   es_str_from_ms(max, high, sizeof high));
        return false;
    }
    *ret_ms = ms;
    return true;
}

static const char *size_text(int64_t bytes, char dst[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    while (unit + 1 < ES_COUNT(units) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(dst, 32, "%lld %s", (long long)bytes, units[unit]);
    return dst;
}

bool scalar_size(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max,
                 int64_t *ret_bytes)
{
    int64_t bytes;
    char low[32], high[32];
    if (y->type != ES_YAML_SCALAR || es_str_size(y->text, &bytes) == ES_EINVAL) {
        scalar_expects(ld, y, "a size such as 512 MiB or 10 GiB");
        return false;
    }
    if (es_str_size(y->text, &bytes) != 0 || bytes < min || bytes > max) {
        load_error(ld, y->pos, "%.40s is out of range: from %s to %s", y->text,
                   size_text(min, low), size_text(max, high));
        return false;
    }
    *ret_bytes = bytes;
    return true;
}

static const char *next_word(const void *ctx, size_t i)
{
    return ((const char *const *)ctx)[i];
}

const char *suggest(const char *word, const char *const *words)
{
    static _Thread_local char text[128];
    const char *near = es_str_nearest(word, next_word, words);
    if (near == NULL)
        return "";
    snprintf(text, sizeof text, " (did you mean \"%s\"?)", near);
    return text;
}

static int index_of(const char *word, const char *const *words)
{
    for (int i = 0; words != NULL && words[i] != NULL; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    return -1;
}

int scalar_choice(struct load *ld, const struct es_yaml *y, const char *const *words,
                  const char *const *later)
{
    const char *word = scalar_word(ld, y);
    if (word == NULL)
        return -1;
    int i = index_of(word, words);
    if (i >= 0)
        return i;
    if (index_of(word, later) >= 0) {
        load_error(ld, y->pos, "%s " ES_NEEDS_LATER, word);
        return -1;
    }
    char list[256];
    size_t n = 0;
    for (i = 0; words[i] != NULL && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i == 0 ? "" : ", ",
                              words[i]);
    load_error(ld, y->pos, "\"%.60s\" is none of: %s%s", word, list,
               suggest(word, words));
    return -1;
}
