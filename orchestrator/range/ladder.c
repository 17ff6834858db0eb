/* The ladder: machines are forked where host and scenario allow, else booted. */
#include "inner.h"
#include "moulds.h"

int ladder_room(const struct range *r, struct es_err *err)
{
    int64_t needed = 0, left = core_disk_free(r->core);
    for (size_t i = 0; i < r->machine_count; i++)
        if (r->machines[i].mould)
            needed += r->machines[i].plan->memory_bytes;
    if (needed <= left)
        return 0;
    return es_err_set(err, ES_ECAPACITY,
                      "the memory of its moulds needs %lld MiB of disk, %lld are free in "
                      "%s; `enshu mould rm` makes room",
                      (long long)(needed >> 20), (long long)(left >> 20),
                      r->core->state_dir);
}

bool ladder_freezes_elsewhere(const struct range *r)
{
    ES_LIST_EACH (pos, tmp, &r->core->ranges) {
        const struct range *other = ES_CONTAINER(pos, struct range, link);
        if (other != r && other->freeze != NULL &&
            es_str_eq(other->frozen_key, r->frozen_key))
            return true;
    }
    return false;
}

void ladder_choose(struct range *r)
{
    size_t team_nodes = 0;
    for (size_t i = 0; i < r->machine_count; i++)
        team_nodes += r->machines[i].mould && !r->machines[i].node->programme;
    r->no_fork[0] = '\0';
    if (r->mode == MODE_BOOT)
        es_str_printf(r->no_fork, sizeof r->no_fork, "booting was asked for");
    else if (team_nodes == 0)
        es_str_printf(r->no_fork, sizeof r->no_fork,
                      "no machine belongs to a team and passes with the range");
    else
        es_hyp_can_fork(r->core->hyp, &r->core->info, r->no_fork, sizeof r->no_fork);
}
