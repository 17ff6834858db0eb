/* The ledger of one exercise: an append-only SQLite file (WAL, synchronous=FULL, one
 * writer), hash-chained, its head signed at the stop. The only room that includes
 * <sqlite3.h>.
 *
 * Chain: H(0) is the hash of the creation parameters; H(n) = BLAKE2b-256(H(n-1), the
 * canonical bytes of event n); each batch stores the hash after its last event and the
 * clock mark at its commit. Evidence, names and free text that must be erasable lie in
 * side tables and stand in the chain only as keyed hashes.
 *
 * Blocking calls are marked [worker]; es_store_commit is the way of the live core. */
#ifndef ENSHU_STORE_H
#define ENSHU_STORE_H

#include <uv.h>

#include "enshu/score.h"

#define ES_STORE_BATCH_MAX 8192  /* events */
#define ES_STORE_TEXT_MAX  65536 /* bytes of one event's text */
#define ES_STORE_RESERVE_BYTES                                                           \
    (4U << 20) /* kept free for the last pause on a full disk */

struct es_store;

/* Opens or creates [worker]. The tail is verified; a torn tail is impossible by SQLite's
 * journal, so damage is ES_ECORRUPT with the first bad position. */
int es_store_open(const char *path, bool create, struct es_store **ret_store,
                  struct es_err *err);
void es_store_close(struct es_store *store); /* after the last commit called back */

/* Commits events as one durable transaction on a worker and calls back on the loop; at
 * most one commit is in flight (ES_EBUSY). On success every event has its pos, in order.
 * Events and texts are borrowed until the callback. On failure nothing was stored; a full
 * disk is ES_EIO with `ret_full`, and es_store_commit_reserved can still record a pause. */
typedef void (*es_store_on_commit)(void *ctx, int status, const struct es_err *err);
int es_store_commit(struct es_store *store, uv_loop_t *loop,
                    const struct es_clock_mark *mark, struct es_event *events,
                    size_t count, es_store_on_commit on_commit, void *ctx,
                    struct es_err *err);
/* The same, blocking [worker]. */
int es_store_append(struct es_store *store, const struct es_clock_mark *mark,
                    struct es_event *events, size_t count, struct es_err *err);
/* Gives up the reserve, then appends; for the pause that a full disk forces. [worker] */
int es_store_append_reserved(struct es_store *store, const struct es_clock_mark *mark,
                             struct es_event *events, size_t count, struct es_err *err);

int64_t es_store_head(const struct es_store *store); /* pos of the last event; 0: empty */
/* The mark of the last batch; ES_ENOENT when there is none. */
int es_store_last_mark(const struct es_store *store, struct es_clock_mark *ret_mark);

/* Reads events from `from_pos` on in order; `each` returns 0 to go on. Text borrows. The
 * chain is verified on the way when `verify` (ES_ECORRUPT names the position). [worker] */
int es_store_read(struct es_store *store, int64_t from_pos, bool verify,
                  int (*each)(void *ctx, const struct es_event *event), void *ctx,
                  struct es_err *err);

/* Named blobs beside the chain (scenario bundle, evidence by its hash, team names): */
int es_store_put_blob(struct es_store *store, const char *name, const void *data,
                      size_t len, struct es_err *err);
int es_store_get_blob(struct es_store *store, const char *name, struct es_buf *out,
                      struct es_err *err);
int es_store_erase_blob(struct es_store *store, const char *name, struct es_err *err);

/* Signs the head with the installation's Ed25519 key (made on first use at `key_path`,
 * mode 0600) and stores signature and public key. */
int es_store_sign(struct es_store *store, const char *key_path, struct es_err *err);

struct es_store_check {
    int64_t events, batches;
    bool chain_ok, is_signed, signature_ok;
    int64_t bad_pos; /* 0: none */
    char head_hash[65];
};
/* The whole chain and the signature. [worker] */
int es_store_verify(struct es_store *store, struct es_store_check *ret_check,
                    struct es_err *err);
/* JSON lines: a head line, one line an event (with its hash), a closing line. [worker] */
int es_store_export(struct es_store *store,
                    int (*write)(void *ctx, const char *line, size_t len), void *ctx,
                    struct es_err *err);

#endif
