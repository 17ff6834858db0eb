/* personalise: what services live on: SSH host keys, timers that stood still while a mould
 * was frozen, and services that are to begin anew in a fork. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"
#include "files.h"
#include "personalise.h"

#define KEY_MAX     8192
#define STARTING_MS 3000
#define LOOK_MS     50

/* ------------------------------------------------------------------ host keys */

static bool is_word(const char *text)
{
    return *text != '\0' && *text != '-' && *text != '.' && strlen(text) < 200 &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789_.@:\\-") == strlen(text);
}

static bool has_sshd(const struct es_personalise *p)
{
    return es_personalise_exists(p, "/etc/ssh") &&
           (es_personalise_exists(p, "/usr/sbin/sshd") ||
            es_personalise_exists(p, "/usr/local/sbin/sshd"));
}

static bool is_sent(const json_t *keys, const char *file)
{
    size_t i;
    const json_t *key;
    json_array_foreach (keys, i, key) {
        char name[300];
        const char *type = json_string_value(json_object_get(key, "type"));
        es_str_printf(name, sizeof name, "ssh_host_%s_key", type != NULL ? type : "");
        if (strncmp(file, name, strlen(name)) == 0 &&
            (file[strlen(name)] == '\0' || strcmp(file + strlen(name), ".pub") == 0))
            return true;
    }
    return false;
}

/* Keys that other copies of this disk have, too. */
static bool remove_others(const struct es_personalise *p, const json_t *keys)
{
    char path[PATH_MAX];
    bool any = false;
    es_str_printf(path, sizeof path, "%s/etc/ssh", p->root);
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (fnmatch("ssh_host_*_key", entry->d_name, 0) == 0 ||
            fnmatch("ssh_host_*_key.pub", entry->d_name, 0) == 0)
            any |= !is_sent(keys, entry->d_name) &&
                   unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    if (dir != NULL)
        closedir(dir);
    return any;
}

static int put_key(const struct es_personalise *p, const char *type, const char *suffix,
                   const char *text, mode_t mode, bool *changed, struct es_err *err)
{
    char path[300], full[PATH_MAX];
    bool now_changed = false;
    if (strlen(text) > KEY_MAX)
        return es_err_set(err, ES_ELIMIT, "%s: longer than %d bytes", type, KEY_MAX);
    es_str_printf(path, sizeof path, "/etc/ssh/ssh_host_%s_key%s", type, suffix);
    int rc = es_personalise_write(p, path, text, strlen(text), mode, &now_changed, err);
    if (rc == 0 && es_str_printf(full, sizeof full, "%s%s", p->root, path) == 0 &&
        chmod(full, mode) != 0)
        rc = es_probe_errno(err, path, "the mode cannot be set", errno);
    *changed |= now_changed;
    return rc;
}

static int put_keys(const struct es_personalise *p, const json_t *keys, bool *changed,
                    struct es_err *err)
{
    size_t i;
    const json_t *key;
    json_array_foreach (keys, i, key) {
        struct es_probe probe = {.args = key};
        const char *type, *private, *public;
        int rc = es_probe_arg_text(&probe, "type", true, &type, err);
        rc = rc != 0 ? rc : es_probe_arg_text(&probe, "private", true, &private, err);
        rc = rc != 0 ? rc : es_probe_arg_text(&probe, "public", true, &public, err);
        if (rc == 0 && !is_word(type))
            rc = es_err_set(err, ES_EINVAL, "%s: not a type of key", type);
        if (rc == 0 && has_sshd(p)) {
            rc = put_key(p, type, "", private, 0600, changed, err);
            rc = rc != 0 ? rc : put_key(p, type, ".pub", public, 0644, changed, err);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

static bool is_sshd(const char *pid)
{
    char link[300], exe[PATH_MAX];
    es_str_printf(link, sizeof link, "/proc/%s/exe", pid);
    ssize_t n = readlink(link, exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    return es_str_ends(exe, "/sshd");
}

static bool sshd_runs(void)
{
    DIR *dir = opendir("/proc");
    struct dirent *entry;
    bool found = false;
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found =
            entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_sshd(entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* The server's number, once it listens; 0: there is none. */
static pid_t listening_sshd(const struct es_personalise *p)
{
    struct es_buf text;
    int64_t pid = 0;
    es_buf_init(&text, 64);
    if (es_etc_read(p->root, "/run/sshd.pid", &text, NULL) == 0 && text.len > 0) {
        text.data[strcspn(text.data, "\n")] = '\0';
        if (es_str_int(text.data, 2, INT32_MAX, &pid) != 0 || !is_sshd(text.data))
            pid = 0;
    }
    es_buf_finish(&text);
    return (pid_t)pid;
}

/* Since OpenSSH 9.8 sessions are a program of their own, which is handed the keys that the
 * server read when it began; in older ones each session reads the files. */
static bool sessions_are_handed_keys(const struct es_personalise *p)
{
    static const char *const programs[] = {
        "/usr/lib/openssh/sshd-session", "/usr/lib/ssh/sshd-session",
        "/usr/libexec/openssh/sshd-session", "/usr/libexec/sshd-session",
        "/usr/local/libexec/sshd-session"};
    for (size_t i = 0; i < ES_COUNT(programs); i++)
        if (es_personalise_exists(p, programs[i]))
            return true;
    return false;
}

/* At SIGHUP the server runs itself again and reads its keys; sessions go on. One that is
 * just starting may have read the old ones and would not survive the signal: it says when
 * it listens. Running itself again is dear without KVM: a third of all the code that a fork
 * of a full machine translates until it is personalised. */
static void tell_sshd(const struct es_personalise *p)
{
    int64_t until_ms = es_probe_now_ms() + STARTING_MS;
    pid_t pid = listening_sshd(p);
    while (pid == 0 && *p->root == '\0' && sshd_runs() && es_probe_now_ms() < until_ms) {
        poll(NULL, 0, LOOK_MS);
        pid = listening_sshd(p);
    }
    if (pid != 0)
        kill(pid, SIGHUP);
}

int es_personalise_host_keys(const struct es_personalise *p, struct es_err *err)
{
    const json_t *keys = json_object_get(p->args, "host_keys");
    bool changed = false;
    int rc = put_keys(p, keys, &changed, err);
    if (rc != 0 || !has_sshd(p) || json_array_size(keys) == 0)
        return rc;
    changed |= remove_others(p, keys);
    if (changed && sessions_are_handed_keys(p))
        tell_sshd(p);
    return 0;
}

/* ------------------------------------------------------------------ starting anew */

/* Runs one program with the names behind its own arguments. */
static int run_on(const struct es_personalise *p, const char *const *words,
                  const char *const *names, size_t count, struct es_err *err)
{
    const char *argv[ES_UNITS_MAX + 8];
    size_t n = 0;
    struct es_probe probe = {
        .root = p->root, .args = p->args, .deadline_ms = p->deadline_ms};
    struct es_tool tool = {.argv = argv, .keep = 2048};
    while (words[n] != NULL)
        argv[n] = words[n], n++;
    for (size_t i = 0; i < count; i++)
        argv[n++] = names[i];
    argv[n] = NULL;
    int rc = es_tool_must(&probe, &tool, err);
    if (rc == 0 && tool.exit != 0)
        rc = es_err_set(err, ES_EIO, "%s %s ended with %d: %.200s", words[0], words[1],
                        tool.exit, es_buf_str(&tool.err_out));
    es_tool_finish(&tool);
    es_arena_finish(&probe.arena);
    return rc;
}

static bool has_systemd(void)
{
    return access("/run/systemd/system", F_OK) == 0;
}

int es_personalise_restart(const struct es_personalise *p, struct es_err *err)
{
    static const char *const by_systemd[] = {"systemctl", "restart", "--", NULL};
    static const char *const by_script[] = {
        "sh", "-c", "for s; do /etc/init.d/\"$s\" restart || exit; done", "sh", NULL};
    const char *names[ES_UNITS_MAX];
    size_t i;
    const json_t *list = json_object_get(p->args, "restart"), *name;
    if (!json_is_array(list) || json_array_size(list) > ES_UNITS_MAX)
        return es_err_set(err, ES_EINVAL, "not a list of at most %d services",
                          ES_UNITS_MAX);
    json_array_foreach (list, i, name) {
        names[i] = json_string_value(name);
        if (names[i] == NULL || !is_word(names[i]))
            return es_err_set(err, ES_EINVAL, "entry %zu is not a service's name", i);
    }
    if (*p->root != '\0' || i == 0)
        return 0;
    return run_on(p, has_systemd() ? by_systemd : by_script, names, i, err);
}

/* ------------------------------------------------------------------ timers */

/* A timer that is to catch up on what it missed goes by the age of its stamp. */
static void touch_stamp(const struct es_personalise *p, const char *timer)
{
    char path[PATH_MAX];
    if (es_str_printf(path, sizeof path, "%s/var/lib/systemd/timers/stamp-%s", p->root,
                      timer) == 0)
        utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
}

/* Started again, they count from now: the time a fork skipped is not made up for. */
int es_personalise_timers(const struct es_personalise *p, struct es_err *err)
{
    static const char *const start[] = {"systemctl", "--no-block", "start", "--", NULL};
    const char *names[ES_UNITS_MAX];
    char full[PATH_MAX];
    struct es_buf text;
    size_t count = 0;
    es_buf_init(&text, 65536);
    int rc = es_etc_read(p->root, ES_QUIET_TIMERS, &text, err);
    for (char *rest = text.data, *line; rc == 0 && rest != NULL && count < ES_UNITS_MAX &&
                                        (line = strsep(&rest, "\n")) != NULL;)
        if (is_word(line)) {
            touch_stamp(p, line);
            names[count++] = line;
        }
    if (rc == 0 && count > 0 && *p->root == '\0')
        rc = run_on(p, start, names, count, err);
    if (rc == 0 && es_str_printf(full, sizeof full, "%s" ES_QUIET_TIMERS, p->root) == 0)
        unlink(full);
    es_buf_finish(&text);
    return rc == ES_ENOENT ? 0 : rc;
}
