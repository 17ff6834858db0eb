/* Results that wait for the core's acknowledgement, as encoded lines in the order of their
 * seq. Pure. */
#ifndef ENSHU_AGENT_HELD_H
#define ENSHU_AGENT_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/common/buf.h"
#include "enshu/common/list.h"

#define ES_HELD_BYTES_MAX (8U << 20)

struct es_held {
    struct es_list list;
    struct es_list *unsent; /* the first item not yet sent on this connection, or list */
    size_t count;
    size_t bytes;
};

void es_held_init(struct es_held *held);
void es_held_finish(struct es_held *held);
/* Copies the line. ES_ENOMEM. */
int es_held_add(struct es_held *held, int64_t seq, int64_t id, const char *line,
                size_t len);
/* Forgets everything up to seq. */
void es_held_ack(struct es_held *held, int64_t seq);
/* All of them will be sent again. */
void es_held_rewind(struct es_held *held);
/* Appends lines not yet sent while `out` holds less than `until` bytes. */
void es_held_send(struct es_held *held, struct es_buf *out, size_t until);
/* Whether the result of `id` is held; appends its line again when it has been sent on this
 * connection already. */
bool es_held_resend(struct es_held *held, int64_t id, struct es_buf *out);

#endif
