/* What a range's machines stand on: the pool of its disks, then its networks. Both vanish
 * when the host is started anew; applying them again changes nothing that is there. */
#include "inner.h"

struct ground {
    struct range *range;
    bool moulds;
    size_t waiting;
    struct es_err first; /* the first failure */
    int status;
    void (*done)(struct range *r, int status, const struct es_err *err, void *arg);
    void *arg;
};

static void arrived(struct ground *g, int status, const struct es_err *err)
{
    if (status != 0 && g->status == 0) {
        g->status = status;
        g->first = *err;
        es_err_prefix(&g->first, "networks");
    }
    ES_ASSERT(g->waiting > 0);
    if (--g->waiting > 0)
        return;
    g->done(g->range, g->status, g->status != 0 ? &g->first : NULL, g->arg);
    es_free(g);
}

static void on_network(void *ctx, int status, const struct es_err *err)
{
    arrived(ctx, status, err);
}

static void on_pool(void *ctx, int status, const struct es_err *err)
{
    struct ground *g = ctx;
    struct range *r = g->range;
    if (status != 0) {
        g->status = status;
        g->first = *err;
        es_err_prefix(&g->first, "the folder for disks");
    }
    g->waiting = 1;
    for (size_t i = 0; i < r->plan->network_count && status == 0; i++) {
        if (r->plan->networks[i].team == 0 && !g->moulds)
            continue;
        g->waiting++;
        hyp_submit(es_hyp_network_apply(r->core->hyp, r->name, &r->plan->networks[i],
                                        on_network, g),
                   on_network, g);
    }
    arrived(g, 0, NULL);
}

void ground_apply(struct range *r, bool moulds,
                  void (*done)(struct range *r, int status, const struct es_err *err,
                               void *arg),
                  void *arg)
{
    char pool[PATH_BYTES + 16];
    struct es_err err = {0};
    struct ground *g = es_calloc(1, sizeof *g);
    if (g == NULL) {
        done(r, es_err_nomem(&err), &err, arg);
        return;
    }
    *g = (struct ground){.range = r, .moulds = moulds, .done = done, .arg = arg};
    es_str_printf(pool, sizeof pool, "%s/disks", r->dir);
    hyp_submit(es_hyp_pool_apply(r->core->hyp, r->name, pool, on_pool, g), on_pool, g);
}
