/* Reading a host's /proc, or a made-up one. Blocking. */
#ifndef ENSHU_HYP_USAGE_H
#define ENSHU_HYP_USAGE_H

#include "enshu/hyp.h"

struct es_hyp_process {
    pid_t pid;
    char name[ES_PLAN_NAME_MAX];
    int64_t private_bytes;
};
struct es_hyp_processes {
    struct es_hyp_process *items; /* es_free */
    size_t count, cap;
};
/* Every QEMU that runs a machine of ours, by its command line. */
int es_hyp_processes(const char *proc, struct es_hyp_processes *ret_list,
                     struct es_err *err);
/* Memory and pressure; what is not told stays 0 or -1. */
void es_hyp_usage_host(const char *proc, struct es_hyp_usage *usage);

/* shares.c: the cgroup that this process may divide. */
struct es_hyp_cgroup {
    char path[512];
};
/* ES_ENOTSUP with what is missing. `sys` is put before paths of the host (tests). */
int es_hyp_cgroup_find(const char *proc, const char *sys, struct es_hyp_cgroup *ret_group,
                       struct es_err *err);
int es_hyp_cgroup_put(const struct es_hyp_cgroup *group, const char *name, pid_t pid,
                      struct es_err *err);
/* Removes groups that hold nothing. */
void es_hyp_cgroup_sweep(const struct es_hyp_cgroup *group);

#endif
