/* Agents without machines: each listens on a Unix socket, as QEMU does for a machine's
 * port, and speaks the agent's side of the protocol, well or badly. For tests and load.
 * [loop]
 *
 * A simulated agent holds its results until they are acknowledged and sends them again
 * after each sync; it knows the ids of its epoch and runs none twice (one whose result was
 * acknowledged is refused as "bad-request"); a fork's personalisation begins its next
 * epoch; one client at a time is served. */
#ifndef TESTS_SUPPORT_SIMAGENT_H
#define TESTS_SUPPORT_SIMAGENT_H

#include <uv.h>

#include "enshu/wire.h"

enum simagent_mode {
    SIMAGENT_GOOD,
    SIMAGENT_DEAF,        /* connects, never answers the sync */
    SIMAGENT_WRONG_NONCE, /* answers it with another nonce */
    SIMAGENT_OTHER_WIRE,  /* answers it with a wire version of the far future */
    SIMAGENT_NOISE,       /* answers it after half lines, an old hello and garbage */
    SIMAGENT_OTHER_TEAM,  /* claims to be another team's machine */
    SIMAGENT_GARBAGE,     /* answers requests with lines of garbage */
    SIMAGENT_ENDLESS,     /* after the hello sends a line that does not end */
    SIMAGENT_FLOOD,       /* after the hello sends heartbeats without pause */
    SIMAGENT_LATE,        /* answers after late_ms */
    SIMAGENT_NEVER,       /* answers no request */
    SIMAGENT_TWICE,       /* sends each result twice */
    SIMAGENT_BACKWARDS,   /* sends results in pairs, the later first */
    SIMAGENT_BAD_BASE64,  /* sends a chunk that is not base64 before each result */
    SIMAGENT_CHUNKS,      /* sends "ab", "cd" as chunks before each result */
    SIMAGENT_HALF_LINE,   /* breaks off in the middle of its next result, then is good */
};

struct simagent;

struct simagent_counts {
    int connections, syncs, requests, repeats, cancels, acks;
    int64_t bytes_sent;
    int64_t held, last_seq, acked_seq;
};

/* The evidence for a request (a new reference); NULL answers "unsupported". */
typedef json_t *simagent_answer_fn(void *ctx, struct simagent *agent,
                                   const struct es_request *request);
/* One held result is acknowledged, `waited_us` after it was first made. */
typedef void simagent_acked_fn(void *ctx, struct simagent *agent, const char *epoch,
                               int64_t seq, uint64_t waited_us);

/* NULL when memory is out or the socket cannot be made (errno-like code in *ret_uv). */
struct simagent *simagent_create(uv_loop_t *loop, const char *path, int *ret_uv);
/* Removes the socket; frees from the loop. */
void simagent_close(struct simagent *agent);

void simagent_set_mode(struct simagent *agent, enum simagent_mode mode, uint64_t late_ms);
/* Without an answer function each request is answered with {"op": OP, "sim": true}. */
void simagent_on_request(struct simagent *agent, simagent_answer_fn *answer, void *ctx);
void simagent_on_acked(struct simagent *agent, simagent_acked_fn *acked, void *ctx);

/* A result nobody asked for at this moment; takes evidence. False when it holds too many
 * already. */
bool simagent_emit(struct simagent *agent, int64_t id, json_t *evidence);
void simagent_beat(struct simagent *agent);
void simagent_raw(struct simagent *agent, const char *bytes, size_t len);
/* Closes the connection; results are kept. */
void simagent_disconnect(struct simagent *agent);
/* A new epoch with nothing held, as after a restart of the agent inside its guest: the
 * connection stays, and nothing is said before the next sync but results of the new
 * epoch. */
void simagent_restart(struct simagent *agent);

/* What it was asked so far it answered, and the answers are gone. */
void simagent_forget(struct simagent *agent);

const struct simagent_counts *simagent_counts(const struct simagent *agent);
const char *simagent_epoch(const struct simagent *agent);
const char *simagent_path(const struct simagent *agent);

#endif
