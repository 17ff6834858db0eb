/* The core with simulated agents in place of guests: the program enshud (or the same rooms
 * in this process) over libvirt's test driver, images that are only names, and an agent
 * listening at each machine's channel. Everything of a test runs on one loop. */
#ifndef TESTS_SUPPORT_CORE_WORLD_H
#define TESTS_SUPPORT_CORE_WORLD_H

#include "enshu/control.h"
#include "enshu/plan.h"
#include "simagent.h"

#define CORE_RANGE    "r"
#define CORE_LIMIT_MS 120000 /* for anything a test waits for */

struct core_world;
struct core_agent {
    struct core_world *world;
    struct simagent *sim;
    const struct es_plan_machine *plan;
    int index;        /* in the plan */
    bool exists;      /* what it tells of every file */
    int64_t probe_id; /* of the newest probe asked of it */
    int extra;        /* results it makes of each probe beyond the first */
    int probes, execs, personalised;
};

struct core_account;
struct core_world {
    uv_loop_t loop;
    uv_timer_t guard, pause;
    uv_pipe_t out; /* the program's standard output */
    bool out_open, is_ready, paused;
    uint64_t deadline_ms;
    char dir[48], state[64], socket[80], uri[96], file[80];
    struct es_scenario *scenario;
    struct es_plan *plan;
    struct core_agent *agents; /* by machine of the plan; the mould's have no sim */
    bool forks;                /* the agents begin an epoch when they are personalised */
    void (*on_probe)(struct core_agent *agent, const json_t *args);
    /* of core_account.h */
    struct core_account *account;
    void (*account_end)(struct core_world *w);
    void (*on_told)(struct core_agent *agent, int64_t seq); /* of probe_id, about to be */
    void (*on_ack)(struct core_agent *agent, int64_t seq);
    size_t acks;
    pid_t pid;
    struct es_range_core *core; /* in this process */
    struct es_control *control;
    const char *root; /* of the host as that core sees it; NULL: the real one */
    uint64_t look_ms;
    int closing, core_status;
    struct es_client *client;
    bool client_lost;
    /* of the last call */
    int64_t call_id;
    bool answered;
    json_t *result;
    struct es_err err;
    json_t *progress; /* array */
    /* of one that goes on beside it (cw_aside) */
    int64_t aside_id;
    bool aside_answered;
    json_t *aside_result;
};

/* Folders, scenario file (its nodes' image is "fake"), plan. */
void cw_open(struct core_world *w, const char *scenario, int teams);
void cw_close(struct core_world *w);
/* The world the test driver begins with; "<node/>"-like text goes between the tags. */
void cw_write_node(struct core_world *w, const char *objects);
/* … with the machines of the teams, running: what a core finds after a crash. */
void cw_machines_run(struct core_world *w);
/* An agent at each machine's channel, telling `exists`; called again, new ones. */
void cw_agents(struct core_world *w, bool exists);
struct core_agent *cw_agent(struct core_world *w, int team, const char *node);

void cw_start(struct core_world *w);      /* the program, until it is ready */
void cw_start_here(struct core_world *w); /* the rooms, in this process */
void cw_exec(struct core_world *w, int out) __attribute__((noreturn)); /* in a child */
void cw_kill(struct core_world *w);                                    /* -9 */
void cw_end(struct core_world *w); /* in good order; its exit code must be 0 */
void cw_connect(struct core_world *w);
void cw_disconnect(struct core_world *w);

/* Calls and waits. cw_call fails the test on an error; cw_try gives the status. The result
 * stays in w->result. Both take params; "range" is added. */
json_t *cw_call(struct core_world *w, const char *method, json_t *params);
int cw_try(struct core_world *w, const char *method, json_t *params);
/* Only begin; w->answered says when it ended. Aside: other calls may come meanwhile. */
void cw_begin(struct core_world *w, const char *method, json_t *params);
void cw_aside(struct core_world *w, const char *method, json_t *params);
int cw_try_bare(struct core_world *w, const char *method); /* without any */
int cw_up(struct core_world *w);
/* Runs the loop once, or until is_true; the limit fails the test. */
void cw_step(struct core_world *w);
void cw_pause(struct core_world *w, uint64_t ms);
/* Asks for the range's status until is_true says so. */
void cw_until(struct core_world *w, bool (*is_true)(const json_t *range, void *ctx),
              void *ctx);
/* {"name": …} of a list in a team of a status; NULL when absent. */
const json_t *cw_named(const json_t *range, int team, const char *list, const char *name);
/* The exported ledger's events, a new reference. */
json_t *cw_events(struct core_world *w);
size_t cw_count(const json_t *events, const char *name, json_int_t a); /* a: -1 any */
/* Waits until a rescore is possible; asserts that it equals the live score. */
void cw_assert_rescore(struct core_world *w);

#endif
