/* CPU shares: each group of machines is a cgroup below the one that this process was
 * given. */
#include <string.h>

#include "enshu/cgroup.h"
#include "enshu/common/str.h"
#include "hyp_inner.h"
#include "usage.h"

struct share_job {
    struct es_hyp_job job;
    struct es_hyp_share *shares;
    size_t count;
};

static int run_share(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct share_job *job = (struct share_job *)base;
    struct es_hyp_processes list = {0};
    struct es_cgroup group;
    (void)conn;
    int rc = es_hyp_is_local(base->hyp)
                 ? es_cgroup_find(base->hyp->root, 0, &group, err)
                 : es_err_set(err, ES_ENOTSUP, "the hypervisor is on another host");
    if (rc == 0)
        rc = es_hyp_processes(base->hyp->root, &list, err);
    for (size_t i = 0; i < list.count && rc == 0; i++)
        for (size_t k = 0; k < job->count && rc == 0; k++)
            if (es_str_eq(job->shares[k].name, list.items[i].name))
                rc = es_cgroup_put(&group, job->shares[k].group, list.items[i].pid, err);
    if (rc == 0)
        es_cgroup_sweep(&group, "es-");
    es_free(list.items);
    return rc;
}

static void destroy_share(struct es_hyp_job *base)
{
    es_free(((struct share_job *)base)->shares);
    es_free(base);
}

int es_hyp_share(struct es_hyp *hyp, const struct es_hyp_share *shares, size_t count,
                 es_hyp_done done, void *ctx)
{
    struct share_job *job = es_hyp_job_new(hyp, sizeof *job, run_share, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->job.destroy = destroy_share;
    job->count = count;
    job->shares = es_calloc(count + 1, sizeof *job->shares);
    if (job->shares == NULL)
        job->job.status = es_err_nomem(&job->job.err);
    else
        memcpy(job->shares, shares, count * sizeof *shares);
    es_hyp_submit(hyp, &job->job);
    return 0;
}
