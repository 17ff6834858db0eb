/* CPU shares: each team's machines together get what another team's get, where the core may
 * divide a cgroup; of the system's libvirt each machine has a cgroup of libvirt's own. */
#include "capacity_inner.h"

static void group_of(const struct machine *m, char *dst, size_t size)
{
    if (m->plan->team > 0)
        es_str_printf(dst, size, "es-%s-t%02d", m->range->name, m->plan->team);
    else
        es_str_printf(dst, size, "es-%s-%s", m->range->name,
                      m->mould ? "mould" : "range");
}

static void on_shared(void *ctx, int status, const struct es_err *err)
{
    struct es_range_core *core = ctx;
    struct capacity *c = core->capacity;
    c->sharing = false;
    if (core->closing || status == ES_ECONN)
        return;
    if (status != 0 && c->shares != SHARES_NONE)
        es_log_info("processors are not shared by team: %s", err->msg);
    c->shares = status == 0 ? SHARES_TEAM : SHARES_NONE;
    es_str_printf(c->shares_why, sizeof c->shares_why, "%s", status != 0 ? err->msg : "");
}

static size_t lacking(const struct capacity *c, struct es_hyp_share *shares)
{
    size_t count = 0;
    ES_LIST_EACH (pos, tmp, &c->core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++) {
            struct machine *m = &r->machines[i];
            if (m->private_bytes == 0 || m->grouped)
                continue;
            if (shares != NULL) {
                es_str_printf(shares[count].name, sizeof shares->name, "%s",
                              m->plan->name);
                group_of(m, shares[count].group, sizeof shares->group);
                m->grouped = true;
            }
            count++;
        }
    }
    return count;
}

void shares_step(struct capacity *c)
{
    if (!c->core->embedded) {
        c->shares = SHARES_NONE;
        es_str_printf(c->shares_why, sizeof c->shares_why,
                      "libvirt gives each machine a cgroup");
        return;
    }
    size_t count = lacking(c, NULL);
    if (c->shares == SHARES_NONE || c->sharing || count == 0)
        return;
    struct es_hyp_share *shares = es_calloc(count, sizeof *shares);
    if (shares == NULL)
        return;
    lacking(c, shares);
    c->sharing = es_hyp_share(c->core->hyp, shares, count, on_shared, c->core) == 0;
    es_free(shares);
}
