/* Runs the program enshu against a control socket over a fake range, all on one loop. */
#ifndef TESTS_SUPPORT_CLI_RUNNER_H
#define TESTS_SUPPORT_CLI_RUNNER_H

#include "fake_range.h"

#define CLI_OUT_MAX (1U << 20)

/* What the fake answers to a method: progress lines first, then the result or an error. */
struct cli_script {
    const char *method;
    const char *progress; /* JSON lines, NULL none */
    const char *result;   /* JSON; NULL: the call is held until the client leaves */
    int error;            /* instead of the result; result is its text then */
};

struct cli_world {
    uv_loop_t loop;
    uv_timer_t guard;
    char dir[64], socket[108];
    struct fake_range fake;
    struct es_control *control;
    const struct cli_script *scripts; /* ends with method NULL */
    char params[65536];               /* of the last call that is not `status` */
    struct es_reply *held;
    int held_count, gone_count;
    /* of the program that ran last */
    char out[CLI_OUT_MAX], err[CLI_OUT_MAX];
    size_t out_len, err_len;
    int exit_code, open_ends, pid;
    const char *env[8]; /* added to the environment */
    const char *input;  /* given on standard input; NULL: /dev/null */
};
extern struct cli_world world;

void cli_world_open(const struct cli_script *scripts);
void cli_world_close(void);
/* Runs `enshu WORDS…` (cut at blanks, '…' keeps them together) to its end. */
int cli_run(const char *words);
/* Begins it, so that a test can act in between; then cli_wait. */
void cli_begin(const char *words);
int cli_wait(void);
/* The same on a terminal of 80 columns: both streams come out in world.out; returns the
 * terminal's descriptor. End with cli_wait_terminal. */
int cli_begin_terminal(const char *words);
int cli_wait_terminal(void);
void cli_type(const char *keys, size_t len);
/* Lets the loop run until the output holds the text. */
void cli_await(const char *text);
void cli_await_held(int count);

#endif
