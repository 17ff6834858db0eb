/* put and get: pieces of files, at once in the loop, so that pieces keep their order.
 *
 * A file being put lies beside its place as ".NAME.enshu" until its last piece; a piece
 * sent again is written again. The place beside is ours alone: created exclusively, owned
 * by us, never reached through a link. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"
#include "files.h"

int es_files_make_parents(const char *path, mode_t mode, struct es_err *err)
{
    char dir[PATH_MAX];
    if (es_str_printf(dir, sizeof dir, "%s", path) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: the path is too long", path);
    for (char *slash = strchr(dir + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(dir, mode) != 0 && errno != EEXIST)
            return es_probe_errno(err, dir, "the directory cannot be made", errno);
        *slash = '/';
    }
    return 0;
}

struct piece {
    const char *path;
    char full[PATH_MAX], beside[PATH_MAX];
    int64_t off, size, mtime_s;
    bool last;
    mode_t mode;
    bool has_mode, has_owner, has_mtime;
    uid_t uid;
    gid_t gid;
    struct es_buf data;
};

static int place(const char *root, struct piece *piece, struct es_err *err)
{
    char dir[PATH_MAX], base[PATH_MAX];
    if (piece->path[0] != '/')
        return es_err_set(err, ES_EINVAL, "path: must begin with /");
    if (es_str_printf(piece->full, sizeof piece->full, "%s%s", root, piece->path) != 0)
        return es_err_set(err, ES_ELIMIT, "path: too long");
    memcpy(dir, piece->full, sizeof dir);
    memcpy(base, piece->full, sizeof base);
    if (piece->path[strlen(piece->path) - 1] == '/')
        return es_err_set(err, ES_EINVAL, "path: must not end with /");
    if (es_str_printf(piece->beside, sizeof piece->beside, "%s/.%s.enshu", dirname(dir),
                      basename(base)) != 0)
        return es_err_set(err, ES_ELIMIT, "path: too long");
    return 0;
}

int es_files_mode(const char *text, mode_t *ret_mode, struct es_err *err)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);
    if (*text < '0' || *text > '7' || *end != '\0' || mode > 07777)
        return es_err_set(err, ES_EINVAL, "mode: not octal digits like \"0644\"");
    *ret_mode = (mode_t)mode;
    return 0;
}

static int read_piece(const char *root, const json_t *args, struct piece *piece,
                      struct es_err *err)
{
    struct es_probe p = {.args = args};
    const char *data, *mode, *owner;
    int rc = es_probe_arg_text(&p, "path", true, &piece->path, err);
    rc = rc != 0 ? rc : place(root, piece, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&p, "data", true, &data, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&p, "mode", false, &mode, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&p, "owner", false, &owner, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(&p, "last", false, &piece->last, err);
    rc = rc != 0 ? rc
                 : es_probe_arg_int(&p, "off", 0, 0, ES_WIRE_INT_MAX, &piece->off, err);
    rc = rc != 0
             ? rc
             : es_probe_arg_int(&p, "size", -1, 0, ES_WIRE_INT_MAX, &piece->size, err);
    rc = rc != 0 ? rc
                 : es_probe_arg_int(&p, "mtime_s", 0, -ES_WIRE_INT_MAX, ES_WIRE_INT_MAX,
                                    &piece->mtime_s, err);
    if (rc != 0)
        return rc;
    piece->has_mtime = json_object_get(args, "mtime_s") != NULL;
    piece->has_mode = mode != NULL;
    piece->has_owner = owner != NULL;
    if (mode != NULL && (rc = es_files_mode(mode, &piece->mode, err)) != 0)
        return rc;
    if (owner != NULL &&
        (rc = es_etc_owner(root, owner, &piece->uid, &piece->gid, err)) != 0)
        return rc;
    rc = es_base64_decode(data, strlen(data), &piece->data);
    if (rc != 0)
        return es_err_set(err, rc, "data: not base64 of at most %u bytes",
                          ES_WIRE_DATA_MAX);
    return 0;
}

static int open_beside(const struct piece *piece, struct es_err *err)
{
    struct stat st;
    int fd;
    if (piece->off == 0) {
        int rc = es_files_make_parents(piece->full, 0755, err);
        if (rc != 0)
            return rc;
        unlink(piece->beside);
        fd = open(piece->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                  0600);
    } else {
        fd = open(piece->beside, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    }
    if (fd < 0)
        return es_probe_errno(err, piece->path, "cannot be written", errno);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        st.st_nlink == 1) {
        if (piece->off <= st.st_size)
            return fd;
        es_err_set(err, ES_EINVAL, "%s: off %lld lies behind what was sent (%lld bytes)",
                   piece->path, (long long)piece->off, (long long)st.st_size);
    } else {
        es_err_set(err, ES_EDENIED, "%s: somebody has tampered with the file being sent",
                   piece->path);
    }
    close(fd);
    return err != NULL ? err->code : ES_EDENIED;
}

static int finish_file(const struct piece *piece, int fd, struct es_err *err)
{
    struct timespec times[2] = {{.tv_sec = piece->mtime_s}, {.tv_sec = piece->mtime_s}};
    struct stat old;
    mode_t mode = piece->has_mode                ? piece->mode
                  : stat(piece->full, &old) == 0 ? old.st_mode & 07777
                                                 : 0644;
    if (piece->has_owner && fchown(fd, piece->uid, piece->gid) != 0)
        return es_probe_errno(err, piece->path, "the owner cannot be set", errno);
    if (fchmod(fd, mode) != 0)
        return es_probe_errno(err, piece->path, "the mode cannot be set", errno);
    if (piece->has_mtime && futimens(fd, times) != 0)
        return es_probe_errno(err, piece->path, "the time cannot be set", errno);
    if (rename(piece->beside, piece->full) != 0)
        return es_probe_errno(err, piece->path, "cannot be put in place", errno);
    return 0;
}

static int write_piece(const struct piece *piece, int fd, int64_t *ret_size,
                       struct es_err *err)
{
    for (size_t done = 0; done < piece->data.len;) {
        ssize_t n = pwrite(fd, piece->data.data + done, piece->data.len - done,
                           (off_t)(piece->off + (int64_t)done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return es_probe_errno(err, piece->path, "cannot be written", errno);
        done += (size_t)n;
    }
    *ret_size = piece->off + (int64_t)piece->data.len;
    if (!piece->last)
        return 0;
    if (ftruncate(fd, (off_t)*ret_size) != 0)
        return es_probe_errno(err, piece->path, "cannot be cut", errno);
    if (piece->size >= 0 && piece->size != *ret_size)
        return es_err_set(err, ES_EINVAL, "%s: %lld bytes arrived, %lld were promised",
                          piece->path, (long long)*ret_size, (long long)piece->size);
    return finish_file(piece, fd, err);
}

int es_op_put(const char *root, const json_t *args, int64_t deadline_ms,
              json_t **ret_evidence, struct es_err *err)
{
    struct piece piece = {0};
    int64_t size = 0;
    (void)deadline_ms;
    es_buf_init(&piece.data, ES_WIRE_DATA_MAX);
    int rc = read_piece(root, args, &piece, err);
    if (rc == 0) {
        int fd = open_beside(&piece, err);
        rc = fd < 0 ? fd : write_piece(&piece, fd, &size, err);
        if (fd >= 0 && close(fd) != 0 && rc == 0)
            rc = es_probe_errno(err, piece.path, "cannot be written", errno);
    }
    es_buf_finish(&piece.data);
    if (rc != 0)
        return rc;
    *ret_evidence = json_pack("{s:I}", "size", (json_int_t)size);
    return *ret_evidence != NULL ? 0 : es_err_nomem(err);
}

int es_op_get(const char *root, const json_t *args, int64_t deadline_ms,
              json_t **ret_evidence, struct es_err *err)
{
    struct es_probe p = {.args = args};
    const char *path;
    char full[PATH_MAX], data[ES_WIRE_DATA_MAX];
    int64_t off, max;
    struct stat st;
    (void)deadline_ms;
    int rc = es_probe_arg_text(&p, "path", true, &path, err);
    rc = rc != 0 ? rc : es_probe_arg_int(&p, "off", 0, 0, ES_WIRE_INT_MAX, &off, err);
    rc = rc != 0 ? rc
                 : es_probe_arg_int(&p, "max", ES_WIRE_DATA_MAX, 1, ES_WIRE_DATA_MAX,
                                    &max, err);
    if (rc != 0)
        return rc;
    if (es_str_printf(full, sizeof full, "%s%s", root, path) != 0)
        return es_err_set(err, ES_ELIMIT, "path: too long");
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return es_probe_errno(err, path, "cannot be opened", errno);
    ssize_t n = -1;
    if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
        errno = EINVAL;
    else
        n = pread(fd, data, (size_t)max, (off_t)off);
    int code = errno;
    close(fd);
    if (n < 0)
        return es_probe_errno(err, path, "cannot be read", code);
    json_t *text = es_base64_json(data, (size_t)n);
    *ret_evidence = text == NULL
                        ? NULL
                        : json_pack("{s:o, s:I, s:b}", "data", text, "size",
                                    (json_int_t)st.st_size, "eof", off + n >= st.st_size);
    return *ret_evidence != NULL ? 0 : es_err_nomem(err);
}
