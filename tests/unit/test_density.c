/* range: who is admitted, suspended, resumed under pressure: the rules one by one, then over
 * random histories. */
#include <check.h>
#include <string.h>

#include "../../orchestrator/range/density.h"
#include "../support/score_world.h"

#define MACHINES 12
#define TICK_MS  1000
#define GIB      (1LL << 30)

struct host {
    struct density_state state;
    struct density_sample sample;
    struct density_machine machines[MACHINES];
    struct density_act act;
};

static struct host calm_world(void)
{
    struct host w = {.sample = {.now_ms = 1000,
                                .some = 0,
                                .full = 0,
                                .available_bytes = 8 * GIB,
                                .reserve_bytes = 2 * GIB}};
    for (int i = 0; i < MACHINES; i++)
        w.machines[i] = (struct density_machine){
            .rank = i % 5, .runs = true, .private_bytes = (1 + i) * (50LL << 20)};
    return w;
}

static void step(struct host *w)
{
    w->sample.now_ms += TICK_MS;
    density_step(&w->state, &w->sample, w->machines, MACHINES, &w->act);
    if (w->act.suspend >= 0) {
        w->machines[w->act.suspend].suspended = true;
        w->machines[w->act.suspend].runs = false;
    }
    if (w->act.resume >= 0) {
        w->machines[w->act.resume].suspended = false;
        w->machines[w->act.resume].runs = true;
    }
}

static void steps(struct host *w, int64_t ms)
{
    for (int64_t t = 0; t < ms; t += TICK_MS)
        step(w);
}

static int suspended(const struct host *w)
{
    int count = 0;
    for (int i = 0; i < MACHINES; i++)
        count += w->machines[i].suspended;
    return count;
}

START_TEST(ranks)
{
    const struct density_role roles[] = {{.in_play = false, .observed = true},
                                         {.in_play = true, .hidden = true},
                                         {.in_play = true},
                                         {.in_play = true, .observed = true},
                                         {.fixed = true}};
    for (size_t i = 0; i + 1 < sizeof roles / sizeof *roles; i++)
        ck_assert_int_gt(density_rank(&roles[i]), density_rank(&roles[i + 1]));
    ck_assert_int_eq(density_rank(&roles[4]), 0);
    /* hidden and looked at is as important as any other that is looked at */
    const struct density_role seen = {.in_play = true, .observed = true, .hidden = true};
    ck_assert_int_eq(density_rank(&seen), density_rank(&roles[3]));
}
END_TEST

START_TEST(admissions_stop_first)
{
    struct host w = calm_world();
    step(&w);
    ck_assert(w.act.admit);
    w.sample.some = DENSITY_TIGHT_SOME;
    steps(&w, 60000);
    ck_assert_int_eq(w.state.level, DENSITY_TIGHT);
    ck_assert(!w.act.admit);
    ck_assert_int_eq(suspended(&w), 0);
    w.sample.some = DENSITY_TIGHT_SOME / 2; /* less, and not calm */
    steps(&w, 2 * DENSITY_CALM_MS);
    ck_assert(!w.act.admit);
    w.sample.some = 0;
    steps(&w, DENSITY_CALM_MS);
    ck_assert(!w.act.admit);
    step(&w);
    ck_assert(w.act.admit);
}
END_TEST

/* Where the kernel tells no pressure, what is left does. */
START_TEST(little_left_is_pressure_too)
{
    struct host w = calm_world();
    w.sample.some = w.sample.full = -1;
    step(&w);
    ck_assert_int_eq(w.state.level, DENSITY_CALM);
    w.sample.available_bytes = GIB - 1;
    step(&w);
    ck_assert_int_eq(w.state.level, DENSITY_TIGHT);
    w.sample.available_bytes = GIB / 2 - 1;
    step(&w);
    ck_assert_int_eq(w.state.level, DENSITY_SHORT);
    w.sample.available_bytes = 0; /* not told */
    steps(&w, DENSITY_CALM_MS + TICK_MS);
    ck_assert_int_eq(w.state.level, DENSITY_CALM);
}
END_TEST

START_TEST(the_least_important_stands_still)
{
    struct host w = calm_world();
    w.sample.full = DENSITY_SHORT_FULL;
    step(&w);
    ck_assert_int_eq(w.act.suspend, -1); /* a moment's shortness is none */
    steps(&w, DENSITY_HOLD_MS);
    ck_assert_int_eq(suspended(&w), 1);
    ck_assert(w.machines[9].suspended); /* of rank 4 the larger */
    steps(&w, DENSITY_REST_MS);
    ck_assert_int_eq(suspended(&w), 2);
    ck_assert(w.machines[4].suspended);
    steps(&w, MACHINES * DENSITY_REST_MS);
    for (int i = 0; i < MACHINES; i++)
        ck_assert_int_eq(w.machines[i].suspended, w.machines[i].rank != 0);
}
END_TEST

START_TEST(the_most_important_goes_on_first)
{
    struct host w = calm_world();
    w.sample.full = DENSITY_SHORT_FULL;
    steps(&w, 4 * DENSITY_REST_MS + DENSITY_HOLD_MS);
    int before = suspended(&w);
    ck_assert_int_ge(before, 4);
    w.sample.full = 0;
    steps(&w, DENSITY_CALM_MS);
    ck_assert_int_eq(suspended(&w), before);
    step(&w);
    ck_assert_int_ge(w.act.resume, 0);
    for (int i = 0; i < MACHINES; i++)
        if (w.machines[i].suspended)
            ck_assert_int_ge(w.machines[i].rank, w.machines[w.act.resume].rank);
    steps(&w, before * DENSITY_REST_MS);
    ck_assert_int_eq(suspended(&w), 0);
}
END_TEST

/* ---------------------------------------------------------------- random histories */

/* A history is made by its seed. */
static void shake(struct host *w, struct world_rng *rng)
{
    static const int marks[] = {-1,  0,    50,   100,  199,  200, 499,
                                500, 1000, 1500, 3999, 4000, 9999};
    size_t count = sizeof marks / sizeof *marks;
    if (world_rng(rng, 4) == 0)
        w->sample.some = marks[world_rng(rng, (int64_t)count)];
    if (world_rng(rng, 4) == 0)
        w->sample.full = marks[world_rng(rng, (int64_t)count)];
    if (world_rng(rng, 8) == 0)
        w->sample.available_bytes = world_rng(rng, 9) * (GIB / 3);
    if (world_rng(rng, 16) == 0)
        w->sample.reserve_bytes = world_rng(rng, 4) * GIB;
    struct density_machine *m = &w->machines[world_rng(rng, MACHINES)];
    if (world_rng(rng, 8) == 0 && !m->suspended)
        m->runs = !m->runs;
}

static void check_suspension(const struct host *w, const struct host *before)
{
    const struct density_machine *m = &before->machines[w->act.suspend];
    ck_assert_int_eq(w->state.level, DENSITY_SHORT);
    ck_assert_int_gt(m->rank, 0);
    ck_assert(m->runs && !m->suspended);
    for (int i = 0; i < MACHINES; i++) {
        const struct density_machine *other = &before->machines[i];
        if (!other->runs || other->suspended || other->rank == 0)
            continue;
        ck_assert_int_le(other->rank, m->rank);
        if (other->rank == m->rank)
            ck_assert_int_le(other->private_bytes, m->private_bytes);
    }
}

START_TEST(what_always_holds)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct world_rng rng = {seed * 0x9e3779b97f4a7c15ULL};
        struct host w = calm_world();
        int64_t acted_ms = 0, resumed_ms[MACHINES], suspended_ms[MACHINES];
        for (int i = 0; i < MACHINES; i++)
            resumed_ms[i] = suspended_ms[i] = -DENSITY_CALM_MS;
        for (int i = 0; i < 400; i++) {
            struct host before = w;
            shake(&w, &rng);
            memcpy(before.machines, w.machines, sizeof w.machines);
            step(&w);
            int64_t now = w.sample.now_ms;
            ck_assert_int_eq(w.act.admit, w.state.level == DENSITY_CALM);
            ck_assert(w.act.suspend < 0 || w.act.resume < 0);
            if (w.act.suspend >= 0) {
                check_suspension(&w, &before);
                suspended_ms[w.act.suspend] = now;
                /* not again just after it was let go */
                ck_assert_int_ge(now - resumed_ms[w.act.suspend], DENSITY_REST_MS);
            }
            if (w.act.resume >= 0) {
                ck_assert(before.machines[w.act.resume].suspended);
                ck_assert_int_eq(w.state.level, DENSITY_CALM);
                resumed_ms[w.act.resume] = now;
                ck_assert_int_ge(now - suspended_ms[w.act.resume], DENSITY_CALM_MS);
            }
            if (w.act.suspend >= 0 || w.act.resume >= 0) {
                ck_assert(acted_ms == 0 || now - acted_ms >= DENSITY_REST_MS);
                acted_ms = now;
            }
        }
        /* once all is well, all come back */
        w.sample.some = w.sample.full = 0;
        w.sample.available_bytes = 100 * GIB;
        steps(&w, DENSITY_CALM_MS + (MACHINES + 1) * DENSITY_REST_MS);
        ck_assert_int_eq(suspended(&w), 0);
        ck_assert(w.act.admit);
    }
}
END_TEST

Suite *density_suite(void);
Suite *density_suite(void)
{
    Suite *suite = suite_create("density");
    TCase *tc = tcase_create("density");
    tcase_add_test(tc, ranks);
    tcase_add_test(tc, admissions_stop_first);
    tcase_add_test(tc, little_left_is_pressure_too);
    tcase_add_test(tc, the_least_important_stands_still);
    tcase_add_test(tc, the_most_important_goes_on_first);
    tcase_add_test(tc, what_always_holds);
    suite_add_tcase(suite, tc);
    return suite;
}
