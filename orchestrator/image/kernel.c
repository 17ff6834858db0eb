/* The kernel and its modules, unpacked from the package and never installed. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

static int find_version(struct build *b, const char *boot, struct es_err *err)
{
    DIR *dir = opendir(boot);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (es_str_starts(entry->d_name, "vmlinuz-"))
            b->kernel_version = es_arena_strdup(&b->arena, entry->d_name + 8);
    if (dir != NULL)
        closedir(dir);
    return b->kernel_version != NULL
               ? 0
               : es_err_set(err, ES_ENOENT,
                            "the package %s holds no /boot/vmlinuz-…; name a kernel's "
                            "package in the recipe",
                            b->recipe.kernel);
}

int kernel_unpack(struct build *b, struct es_err *err)
{
    const char *deb = NULL;
    int rc = apt_kernel(b, &deb, err);
    if (rc != 0)
        return rc;
    const char *const unpack[] = {"dpkg-deb", "-x", deb, "kernel", NULL};
    rc = tool_run(b, &(struct tool){unpack, "dpkg", false, NULL, NULL}, err);
    const char *boot = work_path(b, "kernel/boot");
    if (rc == 0)
        rc = boot == NULL ? es_err_nomem(err) : find_version(b, boot, err);
    if (rc != 0)
        return rc;
    const char *const depmod[] = {"/sbin/depmod", "-b", "kernel", b->kernel_version,
                                  NULL};
    rc = tool_run(b, &(struct tool){depmod, "kmod", false, NULL, NULL}, err);
    if (rc != 0)
        return rc;
    const char *from = work_path(b, "kernel/boot/vmlinuz-%s", b->kernel_version);
    const char *to = es_arena_printf(&b->arena, "%s/kernel", b->result);
    if (from == NULL || to == NULL)
        return es_err_nomem(err);
    if (vmlinux_extract(from, to))
        return 0;
    tool_say(b, "the kernel is taken as it is packed: it has no PVH entry");
    const char *const copy[] = {"cp", "--", from, to, NULL};
    return tool_run(b, &(struct tool){copy, "coreutils", false, NULL, NULL}, err);
}
