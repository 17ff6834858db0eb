/* A whole exercise on real machines, as a user runs it: the programs enshud and enshu with a
 * state folder of their own, shared by the tests of one file, which run in order.
 *
 * Images are kept in build/images (ENSHU_TEST_IMAGES names another folder). After a test
 * that failed the later ones are not run; the end of the core's log is printed. Whatever
 * happens, the core, the nest and the folder are gone afterwards, also when the runner is
 * killed. */
#ifndef TESTS_SUPPORT_EXERCISE_H
#define TESTS_SUPPORT_EXERCISE_H

#include <check.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "enshu/common/str.h"

#define EXERCISE_OUT_MAX (1U << 20)
#define TEXT_MAX         8192 /* of what a guest prints */
#define EXERCISE_WAIT_S  180  /* generous: hosts without KVM, beside a build */

struct exercise {
    char dir[64], state[80], uri[160], images[1024];
    const char *bin, *top, *range;
};
extern struct exercise exercise;
extern char exercise_out[EXERCISE_OUT_MAX]; /* what the last program printed */

/* Fixtures: open and close once a file (unchecked), begin and end around each test. */
void exercise_open(void);
void exercise_close(void);
void exercise_begin(void);
void exercise_end(void);

/* The core: begun and awaited; killed (-9) and awaited; ended as an operator does. */
void exercise_core_start(void);
void exercise_core_start_with(const char *options);
void exercise_core_kill(void);
void exercise_core_stop(void);

/* Runs `enshu …` for the range; its exit code, both streams in exercise_out. */
int exercise_try(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, which must succeed. Returns exercise_out. */
const char *exercise_do(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* `enshu … --json`, which must succeed; a new reference. */
json_t *exercise_json(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A shell line in a guest of the range, which must succeed; what it printed. */
void in_guest(char dst[TEXT_MAX], const char *machine, const char *line);
/* A command inside the nest, and virsh on its libvirt; must succeed. */
const char *exercise_nest(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const char *exercise_virsh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A number or truth of `enshu-nest status`. */
int64_t exercise_nest_field(const char *name);

/* The range's status; a new reference. NULL: the core or the range is not there. */
json_t *exercise_status(void);
/* From a status: a condition's outcome ("pass"…), a text of a machine, a team's points. */
const char *status_condition(json_t *range, int team, const char *name);
const char *status_machine(json_t *range, const char *label, const char *key);
int64_t status_mpts(json_t *range, int team);

/* Asks for the status again and again until it is so; fails with what it was instead. */
void await_condition(int team, const char *name, const char *outcome);
void await_machine(const char *label, const char *key, const char *value);
void await_all_machines(const char *key, const char *value);
/* Until a shell line of the host succeeds. */
void await_shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void await_gone(pid_t pid);
int64_t now_ms(void);

/* The ledger's events as an array, oldest first; a new reference. */
json_t *exercise_events(void);
/* The process id of a machine's QEMU ("t1-pc" style name as in domains: "t01-pc"). */
pid_t exercise_qemu(const char *name);

#endif
