/* What the table of conditions cannot say: which keys go together. */
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

void bind_from(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *value)
{
    struct es_condition *condition = value;
    const char *name = scalar_word(ld, y);
    (void)key;
    if (name == NULL)
        return;
    if (es_str_starts(name, "prober."))
        bind_ref_named(ld, SPACE_NETWORK, name + strlen("prober."), y->pos,
                       &condition->prober);
    else
        bind_ref_named(ld, SPACE_NODE, name, y->pos, &condition->node);
}

void bind_not(struct load *ld, const struct key *key, const struct es_yaml *y,
              void *value)
{
    struct es_condition *condition = value;
    int *part = load_alloc(ld, 1, sizeof *part);
    (void)key;
    if (part == NULL)
        return;
    bind_ref(ld, SPACE_CONDITION, y, part);
    condition->parts = part;
    condition->part_count = 1;
}

void bind_at_least(struct load *ld, const struct key *key, const struct es_yaml *y,
                   void *value)
{
    struct es_condition *condition = value;
    struct draft_at_least draft = {0};
    (void)key;
    bind_shape(ld, &at_least_shape, y, &draft);
    condition->parts = draft.parts;
    condition->part_count = draft.part_count;
    condition->least = (int)draft.count;
    const struct es_yaml *of = es_yaml_get(y, "of");
    if (of != NULL && of->type == ES_YAML_LIST && of->count == 0)
        load_error(ld, of->key_pos, "no conditions are named");
    else if (draft.part_count > 0 && draft.count > (int64_t)draft.part_count)
        load_error(ld, y->pos, "at least %d of %zu can never pass", condition->least,
                   draft.part_count);
}

void condition_on_probe(struct load *ld, void *object, enum es_probe_kind kind,
                        const struct es_yaml *y)
{
    struct es_condition *condition = object;
    probe_bind(ld, kind, y, &condition->probe);
}

static void bind_covers(struct load *ld, struct es_condition *condition,
                        const struct es_yaml *y)
{
    size_t mark = path_push(ld, "cover"), n = 0;
    if (!probe_has_path(condition->probe.kind)) {
        load_error(ld, y->key_pos,
                   "a cover needs a probe with a path: file, directory, log");
    } else if (bind_is_list(ld, y) && y->count > 16) {
        load_error(ld, y->pos, "%zu items, at most 16 are possible", y->count);
    } else if (y->type == ES_YAML_LIST) {
        struct es_probe *covers = load_alloc(ld, y->count, sizeof *covers);
        for (const struct es_yaml *item = y->child; covers != NULL && item != NULL;
             item = item->next) {
            const char *path = scalar_string(ld, item);
            if (path != NULL)
                expand_note(ld, path, item->pos, false);
            if (path != NULL && path[0] != '/')
                load_error(ld, item->pos, "a path in a guest begins with \"/\"");
            else if (path != NULL && condition->probe.look != NULL)
                probe_at_path(ld, &condition->probe, path, &covers[n++]);
        }
        condition->covers = covers;
        condition->cover_count = n;
    }
    path_pop(ld, mark);
}

static void check_place(struct load *ld, const struct es_condition *condition,
                        const struct es_yaml *y)
{
    const struct probe_table *table = &probe_tables[condition->probe.kind];
    bool node = es_yaml_get(y, "node") != NULL, from = es_yaml_get(y, "from") != NULL;
    if (node && from)
        load_error(ld, y->key_pos,
                   "node and from at once: node looks inside, from looks out");
    else if (condition->probe.kind == ES_PROBE_command && !node && !from)
        load_error(ld, y->key_pos, "the key \"node\" or \"from\" is missing");
    else if (condition->probe.kind == ES_PROBE_command)
        return;
    else if (table->inside && !node)
        load_error(ld, y->key_pos, "%s looks inside a machine: name it with node",
                   table->name);
    else if (!table->inside && !from)
        load_error(
            ld, y->key_pos,
            "%s looks over the network: say from where (from: prober.NETWORK, or a "
            "node)",
            table->name);
}

/* Keys that only a probe, or only a fact, gives a meaning. */
static void check_company(struct load *ld, const struct es_condition *condition,
                          const struct es_yaml *y)
{
    static const char *const probes_only[] = {"node",    "from",  "every", "timeout",
                                              "control", "cover", NULL};
    static const char *const facts_only[] = {"within", "of", NULL};
    static const char *const lists[] = {"all", "any"};
    const struct es_yaml *item;
    for (size_t i = 0; condition->kind != ES_COND_PROBE && probes_only[i] != NULL; i++)
        if ((item = es_yaml_get(y, probes_only[i])) != NULL)
            load_error(ld, item->key_pos, "%s needs a probe", item->key);
    for (size_t i = 0; condition->kind != ES_COND_FACT && facts_only[i] != NULL; i++)
        if ((item = es_yaml_get(y, facts_only[i])) != NULL)
            load_error(ld, item->key_pos, "%s needs fact", item->key);
    if (condition->kind == ES_COND_FACT &&
        (es_yaml_get(y, "within") == NULL) != (es_yaml_get(y, "of") == NULL))
        load_error(ld, y->key_pos, "within and of go together");
    for (size_t i = 0; i < ES_COUNT(lists); i++)
        if ((item = es_yaml_get(y, lists[i])) != NULL && item->type == ES_YAML_LIST &&
            item->count == 0)
            load_error(ld, item->key_pos, "no conditions are named");
}

void condition_done(struct load *ld, void *object, const struct es_yaml *y)
{
    static const struct {
        const char *key;
        enum es_condition_kind kind;
    } kinds[] = {{"all", ES_COND_ALL},
                 {"any", ES_COND_ANY},
                 {"not", ES_COND_NOT},
                 {"at-least", ES_COND_AT_LEAST},
                 {"fact", ES_COND_FACT}};
    struct es_condition *condition = object;
    size_t n = 0;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        if (probe_kind_find(item->key) >= 0) {
            condition->kind = ES_COND_PROBE;
            n++;
        }
        for (size_t i = 0; i < ES_COUNT(kinds); i++)
            if (strcmp(kinds[i].key, item->key) == 0) {
                condition->kind = kinds[i].kind;
                n++;
            }
    }
    size_t index = (size_t)(condition - ld->s->conditions);
    if (ld->starts_set != NULL)
        ld->starts_set[index] = es_yaml_get(y, "starts") != NULL;
    if (n != 1) {
        if (n == 0 && ld->slipped)
            return;
        load_error(ld, y->key_pos,
                   n == 0
                       ? "nothing is observed: add a probe such as file or http, or all, "
                         "any, not, at-least, fact"
                       : "exactly one probe, or one of all, any, not, at-least, fact");
        return;
    }
    check_company(ld, condition, y);
    if (condition->kind != ES_COND_PROBE)
        return;
    check_place(ld, condition, y);
    const struct es_yaml *cover = es_yaml_get(y, "cover");
    if (cover != NULL)
        bind_covers(ld, condition, cover);
}
