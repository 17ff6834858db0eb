/* From the request to the agents' answers: four machines booted through `enshu up`, against
 * the same QEMU command lines started by hand (hand.h), in turns; and where the rest of the
 * time goes.
 *
 *   bench-boot [RUNS [IMAGE...]]      (3 tiny debian-12)
 *
 * Environment: lab.h. A table on standard error, JSON on standard output. */
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "enshu/wire.h"
#include "hand.h"
#include "lab.h"

#define MACHINES 4
#define RUNS_MAX 50

static struct lab_run ups[RUNS_MAX];
static struct hand_run hands[RUNS_MAX];
static double cpu_s[RUNS_MAX]; /* of enshu's QEMUs, until all are ready */

static void write_scenario(const char *image, char *ret_path, size_t size)
{
    FILE *file = lab_scenario("boot", ret_path, size);
    fprintf(file,
            "enshu: 1\nname: boot\ntitle: {en: Boot}\n"
            "languages: {default: en, complete: [en]}\n"
            "networks: {lab: {cidr: 10.30.0.0/24}}\n"
            "defaults: {node: {image: %s, memory: %s}}\nnodes:\n",
            image, strcmp(image, "tiny") == 0 ? "96 MiB" : "384 MiB");
    for (int i = 0; i < MACHINES; i++)
        fprintf(file, "  m%d: {networks: {lab: 10.30.0.%d}}\n", i, i + 10);
    fclose(file);
}

/* Median over the runs of one value of each. */
static double over_runs(size_t runs, double (*of)(size_t run))
{
    double values[RUNS_MAX];
    for (size_t r = 0; r < runs; r++)
        values[r] = of(r);
    return lab_median(values, runs);
}
static double hand_of(size_t r)
{
    return hands[r].last;
}
static double hand_cpu_of(size_t r)
{
    return hands[r].cpu_s;
}
static double cpu_of(size_t r)
{
    return cpu_s[r];
}
static double agent_of(size_t r)
{
    return lab_last(&ups[r], LAB_PERSONALISING);
}
static double ready_of(size_t r)
{
    return lab_last(&ups[r], LAB_READY);
}
static double agent_ratio_of(size_t r)
{
    return agent_of(r) / hand_of(r);
}
static double ready_ratio_of(size_t r)
{
    return ready_of(r) / hand_of(r);
}

static json_t *report(const char *image, size_t runs)
{
    static const struct {
        const char *what, *key;
        enum lab_state from, to;
    } parts[] = {
        {"before its disk: scenario, plan, network", "before_ms", LAB_STATES, LAB_DISK},
        {"disk", "disk_ms", LAB_DISK, LAB_QUEUED},
        {"queue", "queue_ms", LAB_QUEUED, LAB_STARTING},
        {"start call", "start_ms", LAB_STARTING, LAB_BOOTING},
        {"boot, from the call's return to the agent", "boot_ms", LAB_BOOTING,
         LAB_PERSONALISING},
        {"personalise and check", "personalise_ms", LAB_PERSONALISING, LAB_READY}};
    double hand = over_runs(runs, hand_of), agent = over_runs(runs, agent_of),
           ready = over_runs(runs, ready_of), hand_cpu = over_runs(runs, hand_cpu_of),
           cpu = over_runs(runs, cpu_of), to_agent = over_runs(runs, agent_ratio_of),
           to_ready = over_runs(runs, ready_ratio_of);
    json_t *json = json_pack(
        "{s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "image", image, "machines",
        MACHINES, "runs", (int)runs, "by_hand_ms", hand, "enshu_agent_ms", agent,
        "enshu_ready_ms", ready, "ratio_to_agent", to_agent, "ratio_to_ready", to_ready,
        "by_hand_cpu_s", hand_cpu, "enshu_cpu_s", cpu);
    fprintf(stderr, "  %d of %s, %zu runs in turns\n", MACHINES, image, runs);
    fprintf(stderr, "    %-44s %10.0f ms\n", "by hand, to the last agent's answer", hand);
    fprintf(stderr, "    %-44s %10.0f ms   ratio %.2f\n", "enshu up, the same", agent,
            to_agent);
    fprintf(stderr, "    %-44s %10.0f ms   ratio %.2f\n", "enshu up, all ready", ready,
            to_ready);
    fprintf(stderr, "    %-44s %10.1f s, by hand %.1f s\n",
            "processor time of the QEMUs until then", cpu, hand_cpu);
    for (size_t i = 0; i < ES_COUNT(parts); i++) {
        double ms = lab_median_spent(ups, runs, parts[i].from, parts[i].to);
        fprintf(stderr, "      %-42s %10.0f ms\n", parts[i].what, ms);
        json_object_set_new(json, parts[i].key, json_real(ms));
    }
    return json;
}

/* The first `up` builds images and is not measured; it gives the command lines. */
static json_t *measure(const char *image, size_t runs)
{
    char path[128], up[256];
    write_scenario(image, path, sizeof path);
    es_str_printf(up, sizeof up, "up %s --range bench --mode boot", path);
    lab_do(NULL, "%s", up);
    hand_take(MACHINES, false);
    lab_do(NULL, "down bench");
    for (size_t r = 0; r < runs; r++) {
        hand_run(&hands[r]);
        lab_do(&ups[r], "%s", up);
        cpu_s[r] = lab_cpu_s("qemu-system");
        lab_do(NULL, "down bench");
        fprintf(stderr, "    run %zu: by hand %.0f ms, enshu up %.0f ms\n", r + 1,
                hands[r].last, ready_of(r));
    }
    json_t *json = report(image, runs);
    hand_forget();
    for (size_t r = 0; r < runs; r++)
        lab_run_finish(&ups[r]);
    return json;
}

int main(int argc, char **argv)
{
    int64_t runs = 3;
    if (argc > 1 && es_str_int(argv[1], 1, RUNS_MAX, &runs) != 0) {
        fprintf(stderr, "usage: bench-boot [RUNS [IMAGE...]]\n");
        return 64;
    }
    es_wire_use_allocator();
    lab_open("boot", hand_kill);
    fprintf(stderr, "boots\n");
    json_t *images = json_array();
    static const char *const usual[] = {"tiny", "debian-12"};
    size_t count = argc > 2 ? (size_t)argc - 2 : ES_COUNT(usual);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(images,
                              measure(argc > 2 ? argv[2 + i] : usual[i], (size_t)runs));
    json_t *json = json_pack("{s:s, s:o}", "bench", "boot", "images", images);
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(json);
    lab_close();
    return EXIT_SUCCESS;
}
