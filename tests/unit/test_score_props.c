/* score: random exercises. A failure prints its seed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/score_world.h"

#define S     INT64_C(1000)
#define TEAMS 3
#define SEEDS 150

/* ---- random worlds */

static struct es_anchor some_anchor(struct world *world, struct world_rng *rng)
{
    int64_t offset_ms = world_rng(rng, 3) == 0 ? 0 : world_rng(rng, 200) * 500;
    int fact = -1;
    int cond = (int)world_rng(rng, (int64_t)world->scenario.conditions_count);
    switch (world_rng(rng, 4)) {
    case 0:
        fact = world_fact(world, ES_FACT_CONDITION_PASS, cond);
        break;
    case 1:
        fact = world_fact(world, ES_FACT_CONDITION_FAIL, cond);
        break;
    case 2:
        fact = world_fact(world, ES_FACT_NODE_DOWN, (int)world_rng(rng, 2));
        break;
    default:
        break;
    }
    return world_anchor(fact, offset_ms);
}

static void some_details(struct world *world, struct world_rng *rng, int cond)
{
    struct es_condition *def = &world->conds[cond];
    if (world_rng(rng, 3) == 0)
        def->for_ms = 1 + world_rng(rng, 100) * S;
    if (cond > 0 && world_rng(rng, 4) == 0)
        def->control = (int)world_rng(rng, cond);
    if (world_rng(rng, 5) == 0)
        def->after = some_anchor(world, rng);
}

static void some_condition(struct world *world, struct world_rng *rng)
{
    int parts[4], count = 1 + (int)world_rng(rng, 4);
    int total = (int)world->scenario.conditions_count, cond;
    for (int i = 0; i < count; i++)
        parts[i] = (int)world_rng(rng, total);
    switch (world_rng(rng, 5)) {
    case 0:
        cond = world_composite(world, ES_COND_ALL, 0, (size_t)count, parts);
        break;
    case 1:
        cond = world_composite(world, ES_COND_ANY, 0, (size_t)count, parts);
        break;
    case 2:
        cond = world_composite(world, ES_COND_NOT, 0, 1, parts);
        break;
    case 3:
        cond = world_composite(world, ES_COND_AT_LEAST, 1 + (int)world_rng(rng, count),
                               (size_t)count, parts);
        break;
    default:
        cond = world_composite(world, ES_COND_FACT, 0, 0, NULL);
        world->conds[cond].fact = world_fact(world, ES_FACT_CONDITION_PASS, parts[0]);
        if (world_rng(rng, 2) == 0) {
            world->conds[cond].within_ms = world_rng(rng, 120) * S;
            if (world_rng(rng, 2) == 0)
                world->conds[cond].of =
                    world_fact(world, ES_FACT_CONDITION_FAIL, (int)world_rng(rng, total));
        }
    }
    some_details(world, rng, cond);
}

static void some_judging(struct world *world, struct world_rng *rng)
{
    int total = (int)world->scenario.conditions_count;
    world_part(world, "uptime", 10);
    for (int i = 0; i < 6; i++) {
        int objective =
            world_objective(world, (int)world_rng(rng, total), world_rng(rng, 60) - 5);
        world->objectives[objective].judged = (enum es_judged)world_rng(rng, 3);
        if (world_rng(rng, 2) == 0)
            world->objectives[objective].opens = some_anchor(world, rng);
        if (world_rng(rng, 2) == 0)
            world->objectives[objective].closes = some_anchor(world, rng);
    }
    for (int i = 0; i < 3; i++) {
        int phase = world_phase(world, (int)world_rng(rng, total));
        world->phases[phase].plan_ms = world_rng(rng, 60) * S;
        world->phases[phase].stuck_ms = world_rng(rng, 60) * S;
        if (world_rng(rng, 2) == 0)
            world->phases[phase].from = some_anchor(world, rng);
    }
    for (int i = 0; i < 2; i++) {
        int service = world_service(world, (int)world_rng(rng, total),
                                    (1 + world_rng(rng, 30)) * S, world_rng(rng, 9));
        struct es_service *def = &world->services[service];
        int waive = world_fact(world, ES_FACT_CONDITION_PASS, (int)world_rng(rng, total));
        def->sla_after = world_rng(rng, 4);
        def->sla_penalty = 7;
        def->part = "uptime";
        def->waive = world_ints(world, &waive, 1);
        def->waive_count = (size_t)world_rng(rng, 2);
    }
}

static void some_world(struct world *world, struct world_rng *rng)
{
    world_init(world);
    world_node(world);
    for (int i = 0; i < 5; i++) {
        int probe = world_probe(world);
        struct es_condition *def = &world->conds[probe];
        def->node = (int)world_rng(rng, 2);
        def->every_ms = (1 + world_rng(rng, 20)) * S;
        if (world_rng(rng, 3) == 0) {
            def->probe.kind = ES_PROBE_tcp;
            def->probe.present = world_rng(rng, 2) == 0;
        }
        some_details(world, rng, probe);
    }
    for (int i = 0; i < 9; i++)
        some_condition(world, rng);
    some_judging(world, rng);
}

/* ---- random histories */

static void some_event(struct world *world, struct world_rng *rng, int64_t ex_ms)
{
    int team = 1 + (int)world_rng(rng, TEAMS);
    switch (world_rng(rng, 30)) {
    case 0:
        world_machine(world, ex_ms, world_rng(rng, 6) == 0 ? -1 : team,
                      (int)world_rng(rng, 2), 1 + (int)world_rng(rng, 5));
        break;
    case 1:
        world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                             .type = ES_EV_POINTS,
                                             .team = team,
                                             .b = world_rng(rng, 20) - 10,
                                             .text = world_rng(rng, 2) == 0
                                                         ? "{\"part\": \"uptime\"}"
                                                         : NULL});
        break;
    case 2:
        if (world_rng(rng, 5) == 0)
            world_tell(world, &(struct es_event){.ex_ms = ex_ms,
                                                 .type = ES_EV_OVERRIDE,
                                                 .team = team,
                                                 .subject = (int)world_rng(rng, 6),
                                                 .a = (int)world_rng(rng, 2)});
        break;
    case 3:
        world_tell(world,
                   &(struct es_event){.ex_ms = ex_ms,
                                      .type = ES_EV_CLOCK,
                                      .team = -1,
                                      .a = world_rng(rng, 2) == 0 ? ES_CLOCK_PAUSED
                                                                  : ES_CLOCK_RUNNING,
                                      .b = 1 + world_rng(rng, 20000)});
        break;
    default: {
        static const int outcomes[] = {1, 1, 1, 1, 2, 2, 3, 4, 5};
        world_see(world, ex_ms, team, (int)world_rng(rng, 5),
                  outcomes[world_rng(rng, (int64_t)ES_COUNT(outcomes))]);
    }
    }
}

/* Tells a history of some minutes and returns its last moment. */
static int64_t some_history(struct world *world, struct world_rng *rng)
{
    int64_t ex_ms = 0;
    world_start(world, TEAMS);
    for (int i = 0; i < 5; i++)
        world_see(world, 0, 1, i, 1 + (int)world_rng(rng, 2));
    world_clock(world, 0, ES_CLOCK_RUNNING);
    for (int i = 0; i < 250; i++) {
        ex_ms += world_rng(rng, 3) == 0 ? 0 : world_rng(rng, 30) * 250;
        if (world_rng(rng, 50) == 0) {
            int64_t to_ms = ex_ms + 1 + world_rng(rng, 100) * S;
            world_jump(world, ex_ms, to_ms);
            ex_ms = to_ms;
        }
        some_event(world, rng, ex_ms);
    }
    if (world_rng(rng, 2) == 0)
        world_clock(world, ex_ms, ES_CLOCK_STOPPED);
    return ex_ms;
}

/* ---- ways to fold it */

struct changes {
    uint64_t hash;
    size_t count;
    int64_t last_ex_ms;
};

static void on_change(void *ctx, const struct es_score_change *change)
{
    struct changes *changes = ctx;
    ck_assert_int_ge(change->ex_ms, changes->last_ex_ms);
    changes->last_ex_ms = change->ex_ms;
    changes->count++;
    const uint64_t items[] = {(uint64_t)change->ex_ms, (uint64_t)change->team,
                              (uint64_t)change->fact, change->now,
                              (uint64_t)change->cause_pos};
    for (size_t i = 0; i < ES_COUNT(items); i++)
        changes->hash = (changes->hash ^ items[i]) * 0x100000001b3ULL;
}

static void step_seconds(struct es_score *score, int64_t to_ms, struct world_rng *rng)
{
    (void)rng;
    for (int64_t at = es_score_now(score) / S * S + S; at < to_ms; at += S)
        es_score_advance(score, at);
    es_score_advance(score, to_ms);
}

static void step_due(struct es_score *score, int64_t to_ms, struct world_rng *rng)
{
    (void)rng;
    while (es_score_next_due(score) <= to_ms) {
        int64_t due_ms = es_score_next_due(score);
        ck_assert_int_gt(due_ms, es_score_now(score));
        es_score_advance(score, due_ms);
    }
}

static void step_random(struct es_score *score, int64_t to_ms, struct world_rng *rng)
{
    while (world_rng(rng, 4) != 0)
        es_score_advance(score, es_score_now(score) +
                                    world_rng(rng, to_ms - es_score_now(score) + 1));
}

typedef void (*stepper)(struct es_score *score, int64_t to_ms, struct world_rng *rng);

static void add_voids(struct es_score *score, int voids)
{
    for (int i = 0; i < voids; i++) {
        char text[64];
        snprintf(text, sizeof text, "{\"from_ms\": %d, \"to_ms\": %d}", i * 30000,
                 i * 47000 + 20000);
        struct es_event span = {.pos = 1000 + i,
                                .type = ES_EV_VOID,
                                .team = i == 1 ? -1 : 1,
                                .subject = i % 2,
                                .a = i % 3,
                                .text = text};
        struct es_err err = {0};
        int status = es_score_correct(score, &span, &err);
        ck_assert_msg(status == 0, "void %d: %s", i, err.msg);
    }
}

static void fold(struct world *world, stepper step, int voids, int64_t end_ms,
                 struct world_rng *rng, char hex[65], struct changes *changes)
{
    *changes = (struct changes){.hash = 1};
    struct es_score *score = world_fold(world, TEAMS, on_change, changes);
    add_voids(score, voids);
    for (size_t i = 0; i < world->event_count; i++) {
        struct es_err err = {0};
        if (step != NULL)
            step(score, world->events[i].ex_ms, rng);
        int status = es_score_apply(score, &world->events[i], &err);
        ck_assert_msg(status == 0, "event %zu: %s", i, err.msg);
    }
    if (step != NULL)
        step(score, end_ms, rng);
    es_score_advance(score, end_ms);
    es_score_digest(score, hex);
    es_score_destroy(score);
}

START_TEST(however_time_is_told_to_pass)
{
    static const stepper steppers[] = {step_seconds, step_due, step_random};
    size_t changes_seen = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world_rng rng = {seed * 0x9e3779b97f4a7c15ULL};
        struct world world;
        some_world(&world, &rng);
        int64_t end_ms = some_history(&world, &rng) + world_rng(&rng, 300) * S;
        char want[65], hex[65];
        struct changes want_changes, changes;
        int voids = seed % 2 == 0 ? 0 : (int)world_rng(&rng, 4);
        fold(&world, NULL, voids, end_ms, &rng, want, &want_changes);
        for (size_t i = 0; i < ES_COUNT(steppers); i++) {
            fold(&world, steppers[i], voids, end_ms, &rng, hex, &changes);
            ck_assert_msg(strcmp(want, hex) == 0, "seed %lu: way %zu differs",
                          (unsigned long)seed, i);
            ck_assert_msg(
                want_changes.hash == changes.hash && want_changes.count == changes.count,
                "seed %lu: way %zu tells other changes", (unsigned long)seed, i);
        }
        es_score_advance(world.score, end_ms);
        es_score_digest(world.score, hex);
        ck_assert_msg(voids > 0 || strcmp(want, hex) == 0,
                      "seed %lu: live differs from refold", (unsigned long)seed);
        changes_seen += changes.count;
        world_finish(&world);
    }
    ck_assert_uint_gt(changes_seen, 20 * SEEDS);
}
END_TEST

/* ---- what always holds */

static int naive(const struct world *world, int team, int cond)
{
    const struct es_condition *def = &world->conds[cond];
    int passes = 0, fails = 0, count = (int)def->part_count;
    for (int i = 0; i < count; i++) {
        int part = (int)world_outcome(world, team, def->parts[i]);
        passes += part == ES_OUTCOME_PASS;
        fails += part == ES_OUTCOME_FAIL;
    }
    switch (def->kind) {
    case ES_COND_ALL:
        return fails > 0 ? ES_OUTCOME_FAIL : passes == count ? ES_OUTCOME_PASS : 0;
    case ES_COND_ANY:
        return passes > 0 ? ES_OUTCOME_PASS : fails == count ? ES_OUTCOME_FAIL : 0;
    case ES_COND_NOT:
        return passes > 0 ? ES_OUTCOME_FAIL : fails > 0 ? ES_OUTCOME_PASS : 0;
    case ES_COND_AT_LEAST:
        return passes >= def->least         ? ES_OUTCOME_PASS
               : count - fails < def->least ? ES_OUTCOME_FAIL
                                            : 0;
    default:
        return -1;
    }
}

static void check_conditions(const struct world *world, uint64_t seed, bool started)
{
    for (int team = 1; team <= TEAMS; team++)
        for (int i = 0; i < (int)world->scenario.conditions_count; i++) {
            const struct es_condition *def = &world->conds[i];
            struct es_condition_state state;
            es_score_condition(world->score, team, i, &state);
            int want = naive(world, team, i);
            int known = state.raw == ES_OUTCOME_PASS || state.raw == ES_OUTCOME_FAIL
                            ? (int)state.raw
                            : 0;
            if (want >= 0 && started)
                ck_assert_msg(known == want, "seed %lu team %d c%d: raw %d, naive %d",
                              (unsigned long)seed, team, i, known, want);
            if (state.outcome == ES_OUTCOME_PASS) {
                ck_assert_int_eq(state.raw, ES_OUTCOME_PASS);
                ck_assert_int_ge(state.held_ms, def->for_ms);
                if (def->control >= 0)
                    ck_assert_int_eq(world_outcome(world, team, def->control),
                                     ES_OUTCOME_PASS);
            }
        }
}

struct sums {
    const struct world *world;
    int64_t parts[2], loose, last_ex_ms;
};
static void add_reason(void *ctx, const struct es_score_reason *reason)
{
    struct sums *sums = ctx;
    ck_assert_int_ge(reason->ex_ms, sums->last_ex_ms);
    ck_assert_uint_gt(strlen(reason->what), 0);
    sums->last_ex_ms = reason->ex_ms;
    if (strcmp(reason->part, "") == 0)
        sums->loose += reason->mpts;
    else
        sums->parts[strcmp(reason->part, "uptime") == 0] += reason->mpts;
}

static void check_points(const struct world *world, uint64_t seed)
{
    for (int team = 1; team <= TEAMS; team++) {
        struct sums sums = {.world = world};
        ck_assert_int_eq(es_score_explain(world->score, team, add_reason, &sums, NULL),
                         0);
        int64_t total = sums.loose;
        for (size_t i = 0; i < es_score_part_count(world->score); i++) {
            struct es_part_state part;
            es_score_part(world->score, team, i, &part);
            ck_assert_msg(sums.parts[i] == part.earned_mpts,
                          "seed %lu team %d part %zu: reasons %ld, earned %ld",
                          (unsigned long)seed, team, i, (long)sums.parts[i],
                          (long)part.earned_mpts);
            ck_assert_int_ge(part.scaled_mpts, 0);
            total += part.scaled_mpts;
        }
        ck_assert_int_eq(total, es_score_total_mpts(world->score, team));
        for (int i = 0; i < 2; i++) {
            struct es_service_state state;
            es_score_service(world->score, team, i, &state);
            ck_assert_int_eq(state.rounds, state.passed + state.failed + state.waived +
                                               state.unknown + state.absent);
            ck_assert_int_eq(state.rounds,
                             es_score_now(world->score) / world->services[i].round_ms);
        }
    }
}

START_TEST(what_always_holds)
{
    for (uint64_t seed = 1001; seed <= 1000 + SEEDS; seed++) {
        struct world_rng rng = {seed * 0x9e3779b97f4a7c15ULL};
        struct world world;
        some_world(&world, &rng);
        some_history(&world, &rng);
        struct es_event *events = world.events;
        size_t count = world.event_count;
        world.events = NULL;
        world.event_count = world.event_cap = 0;
        world_start(&world, TEAMS);
        bool started = false;
        for (size_t i = 0; i < count; i++) {
            started = started || events[i].type == ES_EV_CLOCK;
            world_tell(&world, &events[i]);
            check_conditions(&world, seed, started);
            ck_assert_int_gt(es_score_next_due(world.score), es_score_now(world.score));
        }
        check_points(&world, seed);
        free(events);
        world_finish(&world);
    }
}
END_TEST

START_TEST(what_is_told_twice_counts_once)
{
    for (uint64_t seed = 2001; seed <= 2000 + SEEDS / 3; seed++) {
        struct world_rng rng = {seed * 0x9e3779b97f4a7c15ULL};
        struct world world;
        some_world(&world, &rng);
        int64_t end_ms = some_history(&world, &rng);
        int64_t seq[2] = {0, 0};
        for (size_t i = 0; i < world.event_count; i++) {
            struct es_event *event = &world.events[i];
            if (event->type != ES_EV_OBSERVED)
                continue;
            event->instance = 1 + (uint32_t)world_rng(&rng, 2);
            event->epoch = 7;
            event->seq = ++seq[event->instance - 1];
        }
        char want[65], hex[65];
        struct changes changes;
        fold(&world, NULL, 0, end_ms, &rng, want, &changes);
        struct es_score *score = world_fold(&world, TEAMS, NULL, NULL);
        for (size_t i = 0; i < world.event_count; i++) {
            ck_assert_int_eq(es_score_apply(score, &world.events[i], NULL), 0);
            struct es_event again = world.events[(size_t)world_rng(&rng, (int64_t)i + 1)];
            if (again.seq == 0 || again.type != ES_EV_OBSERVED)
                continue;
            again.ex_ms = es_score_now(score);
            ck_assert(es_score_seen(score, again.instance, again.epoch, again.seq));
            ck_assert_int_eq(es_score_apply(score, &again, NULL), 0);
        }
        es_score_advance(score, end_ms);
        es_score_digest(score, hex);
        ck_assert_msg(strcmp(want, hex) == 0, "seed %lu", (unsigned long)seed);
        es_score_destroy(score);
        world_finish(&world);
    }
}
END_TEST

/* ---- steady observations, told together */

#define LOOKS 5 /* probes of a random world */

struct look_run {
    int64_t count, since_ms, last_ms, gap_ms;
    int outcome;
};

/* Two folds of one exercise: one hears every look, the other what is steady together. */
struct pair {
    struct world world;
    struct es_score *each, *together;
    struct changes each_changes, together_changes;
    struct look_run runs[TEAMS + 1][LOOKS];
    int last[TEAMS + 1][LOOKS];
    int64_t events_each, events_together;
};

static void on_pair_change(void *ctx, const struct es_score_change *change)
{
    struct es_score_change without = *change;
    without.cause_pos = 0; /* events are numbered otherwise */
    on_change(ctx, &without);
}

static void apply(struct es_score *score, struct es_event event, int64_t *count)
{
    struct es_err err = {0};
    event.pos = ++*count;
    int status = es_score_apply(score, &event, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
}

static void close_run(struct pair *pair, int team, int cond, int64_t ex_ms)
{
    struct look_run *run = &pair->runs[team][cond];
    char text[160];
    if (run->count == 0)
        return;
    snprintf(text, sizeof text, "{\"first_ms\": %ld, \"gap_ms\": %ld}",
             (long)run->since_ms, (long)run->gap_ms);
    apply(pair->together,
          (struct es_event){.ex_ms = ex_ms,
                            .type = ES_EV_STEADY,
                            .team = team,
                            .subject = cond,
                            .a = run->outcome,
                            .b = run->last_ms,
                            .text = text},
          &pair->events_together);
    run->count = 0;
}

static void close_runs(struct pair *pair, int only, int64_t ex_ms)
{
    for (int team = 1; team <= TEAMS; team++)
        for (int cond = 0; cond < LOOKS && (only == team || only < 0); cond++)
            close_run(pair, team, cond, ex_ms);
}

static void pair_tell(struct pair *pair, const struct es_event *event)
{
    apply(pair->each, *event, &pair->events_each);
    if (event->type == ES_EV_OBSERVED) {
        int control = pair->world.conds[event->subject].control;
        close_run(pair, event->team, event->subject, event->ex_ms);
        if (control >= 0 && control < LOOKS)
            close_run(pair, event->team, control, event->ex_ms);
    } else if (event->type != ES_EV_OVERRIDE)
        close_runs(pair, event->team > 0 ? event->team : -1, event->ex_ms);
    apply(pair->together, *event, &pair->events_together);
}

static void pair_see(struct pair *pair, int64_t ex_ms, int team, int cond, int outcome)
{
    struct look_run *run = &pair->runs[team][cond];
    struct es_event event = {.ex_ms = ex_ms,
                             .type = ES_EV_OBSERVED,
                             .team = team,
                             .subject = cond,
                             .a = outcome};
    int64_t since_ms = run->count > 0 ? run->since_ms : ex_ms;
    enum es_score_news news = es_score_news(pair->together, team, cond,
                                            (enum es_outcome)outcome, since_ms, ex_ms);
    pair->last[team][cond] = outcome;
    if (news == ES_NEWS_SOME || (news == ES_NEWS_AGE && run->count > 0)) {
        pair_tell(pair, &event);
        return;
    }
    apply(pair->each, event, &pair->events_each);
    if (news == ES_NEWS_AGE) {
        apply(pair->together, event, &pair->events_together);
        return;
    }
    if (run->count > 0 && ex_ms - run->last_ms > run->gap_ms)
        run->gap_ms = ex_ms - run->last_ms;
    if (run->count == 0)
        *run = (struct look_run){.since_ms = ex_ms, .outcome = outcome};
    run->count++;
    run->last_ms = ex_ms;
}

/* As the core does: once the oldest run is as old as it may be. */
static void pair_time(struct pair *pair, int64_t ex_ms)
{
    bool due = false;
    for (int team = 1; team <= TEAMS; team++)
        for (int cond = 0; cond < LOOKS; cond++)
            due |= pair->runs[team][cond].count > 0 &&
                   ex_ms - pair->runs[team][cond].since_ms >= ES_SCORE_STEADY_MS;
    if (due)
        close_runs(pair, -1, ex_ms);
    es_score_advance(pair->each, ex_ms);
    es_score_advance(pair->together, ex_ms);
}

static void assert_alike(const struct pair *pair, uint64_t seed, int64_t ex_ms)
{
    for (int team = 1; team <= TEAMS; team++) {
        json_t *a = es_score_json(pair->each, team);
        json_t *b = es_score_json(pair->together, team);
        json_t *both[] = {a, b};
        for (size_t i = 0; i < ES_COUNT(both); i++) {
            const char *key;
            json_t *item;
            json_object_foreach (json_object_get(both[i], "conditions"), key, item) {
                json_object_del(item, "cause");
                json_object_del(item, "observed_ms");
            }
            json_object_foreach (json_object_get(both[i], "objectives"), key, item) {
                json_object_del(item, "cause");
            }
        }
        if (!json_equal(a, b)) {
            json_dumpf(a, stderr, JSON_COMPACT);
            fputc('\n', stderr);
            json_dumpf(b, stderr, JSON_COMPACT);
        }
        ck_assert_msg(json_equal(a, b), "seed %lu at %ld, team %d", (unsigned long)seed,
                      (long)ex_ms, team);
        json_decref(a);
        json_decref(b);
    }
    ck_assert_msg(pair->each_changes.hash == pair->together_changes.hash &&
                      pair->each_changes.count == pair->together_changes.count,
                  "seed %lu at %ld: other changes", (unsigned long)seed, (long)ex_ms);
}

static int64_t other_event(struct pair *pair, struct world_rng *rng, int64_t ex_ms)
{
    int team = 1 + (int)world_rng(rng, TEAMS);
    struct es_event event = {.ex_ms = ex_ms, .team = team};
    switch (world_rng(rng, 4)) {
    case 0:
        event.type = ES_EV_CLOCK;
        event.team = -1;
        event.a = ES_CLOCK_RUNNING;
        event.b = 1000;
        event.seq = ex_ms + 1 + world_rng(rng, 40) * S;
        break;
    case 1:
        event.type = ES_EV_OVERRIDE;
        event.subject = (int)world_rng(rng, 6);
        event.a = (int)world_rng(rng, 2);
        break;
    default:
        event.type = ES_EV_MACHINE;
        event.team = world_rng(rng, 6) == 0 ? -1 : team;
        event.subject = (int)world_rng(rng, 2);
        event.a = 1 + (int)world_rng(rng, 5);
    }
    pair_tell(pair, &event);
    return event.seq > 0 ? event.seq : ex_ms;
}

/* Looks every second or few, mostly the same again, now and then none for a while. */
static void play_pair(struct pair *pair, struct world_rng *rng, uint64_t seed)
{
    static const int outcomes[] = {1, 1, 1, 2, 2, 3, 4, 5};
    int64_t due_ms[TEAMS + 1][LOOKS] = {0}, ex_ms = 0;
    pair_tell(pair,
              &(struct es_event){
                  .type = ES_EV_CLOCK, .team = -1, .a = ES_CLOCK_RUNNING, .b = 1000});
    for (int step = 0; step < 800; step++, ex_ms += 250) {
        for (int team = 1; team <= TEAMS; team++)
            for (int cond = 0; cond < LOOKS; cond++) {
                if (ex_ms < due_ms[team][cond])
                    continue;
                bool same = pair->last[team][cond] != 0 && world_rng(rng, 12) != 0;
                int outcome = same ? pair->last[team][cond]
                                   : outcomes[world_rng(rng, ES_COUNT(outcomes))];
                pair_see(pair, ex_ms, team, cond, outcome);
                int64_t every_ms = pair->world.conds[cond].every_ms;
                due_ms[team][cond] = ex_ms + every_ms / 2 + world_rng(rng, every_ms);
                if (world_rng(rng, 60) == 0)
                    due_ms[team][cond] += world_rng(rng, 40) * S;
            }
        if (world_rng(rng, 100) == 0)
            ex_ms = other_event(pair, rng, ex_ms);
        pair_time(pair, ex_ms);
        if (step % 5 == 0)
            assert_alike(pair, seed, ex_ms);
    }
    close_runs(pair, -1, ex_ms);
    es_score_advance(pair->each, ex_ms);
    es_score_advance(pair->together, ex_ms);
    assert_alike(pair, seed, ex_ms);
}

START_TEST(what_is_steady_may_be_told_together)
{
    int64_t each = 0, together = 0;
    for (uint64_t seed = 3001; seed <= 3000 + SEEDS / 6; seed++) {
        struct world_rng rng = {seed * 0x9e3779b97f4a7c15ULL};
        static struct pair pair;
        memset(&pair, 0, sizeof pair);
        some_world(&pair.world, &rng);
        for (int cond = 0; cond < LOOKS; cond++)
            pair.world.conds[cond].every_ms = (1 + world_rng(&rng, 8)) * S;
        pair.each_changes.hash = pair.together_changes.hash = 1;
        pair.each = world_fold(&pair.world, TEAMS, on_pair_change, &pair.each_changes);
        pair.together =
            world_fold(&pair.world, TEAMS, on_pair_change, &pair.together_changes);
        play_pair(&pair, &rng, seed);
        each += pair.events_each;
        together += pair.events_together;
        es_score_destroy(pair.each);
        es_score_destroy(pair.together);
        world_finish(&pair.world);
    }
    ck_assert_int_lt(together, each * 4 / 5); /* amid so many changes */
}
END_TEST

Suite *score_props_suite(void);
Suite *score_props_suite(void)
{
    Suite *suite = suite_create("score_props");
    TCase *tc = tcase_create("properties");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, however_time_is_told_to_pass);
    tcase_add_test(tc, what_always_holds);
    tcase_add_test(tc, what_is_told_twice_counts_once);
    tcase_add_test(tc, what_is_steady_may_be_told_together);
    suite_add_tcase(suite, tc);
    return suite;
}
