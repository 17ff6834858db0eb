/* From the tree to the structs, as the key tables say. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

/* ------------------------------------------------------------------ values */

bool bind_is_map(struct load *ld, const struct es_yaml *y)
{
    if (y->type == ES_YAML_MAP)
        return true;
    scalar_expects(ld, y, "a map of keys");
    return false;
}

bool bind_is_list(struct load *ld, const struct es_yaml *y)
{
    if (y->type == ES_YAML_LIST)
        return true;
    scalar_expects(ld, y, "a list");
    return false;
}

static void bind_string(struct load *ld, const struct key *key, const struct es_yaml *y,
                        const char **value)
{
    const char *text = scalar_string(ld, y);
    if (text == NULL)
        return;
    if (*text == '\0') {
        load_error(ld, y->pos, "expected a text, found an empty one");
        return;
    }
    *value = text;
    if ((key->flags & KEY_EXPANDS) != 0)
        expand_note(ld, text, y->pos, key->type == T_SHELL);
    else
        expand_is_plain(ld, text, y->pos);
}

bool bind_is_broken_off(const struct es_yaml *item, bool in_flow)
{
    return in_flow && item->type == ES_YAML_NULL && !item->broken && *item->text == '\0';
}

bool bind_fits(struct load *ld, const struct es_yaml *y, int64_t max)
{
    if (y->count <= (size_t)max)
        return true;
    load_error(ld, y->pos, "%zu items, at most %lld are possible", y->count,
               (long long)max);
    return false;
}

static bool within_limit(struct load *ld, const struct key *key, const struct es_yaml *y)
{
    return key->max == 0 || bind_fits(ld, y, key->max);
}

static void bind_strings(struct load *ld, const struct key *key, const struct es_yaml *y,
                         const char *const **items, size_t *count)
{
    if (!bind_is_list(ld, y) || !within_limit(ld, key, y))
        return;
    const char **list = load_alloc(ld, y->count, sizeof *list);
    size_t n = 0, i = 0;
    if (list == NULL)
        return;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next, i++) {
        size_t mark = path_push_index(ld, i);
        bind_string(ld, key, item, &list[n]);
        n += list[n] != NULL;
        path_pop(ld, mark);
    }
    *items = list;
    *count = n;
}

static void bind_refs(struct load *ld, const struct key *key, const struct es_yaml *y,
                      const int **items, size_t *count)
{
    if (!bind_is_list(ld, y) || !within_limit(ld, key, y))
        return;
    int *list = load_alloc(ld, y->count, sizeof *list);
    size_t i = 0;
    if (list == NULL)
        return;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next, i++) {
        size_t mark = path_push_index(ld, i);
        bind_ref(ld, key->space, item, &list[i]);
        path_pop(ld, mark);
    }
    *items = list;
    *count = y->count;
}

void bind_list(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *items, size_t *count)
{
    if (!bind_is_list(ld, y) || !within_limit(ld, key, y))
        return;
    char *list = load_alloc(ld, y->count, key->shape->size);
    size_t i = 0;
    if (list == NULL)
        return;
    memcpy(items, &list, sizeof list);
    *count = y->count;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next, i++) {
        size_t mark = path_push_index(ld, i);
        void *object = list + i * key->shape->size;
        if (key->shape->init != NULL)
            key->shape->init(object);
        if (key->shape->has_pos)
            memcpy((char *)object + key->shape->pos_offset, &item->pos, sizeof item->pos);
        bind_shape(ld, key->shape, item, object);
        path_pop(ld, mark);
    }
}

static void bind_map(struct load *ld, const struct key *key, const struct es_yaml *y,
                     void *items, size_t *count)
{
    if (!bind_is_map(ld, y) || !within_limit(ld, key, y))
        return;
    const struct shape *shape = key->shape;
    char *list = load_alloc(ld, y->count, shape->size);
    size_t n = 0;
    if (list == NULL)
        return;
    memcpy(items, &list, sizeof list);
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        size_t mark = path_push(ld, item->key);
        if (es_str_starts(item->key, "x-")) {
            path_pop(ld, mark);
            continue;
        }
        void *object = list + n * shape->size;
        if (shape->init != NULL)
            shape->init(object);
        if (shape->is_named)
            memcpy((char *)object + shape->name_offset, &item->key, sizeof item->key);
        if (shape->has_pos)
            memcpy((char *)object + shape->pos_offset, &item->key_pos,
                   sizeof item->key_pos);
        if (key->space != SPACE_NONE)
            bind_name(ld, key->space, item->key, (int)n, item->key_pos);
        *count = ++n;
        bind_shape(ld, shape, item, object);
        path_pop(ld, mark);
    }
}

static void bind_note(struct load *ld, const struct es_yaml *y)
{
    if (y->type != ES_YAML_LIST) {
        scalar_string(ld, y);
        return;
    }
    size_t i = 0;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next, i++) {
        size_t mark = path_push_index(ld, i);
        scalar_string(ld, item);
        path_pop(ld, mark);
    }
}

static void bind_number(struct load *ld, const struct key *key, const struct es_yaml *y,
                        void *value)
{
    int64_t min = key->min, max = key->max != 0 || key->min != 0 ? key->max : INT64_MAX,
            v;
    bool good = key->type == T_DURATION ? scalar_duration(ld, y, min, max, &v)
                : key->type == T_SIZE   ? scalar_size(ld, y, min, max, &v)
                                        : scalar_int(ld, y, min, max, &v);
    if (!good)
        return;
    if (key->type == T_INT32)
        *(int *)value = (int)v;
    else
        *(int64_t *)value = v;
}

static void bind_choice(struct load *ld, const struct key *key, const struct es_yaml *y,
                        void *value)
{
    int i = scalar_choice(ld, y, key->words, key->later);
    if (i < 0)
        return;
    if (key->type == T_CHOICE)
        *(int *)value = i;
    else if (key->type == T_CHOICE_BOOL)
        *(bool *)value = i == 1;
    else
        *(const char **)value = key->words[i];
}

static void bind_plain_name(struct load *ld, const struct es_yaml *y, const char **value)
{
    const char *name = scalar_string(ld, y);
    if (name == NULL)
        return;
    if (es_str_is_name(name, ES_NAME_MAX) && strchr(name, '.') == NULL)
        *value = name;
    else
        report_bad_name(ld, y->pos, name);
}

static void bind_value(struct load *ld, const struct key *key, const struct es_yaml *y,
                       char *object)
{
    void *value = object + key->offset;
    size_t *count = (size_t *)(void *)(object + key->count_offset);
    switch (key->type) {
    case T_BOOL:
        scalar_bool(ld, y, value);
        break;
    case T_INT:
    case T_INT32:
    case T_DURATION:
    case T_SIZE:
        bind_number(ld, key, y, value);
        break;
    case T_STRING:
    case T_SHELL:
        bind_string(ld, key, y, value);
        break;
    case T_NAME:
        bind_plain_name(ld, y, value);
        break;
    case T_PATH:
        bind_string(ld, key, y, value);
        if (*(const char **)value != NULL)
            files_asset(ld, *(const char **)value, y->pos, false);
        break;
    case T_TEXT:
        bind_text(ld, y, value);
        break;
    case T_CHOICE:
    case T_CHOICE_BOOL:
    case T_WORD:
        bind_choice(ld, key, y, value);
        break;
    case T_REF:
        bind_ref(ld, key->space, y, value);
        break;
    case T_REFS:
        bind_refs(ld, key, y, value, count);
        break;
    case T_STRINGS:
        bind_strings(ld, key, y, value, count);
        break;
    case T_ANCHOR:
        bind_anchor(ld, key, y, value);
        break;
    case T_OBJECT:
        bind_shape(ld, key->shape, y, value);
        break;
    case T_LIST:
        bind_list(ld, key, y, value, count);
        break;
    case T_MAP:
        bind_map(ld, key, y, value, count);
        break;
    case T_CUSTOM:
        key->bind(ld, key, y, value);
        break;
    case T_NOTE:
        bind_note(ld, y);
        break;
    case T_LATER:
        load_error(ld, y->key_pos, ES_NEEDS_LATER);
        break;
    }
}

/* ------------------------------------------------------------------ shapes */

enum { SHAPE_KEYS_MAX = 48 };

struct candidates {
    const struct shape *shape;
    size_t key_count;
};

static const char *next_key(const void *ctx, size_t i)
{
    const struct candidates *c = ctx;
    if (i < c->key_count)
        return c->shape->keys[i].name;
    i -= c->key_count;
    return c->shape->has_probes && i < ES_PROBE_COUNT ? probe_tables[i].name : NULL;
}

/* Returns the key that was probably meant, or NULL. */
static const char *report_unknown(struct load *ld, const struct shape *shape,
                                  size_t key_count, const struct es_yaml *item,
                                  bool in_flow)
{
    if (bind_is_broken_off(item, in_flow)) {
        load_error(
            ld, item->key_pos,
            "\"%.60s\" is no key: a comma or colon inside {…} ends a text; quote this "
            "text",
            item->key);
        return NULL;
    }
    if (strcmp(item->key, "<<") == 0) {
        load_error(ld, item->key_pos,
                   "merge keys are not part of the language; use kinds and defaults");
        return NULL;
    }
    struct candidates all = {shape, key_count};
    const char *near =
        load_is_full(ld) ? NULL : es_str_nearest(item->key, next_key, &all);
    if (near != NULL)
        load_error(ld, item->key_pos, "unknown key (did you mean \"%s\"?)", near);
    else
        load_error(ld, item->key_pos, "unknown key; `enshu reference` lists those of %s",
                   shape->title);
    return near;
}

/* Stands for a key that was misspelled: neither missing nor to be bound. */
static const struct es_yaml misspelled;

/* Sorts the items of the map by key; probes and unknown keys are dealt with here. */
static void match_keys(struct load *ld, const struct shape *shape,
                       const struct es_yaml *y, void *object,
                       const struct es_yaml **found, bool *ret_slipped)
{
    size_t key_count = 0;
    while (shape->keys[key_count].name != NULL)
        key_count++;
    ES_ASSERT(key_count <= SHAPE_KEYS_MAX);
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        size_t i = 0;
        while (i < key_count && strcmp(shape->keys[i].name, item->key) != 0)
            i++;
        if (i < key_count) {
            found[i] = item;
            continue;
        }
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        const char *slip = NULL;
        int kind = shape->has_probes ? probe_kind_find(item->key) : -1;
        if (kind >= 0)
            shape->on_probe(ld, object, (enum es_probe_kind)kind, item);
        else
            slip = report_unknown(ld, shape, key_count, item, y->flow);
        path_pop(ld, mark);
        *ret_slipped = *ret_slipped || kind < 0;
        for (i = 0; slip != NULL && i < key_count; i++)
            if (found[i] == NULL && strcmp(shape->keys[i].name, slip) == 0)
                found[i] = &misspelled;
    }
}

void bind_shape(struct load *ld, const struct shape *shape, const struct es_yaml *y,
                void *object)
{
    const struct es_yaml *found[SHAPE_KEYS_MAX] = {0};
    if (!bind_is_map(ld, y))
        return;
    bool slipped = y->partial;
    match_keys(ld, shape, y, object, found, &slipped);
    for (size_t i = 0; shape->keys[i].name != NULL; i++) {
        const struct key *key = &shape->keys[i];
        if (found[i] == NULL) {
            if ((key->flags & KEY_REQUIRED) != 0 && !y->partial)
                load_error(ld, y->key != NULL ? y->key_pos : y->pos,
                           "the key \"%s\" is missing", key->name);
            continue;
        }
        if (found[i] == &misspelled)
            continue;
        size_t mark = path_push(ld, key->name);
        bind_value(ld, key, found[i], object);
        path_pop(ld, mark);
    }
    ld->slipped = slipped;
    if (shape->done != NULL)
        shape->done(ld, object, y);
    ld->slipped = slipped;
}
