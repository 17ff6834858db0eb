/* A hypervisor handle on a loop of its own, and a small scenario, for tests of the
 * hypervisor room. Calls are made one after another: each helper waits for the answer. */
#ifndef TESTS_SUPPORT_HYP_WORLD_H
#define TESTS_SUPPORT_HYP_WORLD_H

#include "enshu/common/err.h"
#include "enshu/hyp.h"

#define WORLD_EVENTS_MAX 256

struct world_event {
    char machine[ES_PLAN_NAME_MAX];
    enum es_hyp_event event;
    char detail[80];
};

struct world {
    uv_loop_t loop;
    struct es_hyp *hyp;
    char dir[64]; /* a private folder, removed at the end */
    char uri[160];
    int status; /* of the last answer */
    struct es_err err;
    int pending; /* calls without an answer */
    struct world_event events[WORLD_EVENTS_MAX];
    size_t event_count;
    struct es_hyp_object *objects; /* of the last world_list */
    size_t object_count;
    struct es_hyp_info info;
    struct es_network networks[2];
    struct es_node nodes[3];
    struct es_nic nics[3];
    struct es_scenario scenario;
    struct es_plan *plan;
};

/* Two team nodes ("web", "pc") on "office", "web" and a range node ("judge") on the shared
 * network "game". */
void world_init(struct world *w);
/* libvirt's test driver with `node_xml` ("<node/>") as its private world. */
void world_open_test(struct world *w, const char *node_xml);
void world_open(struct world *w, const char *uri);
void world_make_plan(struct world *w, const char *range, int teams);
/* Closes, checks that nothing is left alive, removes the folder. */
void world_finish(struct world *w);

void world_done(void *ctx, int status, const struct es_err *err); /* an es_hyp_done */
/* Runs the loop until `pending` is 0 (or the flag is set); fails the test after a minute. */
void world_wait(struct world *w);
void world_wait_for(struct world *w, bool (*is_true)(struct world *w));
bool world_saw(struct world *w, const char *machine, enum es_hyp_event event);
void world_wait_event(struct world *w, const char *machine, enum es_hyp_event event);

/* Each waits and returns the status; the error stands in w->err. */
int world_network(struct world *w, size_t network);
int world_start(struct world *w, const struct es_hyp_machine *spec);
int world_stop(struct world *w, const char *name, bool gracefully);
int world_remove(struct world *w, const char *range);
int world_list(struct world *w, const char *range);
const struct es_hyp_object *world_find(struct world *w, const char *name);
/* What a machine of the plan needs, with paths that the test driver does not look at. */
struct es_hyp_machine world_spec(struct world *w, int team, int node);

#endif
