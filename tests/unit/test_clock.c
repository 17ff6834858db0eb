/* clock: random histories against a naive model, and what a crash leaves of it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/clock.h"
#include "enshu/common/err.h"

#define BOOT  "5a3c1f6e-0d0c-4a55-b6a3-2f0d7a1f9c11"
#define BOOT2 "5a3c1f6e-0d0c-4a55-b6a3-2f0d7a1f9c12"

static uint64_t rng_state;
static int64_t rng(int64_t below)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return (int64_t)(rng_state % (uint64_t)below);
}

START_TEST(moves)
{
    struct es_clock clock;
    struct es_err err = {0};
    es_clock_init(&clock);
    ck_assert_int_eq(es_clock_now(&clock, 12345), 0);
    ck_assert_int_eq(es_clock_until(&clock, 0, 0), -1);
    ck_assert_int_eq(es_clock_pause(&clock, 1, &err), ES_ESTATE);
    ck_assert_str_eq(err.msg, "cannot pause the exercise: it is ready; start it first");
    ck_assert_int_eq(es_clock_resume(&clock, 1, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_jump(&clock, 1, 5, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_start(&clock, 1000, &err), 0);
    ck_assert_int_eq(es_clock_start(&clock, 1000, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_now(&clock, 6000), 5000);
    ck_assert_int_eq(es_clock_now(&clock, 500), 0);
    ck_assert_int_eq(es_clock_pause(&clock, 6000, &err), 0);
    ck_assert_int_eq(es_clock_pause(&clock, 6000, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_now(&clock, 60000), 5000);
    ck_assert_int_eq(es_clock_resume(&clock, 60000, &err), 0);
    ck_assert_int_eq(es_clock_resume(&clock, 60000, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_now(&clock, 61000), 6000);
    ck_assert_int_eq(es_clock_jump(&clock, 61000, 5999, &err), ES_EINVAL);
    ck_assert_int_eq(es_clock_jump(&clock, 61000, 100000, &err), 0);
    ck_assert_int_eq(es_clock_now(&clock, 61001), 100001);
    ck_assert_int_eq(es_clock_set_speed(&clock, 61001, 0, &err), ES_EINVAL);
    ck_assert_int_eq(es_clock_set_speed(&clock, 61001, 1000001, &err), ES_EINVAL);
    ck_assert_int_eq(es_clock_set_speed(&clock, 61001, 20000, &err), 0);
    ck_assert_int_eq(es_clock_now(&clock, 61002), 100021);
    ck_assert_int_eq(es_clock_stop(&clock, 61002, &err), 0);
    ck_assert_int_eq(es_clock_stop(&clock, 61002, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_set_speed(&clock, 61002, 1000, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_start(&clock, 61002, &err), ES_ESTATE);
    ck_assert_int_eq(es_clock_now(&clock, 99999999), 100021);
    ck_assert_str_eq(es_clock_state_name(clock.state), "stopped");
    ck_assert_str_eq(es_clock_state_name((enum es_clock_state)7), "?");
}
END_TEST

/* The model walks: each millisecond of a running clock adds speed/1000, and a move drops
 * the fraction. */
struct model {
    enum es_clock_state state;
    int64_t ex_ms, fraction, speed;
};
static void walk(struct model *model, int64_t ms)
{
    for (; model->state == ES_CLOCK_RUNNING && ms > 0; ms--) {
        model->fraction += model->speed;
        model->ex_ms += model->fraction / 1000;
        model->fraction %= 1000;
    }
}

static void step(struct es_clock *clock, struct model *model, int64_t mono_ms)
{
    enum es_clock_state state = model->state;
    int status = 0;
    bool want = false;
    switch (rng(6)) {
    case 0:
        status = es_clock_start(clock, mono_ms, NULL);
        want = state == ES_CLOCK_READY;
        model->state = want ? ES_CLOCK_RUNNING : state;
        break;
    case 1:
        status = es_clock_pause(clock, mono_ms, NULL);
        want = state == ES_CLOCK_RUNNING;
        model->state = want ? ES_CLOCK_PAUSED : state;
        break;
    case 2:
        status = es_clock_resume(clock, mono_ms, NULL);
        want = state == ES_CLOCK_PAUSED;
        model->state = want ? ES_CLOCK_RUNNING : state;
        break;
    case 3:
        model->speed = 1 + rng(rng(2) ? 1000 : 100000);
        status = es_clock_set_speed(clock, mono_ms, (int32_t)model->speed, NULL);
        want = true;
        break;
    default: {
        int64_t to_ms = model->ex_ms + rng(5000) - 1000;
        status = es_clock_jump(clock, mono_ms, to_ms, NULL);
        want = state != ES_CLOCK_READY && to_ms >= model->ex_ms;
        if (want)
            model->ex_ms = to_ms;
    }
    }
    ck_assert_int_eq(status == 0, want);
    if (want)
        model->fraction = 0;
}

START_TEST(histories_agree_with_a_walk)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        rng_state = seed * 0x9e3779b97f4a7c15ULL;
        struct es_clock clock;
        struct model model = {.state = ES_CLOCK_READY, .speed = 1000};
        int64_t mono_ms = rng(1000000), before_ms = 0;
        es_clock_init(&clock);
        for (int i = 0; i < 60; i++) {
            int64_t gone_ms = rng(3000);
            walk(&model, gone_ms);
            mono_ms += gone_ms;
            int64_t now_ms = es_clock_now(&clock, mono_ms);
            ck_assert_msg(now_ms == model.ex_ms, "seed %lu step %d: %ld, walked %ld",
                          (unsigned long)seed, i, (long)now_ms, (long)model.ex_ms);
            ck_assert_msg(now_ms >= before_ms, "seed %lu: went back",
                          (unsigned long)seed);
            int64_t due_ms = now_ms + 1 + rng(100000);
            int64_t until_ms = es_clock_until(&clock, mono_ms, due_ms);
            if (model.state != ES_CLOCK_RUNNING)
                ck_assert_int_eq(until_ms, -1);
            else
                ck_assert_msg(es_clock_now(&clock, mono_ms + until_ms) >= due_ms &&
                                  es_clock_now(&clock, mono_ms + until_ms - 1) < due_ms,
                              "seed %lu step %d: until is not the least",
                              (unsigned long)seed, i);
            step(&clock, &model, mono_ms);
            ck_assert_int_eq(es_clock_now(&clock, mono_ms), model.ex_ms);
            before_ms = model.ex_ms;
        }
    }
}
END_TEST

START_TEST(a_crash_is_ridden_out_or_paused)
{
    static const struct {
        enum es_clock_state state;
        const char *boot;
        int64_t gap_ms;
        enum es_clock_state want;
        int64_t want_ex_ms; /* right after the restore, at double speed */
        bool ran_on;
    } cases[] = {
        {ES_CLOCK_RUNNING, BOOT, 0, ES_CLOCK_RUNNING, 8000, true},
        {ES_CLOCK_RUNNING, BOOT, 30000, ES_CLOCK_RUNNING, 68000, true},
        {ES_CLOCK_RUNNING, BOOT, 30001, ES_CLOCK_PAUSED, 8000, false},
        {ES_CLOCK_RUNNING, BOOT, -1, ES_CLOCK_PAUSED, 8000, false},
        {ES_CLOCK_RUNNING, BOOT2, 10, ES_CLOCK_PAUSED, 8000, false},
        {ES_CLOCK_RUNNING, "", 10, ES_CLOCK_PAUSED, 8000, false},
        {ES_CLOCK_PAUSED, BOOT, 10, ES_CLOCK_PAUSED, 8000, false},
        {ES_CLOCK_STOPPED, BOOT, 10, ES_CLOCK_STOPPED, 8000, false},
        {ES_CLOCK_READY, BOOT, 10, ES_CLOCK_READY, 0, false},
    };
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        struct es_clock clock, after;
        struct es_clock_mark mark;
        es_clock_init(&clock);
        ck_assert_int_eq(es_clock_set_speed(&clock, 0, 2000, NULL), 0);
        if (cases[i].state != ES_CLOCK_READY)
            ck_assert_int_eq(es_clock_start(&clock, 1000, NULL), 0);
        if (cases[i].state == ES_CLOCK_PAUSED)
            ck_assert_int_eq(es_clock_pause(&clock, 5000, NULL), 0);
        if (cases[i].state == ES_CLOCK_STOPPED)
            ck_assert_int_eq(es_clock_stop(&clock, 5000, NULL), 0);
        es_clock_mark(&clock, BOOT, 5000, &mark);
        bool ran_on = !cases[i].ran_on;
        int64_t mono_ms = 5000 + cases[i].gap_ms;
        es_clock_restore(&after, &mark, cases[i].boot, mono_ms, &ran_on);
        ck_assert_msg(after.state == cases[i].want, "case %zu: %s", i,
                      es_clock_state_name(after.state));
        ck_assert_int_eq(ran_on, cases[i].ran_on);
        ck_assert_int_eq(es_clock_now(&after, mono_ms), cases[i].want_ex_ms);
        ck_assert_int_eq(after.speed_permille, 2000);
    }
}
END_TEST

START_TEST(a_damaged_mark_is_brought_into_range)
{
    struct es_clock_mark mark;
    memset(&mark, 0xff, sizeof mark);
    struct es_clock clock;
    es_clock_restore(&clock, &mark, BOOT, 10, NULL);
    ck_assert_int_eq(clock.state, ES_CLOCK_PAUSED);
    ck_assert_int_eq(es_clock_now(&clock, 20), 0);
    mark.ex_ms = INT64_MAX;
    mark.state = ES_CLOCK_RUNNING;
    es_clock_restore(&clock, &mark, BOOT, INT64_MAX, NULL);
    ck_assert_int_eq(es_clock_now(&clock, INT64_MAX), ES_CLOCK_EX_MAX_MS);
}
END_TEST

START_TEST(the_end_of_time_is_no_overflow)
{
    struct es_clock clock;
    es_clock_init(&clock);
    ck_assert_int_eq(es_clock_start(&clock, INT64_MIN, NULL), 0);
    ck_assert_int_eq(es_clock_now(&clock, INT64_MAX), ES_CLOCK_EX_MAX_MS);
    ck_assert_int_eq(es_clock_jump(&clock, 0, INT64_MAX, NULL), ES_EINVAL);
    ck_assert_int_eq(es_clock_set_speed(&clock, INT64_MAX, 1000000, NULL), 0);
    ck_assert_int_eq(es_clock_until(&clock, INT64_MAX, INT64_MAX), ES_CLOCK_EX_MAX_MS);
}
END_TEST

Suite *clock_suite(void);
Suite *clock_suite(void)
{
    Suite *suite = suite_create("clock");
    TCase *tc = tcase_create("clock");
    tcase_add_test(tc, moves);
    tcase_add_test(tc, histories_agree_with_a_walk);
    tcase_add_test(tc, a_crash_is_ridden_out_or_paused);
    tcase_add_test(tc, a_damaged_mark_is_brought_into_range);
    tcase_add_test(tc, the_end_of_time_is_no_overflow);
    suite_add_tcase(suite, tc);
    return suite;
}
