/* Lists by row, built once for a scenario, so that the fold never searches. */
#include <string.h>

#include "fold.h"

void pairs_add(struct pairs *pairs, int row, int item)
{
    ES_ASSERT(row >= 0 && item >= 0);
    if (pairs->failed)
        return;
    if (pairs->count == pairs->cap) {
        size_t cap = pairs->cap == 0 ? 64 : pairs->cap * 2;
        int(*items)[2] = es_grow(pairs->items, cap, sizeof *items);
        if (items == NULL) {
            pairs->failed = true;
            return;
        }
        pairs->items = items;
        pairs->cap = cap;
    }
    pairs->items[pairs->count][0] = row;
    pairs->items[pairs->count][1] = item;
    pairs->count++;
}

int pairs_to_lists(struct pairs *pairs, size_t rows, struct lists *ret_lists)
{
    struct lists lists = {.rows = rows};
    int *fill = NULL;
    if (!pairs->failed) {
        lists.start = es_calloc(rows + 1, sizeof *lists.start);
        lists.items = es_calloc(pairs->count + 1, sizeof *lists.items);
        fill = es_calloc(rows + 1, sizeof *fill);
    }
    bool done = lists.start != NULL && lists.items != NULL && fill != NULL;
    if (done) {
        for (size_t i = 0; i < pairs->count; i++) {
            ES_ASSERT((size_t)pairs->items[i][0] < rows);
            lists.start[pairs->items[i][0] + 1]++;
        }
        for (size_t row = 0; row < rows; row++)
            lists.start[row + 1] += lists.start[row];
        memcpy(fill, lists.start, (rows + 1) * sizeof *fill);
        for (size_t i = 0; i < pairs->count; i++)
            lists.items[fill[pairs->items[i][0]]++] = pairs->items[i][1];
        ES_ASSERT((size_t)lists.start[rows] == pairs->count);
        *ret_lists = lists;
    } else {
        lists_finish(&lists);
    }
    es_free(fill);
    es_free(pairs->items);
    *pairs = (struct pairs){0};
    return done ? 0 : ES_ENOMEM;
}

void lists_finish(struct lists *lists)
{
    es_free(lists->start);
    es_free(lists->items);
    *lists = (struct lists){0};
}
