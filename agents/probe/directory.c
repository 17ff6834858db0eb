/* directory: the names in a directory.
 *
 * Keys:     path; depth (1, at most 8): 1 is the names in it, 2 those below them too.
 * Evidence: exists (it is there and a directory); when it is: entries, relative names in
 *           order, at most 2000 and 40 KiB; count of all that were seen (at most 100000);
 *           truncated. Symbolic links below the path are named, not followed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "probe.h"

#define ENTRIES_MAX 2000U
#define SEEN_MAX    100000U

struct names {
    char **items; /* in the arena */
    size_t count;
    size_t seen;
    bool truncated;
};

static void take_name(struct es_probe *p, struct names *names, const char *name)
{
    names->seen++;
    /* Twice what is told, so that the order among the first is right in small ones. */
    if (names->count >= ENTRIES_MAX * 2) {
        names->truncated = true;
        return;
    }
    char **items = es_arena_push(&p->arena, names->items, names->count, sizeof *items);
    char *copy = es_arena_strdup(&p->arena, name);
    if (items == NULL || copy == NULL)
        return;
    names->items = items;
    names->items[names->count++] = copy;
}

static int walk(struct es_probe *p, int parent, const char *name, const char *prefix,
                int64_t depth, struct names *names)
{
    int fd =
        openat(parent, name,
               O_RDONLY | O_DIRECTORY | O_CLOEXEC | (*prefix != '\0' ? O_NOFOLLOW : 0));
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    if (dir == NULL) {
        int code = errno;
        if (fd >= 0)
            close(fd);
        return code;
    }
    while ((entry = readdir(dir)) != NULL && names->seen < SEEN_MAX) {
        char path[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (es_str_printf(path, sizeof path, "%s%s", prefix, entry->d_name) != 0)
            continue;
        take_name(p, names, path);
        struct stat st;
        bool is_dir = entry->d_type == DT_DIR;
        if (entry->d_type == DT_UNKNOWN)
            is_dir = fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                     S_ISDIR(st.st_mode);
        if (is_dir && depth > 1 &&
            es_str_printf(path, sizeof path, "%s%s/", prefix, entry->d_name) == 0)
            walk(p, dirfd(dir), entry->d_name, path, depth - 1, names);
    }
    names->truncated = names->truncated || names->seen >= SEEN_MAX;
    closedir(dir);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

ES_PROBE_LOOK(directory)
{
    const char *path;
    int64_t depth;
    struct names names = {0};
    size_t left = ES_PROBE_LIST_MAX;
    int rc = es_probe_arg_text(p, "path", true, &path, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "depth", 1, 1, 8, &depth, err);
    if (rc != 0)
        return rc;
    const char *full = es_probe_path(p, path);
    if (full == NULL)
        return es_err_nomem(err);
    int code = walk(p, AT_FDCWD, full, "", depth, &names);
    if (code == ENOENT || code == ENOTDIR) {
        es_probe_set_bool(p, "exists", false);
        return 0;
    }
    if (code != 0)
        return es_probe_errno(err, path, "cannot be listed", code);
    if (p->arena.failed)
        return es_err_nomem(err);
    if (names.count > 0)
        qsort(names.items, names.count, sizeof *names.items, by_name);
    es_probe_set_bool(p, "exists", true);
    es_probe_set_int(p, "count", (int64_t)names.seen);
    es_probe_set(p, "entries", json_array());
    size_t told = 0;
    while (told < names.count && told < ENTRIES_MAX &&
           es_probe_add_text(p, "entries", names.items[told], &left))
        told++;
    es_probe_set_bool(p, "truncated", names.truncated || told < names.count);
    return 0;
}
