/* What a mould's name is made of. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inner.h"
#include "moulds.h"

#define SPARSE_BLOCK 65536

void sum_text(crypto_generichash_state *state, const char *text)
{
    static const char none[] = "";
    const char *t = text != NULL ? text : none;
    crypto_generichash_update(state, (const unsigned char *)t, strlen(t) + 1);
}

void sum_number(crypto_generichash_state *state, int64_t v)
{
    char text[24];
    es_str_printf(text, sizeof text, "%lld", (long long)v);
    sum_text(state, text);
}

int sum_file(crypto_generichash_state *state, const char *path, struct es_err *err)
{
    unsigned char block[16384];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && (n = read(fd, block, sizeof block)) > 0)
        crypto_generichash_update(state, block, (size_t)n);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    return n == 0 ? 0
                  : es_err_set(err, ES_EIO, "cannot read %s: %s", path, strerror(saved));
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int tree(crypto_generichash_state *state, const char *path, int depth,
                struct es_err *err)
{
    struct stat st;
    struct dirent **names = NULL;
    char below[PATH_BYTES];
    if (stat(path, &st) != 0 || depth > 16)
        return es_err_set(err, ES_ENOENT, "the asset %s is not there", path);
    if (!S_ISDIR(st.st_mode)) {
        sum_number(state, st.st_mode & 0111);
        return sum_file(state, path, err);
    }
    int rc = 0, count = scandir(path, &names, NULL, compare_names);
    for (int i = 0; i < count; i++) {
        const char *name = names[i]->d_name;
        if (rc == 0 && !es_str_eq(name, ".") && !es_str_eq(name, "..")) {
            sum_text(state, name);
            rc = es_str_printf(below, sizeof below, "%s/%s", path, name);
            if (rc == 0)
                rc = tree(state, below, depth + 1, err);
            else
                es_err_set(err, rc, "a path below %s is too long", path);
        }
        free(names[i]); /* from scandir */
    }
    free(names); /* from scandir */
    return rc;
}

int sum_tree(crypto_generichash_state *state, const char *path, struct es_err *err)
{
    return tree(state, path, 0, err);
}

/* What is not zero, and where: a file with holes has the digest of one without. */
int sum_sparse(const char *path, char ret_hex[65], struct es_err *err)
{
    static const unsigned char zero[SPARSE_BLOCK];
    unsigned char digest[32], *block = es_alloc(SPARSE_BLOCK);
    crypto_generichash_state state;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t at = fd >= 0 ? lseek(fd, 0, SEEK_DATA) : -1;
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    if (at < 0 && errno != ENXIO)
        n = -1;
    while (block != NULL && at >= 0) {
        at -= at % SPARSE_BLOCK;
        memset(block, 0, SPARSE_BLOCK);
        n = pread(fd, block, SPARSE_BLOCK, at);
        if (n <= 0)
            break;
        if (memcmp(block, zero, SPARSE_BLOCK) != 0) {
            sum_number(&state, at);
            crypto_generichash_update(&state, block, SPARSE_BLOCK);
        }
        at = lseek(fd, at + SPARSE_BLOCK, SEEK_DATA);
    }
    if (fd >= 0) {
        sum_number(&state, lseek(fd, 0, SEEK_END));
        close(fd);
    }
    bool out_of_memory = block == NULL;
    es_free(block);
    if (out_of_memory)
        return es_err_nomem(err);
    if (n < 0)
        return es_err_set(err, ES_EIO, "cannot read %s: %s", path, strerror(errno));
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(ret_hex, 65, digest, sizeof digest);
    return 0;
}
