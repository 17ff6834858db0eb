#include "score_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int status, const struct es_err *err)
{
    if (status != 0)
        fprintf(stderr, "%s\n", err->msg);
    ES_ASSERT(status == 0);
}

static const char *name_of(struct world *world, const char *prefix, size_t index)
{
    ES_ASSERT(world->names_used < ES_COUNT(world->names));
    char *name = world->names[world->names_used++];
    snprintf(name, sizeof world->names[0], "%s%zu", prefix, index);
    return name;
}

void world_init(struct world *world)
{
    memset(world, 0, sizeof *world);
    struct es_scenario *scenario = &world->scenario;
    scenario->name = "by-hand";
    scenario->conditions = world->conds;
    scenario->objectives = world->objectives;
    scenario->phases = world->phases;
    scenario->services = world->services;
    scenario->nodes = world->nodes;
    scenario->facts = world->facts;
    scenario->scoring.model = "drill";
    scenario->scoring.parts = world->parts;
    world_part(world, "handling", 100);
    world_node(world);
}

void world_finish(struct world *world)
{
    es_score_destroy(world->score);
    world->score = NULL;
    free(world->events);
    world->events = NULL;
}

const int *world_ints(struct world *world, const int *items, size_t count)
{
    ES_ASSERT(world->ints_used + count <= ES_COUNT(world->ints));
    int *copy = world->ints + world->ints_used;
    if (count > 0)
        memcpy(copy, items, count * sizeof *items);
    world->ints_used += count;
    return copy;
}

int world_node(struct world *world)
{
    size_t i = world->scenario.nodes_count++;
    world->nodes[i].name = name_of(world, "n", i);
    return (int)i;
}

static int condition(struct world *world, enum es_condition_kind kind)
{
    size_t i = world->scenario.conditions_count++;
    ES_ASSERT(i < WORLD_MAX);
    world->conds[i] = (struct es_condition){
        .name = name_of(world, "c", i),
        .kind = kind,
        .node = -1,
        .prober = -1,
        .control = -1,
        .fact = -1,
        .of = -1,
        .within_ms = -1,
        .every_ms = 20000,
        .timeout_ms = 5000,
    };
    return (int)i;
}

int world_probe(struct world *world)
{
    int i = condition(world, ES_COND_PROBE);
    world->conds[i].node = 0;
    world->conds[i].probe.kind = ES_PROBE_file;
    world->conds[i].probe.present = true;
    return i;
}

int world_composite(struct world *world, enum es_condition_kind kind, int least,
                    size_t count, const int *parts)
{
    int i = condition(world, kind);
    world->conds[i].parts = world_ints(world, parts, count);
    world->conds[i].part_count = count;
    world->conds[i].least = least;
    return i;
}

int world_objective(struct world *world, int cond, int64_t points)
{
    size_t i = world->scenario.objectives_count++;
    ES_ASSERT(i < WORLD_MAX);
    world->objectives[i] = (struct es_objective){.name = name_of(world, "o", i),
                                                 .phase = -1,
                                                 .when = cond,
                                                 .points = points,
                                                 .part = "handling"};
    return (int)i;
}

int world_phase(struct world *world, int done)
{
    size_t i = world->scenario.phases_count++;
    world->phases[i] = (struct es_phase){.name = name_of(world, "p", i), .done = done};
    return (int)i;
}

int world_service(struct world *world, int cond, int64_t round_ms, int64_t points)
{
    size_t i = world->scenario.services_count++;
    world->services[i] = (struct es_service){.name = name_of(world, "s", i),
                                             .condition = cond,
                                             .round_ms = round_ms,
                                             .points = points,
                                             .part = "handling"};
    return (int)i;
}

void world_part(struct world *world, const char *name, int64_t weight)
{
    size_t i = world->scenario.scoring.part_count++;
    ES_ASSERT(i < ES_COUNT(world->parts));
    world->parts[i] = (struct es_part){name, weight};
}

int world_fact(struct world *world, enum es_fact_kind kind, int subject)
{
    for (size_t i = 0; i < world->scenario.facts_count; i++)
        if (world->facts[i].kind == kind && world->facts[i].subject == subject)
            return (int)i;
    size_t i = world->scenario.facts_count++;
    ES_ASSERT(i < ES_COUNT(world->facts));
    world->facts[i] = (struct es_fact){name_of(world, "f", i), kind, subject};
    return (int)i;
}

struct es_anchor world_anchor(int fact, int64_t offset_ms)
{
    return (struct es_anchor){true, fact, offset_ms};
}

static void all_facts(struct world *world)
{
    const struct {
        size_t count;
        enum es_fact_kind a, b;
    } kinds[] = {
        {world->scenario.conditions_count, ES_FACT_CONDITION_PASS,
         ES_FACT_CONDITION_FAIL},
        {world->scenario.objectives_count, ES_FACT_OBJECTIVE_MET, ES_FACT_OBJECTIVE_LOST},
        {world->scenario.phases_count, ES_FACT_PHASE_BEGUN, ES_FACT_PHASE_DONE},
        {world->scenario.nodes_count, ES_FACT_NODE_RESET, ES_FACT_NODE_DOWN},
    };
    for (size_t k = 0; k < ES_COUNT(kinds); k++)
        for (size_t i = 0; i < kinds[k].count; i++) {
            world_fact(world, kinds[k].a, (int)i);
            world_fact(world, kinds[k].b, (int)i);
        }
}

struct es_score *world_fold(struct world *world, int teams, es_score_on_change on_change,
                            void *ctx)
{
    all_facts(world);
    struct es_score *score = NULL;
    struct es_err err = {0};
    int status = es_score_create(&world->scenario, teams, on_change, ctx, &score, &err);
    must(status, &err);
    return score;
}

void world_start(struct world *world, int teams)
{
    es_score_destroy(world->score);
    world->event_count = 0;
    world->score = world_fold(world, teams, NULL, NULL);
}

void world_tell(struct world *world, const struct es_event *event)
{
    if (world->event_count == world->event_cap) {
        world->event_cap = world->event_cap == 0 ? 256 : 2 * world->event_cap;
        world->events = realloc(world->events, world->event_cap * sizeof *world->events);
        ES_ASSERT(world->events != NULL);
    }
    struct es_event *kept = &world->events[world->event_count++];
    *kept = *event;
    kept->pos = (int64_t)world->event_count;
    struct es_err err = {0};
    int status = es_score_apply(world->score, kept, &err);
    must(status, &err);
}

void world_clock(struct world *world, int64_t ex_ms, enum es_clock_state state)
{
    world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                         .type = ES_EV_CLOCK,
                                         .team = -1,
                                         .subject = -1,
                                         .a = (int)state,
                                         .b = 1000});
}

void world_jump(struct world *world, int64_t ex_ms, int64_t to_ex_ms)
{
    world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                         .type = ES_EV_CLOCK,
                                         .team = -1,
                                         .subject = -1,
                                         .a = ES_CLOCK_RUNNING,
                                         .b = 1000,
                                         .seq = to_ex_ms});
}

void world_see(struct world *world, int64_t ex_ms, int team, int cond, int outcome)
{
    world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                         .type = ES_EV_OBSERVED,
                                         .team = team,
                                         .subject = cond,
                                         .a = outcome});
}

void world_machine(struct world *world, int64_t ex_ms, int team, int node, int what)
{
    world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                         .type = ES_EV_MACHINE,
                                         .team = team,
                                         .subject = node,
                                         .a = what});
}

enum es_outcome world_outcome(const struct world *world, int team, int cond)
{
    struct es_condition_state state;
    es_score_condition(world->score, team, cond, &state);
    return state.outcome;
}

int64_t world_rng(struct world_rng *rng, int64_t below)
{
    rng->state ^= rng->state << 13;
    rng->state ^= rng->state >> 7;
    rng->state ^= rng->state << 17;
    return (int64_t)(rng->state % (uint64_t)below);
}
