/* The root disk: ext4 made from a folder without mounting anything, then qcow2. The same
 * tree gives the same disk: fixed UUID, hash seed and time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

#define JOURNAL_FROM (512LL << 20)

int disk_make(struct build *b, struct es_err *err)
{
    char size[32];
    const char *features =
        b->recipe.disk_bytes >= JOURNAL_FROM ? "has_journal" : "^has_journal";
    snprintf(size, sizeof size, "%lldk", (long long)(b->recipe.disk_bytes / 1024));
    const char *to = es_arena_printf(&b->arena, "%s/root.qcow2", b->result);
    if (to == NULL)
        return es_err_nomem(err);
    tool_say(b, "writing the root disk");
    const char *const ext4[] = {
        "env",
        "E2FSPROGS_FAKE_TIME=1700000000",
        "/sbin/mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        "enshu-root",
        "-U",
        "e5a5ae10-0000-4000-8000-000000000001",
        "-m",
        "0",
        "-i",
        "32768",
        "-I",
        "256",
        "-O",
        features,
        "-E",
        "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,hash_seed="
        "e5a5ae10-0000-4000-8000-000000000002",
        "-d",
        "tree",
        "root.raw",
        size,
        NULL};
    int rc = tool_run(b, &(struct tool){ext4, "e2fsprogs", true, NULL, NULL}, err);
    if (rc != 0)
        return es_err_prefix(err, "the root disk of %s (is `disk: %s` too small?)",
                             b->recipe.name, size);
    const char *const qcow2[] = {"qemu-img", "convert",  "-f", "raw", "-O",
                                 "qcow2",    "root.raw", to,   NULL};
    return tool_run(b, &(struct tool){qcow2, "qemu-utils", false, NULL, NULL}, err);
}

/* ------------------------------------------------------------------ copies */

/* Nobody else reads what a guest will write. */
static int close_and_flush(const char *path, struct es_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd >= 0 && fchmod(fd, 0600) == 0 && fsync(fd) == 0
                 ? 0
                 : es_err_set(err, ES_EIO, "cannot flush %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return rc;
}

int es_image_copy(const char *from, const char *to, int64_t size_bytes,
                  struct es_err *err)
{
    struct es_image_config config = {0};
    struct build b = {.config = &config};
    char beside[ES_IMAGE_PATH_MAX], size[32];
    if (es_str_printf(beside, sizeof beside, "%s.new", to) != 0)
        return es_err_set(err, ES_ELIMIT, "the path %s is too long", to);
    snprintf(size, sizeof size, "%lld", (long long)size_bytes);
    const char *const convert[] = {"qemu-img", "convert", "-f",   "qcow2", "-O",
                                   "qcow2",    from,      beside, NULL};
    const char *const resize[] = {"qemu-img", "resize", "-q", "-f",
                                  "qcow2",    beside,   size, NULL};
    int rc = tool_run(&b, &(struct tool){convert, "qemu-utils", false, NULL, "/"}, err);
    if (rc == 0 && size_bytes > 0)
        rc = tool_run(&b, &(struct tool){resize, "qemu-utils", false, NULL, "/"}, err);
    if (rc == 0)
        rc = close_and_flush(beside, err);
    if (rc == 0 && rename(beside, to) != 0)
        rc = es_err_set(err, ES_EIO, "cannot make %s: %s", to, strerror(errno));
    if (rc != 0)
        unlink(beside);
    return rc;
}
