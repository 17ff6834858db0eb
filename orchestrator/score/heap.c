/* Timers. A timer's key makes equal moments ordered, whatever the order of insertion. Room
 * is reserved when the fold is made: pushing never allocates. */
#include "fold.h"

int heap_reserve(struct heap *heap, size_t cap)
{
    if (cap <= heap->cap)
        return 0;
    struct timer *items = es_grow(heap->items, cap, sizeof *items);
    if (items == NULL)
        return ES_ENOMEM;
    heap->items = items;
    heap->cap = cap;
    return 0;
}

void heap_finish(struct heap *heap)
{
    es_free(heap->items);
    *heap = (struct heap){0};
}

static void sift_down(struct heap *heap, struct timer timer)
{
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            timer_before(&heap->items[child + 1], &heap->items[child]))
            child++;
        if (!timer_before(&heap->items[child], &timer))
            break;
        heap->items[i] = heap->items[child];
        i = child;
    }
    heap->items[i] = timer;
}

void heap_push(struct heap *heap, int64_t due_ms, enum timer_kind kind, int team,
               int subject)
{
    ES_ASSERT(heap->count < heap->cap);
    ES_ASSERT(team >= 0 && team < 1 << 24 && subject >= 0);
    struct timer timer = {due_ms, (uint64_t)kind << 56 | (uint64_t)(uint32_t)team << 32 |
                                      (uint32_t)subject};
    size_t i = heap->count++;
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!timer_before(&timer, &heap->items[parent]))
            break;
        heap->items[i] = heap->items[parent];
        i = parent;
    }
    heap->items[i] = timer;
}

void heap_pop(struct heap *heap)
{
    ES_ASSERT(heap->count > 0);
    struct timer last = heap->items[--heap->count];
    if (heap->count > 0)
        sift_down(heap, last);
}

void heap_delay(struct heap *heap, int64_t due_ms)
{
    ES_ASSERT(heap->count > 0 && due_ms >= heap->items[0].due_ms);
    struct timer timer = {due_ms, heap->items[0].key};
    sift_down(heap, timer);
}
