/* When memory runs short: who may still come in, who stands still, who goes on again. Pure:
 * time and observations in, actions out; capacity.c carries them out.
 *
 *            pressed, or little left                     much pressed, or hardly any left
 *   CALM ──────────────────────────► TIGHT ─────────────────────────────────► SHORT
 *    admissions; the suspended        no admissions                  and, one after another,
 *    are resumed one by one    ◄────────────────────────────────────  machines are suspended
 *             well below both marks for DENSITY_CALM_MS
 *
 * Of least importance, and so first to stand still, are
 *   1. machines of a team that is not in play (its exercise's clock does not run),
 *   2. hidden machines that no condition looks at (background),
 *   3. others that no condition looks at,
 *   4. those that only objectives rest on;
 * among equals the one that keeps most memory for itself. Probers, machines that a service
 * rests on, machines of all teams and moulds never do. */
#ifndef ORCHESTRATOR_RANGE_DENSITY_H
#define ORCHESTRATOR_RANGE_DENSITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DENSITY_CALM_MS 20000 /* calm for so long before anything is allowed again */
#define DENSITY_HOLD_MS 3000  /* short for so long before anyone is suspended */
#define DENSITY_REST_MS 10000 /* between two suspensions, or two resumptions */

/* Hundredths of a per cent of the last ten seconds. */
#define DENSITY_TIGHT_SOME 1000
#define DENSITY_TIGHT_FULL 200
#define DENSITY_SHORT_SOME 4000
#define DENSITY_SHORT_FULL 1000

enum density_level { DENSITY_CALM, DENSITY_TIGHT, DENSITY_SHORT };
const char *density_level_name(enum density_level level);

struct density_sample {
    int64_t now_ms;
    int some, full; /* memory pressure; -1: not told */
    /* 0: not told. Reserve as es_plan_reserve says. */
    int64_t available_bytes, reserve_bytes;
};

/* Zeroed at first. */
struct density_state {
    enum density_level level;
    int64_t short_ms; /* short since then; 0: it is not */
    int64_t calm_ms;  /* all well since then; 0: it is not */
    int64_t acted_ms; /* last suspension or resumption; 0: none */
};

struct density_role {
    bool fixed;    /* prober, machine of all teams, mould, what a service rests on */
    bool in_play;  /* the clock of its exercise runs */
    bool observed; /* some condition looks at it */
    bool hidden;
};
/* 0: never suspended; the higher, the sooner. */
int density_rank(const struct density_role *role);

struct density_machine {
    int rank;
    bool runs;      /* and may be suspended now */
    bool suspended; /* by us, and may be resumed now */
    int64_t private_bytes;
};
struct density_act {
    bool admit;
    int suspend, resume; /* at most one of them; -1: none */
};
void density_step(struct density_state *state, const struct density_sample *sample,
                  const struct density_machine *machines, size_t count,
                  struct density_act *ret_act);

#endif
