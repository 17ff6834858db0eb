/* A plan for people and programs: JSON, Graphviz, a table. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "plan_inner.h"

#define MIB                 (1LL << 20)
#define TEXT_MACHINES_SHOWN 64

static long long mib(int64_t bytes)
{
    return (long long)((bytes + MIB - 1) / MIB);
}

/* ------------------------------------------------------------------ JSON */

static json_t *address(uint32_t addr)
{
    char text[16];
    return addr != 0 ? json_string(es_ip4_format(addr, text)) : json_null();
}

static json_t *nics_json(const struct es_plan *plan,
                         const struct es_plan_machine *machine)
{
    json_t *array = json_array();
    for (size_t i = 0; array != NULL && i < machine->nic_count; i++) {
        const struct es_plan_nic *nic = &machine->nics[i];
        json_array_append_new(
            array, json_pack("{s:s, s:s, s:s, s:o, s:i, s:b}", "network",
                             plan->scenario->networks[nic->network].name, "object",
                             plan->networks[nic->plan_network].name, "mac", nic->mac,
                             "address", address(nic->addr), "prefix", nic->prefix,
                             "isolated", nic->isolated));
    }
    return array;
}

static json_t *hosts_json(const struct es_plan_machine *machine)
{
    json_t *object = json_object();
    for (size_t i = 0; object != NULL && i < machine->host_count; i++)
        json_object_set_new(object, machine->hosts[i].name,
                            address(machine->hosts[i].addr));
    return object;
}

static json_t *machine_json(const struct es_plan *plan,
                            const struct es_plan_machine *machine)
{
    const struct es_node *node = &plan->scenario->nodes[machine->node];
    return json_pack("{s:s, s:s, s:i, s:s, s:s?, s:I, s:I, s:i, s:o, s:o, s:o, s:o}",
                     "name", machine->name, "uuid", machine->uuid, "team", machine->team,
                     "node", node->name, "recipe", node->recipe, "memory_bytes",
                     (json_int_t)machine->memory_bytes, "disk_bytes",
                     (json_int_t)machine->disk_bytes, "cpus", machine->cpus, "nics",
                     nics_json(plan, machine), "gateway", address(machine->gateway),
                     "dns", address(machine->dns), "hosts", hosts_json(machine));
}

static json_t *network_json(const struct es_plan *plan, const struct es_plan_network *net)
{
    const struct es_network *n = &plan->scenario->networks[net->network];
    char text[16];
    return json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:i, s:b}", "name", net->name,
                     "uuid", net->uuid, "bridge", net->bridge, "team", net->team,
                     "network", n->name, "address", es_ip4_format(n->net, text), "prefix",
                     n->prefix, "isolate_teams", net->isolate_teams);
}

static json_t *capacity_json(int64_t memory, int64_t disk, int64_t cpus)
{
    return json_pack("{s:I, s:I, s:I}", "memory_bytes", (json_int_t)memory, "disk_bytes",
                     (json_int_t)disk, "cpus", (json_int_t)cpus);
}

static json_t *host_json(const struct es_plan *plan, const struct es_plan_host *host,
                         const struct es_plan_need *forked)
{
    struct es_err why = {0};
    bool fits = es_plan_fits(plan, host, forked, &why) == 0;
    return json_pack("{s:o, s:I, s:b, s:s?}", "has",
                     capacity_json(host->memory_bytes, host->disk_bytes, host->cpus),
                     "reserve_bytes", (json_int_t)es_plan_reserve(host), "fits", fits,
                     "why", fits ? NULL : why.msg);
}

/* Guests and QEMU apart. */
static json_t *needs_json(const struct es_plan *plan)
{
    struct es_plan_need need;
    json_t *json = capacity_json(plan->memory_bytes, plan->disk_bytes, plan->cpus);
    es_plan_need(plan, NULL, &need);
    json_object_set_new(json, "guest_bytes", json_integer(need.guest_bytes));
    json_object_set_new(json, "qemu_bytes", json_integer(need.qemu_bytes));
    return json;
}

static json_t *forked_json(const struct es_plan_need *forked)
{
    return json_pack("{s:I, s:I, s:I}", "memory_bytes", (json_int_t)forked->forked_bytes,
                     "measured", (json_int_t)forked->measured, "estimated",
                     (json_int_t)forked->estimated);
}

json_t *es_plan_json(const struct es_plan *plan, const struct es_plan_host *host,
                     const struct es_plan_need *forked)
{
    json_t *networks = json_array(), *machines = json_array();
    for (size_t i = 0; i < plan->network_count; i++)
        json_array_append_new(networks, network_json(plan, &plan->networks[i]));
    for (size_t i = 0; i < plan->machine_count; i++)
        json_array_append_new(machines, machine_json(plan, &plan->machines[i]));
    json_t *json =
        json_pack("{s:s, s:s, s:i, s:o, s:o, s:o}", "range", plan->range, "scenario",
                  plan->scenario->name, "teams", plan->team_count, "needs",
                  needs_json(plan), "networks", networks, "machines", machines);
    if (json != NULL && forked != NULL)
        json_object_set_new(json, "forked", forked_json(forked));
    if (json != NULL && host != NULL)
        json_object_set_new(json, "host", host_json(plan, host, forked));
    return json;
}

/* ------------------------------------------------------------------ Graphviz */

static void dot_edges(const struct es_plan *plan, const struct es_plan_machine *machine,
                      struct es_buf *out)
{
    char text[16];
    for (size_t i = 0; i < machine->nic_count; i++) {
        const struct es_plan_nic *nic = &machine->nics[i];
        es_buf_printf(out, "    \"m:%s\" -- \"n:%s\" [label=\"%s\"%s];\n", machine->name,
                      plan->networks[nic->plan_network].name,
                      es_ip4_format(nic->addr, text),
                      nic->isolated ? ", style=dashed" : "");
    }
}

static bool team_has_objects(const struct es_plan *plan, int team)
{
    for (size_t i = 0; i < plan->network_count; i++)
        if (plan->networks[i].team == team)
            return true;
    for (size_t i = 0; i < plan->machine_count; i++)
        if (plan->machines[i].team == team)
            return true;
    return false;
}

static void dot_team(const struct es_plan *plan, int team, struct es_buf *out)
{
    char label[8];
    es_plan_team_name(team, label);
    es_buf_printf(out, "  subgraph \"cluster_%s\" {\n    label=\"%s\";\n",
                  team < 0 ? "range" : label,
                  team < 0    ? "range"
                  : team == 0 ? "mould"
                              : label);
    for (size_t i = 0; i < plan->network_count; i++) {
        const struct es_plan_network *net = &plan->networks[i];
        const struct es_network *n = &plan->scenario->networks[net->network];
        char text[16];
        if (net->team == team)
            es_buf_printf(out, "    \"n:%s\" [shape=ellipse, label=\"%s\\n%s/%d\"];\n",
                          net->name, n->name, es_ip4_format(n->net, text), n->prefix);
    }
    for (size_t i = 0; i < plan->machine_count; i++)
        if (plan->machines[i].team == team)
            es_buf_printf(out, "    \"m:%s\" [shape=box, label=\"%s\"];\n",
                          plan->machines[i].name,
                          plan->scenario->nodes[plan->machines[i].node].name);
    es_buf_puts(out, "  }\n");
}

/* Names hold no quotes or backslashes: the language does not allow them. */
int es_plan_dot(const struct es_plan *plan, struct es_buf *out)
{
    es_buf_printf(out, "graph \"%s\" {\n  node [fontname=\"sans-serif\"];\n",
                  plan->range);
    for (int team = -1; team <= plan->team_count; team++)
        if (team_has_objects(plan, team))
            dot_team(plan, team, out);
    for (size_t i = 0; i < plan->machine_count; i++)
        dot_edges(plan, &plan->machines[i], out);
    es_buf_puts(out, "}\n");
    return es_buf_status(out);
}

/* ------------------------------------------------------------------ table */

static void text_machine(const struct es_plan *plan,
                         const struct es_plan_machine *machine, struct es_buf *out)
{
    const struct es_node *node = &plan->scenario->nodes[machine->node];
    char text[16], disk[24] = "image's";
    if (machine->disk_bytes != 0)
        snprintf(disk, sizeof disk, "%lld", mib(machine->disk_bytes));
    es_buf_printf(out, "  %-32s %-12s %3d  %7lld  %7s ", machine->name,
                  node->recipe != NULL ? node->recipe : "-", machine->cpus,
                  mib(machine->memory_bytes), disk);
    for (size_t i = 0; i < machine->nic_count; i++)
        es_buf_printf(
            out, " %s=%s/%d", plan->scenario->networks[machine->nics[i].network].name,
            es_ip4_format(machine->nics[i].addr, text), machine->nics[i].prefix);
    es_buf_putc(out, '\n');
}

static void text_memory(const struct es_plan *plan, const struct es_plan_host *host,
                        const struct es_plan_need *forked, struct es_buf *out)
{
    struct es_plan_need need;
    char there[32] = "";
    es_plan_need(plan, NULL, &need);
    if (host != NULL && host->memory_bytes != 0)
        es_str_printf(there, sizeof there, "%10lld", mib(host->memory_bytes));
    es_buf_printf(out, "  memory MiB %9lld %10s  guests %lld, QEMU %lld%s\n",
                  mib(plan->memory_bytes), forked == NULL ? there : "",
                  mib(need.guest_bytes), mib(need.qemu_bytes),
                  forked != NULL ? ", if booted" : "");
    if (forked != NULL)
        es_buf_printf(
            out, "  as forks   %9lld %10s  %zu machines measured, %zu estimated\n",
            mib(forked->forked_bytes), there, forked->measured, forked->estimated);
    if (there[0] != '\0')
        es_buf_printf(out, "  reserve    %9lld\n", mib(es_plan_reserve(host)));
}

static void text_capacity(const struct es_plan *plan, const struct es_plan_host *host,
                          const struct es_plan_need *forked, struct es_buf *out)
{
    es_buf_printf(out, "\ncapacity        needed      there\n");
    text_memory(plan, host, forked, out);
    es_buf_printf(out, "  disk MiB   %9lld ", mib(plan->disk_bytes));
    if (host != NULL && host->disk_bytes != 0)
        es_buf_printf(out, "%10lld", mib(host->disk_bytes));
    es_buf_printf(out, "\n  CPUs       %9" PRId64 " ", plan->cpus);
    if (host != NULL && host->cpus != 0)
        es_buf_printf(out, "%10" PRId64 "%s", host->cpus,
                      plan->cpus > host->cpus ? "  (shared)" : "");
    es_buf_putc(out, '\n');
    size_t unsized = 0;
    for (size_t i = 0; i < plan->machine_count; i++)
        unsized += plan->machines[i].disk_bytes == 0;
    if (unsized > 0)
        es_buf_printf(out,
                      "disks of their image's size grow with what is written and are not "
                      "counted: %zu\n",
                      unsized);
    struct es_err why = {0};
    if (host == NULL)
        return;
    if (es_plan_fits(plan, host, forked, &why) == 0)
        es_buf_puts(out, "it fits\n");
    else
        es_buf_printf(out, "it does not fit: %s\n", why.msg);
}

int es_plan_text(const struct es_plan *plan, const struct es_plan_host *host,
                 const struct es_plan_need *forked, struct es_buf *out)
{
    bool all = plan->machine_count <= TEXT_MACHINES_SHOWN;
    char text[16];
    es_buf_printf(out, "range %s of scenario %s: %d teams, %zu networks, %zu machines\n",
                  plan->range, plan->scenario->name, plan->team_count,
                  plan->network_count, plan->machine_count);
    es_buf_puts(out, "\nnetwork                            address             teams\n");
    for (size_t i = 0; i < plan->network_count; i++) {
        const struct es_plan_network *net = &plan->networks[i];
        const struct es_network *n = &plan->scenario->networks[net->network];
        if (!all && net->team > 1)
            continue;
        es_buf_printf(out, "  %-32s %-15s/%-2d  %s\n", net->name,
                      es_ip4_format(n->net, text), n->prefix,
                      net->team == 0        ? "mould"
                      : net->team > 0       ? "own"
                      : !net->isolate_teams ? "shared, teams meet"
                                            : "shared, teams apart");
    }
    es_buf_puts(out,
                "\nmachine                            image        CPUs  memory     disk "
                " addresses\n");
    for (size_t i = 0; i < plan->machine_count; i++)
        if (all || plan->machines[i].team <= 1)
            text_machine(plan, &plan->machines[i], out);
    if (!all)
        es_buf_printf(out, "  … and the same for teams 2 to %d\n", plan->team_count);
    text_capacity(plan, host, forked, out);
    return es_buf_status(out);
}
