/* What the host has left, and what each machine keeps for itself of it.
 *
 * A machine's own memory is RssAnon and VmSwap of its QEMU: pages of a mould's memory that a
 * fork has written count there, those that it only reads stay the file's and are shared.
 * The kernel tells both to everybody, so it is the same for the embedded libvirt (QEMU runs
 * under another id, perhaps in another user namespace) and the system's; the exact division
 * (smaps) it tells only to the process's owner, and slowly. */
#include "usage.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"

#define FILE_BYTES 8192

/* The beginning of a file below `dir`; its length, -1 when it cannot be read. */
static ssize_t read_at(int dir, const char *name, char *dst, size_t size)
{
    size_t len = 0;
    ssize_t n = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    dst[0] = '\0';
    if (fd < 0)
        return -1;
    while (len < size - 1 && (n = read(fd, dst + len, size - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    dst[len] = '\0';
    return n < 0 ? -1 : (ssize_t)len;
}

/* The number of a line "KEY: 123 kB", in bytes; 0 when there is none. */
static int64_t kib_of(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *at = text; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, key, len) != 0 || at[len] != ':')
            continue;
        long long kib = strtoll(at + len + 1, NULL, 10);
        return kib > 0 && kib < INT64_MAX >> 10 ? (int64_t)kib << 10 : 0;
    }
    return 0;
}

/* ------------------------------------------------------------------ machines */

/* "-name" "guest=NAME,debug-threads=on" are QEMU's first arguments. */
static bool is_ours(const char *line, size_t len, char *dst, size_t size)
{
    static const char guest[] = "guest=es-";
    const char *end = line + len;
    const char *program = line, *base = strrchr(program, '/');
    const char *option = program + strnlen(program, len) + 1;
    base = base != NULL ? base + 1 : program;
    if (option >= end || strncmp(base, "qemu", 4) != 0 || strcmp(option, "-name") != 0)
        return false;
    const char *value = option + sizeof "-name";
    if (value >= end || strncmp(value, guest, sizeof guest - 1) != 0)
        return false;
    const char *name = strchr(value, '=') + 1;
    return es_str_printf(dst, size, "%.*s", (int)strcspn(name, ","), name) == 0;
}

static int add(struct es_hyp_processes *list, const struct es_hyp_process *process,
               struct es_err *err)
{
    if (list->count == list->cap) {
        size_t cap = list->cap != 0 ? 2 * list->cap : 64;
        struct es_hyp_process *grown = es_grow(list->items, cap, sizeof *grown);
        if (grown == NULL)
            return es_err_nomem(err);
        list->items = grown;
        list->cap = cap;
    }
    list->items[list->count++] = *process;
    return 0;
}

/* One that ends meanwhile is left out. */
static int look(int proc, const char *pid, struct es_hyp_processes *list,
                struct es_err *err)
{
    char path[300], text[FILE_BYTES];
    struct es_hyp_process process = {0};
    int64_t number;
    if (es_str_int(pid, 1, INT32_MAX, &number) != 0)
        return 0;
    process.pid = (pid_t)number;
    es_str_printf(path, sizeof path, "%s/cmdline", pid);
    ssize_t len = read_at(proc, path, text, 512);
    if (len <= 0 || !is_ours(text, (size_t)len, process.name, sizeof process.name))
        return 0;
    es_str_printf(path, sizeof path, "%s/status", pid);
    if (read_at(proc, path, text, sizeof text) <= 0)
        return 0;
    process.private_bytes = kib_of(text, "RssAnon") + kib_of(text, "VmSwap");
    return process.private_bytes > 0 ? add(list, &process, err) : 0;
}

int es_hyp_processes(const char *root, struct es_hyp_processes *list, struct es_err *err)
{
    char proc[512];
    int rc = 0;
    *list = (struct es_hyp_processes){0};
    es_str_printf(proc, sizeof proc, "%s/proc", root);
    DIR *dir = opendir(proc);
    if (dir == NULL)
        return es_err_set(err, ES_EIO, "cannot read %s: %s; is it mounted?", proc,
                          strerror(errno));
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;)
        if (isdigit((unsigned char)entry->d_name[0]))
            rc = look(dirfd(dir), entry->d_name, list, err);
    closedir(dir);
    if (rc != 0) {
        es_free(list->items);
        *list = (struct es_hyp_processes){0};
    }
    return rc;
}

/* ------------------------------------------------------------------ the host */

/* "some avg10=12.34 avg60=…": hundredths. */
static int average_of(const char *text, const char *word)
{
    unsigned whole = 0, part = 0;
    const char *line = strstr(text, word);
    if (line == NULL || sscanf(line + strlen(word), " avg10=%3u.%2u", &whole, &part) != 2)
        return -1;
    return (int)(whole * 100 + part);
}

static struct es_hyp_pressure pressure_of(int proc, const char *name)
{
    char text[512];
    if (read_at(proc, name, text, sizeof text) < 0)
        return (struct es_hyp_pressure){-1, -1};
    return (struct es_hyp_pressure){average_of(text, "some"), average_of(text, "full")};
}

void es_hyp_usage_host(const char *root, struct es_hyp_usage *usage)
{
    char text[FILE_BYTES], proc[512];
    es_str_printf(proc, sizeof proc, "%s/proc", root);
    int dir = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    read_at(dir, "meminfo", text, sizeof text);
    usage->host = (struct es_plan_host){.memory_bytes = kib_of(text, "MemAvailable"),
                                        .total_bytes = kib_of(text, "MemTotal"),
                                        .swap_bytes = kib_of(text, "SwapFree"),
                                        .cpus = sysconf(_SC_NPROCESSORS_ONLN)};
    usage->memory = pressure_of(dir, "pressure/memory");
    usage->cpu = pressure_of(dir, "pressure/cpu");
    usage->io = pressure_of(dir, "pressure/io");
    if (dir >= 0)
        close(dir);
}

bool es_hyp_is_local(const struct es_hyp *hyp)
{
    return hyp->has_root || (!hyp->is_test && strstr(hyp->uri, ":///") != NULL);
}

/* ------------------------------------------------------------------ the calls */

struct usage_job {
    struct es_hyp_job job;
    struct es_hyp_usage usage;
    struct es_hyp_used *machines;
    void (*on_usage)(void *ctx, int status, const struct es_hyp_usage *usage,
                     const struct es_err *err);
};

static int run_usage(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct usage_job *job = (struct usage_job *)base;
    struct es_hyp_processes list;
    (void)conn;
    if (!es_hyp_is_local(base->hyp))
        return es_err_set(err, ES_ENOTSUP,
                          "%s is on another host, whose memory is not seen",
                          base->hyp->uri);
    int rc = es_hyp_processes(base->hyp->root, &list, err);
    if (rc != 0)
        return rc;
    es_hyp_usage_host(base->hyp->root, &job->usage);
    job->machines = es_calloc(list.count + 1, sizeof *job->machines);
    if (job->machines == NULL)
        rc = es_err_nomem(err);
    for (size_t i = 0; rc == 0 && i < list.count; i++) {
        memcpy(job->machines[i].name, list.items[i].name, sizeof job->machines[i].name);
        job->machines[i].private_bytes = list.items[i].private_bytes;
    }
    job->usage.machines = job->machines;
    job->usage.machine_count = list.count;
    es_free(list.items);
    return rc;
}

static void finish_usage(struct es_hyp_job *base)
{
    struct usage_job *job = (struct usage_job *)base;
    bool ok = base->status == 0;
    job->on_usage(base->ctx, base->status, ok ? &job->usage : NULL,
                  ok ? NULL : &base->err);
}

static void destroy_usage(struct es_hyp_job *base)
{
    es_free(((struct usage_job *)base)->machines);
    es_free(base);
}

int es_hyp_usage(struct es_hyp *hyp,
                 void (*on_usage)(void *ctx, int status, const struct es_hyp_usage *usage,
                                  const struct es_err *err),
                 void *ctx)
{
    struct usage_job *job = es_hyp_job_new(hyp, sizeof *job, run_usage, NULL, ctx);
    if (job == NULL)
        return ES_ENOMEM;
    job->job.finish = finish_usage;
    job->job.destroy = destroy_usage;
    job->on_usage = on_usage;
    es_hyp_submit(hyp, &job->job);
    return 0;
}
