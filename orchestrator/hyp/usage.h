/* Reading a host's /proc below a root, "" for the running system's. Blocking. */
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
int es_hyp_processes(const char *root, struct es_hyp_processes *ret_list,
                     struct es_err *err);
/* Memory and pressure; what is not told stays 0 or -1. */
void es_hyp_usage_host(const char *root, struct es_hyp_usage *usage);

#endif
