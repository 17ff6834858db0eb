/* The program enshud on libvirt's test driver: ready, one core a state folder, a clean end,
 * a stale socket after a kill, and one clear line for each thing that keeps it from
 * starting. */
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/err.h"
#include "enshu/common/str.h"

#define LIMIT_MS 60000

static char dir[64], state[96], uri[128];
static char said[65536]; /* by the last core or program, both streams */
static int output = -1;
static pid_t core;

static void setup(void)
{
    char path[96];
    snprintf(dir, sizeof dir, "/tmp/enshu-core-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(state, sizeof state, "%s/state", dir);
    snprintf(path, sizeof path, "%s/node.xml", dir);
    snprintf(uri, sizeof uri, "test://%s", path);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs("<node/>\n", file);
    ck_assert_int_eq(fclose(file), 0);
}

static int core_wait(void);
static void teardown(void)
{
    char command[100];
    if (core > 0) {
        kill(core, SIGKILL);
        core_wait();
    }
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

static const char *bin(const char *name)
{
    static char path[4096];
    ck_assert_ptr_nonnull(getenv("ENSHU_BIN"));
    snprintf(path, sizeof path, "%s/%s", getenv("ENSHU_BIN"), name);
    return path;
}

/* Reads what the core says until the text is there (true) or it has ended (false). */
static bool await(const char *text)
{
    size_t len = strlen(said);
    while (text == NULL || strstr(said, text) == NULL) {
        struct pollfd p = {.fd = output, .events = POLLIN};
        ck_assert_msg(poll(&p, 1, LIMIT_MS) > 0, "nothing more after: %s", said);
        ssize_t n = read(output, said + len, sizeof said - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        said[len] = '\0';
    }
    return true;
}

static void core_begin(const char *const *words)
{
    int out[2];
    char *argv[16] = {NULL};
    said[0] = '\0';
    ck_assert_int_eq(pipe(out), 0);
    core = fork();
    ck_assert_int_ge(core, 0);
    if (core == 0) {
        argv[0] = strdup("enshud");
        for (int i = 0; words[i] != NULL; i++)
            argv[i + 1] = strdup(words[i]);
        dup2(out[1], STDOUT_FILENO);
        dup2(out[1], STDERR_FILENO);
        close(out[0]);
        close(out[1]);
        unsetenv("ENSHU_STATE");
        execv(bin("enshud"), argv);
        _exit(127);
    }
    close(out[1]);
    output = out[0];
}

static int core_wait(void)
{
    int status = 0;
    await(NULL);
    close(output);
    ck_assert_int_eq(waitpid(core, &status, 0), core);
    core = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void core_ready(void)
{
    const char *const words[] = {"--state", state, "--uri", uri, "--accel", "tcg", NULL};
    core_begin(words);
    ck_assert_msg(await("enshud: ready on "), "%s", said);
}

/* A core that cannot start: its exit code, with one line told. */
static int core_refused(const char *const *words)
{
    core_begin(words);
    int code = core_wait();
    ck_assert_msg(strncmp(said, "enshud: ", 8) == 0, "%s", said);
    ck_assert_msg(strchr(said, '\n') == said + strlen(said) - 1, "%s", said);
    return code;
}

static int enshu(const char *words, char *out, size_t size)
{
    char command[4400];
    snprintf(command, sizeof command, "'%s' %s --state '%s' 2>&1", bin("enshu"), words,
             state);
    FILE *pipe = popen(command, "r");
    size_t len = fread(out, 1, size - 1, pipe);
    out[len] = '\0';
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

START_TEST(it_serves_and_ends_cleanly)
{
    char out[4096], path[128];
    core_ready();
    snprintf(path, sizeof path, "ready on %s/enshud.sock", state);
    ck_assert_ptr_nonnull(strstr(said, path));
    ck_assert_int_eq(enshu("version", out, sizeof out), 0);
    ck_assert_ptr_nonnull(strstr(out, uri));
    ck_assert_ptr_nonnull(strstr(out, "tcg"));
    ck_assert_int_eq(enshu("status", out, sizeof out), 0);
    ck_assert_ptr_nonnull(strstr(out, "no range is up"));
    ck_assert_int_eq(enshu("start nothing", out, sizeof out), 66);
    ck_assert_int_eq(kill(core, SIGTERM), 0);
    ck_assert_int_eq(core_wait(), 0);
    snprintf(path, sizeof path, "%s/enshud.sock", state);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(enshu("status", out, sizeof out), 69);
}
END_TEST

START_TEST(shutdown_ends_it)
{
    char out[4096];
    core_ready();
    ck_assert_int_eq(enshu("shutdown", out, sizeof out), 0);
    ck_assert_int_eq(core_wait(), 0);
}
END_TEST

START_TEST(one_core_a_state_folder)
{
    char out[4096];
    const char *const words[] = {"--state", state, "--uri", uri, NULL};
    core_ready();
    pid_t first = core;
    int first_output = output;
    core_begin(words);
    ck_assert_int_eq(core_wait(), 75);
    ck_assert_ptr_nonnull(strstr(said, "another core (pid "));
    core = first;
    output = first_output;
    ck_assert_int_eq(enshu("status", out, sizeof out), 0);
}
END_TEST

/* As the threads of a killed core do that wait for the disc. */
START_TEST(a_core_that_is_ending_is_waited_for)
{
    char path[128];
    const char *const words[] = {"--state", state, "--uri", uri, "--accel", "tcg", NULL};
    ck_assert_int_eq(mkdir(state, 0700), 0);
    snprintf(path, sizeof path, "%s/enshud.lock", state);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(lock, 0);
    ck_assert_int_eq(flock(lock, LOCK_EX), 0);
    core_begin(words);
    ck_assert(await("waiting for the core with pid unknown"));
    close(lock);
    ck_assert_msg(await("enshud: ready on "), "%s", said);
}
END_TEST

START_TEST(a_killed_core_leaves_nothing_in_the_way)
{
    char out[4096];
    for (int i = 0; i < 3; i++) {
        core_ready();
        ck_assert_int_eq(enshu("status", out, sizeof out), 0);
        ck_assert_int_eq(kill(core, SIGKILL), 0);
        ck_assert_int_eq(core_wait(), 1000 + SIGKILL);
    }
    core_ready();
    ck_assert_int_eq(enshu("status", out, sizeof out), 0);
}
END_TEST

START_TEST(what_keeps_it_from_starting_is_one_line_and_a_code)
{
    char far[220];
    snprintf(far, sizeof far, "%s/%0150d.sock", dir, 7);
    const char *const gone[] = {"--state", state, "--uri",
                                "qemu:///system?socket=/none/sock", NULL};
    ck_assert_int_eq(core_refused(gone), 69);
    const char *const accel[] = {"--accel", "fast", NULL};
    ck_assert_int_eq(core_refused(accel), 64);
    const char *const slip[] = {"--sate", "/x", NULL};
    ck_assert_int_eq(core_refused(slip), 64);
    const char *const bare[] = {"--state", NULL};
    ck_assert_int_eq(core_refused(bare), 64);
    ck_assert_ptr_nonnull(strstr(said, "--state needs a value"));
    const char *const word[] = {"start", NULL};
    ck_assert_int_eq(core_refused(word), 64);
    const char *const folder[] = {"--state", "/proc/none/state", "--uri", uri, NULL};
    ck_assert_int_eq(core_refused(folder), 74);
    const char *const agent[] = {"--state", state,   "--uri", uri,
                                 "--agent", "/none", NULL};
    ck_assert_int_eq(core_refused(agent), 66);
    const char *const socket[] = {"--state", state, "--uri", uri, "--socket", far, NULL};
    ck_assert_int_eq(core_refused(socket), 75);
    ck_assert_ptr_nonnull(strstr(said, "--socket"));
}
END_TEST

START_TEST(it_tells_its_words)
{
    const char *const help[] = {"--help", NULL};
    core_begin(help);
    ck_assert_int_eq(core_wait(), 0);
    ck_assert_ptr_nonnull(strstr(said, "--recipes DIR"));
    ck_assert_ptr_nonnull(strstr(said, "Examples:"));
    const char *const version[] = {"--version", NULL};
    core_begin(version);
    ck_assert_int_eq(core_wait(), 0);
    ck_assert_int_eq(strncmp(said, "enshud ", 7), 0);
}
END_TEST

Suite *enshud_suite(void);
Suite *enshud_suite(void)
{
    Suite *suite = suite_create("enshud");
    TCase *tc = tcase_create("program");
    tcase_set_timeout(tc, 4 * LIMIT_MS / 1000);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, it_serves_and_ends_cleanly);
    tcase_add_test(tc, shutdown_ends_it);
    tcase_add_test(tc, one_core_a_state_folder);
    tcase_add_test(tc, a_core_that_is_ending_is_waited_for);
    tcase_add_test(tc, a_killed_core_leaves_nothing_in_the_way);
    tcase_add_test(tc, what_keeps_it_from_starting_is_one_line_and_a_code);
    tcase_add_test(tc, it_tells_its_words);
    suite_add_tcase(suite, tc);
    return suite;
}
