/* Files and folders. Links are never followed on the way down. Blocking. [any] */
#ifndef ENSHU_COMMON_TREE_H
#define ENSHU_COMMON_TREE_H

#include <fcntl.h> /* AT_FDCWD */
#include <stdbool.h>
#include <sys/types.h>

#include "enshu/common/err.h"

/* Removes a file, or a folder with all that is in it; nothing there is success. `parent`
 * as in unlinkat. What cannot be removed does not keep the rest; the first is told. */
int es_tree_remove(int parent, const char *name, struct es_err *err);
/* Makes a folder and those above it, as far as they are missing. */
int es_tree_make(const char *path, mode_t mode, struct es_err *err);
/* Writes a file, whole or not at all: beside it first. The mode is exact. */
int es_tree_write(const char *path, const void *data, size_t len, mode_t mode,
                  struct es_err *err);
/* All of it to a descriptor; false with errno. */
bool es_write_all(int fd, const void *data, size_t len);

#endif
