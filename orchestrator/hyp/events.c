/* Domain events of libvirt, in enshu's words. The first worker's connection carries them;
 * libvirt delivers them from its timers, which run on the loop. */
#include <string.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"

static void tell(struct es_hyp *hyp, virDomainPtr dom, enum es_hyp_event event,
                 const char *detail)
{
    const char *name = virDomainGetName(dom);
    /* A name is no proof; whoever listens knows its own machines. */
    if (hyp->state == ES_HYP_CLOSING || name == NULL || !es_str_starts(name, "es-"))
        return;
    if (event == ES_HYP_STOPPED || event == ES_HYP_CRASHED || event == ES_HYP_SAVED) {
        es_hyp_audit_notice(hyp, name);
        es_hyp_stops_notice(hyp, name);
    }
    hyp->on_event(hyp->ctx, name, event, detail);
}

static const char *stopped_text(int detail)
{
    switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return "shut down";
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
        return "destroyed";
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
        return "the guest crashed";
    case VIR_DOMAIN_EVENT_STOPPED_FAILED:
        return "QEMU ended unexpectedly";
    default:
        return "stopped";
    }
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail,
                        void *opaque)
{
    struct es_hyp *hyp = opaque;
    (void)conn;
    switch (event) {
    case VIR_DOMAIN_EVENT_STARTED:
        tell(hyp, dom, ES_HYP_STARTED, "started");
        break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
        tell(hyp, dom, ES_HYP_SUSPENDED,
             detail == VIR_DOMAIN_EVENT_SUSPENDED_IOERROR
                 ? "stopped by an input/output error: look at the host's disk space"
                 : "suspended");
        break;
    case VIR_DOMAIN_EVENT_RESUMED:
        tell(hyp, dom, ES_HYP_RESUMED, "resumed");
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
        tell(hyp, dom,
             detail == VIR_DOMAIN_EVENT_STOPPED_CRASHED ||
                     detail == VIR_DOMAIN_EVENT_STOPPED_FAILED
                 ? ES_HYP_CRASHED
             : detail == VIR_DOMAIN_EVENT_STOPPED_SAVED ? ES_HYP_SAVED
                                                        : ES_HYP_STOPPED,
             stopped_text(detail));
        break;
    case VIR_DOMAIN_EVENT_CRASHED:
        tell(hyp, dom, ES_HYP_CRASHED, "the guest's kernel panicked");
        break;
    default:
        break;
    }
    return 0;
}

static void on_reboot(virConnectPtr conn, virDomainPtr dom, void *opaque)
{
    (void)conn;
    tell(opaque, dom, ES_HYP_REBOOTED, "rebooted");
}

int es_hyp_events_register(struct es_hyp_worker *worker, struct es_err *err)
{
    int rc;
    ES_HYP_TRY(rc, err, "watch the machines of", worker->hyp->uri, -1,
               worker->lifecycle_id = virConnectDomainEventRegisterAny(
                   worker->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                   VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), worker->hyp, NULL));
    if (rc != 0)
        return rc;
    ES_HYP_TRY(rc, err, "watch the machines of", worker->hyp->uri, -1,
               worker->reboot_id = virConnectDomainEventRegisterAny(
                   worker->conn, NULL, VIR_DOMAIN_EVENT_ID_REBOOT,
                   VIR_DOMAIN_EVENT_CALLBACK(on_reboot), worker->hyp, NULL));
    return rc;
}

void es_hyp_events_deregister(struct es_hyp_worker *worker)
{
    if (worker->lifecycle_id >= 0)
        virConnectDomainEventDeregisterAny(worker->conn, worker->lifecycle_id);
    if (worker->reboot_id >= 0)
        virConnectDomainEventDeregisterAny(worker->conn, worker->reboot_id);
    worker->lifecycle_id = worker->reboot_id = -1;
}
