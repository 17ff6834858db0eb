/* Texts for people: one string, a map of languages, or files; and the translations of
 * lang/<code>.yaml, found by key path. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "room.h"

enum { LANGUAGES_MAX = 16 };

const char *es_text_get(const struct es_text *text, const char *lang)
{
    for (size_t i = 0; i < text->count; i++)
        if (es_str_eq(text->items[i].lang, lang))
            return text->items[i].text;
    return text->count > 0 ? text->items[0].text : "";
}

static bool is_language(const char *code)
{
    size_t n = strspn(code, "abcdefghijklmnopqrstuvwxyz");
    if (n != 2 && n != 3)
        return false;
    return code[n] == '\0' ||
           (code[n] == '-' && code[n + 1] != '\0' && strlen(code) < 12 &&
            strspn(code + n + 1,
                   "abcdefghijklmnopqrstuvwxyz"
                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == strlen(code + n + 1));
}

static bool is_file(const struct es_yaml *y)
{
    const struct es_yaml *file = es_yaml_get(y, "file");
    return file != NULL && file->type != ES_YAML_MAP && y->count == 1;
}

/* A string or {file: …}. */
static const char *one_text(struct load *ld, const struct es_yaml *y)
{
    const struct es_yaml *file = es_yaml_get(y, "file");
    if (!is_file(y)) {
        const char *text = scalar_string(ld, y);
        if (text != NULL && *text == '\0')
            load_error(ld, y->pos, "expected a text, found an empty one");
        if (text != NULL)
            expand_is_plain(ld, text, y->pos);
        return text;
    }
    const char *name = scalar_string(ld, file);
    if (name == NULL)
        return NULL;
    const struct source_file *source =
        files_text(ld, name, file->pos, SOURCE_TEXT, false);
    return source != NULL ? source->text : NULL;
}

static size_t bind_languages_of(struct load *ld, const struct es_yaml *y,
                                struct es_text_item items[LANGUAGES_MAX])
{
    size_t n = 0;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        if (bind_is_broken_off(item, y->flow)) {
            load_error(
                ld, item->key_pos,
                "\"%.60s\" is no language: a comma or colon inside {…} ends a text; "
                "quote this text",
                item->key);
        } else if (!is_language(item->key)) {
            load_error(ld, item->key_pos,
                       "\"%.60s\" is no language; a text is a string, {ja: …, en: …} or "
                       "{file: …}",
                       item->key);
        } else if (n == LANGUAGES_MAX) {
            load_error(ld, item->key_pos, "more than %d languages", LANGUAGES_MAX);
        } else if ((items[n].text = one_text(ld, item)) != NULL) {
            items[n++].lang = item->key;
        }
        path_pop(ld, mark);
    }
    return n;
}

/* {draft} was meant to be a text. */
static bool starts_with_brace(const struct es_yaml *y)
{
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next)
        if (!bind_is_broken_off(item, y->flow))
            return false;
    return y->child != NULL;
}

static size_t add_translations(struct load *ld, struct es_text_item items[LANGUAGES_MAX],
                               size_t n)
{
    char name[sizeof ld->path + 16];
    for (size_t i = 0; i < ld->language_count && n < LANGUAGES_MAX; i++) {
        const char *lang = ld->languages[i];
        bool has = items[0].lang[0] == '\0' && strcmp(lang, ld->s->default_language) == 0;
        for (size_t k = 0; k < n; k++)
            has = has || strcmp(items[k].lang, lang) == 0;
        snprintf(name, sizeof name, "%s %s", lang, ld->path);
        const struct name_slot *slot = names_find(&ld->s->inner->names, SPACE_TEXT, name);
        if (slot == NULL)
            continue;
        ld->translation_used[slot->index] = true;
        if (has)
            load_error_at(ld, slot->pos, ld->path,
                          "this text is in \"%s\" already; remove one of them", lang);
        else
            items[n++] = (struct es_text_item){lang, ld->translations[slot->index]};
    }
    return n;
}

void bind_text(struct load *ld, const struct es_yaml *y, struct es_text *text)
{
    struct es_text_item items[LANGUAGES_MAX] = {{NULL, NULL}};
    const char *standard = ld->s->default_language;
    size_t n;
    if (y->type == ES_YAML_MAP && !is_file(y)) {
        if (y->count == 0 && !y->partial)
            load_error(ld, y->pos, "expected a text, found an empty map");
        if (starts_with_brace(y)) {
            scalar_expects(ld, y, "a text");
            return;
        }
        n = bind_languages_of(ld, y, items);
    } else {
        items[0].lang = "";
        items[0].text = one_text(ld, y);
        n = items[0].text != NULL;
    }
    if (n == 0)
        return;
    n = add_translations(ld, items, n);
    for (size_t i = 0; i < n; i++) {
        bool is_first = strcmp(items[i].lang, standard) == 0;
        if (is_first && i > 0) {
            struct es_text_item swap = items[0];
            items[0] = items[i];
            items[i] = swap;
        }
    }
    for (size_t i = 0; i < ld->complete_count; i++) {
        const char *lang = ld->complete[i];
        bool has = items[0].lang[0] == '\0' && strcmp(lang, standard) == 0;
        for (size_t k = 0; k < n; k++)
            has = has || strcmp(items[k].lang, lang) == 0;
        if (!has)
            load_error(ld, y->pos, "no text in \"%s\", which languages.complete promises",
                       lang);
    }
    struct es_text_item *kept = load_alloc(ld, n, sizeof *kept);
    if (kept == NULL)
        return;
    memcpy(kept, items, n * sizeof *kept);
    *text = (struct es_text){kept, n};
}

/* ------------------------------------------------------------------ languages */

void bind_languages(struct load *ld, const struct key *key, const struct es_yaml *y,
                    void *value)
{
    struct draft_languages draft = {.standard = "ja"};
    (void)key;
    (void)value;
    bind_shape(ld, &languages_shape, y, &draft);
    for (size_t i = 0; i < draft.complete_count; i++) {
        if (!is_language(draft.complete[i])) {
            load_error(ld, y->pos, "\"%.40s\" is no language code such as ja or en",
                       draft.complete[i]);
            return;
        }
        for (size_t k = 0; k < i; k++)
            if (strcmp(draft.complete[i], draft.complete[k]) == 0)
                load_error(ld, y->pos, "\"%s\" stands in complete twice",
                           draft.complete[i]);
    }
    if (!is_language(draft.standard)) {
        load_error(ld, y->pos, "\"%.40s\" is no language code such as ja or en",
                   draft.standard);
        return;
    }
    ld->s->default_language = draft.standard;
    ld->complete = draft.complete;
    ld->complete_count = draft.complete_count;
}

/* ------------------------------------------------------------------ translations */

static void add_one(struct load *ld, const char *lang, const char *path,
                    const struct es_yaml *y)
{
    struct names *names = &ld->s->inner->names;
    const char *text = one_text(ld, y);
    const char *name = es_arena_printf(&ld->s->arena, "%s %s", lang, path);
    if (text == NULL || name == NULL)
        return;
    if (names_find(names, SPACE_TEXT, name) != NULL) {
        load_error(ld, y->key_pos, "this path stands in the file twice");
        return;
    }
    size_t n = ld->translation_count;
    const char **texts =
        es_arena_push(&ld->temp, ld->translations, n, sizeof *ld->translations);
    bool *used =
        es_arena_push(&ld->temp, ld->translation_used, n, sizeof *ld->translation_used);
    if (texts == NULL || used == NULL)
        return;
    ld->translations = texts;
    ld->translation_used = used;
    texts[n] = text;
    used[n] = false;
    ld->translation_count++;
    names_add(names, &ld->s->arena, SPACE_TEXT, name, (int)n, y->key_pos);
}

static void add_tree(struct load *ld, const char *lang, const struct es_yaml *map)
{
    if (!bind_is_map(ld, map))
        return;
    for (const struct es_yaml *item = map->child; item != NULL; item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        if (item->type == ES_YAML_MAP && !is_file(item))
            add_tree(ld, lang, item);
        else
            add_one(ld, lang, ld->path, item);
        path_pop(ld, mark);
    }
}

static int by_code(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The codes of lang/<code>.yaml, in order. */
static void find_languages(struct load *ld)
{
    struct stat st;
    const struct dirent *entry;
    struct es_pos pos = {"lang", 0, 0};
    int fd = files_open(ld, "lang", pos, true, &st);
    DIR *dir = fd >= 0 && S_ISDIR(st.st_mode) ? fdopendir(fd) : NULL;
    const char **codes = es_arena_alloc(&ld->temp, LANGUAGES_MAX * sizeof *codes);
    while (dir != NULL && codes != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || !es_str_ends(entry->d_name, ".yaml"))
            continue;
        char *code = es_arena_strndup(&ld->s->arena, entry->d_name,
                                      strlen(entry->d_name) - strlen(".yaml"));
        if (code != NULL && !is_language(code))
            load_error(ld, pos, "\"%.60s\" is no language code such as ja or en", code);
        else if (code != NULL && ld->language_count == LANGUAGES_MAX)
            load_error(ld, pos, "more than %d languages", LANGUAGES_MAX);
        else if (code != NULL)
            codes[ld->language_count++] = code;
    }
    if (dir != NULL)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    if (codes != NULL)
        qsort(codes, ld->language_count, sizeof *codes, by_code);
    ld->languages = codes;
}

void text_load_translations(struct load *ld)
{
    if (ld->dir == NULL)
        return;
    find_languages(ld);
    for (size_t i = 0; i < ld->language_count; i++) {
        char name[32];
        struct es_yaml *root = NULL;
        snprintf(name, sizeof name, "lang/%s.yaml", ld->languages[i]);
        const struct source_file *source =
            files_text(ld, name, (struct es_pos){name, 0, 0}, SOURCE_YAML, true);
        if (source == NULL)
            continue;
        int rc = es_yaml_parse(&ld->s->arena, source->name, source->text, source->len,
                               ld->diags, &root);
        if (rc == ES_ENOMEM)
            ld->nomem = true;
        else if (root != NULL)
            add_tree(ld, ld->languages[i], root);
    }
}

void text_check_translations(struct load *ld)
{
    const struct names *names = &ld->s->inner->names;
    for (size_t i = 0; ld->translation_count > 0 && i < names->cap; i++) {
        const struct name_slot *slot = &names->slots[i];
        if (slot->name == NULL || slot->space != SPACE_TEXT ||
            ld->translation_used[slot->index])
            continue;
        load_error_at(ld, slot->pos, strchr(slot->name, ' ') + 1,
                      "the scenario has no text at this path; remove it");
    }
}
