/* personalise: names and files below /etc. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"
#include "files.h"
#include "personalise.h"

int es_personalise_text(const struct es_personalise *p, const char *key,
                        const char **ret_text, struct es_err *err)
{
    struct es_probe probe = {.args = p->args};
    return es_probe_arg_text(&probe, key, true, ret_text, err);
}

bool es_personalise_exists(const struct es_personalise *p, const char *path)
{
    char full[PATH_MAX];
    return es_str_printf(full, sizeof full, "%s%s", p->root, path) == 0 &&
           access(full, F_OK) == 0;
}

static bool holds(const struct es_personalise *p, const char *path, const char *data,
                  size_t len)
{
    struct es_buf old;
    es_buf_init(&old, len + 1);
    bool same = es_etc_read(p->root, path, &old, NULL) == 0 && old.len == len &&
                memcmp(es_buf_str(&old), data, len) == 0;
    es_buf_finish(&old);
    return same;
}

int es_personalise_write(const struct es_personalise *p, const char *path,
                         const char *data, size_t len, mode_t mode, bool *ret_changed,
                         struct es_err *err)
{
    char full[PATH_MAX];
    bool same = holds(p, path, data, len);
    if (ret_changed != NULL)
        *ret_changed = !same;
    if (same)
        return 0;
    if (es_str_printf(full, sizeof full, "%s%s", p->root, path) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: the path is too long", path);
    int rc = es_files_make_parents(full, 0755, err);
    return rc != 0 ? rc : es_etc_write(p->root, path, data, len, mode, err);
}

/* ------------------------------------------------------------------ names */

static int check_hostname(const char *name, struct es_err *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > 64 ||
        strspn(name,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != len)
        return es_err_set(err, ES_EINVAL, "%s: not a host name", name);
    return 0;
}

int es_personalise_hostname(const struct es_personalise *p, struct es_err *err)
{
    const char *name;
    char line[80];
    int rc = es_personalise_text(p, "hostname", &name, err);
    rc = rc != 0 ? rc : check_hostname(name, err);
    if (rc != 0)
        return rc;
    es_str_printf(line, sizeof line, "%s\n", name);
    rc = es_personalise_write(p, "/etc/hostname", line, strlen(line), 0644, NULL, err);
    if (rc == 0 && *p->root == '\0' && sethostname(name, strlen(name)) != 0)
        rc = es_probe_errno(err, name, "cannot be the host's name", errno);
    /* The name must resolve even when no other names are given. */
    if (rc == 0 && json_object_get(p->args, "hosts") == NULL)
        rc = es_personalise_hosts(p, err);
    return rc;
}

/* journald keeps the directory of the machine-id it was started with, journalctl looks into
 * that of the present one: the directory moves, and a link stays in its place. */
static void move_journal(const struct es_personalise *p, const char *base,
                         const char *old, const char *id)
{
    char from[PATH_MAX], to[PATH_MAX], dir[PATH_MAX];
    struct stat st;
    if (es_str_printf(dir, sizeof dir, "%s%s", p->root, base) != 0 ||
        es_str_printf(from, sizeof from, "%s/%s", dir, old) != 0 ||
        es_str_printf(to, sizeof to, "%s/%s", dir, id) != 0 || stat(dir, &st) != 0 ||
        access(to, F_OK) == 0)
        return;
    /* Early in a boot it is not there yet: it is made like its parent. */
    if (rename(from, to) != 0 &&
        (errno != ENOENT || mkdir(to, 0755) != 0 ||
         lchown(to, st.st_uid, st.st_gid) != 0 || chmod(to, st.st_mode & 07777) != 0))
        return;
    if (symlink(id, from) != 0)
        rename(to, from); /* without the link journald could not go on */
}

static bool is_machine_id(const char *id)
{
    return strlen(id) == 32 && strspn(id, "0123456789abcdef") == 32;
}

static void read_machine_id(const struct es_personalise *p, char dst[40])
{
    struct es_buf text;
    es_buf_init(&text, 64);
    dst[0] = '\0';
    if (es_etc_read(p->root, "/etc/machine-id", &text, NULL) == 0)
        es_str_printf(dst, 40, "%.32s", es_buf_str(&text));
    es_buf_finish(&text);
}

/* Who asks for it from now on gets the new one; systemd and its journal go on under the one
 * they were started with. */
int es_personalise_machine_id(const struct es_personalise *p, struct es_err *err)
{
    const char *id;
    char line[40], old[40], full[PATH_MAX];
    struct stat st;
    int rc = es_personalise_text(p, "machine_id", &id, err);
    if (rc != 0)
        return rc;
    if (!is_machine_id(id))
        return es_err_set(err, ES_EINVAL, "not 32 hex digits");
    read_machine_id(p, old);
    es_str_printf(line, sizeof line, "%s\n", id);
    rc = es_personalise_write(p, "/etc/machine-id", line, strlen(line), 0444, NULL, err);
    /* D-Bus' own is mostly a link to it. */
    if (rc == 0 &&
        es_str_printf(full, sizeof full, "%s/var/lib/dbus/machine-id", p->root) == 0 &&
        lstat(full, &st) == 0 && S_ISREG(st.st_mode))
        rc = es_personalise_write(p, "/var/lib/dbus/machine-id", line, strlen(line), 0444,
                                  NULL, err);
    if (rc == 0 && is_machine_id(old) && strcmp(old, id) != 0) {
        move_journal(p, "/var/log/journal", old, id);
        move_journal(p, "/run/log/journal", old, id);
    }
    return rc;
}

int es_personalise_dns(const struct es_personalise *p, struct es_err *err)
{
    const char *server;
    char line[80];
    int rc = es_personalise_text(p, "dns", &server, err);
    if (rc != 0)
        return rc;
    if (strlen(server) > 45 ||
        strspn(server, "0123456789abcdefABCDEF.:") != strlen(server))
        return es_err_set(err, ES_EINVAL, "%s: not an address", server);
    es_str_printf(line, sizeof line, "nameserver %s\n", server);
    return es_personalise_write(p, "/etc/resolv.conf", line, strlen(line), 0644, NULL,
                                err);
}

/* ------------------------------------------------------------------ /etc/hosts */

#define BEGIN "# enshu: begin"
#define END   "# enshu: end"

/* The lines that are not ours, nor the installer's for an earlier host name. */
static void keep_others(char *text, struct es_buf *out)
{
    bool ours = false;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strcmp(line, BEGIN) == 0)
            ours = true;
        else if (strcmp(line, END) == 0)
            ours = false;
        else if (!ours && strncmp(line, "127.0.1.1", 9) != 0 &&
                 (*line != '\0' || rest != NULL))
            es_buf_printf(out, "%s\n", line);
    }
}

static int add_names(const struct es_personalise *p, struct es_buf *out,
                     struct es_err *err)
{
    size_t i;
    const json_t *pair;
    json_array_foreach (json_object_get(p->args, "hosts"), i, pair) {
        const char *addr = json_string_value(json_array_get(pair, 0));
        const char *name = json_string_value(json_array_get(pair, 1));
        if (addr == NULL || name == NULL || *addr == '\0' ||
            strspn(addr, "0123456789abcdefABCDEF.:") != strlen(addr))
            return es_err_set(err, ES_EINVAL, "entry %zu is not [address, name]", i);
        int rc = check_hostname(name, err);
        if (rc != 0)
            return rc;
        es_buf_printf(out, "%s\t%s\n", addr, name);
    }
    return 0;
}

int es_personalise_hosts(const struct es_personalise *p, struct es_err *err)
{
    struct es_buf old, out;
    const char *name = json_string_value(json_object_get(p->args, "hostname"));
    es_buf_init(&old, ES_ETC_FILE_MAX);
    es_buf_init(&out, ES_ETC_FILE_MAX);
    int rc = es_etc_read(p->root, "/etc/hosts", &old, err);
    if (rc == 0 && old.data != NULL)
        keep_others(old.data, &out);
    else if (rc == ES_ENOENT)
        rc = es_buf_puts(&out, "127.0.0.1\tlocalhost\n");
    if (rc == 0) {
        es_buf_puts(&out, BEGIN "\n");
        if (name != NULL)
            es_buf_printf(&out, "127.0.1.1\t%s\n", name);
        rc = add_names(p, &out, err);
        es_buf_puts(&out, END "\n");
    }
    if (rc == 0 && es_buf_status(&out) != 0)
        rc = es_err_set(err, es_buf_status(&out), "/etc/hosts would be too large");
    if (rc == 0)
        rc = es_personalise_write(p, "/etc/hosts", es_buf_str(&out), out.len, 0644, NULL,
                                  err);
    es_buf_finish(&old);
    es_buf_finish(&out);
    return rc;
}

/* ------------------------------------------------------------------ given files */

static int put_file(const struct es_personalise *p, const json_t *file,
                    struct es_err *err)
{
    struct es_probe probe = {.args = file};
    const char *path, *mode_text, *text;
    char full[PATH_MAX];
    mode_t mode = 0644;
    struct es_buf data;
    int rc = es_probe_arg_text(&probe, "path", true, &path, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "mode", false, &mode_text, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "data", true, &text, err);
    if (rc == 0 && mode_text != NULL)
        rc = es_files_mode(mode_text, &mode, err);
    if (rc == 0 && (path[0] != '/' || path[strlen(path) - 1] == '/'))
        rc = es_err_set(err, ES_EINVAL, "%s: not the path of a file", path);
    if (rc != 0)
        return rc;
    es_buf_init(&data, ES_WIRE_LINE_MAX);
    rc = es_base64_decode(text, strlen(text), &data);
    if (rc != 0)
        rc = es_err_set(err, rc, "%s: data: not base64", path);
    else
        rc = es_personalise_write(p, path, es_buf_str(&data), data.len, mode, NULL, err);
    if (rc == 0 && es_str_printf(full, sizeof full, "%s%s", p->root, path) == 0 &&
        chmod(full, mode) != 0)
        rc = es_probe_errno(err, path, "the mode cannot be set", errno);
    es_buf_finish(&data);
    return rc;
}

int es_personalise_files(const struct es_personalise *p, struct es_err *err)
{
    size_t i;
    const json_t *file;
    json_array_foreach (json_object_get(p->args, "files"), i, file) {
        int rc = put_file(p, file, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
