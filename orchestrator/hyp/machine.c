/* Machines: start, suspend, resume. Stopping is in stop.c, forking in fork.c, saving in
 * save.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "describe.h"
#include "enshu/common/str.h"

struct machine_job {
    struct es_hyp_job job;
    char name[ES_PLAN_NAME_MAX], range[ES_NAME_MAX + 1], hash[33];
    struct es_buf xml;
    char ram[PATH_MAX]; /* to be made; "": none */
    int64_t ram_bytes;
};

static int find(virConnectPtr conn, const char *name, virDomainPtr *ret_dom,
                struct es_err *err)
{
    int rc;
    virDomainPtr dom = NULL;
    ES_HYP_TRY(rc, err, "look up machine", name, NULL,
               dom = virDomainLookupByName(conn, name));
    if (rc != 0 && es_hyp_last_code() == VIR_ERR_NO_DOMAIN)
        return es_err_set(err, ES_ENOENT, "there is no machine %s", name);
    *ret_dom = dom;
    return rc;
}

int es_hyp_domain_ours(virConnectPtr conn, const char *name, virDomainPtr *ret_dom,
                       struct es_hyp_meta *ret_meta, struct es_err *err)
{
    virDomainPtr dom = NULL;
    int rc = find(conn, name, &dom, err);
    if (rc != 0)
        return rc;
    rc = es_hyp_domain_meta(dom, ret_meta, err);
    if (rc == 0) {
        *ret_dom = dom;
        return 0;
    }
    bool gone = rc == ES_ENOENT && es_hyp_last_code() == VIR_ERR_NO_DOMAIN;
    virDomainFree(dom);
    if (gone) /* it ended between the two calls */
        return es_err_set(err, ES_ENOENT, "there is no machine %s", name);
    if (rc == ES_ENOENT)
        return es_err_set(
            err, ES_EEXIST,
            "machine %s is there and is not enshu's; remove it or use another "
            "range name",
            name);
    return rc;
}

/* The domain may end by itself between two calls: that it is gone is what we want. */
static bool is_gone(int rc)
{
    int code = es_hyp_last_code();
    return rc != 0 && (code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID);
}

int es_hyp_domain_destroy(virDomainPtr dom, struct es_err *err)
{
    const char *name = virDomainGetName(dom);
    int rc, persistent = 0;
    ES_HYP_TRY(rc, err, "look at machine", name, -1,
               persistent = virDomainIsPersistent(dom));
    if (rc != 0)
        return is_gone(rc) ? 0 : rc;
    ES_HYP_TRY(rc, err, "stop machine", name, -1, virDomainDestroy(dom));
    if (rc != 0 && !is_gone(rc))
        return rc;
    if (persistent != 1)
        return 0;
    ES_HYP_TRY(rc, err, "remove machine", name, -1,
               virDomainUndefineFlags(dom, VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
                                               VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA));
    return is_gone(rc) ? 0 : rc;
}

/* ------------------------------------------------------------------ start */

int es_hyp_domain_make_way(virConnectPtr conn, const char *name, const char *range,
                           const char *hash_to_keep, struct es_err *err)
{
    virDomainPtr dom;
    struct es_hyp_meta meta;
    int active = 0, rc = es_hyp_domain_ours(conn, name, &dom, &meta, err);
    if (rc == ES_ENOENT)
        return 0;
    if (rc != 0)
        return rc;
    if (strcmp(meta.range, range) != 0)
        rc = es_err_set(err, ES_EEXIST,
                        "machine %s belongs to range %s; use another range name", name,
                        meta.range);
    else
        ES_HYP_TRY(rc, err, "look at machine", name, -1, active = virDomainIsActive(dom));
    if (is_gone(rc))
        rc = 0;
    if (rc == 0 && active == 1 && hash_to_keep != NULL &&
        strcmp(meta.hash, hash_to_keep) == 0)
        rc = 1;
    else if (rc == 0)
        rc = es_hyp_domain_destroy(dom, err);
    virDomainFree(dom);
    return rc;
}

/* QEMU's user, who is none of ours, writes it. */
static int make_ram(const char *path, int64_t bytes, struct es_err *err)
{
    int rc = 0, fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0666) != 0 || ftruncate(fd, bytes) != 0)
        rc = es_err_set(err, ES_EIO, "cannot make %s for a guest's memory: %s", path,
                        strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static int run_start(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct machine_job *job = (struct machine_job *)base;
    virDomainPtr dom = NULL;
    int rc = es_hyp_domain_make_way(conn, job->name, job->range, job->hash, err);
    if (rc != 0)
        return rc > 0 ? 0 : rc;
    if (job->ram[0] != '\0')
        rc = make_ram(job->ram, job->ram_bytes, err);
    if (rc != 0)
        return rc;
    ES_HYP_TRY(rc, err, "start machine", job->name, NULL,
               dom = virDomainCreateXML(conn, es_buf_str(&job->xml), 0));
    if (dom != NULL)
        virDomainFree(dom);
    return rc;
}

static void destroy_job(struct es_hyp_job *base)
{
    struct machine_job *job = (struct machine_job *)base;
    es_buf_finish(&job->xml);
    es_free(job);
}

static struct machine_job *make_job(struct es_hyp *hyp, const char *name,
                                    int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                                               struct es_err *err),
                                    es_hyp_done done, void *ctx)
{
    struct machine_job *job = es_hyp_job_new(hyp, sizeof *job, run, done, ctx);
    if (job == NULL)
        return NULL;
    job->job.destroy = destroy_job;
    es_buf_init(&job->xml, ES_HYP_XML_MAX);
    if (es_str_printf(job->name, sizeof job->name, "%s", name) == 0)
        return job;
    job->name[0] = '\0'; /* too long: found nowhere */
    return job;
}

int es_hyp_machine_start(struct es_hyp *hyp, const struct es_hyp_machine *spec,
                         es_hyp_done done, void *ctx)
{
    ES_ASSERT(spec->plan != NULL && spec->machine >= spec->plan->machines &&
              spec->machine < spec->plan->machines + spec->plan->machine_count);
    struct machine_job *job = make_job(hyp, spec->machine->name, run_start, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    memcpy(job->range, spec->plan->range, sizeof job->range);
    ES_ASSERT(spec->memory != ES_HYP_MEMORY_FORK && (spec->memory == 0 || spec->ram));
    job->ram_bytes = spec->machine->memory_bytes;
    if (spec->memory == ES_HYP_MEMORY_MOULD &&
        es_str_printf(job->ram, sizeof job->ram, "%s", spec->ram) != 0)
        job->job.status =
            es_err_set(&job->job.err, ES_ELIMIT, "%s: the path is too long", spec->ram);
    else
        job->job.status =
            es_hyp_machine_xml(spec, spec->accel != NULL ? spec->accel : hyp->accel,
                               hyp->is_test, &job->xml, job->hash, &job->job.err);
    es_hyp_submit(hyp, &job->job);
    return 0;
}

/* ------------------------------------------------------------------ suspend, resume */

int es_hyp_domain_set_paused(virConnectPtr conn, const char *name, bool paused,
                             struct es_err *err)
{
    virDomainPtr dom;
    struct es_hyp_meta meta;
    int state = 0, rc = es_hyp_domain_ours(conn, name, &dom, &meta, err);
    if (rc != 0)
        return rc;
    ES_HYP_TRY(rc, err, "look at machine", name, -1,
               virDomainGetState(dom, &state, NULL, 0));
    if (rc == 0 && paused && state != VIR_DOMAIN_PAUSED)
        ES_HYP_TRY(rc, err, "suspend machine", name, -1, virDomainSuspend(dom));
    else if (rc == 0 && !paused && state == VIR_DOMAIN_PAUSED)
        ES_HYP_TRY(rc, err, "resume machine", name, -1, virDomainResume(dom));
    virDomainFree(dom);
    return rc;
}

static int run_suspend(struct es_hyp_job *job, virConnectPtr conn, struct es_err *err)
{
    return es_hyp_domain_set_paused(conn, ((struct machine_job *)job)->name, true, err);
}

static int run_resume(struct es_hyp_job *job, virConnectPtr conn, struct es_err *err)
{
    return es_hyp_domain_set_paused(conn, ((struct machine_job *)job)->name, false, err);
}

int es_hyp_machine_suspend(struct es_hyp *hyp, const char *name, es_hyp_done done,
                           void *ctx)
{
    struct machine_job *job = make_job(hyp, name, run_suspend, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    es_hyp_submit(hyp, &job->job);
    return 0;
}

int es_hyp_machine_resume(struct es_hyp *hyp, const char *name, es_hyp_done done,
                          void *ctx)
{
    struct machine_job *job = make_job(hyp, name, run_resume, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    es_hyp_submit(hyp, &job->job);
    return 0;
}
