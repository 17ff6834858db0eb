/* Which address each NIC gets. Fixed addresses and offsets are taken as written; the rest
 * get the first free one, from the second of their network or slice on, in the order of
 * the nodes, so that equal scenarios give equal plans. */
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "plan_inner.h"

/* Addresses of one network (or offsets in a slice) that are given away. */
struct taken {
    uint32_t *at;
    size_t count;
};

static bool is_taken(const struct taken *taken, uint32_t at)
{
    for (size_t i = 0; i < taken->count; i++)
        if (taken->at[i] == at)
            return true;
    return false;
}

static int take(struct es_plan_maker *m, struct taken *taken, uint32_t at)
{
    uint32_t *grown =
        es_arena_push(&m->plan->arena, taken->at, taken->count, sizeof *grown);
    if (grown == NULL)
        return es_err_nomem(m->err);
    taken->at = grown;
    taken->at[taken->count++] = at;
    return 0;
}

/* The first free one of `first` … `last`, leaving `first` itself (by habit the gateway)
 * for when nothing else is left. */
static int take_free(struct es_plan_maker *m, struct taken *taken, uint32_t first,
                     uint32_t last, const char *what, uint32_t *ret_at)
{
    ES_ASSERT(first <= last);
    for (uint64_t i = (uint64_t)first + 1; i <= last; i++) {
        if (is_taken(taken, (uint32_t)i))
            continue;
        *ret_at = (uint32_t)i;
        return take(m, taken, *ret_at);
    }
    if (!is_taken(taken, first)) {
        *ret_at = first;
        return take(m, taken, first);
    }
    return es_err_set(m->err, ES_ELIMIT,
                      "network %s has no free address left for all its nodes; "
                      "give it a shorter prefix (a larger network)",
                      what);
}

static int take_once(struct es_plan_maker *m, struct taken *taken, uint32_t at,
                     const struct es_network *net, const struct es_node *node)
{
    char text[16];
    if (is_taken(taken, at))
        return es_err_set(m->err, ES_EINVAL,
                          "node %s: %s on network %s is used twice; give it another one",
                          node->name, es_ip4_format(at, text), net->name);
    return take(m, taken, at);
}

/* Range nodes and probers of a shared network live in slice 0. */
static uint32_t last_of_range(const struct es_network *net)
{
    uint64_t size = 1ULL << (32 - net->prefix);
    if (es_plan_is_shared(net) && net->slice > net->prefix)
        size = es_plan_slice_size(net);
    return net->net + (uint32_t)(size > 2 ? size - 2 : size - 1);
}

static int check_fixed(struct es_plan_maker *m, const struct es_network *net,
                       const struct es_node *node, uint32_t addr, int team_count)
{
    char text[16];
    es_ip4_format(addr, text);
    if ((addr & ES_IP4_MASK(net->prefix)) != net->net)
        return es_err_set(m->err, ES_EINVAL, "node %s: %s is not in network %s",
                          node->name, text, net->name);
    if (!es_plan_is_shared(net))
        return 0;
    if (!es_plan_is_range(node))
        return es_err_set(
            m->err, ES_EINVAL,
            "node %s: a team's node cannot have the fixed address %s on the "
            "shared network %s; write slice+N",
            node->name, text, net->name);
    uint64_t slice = net->slice != 0 ? (addr - net->net) / es_plan_slice_size(net) : 0;
    if (slice == 0 || slice > (uint64_t)team_count)
        return 0;
    return es_err_set(m->err, ES_EINVAL,
                      "node %s: %s on network %s lies in the slice of team %d; "
                      "use an address of slice 0",
                      node->name, text, net->name, (int)slice);
}

/* A network's slices must hold all teams beside slice 0. */
static int check_slices(struct es_plan_maker *m, const struct es_network *net,
                        const struct es_node *node, int team_count)
{
    if (es_plan_is_range(node) && !es_plan_is_shared(net))
        return es_err_set(m->err, ES_EINVAL,
                          "node %s has scope range but network %s exists once for each "
                          "team; put it on a network with scope: range",
                          node->name, net->name);
    if (es_plan_is_range(node) || !es_plan_is_shared(net))
        return 0;
    if (net->slice <= net->prefix || net->slice > 30)
        return es_err_set(
            m->err, ES_EINVAL,
            "network %s is shared by teams and needs slice: a prefix length "
            "between %d and 30",
            net->name, net->prefix + 1);
    uint64_t slices = 1ULL << (net->slice - net->prefix);
    if ((uint64_t)team_count < slices)
        return 0;
    return es_err_set(
        m->err, ES_ELIMIT,
        "network %s (/%d) has room for %d teams with a /%d each, not for %d; "
        "give it a shorter prefix or a longer slice",
        net->name, net->prefix, (int)slices - 1, net->slice, team_count);
}

static int place_given(struct es_plan_maker *m, int network, int team_count,
                       struct taken *range, struct taken *slice)
{
    const struct es_scenario *s = m->scenario;
    const struct es_network *net = &s->networks[network];
    for (size_t n = 0; n < s->nodes_count; n++)
        for (size_t i = 0; i < s->nodes[n].nic_count; i++) {
            const struct es_node *node = &s->nodes[n];
            const struct es_nic *nic = &node->nics[i];
            int rc = 0;
            if (nic->network != network)
                continue;
            if ((rc = check_slices(m, net, node, team_count)) != 0)
                return rc;
            bool sliced = es_plan_is_shared(net) && !es_plan_is_range(node);
            if (nic->how == ES_NIC_FIXED) {
                if ((rc = check_fixed(m, net, node, nic->addr, team_count)) == 0)
                    rc = take_once(m, range, m->place[n][i] = nic->addr, net, node);
            } else if (nic->how == ES_NIC_SLICE && sliced) {
                if (nic->offset == 0 || nic->offset >= es_plan_slice_size(net))
                    return es_err_set(m->err, ES_ELIMIT,
                                      "node %s: slice+%u is outside the /%d slices of "
                                      "network %s",
                                      node->name, nic->offset, net->slice, net->name);
                rc = take_once(m, slice, m->place[n][i] = nic->offset, net, node);
            } else if (nic->how == ES_NIC_SLICE) {
                if (net->net + nic->offset > last_of_range(net) || nic->offset == 0)
                    return es_err_set(
                        m->err, ES_ELIMIT,
                        "node %s: slice+%u is outside slice 0 of network %s", node->name,
                        nic->offset, net->name);
                rc = take_once(m, range, m->place[n][i] = net->net + nic->offset, net,
                               node);
            }
            if (rc != 0)
                return rc;
        }
    return 0;
}

static int place_auto(struct es_plan_maker *m, int network, struct taken *range,
                      struct taken *slice)
{
    const struct es_scenario *s = m->scenario;
    const struct es_network *net = &s->networks[network];
    uint32_t first = net->net + (net->prefix < 31 ? 1 : 0);
    for (size_t n = 0; n < s->nodes_count; n++)
        for (size_t i = 0; i < s->nodes[n].nic_count; i++) {
            const struct es_node *node = &s->nodes[n];
            if (node->nics[i].network != network || node->nics[i].how != ES_NIC_AUTO)
                continue;
            bool sliced = es_plan_is_shared(net) && !es_plan_is_range(node);
            int rc = sliced
                         ? take_free(m, slice, 1, (uint32_t)es_plan_slice_size(net) - 2,
                                     net->name, &m->place[n][i])
                         : take_free(m, range, first, last_of_range(net), net->name,
                                     &m->place[n][i]);
            if (rc != 0)
                return rc;
        }
    return 0;
}

int es_plan_place(struct es_plan_maker *m, int team_count)
{
    const struct es_scenario *s = m->scenario;
    struct es_arena *arena = &m->plan->arena;
    uint32_t **place = es_arena_alloc(arena, (s->nodes_count + 1) * sizeof *place);
    if (place == NULL)
        return es_err_nomem(m->err);
    for (size_t n = 0; n < s->nodes_count; n++) {
        place[n] = es_arena_alloc(arena, (s->nodes[n].nic_count + 1) * sizeof **place);
        if (place[n] == NULL)
            return es_err_nomem(m->err);
    }
    m->place = place;
    for (size_t i = 0; i < s->networks_count; i++) {
        struct taken range = {0}, slice = {0};
        const struct es_network *net = &s->networks[i];
        int rc = place_given(m, (int)i, team_count, &range, &slice);
        /* Names may stand for addresses that a node answers beside its own. */
        for (size_t k = 0; rc == 0 && k < net->name_count; k++)
            rc = take(m, &range, net->names[k].addr);
        if (rc == 0)
            rc = place_auto(m, (int)i, &range, &slice);
        if (rc != 0)
            return rc;
    }
    return 0;
}

uint32_t es_plan_nic_address(const struct es_plan_maker *m, int team, int node,
                             size_t nic)
{
    const struct es_node *n = &m->scenario->nodes[node];
    ES_ASSERT(nic < n->nic_count);
    const struct es_network *net = &m->scenario->networks[n->nics[nic].network];
    uint32_t at = m->place[node][nic];
    if (!es_plan_is_shared(net) || es_plan_is_range(n))
        return at;
    ES_ASSERT(team >= 0);
    return net->net + (uint32_t)((uint64_t)team * es_plan_slice_size(net)) + at;
}
