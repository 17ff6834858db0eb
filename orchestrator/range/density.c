/* See density.h. */
#include "density.h"

#include "enshu/common/err.h"

const char *density_level_name(enum density_level level)
{
    static const char *const names[] = {"calm", "tight", "short"};
    ES_ASSERT((size_t)level < ES_COUNT(names));
    return names[level];
}

int density_rank(const struct density_role *role)
{
    if (role->fixed)
        return 0;
    if (!role->in_play)
        return 4;
    if (!role->observed)
        return role->hidden ? 3 : 2;
    return 1;
}

/* ---------------------------------------------------------------- how bad it is */

/* What is not told never counts against anyone. */
static bool below(const struct density_sample *s, int64_t share_num, int64_t share_den)
{
    return s->available_bytes > 0 &&
           s->available_bytes < s->reserve_bytes * share_num / share_den;
}

static bool is_short(const struct density_sample *s)
{
    return s->some >= DENSITY_SHORT_SOME || s->full >= DENSITY_SHORT_FULL ||
           below(s, 1, 4);
}

static bool is_tight(const struct density_sample *s)
{
    return s->some >= DENSITY_TIGHT_SOME || s->full >= DENSITY_TIGHT_FULL ||
           below(s, 1, 2);
}

/* Well below every mark. */
static bool is_calm(const struct density_sample *s)
{
    return s->some < DENSITY_TIGHT_SOME / 2 && s->full < DENSITY_TIGHT_FULL / 2 &&
           !below(s, 3, 4);
}

static void judge(struct density_state *state, const struct density_sample *s)
{
    state->calm_ms = !is_calm(s) ? 0 : state->calm_ms != 0 ? state->calm_ms : s->now_ms;
    state->short_ms = !is_short(s)           ? 0
                      : state->short_ms != 0 ? state->short_ms
                                             : s->now_ms;
    if (state->short_ms != 0)
        state->level = DENSITY_SHORT;
    else if (is_tight(s) || state->level == DENSITY_SHORT)
        state->level = DENSITY_TIGHT;
    if (state->level != DENSITY_CALM && state->calm_ms != 0 &&
        s->now_ms - state->calm_ms >= DENSITY_CALM_MS)
        state->level = DENSITY_CALM;
}

/* ---------------------------------------------------------------- who */

static int least_important(const struct density_machine *machines, size_t count)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        const struct density_machine *m = &machines[i];
        if (!m->runs || m->suspended || m->rank == 0)
            continue;
        if (best < 0 || m->rank > machines[best].rank ||
            (m->rank == machines[best].rank &&
             m->private_bytes > machines[best].private_bytes))
            best = (int)i;
    }
    return best;
}

static int most_important(const struct density_machine *machines, size_t count)
{
    int best = -1;
    for (size_t i = 0; i < count; i++) {
        const struct density_machine *m = &machines[i];
        if (!m->suspended)
            continue;
        if (best < 0 || m->rank < machines[best].rank ||
            (m->rank == machines[best].rank &&
             m->private_bytes < machines[best].private_bytes))
            best = (int)i;
    }
    return best;
}

void density_step(struct density_state *state, const struct density_sample *s,
                  const struct density_machine *machines, size_t count,
                  struct density_act *act)
{
    ES_ASSERT(s->now_ms > 0 && s->now_ms >= state->acted_ms);
    judge(state, s);
    *act = (struct density_act){
        .admit = state->level == DENSITY_CALM, .suspend = -1, .resume = -1};
    if (state->acted_ms != 0 && s->now_ms - state->acted_ms < DENSITY_REST_MS)
        return;
    if (state->level == DENSITY_SHORT && s->now_ms - state->short_ms >= DENSITY_HOLD_MS)
        act->suspend = least_important(machines, count);
    else if (state->level == DENSITY_CALM && state->calm_ms != 0)
        act->resume = most_important(machines, count);
    if (act->suspend >= 0 || act->resume >= 0)
        state->acted_ms = s->now_ms;
}
