/* package: an installed package.
 *
 * Keys:     name.
 * Evidence: installed; manager "dpkg" "rpm" "apk"; version when installed.
 * The data bases of dpkg and apk are read, rpm is asked. A guest with none of them:
 * unsupported. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "probe.h"

/* Looks through a data base of paragraphs; a line is KEY then the value. In the paragraph
 * with the wanted name, *ret_version is set when its state is right. */
struct format {
    const char *path, *manager, *name, *version, *state, *installed;
};
static const struct format formats[] = {
    {"/var/lib/dpkg/status", "dpkg", "Package: ", "Version: ", "Status: ", " installed"},
    {"/lib/apk/db/installed", "apk", "P:", "V:", NULL, NULL},
};

static int look_in(struct es_probe *p, const struct format *format, FILE *file,
                   const char *name)
{
    char *line = NULL, version[256] = "";
    size_t size = 0;
    ssize_t n;
    bool ours = false, state = format->state == NULL, found = false;
    while (!found && (n = getline(&line, &size, file)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[--n] = '\0';
        if (n == 0) {
            found = ours && state && *version != '\0';
            ours = false;
        } else if (es_str_starts(line, format->name)) {
            ours = strcmp(line + strlen(format->name), name) == 0;
            state = format->state == NULL;
            version[0] = '\0';
        } else if (ours && es_str_starts(line, format->version)) {
            snprintf(version, sizeof version, "%s", line + strlen(format->version));
        } else if (ours && format->state != NULL && es_str_starts(line, format->state)) {
            state = es_str_ends(line, format->installed);
        }
    }
    found = found || (ours && state && *version != '\0');
    free(line); /* from getline */
    es_probe_set_bool(p, "installed", found);
    es_probe_set_text(p, "manager", format->manager);
    if (found)
        es_probe_set_text(p, "version", version);
    return 0;
}

static int ask_rpm(struct es_probe *p, const char *name, struct es_err *err)
{
    const char *const argv[] = {"rpm", "-q", "--qf", "%{VERSION}-%{RELEASE}\n",
                                "--",  name, NULL};
    struct es_tool tool = {.argv = argv};
    int rc = es_tool_must(p, &tool, err);
    if (rc == 0) {
        char version[256];
        snprintf(version, sizeof version, "%s", es_buf_str(&tool.out));
        version[strcspn(version, "\n")] = '\0';
        es_probe_set_bool(p, "installed", tool.exit == 0);
        es_probe_set_text(p, "manager", "rpm");
        if (tool.exit == 0)
            es_probe_set_text(p, "version", version);
    }
    es_tool_finish(&tool);
    return rc;
}

ES_PROBE_LOOK(package)
{
    const char *name;
    int rc = es_probe_arg_text(p, "name", true, &name, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < ES_COUNT(formats); i++) {
        const char *full = es_probe_path(p, formats[i].path);
        if (full == NULL)
            return es_err_nomem(err);
        FILE *file = fopen(full, "re");
        if (file == NULL && errno == ENOENT)
            continue;
        if (file == NULL)
            return es_probe_errno(err, formats[i].path, "cannot be opened", errno);
        rc = look_in(p, &formats[i], file, name);
        fclose(file);
        return rc;
    }
    if (es_tool_there(p, "rpm"))
        return ask_rpm(p, name, err);
    return es_err_set(err, ES_ENOTSUP, "this guest has none of dpkg, rpm and apk");
}
