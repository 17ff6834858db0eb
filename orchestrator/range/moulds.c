/* The methods mould.*: what stands in STATE/moulds, and making, checking, removing it.
 *
 *   HASH.qcow2, HASH.json   the disk of one node after its setup
 *   KEY/                    the frozen machines of one scenario's teams (frozen.c) */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "moulds.h"

#define MOULDS_MAX 4096

struct mould_job {
    struct job job;
    struct es_reply *reply;
    char dir[PATH_BYTES + 16]; /* STATE/moulds */
    char key[MOULD_KEY_MAX];   /* "": all */
    bool any_bad;
    json_t *list;
};

/* ---------------------------------------------------------------- reading [worker] */

static int64_t bytes_of(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (int64_t)st.st_blocks * 512
                                                             : 0;
}

static json_t *frozen_json(const char *dir, const char *key)
{
    char path[PATH_BYTES + 128];
    int64_t bytes = 0;
    es_str_printf(path, sizeof path, "%s/%s/mould.json", dir, key);
    json_t *record = json_load_file(path, 0, NULL);
    if (!json_is_object(record)) {
        json_decref(record);
        return NULL;
    }
    es_str_printf(path, sizeof path, "%s/%s", dir, key);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.')
            bytes += bytes_of(dirfd(folder), entry->d_name);
    if (folder != NULL)
        closedir(folder);
    json_object_set_new(record, "key", json_string(key));
    json_object_set_new(record, "kind", json_string("frozen"));
    json_object_set_new(record, "bytes", json_integer(bytes));
    return record;
}

static json_t *disk_json(const char *dir, const char *key)
{
    char path[PATH_BYTES + 128];
    es_str_printf(path, sizeof path, "%s/%s.json", dir, key);
    json_t *record = json_load_file(path, 0, NULL);
    if (!json_is_object(record)) {
        json_decref(record);
        return NULL;
    }
    es_str_printf(path, sizeof path, "%s/%s.qcow2", dir, key);
    json_object_set_new(record, "key", json_string(key));
    json_object_set_new(record, "kind", json_string("disk"));
    json_object_set_new(record, "bytes", json_integer(bytes_of(AT_FDCWD, path)));
    return record;
}

static void list_work(struct job *job)
{
    struct mould_job *mj = job->arg;
    char key[MOULD_KEY_MAX];
    DIR *dir = opendir(mj->dir);
    if (dir == NULL) {
        job->status =
            es_err_set(&job->err, ES_EIO, "cannot read %s: %s", mj->dir, strerror(errno));
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        const char *rest = entry->d_name + (MOULD_KEY_MAX - 1);
        if (!moulds_is_key(entry->d_name) || json_array_size(mj->list) >= MOULDS_MAX ||
            (*rest != '\0' && !es_str_eq(rest, ".json")))
            continue;
        es_str_printf(key, sizeof key, "%.40s", entry->d_name);
        json_t *one = *rest == '\0' ? frozen_json(mj->dir, key) : disk_json(mj->dir, key);
        if (one != NULL)
            json_array_append_new(mj->list, one);
    }
    closedir(dir);
}

/* ---------------------------------------------------------------- jobs */

static void add_users(const struct mould_job *mj)
{
    json_t *rests = images_rests(mj->job.core), *one;
    size_t i;
    json_array_foreach (mj->list, i, one)
        json_object_set_new(one, "used_by",
                            moulds_users(mj->job.core, rests, mj->list,
                                         json_string_value(json_object_get(one, "key"))));
    json_decref(rests);
}

static void free_job(struct mould_job *mj)
{
    json_decref(mj->list);
    es_free(mj);
}

static void on_line(struct job *job, const char *line)
{
    struct mould_job *mj = job->arg;
    mj->reply->progress(mj->reply,
                        json_pack("{s:s, s:s}", "step", "mould", "text", line));
}

static void start(struct es_range_core *core, struct es_reply *reply, const char *key,
                  void (*work)(struct job *job), void (*after)(struct job *job))
{
    struct es_err err = {0};
    struct mould_job *mj = es_calloc(1, sizeof *mj);
    int rc = mj != NULL ? 0 : es_err_nomem(&err);
    if (rc == 0) {
        mj->list = json_array();
        mj->reply = reply;
        mj->job = (struct job){.what = "moulds",
                               .work = work,
                               .after = after,
                               .on_line = on_line,
                               .arg = mj};
        es_str_printf(mj->dir, sizeof mj->dir, "%s/moulds", core->state_dir);
        if (key != NULL && es_str_printf(mj->key, sizeof mj->key, "%s", key) != 0)
            rc = es_err_set(&err, ES_ENOENT,
                            "no mould has such a key; `enshu mould list` shows them");
    }
    if (rc == 0)
        rc = job_start(core, &mj->job, &err);
    if (rc == 0)
        return;
    reply->fail(reply, &err);
    if (mj != NULL)
        free_job(mj);
}

static void list_after(struct job *job)
{
    struct mould_job *mj = job->arg;
    if (job->status != 0)
        mj->reply->fail(mj->reply, &job->err);
    else {
        add_users(mj);
        mj->reply->done(mj->reply, json_pack("{s:O}", "moulds", mj->list));
    }
    free_job(mj);
}

void es_range_call_mould_list(struct es_range_core *core, const json_t *params,
                              struct es_reply *reply)
{
    (void)params;
    start(core, reply, NULL, list_work, list_after);
}

/* ---------------------------------------------------------------- verify */

static bool is_same(const char *path, const json_t *hash)
{
    char now[65];
    struct es_err err = {0};
    return sum_sparse(path, now, &err) == 0 && es_str_eq(now, json_string_value(hash));
}

/* The first part that is not what it was; NULL when all are. [worker] */
static const char *changed_part(const char *dir, const char *key, const json_t *record,
                                char *dst, size_t size)
{
    char path[PATH_BYTES + ES_NAME_MAX + 128];
    size_t i;
    const json_t *machine;
    json_array_foreach (json_object_get(record, "machines"), i, machine) {
        const char *node = json_string_value(json_object_get(machine, "node"));
        for (size_t k = 0; k < frozen_part_count; k++) {
            es_str_printf(dst, size, "%s.%s", node != NULL ? node : "?",
                          frozen_parts[k].suffix);
            es_str_printf(path, sizeof path, "%s/%s/%s", dir, key, dst);
            if (!is_same(path, json_object_get(machine, frozen_parts[k].key)))
                return dst;
        }
    }
    es_str_printf(path, sizeof path, "%s/%s/" FROZEN_SEED, dir, key);
    return is_same(path, json_object_get(record, "seed_hash")) ? NULL : FROZEN_SEED;
}

static void verify_work(struct job *job)
{
    struct mould_job *mj = job->arg;
    char part[ES_NAME_MAX + 16], line[ES_NAME_MAX + 160];
    json_t *all = NULL, *one;
    size_t i;
    list_work(job);
    if (job->status != 0)
        return;
    all = mj->list;
    mj->list = json_array();
    json_array_foreach (all, i, one) {
        const char *key = json_string_value(json_object_get(one, "key"));
        if (!es_str_eq(json_string_value(json_object_get(one, "kind")), "frozen") ||
            (mj->key[0] != '\0' && !es_str_starts(key, mj->key)))
            continue;
        es_str_printf(line, sizeof line, "reading %s", key);
        job_line(job, line);
        const char *bad = changed_part(mj->dir, key, one, part, sizeof part);
        json_array_append_new(mj->list,
                              json_pack("{s:s, s:O, s:b, s:s*}", "key", key, "scenario",
                                        json_object_get(one, "scenario"), "ok",
                                        bad == NULL, "changed", bad));
        mj->any_bad |= bad != NULL;
    }
    json_decref(all);
    if (json_array_size(mj->list) == 0 && mj->key[0] != '\0')
        job->status = es_err_set(&job->err, ES_ENOENT,
                                 "no frozen mould's key begins with %s; `enshu mould "
                                 "list` shows them",
                                 mj->key);
}

static void verify_after(struct job *job)
{
    struct mould_job *mj = job->arg;
    if (job->status != 0)
        mj->reply->fail(mj->reply, &job->err);
    else
        mj->reply->done(mj->reply,
                        json_pack("{s:b, s:O}", "ok", !mj->any_bad, "moulds", mj->list));
    free_job(mj);
}

void es_range_call_mould_verify(struct es_range_core *core, const json_t *params,
                                struct es_reply *reply)
{
    start(core, reply, json_string_value(json_object_get(params, "key")), verify_work,
          verify_after);
}

/* ---------------------------------------------------------------- rm */

static int remove_mould(const struct mould_job *mj, const json_t *one, struct es_err *err)
{
    char path[PATH_BYTES + 128];
    const char *key = json_string_value(json_object_get(one, "key"));
    if (es_str_eq(json_string_value(json_object_get(one, "kind")), "frozen")) {
        es_str_printf(path, sizeof path, "%s/%s", mj->dir, key);
        return es_tree_remove(AT_FDCWD, path, err);
    }
    static const char *const suffixes[] = {"json", "qcow2"};
    for (size_t i = 0; i < ES_COUNT(suffixes); i++) {
        es_str_printf(path, sizeof path, "%s/%s.%s", mj->dir, key, suffixes[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return es_err_set(err, ES_EIO, "cannot remove %s: %s", path, strerror(errno));
    }
    return 0;
}

static const json_t *find(const struct mould_job *mj, struct es_err *err)
{
    const json_t *found = NULL, *one;
    size_t i, count = 0;
    json_array_foreach (mj->list, i, one)
        if (es_str_starts(json_string_value(json_object_get(one, "key")), mj->key)) {
            found = one;
            count++;
        }
    if (count == 0)
        es_err_set(err, ES_ENOENT,
                   "no mould's key begins with %s; `enshu mould list` shows them",
                   mj->key);
    else if (count > 1)
        es_err_set(err, ES_EINVAL, "%zu moulds' keys begin with %s; say more of it",
                   count, mj->key);
    return count == 1 ? found : NULL;
}

/* On the loop: what uses it cannot change meanwhile. */
static void remove_after(struct job *job)
{
    struct mould_job *mj = job->arg;
    struct es_err err = job->err;
    const json_t *one = job->status == 0 ? find(mj, &err) : NULL;
    const char *key = json_string_value(json_object_get(one, "key"));
    json_t *rests = images_rests(job->core);
    json_t *users = one != NULL ? moulds_users(job->core, rests, mj->list, key) : NULL;
    if (json_array_size(users) > 0)
        es_err_set(&err, ES_EBUSY, "mould %.12s is used by %s; take that down first", key,
                   json_string_value(json_array_get(users, 0)));
    if (err.code == 0 && remove_mould(mj, one, &err) == 0)
        mj->reply->done(mj->reply, json_pack("{s:s}", "removed", key));
    else
        mj->reply->fail(mj->reply, &err);
    json_decref(users);
    json_decref(rests);
    free_job(mj);
}

void es_range_call_mould_rm(struct es_range_core *core, const json_t *params,
                            struct es_reply *reply)
{
    start(core, reply, json_string_value(json_object_get(params, "key")), list_work,
          remove_after);
}

/* ---------------------------------------------------------------- build */

struct build {
    struct es_range_core *core;
    struct es_reply *reply;
    json_t *params;
    struct es_err err;
    char key[MOULD_KEY_MAX];
};

static void build_answer(struct build *build)
{
    if (build->err.code != 0)
        build->reply->fail(build->reply, &build->err);
    else
        build->reply->done(build->reply, json_pack("{s:s}", "key", build->key));
    json_decref(build->params);
    es_free(build);
}

static void on_build_down(void *arg, int status, const struct es_err *err,
                          json_t *removed)
{
    struct build *build = arg;
    json_decref(removed);
    if (status != 0 && build->err.code == 0)
        build->err = *err;
    build_answer(build);
}

static void on_built(struct range *r, int status, const struct es_err *err, void *arg)
{
    struct build *build = arg;
    if (status != 0)
        build->err = *err;
    else
        es_str_printf(build->key, sizeof build->key, "%s", r->frozen_key);
    if (r != NULL && r->phase != R_LEAVING)
        range_down(r, true, on_build_down, build);
    else
        build_answer(build);
}

static void on_progress(json_t *event, void *arg)
{
    struct build *build = arg;
    build->reply->progress(build->reply, event);
}

static void begin_build(struct build *build)
{
    struct bring_request request = {
        .file = json_string_value(json_object_get(build->params, "file")),
        .name = MOULD_RANGE,
        .accel = json_string_value(json_object_get(build->params, "accel")),
        .teams = 1,
        .mode = MODE_FORK,
        .moulds_only = true,
        .done = on_built,
        .progress = on_progress,
        .arg = build};
    bring_up(build->core, &request);
}

static void on_left_down(void *arg, int status, const struct es_err *err, json_t *removed)
{
    struct build *build = arg;
    json_decref(removed);
    if (status == 0) {
        begin_build(build);
        return;
    }
    build->err = *err;
    build_answer(build);
}

/* Its range ends with it: one that stands idle was left by a core that ended. */
void es_range_call_mould_build(struct es_range_core *core, const json_t *params,
                               struct es_reply *reply)
{
    struct range *left = core_find_range(core, MOULD_RANGE);
    struct build *build;
    if (left != NULL && range_is_busy(left)) {
        reply_fail_new(reply, ES_EBUSY, "moulds are being built; wait for it");
        return;
    }
    build = es_calloc(1, sizeof *build);
    json_t *kept = json_deep_copy(params);
    if (build == NULL || kept == NULL) {
        es_free(build);
        json_decref(kept);
        reply_fail_new(reply, ES_ENOMEM, "out of memory; free some and try again");
        return;
    }
    *build = (struct build){.core = core, .reply = reply, .params = kept};
    if (left != NULL)
        range_down(left, true, on_left_down, build);
    else
        begin_build(build);
}
