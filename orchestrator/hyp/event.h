/* libvirt's event loop over uv.
 *
 * libvirt takes one event implementation for the life of a process and calls it from any
 * thread; uv handles belong to the loop's thread. So watches and timers are records under
 * a lock, changed by any thread, which then wakes the loop; the loop alone turns them into
 * uv handles, calls libvirt back and releases what was removed. Several watches on one
 * descriptor share one uv_poll. The implementation outlives a loop: it is bound to one
 * while something uses it and may be bound to another later. */
#ifndef ENSHU_HYP_EVENT_H
#define ENSHU_HYP_EVENT_H

#include <uv.h>

#include "enshu/common/err.h"

/* Registers with libvirt (once) and binds to the loop; counts its users. ES_ESTATE when
 * bound to another loop. [loop] */
int es_hyp_event_acquire(uv_loop_t *loop, struct es_err *err);
/* The last release closes the uv handles; on_closed is called when they are, never from
 * inside. [loop] */
struct es_hyp_event_release {
    struct es_hyp_event_release *next;
    void (*on_closed)(struct es_hyp_event_release *release);
};
void es_hyp_event_release(struct es_hyp_event_release *release,
                          void (*on_closed)(struct es_hyp_event_release *release));

#endif
