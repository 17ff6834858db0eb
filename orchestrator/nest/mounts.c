/* The mount namespace: libvirt's folders come from the state directory, everything else is
 * the host's.
 *
 * A folder that is missing as a mount point, or that QEMU's user may not pass through (a
 * home of mode 0700), is mirrored: a small tmpfs takes its place, with every entry of the
 * original bound inside. Nothing of the host is changed. */
#include "nest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/log.h"
#include "enshu/common/str.h"

static int bind_on(const char *from, const char *to, struct es_err *err)
{
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) != 0)
        return es_err_set(err, ES_EIO, "cannot bind %s to %s: %s", from, to,
                          strerror(errno));
    return 0;
}

static int mirror_entry(int original, const char *dir, const char *name,
                        struct es_err *err)
{
    char from[PATH_MAX], to[PATH_MAX], link[PATH_MAX];
    struct stat st;
    if (es_str_printf(from, sizeof from, "/proc/self/fd/%d/%s", original, name) != 0 ||
        es_str_printf(to, sizeof to, "%s/%s", dir, name) != 0)
        return es_err_set(err, ES_ELIMIT, "%s/%s: path too long", dir, name);
    if (fstatat(original, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return 0; /* gone meanwhile */
    if (S_ISLNK(st.st_mode)) {
        ssize_t len = readlinkat(original, name, link, sizeof link - 1);
        if (len < 0)
            return 0;
        link[len] = '\0';
        if (symlink(link, to) != 0)
            return es_err_set(err, ES_EIO, "cannot link %s: %s", to, strerror(errno));
        return 0;
    }
    if (S_ISDIR(st.st_mode) ? mkdir(to, 0755) != 0 : mknod(to, S_IFREG | 0644, 0) != 0)
        return es_err_set(err, ES_EIO, "cannot make %s: %s", to, strerror(errno));
    return bind_on(from, to, err);
}

/* Puts a tmpfs of mode `mode` in the place of `dir` with the same entries. */
static int mirror(const char *dir, mode_t mode, struct es_err *err)
{
    char options[32];
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "cannot open %s: %s", dir, strerror(errno));
    snprintf(options, sizeof options, "mode=%04o,size=16m", (unsigned)mode & 0777);
    DIR *list = NULL;
    int rc = 0;
    if (mount("enshu-nest", dir, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        rc = es_err_set(err, ES_EIO, "cannot mount a tmpfs on %s: %s", dir,
                        strerror(errno));
    else if ((list = fdopendir(dup(fd))) == NULL)
        rc = es_err_set(err, ES_EIO, "cannot list %s: %s", dir, strerror(errno));
    for (struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;)
        if (!es_str_eq(entry->d_name, ".") && !es_str_eq(entry->d_name, ".."))
            rc = mirror_entry(fd, dir, entry->d_name, err);
    if (list != NULL)
        closedir(list);
    close(fd);
    return rc;
}

/* Whether QEMU's user, who is neither owner nor in the group, may pass through. */
static int open_way(const char *path, struct es_err *err)
{
    char part[PATH_MAX];
    if (es_str_printf(part, sizeof part, "%s", path) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: path too long", path);
    for (char *p = part + 1; *p != '\0'; p++) {
        struct stat st;
        if (*p != '/')
            continue;
        *p = '\0';
        if (stat(part, &st) != 0)
            return es_err_set(err, ES_EIO, "cannot look at %s: %s", part,
                              strerror(errno));
        int rc = 0;
        if ((st.st_mode & S_IXOTH) == 0)
            rc = mirror(part, (st.st_mode & 0777) | 0111, err);
        if (rc != 0)
            return rc;
        *p = '/';
    }
    return 0;
}

static int libvirt_folder(const struct nest *nest, const char *name, const char *parent,
                          struct es_err *err)
{
    char from[256], folder[64], target[64];
    snprintf(folder, sizeof folder, "v/%s", name);
    snprintf(target, sizeof target, "%s/libvirt", parent);
    if (access(target, F_OK) != 0) {
        int rc = mirror(parent, 0755, err);
        if (rc != 0)
            return rc;
        if (mkdir(target, 0755) != 0)
            return es_err_set(err, ES_EIO, "cannot make %s: %s", target, strerror(errno));
    }
    return bind_on(nest_path(nest, folder, from), target, err);
}

static int pin(const struct nest *nest, struct es_err *err)
{
    char path[256];
    int rc = es_tree_write(nest_path(nest, "net", path), "", 0, 0600, err);
    return rc != 0 ? rc : bind_on("/proc/self/ns/net", path, err);
}

int mounts_build(struct nest *nest, struct es_err *err)
{
    static const struct {
        const char *name, *parent;
    } folders[] = {{"run", "/run"},
                   {"lib", "/var/lib"},
                   {"etc", "/etc"},
                   {"cache", "/var/cache"},
                   {"log", "/var/log"}};
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return es_err_set(err, ES_EIO, "cannot make the mounts private: %s",
                          strerror(errno));
    int rc = open_way(nest->dir, err);
    for (size_t i = 0; rc == 0 && i < nest->options->share_count; i++)
        rc = open_way(nest->options->shares[i], err);
    for (size_t i = 0; rc == 0 && i < ES_COUNT(folders); i++)
        rc = libvirt_folder(nest, folders[i].name, folders[i].parent, err);
    if (rc == 0)
        rc = pin(nest, err);
    /* The host's sysfs shows another network namespace: libvirt could not set bridge ports
     * isolated. */
    if (rc == 0 &&
        mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        es_log_warn("cannot mount a sysfs (%s); isolated ports on shared networks will "
                    "be refused",
                    strerror(errno));
    return rc;
}
