/* Files and folders. */
#include "enshu/common/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"

static int cannot(struct es_err *err, const char *what, const char *name, int code)
{
    return es_err_set(err, ES_EIO, "cannot %s %s: %s", what, name, strerror(code));
}

/* What is in the folder. */
static int empty(int fd, const char *name, struct es_err *err)
{
    DIR *dir = fdopendir(fd);
    int rc = 0;
    if (dir == NULL) {
        int code = errno;
        close(fd);
        return cannot(err, "read", name, code);
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (es_str_eq(entry->d_name, ".") || es_str_eq(entry->d_name, ".."))
            continue;
        int one = es_tree_remove(dirfd(dir), entry->d_name, rc == 0 ? err : NULL);
        rc = rc == 0 ? one : rc;
    }
    closedir(dir);
    return rc;
}

int es_tree_remove(int parent, const char *name, struct es_err *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    int code = errno;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return cannot(err, "remove", name, errno == ENOTDIR ? code : errno);
    int rc = empty(fd, name, err);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT || rc != 0)
        return rc;
    return cannot(err, "remove", name, errno);
}

int es_tree_make(const char *path, mode_t mode, struct es_err *err)
{
    char part[PATH_MAX];
    if (path[0] == '\0' || es_str_printf(part, sizeof part, "%s", path) != 0)
        return es_err_set(err, ES_ELIMIT, "the path %.100s… is empty or too long", path);
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char kept = *p;
        *p = '\0';
        if (mkdir(part, mode) != 0 && errno != EEXIST)
            return cannot(err, "make the folder", part, errno);
        *p = kept;
        if (kept == '\0')
            return 0;
    }
}

bool es_write_all(int fd, const void *data, size_t len)
{
    const char *rest = data;
    while (len > 0) {
        ssize_t n = write(fd, rest, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return false;
        rest += n;
        len -= (size_t)n;
    }
    return true;
}

int es_tree_write(const char *path, const void *data, size_t len, mode_t mode,
                  struct es_err *err)
{
    char beside[PATH_MAX];
    if (es_str_printf(beside, sizeof beside, "%s.new", path) != 0)
        return es_err_set(err, ES_ELIMIT, "the path %.100s… is too long", path);
    unlink(beside); /* what a crash left */
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int code = fd < 0 || !es_write_all(fd, data, len) ? errno : 0;
    if (code == 0 && fchmod(fd, mode) != 0)
        code = errno;
    if (fd >= 0 && close(fd) != 0 && code == 0)
        code = errno;
    if (code == 0 && rename(beside, path) != 0)
        code = errno;
    if (code == 0)
        return 0;
    if (fd >= 0)
        unlink(beside);
    return cannot(err, "write", path, code);
}
