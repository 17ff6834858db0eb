/* Runs a line of the shell for a test. */
#ifndef TESTS_SUPPORT_SHELL_H
#define TESTS_SUPPORT_SHELL_H

#include <stddef.h>

/* Its exit code, -1 when a signal ended it; what it printed on standard output in `out`
 * (cut at size - 1; the rest is read and dropped). */
int shell_run(char *out, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
