/* The goals beside what was measured: reads FOLDER/NAME.json of the other benches, prints
 * the table and writes FOLDER/results.json, one object a bench, and the goals.
 *
 *   bench-goals FOLDER */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/str.h"

static const char *const names[] = {"host", "scenario", "score",   "store",  "agent",
                                    "link", "hyp",      "core",    "fanout", "boot",
                                    "fork", "park",     "density", "fill"};

enum order { MOST, LEAST, SHOWN }; /* the goal is at most, at least, none */

/* `path`: keys and indexes, with dots between. */
static const struct goal {
    const char *what, *bench, *path;
    double scale;
    enum order order;
    double goal;
    const char *unit;
} goals[] = {
    {"scenario of 1,000 nodes loads", "scenario", "load_ms", 1, MOST, 20, "ms"},
    {"  of it working", "scenario", "cpu_ms", 1, SHOWN, 0, "ms"},
    {"plan of 100 teams x 10 nodes", "hyp", "plan_100x10_ms", 1, MOST, 50, "ms"},
    {"slowest malformed scenario", "scenario", "slowest_ms", 1, MOST, 100, "ms"},
    {"memory at most, loading them", "scenario", "rss_kib", 1.0 / 1024, MOST, 64, "MiB"},
    {"ledger, durable, single", "store", "durable.0.events_per_s", 1, SHOWN, 0, "/s"},
    {"ledger, durable, groups of 1,000", "store", "durable.1.events_per_s", 1, SHOWN, 0,
     "/s"},
    {"rescore, hashes verified", "store", "rescore.events_per_s", 1, LEAST, 1e6, "/s"},
    {"  in a second of CPU", "store", "rescore.events_per_cpu_s", 1, SHOWN, 0, "/s"},
    {"fold alone", "score", "events_per_s", 1, SHOWN, 0, "/s"},
    {"agent on disc", "agent", "disc_bytes", 1.0 / (1 << 20), MOST, 2, "MiB"},
    {"agent resident", "agent", "resident_kib", 1.0 / 1024, MOST, 4, "MiB"},
    {"agent idle wake-ups", "agent", "idle_wakeups_per_s", 1, SHOWN, 0, "/s"},
    {"links alone, of a core", "link", "cpu_percent", 1, SHOWN, 0, "%"},
    {"machines on libvirt's test driver", "hyp", "machines", 1, SHOWN, 0, ""},
    {"  planned", "hyp", "plan_ms", 1, SHOWN, 0, "ms"},
    {"  reconciled, nothing to do", "hyp", "reconcile_ms", 1, SHOWN, 0, "ms"},
    {"  resident, the driver included", "hyp", "resident_mib", 1, SHOWN, 0, "MiB"},
    {"simulated agents, 4 results/s each", "core", "agents", 1, SHOWN, 0, ""},
    {"core: sent to durable and acked, p99", "core", "p99_ms", 1, MOST, 50, "ms"},
    {"core: acknowledged and lost", "core", "lost", 1, MOST, 0, ""},
    {"core: resident under that load", "core", "rss_kib", 1.0 / 1024, MOST, 100, "MiB"},
    {"core: highest rate held", "core", "highest_held_per_s", 1, SHOWN, 0, "/s"},
    {"300 machines come up: `version` p99", "fanout", "up.version.p99_ms", 1, MOST, 100,
     "ms"},
    {"  `status` p99", "fanout", "up.status.p99_ms", 1, MOST, 100, "ms"},
    {"  of the core working", "fanout", "up_core_cpu_s", 1000, SHOWN, 0, "ms"},
    {"4 of tiny, agents answer, against by hand", "boot", "images.tiny.ratio_to_agent", 1,
     SHOWN, 0, "x"},
    {"  personalised and ready", "boot", "images.tiny.ratio_to_ready", 1, SHOWN, 0, "x"},
    {"4 of debian-12, agents answer", "boot", "images.debian-12.ratio_to_agent", 1, MOST,
     1.15, "x"},
    {"  personalised and ready", "boot", "images.debian-12.ratio_to_ready", 1, SHOWN, 0,
     "x"},
    {"forks at once, each to its agent, by hand 1", "fork", "floor.0.ratio_turn", 1, MOST,
     2, "x"},
    {"  since `up`: plan and networks, too", "fork", "floor.0.ratio", 1, SHOWN, 0, "x"},
    {"one fork, to its agent, by hand 1", "fork", "floor.1.ratio_turn", 1, MOST, 2, "x"},
    {"  since `up`: plan and networks, too", "fork", "floor.1.ratio", 1, SHOWN, 0, "x"},
    {"a boot against a fork, personalised", "fork", "boot.ratio", 1, SHOWN, 0, "x"},
    {"vagrant-libvirt against forks, 1 guest", "fork", "peer.runs.0.ratio", 1, SHOWN, 0,
     "x"},
    {"  4 guests", "fork", "peer.runs.1.ratio", 1, SHOWN, 0, "x"},
    {"crowd of forks, machines", "fork", "crowd.machines", 1, SHOWN, 0, ""},
    {"  personalised", "fork", "crowd.personalised_ms", 1e-3, MOST, 30, "s"},
    {"  machines in a second", "fork", "crowd.per_s", 1, SHOWN, 0, "/s"},
    {"reset of a team, ready", "fork", "reset.ready_ms", 1e-3, MOST, 3, "s"},
    {"  in the crowd", "fork", "crowd.reset.ready_ms", 1e-3, SHOWN, 0, "s"},
    {"forks that left their mould as it was", "fork", "safety.forks", 1, SHOWN, 0, ""},
    {"  it is as it was", "fork", "safety.unchanged", 1, LEAST, 1, ""},
    {"machines parked and unparked", "park", "range.machines", 1, SHOWN, 0, ""},
    {"  parked: saved, flushed", "park", "range.park_ms", 1e-3, SHOWN, 0, "s"},
    {"  copying so many bytes", "park", "range.copy_ms", 1e-3, SHOWN, 0, "s"},
    {"  unparked, all agents answer", "park", "range.unpark_ms", 1e-3, SHOWN, 0, "s"},
    {"  a machine's private memory then", "park", "range.private_mib", 1, SHOWN, 0,
     "MiB"},
    {"a fork's private memory after a while", "density", "teams.then.private_mib", 1,
     MOST, 90, "MiB"},
    {"  its guest's", "density", "teams.then.guest_mib", 1, SHOWN, 0, "MiB"},
    {"  QEMU's own", "density", "teams.then.qemu_mib", 1, SHOWN, 0, "MiB"},
    {"machines that fit", "fill", "fill.then.machines", 1, SHOWN, 0, ""},
    {"  the core answers, median", "fill", "fill.answers.core_ms", 1, SHOWN, 0, "ms"},
    {"  a command in one, median", "fill", "fill.answers.exec_ms", 1, SHOWN, 0, "ms"},
};

/* A step of a path: a key, an index, or the object of a list with that "image". */
static const json_t *step(const json_t *at, const char *key, size_t len)
{
    char name[64];
    size_t i;
    const json_t *item;
    es_str_printf(name, sizeof name, "%.*s", (int)len, key);
    if (json_is_object(at))
        return json_object_get(at, name);
    json_array_foreach (at, i, item) {
        const char *image = json_string_value(json_object_get(item, "image"));
        if (image != NULL && strcmp(image, name) == 0)
            return item;
    }
    int64_t index;
    return es_str_int(name, 0, 1000, &index) == 0 ? json_array_get(at, (size_t)index)
                                                  : NULL;
}

static const json_t *find(const json_t *all, const struct goal *goal)
{
    const json_t *at = json_object_get(all, goal->bench);
    for (const char *key = goal->path; at != NULL && *key != '\0';) {
        size_t len = strcspn(key, ".");
        at = step(at, key, len);
        key += len + (key[len] == '.');
    }
    return at;
}

static json_t *judge(const struct goal *goal, const json_t *found)
{
    static const char *const signs[] = {"<=", ">=", ""};
    char wanted[48] = "-", measured[32] = "-";
    const char *verdict = "not measured";
    double value = json_number_value(found) * goal->scale;
    if (goal->order != SHOWN)
        snprintf(wanted, sizeof wanted, "%s %.*f", signs[goal->order],
                 goal->goal > 1 && goal->goal < 2 ? 2 : 0, goal->goal);
    if (json_is_number(found)) {
        snprintf(measured, sizeof measured, "%.*f", value < 100 ? 2 : 0, value);
        bool met = goal->order == MOST ? value <= goal->goal : value >= goal->goal;
        verdict = goal->order == SHOWN ? "" : met ? "met" : "MISSED";
    }
    printf("  %-46s %12s %12s %-4s %s\n", goal->what, wanted, measured, goal->unit,
           verdict);
    return json_pack("{s:s, s:s, s:s, s:o, s:s}", "what", goal->what, "goal", wanted,
                     "unit", goal->unit, "measured",
                     json_is_number(found) ? json_real(value) : json_null(), "verdict",
                     verdict);
}

int main(int argc, char **argv)
{
    char path[1024];
    json_t *all = json_object(), *judged = json_array();
    if (argc != 2) {
        fprintf(stderr, "usage: bench-goals FOLDER\n");
        return 64;
    }
    for (size_t i = 0; i < ES_COUNT(names); i++) {
        json_t *one = NULL;
        if (es_str_printf(path, sizeof path, "%s/%s.json", argv[1], names[i]) == 0)
            one = json_load_file(path, 0, NULL);
        if (one != NULL)
            json_object_set_new(all, names[i], one);
    }
    printf("  %-46s %12s %12s\n", "", "goal", "measured");
    for (size_t i = 0; i < ES_COUNT(goals); i++)
        json_array_append_new(judged, judge(&goals[i], find(all, &goals[i])));
    json_object_set_new(all, "goals", judged);
    if (es_str_printf(path, sizeof path, "%s/results.json", argv[1]) != 0 ||
        json_dump_file(all, path, JSON_INDENT(1)) != 0) {
        fprintf(stderr, "bench-goals: cannot write %s\n", path);
        return EXIT_FAILURE;
    }
    printf("\n  %s\n", path);
    json_decref(all);
    return EXIT_SUCCESS;
}
