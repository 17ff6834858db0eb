/* A core that brings up many machines at a time, as those see it who ask it something
 * meanwhile: how long `version` and `status` take, called in turns without pause from a
 * thread of their own, while somebody else watches, machines come up over libvirt's test
 * driver, and go again; several times, as that is over in a moment without guests.
 *
 *   bench-fanout [MACHINES [ROUNDS]]      (300 10; teams of 3)
 *
 * The simulated agents share the processors with the core. A table on standard error, JSON
 * on standard output. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../support/core_world.h"
#include "enshu/common/str.h"

#define NODES     3
#define CALLS_MAX (1U << 20)

enum phase { UP, DOWN, PHASES };
static const char *const phase_names[] = {"up", "down"};
enum method { VERSION, STATUS, METHODS };
static const char *const method_names[] = {"version", "status"};

struct times {
    double *ms;
    size_t count;
};

static struct core_world world;
static atomic_int phase = UP;
static atomic_bool ended;
static struct times times[PHASES][METHODS];
static atomic_size_t snapshots;
static int64_t machines = 300, rounds = 10;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* ------------------------------------------------------------------ who asks */

static int connect_core(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", world.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        perror("bench-fanout: the core's socket");
        exit(EXIT_FAILURE);
    }
    return fd;
}

static bool send_call(int fd, const char *method, const char *params, int id)
{
    char line[256];
    int len =
        snprintf(line, sizeof line,
                 "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"%s\",\"params\":%s}\n", id,
                 method, params);
    return send(fd, line, (size_t)len, MSG_NOSIGNAL) == len;
}

/* Reads a line; false when the core has gone. An answer, other than progress, says
 * "result" or "error" at its beginning. */
static bool read_line(int fd, bool *ret_is_answer)
{
    static _Thread_local char bytes[1U << 16];
    bool first = true;
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n <= 0)
            return false;
        size_t head = (size_t)(n < 200 ? n : 200);
        if (first)
            *ret_is_answer = memmem(bytes, head, "\"error\"", 7) != NULL ||
                             memmem(bytes, head, "\"result\"", 8) != NULL;
        first = false;
        if (bytes[n - 1] == '\n')
            return true;
    }
}

static void *ask(void *arg)
{
    int fd = connect_core();
    bool is_answer;
    (void)arg;
    for (int id = 1; !atomic_load(&ended); id++) {
        enum method method = id % METHODS;
        struct times *to = &times[atomic_load(&phase)][method];
        double began = now_ms();
        if (!send_call(fd, method_names[method], "{}", id) || !read_line(fd, &is_answer))
            break;
        if (to->count < CALLS_MAX)
            to->ms[to->count++] = now_ms() - began;
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    close(fd);
    return NULL;
}

/* Asks until there is a range, then reads until there is none. */
static void *watch(void *arg)
{
    int fd = connect_core();
    bool is_answer;
    (void)arg;
    for (int id = 1; !atomic_load(&ended); id++) {
        if (!send_call(fd, "watch", "{\"range\":\"" CORE_RANGE "\"}", id))
            break;
        while (read_line(fd, &is_answer) && !is_answer)
            atomic_fetch_add(&snapshots, 1);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    close(fd);
    return NULL;
}

/* ------------------------------------------------------------------ results */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double at(const struct times *t, size_t permille)
{
    return t->count > 0 ? t->ms[(t->count - 1) * permille / 1000] : 0;
}

static json_t *phase_json(enum phase p, double took_ms)
{
    json_t *json = json_pack("{s:f}", "took_ms", took_ms);
    fprintf(stderr, "  %s in %.0f ms\n", phase_names[p], took_ms);
    for (int m = 0; m < METHODS; m++) {
        struct times *t = &times[p][m];
        qsort(t->ms, t->count, sizeof *t->ms, by_size);
        fprintf(stderr, "    %-8s %6zu calls: p50 %7.2f ms  p99 %7.2f ms  max %7.2f ms\n",
                method_names[m], t->count, at(t, 500), at(t, 990), at(t, 1000));
        json_object_set_new(json, method_names[m],
                            json_pack("{s:I, s:f, s:f, s:f}", "calls",
                                      (json_int_t)t->count, "p50_ms", at(t, 500),
                                      "p99_ms", at(t, 990), "max_ms", at(t, 1000)));
    }
    return json;
}

static double core_cpu_s(void)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)world.pid);
    FILE *file = fopen(path, "r");
    const char *rest = file != NULL && fgets(text, sizeof text, file) != NULL
                           ? strrchr(text, ')')
                           : NULL;
    if (rest != NULL &&
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2)
        user = system = 0;
    if (file != NULL)
        fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ------------------------------------------------------------------ the run */

static const char scenario[] =
    "enshu: 1\n"
    "name: fanout\n"
    "title: {en: Fan-out}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes:\n"
    "  web: {image: fake, networks: {lab: 10.30.0.10}}\n"
    "  pc: {image: fake, networks: {lab: 10.30.0.11}}\n"
    "  db: {image: fake, networks: {lab: 10.30.0.12}}\n"
    "conditions:\n"
    "  web-clean: {node: web, file: {path: /tmp/bad, exists: false}, every: 5s}\n"
    "  pc-clean: {node: pc, file: {path: /tmp/bad, exists: false}, every: 5s}\n"
    "  db-clean: {node: db, file: {path: /tmp/bad, exists: false}, every: 5s}\n"
    "objectives:\n"
    "  clean: {title: {en: Clean}, when: web-clean, points: 100}\n"
    "scoring: {model: drill, parts: {handling: 100}}\n";

static void write_host(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/node.xml", world.dir);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs("<node><memory>1073741824</memory></node>", file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void report(double up_ms, double down_ms, double up_cpu_s, size_t lines)
{
    json_t *json =
        json_pack("{s:s, s:I, s:f, s:I, s:I, s:o, s:o}", "bench", "fanout", "machines",
                  (json_int_t)machines, "up_core_cpu_s", up_cpu_s, "progress_lines",
                  (json_int_t)lines, "snapshots", (json_int_t)atomic_load(&snapshots),
                  "up", phase_json(UP, up_ms), "down", phase_json(DOWN, down_ms));
    fprintf(stderr, "  core %.2f s of CPU for `up`, %zu progress lines, %zu snapshots\n",
            up_cpu_s, lines, atomic_load(&snapshots));
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(json);
}

START_TEST(bench)
{
    pthread_t asking, watching;
    cw_open(&world, scenario, (int)(machines / NODES));
    write_host();
    cw_agents(&world, true);
    cw_start(&world);
    for (int p = 0; p < PHASES; p++)
        for (int m = 0; m < METHODS; m++)
            times[p][m].ms = calloc(CALLS_MAX, sizeof(double));
    fprintf(stderr, "%lld machines over libvirt's test driver\n", (long long)machines);
    pthread_create(&asking, NULL, ask, NULL);
    pthread_create(&watching, NULL, watch, NULL);
    double up_ms = 0, down_ms = 0, up_cpu_s = 0;
    size_t lines = 0;
    for (int64_t round = 0; round < rounds; round++) {
        double began = now_ms(), cpu_s = core_cpu_s();
        ck_assert_msg(cw_up(&world) == 0, "%s", world.err.msg);
        up_ms += now_ms() - began;
        up_cpu_s += core_cpu_s() - cpu_s;
        lines += json_array_size(world.progress);
        atomic_store(&phase, DOWN);
        began = now_ms();
        cw_call(&world, "down", NULL);
        down_ms += now_ms() - began;
        cw_agents(&world, true); /* their sockets went with it */
        atomic_store(&phase, UP);
    }
    atomic_store(&ended, true);
    pthread_join(asking, NULL);
    cw_end(&world);
    pthread_join(watching, NULL);
    report(up_ms / (double)rounds, down_ms / (double)rounds, up_cpu_s / (double)rounds,
           lines / (size_t)rounds);
    cw_close(&world);
}
END_TEST

/* The world of the tests reports through check, so this runs as a test of it. */
static int run_in_check(void)
{
    Suite *suite = suite_create("bench");
    TCase *tcase = tcase_create("fanout");
    tcase_add_test(tcase, bench);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_SILENT);
    int failed = srunner_ntests_failed(runner);
    if (failed > 0) {
        TestResult **results = srunner_failures(runner);
        fprintf(stderr, "bench-fanout: %s\n", tr_msg(results[0]));
        if (world.pid > 0)
            kill(world.pid, SIGKILL);
        free(results);
    }
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if ((argc > 1 && es_str_int(argv[1], NODES, 3000, &machines) != 0) ||
        (argc > 2 && es_str_int(argv[2], 1, 1000, &rounds) != 0)) {
        fprintf(stderr, "usage: bench-fanout [MACHINES [ROUNDS]]\n");
        return 64;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setenv("ENSHU_CORE_DIR", "/tmp", 0);
    setenv("ENSHU_BIN", "build/release/bin", 0);
    es_wire_use_allocator();
    return run_in_check();
}
