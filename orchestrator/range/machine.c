/* One machine from its plan to READY: disk, start, the agent's hello, personalise, (mould:
 * setup), ready. A step that fails is tried again, alone, up to MACHINE_TRIES_MAX times.
 * The guest's agent may start anew at any time (a reboot): it is then personalised again. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inner.h"

const struct es_sm_state machine_states[] = {
#define X(name, word, allowed) [M_##name] = {word, allowed},
    MACHINE_STATE_MAP(X)
#undef X
};

enum machine_state machine_state(const struct machine *m)
{
    return (enum machine_state)es_sm_state(&m->sm);
}

int machine_init(struct machine *m, struct range *range, int index, struct es_err *err)
{
    const struct es_plan_machine *plan = &range->plan->machines[index];
    m->range = range;
    m->plan = plan;
    m->node = &range->scenario->nodes[plan->node];
    m->index = index;
    m->mould = plan->team == 0;
    if (plan->team > 0)
        es_str_printf(m->label, sizeof m->label, "t%d/%s", plan->team, m->node->name);
    else
        es_str_printf(m->label, sizeof m->label, "%s/%s", m->mould ? "mould" : "range",
                      m->node->name);
    es_sm_init(&m->sm, machine_states, M_PLANNED, m->label);
    es_list_init(&m->ops);
    /* Not those of a core before this one: an agent runs no id twice. */
    m->next_id = randombytes_random();
    m->baselines = json_object();
    int rc = es_str_printf(m->disk, sizeof m->disk, "%s/disks/%s.qcow2", range->dir,
                           plan->name);
    rc |= es_str_printf(m->serial_log, sizeof m->serial_log, "%s/log/%s.log", range->dir,
                        plan->name);
    /* Short on purpose: a socket address holds 107 bytes. */
    rc |= es_str_printf(m->channel, sizeof m->channel, "%s/%.8s.%d",
                        range->core->channel_dir, range->plan->machines[0].uuid, index);
    if (rc != 0)
        return es_err_set(err, ES_ELIMIT,
                          "%s: the state folder's path is too long; choose a shorter one",
                          m->label);
    rc = uv_timer_init(range->core->loop, &m->timer);
    ES_ASSERT(rc == 0);
    m->timer.data = m;
    m->timer_open = true;
    range->open_handles++;
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct machine *m = timer->data;
    void (*next)(struct machine *) = m->on_timer;
    m->on_timer = NULL;
    if (next != NULL && m->range->phase != R_LEAVING)
        next(m);
}

void machine_timer(struct machine *m, uint64_t ms, void (*next)(struct machine *m))
{
    m->on_timer = next;
    if (m->timer_open)
        uv_timer_start(&m->timer, on_timer, ms, 0);
}

void machine_set(struct machine *m, enum machine_state state, const char *detail)
{
    if ((int)state != es_sm_state(&m->sm))
        es_sm_move(&m->sm, (int)state);
    es_str_printf(m->detail, sizeof m->detail, "%s", detail != NULL ? detail : "");
    if (state == M_READY)
        m->ready_ms = uv_now(m->range->core->loop);
    bring_machine_progress(m);
    reset_machine_progress(m);
    park_progress(m);
    range_changed(m->range);
}

void machine_settle(struct machine *m, bool ok, const struct es_err *err)
{
    void (*settled)(struct machine *, bool, const struct es_err *) = m->on_settled;
    m->on_settled = NULL;
    if (settled != NULL)
        settled(m, ok, err);
}

void machine_release_boot(struct machine *m)
{
    if (m->has_boot_slot) {
        m->has_boot_slot = false;
        m->range->core->boots--;
        core_try_boots(m->range->core);
    }
    es_list_remove(&m->boot_link);
}

static void drop_ops(struct machine *m)
{
    ES_LIST_EACH (pos, tmp, &m->ops) {
        struct op *op = ES_CONTAINER(pos, struct op, link);
        es_list_remove(&op->link);
        struct es_result result = {.id = op->id, .ok = false};
        es_str_printf(result.error_code, sizeof result.error_code, "lost");
        es_str_printf(result.error_text, sizeof result.error_text,
                      "the connection to %s ended", m->label);
        if (op->done != NULL)
            op->done(m, &result, op->arg);
        es_free(op);
    }
}

static void on_link_closed(void *ctx)
{
    struct machine *m = ctx;
    m->link_closing = false;
    m->range->open_handles--;
    range_changed(m->range);
    if (m->range->phase == R_LEAVING)
        range_close(m->range, NULL, NULL);
}

void machine_close_link(struct machine *m)
{
    if (m->link == NULL)
        return;
    m->link_closing = true;
    es_link_close(m->link, on_link_closed);
    m->link = NULL;
    probing_forget(m);
    drop_ops(m);
}

static void on_retry(struct machine *m)
{
    machine_set(m, M_PLANNED, "trying again");
    machine_begin(m);
}

/* Down the ladder: what could not be forked twice is booted, unless a fork was asked for. */
static bool step_down(struct machine *m, const struct es_err *err)
{
    if (!m->forked || m->range->mode == MODE_FORK || err->code == ES_ECONN ||
        err->code == ES_ECANCELED || (m->tries < 2 && err->code != ES_EGUEST))
        return false;
    es_log_warn("%s: cannot be forked, is booted", m->label);
    es_str_printf(m->no_fork, sizeof m->no_fork, "%s", m->detail);
    return true;
}

/* A step went wrong: what, where, why. Tried again unless it was tried enough. */
void machine_fail(struct machine *m, const char *step, const struct es_err *cause)
{
    char text[ES_ERR_MSG_MAX];
    struct es_err err = *cause;
    es_err_prefix(&err, "%s: %s", m->label, step);
    es_str_printf(text, sizeof text, "%s: %s", step, cause->msg);
    es_log_warn("range %s: %s", m->range->name, err.msg);
    steps_abort(m);
    m->on_timer = NULL;
    machine_release_boot(m);
    machine_close_link(m);
    m->tries++;
    machine_set(m, M_FAILED, text);
    bool again = m->tries < MACHINE_TRIES_MAX && !m->range->aborting &&
                 err.code != ES_ECAPACITY && err.code != ES_ESTATE &&
                 (step_down(m, &err) || err.code != ES_EGUEST) &&
                 (m->range->phase == R_BRINGING || m->on_settled != NULL);
    if (again)
        machine_timer(m, 1000U << m->tries, on_retry);
    else {
        range_machine_event(m, ES_MEV_FAULT, text);
        machine_settle(m, false, &err);
    }
}

/* What waits for the hypervisor fails when that has answered. */
void machine_abort(struct machine *m, const struct es_err *err)
{
    enum machine_state state = machine_state(m);
    if (state == M_READY && m->freezing)
        machine_close_link(m); /* answers what it was asked */
    if (m->on_settled == NULL)
        return;
    if (state == M_QUEUED || state == M_BOOTING || state == M_PERSONALISING ||
        state == M_SETUP || state == M_CHECKING)
        machine_fail(m, machine_states[state].name, err);
    else if (state == M_FAILED) {
        m->on_timer = NULL;
        machine_settle(m, false, err);
    }
}

void machine_bring_up(struct machine *m)
{
    m->tries = 0;
    m->no_fork[0] = '\0'; /* what was in the way may be gone */
    m->instance++;
    machine_set(m, M_PLANNED, "");
    machine_begin(m);
}

/* ---------------------------------------------------------------- running before */

static const struct es_link_events link_events;

int machine_open_link(struct machine *m, struct es_err *err)
{
    ES_ASSERT(m->link == NULL);
    int rc = es_link_create(m->range->core->loop, m->label, m->channel, &link_events, m,
                            &m->link, err);
    if (rc != 0)
        return rc;
    m->range->open_handles++;
    es_link_open(m->link);
    effects_connected(m);
    return 0;
}

void machine_connect_again(struct machine *m)
{
    struct es_err err = {0};
    if (m->link == NULL || machine_state(m) != M_READY)
        return;
    machine_close_link(m);
    if (machine_open_link(m, &err) != 0)
        es_log_error("%s: %s", m->label, err.msg);
}

/* A machine that ran before this core did. */
void machine_adopt(struct machine *m, bool was_ready)
{
    struct es_err err = {0};
    m->own_done = was_ready;
    machine_set(m, was_ready ? M_READY : M_BOOTING,
                was_ready ? "" : "waiting for its agent");
    if (machine_open_link(m, &err) != 0) {
        machine_set(m, M_FAULT, err.msg);
        range_machine_event(m, ES_MEV_FAULT, err.msg);
    } else if (!was_ready)
        machine_timer(m, m->forked ? FORK_LIMIT_MS : BOOT_LIMIT_MS, machine_boot_late);
}

/* QEMU keeps the channel's socket over a guest's reboot; a question that gets no answer
 * makes the link synchronise again with the agent that comes after. */
void machine_rebooted(struct machine *m)
{
    struct es_err ignored = {0};
    if (m->link != NULL)
        machine_call(m, ES_OP_CANCEL, json_pack("{s:i}", "target", 1), 2000, 1024, NULL,
                     NULL, &ignored);
}

void machine_lost(struct machine *m, const char *cause)
{
    machine_set(m, M_FAULT, cause);
    range_machine_event(m, ES_MEV_FAULT, cause);
}

void machine_gone(struct machine *m, bool fault, const char *cause)
{
    enum machine_state state = machine_state(m);
    /* In the other states it is the end of a machine that was there before. */
    bool awaited = state == M_BOOTING || state == M_PERSONALISING || state == M_SETUP ||
                   state == M_CHECKING || state == M_READY || state == M_STOPPING ||
                   state == M_SUSPENDED || (state == M_WAKING && m->link != NULL);
    if (m->range->taking_down || m->resetting || !awaited)
        return;
    steps_abort(m);
    machine_close_link(m);
    machine_release_boot(m);
    m->done_epoch[0] = '\0';
    if (state == M_STOPPING) {
        m->on_timer = NULL;
        machine_set(m, M_DOWN, "stopped");
        machine_settle(m, true, NULL);
        return;
    }
    if (state != M_READY && state != M_SUSPENDED && state != M_WAKING) {
        struct es_err err = {0};
        es_err_set(&err, ES_EHYP, "the machine ended: %s", cause);
        machine_fail(m, machine_states[state].name, &err);
        return;
    }
    m->on_timer = NULL;
    fault |= state == M_SUSPENDED;
    machine_set(m, fault ? M_FAULT : M_DOWN, cause);
    range_machine_event(m, fault ? ES_MEV_FAULT : ES_MEV_DOWN, cause);
    if (state == M_WAKING) {
        struct es_err err = {0};
        es_err_set(&err, ES_EHYP, "%s ended: %s", m->label, cause);
        machine_settle(m, false, &err);
    }
}

/* ---------------------------------------------------------------- the agent's link */

static void on_link_state(void *ctx, struct es_link *link, enum es_link_state link_state,
                          const struct es_hello *hello, const struct es_err *why)
{
    struct machine *m = ctx;
    (void)link;
    if (m->link == NULL || m->range->phase == R_LEAVING)
        return;
    if (link_state == ES_LINK_BACKOFF && why != NULL)
        es_log_debug("%s: link: %s", m->label, why->msg);
    if (link_state != ES_LINK_UP) {
        range_changed(m->range);
        return;
    }
    bool fresh = !es_str_eq(m->epoch, hello->epoch);
    es_str_printf(m->epoch, sizeof m->epoch, "%s", hello->epoch);
    if (fresh) {
        m->seq_taken = m->seq_seen = m->seq_held = m->seq_acked = 0;
        es_str_printf(m->seq_epoch, sizeof m->seq_epoch, "%s", hello->epoch);
    }
    enum machine_state state = machine_state(m);
    if (state == M_BOOTING) {
        m->took.hello_us = machine_lap_us(m);
        m->on_timer = NULL;
        machine_personalise(m);
    } else if (state == M_WAKING) {
        machine_awake(m);
    } else if (state == M_READY && !es_str_eq(m->done_epoch, hello->epoch) &&
               m->done_epoch[0] != '\0') {
        es_log_info("%s: its agent started anew, personalising again", m->label);
        machine_personalise(m);
    } else if (state == M_READY && m->done_epoch[0] == '\0')
        es_str_printf(m->done_epoch, sizeof m->done_epoch, "%s", hello->epoch);
    if (m->clock_stale && machine_state(m) == M_READY)
        machine_set_clock(m);
    range_changed(m->range);
}

/* Acknowledges what is durable: everything before the oldest observation still held. */
void machine_ack(struct machine *m)
{
    int64_t upto = m->seq_held != 0 ? m->seq_held - 1 : m->seq_seen;
    if (upto <= m->seq_acked || m->link == NULL || m->range->held_back)
        return;
    m->seq_acked = upto;
    es_link_ack(m->link, m->seq_epoch, upto);
}

static struct op *find_op(struct machine *m, int64_t id)
{
    ES_LIST_EACH (pos, tmp, &m->ops) {
        struct op *op = ES_CONTAINER(pos, struct op, link);
        if (op->id == id)
            return op;
    }
    return NULL;
}

static void on_link_result(void *ctx, struct es_link *link,
                           const struct es_result *result)
{
    struct machine *m = ctx;
    int team, condition;
    (void)link;
    if (m->link == NULL || m->range->phase == R_LEAVING)
        return;
    bool is_probe = machine_id_probe(result->id, &team, &condition);
    if (is_probe && m->range->held_back)
        return; /* comes again when it can be kept */
    if (result->seq != 0 && es_str_eq(result->epoch, m->seq_epoch) &&
        result->seq > m->seq_seen)
        m->seq_seen = result->seq;
    if (is_probe) {
        observe_result(m, result);
        return;
    }
    struct op *op = find_op(m, result->id);
    if (op != NULL) {
        es_list_remove(&op->link);
        if (op->done != NULL)
            op->done(m, result, op->arg);
        es_free(op);
    }
    if (m->link != NULL)
        machine_ack(m);
}

static void on_link_part(void *ctx, struct es_link *link, int64_t id, const char *stream,
                         const char *data, size_t len)
{
    struct machine *m = ctx;
    (void)link;
    struct op *op = find_op(m, id);
    if (op != NULL && op->on_part != NULL)
        op->on_part(m, stream, data, len, op->arg);
}

static const struct es_link_events link_events = {
    .on_state = on_link_state, .on_result = on_link_result, .on_part = on_link_part};

/* Identities: 21 bits say which condition of which team a probe is for (0: no probe), 32
 * count. A restarted core so understands results an agent kept for it. */
#define ID_COUNT_BITS 32
#define ID_TEAM_BITS  10

static int64_t next_count(struct machine *m)
{
    m->next_id = (m->next_id + 1) & 0xffffffff;
    return m->next_id != 0 ? m->next_id : ++m->next_id;
}

int64_t machine_probe_id(struct machine *m, int team, int condition)
{
    ES_ASSERT(team >= 0 && team < 1 << ID_TEAM_BITS);
    return (((int64_t)condition + 1) << ID_TEAM_BITS | team) << ID_COUNT_BITS |
           next_count(m);
}

bool machine_id_probe(int64_t id, int *ret_team, int *ret_condition)
{
    int64_t high = id >> ID_COUNT_BITS;
    *ret_team = (int)(high & ((1 << ID_TEAM_BITS) - 1));
    *ret_condition = (int)(high >> ID_TEAM_BITS) - 1;
    return *ret_condition >= 0;
}

uint32_t machine_identity(const struct machine *m)
{
    return (uint32_t)(m->index + 1) << 10 | (m->instance & 0x3ff);
}

int machine_call(struct machine *m, enum es_wire_op op, json_t *args, int64_t deadline_ms,
                 int64_t max_bytes, on_op done, void *arg, struct es_err *err)
{
    return machine_call_stream(m, op, args, deadline_ms, max_bytes, done, NULL, arg, err);
}

int machine_call_stream(struct machine *m, enum es_wire_op wire_op, json_t *args,
                        int64_t deadline_ms, int64_t max_bytes, on_op done,
                        void (*on_part)(struct machine *m, const char *stream,
                                        const char *data, size_t len, void *arg),
                        void *arg, struct es_err *err)
{
    struct op *op = es_calloc(1, sizeof *op);
    if (op == NULL || args == NULL || m->link == NULL) {
        es_free(op);
        json_decref(args);
        return m->link == NULL
                   ? es_err_set(err, ES_ECONN, "%s: its agent is not connected", m->label)
                   : es_err_nomem(err);
    }
    op->id = next_count(m);
    op->done = done;
    op->arg = arg;
    op->on_part = on_part;
    struct es_request request = {.id = op->id,
                                 .op = wire_op,
                                 .args = args,
                                 .deadline_ms = deadline_ms,
                                 .max_bytes = max_bytes};
    int rc = es_link_send(m->link, &request, err);
    if (rc != 0) {
        es_free(op);
        return rc;
    }
    es_list_push(&m->ops, &op->link);
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct machine *m = handle->data;
    m->range->open_handles--;
    range_close(m->range, NULL, NULL);
}

void machine_close(struct machine *m)
{
    es_list_remove(&m->boot_link);
    if (m->has_boot_slot) {
        m->has_boot_slot = false;
        m->range->core->boots--;
    }
    struct es_err err = {0};
    es_err_set(&err, ES_ECANCELED, "%s: its range ends", m->label);
    steps_abort(m);
    machine_settle(m, false, &err);
    machine_close_link(m);
    if (m->timer_open) {
        m->timer_open = false;
        uv_close((uv_handle_t *)&m->timer, on_timer_closed);
    }
    json_decref(m->baselines);
    m->baselines = NULL;
}
