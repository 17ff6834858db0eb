/* A stand-in for the room range behind the control socket: the whole method table, every
 * call handed to one function of the test. */
#ifndef TESTS_SUPPORT_FAKE_RANGE_H
#define TESTS_SUPPORT_FAKE_RANGE_H

#include "enshu/control.h"

struct fake_range {
    void (*on_call)(struct fake_range *fake, const char *method, const json_t *params,
                    struct es_reply *reply);
    void *ctx;
    int calls;
    char last_method[32];
};
extern const struct es_method fake_range_methods[];

/* The core as the table's functions expect it. */
struct es_range_core *fake_range_core(struct fake_range *fake);

#endif
