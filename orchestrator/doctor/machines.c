/* What runs the machines: processor, KVM, QEMU, libvirt. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "doctor_inner.h"
#include "enshu/common/str.h"

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += len)
        if (at > text && strchr(" \t:", at[-1]) != NULL &&
            strchr(" \t\n", at[len]) != NULL)
            return true;
    return false;
}

static int processors(const char *cpuinfo)
{
    int count = 0;
    for (const char *at = cpuinfo; (at = strstr(at, "processor\t")) != NULL; at++)
        count++;
    return count;
}

static char cpuinfo[1 << 20]; /* large hosts tell a lot */

void check_processor(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    look_read(host, "/proc/cpuinfo", cpuinfo, sizeof cpuinfo);
    int count = processors(cpuinfo);
    bool virt = has_word(cpuinfo, "vmx") || has_word(cpuinfo, "svm");
    if (count == 1)
        found(finding, ES_DOCTOR_WARN, "use a host with two or more",
              "one processor: machines and the core wait for one another");
    else if (!virt)
        found(finding, ES_DOCTOR_OK, NULL,
              "%d processors, without hardware virtualisation (no vmx or svm)", count);
    else
        found(finding, ES_DOCTOR_OK, NULL, "%d processors with hardware virtualisation",
              count);
}

void check_kvm(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char full[1024];
    struct stat st;
    look_path(host, "/dev/kvm", full, sizeof full);
    if (stat(full, &st) != 0) {
        found(finding, ES_DOCTOR_WARN,
              "load kvm_intel or kvm_amd; inside a virtual machine, allow nested "
              "virtualisation on its host",
              "there is no /dev/kvm: machines are emulated (TCG), which is slower and no "
              "security boundary");
        return;
    }
    unsigned mode = (unsigned)st.st_mode & 0777;
    if (host->uri != NULL && (mode & 0060) != 0)
        found(finding, ES_DOCTOR_OK, NULL,
              "/dev/kvm is there, mode %04o, for uid %u and group %u", mode,
              (unsigned)st.st_uid, (unsigned)st.st_gid);
    else if (look_may_open(host, "/dev/kvm", true))
        found(finding, ES_DOCTOR_OK, NULL, "/dev/kvm may be opened by everybody");
    else
        /* QEMU runs under an id of its own, with no group of the caller's. */
        found(finding, ES_DOCTOR_WARN,
              "as root: chmod 0666 /dev/kvm (to keep it: a udev rule KERNEL==\"kvm\", "
              "MODE=\"0666\")",
              "/dev/kvm has mode %04o and belongs to uid %u, group %u: this user %s it, "
              "QEMU's own user cannot; machines are emulated (TCG)",
              mode, (unsigned)st.st_uid, (unsigned)st.st_gid,
              look_may_open(host, "/dev/kvm", false) ? "can open" : "cannot open");
}

void check_accelerator(const struct es_doctor_host *host,
                       struct es_doctor_finding *finding)
{
    char path[1200], kernel[128];
    es_str_printf(path, sizeof path, "%s/accel.json", host->state_dir);
    json_t *verdict = json_load_file(path, 0, NULL);
    const char *accel = json_string_value(json_object_get(verdict, "accel"));
    const char *why = json_string_value(json_object_get(verdict, "why"));
    const char *of = json_string_value(json_object_get(verdict, "kernel"));
    look_read(host, "/proc/sys/kernel/osrelease", kernel, sizeof kernel);
    kernel[strcspn(kernel, "\n")] = '\0';
    if (accel == NULL || !es_str_eq(of, kernel))
        found(finding, ES_DOCTOR_OK, NULL,
              "not tried yet on this kernel: the first `enshu up` boots a probe guest");
    else if (es_str_eq(accel, "kvm"))
        found(finding, ES_DOCTOR_OK, NULL, "KVM: a probe guest booted with it");
    else
        found(finding, ES_DOCTOR_WARN,
              "see kvm above, then remove accel.json from the state folder to have it "
              "tried "
              "again; `enshud --accel kvm` insists",
              "TCG: %.200s; machines are slower, and TCG is no security boundary",
              why != NULL ? why : "the probe guest did not boot with KVM");
    json_decref(verdict);
}

void check_qemu(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char program[1024], version[32];
    if (!look_program(host, "qemu-system-x86_64", program, sizeof program)) {
        found(finding, ES_DOCTOR_FAIL, "as root: apt-get install qemu-system-x86",
              "qemu-system-x86_64 is not installed");
        return;
    }
    look_version(host, program, version, sizeof version);
    if (version[0] >= '1' && version[0] <= '6' && version[1] == '.')
        found(finding, ES_DOCTOR_WARN, "use QEMU 7.0 or later", "QEMU %s is old",
              version);
    else
        found(finding, ES_DOCTOR_OK, NULL, "QEMU %s, %s", version, program);
}

static void embedded(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char version[32], full[1024];
    /* Where enshu-nest starts it from. */
    if (!look_there(host, "/usr/sbin/libvirtd")) {
        found(finding, ES_DOCTOR_FAIL,
              "as root: apt-get install libvirt-daemon libvirt-daemon-driver-qemu",
              "/usr/sbin/libvirtd is not installed; the embedded libvirt needs it");
        return;
    }
    look_path(host, "/usr/sbin/libvirtd", full, sizeof full);
    look_version(host, full, version, sizeof version);
    found(finding, ES_DOCTOR_OK, NULL,
          "embedded: libvirtd %s in namespaces of our own; the host's is not touched",
          version);
}

static int try_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (es_str_printf(address.sun_path, sizeof address.sun_path, "%s", path) != 0)
        return ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int rc =
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

static void system_libvirt(const struct es_doctor_host *host,
                           struct es_doctor_finding *finding)
{
    static const char *const sockets[] = {"/run/libvirt/libvirt-sock",
                                          "/run/libvirt/virtqemud-sock"};
    int why = ENOENT;
    for (size_t i = 0; i < ES_COUNT(sockets) && why != 0; i++) {
        char full[1024];
        if (!look_there(host, sockets[i]))
            continue;
        look_path(host, sockets[i], full, sizeof full);
        why = host->live                               ? try_socket(full)
              : look_may_open(host, sockets[i], false) ? 0
                                                       : EACCES;
    }
    if (why == 0)
        found(finding, ES_DOCTOR_OK, NULL, "%s answers", host->uri);
    else if (why == EACCES || why == EPERM)
        found(finding, ES_DOCTOR_FAIL, "as root: adduser USER libvirt, then log in again",
              "%s: user %s may not open libvirt's socket", host->uri, host->user);
    else
        found(finding, ES_DOCTOR_FAIL,
              "start it: systemctl start libvirtd; or leave --uri out to use the "
              "embedded one",
              "%s does not answer: %s", host->uri, strerror(why));
}

void check_libvirt(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    if (host->uri == NULL)
        embedded(host, finding);
    else if (es_str_starts(host->uri, "qemu:///system") && strchr(host->uri, '?') == NULL)
        system_libvirt(host, finding);
    else
        found(finding, ES_DOCTOR_OK, NULL,
              "%.200s: a running core tells whether it can be reached", host->uri);
}
