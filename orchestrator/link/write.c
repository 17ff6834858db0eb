/* Writing: everything said within one loop iteration goes out in one write. */
#include <string.h>

#include "link_inner.h"

void es_link_wants_flush(struct es_link *link)
{
    if (es_link_state(link) == ES_LINK_UP && !link->writing)
        uv_prepare_start(&link->flush, es_link_on_flush);
}

static void drop(struct es_link *link, int code, const char *text)
{
    struct es_err why = {0};
    es_err_set(&why, code, "%s: cannot write to %s: %s", link->name, link->path, text);
    es_link_drop(link, &why);
}

/* Memory of a rare large write is not kept. */
static void empty_out(struct es_link *link)
{
    if (link->out.cap <= ES_WIRE_LINE_MAX) {
        es_buf_clear(&link->out);
        return;
    }
    es_buf_finish(&link->out);
    es_buf_init(&link->out, OUT_BYTES);
}

static void on_written(uv_write_t *write, int status)
{
    struct es_link *link = write->data;
    link->writing = false;
    empty_out(link);
    if (!es_link_alive(link))
        return;
    if (status != 0)
        drop(link, ES_ECONN, uv_strerror(status));
    else
        es_link_wants_flush(link);
}

void es_link_write_out(struct es_link *link)
{
    ES_ASSERT(!link->writing && link->out.len > 0);
    uv_stream_t *stream = (uv_stream_t *)&link->pipe;
    uv_buf_t buf = uv_buf_init(link->out.data, (unsigned)link->out.len);
    int rc = uv_try_write(stream, &buf, 1);
    if (rc == UV_EAGAIN)
        rc = 0;
    if (rc >= 0 && (size_t)rc == link->out.len) {
        empty_out(link);
        return;
    }
    if (rc >= 0) {
        buf = uv_buf_init(link->out.data + rc, (unsigned)link->out.len - (unsigned)rc);
        link->write.data = link;
        link->writing = true;
        rc = uv_write(&link->write, stream, &buf, 1, on_written);
        if (rc != 0)
            link->writing = false;
    }
    if (rc < 0)
        drop(link, ES_ECONN, uv_strerror(rc));
}

static int put_acks(struct es_link *link)
{
    for (size_t i = 0; i < ES_COUNT(link->acks); i++) {
        struct es_link_ack *ack = &link->acks[i];
        if (ack->seq == 0)
            continue;
        int rc = es_wire_put_ack(&link->out, ack->epoch, ack->seq);
        if (rc != 0)
            return rc;
        ack->seq = 0;
    }
    return 0;
}

void es_link_on_flush(uv_prepare_t *prepare)
{
    struct es_link *link = prepare->data;
    bool more = false;
    uv_prepare_stop(prepare);
    if (link->closing || es_link_state(link) != ES_LINK_UP || link->writing)
        return;
    ES_ASSERT(link->out.len == 0);
    int rc = put_acks(link);
    if (rc == 0)
        rc = es_link_requests_put(link, &link->out, &more);
    if (rc != 0) {
        drop(link, rc, es_status_text(rc));
        return;
    }
    if (link->out.len == 0)
        return;
    es_link_write_out(link);
    if (more && es_link_alive(link))
        es_link_wants_flush(link);
}

void es_link_ack(struct es_link *link, const char *epoch, int64_t seq)
{
    ES_ASSERT(seq < 1 || strlen(epoch) == 16);
    if (link->closing || seq < 1)
        return; /* seq 0 was made by the link itself */
    /* Two slots: an agent that changes its epoch can still hold results of the old one. */
    struct es_link_ack *slot = NULL;
    for (size_t i = 0; i < ES_COUNT(link->acks); i++)
        if (link->acks[i].seq != 0 && strcmp(link->acks[i].epoch, epoch) == 0)
            slot = &link->acks[i];
    for (size_t i = 0; slot == NULL && i < ES_COUNT(link->acks); i++)
        if (link->acks[i].seq == 0)
            slot = &link->acks[i];
    if (slot == NULL) {
        link->acks[0] = link->acks[1];
        slot = &link->acks[1];
        slot->seq = 0;
    }
    memcpy(slot->epoch, epoch, sizeof slot->epoch);
    if (seq > slot->seq)
        slot->seq = seq;
    es_link_wants_flush(link);
}
