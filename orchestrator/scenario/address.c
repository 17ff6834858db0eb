/* Addresses: each lies inside its network and is used once; what was left open is chosen,
 * the same on every loading.
 *
 * Three kinds of places share one table: whole addresses of a network, and offsets in
 * every team's slice of it. Automatic ones go from .100 up, those of probers from the top
 * down; on a sliced network range nodes and probers live in slice 0, which no team has. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

struct used {
    uint64_t key; /* 0: free */
    int node;
};
struct table {
    struct used *slots;
    size_t cap;
    uint32_t *next_up, *next_down; /* by network: the next automatic candidates */
};

static uint64_t key_of(int network, bool in_slice, uint32_t value)
{
    return (uint64_t)(network + 1) << 33 | (uint64_t)in_slice << 32 | value;
}

static struct used *find(const struct table *table, uint64_t key)
{
    size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (table->cap - 1);
    while (table->slots[i].key != 0 && table->slots[i].key != key)
        i = (i + 1) & (table->cap - 1);
    return &table->slots[i];
}

static void nic_error(struct load *ld, const struct es_node *node,
                      const struct es_nic *nic, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "nodes.%s.networks.%s", node->name,
             ld->s->networks[nic->network].name);
    load_error_at(ld, nic->pos, path, "%s", text);
}

/* Marks a place as used; reports who has it. */
static void take(struct load *ld, struct table *table, int node, const struct es_nic *nic)
{
    bool in_slice = nic->how == ES_NIC_SLICE;
    struct used *used =
        find(table, key_of(nic->network, in_slice, in_slice ? nic->offset : nic->addr));
    const struct es_node *nodes = ld->s->nodes;
    char text[160], addr[16];
    if (used->key == 0) {
        used->key = key_of(nic->network, in_slice, in_slice ? nic->offset : nic->addr);
        used->node = node;
        return;
    }
    if (in_slice)
        snprintf(text, sizeof text, "slice+%u is the node \"%s\" already", nic->offset,
                 nodes[used->node].name);
    else
        snprintf(text, sizeof text, "%s is the node \"%s\" already",
                 es_ip4_format(nic->addr, addr), nodes[used->node].name);
    nic_error(ld, &nodes[node], nic, text);
}

/* A fixed or slice address as written: does it fit the network and the node? */
static bool check_written(struct load *ld, const struct es_node *node,
                          const struct es_nic *nic)
{
    const struct es_network *network = &ld->s->networks[nic->network];
    uint32_t mask = ES_IP4_MASK(network->prefix);
    char text[200], a[16], b[16];
    if (nic->how == ES_NIC_SLICE) {
        if (network->slice == 0)
            nic_error(
                ld, node, nic,
                "this network has no slices; give it scope: range and slice: 24, or "
                "write an address");
        else if (node->scope == ES_SCOPE_RANGE)
            nic_error(ld, node, nic, "a node of scope range belongs to no team's slice");
        else if (nic->offset == 0 || nic->offset >= (1U << (32 - network->slice)) - 1)
            nic_error(ld, node, nic, "this lies outside a team's slice");
        else
            return true;
        return false;
    }
    if (network->scope == ES_SCOPE_RANGE && node->scope == ES_SCOPE_TEAM) {
        nic_error(ld, node, nic,
                  "every team's node would have this address on a shared network; write "
                  "slice+N or {}");
        return false;
    }
    if ((nic->addr & mask) == network->net && (nic->addr & ~mask) != 0 &&
        (nic->addr & ~mask) != ~mask)
        return true;
    snprintf(text, sizeof text, "%s is no address of a machine in %s/%d",
             es_ip4_format(nic->addr, a), es_ip4_format(network->net, b),
             network->prefix);
    nic_error(ld, node, nic, text);
    return false;
}

/* The next free offset from .100 up, starting over below it. */
static bool choose_up(struct table *table, const struct es_network *network, int index,
                      bool in_slice, uint32_t *ret_offset)
{
    uint32_t size = 1U << (32 - (in_slice ? network->slice : network->prefix));
    uint32_t start = size > 128 ? 100 : size / 2;
    for (; table->next_up[index] < size - 2; table->next_up[index]++) {
        uint32_t offset = (start - 1 + table->next_up[index]) % (size - 2) + 1;
        uint32_t value = in_slice ? offset : network->net + offset;
        if (find(table, key_of(index, in_slice, value))->key == 0) {
            *ret_offset = offset;
            return true;
        }
    }
    return false;
}

static bool choose_down(struct table *table, const struct es_network *network, int index,
                        uint32_t *ret_offset)
{
    uint32_t size = 1U << (32 - (network->slice != 0 ? network->slice : network->prefix));
    for (; table->next_down[index] < size - 2; table->next_down[index]++) {
        uint32_t offset = size - 2 - table->next_down[index];
        if (find(table, key_of(index, false, network->net + offset))->key == 0) {
            *ret_offset = offset;
            return true;
        }
    }
    return false;
}

static void choose(struct load *ld, struct table *table, int node_index,
                   struct es_nic *nic)
{
    const struct es_node *node = &ld->s->nodes[node_index];
    const struct es_network *network = &ld->s->networks[nic->network];
    bool team_on_shared =
        node->scope == ES_SCOPE_TEAM && network->scope == ES_SCOPE_RANGE;
    bool top = node->is_prober || (network->slice != 0 && !team_on_shared);
    uint32_t offset = 0;
    if (team_on_shared && network->slice == 0) {
        nic_error(ld, node, nic,
                  "teams share this network: give it slice: 24 or the like, so that each "
                  "has a part of its own");
        return;
    }
    if (top ? !choose_down(table, network, nic->network, &offset)
            : !choose_up(table, network, nic->network, team_on_shared, &offset)) {
        nic_error(ld, node, nic, "no address is left on this network");
        return;
    }
    nic->how = team_on_shared ? ES_NIC_SLICE : ES_NIC_FIXED;
    if (team_on_shared)
        nic->offset = offset;
    else
        nic->addr = network->net + offset;
    take(ld, table, node_index, nic);
}

/* Loader's view of the arrays it made (nics of probers included). */
static struct es_nic *nic_of(const struct es_node *node, size_t i)
{
    return (struct es_nic *)(uintptr_t)&node->nics[i];
}

static bool is_usable(struct load *ld, const struct es_node *node,
                      const struct es_nic *nic)
{
    if (nic->network < 0 || ld->s->networks[nic->network].prefix == 0)
        return false;
    if (node->scope != ES_SCOPE_RANGE ||
        ld->s->networks[nic->network].scope == ES_SCOPE_RANGE)
        return true;
    nic_error(ld, node, nic,
              "a node of scope range cannot be on a team's network: which team's?");
    return false;
}

static void check_overlaps(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    for (size_t i = 0; i < s->networks_count; i++)
        for (size_t k = 0; k < i; k++) {
            const struct es_network *a = &s->networks[i], *b = &s->networks[k];
            int prefix = a->prefix < b->prefix ? a->prefix : b->prefix;
            char path[64];
            if (prefix == 0 || ((a->net ^ b->net) & ES_IP4_MASK(prefix)) != 0)
                continue;
            snprintf(path, sizeof path, "networks.%s.cidr", a->name);
            load_error_at(ld, a->pos, path, "overlaps the network \"%s\"", b->name);
        }
}

static bool is_on(const struct es_node *node, int network)
{
    for (size_t i = 0; i < node->nic_count; i++)
        if (node->nics[i].network == network)
            return true;
    return false;
}

static void check_gateways(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    for (size_t i = 0; i < s->networks_count; i++) {
        const struct es_network *network = &s->networks[i];
        char path[64];
        snprintf(path, sizeof path, "networks.%s.gateway", network->name);
        if (network->gateway >= 0 && !is_on(&s->nodes[network->gateway], (int)i))
            load_error_at(
                ld, network->pos, path,
                "the node \"%s\" is not on this network; add it to its networks",
                s->nodes[network->gateway].name);
        snprintf(path, sizeof path, "networks.%s.dns", network->name);
        if (network->dns >= 0 && s->nodes[network->dns].nic_count == 0)
            load_error_at(ld, network->pos, path, "the node \"%s\" is on no network",
                          s->nodes[network->dns].name);
    }
}

void address_assign(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    struct table table = {.cap = 64};
    size_t nic_count = 0;
    for (size_t i = 0; i < s->nodes_count; i++)
        nic_count += s->nodes[i].nic_count;
    while (table.cap < nic_count * 2 + 2)
        table.cap *= 2;
    table.slots = es_arena_alloc(&ld->temp, table.cap * sizeof *table.slots);
    table.next_up = es_arena_alloc(&ld->temp, (s->networks_count + 1) * sizeof(uint32_t));
    table.next_down =
        es_arena_alloc(&ld->temp, (s->networks_count + 1) * sizeof(uint32_t));
    if (table.slots == NULL || table.next_up == NULL || table.next_down == NULL)
        return;
    check_overlaps(ld);
    check_gateways(ld);
    for (size_t i = 0; i < s->nodes_count; i++)
        for (size_t k = 0; k < s->nodes[i].nic_count; k++) {
            const struct es_nic *nic = &s->nodes[i].nics[k];
            if (is_usable(ld, &s->nodes[i], nic) && nic->how != ES_NIC_AUTO &&
                check_written(ld, &s->nodes[i], nic))
                take(ld, &table, (int)i, nic);
        }
    for (size_t i = 0; i < s->nodes_count; i++)
        for (size_t k = 0; k < s->nodes[i].nic_count; k++) {
            struct es_nic *nic = nic_of(&s->nodes[i], k);
            if (nic->how == ES_NIC_AUTO && nic->network >= 0 &&
                s->networks[nic->network].prefix != 0 &&
                !(s->nodes[i].scope == ES_SCOPE_RANGE &&
                  s->networks[nic->network].scope == ES_SCOPE_TEAM))
                choose(ld, &table, (int)i, nic);
        }
}
