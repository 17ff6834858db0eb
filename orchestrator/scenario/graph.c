/* What rests on what: cycles are named with their path, conditions get an order in which
 * each comes after its parts, and trust flows from the probes up.
 *
 * Vertices: conditions, objectives, begin of phases, end of phases, in this order. */
#include <stdio.h>
#include <string.h>

#include "room.h"

struct graph {
    struct load *ld;
    int objectives, begins, ends, count; /* first vertex of each kind */
};

static int vertex_of_fact(const struct graph *g, int fact)
{
    if (fact < 0)
        return -1;
    const struct es_fact *f = &g->ld->s->facts[fact];
    switch (f->kind) {
    case ES_FACT_CONDITION_PASS:
    case ES_FACT_CONDITION_FAIL:
        return f->subject;
    case ES_FACT_OBJECTIVE_MET:
    case ES_FACT_OBJECTIVE_LOST:
        return g->objectives + f->subject;
    case ES_FACT_PHASE_BEGUN:
        return g->begins + f->subject;
    case ES_FACT_PHASE_DONE:
        return g->ends + f->subject;
    case ES_FACT_NODE_RESET:
    case ES_FACT_NODE_DOWN:
        break;
    }
    return -1;
}

enum { NO_EDGE = -1, END_OF_EDGES = -2 };

static int condition_edge(const struct graph *g, int vertex, size_t i)
{
    const struct es_condition *c = &g->ld->s->conditions[vertex];
    if (i < c->part_count)
        return c->parts[i];
    switch (i - c->part_count) {
    case 0:
        return c->control;
    case 1:
        return vertex_of_fact(g, c->fact);
    case 2:
        return vertex_of_fact(g, c->of);
    case 3:
        return vertex_of_fact(g, c->after.fact);
    default:
        return END_OF_EDGES;
    }
}

/* The i-th vertex this one rests on. */
static int edge(const struct graph *g, int vertex, size_t i)
{
    const struct es_scenario *s = g->ld->s;
    if (vertex < g->objectives)
        return condition_edge(g, vertex, i);
    if (vertex < g->begins) {
        const struct es_objective *o = &s->objectives[vertex - g->objectives];
        return i == 0   ? o->when
               : i == 1 ? vertex_of_fact(g, o->opens.fact)
               : i == 2 ? vertex_of_fact(g, o->closes.fact)
                        : END_OF_EDGES;
    }
    if (vertex < g->ends) {
        int phase = vertex - g->begins;
        if (i > 0)
            return END_OF_EDGES;
        if (s->phases[phase].from.set)
            return vertex_of_fact(g, s->phases[phase].from.fact);
        return phase > 0 ? g->ends + phase - 1 : NO_EDGE;
    }
    int phase = vertex - g->ends;
    return i == 0 ? s->phases[phase].done : i == 1 ? g->begins + phase : END_OF_EDGES;
}

static const char *name_of(const struct graph *g, int vertex, char dst[64])
{
    const struct es_scenario *s = g->ld->s;
    if (vertex < g->objectives)
        snprintf(dst, 64, "%s", s->conditions[vertex].name);
    else if (vertex < g->begins)
        snprintf(dst, 64, "%s.met", s->objectives[vertex - g->objectives].name);
    else if (vertex < g->ends)
        snprintf(dst, 64, "%s.begun", s->phases[vertex - g->begins].name);
    else
        snprintf(dst, 64, "%s.done", s->phases[vertex - g->ends].name);
    return dst;
}

struct visit {
    int vertex;
    size_t next;
};

static void report_cycle(const struct graph *g, const struct visit *stack, size_t depth,
                         int back_to)
{
    const struct es_scenario *s = g->ld->s;
    char text[700], name[64], path[96];
    size_t n = 0, from = depth;
    while (stack[from - 1].vertex != back_to)
        from--;
    for (size_t i = from - 1; i < depth && n < sizeof text - 80; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s -> ",
                              name_of(g, stack[i].vertex, name));
    snprintf(text + n, sizeof text - n, "%s", name_of(g, back_to, name));
    bool condition = back_to < g->objectives, objective = back_to < g->begins;
    int phase = back_to < g->ends ? back_to - g->begins : back_to - g->ends;
    const char *owner = condition   ? s->conditions[back_to].name
                        : objective ? s->objectives[back_to - g->objectives].name
                                    : s->phases[phase].name;
    struct es_pos pos = condition   ? s->conditions[back_to].pos
                        : objective ? s->objectives[back_to - g->objectives].pos
                                    : s->phases[phase].pos;
    snprintf(path, sizeof path, "%s.%s",
             condition   ? "conditions"
             : objective ? "objectives"
                         : "phases",
             owner);
    load_error_at(g->ld, pos, path, "rests on itself: %s", text);
}

enum mark { NEW, OPEN, DONE };

/* Depth first from one vertex; appends conditions as they are done. */
static void visit_from(const struct graph *g, int start, unsigned char *marks,
                       struct visit *stack, int *order, size_t *order_count)
{
    size_t depth = 0;
    if (marks[start] != NEW)
        return;
    marks[start] = OPEN;
    stack[depth++] = (struct visit){start, 0};
    while (depth > 0) {
        struct visit *top = &stack[depth - 1];
        int to = edge(g, top->vertex, top->next++);
        if (to == END_OF_EDGES) {
            marks[top->vertex] = DONE;
            if (top->vertex < g->objectives)
                order[(*order_count)++] = top->vertex;
            depth--;
        } else if (to >= 0 && marks[to] == OPEN) {
            report_cycle(g, stack, depth, to);
        } else if (to >= 0 && marks[to] == NEW) {
            marks[to] = OPEN;
            stack[depth++] = (struct visit){to, 0};
        }
    }
}

/* ------------------------------------------------------------------ trust and starts */

static enum es_trust own_trust(const struct es_scenario *s, const struct es_condition *c)
{
    if (c->kind == ES_COND_PROBE) {
        if (c->prober >= 0 || (c->node >= 0 && s->nodes[c->node].hidden))
            return ES_TRUST_A;
        return ES_TRUST_C;
    }
    if (c->kind == ES_COND_FACT)
        return ES_TRUST_B;
    return ES_TRUST_A;
}

static void find_trust(const struct graph *g, struct es_condition *conditions, int vertex)
{
    struct es_condition *c = &conditions[vertex];
    c->trust = own_trust(g->ld->s, c);
    for (size_t i = 0; i < c->part_count + 2; i++) {
        int to = condition_edge(g, vertex, i);
        if (to >= 0 && to < g->objectives && conditions[to].trust > c->trust)
            c->trust = conditions[to].trust;
    }
}

static size_t parts_that_pass(const struct es_condition *conditions,
                              const struct es_condition *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->part_count; i++)
        n += c->parts[i] >= 0 && conditions[c->parts[i]].starts_pass;
    return n;
}

/* What a rehearsal must find at first, where it is not written: a composite follows from
 * its parts. */
static void find_start(struct es_condition *conditions, struct es_condition *c)
{
    size_t passing = parts_that_pass(conditions, c);
    bool at_once = c->for_ms == 0 && !c->after.set;
    switch (c->kind) {
    case ES_COND_ALL:
        c->starts_pass = at_once && passing == c->part_count;
        break;
    case ES_COND_ANY:
        c->starts_pass = at_once && passing > 0;
        break;
    case ES_COND_NOT:
        c->starts_pass = at_once && passing == 0;
        break;
    case ES_COND_AT_LEAST:
        c->starts_pass = at_once && passing >= (size_t)c->least;
        break;
    case ES_COND_PROBE:
    case ES_COND_FACT:
        break;
    }
}

/* Parts of a service's condition start as it does, so far as that follows. */
static void start_parts(struct load *ld, struct es_condition *conditions,
                        const int *order, size_t count)
{
    for (size_t i = 0; i < ld->s->services_count; i++) {
        int c = ld->s->services[i].condition;
        if (c >= 0 && !ld->starts_set[c])
            conditions[c].starts_pass = ld->starts_set[c] = true;
    }
    for (size_t i = count; i-- > 0;) {
        const struct es_condition *c = &conditions[order[i]];
        if (!ld->starts_set[order[i]] || !c->starts_pass || c->kind != ES_COND_ALL)
            continue;
        for (size_t k = 0; k < c->part_count; k++) {
            int part = c->parts[k];
            if (part >= 0 && !ld->starts_set[part])
                conditions[part].starts_pass = ld->starts_set[part] = true;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (!ld->starts_set[order[i]])
            find_start(conditions, &conditions[order[i]]);
}

void graph_order(struct load *ld)
{
    struct es_scenario *s = ld->s;
    struct graph g = {.ld = ld, .objectives = (int)s->conditions_count};
    g.begins = g.objectives + (int)s->objectives_count;
    g.ends = g.begins + (int)s->phases_count;
    g.count = g.ends + (int)s->phases_count;
    size_t room = (size_t)g.count + 1;
    unsigned char *marks = es_arena_alloc(&ld->temp, room);
    struct visit *stack = es_arena_alloc(&ld->temp, room * sizeof *stack);
    int *order = load_alloc(ld, s->conditions_count, sizeof *order);
    struct es_condition *conditions = (struct es_condition *)(uintptr_t)s->conditions;
    size_t count = 0;
    if (marks == NULL || stack == NULL || order == NULL)
        return;
    for (int i = 0; i < g.count; i++)
        visit_from(&g, i, marks, stack, order, &count);
    ES_ASSERT(count == s->conditions_count);
    s->condition_order = order;
    for (size_t i = 0; i < count; i++)
        find_trust(&g, conditions, order[i]);
    if (ld->starts_set != NULL)
        start_parts(ld, conditions, order, count);
}
