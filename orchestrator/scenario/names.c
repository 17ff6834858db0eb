/* The index of names: one hash table for all kinds of named things. Look-ups by the rest
 * of the program use it too, after loading. */
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

const char *space_word(enum space space)
{
    static const char *const words[SPACE_COUNT] = {
        [SPACE_NETWORK] = "network",     [SPACE_NODE] = "node",
        [SPACE_CONDITION] = "condition", [SPACE_PHASE] = "phase",
        [SPACE_OBJECTIVE] = "objective", [SPACE_SERVICE] = "service",
        [SPACE_FACT] = "fact",           [SPACE_RANDOM] = "random value",
        [SPACE_KIND] = "kind",           [SPACE_SOLUTION] = "solution",
        [SPACE_TEXT] = "text",           [SPACE_FILE] = "file",
        [SPACE_GROUP] = "group of nodes"};
    ES_ASSERT(space >= 0 && space < SPACE_COUNT);
    return words[space];
}

static uint32_t hash_of(enum space space, const char *name)
{
    uint64_t h = 1469598103934665603ULL ^ (uint64_t)space;
    for (; *name != '\0'; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211ULL;
    return (uint32_t)(h ^ h >> 32);
}

static struct name_slot *slot_of(const struct names *names, uint32_t hash,
                                 enum space space, const char *name)
{
    size_t i = hash & (names->cap - 1);
    for (; names->slots[i].name != NULL; i = (i + 1) & (names->cap - 1))
        if (names->slots[i].hash == hash && names->slots[i].space == space &&
            strcmp(names->slots[i].name, name) == 0)
            break;
    return &names->slots[i];
}

const struct name_slot *names_find(const struct names *names, enum space space,
                                   const char *name)
{
    if (names->cap == 0)
        return NULL;
    const struct name_slot *slot = slot_of(names, hash_of(space, name), space, name);
    return slot->name != NULL ? slot : NULL;
}

struct name_slot *names_add(struct names *names, struct es_arena *arena, enum space space,
                            const char *name, int index, struct es_pos pos)
{
    if (names->count * 2 >= names->cap) {
        struct names more = {.cap = names->cap != 0 ? names->cap * 2 : 256,
                             .count = names->count};
        more.slots = es_arena_alloc(arena, more.cap * sizeof *more.slots);
        if (more.slots == NULL)
            return NULL;
        for (size_t i = 0; i < names->cap; i++) {
            const struct name_slot *old = &names->slots[i];
            if (old->name != NULL)
                *slot_of(&more, old->hash, old->space, old->name) = *old;
        }
        *names = more;
    }
    uint32_t hash = hash_of(space, name);
    struct name_slot *slot = slot_of(names, hash, space, name);
    ES_ASSERT(slot->name == NULL);
    *slot = (struct name_slot){name, hash, space, index, pos};
    names->count++;
    return slot;
}

struct search {
    const struct names *names;
    enum space space;
    size_t *at; /* where the last candidate stood */
};

static const char *next_name(const void *ctx, size_t i)
{
    const struct search *search = ctx;
    if (i == 0)
        *search->at = 0;
    for (; *search->at < search->names->cap; ++*search->at) {
        const struct name_slot *slot = &search->names->slots[*search->at];
        if (slot->name == NULL || slot->space != search->space)
            continue;
        ++*search->at;
        return slot->name;
    }
    return NULL;
}

const char *names_nearest(const struct names *names, enum space space, const char *name)
{
    size_t at = 0;
    struct search search = {names, space, &at};
    return es_str_nearest(name, next_name, &search);
}

/* ------------------------------------------------------------------ for all rooms */

static int find(const struct es_scenario *s, enum space space, const char *name)
{
    if (name == NULL || s->inner == NULL)
        return -1;
    const struct name_slot *slot = names_find(&s->inner->names, space, name);
    return slot != NULL ? slot->index : -1;
}

#define FIND_LINEAR(list)                                                                \
    for (size_t i = 0; s->inner == NULL && i < s->list##_count; i++)                     \
        if (es_str_eq(s->list[i].name, name))                                            \
            return (int)i;

int es_scenario_node(const struct es_scenario *s, const char *name)
{
    FIND_LINEAR(nodes)
    return find(s, SPACE_NODE, name);
}

int es_scenario_condition(const struct es_scenario *s, const char *name)
{
    FIND_LINEAR(conditions)
    return find(s, SPACE_CONDITION, name);
}

int es_scenario_objective(const struct es_scenario *s, const char *name)
{
    FIND_LINEAR(objectives)
    return find(s, SPACE_OBJECTIVE, name);
}

int es_scenario_fact(const struct es_scenario *s, const char *name)
{
    FIND_LINEAR(facts)
    return find(s, SPACE_FACT, name);
}

int es_scenario_fact_of(const struct es_scenario *s, enum es_fact_kind kind, int subject)
{
    /* The loader lays facts out in pairs: conditions, objectives, phases, nodes. */
    const size_t counts[] = {s->conditions_count, s->objectives_count, s->phases_count,
                             s->nodes_count};
    size_t base = 0;
    ES_ASSERT((size_t)kind / 2 < ES_COUNT(counts));
    for (size_t group = 0; group < (size_t)kind / 2; group++)
        base += 2 * counts[group];
    if (subject < 0 || (size_t)subject >= counts[kind / 2])
        return -1;
    size_t i = base + 2 * (size_t)subject + (size_t)kind % 2;
    if (i < s->facts_count && s->facts[i].kind == kind && s->facts[i].subject == subject)
        return (int)i;
    for (i = 0; i < s->facts_count; i++)
        if (s->facts[i].kind == kind && s->facts[i].subject == subject)
            return (int)i;
    return -1;
}
