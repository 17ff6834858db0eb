/* What the files of the room share. One SQLite connection, opened without a mutex of its
 * own; `lock` is held for every use of it, `state_lock` only for moments, so the loop never
 * waits for a disk. */
#ifndef STORE_INNER_H
#define STORE_INNER_H

#include <sodium.h>
#include <sqlite3.h>

#include "enshu/store.h"

#define APPLICATION_ID 0x456e7368 /* "Ensh" */
#define FORMAT         2
#define HASH_BYTES     32
#define ID_BYTES       16
#define NO_TEXT        0xffffffffU
#define EVENT_BYTES    64
#define BATCH_BYTES    88

struct evidence {
    struct evidence *next;
    char name[65];
    bool is_keyed; /* the name is the hash under the key; else it is given */
    unsigned char key[HASH_BYTES];
    size_t len;
    unsigned char data[];
};

/* Looks that wait for a commit. */
struct looks {
    struct es_event *items;
    size_t count, cap;
    bool afresh;
};

/* A batch's row: what the chain covers beside the events. */
struct batch {
    int64_t id, count, last_pos, wall_us;
    struct es_clock_mark mark;
    unsigned char hash[HASH_BYTES];
};

struct commit_req {
    uv_work_t work;
    struct es_store *store;
    struct es_clock_mark mark;
    struct es_event *events;
    size_t count;
    struct evidence *evidence;
    struct looks looks;
    bool reserved;
    es_store_on_commit on_commit;
    void *ctx;
    int status;
    struct es_err err;
};

enum stmt {
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_ROLLBACK,
    STMT_ADD_EVENT,
    STMT_ADD_BATCH,
    STMT_PUT_BLOB,
    STMT_GET_BLOB,
    STMT_ERASE_BLOB,
    STMT_NEXT_BLOB,
    STMT_BATCH_AT,
    STMT_SCAN_BATCHES,
    STMT_SCAN_EVENTS,
    STMT_SCAN_TYPES,
    STMT_ADD_LOOK,
    STMT_CLEAR_LOOKS,
    STMT_SCAN_LOOKS,
    STMT_PUT_MARK,
    STMT_GET_MARK,
    STMT_COUNT
};

struct es_store {
    sqlite3 *db;
    char *path, *reserve_path;
    sqlite3_stmt *stmts[STMT_COUNT];
    unsigned char id[ID_BYTES];
    int64_t created_us;
    unsigned char origin[HASH_BYTES]; /* H(0) */
    uv_mutex_t lock;                  /* the connection and what a commit changes */
    uv_mutex_t turn;                  /* held while waiting for `lock` */
    bool is_broken;                   /* under lock */
    int last_rc;               /* SQLite's code behind the last error; under lock */
    uv_mutex_t state_lock;     /* the rest */
    struct batch head;         /* id 0 and hash H(0) while there is none */
    struct es_clock_mark mark; /* of the last commit */
    bool has_mark;
    bool is_full;
    struct evidence *staged;
    size_t staged_bytes;
    struct looks looks;
    bool in_flight; /* [loop] */
    struct commit_req req;
};

/* ---- db.c: the connection */
int db_fail(struct es_store *store, int rc, const char *what, struct es_err *err);
int db_open(struct es_store *store, bool create, struct es_err *err);
int db_exec(struct es_store *store, const char *sql, struct es_err *err);
int db_prepare(struct es_store *store, const char *sql, sqlite3_stmt **ret_stmt,
               struct es_err *err);
/* A statement that lives as long as the store, reset and without bindings. */
int db_stmt(struct es_store *store, enum stmt which, sqlite3_stmt **ret_stmt,
            struct es_err *err);
/* Runs a statement without rows to its end and resets it. */
int db_run(struct es_store *store, sqlite3_stmt *stmt, const char *what,
           struct es_err *err);
int db_begin(struct es_store *store, struct es_err *err);
int db_commit(struct es_store *store, struct es_err *err);
void db_rollback(struct es_store *store); /* leaves no transaction open */
void db_close(struct es_store *store);

/* ---- chain.c: canonical bytes and hashes */
struct chain {
    crypto_generichash_state state;
    unsigned char bytes[4096];
    size_t used;
};
void chain_origin(const unsigned char id[ID_BYTES], int64_t created_us,
                  unsigned char ret_hash[HASH_BYTES]);
void chain_begin(struct chain *chain, const unsigned char prev[HASH_BYTES],
                 const struct batch *batch);
void chain_event(struct chain *chain, const struct es_event *event, size_t text_len);
void chain_end(struct chain *chain, unsigned char ret_hash[HASH_BYTES]);
/* What a signature covers: "enshu ledger head 1\n", id, batches, events, hash. */
#define HEAD_BYTES (20 + ID_BYTES + 8 + 8 + HASH_BYTES)
void chain_head(const unsigned char id[ID_BYTES], const struct batch *head,
                unsigned char ret_bytes[HEAD_BYTES]);

/* ---- commit.c */
int64_t wall_us(void);
/* Stores one batch and what was staged for it; the caller holds no lock. */
int store_batch(struct es_store *store, const struct es_clock_mark *mark,
                struct es_event *events, size_t count, const struct evidence *evidence,
                const struct looks *looks, int64_t at_wall_us, struct es_err *err);
struct batch head_of(struct es_store *store);

/* ---- blob.c */
struct evidence *take_evidence(struct es_store *store); /* what is staged; gives */
void drop_evidence(struct evidence *list);
/* Within the caller's transaction. */
int put_blob(struct es_store *store, const char *name, const unsigned char *key,
             const void *data, size_t len, struct es_err *err);
/* A blob of a given name, for the next commit. */
int stage_blob(struct es_store *store, const char *name, const void *data, size_t len,
               struct es_err *err);
/* The first blob behind `name` that the pattern of SQLite's GLOB fits, into `name`; empty:
 * none. No statement stays open. */
int next_blob(struct es_store *store, const char *glob, struct es_buf *name,
              struct es_err *err);
int check_writable(struct es_store *store, struct es_err *err);
/* Ends a transaction of the caller: commits when status is 0, else rolls back. Whatever
 * leaves the disk's content in doubt breaks the store. */
int end_write(struct es_store *store, int status, struct es_err *err);

/* ---- person.c */
int put_person(struct es_store *store, const char *id, const char *name,
               struct es_err *err);

/* ---- look.c */
struct looks take_looks(struct es_store *store); /* what is staged; gives */
void drop_looks(struct looks *looks);
/* Within the caller's transaction. */
int put_looks(struct es_store *store, const struct looks *looks, struct es_err *err);
int put_mark(struct es_store *store, const struct es_clock_mark *mark,
             const struct batch *head, struct es_err *err);
/* The last mark, from the head or from beside the chain, into the store. */
int read_mark(struct es_store *store, struct es_err *err);

/* ---- sign.c */
struct signature {
    int64_t batch; /* 0: none */
    unsigned char public_key[crypto_sign_PUBLICKEYBYTES];
    unsigned char bytes[crypto_sign_BYTES];
};
/* The latest. Under lock. */
int read_signature(struct es_store *store, struct signature *ret_signature,
                   struct es_err *err);
int add_signature(struct es_store *store, const struct signature *signature,
                  struct es_err *err);
bool signature_fits(const struct signature *signature, const struct es_store *store,
                    const struct batch *head);

/* ---- store.c */
/* Takes `lock`, in turn: who reads the whole ledger chunk by chunk lets in who waits. */
void store_lock(struct es_store *store);
/* Makes a ledger with a given identity. */
int create_store(const char *path, const unsigned char id[ID_BYTES], int64_t created_us,
                 struct es_store **ret_store, struct es_err *err);

/* ---- reader.c: whole batches in order, verified */
struct chunk {
    struct es_event *events;
    struct text_ref {
        uint32_t at, len; /* in texts; at NO_TEXT: none */
    } * refs;
    size_t count, cap;
    struct es_buf texts;
    struct batch *batches;
    size_t batch_count, batch_cap;
};
struct reader {
    struct es_store *store;
    bool verify;
    int64_t last_batch;  /* where to end */
    struct batch before; /* the batch before the next one */
    int64_t bad_pos;     /* after ES_ECORRUPT */
};
/* Starts at the batch that holds `from_pos`. */
int reader_init(struct reader *reader, struct es_store *store, int64_t from_pos,
                bool verify, struct es_err *err);
/* Fills the chunk with the next batches; an empty one is the end. */
int reader_next(struct reader *reader, struct chunk *chunk, struct es_err *err);
void chunk_finish(struct chunk *chunk);
int read_batch(struct es_store *store, int64_t id, struct batch *ret_batch,
               struct es_err *err);

#endif
