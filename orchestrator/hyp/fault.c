/* The planned failure of tests, and libvirt's errors with what to do about them. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "hyp_inner.h"

static atomic_long fail_in;
static atomic_bool has_failed;

void es_hyp_fail_nth(long n)
{
    atomic_store(&has_failed, false);
    atomic_store(&fail_in, n);
}

bool es_hyp_failed(void)
{
    return atomic_load(&has_failed);
}

bool es_hyp_may_call(struct es_err *err, const char *step, const char *name)
{
    if (atomic_load_explicit(&fail_in, memory_order_relaxed) == 0 ||
        atomic_fetch_sub(&fail_in, 1) != 1)
        return true;
    atomic_store(&has_failed, true);
    virResetLastError();
    es_err_set(err, ES_EHYP, "%s %s: failure planned by a test", step, name);
    return false;
}

int es_hyp_last_code(void)
{
    virErrorPtr error = virGetLastError();
    return error != NULL ? error->code : VIR_ERR_OK;
}

/* The first row whose text is part of libvirt's message. */
static const struct remedy {
    const char *part, *remedy;
} remedies[] = {
    {"libvirt-sock': No such file", "start libvirtd, or use the embedded default"},
    {"libvirt-sock': Connection refused", "libvirtd has ended; start it again"},
    {"libvirt-sock': Permission denied", "add this user to the group libvirt"},
    {"authentication unavailable", "add this user to the group libvirt"},
    {"access denied by policy", "add this user to the group libvirt"},
    {"Could not access KVM kernel module", "use --accel tcg, or load kvm and give QEMU's "
                                           "user the right to open /dev/kvm"},
    {"failed to initialize kvm", "KVM does not work here: use --accel tcg"},
    {"Invalid machine", "another QEMU is installed: restart libvirtd"},
    {"does not support virt type 'kvm'", "KVM is not usable here: use --accel tcg"},
    {"Cannot allocate memory", "free memory, or use fewer teams or smaller machines"},
    {"cannot set up guest memory", "free memory, or use fewer teams or smaller machines"},
    {"No space left on device", "free disk space, or put the state elsewhere"},
    {"Address already in use", "another process uses this socket: end it, or use another "
                               "range"},
    {"Failed to get \"write\" lock", "another QEMU uses this disk: stop it first"},
    {"Failed to get shared \"write\" lock", "another QEMU uses this disk: stop it first"},
    {"Network not found", "apply the networks first"},
    {"no network with matching name", "apply the networks first"},
    {"is not active", "apply the networks and the pool first"},
    {"Active console session exists", "close the other console of this machine"},
    {"Unable to create bridge",
     "libvirtd needs CAP_NET_ADMIN: use the embedded default or "
     "the system's libvirtd"},
    {"Unable to open /dev/net/tun",
     "load the module tun and make /dev/net/tun accessible"},
    {"/dev/net/tun", "load the module tun and make /dev/net/tun accessible"},
    {"Unable to set bridge", "mount a sysfs of its own for libvirtd's network namespace"},
    {"apparmor", "install enshu's local AppArmor rule, see enshu doctor"},
    {"Permission denied",
     "give QEMU's user the right to read it and to enter every folder "
     "on its path"},
    {"Failed to connect socket",
     "no libvirtd listens there: start it, or leave --uri away for the embedded one"},
    {"No such file or directory", "look whether the file is there; build the image again "
                                  "if not"},
    {"already exists with uuid", "an object of this name belongs to someone else: remove "
                                 "it or use another range name"},
    {"is already defined with uuid", "an object of this name belongs to someone else: "
                                     "remove it or use another range name"},
    {"Cannot find 'qemu-img'", "install qemu-utils"},
    {"Cannot check QEMU binary", "install qemu-system-x86"},
    {"could not find capabilities for", "install qemu-system-x86 and restart libvirtd"},
};

static const char *remedy_of(const char *message)
{
    for (size_t i = 0; i < ES_COUNT(remedies); i++)
        if (strstr(message, remedies[i].part) != NULL)
            return remedies[i].remedy;
    return NULL;
}

static bool is_connection(const virError *error)
{
    return error->code == VIR_ERR_INVALID_CONN || error->code == VIR_ERR_NO_CONNECT ||
           (error->domain == VIR_FROM_RPC && (error->code == VIR_ERR_INTERNAL_ERROR ||
                                              error->code == VIR_ERR_SYSTEM_ERROR)) ||
           strstr(error->message, "client socket is closed") != NULL ||
           strstr(error->message, "End of file while reading data") != NULL;
}

/* What QEMU said before it ended stands behind libvirt's words, the time and its name. */
static const char *qemu_said(const char *message)
{
    const char *at = strstr(message, "qemu-system-");
    const char *said = at != NULL ? strstr(at, ": ") : NULL;
    return said != NULL ? said + 2 : NULL;
}

int es_hyp_error(struct es_err *err, const char *step, const char *name)
{
    virErrorPtr error = virGetLastError();
    const char *message =
        error != NULL && error->message != NULL ? error->message : "no reason given";
    const char *remedy = remedy_of(message);
    int code = error != NULL && error->message != NULL && is_connection(error) ? ES_ECONN
                                                                               : ES_EHYP;
    const char *said = qemu_said(message);
    /* One line, whatever QEMU printed. */
    char line[512];
    size_t n = 0;
    for (const char *p = said != NULL ? said : message; *p != '\0' && n < sizeof line - 1;
         p++)
        line[n++] = *p == '\n' ? ' ' : *p;
    while (n > 0 && line[n - 1] == ' ')
        n--;
    line[n] = '\0';
    return es_err_set(err, code, "%s%s%s: %s%s%s%s", step, name[0] != '\0' ? " " : "",
                      name, said != NULL ? "QEMU: " : "", line,
                      remedy != NULL ? "; " : "", remedy != NULL ? remedy : "");
}
