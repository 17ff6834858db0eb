/* file: a file, directory or other thing at a path.
 *
 * Keys:     path; follow (true): through a symbolic link at the end of the path; read:
 *           bytes of the content wanted (regular files; at most ES_PROBE_BYTES_MAX are
 *           given); hash (false).
 * Evidence: exists; when it does: type "file" "directory" "symlink" "socket" "fifo"
 *           "device"; mode "0644"; uid, gid; owner, group (names, "" when unknown); size;
 *           mtime_s; target (of a symbolic link at the path); sha256 (hex, regular files,
 *           with hash); content_b64 and truncated (regular files, with read). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "etc.h"
#include "probe.h"

static const char *type_name(mode_t mode)
{
    return S_ISREG(mode)    ? "file"
           : S_ISDIR(mode)  ? "directory"
           : S_ISLNK(mode)  ? "symlink"
           : S_ISSOCK(mode) ? "socket"
           : S_ISFIFO(mode) ? "fifo"
                            : "device";
}

static void tell_stat(struct es_probe *p, const struct stat *st)
{
    char text[64];
    es_probe_set_text(p, "type", type_name(st->st_mode));
    es_str_printf(text, sizeof text, "%04o", (unsigned)st->st_mode & 07777);
    es_probe_set_text(p, "mode", text);
    es_probe_set_int(p, "uid", st->st_uid);
    es_probe_set_int(p, "gid", st->st_gid);
    p->nomem |= es_etc_user_name(p->root, st->st_uid, text, sizeof text) != 0;
    es_probe_set_text(p, "owner", text);
    p->nomem |= es_etc_group_name(p->root, st->st_gid, text, sizeof text) != 0;
    es_probe_set_text(p, "group", text);
    es_probe_set_int(p, "size", st->st_size);
    es_probe_set_int(p, "mtime_s", st->st_mtime);
}

static int hash_fd(struct es_probe *p, int fd, const char *path, struct es_err *err)
{
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES], chunk[16384];
    char hex[crypto_hash_sha256_BYTES * 2 + 1];
    ssize_t n;
    crypto_hash_sha256_init(&state);
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        crypto_hash_sha256_update(&state, chunk, (size_t)n);
    if (n < 0)
        return es_probe_errno(err, path, "cannot be read", errno);
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    es_probe_set_text(p, "sha256", hex);
    return 0;
}

static int tell_content(struct es_probe *p, int fd, const char *path, size_t max,
                        struct es_err *err)
{
    char *data = es_arena_alloc(&p->arena, max + 1);
    size_t len = 0;
    ssize_t n = 0;
    if (data == NULL)
        return es_err_nomem(err);
    while (len <= max && (n = pread(fd, data + len, max + 1 - len, (off_t)len)) > 0)
        len += (size_t)n;
    if (n < 0)
        return es_probe_errno(err, path, "cannot be read", errno);
    es_probe_set_bytes(p, "content_b64", data, len < max ? len : max);
    es_probe_set_bool(p, "truncated", len > max);
    return 0;
}

ES_PROBE_LOOK(file)
{
    const char *path;
    bool follow, hash;
    int64_t want;
    struct stat st, link;
    int rc = es_probe_arg_text(p, "path", true, &path, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(p, "follow", true, &follow, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(p, "hash", false, &hash, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "read", 0, 0, INT32_MAX, &want, err);
    if (rc != 0)
        return rc;
    const char *full = es_probe_path(p, path);
    if (full == NULL)
        return es_err_nomem(err);
    if (lstat(full, &link) != 0 || (follow && stat(full, &st) != 0)) {
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
            return es_probe_errno(err, path, "cannot be looked at", errno);
        es_probe_set_bool(p, "exists", false);
        return 0;
    }
    es_probe_set_bool(p, "exists", true);
    if (!follow)
        st = link;
    tell_stat(p, &st);
    if (S_ISLNK(link.st_mode)) {
        char target[PATH_MAX];
        ssize_t n = readlink(full, target, sizeof target - 1);
        es_probe_set(p, "target", es_probe_text_json(target, n > 0 ? (size_t)n : 0));
    }
    if (!S_ISREG(st.st_mode) || (!hash && want == 0))
        return 0;
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return es_probe_errno(err, path, "cannot be opened", errno);
    rc = hash ? hash_fd(p, fd, path, err) : 0;
    if (rc == 0 && want > 0)
        rc = tell_content(
            p, fd, path,
            want < (int64_t)ES_PROBE_BYTES_MAX ? (size_t)want : ES_PROBE_BYTES_MAX, err);
    close(fd);
    return rc;
}
