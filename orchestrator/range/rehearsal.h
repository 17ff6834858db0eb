/* What a rehearsal hands to its certificate. */
#ifndef RANGE_REHEARSAL_H
#define RANGE_REHEARSAL_H

#include "inner.h"

struct seen {
    int64_t pass_ex_ms, fail_ex_ms; /* -1 */
    int64_t need_ms;                /* real time in which it can come about */
    bool waits;                     /* for a moment: nothing is expected at the start */
    bool named;                     /* as a problem: not waited for again */
};

/* What was proved and how, as JSON (gives); NULL when memory is out. Shares problems and
 * timings. */
json_t *certificate_make(const struct range *range, const struct seen *seen,
                         json_t *problems, json_t *timings, int64_t took_ms);
/* Into the state folder; *path is where it lies, "" when it could not be written. */
void certificate_write(const struct es_range_core *core,
                       const struct es_scenario *scenario, const json_t *certificate,
                       char *path, size_t size);

#endif
