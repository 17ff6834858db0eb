/* The method table over a fake: rows as in tbl/methods.h, one function behind all. */
#include "fake_range.h"

#include <stdio.h>

struct es_range_core *fake_range_core(struct fake_range *fake)
{
    return (struct es_range_core *)(void *)fake;
}

static void dispatch(struct es_range_core *core, const char *method, const json_t *params,
                     struct es_reply *reply)
{
    struct fake_range *fake = (struct fake_range *)(void *)core;
    fake->calls++;
    snprintf(fake->last_method, sizeof fake->last_method, "%s", method);
    fake->on_call(fake, method, params, reply);
}

#define X(name, function, kind, params, result)                                          \
    static void call_##function(struct es_range_core *core, const json_t *json,          \
                                struct es_reply *reply)                                  \
    {                                                                                    \
        dispatch(core, name, json, reply);                                               \
    }
ES_METHOD_MAP(X)
#undef X

#define CALL   false
#define STREAM true
const struct es_method fake_range_methods[] = {
#define X(name, function, kind, params, result)                                          \
    {name, params, result, kind, call_##function},
    ES_METHOD_MAP(X)
#undef X
        {NULL, NULL, NULL, false, NULL}};
