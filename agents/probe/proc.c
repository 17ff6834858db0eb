/* Walking /proc. */
#include "proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"

size_t es_proc_read(struct es_probe *p, int64_t pid, const char *what, char *dst,
                    size_t size)
{
    char path[512];
    size_t len = 0;
    ssize_t n;
    dst[0] = '\0';
    if (es_str_printf(path, sizeof path, "%s/proc/%lld/%s", p->root, (long long)pid,
                      what) != 0)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    while (len < size - 1 && (n = read(fd, dst + len, size - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    dst[len] = '\0';
    return len;
}

static bool read_one(struct es_probe *p, int64_t pid, struct es_proc *proc)
{
    proc->pid = pid;
    if (es_proc_read(p, pid, "comm", proc->name, sizeof proc->name) == 0)
        return false;
    proc->name[strcspn(proc->name, "\n")] = '\0';
    size_t len = es_proc_read(p, pid, "cmdline", proc->line, sizeof proc->line);
    const char *slash = strrchr(proc->line, '/');
    snprintf(proc->program, sizeof proc->program, "%.255s",
             slash != NULL ? slash + 1 : proc->line);
    while (len > 0 && proc->line[len - 1] == '\0')
        len--;
    for (size_t i = 0; i < len; i++)
        if (proc->line[i] == '\0')
            proc->line[i] = ' ';
    return true;
}

int es_proc_each(struct es_probe *p,
                 bool (*on_process)(void *ctx, const struct es_proc *proc), void *ctx,
                 struct es_err *err)
{
    const char *path = es_probe_path(p, "/proc");
    DIR *dir = path != NULL ? opendir(path) : NULL;
    struct dirent *entry;
    struct es_proc proc;
    bool more = true;
    if (dir == NULL)
        return es_probe_errno(err, "/proc", "cannot be listed", errno);
    while (more && (entry = readdir(dir)) != NULL) {
        int64_t pid;
        if (es_str_int(entry->d_name, 1, INT32_MAX, &pid) != 0)
            continue;
        if (*p->root == '\0' && (pid == getpid() || pid == getppid()))
            continue;
        if (read_one(p, pid, &proc))
            more = on_process(ctx, &proc);
    }
    closedir(dir);
    return 0;
}
