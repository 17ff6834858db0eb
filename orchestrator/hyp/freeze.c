/* Freezing: the device state of a suspended mould goes to a file. Its memory lies in a file
 * already, so that what is written is some hundred KB. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/common/tree.h"
#include "monitor.h"

#define FD_NAME         "f" /* QEMU reads its monitor byte by byte: short */
#define STATE_MAX_BYTES (256LL << 20)

struct freeze_job {
    struct es_hyp_job job;
    char name[ES_PLAN_NAME_MAX], state[PATH_MAX];
};

/* Until QEMU closes its end. */
static int save(int socket, const char *path, struct es_err *err)
{
    char block[65536];
    int64_t total = 0;
    ssize_t n = 0;
    int rc = 0, file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return es_err_set(err, ES_EIO, "cannot write %s: %s", path, strerror(errno));
    while (rc == 0 && (n = recv(socket, block, sizeof block, 0)) > 0) {
        total += n;
        if (total > STATE_MAX_BYTES)
            rc = es_err_set(err, ES_ELIMIT, "the device state is larger than %lld MiB",
                            STATE_MAX_BYTES >> 20);
        else if (!es_write_all(file, block, (size_t)n))
            rc = es_err_set(err, ES_EIO, "cannot write %s: %s; is the disk full?", path,
                            strerror(errno));
    }
    if (n < 0 && rc == 0)
        rc = es_err_set(err, ES_EIO, "QEMU gives no device state: %s", strerror(errno));
    if (rc == 0 && fchmod(file, 0444) != 0)
        rc = es_err_set(err, ES_EIO, "cannot set the mode of %s: %s", path,
                        strerror(errno));
    close(file);
    return rc;
}

static int write_state(virDomainPtr dom, const char *path, struct es_err *err)
{
    int socket = -1, rc = es_hyp_monitor_ignore_shared(dom, true, err);
    if (rc == 0)
        rc = es_hyp_monitor_socket(dom, FD_NAME, &socket, err);
    if (rc != 0)
        return rc;
    rc = es_hyp_monitor(dom, "migrate", json_pack("{s:s}", "uri", "fd:" FD_NAME), -1,
                        NULL, err);
    if (rc == 0)
        rc = save(socket, path, err);
    close(socket);
    return rc == 0 ? es_hyp_monitor_moved(dom, err) : rc;
}

static int run_freeze(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct freeze_job *job = (struct freeze_job *)base;
    struct es_hyp_meta meta;
    virDomainPtr dom;
    int state = 0, rc = es_hyp_domain_ours(conn, job->name, &dom, &meta, err);
    if (rc != 0)
        return rc;
    ES_HYP_TRY(rc, err, "look at machine", job->name, -1,
               virDomainGetState(dom, &state, NULL, 0));
    if (rc == 0 && state != VIR_DOMAIN_PAUSED)
        rc = es_err_set(err, ES_ESTATE, "machine %s is not suspended", job->name);
    if (rc == 0)
        rc = write_state(dom, job->state, err);
    virDomainFree(dom);
    return rc;
}

int es_hyp_machine_freeze(struct es_hyp *hyp, const char *name, const char *state,
                          es_hyp_done done, void *ctx)
{
    struct freeze_job *job = es_hyp_job_new(hyp, sizeof *job, run_freeze, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    if (es_str_printf(job->name, sizeof job->name, "%s", name) != 0 ||
        es_str_printf(job->state, sizeof job->state, "%s", state) != 0)
        job->job.status =
            es_err_set(&job->job.err, ES_ELIMIT, "%s: the path is too long", state);
    es_hyp_submit(hyp, &job->job);
    return 0;
}
