/* The initramfs: busybox, the modules a machine needs to find its disk, /init. One cpio
 * archive, not compressed: unpacking costs more than loading without KVM. */
#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "enshu/common/str.h"
#include "internal.h"

#define MODULES_MAX (8U << 20)
#define FILE_MAX    (64U << 20)

struct cpio {
    struct archive *archive;
    struct build *build;
    struct es_err *err;
    int rc;
};

static void put_entry(struct cpio *c, const char *path, mode_t type, mode_t mode,
                      const void *data, size_t len)
{
    struct archive_entry *entry = c->rc == 0 ? archive_entry_new() : NULL;
    if (c->rc != 0)
        return;
    if (entry == NULL) {
        c->rc = es_err_nomem(c->err);
        return;
    }
    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, mode);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_nlink(entry, 1);
    archive_entry_set_size(entry, (la_int64_t)len);
    if (archive_write_header(c->archive, entry) != ARCHIVE_OK ||
        (len > 0 && archive_write_data(c->archive, data, len) != (la_ssize_t)len))
        c->rc = es_err_set(c->err, ES_EIO, "cannot write the initramfs: %s",
                           archive_error_string(c->archive));
    archive_entry_free(entry);
}

static void put_file(struct cpio *c, const char *path, mode_t mode, const char *from)
{
    struct es_buf data;
    if (c->rc != 0)
        return;
    es_buf_init(&data, FILE_MAX);
    c->rc =
        from == NULL ? es_err_nomem(c->err) : read_text(from, FILE_MAX, &data, c->err);
    put_entry(c, path, AE_IFREG, mode, data.data, data.len);
    es_buf_finish(&data);
}

/* "kernel/drivers/block/virtio_blk.ko" is virtio_blk, whatever the dashes. */
static bool is_module(const char *path, size_t len, const char *name)
{
    const char *base = path;
    for (size_t i = 0; i < len; i++)
        if (path[i] == '/')
            base = path + i + 1;
    size_t n = strlen(name), left = len - (size_t)(base - path);
    if (left < n + 3 || memcmp(base + n, ".ko", 3) != 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((base[i] == '-' ? '_' : base[i]) != (name[i] == '-' ? '_' : name[i]))
            return false;
    return true;
}

static bool listed(const struct strings *list, const char *path, size_t len)
{
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->items[i]) == len && memcmp(list->items[i], path, len) == 0)
            return true;
    return false;
}

/* A line of modules.dep names all a module needs, the deepest last. */
static int add_line(struct build *b, const char *line, struct strings *order)
{
    size_t own = strcspn(line, ":"), end = strcspn(line, "\n");
    for (size_t stop = end; stop > own + 1;) {
        size_t start = stop;
        while (line[start - 1] != ' ')
            start--;
        if (stop > start && !listed(order, line + start, stop - start) &&
            strings_push(&b->arena, order,
                         es_arena_strndup(&b->arena, line + start, stop - start)) != 0)
            return ES_ENOMEM;
        stop = start - 1;
    }
    if (listed(order, line, own))
        return 0;
    return strings_push(&b->arena, order, es_arena_strndup(&b->arena, line, own));
}

static int find_module(struct build *b, const char *dep, const char *builtin,
                       const char *name, struct strings *order, struct es_err *err)
{
    for (const char *line = dep; *line != '\0';) {
        if (is_module(line, strcspn(line, ":"), name))
            return add_line(b, line, order) == 0 ? 0 : es_err_nomem(err);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    for (const char *line = builtin; *line != '\0';) {
        if (is_module(line, strcspn(line, "\n"), name))
            return 0;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return es_err_set(err, ES_ENOENT,
                      "the kernel %s has no module %s; take it out of the recipe's "
                      "modules",
                      b->kernel_version, name);
}

static int order_modules(struct build *b, struct strings *order, struct es_err *err)
{
    struct es_buf dep, builtin;
    es_buf_init(&dep, MODULES_MAX);
    es_buf_init(&builtin, MODULES_MAX);
    const char *folder = work_path(b, "kernel/lib/modules/%s", b->kernel_version);
    const char *dep_path = es_arena_printf(&b->arena, "%s/modules.dep", folder);
    const char *builtin_path = es_arena_printf(&b->arena, "%s/modules.builtin", folder);
    int rc = dep_path == NULL || builtin_path == NULL ? es_err_nomem(err) : 0;
    if (rc == 0)
        rc = read_text(dep_path, MODULES_MAX, &dep, err);
    if (rc == 0)
        rc = read_text(builtin_path, MODULES_MAX, &builtin, err);
    for (size_t i = 0; rc == 0 && i < b->recipe.load.count; i++)
        rc = find_module(b, es_buf_str(&dep), es_buf_str(&builtin),
                         b->recipe.load.items[i], order, err);
    es_buf_finish(&dep);
    es_buf_finish(&builtin);
    return rc;
}

static void put_modules(struct cpio *c, const struct strings *order)
{
    struct es_buf names;
    es_buf_init(&names, 65536);
    for (size_t i = 0; i < order->count; i++) {
        char inside[32];
        snprintf(inside, sizeof inside, "lib/%zu.ko", i);
        es_buf_printf(&names, "/%s\n", inside);
        put_file(c, inside, 0644,
                 work_path(c->build, "kernel/lib/modules/%s/%s", c->build->kernel_version,
                           order->items[i]));
    }
    put_entry(c, "modules", AE_IFREG, 0644, names.data, names.len);
    es_buf_finish(&names);
}

static void put_all(struct cpio *c, const struct strings *order)
{
    static const char *const folders[] = {"bin", "dev", "lib", "proc", "root", "sys"};
    for (size_t i = 0; i < ES_COUNT(folders); i++)
        put_entry(c, folders[i], AE_IFDIR, 0755, NULL, 0);
    put_file(c, "init", 0755,
             es_arena_printf(&c->build->arena, "%s/common/init",
                             c->build->config->recipes_dir));
    put_file(c, "bin/busybox", 0755, work_path(c->build, "busybox/bin/busybox"));
    put_modules(c, order);
}

int initrd_write(struct build *b, struct es_err *err)
{
    struct strings order = {0};
    int rc = order_modules(b, &order, err);
    if (rc != 0)
        return rc;
    const char *path = es_arena_printf(&b->arena, "%s/initrd", b->result);
    struct cpio c = {archive_write_new(), b, err, 0};
    if (c.archive == NULL || path == NULL)
        c.rc = es_err_nomem(err);
    else if (archive_write_set_format_cpio_newc(c.archive) != ARCHIVE_OK ||
             archive_write_open_filename(c.archive, path) != ARCHIVE_OK)
        c.rc = es_err_set(err, ES_EIO, "cannot write %s: %s", path,
                          archive_error_string(c.archive));
    if (c.rc == 0)
        put_all(&c, &order);
    if (c.rc == 0 && archive_write_close(c.archive) != ARCHIVE_OK)
        c.rc = es_err_set(err, ES_EIO, "cannot write %s: %s", path,
                          archive_error_string(c.archive));
    if (c.archive != NULL)
        archive_write_free(c.archive);
    return c.rc;
}
