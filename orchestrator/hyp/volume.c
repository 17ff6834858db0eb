/* Disks: a directory pool for each range, qcow2 overlays in it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "describe.h"
#include "enshu/common/str.h"
#include "xml.h"

struct volume_job {
    struct es_hyp_job job;
    char range[ES_NAME_MAX + 1], pool[ES_PLAN_NAME_MAX];
    char name[ES_PLAN_NAME_MAX + 32]; /* a machine's name and an ending */
    char *path;                       /* of the pool */
    bool renew;
    struct es_buf xml;
};

static void destroy_job(struct es_hyp_job *base)
{
    struct volume_job *job = (struct volume_job *)base;
    es_buf_finish(&job->xml);
    es_free(job->path);
    es_free(job);
}

static struct volume_job *make_job(struct es_hyp *hyp, const char *range,
                                   const char *name,
                                   int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                                              struct es_err *err),
                                   es_hyp_done done, void *ctx)
{
    struct volume_job *job = es_hyp_job_new(hyp, sizeof *job, run, done, ctx);
    if (job == NULL)
        return NULL;
    job->job.destroy = destroy_job;
    es_buf_init(&job->xml, ES_HYP_XML_MAX);
    if (!es_str_is_name(range, ES_NAME_MAX) ||
        es_str_printf(job->name, sizeof job->name, "%s", name) != 0 ||
        strchr(name, '/') != NULL)
        job->job.status = es_err_set(&job->job.err, ES_EINVAL,
                                     "volume %s of range %s: not a name", name, range);
    else
        memcpy(job->range, range, strlen(range) + 1);
    es_hyp_pool_name(job->pool, job->range);
    return job;
}

/* ------------------------------------------------------------------ pools */

static int find_pool(virConnectPtr conn, const char *name, virStoragePoolPtr *ret_pool,
                     struct es_err *err)
{
    char range[ES_NAME_MAX + 1];
    virStoragePoolPtr pool = NULL;
    int rc;
    ES_HYP_TRY(rc, err, "look up pool", name, NULL,
               pool = virStoragePoolLookupByName(conn, name));
    if (rc != 0 && es_hyp_last_code() == VIR_ERR_NO_STORAGE_POOL)
        return es_err_set(err, ES_ENOENT, "there is no pool %s; apply the range's pool",
                          name);
    if (rc != 0)
        return rc;
    if (!es_hyp_pool_is_ours(pool, range)) {
        virStoragePoolFree(pool);
        return es_err_set(err, ES_EEXIST,
                          "pool %s is there and is not enshu's; remove it or use another "
                          "range name",
                          name);
    }
    *ret_pool = pool;
    return 0;
}

/* Whether the pool's folder is `path`. */
static int same_path(virStoragePoolPtr pool, const char *name, const char *path,
                     bool *ret, struct es_err *err)
{
    int rc;
    char *text = NULL;
    ES_HYP_TRY(rc, err, "look at pool", name, NULL,
               text = virStoragePoolGetXMLDesc(pool, 0));
    if (rc != 0)
        return rc;
    struct es_buf wanted; /* escaped as libvirt escapes it */
    struct es_xml xml;
    es_buf_init(&wanted, ES_HYP_XML_MAX);
    es_xml_init(&xml, &wanted);
    es_xml_text_element(&xml, "path", path);
    rc = es_xml_finish(&xml) != 0 ? es_err_nomem(err) : 0;
    *ret = rc == 0 && strstr(text, es_buf_str(&wanted)) != NULL;
    es_buf_finish(&wanted);
    free(text); /* from libvirt */
    return rc;
}

static int run_pool(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct volume_job *job = (struct volume_job *)base;
    virStoragePoolPtr pool = NULL;
    int active = 0, rc = find_pool(conn, job->pool, &pool, err);
    /* libvirt makes the folder; its test driver refuses to. */
    unsigned flags = base->hyp->is_test ? 0 : VIR_STORAGE_POOL_CREATE_WITH_BUILD;
    if (rc == ES_ENOENT) {
        ES_HYP_TRY(rc, err, "make pool", job->pool, NULL,
                   pool = virStoragePoolCreateXML(conn, es_buf_str(&job->xml), flags));
        if (pool != NULL)
            virStoragePoolFree(pool);
        return rc;
    }
    if (rc != 0)
        return rc;
    bool same = false;
    rc = same_path(pool, job->pool, job->path, &same, err);
    if (rc == 0 && !same)
        rc = es_err_set(
            err, ES_EEXIST,
            "pool %s is there with another folder than %s; take the range down "
            "first",
            job->pool, job->path);
    if (rc == 0)
        ES_HYP_TRY(rc, err, "look at pool", job->pool, -1,
                   active = virStoragePoolIsActive(pool));
    if (rc == 0 && active == 0)
        ES_HYP_TRY(rc, err, "start pool", job->pool, -1, virStoragePoolCreate(pool, 0));
    virStoragePoolFree(pool);
    return rc;
}

int es_hyp_pool_apply(struct es_hyp *hyp, const char *range, const char *path,
                      es_hyp_done done, void *ctx)
{
    struct volume_job *job = make_job(hyp, range, "pool", run_pool, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->path = es_strdup(path);
    if (job->path == NULL) {
        destroy_job(&job->job);
        return ES_ENOMEM;
    }
    if (job->job.status == 0)
        job->job.status = es_hyp_pool_xml(range, path, &job->xml, &job->job.err);
    es_hyp_submit(hyp, &job->job);
    return 0;
}

/* ------------------------------------------------------------------ volumes */

/* *ret_vol is NULL when there is none. A file that came without libvirt's knowledge is
 * found by a refresh. */
static int find_volume(virStoragePoolPtr pool, const char *name, bool refresh,
                       virStorageVolPtr *ret_vol, struct es_err *err)
{
    int rc = 0;
    *ret_vol = NULL;
    if (refresh)
        ES_HYP_TRY(rc, err, "refresh pool of", name, -1, virStoragePoolRefresh(pool, 0));
    if (rc == 0)
        ES_HYP_TRY(rc, err, "look up volume", name, NULL,
                   *ret_vol = virStorageVolLookupByName(pool, name));
    return rc != 0 && es_hyp_last_code() == VIR_ERR_NO_STORAGE_VOL ? 0 : rc;
}

static int create_volume(const struct volume_job *job, virStoragePoolPtr pool,
                         struct es_err *err)
{
    virStorageVolPtr vol = NULL;
    int rc;
    ES_HYP_TRY(rc, err, "make volume", job->name, NULL,
               vol = virStorageVolCreateXML(pool, es_buf_str(&job->xml), 0));
    if (vol != NULL)
        virStorageVolFree(vol);
    return rc;
}

static int delete_volume(virStorageVolPtr vol, const char *name, struct es_err *err)
{
    int rc;
    ES_HYP_TRY(rc, err, "remove volume", name, -1, virStorageVolDelete(vol, 0));
    return rc != 0 && es_hyp_last_code() == VIR_ERR_NO_STORAGE_VOL ? 0 : rc;
}

static int apply_volume(const struct volume_job *job, virStoragePoolPtr pool,
                        bool refresh, struct es_err *err)
{
    virStorageVolPtr vol;
    int rc = find_volume(pool, job->name, refresh, &vol, err);
    if (rc == 0 && vol != NULL && job->renew)
        rc = delete_volume(vol, job->name, err);
    if (rc == 0 && (vol == NULL || job->renew))
        rc = create_volume(job, pool, err);
    if (vol != NULL)
        virStorageVolFree(vol);
    return rc;
}

static int run_volume(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct volume_job *job = (struct volume_job *)base;
    virStoragePoolPtr pool;
    int rc = find_pool(conn, job->pool, &pool, err);
    if (rc != 0)
        return rc;
    rc = apply_volume(job, pool, false, err);
    if (rc == ES_EHYP && strstr(err->msg, "exist") != NULL) {
        struct es_err again = {0};
        rc = apply_volume(job, pool, true, &again);
        if (rc != 0)
            *err = again;
    }
    virStoragePoolFree(pool);
    return rc;
}

int es_hyp_volume_apply(struct es_hyp *hyp, const char *range, const char *name,
                        const char *backing, int64_t size_bytes, bool renew,
                        es_hyp_done done, void *ctx)
{
    struct volume_job *job = make_job(hyp, range, name, run_volume, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->renew = renew;
    if (job->job.status == 0)
        job->job.status =
            es_hyp_volume_xml(name, backing, size_bytes, &job->xml, &job->job.err);
    es_hyp_submit(hyp, &job->job);
    return 0;
}

static int run_volume_remove(struct es_hyp_job *base, virConnectPtr conn,
                             struct es_err *err)
{
    struct volume_job *job = (struct volume_job *)base;
    virStoragePoolPtr pool;
    virStorageVolPtr vol = NULL;
    int rc = find_pool(conn, job->pool, &pool, err);
    if (rc != 0)
        return rc == ES_ENOENT ? 0 : rc;
    rc = find_volume(pool, job->name, false, &vol, err);
    if (rc == 0 && vol == NULL)
        rc = find_volume(pool, job->name, true, &vol, err);
    if (rc == 0 && vol != NULL)
        rc = delete_volume(vol, job->name, err);
    if (vol != NULL)
        virStorageVolFree(vol);
    virStoragePoolFree(pool);
    return rc;
}

int es_hyp_volume_remove(struct es_hyp *hyp, const char *range, const char *name,
                         es_hyp_done done, void *ctx)
{
    struct volume_job *job = make_job(hyp, range, name, run_volume_remove, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    es_hyp_submit(hyp, &job->job);
    return 0;
}
