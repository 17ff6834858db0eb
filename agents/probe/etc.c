/* passwd, group and shadow without NSS. */
#include "etc.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/common/tree.h"

static int status_of(int code)
{
    switch (code) {
    case ENOENT:
    case ENOTDIR:
        return ES_ENOENT;
    case EACCES:
    case EPERM:
    case EROFS:
        return ES_EDENIED;
    case ENOMEM:
        return ES_ENOMEM;
    default:
        return ES_EIO;
    }
}

static int failed(struct es_err *err, const char *what, const char *path, int code)
{
    return es_err_set(err, status_of(code), "%s: %s: %s", path, what, strerror(code));
}

int es_etc_read(const char *root, const char *path, struct es_buf *out,
                struct es_err *err)
{
    char full[PATH_MAX], chunk[4096];
    ssize_t n;
    if (es_str_printf(full, sizeof full, "%s%s", root, path) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: the path is too long", path);
    /* Non-blocking: a FIFO in the place of a file must not hold us up. */
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return failed(err, "cannot be opened", path, errno);
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        if (es_buf_append(out, chunk, (size_t)n) != 0)
            break;
    int code = errno;
    close(fd);
    if (es_buf_status(out) == ES_ELIMIT)
        return es_err_set(err, ES_ELIMIT, "%s: larger than %zu bytes", path,
                          out->max_bytes);
    if (es_buf_status(out) != 0)
        return es_err_nomem(err);
    return n < 0 ? failed(err, "cannot be read", path, code) : 0;
}

int es_etc_write(const char *root, const char *path, const void *data, size_t len,
                 mode_t mode, struct es_err *err)
{
    char full[PATH_MAX], beside[PATH_MAX];
    struct stat st;
    if (es_str_printf(full, sizeof full, "%s%s", root, path) != 0 ||
        es_str_printf(beside, sizeof beside, "%s.enshu", full) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: the path is too long", path);
    bool old = stat(full, &st) == 0;
    unlink(beside);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return failed(err, "cannot be written", path, errno);
    bool good = es_write_all(fd, data, len) &&
                fchmod(fd, old ? st.st_mode & 07777 : mode) == 0 &&
                (!old || fchown(fd, st.st_uid, st.st_gid) == 0 || geteuid() != 0);
    int code = errno;
    good = close(fd) == 0 && good;
    if (good && rename(beside, full) == 0)
        return 0;
    /* A file that is a mount point (containers) cannot be replaced, only rewritten. */
    if (good && errno == EBUSY &&
        (fd = open(full, O_WRONLY | O_TRUNC | O_CLOEXEC)) >= 0) {
        good = es_write_all(fd, data, len);
        code = errno;
        close(fd);
        unlink(beside);
        return good ? 0 : failed(err, "cannot be written", path, code);
    }
    code = good ? errno : code;
    unlink(beside);
    return failed(err, "cannot be written", path, code);
}

bool es_etc_next(char **text, char *fields[ES_ETC_FIELDS_MAX], size_t *ret_count)
{
    char *line = *text;
    if (line == NULL || *line == '\0')
        return false;
    char *end = strchr(line, '\n');
    *text = end != NULL ? end + 1 : line + strlen(line);
    if (end != NULL)
        *end = '\0';
    size_t n = 0;
    for (char *rest = line; rest != NULL && n < ES_ETC_FIELDS_MAX; n++)
        fields[n] = strsep(&rest, ":");
    *ret_count = n;
    return true;
}

static bool number(const char *text, uint32_t *ret_value)
{
    int64_t v;
    if (es_str_int(text, 0, UINT32_MAX, &v) != 0)
        return false;
    *ret_value = (uint32_t)v;
    return true;
}

/* The first user for which the name (or, without one, the number) is right. */
static int find_user(const char *root, const char *name, uid_t uid,
                     struct es_etc_user *ret_user, struct es_err *err)
{
    struct es_buf buf;
    char *f[ES_ETC_FIELDS_MAX];
    size_t n;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(root, "/etc/passwd", &buf, err);
    bool found = false;
    for (char *text = buf.data; rc == 0 && !found && es_etc_next(&text, f, &n);) {
        struct es_etc_user user;
        if (n < 7 || !number(f[2], &user.uid) || !number(f[3], &user.gid))
            continue;
        found = name != NULL ? strcmp(f[0], name) == 0 : user.uid == uid;
        if (!found)
            continue;
        snprintf(user.name, sizeof user.name, "%s", f[0]);
        snprintf(user.home, sizeof user.home, "%s", f[5]);
        snprintf(user.shell, sizeof user.shell, "%s", f[6]);
        *ret_user = user;
    }
    es_buf_finish(&buf);
    if (rc == 0 && !found)
        rc = es_err_set(err, ES_ENOENT, "%s: no such user in this guest",
                        name != NULL ? name : "?");
    return rc;
}

int es_etc_user_by_name(const char *root, const char *name, struct es_etc_user *ret_user,
                        struct es_err *err)
{
    return find_user(root, name, 0, ret_user, err);
}

int es_etc_user_name(const char *root, uid_t uid, char *dst, size_t size)
{
    struct es_etc_user user = {.name = ""};
    int rc = find_user(root, NULL, uid, &user, NULL);
    snprintf(dst, size, "%s", rc == 0 ? user.name : "");
    return rc == ES_ENOMEM ? rc : 0;
}

static int find_group(const char *root, const char *name, gid_t gid, char *dst,
                      size_t size, gid_t *ret_gid, struct es_err *err)
{
    struct es_buf buf;
    char *f[ES_ETC_FIELDS_MAX];
    size_t n;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(root, "/etc/group", &buf, err);
    bool found = false;
    for (char *text = buf.data; rc == 0 && !found && es_etc_next(&text, f, &n);) {
        gid_t this;
        if (n < 3 || !number(f[2], &this))
            continue;
        found = name != NULL ? strcmp(f[0], name) == 0 : this == gid;
        if (!found)
            continue;
        *ret_gid = this;
        snprintf(dst, size, "%s", f[0]);
    }
    es_buf_finish(&buf);
    if (rc == 0 && !found)
        rc = es_err_set(err, ES_ENOENT, "%s: no such group in this guest",
                        name != NULL ? name : "?");
    return rc;
}

int es_etc_group_name(const char *root, gid_t gid, char *dst, size_t size)
{
    int rc = find_group(root, NULL, gid, dst, size, &gid, NULL);
    if (rc != 0)
        snprintf(dst, size, "%s", "");
    return rc == ES_ENOMEM ? rc : 0;
}

int es_etc_group_by_name(const char *root, const char *name, gid_t *ret_gid,
                         struct es_err *err)
{
    char text[64];
    return find_group(root, name, 0, text, sizeof text, ret_gid, err);
}

bool es_etc_in_list(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; *p != '\0'; p += strcspn(p, ",")) {
        p += *p == ',';
        if (strcspn(p, ",") == len && strncmp(p, name, len) == 0 && len > 0)
            return true;
    }
    return false;
}

int es_etc_user_groups(const char *root, const char *name, gid_t gid, gid_t *groups,
                       size_t max, size_t *ret_count)
{
    struct es_buf buf;
    char *f[ES_ETC_FIELDS_MAX];
    size_t n, count = 0;
    ES_ASSERT(max > 0);
    groups[count++] = gid;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(root, "/etc/group", &buf, NULL);
    for (char *text = buf.data; rc == 0 && count < max && es_etc_next(&text, f, &n);) {
        gid_t this;
        if (n >= 4 && number(f[2], &this) && this != gid && es_etc_in_list(f[3], name))
            groups[count++] = this;
    }
    es_buf_finish(&buf);
    *ret_count = count;
    return rc == ES_ENOMEM ? rc : 0;
}

int es_etc_shadow_by_name(const char *root, const char *name,
                          struct es_etc_shadow *ret_shadow, struct es_err *err)
{
    struct es_buf buf;
    char *f[ES_ETC_FIELDS_MAX];
    size_t n;
    static const char *const files[] = {"/etc/shadow", "/etc/passwd"};
    int rc = ES_ENOENT;
    for (size_t i = 0; i < ES_COUNT(files) && rc == ES_ENOENT; i++) {
        es_buf_init(&buf, ES_ETC_FILE_MAX);
        int read_rc = es_etc_read(root, files[i], &buf, err);
        rc = read_rc != 0 ? read_rc : ES_ENOENT;
        for (char *text = buf.data;
             read_rc == 0 && rc != 0 && es_etc_next(&text, f, &n);) {
            int64_t expire = -1;
            if (n < 2 || strcmp(f[0], name) != 0)
                continue;
            struct es_etc_shadow shadow = {.last_change_day = -1};
            snprintf(shadow.hash, sizeof shadow.hash, "%s", f[1]);
            if (i == 0 && n > 2 &&
                es_str_int(f[2], 0, INT32_MAX, &shadow.last_change_day) != 0)
                shadow.last_change_day = -1;
            if (i == 0 && n > 7 && es_str_int(f[7], 0, INT32_MAX, &expire) != 0)
                expire = -1;
            shadow.locked = f[1][0] == '!' || f[1][0] == '*' ||
                            (expire >= 0 && expire <= time(NULL) / 86400);
            *ret_shadow = shadow;
            rc = 0;
        }
        es_buf_finish(&buf);
    }
    if (rc == ES_ENOENT)
        return es_err_set(err, rc, "%s: no such user in this guest", name);
    return rc;
}

int es_etc_owner(const char *root, const char *text, uid_t *ret_uid, gid_t *ret_gid,
                 struct es_err *err)
{
    char user[64];
    const char *colon = strchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : strlen(text);
    struct es_etc_user entry = {.uid = 0, .gid = 0};
    if (len == 0 || len >= sizeof user)
        return es_err_set(err, ES_EINVAL, "owner %s: not user or user:group", text);
    memcpy(user, text, len);
    user[len] = '\0';
    int rc = 0;
    if (number(user, &entry.uid))
        entry.gid = entry.uid;
    else
        rc = es_etc_user_by_name(root, user, &entry, err);
    if (rc == 0 && colon != NULL && !number(colon + 1, &entry.gid))
        rc = es_etc_group_by_name(root, colon + 1, &entry.gid, err);
    if (rc != 0)
        return rc;
    *ret_uid = entry.uid;
    *ret_gid = entry.gid;
    return 0;
}
