/* The exercise clock. Time is a line through (base_mono_ms, base_ex_ms) with the slope of
 * the speed; every move puts the base where the line stands at that moment, rounded down,
 * so exercise time never goes back and a move loses less than a millisecond. */
#include "enshu/clock.h"

#include <string.h>

#include "enshu/common/str.h"

static const char *const state_names[] = {"ready", "running", "paused", "stopped"};

const char *es_clock_state_name(enum es_clock_state state)
{
    if ((size_t)state >= ES_COUNT(state_names))
        return "?";
    return state_names[state];
}

void es_clock_init(struct es_clock *clock)
{
    ES_ASSERT(clock != NULL);
    *clock = (struct es_clock){.state = ES_CLOCK_READY, .speed_permille = 1000};
}

static void check(const struct es_clock *clock)
{
    ES_ASSERT(clock != NULL);
    ES_ASSERT((size_t)clock->state < ES_COUNT(state_names));
    ES_ASSERT(clock->base_ex_ms >= 0 && clock->base_ex_ms <= ES_CLOCK_EX_MAX_MS);
    ES_ASSERT(clock->speed_permille >= 1 && clock->speed_permille <= ES_CLOCK_SPEED_MAX);
}

int64_t es_clock_now(const struct es_clock *clock, int64_t mono_ms)
{
    check(clock);
    if (clock->state != ES_CLOCK_RUNNING || mono_ms <= clock->base_mono_ms)
        return clock->base_ex_ms;
    int64_t gone_ms;
    int64_t room_ms = ES_CLOCK_EX_MAX_MS - clock->base_ex_ms;
    if (__builtin_sub_overflow(mono_ms, clock->base_mono_ms, &gone_ms) ||
        __builtin_mul_overflow(gone_ms, clock->speed_permille, &gone_ms) ||
        gone_ms / 1000 > room_ms)
        return ES_CLOCK_EX_MAX_MS;
    return clock->base_ex_ms + gone_ms / 1000;
}

static void rebase(struct es_clock *clock, int64_t mono_ms)
{
    clock->base_ex_ms = es_clock_now(clock, mono_ms);
    clock->base_mono_ms = mono_ms;
}

static int refuse(const struct es_clock *clock, const char *what, const char *remedy,
                  struct es_err *err)
{
    return es_err_set(err, ES_ESTATE, "cannot %s the exercise: it is %s; %s", what,
                      es_clock_state_name(clock->state), remedy);
}

static const char *remedy_for(const struct es_clock *clock)
{
    switch (clock->state) {
    case ES_CLOCK_READY:
        return "start it first";
    case ES_CLOCK_RUNNING:
        return "pause it first, or leave it running";
    case ES_CLOCK_PAUSED:
        return "resume it to go on";
    case ES_CLOCK_STOPPED:
        break;
    }
    return "a stopped exercise stays stopped: bring up another one";
}

int es_clock_start(struct es_clock *clock, int64_t mono_ms, struct es_err *err)
{
    check(clock);
    if (clock->state != ES_CLOCK_READY)
        return refuse(clock, "start", remedy_for(clock), err);
    clock->state = ES_CLOCK_RUNNING;
    clock->base_mono_ms = mono_ms;
    return 0;
}

int es_clock_pause(struct es_clock *clock, int64_t mono_ms, struct es_err *err)
{
    check(clock);
    if (clock->state != ES_CLOCK_RUNNING)
        return refuse(clock, "pause", remedy_for(clock), err);
    rebase(clock, mono_ms);
    clock->state = ES_CLOCK_PAUSED;
    return 0;
}

int es_clock_resume(struct es_clock *clock, int64_t mono_ms, struct es_err *err)
{
    check(clock);
    if (clock->state != ES_CLOCK_PAUSED)
        return refuse(clock, "resume", remedy_for(clock), err);
    clock->state = ES_CLOCK_RUNNING;
    clock->base_mono_ms = mono_ms;
    return 0;
}

int es_clock_stop(struct es_clock *clock, int64_t mono_ms, struct es_err *err)
{
    check(clock);
    if (clock->state == ES_CLOCK_STOPPED)
        return refuse(clock, "stop", remedy_for(clock), err);
    rebase(clock, mono_ms);
    clock->state = ES_CLOCK_STOPPED;
    return 0;
}

int es_clock_set_speed(struct es_clock *clock, int64_t mono_ms, int32_t permille,
                       struct es_err *err)
{
    check(clock);
    if (clock->state == ES_CLOCK_STOPPED)
        return refuse(clock, "change the speed of", remedy_for(clock), err);
    if (permille < 1 || permille > ES_CLOCK_SPEED_MAX)
        return es_err_set(err, ES_EINVAL,
                          "cannot set a speed of %d/1000: choose 1/1000 to %d/1000",
                          (int)permille, ES_CLOCK_SPEED_MAX);
    rebase(clock, mono_ms);
    clock->speed_permille = permille;
    return 0;
}

int es_clock_jump(struct es_clock *clock, int64_t mono_ms, int64_t to_ex_ms,
                  struct es_err *err)
{
    check(clock);
    if (clock->state == ES_CLOCK_READY || clock->state == ES_CLOCK_STOPPED)
        return refuse(clock, "jump in", remedy_for(clock), err);
    int64_t now_ms = es_clock_now(clock, mono_ms);
    char now_text[64];
    es_str_from_ms(now_ms, now_text, sizeof now_text);
    if (to_ex_ms < now_ms)
        return es_err_set(
            err, ES_EINVAL,
            "cannot jump back: the exercise stands at T+%s; name a later time", now_text);
    if (to_ex_ms > ES_CLOCK_EX_MAX_MS)
        return es_err_set(err, ES_EINVAL,
                          "cannot jump so far: an exercise lasts at most 100 years");
    clock->base_ex_ms = to_ex_ms;
    clock->base_mono_ms = mono_ms;
    return 0;
}

int64_t es_clock_until(const struct es_clock *clock, int64_t mono_ms, int64_t ex_ms)
{
    check(clock);
    if (clock->state != ES_CLOCK_RUNNING)
        return -1;
    if (es_clock_now(clock, mono_ms) >= ex_ms)
        return 0;
    if (ex_ms > ES_CLOCK_EX_MAX_MS)
        return ES_CLOCK_EX_MAX_MS;
    /* the least t with base_ex + floor((t - base_mono) * speed / 1000) >= ex */
    int64_t speed = clock->speed_permille;
    int64_t need_ms = ((ex_ms - clock->base_ex_ms) * 1000 + speed - 1) / speed;
    int64_t gone_ms = mono_ms > clock->base_mono_ms ? mono_ms - clock->base_mono_ms : 0;
    ES_ASSERT(need_ms > gone_ms);
    return need_ms - gone_ms;
}

void es_clock_mark(const struct es_clock *clock, const char *boot_id, int64_t mono_ms,
                   struct es_clock_mark *ret_mark)
{
    check(clock);
    ES_ASSERT(boot_id != NULL && ret_mark != NULL);
    ES_ASSERT(strlen(boot_id) < sizeof ret_mark->boot_id);
    memset(ret_mark, 0, sizeof *ret_mark);
    memcpy(ret_mark->boot_id, boot_id, strlen(boot_id));
    ret_mark->boottime_ms = mono_ms;
    ret_mark->ex_ms = es_clock_now(clock, mono_ms);
    ret_mark->state = clock->state;
    ret_mark->speed_permille = clock->speed_permille;
}

void es_clock_restore(struct es_clock *clock, const struct es_clock_mark *mark,
                      const char *boot_id, int64_t mono_ms, bool *ret_ran_on)
{
    ES_ASSERT(clock != NULL && mark != NULL && boot_id != NULL);
    es_clock_init(clock);
    /* A mark comes from a disk: what is out of range is brought into it. */
    if (mark->ex_ms > 0)
        clock->base_ex_ms =
            mark->ex_ms < ES_CLOCK_EX_MAX_MS ? mark->ex_ms : ES_CLOCK_EX_MAX_MS;
    if (mark->speed_permille >= 1 && mark->speed_permille <= ES_CLOCK_SPEED_MAX)
        clock->speed_permille = mark->speed_permille;
    clock->state =
        (size_t)mark->state < ES_COUNT(state_names) ? mark->state : ES_CLOCK_PAUSED;
    clock->base_mono_ms = mono_ms;
    bool ran_on = false;
    if (clock->state == ES_CLOCK_RUNNING) {
        ran_on = strnlen(mark->boot_id, sizeof mark->boot_id) == strlen(boot_id) &&
                 memcmp(mark->boot_id, boot_id, strlen(boot_id)) == 0 &&
                 mark->boottime_ms <= mono_ms && mark->boottime_ms >= 0 &&
                 mono_ms - mark->boottime_ms <= ES_CLOCK_GAP_MAX_MS;
        if (ran_on)
            clock->base_mono_ms = mark->boottime_ms;
        else
            clock->state = ES_CLOCK_PAUSED;
    }
    if (ret_ran_on != NULL)
        *ret_ran_on = ran_on;
    check(clock);
}
