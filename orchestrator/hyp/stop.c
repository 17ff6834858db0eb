/* Stopping a machine. Gracefully: the power button, then wait for the event that it has
 * stopped, at most ES_HYP_STOP_MS, then it is destroyed whatever it did. The wait takes no
 * worker. */
#include <string.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"

struct stop {
    struct es_list link; /* hyp->stops, until the timer is closed */
    struct es_hyp *hyp;
    char name[ES_PLAN_NAME_MAX];
    es_hyp_done done;
    void *ctx;
    uv_timer_t timer;
    bool waiting;      /* for the event or the timer; no job in flight */
    bool seen_stopped; /* the event may come before the answer to the button */
    bool wait_wanted;  /* [worker] the button was pressed */
    int status;
    struct es_err err;
};

struct stop_job {
    struct es_hyp_job job;
    struct stop *stop;
};

/* *ret_dom is NULL when there is nothing to stop. */
static int find_or_none(virConnectPtr conn, const char *name, virDomainPtr *ret_dom,
                        struct es_err *err)
{
    struct es_hyp_meta meta;
    *ret_dom = NULL;
    int rc = es_hyp_domain_ours(conn, name, ret_dom, &meta, err);
    return rc == ES_ENOENT ? 0 : rc;
}

static int run_button(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct stop *stop = ((struct stop_job *)base)->stop;
    virDomainPtr dom;
    int rc = find_or_none(conn, stop->name, &dom, err);
    if (rc != 0 || dom == NULL)
        return rc;
    ES_HYP_TRY(rc, err, "shut down machine", stop->name, -1, virDomainShutdown(dom));
    virDomainFree(dom);
    /* A machine that cannot be asked (not running, paused) is destroyed at once. */
    stop->wait_wanted = rc == 0;
    return rc == ES_ECONN ? rc : 0;
}

static int run_destroy(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct stop *stop = ((struct stop_job *)base)->stop;
    virDomainPtr dom;
    int rc = find_or_none(conn, stop->name, &dom, err);
    if (rc != 0 || dom == NULL)
        return rc;
    rc = es_hyp_domain_destroy(dom, err);
    virDomainFree(dom);
    return rc;
}

/* ------------------------------------------------------------------ [loop] */

static void on_timer_closed(uv_handle_t *handle)
{
    struct stop *stop = handle->data;
    struct es_hyp *hyp = stop->hyp;
    es_list_remove(&stop->link);
    if (stop->done != NULL)
        stop->done(stop->ctx, stop->status, stop->status != 0 ? &stop->err : NULL);
    es_free(stop);
    es_hyp_maybe_closed(hyp);
}

static void end(struct stop *stop, int status, const struct es_err *err)
{
    ES_ASSERT(!uv_is_closing((uv_handle_t *)&stop->timer));
    stop->waiting = false;
    stop->status = status;
    if (err != NULL)
        stop->err = *err;
    uv_close((uv_handle_t *)&stop->timer, on_timer_closed);
}

static void on_destroyed(struct es_hyp_job *base)
{
    end(((struct stop_job *)base)->stop, base->status, &base->err);
}

static int submit(struct stop *stop,
                  int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                             struct es_err *err),
                  void (*finish)(struct es_hyp_job *job))
{
    struct stop_job *job = es_hyp_job_new(stop->hyp, sizeof *job, run, NULL, NULL);
    if (job == NULL)
        return ES_ENOMEM;
    job->stop = stop;
    job->job.finish = finish;
    es_hyp_submit(stop->hyp, &job->job);
    return 0;
}

static void destroy_now(struct stop *stop)
{
    stop->waiting = false;
    uv_timer_stop(&stop->timer);
    if (submit(stop, run_destroy, on_destroyed) == 0)
        return;
    struct es_err err = {0};
    es_err_nomem(&err);
    end(stop, ES_ENOMEM, &err);
}

static void on_deadline(uv_timer_t *timer)
{
    destroy_now(timer->data);
}

static void on_button(struct es_hyp_job *base)
{
    struct stop *stop = ((struct stop_job *)base)->stop;
    if (base->status != 0) {
        end(stop, base->status, &base->err);
    } else if (stop->seen_stopped || !stop->wait_wanted ||
               stop->hyp->state == ES_HYP_CLOSING) {
        destroy_now(stop);
    } else {
        stop->waiting = true;
        uv_timer_start(&stop->timer, on_deadline, ES_HYP_STOP_MS, 0);
    }
}

/* What is left of a stopped machine (a persistent definition, or nothing) is removed by
 * the same destroy. */
void es_hyp_stops_notice(struct es_hyp *hyp, const char *machine)
{
    ES_LIST_EACH (pos, tmp, &hyp->stops) {
        struct stop *stop = ES_CONTAINER(pos, struct stop, link);
        if (strcmp(stop->name, machine) != 0)
            continue;
        stop->seen_stopped = true;
        if (stop->waiting)
            destroy_now(stop);
    }
}

void es_hyp_stops_cancel(struct es_hyp *hyp)
{
    ES_LIST_EACH (pos, tmp, &hyp->stops) {
        struct stop *stop = ES_CONTAINER(pos, struct stop, link);
        struct es_err err = {0};
        if (!stop->waiting)
            continue;
        es_err_set(&err, ES_ECANCELED, "the hypervisor is being closed");
        end(stop, ES_ECANCELED, &err);
    }
}

int es_hyp_machine_stop(struct es_hyp *hyp, const char *name, bool gracefully,
                        es_hyp_done done, void *ctx)
{
    struct stop *stop = es_calloc(1, sizeof *stop);
    if (stop == NULL)
        return ES_ENOMEM;
    stop->hyp = hyp;
    stop->done = done;
    stop->ctx = ctx;
    if (es_str_printf(stop->name, sizeof stop->name, "%s", name) != 0) {
        es_free(stop);
        return ES_EINVAL;
    }
    int rc = gracefully ? submit(stop, run_button, on_button)
                        : submit(stop, run_destroy, on_destroyed);
    if (rc != 0) {
        es_free(stop);
        return rc;
    }
    uv_timer_init(hyp->loop, &stop->timer);
    stop->timer.data = stop;
    es_list_push(&hyp->stops, &stop->link);
    return 0;
}
