/* A hypervisor handle on a loop of its own, and a small scenario, for tests of the
 * hypervisor room. Calls are made one after another: each helper waits for the answer. */
#ifndef TESTS_SUPPORT_HYP_HW_H
#define TESTS_SUPPORT_HYP_HW_H

#include "enshu/common/err.h"
#include "enshu/hyp.h"

#define HW_EVENTS_MAX 256

struct hyp_world_event {
    char machine[ES_PLAN_NAME_MAX];
    enum es_hyp_event event;
    char detail[80];
};

struct hyp_world {
    uv_loop_t loop;
    struct es_hyp *hyp;
    char dir[64]; /* a private folder, removed at the end */
    char uri[160];
    int status; /* of the last answer */
    struct es_err err;
    int pending; /* calls without an answer */
    struct hyp_world_event events[HW_EVENTS_MAX];
    size_t event_count;
    struct es_hyp_object *objects; /* of the last hw_list */
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
void hw_init(struct hyp_world *w);
/* libvirt's test driver with `node_xml` ("<node/>") as its private world. */
void hw_open_test(struct hyp_world *w, const char *node_xml);
void hw_open(struct hyp_world *w, const char *uri);
void hw_make_plan(struct hyp_world *w, const char *range, int teams);
/* Closes, checks that nothing is left alive, removes the folder. */
void hw_finish(struct hyp_world *w);

/* Both take the world as ctx. */
void hw_on_event(void *ctx, const char *machine, enum es_hyp_event event,
                 const char *detail);
void hw_done(void *ctx, int status, const struct es_err *err); /* an es_hyp_done */
/* Runs the loop until `pending` is 0 (or the flag is set); fails the test after two minutes. */
void hw_wait(struct hyp_world *w);
void hw_wait_for(struct hyp_world *w, bool (*is_true)(struct hyp_world *w));
bool hw_saw(struct hyp_world *w, const char *machine, enum es_hyp_event event);
void hw_wait_event(struct hyp_world *w, const char *machine, enum es_hyp_event event);

/* Each waits and returns the status; the error stands in w->err. */
int hw_network(struct hyp_world *w, size_t network);
int hw_start(struct hyp_world *w, const struct es_hyp_machine *spec);
int hw_stop(struct hyp_world *w, const char *name, bool gracefully);
int hw_remove(struct hyp_world *w, const char *range);
int hw_list(struct hyp_world *w, const char *range);
const struct es_hyp_object *hw_find(struct hyp_world *w, const char *name);
/* What a machine of the plan needs, with paths that the test driver does not look at. */
struct es_hyp_machine hw_spec(struct hyp_world *w, int team, int node);

#endif
