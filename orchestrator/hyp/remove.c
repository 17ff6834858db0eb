/* Taking a range down: its machines side by side (an end may take a second each), then
 * networks and disks, then the pool. A failure does not stop the others of its kind; the
 * first one is reported, and calling again goes on. */
#include <string.h>

#include "describe.h"
#include "enshu/common/str.h"
#include "list.h"

struct removal {
    char range[ES_NAME_MAX + 1];
    struct es_hyp *hyp;
    es_hyp_done done;
    void *ctx;
    struct es_hyp_objects machines;
    size_t pending;
    int status; /* the first failure */
    struct es_err err;
};

struct removal_job {
    struct es_hyp_job job;
    struct removal *removal;
    size_t machine;
};

static void note(struct removal *r, int status, const struct es_err *err)
{
    if (status == 0 || r->status != 0)
        return;
    r->status = status;
    r->err = *err;
}

static void end(struct removal *r)
{
    if (r->done != NULL)
        r->done(r->ctx, r->status, r->status != 0 ? &r->err : NULL);
    es_free(r->machines.items);
    es_free(r);
}

static int submit(struct removal *r,
                  int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                             struct es_err *err),
                  void (*finish)(struct es_hyp_job *job), size_t machine)
{
    struct removal_job *job = es_hyp_job_new(r->hyp, sizeof *job, run, NULL, NULL);
    if (job == NULL)
        return ES_ENOMEM;
    job->removal = r;
    job->machine = machine;
    job->job.finish = finish;
    es_hyp_submit(r->hyp, &job->job);
    return 0;
}

/* ------------------------------------------------------------------ [worker] */

static int run_list(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct removal *r = ((struct removal_job *)base)->removal;
    return es_hyp_list_machines(conn, r->range, &r->machines, err);
}

static int run_machine(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct removal_job *job = (struct removal_job *)base;
    struct es_hyp_meta meta;
    virDomainPtr dom;
    const char *name = job->removal->machines.items[job->machine].name;
    int rc = es_hyp_domain_ours(conn, name, &dom, &meta, err);
    if (rc != 0)
        return rc == ES_ENOENT ? 0 : rc;
    rc = es_hyp_domain_destroy(dom, err);
    virDomainFree(dom);
    return rc;
}

/* Keeps the first error of several steps. */
static void keep_first(int *status, struct es_err *first, int rc,
                       const struct es_err *err)
{
    if (rc == 0 || *status != 0)
        return;
    *status = rc;
    *first = *err;
}

static int remove_networks(virConnectPtr conn, const char *range, struct es_err *err)
{
    struct es_hyp_objects list = {0};
    int status = es_hyp_list_networks(conn, range, &list, err);
    for (size_t i = 0; i < list.count; i++) {
        struct es_err one = {0};
        virNetworkPtr net = NULL;
        int rc;
        ES_HYP_TRY(rc, &one, "look up network", list.items[i].name, NULL,
                   net = virNetworkLookupByUUIDString(conn, list.items[i].uuid));
        if (rc == 0)
            rc = es_hyp_network_destroy(net, &one);
        else if (es_hyp_last_code() == VIR_ERR_NO_NETWORK)
            rc = 0;
        if (net != NULL)
            virNetworkFree(net);
        keep_first(&status, err, rc, &one);
    }
    es_free(list.items);
    return status;
}

static int remove_volumes(virStoragePoolPtr pool, const char *name, int *active,
                          struct es_err *err)
{
    virStorageVolPtr *vols = NULL;
    int status, count = 0;
    ES_HYP_TRY(status, err, "refresh pool", name, -1, virStoragePoolRefresh(pool, 0));
    if (status != 0 && es_hyp_last_code() == VIR_ERR_SYSTEM_ERROR &&
        virStoragePoolIsActive(pool) != 1) {
        *active = 0; /* its folder is gone, and libvirt has stopped it */
        return 0;
    }
    if (status == 0)
        ES_HYP_TRY(status, err, "list the volumes of pool", name, -1,
                   count = virStoragePoolListAllVolumes(pool, &vols, 0));
    for (int i = 0; i < count; i++) {
        struct es_err one = {0};
        int rc;
        ES_HYP_TRY(rc, &one, "remove volume", virStorageVolGetName(vols[i]), -1,
                   virStorageVolDelete(vols[i], 0));
        if (rc != 0 && es_hyp_last_code() == VIR_ERR_NO_STORAGE_VOL)
            rc = 0;
        keep_first(&status, err, rc, &one);
        virStorageVolFree(vols[i]);
    }
    free(vols); /* from libvirt */
    return status;
}

static int remove_pool(virConnectPtr conn, const char *range, struct es_err *err)
{
    char name[ES_PLAN_NAME_MAX], of[ES_NAME_MAX + 1];
    virStoragePoolPtr pool = NULL;
    int rc, active = 0, persistent = 0;
    es_hyp_pool_name(name, range);
    ES_HYP_TRY(rc, err, "look up pool", name, NULL,
               pool = virStoragePoolLookupByName(conn, name));
    if (rc != 0)
        return es_hyp_last_code() == VIR_ERR_NO_STORAGE_POOL ? 0 : rc;
    if (!es_hyp_pool_is_ours(pool, of)) {
        virStoragePoolFree(pool);
        return 0;
    }
    ES_HYP_TRY(rc, err, "look at pool", name, -1, active = virStoragePoolIsActive(pool));
    if (rc == 0 && active == 1)
        rc = remove_volumes(pool, name, &active, err);
    if (rc == 0)
        ES_HYP_TRY(rc, err, "look at pool", name, -1,
                   persistent = virStoragePoolIsPersistent(pool));
    if (rc != 0 && es_hyp_last_code() == VIR_ERR_NO_STORAGE_POOL)
        rc = 0; /* a transient one went with its folder */
    if (rc == 0 && active == 1)
        ES_HYP_TRY(rc, err, "stop pool", name, -1, virStoragePoolDestroy(pool));
    if (rc == 0 && persistent == 1)
        ES_HYP_TRY(rc, err, "remove pool", name, -1, virStoragePoolUndefine(pool));
    virStoragePoolFree(pool);
    return rc;
}

static int run_rest(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct removal *r = ((struct removal_job *)base)->removal;
    struct es_err one = {0};
    int status = remove_networks(conn, r->range, err);
    keep_first(&status, err, remove_pool(conn, r->range, &one), &one);
    return status;
}

/* ------------------------------------------------------------------ [loop] */

static void on_rest(struct es_hyp_job *base)
{
    struct removal *r = ((struct removal_job *)base)->removal;
    note(r, base->status, &base->err);
    end(r);
}

static void machine_done(struct removal *r)
{
    ES_ASSERT(r->pending > 0);
    if (--r->pending > 0)
        return;
    /* Disks of a machine that still runs are not taken from under it. */
    if (r->status == 0 && submit(r, run_rest, on_rest, 0) != 0) {
        struct es_err err = {0};
        note(r, es_err_nomem(&err), &err);
    }
    if (r->status != 0)
        end(r);
}

static void on_machine(struct es_hyp_job *base)
{
    struct removal *r = ((struct removal_job *)base)->removal;
    note(r, base->status, &base->err);
    machine_done(r);
}

static void on_listed(struct es_hyp_job *base)
{
    struct removal *r = ((struct removal_job *)base)->removal;
    note(r, base->status, &base->err);
    r->pending = 1; /* this walk itself */
    for (size_t i = 0; i < r->machines.count; i++) {
        struct es_err err = {0};
        r->pending++;
        if (submit(r, run_machine, on_machine, i) == 0)
            continue;
        r->pending--;
        note(r, es_err_nomem(&err), &err);
    }
    machine_done(r);
}

int es_hyp_range_remove(struct es_hyp *hyp, const char *range, es_hyp_done done,
                        void *ctx)
{
    struct removal *r = es_calloc(1, sizeof *r);
    if (r == NULL)
        return ES_ENOMEM;
    r->hyp = hyp;
    r->done = done;
    r->ctx = ctx;
    int rc = es_str_is_name(range, ES_NAME_MAX) ? 0 : ES_EINVAL;
    if (rc == 0) {
        memcpy(r->range, range, strlen(range) + 1);
        rc = submit(r, run_list, on_listed, 0);
    }
    if (rc != 0)
        es_free(r);
    return rc;
}
