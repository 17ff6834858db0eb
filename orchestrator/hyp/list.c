/* What is there of ours. */
#include <string.h>

#include "enshu/common/str.h"
#include "list.h"

static int add(struct es_hyp_objects *list, const struct es_hyp_object *object,
               struct es_err *err)
{
    if (list->count == list->cap) {
        size_t cap = list->cap != 0 ? list->cap * 2 : 32;
        struct es_hyp_object *grown = es_grow(list->items, cap, sizeof *grown);
        if (grown == NULL)
            return es_err_nomem(err);
        list->items = grown;
        list->cap = cap;
    }
    list->items[list->count++] = *object;
    return 0;
}

static bool wanted(const char *range, const char *of)
{
    return range == NULL || strcmp(range, of) == 0;
}

static void fill(struct es_hyp_object *object, enum es_hyp_kind kind, const char *name,
                 const struct es_hyp_meta *meta)
{
    object->kind = kind;
    memcpy(object->range, meta->range, sizeof object->range);
    memcpy(object->node, meta->node, sizeof object->node);
    object->team = meta->team;
    object->instance = meta->instance;
    object->forked = meta->forked;
    /* One of ours with a name that is too long was renamed: it cannot be. */
    if (es_str_printf(object->name, sizeof object->name, "%s", name) != 0)
        object->name[0] = '\0';
}

/* Objects that vanish while they are looked at are left out. */
static int add_machine(struct es_hyp_objects *list, const char *range, virDomainPtr dom,
                       struct es_err *err)
{
    struct es_hyp_object object = {0};
    struct es_hyp_meta meta;
    int state = 0;
    const char *name = virDomainGetName(dom);
    if (!es_str_starts(name, "es-"))
        return 0;
    int rc = es_hyp_domain_meta(dom, &meta, err);
    if (rc != 0 || !wanted(range, meta.range))
        return rc == ES_ENOENT ? 0 : rc;
    ES_HYP_TRY(rc, err, "look at machine", name, -1,
               virDomainGetState(dom, &state, NULL, 0));
    if (rc != 0)
        return es_hyp_last_code() == VIR_ERR_NO_DOMAIN ? 0 : rc;
    fill(&object, ES_HYP_MACHINE, name, &meta);
    virDomainGetUUIDString(dom, object.uuid);
    object.paused = state == VIR_DOMAIN_PAUSED;
    object.running = state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED;
    return add(list, &object, err);
}

int es_hyp_list_machines(virConnectPtr conn, const char *range,
                         struct es_hyp_objects *list, struct es_err *err)
{
    virDomainPtr *doms = NULL;
    int rc, count = 0;
    ES_HYP_TRY(rc, err, "list machines", "", -1,
               count = virConnectListAllDomains(conn, &doms, 0));
    for (int i = 0; i < count; i++) {
        if (rc == 0)
            rc = add_machine(list, range, doms[i], err);
        virDomainFree(doms[i]);
    }
    free(doms); /* from libvirt */
    return rc;
}

static int add_network(struct es_hyp_objects *list, const char *range, virNetworkPtr net,
                       struct es_err *err)
{
    struct es_hyp_object object = {0};
    struct es_hyp_meta meta;
    int active = 0;
    const char *name = virNetworkGetName(net);
    if (!es_str_starts(name, "es-"))
        return 0;
    int rc = es_hyp_network_meta(net, &meta, err);
    if (rc != 0 || !wanted(range, meta.range))
        return rc == ES_ENOENT ? 0 : rc;
    ES_HYP_TRY(rc, err, "look at network", name, -1, active = virNetworkIsActive(net));
    if (rc != 0)
        return es_hyp_last_code() == VIR_ERR_NO_NETWORK ? 0 : rc;
    fill(&object, ES_HYP_NETWORK, name, &meta);
    virNetworkGetUUIDString(net, object.uuid);
    object.running = active == 1;
    return add(list, &object, err);
}

int es_hyp_list_networks(virConnectPtr conn, const char *range,
                         struct es_hyp_objects *list, struct es_err *err)
{
    virNetworkPtr *nets = NULL;
    int rc, count = 0;
    ES_HYP_TRY(rc, err, "list networks", "", -1,
               count = virConnectListAllNetworks(conn, &nets, 0));
    for (int i = 0; i < count; i++) {
        if (rc == 0)
            rc = add_network(list, range, nets[i], err);
        virNetworkFree(nets[i]);
    }
    free(nets); /* from libvirt */
    return rc;
}

static int add_pool(struct es_hyp_objects *list, const char *range,
                    virStoragePoolPtr pool, struct es_err *err)
{
    struct es_hyp_object object = {.kind = ES_HYP_POOL, .team = -1};
    int rc, active = 0;
    if (!es_hyp_pool_is_ours(pool, object.range) || !wanted(range, object.range))
        return 0;
    es_hyp_pool_name(object.name, object.range);
    virStoragePoolGetUUIDString(pool, object.uuid);
    ES_HYP_TRY(rc, err, "look at pool", object.name, -1,
               active = virStoragePoolIsActive(pool));
    if (rc != 0)
        return es_hyp_last_code() == VIR_ERR_NO_STORAGE_POOL ? 0 : rc;
    object.running = active == 1;
    return add(list, &object, err);
}

static int list_pools(virConnectPtr conn, const char *range, struct es_hyp_objects *list,
                      struct es_err *err)
{
    virStoragePoolPtr *pools = NULL;
    int rc, count = 0;
    ES_HYP_TRY(rc, err, "list pools", "", -1,
               count = virConnectListAllStoragePools(conn, &pools, 0));
    for (int i = 0; i < count; i++) {
        if (rc == 0)
            rc = add_pool(list, range, pools[i], err);
        virStoragePoolFree(pools[i]);
    }
    free(pools); /* from libvirt */
    return rc;
}

/* ------------------------------------------------------------------ the call */

struct list_job {
    struct es_hyp_job job;
    struct es_hyp_objects list;
    bool all;
    char range[ES_NAME_MAX + 1];
    void (*on_list)(void *ctx, int status, const struct es_hyp_object *objects,
                    size_t count, const struct es_err *err);
};

static int run_list(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct list_job *job = (struct list_job *)base;
    const char *range = job->all ? NULL : job->range;
    int rc = es_hyp_list_machines(conn, range, &job->list, err);
    if (rc == 0)
        rc = es_hyp_list_networks(conn, range, &job->list, err);
    if (rc == 0)
        rc = list_pools(conn, range, &job->list, err);
    return rc;
}

static void finish_list(struct es_hyp_job *base)
{
    struct list_job *job = (struct list_job *)base;
    bool ok = base->status == 0;
    job->on_list(base->ctx, base->status, ok ? job->list.items : NULL,
                 ok ? job->list.count : 0, ok ? NULL : &base->err);
}

static void destroy_list(struct es_hyp_job *base)
{
    es_free(((struct list_job *)base)->list.items);
    es_free(base);
}

int es_hyp_list(struct es_hyp *hyp, const char *range,
                void (*on_list)(void *ctx, int status,
                                const struct es_hyp_object *objects, size_t count,
                                const struct es_err *err),
                void *ctx)
{
    struct list_job *job = es_hyp_job_new(hyp, sizeof *job, run_list, NULL, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->job.finish = finish_list;
    job->job.destroy = destroy_list;
    job->on_list = on_list;
    job->all = range == NULL;
    if (range != NULL && es_str_printf(job->range, sizeof job->range, "%s", range) != 0)
        job->job.status =
            es_err_set(&job->job.err, ES_EINVAL, "%s is no range name", range);
    es_hyp_submit(hyp, &job->job);
    return 0;
}
