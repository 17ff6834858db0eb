/* schedule: jobs that run at set times.
 *
 * Keys:     user: only lines that run as this user.
 * Evidence: available (there is cron or systemd); entries, at most 500 and 40 KiB, each
 *           {source, line_b64}; truncated. Sources: the path of a crontab (its lines that
 *           are neither blank nor comments), a directory like /etc/cron.daily (the line is
 *           the name of a script in it), "systemd" (a line of `systemctl list-timers`, only
 *           without `user` or for root). */
#include <dirent.h>
#include <string.h>

#include "enshu/common/str.h"
#include "enshu/wire.h"
#include "etc.h"
#include "probe.h"

struct listing {
    struct es_probe *p;
    const char *user;
    size_t count;
    size_t left;
    bool truncated;
};

static void tell_line(struct listing *l, const char *source, const char *line)
{
    size_t cost = strlen(line) * 4 / 3 + strlen(source) + 40;
    if (l->count == 500 || cost > l->left) {
        l->truncated = true;
        return;
    }
    json_t *entry = json_object();
    if (entry == NULL ||
        json_object_set_new(entry, "source",
                            es_probe_text_json(source, strlen(source))) != 0 ||
        json_object_set_new(entry, "line_b64", es_base64_json(line, strlen(line))) != 0 ||
        json_array_append(json_object_get(l->p->evidence, "entries"), entry) != 0)
        l->p->nomem = true;
    json_decref(entry);
    l->count++;
    l->left -= cost;
}

/* In the system's crontabs the user stands after five fields of time, or after one like
 * "@daily". Settings ("MAILTO=root") have no user and belong to everybody. */
static bool runs_as(const char *line, const char *user)
{
    char copy[512], *save, *word;
    snprintf(copy, sizeof copy, "%s", line);
    word = strtok_r(copy, " \t", &save);
    if (word == NULL || (strchr(word, '=') != NULL && *word != '@'))
        return true;
    for (int skip = *word == '@' ? 1 : 5; skip > 0 && word != NULL; skip--)
        word = strtok_r(NULL, " \t", &save);
    return word != NULL && strcmp(word, user) == 0;
}

static void tell_crontab(struct listing *l, const char *path, bool names_user)
{
    struct es_buf buf;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(l->p->root, path, &buf, NULL);
    l->p->nomem |= rc == ES_ENOMEM;
    if (rc == 0)
        for (char *rest = buf.data, *line; (line = strsep(&rest, "\n")) != NULL;) {
            line += strspn(line, " \t");
            if (*line == '\0' || *line == '#')
                continue;
            if (!names_user || l->user == NULL || runs_as(line, l->user))
                tell_line(l, path, line);
        }
    es_buf_finish(&buf);
}

/* `crontabs`: the files are crontabs; else their names are what is told. `personal`: the
 * name of a file is its user. */
static void tell_directory(struct listing *l, const char *path, bool crontabs,
                           bool personal)
{
    const char *full = es_probe_path(l->p, path);
    DIR *dir = full != NULL ? opendir(full) : NULL;
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
            continue;
        const char *file = es_arena_printf(&l->p->arena, "%s/%s", path, entry->d_name);
        if (file == NULL)
            break;
        if (!crontabs && (l->user == NULL || strcmp(l->user, "root") == 0))
            tell_line(l, path, entry->d_name);
        else if (crontabs &&
                 (!personal || l->user == NULL || strcmp(l->user, entry->d_name) == 0))
            tell_crontab(l, file, !personal);
    }
    if (dir != NULL)
        closedir(dir);
}

static int tell_timers(struct listing *l, struct es_err *err)
{
    static const char *const argv[] = {"systemctl",   "list-timers", "--all",
                                       "--no-legend", "--no-pager",  NULL};
    struct es_tool tool = {.argv = argv};
    int rc = es_tool_must(l->p, &tool, err);
    for (char *rest = tool.out.data, *line;
         rc == 0 && (line = strsep(&rest, "\n")) != NULL;)
        if (*line != '\0')
            tell_line(l, "systemd", line);
    es_tool_finish(&tool);
    return rc;
}

ES_PROBE_LOOK(schedule)
{
    static const char *const scripts[] = {"/etc/cron.hourly",     "/etc/cron.daily",
                                          "/etc/cron.weekly",     "/etc/cron.monthly",
                                          "/etc/periodic/hourly", "/etc/periodic/daily"};
    static const char *const spools[] = {"/var/spool/cron/crontabs", "/var/spool/cron",
                                         "/etc/crontabs"};
    struct listing l = {.p = p, .left = ES_PROBE_LIST_MAX};
    int rc = es_probe_arg_text(p, "user", false, &l.user, err);
    if (rc != 0)
        return rc;
    bool systemd = es_probe_exists(p, "/run/systemd/system");
    bool available = systemd || es_probe_exists(p, "/etc/crontab") ||
                     es_probe_exists(p, "/etc/cron.d") ||
                     es_probe_exists(p, "/var/spool/cron") ||
                     es_probe_exists(p, "/etc/crontabs");
    es_probe_set_bool(p, "available", available);
    es_probe_set(p, "entries", json_array());
    tell_crontab(&l, "/etc/crontab", true);
    tell_directory(&l, "/etc/cron.d", true, false);
    for (size_t i = 0; i < ES_COUNT(spools); i++)
        tell_directory(&l, spools[i], true, true);
    for (size_t i = 0; i < ES_COUNT(scripts); i++)
        tell_directory(&l, scripts[i], false, false);
    if (systemd && (l.user == NULL || strcmp(l.user, "root") == 0))
        rc = tell_timers(&l, err);
    es_probe_set_bool(p, "truncated", l.truncated);
    return rc;
}
