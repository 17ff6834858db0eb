/* Shared inside the plan room. */
#ifndef ENSHU_PLAN_INNER_H
#define ENSHU_PLAN_INNER_H

#include "enshu/common/err.h"
#include "enshu/plan.h"

/* What stays the same for every team while a plan is made. `place` holds, for each NIC of
 * each node, its address; for a team's node on a shared network the offset in the slice. */
struct es_plan_maker {
    struct es_plan *plan;
    const struct es_scenario *scenario;
    uint32_t *const *place; /* [node][nic] */
    int *team_network;      /* [team * networks + network]: index in the plan */
    int first_team;         /* 0 with a mould, else 1 */
    struct es_plan_hosts *hosts;
    struct es_err *err;
};

static inline bool es_plan_is_shared(const struct es_network *network)
{
    return network->scope != ES_SCOPE_TEAM;
}
static inline bool es_plan_is_range(const struct es_node *node)
{
    return node->scope != ES_SCOPE_TEAM;
}
/* The mould has no team, so it has no place on shared networks. */
static inline bool es_plan_has_nic(const struct es_plan_maker *m, int team,
                                   const struct es_nic *nic)
{
    return team != 0 || !es_plan_is_shared(&m->scenario->networks[nic->network]);
}
/* Addresses in a team's slice of a shared network. */
static inline uint64_t es_plan_slice_size(const struct es_network *network)
{
    return 1ULL << (32 - network->slice);
}

/* Gives every NIC its place; ES_ELIMIT or ES_EINVAL when one cannot have any. */
int es_plan_place(struct es_plan_maker *maker, int team_count);
/* The address of a NIC for a team (-1: range). */
uint32_t es_plan_nic_address(const struct es_plan_maker *maker, int team, int node,
                             size_t nic);
/* The address of `node` on `network` as `team` sees it; 0 when it has none there or when
 * it belongs to another scope. */
uint32_t es_plan_seen_address(const struct es_plan_maker *maker, int team, int node,
                              int network);
/* Before the machines, and for each of them: the names it knows. */
int es_plan_begin_hosts(struct es_plan_maker *maker);
int es_plan_make_hosts(const struct es_plan_maker *maker, struct es_plan_machine *out);
/* 16 bytes of BLAKE2b over the words, each with its closing NUL. */
void es_plan_digest(unsigned char ret_digest[16], const char *const *words, size_t count);
/* "t01", "t100"; "" for the range. */
const char *es_plan_team_name(int team, char dst[8]);

#endif
