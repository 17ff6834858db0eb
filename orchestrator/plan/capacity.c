/* What a plan takes of a host, and whether the host has it. */
#include "plan_inner.h"

#define MIB                (1LL << 20)
#define RESERVE_MEMORY_MIN (512 * MIB)
#define RESERVE_SHARE      16
#define RESERVE_DISK       (1024 * MIB)
/* A fork measured after a while still dirties pages. */
#define GROWTH_PERCENT 125
#define GROWTH_BYTES   (8 * MIB)
/* Until it is measured: a quarter of the guest's memory written, QEMU's share in full. */
#define ESTIMATE_SHARE 4

static long long mib(int64_t bytes)
{
    return (long long)((bytes + MIB - 1) / MIB);
}

int64_t es_plan_reserve(const struct es_plan_host *host)
{
    ES_ASSERT(host->total_bytes >= 0 && host->swap_bytes >= 0);
    int64_t reserve = host->total_bytes / RESERVE_SHARE;
    reserve = reserve > RESERVE_MEMORY_MIN ? reserve : RESERVE_MEMORY_MIN;
    int64_t in_swap = host->swap_bytes < reserve / 2 ? host->swap_bytes : reserve / 2;
    return reserve - in_swap;
}

int64_t es_plan_cost(int64_t guest_bytes, bool forked, int64_t measured_bytes)
{
    ES_ASSERT(guest_bytes >= 0 && measured_bytes >= 0);
    int64_t booted = guest_bytes + ES_PLAN_QEMU_BYTES;
    int64_t cost = ES_PLAN_QEMU_BYTES + guest_bytes / ESTIMATE_SHARE;
    if (!forked)
        return booted;
    if (measured_bytes > booted)
        return booted;
    if (measured_bytes > 0)
        cost = measured_bytes * GROWTH_PERCENT / 100 + GROWTH_BYTES;
    return cost < booted ? cost : booted;
}

void es_plan_need(const struct es_plan *plan, const int64_t *measured,
                  struct es_plan_need *need)
{
    *need = (struct es_plan_need){0};
    for (size_t i = 0; i < plan->machine_count; i++) {
        const struct es_plan_machine *m = &plan->machines[i];
        int64_t figure = measured != NULL ? measured[m->node] : 0;
        if (m->team == 0) /* the mould is gone when teams run */
            continue;
        bool forks = m->team > 0 && !plan->scenario->nodes[m->node].programme;
        need->guest_bytes += m->memory_bytes;
        need->qemu_bytes += ES_PLAN_QEMU_BYTES;
        need->forked_bytes += es_plan_cost(m->memory_bytes, forks, figure);
        need->measured += forks && figure > 0;
        need->estimated += forks && figure == 0;
    }
    ES_ASSERT(need->guest_bytes + need->qemu_bytes == plan->memory_bytes);
    ES_ASSERT(need->forked_bytes <= plan->memory_bytes);
}

static int memory_fits(const struct es_plan *plan, const struct es_plan_host *host,
                       const struct es_plan_need *forked, struct es_err *err)
{
    int64_t reserve = es_plan_reserve(host);
    int64_t need = forked != NULL ? forked->forked_bytes : plan->memory_bytes;
    if (host->memory_bytes == 0 || need <= host->memory_bytes - reserve)
        return 0;
    if (forked == NULL)
        return es_err_set(
            err, ES_ECAPACITY,
            "range %s needs %lld MiB of memory and the host has %lld MiB free, of which "
            "%lld MiB stay in reserve; use fewer teams or smaller machines",
            plan->range, mib(need), mib(host->memory_bytes), mib(reserve));
    return es_err_set(
        err, ES_ECAPACITY,
        "range %s needs %lld MiB of memory as forks (%zu machines measured, %zu "
        "estimated; "
        "%lld MiB if booted) and the host has %lld MiB free, of which %lld MiB stay in "
        "reserve; use fewer teams or smaller machines, or add swap",
        plan->range, mib(need), forked->measured, forked->estimated,
        mib(plan->memory_bytes), mib(host->memory_bytes), mib(reserve));
}

int es_plan_fits(const struct es_plan *plan, const struct es_plan_host *host,
                 const struct es_plan_need *forked, struct es_err *err)
{
    int rc = memory_fits(plan, host, forked, err);
    if (rc == 0 && host->disk_bytes != 0 &&
        plan->disk_bytes > host->disk_bytes - RESERVE_DISK)
        rc = es_err_set(err, ES_ECAPACITY,
                        "range %s needs %lld MiB of disk and %lld MiB are free, of which "
                        "%lld MiB stay in reserve; free some, use fewer teams or smaller "
                        "disks",
                        plan->range, mib(plan->disk_bytes), mib(host->disk_bytes),
                        mib(RESERVE_DISK));
    return rc;
}
