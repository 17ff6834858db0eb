/* A growing byte buffer with a limit fixed at birth. Failure is sticky: after one,
 * appends do nothing and es_buf_status tells why, so writers check once. Always
 * NUL-terminated after the bytes. [any] */
#ifndef ENSHU_COMMON_BUF_H
#define ENSHU_COMMON_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct es_buf {
    char *data; /* NULL while empty */
    size_t len;
    size_t cap;
    size_t max_bytes;
    int status; /* 0, ES_ENOMEM or ES_ELIMIT */
};

void es_buf_init(struct es_buf *buf, size_t max_bytes);
void es_buf_finish(
    struct es_buf *buf); /* releases; the buffer may be used again after es_buf_init */
void es_buf_clear(struct es_buf *buf); /* empties, keeps memory, forgets a failure */
int es_buf_append(struct es_buf *buf, const void *data, size_t len);
int es_buf_puts(struct es_buf *buf, const char *s);
int es_buf_putc(struct es_buf *buf, char c);
int es_buf_printf(struct es_buf *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void es_buf_consume(struct es_buf *buf, size_t len); /* drops bytes from the front */
int es_buf_status(const struct es_buf *buf);
const char *es_buf_str(const struct es_buf *buf); /* "" while empty; borrows */
char *es_buf_take(
    struct es_buf *buf); /* gives the bytes (es_free), buffer empty; NULL when failed */

#endif
