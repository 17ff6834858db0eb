/* The JSON Schema of the language, from the key tables: what editors complete and check.
 * It knows types and words; what spans several keys only the loader knows. */
#include <stdio.h>
#include <string.h>

#include "room.h"

#define DURATION_PATTERN "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"

/* Sets a key; false when memory is out. Takes the value. */
static bool put(json_t *object, const char *key, json_t *value)
{
    if (object != NULL && value != NULL)
        return json_object_set_new(object, key, value) == 0;
    json_decref(value);
    return false;
}

static json_t *ref_to(const char *name)
{
    char target[80];
    snprintf(target, sizeof target, "#/$defs/%s", name);
    return json_pack("{s:s}", "$ref", target);
}

static json_t *words_of(const char *const *words)
{
    json_t *list = json_array();
    for (size_t i = 0; words[i] != NULL; i++)
        if (json_array_append_new(list, json_string(words[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return json_pack("{s:o}", "enum", list);
}

/* The tables' own schemas name shapes as #NAME. */
static json_t *from_text(const char *text)
{
    struct es_buf out;
    es_buf_init(&out, 8192);
    for (; *text != '\0'; text++) {
        size_t len = *text == '#' ? strspn(text + 1, "abcdefghijklmnopqrstuvwxyz-") : 0;
        if (len == 0) {
            es_buf_putc(&out, *text);
            continue;
        }
        es_buf_printf(&out, "{\"$ref\":\"#/$defs/%.*s\"}", (int)len, text + 1);
        text += len;
    }
    json_t *json =
        es_buf_status(&out) == 0 ? json_loads(es_buf_str(&out), 0, NULL) : NULL;
    es_buf_finish(&out);
    return json;
}

static json_t *number_schema(int64_t min, int64_t max)
{
    json_t *schema = json_pack("{s:s}", "type", "integer");
    if (min == 0 && max == 0)
        return schema;
    put(schema, "minimum", json_integer(min));
    if (max != INT64_MAX)
        put(schema, "maximum", json_integer(max));
    return schema;
}

static json_t *map_schema(json_t *item, int64_t max)
{
    return json_pack("{s:s, s:{s:b}, s:o, s:I}", "type", "object", "patternProperties",
                     "^x-", 1, "additionalProperties", item, "maxProperties",
                     (json_int_t)max);
}

static json_t *list_schema(json_t *item, int64_t max)
{
    return json_pack("{s:s, s:o, s:I}", "type", "array", "items", item, "maxItems",
                     (json_int_t)max);
}

static json_t *value_schema(const struct key *key)
{
    switch (key->type) {
    case T_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case T_INT:
    case T_INT32:
        return number_schema(key->min, key->max);
    case T_STRING:
    case T_SHELL:
    case T_NAME:
    case T_PATH:
    case T_REF:
        return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
    case T_ANCHOR:
        return ref_to("anchor");
    case T_TEXT:
        return ref_to("text");
    case T_DURATION:
        return ref_to("duration");
    case T_SIZE:
        return ref_to("size");
    case T_CHOICE:
    case T_CHOICE_BOOL:
    case T_WORD:
        return words_of(key->words);
    case T_REFS:
    case T_STRINGS:
        return list_schema(json_pack("{s:s}", "type", "string"), key->max);
    case T_OBJECT:
        return ref_to(key->shape->name);
    case T_LIST:
        return list_schema(ref_to(key->shape->name), key->max);
    case T_MAP:
        return map_schema(ref_to(key->shape->name), key->max);
    case T_CUSTOM:
        return from_text(key->schema);
    case T_NOTE:
        return json_pack("{s:[{s:s},{s:s,s:{s:s}}]}", "anyOf", "type", "string", "type",
                         "array", "items", "type", "string");
    case T_LATER:
        break;
    }
    return NULL;
}

/* An object of known keys; x- keys are free. */
static json_t *object_schema(json_t *properties, json_t *required, const char *doc)
{
    json_t *schema =
        json_pack("{s:s, s:o, s:{s:b}, s:b}", "type", "object", "properties", properties,
                  "patternProperties", "^x-", 1, "additionalProperties", 0);
    if (json_array_size(required) > 0)
        put(schema, "required", json_incref(required));
    json_decref(required);
    if (doc != NULL)
        put(schema, "description", json_string(doc));
    return schema;
}

static bool describe(json_t *schema, const char *doc, const char *fallback)
{
    char text[512];
    if (fallback == NULL)
        return put(schema, "description", json_string(doc));
    snprintf(text, sizeof text, "%s (default: %s)", doc, fallback);
    return put(schema, "description", json_string(text));
}

static json_t *shape_schema(const struct shape *shape)
{
    json_t *properties = json_object(), *required = json_array();
    bool good = properties != NULL && required != NULL;
    for (const struct key *key = shape->keys; good && key->name != NULL; key++) {
        if (key->type == T_LATER)
            continue;
        json_t *value = value_schema(key);
        good = describe(value, key->doc, key->fallback);
        good = put(properties, key->name, value) && good;
        if ((key->flags & KEY_REQUIRED) != 0)
            good = json_array_append_new(required, json_string(key->name)) == 0 && good;
    }
    for (int i = 0; shape->has_probes && good && i < ES_PROBE_COUNT; i++) {
        char name[48];
        snprintf(name, sizeof name, "probe-%s", probe_tables[i].name);
        good = put(properties, probe_tables[i].name, ref_to(name));
    }
    if (good)
        return object_schema(properties, required, shape->doc);
    json_decref(properties);
    json_decref(required);
    return NULL;
}

/* ------------------------------------------------------------------ probes */

static json_t *one_or_list(const char *type)
{
    return json_pack("{s:[{s:s},{s:s,s:{s:s},s:i}]}", "anyOf", "type", type, "type",
                     "array", "items", "type", type, "minItems", 1);
}

static json_t *range_schema(bool list_too)
{
    json_t *schema =
        json_pack("{s:[{s:s},{s:s,s:{s:{s:s},s:{s:s}},s:{s:b},s:b,s:i}]}", "anyOf",
                  "type", "integer", "type", "object", "properties", "min", "type",
                  "integer", "max", "type", "integer", "patternProperties", "^x-", 1,
                  "additionalProperties", 0, "minProperties", 1);
    if (list_too && json_array_append_new(json_object_get(schema, "anyOf"),
                                          json_pack("{s:s,s:{s:s}}", "type", "array",
                                                    "items", "type", "integer")) != 0) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

static json_t *probe_value_schema(const struct probe_key *key)
{
    switch (key->type) {
    case PT_STRING:
    case PT_REGEX:
    case PT_HOST:
        return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
    case PT_PATH:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^/");
    case PT_STRINGS:
    case PT_REGEXES:
    case PT_ARGV:
        return one_or_list("string");
    case PT_MAP:
        return json_pack("{s:s, s:{s:s}}", "type", "object", "additionalProperties",
                         "type", "string");
    case PT_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case PT_INT:
        return number_schema(key->min, key->max);
    case PT_PORT:
        return number_schema(1, 65535);
    case PT_HOSTPORT:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^.+:[0-9]+$");
    case PT_INTS:
        return range_schema(true);
    case PT_RANGE:
        return range_schema(false);
    case PT_MODE:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-7]{4}$");
    case PT_WORD:
        return words_of(key->words);
    case PT_SHA256:
        return json_pack("{s:s, s:s}", "type", "string", "pattern", "^[0-9a-f]{64}$");
    }
    return NULL;
}

static json_t *probe_schema(const struct probe_table *table)
{
    json_t *properties = json_object(), *required = json_array();
    bool good = properties != NULL && required != NULL;
    for (const struct probe_key *key = table->keys; good && key->name != NULL; key++) {
        json_t *value = probe_value_schema(key);
        good = describe(value, key->doc, NULL);
        good = put(properties, key->name, value) && good;
        if (key->required)
            good = json_array_append_new(required, json_string(key->name)) == 0 && good;
    }
    if (good)
        return object_schema(properties, required, table->does);
    json_decref(properties);
    json_decref(required);
    return NULL;
}

/* ------------------------------------------------------------------ the whole */

static bool add_common(json_t *defs)
{
    return put(defs, "duration",
               json_pack("{s:s, s:s, s:i}", "type", "string", "pattern", DURATION_PATTERN,
                         "minLength", 2)) &&
           put(defs, "size",
               json_pack("{s:[{s:s},{s:s,s:s}]}", "anyOf", "type", "integer", "type",
                         "string", "pattern", "^[0-9]+( ?[KMGT]iB)?$")) &&
           put(defs, "anchor",
               json_pack("{s:s, s:s}", "type", "string", "pattern",
                         "^(T|[a-z0-9_-]+[.][a-z-]+)([+][0-9dhms]+)?$")) &&
           put(defs, "text",
               from_text(
                   "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1},{\"type\":"
                   "\"object\",\"properties\":{\"file\":{\"type\":\"string\"}},"
                   "\"patternProperties\":{\"^[a-z]{2,3}(-[A-Za-z0-9]+)?$\":{\"anyOf\":"
                   "[{\"type\":\"string\",\"minLength\":1},{\"type\":\"object\","
                   "\"properties\":{\"file\":{\"type\":\"string\"}},\"required\":["
                   "\"file\"],\"additionalProperties\":false}]},\"^x-\":true},"
                   "\"additionalProperties\":false,\"minProperties\":1}]}"));
}

json_t *es_scenario_schema(void)
{
    json_t *defs = json_object();
    bool good = defs != NULL && add_common(defs);
    for (size_t i = 1; good && all_shapes[i] != NULL; i++)
        good = put(defs, all_shapes[i]->name, shape_schema(all_shapes[i]));
    for (int i = 0; good && i < ES_PROBE_COUNT; i++) {
        char name[48];
        snprintf(name, sizeof name, "probe-%s", probe_tables[i].name);
        good = put(defs, name, probe_schema(&probe_tables[i]));
    }
    json_t *root = good ? shape_schema(all_shapes[0]) : NULL;
    good = put(root, "$schema",
               json_string("https://json-schema.org/draft/2020-12/schema")) &&
           put(root, "title", json_string("enshu scenario, version 1")) &&
           put(root, "$defs", json_incref(defs));
    json_decref(defs);
    if (good)
        return root;
    json_decref(root);
    return NULL;
}
