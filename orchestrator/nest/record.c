/* Who runs: the supervisor's lock, the lock among starters, DIR/nest.json. */
#include "nest.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "enshu/common/str.h"

static int open_lock(const struct nest *nest, const char *name, struct es_err *err)
{
    char path[256];
    int fd = open(nest_path(nest, name, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "cannot open %s: %s", path, strerror(errno));
    return fd;
}

/* The descriptor stays open for the life of the process: closing any descriptor of this
 * file would drop the lock, so nothing else in the supervisor opens it. */
int record_take_lock(const struct nest *nest, struct es_err *err)
{
    int fd = open_lock(nest, "nest.lock", err);
    if (fd < 0)
        return fd;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &lock) != 0)
        return es_err_set(err, ES_EBUSY, "another supervisor holds %s/nest.lock",
                          nest->dir);
    return 0;
}

pid_t record_supervisor(const struct nest *nest)
{
    int fd = open_lock(nest, "nest.lock", NULL);
    if (fd < 0)
        return 0;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return held ? lock.l_pid : 0;
}

int record_start_lock(const struct nest *nest, struct es_err *err)
{
    int fd = open_lock(nest, "start.lock", err);
    if (fd < 0)
        return fd;
    while (flock(fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            close(fd);
            return es_err_set(err, ES_EIO, "cannot lock %s/start.lock: %s", nest->dir,
                              strerror(errno));
        }
    return fd;
}

int record_write(const struct nest *nest, struct es_err *err)
{
    json_t *shares = json_array();
    for (size_t i = 0; i < nest->options->share_count; i++)
        json_array_append_new(shares, json_string(nest->options->shares[i]));
    json_t *root = json_pack(
        "{s:i, s:I, s:i, s:i, s:i, s:b, s:s, s:i, s:o}", "version", 1, "net",
        (json_int_t)nest->net_ino, "libvirtd", (int)nest->libvirtd, "qemu_uid",
        (int)nest->qemu_uid, "qemu_gid", (int)nest->qemu_gid, "kvm", (int)nest->kvm,
        "kvm_why", nest->kvm_why, "restarts", nest->restarts, "shares", shares);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (text == NULL)
        return es_err_nomem(err);
    char path[256];
    int rc =
        es_tree_write(nest_path(nest, "nest.json", path), text, strlen(text), 0600, err);
    free(text); /* from jansson */
    return rc;
}

int record_read(struct nest *nest)
{
    char path[256];
    json_t *root =
        json_load_file(nest_path(nest, "nest.json", path), JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        return ES_ENOENT;
    json_int_t net = 0;
    int libvirtd = 0, uid = 0, gid = 0, kvm = 0, restarts = 0;
    const char *why = "";
    int rc = json_unpack(root, "{s:I, s:i, s:i, s:i, s:b, s:s, s:i}", "net", &net,
                         "libvirtd", &libvirtd, "qemu_uid", &uid, "qemu_gid", &gid, "kvm",
                         &kvm, "kvm_why", &why, "restarts", &restarts);
    if (rc == 0) {
        nest->net_ino = (ino_t)net;
        nest->libvirtd = libvirtd;
        nest->qemu_uid = (uid_t)uid;
        nest->qemu_gid = (gid_t)gid;
        nest->kvm = kvm != 0;
        nest->restarts = restarts;
        es_str_printf(nest->kvm_why, sizeof nest->kvm_why, "%s", why);
    }
    json_decref(root);
    return rc == 0 ? 0 : ES_ENOENT;
}
