/* The exercise clock: the sum of running intervals, in milliseconds. Pure: monotonic time
 * comes in as an argument (`mono_ms`, from CLOCK_BOOTTIME), wall time never. [any], by
 * value.
 *
 *   READY --start--> RUNNING <--pause/resume--> PAUSED --stop--> STOPPED (also from
 * RUNNING, READY)
 */
#ifndef ENSHU_CLOCK_H
#define ENSHU_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "enshu/common/err.h"

enum es_clock_state {
    ES_CLOCK_READY,
    ES_CLOCK_RUNNING,
    ES_CLOCK_PAUSED,
    ES_CLOCK_STOPPED
};

struct es_clock {
    enum es_clock_state state;
    int64_t base_ex_ms;     /* exercise time at base_mono_ms */
    int64_t base_mono_ms;   /* meaningful while running */
    int32_t speed_permille; /* 1000: real time; other speeds belong to rehearsals */
};

#define ES_CLOCK_SPEED_MAX 1000000
#define ES_CLOCK_EX_MAX_MS 3155760000000LL /* 100 years; the clock stands still there */

/* What a crash leaves behind, stored with every ledger batch. */
struct es_clock_mark {
    char boot_id[37];    /* /proc/sys/kernel/random/boot_id */
    int64_t boottime_ms; /* CLOCK_BOOTTIME when the batch was committed */
    int64_t ex_ms;
    enum es_clock_state state;
    int32_t speed_permille;
};
#define ES_CLOCK_GAP_MAX_MS                                                              \
    30000 /* a crash shorter than this lets a running clock run on */

void es_clock_init(struct es_clock *clock);
int64_t es_clock_now(const struct es_clock *clock,
                     int64_t mono_ms); /* exercise time; never goes back */
/* ES_ESTATE with the reason when the move is not possible, ES_EINVAL when a number is out
 * of range; the clock is then unchanged. A stopped clock never moves again; speed may be
 * set before the start. */
int es_clock_start(struct es_clock *clock, int64_t mono_ms, struct es_err *err);
int es_clock_pause(struct es_clock *clock, int64_t mono_ms, struct es_err *err);
int es_clock_resume(struct es_clock *clock, int64_t mono_ms, struct es_err *err);
int es_clock_stop(struct es_clock *clock, int64_t mono_ms, struct es_err *err);
int es_clock_set_speed(struct es_clock *clock, int64_t mono_ms, int32_t permille,
                       struct es_err *err); /* 1…1000000 */
int es_clock_jump(struct es_clock *clock, int64_t mono_ms, int64_t to_ex_ms,
                  struct es_err *err); /* forwards; while running or paused */
/* Real milliseconds until exercise time `ex_ms`, the least after which es_clock_now says
 * so; 0 when past. -1 while not running, also for what is past. */
int64_t es_clock_until(const struct es_clock *clock, int64_t mono_ms, int64_t ex_ms);
/* After a crash: runs on when the boot is the same and the gap at most
 * ES_CLOCK_GAP_MAX_MS, else paused at the mark. *ret_ran_on tells which for a clock that
 * was running and may be NULL. */
void es_clock_restore(struct es_clock *clock, const struct es_clock_mark *mark,
                      const char *boot_id, int64_t mono_ms, bool *ret_ran_on);
void es_clock_mark(const struct es_clock *clock, const char *boot_id, int64_t mono_ms,
                   struct es_clock_mark *ret_mark);

const char *es_clock_state_name(
    enum es_clock_state state); /* "ready" "running" "paused" "stopped" */

#endif
