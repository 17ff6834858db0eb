/* Log lines on standard error: time, level, text. Text from guests goes through
 * es_str_escape_terminal. [any] */
#ifndef ENSHU_COMMON_LOG_H
#define ENSHU_COMMON_LOG_H

enum es_log_level { ES_LOG_ERROR, ES_LOG_WARN, ES_LOG_INFO, ES_LOG_DEBUG };

void es_log_set_level(
    enum es_log_level level); /* default INFO; ENSHU_LOG=debug sets it at start */
void es_log(enum es_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#define es_log_error(...) es_log(ES_LOG_ERROR, __VA_ARGS__)
#define es_log_warn(...)  es_log(ES_LOG_WARN, __VA_ARGS__)
#define es_log_info(...)  es_log(ES_LOG_INFO, __VA_ARGS__)
#define es_log_debug(...) es_log(ES_LOG_DEBUG, __VA_ARGS__)

#endif
