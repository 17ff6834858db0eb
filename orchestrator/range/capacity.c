/* The host's memory, looked at every other second: who may start. A machine starts when
 * what it is expected to take (es_plan_cost) fits beside what those that run may still take
 * and a reserve; until then it waits in the queue and says so. Without a look at the host
 * (another one's, libvirt's test driver) the check at `up` is all there is. */
#include "capacity_inner.h"

#include <stdio.h>
#include <string.h>

#include "domains.h"

#define MIB           (1LL << 20)
#define WAIT_LIMIT_MS 120000 /* for memory, while nothing else is under way */

static long long mib(int64_t bytes)
{
    return (long long)(bytes / MIB);
}

/* ---------------------------------------------------------------- what machines take */

static int64_t cost_of(const struct machine *m)
{
    return es_plan_cost(m->plan->memory_bytes, m->forked && !m->whole,
                        m->range->measured[m->plan->node]);
}

static bool holds_memory(const struct machine *m)
{
    switch (machine_state(m)) {
    case M_STARTING:
    case M_BOOTING:
    case M_PERSONALISING:
    case M_SETUP:
    case M_CHECKING:
    case M_READY:
    case M_SUSPENDED:
    case M_STOPPING:
    case M_PARKING:
    case M_WAKING:
        return true;
    default:
        return false;
    }
}

static int64_t promised(const struct es_range_core *core)
{
    int64_t promised_bytes = 0;
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        const struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++) {
            const struct machine *m = &r->machines[i];
            int64_t cost = holds_memory(m) ? cost_of(m) : 0;
            promised_bytes += cost > m->private_bytes ? cost - m->private_bytes : 0;
        }
    }
    return promised_bytes;
}

static void add_up(struct capacity *c)
{
    c->private_bytes = 0;
    c->promised_bytes = promised(c->core);
    ES_LIST_EACH (pos, tmp, &c->core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++) {
            struct machine *m = &r->machines[i];
            c->private_bytes += m->private_bytes;
            m->looks += machine_state(m) == M_READY && m->private_bytes > 0;
        }
        figures_note(r);
    }
}

static void take(struct capacity *c, const struct es_hyp_usage *usage)
{
    ES_LIST_EACH (pos, tmp, &c->core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++)
            r->machines[i].private_bytes = 0;
    }
    c->seen = 0;
    for (size_t i = 0; i < usage->machine_count; i++) {
        struct machine *m = domains_find(c->core, usage->machines[i].name);
        if (m == NULL)
            continue;
        m->private_bytes = usage->machines[i].private_bytes;
        c->seen++;
    }
    c->told = true;
    c->host = usage->host;
    c->memory = usage->memory;
    c->cpu = usage->cpu;
    c->io = usage->io;
    add_up(c);
}

/* ---------------------------------------------------------------- admission */

void capacity_host(const struct es_range_core *core, struct es_plan_host *host)
{
    const struct capacity *c = core->capacity;
    if (!c->told)
        return;
    host->total_bytes = c->host.total_bytes;
    host->swap_bytes = c->host.swap_bytes;
    host->memory_bytes -= promised(core);
    if (host->memory_bytes <= 0)
        host->memory_bytes = 1; /* none, which is not "not known" */
}

static int64_t room_of(const struct capacity *c)
{
    return c->host.memory_bytes - c->promised_bytes - es_plan_reserve(&c->host);
}

static void say_wait(const struct capacity *c, const struct machine *m, char *text,
                     size_t size)
{
    if (!c->admit)
        es_str_printf(text, size, "waiting: memory is %s on the host",
                      density_level_name(c->state.level));
    else
        es_str_printf(text, size,
                      "waiting for memory: needs %lld MiB, %lld MiB are free, of which "
                      "%lld MiB are for what runs and %lld MiB stay in reserve",
                      mib(cost_of(m)), mib(c->host.memory_bytes), mib(c->promised_bytes),
                      mib(es_plan_reserve(&c->host)));
}

bool capacity_admits(struct machine *m)
{
    struct capacity *c = m->range->core->capacity;
    char text[200];
    if (!c->told || c->host.memory_bytes == 0)
        return true;
    if (c->admit && cost_of(m) <= room_of(c)) {
        c->promised_bytes += cost_of(m);
        c->blocked_ms = 0;
        return true;
    }
    if (c->blocked_ms == 0)
        c->blocked_ms = c->now_ms;
    say_wait(c, m, text, sizeof text);
    if (!es_str_eq(text, m->detail))
        machine_set(m, M_QUEUED, text);
    return false;
}

/* Nothing that runs makes room any more: whoever waits is told. */
static void end_waiting(struct capacity *c)
{
    struct es_range_core *core = c->core;
    while (c->blocked_ms != 0 && core->boots == 0 &&
           c->now_ms - c->blocked_ms >= WAIT_LIMIT_MS &&
           !es_list_empty(&core->boot_queue)) {
        struct machine *m =
            ES_CONTAINER(core->boot_queue.next, struct machine, boot_link);
        struct es_err err = {0};
        char text[200];
        say_wait(c, m, text, sizeof text);
        es_err_set(&err, ES_ECAPACITY,
                   "%s; use fewer teams or smaller machines, or add swap", text);
        es_list_remove(&m->boot_link);
        machine_fail(m, "wait for its turn", &err);
    }
    if (es_list_empty(&core->boot_queue))
        c->blocked_ms = 0;
}

int capacity_fits(struct range *r, char *text, size_t size, struct es_err *err)
{
    struct capacity *c = r->core->capacity;
    struct es_plan_host host = c->told ? c->host : r->core->info.host;
    struct es_plan_need need;
    bool forks = r->no_fork[0] == '\0';
    figures_read(r);
    es_plan_need(r->plan, r->measured, &need);
    host.disk_bytes = core_disk_free(r->core);
    host.memory_bytes -= c->told ? c->promised_bytes : 0;
    for (size_t i = 0; i < r->machine_count; i++) /* these are not needed again */
        if (holds_memory(&r->machines[i]) && !r->machines[i].mould)
            host.memory_bytes += cost_of(&r->machines[i]);
    if (host.memory_bytes <= 0)
        host.memory_bytes = 1; /* none, which is not "not known" */
    if (forks)
        es_str_printf(text, size,
                      "forks take %lld MiB (%zu machines measured, %zu estimated; "
                      "configured %lld MiB), %lld MiB are free, %lld MiB of them reserve",
                      mib(need.forked_bytes), need.measured, need.estimated,
                      mib(r->plan->memory_bytes), mib(host.memory_bytes),
                      mib(es_plan_reserve(&host)));
    else
        es_str_printf(text, size, "machines take %lld MiB, %lld MiB are free",
                      mib(r->plan->memory_bytes), mib(host.memory_bytes));
    return es_plan_fits(r->plan, &host, forks ? &need : NULL, err);
}

/* ---------------------------------------------------------------- looking */

static void on_usage(void *ctx, int status, const struct es_hyp_usage *usage,
                     const struct es_err *err)
{
    struct es_range_core *core = ctx;
    struct capacity *c = core->capacity;
    c->asking = false;
    if (core->closing)
        return;
    if (status != 0) {
        c->told = false;
        c->admit = true;
        es_str_printf(c->why, sizeof c->why, "%s", err->msg);
    } else {
        take(c, usage);
        suspend_step(c);
        shares_step(c);
    }
    core_try_boots(core);
    end_waiting(c);
}

void capacity_look(struct es_range_core *core)
{
    struct capacity *c = core->capacity;
    if (c->asking || core->hyp == NULL || core->closing)
        return;
    c->asking = es_hyp_usage(core->hyp, on_usage, core) == 0;
}

static uint64_t turn_ms(const struct es_range_core *core)
{
    if (core->look_ms != 0)
        return core->look_ms;
    return core->range_count > 0 ? LOOK_MS : IDLE_MS;
}

static void on_turn(uv_timer_t *timer)
{
    struct capacity *c = timer->data;
    c->now_ms += LOOK_MS;
    capacity_look(c->core);
    uv_timer_start(timer, on_turn, turn_ms(c->core), 0);
}

int capacity_open(struct es_range_core *core, struct es_err *err)
{
    struct capacity *c = es_calloc(1, sizeof *c);
    if (c == NULL)
        return es_err_nomem(err);
    c->core = core;
    c->admit = true;
    c->now_ms = LOOK_MS;
    es_str_printf(c->why, sizeof c->why, "the host was not looked at yet");
    core->capacity = c;
    uv_timer_init(core->loop, &c->timer);
    c->timer.data = c;
    core->open_handles++;
    uv_timer_start(&c->timer, on_turn, turn_ms(core), 0);
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct capacity *c = handle->data;
    c->core->open_handles--;
    core_maybe_closed(c->core);
}

void capacity_close(struct es_range_core *core)
{
    if (core->capacity != NULL)
        uv_close((uv_handle_t *)&core->capacity->timer, on_timer_closed);
}

void capacity_free(struct es_range_core *core)
{
    if (core->capacity == NULL)
        return;
    es_free(core->capacity->list);
    es_free(core->capacity->machines);
    es_free(core->capacity);
}

/* ---------------------------------------------------------------- telling */

/* In per cent; null: the kernel does not tell. */
static json_t *pressure_json(const struct es_hyp_pressure *pressure)
{
    return json_pack(
        "{s:o, s:o}", "some",
        pressure->some < 0 ? json_null() : json_real(pressure->some / 100.0), "full",
        pressure->full < 0 ? json_null() : json_real(pressure->full / 100.0));
}

static size_t suspended(const struct es_range_core *core)
{
    size_t count = 0;
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        const struct range *r = ES_CONTAINER(pos, struct range, link);
        for (size_t i = 0; i < r->machine_count; i++)
            count += machine_state(&r->machines[i]) == M_SUSPENDED;
    }
    return count;
}

static size_t waiting(const struct es_range_core *core)
{
    size_t count = 0;
    ES_LIST_EACH (pos, tmp, &core->boot_queue)
        count++;
    return count;
}

json_t *capacity_json(const struct es_range_core *core)
{
    const struct capacity *c = core->capacity;
    static const char *const shares[] = {"not known", "team", "machine"};
    json_t *json =
        json_pack("{s:b, s:s, s:I, s:b, s:s, s:s}", "measured", c->told, "level",
                  density_level_name(c->state.level), "waiting",
                  (json_int_t)waiting(core), "waiting_for_memory", c->blocked_ms != 0,
                  "shares_by", shares[c->shares], "shares_why", c->shares_why);
    if (!c->told) {
        json_object_set_new(json, "why", json_string(c->why));
        return json;
    }
    json_object_set_new(json, "memory",
                        json_pack("{s:I, s:I, s:I, s:I, s:I}", "total_bytes",
                                  (json_int_t)c->host.total_bytes, "available_bytes",
                                  (json_int_t)c->host.memory_bytes, "swap_free_bytes",
                                  (json_int_t)c->host.swap_bytes, "reserve_bytes",
                                  (json_int_t)es_plan_reserve(&c->host), "promised_bytes",
                                  (json_int_t)c->promised_bytes));
    json_object_set_new(json, "machines",
                        json_pack("{s:I, s:I, s:I}", "running", (json_int_t)c->seen,
                                  "private_bytes", (json_int_t)c->private_bytes,
                                  "suspended", (json_int_t)suspended(core)));
    json_object_set_new(json, "pressure",
                        json_pack("{s:o, s:o, s:o}", "memory", pressure_json(&c->memory),
                                  "cpu", pressure_json(&c->cpu), "io",
                                  pressure_json(&c->io)));
    return json;
}
