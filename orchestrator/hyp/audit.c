/* Looks again after a lost connection. A libvirtd that has just come back takes up its
 * machines one by one; one whose QEMU ends during that time vanishes without an event. So
 * for a while after the connection is up again the machines are listed, and one that was
 * there, has had no event, and is missing from two lists in a row is told as crashed. (One
 * list is not enough: events and lists come over different connections.) */
#include <string.h>

#include "list.h"

static const uint64_t delays_ms[] = {0, 500, 500, 1000, 2000, 4000, 8000, 16000};

struct audit_job {
    struct es_hyp_job job;
    struct es_hyp_objects list;
};

static void schedule(struct es_hyp *hyp);

static int run_list(struct es_hyp_job *job, virConnectPtr conn, struct es_err *err)
{
    return es_hyp_list_machines(conn, NULL, &((struct audit_job *)job)->list, err);
}

static struct es_hyp_object *find(const struct es_hyp_objects *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

/* `running` of a known machine says that the list before this one had it. */
static void compare(struct es_hyp *hyp, const struct es_hyp_objects *list)
{
    struct es_hyp_objects *known = hyp->known;
    for (size_t i = 0; i < known->count;) {
        struct es_hyp_object *object = &known->items[i];
        const struct es_hyp_object *at = find(list, object->name);
        bool there = at != NULL && (at->running || at->paused);
        bool crashed = !there && !object->running;
        object->running = there;
        if (!crashed) {
            i++;
            continue;
        }
        struct es_hyp_object gone = *object;
        known->items[i] = known->items[--known->count];
        es_hyp_stops_notice(hyp, gone.name);
        hyp->on_event(hyp->ctx, gone.name, ES_HYP_CRASHED,
                      "it ended while libvirtd was starting");
        if (hyp->known == NULL)
            return;
    }
}

static void on_list(struct es_hyp_job *base)
{
    struct audit_job *job = (struct audit_job *)base;
    struct es_hyp *hyp = base->hyp;
    if (hyp->state != ES_HYP_UP || base->status != 0)
        return; /* lost again: it begins anew */
    if (hyp->known != NULL) {
        compare(hyp, &job->list);
    } else if ((hyp->known = es_calloc(1, sizeof *hyp->known)) != NULL) {
        *hyp->known = job->list;
        job->list = (struct es_hyp_objects){0};
        for (size_t i = 0; i < hyp->known->count; i++)
            hyp->known->items[i].running |= hyp->known->items[i].paused;
    }
    schedule(hyp);
}

static void destroy_job(struct es_hyp_job *base)
{
    es_free(((struct audit_job *)base)->list.items);
    es_free(base);
}

static void on_timer(uv_timer_t *timer)
{
    struct es_hyp *hyp = timer->data;
    if (hyp->state != ES_HYP_UP)
        return;
    struct audit_job *job = es_hyp_job_new(hyp, sizeof *job, run_list, NULL, NULL);
    if (job == NULL) {
        schedule(hyp);
        return;
    }
    job->job.finish = on_list;
    job->job.destroy = destroy_job;
    es_hyp_submit(hyp, &job->job);
}

static void schedule(struct es_hyp *hyp)
{
    if (hyp->state == ES_HYP_UP && hyp->audits < ES_COUNT(delays_ms))
        uv_timer_start(&hyp->audit, on_timer, delays_ms[hyp->audits++], 0);
    else
        es_hyp_audit_end(hyp);
}

void es_hyp_audit_begin(struct es_hyp *hyp)
{
    es_hyp_audit_end(hyp);
    schedule(hyp);
}

void es_hyp_audit_notice(struct es_hyp *hyp, const char *machine)
{
    struct es_hyp_object *object = hyp->known != NULL ? find(hyp->known, machine) : NULL;
    if (object != NULL)
        *object = hyp->known->items[--hyp->known->count];
}

void es_hyp_audit_end(struct es_hyp *hyp)
{
    uv_timer_stop(&hyp->audit);
    hyp->audits = 0;
    if (hyp->known != NULL)
        es_free(hyp->known->items);
    es_free(hyp->known);
    hyp->known = NULL;
}
