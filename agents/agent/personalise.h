/* The parts of the op personalise: each is safe to repeat, and a part whose keys the
 * request lacks does nothing. With a root, only files below it are written.
 *
 *   op_personalise.c        the op: the parts in their order, a fork's epoch
 *   personalise_kernel.c    randomness, clock, forwarding
 *   personalise_files.c     names and files in /etc
 *   personalise_accounts.c  accounts and their hashes
 *   personalise_net.c       network interfaces (interface.c), the default route
 *   personalise_services.c  SSH host keys, timers, services to start anew */
#ifndef ENSHU_AGENT_PERSONALISE_H
#define ENSHU_AGENT_PERSONALISE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "enshu/common/err.h"

/* Timers stopped by the op quiet, a name a line; in memory, so that every fork has it. */
#define ES_QUIET_TIMERS "/run/enshu/timers"
#define ES_UNITS_MAX    256 /* names of timers or services in one request */

struct es_personalise {
    const char *root;
    const json_t *args;
    int64_t deadline_ms;
};
typedef int es_personalise_part(const struct es_personalise *p, struct es_err *err);

es_personalise_part es_personalise_random, es_personalise_clock, es_personalise_forward;
es_personalise_part es_personalise_hostname, es_personalise_machine_id,
    es_personalise_dns, es_personalise_hosts, es_personalise_files;
es_personalise_part es_personalise_accounts;
es_personalise_part es_personalise_nics, es_personalise_gateway;
es_personalise_part es_personalise_host_keys, es_personalise_timers,
    es_personalise_restart;

/* A text among the request's arguments. */
int es_personalise_text(const struct es_personalise *p, const char *key,
                        const char **ret_text, struct es_err *err);
/* Makes the file hold these bytes, with its directories; one that does already is left
 * alone, one that is there keeps its mode. `ret_changed` may be NULL. */
int es_personalise_write(const struct es_personalise *p, const char *path,
                         const char *data, size_t len, mode_t mode, bool *ret_changed,
                         struct es_err *err);
/* For the tests: see op_quiet.c. ES_ENOMEM. */
int es_quiet_calendar_timers(char *text, json_t *names);
/* Whether root + path is there, links followed. */
bool es_personalise_exists(const struct es_personalise *p, const char *path);

#endif
