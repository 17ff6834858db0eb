/* Shared inside the hypervisor room.
 *
 * A call is a job: made on the loop, run by whichever worker thread is free on that
 * worker's own connection, finished on the loop. A worker opens, watches and closes its
 * connection itself. The loop owns everything but what the lock names. */
#ifndef ENSHU_HYP_INNER_H
#define ENSHU_HYP_INNER_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "enshu/common/list.h"
#include "enshu/common/mem.h"
#include "enshu/hyp.h"
#include "event.h"

#define ES_HYP_NS              "https://enshu.org/libvirt/1"
#define ES_HYP_CONNECTIONS_MAX 16

/* ------------------------------------------------------------------ calls and errors */

/* Before every call of libvirt: false (and *err set) when the planned failure is due. */
bool es_hyp_may_call(struct es_err *err, const char *step, const char *name);
/* libvirt's last error of this thread as "step name: message; remedy". Returns the code:
 * ES_ECONN when the connection is gone, else ES_EHYP. */
int es_hyp_error(struct es_err *err, const char *step, const char *name);
int es_hyp_last_code(void); /* VIR_ERR_… of this thread's last error */
/* Runs `call` if it may; on failure (its value compared with `bad`) sets *err. The name is
 * taken first: asking libvirt for one forgets its last error. */
#define ES_HYP_TRY(rc, err, step, name, bad, call)                                       \
    do {                                                                                 \
        const char *try_name_ = (name);                                                  \
        (rc) = 0;                                                                        \
        if (!es_hyp_may_call((err), (step), try_name_))                                  \
            (rc) = ES_EHYP;                                                              \
        else if ((call) == (bad))                                                        \
            (rc) = es_hyp_error((err), (step), try_name_);                               \
    } while (0)

/* ------------------------------------------------------------------ the handle */

enum es_hyp_state { ES_HYP_OPENING, ES_HYP_UP, ES_HYP_DOWN, ES_HYP_CLOSING };

struct es_hyp_worker {
    struct es_hyp *hyp;
    int index;
    uv_thread_t thread;
    bool joinable;      /* [loop] */
    virConnectPtr conn; /* of the worker's thread */
    int lifecycle_id, reboot_id;
    /* under the lock */
    bool open_wanted, up, lost, exited;
    struct es_err open_error;
    int open_status;
    bool open_answered;
};

struct es_hyp_objects;

struct es_hyp {
    uv_loop_t *loop;
    char *uri, *accel;
    void (*on_event)(void *ctx, const char *machine, enum es_hyp_event event,
                     const char *detail);
    void *ctx;
    enum es_hyp_state state;
    es_hyp_done on_open;
    void *open_ctx;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
    uv_async_t async;
    uv_timer_t backoff, audit;
    int open_handles;
    uint64_t backoff_ms;
    bool handles_open;
    struct es_hyp_event_release release;
    struct es_list stops; /* graceful stops that wait for their event */
    struct es_list consoles;
    int job_count;                /* made and not finished */
    struct es_hyp_objects *known; /* audit.c; NULL: not looking */
    size_t audits;

    char *root;        /* put before paths of the host */
    bool has_root;     /* a test's, so used with the test driver too */
    uv_poll_t pressed; /* pressure.c */
    int pressed_fd;    /* -1: the kernel does not tell */

    bool is_test; /* libvirt's test driver: no channels, one shared connection */
    uv_mutex_t lock;
    uv_cond_t wake;
    /* under the lock */
    struct es_list queue, finished;
    bool stop;
    virConnectPtr shared; /* test driver */
    struct es_hyp_worker workers[ES_HYP_CONNECTIONS_MAX];
    int worker_count;
};

struct es_hyp_job {
    struct es_list link;
    struct es_hyp *hyp;
    int (*run)(struct es_hyp_job *job, virConnectPtr conn,
               struct es_err *err); /* [worker] */
    /* [loop] Answers; then `destroy`. NULL: calls `done`. */
    void (*finish)(struct es_hyp_job *job);
    void (*destroy)(struct es_hyp_job *job); /* NULL: es_free */
    es_hyp_done done;
    void *ctx;
    int status;
    struct es_err err;
};

/* Hands the job to the workers and takes it; one whose status is set already is only
 * answered. */
void es_hyp_submit(struct es_hyp *hyp, struct es_hyp_job *job);
/* A zeroed job of `size` bytes, which begins with struct es_hyp_job. */
void *es_hyp_job_new(struct es_hyp *hyp, size_t size,
                     int (*run)(struct es_hyp_job *job, virConnectPtr conn,
                                struct es_err *err),
                     es_hyp_done done, void *ctx);
void es_hyp_job_answer(struct es_hyp_job *job); /* `done` with status and error */
/* [loop] From an event: a machine has stopped; ends graceful stops that wait for it. */
void es_hyp_stops_notice(struct es_hyp *hyp, const char *machine);
void es_hyp_stops_cancel(struct es_hyp *hyp);
/* [loop] audit.c: the connection is up again; a machine's end was told; no longer. */
void es_hyp_audit_begin(struct es_hyp *hyp);
void es_hyp_audit_notice(struct es_hyp *hyp, const char *machine);
void es_hyp_audit_end(struct es_hyp *hyp);
/* [loop] pressure.c: watches the host's memory; a handle of ours from then on. */
void es_hyp_pressure_open(struct es_hyp *hyp);
void es_hyp_pressure_close(struct es_hyp *hyp);
void es_hyp_handle_closed(uv_handle_t *handle); /* one of ours: the last one frees */
/* Whether machines run on this host, as processes that can be looked at. */
bool es_hyp_is_local(const struct es_hyp *hyp);
/* Ends every console with this reason. */
void es_hyp_consoles_cancel(struct es_hyp *hyp, int code, const char *why);
/* [loop] Something that kept the handle from closing is gone. */
void es_hyp_maybe_closed(struct es_hyp *hyp);

/* [worker] */
int es_hyp_events_register(struct es_hyp_worker *worker, struct es_err *err);
void es_hyp_events_deregister(struct es_hyp_worker *worker);

/* ------------------------------------------------------------------ objects */

/* Our metadata element, as found on an object. */
struct es_hyp_meta {
    char range[ES_NAME_MAX + 1], node[ES_NAME_MAX + 1], kind[16], hash[33];
    int team;
    uint32_t instance;
    bool forked;
};
/* Finds the element in an object's XML or metadata; false when it is not ours. */
bool es_hyp_meta_parse(const char *xml, struct es_hyp_meta *ret_meta);
/* [worker] 0, ES_ENOENT when the object is not ours, else an error. */
int es_hyp_domain_meta(virDomainPtr dom, struct es_hyp_meta *ret_meta,
                       struct es_err *err);
int es_hyp_network_meta(virNetworkPtr net, struct es_hyp_meta *ret_meta,
                        struct es_err *err);
/* [worker] Finds one of ours: ES_ENOENT when there is none of this name, ES_EEXIST when it
 * is a stranger's. */
int es_hyp_domain_ours(virConnectPtr conn, const char *name, virDomainPtr *ret_dom,
                       struct es_hyp_meta *ret_meta, struct es_err *err);
/* [worker] Ends and undefines a machine; one that is gone already is fine. */
int es_hyp_domain_destroy(virDomainPtr dom, struct es_err *err);
int es_hyp_network_destroy(virNetworkPtr net, struct es_err *err);
/* [worker] Ends the machine `name` of `range` if it is there; 1 when it runs with this hash
 * and so stays. */
int es_hyp_domain_make_way(virConnectPtr conn, const char *name, const char *range,
                           const char *hash_to_keep, struct es_err *err);
/* [worker] Suspends or resumes one of ours; one that is so already stays so. */
int es_hyp_domain_set_paused(virConnectPtr conn, const char *name, bool paused,
                             struct es_err *err);
/* "es-RANGE" */
void es_hyp_pool_name(char dst[ES_PLAN_NAME_MAX], const char *range);
/* Whether the pool is a range's: its name and UUID belong together. */
bool es_hyp_pool_is_ours(virStoragePoolPtr pool, char ret_range[ES_NAME_MAX + 1]);

#endif
