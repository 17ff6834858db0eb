/* password: what /etc/shadow holds for an account; the core compares it.
 *
 * Keys:     user.
 * Evidence: exists; when it does: hash, the raw field; last_change_day since 1970 (-1 when
 *           not stated); locked as in user. */
#include "etc.h"
#include "probe.h"

ES_PROBE_LOOK(password)
{
    const char *name;
    struct es_etc_shadow shadow;
    int rc = es_probe_arg_text(p, "user", true, &name, err);
    if (rc != 0)
        return rc;
    rc = es_etc_shadow_by_name(p->root, name, &shadow, err);
    if (rc != 0 && rc != ES_ENOENT)
        return rc;
    es_probe_set_bool(p, "exists", rc == 0);
    if (rc != 0)
        return 0;
    es_probe_set_text(p, "hash", shadow.hash);
    es_probe_set_int(p, "last_change_day", shadow.last_change_day);
    es_probe_set_bool(p, "locked", shadow.locked);
    return 0;
}
