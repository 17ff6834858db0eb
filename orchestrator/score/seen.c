/* What was delivered already, by (machine instance, agent epoch, sequence). An agent sends
 * again what was not acknowledged, oldest first, and its sequence only rises; so for each
 * instance the current epoch and its last number are enough. A former epoch's results are
 * stale once a newer epoch has spoken; the last few are remembered, as epochs are random
 * and have no order. */
#include "fold.h"

static size_t slot_of(const struct seen *seen, uint32_t instance)
{
    ES_ASSERT(seen->cap > 0 && (seen->cap & (seen->cap - 1)) == 0);
    size_t i = instance * (size_t)0x9e3779b97f4a7c15ULL >> 20 & (seen->cap - 1);
    while (seen->rows[i].instance != 0 && seen->rows[i].instance != instance)
        i = (i + 1) & (seen->cap - 1);
    return i;
}

bool seen_has(const struct seen *seen, uint32_t instance, uint64_t epoch, int64_t seq)
{
    if (instance == 0 || seq <= 0 || seen->cap == 0)
        return false;
    const struct seen_row *row = &seen->rows[slot_of(seen, instance)];
    if (row->instance == 0)
        return false;
    if (row->epochs[0] == epoch)
        return seq <= row->seq;
    for (uint32_t i = 1; i < row->epoch_count; i++)
        if (row->epochs[i] == epoch)
            return true;
    return false;
}

static int grow(struct seen *seen)
{
    struct seen bigger = {.cap = seen->cap == 0 ? 64 : seen->cap * 2};
    bigger.rows = es_calloc(bigger.cap, sizeof *bigger.rows);
    if (bigger.rows == NULL)
        return ES_ENOMEM;
    for (size_t i = 0; i < seen->cap; i++)
        if (seen->rows[i].instance != 0)
            bigger.rows[slot_of(&bigger, seen->rows[i].instance)] = seen->rows[i];
    bigger.count = seen->count;
    es_free(seen->rows);
    *seen = bigger;
    return 0;
}

int seen_note(struct seen *seen, uint32_t instance, uint64_t epoch, int64_t seq)
{
    ES_ASSERT(instance != 0 && seq > 0);
    if (seen->count * 2 >= seen->cap && grow(seen) != 0)
        return ES_ENOMEM;
    struct seen_row *row = &seen->rows[slot_of(seen, instance)];
    if (row->instance == 0) {
        row->instance = instance;
        row->epochs[0] = epoch;
        row->epoch_count = 1;
        seen->count++;
    } else if (row->epochs[0] != epoch) {
        for (uint32_t i = SEEN_EPOCHS - 1; i > 0; i--)
            row->epochs[i] = row->epochs[i - 1];
        row->epochs[0] = epoch;
        if (row->epoch_count < SEEN_EPOCHS)
            row->epoch_count++;
    }
    row->seq = seq;
    return 0;
}

void seen_finish(struct seen *seen)
{
    es_free(seen->rows);
    *seen = (struct seen){0};
}
