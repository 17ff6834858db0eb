/* Allocation with a planned failure and a count of what is alive; arenas. */
#include "enshu/common/mem.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/err.h"

static atomic_long live_count;
static atomic_long fail_in; /* 0: off */
static atomic_bool has_failed;

static bool fails_now(void)
{
    if (atomic_load_explicit(&fail_in, memory_order_relaxed) == 0)
        return false;
    if (atomic_fetch_sub(&fail_in, 1) != 1)
        return false;
    atomic_store(&has_failed, true);
    return true;
}

void es_mem_fail_nth(long n)
{
    atomic_store(&has_failed, false);
    atomic_store(&fail_in, n);
}

bool es_mem_failed(void)
{
    return atomic_load(&has_failed);
}

long es_mem_live_count(void)
{
    return atomic_load(&live_count);
}

static void *counted(void *ptr)
{
    if (ptr != NULL)
        atomic_fetch_add_explicit(&live_count, 1, memory_order_relaxed);
    return ptr;
}

void *es_alloc(size_t size)
{
    return fails_now() ? NULL : counted(malloc(size != 0 ? size : 1));
}

void *es_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL
                       : counted(calloc(count != 0 ? count : 1, size != 0 ? size : 1));
}

void *es_realloc(void *ptr, size_t size)
{
    if (fails_now())
        return NULL;
    void *p = realloc(ptr, size != 0 ? size : 1);
    return ptr == NULL ? counted(p) : p;
}

void *es_grow(void *ptr, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size)
        return NULL;
    return es_realloc(ptr, count * size);
}

void es_free(void *ptr)
{
    if (ptr == NULL)
        return;
    atomic_fetch_sub_explicit(&live_count, 1, memory_order_relaxed);
    free(ptr);
}

char *es_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = es_alloc(len + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *es_strdup(const char *s)
{
    return es_strndup(s, SIZE_MAX);
}

char *es_asprintf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *s = n < 0 ? NULL : es_alloc((size_t)n + 1);
    if (s == NULL)
        return NULL;
    va_start(args, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, args);
    va_end(args);
    return s;
}

/* ------------------------------------------------------------------ arenas */

#define BLOCK_BYTES 16384U
#define ALIGN       16U

struct es_arena_block {
    struct es_arena_block *next;
    size_t used;
    size_t size;
    _Alignas(ALIGN) unsigned char data[];
};

static struct es_arena_block *add_block(struct es_arena *arena, size_t need)
{
    size_t size = need > BLOCK_BYTES ? need : BLOCK_BYTES;
    struct es_arena_block *block = es_calloc(1, sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    block->next = arena->head;
    arena->head = block;
    return block;
}

void *es_arena_alloc(struct es_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2)
        goto fail;
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (arena->max_bytes != 0 && size > arena->max_bytes - arena->used_bytes)
        goto fail;
    struct es_arena_block *block = arena->head;
    if (block == NULL || block->size - block->used < size)
        block = add_block(arena, size);
    if (block == NULL)
        goto fail;
    void *p = block->data + block->used;
    block->used += size;
    arena->used_bytes += size;
    return p;
fail:
    arena->failed = true;
    return NULL;
}

char *es_arena_strndup(struct es_arena *arena, const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *copy = es_arena_alloc(arena, len + 1);
    if (copy != NULL)
        memcpy(copy, s, len);
    return copy;
}

char *es_arena_strdup(struct es_arena *arena, const char *s)
{
    return es_arena_strndup(arena, s, SIZE_MAX);
}

char *es_arena_printf(struct es_arena *arena, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *s = n < 0 ? NULL : es_arena_alloc(arena, (size_t)n + 1);
    if (s == NULL)
        return NULL;
    va_start(args, fmt);
    vsnprintf(s, (size_t)n + 1, fmt, args);
    va_end(args);
    return s;
}

void *es_arena_push(struct es_arena *arena, void *items, size_t count, size_t size)
{
    /* Capacities are the powers of two from 4 on, so a full one is recognised from the
     * count alone. */
    bool full = count == 0 || (count >= 4 && (count & (count - 1)) == 0);
    if (!full)
        return items;
    size_t cap = count == 0 ? 4 : count * 2;
    if (cap > SIZE_MAX / 2 / size) {
        arena->failed = true;
        return NULL;
    }
    void *grown = es_arena_alloc(arena, cap * size);
    if (grown != NULL && count != 0)
        memcpy(grown, items, count * size);
    return grown;
}

void es_arena_finish(struct es_arena *arena)
{
    struct es_arena_block *next;
    for (struct es_arena_block *block = arena->head; block != NULL; block = next) {
        next = block->next;
        es_free(block);
    }
    memset(arena, 0, sizeof *arena);
}
