/* Disks that outlive their range. */
#ifndef ORCHESTRATOR_RANGE_PROGRAMME_H
#define ORCHESTRATOR_RANGE_PROGRAMME_H

#include "inner.h"

/* ---- programme.c: nodes with `lifetime: programme` */
bool range_keeps(const struct range *r);
bool machine_is_kept(const struct machine *m);
int programme_disk_path(const struct machine *m, char *dst, size_t size);
int programme_secret(struct range *r, struct es_err *err); /* takes or keeps r->secret */
int programme_check(const struct range *r, struct es_err *err); /* no other's [worker] */
/* Makes the disk unless it is there; `done` gets the machine. */
void programme_disk(struct machine *m, es_hyp_done done);
void programme_note(struct machine *m, const char *what); /* "setup", "ready": was done */
int programme_drop(struct machine *m,
                   struct es_err *err); /* the next start makes it anew */
json_t *programme_list(const struct es_range_core *core, const char *range); /* disks */
bool programme_exists(const struct es_range_core *core, const char *range);
int programme_remove(const struct es_range_core *core, const char *range,
                     struct es_err *err); /* [worker] */

#endif
