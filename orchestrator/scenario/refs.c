/* Names to indexes; the probers of networks; the namespace of facts. */
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

static void resolve(struct load *ld, const struct ref *ref)
{
    const struct names *names = &ld->s->inner->names;
    const struct name_slot *slot = names_find(names, ref->space, ref->name);
    if (slot != NULL) {
        *ref->slot = slot->index;
        return;
    }
    const struct name_slot *group =
        ref->space == SPACE_NODE ? names_find(names, SPACE_GROUP, ref->name) : NULL;
    if (group != NULL)
        load_error_at(ld, ref->pos, ref->path,
                      "\"%s\" stands for %d nodes: name one, from %s-1 to %s-%d",
                      ref->name, group->index, ref->name, ref->name, group->index);
    else if (ref->space == SPACE_FACT && strchr(ref->name, '.') == NULL)
        load_error_at(ld, ref->pos, ref->path,
                      "\"%.60s\" is no fact: a fact is written NAME.WORD, such as "
                      "web_down.pass",
                      ref->name);
    else
        load_error_at(ld, ref->pos, ref->path, "there is no %s \"%.60s\"%s",
                      space_word(ref->space), ref->name,
                      load_near(ld, ref->space, ref->name, ""));
}

/* The finished nodes, with room for one prober on each network. */
static struct es_node *move_nodes(struct load *ld)
{
    struct es_scenario *s = ld->s;
    size_t count = ld->node_count < ES_MAX_NODES ? ld->node_count : ES_MAX_NODES;
    struct es_node *nodes = load_alloc(ld, count + s->networks_count, sizeof *nodes);
    if (nodes == NULL)
        return NULL;
    if (count > 0)
        memcpy(nodes, ld->nodes, count * sizeof *nodes);
    /* Copies and kinds share the arrays they were bound to; addresses are given one by
     * one. */
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].nic_count == 0)
            continue;
        struct es_nic *nics = load_alloc(ld, nodes[i].nic_count, sizeof *nics);
        if (nics == NULL)
            return NULL;
        memcpy(nics, nodes[i].nics, nodes[i].nic_count * sizeof *nics);
        nodes[i].nics = nics;
    }
    s->nodes = nodes;
    s->nodes_count = count;
    return nodes;
}

#define PROBER "prober-"

static void add_prober(struct load *ld, struct es_node *nodes, int network)
{
    struct es_scenario *s = ld->s;
    const struct es_network *on = &s->networks[network];
    if (strlen(PROBER) + strlen(on->name) > ES_NAME_MAX) {
        load_error_at(ld, on->pos, "networks",
                      "\"%s\" is too long a name for a network with a prober: at most %d "
                      "characters",
                      on->name, ES_NAME_MAX - (int)strlen(PROBER));
        return;
    }
    char *name = es_arena_printf(&s->arena, PROBER "%s", on->name);
    struct es_nic *nic = load_alloc(ld, 1, sizeof *nic);
    if (name == NULL || nic == NULL ||
        names_find(&s->inner->names, SPACE_NODE, name) != NULL)
        return;
    *nic = (struct es_nic){.network = network, .how = ES_NIC_AUTO, .pos = on->pos};
    struct es_node *node = &nodes[s->nodes_count];
    *node = (struct es_node){.name = name,
                             .pos = on->pos,
                             .recipe = "prober",
                             .memory_bytes = INT64_C(128) << 20,
                             .cpus = 1,
                             .scope = on->scope,
                             .hidden = true,
                             .nics = nic,
                             .nic_count = 1,
                             .ready_timeout_ms = 300000,
                             .trainee = {.console = "none"},
                             .is_prober = true};
    names_add(&s->inner->names, &s->arena, SPACE_NODE, name, (int)s->nodes_count,
              on->pos);
    s->nodes_count++;
}

static void add_probers(struct load *ld, struct es_node *nodes)
{
    struct es_scenario *s = ld->s;
    bool *wanted = es_arena_alloc(&ld->temp, s->networks_count + 1);
    if (wanted == NULL)
        return;
    for (size_t i = 0; i < s->conditions_count; i++)
        if (s->conditions[i].prober >= 0)
            wanted[s->conditions[i].prober] = true;
    for (size_t i = 0; i < s->networks_count; i++)
        if (wanted[i])
            add_prober(ld, nodes, (int)i);
}

/* ------------------------------------------------------------------ facts */

struct fact_list {
    struct es_fact *facts;
    size_t count;
};

/* "NAME.word"; thousands are made, so without printf. */
static const char *fact_name(struct es_arena *arena, const char *name, const char *word)
{
    size_t len = strlen(name), word_len = strlen(word);
    char *full = es_arena_alloc(arena, len + word_len + 2);
    if (full == NULL)
        return NULL;
    memcpy(full, name, len);
    full[len] = '.';
    memcpy(full + len + 1, word, word_len);
    return full;
}

static void add_facts(struct load *ld, struct fact_list *list, const char *name,
                      int subject, struct es_pos pos, enum es_fact_kind first)
{
    static const char *const words[] = {
#define X(fact, word) word,
        ES_FACT_MAP(X)
#undef X
    };
    for (int i = 0; i < 2; i++) {
        enum es_fact_kind kind = (enum es_fact_kind)((int)first + i);
        const char *full = fact_name(&ld->s->arena, name, words[kind]);
        struct es_fact *fact = &list->facts[list->count];
        *fact = (struct es_fact){full, kind, subject};
        if (full != NULL && names_find(&ld->s->inner->names, SPACE_FACT, full) == NULL)
            names_add(&ld->s->inner->names, &ld->s->arena, SPACE_FACT, full,
                      (int)list->count, pos);
        list->count++;
    }
}

static void build_facts(struct load *ld)
{
    struct es_scenario *s = ld->s;
    struct fact_list list = {NULL, 0};
    size_t things =
        s->conditions_count + s->objectives_count + s->phases_count + s->nodes_count;
    list.facts = load_alloc(ld, 2 * things, sizeof *list.facts);
    if (list.facts == NULL)
        return;
#define ADD(items, kind)                                                                 \
    for (size_t i = 0; i < s->items##_count; i++)                                        \
    add_facts(ld, &list, s->items[i].name, (int)i, s->items[i].pos, kind)
    ADD(conditions, ES_FACT_CONDITION_PASS);
    ADD(objectives, ES_FACT_OBJECTIVE_MET);
    ADD(phases, ES_FACT_PHASE_BEGUN);
    ADD(nodes, ES_FACT_NODE_RESET);
#undef ADD
    s->facts = list.facts;
    s->facts_count = list.count;
}

void refs_resolve(struct load *ld)
{
    for (size_t i = 0; i < ld->ref_count; i++)
        if (ld->refs[i].space == SPACE_NETWORK)
            resolve(ld, &ld->refs[i]);
    struct es_node *nodes = move_nodes(ld);
    if (nodes == NULL)
        return;
    add_probers(ld, nodes);
    build_facts(ld);
    for (size_t i = 0; i < ld->ref_count; i++)
        if (ld->refs[i].space != SPACE_NETWORK)
            resolve(ld, &ld->refs[i]);
}
