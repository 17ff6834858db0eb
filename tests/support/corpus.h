/* Replays a fuzz corpus, tests/fuzz/corpus/NAME/, in the ordinary tests. */
#ifndef TESTS_SUPPORT_CORPUS_H
#define TESTS_SUPPORT_CORPUS_H

#include <stddef.h>
#include <stdint.h>

/* Calls `entry` with each file's bytes, in the order of their names; each is a buffer of
 * its own, so that a sanitizer sees a read past its end. The number of files. */
int corpus_replay(const char *name, int (*entry)(const uint8_t *data, size_t size));

#endif
