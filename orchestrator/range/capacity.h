/* The host's memory and processors, and who gets them. */
#ifndef ORCHESTRATOR_RANGE_CAPACITY_H
#define ORCHESTRATOR_RANGE_CAPACITY_H

#include "inner.h"

/* ---- roles.c: what rests on a node, for who stands still when memory is short */
enum { ROLE_FIXED = 1, ROLE_OBSERVED = 2 };
int roles_make(struct range *r, struct es_err *err);

/* ---- figures.c: what forks were measured to keep for themselves, beside their moulds */
void figures_read(struct range *r);
void figures_note(struct range *r); /* after each look at the host */

/* ---- capacity.c: the host's memory: who may start, who stands still */
int capacity_open(struct es_range_core *core, struct es_err *err);
void capacity_close(struct es_range_core *core);
void capacity_free(struct es_range_core *core);
void capacity_look(struct es_range_core *core); /* now, and not at the next turn */
/* Whether the range can come up on this host; *text tells the numbers. */
int capacity_fits(struct range *r, char *text, size_t size, struct es_err *err);
/* Of what a host has free now: takes away what those that run may still take. */
void capacity_host(const struct es_range_core *core, struct es_plan_host *host);
/* Whether the machine may start now; if not, its detail says what it waits for. */
bool capacity_admits(struct machine *m);
json_t *capacity_json(const struct es_range_core *core);
/* A suspended machine that ran before this core did. */
void capacity_adopt(struct machine *m);

#endif
