/* Values of the head, of networks and of scoring that have a form of their own. */
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

void bind_version(struct load *ld, const struct key *key, const struct es_yaml *y,
                  void *value)
{
    (void)key;
    (void)value;
    if (y->type == ES_YAML_SCALAR && !y->quoted && strcmp(y->text, "1") == 0)
        return;
    load_error(ld, y->pos, "this build reads version 1 of the language: write enshu: 1");
}

void bind_random_hex(struct load *ld, const struct key *key, const struct es_yaml *y,
                     void *value)
{
    struct es_random *random = value;
    (void)key;
    random->kind = ES_RANDOM_HEX;
    scalar_int(ld, y, 1, 128, &random->digits);
}

void bind_random_flag(struct load *ld, const struct key *key, const struct es_yaml *y,
                      void *value)
{
    struct es_random *random = value;
    const char *text = scalar_string(ld, y);
    (void)key;
    random->kind = ES_RANDOM_FLAG;
    if (text == NULL)
        return;
    const char *dots = strstr(text, "…");
    if (dots == NULL || strstr(dots + strlen("…"), "…") != NULL || strlen(text) > 128)
        load_error(ld, y->pos,
                   "a flag holds one \"…\", which becomes 24 digits: "
                   "\"ENSHU{…}\"");
    else
        random->format = text;
}

void bind_random_int(struct load *ld, const struct key *key, const struct es_yaml *y,
                     void *value)
{
    struct es_random *random = value;
    (void)key;
    random->kind = ES_RANDOM_INT;
    if (y->type != ES_YAML_LIST || y->count != 2) {
        load_error(ld, y->pos,
                   "expected the least and the greatest number: [20000, 29999]");
        return;
    }
    if (scalar_int(ld, y->child, INT32_MIN, INT32_MAX, &random->min) &&
        scalar_int(ld, y->child->next, INT32_MIN, INT32_MAX, &random->max) &&
        random->min > random->max)
        load_error(ld, y->pos, "the first number is greater than the second");
}

void random_done(struct load *ld, void *object, const struct es_yaml *y)
{
    (void)object;
    size_t n = 0;
    static const char *const kinds[] = {"hex", "flag", "int"};
    for (size_t i = 0; i < ES_COUNT(kinds); i++)
        n += es_yaml_get(y, kinds[i]) != NULL;
    if (n != 1)
        load_error(ld, y->key_pos, "exactly one of hex, flag and int");
}

void bind_speed(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    struct es_scenario *s = value;
    (void)key;
    char *end = NULL;
    double speed = y->type == ES_YAML_SCALAR && !y->quoted && *y->text != '\0' &&
                           strspn(y->text, "0123456789.") == strlen(y->text)
                       ? strtod(y->text, &end)
                       : 0;
    if (end == NULL || *end != '\0' || speed < 0.1 || speed > 1000)
        load_error(ld, y->pos, "expected how often real time, from 0.1 to 1000");
    else
        s->rehearse_speed_permille = (int32_t)(speed * 1000 + 0.5);
}

void bind_rehearse_teams(struct load *ld, const struct key *key, const struct es_yaml *y,
                         void *value)
{
    int64_t teams;
    (void)key;
    (void)value;
    if (scalar_int(ld, y, 1, 10, &teams) && teams > 1)
        load_error(ld, y->pos, "more than one team " ES_NEEDS_LATER);
}

/* ------------------------------------------------------------------ networks */

void bind_cidr(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *value)
{
    struct es_network *network = value;
    const char *text = scalar_string(ld, y);
    (void)key;
    if (text == NULL)
        return;
    if (es_cidr4_parse(text, &network->net, &network->prefix) != 0) {
        load_error(
            ld, y->pos,
            "\"%.60s\" is no IPv4 network such as 10.20.0.0/24 (the bits behind the "
            "prefix are 0)",
            text);
        return;
    }
    if (network->prefix < 8 || network->prefix > 30) {
        load_error(ld, y->pos, "a prefix goes from /8 to /30");
        network->prefix = 0;
    }
}

void bind_addresses(struct load *ld, const struct key *key, const struct es_yaml *y,
                    void *value)
{
    struct es_network *network = value;
    (void)key;
    if (!bind_is_map(ld, y) || !bind_fits(ld, y, ES_MAX_NAMES))
        return;
    struct es_name_addr *names = load_alloc(ld, y->count, sizeof *names);
    size_t n = 0;
    for (const struct es_yaml *item = y->child; names != NULL && item != NULL;
         item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        const char *text = scalar_string(ld, item);
        if (!es_str_is_name(item->key, 253))
            load_error(ld, item->key_pos, "\"%.60s\" is no host name", item->key);
        else if (text != NULL && es_ip4_parse(text, &names[n].addr) != 0)
            load_error(ld, item->pos, "\"%.60s\" is no IPv4 address", text);
        else if (text != NULL)
            names[n++].name = item->key;
        path_pop(ld, mark);
    }
    network->names = names;
    network->name_count = n;
}

void network_done(struct load *ld, void *object, const struct es_yaml *y)
{
    struct es_network *network = object;
    const struct es_yaml *slice = es_yaml_get(y, "slice"), *meet = es_yaml_get(y, "meet");
    if (network->scope == ES_SCOPE_TEAM && (slice != NULL || meet != NULL))
        load_error(ld, (slice != NULL ? slice : meet)->key_pos,
                   "%s needs scope: range (a team network has no other teams on it)",
                   slice != NULL ? "slice" : "meet");
    else if (slice != NULL && network->slice != 0 && network->prefix != 0 &&
             network->slice <= network->prefix)
        load_error(ld, slice->pos, "a slice of /%d is not smaller than the network, /%d",
                   network->slice, network->prefix);
}

/* ------------------------------------------------------------------ scoring */

void bind_parts(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    struct es_scoring *scoring = value;
    (void)key;
    if (!bind_is_map(ld, y))
        return;
    struct es_part *parts = load_alloc(ld, y->count, sizeof *parts);
    size_t n = 0;
    for (const struct es_yaml *item = y->child; parts != NULL && item != NULL;
         item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        if (!es_str_is_name(item->key, ES_NAME_MAX))
            load_error(ld, item->key_pos, "\"%.60s\" cannot name a part", item->key);
        else if (scalar_int(ld, item, 0, 1000000, &parts[n].weight))
            parts[n++].name = item->key;
        path_pop(ld, mark);
    }
    if (y->count == 0)
        load_error(ld, y->pos, "no parts are named");
    else if (y->count > 32)
        load_error(ld, y->pos, "%zu items, at most 32 are possible", y->count);
    scoring->parts = parts;
    scoring->part_count = n;
}
