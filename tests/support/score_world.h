/* A scenario built by hand, and events told to a fold in few words. Names are given by
 * position: conditions c0 …, objectives o0 …, phases p0 …, services s0 …, nodes n0 …. */
#ifndef TESTS_SUPPORT_SCORE_WORLD_H
#define TESTS_SUPPORT_SCORE_WORLD_H

#include "enshu/score.h"

#define WORLD_MAX 64
struct world {
    struct es_scenario scenario;
    struct es_condition conds[WORLD_MAX];
    struct es_objective objectives[WORLD_MAX];
    struct es_phase phases[WORLD_MAX];
    struct es_service services[WORLD_MAX];
    struct es_node nodes[WORLD_MAX];
    struct es_fact facts[8 * WORLD_MAX];
    struct es_part parts[8];
    int ints[16 * WORLD_MAX];
    size_t ints_used;
    char names[8 * WORLD_MAX][24];
    size_t names_used;

    /* everything told, to be folded again */
    struct es_event *events;
    size_t event_count, event_cap;
    struct es_score *score;
};

void world_init(
    struct world *world); /* one node, n0; one part, "handling", of weight 100 */
void world_finish(struct world *world);
const int *world_ints(struct world *world, const int *items, size_t count);

/* Each gives the index of what it made. Fields may be changed before world_start. */
int world_node(struct world *world);
int world_probe(struct world *world); /* on n0, every 20 s, timeout 5 s, present */
int world_composite(struct world *world, enum es_condition_kind kind, int least,
                    size_t count, const int *parts);
#define WORLD_COMPOSITE(world, kind, least, ...)                                         \
    world_composite(world, kind, least, sizeof((int[]){__VA_ARGS__}) / sizeof(int),      \
                    (int[]){__VA_ARGS__})
int world_objective(struct world *world, int cond, int64_t points);
int world_phase(struct world *world, int done);
int world_service(struct world *world, int cond, int64_t round_ms, int64_t points);
void world_part(struct world *world, const char *name, int64_t weight);
int world_fact(struct world *world, enum es_fact_kind kind, int subject);
struct es_anchor world_anchor(int fact, int64_t offset_ms);

void world_start(struct world *world, int teams); /* makes the fold, no event yet */
struct es_score *world_fold(struct world *world, int teams, es_score_on_change on_change,
                            void *ctx);
/* Apply to world->score and keep. */
void world_tell(struct world *world, const struct es_event *event);
void world_clock(struct world *world, int64_t ex_ms, enum es_clock_state state);
void world_jump(struct world *world, int64_t ex_ms, int64_t to_ex_ms);
void world_see(struct world *world, int64_t ex_ms, int team, int cond, int outcome);
void world_machine(struct world *world, int64_t ex_ms, int team, int node, int what);
enum es_outcome world_outcome(const struct world *world, int team, int cond);

/* xorshift; seed it with anything but 0 */
struct world_rng {
    uint64_t state;
};
int64_t world_rng(struct world_rng *rng, int64_t below);

#endif
