/* Which images and moulds a range's machines were made from, in RANGE/images.json: a core
 * that comes after can then reset a machine without looking for images. */
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

int images_keep(const struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 16];
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
    json_t *json =
        json_pack("{s:o, s:s, s:s, s:s, s:s}", "nodes", list, "frozen", r->frozen_key,
                  "no_fork", r->no_fork, "mode", mode_names[r->mode], "accel", r->accel);
    if (file_of(r, path, sizeof path) != 0 || json == NULL || !whole)
        rc = es_err_nomem(err);
    else if (json_dump_file(json, path, JSON_INDENT(1)) != 0)
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disk full?", path);
    json_decref(json);
    return rc;
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
