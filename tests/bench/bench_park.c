/* Park and unpark: so many forked machines of one range go to sleep and wake again.
 *
 *   bench-park [NAME=VALUE...]
 *
 *   image=debian-12 memory=320   what bench-fork has; or tiny, which has 96 MiB
 *   teams=5 nodes=2              machines: teams times nodes
 *   runs=3                       of park and unpark, after each other
 *
 * Times count from the request to the answer: all saved and flushed to the disk; all agents
 * answer again. Beside them what the host needs to copy and flush so many bytes, and what
 * machines keep for themselves as forks and after they were parked. Environment: lab.h. A
 * table on standard error, JSON on standard output. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "enshu/plan.h"
#include "enshu/wire.h"
#include "lab.h"

#define RUNS_MAX 100

static struct {
    const char *image;
    int64_t memory, teams, nodes, runs;
} options = {.image = "debian-12", .memory = 320, .teams = 5, .nodes = 2, .runs = 3};

static struct {
    double park[RUNS_MAX], unpark[RUNS_MAX], copy[RUNS_MAX], mib[RUNS_MAX];
} took;

/* The same as bench-fork's, so that its moulds serve. */
static void write_scenario(char *ret_path, size_t size)
{
    FILE *file = lab_scenario("park", ret_path, size);
    bool tiny = strcmp(options.image, "tiny") == 0;
    fprintf(file, "enshu: 1\nname: park\ntitle: {en: Park}\n"
                  "languages: {default: en, complete: [en]}\n"
                  "networks: {lab: {cidr: 10.30.0.0/24}}\n");
    if (tiny)
        fprintf(file, "defaults: {node: {image: tiny, memory: 96 MiB}}\nnodes:\n");
    else
        fprintf(file,
                "defaults: {node: {image: {recipe: %s, packages: [nginx]}, memory: %lld "
                "MiB}}\nnodes:\n",
                options.image, (long long)options.memory);
    for (int64_t i = 0; i < options.nodes; i++)
        fprintf(file, "  m%lld:\n    networks: {lab: 10.30.0.%lld}\n%s", (long long)i,
                (long long)i + 10, tiny ? "" : "    ready: {port: {port: 80}}\n");
    fclose(file);
    lab_do(NULL, "mould build %s", ret_path);
}

/* ------------------------------------------------------------------ memory */

static void add_private(pid_t pid, const char *bytes, size_t len, void *arg)
{
    double *mib = arg;
    char path[64], line[256];
    (void)bytes;
    (void)len;
    es_str_printf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        long kib = 0;
        if (sscanf(line, "Private_Dirty: %ld", &kib) == 1 ||
            sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
            sscanf(line, "Swap: %ld", &kib) == 1)
            *mib += (double)kib / 1024;
    }
    if (file != NULL)
        fclose(file);
}

/* Of a machine, in MiB. */
static double private_mib(void)
{
    double mib = 0;
    size_t count = lab_processes("qemu-system", add_private, &mib);
    return count > 0 ? mib / (double)count : 0;
}

/* ------------------------------------------------------------------ the runs */

/* Copied and flushed: the host's part of it. */
static double copy_ms(void)
{
    double from = lab_now();
    if (lab_sh("cat %s/ranges/bench/parked/*.save >%s/copy && sync -f %s/copy", lab.state,
               lab.dir, lab.dir) != 0)
        lab_die("copy", "what was saved cannot be copied");
    double ms = lab_now() - from;
    lab_sh("rm %s/copy", lab.dir);
    return ms;
}

static void sleep_and_wake(size_t r)
{
    double from = lab_now();
    json_t *answer = lab_json("park bench");
    took.park[r] = lab_now() - from;
    took.mib[r] = json_number_value(json_object_get(answer, "bytes")) / (double)(1 << 20);
    json_decref(answer);
    took.copy[r] = copy_ms();
    from = lab_now();
    json_decref(lab_json("unpark bench"));
    took.unpark[r] = lab_now() - from;
    fprintf(stderr, "    run %zu: park %.0f ms, unpark %.0f ms\n", r + 1, took.park[r],
            took.unpark[r]);
}

static void say(const char *what, double value, const char *unit)
{
    fprintf(stderr, "    %-46s %10.*f %s\n", what, value < 10 ? 2 : 0, value, unit);
}

static json_t *measure(void)
{
    char path[128];
    struct lab_run up = {0};
    size_t count = (size_t)options.runs;
    int64_t machines = options.teams * options.nodes;
    write_scenario(path, sizeof path);
    lab_do(&up, "up %s --range bench --mode fork --teams %lld", path,
           (long long)options.teams);
    double as_forks = private_mib();
    for (size_t r = 0; r < count; r++)
        sleep_and_wake(r);
    double after = private_mib();
    double park = lab_median(took.park, count), unpark = lab_median(took.unpark, count);
    double copy = lab_median(took.copy, count), mib = lab_median(took.mib, count);
    fprintf(stderr, "  %lld of %s, %zu runs\n", (long long)machines, options.image,
            count);
    say("park, request to answer", park, "ms");
    say("  written", mib, "MiB");
    say("  to copy and flush so much takes the host", copy, "ms");
    say("unpark, request to answer", unpark, "ms");
    say("their fork took, for comparison", up.took, "ms");
    say("private memory of a machine, as a fork", as_forks, "MiB");
    say("  after it was parked", after, "MiB");
    json_t *json = json_pack("{s:I, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "machines",
                             (json_int_t)machines, "runs", (int)count, "park_ms", park,
                             "unpark_ms", unpark, "mib", mib, "copy_ms", copy, "fork_ms",
                             up.took, "fork_private_mib", as_forks, "private_mib", after);
    lab_do(NULL, "down bench");
    lab_run_finish(&up);
    return json;
}

/* ------------------------------------------------------------------ main */

int main(int argc, char **argv)
{
    static const struct lab_option known[] = {
        {"image", &options.image, NULL, 0, 0},
        {"memory", NULL, &options.memory, 1, 65536},
        {"teams", NULL, &options.teams, 1, ES_PLAN_TEAMS_MAX},
        {"nodes", NULL, &options.nodes, 1, 200},
        {"runs", NULL, &options.runs, 1, RUNS_MAX}};
    lab_options("park", known, ES_COUNT(known), argc, argv);
    es_wire_use_allocator();
    lab_open("park", NULL);
    fprintf(stderr, "park\n");
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:o}", "bench", "park", "image", options.image,
                  "memory_mib", (json_int_t)options.memory, "range", measure());
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(json);
    lab_close();
    return EXIT_SUCCESS;
}
