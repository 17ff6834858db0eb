/* Values of the keys of probes, checked, as JSON. NULL after reporting. */
#include <regex.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

enum { REGEX_BYTES_MAX = 512, REGEX_COST_MAX = 5000, REGEX_COSTS_MAX = 200000 };

/* NULL from a library means memory; NULL from a value that is wrong was reported. */
static json_t *probe_made(struct load *ld, json_t *value)
{
    if (value == NULL)
        ld->nomem = true;
    return value;
}

/* They make matching take time without bound, and guests choose the text. */
static bool has_back_reference(const char *pattern)
{
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '\\')
            continue;
        if (*++pattern >= '1' && *pattern <= '9')
            return true;
        if (*pattern == '\0')
            break;
    }
    return false;
}

static bool check_regex(struct load *ld, const char *pattern, struct es_pos pos)
{
    regex_t regex;
    char why[128];
    if (strlen(pattern) > REGEX_BYTES_MAX) {
        load_error(ld, pos, "this expression has more than %d bytes; shorten it",
                   REGEX_BYTES_MAX);
        return false;
    }
    int64_t cost = probe_regex_cost(pattern);
    if (cost > REGEX_COST_MAX) {
        load_error(ld, pos,
                   "with its \"+\" and bounds {…} written out this expression has more "
                   "than %d parts; lower them",
                   REGEX_COST_MAX);
        return false;
    }
    ld->regex_cost += cost;
    if (ld->regex_cost > REGEX_COSTS_MAX) {
        load_error(ld, pos, "the expressions of this scenario are too many or too large");
        return false;
    }
    if (strstr(pattern, "${") != NULL)
        return true; /* not whole before its values are known */
    if (has_back_reference(pattern)) {
        load_error(ld, pos, "back-references such as \\1 are not possible");
        return false;
    }
    int rc = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
    if (rc == 0) {
        regfree(&regex);
        return true;
    }
    regerror(rc, NULL, why, sizeof why);
    load_error(ld, pos, "not a POSIX extended regular expression: %s", why);
    return false;
}

bool probe_check_host(struct load *ld, const char *host, struct es_pos pos)
{
    size_t len = strlen(host);
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789.-_${}";
    if (len > 0 && len < 256 && host[0] != '-' && strspn(host, good) == len)
        return true;
    load_error(ld, pos, "\"%.60s\" is no address", host);
    return false;
}

static bool check_text(struct load *ld, const struct probe_key *key, const char *text,
                       struct es_pos pos)
{
    if (*text == '\0') {
        load_error(ld, pos, "expected a text, found an empty one");
        return false;
    }
    if (!key->plain)
        expand_note(ld, text, pos, key->shell);
    else if (expand_is_used(text))
        load_error(ld, pos,
                   "${…} has no value on another machine; write the text itself");
    switch (key->type) {
    case PT_PATH:
        if (text[0] == '/' && strlen(text) < 4096)
            return true;
        load_error(ld, pos, "a path in a guest begins with \"/\"");
        return false;
    case PT_REGEX:
    case PT_REGEXES:
        return check_regex(ld, text, pos);
    case PT_HOST:
        return probe_check_host(ld, text, pos);
    case PT_MODE:
        if (strspn(text, "01234567") == strlen(text) && strlen(text) == 4)
            return true;
        load_error(ld, pos,
                   "permissions are four octal digits in quotes, such as \"0644\"");
        return false;
    case PT_SHA256:
        if (strspn(text, "0123456789abcdef") == 64 && strlen(text) == 64)
            return true;
        load_error(ld, pos, "a sha256 has 64 digits 0-9 a-f");
        return false;
    default:
        return true;
    }
}

json_t *probe_text(struct load *ld, const struct probe_key *key, const struct es_yaml *y)
{
    const char *text = scalar_string(ld, y);
    if (text == NULL || !check_text(ld, key, text, y->pos))
        return NULL;
    return probe_made(ld, json_string(text));
}

static json_t *probe_list(struct load *ld, const struct probe_key *key,
                          const struct es_yaml *y)
{
    json_t *list = probe_made(ld, json_array());
    size_t i = 0;
    if (y->count == 0)
        load_error(ld, y->pos, "an empty list");
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next, i++) {
        size_t mark = path_push_index(ld, i);
        json_t *value = probe_text(ld, key, item);
        if (value != NULL && json_array_append_new(list, value) != 0)
            ld->nomem = true;
        path_pop(ld, mark);
    }
    return list;
}

static json_t *probe_map(struct load *ld, const struct probe_key *key,
                         const struct es_yaml *y)
{
    if (!bind_is_map(ld, y))
        return NULL;
    json_t *map = probe_made(ld, json_object());
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        size_t mark = path_push(ld, item->key);
        json_t *value = probe_text(ld, key, item);
        if (value != NULL && json_object_set_new(map, item->key, value) != 0)
            ld->nomem = true;
        path_pop(ld, mark);
    }
    return map;
}

json_t *probe_int(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max)
{
    int64_t v;
    if (!scalar_int(ld, y, min, max, &v))
        return NULL;
    return probe_made(ld, json_integer(v));
}

/* {min: 1, max: 4}, either may be left out, to [1, 4] */
json_t *probe_range(struct load *ld, const struct probe_key *key, const struct es_yaml *y)
{
    static const char *const names[] = {"min", "max"};
    int64_t bounds[2] = {0, 0};
    bool set[2] = {false, false};
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key), i = 0;
        while (i < 2 && strcmp(item->key, names[i]) != 0)
            i++;
        if (i == 2)
            load_error(ld, item->key_pos, "unknown key; there are min and max");
        else
            set[i] = scalar_int(ld, item, key->min, key->max, &bounds[i]);
        path_pop(ld, mark);
    }
    if (!set[0] && !set[1]) {
        if (y->count == 0)
            load_error(ld, y->pos, "expected min, max or both");
        return NULL;
    }
    if (set[0] && set[1] && bounds[0] > bounds[1]) {
        load_error(ld, y->pos, "min is greater than max");
        return NULL;
    }
    json_t *range = json_array();
    for (int i = 0; i < 2; i++) {
        json_t *bound = set[i] ? json_integer(bounds[i]) : json_null();
        if (json_array_append_new(range, bound) != 0)
            ld->nomem = true;
    }
    return range;
}

json_t *probe_value(struct load *ld, const struct probe_key *key, const struct es_yaml *y)
{
    bool flag;
    int word;
    switch (key->type) {
    case PT_BOOL:
        return scalar_bool(ld, y, &flag) ? json_boolean(flag) : NULL;
    case PT_INT:
        return probe_int(ld, y, key->min, key->max);
    case PT_PORT:
        return probe_int(ld, y, 1, 65535);
    case PT_WORD:
        word = scalar_choice(ld, y, key->words, NULL);
        return word >= 0 ? probe_made(ld, json_string(key->words[word])) : NULL;
    case PT_MAP:
        return probe_map(ld, key, y);
    case PT_ARGV:
        return y->type == ES_YAML_LIST ? probe_list(ld, key, y) : probe_text(ld, key, y);
    default:
        return probe_text(ld, key, y);
    }
}
