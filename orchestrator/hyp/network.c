/* Networks: bridges of their own, transient. */
#include <string.h>

#include "describe.h"
#include "enshu/common/str.h"

struct network_job {
    struct es_hyp_job job;
    char name[ES_PLAN_NAME_MAX], range[ES_NAME_MAX + 1], hash[33];
    struct es_buf xml;
};

int es_hyp_network_destroy(virNetworkPtr net, struct es_err *err)
{
    const char *name = virNetworkGetName(net);
    int rc, persistent = 0, active = 0;
    ES_HYP_TRY(rc, err, "look at network", name, -1,
               persistent = virNetworkIsPersistent(net));
    if (rc == 0)
        ES_HYP_TRY(rc, err, "look at network", name, -1,
                   active = virNetworkIsActive(net));
    if (rc == 0 && active == 1)
        ES_HYP_TRY(rc, err, "stop network", name, -1, virNetworkDestroy(net));
    if (rc == 0 && persistent == 1)
        ES_HYP_TRY(rc, err, "remove network", name, -1, virNetworkUndefine(net));
    return rc != 0 && es_hyp_last_code() == VIR_ERR_NO_NETWORK ? 0 : rc;
}

/* 1: it is there as wanted; 0: there is none (any more). */
static int make_way(struct network_job *job, virConnectPtr conn, struct es_err *err)
{
    virNetworkPtr net = NULL;
    struct es_hyp_meta meta;
    int rc, active = 0;
    ES_HYP_TRY(rc, err, "look up network", job->name, NULL,
               net = virNetworkLookupByName(conn, job->name));
    if (rc != 0)
        return es_hyp_last_code() == VIR_ERR_NO_NETWORK ? 0 : rc;
    rc = es_hyp_network_meta(net, &meta, err);
    if (rc == ES_ENOENT)
        rc =
            es_err_set(err, ES_EEXIST,
                       "network %s is there and is not enshu's; remove it or use another "
                       "range name",
                       job->name);
    else if (rc == 0 && strcmp(meta.range, job->range) != 0)
        rc = es_err_set(err, ES_EEXIST,
                        "network %s belongs to range %s; use another range name",
                        job->name, meta.range);
    if (rc == 0)
        ES_HYP_TRY(rc, err, "look at network", job->name, -1,
                   active = virNetworkIsActive(net));
    if (rc == 0 && active == 1 && strcmp(meta.hash, job->hash) == 0)
        rc = 1;
    else if (rc == 0)
        rc = es_hyp_network_destroy(net, err);
    virNetworkFree(net);
    return rc;
}

static int run_apply(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct network_job *job = (struct network_job *)base;
    virNetworkPtr net = NULL;
    int rc = make_way(job, conn, err);
    if (rc != 0)
        return rc > 0 ? 0 : rc;
    ES_HYP_TRY(rc, err, "start network", job->name, NULL,
               net = virNetworkCreateXML(conn, es_buf_str(&job->xml)));
    if (net != NULL)
        virNetworkFree(net);
    return rc;
}

static void destroy_job(struct es_hyp_job *base)
{
    struct network_job *job = (struct network_job *)base;
    es_buf_finish(&job->xml);
    es_free(job);
}

/* The network's name in the scenario: what follows the derived prefix. */
static const char *own_name(const char *range, const struct es_plan_network *network)
{
    char prefix[ES_PLAN_NAME_MAX];
    if (!es_str_is_name(range, ES_NAME_MAX))
        return NULL;
    es_plan_name(prefix, range, network->team, "");
    return es_str_starts(network->name, prefix) ? network->name + strlen(prefix) : NULL;
}

int es_hyp_network_apply(struct es_hyp *hyp, const char *range,
                         const struct es_plan_network *network, es_hyp_done done,
                         void *ctx)
{
    const char *node = own_name(range, network);
    if (node == NULL)
        return ES_EINVAL;
    struct network_job *job = es_hyp_job_new(hyp, sizeof *job, run_apply, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->job.destroy = destroy_job;
    es_buf_init(&job->xml, ES_HYP_XML_MAX);
    memcpy(job->name, network->name, sizeof job->name);
    memcpy(job->range, range, strlen(range) + 1);
    job->job.status =
        es_hyp_network_xml(range, network, node, &job->xml, job->hash, &job->job.err);
    es_hyp_submit(hyp, &job->job);
    return 0;
}
