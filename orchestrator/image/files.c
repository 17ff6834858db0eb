/* Files and folders of a build. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

const char *work_path(struct build *b, const char *fmt, ...)
{
    char name[WORK_PATH_ROOM];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof name)
        return NULL;
    return es_arena_printf(&b->arena, "%s/%s", b->work, name);
}

int read_text(const char *path, size_t max_bytes, struct es_buf *ret_text,
              struct es_err *err)
{
    char chunk[65536];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return es_err_set(err, errno == ENOENT ? ES_ENOENT : ES_EIO, "cannot read %s: %s",
                          path, strerror(errno));
    int rc = 0;
    ssize_t n;
    while (rc == 0 && (n = read(fd, chunk, sizeof chunk)) > 0)
        if (ret_text->len + (size_t)n > max_bytes)
            rc = es_err_set(err, ES_ELIMIT, "%s is larger than %zu bytes", path,
                            max_bytes);
        else if (es_buf_append(ret_text, chunk, (size_t)n) != 0)
            rc = es_err_nomem(err);
    close(fd);
    return rc;
}

static int list_below(struct es_arena *arena, const char *dir, const char *prefix,
                      struct strings *out, struct es_err *err)
{
    DIR *list = opendir(dir);
    if (list == NULL)
        return errno == ENOENT
                   ? 0
                   : es_err_set(err, ES_EIO, "cannot list %s: %s", dir, strerror(errno));
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;) {
        if (es_str_eq(entry->d_name, ".") || es_str_eq(entry->d_name, ".."))
            continue;
        struct stat st;
        const char *path = es_arena_printf(arena, "%s/%s", dir, entry->d_name);
        const char *name = es_arena_printf(arena, "%s%s", prefix, entry->d_name);
        if (path == NULL || name == NULL)
            rc = es_err_nomem(err);
        else if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            const char *below = es_arena_printf(arena, "%s/", name);
            rc = below == NULL ? es_err_nomem(err)
                               : list_below(arena, path, below, out, err);
        } else if (strings_push(arena, out, name) != 0)
            rc = es_err_nomem(err);
    }
    closedir(list);
    return rc;
}

int list_tree(struct es_arena *arena, const char *dir, struct strings *ret_files,
              struct es_err *err)
{
    int rc = list_below(arena, dir, "", ret_files, err);
    if (rc == 0)
        strings_sort(ret_files);
    return rc;
}
