/* The whole core under load: the program enshud over libvirt's test driver, simulated
 * agents on Unix sockets. Each agent tells RATE results a second of its machine's
 * condition, whether or not earlier ones were acknowledged; the core judges each, makes it
 * durable, acknowledges. One in twenty tells something new; the others are summed up in the
 * ledger. Then the rate rises until acknowledgements lag: the highest rate
 * held. At the end the ledger is read, hashes verified: every acknowledged result must be
 * there once.
 *
 *   bench-core [AGENTS [SECONDS [RATE]]]
 *
 * ENSHU_BIN names the folder of enshud; ENSHU_CORE_DIR where state and ledger lie (default
 * /tmp: a disk, most likely). The agents share the processors with the core. A table on
 * standard error, JSON on standard output. */
#include <check.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"
#include "enshu/store.h"

#define NODES   10
#define TICK_MS 10U
#define LAG_MS                                                                           \
    250 /* a rate is held when no more than this is unacknowledged at its end */
#define STEPS_MAX 14

struct told { /* by one agent */
    struct core_agent *agent;
    int64_t first;           /* seq of its first result under load */
    int64_t acked, in_store; /* how many since then */
};

struct load {
    struct core_world world;
    struct told *told;
    size_t agents, next;
    int64_t rate, seconds, made, refused, acked;
    uint64_t begun_ms, due;
    bool emitting;
    uv_timer_t tick;
    uint32_t *waits_us; /* of this step */
    size_t waits, waits_cap;
};

struct step {
    int64_t rate, made, refused, late;
    double p50_ms, p99_ms, max_ms, cpu_percent;
    bool held;
};

static struct load load;

static void die(const char *what)
{
    fprintf(stderr, "bench-core: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ------------------------------------------------------------------ the load */

static void on_acked(void *ctx, struct simagent *sim, const char *epoch, int64_t seq,
                     uint64_t waited_us)
{
    struct told *told = ctx;
    (void)sim;
    (void)epoch;
    if (told->first == 0 || seq < told->first)
        return;
    told->acked++;
    load.acked++;
    if (load.waits == load.waits_cap) {
        load.waits_cap = load.waits_cap != 0 ? 2 * load.waits_cap : 1U << 16;
        load.waits_us = realloc(load.waits_us, load.waits_cap * sizeof *load.waits_us);
        if (load.waits_us == NULL)
            die("no memory");
    }
    load.waits_us[load.waits++] =
        waited_us < UINT32_MAX ? (uint32_t)waited_us : UINT32_MAX;
}

/* What the core asks itself is told too, beside the load. */
static json_t *on_request(void *ctx, struct simagent *sim,
                          const struct es_request *request)
{
    struct told *told = ctx;
    (void)sim;
    told->agent->probe_id = request->id;
    load.made += told->first != 0;
    return json_pack("{s:b}", "exists", told->agent->exists);
}

/* One in twenty tells the other thing. */
static void tell(struct told *told)
{
    struct core_agent *agent = told->agent;
    bool exists = agent->exists != (load.due % 20 == 7);
    if (!simagent_emit(agent->sim, agent->probe_id,
                       json_pack("{s:b}", "exists", exists))) {
        load.refused++;
        return;
    }
    if (told->first == 0)
        told->first = simagent_counts(agent->sim)->last_seq;
    load.made++;
}

static void on_tick(uv_timer_t *timer)
{
    uint64_t now = uv_now(timer->loop);
    if (!load.emitting)
        return;
    uint64_t want =
        (now - load.begun_ms) * (uint64_t)load.rate * (uint64_t)load.agents / 1000;
    for (; load.due < want; load.due++)
        tell(&load.told[load.next++ % load.agents]);
}

static void make_scenario(struct es_buf *out)
{
    es_buf_puts(out, "enshu: 1\nname: load\ntitle: {en: Load}\n"
                     "languages: {default: en, complete: [en]}\n"
                     "networks: {lab: {cidr: 10.30.0.0/24}}\n"
                     "defaults: {node: {memory: 64 MiB}}\nnodes:\n");
    for (int i = 0; i < NODES; i++)
        es_buf_printf(out, "  n%d: {image: fake, networks: {lab: 10.30.0.%d}}\n", i,
                      i + 10);
    es_buf_puts(out, "conditions:\n");
    for (int i = 0; i < NODES; i++)
        es_buf_printf(out,
                      "  c%d: {node: n%d, file: {path: /tmp/bad, exists: false}, "
                      "every: 5s, timeout: 10s}\n",
                      i, i);
    es_buf_puts(out, "objectives:\n");
    for (int i = 0; i < NODES; i++)
        es_buf_printf(out, "  o%d: {title: {en: O}, when: c%d, points: 10}\n", i, i);
    es_buf_puts(out, "scoring: {model: drill, parts: {handling: 100}}\n");
}

/* A host with memory for all of them. */
static void write_host(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/node.xml", load.world.dir);
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs("<node><memory>1073741824</memory></node>", file) < 0 ||
        fclose(file) != 0)
        die("the host's description cannot be written");
}

/* Everything up, every machine asked once: its results then belong to a probe. */
static void begin(int teams)
{
    struct core_world *w = &load.world;
    struct es_buf text;
    es_buf_init(&text, 1U << 16);
    make_scenario(&text);
    cw_open(w, es_buf_str(&text), teams);
    es_buf_finish(&text);
    write_host();
    cw_agents(w, true);
    cw_start(w);
    if (cw_up(w) != 0)
        die(w->err.msg);
    load.told = calloc(w->plan->machine_count, sizeof *load.told);
    for (size_t i = 0; i < w->plan->machine_count; i++)
        if (w->agents[i].sim != NULL) {
            struct told *told = &load.told[load.agents++];
            told->agent = &w->agents[i];
            simagent_on_acked(w->agents[i].sim, on_acked, told);
            simagent_on_request(w->agents[i].sim, on_request, told);
        }
    cw_call(w, "start", NULL);
    for (size_t i = 0; i < load.agents; i++)
        while (load.told[i].agent->probe_id == 0)
            cw_step(w);
    uv_timer_init(&w->loop, &load.tick);
    uv_timer_start(&load.tick, on_tick, TICK_MS, TICK_MS);
}

/* ------------------------------------------------------------------ one rate */

static double core_cpu_s(void)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)load.world.pid);
    FILE *file = fopen(path, "r");
    const char *at = file != NULL && fgets(text, sizeof text, file) != NULL
                         ? strrchr(text, ')')
                         : NULL;
    if (at != NULL && sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                             &user, &system) != 2)
        user = system = 0;
    if (file != NULL)
        fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static long core_kib(const char *key)
{
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)load.world.pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = atol(line + strlen(key) + 1);
    if (file != NULL)
        fclose(file);
    return value;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double wait_ms(size_t permille)
{
    if (load.waits == 0)
        return 0;
    return (double)load.waits_us[(load.waits - 1) * permille / 1000] / 1000;
}

static struct step run_step(int64_t rate)
{
    struct core_world *w = &load.world;
    int64_t made = load.made, refused = load.refused;
    double cpu_s = core_cpu_s();
    load.waits = 0;
    load.rate = rate;
    load.due = 0;
    uv_update_time(&w->loop);
    load.begun_ms = uv_now(&w->loop);
    load.emitting = true;
    cw_pause(w, (uint64_t)load.seconds * 1000);
    load.emitting = false;
    cpu_s = core_cpu_s() - cpu_s;
    int64_t behind = load.seconds * rate * (int64_t)load.agents - (int64_t)load.due;
    int64_t late = load.made - load.acked;
    struct step step = {.rate = rate,
                        .made = load.made - made,
                        .refused = load.refused - refused,
                        .late = late,
                        .cpu_percent = cpu_s / (double)load.seconds * 100};
    while (load.acked < load.made)
        cw_step(w);
    qsort(load.waits_us, load.waits, sizeof *load.waits_us, by_size);
    step.p50_ms = wait_ms(500);
    step.p99_ms = wait_ms(990);
    step.max_ms = wait_ms(1000);
    /* A load that could not be made proves nothing about the core. */
    step.held = step.p99_ms <= 1000 &&
                step.late * 1000 <= rate * (int64_t)load.agents * LAG_MS &&
                step.refused == 0 && behind * 20 < step.made;
    fprintf(stderr,
            "  %6lld results/s: p50 %8.1f ms  p99 %8.1f ms  max %8.1f ms  core %4.0f %%"
            "  %s\n",
            (long long)(rate * (int64_t)load.agents), step.p50_ms, step.p99_ms,
            step.max_ms, step.cpu_percent,
            step.held                  ? "held"
            : behind * 20 >= step.made ? "the agents could not make that many"
                                       : "lagging");
    return step;
}

/* ------------------------------------------------------------------ the ledger */

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *twice = ctx;
    static int64_t last[1U << 20];
    size_t index = event->instance / 1024;
    long long first = event->seq, told = 1;
    if ((event->type != ES_EV_OBSERVED && event->type != ES_EV_STEADY) ||
        event->seq == 0 || index == 0 || index >= ES_COUNT(last))
        return 0;
    if (event->type == ES_EV_STEADY &&
        sscanf(event->text,
               "{\"count\":%*d,\"told\":%lld,\"first_ms\":%*d,\"first_seq\":%lld", &told,
               &first) != 2)
        die("an event cannot be read");
    /* One epoch each, and one condition: numbers rise, or something is there twice. */
    if (first <= last[index] || event->seq - first + 1 != told)
        ++*twice;
    last[index] = event->seq;
    for (size_t i = 0; i < load.agents; i++) {
        size_t at = (index - 1 + i) % load.agents;
        if ((size_t)load.told[at].agent->index != index - 1)
            continue;
        if (load.told[at].first != 0 && event->seq >= load.told[at].first)
            load.told[at].in_store +=
                event->seq - (first > load.told[at].first ? first : load.told[at].first) +
                1;
        break;
    }
    return 0;
}

static int64_t check_ledger(int64_t *ret_twice, int64_t *ret_events)
{
    char path[256];
    struct es_store *store = NULL;
    struct es_err err = {0};
    int64_t lost = 0;
    snprintf(path, sizeof path, "%s/ranges/" CORE_RANGE "/ledger.db", load.world.state);
    *ret_twice = 0;
    if (es_store_open(path, false, &store, &err) != 0 ||
        es_store_read(store, 1, true, on_event, ret_twice, &err) != 0)
        die(err.msg);
    *ret_events = es_store_head(store);
    es_store_close(store);
    for (size_t i = 0; i < load.agents; i++)
        if (load.told[i].acked > load.told[i].in_store)
            lost += load.told[i].acked - load.told[i].in_store;
    return lost;
}

/* ------------------------------------------------------------------ results */

static json_t *step_json(const struct step *step)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:I, s:b}", "results_per_s",
                     (json_int_t)(step->rate * (int64_t)load.agents), "made",
                     (json_int_t)step->made, "p50_ms", step->p50_ms, "p99_ms",
                     step->p99_ms, "max_ms", step->max_ms, "core_cpu_percent",
                     step->cpu_percent, "unacked_at_end", (json_int_t)step->late, "held",
                     (int)step->held);
}

static int64_t climb(json_t *steps, int64_t rate, struct step *ret_first,
                     long *ret_rss_kib)
{
    int64_t best = 0;
    for (int i = 0; i < STEPS_MAX; i++) {
        struct step step = run_step(rate);
        json_array_append_new(steps, step_json(&step));
        if (i == 0) {
            *ret_first = step;
            *ret_rss_kib = core_kib("VmRSS");
        }
        if (!step.held)
            break;
        best = rate * (int64_t)load.agents;
        rate = rate + (rate >= 2 ? rate / 2 : 1);
    }
    return best;
}

/* Nothing more is told; what is steady becomes an event. */
static void sum_up(void)
{
    for (size_t i = 0; i < load.agents; i++)
        simagent_set_mode(load.told[i].agent->sim, SIMAGENT_NEVER, 0);
    while (load.acked < load.made)
        cw_step(&load.world);
    cw_call(&load.world, "pause", NULL);
}

static void close_all(void)
{
    struct core_world *w = &load.world;
    uv_close((uv_handle_t *)&load.tick, NULL);
    cw_close(w);
    free(load.told);
    free(load.waits_us);
}

static int64_t agents = 1000, rate = 4;

static void report(const struct step *first, int64_t best, json_t *json)
{
    int64_t twice, events, lost = check_ledger(&twice, &events);
    fprintf(stderr,
            "  acknowledged %lld, lost %lld, twice %lld\n  highest rate held %lld/s\n",
            (long long)load.acked, (long long)lost, (long long)twice, (long long)best);
    json_t *sums = json_pack("{s:f, s:I, s:I, s:I, s:I, s:I}", "p99_ms", first->p99_ms,
                             "acked", (json_int_t)load.acked, "lost", (json_int_t)lost,
                             "twice", (json_int_t)twice, "ledger_events",
                             (json_int_t)events, "highest_held_per_s", (json_int_t)best);
    json_object_update(json, sums);
    json_decref(sums);
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
}

START_TEST(bench)
{
    struct step first = {0};
    long rss_kib = 0;
    uint64_t from = uv_hrtime();
    begin((int)(agents / NODES));
    double up_ms = (double)(uv_hrtime() - from) / 1e6;
    long idle_kib = core_kib("VmRSS");
    fprintf(stderr, "the core with %zu simulated agents, up and asked after %.0f ms\n",
            load.agents, up_ms);
    json_t *steps = json_array();
    int64_t best = climb(steps, rate, &first, &rss_kib);
    long peak_kib = core_kib("VmHWM");
    sum_up();
    cw_end(&load.world);
    fprintf(stderr, "  core %.0f MB before, %.0f MB at %lld/s, %.0f MB at most\n",
            (double)idle_kib / 1024, (double)rss_kib / 1024,
            (long long)(rate * (int64_t)load.agents), (double)peak_kib / 1024);
    json_t *json =
        json_pack("{s:s, s:I, s:f, s:I, s:I, s:I, s:o}", "bench", "core", "agents",
                  (json_int_t)load.agents, "up_ms", up_ms, "idle_rss_kib",
                  (json_int_t)idle_kib, "rss_kib", (json_int_t)rss_kib, "peak_rss_kib",
                  (json_int_t)peak_kib, "steps", steps);
    report(&first, best, json);
    json_decref(json);
    close_all();
}
END_TEST

/* The world of the tests reports through check, so this runs as a test of it. */
static int run_in_check(void)
{
    Suite *suite = suite_create("bench");
    TCase *tcase = tcase_create("core");
    tcase_add_test(tcase, bench);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    if (failed > 0) {
        TestResult **results = srunner_failures(runner);
        fprintf(stderr, "bench-core: %s\n", tr_msg(results[0]));
        if (load.world.pid > 0)
            kill(load.world.pid, SIGKILL);
        free(results);
    }
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    load.seconds = 10;
    if ((argc > 1 && es_str_int(argv[1], NODES, 2000, &agents) != 0) ||
        (argc > 2 && es_str_int(argv[2], 1, 3600, &load.seconds) != 0) ||
        (argc > 3 && es_str_int(argv[3], 1, 1000, &rate) != 0)) {
        fprintf(stderr, "usage: bench-core [AGENTS [SECONDS [RATE]]]\n");
        return 64;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setenv("ENSHU_CORE_DIR", "/tmp", 0);
    setenv("ENSHU_BIN", "build/release/bin", 0);
    es_wire_use_allocator();
    return run_in_check();
}
