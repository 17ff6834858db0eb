/* es_image_get: find, or build step by step. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

static int add_packages(struct build *b, const char *const *packages, struct es_err *err)
{
    for (size_t i = 0; packages != NULL && packages[i] != NULL; i++) {
        const char *p = packages[i];
        if (p[0] == '-' || p[0] == '\0' ||
            p[strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789+-.:")] != '\0')
            return es_err_set(err, ES_EINVAL, "%.80s is not the name of a Debian package",
                              p);
        if (b->recipe.packages.count >= PACKAGES_MAX)
            return es_err_set(err, ES_ELIMIT, "more than %d packages", PACKAGES_MAX);
        if (strings_push(&b->arena, &b->recipe.packages, es_arena_strdup(&b->arena, p)) !=
            0)
            return es_err_nomem(err);
    }
    strings_sort(&b->recipe.packages);
    return 0;
}

/* Files in the work folder may belong to ids of the namespace only. */
static void remove_work(struct build *b)
{
    const char *const argv[] = {"rm", "-rf", "--", b->work, NULL};
    struct es_image_config quiet = *b->config;
    struct build again = *b;
    if (b->work == NULL || es_tree_remove(AT_FDCWD, b->work, NULL) == 0)
        return;
    quiet.cancel = NULL; /* tidying is not cancelled */
    quiet.on_line = NULL;
    again.config = &quiet;
    tool_run(&again, &(struct tool){argv, "coreutils", true, NULL, "/"}, NULL);
    es_tree_remove(AT_FDCWD, b->work, NULL);
}

static int make_work(struct build *b, struct es_err *err)
{
    const char *base = getenv("TMPDIR");
    struct stat st;
    if (base == NULL || base[0] != '/')
        base = "/var/tmp";
    if (stat(b->config->cache_dir, &st) != 0)
        return es_err_set(err, ES_EIO, "%s: %s", b->config->cache_dir, strerror(errno));
    /* The lock we hold is the cache's: another cache's builder has another folder. */
    b->work = es_arena_printf(&b->arena, "%s/enshu-image-%lu-%llx-%.16s", base,
                              (unsigned long)b->map.uid, (unsigned long long)st.st_ino,
                              b->request);
    b->result = es_arena_printf(&b->arena, "%s/%s/new-%.16s", b->config->cache_dir,
                                b->recipe.name, b->request);
    if (b->work == NULL || b->result == NULL)
        return es_err_nomem(err);
    remove_work(b);
    es_tree_remove(AT_FDCWD, b->result, NULL);
    if (mkdir(b->work, 0755) != 0)
        return es_err_set(err, ES_EIO,
                          "cannot make the work folder %s: %s; set TMPDIR to a folder "
                          "with some GiB of space",
                          b->work, strerror(errno));
    /* Root of the namespace must be able to write here. */
    if (b->map.uid == 0 &&
        chown(b->work, (uid_t)b->map.uid_base, (gid_t)b->map.gid_base) != 0)
        return es_err_set(err, ES_EIO, "cannot hand %s over: %s", b->work,
                          strerror(errno));
    return es_tree_make(b->result, 0755, err);
}

/* Package lists are shared by all images of a cache. */
static int build_steps(struct build *b, struct es_image *ret_image, struct es_err *err)
{
    int rc = es_idmap_find(&b->map, err);
    if (rc == 0)
        rc = make_work(b, err);
    if (rc == 0)
        rc = apt_prepare(b, err);
    if (rc == 0)
        rc = kernel_unpack(b, err);
    if (rc == 0)
        rc = tree_make(b, err);
    if (rc == 0)
        rc = initrd_write(b, err);
    if (rc == 0)
        rc = disk_make(b, err);
    if (rc == 0)
        rc = cache_publish(b, ret_image, err);
    if (b->result != NULL)
        es_tree_remove(AT_FDCWD, b->result, NULL);
    remove_work(b);
    return rc;
}

static int build_locked(struct build *b, bool force, struct es_image *ret_image,
                        struct es_err *err)
{
    int lock = -1, apt_lock = -1;
    int rc = cache_lock(b->config, b->recipe.name, &lock, err);
    if (rc != 0)
        return rc;
    /* Another builder may have finished while we waited. */
    if (!force &&
        cache_find(b->config, b->recipe.name, b->request, ret_image, NULL) == 0) {
        ret_image->cached = true;
    } else {
        rc = cache_lock(b->config, "apt", &apt_lock, err);
        if (rc == 0) {
            tool_say(b, "building the image %s", b->recipe.name);
            rc = build_steps(b, ret_image, err);
        }
    }
    if (apt_lock >= 0)
        close(apt_lock);
    close(lock);
    return rc;
}

int es_image_get(const struct es_image_config *config, const char *recipe,
                 const char *const *packages, bool force, struct es_image *ret_image,
                 struct es_err *err)
{
    struct build b = {.config = config};
    ES_ASSERT(config->recipes_dir != NULL && config->cache_dir != NULL);
    int rc = config->cache_dir[0] == '/'
                 ? 0
                 : es_err_set(err, ES_EINVAL, "the image cache %s is not absolute",
                              config->cache_dir);
    if (rc == 0)
        rc = recipe_load(&b.arena, config->recipes_dir, recipe, &b.recipe, err);
    if (rc == 0)
        rc = add_packages(&b, packages, err);
    if (rc == 0)
        rc = digest_request(&b, err);
    if (rc == 0 && !force &&
        cache_find(config, b.recipe.name, b.request, ret_image, NULL) == 0)
        ret_image->cached = true;
    else if (rc == 0 && (rc = build_locked(&b, force, ret_image, err)) != 0)
        es_err_prefix(err, "image %s", recipe);
    es_arena_finish(&b.arena);
    return rc;
}
