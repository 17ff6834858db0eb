/* A hash over all that matters: what is derived lazily is written as it stands at this
 * moment, timers and caches are left out, so two folds of the same events agree however
 * they were advanced. */
#include <sodium.h>

#include "fold.h"

struct sink {
    crypto_generichash_state hash;
    int64_t items[256];
    size_t count;
};

static void flush(struct sink *sink)
{
    crypto_generichash_update(&sink->hash, (const unsigned char *)sink->items,
                              sink->count * sizeof sink->items[0]);
    sink->count = 0;
}

static void put(struct sink *sink, int64_t item)
{
    if (sink->count == ES_COUNT(sink->items))
        flush(sink);
    sink->items[sink->count++] = item;
}

static void put_conditions(struct sink *sink, const struct es_score *score,
                           const struct team *team)
{
    for (size_t i = 0; i < score->model.conditions; i++) {
        const struct cond_state *state = &team->conds[i];
        put(sink, state->raw | state->outcome << 8 | state->known << 16);
        put(sink, state->after_reached | state->late << 1 | state->failed << 2 |
                      state->voids << 3);
        put(sink, state->observed_run_ms);
        put(sink, state->observed_ex_ms);
        put(sink, state->raw_run_ms);
        put(sink, state->since_ex_ms);
        put(sink, condition_held(score, &score->model.conds[i], state));
        put(sink, state->raw_cause);
        put(sink, state->cause);
    }
}

static void put_judging(struct sink *sink, const struct es_score *score,
                        const struct team *team)
{
    for (size_t i = 0; i < score->model.objectives; i++) {
        const struct obj_state *state = &team->objectives[i];
        int64_t held_ms, open_ms;
        objective_count(score, state, &held_ms, &open_ms);
        put(sink, state->status | state->overridden << 8 | state->override_met << 9 |
                      state->started_met << 10 | state->over << 11);
        put(sink, state->opened_ex_ms);
        put(sink, state->met_ex_ms);
        put(sink, state->ended_ex_ms);
        put(sink, held_ms);
        put(sink, open_ms);
        put(sink, state->cause);
    }
    for (size_t i = 0; i < score->model.phases; i++) {
        put(sink, team->phases[i].begun_ex_ms);
        put(sink, team->phases[i].done_ex_ms);
        put(sink, team->phases[i].begun_cause);
        put(sink, team->phases[i].done_cause);
    }
    for (size_t i = 0; i < score->model.services; i++) {
        const struct service_state *state = &team->services[i];
        put(sink, state->passed);
        put(sink, state->failed);
        put(sink, state->waived);
        put(sink, state->unknown);
        put(sink, state->absent);
        put(sink, state->misses_in_a_row);
        put(sink, state->absent_in_a_row);
        put(sink, state->penalties);
        put(sink, state->last);
    }
}

static void put_team(struct sink *sink, const struct es_score *score,
                     const struct team *team)
{
    put_conditions(sink, score, team);
    for (size_t i = 0; i < score->model.facts; i++) {
        put(sink, team->facts[i].first_ex_ms);
        put(sink, team->facts[i].cause);
        put(sink, team->facts[i].now);
    }
    put_judging(sink, score, team);
    for (size_t i = 0; i < score->model.nodes; i++)
        put(sink, team->nodes[i].down | team->nodes[i].fault << 1 |
                      (int64_t)team->nodes[i].instance << 8);
    for (size_t i = 0; i < score->model.part_count; i++)
        put(sink, team->part_points_mpts[i]);
    put(sink, team->loose_mpts);
}

static void put_log(struct sink *sink, const struct es_score *score)
{
    for (size_t i = 0; i < score->log_count; i++) {
        const struct reason *reason = &score->log[i];
        put(sink, reason->ex_ms);
        put(sink, reason->pos);
        put(sink, reason->mpts);
        put(sink, reason->team | (int64_t)reason->kind << 32);
        put(sink, reason->subject | (int64_t)reason->verdict << 32);
        put(sink, reason->first);
        put(sink, reason->last);
    }
}

static void put_seen(struct sink *sink, const struct seen *seen)
{
    /* The rows' places depend on growth, so their hashes are added up. */
    uint64_t sum = 0;
    for (size_t i = 0; i < seen->cap; i++) {
        const struct seen_row *row = &seen->rows[i];
        if (row->instance == 0)
            continue;
        uint64_t hash = row->instance * 0x9e3779b97f4a7c15ULL + (uint64_t)row->seq;
        for (uint32_t e = 0; e < row->epoch_count; e++)
            hash = (hash ^ row->epochs[e]) * 0xbf58476d1ce4e5b9ULL;
        sum += hash ^ hash >> 31;
    }
    put(sink, (int64_t)seen->count);
    put(sink, (int64_t)sum);
}

void es_score_digest(const struct es_score *score, char ret_hex[65])
{
    ES_ASSERT(score != NULL && ret_hex != NULL);
    struct sink sink = {.count = 0};
    unsigned char hash[32];
    ES_ASSERT(sodium_init() >= 0);
    crypto_generichash_init(&sink.hash, NULL, 0, sizeof hash);
    put(&sink, score->now_ms);
    put(&sink, score->jumped_ms);
    put(&sink, score->started | score->stopped << 1);
    put(&sink, score->speed_permille);
    put(&sink, score->team_count);
    for (int i = 0; i < score->team_count; i++)
        put_team(&sink, score, &score->teams[i]);
    for (size_t i = 0; i < score->model.services; i++)
        put(&sink, score->rounds[i]);
    for (size_t i = 0; i < score->void_count; i++)
        put(&sink, score->voids[i].pos);
    put_log(&sink, score);
    put_seen(&sink, &score->seen);
    flush(&sink);
    crypto_generichash_final(&sink.hash, hash, sizeof hash);
    sodium_bin2hex(ret_hex, 65, hash, sizeof hash);
}
