/* Opening, closing, workers, loss and re-opening of connections.
 *
 *   OPENING -> UP <-> DOWN      any -> CLOSING
 *
 * DOWN begins when the first connection is lost: all are opened again, with back-off,
 * until all are up. Closing: queued jobs are cancelled, workers finish the one they run,
 * close their connection and end; then libvirt's events are released, then our handles. */
#include "enshu/hyp.h"

#include <stdio.h>
#include <string.h>

#include "enshu/common/log.h"
#include "enshu/common/str.h"
#include "hyp_inner.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000

#define KEEPALIVE_S     5
#define KEEPALIVE_COUNT 8

const char *es_hyp_event_name(enum es_hyp_event event)
{
    static const char *const names[] = {"started",   "stopped", "crashed", "rebooted",
                                        "suspended", "resumed", "saved",   "pressed",
                                        "connected", "lost"};
    ES_ASSERT((size_t)event < ES_COUNT(names));
    return names[event];
}

/* ------------------------------------------------------------------ workers [worker] */

/* Any thread, perhaps with libvirt's locks held. */
static void on_connection_closed(virConnectPtr conn, int reason, void *opaque)
{
    struct es_hyp_worker *worker = opaque;
    (void)conn;
    (void)reason;
    uv_mutex_lock(&worker->hyp->lock);
    worker->lost = true;
    uv_async_send(&worker->hyp->async);
    uv_mutex_unlock(&worker->hyp->lock);
}

static void close_connection(struct es_hyp_worker *worker)
{
    if (worker->conn == NULL)
        return;
    es_hyp_events_deregister(worker);
    virConnectUnregisterCloseCallback(worker->conn, on_connection_closed);
    virConnectClose(worker->conn);
    worker->conn = NULL;
}

static int connect_to(struct es_hyp_worker *worker, struct es_err *err)
{
    struct es_hyp *hyp = worker->hyp;
    if (!es_hyp_may_call(err, "connect to", hyp->uri))
        return ES_ECONN;
    if (hyp->is_test) {
        /* Every open of a test URI is a world of its own: all workers share one. */
        uv_mutex_lock(&hyp->lock);
        if (hyp->shared == NULL)
            hyp->shared = virConnectOpen(hyp->uri);
        else
            virConnectRef(hyp->shared);
        worker->conn = hyp->shared;
        uv_mutex_unlock(&hyp->lock);
    } else {
        worker->conn = virConnectOpen(hyp->uri);
    }
    if (worker->conn == NULL) {
        es_hyp_error(err, "cannot connect to", hyp->uri);
        return err->code = ES_ECONN;
    }
    /* The end of a local daemon is seen on its socket at once; this finds one that hangs,
     * and a silent network. Its loop answers, however busy its workers are. */
    if (!hyp->is_test)
        virConnectSetKeepAlive(worker->conn, KEEPALIVE_S, KEEPALIVE_COUNT);
    if (!hyp->is_test && virConnectRegisterCloseCallback(
                             worker->conn, on_connection_closed, worker, NULL) != 0)
        return es_hyp_error(err, "watch", hyp->uri);
    return worker->index == 0 ? es_hyp_events_register(worker, err) : 0;
}

static void reopen(struct es_hyp_worker *worker)
{
    struct es_hyp *hyp = worker->hyp;
    struct es_err err = {0};
    close_connection(worker);
    int rc = connect_to(worker, &err);
    if (rc != 0)
        close_connection(worker);
    uv_mutex_lock(&hyp->lock);
    worker->up = rc == 0;
    worker->open_status = rc;
    worker->open_error = err;
    worker->open_answered = true;
    uv_async_send(&hyp->async);
    uv_mutex_unlock(&hyp->lock);
}

static struct es_hyp_job *next_job(struct es_hyp_worker *worker)
{
    struct es_hyp *hyp = worker->hyp;
    struct es_hyp_job *job = NULL;
    uv_mutex_lock(&hyp->lock);
    while (!hyp->stop && !worker->open_wanted && es_list_empty(&hyp->queue))
        uv_cond_wait(&hyp->wake, &hyp->lock);
    if (!hyp->stop && !worker->open_wanted) {
        job = ES_CONTAINER(hyp->queue.next, struct es_hyp_job, link);
        es_list_remove(&job->link);
    }
    uv_mutex_unlock(&hyp->lock);
    return job;
}

static void run_job(struct es_hyp_worker *worker, struct es_hyp_job *job)
{
    struct es_hyp *hyp = worker->hyp;
    virResetLastError();
    if (worker->conn == NULL)
        job->status = es_err_set(&job->err, ES_ECONN,
                                 "not connected to %s; it is tried again, wait or start "
                                 "libvirtd",
                                 hyp->uri);
    else
        job->status = job->run(job, worker->conn, &job->err);
    uv_mutex_lock(&hyp->lock);
    es_list_push(&hyp->finished, &job->link);
    uv_async_send(&hyp->async);
    uv_mutex_unlock(&hyp->lock);
}

static void worker_main(void *arg)
{
    struct es_hyp_worker *worker = arg;
    struct es_hyp *hyp = worker->hyp;
    for (;;) {
        struct es_hyp_job *job = next_job(worker);
        if (job != NULL) {
            run_job(worker, job);
            continue;
        }
        uv_mutex_lock(&hyp->lock);
        bool stop = hyp->stop;
        worker->open_wanted = false;
        uv_mutex_unlock(&hyp->lock);
        if (stop)
            break;
        reopen(worker);
    }
    close_connection(worker);
    uv_mutex_lock(&hyp->lock);
    worker->exited = true;
    uv_async_send(&hyp->async);
    uv_mutex_unlock(&hyp->lock);
}

/* ------------------------------------------------------------------ jobs [loop] */

void *es_hyp_job_new(struct es_hyp *hyp, size_t size,
                     int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                                struct es_err *err),
                     es_hyp_done done, void *ctx)
{
    struct es_hyp_job *job = es_calloc(1, size);
    if (job == NULL)
        return NULL;
    job->hyp = hyp;
    job->run = run;
    job->done = done;
    job->ctx = ctx;
    return job;
}

void es_hyp_submit(struct es_hyp *hyp, struct es_hyp_job *job)
{
    ES_ASSERT(job->hyp == hyp && !es_list_linked(&job->link) && hyp->handles_open);
    hyp->job_count++;
    uv_mutex_lock(&hyp->lock);
    if (hyp->stop && job->status == 0)
        job->status =
            es_err_set(&job->err, ES_ECANCELED, "the hypervisor is being closed");
    if (job->status != 0) {
        es_list_push(&hyp->finished, &job->link);
        uv_async_send(&hyp->async);
    } else {
        es_list_push(&hyp->queue, &job->link);
        uv_cond_broadcast(&hyp->wake);
    }
    uv_mutex_unlock(&hyp->lock);
}

void es_hyp_job_answer(struct es_hyp_job *job)
{
    ES_ASSERT(job->status <= 0);
    if (job->done != NULL)
        job->done(job->ctx, job->status, job->status != 0 ? &job->err : NULL);
}

static void finish_jobs(struct es_hyp *hyp)
{
    for (;;) {
        struct es_hyp_job *job = NULL;
        uv_mutex_lock(&hyp->lock);
        if (!es_list_empty(&hyp->finished)) {
            job = ES_CONTAINER(hyp->finished.next, struct es_hyp_job, link);
            es_list_remove(&job->link);
        }
        uv_mutex_unlock(&hyp->lock);
        if (job == NULL)
            return;
        if (job->status != 0 && job->err.code == 0)
            es_err_set(&job->err, job->status, "%s", es_status_text(job->status));
        if (job->finish != NULL)
            job->finish(job);
        else
            es_hyp_job_answer(job);
        if (job->destroy != NULL)
            job->destroy(job);
        else
            es_free(job);
        hyp->job_count--;
    }
}

/* ------------------------------------------------------------------ states [loop] */

static void want_open(struct es_hyp *hyp)
{
    uv_mutex_lock(&hyp->lock);
    for (int i = 0; i < hyp->worker_count; i++) {
        struct es_hyp_worker *w = &hyp->workers[i];
        if (w->up && !w->lost)
            continue;
        w->open_wanted = true;
        w->open_answered = w->lost = w->up = false;
    }
    uv_cond_broadcast(&hyp->wake);
    uv_mutex_unlock(&hyp->lock);
}

static void on_backoff(uv_timer_t *timer)
{
    struct es_hyp *hyp = timer->data;
    if (hyp->state == ES_HYP_DOWN)
        want_open(hyp);
}

static void back_off(struct es_hyp *hyp)
{
    uv_timer_start(&hyp->backoff, on_backoff, hyp->backoff_ms, 0);
    hyp->backoff_ms *= 2;
    if (hyp->backoff_ms > BACKOFF_MAX_MS)
        hyp->backoff_ms = BACKOFF_MAX_MS;
}

/* What the workers have told since the last look. */
struct workers_seen {
    bool lost, answered, all_up;
    int exited, status;
    struct es_err err;
};

static void look_at_workers(struct es_hyp *hyp, struct workers_seen *seen)
{
    memset(seen, 0, sizeof *seen);
    seen->answered = seen->all_up = true;
    uv_mutex_lock(&hyp->lock);
    for (int i = 0; i < hyp->worker_count; i++) {
        struct es_hyp_worker *w = &hyp->workers[i];
        seen->lost |= w->lost;
        seen->answered &= w->open_answered;
        seen->all_up &= w->up && !w->lost;
        seen->exited += w->exited;
        if (w->open_status != 0 && seen->status == 0) {
            seen->status = w->open_status;
            seen->err = w->open_error;
        }
    }
    uv_mutex_unlock(&hyp->lock);
}

static void answer_open(struct es_hyp *hyp, const struct workers_seen *seen)
{
    es_hyp_done on_open = hyp->on_open;
    hyp->on_open = NULL;
    hyp->state = seen->status == 0 ? ES_HYP_UP : ES_HYP_DOWN;
    if (on_open != NULL)
        on_open(hyp->open_ctx, seen->status, seen->status != 0 ? &seen->err : NULL);
}

static void follow_workers(struct es_hyp *hyp)
{
    struct workers_seen seen;
    look_at_workers(hyp, &seen);
    switch (hyp->state) {
    case ES_HYP_OPENING:
        if (seen.answered)
            answer_open(hyp, &seen);
        break;
    case ES_HYP_UP:
        if (!seen.lost)
            break;
        hyp->state = ES_HYP_DOWN;
        es_hyp_audit_end(hyp);
        hyp->backoff_ms = BACKOFF_MIN_MS;
        back_off(hyp);
        /* libvirt does not tell its streams. */
        es_hyp_consoles_cancel(hyp, ES_ECONN, "libvirt has closed the connection");
        hyp->on_event(hyp->ctx, NULL, ES_HYP_LOST, "libvirt has closed the connection");
        break;
    case ES_HYP_DOWN:
        if (!seen.answered || uv_is_active((uv_handle_t *)&hyp->backoff))
            break;
        if (!seen.all_up) {
            back_off(hyp);
            break;
        }
        hyp->state = ES_HYP_UP;
        es_hyp_audit_begin(hyp);
        hyp->on_event(hyp->ctx, NULL, ES_HYP_CONNECTED, hyp->uri);
        break;
    case ES_HYP_CLOSING:
        seen.status =
            es_err_set(&seen.err, ES_ECANCELED, "the hypervisor is being closed");
        if (hyp->on_open != NULL)
            hyp->on_open(hyp->open_ctx, seen.status, &seen.err);
        hyp->on_open = NULL;
        break;
    }
}

static void on_async(uv_async_t *async)
{
    struct es_hyp *hyp = async->data;
    finish_jobs(hyp);
    follow_workers(hyp);
    es_hyp_maybe_closed(hyp);
}

/* ------------------------------------------------------------------ closing */

static void destroy(struct es_hyp *hyp)
{
    void (*on_closed)(void *) = hyp->on_closed;
    void *ctx = hyp->closed_ctx;
    uv_mutex_destroy(&hyp->lock);
    uv_cond_destroy(&hyp->wake);
    es_free(hyp->uri);
    es_free(hyp->accel);
    es_free(hyp->root);
    es_free(hyp);
    if (on_closed != NULL)
        on_closed(ctx);
}

void es_hyp_handle_closed(uv_handle_t *handle)
{
    struct es_hyp *hyp = handle->data;
    if (--hyp->open_handles == 0)
        destroy(hyp);
}

static void on_events_released(struct es_hyp_event_release *release)
{
    struct es_hyp *hyp = ES_CONTAINER(release, struct es_hyp, release);
    uv_close((uv_handle_t *)&hyp->async, es_hyp_handle_closed);
    uv_close((uv_handle_t *)&hyp->backoff, es_hyp_handle_closed);
    uv_close((uv_handle_t *)&hyp->audit, es_hyp_handle_closed);
    es_hyp_pressure_close(hyp);
}

void es_hyp_maybe_closed(struct es_hyp *hyp)
{
    struct workers_seen seen;
    if (hyp->state != ES_HYP_CLOSING || !hyp->handles_open)
        return;
    look_at_workers(hyp, &seen);
    if (seen.exited < hyp->worker_count || hyp->job_count > 0 ||
        !es_list_empty(&hyp->consoles) || !es_list_empty(&hyp->stops))
        return;
    for (int i = 0; i < hyp->worker_count; i++)
        uv_thread_join(&hyp->workers[i].thread);
    hyp->handles_open = false;
    es_hyp_event_release(&hyp->release, on_events_released);
}

void es_hyp_close(struct es_hyp *hyp, void (*on_closed)(void *ctx), void *ctx)
{
    if (hyp == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    ES_ASSERT(hyp->state != ES_HYP_CLOSING);
    hyp->state = ES_HYP_CLOSING;
    hyp->on_closed = on_closed;
    hyp->closed_ctx = ctx;
    uv_timer_stop(&hyp->backoff);
    es_hyp_audit_end(hyp);
    es_hyp_stops_cancel(hyp);
    es_hyp_consoles_cancel(hyp, ES_ECANCELED, "the hypervisor is being closed");
    uv_mutex_lock(&hyp->lock);
    hyp->stop = true;
    while (!es_list_empty(&hyp->queue)) {
        struct es_hyp_job *job = ES_CONTAINER(hyp->queue.next, struct es_hyp_job, link);
        es_list_remove(&job->link);
        job->status =
            es_err_set(&job->err, ES_ECANCELED, "the hypervisor is being closed");
        es_list_push(&hyp->finished, &job->link);
    }
    uv_cond_broadcast(&hyp->wake);
    uv_async_send(&hyp->async);
    uv_mutex_unlock(&hyp->lock);
}

/* ------------------------------------------------------------------ opening */

/* Errors come back to the callers; libvirt's own printing would double them. */
static void on_libvirt_error(void *ctx, virErrorPtr error)
{
    (void)ctx;
    es_log_debug("libvirt: %s", error->message != NULL ? error->message : "");
}

static int start_workers(struct es_hyp *hyp, int count, struct es_err *err)
{
    for (int i = 0; i < count; i++) {
        struct es_hyp_worker *w = &hyp->workers[i];
        *w = (struct es_hyp_worker){.hyp = hyp,
                                    .index = i,
                                    .open_wanted = true,
                                    .lifecycle_id = -1,
                                    .reboot_id = -1};
        int rc = uv_thread_create(&w->thread, worker_main, w);
        if (rc != 0)
            return es_err_set(err, ES_EIO, "cannot start a worker thread: %s",
                              uv_strerror(rc));
        hyp->worker_count = i + 1;
    }
    return 0;
}

static int init_handles(struct es_hyp *hyp, struct es_err *err)
{
    int rc = es_hyp_event_acquire(hyp->loop, err);
    if (rc != 0)
        return rc;
    rc = uv_async_init(hyp->loop, &hyp->async, on_async);
    ES_ASSERT(rc == 0); /* the loop's own pipe exists since the acquire */
    uv_timer_init(hyp->loop, &hyp->backoff);
    uv_timer_init(hyp->loop, &hyp->audit);
    hyp->async.data = hyp->backoff.data = hyp->audit.data = hyp;
    hyp->open_handles = 3;
    hyp->handles_open = true;
    es_hyp_pressure_open(hyp);
    return 0;
}

int es_hyp_open(uv_loop_t *loop, const struct es_hyp_config *config, es_hyp_done on_open,
                void *ctx, struct es_hyp **ret_hyp, struct es_err *err)
{
    ES_ASSERT(config->uri != NULL && config->on_event != NULL);
    int count = config->connections != 0 ? config->connections : ES_HYP_CONNECTIONS;
    if (count < 1 || count > ES_HYP_CONNECTIONS_MAX)
        return es_err_set(err, ES_EINVAL, "connections must be 1 to %d",
                          ES_HYP_CONNECTIONS_MAX);
    if (!es_str_eq(config->accel, "kvm") && !es_str_eq(config->accel, "tcg"))
        return es_err_set(err, ES_EINVAL, "the accelerator is \"kvm\" or \"tcg\"");
    struct es_hyp *hyp = es_calloc(1, sizeof *hyp);
    if (hyp == NULL)
        return es_err_nomem(err);
    hyp->loop = loop;
    hyp->uri = es_strdup(config->uri);
    hyp->accel = es_strdup(config->accel);
    hyp->root = es_strdup(config->root != NULL ? config->root : "");
    hyp->has_root = config->root != NULL;
    hyp->on_event = config->on_event;
    hyp->ctx = config->ctx;
    hyp->on_open = on_open;
    hyp->open_ctx = ctx;
    hyp->backoff_ms = BACKOFF_MIN_MS;
    hyp->is_test = es_str_starts(config->uri, "test:");
    es_list_init(&hyp->queue);
    es_list_init(&hyp->finished);
    es_list_init(&hyp->stops);
    es_list_init(&hyp->consoles);
    uv_mutex_init(&hyp->lock);
    uv_cond_init(&hyp->wake);
    virSetErrorFunc(NULL, on_libvirt_error);
    int rc = hyp->uri == NULL || hyp->accel == NULL || hyp->root == NULL
                 ? es_err_nomem(err)
                 : 0;
    if (rc == 0)
        rc = init_handles(hyp, err);
    if (rc != 0) {
        destroy(hyp);
        return rc;
    }
    rc = start_workers(hyp, count, err);
    if (rc != 0) {
        es_hyp_close(hyp, NULL, NULL);
        return rc;
    }
    *ret_hyp = hyp;
    return 0;
}
