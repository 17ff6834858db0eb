/* Walking /proc. [any] */
#ifndef ENSHU_PROBE_PROC_H
#define ENSHU_PROBE_PROC_H

#include "probe.h"

struct es_proc {
    int64_t pid;
    char name[64];     /* comm */
    char line[4096];   /* command line with spaces; "" for kernel threads */
    char program[256]; /* last part of the first word */
};
/* Calls `on_process` for each process but the agent's own, until it returns false. */
int es_proc_each(struct es_probe *p,
                 bool (*on_process)(void *ctx, const struct es_proc *proc), void *ctx,
                 struct es_err *err);
/* Reads a file below /proc/PID, NUL-terminated; its length, 0 when it is gone. */
size_t es_proc_read(struct es_probe *p, int64_t pid, const char *what, char *dst,
                    size_t size);

#endif
