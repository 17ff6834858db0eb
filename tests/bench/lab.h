/* A lab for benches that drive machines: a core with a state folder of its own, `enshu` as a
 * user runs it, and from its progress lines when each machine came to each state.
 *
 * ENSHU_BIN and ENSHU_TOP as for the tests; BENCH_IMAGES a folder of built images (default
 * build/images; what is missing is built first and not measured); BENCH_ACCEL kvm or tcg
 * (default: found out). What goes wrong ends the program, and all that it started. */
#ifndef TESTS_BENCH_LAB_H
#define TESTS_BENCH_LAB_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define LAB_STATE_MAP(X)                                                                 \
    X(PLANNED, "planned")                                                                \
    X(DISK, "disk")                                                                      \
    X(QUEUED, "queued")                                                                  \
    X(STARTING, "starting")                                                              \
    X(BOOTING, "booting")                                                                \
    X(PERSONALISING, "personalising") /* its agent has answered */                       \
    X(CHECKING, "checking")                                                              \
    X(READY, "ready")
enum lab_state {
#define X(NAME, word) LAB_##NAME,
    LAB_STATE_MAP(X)
#undef X
        LAB_STATES
};

/* Steps whose length `status` tells. */
#define LAB_STEP_MAP(X)                                                                  \
    X(CLEAR, "clear_us", "end what runs under its name")                                 \
    X(DISK, "disk_us", "its disk")                                                       \
    X(START, "start_us", "QEMU through libvirt, paused")                                 \
    X(LOAD, "load_us", "its devices' state")                                             \
    X(PLUG, "plug_us", "NICs of shared networks")                                        \
    X(RESUME, "resume_us", "resume")                                                     \
    X(HELLO, "hello_us", "until its agent answers")                                      \
    X(PERSONALISE, "personalise_us", "personalise, until acknowledged")                  \
    X(READY, "ready_us", "its own steps and `ready`")
enum lab_step {
#define X(NAME, key, what) LAB_STEP_##NAME,
    LAB_STEP_MAP(X)
#undef X
        LAB_STEPS
};
extern const char *const lab_step_keys[LAB_STEPS], *const lab_step_texts[LAB_STEPS];

/* Of one call; times in ms since the request, 0: never. Begins zeroed. */
struct lab_run {
    struct lab_machine {
        char name[64];
        double at[LAB_STATES];
        double steps[LAB_STEPS]; /* how long each took; lab_steps() */
        double personalised;     /* acknowledged; lab_steps() */
    } * machines;
    size_t count;
    double took;
};
void lab_run_finish(struct lab_run *run);

struct lab {
    char dir[40], state[56]; /* everything lies in dir */
    char last[1024];         /* the last line that `enshu` printed */
    const char *name, *bin, *top;
};
extern struct lab lab;

/* NAME=VALUE words of the command line: texts, and numbers from `least` to `most`. */
struct lab_option {
    const char *name, **text;
    int64_t *number, least, most;
};
/* Ends the program, with 64, at a word that is none of them. */
void lab_options(const char *bench, const struct lab_option *known, size_t count,
                 int argc, char **argv);

/* Makes the folders and starts the core; `also_end` (may be NULL) is called before its
 * end. */
void lab_open(const char *name, void (*also_end)(void));
void lab_close(void);
_Noreturn void lab_die(const char *what, const char *why);

/* `enshu … --json` to its end; its exit code. Machines of teams go to `run` (may be NULL),
 * which is emptied first. */
int lab_enshu(struct lab_run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, which must succeed. */
void lab_do(struct lab_run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* What `enshu … --json` answers; a new reference. */
json_t *lab_json(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Adds to machines how long each step took, from the status of what is up. */
void lab_steps(struct lab_run *run);

/* The last machine's, the median one's; of a state or a step. */
double lab_last(const struct lab_run *run, enum lab_state state);
double lab_last_personalised(const struct lab_run *run);
/* Median over all machines of all runs. */
double lab_median_spent(const struct lab_run *runs, size_t count, enum lab_state from,
                        enum lab_state to); /* from LAB_STATES: since the request */
double lab_median_step(const struct lab_run *runs, size_t count, enum lab_step step);

/* DIR/scenario/NAME.yaml, opened for writing, and its path. */
FILE *lab_scenario(const char *name, char *ret_path, size_t size);

int lab_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *lab_text(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* free() */

/* Calls for each process of ours whose program's name holds `program`; `bytes` are the words
 * of its command line, each with a NUL behind it. Returns how many there are. */
size_t lab_processes(const char *program,
                     void (*each)(pid_t pid, const char *bytes, size_t len, void *arg),
                     void *arg);
/* Processor time so far: of those, of one. */
double lab_cpu_s(const char *program);
double lab_cpu_s_of(pid_t pid);

double lab_now(void); /* ms */
double lab_median(const double *values, size_t count);

#endif
