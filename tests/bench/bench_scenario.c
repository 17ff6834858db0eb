/* Loading of scenarios: a valid one of 1,000 nodes, and the malformed ones of
 * tests/golden/scenarios, the slowest of them named.
 *
 * The valid one: 20 networks, 1,000 nodes of one kind, each with an address, an account, a
 * setup step and a readiness probe; 200 conditions, objectives and proofs. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "enshu/common/str.h"
#include "enshu/scenario.h"

enum { NODES = 1000, CONDITIONS = 200, ROUNDS = 20 };

static struct es_diags diags;

static double clock_ms(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static double now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static void write_scenario(struct es_buf *out)
{
    es_buf_puts(out, "enshu: 1\nname: big\ntitle: {ja: 大, en: Big}\n"
                     "kinds: {server: {image: {recipe: debian-12}, memory: 512 MiB}}\n"
                     "networks:\n");
    for (int i = 0; i < 20; i++)
        es_buf_printf(out, "  net%d: {cidr: 10.%d.0.0/24}\n", i, i);
    es_buf_puts(out, "nodes:\n");
    for (int i = 0; i < NODES; i++)
        es_buf_printf(out,
                      "  node-%d:\n    kind: server\n    networks: {net%d: 10.%d.0.%d}\n"
                      "    accounts: [{user: admin}]\n"
                      "    setup: [{run: systemctl enable nginx}]\n"
                      "    ready: {port: {port: 22}}\n",
                      i, i % 20, i % 20, i / 20 + 1);
    es_buf_puts(out, "conditions:\n");
    for (int i = 0; i < CONDITIONS; i++)
        es_buf_printf(
            out, "  c%d: {node: node-%d, file: {path: /etc/motd, contains: x}}\n", i, i);
    es_buf_puts(out, "objectives:\n");
    for (int i = 0; i < CONDITIONS; i++)
        es_buf_printf(out, "  o%d: {when: c%d, points: 10}\n", i, i);
    es_buf_puts(out, "solutions:\n  all:\n    steps:\n");
    for (int i = 0; i < CONDITIONS; i++)
        es_buf_printf(out, "      - {node: node-%d, run: 'true', proves: [c%d]}\n", i, i);
}

static double load_valid(const char *text, size_t len, double *ret_cpu_ms)
{
    struct es_scenario *scenario = NULL;
    double from = now_ms(), cpu_from = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    int rc = es_scenario_parse("big.yaml", text, len, &diags, &scenario, NULL);
    double took = now_ms() - from;
    *ret_cpu_ms = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu_from;
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
    return rc == 0 ? took : -1;
}

/* The slowest malformed one, the best of three of each. */
static double load_malformed(const char *folder, char *ret_name, size_t size,
                             size_t *count)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    double worst = 0;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[1024];
        double best = 1e9;
        if (!es_str_ends(entry->d_name, ".yaml") ||
            es_str_printf(path, sizeof path, "%s/%s", folder, entry->d_name) != 0)
            continue;
        for (int i = 0; i < 3; i++) {
            struct es_scenario *scenario = NULL;
            double from = now_ms();
            es_scenario_load(path, &diags, &scenario, NULL);
            double took = now_ms() - from;
            best = took < best ? took : best;
            es_scenario_destroy(scenario);
            es_diags_finish(&diags);
        }
        ++*count;
        if (best > worst) {
            worst = best;
            es_str_printf(ret_name, size, "%s", entry->d_name);
        }
    }
    if (dir != NULL)
        closedir(dir);
    return worst;
}

int main(void)
{
    const char *top = getenv("ENSHU_TOP");
    char folder[1024], slowest[256] = "";
    struct es_buf text;
    double best = 1e9, best_cpu = 1e9;
    size_t malformed = 0;
    struct rusage usage;
    es_buf_init(&text, ES_YAML_FILE_MAX);
    write_scenario(&text);
    for (int i = 0; i < ROUNDS; i++) {
        double cpu, took = load_valid(es_buf_str(&text), text.len, &cpu);
        if (took < 0)
            return 1;
        best = took < best ? took : best;
        best_cpu = cpu < best_cpu ? cpu : best_cpu;
    }
    es_str_printf(folder, sizeof folder, "%s/tests/golden/scenarios",
                  top != NULL ? top : ".");
    double worst = load_malformed(folder, slowest, sizeof slowest, &malformed);
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr,
            "  scenario of %d nodes      %12.2f ms (%.2f ms of them working, %zu KiB of "
            "text)\n",
            NODES, best, best_cpu, text.len / 1024);
    fprintf(stderr, "  slowest of %zu malformed  %12.2f ms (%s), %ld MiB at most\n",
            malformed, worst, slowest, usage.ru_maxrss / 1024);
    printf("{\"bench\": \"scenario\", \"nodes\": %d, \"load_ms\": %.3f, \"cpu_ms\": "
           "%.3f, \"malformed\": %zu, "
           "\"slowest_ms\": %.3f, \"slowest\": \"%s\", \"rss_kib\": %ld}\n",
           NODES, best, best_cpu, malformed, worst, slowest, usage.ru_maxrss);
    es_buf_finish(&text);
    return 0;
}
