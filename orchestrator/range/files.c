/* Folders: copied into a range and into its ledger. Links are never followed or copied. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"

#define COPY_BYTES_MAX (256LL << 20)
#define COPY_FILES_MAX 10000
#define COPY_DEPTH_MAX 16

struct copy {
    int64_t bytes;
    int files;
    dev_t skip_dev; /* a folder that is left out: the core's own, when it lies inside */
    ino_t skip_ino;
};

static int copy_file(const char *from, const char *to, const struct stat *st,
                     struct es_err *err)
{
    int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, st->st_mode & 0755);
    int64_t left = st->st_size;
    while (in >= 0 && out >= 0 && left > 0) {
        ssize_t n = sendfile(out, in, NULL, (size_t)left);
        if (n <= 0)
            break;
        left -= n;
    }
    int saved = errno;
    bool ok = in >= 0 && out >= 0 && left == 0;
    if (in >= 0)
        close(in);
    if (out >= 0)
        ok &= close(out) == 0;
    return ok ? 0
              : es_err_set(err, ES_EIO, "cannot copy %s to %s: %s", from, to,
                           strerror(saved));
}

static int copy_entry(struct copy *copy, const char *from, const char *to, int depth,
                      struct es_err *err);

static int copy_folder(struct copy *copy, const char *from, const char *to, int depth,
                       struct es_err *err)
{
    char a[PATH_BYTES], b[PATH_BYTES];
    if (mkdir(to, 0755) != 0 && errno != EEXIST)
        return es_err_set(err, ES_EIO, "cannot make %s: %s", to, strerror(errno));
    DIR *dir = opendir(from);
    int rc = dir != NULL
                 ? 0
                 : es_err_set(err, ES_EIO, "cannot read %s: %s", from, strerror(errno));
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
        if (es_str_eq(entry->d_name, ".") || es_str_eq(entry->d_name, "..") ||
            es_str_eq(entry->d_name, ".git"))
            continue;
        rc = es_str_printf(a, sizeof a, "%s/%s", from, entry->d_name);
        if (rc == 0)
            rc = es_str_printf(b, sizeof b, "%s/%s", to, entry->d_name);
        rc = rc == 0 ? copy_entry(copy, a, b, depth + 1, err)
                     : es_err_set(err, rc, "a path below %s is too long", from);
    }
    if (dir != NULL)
        closedir(dir);
    return rc;
}

static int copy_entry(struct copy *copy, const char *from, const char *to, int depth,
                      struct es_err *err)
{
    struct stat st;
    if (lstat(from, &st) != 0)
        return es_err_set(err, ES_EIO, "cannot look at %s: %s", from, strerror(errno));
    if (depth > COPY_DEPTH_MAX)
        return es_err_set(err, ES_ELIMIT, "%s lies more than %d folders deep", from,
                          COPY_DEPTH_MAX);
    if (S_ISDIR(st.st_mode) && st.st_dev == copy->skip_dev && st.st_ino == copy->skip_ino)
        return 0;
    if (S_ISDIR(st.st_mode))
        return copy_folder(copy, from, to, depth, err);
    if (!S_ISREG(st.st_mode))
        return 0;
    copy->bytes += st.st_size;
    if (++copy->files > COPY_FILES_MAX || copy->bytes > COPY_BYTES_MAX)
        return es_err_set(err, ES_ELIMIT,
                          "the scenario's folder, which is kept with its range, holds "
                          "more than %d files or %lld MiB: give it a folder of its own",
                          COPY_FILES_MAX, COPY_BYTES_MAX >> 20);
    return copy_file(from, to, &st, err);
}

#define BLOB_NAME_BYTES 201

struct bundle {
    struct es_store *store;
    json_t *names;
    struct copy sum;
};

static int bundle_file(struct bundle *bundle, const char *path, const char *name,
                       const struct stat *st, struct es_err *err)
{
    char blob[BLOB_NAME_BYTES];
    bundle->sum.bytes += st->st_size;
    if (++bundle->sum.files > COPY_FILES_MAX || bundle->sum.bytes > COPY_BYTES_MAX ||
        es_str_printf(blob, sizeof blob, "scenario/%s", name) != 0)
        return es_err_set(err, ES_ELIMIT, "%s does not fit into the ledger's scenario",
                          name);
    char *data = es_alloc((size_t)st->st_size + 1);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = data != NULL && fd >= 0 ? read(fd, data, (size_t)st->st_size) : -1;
    int rc = n == st->st_size
                 ? es_store_put_blob(bundle->store, blob, data, (size_t)n, err)
                 : es_err_set(err, ES_EIO, "cannot read %s", path);
    if (fd >= 0)
        close(fd);
    es_free(data);
    if (rc == 0 && json_array_append_new(bundle->names, json_string(name)) != 0)
        rc = es_err_nomem(err);
    return rc;
}

static int bundle_folder(struct bundle *bundle, const char *folder, const char *prefix,
                         int depth, struct es_err *err)
{
    char path[PATH_BYTES], name[PATH_BYTES];
    struct stat st;
    int rc = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL || depth > COPY_DEPTH_MAX)
        rc = es_err_set(err, ES_EIO, "cannot read %s", folder);
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
        if (es_str_eq(entry->d_name, ".") || es_str_eq(entry->d_name, ".."))
            continue;
        rc = es_str_printf(path, sizeof path, "%s/%s", folder, entry->d_name) |
             es_str_printf(name, sizeof name, "%s%s", prefix, entry->d_name);
        if (rc != 0 || lstat(path, &st) != 0)
            rc = es_err_set(err, ES_EIO, "cannot look at %s", path);
        else if (S_ISREG(st.st_mode))
            rc = bundle_file(bundle, path, name, &st, err);
        else if (S_ISDIR(st.st_mode) &&
                 es_str_printf(name, sizeof name, "%s%s/", prefix, entry->d_name) == 0)
            rc = bundle_folder(bundle, path, name, depth + 1, err);
    }
    if (dir != NULL)
        closedir(dir);
    return rc;
}

static bool is_there(struct es_store *store)
{
    struct es_buf index;
    struct es_err ignored = {0};
    es_buf_init(&index, ES_STORE_BLOB_MAX);
    bool there = es_store_get_blob(store, "scenario", &index, &ignored) == 0;
    es_buf_finish(&index);
    return there;
}

int files_bundle(const struct es_scenario *scenario, struct es_store *store,
                 struct es_err *err)
{
    if (is_there(store)) /* the last that is put */
        return 0;
    struct bundle bundle = {.store = store, .names = json_array()};
    int rc = bundle_folder(&bundle, scenario->dir, "", 0, err);
    json_t *index =
        json_pack("{s:s, s:O}", "file", scenario->file, "files", bundle.names);
    char *text = index != NULL ? json_dumps(index, JSON_COMPACT) : NULL;
    if (rc == 0)
        rc = text != NULL ? es_store_put_blob(store, "scenario", text, strlen(text), err)
                          : es_err_nomem(err);
    es_free(text);
    json_decref(index);
    json_decref(bundle.names);
    return rc;
}

int files_copy(const char *from, const char *to, const char *skip, struct es_err *err)
{
    struct copy copy = {0};
    struct stat st;
    if (stat(skip, &st) == 0) {
        copy.skip_dev = st.st_dev;
        copy.skip_ino = st.st_ino;
    }
    return copy_entry(&copy, from, to, 0, err);
}
