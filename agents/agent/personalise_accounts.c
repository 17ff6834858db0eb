/* personalise: accounts and their password hashes, written into the account files
 * directly, each replaced atomically. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "enshu/common/str.h"
#include "files.h"
#include "personalise.h"

#define FIRST_ID 1000
#define LAST_ID  59999

static bool is_account_name(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= 32 && *name != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789_.-") == len;
}

/* The lowest number from FIRST_ID on that is neither a user's nor a group's. */
static int free_id(const char *root, const char *name, unsigned *ret_id,
                   struct es_err *err)
{
    char text[64];
    for (unsigned id = FIRST_ID; id <= LAST_ID; id++) {
        if (es_etc_user_name(root, id, text, sizeof text) != 0)
            return es_err_nomem(err);
        if (*text != '\0')
            continue;
        if (es_etc_group_name(root, id, text, sizeof text) != 0)
            return es_err_nomem(err);
        if (*text != '\0' && strcmp(text, name) != 0)
            continue;
        *ret_id = id;
        return 0;
    }
    return es_err_set(err, ES_ELIMIT, "%s: no user number is free", name);
}

/* Adds a line to an account file; one that does not exist stays so when `optional`. */
static int append_line(const char *root, const char *path, const char *line, mode_t mode,
                       bool optional, struct es_err *err)
{
    struct es_buf buf;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(root, path, &buf, err);
    if (rc == ES_ENOENT && optional) {
        es_buf_finish(&buf);
        return 0;
    }
    if (rc == ES_ENOENT)
        rc = 0;
    if (rc == 0 && buf.len > 0 && buf.data[buf.len - 1] != '\n')
        es_buf_putc(&buf, '\n');
    if (rc == 0) {
        es_buf_printf(&buf, "%s\n", line);
        rc = es_buf_status(&buf) != 0
                 ? es_err_set(err, es_buf_status(&buf), "%s: too large", path)
                 : es_etc_write(root, path, es_buf_str(&buf), buf.len, mode, err);
    }
    es_buf_finish(&buf);
    return rc;
}

/* Field `index` of the user's line becomes `value`; further fields likewise by `also`. */
struct edit {
    size_t index;
    const char *value;
};

static int edit_line(const char *root, const char *path, const char *name,
                     const struct edit *edits, size_t count, bool *ret_found,
                     struct es_err *err)
{
    struct es_buf old, out;
    es_buf_init(&old, ES_ETC_FILE_MAX);
    es_buf_init(&out, ES_ETC_FILE_MAX + 4096);
    *ret_found = false;
    int rc = es_etc_read(root, path, &old, err);
    for (char *rest = old.data, *line; rc == 0 && (line = strsep(&rest, "\n")) != NULL;) {
        size_t len = strlen(name);
        if (*line == '\0' && rest == NULL)
            break;
        if (strncmp(line, name, len) != 0 || line[len] != ':') {
            es_buf_printf(&out, "%s\n", line);
            continue;
        }
        *ret_found = true;
        char *field;
        for (size_t i = 0; (field = strsep(&line, ":")) != NULL; i++) {
            const char *value = field;
            for (size_t k = 0; k < count; k++)
                value = edits[k].index == i ? edits[k].value : value;
            es_buf_printf(&out, "%s%s", i > 0 ? ":" : "", value);
        }
        es_buf_putc(&out, '\n');
    }
    if (rc == 0 && es_buf_status(&out) != 0)
        rc = es_err_set(err, es_buf_status(&out), "%s: too large", path);
    if (rc == 0 && *ret_found)
        rc = es_etc_write(root, path, es_buf_str(&out), out.len, 0640, err);
    es_buf_finish(&old);
    es_buf_finish(&out);
    return rc;
}

static int set_hash(const char *root, const char *name, const char *hash,
                    struct es_err *err)
{
    struct es_etc_shadow shadow;
    char today[24];
    bool found;
    if (strpbrk(hash, ":\n") != NULL || strlen(hash) >= sizeof shadow.hash)
        return es_err_set(err, ES_EINVAL, "%s: not a password hash", name);
    if (es_etc_shadow_by_name(root, name, &shadow, NULL) == 0 &&
        strcmp(shadow.hash, hash) == 0)
        return 0;
    es_str_printf(today, sizeof today, "%lld", (long long)time(NULL) / 86400);
    const struct edit in_shadow[] = {{1, hash}, {2, today}};
    int rc = edit_line(root, "/etc/shadow", name, in_shadow, 2, &found, err);
    if (rc == 0 && found)
        return 0;
    if (rc == 0) {
        char line[768];
        es_str_printf(line, sizeof line, "%s:%s:%s:0:99999:7:::", name, hash, today);
        return append_line(root, "/etc/shadow", line, 0640, false, err);
    }
    if (rc != ES_ENOENT)
        return rc;
    /* A guest without shadow passwords. */
    const struct edit in_passwd[] = {{1, hash}};
    return edit_line(root, "/etc/passwd", name, in_passwd, 1, &found, err);
}

/* ------------------------------------------------------------------ home */

static void copy_skeleton(const char *root, const char *home, uid_t uid, gid_t gid)
{
    char path[PATH_MAX];
    es_str_printf(path, sizeof path, "%s/etc/skel", root);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char from[300], to[600];
        struct es_buf buf;
        struct stat st;
        es_str_printf(from, sizeof from, "/etc/skel/%s", entry->d_name);
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode) ||
            es_str_printf(to, sizeof to, "%s/%s", home, entry->d_name) != 0)
            continue;
        es_buf_init(&buf, 65536);
        if (es_etc_read(root, from, &buf, NULL) == 0 &&
            es_etc_write(root, to, es_buf_str(&buf), buf.len, st.st_mode & 0777, NULL) ==
                0 &&
            es_str_printf(path, sizeof path, "%s%s", root, to) == 0 &&
            lchown(path, uid, gid) != 0)
            es_buf_clear(&buf); /* left to root: readable all the same */
        es_buf_finish(&buf);
    }
    if (dir != NULL)
        closedir(dir);
}

static int make_home(const char *root, const char *home, uid_t uid, gid_t gid,
                     struct es_err *err)
{
    char full[PATH_MAX];
    if (es_str_printf(full, sizeof full, "%s%s", root, home) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: the path is too long", home);
    int rc = es_files_make_parents(full, 0755, err);
    if (rc != 0)
        return rc;
    if (mkdir(full, 0700) != 0)
        return errno == EEXIST ? 0 : es_probe_errno(err, home, "cannot be made", errno);
    copy_skeleton(root, home, uid, gid);
    if (lchown(full, uid, gid) != 0 && *root == '\0')
        return es_probe_errno(err, home, "the owner cannot be set", errno);
    return 0;
}

/* ------------------------------------------------------------------ accounts */

/* Group, shadow line, user: in this order, so that a repeat after a crash completes it. */
static int create(const char *root, const char *name, struct es_err *err)
{
    unsigned id = 0;
    gid_t gid;
    char line[512], shell[PATH_MAX], home[64];
    int rc = free_id(root, name, &id, err);
    if (rc != 0)
        return rc;
    rc = es_etc_group_by_name(root, name, &gid, NULL);
    if (rc != 0) {
        gid = id;
        es_str_printf(line, sizeof line, "%s:x:%u:", name, id);
        rc = append_line(root, "/etc/group", line, 0644, false, err);
        es_str_printf(line, sizeof line, "%s:!::", name);
        if (rc == 0)
            rc = append_line(root, "/etc/gshadow", line, 0640, true, err);
    }
    es_str_printf(shell, sizeof shell, "%s/bin/bash", root);
    es_str_printf(home, sizeof home, "/home/%s", name);
    es_str_printf(line, sizeof line, "%s:x:%u:%u::%s:%s", name, id, (unsigned)gid, home,
                  access(shell, X_OK) == 0 ? "/bin/bash" : "/bin/sh");
    if (rc == 0)
        rc = append_line(root, "/etc/passwd", line, 0644, false, err);
    return rc;
}

static int set_account(const struct es_personalise *p, const json_t *account,
                       struct es_err *err)
{
    struct es_probe probe = {.args = account};
    const char *name, *hash;
    bool creates;
    struct es_etc_user user;
    int rc = es_probe_arg_text(&probe, "user", true, &name, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "hash", false, &hash, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(&probe, "create", false, &creates, err);
    if (rc != 0)
        return rc;
    if (!is_account_name(name))
        return es_err_set(err, ES_EINVAL, "%s: not a user's name", name);
    rc = es_etc_user_by_name(p->root, name, &user, err);
    if (rc == ES_ENOENT && creates) {
        rc = create(p->root, name, err);
        rc = rc != 0 ? rc : es_etc_user_by_name(p->root, name, &user, err);
    }
    if (rc == 0 && creates && es_str_starts(user.home, "/home/"))
        rc = make_home(p->root, user.home, user.uid, user.gid, err);
    if (rc == 0 && hash != NULL)
        rc = set_hash(p->root, name, hash, err);
    return rc;
}

int es_personalise_accounts(const struct es_personalise *p, struct es_err *err)
{
    size_t i;
    const json_t *account;
    json_array_foreach (json_object_get(p->args, "accounts"), i, account) {
        int rc = set_account(p, account, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
