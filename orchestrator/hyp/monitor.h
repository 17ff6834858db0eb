/* QEMU's monitor through libvirt, for what libvirt has no call for. [worker] */
#ifndef ENSHU_HYP_MONITOR_H
#define ENSHU_HYP_MONITOR_H

#include <jansson.h>

#include "hyp_inner.h"

/* Runs a command and gives what it returned (a new reference; may be NULL). `args` is taken
 * and may be NULL; `fd` goes along (-1: none). */
int es_hyp_monitor(virDomainPtr dom, const char *command, json_t *args, int fd,
                   json_t **ret_value, struct es_err *err);
/* Memory that is shared or comes from a file stays out of the state that is written or
 * read. */
int es_hyp_monitor_ignore_shared(virDomainPtr dom, bool on, struct es_err *err);
/* A socket whose other end QEMU knows as `name`; *ret_fd is ours, with a time limit on each
 * read and write. */
int es_hyp_monitor_socket(virDomainPtr dom, const char *name, int *ret_fd,
                          struct es_err *err);
/* Waits until the state is written or read. */
int es_hyp_monitor_moved(virDomainPtr dom, struct es_err *err);

#endif
