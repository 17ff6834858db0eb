/* Machines planned, started, reconciled and removed on libvirt's test driver: time and
 * memory of our side. Usage: bench-hyp [MACHINES [CONNECTIONS]]. A table on standard error,
 * JSON on standard output. Also: a plan of 100 teams x 10 nodes. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/hyp.h"

#define NODES 10

static uv_loop_t loop;
static struct es_hyp *hyp;
static int pending;
static size_t listed, event_count;

static void check(int status, const struct es_err *err)
{
    if (status == 0)
        return;
    fprintf(stderr, "bench-hyp: %s\n", err != NULL ? err->msg : es_status_text(status));
    exit(EXIT_FAILURE);
}

static void on_done(void *ctx, int status, const struct es_err *err)
{
    (void)ctx;
    check(status, err);
    pending--;
}

static void on_list(void *ctx, int status, const struct es_hyp_object *objects,
                    size_t count, const struct es_err *err)
{
    (void)objects;
    listed = count;
    on_done(ctx, status, err);
}

static void on_event(void *ctx, const char *machine, enum es_hyp_event event,
                     const char *detail)
{
    (void)ctx;
    (void)machine;
    (void)event;
    (void)detail;
    event_count++;
}

static double wait_all(uint64_t began)
{
    while (pending > 0)
        uv_run(&loop, UV_RUN_ONCE);
    return (double)(uv_hrtime() - began) / 1e6;
}

static long resident_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* ------------------------------------------------------------------ what is planned */

static struct es_scenario *make_scenario(void)
{
    static char names[NODES][8];
    static struct es_nic nics[NODES][2];
    static struct es_node nodes[NODES];
    static struct es_network networks[] = {
        {.name = "office", .net = 0x0a140000, .prefix = 24, .gateway = 0, .dns = 0},
        {.name = "dmz", .net = 0x0a150000, .prefix = 24, .gateway = -1, .dns = -1},
        {.name = "game",
         .net = 0x0a000000,
         .prefix = 8,
         .scope = ES_SCOPE_RANGE,
         .slice = 24,
         .gateway = -1,
         .dns = -1}};
    static struct es_scenario scenario = {.name = "bench",
                                          .networks = networks,
                                          .networks_count = ES_COUNT(networks),
                                          .nodes = nodes,
                                          .nodes_count = NODES};
    for (int i = 0; i < NODES; i++) {
        es_str_printf(names[i], sizeof names[i], "node%d", i);
        nics[i][0] = (struct es_nic){.network = i % 2, .how = ES_NIC_AUTO};
        nics[i][1] = (struct es_nic){.network = 2, .how = ES_NIC_AUTO};
        nodes[i] = (struct es_node){.name = names[i],
                                    .recipe = "tiny",
                                    .memory_bytes = 1 << 20,
                                    .disk_bytes = 1 << 20,
                                    .cpus = 1,
                                    .nics = nics[i],
                                    .nic_count = i < 2 ? 2 : 1};
    }
    return &scenario;
}

static struct es_plan *make_plan(int teams, double *ret_ms)
{
    struct es_plan *plan = NULL;
    struct es_err err = {0};
    uint64_t began = uv_hrtime();
    check(es_plan_make(make_scenario(), "bench", teams, false, &plan, &err), &err);
    *ret_ms = (double)(uv_hrtime() - began) / 1e6;
    return plan;
}

/* ------------------------------------------------------------------ what is measured */

static double apply_networks(const struct es_plan *plan)
{
    uint64_t began = uv_hrtime();
    for (size_t i = 0; i < plan->network_count; i++) {
        pending++;
        check(es_hyp_network_apply(hyp, "bench", &plan->networks[i], on_done, NULL),
              NULL);
    }
    return wait_all(began);
}

static double start_machines(const struct es_plan *plan)
{
    uint64_t began = uv_hrtime();
    for (size_t i = 0; i < plan->machine_count; i++) {
        struct es_hyp_machine spec = {.plan = plan,
                                      .machine = &plan->machines[i],
                                      .kernel = "/kernel",
                                      .initrd = "/initrd",
                                      .disk = "/disk.qcow2",
                                      .seed = "/seed.iso",
                                      .instance = 1};
        pending++;
        check(es_hyp_machine_start(hyp, &spec, on_done, NULL), NULL);
    }
    return wait_all(began);
}

static double list_all(void)
{
    uint64_t began = uv_hrtime();
    pending++;
    check(es_hyp_list(hyp, NULL, on_list, NULL), NULL);
    return wait_all(began);
}

static double remove_all(void)
{
    uint64_t began = uv_hrtime();
    pending++;
    check(es_hyp_range_remove(hyp, "bench", on_done, NULL), NULL);
    return wait_all(began);
}

static void row(json_t *json, const char *key, const char *what, double value,
                const char *unit)
{
    fprintf(stderr, "  %-44s %10.1f %s\n", what, value, unit);
    json_object_set_new(json, key, json_real(value));
}

static void open_test_driver(int connections)
{
    char path[] = "/tmp/enshu-bench-XXXXXX", uri[64];
    struct es_err err = {0};
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, "<node/>", 7) != 7)
        check(ES_EIO, NULL);
    close(fd);
    es_str_printf(uri, sizeof uri, "test://%s", path);
    struct es_hyp_config config = {
        .uri = uri, .accel = "tcg", .connections = connections, .on_event = on_event};
    pending++;
    check(es_hyp_open(&loop, &config, on_done, NULL, &hyp, &err), &err);
    wait_all(0);
    unlink(path);
}

int main(int argc, char **argv)
{
    int64_t machines = 10000, connections = 0;
    double ms;
    if ((argc > 1 && es_str_int(argv[1], NODES, ES_PLAN_MACHINES_MAX, &machines) != 0) ||
        (argc > 2 && es_str_int(argv[2], 1, 16, &connections) != 0)) {
        fprintf(stderr, "usage: bench-hyp [MACHINES [CONNECTIONS]]\n");
        return 64;
    }
    json_t *json = json_object();
    uv_loop_init(&loop);
    es_plan_destroy(make_plan(100, &ms));
    fprintf(stderr, "plans, and machines on libvirt's test driver\n");
    row(json, "plan_100x10_ms", "plan of 100 teams x 10 nodes", ms, "ms");
    struct es_plan *plan = make_plan((int)(machines / NODES), &ms);
    row(json, "machines", "machines", (double)plan->machine_count, "");
    row(json, "plan_ms", "plan", ms, "ms");
    open_test_driver((int)connections);
    row(json, "networks_ms", "networks applied", apply_networks(plan), "ms");
    long before_kib = resident_kib();
    row(json, "start_ms", "machines started", start_machines(plan), "ms");
    row(json, "reconcile_ms", "applied again, nothing to do", start_machines(plan), "ms");
    row(json, "list_ms", "listed", list_all(), "ms");
    row(json, "objects", "objects found", (double)listed, "");
    row(json, "resident_mib", "resident at most, the driver's own included",
        (double)resident_kib() / 1024, "MiB");
    row(json, "resident_per_machine_kib", "of it for each machine",
        (double)(resident_kib() - before_kib) / (double)plan->machine_count, "KiB");
    row(json, "remove_ms", "taken down", remove_all(), "ms");
    list_all();
    if (listed != 0 || event_count == 0)
        check(ES_EINTERNAL, NULL);
    es_hyp_close(hyp, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    es_plan_destroy(plan);
    json_dumpf(json, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(json);
    return 0;
}
