/* CPU shares: each group of machines is a cgroup below the one that this process was given.
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

#include "enshu/common/str.h"
#include "hyp_inner.h"
#include "usage.h"

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
static bool find_mount(const char *proc, char *ret_mount, char *ret_root, size_t size)
{
    char path[512], line[2048], mount[512], root[512];
    bool found = false;
    es_str_printf(path, sizeof path, "%s/self/mountinfo", proc);
    FILE *file = fopen(path, "re");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, " - cgroup2 ") != NULL &&
                sscanf(line, "%*s %*s %*s %511s %511s", root, mount) == 2;
    if (file != NULL)
        fclose(file);
    return found && es_str_printf(ret_mount, size, "%s", mount) == 0 &&
           es_str_printf(ret_root, size, "%s", root) == 0;
}

/* A service manager marks what it gives away; root could write to the rest as well, where
 * it would be in that one's way. */
static bool is_delegated(const char *sys, const char *path)
{
    static const char *const names[] = {"trusted.delegate", "user.delegate"};
    char value[8], systemd[600];
    es_str_printf(systemd, sizeof systemd, "%s/run/systemd/system", sys);
    if (geteuid() != 0 || access(systemd, F_OK) != 0)
        return access(path, W_OK) == 0;
    for (size_t i = 0; i < ES_COUNT(names); i++)
        if (getxattr(path, names[i], value, sizeof value) == 1 && value[0] == '1')
            return true;
    return false;
}

int es_hyp_cgroup_find(const char *proc, const char *sys, struct es_hyp_cgroup *group,
                       struct es_err *err)
{
    char path[600], own[512], mount[512], root[512], controllers[512];
    es_str_printf(path, sizeof path, "%s/self/cgroup", proc);
    if (!read_line(path, "0::", own, sizeof own) ||
        !find_mount(proc, mount, root, sizeof mount))
        return es_err_set(err, ES_ENOTSUP, "there is no cgroup of version 2");
    const char *below = own + strlen("0::");
    if (!es_str_eq(root, "/") && es_str_starts(below, root))
        below += strlen(root);
    if (es_str_printf(group->path, sizeof group->path, "%s%s%s", sys, mount,
                      es_str_eq(below, "/") ? "" : below) != 0 ||
        es_str_printf(path, sizeof path, "%s/cgroup.controllers", group->path) != 0)
        return es_err_set(err, ES_ENOTSUP, "its cgroup's path is too long");
    if (!is_delegated(sys, group->path))
        return es_err_set(err, ES_ENOTSUP, "its cgroup %s was not delegated to it",
                          below);
    if (!read_line(path, "", controllers, sizeof controllers) ||
        !has_word(controllers, "cpu"))
        return es_err_set(err, ES_ENOTSUP, "its cgroup %s has no cpu controller", below);
    return 0;
}

int es_hyp_cgroup_put(const struct es_hyp_cgroup *group, const char *name, pid_t pid,
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

void es_hyp_cgroup_sweep(const struct es_hyp_cgroup *group)
{
    DIR *dir = opendir(group->path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (es_str_starts(entry->d_name, "es-"))
            unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR); /* a full one stays */
    if (dir != NULL)
        closedir(dir);
}

/* ------------------------------------------------------------------ the call */

struct share_job {
    struct es_hyp_job job;
    struct es_hyp_share *shares;
    size_t count;
};

static int run_share(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct share_job *job = (struct share_job *)base;
    struct es_hyp_processes list = {0};
    struct es_hyp_cgroup group;
    (void)conn;
    int rc = es_hyp_is_local(base->hyp)
                 ? es_hyp_cgroup_find(base->hyp->proc, "", &group, err)
                 : es_err_set(err, ES_ENOTSUP, "the hypervisor is on another host");
    if (rc == 0)
        rc = es_hyp_processes(base->hyp->proc, &list, err);
    for (size_t i = 0; i < list.count && rc == 0; i++)
        for (size_t k = 0; k < job->count && rc == 0; k++)
            if (es_str_eq(job->shares[k].name, list.items[i].name))
                rc = es_hyp_cgroup_put(&group, job->shares[k].group, list.items[i].pid,
                                       err);
    if (rc == 0)
        es_hyp_cgroup_sweep(&group);
    es_free(list.items);
    return rc;
}

static void destroy_share(struct es_hyp_job *base)
{
    es_free(((struct share_job *)base)->shares);
    es_free(base);
}

int es_hyp_share(struct es_hyp *hyp, const struct es_hyp_share *shares, size_t count,
                 es_hyp_done done, void *ctx)
{
    struct share_job *job = es_hyp_job_new(hyp, sizeof *job, run_share, done, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->job.destroy = destroy_share;
    job->count = count;
    job->shares = es_calloc(count + 1, sizeof *job->shares);
    if (job->shares == NULL)
        job->job.status = es_err_nomem(&job->job.err);
    else
        memcpy(job->shares, shares, count * sizeof *shares);
    es_hyp_submit(hyp, &job->job);
    return 0;
}
