/* Forks: through enshu against the bare QEMU floor, against a boot, a crowd, a reset, and
 * what they leave of their mould.
 *
 *   bench-fork [NAME=VALUE...]
 *
 *   parts=floor,boot,crowd,reset,safety,peer   which of them
 *   image=debian-12     of all but the safety: with nginx beside its SSH server, port 80 for
 *   memory=320          `ready`, MiB; or tiny, which has 96 MiB and no `ready`
 *   runs=5 parallel=4,1 floor: runs in turns, of so many machines each
 *   boots=3             boot: runs in turns, of one machine
 *   crowds=3 teams=20 nodes=3                  crowd: runs, of teams times nodes machines
 *   resets=7            reset: of a team of `nodes` machines, alone and in the last crowd
 *   forks=1000 batch=60 safety: so many forks of tiny, so many at a time
 *
 * Moulds are made first and not measured. By hand (hand.h) there are no plan and no networks
 * to make, so that the like of it in enshu is a machine from its turn on; the whole since the
 * request stands beside it. A machine is personalised when the agent's acknowledgement has
 * come, ready when its own steps are done and its probe has passed; times count from the
 * request: `enshu up` typed, or `enshu reset`. Environment: lab.h. A table on standard error, JSON on standard output. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "enshu/plan.h"
#include "enshu/wire.h"
#include "hand.h"
#include "lab.h"

#define RUNS_MAX  100
#define UP_BEFORE "before: scenario, plan, networks"

static struct {
    const char *parts, *image, *parallel;
    int64_t memory, runs, boots, crowds, teams, nodes, resets, forks, batch;
} options = {.parts = "floor,boot,crowd,reset,safety,peer",
             .image = "debian-12",
             .parallel = "4,1",
             .memory = 320,
             .runs = 5,
             .boots = 3,
             .crowds = 3,
             .teams = 20,
             .nodes = 3,
             .resets = 7,
             .forks = 1000,
             .batch = 60};

static struct lab_run runs[RUNS_MAX];
static struct hand_run hands[RUNS_MAX];

/* ------------------------------------------------------------------ scenarios */

/* Each node is a machine of its own; the same image, so that all moulds are alike. */
static void write_scenario(const char *name, const char *image, int64_t nodes,
                           char *ret_path, size_t size)
{
    FILE *file = lab_scenario(name, ret_path, size);
    fprintf(file,
            "enshu: 1\nname: %s\ntitle: {en: Forks}\n"
            "languages: {default: en, complete: [en]}\n"
            "random: {flag: {hex: 16}}\nnetworks: {lab: {cidr: 10.30.0.0/24}}\n",
            name);
    if (strcmp(image, "tiny") == 0)
        fprintf(file, "defaults: {node: {image: tiny, memory: 96 MiB}}\nnodes:\n");
    else
        fprintf(file,
                "defaults: {node: {image: {recipe: %s, packages: [nginx]}, memory: %lld "
                "MiB}}\nnodes:\n",
                image, (long long)options.memory);
    for (int64_t i = 0; i < nodes; i++)
        fprintf(
            file,
            "  m%lld:\n    networks: {lab: 10.30.0.%lld}\n"
            "    personalise: [{write: {to: /root/.flag, text: \"${random.flag}\"}}]\n"
            "%s",
            (long long)i, (long long)i + 10,
            strcmp(image, "tiny") == 0 ? "" : "    ready: {port: {port: 80}}\n");
    fclose(file);
    lab_do(NULL, "mould build %s", ret_path);
}

static void forget_runs(size_t count)
{
    for (size_t r = 0; r < count; r++)
        lab_run_finish(&runs[r]);
}

/* ------------------------------------------------------------------ medians over runs */

static double over(size_t count, double (*of)(size_t run))
{
    double values[RUNS_MAX];
    for (size_t r = 0; r < count; r++)
        values[r] = of(r);
    return lab_median(values, count);
}
static double agent_of(size_t r)
{
    return lab_last(&runs[r], LAB_PERSONALISING);
}
static double personalised_of(size_t r)
{
    return lab_last_personalised(&runs[r]);
}
static double ready_of(size_t r)
{
    return lab_last(&runs[r], LAB_READY);
}
static double took_of(size_t r)
{
    return runs[r].took;
}
static double machine_of(size_t r)
{
    return lab_median_spent(&runs[r], 1, LAB_STATES, LAB_PERSONALISING);
}
static double turn_of(size_t r)
{
    return lab_median_spent(&runs[r], 1, LAB_STARTING, LAB_PERSONALISING);
}
static double last_ratio_of(size_t r)
{
    return agent_of(r) / hands[r].last;
}
static double machine_ratio_of(size_t r)
{
    return machine_of(r) / hands[r].median;
}
static double turn_ratio_of(size_t r)
{
    return turn_of(r) / hands[r].median;
}
static double hand_last_of(size_t r)
{
    return hands[r].last;
}
static double hand_median_of(size_t r)
{
    return hands[r].median;
}
static double hand_start_of(size_t r)
{
    return hands[r].start;
}
static double hand_load_of(size_t r)
{
    return hands[r].load;
}
static double hand_resume_of(size_t r)
{
    return hands[r].resume;
}
static double hand_hello_of(size_t r)
{
    return hands[r].hello;
}

static void say(const char *what, double value, const char *unit)
{
    fprintf(stderr, "    %-46s %10.*f %s\n", what, value < 10 ? 2 : 0, value, unit);
}

/* ------------------------------------------------------------------ steps */

/* Where the time goes; by hand only what has the same name. */
static json_t *steps(size_t count, bool with_hand, const char *before_what)
{
    static double (*const by_hand[LAB_STEPS])(size_t) = {
        [LAB_STEP_START] = hand_start_of,
        [LAB_STEP_LOAD] = hand_load_of,
        [LAB_STEP_RESUME] = hand_resume_of,
        [LAB_STEP_HELLO] = hand_hello_of};
    json_t *json = json_object();
    double before = lab_median_spent(runs, count, LAB_STATES, LAB_DISK);
    double queue = lab_median_spent(runs, count, LAB_QUEUED, LAB_STARTING);
    fprintf(stderr, "      %-44s %10s%s\n", "step by step, of a machine", "enshu",
            with_hand ? "     by hand" : "");
    fprintf(stderr, "      %-44s %10.1f ms\n", before_what, before);
    fprintf(stderr, "      %-44s %10.1f ms\n", "its turn", queue);
    json_object_set_new(json, "before_ms", json_real(before));
    json_object_set_new(json, "queue_ms", json_real(queue));
    for (int s = 0; s < LAB_STEPS; s++) {
        double ms = lab_median_step(runs, count, (enum lab_step)s);
        json_object_set_new(json, lab_step_keys[s], json_real(ms * 1e3));
        fprintf(stderr, "      %-44s %10.1f ms", lab_step_texts[s], ms);
        if (with_hand && by_hand[s] != NULL)
            fprintf(stderr, "%9.1f ms", over(count, by_hand[s]));
        fputc('\n', stderr);
    }
    if (with_hand)
        json_object_set_new(json, "by_hand",
                            json_pack("{s:f, s:f, s:f, s:f}", "start_us",
                                      over(count, hand_start_of) * 1e3, "load_us",
                                      over(count, hand_load_of) * 1e3, "resume_us",
                                      over(count, hand_resume_of) * 1e3, "hello_us",
                                      over(count, hand_hello_of) * 1e3));
    return json;
}

/* ------------------------------------------------------------------ the floor */

static json_t *report_floor(int64_t machines, size_t count)
{
    fprintf(stderr, "  %lld of %s at once, %zu runs in turns\n", (long long)machines,
            options.image, count);
    say("by hand, request to agent, a machine", over(count, hand_median_of), "ms");
    say("  the last", over(count, hand_last_of), "ms");
    say("enshu up, request to agent, a machine", over(count, machine_of), "ms");
    say("  the last", over(count, agent_of), "ms");
    say("ratio, a machine", over(count, machine_ratio_of), "x");
    say("ratio, the last", over(count, last_ratio_of), "x");
    say("ratio, a machine from its turn on", over(count, turn_ratio_of), "x");
    return json_pack(
        "{s:I, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "machines",
        (json_int_t)machines, "runs", (int)count, "by_hand_ms",
        over(count, hand_median_of), "by_hand_last_ms", over(count, hand_last_of),
        "enshu_ms", over(count, machine_of), "enshu_last_ms", over(count, agent_of),
        "ratio", over(count, machine_ratio_of), "ratio_last", over(count, last_ratio_of),
        "ratio_turn", over(count, turn_ratio_of), "steps", steps(count, true, UP_BEFORE));
}

static json_t *measure_floor(void)
{
    char path[128], up[256];
    json_t *all = json_array();
    write_scenario("one", options.image, 1, path, sizeof path);
    for (const char *at = options.parallel; *at != '\0';
         at += strcspn(at, ",") + (at[strcspn(at, ",")] == ',')) {
        long machines = strtol(at, NULL, 10);
        size_t count = (size_t)options.runs;
        es_str_printf(up, sizeof up, "up %s --range bench --mode fork --teams %ld", path,
                      machines);
        lab_do(NULL, "%s", up);
        hand_take((size_t)machines, true);
        lab_do(NULL, "down bench");
        for (size_t r = 0; r < count; r++) {
            hand_run(&hands[r]);
            lab_do(&runs[r], "%s", up);
            lab_steps(&runs[r]);
            lab_do(NULL, "down bench");
        }
        json_array_append_new(all, report_floor(machines, count));
        hand_forget();
        forget_runs(count);
    }
    return all;
}

/* ------------------------------------------------------------------ against a boot */

static json_t *measure_boot(void)
{
    static const char *const modes[] = {"boot", "fork"};
    double ms[2], ready[2];
    char path[128];
    size_t count = (size_t)options.boots;
    write_scenario("one", options.image, 1, path, sizeof path);
    for (size_t r = 0; r < 2 * count; r++) {
        struct lab_run *run = &runs[r % 2 * count + r / 2];
        lab_do(run, "up %s --range bench --mode %s", path, modes[r % 2]);
        lab_steps(run);
        lab_do(NULL, "down bench");
    }
    for (size_t k = 0; k < 2; k++) {
        double values[2][RUNS_MAX];
        for (size_t r = 0; r < count; r++) {
            values[0][r] = personalised_of(k * count + r);
            values[1][r] = ready_of(k * count + r);
        }
        ms[k] = lab_median(values[0], count);
        ready[k] = lab_median(values[1], count);
    }
    forget_runs(2 * count);
    fprintf(stderr, "  one %s, %zu runs in turns\n", options.image, count);
    say("boot, request to personalised", ms[0], "ms");
    say("fork", ms[1], "ms");
    say("ratio", ms[0] / ms[1], "x");
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:f}", "runs", (int)count, "boot_ms",
                     ms[0], "fork_ms", ms[1], "ratio", ms[0] / ms[1], "boot_ready_ms",
                     ready[0], "fork_ready_ms", ready[1]);
}

/* ------------------------------------------------------------------ resets */

/* Of team 1 of what is up. */
static json_t *measure_resets(const char *where)
{
    size_t count = (size_t)options.resets;
    for (size_t r = 0; r < count; r++) {
        lab_do(&runs[r], "reset 1 --range bench");
        lab_steps(&runs[r]);
    }
    fprintf(stderr, "  reset of a team of %lld, %s, %zu runs\n", (long long)options.nodes,
            where, count);
    say("request to the last personalised", over(count, personalised_of), "ms");
    say("  and ready, answered", over(count, took_of), "ms");
    json_t *json =
        json_pack("{s:I, s:i, s:f, s:f, s:o}", "machines", (json_int_t)options.nodes,
                  "runs", (int)count, "personalised_ms", over(count, personalised_of),
                  "ready_ms", over(count, took_of), "steps",
                  steps(count, false, "before: the old machine's end"));
    forget_runs(count);
    return json;
}

static json_t *measure_reset(void)
{
    char path[128];
    write_scenario("team", options.image, options.nodes, path, sizeof path);
    lab_do(NULL, "up %s --range bench --mode fork", path);
    json_t *json = measure_resets("alone");
    lab_do(NULL, "down bench");
    return json;
}

/* ------------------------------------------------------------------ a crowd */

static const char *const programs[] = {"qemu-system", "libvirtd", "enshud"};
static double cpu_s[ES_COUNT(programs)][RUNS_MAX];

static bool bring_crowd(const char *path, size_t r)
{
    double before[ES_COUNT(programs)];
    for (size_t i = 0; i < ES_COUNT(programs); i++)
        before[i] = lab_cpu_s(programs[i]);
    if (lab_enshu(&runs[r], "up %s --range bench --mode fork --teams %lld", path,
                  (long long)options.teams) != 0)
        return false;
    for (size_t i = 0; i < ES_COUNT(programs); i++)
        cpu_s[i][r] = lab_cpu_s(programs[i]) - before[i];
    lab_steps(&runs[r]);
    fprintf(stderr, "    run %zu: the last personalised after %.1f s, ready %.1f s\n",
            r + 1, personalised_of(r) / 1e3, ready_of(r) / 1e3);
    return true;
}

static json_t *report_crowd(size_t count)
{
    double machines = (double)(options.teams * options.nodes);
    double ms = over(count, personalised_of);
    json_t *cpu = json_object();
    fprintf(stderr, "  %lld teams of %lld %s, %zu runs\n", (long long)options.teams,
            (long long)options.nodes, options.image, count);
    say("request to the last personalised", ms / 1e3, "s");
    say("  and ready", over(count, ready_of) / 1e3, "s");
    say("machines personalised", machines / ms * 1e3, "/s");
    for (size_t i = 0; i < ES_COUNT(programs); i++) {
        char what[64];
        es_str_printf(what, sizeof what, "processor time, a machine: %s", programs[i]);
        double s = lab_median(cpu_s[i], count);
        say(what, s * 1e3 / machines, "ms");
        json_object_set_new(cpu, programs[i], json_real(s));
    }
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:o, s:o}", "machines", machines, "runs",
                     (int)count, "personalised_ms", ms, "ready_ms", over(count, ready_of),
                     "per_s", machines / ms * 1e3, "cpu_s", cpu, "steps",
                     steps(count, false, UP_BEFORE));
}

static json_t *measure_crowd(void)
{
    char path[128];
    size_t count = (size_t)options.crowds;
    json_t *resets = NULL;
    write_scenario("team", options.image, options.nodes, path, sizeof path);
    for (size_t r = 0; r < count; r++) {
        if (!bring_crowd(path, r)) {
            fprintf(stderr, "    left out: %s", lab.last);
            lab_enshu(NULL, "down bench");
            forget_runs(count);
            return json_pack("{s:s}", "left_out", lab.last);
        }
        if (r + 1 < count)
            lab_do(NULL, "down bench");
    }
    json_t *json = report_crowd(count);
    forget_runs(count);
    resets = measure_resets("in the crowd");
    json_object_set_new(json, "reset", resets);
    lab_do(NULL, "down bench");
    return json;
}

/* ------------------------------------------------------------------ the mould's safety */

/* A mould that changed ends `mould verify` with a code of its own. */
static json_t *measure_safety(void)
{
    char path[128];
    size_t forked = 0;
    write_scenario("safety", "tiny", 1, path, sizeof path);
    lab_do(NULL, "mould verify");
    double from = lab_now();
    while (forked < (size_t)options.forks) {
        int64_t left = options.forks - (int64_t)forked;
        lab_do(&runs[0], "up %s --range bench --mode fork --teams %lld", path,
               (long long)(left < options.batch ? left : options.batch));
        forked += runs[0].count;
        lab_do(NULL, "down bench");
    }
    double took = lab_now() - from;
    forget_runs(1);
    bool same = lab_enshu(NULL, "mould verify") == 0;
    fprintf(stderr, "  %zu forks of tiny, %lld at a time\n", forked,
            (long long)options.batch);
    say("up and down again", took / 1e3, "s");
    fprintf(stderr, "    the moulds are %s\n", same ? "as they were" : "CHANGED");
    return json_pack("{s:I, s:f, s:i}", "forks", (json_int_t)forked, "took_s", took / 1e3,
                     "unchanged", (int)same);
}

/* ------------------------------------------------------------------ vagrant-libvirt */

static json_t *run_peer(const char *image_folder)
{
    json_t *version = lab_json("version");
    const char *accel = json_string_value(json_object_get(version, "accel"));
    bool kvm = accel != NULL && strcmp(accel, "kvm") == 0;
    json_decref(version);
    char *line =
        lab_text("mkdir -p %s/peer && %s/tests/bench/peers/vagrant-libvirt/run.sh "
                 "%s/enshu-nest %s %s %s/peer %lld %s 1 4",
                 lab.dir, lab.top, lab.bin, lab.state, image_folder, lab.dir,
                 (long long)options.memory, kvm ? "kvm" : "qemu");
    FILE *out = popen(line, "re");
    json_t *json = out != NULL ? json_loadf(out, 0, NULL) : NULL;
    if (out != NULL)
        pclose(out);
    free(line);
    return json;
}

/* Both from the command to its return, when all guests are to be worked with. */
static json_t *measure_peer(void)
{
    char path[128];
    size_t i;
    json_t *run;
    write_scenario("one", options.image, 1, path, sizeof path);
    json_t *image = lab_json("image build %s --packages nginx", options.image);
    char *folder = lab_text("%s/images/%s/%s", lab.state, options.image,
                            json_string_value(json_object_get(image, "digest")));
    json_t *json = run_peer(folder);
    free(folder);
    json_decref(image);
    if (!json_is_true(json_object_get(json, "installed"))) {
        const char *missing = json_string_value(json_object_get(json, "missing"));
        fprintf(stderr, "  vagrant-libvirt: %s %s\n",
                json == NULL ? "failed" : "left out; not installed:",
                missing != NULL ? missing : "");
        return json != NULL ? json : json_null();
    }
    fprintf(stderr, "  vagrant-libvirt %s, the same image\n",
            json_string_value(json_object_get(json, "version")));
    json_array_foreach (json_object_get(json, "runs"), i, run) {
        char what[64];
        json_int_t count = json_integer_value(json_object_get(run, "count"));
        double ms = json_number_value(json_object_get(run, "up_ms"));
        lab_do(&runs[0], "up %s --range bench --mode fork --teams %lld", path,
               (long long)count);
        double ratio = ms / runs[0].took;
        lab_do(NULL, "down bench");
        json_object_set_new(run, "enshu_ms", json_real(runs[0].took));
        json_object_set_new(run, "ratio", json_real(ratio));
        es_str_printf(what, sizeof what, "vagrant up of %lld", (long long)count);
        say(what, ms / 1e3, "s");
        say("  enshu up", runs[0].took / 1e3, "s");
        say("  ratio", ratio, "x");
    }
    forget_runs(1);
    return json;
}

/* ------------------------------------------------------------------ main */

int main(int argc, char **argv)
{
    static const struct lab_option known[] = {
        {"parts", &options.parts, NULL, 0, 0},
        {"image", &options.image, NULL, 0, 0},
        {"parallel", &options.parallel, NULL, 0, 0},
        {"memory", NULL, &options.memory, 1, 65536},
        {"runs", NULL, &options.runs, 1, RUNS_MAX},
        {"boots", NULL, &options.boots, 1, RUNS_MAX / 2},
        {"crowds", NULL, &options.crowds, 1, RUNS_MAX},
        {"teams", NULL, &options.teams, 1, ES_PLAN_TEAMS_MAX},
        {"nodes", NULL, &options.nodes, 1, 200},
        {"resets", NULL, &options.resets, 1, RUNS_MAX},
        {"forks", NULL, &options.forks, 1, 1000000},
        {"batch", NULL, &options.batch, 1, ES_PLAN_TEAMS_MAX}};
    static const struct {
        const char *name;
        json_t *(*measure)(void);
    } parts[] = {{"floor", measure_floor},   {"boot", measure_boot},
                 {"crowd", measure_crowd},   {"reset", measure_reset},
                 {"safety", measure_safety}, {"peer", measure_peer}};
    lab_options("fork", known, ES_COUNT(known), argc, argv);
    es_wire_use_allocator();
    lab_open("fork", hand_kill);
    fprintf(stderr, "forks\n");
    json_t *json = json_pack("{s:s, s:s, s:I}", "bench", "fork", "image", options.image,
                             "memory_mib", (json_int_t)options.memory);
    for (size_t i = 0; i < ES_COUNT(parts); i++)
        if (strstr(options.parts, parts[i].name) != NULL)
            json_object_set_new(json, parts[i].name, parts[i].measure());
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(json);
    lab_close();
    return EXIT_SUCCESS;
}
