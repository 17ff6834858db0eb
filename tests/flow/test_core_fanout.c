/* The core while it brings up three hundred machines: whoever asks is answered between two
 * events of the machines, the asker of `up` is told how far it is and not each step of each
 * machine, and watchers get snapshots that were coalesced. */
#include <check.h>
#include <string.h>
#include <sys/resource.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"

#define TEAMS    100
#define MACHINES (3 * TEAMS)
#define ANSWERS  5 /* at least so many while machines come up */

static const char scenario[] =
    "enshu: 1\n"
    "name: fanout\n"
    "title: {en: Fan-out}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes:\n"
    "  web: {image: fake, networks: {lab: 10.30.0.10}}\n"
    "  pc: {image: fake, networks: {lab: 10.30.0.11}}\n"
    "  db: {image: fake, networks: {lab: 10.30.0.12}}\n"
    "conditions:\n"
    "  clean: {node: web, file: {path: /tmp/bad, exists: true}, every: 60s}\n"
    "objectives:\n"
    "  cleaned: {title: {en: Clean}, when: clean, points: 100}\n";

static struct core_world w;

/* ---------------------------------------------------------------- who asks meanwhile */

struct asker {
    struct es_client *client;
    int64_t id;
    int answers, while_coming; /* in all; with some machines ready and some not */
    size_t last_ready;
    bool closed;
};

static void ask(struct asker *asker)
{
    struct es_err err = {0};
    if (es_client_call(asker->client, "status", NULL, &asker->id, &err) != 0)
        ck_abort_msg("status: %s", err.msg);
}

static void on_answer(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err)
{
    struct asker *asker = ctx;
    size_t i, ready = 0, all = 0;
    const json_t *m;
    if (id != asker->id || err != NULL)
        return;
    const json_t *range = json_array_get(json_object_get(result, "ranges"), 0);
    json_array_foreach (json_object_get(range, "machines"), i, m) {
        ready += es_str_eq(json_string_value(json_object_get(m, "state")), "ready");
        all++;
    }
    asker->answers++;
    asker->while_coming += ready > 0 && ready < MACHINES && all >= MACHINES;
    ck_assert_uint_ge(ready, asker->last_ready);
    asker->last_ready = ready;
    ask(asker);
}

static void on_closed(void *ctx, const struct es_err *why)
{
    (void)ctx;
    (void)why;
}

static void on_gone(void *ctx)
{
    struct asker *asker = ctx;
    asker->closed = true;
}

static const struct es_client_events asker_events = {.on_answer = on_answer,
                                                     .on_closed = on_closed};

/* ---------------------------------------------------------------- what is told */

static void check_progress(const json_t *progress)
{
    size_t i, summaries = 0, machines = 0;
    json_int_t last_done = 0;
    const json_t *event;
    json_array_foreach (progress, i, event) {
        machines += json_object_get(event, "machine") != NULL;
        const json_t *total = json_object_get(event, "total");
        if (total == NULL || json_integer_value(total) != MACHINES)
            continue;
        json_int_t done = json_integer_value(json_object_get(event, "done"));
        ck_assert_int_ge(done, last_done);
        ck_assert_int_le(done, MACHINES);
        ck_assert(done == 0 || json_object_get(event, "left_ms") != NULL);
        last_done = done;
        summaries++;
    }
    ck_assert_uint_eq(machines, 0); /* all went well */
    ck_assert_uint_ge(summaries, 1);
    ck_assert_uint_lt(json_array_size(progress), MACHINES);
}

static void raise_files(void)
{
    struct rlimit files;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    ck_assert_uint_gt(files.rlim_cur, 4 * MACHINES);
}

START_TEST(who_asks_is_answered_meanwhile)
{
    struct asker asker = {0};
    raise_files();
    cw_open(&w, scenario, TEAMS);
    cw_start(&w);
    cw_agents(&w, true);
    int rc = es_client_connect(&w.loop, w.socket, &asker_events, &asker, &asker.client,
                               &w.err);
    ck_assert_msg(rc == 0, "%s", w.err.msg);
    ask(&asker);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    ck_assert_int_ge(asker.while_coming, ANSWERS);
    check_progress(w.progress);
    cw_call(&w, "start", NULL);
    for (int before = asker.answers; asker.answers < before + ANSWERS;)
        cw_step(&w);
    ck_assert_uint_eq(asker.last_ready, MACHINES);
    asker.id = 0; /* no more */
    cw_call(&w, "down", NULL);
    es_client_close(asker.client, on_gone, &asker);
    while (!asker.closed)
        cw_step(&w);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

Suite *core_fanout_suite(void);
Suite *core_fanout_suite(void)
{
    Suite *suite = suite_create("core_fanout");
    TCase *tc = tcase_create("core_fanout");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, who_asks_is_answered_meanwhile);
    suite_add_tcase(suite, tc);
    return suite;
}
