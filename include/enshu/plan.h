/* From a scenario to the objects wanted on a host, for N teams: networks, volumes,
 * machines, with names, UUIDs and MAC addresses derived from (range, team, node), so that
 * applying a plan twice changes nothing. Pure. [any]
 *
 * Team 0 is the mould; teams are 1 … N; objects of range scope have team -1. */
#ifndef ENSHU_PLAN_H
#define ENSHU_PLAN_H

#include "enshu/scenario.h"

#define ES_PLAN_TEAMS_MAX 1000
#define ES_PLAN_NAME_MAX  96

struct es_plan_network {
    char name[ES_PLAN_NAME_MAX]; /* "es-RANGE-t01-office", "es-RANGE-game" */
    char uuid[37];
    char bridge[16]; /* "es" + 12 hex digits of its UUID; at most 15 bytes */
    int team, network;
    bool isolate_teams; /* ports of teams are isolated from each other */
};

struct es_plan_nic {
    int network;      /* of the scenario */
    int plan_network; /* index in the plan */
    char mac[18];     /* 52:54:00:…; equal for every team on team networks */
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
    uint32_t gateway, dns;            /* 0: none */
    const struct es_name_addr *hosts; /* names it knows */
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
    /* what it takes */
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

struct es_plan_host { /* what a host has to give */
    int64_t memory_bytes, disk_bytes;
    int64_t cpus;
};
/* ES_ECAPACITY with the numbers when the plan cannot fit. Memory and disk bind (a reserve
 * of 512 MiB and 1 GiB is kept); CPUs are shared and only reported. */
int es_plan_fits(const struct es_plan *plan, const struct es_plan_host *host,
                 struct es_err *err);
json_t *es_plan_json(const struct es_plan *plan, const struct es_plan_host *host_or_null);
int es_plan_dot(const struct es_plan *plan, struct es_buf *out);
int es_plan_text(const struct es_plan *plan, const struct es_plan_host *host_or_null,
                 struct es_buf *out);

/* A version 8 style UUID from the words, by BLAKE2b; equal words, equal UUID. */
void es_plan_uuid(char ret_uuid[37], const char *kind, const char *range,
                  const char *rest);

#endif
