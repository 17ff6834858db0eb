/* The programs driven, what they print read; see the header. */
#include "exercise.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS 300

struct exercise exercise;
char exercise_out[EXERCISE_OUT_MAX];

/* Counted in memory that the forked tests share with the runner. */
static struct counts {
    int begun, ended;
} * counts;
static pid_t guard;
static int guard_pipe = -1;

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------ running programs */

static int run(const char *line)
{
    char rest[4096];
    FILE *f = popen(line, "re");
    ck_assert_ptr_nonnull(f);
    size_t len = fread(exercise_out, 1, sizeof exercise_out - 1, f);
    exercise_out[len] = '\0';
    while (fread(rest, 1, sizeof rest, f) > 0)
        ;
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_with(const char *before, const char *after, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
static int run_with(const char *before, const char *after, const char *fmt, va_list args)
{
    char words[4096], line[6000];
    int len = vsnprintf(words, sizeof words, fmt, args);
    ck_assert(len >= 0 && (size_t)len < sizeof words);
    ck_assert_int_eq(es_str_printf(line, sizeof line, "%s %s %s", before, words, after),
                     0);
    return run(line);
}

static const char *enshu_words(void)
{
    static char words[1400];
    es_str_printf(words, sizeof words,
                  "ENSHU_STATE=%s ENSHU_RANGE=%s NO_COLOR=1 LC_ALL=C.UTF-8 %s/enshu",
                  exercise.state, exercise.range, exercise.bin);
    return words;
}

int exercise_try(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int status = run_with(enshu_words(), "2>&1", fmt, args);
    va_end(args);
    return status;
}

const char *exercise_do(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int status = run_with(enshu_words(), "2>&1", fmt, args);
    va_end(args);
    ck_assert_msg(status == 0, "enshu %s: exit code %d: %s", fmt, status, exercise_out);
    return exercise_out;
}

json_t *exercise_json(const char *fmt, ...)
{
    json_error_t why;
    va_list args;
    va_start(args, fmt);
    int status = run_with(enshu_words(), "--json", fmt, args);
    va_end(args);
    ck_assert_msg(status == 0, "enshu %s: exit code %d: %s", fmt, status, exercise_out);
    json_t *json = json_loads(exercise_out, 0, &why);
    ck_assert_msg(json != NULL, "enshu %s printed no JSON (%s): %s", fmt, why.text,
                  exercise_out);
    return json;
}

void in_guest(char dst[TEXT_MAX], const char *machine, const char *line)
{
    exercise_do("exec %s -- sh -c '%s'", machine, line);
    ck_assert_int_eq(es_str_printf(dst, TEXT_MAX, "%s", exercise_out), 0);
}

const char *exercise_nest(const char *fmt, ...)
{
    char words[1400];
    va_list args;
    es_str_printf(words, sizeof words, "%s/enshu-nest exec --state %s --", exercise.bin,
                  exercise.state);
    va_start(args, fmt);
    int status = run_with(words, "2>&1", fmt, args);
    va_end(args);
    ck_assert_msg(status == 0, "in the nest, %s: %d: %s", fmt, status, exercise_out);
    return exercise_out;
}

const char *exercise_virsh(const char *fmt, ...)
{
    char words[300];
    va_list args;
    es_str_printf(words, sizeof words, "virsh -q -c '%s'", exercise.uri);
    va_start(args, fmt);
    int status = run_with(words, "2>&1", fmt, args);
    va_end(args);
    ck_assert_msg(status == 0, "virsh %s: %d: %s", fmt, status, exercise_out);
    return exercise_out;
}

int64_t exercise_nest_field(const char *name)
{
    char line[1400];
    es_str_printf(line, sizeof line, "%s/enshu-nest status --state %s --json 2>/dev/null",
                  exercise.bin, exercise.state);
    run(line);
    json_t *root = json_loads(exercise_out, 0, NULL);
    const json_t *value = json_object_get(root, name);
    int64_t number =
        json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
    json_decref(root);
    return number;
}

/* ------------------------------------------------------------------ the core */

static pid_t core_pid(void)
{
    char path[128], text[32] = "";
    es_str_printf(path, sizeof path, "%s/enshud.lock", exercise.state);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return 0;
    if (fgets(text, sizeof text, f) == NULL)
        text[0] = '\0';
    fclose(f);
    return (pid_t)strtol(text, NULL, 10);
}

/* Runs, and is not merely waiting to be reaped by whoever inherited it. */
static bool runs(pid_t pid)
{
    char path[64], text[512] = "";
    es_str_printf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = pid > 1 ? fopen(path, "re") : NULL;
    if (f == NULL)
        return false;
    if (fgets(text, sizeof text, f) == NULL)
        text[0] = '\0';
    fclose(f);
    const char *state = strrchr(text, ')');
    return state != NULL && strncmp(state, ") Z", 3) != 0;
}

void await_gone(pid_t pid)
{
    while (runs(pid))
        poll(NULL, 0, 50); /* the test's time-out ends what hangs */
}

void exercise_core_start(void)
{
    exercise_core_start_with("");
}

void exercise_core_start_with(const char *options)
{
    char line[4096];
    es_str_printf(line, sizeof line,
                  "setsid -f %s/enshud --state %s --accel tcg --recipes "
                  "%s/scenarios/images %s >>%s/enshud.log 2>&1 </dev/null",
                  exercise.bin, exercise.state, exercise.top, options, exercise.dir);
    ck_assert_int_eq(run(line), 0);
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (exercise_try("version") != 0 || strstr(exercise_out, "state") == NULL) {
        ck_assert_msg(now_ms() < until, "enshud does not answer: %s", exercise_out);
        poll(NULL, 0, POLL_MS);
    }
}

void exercise_core_kill(void)
{
    pid_t pid = core_pid();
    ck_assert_msg(runs(pid), "enshud does not run");
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    await_gone(pid);
}

void exercise_core_stop(void)
{
    pid_t pid = core_pid();
    ck_assert_msg(runs(pid), "enshud does not run");
    ck_assert_int_eq(kill(pid, SIGTERM), 0);
    await_gone(pid);
}

/* ------------------------------------------------------------------ the fixtures */

/* Without asserts: for the end, whatever came before. */
static void clean(void)
{
    char line[2200];
    pid_t pid = core_pid();
    if (runs(pid))
        kill(pid, SIGKILL);
    await_gone(pid);
    es_str_printf(line, sizeof line, "%s/enshu-nest stop --state %s --purge; rm -rf %s",
                  exercise.bin, exercise.state, exercise.dir);
    if (system(line) != 0)
        fprintf(stderr, "%s was not removed\n", exercise.dir);
}

/* A process that sees the runner's end of a pipe close and then cleans up in its place. */
static void start_guard(void)
{
    int fds[2];
    char byte;
    ck_assert_int_eq(pipe2(fds, 02000000 /* O_CLOEXEC */), 0);
    guard = fork();
    ck_assert_int_ge(guard, 0);
    if (guard == 0) {
        close(fds[1]);
        setsid();
        signal(SIGPIPE, SIG_IGN);
        while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
            ;
        clean();
        _exit(0);
    }
    close(fds[0]);
    guard_pipe = fds[1];
}

static void find_images(void)
{
    const char *given = getenv("ENSHU_TEST_IMAGES");
    char line[2400];
    if (given != NULL)
        es_str_printf(exercise.images, sizeof exercise.images, "%s", given);
    else
        es_str_printf(exercise.images, sizeof exercise.images, "%s/build/images",
                      exercise.top);
    es_str_printf(line, sizeof line,
                  "mkdir -p %s %s && ln -sfn \"$(realpath %s)\" %s/images",
                  exercise.images, exercise.state, exercise.images, exercise.state);
    ck_assert_msg(run(line) == 0, "%s", exercise_out);
}

void exercise_open(void)
{
    exercise.bin = getenv("ENSHU_BIN");
    exercise.top = getenv("ENSHU_TOP");
    exercise.range = "drill";
    ck_assert_ptr_nonnull(exercise.bin);
    ck_assert_ptr_nonnull(exercise.top);
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(counts != MAP_FAILED);
    es_str_printf(exercise.dir, sizeof exercise.dir, "/tmp/enshu-vm-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(exercise.dir));
    ck_assert_int_eq(chmod(exercise.dir, 0711), 0); /* QEMU's user passes through */
    es_str_printf(exercise.state, sizeof exercise.state, "%s/s", exercise.dir);
    es_str_printf(exercise.uri, sizeof exercise.uri,
                  "qemu:///system?socket=%s/sock/libvirt-sock", exercise.state);
    start_guard();
    find_images();
}

void exercise_close(void)
{
    char line[200];
    if (counts->begun != counts->ended) {
        es_str_printf(line, sizeof line, "tail -n 40 %s/enshud.log >&2", exercise.dir);
        fprintf(stderr, "the end of enshud.log:\n");
        if (system(line) != 0)
            fprintf(stderr, "(there is none)\n");
    }
    close(guard_pipe);
    waitpid(guard, NULL, 0);
    munmap(counts, sizeof *counts);
}

void exercise_begin(void)
{
    ck_assert_msg(counts->begun == counts->ended, "not run: an earlier step failed");
    counts->begun++;
}

void exercise_end(void)
{
    counts->ended++;
}

/* ------------------------------------------------------------------ the status */

json_t *exercise_status(void)
{
    char line[2000];
    es_str_printf(line, sizeof line, "%s status --json 2>/dev/null", enshu_words());
    if (run(line) != 0)
        return NULL;
    json_t *all = json_loads(exercise_out, 0, NULL), *range = NULL;
    json_t *ranges = json_object_get(all, "ranges");
    for (size_t i = 0; i < json_array_size(ranges); i++) {
        json_t *one = json_array_get(ranges, i);
        if (es_str_eq(json_string_value(json_object_get(one, "range")), exercise.range))
            range = json_incref(one);
    }
    json_decref(all);
    return range;
}

static json_t *find_named(json_t *list, const char *key, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *one = json_array_get(list, i);
        if (es_str_eq(json_string_value(json_object_get(one, key)), name))
            return one;
    }
    return NULL;
}

static json_t *status_team(json_t *range, int team)
{
    return json_array_get(json_object_get(range, "teams"), (size_t)team - 1);
}

const char *status_condition(json_t *range, int team, const char *name)
{
    json_t *all = json_object_get(status_team(range, team), "conditions");
    const char *outcome =
        json_string_value(json_object_get(find_named(all, "name", name), "outcome"));
    return outcome != NULL ? outcome : "not there";
}

const char *status_machine(json_t *range, const char *label, const char *key)
{
    json_t *all = json_object_get(range, "machines");
    const char *text =
        json_string_value(json_object_get(find_named(all, "machine", label), key));
    return text != NULL ? text : "not there";
}

int64_t status_mpts(json_t *range, int team)
{
    return json_integer_value(json_object_get(status_team(range, team), "total_mpts"));
}

void await_condition(int team, const char *name, const char *outcome)
{
    char is[32] = "";
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    for (;;) {
        json_t *range = exercise_status();
        es_str_printf(is, sizeof is, "%s", status_condition(range, team, name));
        json_decref(range);
        if (es_str_eq(is, outcome))
            return;
        ck_assert_msg(now_ms() < until, "team %d: %s is %s, not %s", team, name, is,
                      outcome);
        poll(NULL, 0, POLL_MS);
    }
}

void await_machine(const char *label, const char *key, const char *value)
{
    char is[300] = "";
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    for (;;) {
        json_t *range = exercise_status();
        es_str_printf(is, sizeof is, "%s", status_machine(range, label, key));
        json_decref(range);
        if (es_str_eq(is, value))
            return;
        ck_assert_msg(now_ms() < until, "%s: %s is %s, not %s", label, key, is, value);
        poll(NULL, 0, POLL_MS);
    }
}

void await_all_machines(const char *key, const char *value)
{
    json_t *range = exercise_status();
    json_t *machines = json_object_get(range, "machines");
    ck_assert_uint_gt(json_array_size(machines), 0);
    for (size_t i = 0; i < json_array_size(machines); i++)
        await_machine(
            json_string_value(json_object_get(json_array_get(machines, i), "machine")),
            key, value);
    json_decref(range);
}

void await_shell(const char *fmt, ...)
{
    char line[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (run(line) != 0) {
        ck_assert_msg(now_ms() < until, "%s: %s", line, exercise_out);
        poll(NULL, 0, POLL_MS);
    }
}

json_t *exercise_events(void)
{
    exercise_do("ledger export");
    json_t *events = json_array();
    for (char *line = strtok(exercise_out, "\n"); line != NULL;
         line = strtok(NULL, "\n")) {
        json_t *json = json_loads(line, 0, NULL);
        if (json_object_get(json, "pos") != NULL)
            json_array_append(events, json);
        json_decref(json);
    }
    ck_assert_uint_gt(json_array_size(events), 0);
    return events;
}

pid_t exercise_qemu(const char *name)
{
    char path[256], text[32] = "";
    es_str_printf(path, sizeof path, "%s/v/run/qemu/es-%s-%s.pid", exercise.state,
                  exercise.range, name);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "%s: %s", path, strerror(errno));
    ck_assert_ptr_nonnull(fgets(text, sizeof text, f));
    fclose(f);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    ck_assert_msg(runs(pid), "the QEMU of %s does not run", name);
    return pid;
}
