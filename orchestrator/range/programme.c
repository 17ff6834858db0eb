/* Nodes with `lifetime: programme`: disks that outlive their range, for courses over months.
 *
 *   STATE/programme/RANGE/  secret      the range's, so that passwords and flags stay, too
 *                           NAME.qcow2  a machine's disk, which rests on no other file
 *                           NAME.json   what it is; there when the disk is whole
 *
 * A disk belongs to (range's name, team, node). It is made from the node's image or mould,
 * the first time; after that the machine boots from it as it is. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"
#include "programme.h"

/* Ranges of our own, which leave nothing behind. */
static bool is_passing(const struct range *r)
{
    return es_str_eq(r->name, REHEARSAL_RANGE) || es_str_eq(r->name, MOULD_RANGE);
}

bool machine_is_kept(const struct machine *m)
{
    return m->node->programme && !m->mould && !is_passing(m->range);
}

bool range_keeps(const struct range *r)
{
    for (size_t i = 0; i < r->scenario->nodes_count; i++)
        if (r->scenario->nodes[i].programme)
            return !is_passing(r);
    return false;
}

static int path_of(const struct es_range_core *core, const char *range, const char *name,
                   const char *suffix, char *dst, size_t size)
{
    return es_str_printf(dst, size, "%s/programme/%s%s%s%s", core->state_dir, range,
                         *name != '\0' ? "/" : "", name, suffix);
}

int programme_disk_path(const struct machine *m, char *dst, size_t size)
{
    return path_of(m->range->core, m->range->name, m->plan->name, ".qcow2", dst, size);
}

static int record_path(const struct machine *m, char *dst, size_t size)
{
    return path_of(m->range->core, m->range->name, m->plan->name, ".json", dst, size);
}

static json_t *read_record(const struct machine *m)
{
    char path[PATH_BYTES + 128];
    return record_path(m, path, sizeof path) == 0 ? json_load_file(path, 0, NULL) : NULL;
}

static int write_record(const struct machine *m, const json_t *record, struct es_err *err)
{
    char path[PATH_BYTES + 128], beside[PATH_BYTES + 132];
    record_path(m, path, sizeof path);
    es_str_printf(beside, sizeof beside, "%s.new", path);
    if (json_dump_file(record, beside, JSON_INDENT(1)) != 0 || rename(beside, path) != 0)
        return es_err_set(err, ES_EIO, "cannot write %s; is the disk full?", path);
    return 0;
}

/* QEMU's user passes through to the disks. */
static int make_folder(const struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 128];
    static const char *const levels[] = {"", NULL};
    for (size_t i = 0; i < ES_COUNT(levels); i++) {
        path_of(r->core, levels[i] != NULL ? levels[i] : r->name, "", "", path,
                sizeof path);
        if ((mkdir(path, 0711) != 0 && errno != EEXIST) || chmod(path, 0711) != 0)
            return es_err_set(err, ES_EIO, "cannot make the folder %s: %s", path,
                              strerror(errno));
    }
    return 0;
}

/* ---------------------------------------------------------------- the secret */

int programme_secret(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 128];
    int rc = make_folder(r, err);
    if (rc != 0)
        return rc;
    path_of(r->core, r->name, "secret", "", path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "cannot open %s: %s", path, strerror(errno));
    unsigned char kept[SEED_BYTES];
    ssize_t n = read(fd, kept, sizeof kept);
    if (n == SEED_BYTES)
        memcpy(r->secret, kept, SEED_BYTES);
    else if (n != 0)
        rc = es_err_set(err, ES_ECORRUPT,
                        "%s is damaged; `enshu down %s --purge` drops "
                        "it with all disks kept beside it",
                        path, r->name);
    else if (write(fd, r->secret, SEED_BYTES) != SEED_BYTES || fsync(fd) != 0)
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disk full?", path);
    sodium_memzero(kept, sizeof kept);
    close(fd);
    return rc;
}

/* ---------------------------------------------------------------- before they start */

int programme_check(const struct range *r, struct es_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->machine_count && rc == 0; i++) {
        const struct machine *m = &r->machines[i];
        json_t *record = machine_is_kept(m) ? read_record(m) : NULL;
        const char *of = json_string_value(json_object_get(record, "scenario"));
        if (record != NULL && !es_str_eq(of, r->scenario->name))
            rc = es_err_set(err, ES_EEXIST,
                            "%s has a disk kept from the scenario %s; choose another "
                            "--range, or drop it with `enshu down %s --purge`",
                            m->label, of != NULL ? of : "?", r->name);
        json_decref(record);
    }
    return rc;
}

/* ---------------------------------------------------------------- the disk */

struct disk_job {
    struct job job;
    struct machine *m;
    es_hyp_done done;
    char disk[PATH_BYTES];
    bool setup, ready;
    uint32_t number;
};

static uint32_t number_of(const json_t *record)
{
    return (uint32_t)json_integer_value(json_object_get(record, "number"));
}

/* A range's own machine is set up on its disk itself; a team's comes from the mould. */
static int make_disk(struct disk_job *dj, const json_t *old, struct es_err *err)
{
    const struct machine *m = dj->m;
    const struct es_image *image = &m->range->images[m->plan->node];
    dj->number = number_of(old) + 1;
    dj->setup = m->plan->team > 0 || m->node->setup_count == 0;
    dj->ready = false;
    int rc = make_folder(m->range, err);
    if (rc == 0)
        rc = es_image_copy(image->disk, dj->disk, m->plan->disk_bytes, err);
    if (rc != 0)
        return rc;
    json_t *record =
        json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:b, s:I}", "scenario",
                  m->range->scenario->name, "node", m->node->name, "image", image->digest,
                  "mould", m->range->mould_hash[m->plan->node], "number", (int)dj->number,
                  "setup", (int)dj->setup, "ready", 0, "made_s", (json_int_t)time(NULL));
    rc = record != NULL ? write_record(m, record, err) : es_err_nomem(err);
    json_decref(record);
    return rc;
}

static void disk_work(struct job *job)
{
    struct disk_job *dj = job->arg;
    json_t *record = read_record(dj->m);
    dj->number = number_of(record);
    dj->setup = json_is_true(json_object_get(record, "setup"));
    dj->ready = json_is_true(json_object_get(record, "ready"));
    /* One that was left half set up is none. */
    if (!dj->setup || access(dj->disk, F_OK) != 0)
        job->status = make_disk(dj, record, &job->err);
    json_decref(record);
}

static void disk_after(struct job *job)
{
    struct disk_job *dj = job->arg;
    struct machine *m = dj->m;
    es_str_printf(m->disk, sizeof m->disk, "%s", dj->disk);
    m->disk_number = dj->number;
    m->setup_done = dj->setup;
    m->own_done = dj->ready;
    dj->done(m, job->status, &job->err);
    es_free(dj);
}

void programme_disk(struct machine *m, es_hyp_done done)
{
    struct es_err err = {0};
    struct disk_job *dj = es_calloc(1, sizeof *dj);
    if (dj == NULL) {
        done(m, es_err_nomem(&err), &err);
        return;
    }
    *dj = (struct disk_job){.m = m, .done = done};
    dj->job = (struct job){
        .what = "disk of its own", .work = disk_work, .after = disk_after, .arg = dj};
    if (programme_disk_path(m, dj->disk, sizeof dj->disk) != 0)
        es_err_set(&err, ES_ELIMIT, "the state folder's path is too long");
    else if (job_start(m->range->core, &dj->job, &err) == 0)
        return;
    es_free(dj);
    done(m, err.code, &err);
}

/* What was done on it must not be done again. */
void programme_note(struct machine *m, const char *what)
{
    struct es_err err = {0};
    json_t *record = machine_is_kept(m) ? read_record(m) : NULL;
    if (record != NULL && !json_is_true(json_object_get(record, what))) {
        json_object_set_new(record, what, json_true());
        if (write_record(m, record, &err) != 0)
            es_log_warn("%s: %s", m->label, err.msg);
    }
    json_decref(record);
}

int programme_drop(struct machine *m, struct es_err *err)
{
    json_t *record = read_record(m);
    int rc = 0;
    if (record != NULL) { /* its number stays; what is not set up is made anew */
        json_object_set_new(record, "setup", json_false());
        rc = write_record(m, record, err);
    }
    json_decref(record);
    return rc;
}

/* ---------------------------------------------------------------- all of a range's */

json_t *programme_list(const struct es_range_core *core, const char *range)
{
    char folder[PATH_BYTES + 128], path[PATH_BYTES + 400];
    json_t *list = json_array();
    path_of(core, range, "", "", folder, sizeof folder);
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (es_str_ends(entry->d_name, ".qcow2")) {
            es_str_printf(path, sizeof path, "%s/%s", folder, entry->d_name);
            json_array_append_new(list, json_string(path));
        }
    if (dir != NULL)
        closedir(dir);
    return list;
}

bool programme_exists(const struct es_range_core *core, const char *range)
{
    char folder[PATH_BYTES + 128];
    return path_of(core, range, "", "", folder, sizeof folder) == 0 &&
           access(folder, F_OK) == 0;
}

int programme_remove(const struct es_range_core *core, const char *range,
                     struct es_err *err)
{
    char folder[PATH_BYTES + 128];
    path_of(core, range, "", "", folder, sizeof folder);
    return es_tree_remove(AT_FDCWD, folder, err);
}
