/* User namespaces for programs that need many user ids without being root: which ranges of
 * subordinate ids the caller has, and mapping them into a child's new namespace. [any] */
#ifndef ENSHU_IDMAP_H
#define ENSHU_IDMAP_H

#include <sys/types.h>

#include "enshu/common/err.h"

#define ES_IDMAP_ROOT_BASE  100000U /* what id 0 becomes when the caller is root itself */
#define ES_IDMAP_ROOT_COUNT 65536U

struct es_idmap {
    uid_t uid; /* the caller */
    gid_t gid;
    unsigned long uid_base, uid_count; /* subordinate ids; inside they follow id 0 */
    unsigned long gid_base, gid_count;
};

/* Finds the caller's ranges; ES_EDENIED or ES_ENOENT name the remedy. For root the range is
 * fixed and id 0 of the namespace is its first id, so root inside owns nothing outside; for
 * others id 0 is the caller. */
int es_idmap_find(struct es_idmap *ret_map, struct es_err *err);
/* Writes the maps of `child`, which has unshared its user namespace and waits. */
int es_idmap_apply(const struct es_idmap *map, pid_t child, struct es_err *err);

#endif
