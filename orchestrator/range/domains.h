/* Machines by the name of their domain. */
#ifndef ORCHESTRATOR_RANGE_DOMAINS_H
#define ORCHESTRATOR_RANGE_DOMAINS_H

#include "inner.h"

int domains_index(struct range *r, struct es_err *err); /* once its machines are made */
/* NULL: none of ours. */
struct machine *domains_find(struct es_range_core *core, const char *name);

#endif
