/* user: an account in /etc/passwd.
 *
 * Keys:     name.
 * Evidence: exists; when it does: uid, gid, home, shell; locked: no password fits (the hash
 *           begins with ! or *) or the account has expired; groups, names, the primary one
 *           first. */
#include <string.h>

#include "etc.h"
#include "probe.h"

static void tell_groups(struct es_probe *p, const struct es_etc_user *user)
{
    gid_t groups[64];
    size_t count = 0, left = ES_PROBE_LIST_MAX;
    if (es_etc_user_groups(p->root, user->name, user->gid, groups, 64, &count) != 0)
        p->nomem = true;
    es_probe_set(p, "groups", json_array());
    for (size_t i = 0; i < count; i++) {
        char name[64];
        p->nomem |= es_etc_group_name(p->root, groups[i], name, sizeof name) != 0;
        if (*name != '\0')
            es_probe_add_text(p, "groups", name, &left);
    }
}

ES_PROBE_LOOK(user)
{
    const char *name;
    struct es_etc_user user;
    struct es_etc_shadow shadow;
    int rc = es_probe_arg_text(p, "name", true, &name, err);
    if (rc != 0)
        return rc;
    rc = es_etc_user_by_name(p->root, name, &user, err);
    if (rc != 0 && rc != ES_ENOENT)
        return rc;
    es_probe_set_bool(p, "exists", rc == 0);
    if (rc != 0)
        return 0;
    rc = es_etc_shadow_by_name(p->root, name, &shadow, err);
    if (rc != 0 && rc != ES_ENOENT)
        return rc;
    es_probe_set_int(p, "uid", user.uid);
    es_probe_set_int(p, "gid", user.gid);
    es_probe_set_text(p, "home", user.home);
    es_probe_set_text(p, "shell", user.shell);
    es_probe_set_bool(p, "locked", rc == 0 && shadow.locked);
    tell_groups(p, &user);
    return 0;
}
