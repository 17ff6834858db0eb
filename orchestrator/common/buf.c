/* The capped byte buffer. */
#include "enshu/common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"

void es_buf_init(struct es_buf *buf, size_t max_bytes)
{
    memset(buf, 0, sizeof *buf);
    buf->max_bytes = max_bytes;
}

void es_buf_finish(struct es_buf *buf)
{
    if (buf == NULL)
        return;
    es_free(buf->data);
    memset(buf, 0, sizeof *buf);
}

void es_buf_clear(struct es_buf *buf)
{
    buf->len = 0;
    buf->status = 0;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

static int reserve(struct es_buf *buf, size_t more)
{
    if (buf->status != 0)
        return buf->status;
    if (more > buf->max_bytes || buf->len > buf->max_bytes - more)
        return buf->status = ES_ELIMIT;
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return 0;
    size_t cap = buf->cap != 0 ? buf->cap : 128;
    while (cap < need)
        cap *= 2;
    char *data = es_realloc(buf->data, cap);
    if (data == NULL)
        return buf->status = ES_ENOMEM;
    buf->data = data;
    buf->cap = cap;
    return 0;
}

int es_buf_append(struct es_buf *buf, const void *data, size_t len)
{
    int rc = reserve(buf, len);
    if (rc != 0)
        return rc;
    if (len != 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int es_buf_puts(struct es_buf *buf, const char *s)
{
    return es_buf_append(buf, s, strlen(s));
}

int es_buf_putc(struct es_buf *buf, char c)
{
    return es_buf_append(buf, &c, 1);
}

int es_buf_printf(struct es_buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    ES_ASSERT(n >= 0);
    int rc = reserve(buf, (size_t)n);
    if (rc != 0)
        return rc;
    va_start(args, fmt);
    vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)n;
    return 0;
}

void es_buf_consume(struct es_buf *buf, size_t len)
{
    ES_ASSERT(len <= buf->len);
    buf->len -= len;
    if (buf->data != NULL)
        memmove(buf->data, buf->data + len, buf->len + 1);
}

int es_buf_status(const struct es_buf *buf)
{
    return buf->status;
}

const char *es_buf_str(const struct es_buf *buf)
{
    return buf->data != NULL ? buf->data : "";
}

char *es_buf_take(struct es_buf *buf)
{
    char *data = NULL;
    if (buf->status == 0 && reserve(buf, 0) == 0) {
        data = buf->data;
        data[buf->len] = '\0';
        buf->data = NULL;
    }
    size_t max_bytes = buf->max_bytes;
    es_buf_finish(buf);
    buf->max_bytes = max_bytes;
    return data;
}
