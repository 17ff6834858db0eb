/* What the embedded libvirt and image builds stand on: namespaces, ids, tun, tools. */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor_inner.h"
#include "enshu/common/str.h"

#define IDS_MIN 65536

/* The errno of unshare in a child, 0 when it worked. */
static int try_unshare(uid_t uid)
{
    int flags = CLONE_NEWNS | CLONE_NEWNET | (uid != 0 ? CLONE_NEWUSER : 0), status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(flags) == 0 ? 0 : errno & 127);
    if (pid < 0)
        return errno;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

static bool is_number(const struct es_doctor_host *host, const char *path, int64_t number)
{
    char text[64];
    return look_read(host, path, text, sizeof text) && strtoll(text, NULL, 10) == number;
}

void check_namespaces(const struct es_doctor_host *host,
                      struct es_doctor_finding *finding)
{
    const char *const clone_path = "/proc/sys/kernel/unprivileged_userns_clone";
    const char *const armor_path =
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    if (host->uid != 0 && is_number(host, clone_path, 0)) {
        found(finding, ES_DOCTOR_FAIL,
              "as root: sysctl kernel.unprivileged_userns_clone=1",
              "this kernel refuses user namespaces to ordinary users");
        return;
    }
    if (is_number(host, "/proc/sys/user/max_user_namespaces", 0)) {
        found(finding, ES_DOCTOR_FAIL, "as root: sysctl user.max_user_namespaces=10000",
              "this kernel allows no user namespace at all");
        return;
    }
    if (host->uid != 0 && is_number(host, armor_path, 1)) {
        found(finding, ES_DOCTOR_FAIL,
              "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
              "AppArmor takes the rights away inside user namespaces");
        return;
    }
    int why = host->live ? try_unshare(host->uid) : 0;
    if (why != 0)
        found(
            finding, ES_DOCTOR_FAIL,
            "in a container, let it make namespaces (privileged, or no seccomp filter); "
            "or use another libvirt with --uri",
            "namespaces cannot be made: %s", strerror(why));
    else
        found(finding, ES_DOCTOR_OK, NULL, "user %s can make namespaces", host->user);
}

/* The widest range of the user in a file of "name:start:count" lines. */
static long long ids_of(const struct es_doctor_host *host, const char *path)
{
    char text[16384], uid[24];
    long long most = 0;
    look_read(host, path, text, sizeof text);
    es_str_printf(uid, sizeof uid, "%u", (unsigned)host->uid);
    for (char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        char *next = line + len + (line[len] == '\n' ? 1 : 0);
        line[len] = '\0';
        char *colon = strchr(line, ':'),
             *second = colon != NULL ? strchr(colon + 1, ':') : NULL;
        if (second != NULL) {
            *colon = '\0';
            long long count = strtoll(second + 1, NULL, 10);
            if ((es_str_eq(line, host->user) || es_str_eq(line, uid)) && count > most)
                most = count;
        }
        line = next;
    }
    return most;
}

void check_uidmap(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char program[1024], remedy[200];
    struct stat st;
    if (host->uid == 0) {
        found(finding, ES_DOCTOR_OK, NULL, "root maps ids by itself");
        return;
    }
    if (!look_program(host, "newuidmap", program, sizeof program)) {
        found(finding, ES_DOCTOR_FAIL, "as root: apt-get install uidmap",
              "newuidmap is not installed; user namespaces need it");
        return;
    }
    bool is_setuid = stat(program, &st) == 0 && (st.st_mode & S_ISUID) != 0;
    long long uids = ids_of(host, "/etc/subuid"), gids = ids_of(host, "/etc/subgid");
    es_str_printf(remedy, sizeof remedy,
                  "as root: usermod --add-subuids 100000-165535 --add-subgids "
                  "100000-165535 %.40s",
                  host->user);
    if (uids < IDS_MIN || gids < IDS_MIN)
        found(finding, ES_DOCTOR_FAIL, remedy,
              "user %s has %lld subordinate user ids and %lld group ids, %d of each are "
              "needed",
              host->user, uids, gids, IDS_MIN);
    else if (!is_setuid)
        found(finding, ES_DOCTOR_WARN, "as root: apt-get install --reinstall uidmap",
              "%s is not setuid root; it works only with file capabilities", program);
    else
        found(finding, ES_DOCTOR_OK, NULL, "%lld subordinate ids for user %s", uids,
              host->user);
}

void check_tun(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    if (!look_there(host, "/dev/net/tun"))
        found(finding, ES_DOCTOR_FAIL,
              "as root: modprobe tun; in a container, hand the device in",
              "there is no /dev/net/tun: machines would get no network");
    else if (!look_may_open(host, "/dev/net/tun", false))
        found(finding, ES_DOCTOR_FAIL, "as root: chmod 0666 /dev/net/tun",
              "/dev/net/tun cannot be opened by user %s: machines would get no network",
              host->user);
    else
        found(finding, ES_DOCTOR_OK, NULL, "/dev/net/tun can be opened");
}

void check_iptables(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char program[1024];
    if (look_program(host, "iptables", program, sizeof program))
        found(finding, ES_DOCTOR_OK, NULL, "%s", program);
    else
        found(finding, ES_DOCTOR_FAIL, "as root: apt-get install iptables",
              "iptables is not installed; libvirt calls it for its networks");
}

void check_image_tools(const struct es_doctor_host *host,
                       struct es_doctor_finding *finding)
{
    static const struct {
        const char *program, *package;
    } tools[] = {{"mmdebstrap", "mmdebstrap"},
                 {"qemu-img", "qemu-utils"},
                 {"mke2fs", "e2fsprogs"},
                 {"busybox", "busybox-static"},
                 {"cpio", "cpio"},
                 {"depmod", "kmod"},
                 {"zstd", "zstd"},
                 {"dpkg-deb", "dpkg"}};
    char missing[160] = "", packages[160] = "", remedy[220], path[1024];
    size_t count = 0, used = 0, used_packages = 0;
    for (size_t i = 0; i < ES_COUNT(tools); i++) {
        if (look_program(host, tools[i].program, path, sizeof path))
            continue;
        used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s",
                                 count > 0 ? ", " : "", tools[i].program);
        used_packages +=
            (size_t)snprintf(packages + used_packages, sizeof packages - used_packages,
                             " %s", tools[i].package);
        count++;
    }
    es_str_printf(remedy, sizeof remedy, "as root: apt-get install%s", packages);
    if (count > 0)
        found(finding, ES_DOCTOR_FAIL, remedy,
              "not installed: %s; images cannot be built", missing);
    else
        found(finding, ES_DOCTOR_OK, NULL, "all there to build images");
}
