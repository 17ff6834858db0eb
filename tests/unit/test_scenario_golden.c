/* scenario: every malformed scenario of tests/golden/scenarios gives exactly the diagnostics
 * that stand beside it, in little memory and without taking long.
 *
 * NAME.yaml or NAME/scenario.yaml is the scenario, NAME.expected what is said of it. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/scenario.h"
#include "enshu/wire.h"

enum { CASES_MAX = 400, PATH_SIZE = 1024, SECONDS_MAX = 30, RSS_KIB_MAX = 65536 };

static char cases[CASES_MAX][256];
static size_t case_count;
static char folder[PATH_SIZE];

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void find_cases(void)
{
    const char *top = getenv("ENSHU_TOP");
    snprintf(folder, sizeof folder, "%s/tests/golden/scenarios", top != NULL ? top : ".");
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    case_count = 0;
    while (dir != NULL && (entry = readdir(dir)) != NULL && case_count < CASES_MAX)
        if (es_str_ends(entry->d_name, ".expected"))
            snprintf(cases[case_count++], sizeof cases[0], "%.*s",
                     (int)(strlen(entry->d_name) - strlen(".expected")), entry->d_name);
    if (dir != NULL)
        closedir(dir);
    qsort(cases, case_count, sizeof cases[0], by_text);
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 65536);
    if (file != NULL && text != NULL)
        text[fread(text, 1, 65535, file)] = '\0';
    if (file != NULL)
        fclose(file);
    return text;
}

static void path_of(char path[PATH_SIZE], const char *name)
{
    struct stat st;
    ck_assert_int_eq(es_str_printf(path, PATH_SIZE, "%s/%s", folder, name), 0);
    if (stat(path, &st) != 0)
        ck_assert_int_eq(es_str_printf(path, PATH_SIZE, "%s/%s.yaml", folder, name), 0);
}

/* In a process of its own: writes what the loader says to the pipe. */
static _Noreturn void run_case(const char *name, int out)
{
    static struct es_diags diags;
    struct es_scenario *scenario = NULL;
    struct es_err err = {0};
    struct es_buf text;
    char path[PATH_SIZE];
    es_buf_init(&text, 65536);
    path_of(path, name);
    alarm(SECONDS_MAX);
    int rc = es_scenario_load(path, &diags, &scenario, &err);
    if ((rc == 0) != (diags.error_count == 0) || (rc != 0 && rc != ES_ESCENARIO))
        _exit(3);
    es_diags_format(&diags, &text);
    ssize_t n = write(out, es_buf_str(&text), text.len);
    bool good = n >= 0 && (size_t)n == text.len;
    es_buf_finish(&text);
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
    _exit(!good ? 4 : es_mem_live_count() != 0 ? 5 : 0);
}

static void check_limits(int status, const struct rusage *usage)
{
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with status %#x",
                  (unsigned)status);
#ifndef __SANITIZE_ADDRESS__
    ck_assert_int_lt(usage->ru_maxrss, RSS_KIB_MAX);
#else
    (void)usage; /* the shadow's memory would count */
#endif
}

START_TEST(says_what_is_expected)
{
    const char *name = cases[_i];
    int pipes[2];
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        run_case(name, pipes[1]);
    close(pipes[1]);
    static char said[65536];
    size_t len = 0;
    for (ssize_t n; (n = read(pipes[0], said + len, sizeof said - 1 - len)) > 0;)
        len += (size_t)n;
    said[len] = '\0';
    close(pipes[0]);
    int status = 0;
    struct rusage usage;
    ck_assert_int_eq(wait4(child, &status, 0, &usage), child);
    char path[PATH_SIZE];
    ck_assert_int_eq(es_str_printf(path, sizeof path, "%s/%s.expected", folder, name), 0);
    char *expected = read_text(path);
    ck_assert_msg(strcmp(said, expected) == 0, "%s says:\n%s\nexpected:\n%s", name, said,
                  expected);
    free(expected);
    check_limits(status, &usage);
}
END_TEST

/* Small texts that ask for much: each line is repeated until the file is as long as one may
 * be. */
static const struct {
    const char *head, *line; /* with the number of the line twice */
} floods[] = {
    {"nodes:\n", "  a%d: {count: 200}\n"},
    {"kinds:\n", "  averyveryverylongkindname%d: {image: tiny}\n"},
    {"nodes:\n", "  a%d: {image: tiny, kind: b%d}\n"},
    {"nodes: {web: {image: tiny}}\nconditions:\n",
     "  c%d: {node: web, log: {path: /a, match: '(a?){1000}'}}\n"},
    {"nodes: {web: {image: tiny}}\nconditions:\n  c:\n    node: web\n    file:\n      "
     "path: /a\n      regex:\n",
     "      - 'a%d{99}'\n"},
    {"x-a:\n", "  - *a%d\n"},
    {"x-a:\n", "  - !t%d b\n"},
    {"", "a: %d\n"},
    {"", "key%d: %d\n"},
    {"conditions:\n", "  c%d: {all: [c%d]}\n"},
    {"random:\n", "  r%d: {hex: %d}\n"},
    {"networks:\n  lan:\n    cidr: 10.0.0.0/8\n    names:\n", "      h%d: 10.0.0.1\n"},
    {"nodes:\n  web:\n    image: tiny\n    setup:\n",
     "      - run: echo ${random.r%d}\n"},
};

static _Noreturn void load_flood(size_t which)
{
    static struct es_diags diags;
    static char text[ES_YAML_FILE_MAX];
    struct es_scenario *scenario = NULL;
    struct es_err err = {0};
    int len = snprintf(text, sizeof text, "enshu: 1\nname: x\ntitle: x\n%s",
                       floods[which].head);
    for (int i = 0; (size_t)len < sizeof text - 100 && i < 39000; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        len += snprintf(text + len, sizeof text - (size_t)len, floods[which].line, i, i);
#pragma GCC diagnostic pop
    }
    alarm(SECONDS_MAX);
    int rc = es_scenario_parse("flood.yaml", text, (size_t)len, &diags, &scenario, &err);
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
    _exit(rc != 0 && rc != ES_ESCENARIO ? 3 : es_mem_live_count() != 0 ? 5 : 0);
}

START_TEST(floods_stay_small)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        load_flood((size_t)_i);
    int status = 0;
    struct rusage usage;
    ck_assert_int_eq(wait4(child, &status, 0, &usage), child);
    check_limits(status, &usage);
}
END_TEST

START_TEST(there_are_many)
{
    ck_assert_uint_ge(case_count, 100);
}
END_TEST

/* Each malformed scenario is read with each allocation failing in turn, as far as that says
 * something new: the first thousand. */
START_TEST(allocations_fail_in_malformed_ones)
{
    static const char *const names[] = {
        "condition-cycle", "head-random",        "include-duplicate", "lang-unknown",
        "solution-steps",  "step-unknown-value", "text-alias",        "type-items"};
    static struct es_diags diags;
    char path[PATH_SIZE];
    es_wire_use_allocator(); /* those of JSON count too */
    path_of(path, names[_i]);
    for (long n = 1; n < 1000; n++) {
        struct es_scenario *scenario = NULL;
        struct es_err err = {0};
        es_mem_fail_nth(n);
        int rc = es_scenario_load(path, &diags, &scenario, &err);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : ES_ESCENARIO);
        ck_assert_ptr_null(scenario);
        es_diags_finish(&diags);
        ck_assert_int_eq(es_mem_live_count(), 0);
        if (!failed)
            return;
    }
}
END_TEST

Suite *scenario_golden_suite(void);
Suite *scenario_golden_suite(void)
{
    Suite *suite = suite_create("scenario_golden");
    TCase *tc = tcase_create("golden");
    find_cases();
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, there_are_many);
    tcase_add_loop_test(tc, says_what_is_expected, 0, (int)case_count);
    tcase_add_loop_test(tc, floods_stay_small, 0, (int)ES_COUNT(floods));
    tcase_add_loop_test(tc, allocations_fail_in_malformed_ones, 0, 8);
    suite_add_tcase(suite, tc);
    return suite;
}
