/* jansson's allocations go through es_alloc, and a failed one leaves a mark: jansson's
 * scanner ignores a failed append to its token, so a number or a string could otherwise
 * come out with a byte missing and look well. */
#include "wire_inner.h"

#include <jansson.h>

#include "enshu/common/mem.h"
#include "enshu/wire.h"

static _Thread_local bool has_failed;

static void *watched_alloc(size_t size)
{
    void *ptr = es_alloc(size);
    if (ptr == NULL)
        has_failed = true;
    return ptr;
}

void es_wire_use_allocator(void)
{
    json_set_alloc_funcs(watched_alloc, es_free);
}

void es_wire_alloc_watch(void)
{
    has_failed = false;
}

bool es_wire_alloc_failed(void)
{
    return has_failed;
}
