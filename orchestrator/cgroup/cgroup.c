/* Cgroups of version 2: finding one that was delegated, and dividing it.
 *
 * The children are "threaded": then the parent may hold processes itself (the core, the
 * embedded libvirt) beside children with the cpu controller, and a service manager can start
 * the core there again while machines of the last one run. All groups weigh the same, which
 * is the kernel's default. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "enshu/cgroup.h"
#include "enshu/common/str.h"

static int write_word(const char *path, const char *word)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    ssize_t n = write(fd, word, strlen(word));
    int code = n < 0 ? errno : 0;
    close(fd);
    return code;
}

static bool read_line(const char *path, const char *starts, char *dst, size_t size)
{
    FILE *file = fopen(path, "re");
    bool found = false;
    while (file != NULL && !found && fgets(dst, (int)size, file) != NULL)
        found = es_str_starts(dst, starts);
    if (file != NULL)
        fclose(file);
    dst[found ? strcspn(dst, "\n") : 0] = '\0';
    return found;
}

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += len)
        if ((at == text || at[-1] == ' ') && strchr(" \n", at[len]) != NULL)
            return true;
    return false;
}

/* Where cgroup2 is mounted, and which of its folders is seen there. */
static bool find_mount(const char *root, char *ret_mount, char *ret_top, size_t size)
{
    char path[512], line[2048], mount[512], top[512];
    bool found = false;
    es_str_printf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, " - cgroup2 ") != NULL &&
                sscanf(line, "%*s %*s %*s %511s %511s", top, mount) == 2;
    if (file != NULL)
        fclose(file);
    return found && es_str_printf(ret_mount, size, "%s", mount) == 0 &&
           es_str_printf(ret_top, size, "%s", top) == 0;
}

/* A service manager marks what it gives away; root could write to the rest as well, where
 * it would be in that one's way. */
static bool is_delegated(const char *root, const char *path)
{
    static const char *const names[] = {"trusted.delegate", "user.delegate"};
    char value[8], systemd[600];
    es_str_printf(systemd, sizeof systemd, "%s/run/systemd/system", root);
    if (geteuid() != 0 || access(systemd, F_OK) != 0)
        return access(path, W_OK) == 0;
    for (size_t i = 0; i < ES_COUNT(names); i++)
        if (getxattr(path, names[i], value, sizeof value) == 1 && value[0] == '1')
            return true;
    return false;
}

int es_cgroup_find(const char *root, pid_t pid, struct es_cgroup *group,
                   struct es_err *err)
{
    char path[600], own[512], mount[512], top[512], controllers[512], self[16] = "self";
    if (pid != 0)
        es_str_printf(self, sizeof self, "%d", (int)pid);
    es_str_printf(path, sizeof path, "%s/proc/%s/cgroup", root, self);
    if (!read_line(path, "0::", own, sizeof own) ||
        !find_mount(root, mount, top, sizeof mount))
        return es_err_set(err, ES_ENOTSUP, "there is no cgroup of version 2");
    const char *below = own + strlen("0::");
    if (!es_str_eq(top, "/") && es_str_starts(below, top))
        below += strlen(top);
    if (es_str_printf(group->path, sizeof group->path, "%s%s%s", root, mount,
                      es_str_eq(below, "/") ? "" : below) != 0 ||
        es_str_printf(path, sizeof path, "%s/cgroup.controllers", group->path) != 0)
        return es_err_set(err, ES_ENOTSUP, "its cgroup's path is too long");
    if (!is_delegated(root, group->path))
        return es_err_set(err, ES_ENOTSUP, "its cgroup %s was not delegated to it",
                          below);
    if (!read_line(path, "", controllers, sizeof controllers) ||
        !has_word(controllers, "cpu"))
        return es_err_set(err, ES_ENOTSUP, "its cgroup %s has no cpu controller", below);
    return 0;
}

int es_cgroup_put(const struct es_cgroup *group, const char *name, pid_t pid,
                  struct es_err *err)
{
    char path[700], number[16];
    int code = 0;
    es_str_printf(path, sizeof path, "%s/%s", group->path, name);
    bool made = mkdir(path, 0755) == 0;
    if (!made && errno != EEXIST)
        code = errno;
    es_str_printf(path, sizeof path, "%s/%s/cgroup.type", group->path, name);
    if (made && code == 0)
        code = write_word(path, "threaded");
    es_str_printf(path, sizeof path, "%s/cgroup.subtree_control", group->path);
    if (code == 0)
        code = write_word(path, "+cpu");
    es_str_printf(path, sizeof path, "%s/%s/cgroup.procs", group->path, name);
    es_str_printf(number, sizeof number, "%d", (int)pid);
    if (code == 0)
        code = write_word(path, number);
    if (code == 0 || code == ESRCH) /* it has ended */
        return 0;
    return es_err_set(err, ES_ENOTSUP, "%s: %s", path, strerror(code));
}

void es_cgroup_sweep(const struct es_cgroup *group, const char *prefix)
{
    DIR *dir = opendir(group->path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (es_str_starts(entry->d_name, prefix))
            unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR); /* a full one stays */
    if (dir != NULL)
        closedir(dir);
}
