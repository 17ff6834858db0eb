/* Shared by capacity.c (admission, what is told), suspend.c (who stands still), shares.c. */
#ifndef ORCHESTRATOR_RANGE_CAPACITY_INNER_H
#define ORCHESTRATOR_RANGE_CAPACITY_INNER_H

#include "capacity.h"
#include "density.h"

/* Time is counted in turns of the timer, so that "for twenty seconds" is so many looks. */
#define LOOK_MS 2000
#define IDLE_MS 10000 /* between looks while there is no range */

enum shares_state { SHARES_UNKNOWN, SHARES_TEAM, SHARES_NONE };

struct capacity {
    struct es_range_core *core;
    uv_timer_t timer;
    bool asking;
    bool told; /* what follows is of the last look; else `why` it is not */
    char why[200];
    struct es_plan_host host;
    struct es_hyp_pressure memory, cpu, io;
    int64_t private_bytes;  /* of all machines seen */
    int64_t promised_bytes; /* what those that run may still take */
    size_t seen;
    int64_t now_ms; /* turns times LOOK_MS */
    struct density_state state;
    bool admit;
    int64_t blocked_ms; /* the first in the queue waits for memory since; 0: does not */
    enum shares_state shares;
    char shares_why[200];
    bool sharing;
    struct machine **list; /* of the last step, with `machines` */
    struct density_machine *machines;
    size_t list_cap;
};

/* suspend.c */
void suspend_step(struct capacity *capacity); /* after a look */
/* shares.c: the team's share of the processors for machines that lack it */
void shares_step(struct capacity *capacity);

#endif
