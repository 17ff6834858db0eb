/* Corpus files to an entry point. */
#include "corpus.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int not_hidden(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void replay(const char *path, int (*entry)(const uint8_t *data, size_t size))
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    ck_assert_int_ge(size, 0);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(fread(data, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    entry(data, (size_t)size);
    free(data);
}

int corpus_replay(const char *name, int (*entry)(const uint8_t *data, size_t size))
{
    char dir[1024], path[2048];
    struct dirent **names = NULL;
    const char *top = getenv("ENSHU_TOP");
    snprintf(dir, sizeof dir, "%s/tests/fuzz/corpus/%s", top != NULL ? top : ".", name);
    int count = scandir(dir, &names, not_hidden, alphasort);
    ck_assert_msg(count >= 0, "cannot read %s", dir);
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]->d_name);
        replay(path, entry);
        free(names[i]);
    }
    free(names);
    return count;
}
