/* Inside the image room: a build and the steps it is made of.
 *
 * A build collects everything in a work folder (TMPDIR or /var/tmp, named after the
 * request, so that the next builder removes what a killed one left) and moves the finished
 * files into the cache. Root file systems are put together by a child in a user namespace
 * of its own: ids inside are right, and nobody is root outside. */
#ifndef ORCHESTRATOR_IMAGE_INTERNAL_H
#define ORCHESTRATOR_IMAGE_INTERNAL_H

#include "enshu/common/buf.h"
#include "enshu/common/mem.h"
#include "enshu/common/tree.h"
#include "enshu/idmap.h"
#include "enshu/image.h"

#define BUILDER        "enshu-image-2" /* part of every digest: change it with the result */
#define DIGEST_BYTES   32
#define DIGEST_HEX     64
#define PACKAGES_MAX   256
#define WORK_PATH_ROOM 512

struct strings {
    const char **items;
    size_t count;
};

enum base { BASE_BUSYBOX, BASE_DEBIAN };

struct recipe {
    const char *name;
    const char *dir;
    const char *like; /* another recipe whose root files come first; NULL */
    enum base base;
    const char *suite, *variant, *kernel, *cmdline;
    int64_t disk_bytes;
    struct strings packages, load, keep, remove, mask, run;
};

struct build {
    const struct es_image_config *config;
    struct es_arena arena;
    struct recipe recipe;
    char request[DIGEST_HEX + 1]; /* of what was asked for */
    struct es_idmap map;
    const char *work;   /* the work folder */
    const char *result; /* kernel, initrd, root.qcow2, manifest, before the rename */
    const char *apt;    /* options file of the private package lists */
    const char *kernel_version;
    struct strings versions; /* "package version", sorted: what went in */
};

/* recipe.c */
bool recipe_name_ok(const char *name);
int recipe_load(struct es_arena *arena, const char *recipes_dir, const char *name,
                struct recipe *ret_recipe, struct es_err *err);
int strings_push(struct es_arena *arena, struct strings *list, const char *text);
void strings_sort(struct strings *list); /* and drops repeats */

/* digest.c */
struct digest; /* a running hash */
int digest_file(const char *path, char ret_hex[DIGEST_HEX + 1], struct es_err *err);
/* Hash of the request: builder, recipe's files, common files, packages. */
int digest_request(struct build *b, struct es_err *err);
/* Hash of the request and the versions that were found. */
int digest_result(const struct build *b, char ret_hex[DIGEST_HEX + 1]);

/* tool.c */
struct tool {
    const char *const *argv;
    const char *package;   /* what to install when it is missing */
    bool mapped;           /* in a user namespace, as its root */
    struct es_buf *output; /* takes standard output instead of the log; may be NULL */
    const char *cwd;       /* NULL: the work folder */
};
int tool_run(const struct build *b, const struct tool *tool, struct es_err *err);
void tool_say(const struct build *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool build_cancelled(const struct build *b);

/* files.c */
/* path of `fmt` in the build's arena; NULL when memory is out. */
const char *work_path(struct build *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int read_text(const char *path, size_t max_bytes, struct es_buf *ret_text,
              struct es_err *err);
/* Files below `dir`, relative, sorted; symlinks are not followed. */
int list_tree(struct es_arena *arena, const char *dir, struct strings *ret_files,
              struct es_err *err);

/* apt.c */
int apt_prepare(struct build *b, struct es_err *err);
/* Downloads packages with their dependencies; gives the paths of the files. */
int apt_closure(struct build *b, const struct strings *packages, struct strings *ret_debs,
                struct es_err *err);
int apt_kernel(struct build *b, const char **ret_deb, struct es_err *err);

/* kernel.c, initrd.c, tree.c, disk.c: one artefact each */
int kernel_unpack(struct build *b, struct es_err *err);
/* vmlinux.c: the ELF file of a bzImage, if it can be booted by its PVH entry. */
bool vmlinux_extract(const char *image_path, const char *to);
int initrd_write(struct build *b, struct es_err *err);
int tree_make(struct build *b, struct es_err *err);
int disk_make(struct build *b, struct es_err *err);

/* cache.c */
int cache_lock(const struct es_image_config *config, const char *name, int *ret_fd,
               struct es_err *err);
/* Reads a manifest of the cache into an image; ES_ENOENT when it is not there. */
int cache_load(const struct es_image_config *config, const char *name, const char *digest,
               struct es_image *ret_image, struct es_err *err);
int cache_find(const struct es_image_config *config, const char *name,
               const char *request, struct es_image *ret_image, struct es_err *err);
int cache_publish(struct build *b, struct es_image *ret_image, struct es_err *err);

#endif
