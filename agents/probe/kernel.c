/* kernel: the kernel's release, a sysctl, a module.
 *
 * Keys:     sysctl ("net.ipv4.ip_forward"); module.
 * Evidence: release; value (of the sysctl, without its last newline; absent when there is
 *           no such sysctl); loaded (with module; built-in ones that show in /sys/module
 *           count). */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "etc.h"
#include "probe.h"

static int tell_file(struct es_probe *p, const char *path, const char *key,
                     struct es_err *err)
{
    struct es_buf buf;
    es_buf_init(&buf, 16384);
    int rc = es_etc_read(p->root, path, &buf, err);
    if (rc == 0) {
        while (buf.len > 0 && buf.data[buf.len - 1] == '\n')
            buf.data[--buf.len] = '\0';
        es_probe_set(p, key, es_probe_text_json(es_buf_str(&buf), buf.len));
    }
    es_buf_finish(&buf);
    return rc;
}

static int tell_sysctl(struct es_probe *p, const char *name, struct es_err *err)
{
    /* In names with a slash it separates and the dot is a letter ("net/ipv4/conf/eth0.1"). */
    char *path = es_arena_printf(&p->arena, "/proc/sys/%s", name);
    if (path == NULL)
        return es_err_nomem(err);
    if (strstr(name, "..") != NULL)
        return es_err_set(err, ES_EINVAL, "sysctl: %s: not a name", name);
    if (strchr(name, '/') == NULL)
        for (char *c = path + strlen("/proc/sys/"); *c != '\0'; c++)
            *c = *c == '.' ? '/' : *c;
    int rc = tell_file(p, path, "value", err);
    return rc == ES_ENOENT ? 0 : rc;
}

static int tell_module(struct es_probe *p, const char *name, struct es_err *err)
{
    char *plain = es_arena_strdup(&p->arena, name);
    if (plain == NULL)
        return es_err_nomem(err);
    if (strchr(name, '/') != NULL || *name == '\0')
        return es_err_set(err, ES_EINVAL, "module: %s: not a name", name);
    for (char *c = plain; *c != '\0'; c++)
        *c = *c == '-' ? '_' : *c;
    const char *dir = es_arena_printf(&p->arena, "/sys/module/%s", plain);
    bool loaded = dir != NULL && es_probe_exists(p, dir);
    struct es_buf buf;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = loaded ? 0 : es_etc_read(p->root, "/proc/modules", &buf, err);
    if (!loaded && rc == 0)
        for (char *rest = buf.data, *line;
             !loaded && (line = strsep(&rest, "\n")) != NULL;)
            loaded = es_str_eq(strsep(&line, " "), plain);
    es_buf_finish(&buf);
    es_probe_set_bool(p, "loaded", loaded);
    return rc == ES_ENOENT ? 0 : rc; /* a kernel without modules */
}

ES_PROBE_LOOK(kernel)
{
    const char *sysctl, *module;
    int rc = es_probe_arg_text(p, "sysctl", false, &sysctl, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "module", false, &module, err);
    rc = rc != 0 ? rc : tell_file(p, "/proc/sys/kernel/osrelease", "release", err);
    if (rc == 0 && sysctl != NULL)
        rc = tell_sysctl(p, sysctl, err);
    if (rc == 0 && module != NULL)
        rc = tell_module(p, module, err);
    return rc;
}
