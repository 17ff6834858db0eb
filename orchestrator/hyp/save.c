/* Saving a machine to a file and continuing it from there, perhaps on the same host after it
 * was started anew. libvirt keeps the machine's description in the file too.
 *
 * Memory of a fork is written whole, and is its own when it comes back: QEMU maps the
 * mould's file again, but loading the state writes to each page that holds anything. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"

struct save_job {
    struct es_hyp_job job;
    char name[ES_PLAN_NAME_MAX], range[ES_NAME_MAX + 1];
    char path[PATH_MAX];
};

/* ------------------------------------------------------------------ [worker] */

/* libvirt marks a file whole only when all is written. */
static bool is_saved(virConnectPtr conn, const struct save_job *job)
{
    struct es_err ignored = {0};
    char *xml = NULL;
    int rc;
    ES_HYP_TRY(rc, &ignored, "look at the saved machine", job->name, NULL,
               xml = virDomainSaveImageGetXMLDesc(conn, job->path, 0));
    free(xml); /* from libvirt */
    return rc == 0;
}

static int save(virDomainPtr dom, const struct save_job *job, struct es_err *err)
{
    /* The test driver knows no flags, and what it restores runs. */
    unsigned flags = job->job.hyp->is_test ? 0 : VIR_DOMAIN_SAVE_PAUSED;
    int rc;
    ES_HYP_TRY(rc, err, "save machine", job->name, -1,
               virDomainSaveFlags(dom, job->path, NULL, flags));
    return rc;
}

static int run_save(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct save_job *job = (struct save_job *)base;
    struct es_hyp_meta meta;
    virDomainPtr dom = NULL;
    struct es_err first = {0};
    int rc = es_hyp_domain_ours(conn, job->name, &dom, &meta, &first);
    if (rc == 0) {
        rc = save(dom, job, &first);
        virDomainFree(dom);
    }
    /* Another core's call may have saved it while this one waited. */
    if (rc != 0 && rc != ES_ECONN && is_saved(conn, job))
        return 0;
    *err = first;
    return rc;
}

static int run_restore(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct save_job *job = (struct save_job *)base;
    unsigned flags = base->hyp->is_test ? 0 : VIR_DOMAIN_SAVE_PAUSED;
    int rc = es_hyp_domain_make_way(conn, job->name, job->range, NULL, err);
    if (rc == 0)
        ES_HYP_TRY(rc, err, "restore machine", job->name, -1,
                   virDomainRestoreFlags(conn, job->path, NULL, flags));
    return rc == 0 ? es_hyp_domain_set_paused(conn, job->name, true, err) : rc;
}

/* ------------------------------------------------------------------ [loop] */

static int submit(struct es_hyp *hyp, const char *range, const char *name,
                  const char *path,
                  int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                             struct es_err *err),
                  es_hyp_done done, void *ctx)
{
    struct save_job *job = es_hyp_job_new(hyp, sizeof *job, run, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    if (es_str_printf(job->name, sizeof job->name, "%s", name) != 0 ||
        es_str_printf(job->range, sizeof job->range, "%s", range) != 0 ||
        es_str_printf(job->path, sizeof job->path, "%s", path) != 0)
        job->job.status = es_err_set(&job->job.err, ES_ELIMIT,
                                     "machine %s: the path %s is too long", name, path);
    es_hyp_submit(hyp, &job->job);
    return 0;
}

int es_hyp_machine_save(struct es_hyp *hyp, const char *name, const char *path,
                        es_hyp_done done, void *ctx)
{
    return submit(hyp, "", name, path, run_save, done, ctx);
}

int es_hyp_machine_restore(struct es_hyp *hyp, const char *range, const char *name,
                           const char *path, es_hyp_done done, void *ctx)
{
    return submit(hyp, range, name, path, run_restore, done, ctx);
}
