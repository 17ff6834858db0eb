/* The ledger's numbers: durable events a second, read + verify, read + verify + fold.
 * Usage: bench-store [FOLDER [EVENTS]]. A table on standard error, JSON on standard
 * output. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/store.h"

static int64_t clock_us(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t now_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

static void check(int status, const struct es_err *err)
{
    if (status == 0)
        return;
    fprintf(stderr, "bench-store: %s\n", err->msg);
    exit(EXIT_FAILURE);
}

/* ------------------------------------------------------------------ what is folded */

#define TEAMS     20
#define NODES     4
#define PROBES    12 /* three on each node */
#define INSTANCES (TEAMS * NODES)

/* Twelve probes, all/any of them, objectives met once and held, phases, two services. */
static const struct es_scenario *make_scenario(void)
{
    static struct es_node nodes[NODES];
    static struct es_condition conds[PROBES + 4];
    static const int parts[4][3] = {{0, 4, 8}, {1, 5, 9}, {2, 6, 10}, {3, 7, 11}};
    static struct es_objective objectives[8];
    static struct es_phase phases[3];
    static struct es_service services[2];
    static struct es_fact facts[2 * (ES_COUNT(conds) + ES_COUNT(objectives) +
                                     ES_COUNT(phases) + ES_COUNT(nodes))];
    static const struct es_part part = {"handling", 100};
    static struct es_scenario scenario = {.name = "bench",
                                          .scoring = {.parts = &part, .part_count = 1}};
    static const enum es_fact_kind kinds[] = {
        ES_FACT_CONDITION_PASS, ES_FACT_CONDITION_FAIL, ES_FACT_OBJECTIVE_MET,
        ES_FACT_OBJECTIVE_LOST, ES_FACT_PHASE_BEGUN,    ES_FACT_PHASE_DONE,
        ES_FACT_NODE_RESET,     ES_FACT_NODE_DOWN};
    for (int i = 0; i < (int)ES_COUNT(conds); i++) {
        conds[i] = (struct es_condition){.name = "c",
                                         .kind = ES_COND_PROBE,
                                         .node = i / 3,
                                         .prober = -1,
                                         .control = -1,
                                         .fact = -1,
                                         .of = -1,
                                         .within_ms = -1,
                                         .every_ms = 20000,
                                         .timeout_ms = 5000,
                                         .for_ms = i % 4 == 3 ? 60000 : 0};
        conds[i].probe.kind = ES_PROBE_file;
        if (i < PROBES)
            continue;
        conds[i].kind = i % 2 == 0 ? ES_COND_ALL : ES_COND_ANY;
        conds[i].node = -1;
        conds[i].parts = parts[i - PROBES];
        conds[i].part_count = 3;
    }
    for (int i = 0; i < (int)ES_COUNT(objectives); i++)
        objectives[i] =
            (struct es_objective){.name = "o",
                                  .phase = -1,
                                  .when = 2 * i,
                                  .judged = i < 6 ? ES_JUDGED_ONCE : ES_JUDGED_HELD,
                                  .points = 10,
                                  .part = part.name};
    for (int i = 0; i < (int)ES_COUNT(phases); i++)
        phases[i] = (struct es_phase){.name = "p", .done = i};
    for (int i = 0; i < (int)ES_COUNT(services); i++)
        services[i] = (struct es_service){.name = "s",
                                          .condition = PROBES + i,
                                          .round_ms = 60000,
                                          .points = 1,
                                          .part = part.name};
    for (int i = 0; i < (int)ES_COUNT(nodes); i++)
        nodes[i].name = "n";
    const int counts[] = {ES_COUNT(conds), ES_COUNT(objectives), ES_COUNT(phases),
                          ES_COUNT(nodes)};
    size_t fact = 0;
    for (size_t k = 0; k < ES_COUNT(kinds); k++)
        for (int i = 0; i < counts[k / 2]; i++)
            facts[fact++] = (struct es_fact){"f", kinds[k], i};
    scenario.nodes = nodes;
    scenario.nodes_count = ES_COUNT(nodes);
    scenario.conditions = conds;
    scenario.conditions_count = ES_COUNT(conds);
    scenario.objectives = objectives;
    scenario.objectives_count = ES_COUNT(objectives);
    scenario.phases = phases;
    scenario.phases_count = ES_COUNT(phases);
    scenario.services = services;
    scenario.services_count = ES_COUNT(services);
    scenario.facts = facts;
    scenario.facts_count = fact;
    return &scenario;
}

/* The mix, an eight-hour exercise of 20 teams: of 100 events 82 steady observations, 14
 * changes with a reason and a reference to evidence, 2 of machines, 1 intent, 1 outcome;
 * what is read back lies in batches of 100. */
static void make_event(struct es_event *event, int64_t n, int64_t total)
{
    static const char why[] =
        "{\"why\":\"status is 502, expected 200\",\"evidence\":"
        "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"}";
    static bool failing[TEAMS][PROBES];
    int64_t kind = n % 100, turn = n / INSTANCES;
    int machine = (int)(n % INSTANCES);
    int team = machine / NODES, node = machine % NODES;
    *event = (struct es_event){.ex_ms = n * 28800 / (total / 1000),
                               .type = ES_EV_OBSERVED,
                               .team = team + 1,
                               .subject = node};
    if (n == 0) {
        *event = (struct es_event){
            .type = ES_EV_CLOCK, .team = -1, .a = ES_CLOCK_RUNNING, .b = 1000};
    } else if (kind < 96) {
        event->subject = node * 3 + (int)(turn % 3);
        bool *fails = &failing[team][event->subject];
        if (kind >= 82)
            *fails = !*fails;
        event->a = *fails ? ES_OUTCOME_FAIL : ES_OUTCOME_PASS;
        event->instance = (uint32_t)machine + 1;
        event->epoch = 0x9f86d081884c7d65U + (uint64_t)machine;
        event->seq = turn + 1;
        event->text = kind < 82 ? NULL : why;
    } else if (kind < 98) {
        event->type = ES_EV_MACHINE;
        event->a = ES_MEV_READY;
        event->instance = (uint32_t)machine + 1;
    } else {
        event->type = kind == 98 ? ES_EV_INTENT : ES_EV_OUTCOME;
        event->b = n / 100;
        event->text = "{\"what\":\"inject\",\"by\":\"storyline\"}";
    }
}

/* ------------------------------------------------------------------ writing */

static struct es_store *fresh(const char *path)
{
    struct es_store *store = NULL;
    struct es_err err = {0};
    static const char *const ends[] = {"", "-wal", "-reserve", "-shm"};
    for (size_t i = 0; i < ES_COUNT(ends); i++) {
        char file[4096];
        snprintf(file, sizeof file, "%s%s", path, ends[i]);
        unlink(file);
    }
    check(es_store_open(path, true, &store, &err), &err);
    return store;
}

static void fill(struct es_store *store, int64_t total, size_t batch)
{
    static struct es_event events[ES_STORE_BATCH_MAX];
    struct es_clock_mark mark = {.boot_id = "8f3a2c1e-0000-4000-8000-0123456789ab",
                                 .state = ES_CLOCK_RUNNING,
                                 .speed_permille = 1000};
    struct es_err err = {0};
    for (int64_t n = 0; n < total; n += (int64_t)batch) {
        for (size_t i = 0; i < batch; i++)
            make_event(&events[i], n + (int64_t)i, total);
        mark.ex_ms = events[batch - 1].ex_ms;
        mark.boottime_ms = mark.ex_ms;
        check(es_store_append(store, &mark, events, batch, &err), &err);
    }
}

static double rate(int64_t count, int64_t took_us)
{
    return (double)count * 1e6 / (double)(took_us > 0 ? took_us : 1);
}

static json_t *durable(const char *path, int64_t total, size_t batch)
{
    struct es_store *store = fresh(path);
    int64_t began = now_us();
    fill(store, total, batch);
    int64_t took = now_us() - began;
    es_store_close(store);
    double per_s = rate(total, took);
    fprintf(stderr, "  durable, batches of %-5zu %12.0f events/s %10.1f us/batch\n",
            batch, per_s, (double)took * (double)batch / (double)total);
    return json_pack("{s:I, s:I, s:f}", "batch", (json_int_t)batch, "events",
                     (json_int_t)total, "events_per_s", per_s);
}

/* ------------------------------------------------------------------ reading */

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *sum = ctx;
    *sum += event->a;
    return 0;
}

/* The best of three, by the clock and by the processor's time, which a busy machine
 * changes less. */
struct rates {
    double wall, cpu;
};

struct lap {
    int64_t wall_us, cpu_us;
};

static struct lap lap_begin(void)
{
    return (struct lap){now_us(), clock_us(CLOCK_PROCESS_CPUTIME_ID)};
}

static void lap_end(const struct lap *lap, int64_t count, struct rates *best)
{
    double wall = rate(count, now_us() - lap->wall_us);
    double cpu = rate(count, clock_us(CLOCK_PROCESS_CPUTIME_ID) - lap->cpu_us);
    best->wall = wall > best->wall ? wall : best->wall;
    best->cpu = cpu > best->cpu ? cpu : best->cpu;
}

static json_t *show(const char *what, const struct rates *rates)
{
    fprintf(stderr, "  %-25s %12.0f events/s %10.0f a second of CPU\n", what, rates->wall,
            rates->cpu);
    return json_pack("{s:f, s:f}", "events_per_s", rates->wall, "events_per_cpu_s",
                     rates->cpu);
}

static json_t *read_all(struct es_store *store, bool verify, const char *what)
{
    struct es_err err = {0};
    struct rates best = {0};
    int64_t sum = 0;
    for (int i = 0; i < 3; i++) {
        struct lap lap = lap_begin();
        check(es_store_read(store, 1, verify, on_event, &sum, &err), &err);
        lap_end(&lap, es_store_head(store), &best);
    }
    return show(what, &best);
}

struct rescore {
    struct es_score *score;
    struct es_err err;
};

#define CORRECTIONS (1U << ES_EV_VOID | 1U << ES_EV_POINTS | 1U << ES_EV_OVERRIDE)

static int on_correct(void *ctx, const struct es_event *event)
{
    struct rescore *rescore = ctx;
    return es_score_correct(rescore->score, event, &rescore->err);
}

static int on_fold(void *ctx, const struct es_event *event)
{
    struct rescore *rescore = ctx;
    return es_score_apply(rescore->score, event, &rescore->err);
}

static json_t *rescore(struct es_store *store)
{
    struct rates best = {0};
    for (int i = 0; i < 3; i++) {
        struct rescore rescore = {0};
        struct es_err err = {0};
        check(es_score_create(make_scenario(), TEAMS, NULL, NULL, &rescore.score, &err),
              &err);
        struct lap lap = lap_begin();
        int status = es_store_read_types(store, CORRECTIONS, on_correct, &rescore, &err);
        if (status == 0)
            status = es_store_read(store, 1, true, on_fold, &rescore, &err);
        lap_end(&lap, es_store_head(store), &best);
        check(status, rescore.err.code != 0 ? &rescore.err : &err);
        if (es_score_total_mpts(rescore.score, 1) == 0)
            fprintf(stderr, "bench-store: the fold gave no point\n");
        es_score_destroy(rescore.score);
    }
    return show("rescore: verify + fold", &best);
}

int main(int argc, char **argv)
{
    char path[4096];
    int64_t total = 1000000;
    snprintf(path, sizeof path, "%s/bench-ledger", argc > 1 ? argv[1] : "/tmp");
    if (argc > 2 && es_str_int(argv[2], 10000, 100000000, &total) < 0) {
        fprintf(stderr, "usage: bench-store [FOLDER [EVENTS, at least 10000]]\n");
        return EXIT_FAILURE;
    }
    total -= total % 1000;
    fprintf(stderr, "ledger\n");
    json_t *rows = json_array();
    json_array_append_new(rows, durable(path, 2000, 1));
    json_array_append_new(rows, durable(path, 200000, 1000));
    json_array_append_new(rows, durable(path, total, 100));
    struct es_store *store = NULL;
    struct es_err err = {0};
    check(es_store_open(path, false, &store, &err), &err);
    json_t *plain = read_all(store, false, "read");
    json_t *verified = read_all(store, true, "read + verify");
    json_t *folded = rescore(store);
    es_store_close(store);
    json_t *result = json_pack("{s:o, s:I, s:o, s:o, s:o}", "durable", rows, "events",
                               (json_int_t)total, "read", plain, "read_verify", verified,
                               "rescore", folded);
    json_dumpf(result, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(result);
    return EXIT_SUCCESS;
}
