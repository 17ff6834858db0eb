/* Intrusive doubly linked list with a head of the same type. A zeroed link is in no list.
 */
#ifndef ENSHU_COMMON_LIST_H
#define ENSHU_COMMON_LIST_H

#include <stdbool.h>

#include "enshu/common/err.h"

struct es_list {
    struct es_list *next, *prev;
};

static inline void es_list_init(struct es_list *head)
{
    head->next = head->prev = head;
}
static inline bool es_list_empty(const struct es_list *head)
{
    return head->next == head;
}
static inline bool es_list_linked(const struct es_list *item)
{
    return item->next != NULL;
}
static inline void es_list_push(struct es_list *head,
                                struct es_list *item) /* at the end */
{
    ES_ASSERT(!es_list_linked(item));
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void es_list_remove(
    struct es_list *item) /* no effect on an item in no list */
{
    if (item->next == NULL)
        return;
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = NULL;
}

/* Safe against removal of the current item. */
#define ES_LIST_EACH(pos, tmp, head)                                                     \
    for (struct es_list *pos = (head)->next, *tmp = pos->next; pos != (head);            \
         pos = tmp, tmp = pos->next)

#endif
