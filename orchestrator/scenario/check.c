/* What only the whole scenario shows: proofs, parts of the score, trust of services. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

static void check_services(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    for (size_t i = 0; i < s->services_count; i++) {
        const struct es_service *service = &s->services[i];
        char path[96];
        if (service->condition < 0 ||
            s->conditions[service->condition].trust != ES_TRUST_C)
            continue;
        snprintf(path, sizeof path, "services.%s.condition", service->name);
        load_warn_at(ld, service->pos, path,
                     "\"%s\" rests on what a machine in trainees' hands says; look from "
                     "outside instead (from: prober.NETWORK)",
                     s->conditions[service->condition].name);
    }
}

/* ------------------------------------------------------------------ proofs */

/* What a solution makes pass, or a sabotage fail. A composite that comes out so because all
 * its parts do says it of them too: `all` that passes, `any` that fails; `not` the other
 * way round. */
struct proofs {
    bool *pass, *fail;
};

static void mark(const struct es_scenario *s, const struct es_solution_step *steps,
                 size_t count, bool *marks)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < steps[i].prove_count; k++) {
            int c = steps[i].proves[k];
            if (c >= 0 && (size_t)c < s->conditions_count)
                marks[c] = true;
        }
}

static void mark_parts(const struct es_scenario *s, const struct proofs *proofs)
{
    for (size_t i = s->conditions_count; i-- > 0;) {
        int at = s->condition_order[i];
        const struct es_condition *c = &s->conditions[at];
        for (size_t k = 0; k < c->part_count; k++) {
            int part = c->parts[k];
            bool is_not = c->kind == ES_COND_NOT;
            if ((c->kind == ES_COND_ALL && proofs->pass[at]) ||
                (is_not && proofs->fail[at]))
                proofs->pass[part] = true;
            if ((c->kind == ES_COND_ANY && proofs->fail[at]) ||
                (is_not && proofs->pass[at]))
                proofs->fail[part] = true;
        }
    }
}

static void check_proofs(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    struct proofs proofs = {es_arena_alloc(&ld->temp, s->conditions_count + 1),
                            es_arena_alloc(&ld->temp, s->conditions_count + 1)};
    if (proofs.pass == NULL || proofs.fail == NULL || s->conditions_count == 0)
        return;
    if (ld->diags->error_count > 0)
        return; /* what proves them may stand there, misspelled */
    if (s->solutions_count == 0 && s->sabotage_count == 0) {
        load_warn_at(ld, (struct es_pos){s->file, 0, 0}, "solutions",
                     "nothing is proved: add a solution, so that a rehearsal sees each "
                     "condition pass and fail");
        return;
    }
    for (size_t i = 0; i < s->solutions_count; i++)
        mark(s, s->solutions[i].steps, s->solutions[i].step_count, proofs.pass);
    mark(s, s->sabotage, s->sabotage_count, proofs.fail);
    mark_parts(s, &proofs);
    for (size_t i = 0; i < s->conditions_count; i++) {
        const struct es_condition *c = &s->conditions[i];
        char path[96];
        if (c->kind != ES_COND_PROBE)
            continue;
        snprintf(path, sizeof path, "conditions.%s", c->name);
        if (!c->starts_pass && !proofs.pass[i])
            load_warn_at(ld, c->pos, path, "no solution proves that it can pass");
        else if (c->starts_pass && !proofs.fail[i])
            load_warn_at(ld, c->pos, path,
                         "it starts passing, and no sabotage proves that it can fail");
    }
}

/* ------------------------------------------------------------------ parts of the score */

enum { PARTS_MAX = 32 };

struct parts {
    struct es_part items[PARTS_MAX];
    size_t count;
    bool used[PARTS_MAX];
    bool written;
};

static void use_part(struct load *ld, struct parts *parts, const char *name,
                     struct es_pos pos, const char *section, const char *owner)
{
    char path[128];
    snprintf(path, sizeof path, "%s.%s.part", section, owner);
    for (size_t i = 0; i < parts->count; i++)
        if (es_str_eq(parts->items[i].name, name)) {
            parts->used[i] = true;
            return;
        }
    if (parts->written)
        load_error_at(ld, pos, path, "\"%.60s\" is not among the parts of scoring", name);
    else if (parts->count == PARTS_MAX)
        load_error_at(ld, pos, path, "more than %d parts of the score", PARTS_MAX);
    else {
        parts->items[parts->count] = (struct es_part){name, 1};
        parts->used[parts->count++] = true;
    }
}

static void check_parts(struct load *ld)
{
    struct es_scenario *s = ld->s;
    struct parts parts = {.written = s->scoring.part_count > 0};
    for (size_t i = 0; i < s->scoring.part_count && i < PARTS_MAX; i++)
        parts.items[parts.count++] = s->scoring.parts[i];
    for (size_t i = 0; i < s->objectives_count; i++)
        use_part(ld, &parts, s->objectives[i].part, s->objectives[i].pos, "objectives",
                 s->objectives[i].name);
    for (size_t i = 0; i < s->services_count; i++)
        use_part(ld, &parts, s->services[i].part, s->services[i].pos, "services",
                 s->services[i].name);
    for (size_t i = 0; parts.written && i < parts.count; i++)
        if (!parts.used[i])
            load_warn_at(ld, (struct es_pos){s->file, 0, 0}, "scoring.parts",
                         "nothing earns points in the part \"%s\"", parts.items[i].name);
    if (parts.written || parts.count == 0)
        return;
    struct es_part *kept = load_alloc(ld, parts.count, sizeof *kept);
    if (kept == NULL)
        return;
    for (size_t i = 0; i < parts.count; i++)
        kept[i] = (struct es_part){parts.items[i].name, 100 / (int64_t)parts.count};
    s->scoring.parts = kept;
    s->scoring.part_count = parts.count;
}

/* ------------------------------------------------------------------ nodes */

/* A value that only teams have, in what a step of a range's node runs or writes. */
static const char *value_of_team(struct load *ld, const struct es_step *step,
                                 char name[EXPAND_NAME_MAX])
{
    if (step->text != NULL)
        return expand_of_team(ld, step->text, step->kind == ES_STEP_RUN, name);
    for (size_t i = 0; step->template_ && step->from != NULL && i < ld->source_count; i++)
        if (strcmp(ld->sources[i].name, step->from) == 0)
            return expand_of_team(ld, ld->sources[i].text, false, name);
    return NULL;
}

static void check_range_node(struct load *ld, const struct es_node *node)
{
    for (size_t i = 0; i < node->personalise_count; i++) {
        char path[128], name[EXPAND_NAME_MAX];
        if (value_of_team(ld, &node->personalise[i], name) == NULL)
            continue;
        snprintf(path, sizeof path, "nodes.%s.personalise[%zu]", node->name, i);
        load_error_at(ld, node->personalise[i].pos, path,
                      "a node of scope range belongs to no team: ${%.60s} has no value "
                      "here",
                      name);
    }
}

static void check_freeze(struct load *ld, const struct es_node *node)
{
    const char *names[ES_MAX_SERVICES_OF];
    size_t count = es_node_services(node, names);
    char path[96];
    snprintf(path, sizeof path, "nodes.%s.freeze", node->name);
    if (node->scope == ES_SCOPE_RANGE)
        load_error_at(ld, node->pos, path, "a node of scope range is never frozen");
    else if (count == 0)
        load_error_at(ld, node->pos, path,
                      "before-services needs a `service` step in setup: it names what is "
                      "stopped");
    else if (count > ES_MAX_SERVICES_OF)
        load_error_at(ld, node->pos, path,
                      "setup starts %zu services, at most %d can be "
                      "stopped before the freeze",
                      count, ES_MAX_SERVICES_OF);
}

static void check_nodes(struct load *ld)
{
    for (size_t i = 0; i < ld->s->nodes_count; i++) {
        const struct es_node *node = &ld->s->nodes[i];
        if (node->scope == ES_SCOPE_RANGE)
            check_range_node(ld, node);
        if (node->before_services)
            check_freeze(ld, node);
    }
}

static void check_objectives(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    for (size_t i = 0; i < s->objectives_count; i++) {
        const struct es_objective *o = &s->objectives[i];
        if (o->opens.set && o->closes.set && o->opens.fact < 0 && o->closes.fact < 0 &&
            o->closes.offset_ms <= o->opens.offset_ms) {
            char path[96];
            snprintf(path, sizeof path, "objectives.%s", o->name);
            load_error_at(ld, o->pos, path, "it closes before it opens");
        }
    }
}

static void check_networks_of_probes(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    for (size_t i = 0; i < s->conditions_count; i++) {
        const struct es_condition *c = &s->conditions[i];
        char path[96];
        if (c->kind != ES_COND_PROBE || c->node < 0 ||
            probe_tables[c->probe.kind].inside || s->nodes[c->node].nic_count > 0)
            continue;
        snprintf(path, sizeof path, "conditions.%s.from", c->name);
        load_warn_at(ld, c->pos, path,
                     "the node \"%s\" is on no network: it reaches only itself",
                     s->nodes[c->node].name);
    }
}

void check_all(struct load *ld)
{
    check_networks_of_probes(ld);
    check_objectives(ld);
    check_nodes(ld);
    check_services(ld);
    check_proofs(ld);
    check_parts(ld);
}
