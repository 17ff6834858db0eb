/* Machines that stand still while memory is short, as density.h decides: the link is
 * closed, the ledger says that it is our fault, so that nothing resting on them counts
 * against a team; then QEMU is stopped where it is. When memory is there again it goes on,
 * and its guest's clock is set. */
#include <string.h>

#include "capacity_inner.h"

static void go_on(struct machine *m, const char *cause)
{
    struct es_err err = {0};
    machine_set(m, M_READY, "");
    m->clock_stale = true;
    range_machine_event(m, ES_MEV_READY, cause);
    if (m->link == NULL && machine_open_link(m, &err) != 0)
        machine_gone(m, true, err.msg);
    machine_settle(m, true, NULL);
}

static void on_suspended(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    m->pausing = false;
    if (range_release(m->range) || machine_state(m) != M_SUSPENDED || status == 0)
        return;
    es_log_warn("%s: cannot be suspended: %s", m->label, err->msg);
    if (status != ES_ENOENT && status != ES_ECONN)
        go_on(m, "could not be suspended");
}

static void suspend(struct machine *m)
{
    static const char cause[] = "suspended: the host is short of memory";
    es_log_warn("%s: %s; it keeps %lld MiB", m->label, cause,
                (long long)(m->private_bytes >> 20));
    machine_set(m, M_SUSPENDED, cause);
    machine_close_link(m);
    range_machine_event(m, ES_MEV_FAULT, cause);
    m->pausing = true;
    range_hold(m->range);
    hyp_submit(
        es_hyp_machine_suspend(m->range->core->hyp, m->plan->name, on_suspended, m),
        on_suspended, m);
}

static void on_resumed(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    m->pausing = false;
    if (range_release(m->range) || machine_state(m) != M_SUSPENDED)
        return;
    if (status != 0) /* stays suspended; the next turn tries again */
        es_log_warn("%s: cannot be resumed: %s", m->label, err->msg);
    else
        go_on(m, "resumed: the host has memory again");
}

static void resume(struct machine *m)
{
    es_log_info("%s: resumed: the host has memory again", m->label);
    m->pausing = true;
    range_hold(m->range);
    hyp_submit(es_hyp_machine_resume(m->range->core->hyp, m->plan->name, on_resumed, m),
               on_resumed, m);
}

void capacity_adopt(struct machine *m)
{
    m->own_done = true;
    machine_set(m, M_SUSPENDED, "suspended before the core ended");
}

/* ---------------------------------------------------------------- the step */

static struct density_machine look_at(const struct machine *m)
{
    const struct range *r = m->range;
    unsigned roles = r->roles[m->plan->node];
    const struct density_role role = {.fixed = m->mould || (roles & ROLE_FIXED) != 0,
                                      .in_play = r->clock.state == ES_CLOCK_RUNNING,
                                      .observed = (roles & ROLE_OBSERVED) != 0,
                                      .hidden = m->node->hidden};
    enum machine_state state = machine_state(m);
    bool free_now = r->phase == R_UP && !r->taking_down && !r->rehearsal_busy &&
                    !m->resetting && !m->pausing && m->on_settled == NULL;
    return (struct density_machine){.rank = density_rank(&role),
                                    .runs = free_now && state == M_READY,
                                    .suspended = !m->pausing && state == M_SUSPENDED &&
                                                 !r->taking_down && !m->resetting,
                                    .private_bytes = m->private_bytes};
}

static bool make_room(struct capacity *c, size_t count)
{
    if (count <= c->list_cap)
        return true;
    struct machine **list = es_grow(c->list, count, sizeof *list);
    c->list = list != NULL ? list : c->list;
    struct density_machine *machines = es_grow(c->machines, count, sizeof *machines);
    c->machines = machines != NULL ? machines : c->machines;
    if (list == NULL || machines == NULL)
        return false;
    c->list_cap = count;
    return true;
}

static size_t fill(struct capacity *c)
{
    size_t count = 0, at = 0;
    ES_LIST_EACH (pos, tmp, &c->core->ranges)
        count += ES_CONTAINER(pos, struct range, link)->machine_count;
    if (!make_room(c, count))
        return 0;
    ES_LIST_EACH (pos, tmp, &c->core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++, at++) {
            c->list[at] = &r->machines[i];
            c->machines[at] = look_at(&r->machines[i]);
        }
    }
    return count;
}

static void tell_level(struct capacity *c, enum density_level before)
{
    if (c->state.level == before)
        return;
    es_log_info("memory of the host is %s: %lld MiB available, pressure %d.%02d %%",
                density_level_name(c->state.level),
                (long long)(c->host.memory_bytes >> 20), c->memory.some / 100,
                c->memory.some > 0 ? c->memory.some % 100 : 0);
    ES_LIST_EACH (pos, tmp, &c->core->ranges)
        range_changed(ES_CONTAINER(pos, struct range, link));
}

void suspend_step(struct capacity *c)
{
    const struct density_sample sample = {.now_ms = c->now_ms,
                                          .some = c->memory.some,
                                          .full = c->memory.full,
                                          .available_bytes = c->host.memory_bytes,
                                          .reserve_bytes = es_plan_reserve(&c->host)};
    enum density_level before = c->state.level;
    struct density_act act;
    size_t count = fill(c);
    density_step(&c->state, &sample, c->machines, count, &act);
    c->admit = act.admit;
    tell_level(c, before);
    if (act.suspend >= 0)
        suspend(c->list[act.suspend]);
    if (act.resume >= 0)
        resume(c->list[act.resume]);
}
