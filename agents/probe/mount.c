/* mount: what is mounted at a path.
 *
 * Keys:     path, the mount point.
 * Evidence: mounted; when it is: source, fstype, options (a list). The last mount at a path
 *           hides the others and is the one told. */
#include <string.h>

#include "enshu/common/str.h"
#include "etc.h"
#include "probe.h"

/* The kernel writes blanks, newlines and backslashes as \ooo. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0';) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

static bool same_place(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    while (lb > 1 && b[lb - 1] == '/')
        lb--;
    return la == lb && memcmp(a, b, la) == 0;
}

ES_PROBE_LOOK(mount)
{
    const char *path;
    struct es_buf buf;
    char *found[4] = {NULL};
    int rc = es_probe_arg_text(p, "path", true, &path, err);
    if (rc != 0)
        return rc;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    rc = es_etc_read(p->root, "/proc/self/mounts", &buf, err);
    for (char *rest = buf.data, *line; rc == 0 && (line = strsep(&rest, "\n")) != NULL;) {
        char *field[4] = {NULL};
        for (size_t i = 0; i < 4; i++)
            field[i] = strsep(&line, " ");
        if (field[3] == NULL)
            continue;
        unescape(field[0]);
        unescape(field[1]);
        if (same_place(field[1], path))
            memcpy(found, field, sizeof found);
    }
    if (rc == 0) {
        es_probe_set_bool(p, "mounted", found[3] != NULL);
    }
    if (rc == 0 && found[3] != NULL) {
        size_t left = ES_PROBE_LIST_MAX;
        es_probe_set_text(p, "source", found[0]);
        es_probe_set_text(p, "fstype", found[2]);
        es_probe_set(p, "options", json_array());
        for (char *option; (option = strsep(&found[3], ",")) != NULL;)
            es_probe_add_text(p, "options", option, &left);
    }
    es_buf_finish(&buf);
    return rc;
}
