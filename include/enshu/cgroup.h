/* A cgroup (version 2) that was delegated to us, divided into groups of processes that get
 * equal shares of the processors. Used by the room hyp and by doctor. Blocking. [any] */
#ifndef ENSHU_CGROUP_H
#define ENSHU_CGROUP_H

#include <sys/types.h>

#include "enshu/common/err.h"

struct es_cgroup {
    char path[512];
};

/* The cgroup of a process (0: this one), if it has the cpu controller and was delegated to
 * this user; else ES_ENOTSUP with what is missing. `root` is put before every path: "" for
 * the running system. */
int es_cgroup_find(const char *root, pid_t pid, struct es_cgroup *ret_group,
                   struct es_err *err);
/* Puts a process into the group of that name, which is made when it is missing. One that
 * has ended is fine. */
int es_cgroup_put(const struct es_cgroup *group, const char *name, pid_t pid,
                  struct es_err *err);
/* Removes groups whose names begin so and that hold nothing. */
void es_cgroup_sweep(const struct es_cgroup *group, const char *prefix);

#endif
