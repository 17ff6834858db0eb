/* personalise: makes a guest that is equal to others into the machine it is to be. */
#include <sodium.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../probe/probe.h"
#include "agent.h"
#include "personalise.h"

/* Randomness before everything that draws from it; the clock before what keeps a date.
 * Interfaces late: one plugged a moment ago comes up meanwhile. */
static const struct part {
    const char *name;
    const char *key; /* whose absence makes the part unnecessary */
    es_personalise_part *run;
} parts[] = {
    {"random", "random", es_personalise_random},
    {"clock", "time_us", es_personalise_clock},
    {"hostname", "hostname", es_personalise_hostname},
    {"machine_id", "machine_id", es_personalise_machine_id},
    {"dns", "dns", es_personalise_dns},
    {"hosts", "hosts", es_personalise_hosts},
    {"accounts", "accounts", es_personalise_accounts},
    {"files", "files", es_personalise_files},
    {"host_keys", "host_keys", es_personalise_host_keys},
    {"forward", "forward", es_personalise_forward},
    {"nics", "nics", es_personalise_nics},
    {"gateway", "gateway", es_personalise_gateway},
    {"timers", "time_us", es_personalise_timers},
    {"restart", "restart", es_personalise_restart},
};

/* Forks of one guest have one state of everything, the kernel's randomness included: what
 * the request brought is mixed in once more, should the kernel not have taken it. */
static int fork_epoch(const struct es_personalise *p, json_t **ret_epoch,
                      struct es_err *err)
{
    crypto_generichash_state state;
    unsigned char hash[crypto_generichash_BYTES], own[16] = {0};
    struct timespec now;
    char epoch[17];
    const char *given;
    int rc = es_personalise_text(p, "random", &given, err);
    if (rc != 0)
        return rc;
    /* Zeros when the kernel has none yet. */
    if (getrandom(own, sizeof own, GRND_NONBLOCK) < 0)
        memset(own, 0, sizeof own);
    clock_gettime(CLOCK_REALTIME, &now);
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, own, sizeof own);
    crypto_generichash_update(&state, (const unsigned char *)&now, sizeof now);
    crypto_generichash_update(&state, (const unsigned char *)given, strlen(given));
    crypto_generichash_final(&state, hash, sizeof hash);
    sodium_bin2hex(epoch, sizeof epoch, hash, sizeof epoch / 2);
    *ret_epoch = json_string(epoch);
    return *ret_epoch != NULL ? 0 : es_err_nomem(err);
}

static int run_parts(const struct es_personalise *p, json_t *done, struct es_err *err)
{
    int rc = done != NULL ? 0 : es_err_nomem(err);
    for (size_t i = 0; i < ES_COUNT(parts) && rc == 0; i++) {
        const json_t *value = json_object_get(p->args, parts[i].key);
        if (value == NULL || json_is_null(value))
            continue;
        rc = parts[i].run(p, err);
        if (rc != 0)
            es_err_prefix(err, "%s", parts[i].name);
        else if (json_array_append_new(done, json_string(parts[i].name)) != 0)
            rc = es_err_nomem(err);
    }
    return rc;
}

int es_op_personalise(const char *root, const json_t *args, int64_t deadline_ms,
                      json_t **ret_evidence, struct es_err *err)
{
    struct es_personalise p = {root, args, deadline_ms};
    struct es_probe probe = {.args = args};
    bool fork = false;
    json_t *done = json_array(), *epoch = NULL;
    int rc = es_probe_arg_bool(&probe, "fork", false, &fork, err);
    if (rc == 0)
        rc = run_parts(&p, done, err);
    if (rc == 0 && fork)
        rc = fork_epoch(&p, &epoch, err);
    if (rc == 0) {
        *ret_evidence = json_pack("{s:O, s:o*}", "done", done, "epoch", epoch);
        rc = *ret_evidence != NULL ? 0 : es_err_nomem(err);
    }
    if (rc != 0)
        es_err_prefix(err, "personalise");
    json_decref(done);
    return rc;
}
