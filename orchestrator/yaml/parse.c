/* libyaml's events to a tree of positioned nodes, within the caps.
 *
 * The builder keeps an explicit stack, so nesting costs no C stack, and it looks at each
 * event before asking for the next: libyaml reads at most about 1,000 characters ahead of
 * an event, so text nested beyond the cap ends before it gets slow. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/str.h"
#include "room.h"

struct frame {
    struct es_yaml *container;
    struct es_yaml *last;
    const char *key; /* of a map: read, its value not yet */
    struct es_pos key_pos;
};

struct builder {
    struct es_arena *arena;
    struct es_diags *diags;
    const char *file; /* in the arena */
    struct yaml_seen seen;
    struct es_yaml *root;
    struct frame stack[ES_YAML_DEPTH_MAX];
    size_t depth;
    size_t event_count;
    bool nomem;
    bool stop;  /* nothing after this can be read */
    bool ended; /* the text was read to its end */
};

static struct es_pos pos_of(const struct builder *b, yaml_mark_t mark)
{
    return (struct es_pos){b->file, (int)mark.line + 1, (int)mark.column + 1};
}

/* "nodes.web.setup[2]" of what is being read. */
static const char *path_of(const struct builder *b, char *dst, size_t size)
{
    size_t n = 0;
    dst[0] = '\0';
    for (size_t i = 0; i < b->depth && n < size; i++) {
        /* The next frame's container, or on top what comes next, is an item of this one. */
        bool top = i + 1 == b->depth;
        const struct frame *f = &b->stack[i];
        const char *key = top ? f->key : b->stack[i + 1].container->key;
        if (f->container->type == ES_YAML_LIST)
            n += (size_t)snprintf(dst + n, size - n, "[%zu]", f->container->count - !top);
        else if (key != NULL)
            n += (size_t)snprintf(dst + n, size - n, "%s%.60s", n == 0 ? "" : ".", key);
    }
    return dst;
}

static void report(struct builder *b, struct es_pos pos, const char *text)
{
    char path[512];
    es_diags_add(b->diags, ES_SEV_ERROR, pos, path_of(b, path, sizeof path), "%s", text);
}

static void report_stop(struct builder *b, struct es_pos pos, const char *text)
{
    report(b, pos, text);
    b->stop = true;
}

enum { SMALL_MAP = 16 };

/* The item of the map that has the key already. Small maps are searched, the keys of large
 * ones lie in the hash table. */
static const struct es_yaml *find_twin(struct builder *b, const struct es_yaml *map,
                                       const struct es_yaml *item)
{
    const struct es_yaml *old;
    if (map->count < SMALL_MAP) {
        for (old = map->child; old != NULL; old = old->next)
            if (strcmp(old->key, item->key) == 0)
                return old;
        return NULL;
    }
    if (map->count == SMALL_MAP)
        for (old = map->child; old != NULL; old = old->next)
            yaml_seen_add(&b->seen, map, old, &b->nomem);
    return yaml_seen_add(&b->seen, map, item, &b->nomem);
}

/* Hangs an item into the container being filled, or makes it the root. */
static void attach(struct builder *b, struct es_yaml *item)
{
    if (b->depth == 0) {
        b->root = item;
        return;
    }
    struct frame *f = &b->stack[b->depth - 1];
    if (f->container->type == ES_YAML_MAP) {
        item->key = f->key;
        item->key_pos = f->key_pos;
        f->key = NULL;
        const struct es_yaml *twin = find_twin(b, f->container, item);
        if (twin != NULL) {
            char path[512];
            es_diags_add(b->diags, ES_SEV_ERROR, item->key_pos,
                         path_of(b, path, sizeof path),
                         "the key \"%.60s\" stands here twice, first in line %d",
                         item->key, twin->key_pos.line);
            return;
        }
    }
    if (f->last == NULL)
        f->container->child = item;
    else
        f->last->next = item;
    f->last = item;
    f->container->count++;
}

static struct es_yaml *make(struct builder *b, enum es_yaml_type type, yaml_mark_t mark)
{
    struct es_yaml *item = es_arena_alloc(b->arena, sizeof *item);
    if (item == NULL) {
        b->nomem = true;
        return NULL;
    }
    item->type = type;
    item->pos = pos_of(b, mark);
    return item;
}

#define CORE_TAG "tag:yaml.org,2002:"

static bool is_core_tag(const char *tag)
{
    static const char *const names[] = {"str",  "int", "float", "bool",
                                        "null", "map", "seq"};
    if (strncmp(tag, CORE_TAG, strlen(CORE_TAG)) != 0)
        return false;
    for (size_t i = 0; i < ES_COUNT(names); i++)
        if (strcmp(tag + strlen(CORE_TAG), names[i]) == 0)
            return true;
    return false;
}

/* Refuses anchors and tags that are not the core's; true when all is well. */
static bool check_marks(struct builder *b, yaml_mark_t mark, const yaml_char_t *anchor,
                        const yaml_char_t *tag)
{
    if (anchor != NULL)
        report(b, pos_of(b, mark),
               "\"&\" would name an anchor; anchors are not part of the language: quote "
               "this text");
    bool good_tag = tag == NULL || is_core_tag((const char *)tag);
    if (!good_tag)
        report(
            b, pos_of(b, mark),
            "\"!\" would be a tag; tags are not part of the language: quote this text");
    return anchor == NULL && good_tag;
}

static bool is_null(const char *s)
{
    return *s == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0 ||
           strcmp(s, "Null") == 0 || strcmp(s, "NULL") == 0;
}

/* The scalar's bytes in the arena; problems are reported, clear *good and give "". */
static const char *scalar_text(struct builder *b, const yaml_event_t *event, bool *good)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (len > ES_YAML_SCALAR_MAX) {
        report(b, pos_of(b, event->start_mark),
               "this text has more than 64 KiB; put it into a file");
        *good = false;
        return "";
    }
    if (memchr(value, '\0', len) != NULL) {
        report(b, pos_of(b, event->start_mark), "a NUL inside a text; remove it");
        *good = false;
        return "";
    }
    const char *text = es_arena_strndup(b->arena, value, len);
    if (text == NULL)
        b->nomem = true;
    return text;
}

static bool expects_key(const struct builder *b)
{
    return b->depth > 0 && b->stack[b->depth - 1].container->type == ES_YAML_MAP &&
           b->stack[b->depth - 1].key == NULL;
}

static void on_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *tag = (const char *)event->data.scalar.tag;
    bool good = check_marks(b, event->start_mark, event->data.scalar.anchor,
                            event->data.scalar.tag);
    const char *text = scalar_text(b, event, &good);
    if (text == NULL)
        return;
    if (expects_key(b)) {
        struct frame *f = &b->stack[b->depth - 1];
        f->key = text;
        f->key_pos = pos_of(b, event->start_mark);
        return;
    }
    bool quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
                  (tag != NULL && strcmp(tag, CORE_TAG "str") == 0);
    struct es_yaml *item = make(
        b, !quoted && is_null(text) ? ES_YAML_NULL : ES_YAML_SCALAR, event->start_mark);
    if (item == NULL)
        return;
    item->text = text;
    item->quoted = quoted;
    item->broken = !good;
    attach(b, item);
}

static void on_alias(struct builder *b, const yaml_event_t *event)
{
    report(
        b, pos_of(b, event->start_mark),
        "\"*\" would be an alias; aliases are not part of the language: quote this text");
    if (expects_key(b)) {
        b->stop = true;
        return;
    }
    struct es_yaml *item = make(b, ES_YAML_SCALAR, event->start_mark);
    if (item == NULL)
        return;
    item->text = "";
    item->quoted = item->broken = true;
    attach(b, item);
}

static void on_open(struct builder *b, const yaml_event_t *event, enum es_yaml_type type)
{
    struct es_pos pos = pos_of(b, event->start_mark);
    if (expects_key(b)) {
        report_stop(
            b, pos,
            "a key must be a plain word; quote a text that begins with a bracket");
        return;
    }
    if (b->depth == ES_YAML_DEPTH_MAX) {
        report_stop(b, pos, "nested more than 32 deep; nothing after this was read");
        return;
    }
    bool list = type == ES_YAML_LIST;
    check_marks(b, event->start_mark,
                list ? event->data.sequence_start.anchor
                     : event->data.mapping_start.anchor,
                list ? event->data.sequence_start.tag : event->data.mapping_start.tag);
    struct es_yaml *item = make(b, type, event->start_mark);
    if (item == NULL)
        return;
    item->flow = list ? event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE
                      : event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
    attach(b, item);
    b->stack[b->depth++] = (struct frame){.container = item};
}

/* Takes one event; false after the last one of the stream. */
static bool on_event(struct builder *b, const yaml_event_t *event)
{
    if (++b->event_count > ES_YAML_EVENTS_MAX) {
        report_stop(b, pos_of(b, event->start_mark),
                    "more than 200000 items; split the exercise or put data into files");
        return false;
    }
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        on_scalar(b, event);
        break;
    case YAML_ALIAS_EVENT:
        on_alias(b, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        on_open(b, event, ES_YAML_LIST);
        break;
    case YAML_MAPPING_START_EVENT:
        on_open(b, event, ES_YAML_MAP);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        ES_ASSERT(b->depth > 0);
        b->depth--;
        break;
    case YAML_DOCUMENT_START_EVENT:
        if (b->root != NULL)
            report_stop(b, pos_of(b, event->start_mark),
                        "a second document; a file holds one: remove the \"---\"");
        break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    case YAML_STREAM_END_EVENT:
        b->ended = true;
        return false;
    }
    return !b->stop && !b->nomem;
}

static void read_events(struct builder *b, yaml_parser_t *parser, const char *text,
                        size_t len)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            if (parser->error == YAML_MEMORY_ERROR)
                b->nomem = true;
            else
                yaml_explain(parser, b->file, text, len, b->diags);
            return;
        }
        more = on_event(b, &event);
        yaml_event_delete(&event);
    }
}

int es_yaml_parse(struct es_arena *arena, const char *file, const char *text, size_t len,
                  struct es_diags *diags, struct es_yaml **ret_root)
{
    int rc = yaml_check_bytes(file, text, len, diags);
    if (rc != 0)
        return diags->arena.failed ? ES_ENOMEM : rc;
    struct builder b = {.arena = arena, .diags = diags};
    yaml_parser_t parser;
    if ((b.file = es_arena_strdup(arena, file)) == NULL ||
        !yaml_parser_initialize(&parser))
        return ES_ENOMEM;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    read_events(&b, &parser, text, len);
    yaml_parser_delete(&parser);
    for (size_t i = 0; i < b.depth; i++)
        b.stack[i].container->partial = true;
    if (b.root != NULL && !b.ended)
        b.root->partial = true;
    yaml_seen_finish(&b.seen);
    if (b.nomem || diags->arena.failed)
        return ES_ENOMEM;
    if (b.root == NULL) {
        if (diags->error_count == 0)
            es_diags_add(diags, ES_SEV_ERROR, (struct es_pos){file, 0, 0}, "",
                         "the file is empty");
        return diags->arena.failed ? ES_ENOMEM : ES_ESCENARIO;
    }
    *ret_root = b.root;
    return 0;
}

struct es_yaml *es_yaml_get(const struct es_yaml *map, const char *key)
{
    if (map == NULL || map->type != ES_YAML_MAP)
        return NULL;
    for (struct es_yaml *item = map->child; item != NULL; item = item->next)
        if (es_str_eq(item->key, key))
            return item;
    return NULL;
}
