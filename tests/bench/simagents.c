/* enshu-simagents DIR N RATE [LOG]: N simulated agents in one process, for load and crash
 * tests.
 *
 * They listen on DIR/agent-0000.sock …, answer every request, and each makes RATE results
 * a second on its own (0: none) once all have been synchronised, with ids from 2^51 on and evidence {"sim": NUMBER}. Each
 * acknowledged result is a line "AGENT EPOCH SEQ" in LOG (default DIR/acked.log), written
 * before anything else happens, so that the log can be compared with a ledger after a
 * crash of the core. SIGTERM, SIGINT or the end of standard input ends it with one line of
 * JSON: results made, acknowledged, still held, refused because too many were held, and the
 * time from a result's birth to its acknowledgement in microseconds. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/simagent.h"
#include "enshu/common/str.h"

#define AGENTS_MAX 20000
#define TICK_MS    20U
#define BUCKETS    64U /* per power of two there are four */

static struct simagent **agents;
static int64_t agent_count, rate, made, refused, acked;
static int64_t next_id = 1LL << 51;
static uint64_t begun_ms, due; /* results made so far, were there no refusals */
static uint64_t buckets[BUCKETS * 4];
static FILE *log_file;
static uv_loop_t loop;

static size_t bucket_of(uint64_t us)
{
    if (us < 4)
        return (size_t)us;
    unsigned top = 63U - (unsigned)__builtin_clzll(us);
    return top * 4 + (size_t)(us >> (top - 2) & 3);
}

static uint64_t bucket_end(size_t bucket)
{
    return bucket < 8 ? bucket : (4 + (bucket & 3) + 1) << (bucket / 4 - 2);
}

static uint64_t percentile(uint64_t permille)
{
    uint64_t sum = 0, want = ((uint64_t)acked * permille + 999) / 1000;
    for (size_t i = 0; i < ES_COUNT(buckets); i++) {
        sum += buckets[i];
        if (sum >= want && sum != 0)
            return bucket_end(i);
    }
    return 0;
}

static void on_acked(void *ctx, struct simagent *agent, const char *epoch, int64_t seq,
                     uint64_t waited_us)
{
    (void)agent;
    acked++;
    buckets[bucket_of(waited_us)]++;
    fprintf(log_file, "%d %s %" PRId64 "\n", *(const int *)ctx, epoch, seq);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
    static bool started;
    for (int64_t i = 0; i < agent_count && !started; i++)
        if (simagent_counts(agents[i])->syncs == 0)
            return;
    if (!started)
        begun_ms = uv_now(&loop);
    started = true;
    uint64_t want = (uv_now(&loop) - begun_ms) * (uint64_t)(rate * agent_count) / 1000;
    for (; due < want; due++) {
        json_t *evidence = json_pack("{s:I}", "sim", (json_int_t)due);
        if (evidence == NULL)
            return;
        if (simagent_emit(agents[due % (uint64_t)agent_count], next_id++, evidence))
            made++;
        else
            refused++;
    }
}

static void on_beat(uv_timer_t *timer)
{
    (void)timer;
    for (int64_t i = 0; i < agent_count; i++)
        simagent_beat(agents[i]);
}

/* The log is in the kernel's hands before the loop waits again. */
static void on_prepare(uv_prepare_t *prepare)
{
    (void)prepare;
    fflush(log_file);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    uv_stop(signal->loop);
}

static void on_stdin(uv_poll_t *poll, int status, int events)
{
    char bytes[256];
    (void)events;
    if (status < 0 || fread(bytes, 1, sizeof bytes, stdin) == 0)
        uv_stop(poll->loop);
}

static void report(void)
{
    int64_t held = 0;
    for (int64_t i = 0; i < agent_count; i++)
        held += simagent_counts(agents[i])->held;
    printf("{\"agents\": %" PRId64 ", \"made\": %" PRId64 ", \"refused\": %" PRId64
           ", \"acked\": %" PRId64 ", \"held\": %" PRId64 ", \"p50_us\": %" PRIu64
           ", \"p99_us\": %" PRIu64 ", \"max_us\": %" PRIu64 "}\n",
           agent_count, made, refused, acked, held, percentile(500), percentile(990),
           percentile(1000));
}

static int listen_all(const char *dir)
{
    static int numbers[AGENTS_MAX];
    char path[4096];
    for (int i = 0; i < agent_count; i++) {
        int rc;
        snprintf(path, sizeof path, "%s/agent-%04d.sock", dir, i);
        numbers[i] = i;
        agents[i] = simagent_create(&loop, path, &rc);
        if (agents[i] == NULL) {
            fprintf(stderr, "enshu-simagents: cannot listen on %s: %s\n", path,
                    uv_strerror(rc));
            return -1;
        }
        simagent_on_acked(agents[i], on_acked, &numbers[i]);
    }
    return 0;
}

static void run(void)
{
    static uv_timer_t tick, beat;
    static uv_prepare_t prepare;
    static uv_signal_t term, interrupt;
    static uv_poll_t input;
    uv_timer_init(&loop, &tick);
    uv_timer_init(&loop, &beat);
    uv_prepare_init(&loop, &prepare);
    uv_signal_init(&loop, &term);
    uv_signal_init(&loop, &interrupt);
    uv_signal_start(&term, on_signal, SIGTERM);
    uv_signal_start(&interrupt, on_signal, SIGINT);
    uv_prepare_start(&prepare, on_prepare);
    uv_timer_start(&beat, on_beat, 30000, 30000);
    /* Not a terminal's or a plain file's: those cannot say that they ended this way. */
    if (uv_guess_handle(0) == UV_NAMED_PIPE && uv_poll_init(&loop, &input, 0) == 0)
        uv_poll_start(&input, UV_READABLE | UV_DISCONNECT, on_stdin);
    if (rate > 0)
        uv_timer_start(&tick, on_tick, TICK_MS, TICK_MS);
    printf("ready\n");
    fflush(stdout);
    uv_run(&loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    char log_path[4096];
    if (argc < 4 || argc > 5 || es_str_int(argv[2], 1, AGENTS_MAX, &agent_count) != 0 ||
        es_str_int(argv[3], 0, 100000, &rate) != 0) {
        fprintf(stderr, "usage: enshu-simagents DIR N RATE [LOG]\n");
        return 64;
    }
    es_wire_use_allocator();
    signal(SIGPIPE, SIG_IGN);
    snprintf(log_path, sizeof log_path, "%s/acked.log", argv[1]);
    log_file = fopen(argc == 5 ? argv[4] : log_path, "w");
    agents = calloc((size_t)agent_count, sizeof *agents);
    if (log_file == NULL || agents == NULL || uv_loop_init(&loop) != 0) {
        fprintf(stderr, "enshu-simagents: cannot write %s\n",
                argc == 5 ? argv[4] : log_path);
        return 74;
    }
    if (listen_all(argv[1]) != 0)
        return 74;
    run();
    fclose(log_file);
    report();
    return 0;
}
