/* Whether machines can use /dev/kvm, and hiding it when not.
 *
 * libvirt 9.0 examines QEMU anew (seconds) at each start of a machine when it can open
 * /dev/kvm but QEMU's user cannot, so a device that is of no use is covered. */
#include "nest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/log.h"

/* Opens the device as QEMU will: in a child with QEMU's ids. Returns 0 or errno. */
static int try_open(const struct nest *nest)
{
    pid_t child = fork();
    if (child == 0) {
        if (setgroups(0, NULL) != 0 ||
            setresgid(nest->qemu_gid, nest->qemu_gid, nest->qemu_gid) != 0 ||
            setresuid(nest->qemu_uid, nest->qemu_uid, nest->qemu_uid) != 0)
            _exit(EPERM);
        _exit(open("/dev/kvm", O_RDWR | O_CLOEXEC) >= 0 ? 0 : errno & 0xff);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return EIO;
    return WEXITSTATUS(status);
}

static void cover(const struct nest *nest)
{
    char path[256];
    struct es_err err = {0};
    if (es_tree_write(nest_path(nest, "v/no-kvm", path), "", 0, 0, &err) != 0 ||
        mount(path, "/dev/kvm", NULL, MS_BIND, NULL) != 0)
        es_log_warn("cannot cover /dev/kvm; starts of machines may take seconds longer");
}

void kvm_decide(struct nest *nest)
{
    struct stat st;
    nest->kvm = false;
    if (stat("/dev/kvm", &st) != 0) {
        snprintf(nest->kvm_why, sizeof nest->kvm_why, "this host has no /dev/kvm");
        return;
    }
    /* Root may give QEMU the device's group; a user namespace cannot. */
    if (!nest->user_ns && st.st_gid != 0 && (st.st_mode & 0060) == 0060)
        nest->qemu_gid = st.st_gid;
    int failed = try_open(nest);
    if (nest->options->kvm == KVM_NO)
        snprintf(nest->kvm_why, sizeof nest->kvm_why, "switched off by --kvm no");
    else if (failed == 0 || nest->options->kvm == KVM_YES)
        nest->kvm = true;
    else
        snprintf(nest->kvm_why, sizeof nest->kvm_why,
                 "QEMU's user cannot open /dev/kvm (%s); as root: chmod 0666 /dev/kvm, "
                 "then stop and start the nest",
                 strerror(failed));
    if (!nest->kvm)
        cover(nest);
}
