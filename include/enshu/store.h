/* The ledger of one exercise: an append-only SQLite file (WAL, synchronous=FULL, one
 * process at a time), hash-chained, its head signed at the stop. The only room that
 * includes <sqlite3.h>.
 *
 * Chain. H(0) = BLAKE2b-256("enshu ledger 1\n", the ledger's 16 random id bytes, created
 * wall time µs). A batch is what one commit stored: a clock mark and 0 … ES_STORE_BATCH_MAX
 * events. H(k) = BLAKE2b-256(H(k-1), batch k, its events in order), all numbers little
 * endian and of fixed width:
 *   batch  k i64, events i64, boottime_ms i64, ex_ms i64, wall_us i64, state i32,
 *          speed_permille i32, boot_id 40 bytes padded with zeros
 *   event  pos i64, ex_ms i64, b i64, epoch u64, seq i64, type i32, team i32,
 *          subject i32, a i32, instance u32, length u32, the text's bytes
 *          (length 0xffffffff: no text)
 * Signed are the bytes "enshu ledger head 1\n", id, batches i64, events i64, H(batches).
 * Evidence, names and free text that must be erasable lie in side tables and stand in the
 * chain only as keyed hashes; the key is erased with them.
 *
 * Life: open, append or commit …, sign, close. Blocking calls are marked [worker]; they may
 * come from several threads and wait for each other. es_store_commit is the way of the
 * live core. After an I/O error other than a full disk nobody knows what the disk kept: the
 * store then takes no more batches (ES_ESTATE) until it is closed and opened again, and
 * the state is rebuilt from what it holds. */
#ifndef ENSHU_STORE_H
#define ENSHU_STORE_H

#include <uv.h>

#include "enshu/common/buf.h"
#include "enshu/score.h"

#define ES_STORE_BATCH_MAX      8192        /* events */
#define ES_STORE_TEXT_MAX       65536       /* bytes of one event's text */
#define ES_STORE_BATCH_TEXT_MAX (32U << 20) /* bytes of all texts of a batch */
#define ES_STORE_BLOB_MAX       (64U << 20) /* bytes of one blob */
#define ES_STORE_STAGED_MAX     (16U << 20) /* bytes of evidence waiting for a commit */
#define ES_STORE_RESERVE_BYTES                                                           \
    (4U << 20) /* kept free for the last pause on a full disk, in PATH-reserve */

struct es_store;

/* Opens [worker], and creates what is missing when `create`. The last batch is verified; a
 * torn tail is impossible by SQLite's journal, so damage is ES_ECORRUPT with the first bad
 * position. ES_EBUSY when another process has it, ES_ENOENT when it is not there. */
int es_store_open(const char *path, bool create, struct es_store **ret_store,
                  struct es_err *err);
void es_store_close(struct es_store *store); /* after the last commit called back */

/* Commits events as one durable transaction on a worker and calls back on the loop; at
 * most one commit is in flight (ES_EBUSY). On success every event has its pos, in order,
 * from es_store_head + 1. No events: the mark alone is stored. Events and texts are
 * borrowed until the callback, the mark is copied. Texts are UTF-8. On failure no event was
 * acknowledged and every pos is 0; when es_store_is_full then says so, the disk is full
 * (ES_EIO) and es_store_commit_reserved can still record a pause. */
typedef void (*es_store_on_commit)(void *ctx, int status, const struct es_err *err);
int es_store_commit(struct es_store *store, uv_loop_t *loop,
                    const struct es_clock_mark *mark, struct es_event *events,
                    size_t count, es_store_on_commit on_commit, void *ctx,
                    struct es_err *err);
/* The same, blocking [worker]. */
int es_store_append(struct es_store *store, const struct es_clock_mark *mark,
                    struct es_event *events, size_t count, struct es_err *err);
/* Give up the reserve, then store; for the pause that a full disk forces. The reserve is
 * made again when the ledger is opened. [loop], [worker] */
int es_store_commit_reserved(struct es_store *store, uv_loop_t *loop,
                             const struct es_clock_mark *mark, struct es_event *events,
                             size_t count, es_store_on_commit on_commit, void *ctx,
                             struct es_err *err);
int es_store_append_reserved(struct es_store *store, const struct es_clock_mark *mark,
                             struct es_event *events, size_t count, struct es_err *err);
/* Whether the last commit failed for want of space. [any] */
bool es_store_is_full(const struct es_store *store);

int64_t es_store_head(const struct es_store *store); /* pos of the last event; 0: empty;
                                                        [any] */
/* The mark of the last commit; ES_ENOENT when there is none. [any] */
int es_store_last_mark(struct es_store *store, struct es_clock_mark *ret_mark);

/* Reads events from `from_pos` up to the head at the time of the call, in order; `each`
 * returns 0 to go on, anything else ends the reading and is returned. The event and its
 * text are borrowed for the call. With `verify` no event is handed out before the hash of
 * its batch was found right (ES_ECORRUPT names the position). Commits may go on
 * meanwhile. [worker] */
int es_store_read(struct es_store *store, int64_t from_pos, bool verify,
                  int (*each)(void *ctx, const struct es_event *event), void *ctx,
                  struct es_err *err);

/* The events whose type is in the set (bit 1U << type), unverified, many times faster than
 * reading all: for the corrections that a fold must know first. [worker] */
int es_store_read_types(struct es_store *store, uint32_t type_set,
                        int (*each)(void *ctx, const struct es_event *event), void *ctx,
                        struct es_err *err);

/* Named blobs beside the chain (scenario bundle, team names); durable on return. A name is
 * 1 … 200 bytes. Blobs named "scenario" or "scenario/…" travel with an export, all others
 * stay. An erased blob is overwritten in the file. get: ES_ENOENT, and ES_ECORRUPT when
 * evidence does not match its name. [worker] */
int es_store_put_blob(struct es_store *store, const char *name, const void *data,
                      size_t len, struct es_err *err);
int es_store_get_blob(struct es_store *store, const char *name, struct es_buf *out,
                      struct es_err *err);
int es_store_erase_blob(struct es_store *store, const char *name, struct es_err *err);
/* Evidence for an event of the next commit: copies; that commit stores it too, or drops it
 * when it fails. The name is a hash under a random key that is stored with the blob, so
 * that erasing the blob leaves nothing to guess by. ES_ELIMIT past ES_STORE_STAGED_MAX.
 * [any] */
int es_store_stage_evidence(struct es_store *store, const void *data, size_t len,
                            char ret_name[65], struct es_err *err);

/* Signs the head with the installation's Ed25519 key (made on first use at `key_path`,
 * mode 0600) and stores signature and public key. ES_EDENIED when others can read the key
 * file. [worker] */
int es_store_sign(struct es_store *store, const char *key_path, struct es_err *err);

/* Persons. The chain holds random ids; the name to each lies beside it, in the blob
 * "person/ID", and can be erased: the chain stays whole, and says no longer who it was. An
 * export has names on lines of their own. stage: makes an id, whose name goes with the
 * next commit; ES_EINVAL for a name that is not UTF-8 of 1 to 1000 bytes. [any] */
#define ES_STORE_PERSON_BYTES 19 /* "p-", 16 hex digits */
int es_store_stage_person(struct es_store *store, const char *name,
                          char ret_id[ES_STORE_PERSON_BYTES], struct es_err *err);
/* [worker] */
int es_store_read_persons(struct es_store *store,
                          int (*each)(void *ctx, const char *id, const char *name),
                          void *ctx, struct es_err *err);
/* Erases every person of that id or name; ES_ENOENT when there is none. [worker] */
int es_store_forget_person(struct es_store *store, const char *who, int *ret_count,
                           struct es_err *err);

/* Looks: observations that tell nothing new. They are kept beside the chain, so that each
 * is durable at once, until an event of it sums them up. Staged ones go with the next
 * commit, or are dropped when it fails; a commit of looks alone adds no batch to the chain
 * and keeps the mark beside it. `afresh`: those kept so far are summed up by events of that
 * commit, and go. Used: ex_ms, team, subject, a, instance, epoch, seq; copies. [any] */
int es_store_stage_looks(struct es_store *store, const struct es_event *looks,
                         size_t count, bool afresh, struct es_err *err);
/* All there are, in the order of their commits. [worker] */
int es_store_read_looks(struct es_store *store,
                        int (*each)(void *ctx, const struct es_event *look), void *ctx,
                        struct es_err *err);

struct es_store_check {
    int64_t events, batches;
    bool chain_ok, is_signed, signature_ok; /* signed: the head, not an earlier batch */
    int64_t bad_pos;                        /* 0: none */
    char head_hash[65];
    char public_key[65]; /* of the signature; compare it with the installation's */
};
/* The whole chain and the signature. Damage is told in *ret_check, not as an error.
 * [worker] */
int es_store_verify(struct es_store *store, struct es_store_check *ret_check,
                    struct es_err *err);

/* JSON lines, each with its newline, from which the chain can be recomputed [worker]:
 *   {"enshu_ledger": 2, "id": HEX, "created_us": N, "hash": H(0)}
 *   {"person": ID, "name": S}                             may be left out
 *   {"blob": NAME, "size": N, "off": N, "data": BASE64}   pieces, in order
 *   {"pos": N, "ex_ms": N, "type": N, "name": WORD, "team": N, "subject": N, "a": N,
 *    "b": N, "instance": N, "epoch": 16 HEX, "seq": N, "text": S}   text: absent if none
 *   {"batch": K, "events": N, "boot_id": S, "boottime_ms": N, "ex_ms": N, "state": N,
 *    "speed": N, "wall_us": N, "hash": H(K)}                after its events
 *   {"end": true, "events": N, "batches": K, "hash": H(K), "public_key": HEX,
 *    "signature": HEX}                                      the last two if signed
 * `write` returns 0 to go on, anything else ends it and is returned. */
int es_store_export(struct es_store *store,
                    int (*write)(void *ctx, const char *line, size_t len), void *ctx,
                    struct es_err *err);
/* Makes the ledger `path` from an exported file; every hash is recomputed, and ES_ECORRUPT
 * names the line that does not fit. Nothing is left at `path` on failure. [worker] */
int es_store_import(const char *export_path, const char *path, struct es_err *err);

#endif
