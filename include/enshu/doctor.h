/* What a host can and cannot do for enshu: a table of checks, each a finding with its
 * remedy. Looks at files below a root, so that every check can be tested on a made-up
 * host; only a live run also tries things out (namespaces, versions of programs). Used by
 * `enshu doctor`. Blocking. [any] */
#ifndef ENSHU_DOCTOR_H
#define ENSHU_DOCTOR_H

#include <stdbool.h>
#include <sys/types.h>

enum es_doctor_level { ES_DOCTOR_OK, ES_DOCTOR_WARN, ES_DOCTOR_FAIL };
const char *es_doctor_level_name(enum es_doctor_level level); /* "ok" "warn" "fail" */

struct es_doctor_host {
    const char *root;      /* "" for the running system, else a folder */
    const char *state_dir; /* where ranges will be kept; need not exist. Not below root */
    const char *uri;       /* NULL: the embedded libvirt */
    pid_t core;            /* a core that runs; 0: none known */
    const char *user;      /* whose rights count */
    uid_t uid;
    const char *path; /* folders of programs, colons between; below root */
    bool live;        /* root is "": may run programs and try namespaces */
};

struct es_doctor_finding {
    const char *check; /* "kvm", "disk", … */
    enum es_doctor_level level;
    char text[320];   /* what was found */
    char remedy[320]; /* what to do; "" when nothing */
};

/* Runs every check that applies; returns the worst level. Findings borrow. */
enum es_doctor_level es_doctor_run(const struct es_doctor_host *host,
                                   void (*each)(void *ctx,
                                                const struct es_doctor_finding *finding),
                                   void *ctx);

#endif
