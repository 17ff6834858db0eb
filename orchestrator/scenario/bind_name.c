/* Names as they are bound: registered with their kind, or noted to be resolved when all
 * are known. */
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

void report_bad_name(struct load *ld, struct es_pos pos, const char *name)
{
    load_error(ld, pos,
               "\"%.60s\" cannot be a name: use a-z, 0-9, \"-\" and \"_\", at most %d "
               "characters",
               name, ES_NAME_MAX);
}

bool bind_name(struct load *ld, enum space space, const char *name, int index,
               struct es_pos pos)
{
    static const enum space shared[] = {SPACE_NODE,      SPACE_CONDITION, SPACE_PHASE,
                                        SPACE_OBJECTIVE, SPACE_SERVICE,   SPACE_GROUP};
    struct names *names = &ld->s->inner->names;
    const char *dot = strchr(name, '.');
    if (!es_str_is_name(name, ES_NAME_MAX) || dot != NULL) {
        report_bad_name(ld, pos, name);
        return false;
    }
    bool is_shared = false, taken = false;
    for (size_t i = 0; i < ES_COUNT(shared); i++)
        is_shared = is_shared || shared[i] == space;
    for (size_t i = 0; i < ES_COUNT(shared); i++) {
        enum space at = is_shared ? shared[i] : space;
        const struct name_slot *slot = names_find(names, at, name);
        if (slot == NULL)
            continue;
        if (!taken)
            load_error(ld, pos,
                       "the name \"%s\" is taken by a %s in %s:%d; choose another", name,
                       space_word(at), slot->pos.file, slot->pos.line);
        taken = true;
    }
    /* Known under its own kind all the same, so that what refers to it finds it. */
    if (names_find(names, space, name) != NULL)
        return false;
    return names_add(names, &ld->s->arena, space, name, index, pos) != NULL && !taken;
}

void bind_ref_named(struct load *ld, enum space space, const char *name,
                    struct es_pos pos, int *slot)
{
    struct ref *refs = es_arena_push(&ld->temp, ld->refs, ld->ref_count, sizeof *refs);
    *slot = -1;
    if (refs == NULL)
        return;
    ld->refs = refs;
    refs[ld->ref_count++] = (struct ref){slot, space, name, load_path_copy(ld), pos};
}

void bind_ref(struct load *ld, enum space space, const struct es_yaml *y, int *slot)
{
    const char *name = scalar_word(ld, y);
    *slot = -1;
    if (name != NULL)
        bind_ref_named(ld, space, name, y->pos, slot);
}

#define NO_TIME                                                                          \
    "\"%.60s\" is no time: write T+1h30m, or a fact with an offset such as "             \
    "web_down.pass+10m"

/* "T", "T+1h30m", "FACT", "FACT+40m" */
void bind_anchor(struct load *ld, const struct key *key, const struct es_yaml *y,
                 struct es_anchor *anchor)
{
    const char *text = scalar_word(ld, y);
    anchor->fact = -1;
    if (text == NULL)
        return;
    const char *plus = strchr(text, '+');
    size_t len = plus != NULL ? (size_t)(plus - text) : strlen(text);
    bool is_start = len == 1 && text[0] == 'T';
    if (plus != NULL && es_str_duration(plus + 1, &anchor->offset_ms) != 0) {
        load_error(ld, y->pos, NO_TIME, text);
        return;
    }
    int64_t ms;
    if (!is_start && memchr(text, '.', len) == NULL && es_str_duration(text, &ms) != 0) {
        load_error(ld, y->pos, NO_TIME, text);
        return;
    }
    if (es_str_duration(text, &ms) == 0) {
        load_error(ld, y->pos,
                   "a time after the start is written T+%.40s; or name a fact such as "
                   "web_down.pass",
                   text);
        return;
    }
    anchor->set = true;
    if (is_start) {
        if ((key->flags & KEY_FACT_ONLY) != 0)
            load_error(ld, y->pos, "expected a fact such as web_down.pass, found T");
        return;
    }
    const char *fact = es_arena_strndup(&ld->s->arena, text, len);
    if (fact != NULL)
        bind_ref_named(ld, SPACE_FACT, fact, y->pos, &anchor->fact);
}
