/* The method table with the room range's functions behind it, and the socket that serves
 * it. */
#include "enshu/control.h"

#define CALL   false
#define STREAM true
const struct es_method es_methods[] = {
#define X(name, function, kind, params, result)                                          \
    {name, params, result, kind, es_range_call_##function},
    ES_METHOD_MAP(X)
#undef X
        {NULL, NULL, NULL, false, NULL}};

int es_control_create(uv_loop_t *loop, struct es_range_core *core, const char *path,
                      struct es_control **ret_control, struct es_err *err)
{
    return es_control_create_with_table(loop, core, es_methods, path, ret_control, err);
}
