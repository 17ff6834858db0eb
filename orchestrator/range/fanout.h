/* How far the machines of an `up` are: n of m ready, what the others do, how long it may
 * take still. Told at most once in FANOUT_EVERY_MS; of many machines, only those that fail
 * or wait for something are told one by one. */
#ifndef ORCHESTRATOR_RANGE_FANOUT_H
#define ORCHESTRATOR_RANGE_FANOUT_H

#include "inner.h"

#define FANOUT_EVERY_MS 500
#define FANOUT_MANY     100

struct fanout {
    uint64_t began_ms, told_ms;
    size_t ready_before; /* when it began */
    bool mould;          /* the moulds' turn, not the teams' */
};

void fanout_begin(struct fanout *fanout, const struct range *r, bool mould);
/* Whether a move of this machine is told by itself. */
bool fanout_tells(const struct machine *m);
/* The summary when it is time for one, a new reference, else NULL. */
json_t *fanout_summary(struct fanout *fanout, const struct range *r);

#endif
