/* Log lines on standard error, one write each. */
#include "enshu/common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"

static atomic_int max_level = -1;

void es_log_set_level(enum es_log_level level)
{
    atomic_store(&max_level, (int)level);
}

static int level_limit(void)
{
    int level = atomic_load(&max_level);
    if (level >= 0)
        return level;
    level = es_str_eq(getenv("ENSHU_LOG"), "debug") ? ES_LOG_DEBUG : ES_LOG_INFO;
    atomic_store(&max_level, level);
    return level;
}

void es_log(enum es_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    if ((int)level > level_limit())
        return;
    char line[1400];
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    int n = (int)strftime(line, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    n += snprintf(line + n, sizeof line - (size_t)n, ".%03dZ %s ",
                  (int)(now.tv_nsec / 1000000), names[level]);
    va_list args;
    va_start(args, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, args);
    va_end(args);
    n += m < 0 ? 0 : m;
    if (n > (int)sizeof line - 2)
        n = (int)sizeof line - 2;
    line[n++] = '\n';
    /* A log that cannot be written has nowhere to be reported. */
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)n);
    (void)ignored;
}
