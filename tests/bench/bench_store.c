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

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void check(int status, const struct es_err *err)
{
    if (status == 0)
        return;
    fprintf(stderr, "bench-store: %s\n", err->msg);
    exit(EXIT_FAILURE);
}

/* The mix: of 100 events 82 steady observations, 14 with a reason and a reference to
 * evidence, 2 of machines, 1 intent, 1 outcome. */
static void make_event(struct es_event *event, int64_t n)
{
    static const char why[] =
        "{\"why\":\"status is 502, expected 200\",\"evidence\":"
        "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"}";
    int64_t kind = n % 100;
    *event = (struct es_event){.ex_ms = n / 20, .type = ES_EV_OBSERVED};
    event->team = 1 + (int)(n % 20);
    event->subject = (int)(n / 20 % 12);
    if (kind < 96) {
        event->a = kind < 82 ? ES_OUTCOME_PASS : ES_OUTCOME_FAIL;
        event->instance = (uint32_t)(n % 80 + 1);
        event->epoch = 0x9f86d081884c7d65U + (uint64_t)(n % 80);
        event->seq = n / 80 + 1;
        event->text = kind < 82 ? NULL : why;
    } else if (kind < 98) {
        event->type = ES_EV_MACHINE;
        event->a = ES_MEV_READY;
        event->instance = (uint32_t)(n % 80 + 1);
    } else {
        event->type = kind == 98 ? ES_EV_INTENT : ES_EV_OUTCOME;
        event->b = n / 100;
        event->text = "{\"what\":\"inject\",\"by\":\"storyline\"}";
    }
}

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
            make_event(&events[i], n + (int64_t)i);
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
    fprintf(stderr, "  durable, batches of %-5zu %12.0f events/s %10.1f us/batch\n", batch,
            per_s, (double)took * (double)batch / (double)total);
    return json_pack("{s:I, s:I, s:f}", "batch", (json_int_t)batch, "events",
                     (json_int_t)total, "events_per_s", per_s);
}

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *sum = ctx;
    *sum += event->a;
    return 0;
}

static double read_all(struct es_store *store, bool verify, const char *what,
                       int (*each)(void *ctx, const struct es_event *event), void *ctx)
{
    struct es_err err = {0};
    double best = 0;
    for (int i = 0; i < 3; i++) {
        int64_t began = now_us();
        check(es_store_read(store, 1, verify, each, ctx, &err), &err);
        double per_s = rate(es_store_head(store), now_us() - began);
        if (per_s > best)
            best = per_s;
    }
    fprintf(stderr, "  %-25s %12.0f events/s\n", what, best);
    return best;
}

int main(int argc, char **argv)
{
    char path[4096];
    int64_t total = 1000000, sum = 0;
    snprintf(path, sizeof path, "%s/bench-ledger", argc > 1 ? argv[1] : "/tmp");
    if (argc > 2 && es_str_int(argv[2], 10000, 100000000, &total) < 0) {
        fprintf(stderr, "usage: bench-store [FOLDER [EVENTS, at least 10000]]\n");
        return EXIT_FAILURE;
    }
    total -= total % 1000;
    fprintf(stderr, "ledger\n");
    json_t *rows = json_array();
    json_array_append_new(rows, durable(path, 2000, 1));
    json_array_append_new(rows, durable(path, 100000, 100));
    json_array_append_new(rows, durable(path, total, 1000));
    struct es_store *store = NULL;
    struct es_err err = {0};
    check(es_store_open(path, false, &store, &err), &err);
    double plain = read_all(store, false, "read", on_event, &sum);
    double verified = read_all(store, true, "read + verify", on_event, &sum);
    es_store_close(store);
    json_t *result = json_pack("{s:o, s:I, s:f, s:f}", "durable", rows, "events",
                               (json_int_t)total, "read_events_per_s", plain,
                               "read_verify_events_per_s", verified);
    json_dumpf(result, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(result);
    return EXIT_SUCCESS;
}
