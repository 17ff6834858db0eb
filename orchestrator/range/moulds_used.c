/* Who stands on a mould: as long as a disk is an overlay of it, it may neither go nor be made
 * anew in its place. What nobody can ever stand on is swept away. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "moulds.h"

bool moulds_is_key(const char *name)
{
    return strspn(name, "0123456789abcdef") >= MOULD_KEY_MAX - 1;
}

/* It comes up, and will stand on it. */
static bool is_to_use(const struct range *r, const char *key)
{
    if (es_str_eq(r->frozen_key, key) && r->no_fork[0] == '\0')
        return true;
    for (size_t n = 0; n < r->scenario->nodes_count; n++)
        if (es_str_eq(r->mould_hash[n], key))
            return true;
    return false;
}

static bool stands_on(const json_t *keys, const char *key)
{
    size_t i;
    const json_t *one;
    json_array_foreach (keys, i, one)
        if (es_str_eq(json_string_value(one), key))
            return true;
    return false;
}

json_t *moulds_users(const struct es_range_core *core, json_t *rests, const json_t *list,
                     const char *key)
{
    json_t *users = json_array(), *keys;
    const char *name;
    size_t i, k;
    const json_t *other, *machine;
    json_object_foreach (rests, name, keys)
        if (stands_on(keys, key))
            json_array_append_new(users, json_string(name));
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        const struct range *r = ES_CONTAINER(pos, struct range, link);
        if (is_to_use(r, key) && !stands_on(json_object_get(rests, r->name), key))
            json_array_append_new(users, json_string(r->name));
    }
    json_array_foreach (list, i, other) {
        bool overlay = false;
        json_array_foreach (json_object_get(other, "machines"), k, machine)
            overlay |=
                es_str_eq(json_string_value(json_object_get(machine, "setup")), key);
        if (overlay)
            json_array_append(users, json_object_get(other, "key"));
    }
    return users;
}

bool moulds_used(const struct es_range_core *core, const char *key,
                 char ret_range[ES_NAME_MAX + 1])
{
    json_t *rests = images_rests(core), *keys;
    const char *name;
    bool used = false;
    json_object_foreach (rests, name, keys)
        if (!used && stands_on(keys, key))
            used = es_str_printf(ret_range, ES_NAME_MAX + 1, "%s", name) == 0;
    json_decref(rests);
    return used;
}

/* ---------------------------------------------------------------- leftovers */

static bool is_being_made(const struct es_range_core *core, const char *key)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        const struct range *r = ES_CONTAINER(pos, struct range, link);
        if (r->freeze != NULL && es_str_eq(r->frozen_key, key))
            return true;
    }
    return false;
}

/* Frozen moulds without their record, disks without the file beside them. */
static bool is_leftover(const struct es_range_core *core, int dir, const char *name)
{
    char whole[MOULD_KEY_MAX + 16];
    const char *rest = name + (MOULD_KEY_MAX - 1);
    if (!moulds_is_key(name))
        return false;
    if (*rest == '\0')
        es_str_printf(whole, sizeof whole, "%s/mould.json", name);
    else if (es_str_eq(rest, ".qcow2"))
        es_str_printf(whole, sizeof whole, "%.40s.json", name);
    else
        return false;
    return faccessat(dir, whole, F_OK, 0) != 0 && errno == ENOENT &&
           !is_being_made(core, name);
}

void moulds_sweep(const struct es_range_core *core)
{
    char path[PATH_BYTES + 16];
    es_str_printf(path, sizeof path, "%s/moulds", core->state_dir);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct es_err err = {0};
        if (is_leftover(core, dirfd(dir), entry->d_name) &&
            es_tree_remove(dirfd(dir), entry->d_name, &err) != 0)
            es_log_warn("half a mould stays: %s", err.msg);
    }
    if (dir != NULL)
        closedir(dir);
}
