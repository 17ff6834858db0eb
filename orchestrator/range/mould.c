/* The mould of a node: its image with `setup` done, as a disk kept under a hash of all that
 * went in. Teams' machines are overlays of it, so setup runs once, not once a team.
 *
 * STATE/moulds/HASH.qcow2 is complete when STATE/moulds/HASH.json stands beside it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "moulds.h"

#define MOULD_VERSION "1"
#define OFF_LIMIT_MS  120000

int mould_digest(const struct range *r, const struct es_image *image, int node_index,
                 unsigned char digest[32], struct es_err *err)
{
    const struct es_node *node = &r->scenario->nodes[node_index];
    crypto_generichash_state state;
    char path[PATH_BYTES];
    int rc = 0;
    crypto_generichash_init(&state, NULL, 0, 32);
    sum_text(&state, "mould " MOULD_VERSION);
    sum_text(&state, image->digest);
    sum_text(&state, node->name);
    sum_number(&state, node->disk_bytes);
    for (size_t i = 0; i < node->account_count; i++) {
        sum_text(&state, node->accounts[i].user);
        sum_text(&state, node->accounts[i].password);
    }
    for (size_t i = 0; i < node->setup_count && rc == 0; i++) {
        const struct es_step *step = &node->setup[i];
        sum_number(&state, step->kind);
        sum_text(&state, step->text);
        sum_text(&state, step->from);
        sum_text(&state, step->to);
        sum_text(&state, step->owner);
        sum_text(&state, step->service_state);
        sum_number(&state, step->mode);
        sum_number(&state, step->mtime_s);
        sum_number(&state, step->template_);
        if (step->from == NULL)
            continue;
        rc = es_str_printf(path, sizeof path, "%s/%s", r->scenario->dir, step->from);
        rc = rc == 0 ? sum_tree(&state, path, err)
                     : es_err_set(err, rc, "the path of %s is too long", step->from);
    }
    crypto_generichash_final(&state, digest, 32);
    if (rc != 0)
        es_err_prefix(err, "setup of node %s", node->name);
    return rc;
}

int mould_hashes(const struct range *r, struct found *found, struct es_err *err)
{
    for (size_t n = 0; n < r->scenario->nodes_count; n++) {
        if (r->scenario->nodes[n].setup_count == 0)
            continue;
        unsigned char digest[32];
        int rc = mould_digest(r, &found->images[n], (int)n, digest, err);
        if (rc != 0)
            return rc;
        sodium_bin2hex(found->mould_hash[n], sizeof found->mould_hash[n], digest, 20);
    }
    return 0;
}

static int mould_path(const struct range *r, int node, const char *suffix, char *dst,
                      size_t size)
{
    return es_str_printf(dst, size, "%s/moulds/%s.%s", r->core->state_dir,
                         r->mould_hash[node], suffix);
}

bool mould_known(const struct range *r, int node)
{
    char path[PATH_BYTES + 64];
    return r->mould_hash[node][0] != '\0' &&
           mould_path(r, node, "json", path, sizeof path) == 0 && access(path, R_OK) == 0;
}

/* Nodes whose mould stands boot from its disk. */
static void use_disk(struct range *r, int node)
{
    mould_path(r, node, "qcow2", r->images[node].disk, sizeof r->images[node].disk);
}

void mould_disks(struct range *r)
{
    for (size_t n = 0; n < r->scenario->nodes_count; n++)
        if (mould_known(r, (int)n))
            use_disk(r, (int)n);
}

/* ---------------------------------------------------------------- the harvest */

static int keep_disk(struct machine *m, struct es_err *err)
{
    char disk[PATH_BYTES + 64], marker[PATH_BYTES + 64];
    struct range *r = m->range;
    int node = m->plan->node;
    if (mould_path(r, node, "qcow2", disk, sizeof disk) != 0 ||
        mould_path(r, node, "json", marker, sizeof marker) != 0)
        return es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
    if (mould_known(r, node)) { /* another range was faster, and has overlays of it */
        unlink(m->disk);
        use_disk(r, node);
        return 0;
    }
    if (rename(m->disk, disk) != 0)
        return es_err_set(err, ES_EIO, "cannot keep the disk as %s: %s", disk,
                          strerror(errno));
    json_t *json = json_pack("{s:s, s:s, s:s}", "node", m->node->name, "scenario",
                             r->scenario->name, "image", r->images[node].digest);
    int rc = json != NULL ? json_dump_file(json, marker, JSON_INDENT(1)) : -1;
    json_decref(json);
    if (rc != 0)
        return es_err_set(err, ES_EIO, "cannot write %s; is the disc full?", marker);
    use_disk(r, node);
    return 0;
}

static void on_off(struct machine *m, bool ok, const struct es_err *stop_err)
{
    struct es_err err = {0};
    if (!ok)
        err = *stop_err;
    else if (keep_disk(m, &err) == 0) {
        bring_mould_done(m->settled_arg, m, true, NULL);
        return;
    }
    es_err_prefix(&err, "%s", m->label);
    bring_mould_done(m->settled_arg, m, false, &err);
}

static void on_off_limit(struct machine *m)
{
    struct es_err err = {0};
    m->on_settled = mould_settled; /* a new try begins with its setup */
    es_err_set(&err, ES_ETIMEDOUT, "it did not switch off within %d s",
               OFF_LIMIT_MS / 1000);
    machine_fail(m, "switch off", &err);
}

static void on_power(struct machine *m, const struct es_result *result, void *arg)
{
    /* The machine may be gone before its answer is: the end of the domain is what counts. */
    (void)m;
    (void)result;
    (void)arg;
}

void mould_settled(struct machine *m, bool ok, const struct es_err *cause)
{
    struct es_err err = {0};
    if (!ok) {
        bring_mould_done(m->settled_arg, m, false, cause);
        return;
    }
    machine_set(m, M_STOPPING, "switching off");
    m->on_settled = on_off;
    machine_timer(m, OFF_LIMIT_MS, on_off_limit);
    if (machine_call(m, ES_OP_POWER, json_pack("{s:s}", "do", "off"), 60000, 1024,
                     on_power, NULL, &err) != 0) {
        m->on_settled = mould_settled;
        machine_fail(m, "switch off", &err);
    }
}
