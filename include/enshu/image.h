/* Images from recipes, and seed discs. An image is a kernel, an initramfs, a root disk
 * (qcow2) and a manifest, made from scenarios/images/RECIPE/recipe.yaml and cached under a
 * hash of all that went in. The only room that includes <archive.h>.
 *
 * Functions block and run external tools: call them on a worker. Two builders of one image
 * wait for each other; a build is complete or not there. [worker] */
#ifndef ENSHU_IMAGE_H
#define ENSHU_IMAGE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/common/err.h"

#define ES_IMAGE_PATH_MAX 4096

struct es_image_config {
    const char *recipes_dir; /* scenarios/images */
    const char *cache_dir;   /* STATE/images */
    /* Progress lines, from the worker's thread; may be NULL. */
    void (*on_line)(void *ctx, const char *line);
    void *ctx;
    const atomic_bool
        *cancel; /* may be NULL: set it to end a build early (ES_ECANCELED) */
};

struct es_image {
    char name[64];   /* recipe */
    char digest[65]; /* of all that went in */
    char kernel[ES_IMAGE_PATH_MAX], initrd[ES_IMAGE_PATH_MAX], disk[ES_IMAGE_PATH_MAX];
    char cmdline[512]; /* for direct kernel boot */
    int64_t bytes;     /* on disc */
    bool cached;       /* es_image_get found it */
};

/* Finds the image, building it when it is not there (or `force`). `packages` are extra
 * Debian packages, sorted by the callee; NULL-terminated, may be NULL. */
int es_image_get(const struct es_image_config *config, const char *recipe,
                 const char *const *packages, bool force, struct es_image *ret_image,
                 struct es_err *err);
/* Array of manifests: [{name, digest, bytes, built, packages}]; gives a reference. */
int es_image_list(const struct es_image_config *config, json_t **ret_list,
                  struct es_err *err);
/* By digest or unique prefix of it. */
int es_image_remove(const struct es_image_config *config, const char *digest,
                    struct es_err *err);

/* Makes `to` a disk of its own, without a backing file, from the qcow2 `from` and all that it
 * rests on; as large as `size_bytes`, or as `from` when that is 0. Whole and flushed, or not
 * there. */
int es_image_copy(const char *from, const char *to, int64_t size_bytes,
                  struct es_err *err);

/* Writes the seed disc (ISO 9660, label CIDATA) with the agent, its start script, and
 * NoCloud meta-data and user-data for stock cloud images; written beside and renamed. */
int es_image_seed(const char *path, const char *agent_path, const char *instance_id,
                  const char *hostname, struct es_err *err);

#endif
