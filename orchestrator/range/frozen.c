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
#include "moulds.h"

#define FROZEN_VERSION 2

const struct frozen_part frozen_parts[] = {{"ram", "ram_hash"},
                                           {"state", "state_hash"},
                                           {"qcow2", "disk_hash"},
                                           {"overlay", "overlay_hash"}};
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
static void name_cpu(const char *accel, char ret_name[33])
{
    static const char *const keys[] = {"vendor_id", "cpu family", "model", "model name",
                                       "stepping",  "microcode",  "flags"};
    crypto_generichash_state state;
    unsigned char digest[16];
    char line[8192];
    FILE *file = es_str_eq(accel, "kvm") ? fopen("/proc/cpuinfo", "re") : NULL;
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    sum_text(&state, accel);
    while (file != NULL && fgets(line, sizeof line, file) != NULL && line[0] != '\n')
        for (size_t i = 0; i < ES_COUNT(keys); i++) {
            size_t len = strlen(keys[i]);
            if (strncmp(line, keys[i], len) == 0 && strchr("\t :", line[len]) != NULL)
                sum_text(&state, line);
        }
    if (file != NULL)
        fclose(file);
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(ret_name, 33, digest, sizeof digest);
}

static int digest_machine(const struct range *r, const struct machine *m,
                          const struct found *found, crypto_generichash_state *state,
                          struct es_err *err)
{
    unsigned char digest[32];
    char skeleton[33];
    const struct es_hyp_machine spec = {
        .plan = r->plan,
        .machine = m->plan,
        .disk = m->disk,
        .seed = r->seed_disc,
        .accel = found->accel,
        .graphics = es_str_eq(m->node->trainee.console, "graphic")};
    int rc = mould_digest(r, &found->images[m->plan->node], m->plan->node, digest, err);
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
    sum_number(state, machine_forwards(m));
    sum_number(state, m->node->before_services);
    if (m->node->has_ready) {
        char *look = json_dumps(m->node->ready.look, JSON_COMPACT | JSON_SORT_KEYS);
        sum_number(state, m->node->ready.kind);
        sum_text(state, look);
        es_free(look);
    }
    return 0;
}

int frozen_find(const struct range *r, struct found *found, struct es_err *err)
{
    crypto_generichash_state state;
    unsigned char digest[32];
    char cpu[33];
    int rc = 0;
    name_cpu(found->accel, cpu);
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    sum_number(&state, FROZEN_VERSION);
    sum_text(&state, r->core->info.qemu_version);
    sum_text(&state, r->core->info.libvirt_version);
    sum_text(&state, cpu);
    rc = sum_file(&state, r->core->agent_path, err);
    for (size_t i = 0; i < r->machine_count && rc == 0; i++)
        if (r->machines[i].mould)
            rc = digest_machine(r, &r->machines[i], found, &state, err);
    crypto_generichash_final(&state, digest, sizeof digest);
    if (rc == 0)
        sodium_bin2hex(found->frozen_key, sizeof found->frozen_key, digest, 20);
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

static bool is_other_host(const struct range *r, const json_t *record, char *why,
                          size_t size)
{
    const struct es_hyp_info *info = &r->core->info;
    const char *const here[][2] = {{"QEMU", info->qemu_version},
                                   {"libvirt", info->libvirt_version}};
    const char *const made_by[] = {json_string_value(json_object_get(record, "qemu")),
                                   json_string_value(json_object_get(record, "libvirt"))};
    char cpu[33];
    name_cpu(r->accel, cpu);
    for (size_t i = 0; i < ES_COUNT(here); i++)
        if (!es_str_eq(made_by[i], here[i][1])) {
            es_str_printf(why, size, "its moulds were made by %s %.20s and this is %s",
                          here[i][0], made_by[i] != NULL ? made_by[i] : "?", here[i][1]);
            return true;
        }
    if (es_str_eq(json_string_value(json_object_get(record, "cpu")), cpu))
        return false;
    es_str_printf(why, size, "its moulds were made on another processor");
    return true;
}

static bool is_missing(const struct range *r, const json_t *record, char *why,
                       size_t size)
{
    char path[PATH_BYTES + ES_NAME_MAX + 64];
    size_t i;
    const json_t *machine;
    json_array_foreach (json_object_get(record, "machines"), i, machine) {
        const char *node = json_string_value(json_object_get(machine, "node"));
        for (size_t k = 0; node != NULL && k < frozen_part_count; k++) {
            frozen_path(r, node, frozen_parts[k].suffix, path, sizeof path);
            if (access(path, F_OK) == 0)
                continue;
            es_str_printf(why, size, "%s.%s is missing among its moulds", node,
                          frozen_parts[k].suffix);
            return true;
        }
    }
    return false;
}

/* Its name says most of it already; the record is asked again because the host may have
 * changed since the range was made. */
bool frozen_stands(const struct range *r, char *why, size_t size)
{
    json_t *record = read_record(r);
    bool stands = record != NULL && !is_other_host(r, record, why, size) &&
                  !is_missing(r, record, why, size);
    if (record == NULL)
        es_str_printf(why, size, "its moulds are not there");
    json_decref(record);
    return stands;
}

/* ---------------------------------------------------------------- making it */

int frozen_begin(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 64];
    if (frozen_path(r, NULL, "", path, sizeof path) != 0)
        return es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
    path[strlen(path) - 1] = '\0';
    int rc = es_tree_remove(AT_FDCWD, path, err); /* what a crash left */
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

/* What is hashed from memory must not be other bytes after the host's power failed. */
static int put_on_disk(const char *path, struct es_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0
                 ? 0
                 : es_err_set(err, ES_EIO, "cannot write %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

static json_t *record_machine(const struct range *r, const struct machine *m,
                              struct es_err *err)
{
    char path[PATH_BYTES + ES_NAME_MAX + 64], hash[65];
    json_t *json =
        json_pack("{s:s, s:s, s:s}", "node", m->node->name, "image",
                  r->images[m->plan->node].digest, "setup", r->mould_hash[m->plan->node]);
    int rc = json != NULL ? put_on_disk(r->images[m->plan->node].disk, err)
                          : es_err_nomem(err);
    for (size_t i = 0; i < frozen_part_count && rc == 0; i++) {
        frozen_path(r, m->node->name, frozen_parts[i].suffix, path, sizeof path);
        rc = put_on_disk(path, err);
        if (rc == 0)
            rc = sum_sparse(path, hash, err);
        if (rc == 0 && chmod(path, i == 0 ? ram_mode(r) : 0444) != 0)
            rc = es_err_set(err, ES_EIO, "%s: %s", path, strerror(errno));
        if (rc == 0)
            json_object_set_new(json, frozen_parts[i].key, json_string(hash));
    }
    if (rc == 0)
        return json;
    json_decref(json);
    return NULL;
}

static int keep_seed(const struct range *r, char ret_hash[65], struct es_err *err)
{
    char path[PATH_BYTES + 64];
    frozen_path(r, NULL, FROZEN_SEED, path, sizeof path);
    int rc = files_copy(r->seed_disc, path, "", err);
    if (rc == 0)
        rc = put_on_disk(path, err);
    if (rc == 0)
        rc = sum_sparse(path, ret_hash, err);
    if (rc == 0 && chmod(path, 0444) != 0)
        rc = es_err_set(err, ES_EIO, "%s: %s", path, strerror(errno));
    return rc;
}

int frozen_finish(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 64], beside[PATH_BYTES + 64], cpu[33], seed[65];
    json_t *machines = json_array();
    int rc = keep_seed(r, seed, err);
    name_cpu(r->accel, cpu);
    for (size_t i = 0; i < r->machine_count && rc == 0; i++) {
        json_t *one =
            r->machines[i].mould ? record_machine(r, &r->machines[i], err) : NULL;
        if (one != NULL)
            json_array_append_new(machines, one);
        else if (r->machines[i].mould)
            rc = err->code;
    }
    json_t *record = json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:o}", "version", FROZEN_VERSION,
        "scenario", r->scenario->name, "qemu", r->core->info.qemu_version, "libvirt",
        r->core->info.libvirt_version, "accel", r->accel, "cpu", cpu, "made_s",
        (json_int_t)time(NULL), "seed_hash", rc == 0 ? seed : "", "machines", machines);
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
