/* See fanout.h. */
#include "fanout.h"

#include <string.h>

/* How many states there are. */
enum {
    STATES = 0
#define X(name, word, allowed) +1
    MACHINE_STATE_MAP(X)
#undef X
};

static size_t count(const struct fanout *fanout, const struct range *r,
                    size_t by_state[STATES])
{
    size_t total = 0;
    memset(by_state, 0, STATES * sizeof *by_state);
    for (size_t i = 0; i < r->machine_count; i++) {
        const struct machine *m = &r->machines[i];
        if (m->mould != fanout->mould || m->plan->team > r->team_count)
            continue;
        by_state[machine_state(m)]++;
        total++;
    }
    return total;
}

void fanout_begin(struct fanout *fanout, const struct range *r, bool mould)
{
    size_t by_state[STATES];
    *fanout = (struct fanout){.began_ms = uv_now(r->core->loop), .mould = mould};
    count(fanout, r, by_state);
    fanout->ready_before = by_state[M_READY];
}

bool fanout_tells(const struct machine *m)
{
    enum machine_state state = machine_state(m);
    return m->range->machine_count <= FANOUT_MANY || state == M_FAILED ||
           state == M_FAULT || state == M_DOWN ||
           (state == M_QUEUED && es_str_starts(m->detail, "waiting for memory"));
}

/* From the rate so far; -1 while there is none. */
static int64_t left_ms(const struct fanout *fanout, uint64_t now_ms, size_t ready,
                       size_t total)
{
    uint64_t took_ms = now_ms - fanout->began_ms;
    size_t done = ready > fanout->ready_before ? ready - fanout->ready_before : 0;
    if (done == 0 || took_ms == 0)
        return -1;
    return (int64_t)(took_ms * (total - ready) / done);
}

static void add_text(struct es_buf *text, const size_t by_state[STATES], int64_t left)
{
    for (int s = 0; s < STATES; s++)
        if (by_state[s] > 0 && s != M_PLANNED)
            es_buf_printf(text, "%s%zu %s", text->len > 0 ? ", " : "", by_state[s],
                          machine_states[s].name);
    if (left >= 60000)
        es_buf_printf(text, "; about %lld min left", (long long)(left + 30000) / 60000);
    else if (left > 0)
        es_buf_printf(text, "; about %lld s left", (long long)(left + 999) / 1000);
}

json_t *fanout_summary(struct fanout *fanout, const struct range *r)
{
    size_t by_state[STATES];
    uint64_t now_ms = uv_now(r->core->loop);
    struct es_buf text;
    if (now_ms - fanout->told_ms < FANOUT_EVERY_MS)
        return NULL;
    fanout->told_ms = now_ms;
    size_t total = count(fanout, r, by_state), ready = by_state[M_READY];
    int64_t left = left_ms(fanout, now_ms, ready, total);
    es_buf_init(&text, 1024);
    add_text(&text, by_state, left);
    json_t *json = json_pack(
        "{s:s, s:I, s:I, s:s}", "step", fanout->mould ? "mould" : "machines", "done",
        (json_int_t)ready, "total", (json_int_t)total, "text", es_buf_str(&text));
    if (json != NULL && left >= 0)
        json_object_set_new(json, "left_ms", json_integer(left));
    es_buf_finish(&text);
    return json;
}
