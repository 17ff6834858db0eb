/* The parts of the op personalise: each is safe to repeat, and a part whose keys the
 * request lacks does nothing. With a root, only files are written. */
#ifndef ENSHU_AGENT_PERSONALISE_H
#define ENSHU_AGENT_PERSONALISE_H

#include <jansson.h>
#include <stdint.h>

#include "enshu/common/err.h"

struct es_personalise {
    const char *root;
    const json_t *args;
    int64_t deadline_ms;
};
typedef int es_personalise_part(const struct es_personalise *p, struct es_err *err);

es_personalise_part es_personalise_random, es_personalise_clock, es_personalise_hostname,
    es_personalise_machine_id, es_personalise_nics, es_personalise_gateway,
    es_personalise_dns, es_personalise_hosts, es_personalise_accounts,
    es_personalise_files;

#endif
