/* Judging: verdicts from evidence, and the fold from ledger events to facts and points.
 *
 * Pure: time comes in as exercise milliseconds of events, observations as events. The
 * same fold runs live and in `enshu rescore`: after equal events and an equal final
 * es_score_advance two folds are equal. Integers only; points are held in thousandths
 * (mpts). Nothing derived is stored: objectives met, rounds and phases follow from
 * observations, machine events, clock moves, corrections and time. [any], one thread. */
#ifndef ENSHU_SCORE_H
#define ENSHU_SCORE_H

#include "enshu/clock.h"
#include "enshu/scenario.h"
#include "enshu/tbl/event.h"
#include "enshu/tbl/outcome.h"

enum es_outcome {
#define X(name, number, word) ES_OUTCOME_##name = (number),
    ES_OUTCOME_MAP(X)
#undef X
};
const char *es_outcome_name(enum es_outcome outcome);

enum es_event_type {
#define X(name, number, word, fields) ES_EV_##name = (number),
    ES_EVENT_MAP(X)
#undef X
};
const char *es_event_name(int type); /* NULL for an unknown number */

enum es_machine_event {
#define X(name, number, word) ES_MEV_##name = (number),
    ES_MACHINE_EVENT_MAP(X)
#undef X
};

enum es_park_event {
#define X(name, number, word) ES_PARK_##name = (number),
    ES_PARK_EVENT_MAP(X)
#undef X
};

struct es_event {
    int64_t pos;   /* in the ledger, from 1; 0 before it is stored */
    int64_t ex_ms; /* exercise time */
    int type;
    int team;    /* 1…; -1: none */
    int subject; /* index of the scenario, by type */
    int a;
    int64_t b;
    uint32_t instance; /* machine instance; 0: none. (instance, epoch, seq) is unique */
    uint64_t epoch;
    int64_t seq;
    const char *text; /* JSON object, or NULL */
};

/* ---- verdicts */

/* Judges evidence against what a probe expects. `look` with ${…} is not needed here;
 * expectations are expanded through `value`. `baseline` is the evidence kept from
 * personalise for ES_CMP_CHANGED, or NULL. `why` gets a short text such as
 * "status is 502, expected 200": valid UTF-8, escaped for terminals, and without values
 * when the expectation holds a ${…}. Presence comes first; when absence is expected it
 * alone counts. Hostile evidence (missing fields, wrong types, text over 64 KiB) is a
 * fail, also where the comparison is negated; what fails on our side (memory, a value
 * without a name, no baseline) is `fault`. Patterns are POSIX extended, ^ and $ match at
 * lines, a ${…} in one stands for itself. */
enum es_outcome es_judge(const struct es_probe *probe, const json_t *evidence,
                         const json_t *baseline,
                         const char *(*value)(void *ctx, const char *name), void *ctx,
                         char *why, size_t why_size);

/* ---- the fold
 *
 * Conditions. A composite is three-valued: pass, fail, not known (none, unknown, fault,
 * absent). Not known is `fault` when any part is, else `unknown`, else `none`; `absent`
 * only when absence alone is why. A condition whose `control` does not pass is `fault`;
 * one whose `after` is not reached is `none`. A pass counts once its control has been
 * observed to pass at or after it (till then a fail stays a fail, else `none`): what
 * died by itself a moment ago looks like success. With `for:`, a pass not yet held long
 * enough leaves a fail a fail and is else `none`. Probes sum the time between passes at
 * most 2 * every apart, so they pass at an observation; composites sum the time they
 * pass, so time alone can bring it. What was jumped over counts for neither, nor for
 * held objectives, nor does it age observations. An observation older than 3 * every +
 * timeout is `unknown` (every: at least one real second; timeout: real time); where steady
 * ones are told together, ES_SCORE_STEADY_MS later.
 *
 * Fact conditions: without `within` they fail until the fact is true, from the start on;
 * with it they are `none` until the fact, or fail when its time is over.
 *
 * Machines. Down or reset: what its agent told is `unknown` until told again; at fault:
 * `fault`. While a machine of a team is at fault (till up, ready or reset), what looks
 * over the network and finds nothing is `fault` too: our dead machine may be why.
 *
 * Services. A round's verdict is the outcome at its end, one sample as in contests: it
 * can be told by naming one moment, a restart within a round is no miss, and a repair
 * late in a round still saves it. A pass earns the points. A fail is a miss, or waived
 * when a waiving fact holds now. Unknown, fault and none count for nobody, nor do rounds
 * that end within a jump. The first 3 absent rounds in a row earn nothing, those after
 * them are misses. `sla_after` misses in a row cost one penalty and the count begins
 * again; a pass ends the row, rounds that do not count leave it.
 *
 * Objectives. `once`: met the first time its condition passes while open, and kept.
 * `held`: points by the share of the known running time while open that it passed
 * (absent counts as not passing; none, unknown and fault are not counted). `at-end`:
 * judged when it closes; a condition then not known, absent apart, counts with its last
 * pass or fail. They close at `closes` or at the stop: an instant belongs to what
 * follows it, so an observation at the very moment of closing is too late, while what
 * time brings at that moment (`for:`) is in time. The stop ends all judging; corrections
 * still count after it.
 *
 * Corrections. POINTS with a known part are added to what that part earned, before
 * scaling; else to the total. OVERRIDE decides an objective for good. In a voided span
 * [from, to) observations are dropped and conditions `unknown`. */

struct es_score;
#define ES_SCORE_TEAMS_MAX 1000
#define ES_SCORE_VOIDS_MAX 10000

/* Called for each fact that becomes true or ceases to be, in order of exercise time, from
 * apply or advance. The callback may ask the fold, not change it. */
struct es_score_change {
    int64_t ex_ms;
    int team;
    int fact;          /* index */
    bool now;          /* whether it holds now */
    int64_t cause_pos; /* event behind it; 0: time alone */
};
typedef void (*es_score_on_change)(void *ctx, const struct es_score_change *change);

/* Borrows the scenario, which must outlive the fold. ES_EINVAL: team count or points out
 * of range, or an objective's part that the scoring does not name; ES_ENOMEM. */
int es_score_create(const struct es_scenario *scenario, int team_count,
                    es_score_on_change on_change, void *ctx, struct es_score **ret_score,
                    struct es_err *err);
void es_score_destroy(struct es_score *score);
/* From now on; for a fold that was made from a ledger and goes live. */
void es_score_set_on_change(struct es_score *score, es_score_on_change on_change,
                            void *ctx);

/* Voids reach back in time: tell every event of a ledger here that may be one before the
 * first is applied (others are ignored here); es_score_apply refuses a void it was not
 * told of. A live core makes a new fold from its ledger when one arrives. Copies. */
int es_score_correct(struct es_score *score, const struct es_event *event,
                     struct es_err *err);
/* Advances to event->ex_ms, then takes the event. Events come in ledger order; ex_ms
 * never falls, nor below what advance was told. A duplicate (see es_score_seen) is
 * ignored. A jump of the clock is a CLOCK event with the time it left as ex_ms and the
 * time jumped to as seq. ES_EINVAL when the event does not fit the scenario or comes out
 * of order: it is then as if it had not been; ES_ENOMEM: the fold is no longer whole,
 * make another. */
int es_score_apply(struct es_score *score, const struct es_event *event,
                   struct es_err *err);
/* Whether a result is already in, for at-least-once delivery. For each instance the
 * current epoch and its last seq are kept, and the 3 epochs before it: seq must rise
 * within an epoch, and a former epoch's results are stale, so they count as seen.
 * Without instance or seq (0: made by the core) nothing is seen. */
bool es_score_seen(const struct es_score *score, uint32_t instance, uint64_t epoch,
                   int64_t seq);
/* What an observation of a probe would bring, taken now: news; nothing but its own age;
 * or not even that at once: such ones may be told together, as one STEADY event with the
 * number and times of all, no more than ES_SCORE_STEADY_MS (real time) after the first of
 * them (at since_ms; ex_ms for the first), and before an observation of the condition, or
 * of one that it controls, which brings news, before an event of a machine of the team and
 * before one of the clock. Every outcome is then what it had been with an event for each,
 * at the same moment. Looks that are rare or late are told at once, as is what `for:` or a
 * controlled condition waits for. */
enum es_score_news { ES_NEWS_SOME, ES_NEWS_AGE, ES_NEWS_NONE };
#define ES_SCORE_STEADY_MS 10000
enum es_score_news es_score_news(const struct es_score *score, int team, int condition,
                                 enum es_outcome outcome, int64_t since_ms,
                                 int64_t ex_ms);
/* Lets exercise time pass: windows close, rounds end, `for:` is reached. */
void es_score_advance(struct es_score *score, int64_t ex_ms);
/* Exercise time of the next change that time alone may bring, at the latest: advance to
 * it and ask again. INT64_MAX: none, also before the start and after the stop. */
int64_t es_score_next_due(const struct es_score *score);
int64_t es_score_now(const struct es_score *score);

/* ---- what it says */

struct es_condition_state {
    enum es_outcome raw;     /* the last observation, or of the parts */
    enum es_outcome outcome; /* after for:, after:, control: */
    int64_t since_ex_ms;     /* of `outcome` */
    int64_t observed_ex_ms;  /* -1: never */
    int64_t held_ms;         /* towards for: */
    int64_t cause_pos;
};
void es_score_condition(const struct es_score *score, int team, int condition,
                        struct es_condition_state *ret_state);

int64_t es_score_fact_at(const struct es_score *score, int team,
                         int fact); /* first time; -1 */
bool es_score_fact_now(const struct es_score *score, int team, int fact);

enum es_objective_status { ES_OBJ_CLOSED, ES_OBJ_OPEN, ES_OBJ_MET, ES_OBJ_MISSED };
struct es_objective_state {
    enum es_objective_status status;
    int64_t met_ex_ms;        /* -1 */
    int64_t held_ms, open_ms; /* held: time met, time open so far */
    int64_t mpts;             /* earned, before scaling */
    int64_t cause_pos;
    bool overridden;
    /* Its condition passed as it opened, or, observed alone, was never seen to fail. */
    bool started_met;
};
void es_score_objective(const struct es_score *score, int team, int objective,
                        struct es_objective_state *ret_state);

struct es_phase_state {
    int64_t begun_ex_ms, done_ex_ms; /* -1: not yet */
    bool stuck, late;                /* beyond `stuck`, beyond `plan` */
};
void es_score_phase(const struct es_score *score, int team, int phase,
                    struct es_phase_state *ret_state);

struct es_service_state {
    int64_t rounds; /* closed: the sum of the next five */
    int64_t passed, failed, waived, unknown, absent;
    int64_t misses_in_a_row, penalties;
    int64_t mpts;
    enum es_outcome last;
};
void es_score_service(const struct es_score *score, int team, int service,
                      struct es_service_state *ret_state);

struct es_part_state {
    const char *name;
    int64_t earned_mpts, possible_mpts; /* raw; possible up to now for services */
    int64_t weight;
    /* drill: weight * 1000 * earned / possible, at least 0; uptime: earned */
    int64_t scaled_mpts;
};
size_t es_score_part_count(const struct es_score *score);
void es_score_part(const struct es_score *score, int team, size_t part,
                   struct es_part_state *ret_state);
int64_t es_score_total_mpts(const struct es_score *score, int team);

/* Every reason for points of a team, in order of time; points before scaling. Text
 * borrows until `each` returns. */
struct es_score_reason {
    int64_t ex_ms, pos; /* pos: ledger event, 0 when time alone decided */
    const char *part, *what, *text;
    const char *by; /* of a correction, as its event has it; NULL */
    int64_t mpts;
};
int es_score_explain(const struct es_score *score, int team,
                     void (*each)(void *ctx, const struct es_score_reason *reason),
                     void *ctx, struct es_err *err);
/* One object for a team (conditions, objectives, phases, services, parts, total); gives. */
json_t *es_score_json(const struct es_score *score, int team);
/* A 64-digit hash over the whole state, to compare two folds. */
void es_score_digest(const struct es_score *score, char ret_hex[65]);

#endif
