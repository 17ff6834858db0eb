/* Solutions that go on from others: their steps are put before the solution's own. */
#include <stdio.h>
#include <string.h>

#include "room.h"

static void report(struct load *ld, const struct es_solution *solution, const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "solutions.%s.from", solution->name);
    load_error_at(ld, solution->pos, path, "%s", text);
}

static void join(struct load *ld, struct es_solution *solution,
                 const struct es_solution *from)
{
    size_t count = from->step_count + solution->step_count;
    if (count > ES_MAX_STEPS) {
        report(ld, solution, "too many steps, with those it goes on from");
        return;
    }
    struct es_solution_step *steps = load_alloc(ld, count, sizeof *steps);
    if (steps == NULL)
        return;
    if (from->step_count > 0)
        memcpy(steps, from->steps, from->step_count * sizeof *steps);
    if (solution->step_count > 0)
        memcpy(steps + from->step_count, solution->steps,
               solution->step_count * sizeof *steps);
    solution->steps = steps;
    solution->step_count = count;
}

/* Whether following `from` comes to an end. */
static bool ends(const struct es_scenario *s, size_t start)
{
    int at = (int)start;
    for (size_t hops = 0; hops <= s->solutions_count; hops++)
        if ((at = s->solutions[at].from) < 0)
            return true;
    return false;
}

void solutions_join(struct load *ld)
{
    const struct es_scenario *s = ld->s;
    struct es_solution *solutions = (struct es_solution *)(uintptr_t)s->solutions;
    bool *done = es_arena_alloc(&ld->temp, s->solutions_count + 1);
    if (done == NULL)
        return;
    for (size_t i = 0; i < s->solutions_count; i++)
        if (!ends(s, i)) {
            report(ld, &solutions[i], "goes on from itself");
            done[i] = true;
        } else if (solutions[i].from < 0) {
            done[i] = true;
        }
    /* Each round joins those whose predecessor is whole. */
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < s->solutions_count; i++) {
            if (done[i] || !done[solutions[i].from])
                continue;
            join(ld, &solutions[i], &solutions[solutions[i].from]);
            done[i] = moved = true;
        }
    }
}
