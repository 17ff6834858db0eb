/* Lists of our objects, for es_hyp_list and for removal. [worker] */
#ifndef ENSHU_HYP_LIST_H
#define ENSHU_HYP_LIST_H

#include <stdlib.h>

#include "hyp_inner.h"

struct es_hyp_objects {
    struct es_hyp_object *items; /* es_free */
    size_t count, cap;
};
/* Append those of one range, or (NULL) of all. */
int es_hyp_list_machines(virConnectPtr conn, const char *range,
                         struct es_hyp_objects *list, struct es_err *err);
int es_hyp_list_networks(virConnectPtr conn, const char *range,
                         struct es_hyp_objects *list, struct es_err *err);

#endif
