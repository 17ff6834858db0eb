/* See core_account.h. */
#include "core_account.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"

#define CONDITIONS_MAX 64

struct told {
    int condition; /* -1: no such result */
    int stored;
    bool acked;
};
struct core_account {
    struct agent_account {
        int64_t first_seq;            /* of those that count */
        int64_t last[CONDITIONS_MAX]; /* by condition, while the ledger is read */
        struct told *told;            /* by seq */
        int64_t cap;
    } * agents;
    size_t count;
};

static void on_told(struct core_agent *agent, int64_t seq)
{
    struct agent_account *of = &agent->world->account->agents[agent->index];
    while (seq >= of->cap) {
        int64_t cap = of->cap != 0 ? 2 * of->cap : 1024;
        of->told = realloc(of->told, (size_t)cap * sizeof *of->told);
        ck_assert_ptr_nonnull(of->told);
        for (int64_t i = of->cap; i < cap; i++)
            of->told[i] = (struct told){.condition = -1};
        of->cap = cap;
    }
    /* A request's id says what is looked at. */
    of->told[seq].condition = (int)(agent->probe_id >> 42) - 1;
}

static void on_ack(struct core_agent *agent, int64_t seq)
{
    struct agent_account *of = &agent->world->account->agents[agent->index];
    if (seq < of->first_seq || seq >= of->cap || of->told[seq].condition < 0)
        return;
    of->told[seq].acked = true;
    agent->world->acks++;
}

static void end(struct core_world *w)
{
    struct core_account *account = w->account;
    for (size_t i = 0; i < account->count; i++)
        free(account->agents[i].told);
    free(account->agents);
    free(account);
}

void account_begin(struct core_world *w)
{
    struct core_account *account = calloc(1, sizeof *account);
    ck_assert_ptr_nonnull(account);
    account->count = w->plan->machine_count;
    account->agents = calloc(account->count, sizeof *account->agents);
    ck_assert_ptr_nonnull(account->agents);
    for (size_t i = 0; i < account->count; i++)
        if (w->agents[i].sim != NULL)
            account->agents[i].first_seq =
                simagent_counts(w->agents[i].sim)->last_seq + 1;
    w->account = account;
    w->account_end = end;
    w->on_told = on_told;
    w->on_ack = on_ack;
}

static int64_t all_held(const struct core_world *w)
{
    int64_t held = 0;
    for (size_t i = 0; i < w->plan->machine_count; i++)
        if (w->agents[i].sim != NULL)
            held += simagent_counts(w->agents[i].sim)->held;
    return held;
}

void account_settle(struct core_world *w)
{
    uint64_t limit = uv_now(&w->loop) + CORE_LIMIT_MS;
    for (size_t i = 0; i < w->plan->machine_count; i++)
        if (w->agents[i].sim != NULL)
            simagent_set_mode(w->agents[i].sim, SIMAGENT_NEVER, 0);
    while (all_held(w) > 0) {
        ck_assert_msg(uv_now(&w->loop) < limit, "%lld results are not taken",
                      (long long)all_held(w));
        cw_step(w);
    }
}

/* ---------------------------------------------------------------- the ledger */

static int64_t int_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_integer(value), "%s", key);
    return json_integer_value(value);
}

/* The results of an agent about a condition in [first, last] are in the ledger. */
static int64_t store(struct agent_account *of, int condition, int64_t first, int64_t last)
{
    int64_t count = 0;
    ck_assert_int_lt(condition, CONDITIONS_MAX);
    ck_assert_int_le(first, last);
    ck_assert_int_gt(first, of->last[condition]); /* in the order they were told */
    of->last[condition] = last;
    for (int64_t seq = first; seq <= last && seq < of->cap; seq++)
        if (of->told[seq].condition == condition) {
            of->told[seq].stored++;
            count++;
        }
    return count;
}

static void store_steady(struct agent_account *of, const json_t *event)
{
    json_t *text = json_loads(json_string_value(json_object_get(event, "text")), 0, NULL);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_le(int_of(text, "told"), int_of(text, "count"));
    if (int_of(text, "told") > 0)
        ck_assert_int_eq(store(of, (int)int_of(event, "subject"),
                               int_of(text, "first_seq"), int_of(event, "seq")),
                         int_of(text, "told"));
    json_decref(text);
}

static size_t read_ledger(struct core_world *w)
{
    size_t i, n = 0;
    const json_t *event;
    json_t *events = cw_events(w);
    for (i = 0; i < w->account->count; i++) {
        struct agent_account *of = &w->account->agents[i];
        memset(of->last, 0, sizeof of->last);
        for (int64_t seq = 0; seq < of->cap; seq++)
            of->told[seq].stored = 0;
    }
    json_array_foreach (events, i, event) {
        const char *name = json_string_value(json_object_get(event, "name"));
        int agent = (int)(int_of(event, "instance") / 1024) - 1;
        int64_t seq = int_of(event, "seq");
        if (agent < 0 || seq == 0)
            continue;
        struct agent_account *of = &w->account->agents[agent];
        bool is_sum = es_str_eq(name, "steady");
        if (is_sum)
            store_steady(of, event);
        else if (es_str_eq(name, "observed"))
            store(of, (int)int_of(event, "subject"), seq, seq);
        n += is_sum || es_str_eq(name, "observed");
    }
    json_decref(events);
    return n;
}

int64_t account_stored(struct core_world *w)
{
    int64_t count = 0;
    read_ledger(w);
    for (size_t i = 0; i < w->account->count; i++) {
        const struct agent_account *of = &w->account->agents[i];
        for (int64_t seq = of->first_seq; seq < of->cap; seq++)
            count += of->told[seq].stored;
    }
    return count;
}

size_t account_check(struct core_world *w)
{
    size_t events = read_ledger(w), acks = 0;
    for (size_t i = 0; i < w->account->count; i++) {
        const struct agent_account *of = &w->account->agents[i];
        for (int64_t seq = of->first_seq; seq < of->cap; seq++) {
            const struct told *told = &of->told[seq];
            if (told->condition < 0)
                continue;
            ck_assert_msg(told->acked && told->stored == 1,
                          "agent %zu, result %lld: %s, stored %d times", i,
                          (long long)seq, told->acked ? "acknowledged" : "held",
                          told->stored);
            acks++;
        }
    }
    ck_assert_uint_eq(acks, w->acks);
    return events;
}
