/* The state directory: its place, its length, its folders. */
#include "nest.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/posix_acl_xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "enshu/common/str.h"

const char *nest_path(const struct nest *nest, const char *name, char dst[256])
{
    int rc = es_str_printf(dst, 256, "%s/%s", nest->dir, name);
    ES_ASSERT(rc == 0);
    return dst;
}

static int make_folders(const struct nest *nest, struct es_err *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } folders[] = {{"sock", 0700},  {"run", 0711},   {"v", 0711},       {"v/run", 0755},
                   {"v/lib", 0755}, {"v/etc", 0755}, {"v/cache", 0711}, {"v/log", 0755}};
    for (size_t i = 0; i < ES_COUNT(folders); i++) {
        char path[256];
        nest_path(nest, folders[i].name, path);
        if (mkdir(path, folders[i].mode) == 0 ? chmod(path, folders[i].mode) != 0
                                              : errno != EEXIST)
            return es_err_set(err, ES_EIO, "cannot make %s: %s", path, strerror(errno));
    }
    return 0;
}

/* Sockets below DIR/run end up owned by QEMU's user; a default ACL lets the caller, who is
 * not root, connect to them. */
static int let_caller_connect(const struct nest *nest, struct es_err *err)
{
    struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[5];
    } acl = {.header = {htole32(POSIX_ACL_XATTR_VERSION)}};
    static const uint16_t tags[5] = {0x01 /* owner */, 0x02 /* named user */,
                                     0x04 /* group */, 0x10 /* mask */, 0x20 /* other */};
    static const uint16_t rights[5] = {7, 7, 5, 7, 0};
    for (size_t i = 0; i < ES_COUNT(tags); i++) {
        acl.entries[i].e_tag = htole16(tags[i]);
        acl.entries[i].e_perm = htole16(rights[i]);
        acl.entries[i].e_id = htole32(tags[i] == 0x02 ? nest->uid : UINT32_MAX);
    }
    char path[256];
    if (setxattr(nest_path(nest, "run", path), "system.posix_acl_default", &acl,
                 sizeof acl, 0) != 0)
        return es_err_set(
            err, ES_ENOTSUP,
            "the file system of %s keeps no access lists (%s), so machines' "
            "sockets would be closed to you; choose a --state on ext4, xfs, "
            "btrfs or tmpfs",
            path, strerror(errno));
    return 0;
}

int nest_open(struct nest *nest, const struct options *options, struct es_err *err)
{
    memset(nest, 0, sizeof *nest);
    nest->options = options;
    nest->uid = geteuid();
    nest->gid = getegid();
    nest->user_ns = nest->uid != 0;
    if (es_tree_make(options->state, 0755, err) != 0)
        return es_err_prefix(err, "choose another --state");
    char real[PATH_MAX];
    if (realpath(options->state, real) == NULL)
        return es_err_set(err, ES_EIO, "%s: %s", options->state, strerror(errno));
    if (strlen(real) > DIR_MAX)
        return es_err_set(err, ES_ELIMIT,
                          "the state directory %s has %zu bytes; sockets below it "
                          "allow %d at most: choose a shorter --state",
                          real, strlen(real), DIR_MAX);
    memcpy(nest->dir, real, strlen(real) + 1);
    struct stat st;
    if (stat(nest->dir, &st) != 0 || st.st_uid != nest->uid)
        return es_err_set(err, ES_EDENIED,
                          "the state directory %s belongs to another user; choose a "
                          "--state of your own",
                          nest->dir);
    /* QEMU has a user of its own and must pass through. */
    if ((st.st_mode & 0111) != 0111 && chmod(nest->dir, (st.st_mode & 07777) | 0111) != 0)
        return es_err_set(err, ES_EIO, "cannot chmod %s: %s", nest->dir, strerror(errno));
    int rc = make_folders(nest, err);
    return rc == 0 && nest->user_ns ? let_caller_connect(nest, err) : rc;
}
