/* From a scenario to the objects wanted on a host, for N teams: networks, volumes,
 * machines, with names, UUIDs and MAC addresses derived from (range, team, node), so that
 * applying a plan twice changes nothing. Pure. [any]
 *
 * Team 0 is the mould; teams are 1 … N; objects of range scope have team -1. The mould has
 * no NIC on shared networks. On a shared network team N owns slice N; slice 0 is for range
 * nodes and probers. Without `meet` the ports of teams on it are isolated: they reach the
 * range's nodes only, no other team and, as the bridge knows only isolated or not, not
 * their own team's ports there either; a team's machines talk on its team networks. */
#ifndef ENSHU_PLAN_H
#define ENSHU_PLAN_H

#include "enshu/scenario.h"

#define ES_PLAN_TEAMS_MAX    1000
#define ES_PLAN_MACHINES_MAX 20000
#define ES_PLAN_NAME_MAX     96
/* What QEMU itself takes beside its guest's memory; without KVM most of it is the cache of
 * translated code, which is bounded to that. */
#define ES_PLAN_TB_CACHE_BYTES (40LL << 20)
#define ES_PLAN_QEMU_BYTES     ((24LL << 20) + ES_PLAN_TB_CACHE_BYTES)
/* An overlay holds what its machine writes: a plan counts 1/4 of the disk's size; all of one
 * that is kept (lifetime: programme), which is none. */
#define ES_PLAN_OVERLAY_SHARE 4

struct es_plan_network {
    char name[ES_PLAN_NAME_MAX]; /* "es-RANGE-t01-office", "es-RANGE-game" */
    char uuid[37];
    char bridge[16]; /* "es" + 12 hex digits derived from its UUID; at most 15 bytes */
    int team, network;
    bool isolate_teams; /* ports of teams are isolated from each other */
};

struct es_plan_nic {
    int network;      /* of the scenario */
    int plan_network; /* index in the plan */
    char mac[18];     /* 52:…, 40 bits derived; equal for every team on team networks */
    uint32_t addr;
    int prefix;
    bool isolated; /* libvirt port isolation */
};

struct es_plan_machine {
    char name[ES_PLAN_NAME_MAX]; /* "es-RANGE-t01-web" */
    char uuid[37];
    int team, node;
    int64_t memory_bytes, disk_bytes;
    int cpus;
    const struct es_plan_nic *nics;
    size_t nic_count;
    uint32_t gateway, dns; /* 0: none */
    /* Names it knows: `names` of its networks and the nodes on them (hidden ones only when
     * it is hidden, probers never). */
    const struct es_name_addr *hosts;
    size_t host_count;
};

struct es_plan {
    struct es_arena arena;
    const struct es_scenario *scenario; /* borrows */
    char range[ES_NAME_MAX + 1];
    int team_count;
    const struct es_plan_network *networks;
    size_t network_count;
    const struct es_plan_machine *machines; /* by team, then node */
    size_t machine_count;
    /* What it takes while the teams run (the mould is then gone, but for its disks). */
    int64_t memory_bytes, disk_bytes;
    int64_t cpus;
};

/* `with_mould` adds team 0. ES_ELIMIT (too many teams, a slice too small…), ES_ENOMEM. */
int es_plan_make(const struct es_scenario *scenario, const char *range, int team_count,
                 bool with_mould, struct es_plan **ret_plan, struct es_err *err);
void es_plan_destroy(struct es_plan *plan);
int es_plan_machine_of(const struct es_plan *plan, int team, int node); /* -1: none */
/* The address of a node for a team on its first network (or on `network` >= 0); 0: none. */
uint32_t es_plan_address(const struct es_plan *plan, int team, int node, int network);

struct es_plan_host {                 /* what a host has to give */
    int64_t memory_bytes, disk_bytes; /* free now; 0: not known, does not bind */
    int64_t cpus;
    int64_t total_bytes, swap_bytes; /* memory in all, free swap; 0: not known, none */
};
/* Memory that stays free for machines that grow: a sixteenth of the host's, at least
 * 512 MiB; free swap stands in for up to half of it. */
int64_t es_plan_reserve(const struct es_plan_host *host);
/* What a machine is expected to take: booted, all of its guest's memory and QEMU's share;
 * forked, what forks of its node were measured to keep for themselves, and room to grow, or
 * an estimate when nobody measured (0). Never more than booted. */
int64_t es_plan_cost(int64_t guest_bytes, bool forked, int64_t measured_bytes);

struct es_plan_need {                /* of memory, while the teams run */
    int64_t guest_bytes, qemu_bytes; /* as configured */
    int64_t forked_bytes;            /* when the teams' machines are forked */
    size_t measured, estimated;      /* forks whose cost was measured, was not */
};
/* `measured`: private bytes of a fork, by node (0: not measured); NULL: none was. */
void es_plan_need(const struct es_plan *plan, const int64_t *measured,
                  struct es_plan_need *ret_need);
/* ES_ECAPACITY with the numbers when the plan cannot fit: as configured, or (`forked` not
 * NULL) as forks. Memory and disk bind, less a reserve (of disk 1 GiB); CPUs are shared and
 * only reported. */
int es_plan_fits(const struct es_plan *plan, const struct es_plan_host *host,
                 const struct es_plan_need *forked, struct es_err *err);
/* Both also tell the need as forks unless it is NULL. */
json_t *es_plan_json(const struct es_plan *plan, const struct es_plan_host *host_or_null,
                     const struct es_plan_need *forked);
int es_plan_text(const struct es_plan *plan, const struct es_plan_host *host_or_null,
                 const struct es_plan_need *forked, struct es_buf *out);
int es_plan_dot(const struct es_plan *plan, struct es_buf *out);

/* "es-RANGE-t01-REST" (without the team for -1); the parts must be names of the language. */
const char *es_plan_name(char ret_name[ES_PLAN_NAME_MAX], const char *range, int team,
                         const char *rest);
/* A version 8 style UUID from the words, by BLAKE2b; equal words, equal UUID. */
void es_plan_uuid(char ret_uuid[37], const char *kind, const char *range,
                  const char *rest);

#endif
