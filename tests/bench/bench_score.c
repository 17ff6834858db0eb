/* The fold alone: events a second on a stated mix, without reading or hashing a ledger.
 *
 * The mix: 20 teams, each 30 probes (10 of them with `for:`), 10 composites, 15 objectives,
 * 4 phases, 3 services; observations round robin, each probe every 20 s of exercise time,
 * one in 20 of them another outcome than before; one machine event in 2000. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../tests/support/score_world.h"

enum { TEAMS = 20, PROBES = 30 };

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void make_world(struct world *world)
{
    world_init(world);
    world_part(world, "uptime", 10);
    for (int i = 0; i < PROBES; i++) {
        int probe = world_probe(world);
        world->conds[probe].for_ms = i % 3 == 0 ? 60000 : 0;
    }
    for (int i = 0; i < 10; i++) {
        int parts[3] = {i, i + 10, i + 20};
        int all =
            world_composite(world, i % 2 == 0 ? ES_COND_ALL : ES_COND_ANY, 0, 3, parts);
        world->conds[all].for_ms = i % 4 == 0 ? 60000 : 0;
    }
    for (int i = 0; i < 15; i++) {
        int objective = world_objective(world, i * 2, 10);
        world->objectives[objective].judged = (enum es_judged)(i % 3);
    }
    for (int i = 0; i < 4; i++)
        world_phase(world, PROBES + i);
    for (int i = 0; i < 3; i++)
        world->services[world_service(world, i, 60000, 5)].part = "uptime";
}

static void make_events(struct es_event *events, size_t count)
{
    static int last[TEAMS][PROBES];
    struct world_rng rng = {42};
    memset(last, 0, sizeof last);
    events[0] = (struct es_event){
        .pos = 1, .type = ES_EV_CLOCK, .team = -1, .a = ES_CLOCK_RUNNING, .b = 1000};
    for (size_t i = 1; i < count; i++) {
        size_t slot = i % (TEAMS * PROBES);
        int team = (int)(slot / PROBES), probe = (int)(slot % PROBES);
        struct es_event *event = &events[i];
        *event = (struct es_event){.pos = (int64_t)i + 1,
                                   .ex_ms = (int64_t)(i * 20000 / (TEAMS * PROBES)),
                                   .type = ES_EV_OBSERVED,
                                   .team = team + 1,
                                   .subject = probe,
                                   .instance = (uint32_t)(team + 1),
                                   .epoch = 99,
                                   .seq = (int64_t)i};
        if (i % 2000 == 0) {
            event->type = ES_EV_MACHINE;
            event->subject = 0;
            event->a = ES_MEV_RESET;
            continue;
        }
        if (last[team][probe] == 0 || world_rng(&rng, 20) == 0)
            last[team][probe] =
                world_rng(&rng, 3) == 0 ? ES_OUTCOME_FAIL : ES_OUTCOME_PASS;
        event->a = last[team][probe];
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 2000000;
    static struct world world;
    struct es_event *events = calloc(count + 1, sizeof *events);
    if (events == NULL || count == 0)
        return 1;
    make_world(&world);
    make_events(events, count);
    int64_t best_ns = INT64_MAX;
    char hex[65];
    for (int round = 0; round < 5; round++) {
        struct es_score *score = world_fold(&world, TEAMS, NULL, NULL);
        int64_t from_ns = now_ns();
        for (size_t i = 0; i < count; i++)
            if (es_score_apply(score, &events[i], NULL) != 0)
                return 1;
        int64_t took_ns = now_ns() - from_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
        es_score_digest(score, hex);
        es_score_destroy(score);
    }
    int64_t per_second = (int64_t)count * 1000000000 / best_ns;
    fprintf(stderr,
            "  fold, no ledger           %12" PRId64 " events/s %10" PRId64 " ns/event\n",
            per_second, best_ns / (int64_t)count);
    printf("{\"bench\": \"score\", \"events\": %zu, \"ns_per_event\": %" PRId64
           ", \"events_per_s\": %" PRId64 ", \"digest\": \"%.16s\"}\n",
           count, best_ns / (int64_t)count, per_second, hex);
    free(events);
    world_finish(&world);
    return 0;
}
