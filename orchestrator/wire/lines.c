/* Cuts a byte stream into lines of at most ES_WIRE_LINE_MAX bytes.
 *
 * buf holds [handed out | whole lines | partial line]; `next` is where the first whole
 * line starts, `partial` the length of the last piece. An overlong line is dropped from
 * buf at once, so buf never holds more than one feed and one partial line. */
#include <string.h>

#include "enshu/wire.h"

void es_lines_init(struct es_lines *lines)
{
    memset(lines, 0, sizeof *lines);
    es_buf_init(&lines->buf, ES_LINES_FEED_MAX + ES_WIRE_LINE_MAX);
}

void es_lines_finish(struct es_lines *lines)
{
    if (lines == NULL)
        return;
    es_buf_finish(&lines->buf);
    memset(lines, 0, sizeof *lines);
}

void es_lines_reset(struct es_lines *lines)
{
    es_buf_clear(&lines->buf);
    lines->next = 0;
    lines->partial = 0;
    lines->overlong = false;
}

/* Drops the partial line; its rest will be skipped. */
static void drop_partial(struct es_lines *lines)
{
    struct es_buf *buf = &lines->buf;
    buf->len -= lines->partial;
    if (buf->data != NULL)
        buf->data[buf->len] = '\0';
    buf->status = 0;
    lines->partial = 0;
    lines->overlong = true;
}

static int add_piece(struct es_lines *lines, const char *data, size_t len, bool ends)
{
    size_t whole = lines->partial + len;
    if (whole > ES_WIRE_LINE_MAX || (whole == ES_WIRE_LINE_MAX && !ends)) {
        drop_partial(lines);
        return ES_ELIMIT;
    }
    int rc = es_buf_append(&lines->buf, data, len);
    if (rc != 0) {
        drop_partial(lines);
        return rc;
    }
    lines->partial = ends ? 0 : whole;
    return 0;
}

int es_lines_feed(struct es_lines *lines, const char *data, size_t len)
{
    ES_ASSERT(len <= ES_LINES_FEED_MAX);
    ES_ASSERT(lines->next + lines->partial <= lines->buf.len);
    if (lines->next != 0)
        es_buf_consume(&lines->buf, lines->next);
    lines->next = 0;
    int worst = 0;
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t piece = end != NULL ? (size_t)(end - data) + 1 : len;
        int rc = lines->overlong ? 0 : add_piece(lines, data, piece, end != NULL);
        if (rc != 0 && worst != ES_ENOMEM)
            worst = rc;
        if (end != NULL)
            lines->overlong = false;
        data += piece;
        len -= piece;
    }
    return worst;
}

bool es_lines_next(struct es_lines *lines, const char **ret_line, size_t *ret_len)
{
    size_t whole = lines->buf.len - lines->partial;
    while (lines->next < whole) {
        const char *line = lines->buf.data + lines->next;
        const char *end = memchr(line, '\n', whole - lines->next);
        ES_ASSERT(end != NULL);
        size_t len = (size_t)(end - line);
        lines->next += len + 1;
        if (len == 0)
            continue;
        *ret_line = line;
        *ret_len = len;
        return true;
    }
    return false;
}
