/* Room for ranges: the state folder, disk, memory, descriptors. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "doctor_inner.h"
#include "enshu/cgroup.h"
#include "enshu/common/str.h"

#define EMBEDDED_STATE_MAX 58 /* sockets of machines below it must fit an address */
#define STATE_MAX          90 /* the control socket must */
#define GIB                (1LL << 30)
#define DISK_FAIL          (2 * GIB)
#define DISK_WARN          (10 * GIB)
#define MEMORY_FAIL        (GIB)
#define MEMORY_WARN        (4 * GIB)

/* The nearest folder of the path that is there. */
static bool nearest(const char *path, char *dst, size_t size)
{
    struct stat st;
    if (path[0] != '/' || es_str_printf(dst, size, "%s", path) != 0)
        return false;
    while (stat(dst, &st) != 0) {
        char *slash = strrchr(dst, '/');
        if (slash == dst)
            slash++;
        *slash = '\0';
    }
    return true;
}

void check_state(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char there[1024];
    size_t len = strlen(host->state_dir);
    size_t most = host->uri == NULL ? EMBEDDED_STATE_MAX : STATE_MAX;
    if (len > most)
        found(
            finding, ES_DOCTOR_FAIL,
            "choose a shorter one with --state or ENSHU_STATE, for example "
            "/var/tmp/enshu",
            "the path %.120s has %zu bytes, at most %zu leave room for the sockets in it",
            host->state_dir, len, most);
    else if (!nearest(host->state_dir, there, sizeof there))
        found(finding, ES_DOCTOR_FAIL, "say an absolute path with --state",
              "%.120s is no absolute path", host->state_dir);
    else if (host->live && access(there, W_OK | X_OK) != 0)
        found(finding, ES_DOCTOR_FAIL, "choose another one with --state or ENSHU_STATE",
              "%.200s cannot be written by user %s", there, host->user);
    else
        found(finding, ES_DOCTOR_OK, NULL, "%.200s", host->state_dir);
}

void check_disk(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char there[1024];
    struct statvfs fs;
    const char *remedy = "free some, or put the state on another disk with --state";
    if (!nearest(host->state_dir, there, sizeof there) || statvfs(there, &fs) != 0) {
        found(finding, ES_DOCTOR_FAIL, remedy, "the disk of %.200s cannot be looked at",
              host->state_dir);
        return;
    }
    long long free_bytes = (long long)fs.f_bavail * (long long)fs.f_frsize;
    enum es_doctor_level level = free_bytes < DISK_FAIL   ? ES_DOCTOR_FAIL
                                 : free_bytes < DISK_WARN ? ES_DOCTOR_WARN
                                                          : ES_DOCTOR_OK;
    found(finding, level, level != ES_DOCTOR_OK ? remedy : NULL,
          "%lld.%lld GiB free for the state folder", free_bytes / GIB,
          free_bytes % GIB * 10 / GIB);
}

void check_memory(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    int64_t kib = look_number(host, "/proc/meminfo", "MemAvailable");
    if (kib < 0) {
        found(finding, ES_DOCTOR_WARN, "mount /proc",
              "how much memory is free is not told");
        return;
    }
    int64_t bytes = kib * 1024;
    enum es_doctor_level level = bytes < MEMORY_FAIL   ? ES_DOCTOR_FAIL
                                 : bytes < MEMORY_WARN ? ES_DOCTOR_WARN
                                                       : ES_DOCTOR_OK;
    found(finding, level,
          level != ES_DOCTOR_OK
              ? "end other programs, or use a host with more; `enshu plan` "
                "tells what a scenario needs"
              : NULL,
          "%lld.%lld GiB of memory free", (long long)(bytes / GIB),
          (long long)(bytes % GIB * 10 / GIB));
}

void check_open_files(const struct es_doctor_host *host,
                      struct es_doctor_finding *finding)
{
    char text[4096];
    long long soft = 0, hard = 0;
    look_read(host, "/proc/self/limits", text, sizeof text);
    const char *line = strstr(text, "Max open files");
    int n = line != NULL ? sscanf(line, "Max open files %lld %lld", &soft, &hard) : 0;
    const char *remedy = "raise it: ulimit -n 65536, or LimitNOFILE= of the service";
    if (n == 2 && hard < 1024)
        found(finding, ES_DOCTOR_FAIL, remedy, "at most %lld open files", hard);
    else if (n == 2 && hard < 4096)
        found(finding, ES_DOCTOR_WARN, remedy,
              "at most %lld open files; many machines need more", hard);
    else if (n == 2)
        found(finding, ES_DOCTOR_OK, NULL,
              "up to %lld open files (the core raises its own)", hard);
    else
        found(finding, ES_DOCTOR_OK, NULL, "open files are not limited");
}

/* Whether a team that keeps its machines busy slows the others. */
void check_shares(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    struct es_cgroup group;
    struct es_err err = {0};
    bool by_machine =
        look_number(host, "/proc/sys/kernel/sched_autogroup_enabled", "") == 1;
    if (host->uri != NULL)
        found(finding, ES_DOCTOR_OK, NULL,
              "by machine: libvirt gives each a cgroup of its own");
    else if (es_cgroup_find(host->root, host->core, &group, &err) == 0)
        found(finding, ES_DOCTOR_OK, NULL,
              "by team: every team gets as much of the processors as any other");
    else
        found(finding, ES_DOCTOR_WARN,
              "run the core as the service that `make install` brings, or by "
              "systemd-run --user --scope -p Delegate=cpu enshud",
              "by %s, so a team with more busy machines slows the others: %.150s%s",
              by_machine ? "machine (the kernel's autogroups)" : "thread", err.msg,
              host->core == 0 ? ", if the core is started from here" : "");
}
