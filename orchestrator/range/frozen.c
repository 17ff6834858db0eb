/* The frozen moulds of a scenario's team machines, all of one moment:
 *
 *   STATE/moulds/KEY/   NODE.ram      memory
 *                       NODE.state    devices
 *                       NODE.qcow2    disk, an overlay of the node's image or mould disk
 *                       NODE.overlay  an empty overlay of that disk, which forks copy
 *                       seed.iso      the seed disc they saw
 *                       mould.json    what it is; there when all else is
 *
 * KEY names all that went in: images, setup, files, agent, devices, QEMU, libvirt, CPU. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"

#define FROZEN_VERSION 1

const struct frozen_part frozen_parts[] = {
    {"ram", "ram_hash"}, {"state", "state_hash"}, {"qcow2", "disk_hash"}};
const size_t frozen_part_count = ES_COUNT(frozen_parts);

int frozen_path(const struct range *r, const char *node, const char *suffix, char *dst,
                size_t size)
{
    if (node == NULL)
        return es_str_printf(dst, size, "%s/moulds/%s/%s", r->core->state_dir,
                             r->frozen_key, suffix);
    return es_str_printf(dst, size, "%s/moulds/%s/%s.%s", r->core->state_dir,
                         r->frozen_key, node, suffix);
}

/* ---------------------------------------------------------------- the name */

/* A frozen guest has seen the features of this processor. TCG's is always the same. */
static void digest_cpu(crypto_generichash_state *state)
{
    static const char *const keys[] = {"vendor_id", "cpu family", "model", "model name",
                                       "stepping",  "microcode",  "flags"};
    char line[8192];
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL && line[0] != '\n')
        for (size_t i = 0; i < ES_COUNT(keys); i++) {
            size_t len = strlen(keys[i]);
            if (strncmp(line, keys[i], len) == 0 && strchr("\t :", line[len]) != NULL)
                sum_text(state, line);
        }
    if (file != NULL)
        fclose(file);
}

static int digest_machine(struct range *r, const struct machine *m,
                          crypto_generichash_state *state, struct es_err *err)
{
    unsigned char digest[32];
    char skeleton[33];
    const struct es_hyp_machine spec = {
        .plan = r->plan,
        .machine = m->plan,
        .disk = m->disk,
        .seed = r->seed_disc,
        .accel = r->accel,
        .graphics = es_str_eq(m->node->trainee.console, "graphic")};
    int rc = mould_digest(r, m->plan->node, digest, err);
    if (rc == 0)
        rc = es_hyp_machine_skeleton(r->core->hyp, &spec, skeleton, err);
    if (rc != 0)
        return rc;
    crypto_generichash_update(state, digest, sizeof digest);
    sum_text(state, skeleton);
    for (size_t i = 0; i < m->plan->nic_count; i++) {
        sum_text(state, r->scenario->networks[m->plan->nics[i].network].name);
        sum_number(state, m->plan->nics[i].addr);
        sum_number(state, m->plan->nics[i].prefix);
    }
    sum_number(state, m->plan->gateway);
    sum_number(state, m->plan->dns);
    if (m->node->has_ready) {
        char *look = json_dumps(m->node->ready.look, JSON_COMPACT | JSON_SORT_KEYS);
        sum_number(state, m->node->ready.kind);
        sum_text(state, look);
        es_free(look);
    }
    return 0;
}

static int make_key(struct range *r, struct es_err *err)
{
    crypto_generichash_state state;
    unsigned char digest[32];
    int rc = 0;
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    sum_number(&state, FROZEN_VERSION);
    sum_text(&state, r->core->info.qemu_version);
    sum_text(&state, r->core->info.libvirt_version);
    sum_text(&state, r->accel);
    if (es_str_eq(r->accel, "kvm"))
        digest_cpu(&state);
    rc = sum_file(&state, r->core->agent_path, err);
    for (size_t i = 0; i < r->machine_count && rc == 0; i++)
        if (r->machines[i].mould)
            rc = digest_machine(r, &r->machines[i], &state, err);
    crypto_generichash_final(&state, digest, sizeof digest);
    if (rc == 0)
        sodium_bin2hex(r->frozen_key, sizeof r->frozen_key, digest, 20);
    return rc;
}

/* ---------------------------------------------------------------- what stands */

static json_t *read_record(const struct range *r)
{
    char path[PATH_BYTES + 64];
    if (r->frozen_key[0] == '\0' ||
        frozen_path(r, NULL, "mould.json", path, sizeof path) != 0)
        return NULL;
    return json_load_file(path, 0, NULL);
}

/* Its name says it already; the record is asked again because the host may have changed
 * since the range was made. */
bool frozen_stands(const struct range *r, char *why, size_t size)
{
    json_t *record = read_record(r);
    const char *qemu = json_string_value(json_object_get(record, "qemu"));
    bool stands = false;
    if (record == NULL)
        es_str_printf(why, size, "its moulds are not there");
    else if (!es_str_eq(qemu, r->core->info.qemu_version))
        es_str_printf(why, size, "its moulds were made by QEMU %.20s and this is %s",
                      qemu != NULL ? qemu : "?", r->core->info.qemu_version);
    else
        stands = true;
    json_decref(record);
    return stands;
}

int frozen_find(struct range *r, struct es_err *err)
{
    return make_key(r, err);
}

/* ---------------------------------------------------------------- making it */

int frozen_begin(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 64];
    if (frozen_path(r, NULL, "", path, sizeof path) != 0)
        return es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
    path[strlen(path) - 1] = '\0';
    int rc = files_remove(AT_FDCWD, path, err); /* what a crash left */
    if (rc == 0 && mkdir(path, 0711) != 0)
        rc = es_err_set(err, ES_EIO, "cannot make %s: %s", path, strerror(errno));
    if (rc == 0 && chmod(path, 0711) != 0)
        rc = es_err_set(err, ES_EIO, "cannot set the mode of %s: %s", path,
                        strerror(errno));
    return rc;
}

/* QEMU opens the memory of a fork for writing although it maps it privately; from 8.2 on
 * it is content with reading. */
static mode_t ram_mode(const struct range *r)
{
    unsigned major = 0, minor = 0;
    int n = sscanf(r->core->info.qemu_version, "%u.%u", &major, &minor);
    return n == 2 && (major > 8 || (major == 8 && minor >= 2)) ? 0444 : 0666;
}

static json_t *record_machine(const struct range *r, const struct machine *m,
                              struct es_err *err)
{
    char path[PATH_BYTES + ES_NAME_MAX + 64], hash[65];
    struct stat st;
    json_t *json =
        json_pack("{s:s, s:s, s:s}", "node", m->node->name, "image",
                  r->images[m->plan->node].digest, "setup", r->mould_hash[m->plan->node]);
    int rc = json != NULL ? 0 : es_err_nomem(err);
    for (size_t i = 0; i < frozen_part_count && rc == 0; i++) {
        frozen_path(r, m->node->name, frozen_parts[i].suffix, path, sizeof path);
        rc = sum_sparse(path, hash, err);
        if (rc == 0 &&
            (chmod(path, i == 0 ? ram_mode(r) : 0444) != 0 || stat(path, &st) != 0))
            rc = es_err_set(err, ES_EIO, "%s: %s", path, strerror(errno));
        if (rc == 0)
            json_object_set_new(json, frozen_parts[i].key, json_string(hash));
    }
    if (rc == 0)
        return json;
    json_decref(json);
    return NULL;
}

static int keep_seed(const struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 64];
    frozen_path(r, NULL, "seed.iso", path, sizeof path);
    int rc = files_copy(r->seed_disc, path, "", err);
    if (rc == 0 && chmod(path, 0444) != 0)
        rc = es_err_set(err, ES_EIO, "%s: %s", path, strerror(errno));
    return rc;
}

int frozen_finish(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 64], beside[PATH_BYTES + 64];
    json_t *machines = json_array();
    int rc = keep_seed(r, err);
    for (size_t i = 0; i < r->machine_count && rc == 0; i++) {
        json_t *one =
            r->machines[i].mould ? record_machine(r, &r->machines[i], err) : NULL;
        if (one != NULL)
            json_array_append_new(machines, one);
        else if (r->machines[i].mould)
            rc = err->code;
    }
    json_t *record =
        json_pack("{s:i, s:s, s:s, s:s, s:s, s:I, s:o}", "version", FROZEN_VERSION,
                  "scenario", r->scenario->name, "qemu", r->core->info.qemu_version,
                  "libvirt", r->core->info.libvirt_version, "accel", r->accel, "made_s",
                  (json_int_t)time(NULL), "machines", machines);
    frozen_path(r, NULL, "mould.json", path, sizeof path);
    frozen_path(r, NULL, "mould.new", beside, sizeof beside);
    if (rc == 0 && record == NULL)
        rc = es_err_nomem(err);
    if (rc == 0 && (json_dump_file(record, beside, JSON_INDENT(1)) != 0 ||
                    rename(beside, path) != 0))
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disk full?", path);
    json_decref(record);
    return rc;
}
