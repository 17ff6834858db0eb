/* Inside the agent's program. One loop, one thread.
 *
 *   port.c      the virtio-serial port (or, in tests, a socket or pty): bytes
 *   session.c   the protocol: bytes <-> tasks
 *   job.c       tasks that are child processes
 *   op_*.c      what the ops do: files at once in the loop, everything else in a child
 *
 * A child is either a program (exec) or a worker: a fork of the agent that runs one
 * function (a probe, a personalisation), tells its result as JSON on its standard output,
 * and can hang or crash without harm. */
#ifndef ENSHU_AGENT_AGENT_H
#define ENSHU_AGENT_AGENT_H

#include <uv.h>

#include "../probe/spawn.h"
#include "session.h"

#define ES_AGENT_BEAT_MS 30000

struct es_port {
    struct es_agent *agent;
    const char *path; /* NULL: the virtio-serial port by its name */
    int fd;           /* -1: not open */
    int epoll_fd;     /* watches fd, is watched by the loop */
    uint32_t watched; /* what for */
    bool device;      /* stays open while the other side is closed */
    bool live;        /* the other side is there */
    uv_poll_t poll;
    uv_timer_t retry;
    uint64_t backoff_ms;
};

struct es_agent {
    uv_loop_t loop;
    const char *root; /* "" or, in tests, what stands for / */
    struct es_session session;
    struct es_port port;
    uv_timer_t beat, deadline;
    uv_signal_t child, stop[2];
    struct es_list jobs;
    bool closing;
};

/* ---- port.c ---- */
int es_port_open(struct es_port *port, struct es_agent *agent, const char *path,
                 struct es_err *err);
/* Writes what the session has for the core. */
void es_port_flush(struct es_port *port);
void es_port_close(struct es_port *port);

/* ---- agent.c ---- */
int es_agent_init(struct es_agent *agent, const char *root, struct es_err *err);
/* After anything that may have changed the session: writes, arms the timers. */
void es_agent_settle(struct es_agent *agent);
void es_agent_close(struct es_agent *agent);

/* ---- job.c ---- */
typedef int es_op_run(const char *root, const json_t *args, int64_t deadline_ms,
                      json_t **ret_evidence, struct es_err *err);
/* Both end the task themselves, at once when no child can be started. */
void es_job_work(struct es_agent *agent, struct es_task *task, es_op_run *run);
void es_job_exec(struct es_agent *agent, struct es_task *task);
void es_job_stop(struct es_task *task);
/* A child ended: SIGCHLD. */
void es_jobs_reap(struct es_agent *agent);
/* There is room for parts again. */
void es_jobs_resume(struct es_agent *agent);
void es_jobs_kill(struct es_agent *agent);

/* ---- op_*.c: NULL evidence and the error, or evidence (given) ---- */
es_op_run es_op_put, es_op_get, es_op_personalise, es_op_quiet, es_op_power;

#endif
