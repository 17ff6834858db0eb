/* Forking: a frozen machine continued as another one.
 *
 *   end what runs under its name -> copy the overlay -> start QEMU paused, waiting ->
 *   feed the device state -> plug in NICs of shared networks -> resume
 *
 * Memory is mapped privately from the mould's file: a page is copied when it is written. */
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "describe.h"
#include "enshu/common/str.h"
#include "monitor.h"

#define FD_NAME "f" /* QEMU reads its monitor byte by byte: short */

struct fork_job {
    struct es_hyp_job job;
    char name[ES_PLAN_NAME_MAX], range[ES_NAME_MAX + 1], hash[33];
    char overlay[PATH_MAX], disk[PATH_MAX], state[PATH_MAX];
    struct es_buf xml;
    struct es_buf *nics; /* XML of each NIC to plug in */
    size_t nic_count;
    struct es_hyp_fork_times times;
    es_hyp_forked forked;
};

static int64_t lap_us(uint64_t *since_ns)
{
    uint64_t now = uv_hrtime(), began = *since_ns;
    *since_ns = now;
    return (int64_t)((now - began) / 1000);
}

/* ------------------------------------------------------------------ [worker] */

/* The disk belongs to the last machine's QEMU, so it is made anew. */
static int copy_overlay(const struct fork_job *job, struct es_err *err)
{
    struct stat st;
    int rc = 0, in = open(job->overlay, O_RDONLY | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) != 0) {
        rc = es_err_set(err, ES_EIO, "cannot read %s: %s", job->overlay, strerror(errno));
        if (in >= 0)
            close(in);
        return rc;
    }
    unlink(job->disk);
    int out = open(job->disk, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    off_t left = st.st_size;
    while (out >= 0 && left > 0) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);
        if (n <= 0)
            break;
        left -= n;
    }
    if (out < 0 || left > 0)
        rc = es_err_set(err, ES_EIO, "cannot write %s: %s; is the disk full?", job->disk,
                        strerror(errno));
    if (out >= 0)
        close(out);
    close(in);
    return rc;
}

static int feed(int socket, const char *path, struct es_err *err)
{
    char block[65536];
    ssize_t n = 0;
    int rc = 0, file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return es_err_set(err, ES_EIO, "cannot read %s: %s", path, strerror(errno));
    while (rc == 0 && (n = read(file, block, sizeof block)) > 0) {
        for (ssize_t sent = 0, k; rc == 0 && sent < n; sent += k) {
            k = send(socket, block + sent, (size_t)(n - sent), MSG_NOSIGNAL);
            if (k <= 0) {
                k = 0;
                rc = es_err_set(err, ES_EHYP, "QEMU takes no device state: %s",
                                strerror(errno));
            }
        }
    }
    if (n < 0 && rc == 0)
        rc = es_err_set(err, ES_EIO, "cannot read %s: %s", path, strerror(errno));
    close(file);
    return rc;
}

/* The capability goes off again: saving or migrating the fork takes its memory along. */
static int load_state(virDomainPtr dom, const char *path, struct es_err *err)
{
    struct es_err told = {0};
    int socket = -1, rc = es_hyp_monitor_ignore_shared(dom, true, err);
    if (rc == 0)
        rc = es_hyp_monitor_socket(dom, FD_NAME, &socket, err);
    if (rc != 0)
        return rc;
    rc = es_hyp_monitor(dom, "migrate-incoming", json_pack("{s:s}", "uri", "fd:" FD_NAME),
                        -1, NULL, err);
    bool asked = rc == 0;
    if (asked)
        rc = feed(socket, path, err);
    close(socket);
    /* Why QEMU took it no more is told by itself, if it still can. */
    if (asked && rc == ES_EHYP && es_hyp_monitor_moved(dom, &told) != 0)
        rc = (*err = told).code;
    if (rc == 0)
        rc = es_hyp_monitor_moved(dom, err);
    return rc == 0 ? es_hyp_monitor_ignore_shared(dom, false, err) : rc;
}

/* QEMU ends at a state it cannot read, and libvirt knows no more than that. */
static void say_damaged(struct es_err *err)
{
    struct es_err cause = *err;
    es_err_set(err, cause.code,
               "its mould's state could not be loaded (%s); look at the mould with "
               "`enshu mould verify`",
               cause.msg);
}

static int plug(virDomainPtr dom, const struct fork_job *job, struct es_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < job->nic_count && rc == 0; i++)
        ES_HYP_TRY(rc, err, "plug a NIC into machine", job->name, -1,
                   virDomainAttachDeviceFlags(dom, es_buf_str(&job->nics[i]),
                                              VIR_DOMAIN_AFFECT_LIVE));
    return rc;
}

static int run_fork(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct fork_job *job = (struct fork_job *)base;
    struct es_err ignored = {0};
    virDomainPtr dom = NULL;
    uint64_t since = uv_hrtime();
    int rc = es_hyp_domain_make_way(conn, job->name, job->range, NULL, err);
    job->times.clear_us = lap_us(&since);
    if (rc == 0)
        rc = copy_overlay(job, err);
    job->times.disk_us = lap_us(&since);
    if (rc == 0)
        ES_HYP_TRY(rc, err, "start machine", job->name, NULL,
                   dom = virDomainCreateXML(conn, es_buf_str(&job->xml),
                                            VIR_DOMAIN_START_PAUSED));
    job->times.start_us = lap_us(&since);
    if (rc != 0)
        return rc;
    rc = load_state(dom, job->state, err);
    if (rc == ES_EHYP)
        say_damaged(err);
    job->times.load_us = lap_us(&since);
    if (rc == 0)
        rc = plug(dom, job, err);
    job->times.plug_us = lap_us(&since);
    if (rc == 0)
        ES_HYP_TRY(rc, err, "resume machine", job->name, -1, virDomainResume(dom));
    job->times.resume_us = lap_us(&since);
    if (rc != 0)
        es_hyp_domain_destroy(dom, &ignored);
    virDomainFree(dom);
    return rc;
}

/* ------------------------------------------------------------------ [loop] */

static void finish_fork(struct es_hyp_job *base)
{
    struct fork_job *job = (struct fork_job *)base;
    bool ok = base->status == 0;
    job->forked(base->ctx, base->status, ok ? &job->times : NULL, ok ? NULL : &base->err);
}

static void destroy_fork(struct es_hyp_job *base)
{
    struct fork_job *job = (struct fork_job *)base;
    for (size_t i = 0; i < job->nic_count; i++)
        es_buf_finish(&job->nics[i]);
    es_free(job->nics);
    es_buf_finish(&job->xml);
    es_free(job);
}

static int describe(struct fork_job *job, const struct es_hyp_fork *fork,
                    const char *accel, struct es_err *err)
{
    const struct es_hyp_machine *spec = &fork->machine;
    if (es_str_printf(job->name, sizeof job->name, "%s", spec->machine->name) != 0 ||
        es_str_printf(job->overlay, sizeof job->overlay, "%s", fork->overlay) != 0 ||
        es_str_printf(job->disk, sizeof job->disk, "%s", spec->disk) != 0 ||
        es_str_printf(job->state, sizeof job->state, "%s", fork->state) != 0)
        return es_err_set(err, ES_ELIMIT, "machine %s: a path is too long",
                          spec->machine->name);
    int rc = es_hyp_machine_xml(spec, accel, false, &job->xml, job->hash, err);
    job->nics = es_calloc(spec->machine->nic_count, sizeof *job->nics);
    if (job->nics == NULL && spec->machine->nic_count > 0)
        return es_err_nomem(err);
    for (size_t i = 0; i < spec->machine->nic_count && rc == 0; i++) {
        if (!es_hyp_nic_is_plugged(spec, i))
            continue;
        es_buf_init(&job->nics[job->nic_count], ES_HYP_XML_MAX);
        rc = es_hyp_nic_xml(spec, i, &job->nics[job->nic_count++], err);
    }
    return rc;
}

int es_hyp_machine_fork(struct es_hyp *hyp, const struct es_hyp_fork *fork,
                        es_hyp_forked done, void *ctx)
{
    const struct es_hyp_machine *spec = &fork->machine;
    ES_ASSERT(spec->memory == ES_HYP_MEMORY_FORK && spec->ram != NULL && done != NULL);
    struct fork_job *job = es_hyp_job_new(hyp, sizeof *job, run_fork, NULL, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->job.finish = finish_fork;
    job->job.destroy = destroy_fork;
    job->forked = done;
    es_buf_init(&job->xml, ES_HYP_XML_MAX);
    memcpy(job->range, spec->plan->range, sizeof job->range);
    job->job.status = describe(job, fork, spec->accel != NULL ? spec->accel : hyp->accel,
                               &job->job.err);
    es_hyp_submit(hyp, &job->job);
    return 0;
}

static bool at_least(const char *version, unsigned major, unsigned minor)
{
    unsigned have_major = 0, have_minor = 0;
    return sscanf(version, "%u.%u", &have_major, &have_minor) == 2 &&
           (have_major > major || (have_major == major && have_minor >= minor));
}

bool es_hyp_can_fork(const struct es_hyp *hyp, const struct es_hyp_info *info, char *why,
                     size_t size)
{
    if (hyp->is_test || strcmp(info->hypervisor, "QEMU") != 0)
        es_str_printf(why, size, "the hypervisor is not QEMU");
    else if (!es_hyp_is_local(hyp))
        es_str_printf(why, size, "%s is not a local socket", hyp->uri);
    else if (!at_least(info->libvirt_version, 8, 2))
        es_str_printf(why, size, "libvirt is %s, 8.2 passes descriptors to QEMU",
                      info->libvirt_version);
    else if (!at_least(info->qemu_version, 6, 0))
        es_str_printf(why, size, "QEMU is %s, 6.0 is needed", info->qemu_version);
    else
        return true;
    return false;
}
