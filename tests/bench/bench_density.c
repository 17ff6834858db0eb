/* Memory of forks after a while: what each machine keeps for itself, guest and QEMU apart,
 * under probes and background users; then as many machines as fit.
 *
 *   bench-density [NAME=VALUE...]
 *
 *   image=debian-12 memory=320   of every machine, MiB; with nginx (tiny: without, 96 MiB)
 *   teams=20 nodes=3             so many teams of so many machines
 *   minutes=10                   from the last personalise to the measurement
 *   every=20                     seconds between two looks at each condition, two a machine
 *   users=1                      background users in each machine: about every ten seconds
 *                                one fetches a neighbour's page, lists files, writes a log
 *   fill=20480                   MiB of private memory to fill with more such teams; 0: none
 *   step=10                      teams brought up at a time for that
 *
 * Private means Private_Dirty, Private_Clean and Swap of /proc/PID/smaps; of the guest is
 * what lies in the mapping of the mould's memory, all else is QEMU's. Responsive means: how
 * long `enshu status` and a command in each of some machines take. Environment: lab.h. A
 * table on standard error, JSON on standard output. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/plan.h"
#include "enshu/wire.h"
#include "lab.h"

#define MIB       (1024.0 * 1024.0)
#define ASKED_MAX 200
#define FILLS_MAX 60

static struct {
    const char *image;
    int64_t memory, teams, nodes, minutes, every, users, fill, step;
} options = {.image = "debian-12",
             .memory = 320,
             .teams = 20,
             .nodes = 3,
             .minutes = 10,
             .every = 20,
             .users = 1,
             .fill = 20480,
             .step = 10};

static bool is_tiny(void)
{
    return strcmp(options.image, "tiny") == 0;
}

/* ------------------------------------------------------------------ the scenario */

/* Left running by the shell that starts it; reads, writes, forks and talks a little. */
static void write_user(FILE *file, int64_t node)
{
    int64_t neighbour = (node + 1) % options.nodes + 10;
    fprintf(file,
            "      - run: (while :; do %s 10.30.0.%lld; ls -lR /etc >/dev/null; date >> "
            "/root/log; sleep 10; done) >/dev/null 2>&1 </dev/null &\n",
            is_tiny() ? "ping -c 1 -W 1"
                      : "timeout 3 bash -c 'exec 3<>/dev/tcp/$0/80; printf \"GET / "
                        "HTTP/1.0\\r\\n\\r\\n\" >&3; cat <&3'",
            (long long)neighbour);
}

static void write_nodes(FILE *file)
{
    fprintf(file, "nodes:\n");
    for (int64_t i = 0; i < options.nodes; i++) {
        fprintf(file, "  m%lld:\n    networks: {lab: 10.30.0.%lld}\n", (long long)i,
                (long long)i + 10);
        fprintf(file, "    personalise:\n      - write: {to: /root/.flag, text: "
                      "\"${random.flag}\"}\n");
        for (int64_t u = 0; u < options.users; u++)
            write_user(file, i);
        if (!is_tiny())
            fprintf(file, "    ready: {port: {port: 80}}\n");
    }
}

static void write_conditions(FILE *file)
{
    fprintf(file, "conditions:\n");
    for (int64_t i = 0; i < options.nodes; i++)
        fprintf(file,
                "  file-%lld: {node: m%lld, file: {path: /root/.flag, exists: true}, "
                "every: %llds}\n"
                "  run-%lld: {node: m%lld, process: {match: sh, running: true}, "
                "every: %llds}\n",
                (long long)i, (long long)i, (long long)options.every, (long long)i,
                (long long)i, (long long)options.every);
}

static void write_scenario(char *ret_path, size_t size)
{
    FILE *file = lab_scenario("density", ret_path, size);
    fprintf(file, "enshu: 1\nname: density\ntitle: {en: Density}\n"
                  "languages: {default: en, complete: [en]}\n"
                  "random: {flag: {hex: 16}}\nnetworks: {lab: {cidr: 10.30.0.0/24}}\n");
    if (is_tiny())
        fprintf(file, "defaults: {node: {image: tiny, memory: 96 MiB}}\n");
    else
        fprintf(file,
                "defaults: {node: {image: {recipe: %s, packages: [nginx]}, memory: %lld "
                "MiB}}\n",
                options.image, (long long)options.memory);
    write_nodes(file);
    write_conditions(file);
    fclose(file);
    lab_do(NULL, "mould build %s", ret_path);
}

/* ------------------------------------------------------------------ what is kept */

struct memory {
    size_t count, cap;
    double *guest, *qemu, *both; /* MiB, each machine's */
    double sum;
};

static void memory_finish(struct memory *memory)
{
    free(memory->guest);
    free(memory->qemu);
    free(memory->both);
    *memory = (struct memory){0};
}

static void *more(void *list, size_t count)
{
    void *grown = realloc(list, count * sizeof(double));
    if (grown == NULL)
        abort();
    return grown;
}

/* Adds a line of a mapping to the sum it belongs to. */
static void take_kib(const char *line, const char *key, double *sum)
{
    size_t len = strlen(key);
    if (strncmp(line, key, len) == 0)
        *sum += strtod(line + len, NULL) * 1024 / MIB;
}

static void measure_one(pid_t pid, const char *bytes, size_t len, void *arg)
{
    struct memory *memory = arg;
    char path[64], line[4352];
    double parts[2] = {0, 0}; /* QEMU, guest */
    bool guest = false;
    (void)bytes;
    (void)len;
    es_str_printf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        size_t end = strcspn(line, "\n");
        if (line[0] < 'A' || line[0] > 'Z') /* a mapping's first line */
            guest = end > 4 && strncmp(line + end - 4, ".ram", 4) == 0;
        take_kib(line, "Private_Dirty:", &parts[guest]);
        take_kib(line, "Private_Clean:", &parts[guest]);
        take_kib(line, "Swap:", &parts[guest]);
    }
    if (file != NULL)
        fclose(file);
    if (parts[0] + parts[1] <= 0) /* it may not be looked into, or has just ended */
        return;
    if (memory->count == memory->cap) {
        memory->cap = memory->cap != 0 ? 2 * memory->cap : 64;
        memory->guest = more(memory->guest, memory->cap);
        memory->qemu = more(memory->qemu, memory->cap);
        memory->both = more(memory->both, memory->cap);
    }
    memory->guest[memory->count] = parts[1];
    memory->qemu[memory->count] = parts[0];
    memory->both[memory->count++] = parts[0] + parts[1];
    memory->sum += parts[0] + parts[1];
}

static void measure(struct memory *memory)
{
    memory_finish(memory);
    lab_processes("qemu-system", measure_one, memory);
}

static double most(const double *values, size_t count)
{
    double max = 0;
    for (size_t i = 0; i < count; i++)
        max = values[i] > max ? values[i] : max;
    return max;
}

static json_t *memory_json(const struct memory *m, const char *when)
{
    double guest = lab_median(m->guest, m->count), qemu = lab_median(m->qemu, m->count);
    double both = lab_median(m->both, m->count), max = most(m->both, m->count);
    fprintf(
        stderr,
        "    %-26s %6.1f MiB a machine (guest %.1f, QEMU %.1f; most %.1f), %.0f MiB in "
        "all\n",
        when, both, guest, qemu, max, m->sum);
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "machines", (json_int_t)m->count,
                     "private_mib", both, "guest_mib", guest, "qemu_mib", qemu,
                     "most_mib", max, "sum_mib", m->sum);
}

/* ------------------------------------------------------------------ responsive */

static double timed(const char *words)
{
    double from = lab_now();
    lab_do(NULL, "%s", words);
    return lab_now() - from;
}

/* Asks the core and some of the machines of a range. */
static json_t *ask(const char *range, int64_t teams)
{
    double core[ASKED_MAX] = {0}, guest[ASKED_MAX] = {0};
    size_t count = 0;
    int64_t apart = teams > 20 ? teams / 20 : 1;
    for (int64_t team = 1; team <= teams && count < ASKED_MAX; team += apart) {
        char *exec = lab_text("exec t%lld/m0 --range %s -- true", (long long)team, range);
        core[count] = timed("version");
        guest[count++] = timed(exec);
        free(exec);
    }
    fprintf(stderr,
            "    answers: the core %.0f ms (most %.0f), a command in a machine %.0f ms "
            "(most %.0f)\n",
            lab_median(core, count), most(core, count), lab_median(guest, count),
            most(guest, count));
    return json_pack("{s:f, s:f, s:f, s:f}", "core_ms", lab_median(core, count),
                     "core_most_ms", most(core, count), "exec_ms",
                     lab_median(guest, count), "exec_most_ms", most(guest, count));
}

static json_t *capacity(void)
{
    json_t *status = lab_json("status");
    json_t *found = json_incref(json_object_get(status, "capacity"));
    json_decref(status);
    return found;
}

/* ------------------------------------------------------------------ the parts */

static void wait_minutes(void)
{
    double until = lab_now() + (double)options.minutes * 60000;
    while (lab_now() < until)
        usleep(200000);
}

static json_t *measure_teams(const char *path)
{
    struct lab_run run = {0};
    struct memory memory = {0};
    lab_do(&run, "up %s --mode fork --teams %lld --range bench", path,
           (long long)options.teams);
    lab_do(NULL, "start bench");
    fprintf(stderr, "  %zu machines of %s, up after %.1f s\n", run.count, options.image,
            run.took / 1e3);
    measure(&memory);
    json_t *json =
        json_pack("{s:f, s:I, s:o}", "up_ms", run.took, "minutes",
                  (json_int_t)options.minutes, "first", memory_json(&memory, "at first"));
    wait_minutes();
    measure(&memory);
    char *when = lab_text("after %lld minutes", (long long)options.minutes);
    json_object_set_new(json, "then", memory_json(&memory, when));
    free(when);
    json_object_set_new(json, "answers", ask("bench", options.teams));
    json_object_set_new(json, "capacity", capacity());
    memory_finish(&memory);
    lab_run_finish(&run);
    return json;
}

/* More ranges of the same, until their memory is filled or the core admits no more. */
static json_t *fill(const char *path)
{
    struct memory memory = {0};
    const char *ended = "as many ranges as a core has";
    int64_t ranges = 0;
    measure(&memory);
    while (memory.sum < (double)options.fill && ranges < FILLS_MAX) {
        if (lab_enshu(NULL, "up %s --mode fork --teams %lld --range fill%lld", path,
                      (long long)options.step, (long long)ranges) != 0) {
            ended = lab.last;
            break;
        }
        lab_do(NULL, "start fill%lld", (long long)ranges++);
        measure(&memory);
        ended = "filled";
    }
    fprintf(stderr, "  filled: %zu machines; %s\n", memory.count, ended);
    json_t *json =
        json_pack("{s:I, s:s}", "filled_mib", (json_int_t)options.fill, "ended", ended);
    wait_minutes();
    measure(&memory);
    json_object_set_new(json, "then", memory_json(&memory, "some minutes later"));
    json_object_set_new(json, "answers", ask("bench", options.teams));
    json_object_set_new(json, "capacity", capacity());
    memory_finish(&memory);
    return json;
}

/* ------------------------------------------------------------------ main */

int main(int argc, char **argv)
{
    static const struct lab_option known[] = {
        {"image", &options.image, NULL, 0, 0},
        {"memory", NULL, &options.memory, 32, 65536},
        {"teams", NULL, &options.teams, 1, ES_PLAN_TEAMS_MAX},
        {"nodes", NULL, &options.nodes, 1, 200},
        {"minutes", NULL, &options.minutes, 0, 1440},
        {"every", NULL, &options.every, 1, 3600},
        {"users", NULL, &options.users, 0, 20},
        {"fill", NULL, &options.fill, 0, 16 << 20},
        {"step", NULL, &options.step, 1, ES_PLAN_TEAMS_MAX}};
    char path[128];
    lab_options("density", known, ES_COUNT(known), argc, argv);
    es_wire_use_allocator();
    lab_open("density", NULL);
    setenv("ENSHU_STATE", lab.state, 1); /* for words behind `--`, where no option is */
    fprintf(stderr, "memory of forks\n");
    write_scenario(path, sizeof path);
    json_t *json =
        json_pack("{s:s, s:s, s:I}", "bench", "density", "image", options.image,
                  "memory_mib", (json_int_t)(is_tiny() ? 96 : options.memory));
    json_object_set_new(json, "teams", measure_teams(path));
    if (options.fill > 0)
        json_object_set_new(json, "fill", fill(path));
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(json);
    lab_close();
    return EXIT_SUCCESS;
}
