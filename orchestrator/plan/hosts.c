/* The names that machines know: those written on their networks, and the nodes on them.
 *
 * A list is the same for all nodes of a team that are on the same networks, so it is made
 * once for them; while it is made, names are told apart by number. */
#include <stdlib.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "plan_inner.h"

struct es_plan_hosts {
    uint32_t *const *name_ids;           /* [network][written name] */
    int *like;                           /* by node: the first one with the same list */
    const struct es_plan_machine **made; /* by node: its machine that was made last */
    uint32_t *stamps;                    /* by number: the list it is in */
    uint32_t stamp;
    struct es_name_addr *scratch;
};

uint32_t es_plan_seen_address(const struct es_plan_maker *m, int team, int node,
                              int network)
{
    const struct es_node *n = &m->scenario->nodes[node];
    if (team < 0 && !es_plan_is_range(n))
        return 0;
    for (size_t i = 0; i < n->nic_count; i++)
        if (n->nics[i].network == network &&
            es_plan_has_nic(m, es_plan_is_range(n) ? -1 : team, &n->nics[i]))
            return es_plan_nic_address(m, team, node, i);
    return 0;
}

/* ------------------------------------------------------------------ numbers of names */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All written names, sorted, each once. */
static const char **gather(struct es_plan_maker *m, size_t *ret_count)
{
    const struct es_scenario *s = m->scenario;
    size_t total = 0, count = 0;
    for (size_t i = 0; i < s->networks_count; i++)
        total += s->networks[i].name_count;
    const char **words = es_arena_alloc(&m->plan->arena, (total + 1) * sizeof *words);
    if (words == NULL)
        return NULL;
    for (size_t i = 0; i < s->networks_count; i++)
        for (size_t k = 0; k < s->networks[i].name_count; k++)
            words[count++] = s->networks[i].names[k].name;
    qsort(words, count, sizeof *words, by_text);
    *ret_count = 0;
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(words[i], words[i - 1]) != 0)
            words[(*ret_count)++] = words[i];
    return words;
}

/* A node's name has the node's number, another the one behind. */
static int number_names(struct es_plan_maker *m, struct es_plan_hosts *h)
{
    const struct es_scenario *s = m->scenario;
    struct es_arena *arena = &m->plan->arena;
    size_t count = 0;
    const char **words = gather(m, &count);
    uint32_t **ids = es_arena_alloc(arena, (s->networks_count + 1) * sizeof *ids);
    h->stamps = es_arena_alloc(arena, (s->nodes_count + count + 1) * sizeof *h->stamps);
    h->scratch = es_arena_alloc(arena, (s->nodes_count + count + 1) * sizeof *h->scratch);
    if (words == NULL || ids == NULL || h->stamps == NULL || h->scratch == NULL)
        return es_err_nomem(m->err);
    h->name_ids = ids;
    for (size_t i = 0; i < s->networks_count; i++) {
        const struct es_network *net = &s->networks[i];
        ids[i] = es_arena_alloc(arena, (net->name_count + 1) * sizeof *ids[i]);
        if (ids[i] == NULL)
            return es_err_nomem(m->err);
        for (size_t k = 0; k < net->name_count; k++) {
            int node = es_scenario_node(s, net->names[k].name);
            const char **word =
                bsearch(&net->names[k].name, words, count, sizeof *words, by_text);
            ES_ASSERT(word != NULL);
            ids[i][k] = node >= 0 ? (uint32_t)node
                                  : (uint32_t)(s->nodes_count + (size_t)(word - words));
        }
    }
    return 0;
}

/* ------------------------------------------------------------------ nodes that are alike */

static uint32_t hash_of(const struct es_node *node)
{
    uint32_t h = node->hidden + 2U * es_plan_is_range(node);
    for (size_t i = 0; i < node->nic_count; i++)
        h = h * 16777619U + (uint32_t)node->nics[i].network + 1;
    return h;
}

static bool is_like(const struct es_node *a, const struct es_node *b)
{
    if (a->hidden != b->hidden || es_plan_is_range(a) != es_plan_is_range(b) ||
        a->nic_count != b->nic_count)
        return false;
    for (size_t i = 0; i < a->nic_count; i++)
        if (a->nics[i].network != b->nics[i].network)
            return false;
    return true;
}

static int find_likes(struct es_plan_maker *m, struct es_plan_hosts *h)
{
    const struct es_scenario *s = m->scenario;
    size_t cap = 64;
    while (cap < 2 * s->nodes_count)
        cap *= 2;
    int *slots = es_arena_alloc(&m->plan->arena, cap * sizeof *slots); /* node + 1 */
    h->like = es_arena_alloc(&m->plan->arena, (s->nodes_count + 1) * sizeof *h->like);
    h->made = es_arena_alloc(&m->plan->arena, (s->nodes_count + 1) * sizeof *h->made);
    if (slots == NULL || h->like == NULL || h->made == NULL)
        return es_err_nomem(m->err);
    for (size_t n = 0; n < s->nodes_count; n++) {
        size_t at = hash_of(&s->nodes[n]) & (cap - 1);
        while (slots[at] != 0 && !is_like(&s->nodes[slots[at] - 1], &s->nodes[n]))
            at = (at + 1) & (cap - 1);
        if (slots[at] == 0)
            slots[at] = (int)n + 1;
        h->like[n] = slots[at] - 1;
    }
    return 0;
}

int es_plan_begin_hosts(struct es_plan_maker *m)
{
    struct es_plan_hosts *h = es_arena_alloc(&m->plan->arena, sizeof *h);
    if (h == NULL)
        return es_err_nomem(m->err);
    m->hosts = h;
    int rc = number_names(m, h);
    return rc == 0 ? find_likes(m, h) : rc;
}

/* ------------------------------------------------------------------ a list */

static void add(struct es_plan_hosts *h, uint32_t id, const char *name, uint32_t addr,
                size_t *count)
{
    if (h->stamps[id] == h->stamp)
        return;
    h->stamps[id] = h->stamp;
    h->scratch[(*count)++] = (struct es_name_addr){name, addr};
}

/* Written names win over nodes' names; hidden nodes are known to hidden ones alone and
 * probers to none. */
static size_t fill(const struct es_plan_maker *m, const struct es_plan_machine *out)
{
    const struct es_scenario *s = m->scenario;
    struct es_plan_hosts *h = m->hosts;
    size_t count = 0;
    h->stamp++;
    for (size_t i = 0; i < out->nic_count; i++) {
        const struct es_network *net = &s->networks[out->nics[i].network];
        const uint32_t *ids = h->name_ids[out->nics[i].network];
        for (size_t k = 0; k < net->name_count; k++)
            add(h, ids[k], net->names[k].name, net->names[k].addr, &count);
    }
    for (size_t i = 0; i < out->nic_count; i++)
        for (size_t n = 0; n < s->nodes_count; n++) {
            const struct es_node *node = &s->nodes[n];
            if (node->is_prober || (node->hidden && !s->nodes[out->node].hidden))
                continue;
            uint32_t addr =
                es_plan_seen_address(m, out->team, (int)n, out->nics[i].network);
            if (addr != 0)
                add(h, (uint32_t)n, node->name, addr, &count);
        }
    return count;
}

int es_plan_make_hosts(const struct es_plan_maker *m, struct es_plan_machine *out)
{
    struct es_plan_hosts *h = m->hosts;
    const struct es_plan_machine *like = h->made[h->like[out->node]];
    h->made[out->node] = out;
    if (like != NULL && like->team == out->team) {
        out->hosts = like->hosts;
        out->host_count = like->host_count;
        return 0;
    }
    size_t count = fill(m, out);
    struct es_name_addr *hosts =
        es_arena_alloc(&m->plan->arena, (count + 1) * sizeof *hosts);
    if (hosts == NULL)
        return es_err_nomem(m->err);
    memcpy(hosts, h->scratch, count * sizeof *hosts);
    out->hosts = hosts;
    out->host_count = count;
    return 0;
}
