/* Inside the link room: one link, split over four files.
 *
 *   link.c      its life: states, connecting, back-off, closing
 *   requests.c  what is in flight: ids, deadlines, epochs
 *   read.c      what the guest says: throttling, sync, strikes, dispatch
 *   write.c     what it is told: one write at a time, acks put together
 *
 * Invariants: `pipe_open` is true exactly while the pipe handle is initialised and not
 * being closed; after a call out to the user, or to anything that may drop the connection,
 * check es_link_alive before touching the connection again. At most one write is in
 * flight, and `out` belongs to it. */
#ifndef ENSHU_LINK_INNER_H
#define ENSHU_LINK_INNER_H

#include "enshu/common/list.h"
#include "enshu/common/sm.h"
#include "enshu/link.h"

#define STRIKES        3
#define STRIKE_MS      60000U
#define WINDOW_MS      250U
#define WINDOW_BYTES   (ES_LINK_RATE_BYTES / 1000U * WINDOW_MS)
#define WINDOW_LINES   (ES_LINK_RATE_LINES * WINDOW_MS / 1000U)
#define FLUSH_BYTES    (256U << 10) /* stop filling one write here */
#define OUT_BYTES      (FLUSH_BYTES + 2 * ES_WIRE_LINE_MAX)
#define CANCEL_LIFE_MS 60000

struct es_link_ack {
    char epoch[17];
    int64_t seq; /* 0: nothing to say */
};

struct es_link {
    uv_loop_t *loop;
    char *name;
    char *path;
    const struct es_link_events *events;
    void *ctx;
    void (*on_closed)(void *ctx);
    struct es_link_times times;
    struct es_sm sm;

    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_write_t write;
    uv_timer_t state_timer;    /* sync patience, silence, back-off */
    uv_timer_t due_timer;      /* the nearest deadline */
    uv_timer_t throttle_timer; /* reading goes on */
    uv_prepare_t flush;        /* active while there is something to write */
    int handles;               /* initialised and not yet closed */
    bool pipe_open;
    bool closing;
    bool writing;

    char nonce[33];
    struct es_hello hello;
    char foreign[17]; /* an epoch no hello announced, already acted upon */
    uint64_t up_since_ms, heard_ms, result_ms;
    unsigned failures; /* in a row, for the back-off */

    struct es_lines lines;
    uint64_t window_ms; /* start of the counted window */
    size_t window_bytes, window_lines;
    uint64_t strike_ms[STRIKES];
    unsigned strikes;

    struct es_list requests; /* of struct flight, oldest first */
    size_t request_count, request_bytes;
    uint64_t due_armed_ms; /* 0: the due timer is off */

    struct es_buf out;
    struct es_link_ack acks[2];
};

static inline bool es_link_alive(const struct es_link *link)
{
    return link->pipe_open && !link->closing;
}

/* link.c */
void es_link_drop(struct es_link *link, const struct es_err *why);
void es_link_came_up(struct es_link *link, const struct es_hello *hello);

/* requests.c */
void es_link_requests_finish(struct es_link *link);
void es_link_requests_renew(struct es_link *link); /* all are to be written again */
void es_link_requests_lost(struct es_link *link);  /* ends those of another epoch */
/* The result's request is answered, if it is in flight. Whether it was one that may begin
 * an epoch. */
bool es_link_requests_answer(struct es_link *link, int64_t id);
/* Whether a chunk belongs to a request in flight and is not a repetition. */
bool es_link_requests_part(struct es_link *link, int64_t id, int64_t part_no);
/* Appends what is to be written, up to FLUSH_BYTES; *ret_more when some is left. */
int es_link_requests_put(struct es_link *link, struct es_buf *out, bool *ret_more);
void es_link_on_due(uv_timer_t *timer);

/* read.c */
int es_link_read_start(struct es_link *link);
void es_link_read_forget(struct es_link *link);
void es_link_on_throttle(uv_timer_t *timer);

/* write.c */
void es_link_wants_flush(struct es_link *link);
void es_link_on_flush(uv_prepare_t *prepare);
/* Writes `out`; nothing may be in flight. Drops the connection on failure. */
void es_link_write_out(struct es_link *link);

#endif
