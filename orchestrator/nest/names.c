/* libvirtd wants to know the user and group "libvirt-qemu" it was built for, even when its
 * configuration names others, and does not start without. Where the host has none (they
 * come with the package of the system's own libvirt), the names are added to copies of
 * /etc/passwd and /etc/group that only the nest's mount namespace shows. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "enshu/common/buf.h"
#include "enshu/common/str.h"
#include "nest.h"

#define NAME          "libvirt-qemu"
#define ETC_BYTES_MAX (4U << 20)

static int read_all(const char *path, struct es_buf *out, bool *ret_known,
                    struct es_err *err)
{
    char line[4096];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return es_err_set(err, ES_EIO, "cannot read %s: %s", path, strerror(errno));
    *ret_known = false;
    while (fgets(line, sizeof line, file) != NULL) {
        *ret_known |= es_str_starts(line, NAME ":");
        es_buf_puts(out, line);
    }
    fclose(file);
    return es_buf_status(out) == 0 ? 0
                                   : es_err_set(err, ES_ELIMIT, "%s is too large", path);
}

static int add_name(const struct nest *nest, const char *path, const char *copy,
                    const char *line, struct es_err *err)
{
    char own[256];
    struct es_buf text;
    bool known = false;
    es_buf_init(&text, ETC_BYTES_MAX);
    int rc = read_all(path, &text, &known, err);
    if (rc == 0 && !known) {
        if (text.len > 0 && text.data[text.len - 1] != '\n')
            es_buf_putc(&text, '\n');
        es_buf_puts(&text, line);
        rc = es_buf_status(&text) == 0
                 ? es_tree_write(nest_path(nest, copy, own), es_buf_str(&text), text.len,
                                 0644, err)
                 : es_err_nomem(err);
        if (rc == 0 && mount(own, path, NULL, MS_BIND, NULL) != 0)
            rc = es_err_set(err, ES_EIO, "cannot bind %s to %s: %s", own, path,
                            strerror(errno));
    }
    es_buf_finish(&text);
    return rc;
}

int names_add(const struct nest *nest, struct es_err *err)
{
    char user[128], group[64];
    int rc = es_str_printf(user, sizeof user,
                           NAME ":x:%u:%u::/nonexistent:/usr/sbin/nologin\n",
                           (unsigned)nest->qemu_uid, (unsigned)nest->qemu_gid);
    rc |= es_str_printf(group, sizeof group, NAME ":x:%u:\n", (unsigned)nest->qemu_gid);
    ES_ASSERT(rc == 0);
    rc = add_name(nest, "/etc/passwd", "v/passwd", user, err);
    return rc == 0 ? add_name(nest, "/etc/group", "v/group", group, err) : rc;
}
