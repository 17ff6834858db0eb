/* Status codes and the error a caller hands down. Works when memory is out; needs no
 * release. [any] */
#ifndef ENSHU_COMMON_ERR_H
#define ENSHU_COMMON_ERR_H

#include <stdarg.h>
#include <stddef.h>

#include "enshu/tbl/status.h"

enum es_status {
    ES_OK = 0,
#define X(name, number, exit_code, text) ES_##name = (number),
    ES_STATUS_MAP(X)
#undef X
};

#define ES_ERR_MSG_MAX 768

/* Caller-allocated; zero it before use. `msg` says what happened, to what, and what to
 * do. */
struct es_err {
    int code;
    char msg[ES_ERR_MSG_MAX];
};

/* Fills *err (which may be NULL) and returns `code`, so that `return es_err_set(err,
 * ES_EIO, …)` reads well. */
int es_err_set(struct es_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int es_err_vset(struct es_err *err, int code, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
/* Puts "…: " before the message. Returns err->code (0 when err is NULL). */
int es_err_prefix(struct es_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* ES_ENOMEM with its standard text. */
int es_err_nomem(struct es_err *err);

const char *es_status_name(int code); /* "ENOENT"; "E?" for a number that is no status */
const char *es_status_text(int code); /* "not found" */
int es_status_exit(int code);         /* the command line's exit code */

/* A programming mistake ends the process with file, line and expression; kept in release
 * builds. */
#define ES_ASSERT(cond)                                                                  \
    ((cond) ? (void)0 : es_assert_fail(#cond, __FILE__, __LINE__, __func__))
_Noreturn void es_assert_fail(const char *cond, const char *file, int line,
                              const char *func);

#define ES_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ES_CONTAINER(ptr, type, member)                                                  \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
