/* What the host has and which versions serve it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hyp_inner.h"

struct info_job {
    struct es_hyp_job job;
    struct es_hyp_info info;
    void (*on_info)(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *err);
};

static void version_text(unsigned long version, char dst[24])
{
    snprintf(dst, 24, "%lu.%lu.%lu", version / 1000000, version / 1000 % 1000,
             version % 1000);
}

/* Free for guests: unused, and what the page cache gives back. */
static int64_t free_memory(virConnectPtr conn)
{
    virNodeMemoryStats stats[16];
    int count = 0; /* asked for first: any other number than its own is refused */
    unsigned long long kib = 0;
    if (virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, NULL, &count, 0) !=
            0 ||
        count <= 0 || count > (int)ES_COUNT(stats) ||
        virNodeGetMemoryStats(conn, VIR_NODE_MEMORY_STATS_ALL_CELLS, stats, &count, 0) !=
            0)
        return (int64_t)virNodeGetFreeMemory(conn);
    for (int i = 0; i < count; i++)
        if (strcmp(stats[i].field, VIR_NODE_MEMORY_STATS_TOTAL) != 0)
            kib += stats[i].value;
    return (int64_t)kib << 10;
}

static int run_info(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct es_hyp_info *info = &((struct info_job *)base)->info;
    virNodeInfo node;
    unsigned long version = 0;
    const char *type = NULL;
    char *caps = NULL;
    int rc;
    ES_HYP_TRY(rc, err, "look at", "the host", -1, virNodeGetInfo(conn, &node));
    if (rc != 0)
        return rc;
    info->host.cpus = node.cpus;
    info->host.memory_bytes = free_memory(conn);
    if (info->host.memory_bytes == 0) /* not told: all of it */
        info->host.memory_bytes = (int64_t)node.memory << 10;
    ES_HYP_TRY(rc, err, "ask for", "libvirt's version", -1,
               virConnectGetLibVersion(conn, &version));
    if (rc != 0)
        return rc;
    version_text(version, info->libvirt_version);
    ES_HYP_TRY(rc, err, "ask for", "the hypervisor's kind", NULL,
               type = virConnectGetType(conn));
    if (rc != 0)
        return rc;
    snprintf(info->hypervisor, sizeof info->hypervisor, "%s", type);
    ES_HYP_TRY(rc, err, "ask for", "the hypervisor's version", -1,
               virConnectGetVersion(conn, &version));
    if (rc != 0)
        return rc;
    version_text(version, info->qemu_version);
    ES_HYP_TRY(rc, err, "ask for", "the host's capabilities", NULL,
               caps = virConnectGetCapabilities(conn));
    if (rc == 0)
        info->kvm_advertised = strstr(caps, "<domain type='kvm'") != NULL;
    free(caps); /* from libvirt */
    return rc;
}

static void finish_info(struct es_hyp_job *base)
{
    struct info_job *job = (struct info_job *)base;
    bool ok = base->status == 0;
    job->on_info(base->ctx, base->status, ok ? &job->info : NULL, ok ? NULL : &base->err);
}

int es_hyp_info(struct es_hyp *hyp,
                void (*on_info)(void *ctx, int status, const struct es_hyp_info *info,
                                const struct es_err *err),
                void *ctx)
{
    struct info_job *job = es_hyp_job_new(hyp, sizeof *job, run_info, NULL, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->on_info = on_info;
    job->job.finish = finish_info;
    es_hyp_submit(hyp, &job->job);
    return 0;
}
