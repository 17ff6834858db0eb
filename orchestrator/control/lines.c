/* Cuts a byte stream into lines of at most `max` bytes. */
#include <string.h>

#include "control_inner.h"

void control_lines_init(struct control_lines *lines, size_t max)
{
    memset(lines, 0, sizeof *lines);
    lines->max = max;
    es_buf_init(&lines->buf, max + CONTROL_READ_BYTES);
}

void control_lines_finish(struct control_lines *lines)
{
    if (lines != NULL)
        es_buf_finish(&lines->buf);
}

int control_lines_feed(struct control_lines *lines, const char *data, size_t len)
{
    ES_ASSERT(len <= CONTROL_READ_BYTES);
    ES_ASSERT(lines->next <= lines->buf.len);
    if (lines->next != 0)
        es_buf_consume(&lines->buf, lines->next);
    lines->next = 0;
    return es_buf_append(&lines->buf, data, len);
}

bool control_lines_next(struct control_lines *lines, const char **ret_line,
                        size_t *ret_len)
{
    while (lines->next < lines->buf.len) {
        const char *line = lines->buf.data + lines->next;
        size_t left = lines->buf.len - lines->next;
        ES_ASSERT(lines->scanned <= left);
        const char *end = memchr(line + lines->scanned, '\n', left - lines->scanned);
        size_t len = end != NULL ? (size_t)(end - line) : left;
        if (len > lines->max)
            lines->overlong = true;
        if (end == NULL || lines->overlong) {
            lines->scanned = len;
            return false;
        }
        lines->next += len + 1;
        lines->scanned = 0;
        if (len == 0)
            continue;
        *ret_line = line;
        *ret_len = len;
        return true;
    }
    return false;
}
