/* group: a group in /etc/group.
 *
 * Keys:     name.
 * Evidence: exists; when it does: gid; members: the names the group's line lists, then the
 *           users whose primary group it is. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "etc.h"
#include "probe.h"

static int tell_listed(struct es_probe *p, const char *name, size_t *left,
                       struct es_err *err)
{
    struct es_buf buf;
    char *f[ES_ETC_FIELDS_MAX];
    size_t n;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(p->root, "/etc/group", &buf, err);
    for (char *text = buf.data; rc == 0 && es_etc_next(&text, f, &n);) {
        if (n < 4 || strcmp(f[0], name) != 0)
            continue;
        for (char *rest = f[3], *member; (member = strsep(&rest, ",")) != NULL;)
            if (*member != '\0')
                es_probe_add_text(p, "members", member, left);
        break;
    }
    es_buf_finish(&buf);
    return rc;
}

static int tell_primary(struct es_probe *p, gid_t gid, size_t *left, struct es_err *err)
{
    struct es_buf buf;
    char *f[ES_ETC_FIELDS_MAX];
    size_t n;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    int rc = es_etc_read(p->root, "/etc/passwd", &buf, err);
    for (char *text = buf.data; rc == 0 && es_etc_next(&text, f, &n);) {
        int64_t this;
        if (n >= 4 && es_str_int(f[3], 0, UINT32_MAX, &this) == 0 && this == gid)
            es_probe_add_text(p, "members", f[0], left);
    }
    es_buf_finish(&buf);
    return rc;
}

ES_PROBE_LOOK(group)
{
    const char *name;
    gid_t gid;
    size_t left = ES_PROBE_LIST_MAX;
    int rc = es_probe_arg_text(p, "name", true, &name, err);
    if (rc != 0)
        return rc;
    rc = es_etc_group_by_name(p->root, name, &gid, err);
    if (rc != 0 && rc != ES_ENOENT)
        return rc;
    es_probe_set_bool(p, "exists", rc == 0);
    if (rc != 0)
        return 0;
    es_probe_set_int(p, "gid", gid);
    es_probe_set(p, "members", json_array());
    rc = tell_listed(p, name, &left, err);
    return rc != 0 ? rc : tell_primary(p, gid, &left, err);
}
