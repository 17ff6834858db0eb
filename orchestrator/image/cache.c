/* The cache of built images.
 *
 *   CACHE/NAME/DIGEST/{kernel,initrd,root.qcow2,manifest.json}   complete or not there
 *   CACHE/NAME/req-REQUEST -> DIGEST                             the newest answer to a request
 *   CACHE/NAME/lock                                              held while building
 *   CACHE/apt/                                                   package lists and archives */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

static bool is_digest(const char *s)
{
    return strlen(s) == DIGEST_HEX && s[strspn(s, "0123456789abcdef")] == '\0';
}

/* Waits in small steps, because a waiter may be cancelled too. */
int cache_lock(const struct es_image_config *config, const char *name, int *ret_fd,
               struct es_err *err)
{
    char path[ES_IMAGE_PATH_MAX];
    if (es_str_printf(path, sizeof path, "%s/%s", config->cache_dir, name) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    int rc = es_tree_make(path, 0755, err);
    if (rc != 0)
        return rc;
    if (es_str_printf(path, sizeof path, "%s/%s/lock", config->cache_dir, name) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "cannot open %s: %s", path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool cancelled = config->cancel != NULL && atomic_load(config->cancel);
        if (cancelled || (errno != EWOULDBLOCK && errno != EINTR)) {
            rc = cancelled ? es_err_set(err, ES_ECANCELED, "the build was cancelled")
                           : es_err_set(err, ES_EIO, "cannot lock %s: %s", path,
                                        strerror(errno));
            close(fd);
            return rc;
        }
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    *ret_fd = fd;
    return 0;
}

static int fill(struct es_image *image, const char *dir, const char *name,
                const json_t *manifest)
{
    const char *digest = json_string_value(json_object_get(manifest, "digest"));
    const char *cmdline = json_string_value(json_object_get(manifest, "cmdline"));
    if (digest == NULL || cmdline == NULL || !is_digest(digest))
        return ES_ECORRUPT;
    image->bytes = json_integer_value(json_object_get(manifest, "bytes"));
    return es_str_printf(image->name, sizeof image->name, "%s", name) != 0 ||
                   es_str_printf(image->digest, sizeof image->digest, "%s", digest) !=
                       0 ||
                   es_str_printf(image->cmdline, sizeof image->cmdline, "%s", cmdline) !=
                       0 ||
                   es_str_printf(image->kernel, sizeof image->kernel, "%s/kernel", dir) !=
                       0 ||
                   es_str_printf(image->initrd, sizeof image->initrd, "%s/initrd", dir) !=
                       0 ||
                   es_str_printf(image->disk, sizeof image->disk, "%s/root.qcow2", dir) !=
                       0
               ? ES_ECORRUPT
               : 0;
}

int cache_load(const struct es_image_config *config, const char *name, const char *digest,
               struct es_image *ret_image, struct es_err *err)
{
    char dir[ES_IMAGE_PATH_MAX], path[ES_IMAGE_PATH_MAX];
    if (es_str_printf(dir, sizeof dir, "%s/%s/%s", config->cache_dir, name, digest) !=
            0 ||
        es_str_printf(path, sizeof path, "%s/%s/%s/manifest.json", config->cache_dir,
                      name, digest) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    json_t *manifest = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (manifest == NULL)
        return es_err_set(err, ES_ENOENT, "the image %s is not built yet", name);
    struct es_image *image = es_calloc(1, sizeof *image);
    int rc = image == NULL ? es_err_nomem(err) : fill(image, dir, name, manifest);
    if (rc == ES_ECORRUPT)
        es_err_set(err, rc, "%s is damaged; remove the folder and build again", path);
    if (rc == 0 && (access(image->kernel, R_OK) != 0 ||
                    access(image->initrd, R_OK) != 0 || access(image->disk, R_OK) != 0))
        rc = es_err_set(err, ES_ENOENT, "the image in %s is not whole", dir);
    if (rc == 0)
        *ret_image = *image;
    es_free(image);
    json_decref(manifest);
    return rc;
}

int cache_find(const struct es_image_config *config, const char *name,
               const char *request, struct es_image *ret_image, struct es_err *err)
{
    char path[ES_IMAGE_PATH_MAX], target[DIGEST_HEX + 2];
    if (es_str_printf(path, sizeof path, "%s/%s/req-%s", config->cache_dir, name,
                      request) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    ssize_t n = readlink(path, target, sizeof target);
    if (n != DIGEST_HEX)
        return es_err_set(err, ES_ENOENT, "the image %s is not built yet", name);
    target[n] = '\0';
    return cache_load(config, name, target, ret_image, err);
}

static json_t *packages_of(const struct build *b)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->versions.count; i++)
        json_array_append_new(list, json_string(b->versions.items[i]));
    return list;
}

/* Digest and size of one file, made durable. */
static int add_file(const struct build *b, json_t *files, const char *name,
                    int64_t *total_bytes, struct es_err *err)
{
    char path[ES_IMAGE_PATH_MAX], hex[DIGEST_HEX + 1];
    struct stat st;
    if (es_str_printf(path, sizeof path, "%s/%s", b->result, name) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    int rc = digest_file(path, hex, err);
    int fd = rc == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (rc == 0 &&
        (fd < 0 || fstat(fd, &st) != 0 || fchmod(fd, 0644) != 0 || fsync(fd) != 0))
        rc = es_err_set(err, ES_EIO, "cannot keep %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (rc != 0)
        return rc;
    *total_bytes += (int64_t)st.st_blocks * 512;
    json_object_set_new(files, name, json_string(hex));
    return 0;
}

static int write_manifest(const struct build *b, const char *digest, struct es_err *err)
{
    static const char *const names[] = {"kernel", "initrd", "root.qcow2"};
    char path[ES_IMAGE_PATH_MAX], built[32];
    int64_t bytes = 0;
    json_t *files = json_object();
    int rc = files == NULL ? es_err_nomem(err) : 0;
    for (size_t i = 0; rc == 0 && i < ES_COUNT(names); i++)
        rc = add_file(b, files, names[i], &bytes, err);
    time_t now = time(NULL);
    struct tm tm;
    strftime(built, sizeof built, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_t *root =
        rc != 0 ? NULL
                : json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:O, s:o}", "name",
                            b->recipe.name, "digest", digest, "request", b->request,
                            "builder", BUILDER, "bytes", (json_int_t)bytes, "built",
                            built, "cmdline", b->recipe.cmdline, "files", files,
                            "packages", packages_of(b));
    if (rc == 0 && root == NULL)
        rc = es_err_nomem(err);
    if (rc == 0 &&
        (es_str_printf(path, sizeof path, "%s/manifest.json", b->result) != 0 ||
         json_dump_file(root, path, JSON_INDENT(1)) != 0))
        rc = es_err_set(err, ES_EIO, "cannot write the manifest in %s", b->result);
    json_decref(root);
    json_decref(files);
    return rc;
}

static int point_request(const struct build *b, const char *digest, struct es_err *err)
{
    char link[ES_IMAGE_PATH_MAX], temp[ES_IMAGE_PATH_MAX];
    if (es_str_printf(link, sizeof link, "%s/%s/req-%s", b->config->cache_dir,
                      b->recipe.name, b->request) != 0 ||
        es_str_printf(temp, sizeof temp, "%s/%s/req-new", b->config->cache_dir,
                      b->recipe.name) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    unlink(temp);
    if (symlink(digest, temp) != 0 || rename(temp, link) != 0)
        return es_err_set(err, ES_EIO, "cannot write %s: %s", link, strerror(errno));
    return 0;
}

int cache_publish(struct build *b, struct es_image *ret_image, struct es_err *err)
{
    char digest[DIGEST_HEX + 1], dir[ES_IMAGE_PATH_MAX];
    strings_sort(&b->versions);
    digest_result(b, digest);
    int rc = write_manifest(b, digest, err);
    if (rc != 0)
        return rc;
    if (es_str_printf(dir, sizeof dir, "%s/%s/%s", b->config->cache_dir, b->recipe.name,
                      digest) != 0)
        return es_err_set(err, ES_ELIMIT, "the cache's path is too long");
    /* The same versions were built before: that one may be in use, so it stays. */
    if (cache_load(b->config, b->recipe.name, digest, ret_image, NULL) != 0) {
        es_tree_remove(AT_FDCWD, dir, NULL);
        if (rename(b->result, dir) != 0)
            return es_err_set(err, ES_EIO, "cannot move the image to %s: %s", dir,
                              strerror(errno));
    }
    rc = point_request(b, digest, err);
    return rc != 0 ? rc : cache_load(b->config, b->recipe.name, digest, ret_image, err);
}

/* ------------------------------------------------------------------ list and remove */

typedef int (*visit)(void *ctx, const char *name, const char *digest, struct es_err *err);

static int each_digest(const struct es_image_config *config, const char *name, visit fn,
                       void *ctx, struct es_err *err)
{
    char path[ES_IMAGE_PATH_MAX];
    int rc = 0;
    if (es_str_printf(path, sizeof path, "%s/%s", config->cache_dir, name) != 0)
        return 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && rc == 0 && (entry = readdir(dir)) != NULL;)
        if (is_digest(entry->d_name))
            rc = fn(ctx, name, entry->d_name, err);
    if (dir != NULL)
        closedir(dir);
    return rc;
}

static int each_image(const struct es_image_config *config, visit fn, void *ctx,
                      struct es_err *err)
{
    DIR *dir = opendir(config->cache_dir);
    int rc = 0;
    if (dir == NULL)
        return errno == ENOENT ? 0
                               : es_err_set(err, ES_EIO, "cannot list %s: %s",
                                            config->cache_dir, strerror(errno));
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;)
        if (recipe_name_ok(entry->d_name) && !es_str_eq(entry->d_name, "apt"))
            rc = each_digest(config, entry->d_name, fn, ctx, err);
    closedir(dir);
    return rc;
}

struct listing {
    const struct es_image_config *config;
    json_t *list;
};

static int add_to_list(void *ctx, const char *name, const char *digest,
                       struct es_err *err)
{
    struct listing *l = ctx;
    char path[ES_IMAGE_PATH_MAX];
    if (es_str_printf(path, sizeof path, "%s/%s/%s/manifest.json", l->config->cache_dir,
                      name, digest) != 0)
        return 0;
    json_t *manifest = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
    if (manifest == NULL)
        return 0; /* being removed */
    return json_array_append_new(l->list, manifest) == 0 ? 0 : es_err_nomem(err);
}

int es_image_list(const struct es_image_config *config, json_t **ret_list,
                  struct es_err *err)
{
    struct listing l = {config, json_array()};
    if (l.list == NULL)
        return es_err_nomem(err);
    int rc = each_image(config, add_to_list, &l, err);
    if (rc == 0)
        *ret_list = l.list;
    else
        json_decref(l.list);
    return rc;
}

struct search {
    const char *prefix;
    char name[64], digest[DIGEST_HEX + 1];
    int hits;
};

static int match(void *ctx, const char *name, const char *digest, struct es_err *err)
{
    struct search *s = ctx;
    (void)err;
    if (!es_str_starts(digest, s->prefix))
        return 0;
    s->hits++;
    es_str_printf(s->name, sizeof s->name, "%s", name);
    es_str_printf(s->digest, sizeof s->digest, "%s", digest);
    return 0;
}

int es_image_remove(const struct es_image_config *config, const char *digest,
                    struct es_err *err)
{
    struct search s = {.prefix = digest};
    int lock = -1;
    if (strlen(digest) < 4)
        return es_err_set(err, ES_EINVAL, "give at least four digits of the digest");
    int rc = each_image(config, match, &s, err);
    if (rc == 0 && s.hits != 1)
        rc = s.hits == 0
                 ? es_err_set(err, ES_ENOENT,
                              "no image has a digest that begins with %.64s; see: "
                              "enshu image list",
                              digest)
                 : es_err_set(err, ES_EINVAL,
                              "%d images have digests that begin with %.64s; give "
                              "more digits",
                              s.hits, digest);
    if (rc == 0)
        rc = cache_lock(config, s.name, &lock, err);
    if (rc != 0)
        return rc;
    /* Links of requests to it stay and lead nowhere: the next build renews them. */
    char path[ES_IMAGE_PATH_MAX];
    if (es_str_printf(path, sizeof path, "%s/%s/%s", config->cache_dir, s.name,
                      s.digest) == 0 &&
        es_tree_remove(AT_FDCWD, path, NULL) != 0)
        rc = es_err_set(err, ES_EIO, "cannot remove %s: %s", path, strerror(errno));
    close(lock);
    return rc;
}
