/* Status codes and struct es_err. */
#include "enshu/common/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int es_err_vset(struct es_err *err, int code, const char *fmt, va_list args)
{
    if (err != NULL) {
        err->code = code;
        vsnprintf(err->msg, sizeof err->msg, fmt, args);
    }
    return code;
}

int es_err_set(struct es_err *err, int code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    es_err_vset(err, code, fmt, args);
    va_end(args);
    return code;
}

int es_err_prefix(struct es_err *err, const char *fmt, ...)
{
    char old[ES_ERR_MSG_MAX];
    if (err == NULL)
        return 0;
    memcpy(old, err->msg, sizeof old);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n + 3 > sizeof err->msg)
        return err->code;
    snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %.*s",
             (int)sizeof err->msg - n - 3, old);
    return err->code;
}

int es_err_nomem(struct es_err *err)
{
    return es_err_set(err, ES_ENOMEM, "out of memory; free some and try again");
}

static const struct status {
    int code;
    int exit_code;
    const char *name;
    const char *text;
} statuses[] = {{ES_OK, 0, "OK", "ok"},
#define X(name, number, exit_code, text) {number, exit_code, #name, text},
                ES_STATUS_MAP(X)
#undef X
};

static const struct status *find(int code)
{
    for (size_t i = 0; i < ES_COUNT(statuses); i++)
        if (statuses[i].code == code)
            return &statuses[i];
    return NULL;
}

const char *es_status_name(int code)
{
    const struct status *s = find(code);
    return s != NULL ? s->name : "E?";
}

const char *es_status_text(int code)
{
    const struct status *s = find(code);
    return s != NULL ? s->text : "unknown status";
}

int es_status_exit(int code)
{
    const struct status *s = find(code);
    return s != NULL ? s->exit_code : 70;
}

void es_assert_fail(const char *cond, const char *file, int line, const char *func)
{
    fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, func, cond);
    abort();
}
