/* Makes the plan: networks and machines of the range, of the mould and of each team, in
 * this order. Everything lies in the plan's arena; names and host names are borrowed from
 * the scenario. */
#include "enshu/plan.h"

#include <stdio.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "plan_inner.h"

#define ARENA_MAX_BYTES (512U << 20)

static void make_network(const struct es_plan_maker *m, struct es_plan_network *out,
                         int team, int network)
{
    const struct es_network *net = &m->scenario->networks[network];
    es_plan_name(out->name, m->plan->range, team, net->name);
    es_plan_uuid(out->uuid, "network", m->plan->range, out->name);
    const char *const words[] = {"enshu bridge", out->uuid};
    unsigned char d[16];
    es_plan_digest(d, words, ES_COUNT(words));
    snprintf(out->bridge, sizeof out->bridge, "es%02x%02x%02x%02x%02x%02x", d[0], d[1],
             d[2], d[3], d[4], d[5]);
    out->team = team;
    out->network = network;
    out->isolate_teams = es_plan_is_shared(net) && !net->meet;
}

static int make_networks(struct es_plan_maker *m)
{
    const struct es_scenario *s = m->scenario;
    struct es_plan *plan = m->plan;
    size_t teams = (size_t)(plan->team_count + 1 - m->first_team), shared = 0;
    for (size_t i = 0; i < s->networks_count; i++)
        shared += es_plan_is_shared(&s->networks[i]);
    size_t count = shared + teams * (s->networks_count - shared), at = 0;
    struct es_plan_network *nets =
        es_arena_alloc(&plan->arena, (count + 1) * sizeof *nets);
    m->team_network =
        es_arena_alloc(&plan->arena, ((size_t)plan->team_count + 2) *
                                         (s->networks_count + 1) * sizeof(int));
    if (nets == NULL || m->team_network == NULL)
        return es_err_nomem(m->err);
    for (int team = -1; team <= plan->team_count; team++)
        for (size_t i = 0; i < s->networks_count; i++) {
            bool is_range = team == -1;
            int *where = &m->team_network[(size_t)(team + 1) * s->networks_count + i];
            if (es_plan_is_shared(&s->networks[i]) != is_range) {
                *where = is_range ? -1 : m->team_network[i];
                continue;
            }
            if (!is_range && team < m->first_team)
                continue;
            *where = (int)at;
            make_network(m, &nets[at++], team, (int)i);
        }
    ES_ASSERT(at == count);
    plan->networks = nets;
    plan->network_count = count;
    return 0;
}

/* ------------------------------------------------------------------ machines */

static void make_mac(const struct es_plan_maker *m, char mac[18], int team,
                     const struct es_node *node, const struct es_network *net)
{
    char label[8];
    bool shared = es_plan_is_shared(net);
    const char *const words[] = {"enshu mac",
                                 m->scenario->name,
                                 node->name,
                                 net->name,
                                 shared ? m->plan->range : "",
                                 shared ? es_plan_team_name(team, label) : ""};
    unsigned char d[16];
    es_plan_digest(d, words, ES_COUNT(words));
    snprintf(mac, 18, "52:%02x:%02x:%02x:%02x:%02x", d[0], d[1], d[2], d[3], d[4]);
}

static int make_nics(const struct es_plan_maker *m, struct es_plan_machine *out)
{
    const struct es_scenario *s = m->scenario;
    const struct es_node *node = &s->nodes[out->node];
    struct es_plan_nic *nics =
        es_arena_alloc(&m->plan->arena, (node->nic_count + 1) * sizeof *nics);
    if (nics == NULL)
        return es_err_nomem(m->err);
    for (size_t i = 0; i < node->nic_count; i++) {
        if (!es_plan_has_nic(m, out->team, &node->nics[i]))
            continue;
        struct es_plan_nic *nic = &nics[out->nic_count++];
        const struct es_network *net = &s->networks[node->nics[i].network];
        nic->network = node->nics[i].network;
        nic->plan_network = m->team_network[(size_t)(out->team + 1) * s->networks_count +
                                            (size_t)nic->network];
        nic->addr = es_plan_nic_address(m, out->team, out->node, i);
        nic->prefix = net->prefix;
        nic->isolated = es_plan_is_shared(net) && !net->meet && out->team >= 0;
        make_mac(m, nic->mac, out->team, node, net);
        ES_ASSERT(m->plan->networks[nic->plan_network].network == nic->network);
    }
    out->nics = nics;
    return 0;
}

static void make_routes(const struct es_plan_maker *m, struct es_plan_machine *out)
{
    for (size_t i = 0; i < out->nic_count; i++) {
        int network = out->nics[i].network;
        const struct es_network *net = &m->scenario->networks[network];
        if (out->gateway == 0 && net->gateway >= 0 && net->gateway != out->node)
            out->gateway = es_plan_seen_address(m, out->team, net->gateway, network);
        if (out->dns == 0 && net->dns >= 0)
            out->dns = es_plan_seen_address(m, out->team, net->dns, network);
    }
}

/* Machines with team networks only know the same names in every team. */
static bool same_in_teams(const struct es_plan_maker *m, const struct es_node *node)
{
    for (size_t i = 0; i < node->nic_count; i++)
        if (es_plan_is_shared(&m->scenario->networks[node->nics[i].network]))
            return false;
    return true;
}

static int make_machine(struct es_plan_maker *m, struct es_plan_machine *out, int team,
                        int node, const struct es_plan_machine *twin)
{
    const struct es_node *n = &m->scenario->nodes[node];
    struct es_plan *plan = m->plan;
    es_plan_name(out->name, plan->range, team, n->name);
    es_plan_uuid(out->uuid, "machine", plan->range, out->name);
    out->team = team;
    out->node = node;
    out->memory_bytes = n->memory_bytes;
    out->disk_bytes = n->disk_bytes;
    out->cpus = n->cpus;
    /* The mould is gone when teams run and is never larger than a team. */
    if (team != 0) {
        plan->memory_bytes += n->memory_bytes + ES_PLAN_QEMU_BYTES;
        plan->cpus += n->cpus;
    }
    bool whole = n->programme && team != 0; /* no overlay */
    plan->disk_bytes += n->disk_bytes / (whole ? 1 : ES_PLAN_OVERLAY_SHARE);
    int rc = make_nics(m, out);
    if (rc != 0)
        return rc;
    make_routes(m, out);
    if (twin == NULL)
        return es_plan_make_hosts(m, out);
    out->hosts = twin->hosts;
    out->host_count = twin->host_count;
    return 0;
}

static int make_machines(struct es_plan_maker *m)
{
    const struct es_scenario *s = m->scenario;
    struct es_plan *plan = m->plan;
    size_t in_range = 0, teams = (size_t)(plan->team_count + 1 - m->first_team);
    for (size_t n = 0; n < s->nodes_count; n++)
        in_range += es_plan_is_range(&s->nodes[n]);
    size_t per_team = s->nodes_count - in_range, count = in_range + teams * per_team;
    if (count > ES_PLAN_MACHINES_MAX)
        return es_err_set(
            m->err, ES_ELIMIT,
            "%zu machines are more than the %d of one range; use fewer teams", count,
            ES_PLAN_MACHINES_MAX);
    struct es_plan_machine *machines =
        es_arena_alloc(&plan->arena, (count + 1) * sizeof *machines);
    if (machines == NULL)
        return es_err_nomem(m->err);
    size_t at = 0;
    for (int team = -1; team <= plan->team_count; team++) {
        if (team >= 0 && team < m->first_team)
            continue;
        for (size_t n = 0; n < s->nodes_count; n++) {
            if (es_plan_is_range(&s->nodes[n]) != (team == -1))
                continue;
            const struct es_plan_machine *twin = NULL;
            if (team > m->first_team && same_in_teams(m, &s->nodes[n]))
                twin = &machines[at - per_team];
            int rc = make_machine(m, &machines[at], team, (int)n, twin);
            if (rc != 0)
                return rc;
            at++;
        }
    }
    ES_ASSERT(at == count);
    plan->machines = machines;
    plan->machine_count = count;
    return 0;
}

/* ------------------------------------------------------------------ the door */

/* The loader resolves every reference; one that points nowhere is a mistake of ours. */
static void check_references(const struct es_scenario *s)
{
    for (size_t i = 0; i < s->networks_count; i++) {
        const struct es_network *net = &s->networks[i];
        ES_ASSERT(net->name != NULL && net->prefix >= 0 && net->prefix <= 32);
        ES_ASSERT((net->net & ~ES_IP4_MASK(net->prefix)) == 0);
        ES_ASSERT(net->gateway >= -1 && net->gateway < (int)s->nodes_count);
        ES_ASSERT(net->dns >= -1 && net->dns < (int)s->nodes_count);
    }
    for (size_t i = 0; i < s->nodes_count; i++) {
        const struct es_node *node = &s->nodes[i];
        ES_ASSERT(node->name != NULL && strlen(node->name) <= ES_NAME_MAX);
        ES_ASSERT(node->memory_bytes >= 0 && node->disk_bytes >= 0 && node->cpus >= 0);
        for (size_t k = 0; k < node->nic_count; k++)
            ES_ASSERT(node->nics[k].network >= 0 &&
                      node->nics[k].network < (int)s->networks_count);
    }
}

int es_plan_make(const struct es_scenario *scenario, const char *range, int team_count,
                 bool with_mould, struct es_plan **ret_plan, struct es_err *err)
{
    ES_ASSERT(scenario != NULL && range != NULL && ret_plan != NULL);
    check_references(scenario);
    if (!es_str_is_name(range, ES_NAME_MAX))
        return es_err_set(
            err, ES_EINVAL,
            "the range's name must be of a-z 0-9 _ . -, begin with a letter "
            "or digit and have at most %d bytes",
            ES_NAME_MAX);
    if (team_count < 0 || team_count > ES_PLAN_TEAMS_MAX)
        return es_err_set(err, ES_ELIMIT, "a range has up to %d teams, not %d",
                          ES_PLAN_TEAMS_MAX, team_count);
    struct es_plan *plan = es_calloc(1, sizeof *plan);
    if (plan == NULL)
        return es_err_nomem(err);
    plan->arena.max_bytes = ARENA_MAX_BYTES;
    plan->scenario = scenario;
    plan->team_count = team_count;
    memcpy(plan->range, range, strlen(range) + 1);
    struct es_plan_maker m = {
        .plan = plan, .scenario = scenario, .first_team = with_mould ? 0 : 1, .err = err};
    int rc = es_plan_place(&m, team_count);
    if (rc == 0)
        rc = make_networks(&m);
    if (rc == 0)
        rc = es_plan_begin_hosts(&m);
    if (rc == 0)
        rc = make_machines(&m);
    if (rc != 0) {
        es_plan_destroy(plan);
        return rc;
    }
    *ret_plan = plan;
    return 0;
}

void es_plan_destroy(struct es_plan *plan)
{
    if (plan == NULL)
        return;
    es_arena_finish(&plan->arena);
    es_free(plan);
}

int es_plan_machine_of(const struct es_plan *plan, int team, int node)
{
    size_t low = 0, high = plan->machine_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct es_plan_machine *at = &plan->machines[mid];
        if (at->team == team && at->node == node)
            return (int)mid;
        if (at->team < team || (at->team == team && at->node < node))
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

uint32_t es_plan_address(const struct es_plan *plan, int team, int node, int network)
{
    ES_ASSERT(network >= -1 && network < (int)plan->scenario->networks_count);
    ES_ASSERT(node >= 0 && (size_t)node < plan->scenario->nodes_count);
    if (es_plan_is_range(&plan->scenario->nodes[node]))
        team = -1;
    int at = es_plan_machine_of(plan, team, node);
    if (at < 0)
        return 0;
    const struct es_plan_machine *machine = &plan->machines[at];
    for (size_t i = 0; i < machine->nic_count; i++)
        if (network < 0 || machine->nics[i].network == network)
            return machine->nics[i].addr;
    return 0;
}
