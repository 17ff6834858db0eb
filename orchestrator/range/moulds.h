/* What machines are booted or forked from. */
#ifndef ORCHESTRATOR_RANGE_MOULDS_H
#define ORCHESTRATOR_RANGE_MOULDS_H

#include <stdatomic.h>

#include "inner.h"

/* ---- sum.c: what a mould's name is made of */
void sum_text(crypto_generichash_state *state, const char *text); /* NULL: "" */
void sum_number(crypto_generichash_state *state, int64_t v);
int sum_file(crypto_generichash_state *state, const char *path, struct es_err *err);
int sum_tree(crypto_generichash_state *state, const char *path, struct es_err *err);
int sum_sparse(const char *path, char ret_hex[65], struct es_err *err); /* [worker] */

/* What a worker found out for a range's machines, which the loop takes over. */
struct found {
    struct es_image *images;           /* by node */
    char (*mould_hash)[MOULD_KEY_MAX]; /* by node; "" without setup */
    char accel[8], frozen_key[MOULD_KEY_MAX];
};

/* ---- find.c: takes it over when all of it was found, then calls back once, perhaps from
 * inside; `cancel` and `arg` must live until then, and the range be held. */
void find_begin(struct range *r, atomic_bool *cancel,
                void (*line)(const char *line, void *arg),
                void (*done)(struct range *r, int status, const struct es_err *err,
                             void *arg),
                void *arg);

/* ---- ladder.c: fork or boot */
/* Why team machines cannot be forked goes into r->no_fork. */
void ladder_choose(struct range *r);
/* For moulds to be frozen: their memory is files, which grow as guests write. */
int ladder_room(const struct range *r, struct es_err *err);
bool ladder_freezes_elsewhere(const struct range *r); /* another range, the same moulds */

/* ---- frozen.c: the frozen moulds of a scenario, STATE/moulds/KEY/ */
/* Names the moulds of the range. [worker] */
int frozen_find(const struct range *r, struct found *found, struct es_err *err);
#define FROZEN_SEED "seed.iso"
struct frozen_part {
    const char *suffix, *key; /* of its file; of its digest in mould.json */
};
extern const struct frozen_part frozen_parts[];
extern const size_t frozen_part_count;
/* Whether forks can be made of them on this host; else `why` not. Small files are read. */
bool frozen_stands(const struct range *r, char *why, size_t size);
/* NODE.ram, NODE.state, NODE.qcow2, NODE.overlay; without a node the folder's own. */
int frozen_path(const struct range *r, const char *node, const char *suffix, char *dst,
                size_t size);
int frozen_begin(struct range *r, struct es_err *err);  /* an empty folder [worker] */
int frozen_finish(struct range *r, struct es_err *err); /* complete: hashed [worker] */

/* ---- moulds_used.c; keys as they name files in STATE/moulds */
bool moulds_is_key(const char *name); /* or begins with one */
/* Names of ranges and keys of frozen moulds (`list`: of mould.list) that stand on it; `rests`
 * is what images_rests told. */
json_t *moulds_users(const struct es_range_core *core, json_t *rests, const json_t *list,
                     const char *key);
/* Whether a range has machines on it, perhaps ended ones; which. */
bool moulds_used(const struct es_range_core *core, const char *key,
                 char ret_range[ES_NAME_MAX + 1]);
void moulds_sweep(const struct es_range_core *core); /* moulds that never became whole */

/* ---- freeze.c: makes them. Calls back once, unless the range ends. */
void freeze_begin(struct range *r,
                  void (*done)(struct range *r, int status, const struct es_err *err,
                               void *arg),
                  void *arg);

/* ---- mould.c */
/* Of the node's image and setup. [worker] */
int mould_digest(const struct range *r, const struct es_image *image, int node,
                 unsigned char digest[32], struct es_err *err);
int mould_hashes(const struct range *r, struct found *found,
                 struct es_err *err); /* [worker] */
bool mould_known(const struct range *r, int node);
void mould_disks(struct range *r);
void mould_settled(struct machine *m, bool ok, const struct es_err *err);

#endif
