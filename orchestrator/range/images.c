/* Which images and moulds a range's machines are made from, in RANGE/images.json: a core
 * that comes after can then reset a machine without looking for images, and knows which
 * moulds must stay. */
#include <dirent.h>
#include <string.h>

#include "inner.h"

static int file_of(const struct range *r, char *dst, size_t size)
{
    return es_str_printf(dst, size, "%s/images.json", r->dir);
}

static const char *const mode_names[] = {"auto", "boot", "fork"};

int mode_read(const char *name, enum mode *ret_mode)
{
    for (size_t i = 0; name != NULL && i < ES_COUNT(mode_names); i++)
        if (es_str_eq(name, mode_names[i])) {
            *ret_mode = (enum mode)i;
            return 0;
        }
    return name == NULL ? 0 : ES_EINVAL;
}

static void add_key(json_t *keys, const char *key)
{
    size_t i;
    const json_t *known;
    json_array_foreach (keys, i, known)
        if (es_str_eq(json_string_value(known), key))
            return;
    if (*key != '\0')
        json_array_append_new(keys, json_string(key));
}

/* Disks stay overlays of what they were made from, whatever `up` finds later. */
static json_t *rests(const struct range *r, const char *path)
{
    json_t *before = json_load_file(path, 0, NULL), *keys = json_array();
    size_t i;
    const json_t *key;
    json_array_foreach (json_object_get(before, "rests"), i, key)
        if (json_is_string(key))
            add_key(keys, json_string_value(key));
    for (size_t n = 0; n < r->scenario->nodes_count; n++)
        add_key(keys, r->mould_hash[n]);
    if (r->no_fork[0] == '\0')
        add_key(keys, r->frozen_key);
    json_decref(before);
    return keys;
}

int images_keep(const struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 16], beside[PATH_BYTES + 32];
    json_t *list = json_array();
    for (size_t n = 0; n < r->scenario->nodes_count; n++) {
        const struct es_image *image = &r->images[n];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", image->name,
                            "digest", image->digest, "kernel", image->kernel, "initrd",
                            image->initrd, "disk", image->disk, "cmdline", image->cmdline,
                            "mould", r->mould_hash[n]));
    }
    int rc = 0;
    bool whole = json_array_size(list) == r->scenario->nodes_count;
    file_of(r, path, sizeof path);
    es_str_printf(beside, sizeof beside, "%s.new", path);
    json_t *json = json_pack("{s:o, s:o, s:s, s:s, s:s, s:s}", "nodes", list, "rests",
                             rests(r, path), "frozen", r->frozen_key, "no_fork",
                             r->no_fork, "mode", mode_names[r->mode], "accel", r->accel);
    if (json == NULL || !whole)
        rc = es_err_nomem(err);
    else if (json_dump_file(json, beside, JSON_INDENT(1)) != 0 ||
             rename(beside, path) != 0)
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disk full?", path);
    json_decref(json);
    return rc;
}

json_t *images_rests(const struct es_range_core *core)
{
    char path[PATH_BYTES + 300];
    json_t *all = json_object();
    es_str_printf(path, sizeof path, "%s/ranges", core->state_dir);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        es_str_printf(path, sizeof path, "%s/ranges/%s/images.json", core->state_dir,
                      entry->d_name);
        json_t *kept = json_load_file(path, 0, NULL);
        json_object_set(all, entry->d_name, json_object_get(kept, "rests"));
        json_decref(kept);
    }
    if (dir != NULL)
        closedir(dir);
    return all;
}

static bool take(const json_t *json, const char *key, char *dst, size_t size)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text != NULL && es_str_printf(dst, size, "%s", text) == 0;
}

/* Without the file, or with one that cannot be read, `up` finds the images again. */
void images_restore(struct range *r)
{
    char path[PATH_BYTES + 16];
    json_t *kept =
        file_of(r, path, sizeof path) == 0 ? json_load_file(path, 0, NULL) : NULL;
    const json_t *list = json_object_get(kept, "nodes");
    if (!take(kept, "frozen", r->frozen_key, sizeof r->frozen_key) ||
        !take(kept, "no_fork", r->no_fork, sizeof r->no_fork) ||
        mode_read(json_string_value(json_object_get(kept, "mode")), &r->mode) != 0)
        es_str_printf(r->no_fork, sizeof r->no_fork, "its moulds are not known");
    take(kept, "accel", r->accel, sizeof r->accel);
    for (size_t n = 0; n < r->scenario->nodes_count; n++) {
        const json_t *json = json_array_get(list, n);
        struct es_image image = {0};
        if (take(json, "name", image.name, sizeof image.name) &&
            take(json, "digest", image.digest, sizeof image.digest) &&
            take(json, "kernel", image.kernel, sizeof image.kernel) &&
            take(json, "initrd", image.initrd, sizeof image.initrd) &&
            take(json, "disk", image.disk, sizeof image.disk) &&
            take(json, "cmdline", image.cmdline, sizeof image.cmdline) &&
            take(json, "mould", r->mould_hash[n], sizeof r->mould_hash[n]))
            r->images[n] = image;
    }
    json_decref(kept);
}
