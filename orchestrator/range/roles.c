/* What rests on each node: conditions that look into it, out of it, or at it over the
 * network; and of them those that a service is judged by. Where a look goes is told by the
 * addresses and names in it; one that names no node may be meant for any. */
#include <string.h>

#include "capacity.h"

/* As a word of its own: 10.0.0.1 is not in 10.0.0.10, nor web in webmail. */
static bool names(const char *text, const char *word)
{
    static const char inside[] = "abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        if ((at == text || strchr(inside, at[-1]) == NULL) &&
            (at[len] == '\0' || strchr(inside, at[len]) == NULL))
            return true;
    return false;
}

static bool looks_out(enum es_probe_kind kind)
{
    enum { IN, OUT };
    static const int place[] = {
#define X(name, where, does) where,
        ES_PROBE_MAP(X)
#undef X
    };
    return (size_t)kind < ES_COUNT(place) && place[kind] == OUT;
}

static bool is_named(struct range *r, int node, const char *look)
{
    char address[16];
    if (names(look, r->scenario->nodes[node].name))
        return true;
    const struct machine *m = range_machine(r, 1, node);
    for (size_t i = 0; m != NULL && i < m->plan->nic_count; i++)
        if (names(look, es_ip4_format(m->plan->nics[i].addr, address)))
            return true;
    return false;
}

static void mark_named(struct range *r, const struct es_condition *condition,
                       unsigned char role)
{
    char *look = json_dumps(condition->probe.look, JSON_COMPACT);
    size_t count = 0;
    for (size_t n = 0; look != NULL && n < r->scenario->nodes_count; n++)
        if (is_named(r, (int)n, look)) {
            r->roles[n] |= role;
            count++;
        }
    for (size_t n = 0; count == 0 && n < r->scenario->nodes_count; n++)
        r->roles[n] |= role;
    es_free(look);
}

static void mark(struct range *r, int index, unsigned char role)
{
    const struct es_condition *condition = &r->scenario->conditions[index];
    if (condition->kind == ES_COND_PROBE && condition->node >= 0)
        r->roles[condition->node] |= role;
    if (condition->kind == ES_COND_PROBE &&
        (condition->prober >= 0 || looks_out(condition->probe.kind)))
        mark_named(r, condition, role);
    if (condition->control >= 0)
        mark(r, condition->control, role);
    for (size_t i = 0; i < condition->part_count; i++)
        mark(r, condition->parts[i], role);
}

int roles_make(struct range *r, struct es_err *err)
{
    const struct es_scenario *s = r->scenario;
    r->roles = es_calloc(s->nodes_count + 1, sizeof *r->roles);
    if (r->roles == NULL)
        return es_err_nomem(err);
    for (size_t c = 0; c < s->conditions_count; c++)
        mark(r, (int)c, ROLE_OBSERVED);
    for (size_t i = 0; i < s->services_count; i++)
        mark(r, s->services[i].condition, ROLE_FIXED);
    for (size_t n = 0; n < s->nodes_count; n++)
        if (s->nodes[n].is_prober || s->nodes[n].scope != ES_SCOPE_TEAM)
            r->roles[n] |= ROLE_FIXED;
    return 0;
}
