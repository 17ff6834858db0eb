/* service: a service of systemd or sysv init, or a plain daemon with a pid file.
 *
 * Keys:     name ("nginx"; "x.timer" and the like are taken as they are).
 * Evidence: active; enabled (started at boot); state: systemd's ActiveState, else "active"
 *           or "inactive", "not-found" when there is no such service; manager "systemd"
 *           "sysv" "busybox" (no script: /run/NAME.pid or a process of that name). */
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "proc.h"

static void tell(struct es_probe *p, bool active, bool enabled, const char *state,
                 const char *manager)
{
    es_probe_set_bool(p, "active", active);
    es_probe_set_bool(p, "enabled", enabled);
    es_probe_set_text(p, "state", state);
    es_probe_set_text(p, "manager", manager);
}

/* The value of KEY= in the output of `systemctl show`. */
static const char *value_of(const char *output, const char *key, char *dst, size_t size)
{
    size_t len = strlen(key);
    dst[0] = '\0';
    for (const char *line = output; *line != '\0'; line += strcspn(line, "\n")) {
        line += *line == '\n';
        if (strncmp(line, key, len) != 0 || line[len] != '=')
            continue;
        snprintf(dst, size, "%.*s", (int)strcspn(line + len + 1, "\n"), line + len + 1);
        break;
    }
    return dst;
}

static int ask_systemd(struct es_probe *p, const char *name, struct es_err *err)
{
    const char *unit =
        strchr(name, '.') != NULL ? name : es_arena_printf(&p->arena, "%s.service", name);
    const char *const argv[] = {
        "systemctl", "show", "-p", "LoadState,ActiveState,UnitFileState",
        "--",        unit,   NULL};
    struct es_tool tool = {.argv = argv};
    if (unit == NULL)
        return es_err_nomem(err);
    int rc = es_tool_must(p, &tool, err);
    if (rc == 0 && tool.exit != 0)
        rc = es_err_set(err, ES_EIO, "systemctl failed: %.200s",
                        es_buf_str(&tool.err_out));
    if (rc == 0) {
        char load[64], active[64], file[64];
        const char *out = es_buf_str(&tool.out);
        value_of(out, "LoadState", load, sizeof load);
        value_of(out, "ActiveState", active, sizeof active);
        value_of(out, "UnitFileState", file, sizeof file);
        bool there = strcmp(load, "not-found") != 0 || strcmp(active, "active") == 0;
        bool enabled = es_str_starts(file, "enabled") || strcmp(file, "static") == 0 ||
                       strcmp(file, "alias") == 0 || strcmp(file, "generated") == 0;
        tell(p, strcmp(active, "active") == 0 || strcmp(active, "reloading") == 0,
             enabled, there ? active : "not-found", "systemd");
    }
    es_tool_finish(&tool);
    return rc;
}

static int ask_script(struct es_probe *p, const char *name, const char *script,
                      struct es_err *err)
{
    const char *const argv[] = {script, "status", NULL};
    struct es_tool tool = {.argv = argv};
    const char *pattern =
        es_arena_printf(&p->arena, "%s/etc/rc[2345S].d/S[0-9][0-9]%s", p->root, name);
    glob_t found = {0};
    if (pattern == NULL)
        return es_err_nomem(err);
    int rc = es_tool_must(p, &tool, err);
    if (rc == 0) {
        bool enabled = glob(pattern, GLOB_NOSORT, NULL, &found) == 0;
        tell(p, tool.exit == 0, enabled, tool.exit == 0 ? "active" : "inactive", "sysv");
        globfree(&found);
    }
    es_tool_finish(&tool);
    return rc;
}

struct wanted {
    const char *name;
    int64_t pid; /* 0: any of that name */
    bool found;
};

static bool on_process(void *ctx, const struct es_proc *proc)
{
    struct wanted *w = ctx;
    w->found = w->pid != 0 ? proc->pid == w->pid
                           : strcmp(proc->name, w->name) == 0 ||
                                 strcmp(proc->program, w->name) == 0;
    return !w->found;
}

static int look_for_daemon(struct es_probe *p, const char *name, struct es_err *err)
{
    struct wanted wanted = {.name = name};
    const char *path = es_probe_path(p, es_arena_printf(&p->arena, "/run/%s.pid", name));
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    long long pid;
    if (file != NULL) {
        if (fscanf(file, "%lld", &pid) == 1 && pid > 0)
            wanted.pid = pid;
        fclose(file);
    }
    int rc = es_proc_each(p, on_process, &wanted, err);
    if (rc == 0)
        tell(p, wanted.found, false,
             wanted.found      ? "active"
             : wanted.pid != 0 ? "inactive"
                               : "not-found",
             "busybox");
    return rc;
}

ES_PROBE_LOOK(service)
{
    const char *name;
    int rc = es_probe_arg_text(p, "name", true, &name, err);
    if (rc != 0)
        return rc;
    if (*name == '\0' || strpbrk(name, "/*?[") != NULL)
        return es_err_set(err, ES_EINVAL, "name: not the name of a service");
    if (es_probe_exists(p, "/run/systemd/system"))
        return ask_systemd(p, name, err);
    const char *script =
        es_probe_path(p, es_arena_printf(&p->arena, "/etc/init.d/%s", name));
    if (script == NULL)
        return es_err_nomem(err);
    if (es_probe_exists(p, script + strlen(p->root)))
        return ask_script(p, name, script, err);
    return look_for_daemon(p, name, err);
}
