/* Small things about files that several ops need. */
#ifndef ENSHU_AGENT_FILES_H
#define ENSHU_AGENT_FILES_H

#include <sys/types.h>

#include "enshu/common/err.h"

/* Makes the directories above a path that are missing. */
int es_files_make_parents(const char *path, mode_t mode, struct es_err *err);
/* "0644" */
int es_files_mode(const char *text, mode_t *ret_mode, struct es_err *err);

#endif
