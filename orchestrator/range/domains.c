/* Machines by the name of their domain: what the hypervisor tells bears only that. */
#include <stdlib.h>
#include <string.h>

#include "domains.h"

static int compare(const void *a, const void *b)
{
    const struct machine *const *x = a, *const *y = b;
    return strcmp((*x)->plan->name, (*y)->plan->name);
}

static int compare_name(const void *name, const void *item)
{
    const struct machine *const *m = item;
    return strcmp(name, (*m)->plan->name);
}

int domains_index(struct range *r, struct es_err *err)
{
    r->by_domain = es_calloc(r->machine_count + 1, sizeof(*r->by_domain));
    if (r->by_domain == NULL)
        return es_err_nomem(err);
    for (size_t i = 0; i < r->machine_count; i++)
        r->by_domain[i] = &r->machines[i];
    qsort(r->by_domain, r->machine_count, sizeof(*r->by_domain), compare);
    return 0;
}

struct machine *domains_find(struct es_range_core *core, const char *name)
{
    ES_LIST_EACH (pos, tmp, &core->ranges) {
        struct range *r = ES_CONTAINER(pos, struct range, link);
        struct machine **found = bsearch(name, r->by_domain, r->machine_count,
                                         sizeof(*r->by_domain), compare_name);
        if (found != NULL)
            return *found;
    }
    return NULL;
}
