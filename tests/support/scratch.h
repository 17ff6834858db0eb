/* A folder of its own for one test's small files: below TMPDIR, else in memory. */
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

/* Makes it; call once per test. */
void scratch_make(void);
/* The path of `name` in it; the last eight stay valid. */
const char *scratch_path(const char *name);
/* Removes it with all that is in it. */
void scratch_remove(void);

#endif
