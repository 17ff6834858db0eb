/* Inside of the fold. Only orchestrator/score includes this.
 *
 * Two lines of time. Exercise time (ex) drives anchors, rounds and windows. Run time (run)
 * is exercise time without what was jumped over; observations age in it and `for:` and
 * held objectives sum it, so a jump adds nothing. run = ex - jumped, always.
 *
 * One change is taken in three steps, so that no half-changed state is ever judged:
 *   1. the changed conditions are marked dirty and evaluated in topological order,
 *      parts and controls before what reads them (a diamond never glitches);
 *   2. then the consequences of those that really changed: facts, objectives, phases;
 *      a fact may make fact conditions dirty and put anchors on the timers;
 *   3. again until nothing is dirty; then timers that are due at this very moment.
 * Equal moments are ordered by (timer kind, team, subject), never by insertion, so the
 * fold does not depend on how often it is advanced. */
#ifndef ENSHU_SCORE_FOLD_H
#define ENSHU_SCORE_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/common/mem.h"
#include "enshu/score.h"

/* ---- the scenario, compiled: the same for every team */

/* Lists of ints by row: items[start[row]] … items[start[row + 1]]. */
struct lists {
    int *start, *items;
    size_t rows;
};
#define LISTS_EACH(pos, lists, row)                                                      \
    for (const int *pos = (lists)->items + (lists)->start[row],                          \
                   *pos##_end = (lists)->items + (lists)->start[(row) + 1];              \
         pos < pos##_end; pos++)

/* What falls due at one moment happens in this order. */
enum timer_kind {
    TIMER_VOID,   /* subject: 2 * void, + 1 for its end */
    TIMER_FOR,    /* condition */
    TIMER_STALE,  /* condition */
    TIMER_AFTER,  /* condition */
    TIMER_WITHIN, /* condition */
    TIMER_FROM,   /* phase */
    TIMER_OPENS,  /* objective */
    TIMER_CLOSES, /* objective */
    TIMER_ROUND,  /* service, all teams at once */
    TIMER_MARK,   /* phase: stuck or late; nothing to do, but a moment to wake at */
};

struct anchor {
    enum timer_kind kind;
    int subject;
    int64_t offset_ms;
};

struct cond_def {
    enum es_condition_kind kind;
    bool outward;     /* looks over the network: a faulted machine may spoil it */
    bool controls;    /* another's verdict counts only while this passes */
    bool waits;       /* on a fact or a moment, itself or in its parts */
    bool present;     /* the probe's expectation */
    int node;         /* the machine that observes; -1: none */
    int control;      /* -1: none */
    int rank;         /* in topological order */
    int64_t for_ms;   /* 0: at once */
    int64_t gap_ms;   /* passes farther apart add nothing to for: */
    int64_t stale_ms; /* age at which an observation is no longer known */
    int64_t late_ms;  /* what is steady may be told so late; 0: each is told */
    int fact_pass, fact_fail;
};

struct model {
    const struct es_scenario *scenario; /* borrows */
    size_t conditions, facts, objectives, phases, services, nodes;
    struct cond_def *conds;
    int *order; /* conditions by rank */
    struct anchor *anchors;
    size_t anchor_count;
    struct lists readers;       /* condition: composites and controlled that read it */
    struct lists objectives_of; /* condition */
    struct lists phases_of;     /* condition */
    struct lists fact_readers;  /* fact: fact conditions */
    struct lists anchors_of;    /* fact, and a last row for the start of the exercise */
    struct lists conds_of;      /* node: conditions it observes */
    int *fact_index;            /* [kind][subject], see model_fact */
    size_t fact_stride;
    const char **parts; /* names */
    int64_t *weights;
    size_t part_count;
    int *objective_part, *service_part;
    bool scaled; /* model drill */
};

int model_make(const struct es_scenario *scenario, struct model *model,
               struct es_err *err);
void model_finish(struct model *model);
void model_set_speed(struct model *model, int32_t permille);
int model_fact(const struct model *model, enum es_fact_kind kind, int subject);
int model_part(const struct model *model, const char *name); /* -1: none of that name */

/* lists.c: collects pairs, then sorts them by row, stable. */
struct pairs {
    int (*items)[2];
    size_t count, cap;
    bool failed;
};
void pairs_add(struct pairs *pairs, int row, int item);
int pairs_to_lists(struct pairs *pairs, size_t rows, struct lists *ret_lists);
void lists_finish(struct lists *lists);

/* ---- timers: binary heaps whose room is reserved in advance */

struct timer {
    int64_t due_ms;
    uint64_t key; /* kind, team, subject */
};
struct heap {
    struct timer *items;
    size_t count, cap;
};
int heap_reserve(struct heap *heap, size_t cap);
void heap_finish(struct heap *heap);
void heap_push(struct heap *heap, int64_t due_ms, enum timer_kind kind, int team,
               int subject);
void heap_pop(struct heap *heap);
void heap_delay(struct heap *heap, int64_t due_ms); /* the first one, to a later time */
static inline bool timer_before(const struct timer *a, const struct timer *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->key < b->key;
}
static inline enum timer_kind timer_kind(const struct timer *timer)
{
    return (enum timer_kind)(timer->key >> 56);
}
static inline int timer_team(const struct timer *timer)
{
    return (int)(timer->key >> 32 & 0xffffffU);
}
static inline int timer_subject(const struct timer *timer)
{
    return (int)(timer->key & 0xffffffffU);
}

/* ---- what was delivered already */

#define SEEN_EPOCHS 4
struct seen_row {
    uint32_t instance; /* 0: free */
    int64_t seq;
    uint64_t epochs[SEEN_EPOCHS]; /* the current one first, then former ones */
    uint32_t epoch_count;
};
struct seen {
    struct seen_row *rows;
    size_t count, cap; /* cap: a power of two */
};
bool seen_has(const struct seen *seen, uint32_t instance, uint64_t epoch, int64_t seq);
int seen_note(struct seen *seen, uint32_t instance, uint64_t epoch, int64_t seq);
void seen_finish(struct seen *seen);

/* ---- the state of a team */

struct cond_state {
    uint8_t raw, outcome;
    uint8_t known; /* the last outcome that was pass or fail; else NONE */
    bool stale_queued, for_queued, after_reached;
    bool late;   /* within: is over */
    bool failed; /* its outcome was a fail at some time */
    uint16_t voids;
    int64_t observed_run_ms, observed_ex_ms; /* -1: never */
    int64_t raw_run_ms;                      /* probes: when `raw` was first observed */
    int64_t since_ex_ms;
    int64_t held_ms;
    int64_t held_from_ms; /* run; probes: the last pass; composites: passing since; -1 */
    int64_t raw_cause, cause;
};
struct fact_state {
    int64_t first_ex_ms; /* -1: not yet */
    int64_t cause;
    bool now;
};
enum held_class { HELD_NOT_COUNTED, HELD_YES, HELD_NO };
struct obj_state {
    uint8_t status; /* enum es_objective_status */
    bool overridden, override_met, started_met, over;
    uint8_t held_class;
    int64_t opened_ex_ms, met_ex_ms, ended_ex_ms;
    int64_t held_ms, open_ms, counted_run_ms;
    int64_t cause;
};
struct phase_state {
    int64_t begun_ex_ms, done_ex_ms;
    int64_t begun_cause, done_cause;
};
struct service_state {
    int64_t passed, failed, waived, unknown, absent;
    int64_t misses_in_a_row, absent_in_a_row, penalties;
    uint8_t last;
    int64_t last_reason; /* index in the log of the span that may grow; -1: none */
};
struct node_state {
    bool down, fault;
    uint32_t instance; /* that went down; its late results do not count */
};
struct team {
    struct cond_state *conds;
    struct fact_state *facts;
    struct obj_state *objectives;
    struct phase_state *phases;
    struct service_state *services;
    struct node_state *nodes;
    int64_t *part_points_mpts; /* corrections, by part */
    int64_t loose_mpts;        /* corrections without a part */
    int faults;                /* nodes at fault */
};

enum reason_kind { REASON_ROUNDS, REASON_PENALTY, REASON_POINTS, REASON_OVERRIDE };
enum round_verdict { ROUND_PASS, ROUND_MISS, ROUND_ABSENT, ROUND_WAIVED, ROUND_UNKNOWN };
/* What cannot be told from the state afterwards. */
struct reason {
    int64_t ex_ms, pos, mpts;
    int team;
    enum reason_kind kind;
    int subject;         /* service; POINTS: part or -1; OVERRIDE: objective */
    int verdict;         /* ROUNDS */
    int64_t first, last; /* ROUNDS: numbers of rounds */
    char *text, *by;     /* corrections: why, and whose (may be NULL); owned */
};

struct void_span {
    int kind, team, subject;
    int64_t from_ms, to_ms, pos;
};

struct es_score {
    struct model model;
    es_score_on_change on_change;
    void *ctx;
    int team_count;
    struct team *teams;
    int64_t now_ms, jumped_ms;
    int64_t next_due_ms; /* cached: the first timer in exercise time */
    int64_t cause;       /* position of the event being taken; 0: time */
    bool touched;        /* an event was applied */
    bool started, stopped, jumping;
    int32_t speed_permille;
    bool pending; /* some condition is dirty */
    struct heap ex_heap, run_heap;
    struct seen seen;
    struct void_span *voids;
    size_t void_count;
    int64_t *rounds; /* closed, by service */
    struct reason *log;
    size_t log_count, log_cap;
    bool failed; /* memory ran out while time passed: the fold is no longer whole */
    uint64_t *dirty;
    size_t dirty_words;
    int *changed;
    size_t changed_count;
};

static inline int64_t run_now(const struct es_score *score)
{
    return score->now_ms - score->jumped_ms;
}
static inline struct team *team_of(const struct es_score *score, int team)
{
    ES_ASSERT(team >= 1 && team <= score->team_count);
    return &score->teams[team - 1];
}
static inline bool outcome_known(int outcome)
{
    return outcome == ES_OUTCOME_PASS || outcome == ES_OUTCOME_FAIL;
}

/* condition.c */
void condition_observe(struct es_score *score, int team, int cond, int outcome);
/* Observations up to this moment, the last of them made at `run_ms` and `ex_ms`; `between`
 * is run time that passes held between the first of them and the last. */
void condition_observe_at(struct es_score *score, int team, int cond, int outcome,
                          int64_t run_ms, int64_t ex_ms, int64_t between_ms);
/* What an observation of a probe counts for while our machines are at fault. */
int condition_spoilt(const struct es_score *score, int team, const struct cond_def *def,
                     int outcome);
/* A pass of it that its control is to be seen for again. */
bool condition_waits(const struct es_score *score, int team, int cond, int control);
void condition_forget(struct es_score *score, int team, int cond, int raw);
void condition_void(struct es_score *score, int team, int cond, bool begins);
void condition_mark(struct es_score *score, int cond); /* dirty, for the next settle */
bool condition_evaluate(struct es_score *score, int team, int cond);
int64_t condition_held(const struct es_score *score, const struct cond_def *def,
                       const struct cond_state *state);
/* steady.c */
void condition_observe_steady(struct es_score *score, const struct es_event *event);
/* settle.c */
void settle(struct es_score *score, int team);
void fact_set(struct es_score *score, int team, int fact, bool now, int64_t cause);
void anchors_fire(struct es_score *score, int team, size_t row, int64_t from_ms);
/* objective.c */
void objective_open(struct es_score *score, int team, int objective);
void objective_close(struct es_score *score, int team, int objective);
void objective_judge(struct es_score *score, int team, int objective);
void objective_override(struct es_score *score, int team, int objective, bool met);
void objective_count(const struct es_score *score, const struct obj_state *state,
                     int64_t *ret_held_ms, int64_t *ret_open_ms);
int64_t objective_mpts(const struct es_score *score, int team, int objective);
/* phase.c */
void phase_begin(struct es_score *score, int team, int phase, int64_t cause);
void phase_judge(struct es_score *score, int team, int phase);
/* service.c */
void service_round(struct es_score *score, int service);
int64_t service_mpts(const struct es_score *score, int team, int service);
/* machine.c */
void machine_event(struct es_score *score, const struct es_event *event);
/* time.c */
void time_run(struct es_score *score, int64_t to_ex_ms);
void time_jump(struct es_score *score, int64_t to_ex_ms);
void time_cache(struct es_score *score);
void void_begin_or_end(struct es_score *score, int subject);
/* correct.c: a span that has not ended holds it */
bool void_touches(const struct es_score *score, int team, int cond);
/* log.c */
void log_round(struct es_score *score, int team, int service, int verdict, int64_t round);
void log_penalty(struct es_score *score, int team, int service);
/* What a correction says of itself: its reason and by whom, from its event's text. */
int log_correction(struct es_score *score, enum reason_kind kind, int team, int subject,
                   int64_t mpts, const struct es_event *event, const json_t *text);
/* The last override of an objective; NULL. */
const struct reason *log_override(const struct es_score *score, int team, int objective);
void log_finish(struct es_score *score);

/* a * b / c without overflow in between, towards zero; c > 0. */
int64_t mul_div(int64_t a, int64_t b, int64_t c);

#endif
