/* What simulated agents told the core, against what its ledger holds: each result once, by
 * an event of its own or within one that sums up what is steady. */
#ifndef TESTS_SUPPORT_CORE_ACCOUNT_H
#define TESTS_SUPPORT_CORE_ACCOUNT_H

#include "core_world.h"

/* From now on every result of a probe must be kept; w->acks counts those acknowledged. */
void account_begin(struct core_world *w);
/* No more is told, and what the agents hold was taken. */
void account_settle(struct core_world *w);
/* After account_settle and a pause or stop: all is there once. Gives the number of events
 * that hold it. */
size_t account_check(struct core_world *w);
/* How many of the results are in the chain by now. */
int64_t account_stored(struct core_world *w);

#endif
