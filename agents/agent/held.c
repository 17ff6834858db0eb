/* Results waiting for an acknowledgement. */
#include "held.h"

#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"

struct item {
    struct es_list link;
    int64_t seq, id;
    size_t len;
    char line[];
};

static struct item *item_of(struct es_list *link)
{
    return ES_CONTAINER(link, struct item, link);
}

void es_held_init(struct es_held *held)
{
    memset(held, 0, sizeof *held);
    es_list_init(&held->list);
    held->unsent = &held->list;
}

static void drop(struct es_held *held, struct item *item)
{
    if (held->unsent == &item->link)
        held->unsent = item->link.next;
    es_list_remove(&item->link);
    ES_ASSERT(held->count > 0 && held->bytes >= item->len);
    held->count--;
    held->bytes -= item->len;
    es_free(item);
}

void es_held_finish(struct es_held *held)
{
    ES_LIST_EACH (pos, tmp, &held->list)
        drop(held, item_of(pos));
}

int es_held_add(struct es_held *held, int64_t seq, int64_t id, const char *line,
                size_t len)
{
    struct item *item = es_alloc(sizeof *item + len);
    if (item == NULL)
        return ES_ENOMEM;
    memset(item, 0, sizeof *item);
    item->seq = seq;
    item->id = id;
    item->len = len;
    memcpy(item->line, line, len);
    es_list_push(&held->list, &item->link);
    if (held->unsent == &held->list)
        held->unsent = &item->link;
    held->count++;
    held->bytes += len;
    return 0;
}

void es_held_ack(struct es_held *held, int64_t seq)
{
    ES_LIST_EACH (pos, tmp, &held->list) {
        if (item_of(pos)->seq > seq)
            break;
        drop(held, item_of(pos));
    }
}

void es_held_rewind(struct es_held *held)
{
    held->unsent = held->list.next;
}

void es_held_send(struct es_held *held, struct es_buf *out, size_t until)
{
    while (held->unsent != &held->list && out->len < until) {
        struct item *item = item_of(held->unsent);
        if (es_buf_append(out, item->line, item->len) != 0) {
            /* Nothing was appended: it is tried again when there is room. */
            out->status = 0;
            return;
        }
        held->unsent = item->link.next;
    }
}

bool es_held_resend(struct es_held *held, int64_t id, struct es_buf *out)
{
    bool sent = true;
    ES_LIST_EACH (pos, tmp, &held->list) {
        struct item *item = item_of(pos);
        sent = sent && pos != held->unsent;
        if (item->id != id)
            continue;
        if (sent && es_buf_append(out, item->line, item->len) != 0)
            out->status = 0;
        return true;
    }
    return false;
}
