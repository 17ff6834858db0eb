/* Memory. Every allocation of the orchestrator and the agent goes through here, so tests
 * can fail the n-th one and count what is still alive. [any] */
#ifndef ENSHU_COMMON_MEM_H
#define ENSHU_COMMON_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* Like malloc & co.; NULL when memory is out. Release with es_free. `es_grow` checks
 * count * size. */
void *es_alloc(size_t size);
void *es_calloc(size_t count, size_t size);
void *es_realloc(void *ptr, size_t size);
void *es_grow(void *ptr, size_t count, size_t size);
void es_free(void *ptr);
char *es_strdup(const char *s);
char *es_strndup(const char *s, size_t n);
char *es_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Tests: the n-th allocation from now (1 = the next) fails, and only that one; 0 switches
 * it off. */
void es_mem_fail_nth(long n);
bool es_mem_failed(void);     /* whether the planned failure has happened */
long es_mem_live_count(void); /* allocations not yet freed */

/* An arena: many small objects of one lifetime, released at once. A failed allocation is
 * remembered, so a builder may check `failed` once at its end as long as it copes with
 * NULL in between. Zeroed memory. */
struct es_arena_block;
struct es_arena {
    struct es_arena_block *head;
    size_t used_bytes;
    size_t max_bytes; /* 0: no cap; past it allocations fail */
    bool failed;
};
void *es_arena_alloc(struct es_arena *arena, size_t size);
char *es_arena_strdup(struct es_arena *arena, const char *s);
char *es_arena_strndup(struct es_arena *arena, const char *s, size_t n);
char *es_arena_printf(struct es_arena *arena, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Grows an arena array: returns room for `count + 1` items with the old ones copied
 * (amortised doubling). */
void *es_arena_push(struct es_arena *arena, void *items, size_t count, size_t size);
void es_arena_finish(struct es_arena *arena);

#endif
