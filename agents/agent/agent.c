/* The agent as a whole: its handles, and which op is run by what. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "enshu/common/log.h"
#include "enshu/common/str.h"

static void run_now(struct es_agent *agent, struct es_task *task, es_op_run *run)
{
    struct es_err err = {0};
    json_t *evidence = NULL;
    int rc = run(agent->root, task->request.args, task->deadline_ms, &evidence, &err);
    ES_ASSERT((rc == 0) == (evidence != NULL));
    es_session_finish(task, evidence, false, rc == 0 ? NULL : &err, es_probe_now_ms());
}

/* What runs on in one copy after another would be told to the core of each. */
static void quiet(struct es_agent *agent, struct es_task *task)
{
    struct es_err err = {0};
    if (agent->session.running_count == 1) {
        es_job_work(agent, task, es_op_quiet);
        return;
    }
    es_err_set(&err, ES_EBUSY, "quiet: %d other requests are running",
               agent->session.running_count - 1);
    es_session_finish(task, NULL, false, &err, es_probe_now_ms());
}

static void on_start(void *ctx, struct es_task *task)
{
    struct es_agent *agent = ctx;
    switch (task->request.op) {
    case ES_OP_PROBE:
        es_job_work(agent, task, es_probe_run);
        break;
    case ES_OP_EXEC:
        es_job_exec(agent, task);
        break;
    case ES_OP_PUT:
        run_now(agent, task, es_op_put);
        break;
    case ES_OP_GET:
        run_now(agent, task, es_op_get);
        break;
    case ES_OP_PERSONALISE:
        es_job_work(agent, task, es_op_personalise);
        break;
    case ES_OP_QUIET:
        quiet(agent, task);
        break;
    case ES_OP_POWER:
        es_job_work(agent, task, es_op_power);
        break;
    case ES_OP_CANCEL: /* the session's own */
        ES_ASSERT(task->request.op != ES_OP_CANCEL);
        break;
    }
}

static void on_stop(void *ctx, struct es_task *task)
{
    (void)ctx;
    es_job_stop(task);
}

static const struct es_session_events session_events = {on_start, on_stop};

/* ------------------------------------------------------------------ timers, signals */

static void on_beat(uv_timer_t *timer)
{
    struct es_agent *agent = timer->data;
    es_session_beat(&agent->session);
    es_agent_settle(agent);
}

static void on_deadline(uv_timer_t *timer)
{
    es_agent_settle(timer->data);
}

static void on_child(uv_signal_t *handle, int signum)
{
    struct es_agent *agent = handle->data;
    (void)signum;
    es_jobs_reap(agent);
    es_agent_settle(agent);
}

static void on_stop_signal(uv_signal_t *handle, int signum)
{
    struct es_agent *agent = handle->data;
    (void)signum;
    es_agent_close(agent);
}

void es_agent_settle(struct es_agent *agent)
{
    struct es_session *session = &agent->session;
    if (agent->closing)
        return;
    int64_t now_ms = es_probe_now_ms();
    int64_t next_ms = es_session_tick(session, now_ms);
    if (next_ms == INT64_MAX) {
        uv_timer_stop(&agent->deadline);
    } else {
        uv_update_time(&agent->loop);
        uv_timer_start(&agent->deadline, on_deadline,
                       next_ms > now_ms ? (uint64_t)(next_ms - now_ms) : 0, 0);
    }
    if (!session->synced)
        uv_timer_stop(&agent->beat);
    else if (!uv_is_active((uv_handle_t *)&agent->beat))
        uv_timer_start(&agent->beat, on_beat, ES_AGENT_BEAT_MS, ES_AGENT_BEAT_MS);
    es_port_flush(&agent->port);
}

/* ------------------------------------------------------------------ birth and end */

static void make_epoch(char dst[17])
{
    uint64_t value = 0;
    struct timespec ts;
    /* Early in a boot there may be no randomness yet; waiting for it could take minutes. */
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != (ssize_t)sizeof value) {
        int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && read(fd, &value, sizeof value) < 0)
            value = 0;
        if (fd >= 0)
            close(fd);
    }
    /* A guest whose randomness is the same at every boot still gets another epoch. */
    clock_gettime(CLOCK_REALTIME, &ts);
    value ^= (uint64_t)ts.tv_nsec << 32 ^ (uint64_t)ts.tv_sec ^ (uint64_t)getpid() << 16;
    snprintf(dst, 17, "%016llx", (unsigned long long)value);
}

static void read_boot_id(char dst[40])
{
    struct es_buf buf;
    es_buf_init(&buf, 64);
    int rc = es_etc_read("", "/proc/sys/kernel/random/boot_id", &buf, NULL);
    es_str_printf(dst, 40, "%.36s", rc == 0 && buf.len >= 36 ? buf.data : "unknown");
    es_buf_finish(&buf);
}

int es_agent_init(struct es_agent *agent, const char *root, struct es_err *err)
{
    static const int stops[] = {SIGTERM, SIGINT};
    char epoch[17], boot_id[40];
    memset(agent, 0, sizeof *agent);
    agent->root = root;
    es_list_init(&agent->jobs);
    make_epoch(epoch);
    read_boot_id(boot_id);
    if (es_session_init(&agent->session, &session_events, agent, epoch, boot_id) != 0)
        return es_err_nomem(err);
    int rc = uv_loop_init(&agent->loop);
    if (rc != 0)
        return es_err_set(err, ES_EIO, "no event loop: %s", uv_strerror(rc));
    uv_timer_init(&agent->loop, &agent->beat);
    uv_timer_init(&agent->loop, &agent->deadline);
    agent->beat.data = agent->deadline.data = agent;
    rc = uv_signal_init(&agent->loop, &agent->child);
    agent->child.data = agent;
    if (rc == 0)
        rc = uv_signal_start(&agent->child, on_child, SIGCHLD);
    for (size_t i = 0; i < ES_COUNT(stops) && rc == 0; i++) {
        rc = uv_signal_init(&agent->loop, &agent->stop[i]);
        agent->stop[i].data = agent;
        if (rc == 0)
            rc = uv_signal_start(&agent->stop[i], on_stop_signal, stops[i]);
    }
    return rc == 0 ? 0 : es_err_set(err, ES_EIO, "no signals: %s", uv_strerror(rc));
}

void es_agent_close(struct es_agent *agent)
{
    if (agent->closing)
        return;
    agent->closing = true;
    es_port_close(&agent->port);
    es_jobs_kill(agent);
    uv_close((uv_handle_t *)&agent->beat, NULL);
    uv_close((uv_handle_t *)&agent->deadline, NULL);
    uv_close((uv_handle_t *)&agent->child, NULL);
    for (size_t i = 0; i < ES_COUNT(agent->stop); i++)
        uv_close((uv_handle_t *)&agent->stop[i], NULL);
}
