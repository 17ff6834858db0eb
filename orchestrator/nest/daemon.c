/* libvirtd: its settings, its start, and whether it answers. */
#include "nest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "enshu/common/str.h"

#define LIBVIRTD "/usr/sbin/libvirtd"

int daemon_configure(const struct nest *nest, struct es_err *err)
{
    char path[256], text[1024];
    if (access(LIBVIRTD, X_OK) != 0)
        return es_err_set(err, ES_ENOENT,
                          LIBVIRTD " is missing; as root: apt-get install libvirt-daemon "
                                   "libvirt-daemon-driver-qemu qemu-system-x86");
    int rc = es_str_printf(text, sizeof text,
                           "unix_sock_dir = \"%s/sock\"\n"
                           "unix_sock_rw_perms = \"0700\"\n"
                           "unix_sock_ro_perms = \"0700\"\n"
                           "unix_sock_admin_perms = \"0700\"\n"
                           "auth_unix_rw = \"none\"\n"
                           "auth_unix_ro = \"none\"\n"
                           "max_clients = 200\n"
                           "max_workers = 32\n"
                           "prio_workers = 8\n"
                           "max_client_requests = 32\n"
                           "keepalive_interval = -1\n"
                           "log_level = 3\n"
                           "log_outputs = \"3:stderr\"\n",
                           nest->dir);
    ES_ASSERT(rc == 0);
    rc = es_tree_write(nest_path(nest, "v/etc/libvirtd.conf", path), text, strlen(text),
                       0600, err);
    if (rc != 0)
        return rc;
    /* With no security driver the ownership of images still changes, so QEMU runs under an
     * id that owns nothing else. */
    rc = es_str_printf(text, sizeof text,
                       "security_driver = \"none\"\n"
                       "user = \"+%u\"\n"
                       "group = \"+%u\"\n"
                       "dynamic_ownership = 1\n"
                       "remember_owner = 0\n"
                       "namespaces = []\n"
                       "cgroup_controllers = []\n"
                       "stdio_handler = \"file\"\n"
                       "max_core = 0\n"
                       "vnc_auto_unix_socket = 0\n",
                       (unsigned)nest->qemu_uid, (unsigned)nest->qemu_gid);
    ES_ASSERT(rc == 0);
    return es_tree_write(nest_path(nest, "v/etc/qemu.conf", path), text, strlen(text),
                         0600, err);
}

static _Noreturn void become_libvirtd(const struct nest *nest)
{
    char config[256], pid_file[256];
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* A service manager or a message bus of the host must not be spoken to: libvirtd would
     * register machines and firewall zones outside. */
    clearenv();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("HOME", "/", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 1);
    setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent", 1);
    umask(022);
    execl(LIBVIRTD, LIBVIRTD, "--config", nest_path(nest, "v/etc/libvirtd.conf", config),
          "--pid-file", nest_path(nest, "v/run/libvirtd.pid", pid_file), (char *)NULL);
    _exit(127);
}

int daemon_spawn(struct nest *nest, struct es_err *err)
{
    pid_t child = fork();
    if (child < 0)
        return es_err_set(err, ES_EIO, "cannot start " LIBVIRTD ": %s", strerror(errno));
    if (child == 0)
        become_libvirtd(nest);
    nest->libvirtd = child;
    return 0;
}

static int connect_socket(const struct nest *nest)
{
    char path[256];
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    nest_path(nest, "sock/libvirt-sock", path);
    ES_ASSERT(strlen(path) < sizeof addr.sun_path);
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* The socket listens before the drivers are ready, so a connection proves nothing. The
 * answer to the first call of libvirt's protocol (which authentication is wanted:
 * length, program, version, procedure 66, type, serial, status) does. */
bool daemon_answers(const struct nest *nest, int wait_ms)
{
    const uint32_t call[7] = {htonl(28), htonl(0x20008086), htonl(1), htonl(66), 0, 0, 0};
    int fd = connect_socket(nest);
    if (fd < 0)
        return false;
    char reply[128];
    struct pollfd in = {.fd = fd, .events = POLLIN};
    bool ok = send(fd, call, sizeof call, MSG_NOSIGNAL) == (ssize_t)sizeof call &&
              poll(&in, 1, wait_ms) == 1 && read(fd, reply, sizeof reply) > 0;
    close(fd);
    return ok;
}
