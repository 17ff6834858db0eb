/* Hashes: of files, of what was asked for, of what went in. Every part is preceded by its
 * length, so no two different inputs look alike. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

static void add_bytes(crypto_generichash_state *state, const void *data, size_t len)
{
    unsigned char size[8];
    for (size_t i = 0; i < sizeof size; i++)
        size[i] = (unsigned char)((uint64_t)len >> (8 * i));
    crypto_generichash_update(state, size, sizeof size);
    crypto_generichash_update(state, data, len);
}

static void add_text(crypto_generichash_state *state, const char *text)
{
    add_bytes(state, text, strlen(text));
}

static void finish(crypto_generichash_state *state, char ret_hex[DIGEST_HEX + 1])
{
    unsigned char hash[DIGEST_BYTES];
    crypto_generichash_final(state, hash, sizeof hash);
    sodium_bin2hex(ret_hex, DIGEST_HEX + 1, hash, sizeof hash);
}

int digest_file(const char *path, char ret_hex[DIGEST_HEX + 1], struct es_err *err)
{
    crypto_generichash_state state;
    unsigned char chunk[65536];
    crypto_generichash_init(&state, NULL, 0, DIGEST_BYTES);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 0;
    while (fd >= 0 && (n = read(fd, chunk, sizeof chunk)) > 0)
        crypto_generichash_update(&state, chunk, (unsigned long long)n);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return es_err_set(err, ES_EIO, "cannot read %s: %s", path, strerror(saved));
    finish(&state, ret_hex);
    return 0;
}

/* A folder's files: names, modes, contents or link targets. */
static int add_folder(struct build *b, crypto_generichash_state *state, const char *dir,
                      struct es_err *err)
{
    struct strings files = {0};
    int rc = list_tree(&b->arena, dir, &files, err);
    for (size_t i = 0; rc == 0 && i < files.count; i++) {
        char hex[DIGEST_HEX + 1], link[PATH_MAX];
        struct stat st;
        const char *path = es_arena_printf(&b->arena, "%s/%s", dir, files.items[i]);
        if (path == NULL)
            return es_err_nomem(err);
        if (lstat(path, &st) != 0)
            return es_err_set(err, ES_EIO, "cannot look at %s: %s", path,
                              strerror(errno));
        add_text(state, files.items[i]);
        add_text(state, S_ISLNK(st.st_mode)        ? "link"
                        : (st.st_mode & 0111) != 0 ? "program"
                                                   : "file");
        ssize_t n = S_ISLNK(st.st_mode) ? readlink(path, link, sizeof link) : 0;
        if (S_ISLNK(st.st_mode))
            add_bytes(state, link, n > 0 ? (size_t)n : 0);
        else if ((rc = digest_file(path, hex, err)) == 0)
            add_text(state, hex);
    }
    return rc;
}

int digest_request(struct build *b, struct es_err *err)
{
    crypto_generichash_state state;
    const struct recipe *r = &b->recipe;
    if (sodium_init() < 0)
        return es_err_set(err, ES_EINTERNAL, "libsodium does not start");
    crypto_generichash_init(&state, NULL, 0, DIGEST_BYTES);
    add_text(&state, BUILDER);
    add_text(&state, r->name);
    const char *common = es_arena_printf(&b->arena, "%s/common", b->config->recipes_dir);
    const char *like = es_arena_printf(&b->arena, "%s/%s/rootfs", b->config->recipes_dir,
                                       r->like != NULL ? r->like : "");
    if (common == NULL || like == NULL)
        return es_err_nomem(err);
    int rc = add_folder(b, &state, common, err);
    if (rc == 0 && r->like != NULL)
        rc = add_folder(b, &state, like, err);
    if (rc == 0)
        rc = add_folder(b, &state, r->dir, err);
    for (size_t i = 0; rc == 0 && i < r->packages.count; i++)
        add_text(&state, r->packages.items[i]);
    if (rc == 0)
        finish(&state, b->request);
    return rc;
}

int digest_result(const struct build *b, char ret_hex[DIGEST_HEX + 1])
{
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, DIGEST_BYTES);
    add_text(&state, b->request);
    for (size_t i = 0; i < b->versions.count; i++)
        add_text(&state, b->versions.items[i]);
    finish(&state, ret_hex);
    return 0;
}
