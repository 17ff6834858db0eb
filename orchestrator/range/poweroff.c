/* Machines whose disks are kept are switched off, not destroyed: what their guests had not
 * yet written is on the disk then. */
#include "inner.h"
#include "programme.h"

#define OFF_LIMIT_MS 60000

struct poweroff {
    struct range *range;
    size_t waiting;
    void (*done)(void *arg);
    void *arg;
};

static void arrived(struct poweroff *p)
{
    if (--p->waiting > 0)
        return;
    p->done(p->arg);
    es_free(p);
}

static void on_off(struct machine *m, bool ok, const struct es_err *err)
{
    if (!ok)
        es_log_warn("%s: %s", m->label, err->msg);
    arrived(m->settled_arg);
}

/* It is destroyed then. */
static void on_limit(struct machine *m)
{
    struct es_err err = {0};
    es_err_set(&err, ES_ETIMEDOUT, "it did not switch off within %d s",
               OFF_LIMIT_MS / 1000);
    machine_set(m, M_DOWN, err.msg);
    machine_settle(m, false, &err);
}

/* Its end is what counts. */
static void on_asked(void *ctx, int status, const struct es_err *err)
{
    struct machine *m = ctx;
    (void)status;
    (void)err;
    range_release(m->range);
}

static void switch_off(struct poweroff *p, struct machine *m)
{
    struct es_err err = {0};
    p->waiting++;
    machine_set(m, M_STOPPING, "switching off");
    m->on_settled = on_off;
    m->settled_arg = p;
    machine_timer(m, OFF_LIMIT_MS, on_limit);
    if (m->link != NULL && es_link_state(m->link) == ES_LINK_UP &&
        machine_call(m, ES_OP_POWER, json_pack("{s:s}", "do", "off"), OFF_LIMIT_MS, 1024,
                     NULL, NULL, &err) == 0)
        return;
    range_hold(m->range); /* no agent: the power button */
    hyp_submit(es_hyp_machine_stop(m->range->core->hyp, m->plan->name, true, on_asked, m),
               on_asked, m);
}

void range_switch_off_kept(struct range *r, void (*done)(void *arg), void *arg)
{
    struct poweroff *p = es_calloc(1, sizeof *p);
    if (p == NULL) {
        done(arg);
        return;
    }
    *p = (struct poweroff){.range = r, .waiting = 1, .done = done, .arg = arg};
    for (size_t i = 0; i < r->machine_count; i++)
        if (machine_is_kept(&r->machines[i]) && machine_state(&r->machines[i]) == M_READY)
            switch_off(p, &r->machines[i]);
    arrived(p);
}
