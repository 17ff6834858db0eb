/* What park.c (to sleep) and unpark.c (awake again) share.
 *
 *   park:    folder -> clock paused, PARKING committed -> all suspended -> each saved ->
 *            flushed -> PARKED committed
 *   unpark:  room looked for -> UNPARKING committed -> pool, networks -> each restored,
 *            suspended -> UNPARKED committed -> all resumed -> agents answer -> files removed
 *
 * What goes wrong before the last commit leads back: the parking is undone, the machines not
 * yet run are ended and stay files. Files are trusted until UNPARKED is committed and never
 * after it, for then disks change. */
#ifndef ORCHESTRATOR_RANGE_PARK_H
#define ORCHESTRATOR_RANGE_PARK_H

#include "inner.h"

/* Saved or restored at once; half the connections of the hypervisor are left to others. */
#define PARK_WIDE   (ES_HYP_CONNECTIONS / 2)
#define PARK_FOLDER "parked"

struct park {
    struct range *range;
    struct es_reply *reply; /* NULL: nobody waits for it */
    struct job job;
    json_t *who; /* {by, reason}, for the ledger */
    /* the walk over the machines in a state */
    enum machine_state state;
    size_t at, waiting, wide;
    bool walking;
    void (*one)(struct park *p, struct machine *m);
    void (*next)(struct park *p); /* after the walk, the job or the commit under way */
    bool failed;                  /* a step of a machine, or the ledger */
    bool undoing;                 /* it cannot be parked */
    bool disconnected;            /* libvirt is gone: it is mended when it is back */
    struct es_err first;          /* the first failure */
    size_t machines;              /* saved or restored */
    int64_t bytes;
    uint64_t began_ms;
};

/* Calls `one` for each machine in the state, at most `wide` at a time, and `next` when each
 * has arrived. */
void park_each(struct park *p, enum machine_state state, size_t wide,
               void (*one)(struct park *p, struct machine *m),
               void (*next)(struct park *p));
void park_arrived(struct park *p);
void park_note(struct park *p, int status, const struct es_err *err);
void park_tell(struct park *p, const char *text);
/* Commits a step; a failure is noted. */
void park_event(struct park *p, enum es_park_event what, const char *reason,
                void (*next)(struct park *p));
/* Work gets the range; how it ended `next` finds in p->job. */
void park_job(struct park *p, const char *what, void (*work)(struct job *job),
              void (*next)(struct park *p));
/* Ends it with the range in this phase; answers with what failed first, else with `result`
 * (taken). */
void park_finish(struct park *p, enum range_phase phase, json_t *result);
/* The method's beginning: the range, and what stands against it. NULL: answered. */
struct park *park_begin(struct es_range_core *core, const json_t *params,
                        struct es_reply *reply);

/* ---- unpark.c */
void park_undo(struct park *p);   /* to UP again: it could not be parked */
void park_return(struct park *p); /* to PARKED again: it could not be unparked */

/* ---- parked.c */
int parked_path(const struct range *r, const char *name, char *dst, size_t size);
void parked_file(const struct machine *m, char *dst, size_t size);
int64_t parked_bytes(const struct machine *m);         /* of its file; 0: none */
int parked_clear(struct range *r, struct es_err *err); /* blocks: [worker] */
int parked_keep(const struct range *r,
                struct es_err *err); /* the machines to come back */

#endif
