/* The conductor's inside: what its files share. Everything here runs on the loop; blocking
 * work goes through job.c. Life of a range:
 *
 *   up: load -> plan -> capacity -> images -> seed -> moulds -> machines -> UP
 *   then clock commands, probes, observations -> ledger -> fold -> watchers
 *   park: all machines saved and ended -> PARKED; unpark: -> UP, also after a reboot
 *   down: links closed, objects removed, ledger kept, folder removed
 */
#ifndef ORCHESTRATOR_RANGE_INNER_H
#define ORCHESTRATOR_RANGE_INNER_H

#include <sodium.h>
#include <stdbool.h>
#include <stdint.h>

#include "enshu/common/list.h"
#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "enshu/common/sm.h"
#include "enshu/common/str.h"
#include "enshu/common/tree.h"
#include "enshu/hyp.h"
#include "enshu/image.h"
#include "enshu/link.h"
#include "enshu/range.h"
#include "enshu/score.h"
#include "enshu/store.h"
#include "record.h"

#define RANGES_MAX        64
#define MACHINE_TRIES_MAX 3
#define BOOT_LIMIT_MS     600000 /* start call to the agent's hello */
#define FORK_LIMIT_MS     180000 /* the same for a fork */
#define WAKE_LIMIT_MS     180000 /* and for a machine that stood still */
#define PATH_BYTES        1024
#define SILENT_LIMIT_MS   75000 /* two heartbeats and a half */
#define MARK_EVERY_MS     10000 /* an idle ledger still records the clock this often */
#define WATCH_EVERY_MS    250
#define SEED_BYTES        32
#define TEAM_NAME_MAX     64
/* Ranges of our own, which pass */
#define REHEARSAL_RANGE "rehearsal"
#define MOULD_RANGE     "mould"

/* ---------------------------------------------------------------- blocking work */

struct es_range_core;
/* One piece of work on a worker thread. `work` runs there and fills `err`; `after` runs on
 * the loop. Lines told by `job_line` from the worker arrive through `on_line` on the loop. */
struct job {
    uv_work_t req;
    struct es_list link;
    struct es_range_core *core;
    const char *what;
    void (*work)(struct job *job);
    void (*after)(struct job *job);
    void (*on_line)(struct job *job, const char *line);
    void *arg;
    int status;
    struct es_err err;
};
int job_start(struct es_range_core *core, struct job *job, struct es_err *err);
void job_line(struct job *job, const char *line); /* [worker] */
int job_lines_init(struct es_range_core *core, struct es_err *err);
void job_lines_close(struct es_range_core *core);

/* ---------------------------------------------------------------- the core */

struct job_line_entry;
struct es_range_core {
    uv_loop_t *loop;
    char state_dir[PATH_BYTES], recipes_dir[PATH_BYTES], agent_path[PATH_BYTES],
        nest_path[PATH_BYTES];
    char uri[PATH_BYTES];
    char channel_dir[PATH_BYTES]; /* where QEMU listens for the agents' links */
    char accel[8];                /* "kvm", "tcg"; "" until found out */
    const char *root;             /* tests' own; NULL */
    uint64_t look_ms;             /* tests' own; 0: capacity.c's */
    bool embedded, accel_forced;
    char boot_id[37];
    struct es_hyp *hyp;
    bool hyp_up;
    struct es_hyp_info info;
    struct es_list ranges, jobs, loads;
    size_t range_count;
    int boots; /* machines between start call and hello */
    struct es_list boot_queue;
    struct capacity *capacity; /* capacity.c */
    struct es_list consoles;
    uv_async_t lines_async;
    uv_mutex_t lines_mutex;
    struct job_line_entry *lines_head, *lines_tail;
    int open_handles;
    bool closing, closing_base, ready_told;
    void (*on_ready)(void *ctx, int status, const struct es_err *err);
    void (*on_shutdown)(void *ctx);
    void *ctx;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};
int64_t core_boottime_ms(void); /* CLOCK_BOOTTIME */
struct range *core_find_range(struct es_range_core *core, const char *name);
void core_maybe_closed(struct es_range_core *core);
int64_t core_disk_free(const struct es_range_core *core);
void core_hyp_event(void *ctx, const char *machine, enum es_hyp_event event,
                    const char *detail);

/* ---------------------------------------------------------------- machines */

/* clang-format off */
#define MACHINE_STATE_MAP(X)                                                                 \
    X(PLANNED, "planned",      ES_SM_TO(M_DISK) | ES_SM_TO(M_BOOTING) | ES_SM_TO(M_READY) | ES_SM_TO(M_DOWN) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_SUSPENDED) | ES_SM_TO(M_PARKING) | ES_SM_TO(M_PARKED) | ES_SM_TO(M_WAKING)) \
    X(DISK,    "disk",         ES_SM_TO(M_QUEUED) | ES_SM_TO(M_FAILED))                      \
    X(QUEUED,  "queued",       ES_SM_TO(M_STARTING) | ES_SM_TO(M_FAILED))                    \
    X(STARTING, "starting",    ES_SM_TO(M_BOOTING) | ES_SM_TO(M_FAILED))                     \
    X(BOOTING, "booting",      ES_SM_TO(M_PERSONALISING) | ES_SM_TO(M_READY) | ES_SM_TO(M_FAILED) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_DOWN)) \
    X(PERSONALISING, "personalising", ES_SM_TO(M_SETUP) | ES_SM_TO(M_CHECKING) | ES_SM_TO(M_FAILED) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_DOWN)) \
    X(SETUP,   "setup",        ES_SM_TO(M_CHECKING) | ES_SM_TO(M_READY) | ES_SM_TO(M_FAILED) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_DOWN)) \
    X(CHECKING, "checking",    ES_SM_TO(M_READY) | ES_SM_TO(M_FAILED) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_DOWN)) \
    X(READY,   "ready",        ES_SM_TO(M_PERSONALISING) | ES_SM_TO(M_DOWN) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_STOPPING) | ES_SM_TO(M_SUSPENDED) | ES_SM_TO(M_PARKING)) \
    X(SUSPENDED, "suspended",  ES_SM_TO(M_READY) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_STOPPING) | ES_SM_TO(M_PARKING)) \
    X(FAILED,  "failed",       ES_SM_TO(M_PLANNED))                                          \
    X(DOWN,    "down",         ES_SM_TO(M_PLANNED) | ES_SM_TO(M_BOOTING))                    \
    X(FAULT,   "fault",        ES_SM_TO(M_PLANNED) | ES_SM_TO(M_BOOTING))                    \
    X(STOPPING, "stopping",    ES_SM_TO(M_PLANNED) | ES_SM_TO(M_DOWN) | ES_SM_TO(M_FAILED)) \
    X(PARKING, "parking",      ES_SM_TO(M_PARKED) | ES_SM_TO(M_WAKING) | ES_SM_TO(M_FAULT)) \
    X(PARKED,  "parked",       ES_SM_TO(M_WAKING) | ES_SM_TO(M_FAULT))                       \
    X(WAKING,  "waking",       ES_SM_TO(M_PARKED) | ES_SM_TO(M_READY) | ES_SM_TO(M_PERSONALISING) | ES_SM_TO(M_FAULT) | ES_SM_TO(M_DOWN))
/* clang-format on */
enum machine_state {
#define X(name, word, allowed) M_##name,
    MACHINE_STATE_MAP(X)
#undef X
};
extern const struct es_sm_state machine_states[];

struct machine;
/* A request on its way through the machine's link. */
typedef void (*on_op)(struct machine *m, const struct es_result *result, void *arg);
struct op {
    struct es_list link;
    int64_t id;
    on_op done;
    void *arg;
    void (*on_part)(struct machine *m, const char *stream, const char *data, size_t len,
                    void *arg);
};

struct steps_run;
struct machine {
    struct range *range;
    const struct es_plan_machine *plan;
    const struct es_node *node;
    int index;                    /* in range->machines */
    char label[ES_NAME_MAX + 16]; /* "t1/web" */
    struct es_sm sm;
    uint32_t instance;
    struct es_link *link;
    bool link_closing, mould, resetting;
    bool freezing;     /* a mould that comes up to be frozen: its setup is done */
    bool forked;       /* continues a frozen mould, and is told so when personalised */
    char no_fork[400]; /* why it is booted though its range forks; "": it is not */
    struct took {
        struct es_hyp_fork_times fork; /* when it was forked */
        int64_t hello_us, personalise_us,
            ready_us; /* from each step's begin to its end */
    } took;
    uint64_t step_ns;      /* began then, uv_hrtime */
    int64_t private_bytes; /* of memory, when the host was last looked at; 0: not seen */
    int looks;             /* how often it was seen ready */
    /* Has its team's share of the processors; is being suspended or resumed; was suspended,
     * says the ledger after a restart; stood still, so that its guest's clock is to be set. */
    bool grouped, pausing, was_suspended, clock_stale;
    bool whole;          /* was parked: all of its memory is its own, forked or not */
    unsigned listed;     /* core.c: what the last list said of it */
    char epoch[17];      /* of the last hello */
    char done_epoch[17]; /* personalised in this epoch */
    int64_t next_id;
    struct es_list ops;
    int64_t seq_taken; /* highest that became an event */
    int64_t seq_seen,
        seq_held; /* newest received; newest of an uncommitted observation */
    int64_t seq_acked;
    char seq_epoch[17];
    int tries;
    char detail[400]; /* shown beside the state: the step, or the error */
    uint64_t boot_began_ms, ready_ms;
    struct es_list boot_link;
    bool has_boot_slot;
    uv_timer_t timer;
    bool timer_open;
    void (*on_timer)(struct machine *m);
    struct steps_run *steps;
    int64_t ready_until_ms;
    void (*on_settled)(struct machine *m, bool ok,
                       const struct es_err *err); /* READY or FAILED */
    void *settled_arg;
    json_t *baselines;    /* user -> password evidence kept at personalise */
    bool setup_done;      /* this disk has seen `setup` */
    bool own_done;        /* and was ready once: passwords on it are the trainees' */
    bool was_ready;       /* what the ledger says, after a restart */
    uint32_t disk_number; /* of a kept disk: how many it has had */
    bool answered; /* its agent did, before it was parked; else it is not waited for */
    char disk[PATH_BYTES], channel[PATH_BYTES], serial_log[PATH_BYTES];
    struct es_hyp_machine spec;
};

int machine_init(struct machine *m, struct range *range, int index, struct es_err *err);
int machine_open_link(struct machine *m, struct es_err *err);
void machine_bring_up(struct machine *m); /* from PLANNED, FAILED, DOWN, FAULT */
void machine_adopt(struct machine *m,
                   bool was_ready); /* a running one, after a restart of the core */
void machine_set(struct machine *m, enum machine_state state, const char *detail);
void machine_settle(struct machine *m, bool ok, const struct es_err *err);
void machine_fail(struct machine *m, const char *step, const struct es_err *err);
void machine_abort(struct machine *m, const struct es_err *err); /* on its way up */
void machine_rebooted(struct machine *m);
void machine_lost(struct machine *m,
                  const char *cause); /* not there any more, by a fault of ours */
void machine_gone(struct machine *m, bool fault,
                  const char *cause); /* the domain ended */
int machine_call(struct machine *m, enum es_wire_op op, json_t *args, int64_t deadline_ms,
                 int64_t max_bytes, on_op done, void *arg, struct es_err *err);
/* The same with chunks of output on the way. */
int machine_call_stream(struct machine *m, enum es_wire_op op, json_t *args,
                        int64_t deadline_ms, int64_t max_bytes, on_op done,
                        void (*on_part)(struct machine *m, const char *stream,
                                        const char *data, size_t len, void *arg),
                        void *arg, struct es_err *err);
void machine_close_link(struct machine *m);
void machine_connect_again(
    struct machine *m);                /* a new synchronisation, when it is ready */
void machine_close(struct machine *m); /* link and timer, for the range's end */
void machine_ack(struct machine *m);
void machine_release_boot(struct machine *m);
uint32_t machine_identity(
    const struct machine *m); /* unique over resets, for the ledger */
enum machine_state machine_state(const struct machine *m);
void machine_personalise(struct machine *m); /* personalise.c */
bool machine_forwards(
    const struct machine *m);              /* packets: it is some network's gateway */
void machine_set_clock(struct machine *m); /* its guest's, after it stood still */
/* Asks the agent to make the guest ready to be frozen and continued as forks: timers of
 * the calendar stopped until those are personalised, file systems synced, requests
 * forgotten. Nothing else may be asked of it meanwhile, and nothing after but another
 * quieting: close the link, freeze. Safe to repeat. */
int machine_quiet(struct machine *m, on_op done, void *arg, struct es_err *err);
void machine_check_ready(struct machine *m);
void baselines_restore(struct machine *m); /* after a restart of the core */
int64_t machine_probe_id(struct machine *m, int team, int condition);
bool machine_id_probe(int64_t id, int *ret_team, int *ret_condition);
void machine_timer(struct machine *m, uint64_t ms, void (*on_timer)(struct machine *m));

/* ---- start.c */
void machine_begin(struct machine *m); /* ends what runs under its name, then starts it */
void machine_boot_late(struct machine *m);
const char *machine_why_booted(const struct machine *m); /* "": was forked, or never is */
void core_try_boots(struct es_range_core *core);

/* How long the step took that began last; the next begins. */
int64_t machine_lap_us(struct machine *m);

/* ---- wake.c: a machine that was suspended, saved perhaps, and runs again */
/* To WAKING, and from there to READY when its agent answered; settles (READY or FAULT). */
void machine_wake(struct machine *m);
void machine_awake(struct machine *m); /* its agent answers */

/* ---- steps: setup, personalise, solutions */
typedef void (*on_steps)(struct machine *m, int status, const struct es_err *err,
                         void *arg);
/* Runs the steps one after another for a team (0: mould). Calls back once. */
void steps_start(struct machine *m, const struct es_step *steps, size_t count, int team,
                 on_steps done, void *arg);
void steps_abort(struct machine *m); /* forgets them without a callback */

/* ---------------------------------------------------------------- methods */
const char *call_param(const json_t *params, const char *key); /* text; NULL: absent */
/* Answers the reply when there is no such range. */
struct range *call_range(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply);
/* One whose ledger and fold stand. */
struct range *call_scored_range(struct es_range_core *core, const json_t *params,
                                struct es_reply *reply);
/* Starts work on the range's ledger, which ends with range_reader_done. False: answered;
 * NULL is for want of memory. */
bool call_ledger_work(struct range *r, struct es_reply *reply, struct job *job);
/* A reply that waits in a list, until its client leaves; false: answered, no memory. */
bool waiting_add(struct es_list *list, struct es_reply *reply, int64_t number);
struct es_reply *waiting_end(struct es_list *link, int64_t *ret_number);

/* ---------------------------------------------------------------- ranges */

enum mode { MODE_AUTO, MODE_BOOT, MODE_FORK };
#define MOULD_KEY_MAX 41 /* 40 hex digits */

enum range_phase {
    R_BRINGING,
    R_UP,
    R_FAILED,
    R_LEAVING,
    R_PARKING,   /* on its way to be parked */
    R_PARKED,    /* its machines are files */
    R_UNPARKING, /* on its way back, and may still return to PARKED */
    R_WAKING     /* its machines run again; their agents are waited for */
};

struct watcher {
    struct es_list link;
    struct range *range;
    struct es_reply *reply;
};

struct bring;
struct park;
struct rebuild;
struct rehearsal;
struct range {
    struct es_list link;
    struct es_range_core *core;
    char name[ES_NAME_MAX + 1], dir[PATH_BYTES];
    enum range_phase phase;
    int team_count;
    char accel[8]; /* "kvm", "tcg"; "" until found out */
    struct es_scenario *scenario;
    struct es_plan *plan;
    struct es_image *images;           /* by node */
    char (*mould_hash)[MOULD_KEY_MAX]; /* by node; "" without setup */
    enum mode mode;                    /* as asked for */
    char frozen_key[MOULD_KEY_MAX];    /* names the frozen moulds; "": not known */
    char no_fork[400];                 /* why machines are booted; "": they are forked */
    bool awaits_freeze;                /* of the same moulds, by another range */
    struct freeze
        *freeze; /* going on; plain memory, freed with the range at the latest */
    char seed_disc[PATH_BYTES];
    unsigned char secret[SEED_BYTES];
    char (*team_names)[TEAM_NAME_MAX]; /* 1 … team_count */
    struct machine *machines;
    size_t machine_count;
    struct machine **by_domain;        /* the same, by the name of the domain */
    int64_t *measured, *measured_kept; /* by node: of forks (figures.c); 0: not known */
    unsigned char *roles;              /* by node, of roles.c */

    struct es_store *store;
    struct es_score *score;
    int64_t folded_pos;      /* the last event in it */
    struct rebuild *rebuild; /* it is being made anew, and takes nothing meanwhile */
    struct es_clock clock;
    struct pending *pending, *flying;
    size_t pending_count, pending_cap, flying_count, flying_cap;
    struct es_event *flying_events;     /* those of the chain, then the looks */
    int64_t queued_count, folded_count; /* ever queued, of them folded or refused */
    int64_t
        *changed_at; /* by team: queued_count at the last event that changes it; 0: all */
    bool commit_in_flight;
    int64_t last_mark_ms;
    int64_t last_ex_ms;
    char trouble[256]; /* why the range was paused by the core; "" none */

    struct probe_slot *slots;
    size_t slot_count;
    size_t *heap;     /* slots by due time */
    int *slot_of;     /* first slot of a condition, -1: none */
    size_t run_count; /* slots with a run of looks */
    int64_t runs_since_ms;

    uv_timer_t tick, watch_timer;
    int open_handles;
    struct es_list watchers, rescores, corrections;
    bool dirty;
    json_t *news; /* changes since the last snapshot, capped */

    struct bring *bring;
    bool aborting; /* it is given up */
    void (*on_aborted)(struct range *r, void *arg);
    void *aborted_arg;
    struct park *park;
    struct rehearsal *rehearsal;
    bool taking_down, rehearsal_busy, sign_wanted;
    struct es_reply *sign_reply; /* who stopped, and waits for the signature */
    bool
        held_back; /* the ledger was lost: nothing is acknowledged until the clock runs */
    bool unlisted; /* restored; which of its machines run is not known yet */
    int parked;    /* enum es_park_event, the last of the ledger; 0: none that counts */
    int readers;   /* workers that read the ledger */
    struct es_list effects; /* without a durable outcome */
    json_t *persons;        /* id: name */
    int64_t next_effect;
    void (*on_change)(struct range *r, const struct es_score_change *change);
    void (*range_gone)(void *arg); /* after the range was freed */
    void *range_gone_arg;
};

int range_create(struct es_range_core *core, const char *name,
                 struct es_scenario *scenario, int team_count, struct range **ret_range,
                 struct es_err *err); /* takes the scenario on success */
void range_close(struct range *r, void (*on_gone)(void *arg), void *arg);
void range_restore_all(struct es_range_core *core);
/* Work that comes back to the range or its machines holds it open meanwhile. When release
 * says true the range is ending, and neither may be touched any more. */
void range_hold(struct range *r);
bool range_release(struct range *r);
/* The same for a worker that reads its ledger, which stays open meanwhile. */
void range_reader(struct range *r);
bool range_reader_done(struct range *r);
bool range_is_busy(const struct range *r); /* something long works on its machines */
/* 0 when the range is up, though some machine may be worked on; else what to do about it. */
int range_check_up(const struct range *r, struct es_err *err);
struct machine *range_machine(struct range *r, int team, int node);
struct machine *range_find_machine(struct range *r, const char *label,
                                   struct es_err *err);

/* ---- export.c: answers the reply with every line of the ledger */
void export_start(struct range *r, struct es_reply *reply);

/* ---- status.c */
json_t *status_json(struct range *r);
json_t *machine_progress_json(const struct machine *m); /* an event of a long call */
void range_changed(struct range *r);
void range_news(struct range *r, json_t *news); /* takes */
void range_watch_end(struct range *r);

/* ---- ground.c: the pool and the networks, with `moulds` also those that only moulds are on.
 * Calls back once, perhaps from inside; the caller holds the range open meanwhile. */
void ground_apply(struct range *r, bool moulds,
                  void (*done)(struct range *r, int status, const struct es_err *err,
                               void *arg),
                  void *arg);

/* ---- bring.c */
struct bring_request {
    const char *file, *name, *accel; /* name, accel: NULL for the default */
    int teams;
    enum mode mode;
    bool moulds_only; /* no machine of a team */
    void (*done)(struct range *r, int status, const struct es_err *err, void *arg);
    void (*progress)(json_t *event, void *arg); /* takes */
    void *arg;
};
/* Loads, plans and brings up; calls done once (range NULL when it never came to be). */
void bring_up(struct es_range_core *core, const struct bring_request *request);
void bring_machine_progress(struct machine *m);
void bring_cancel(struct range *r); /* the range ends */
/* Gives up bringing the range up: `then` is called when what was begun is over. */
void bring_abort(struct range *r, void (*then)(struct range *r, void *arg), void *arg);
void bring_freeze_ended(struct es_range_core *core); /* who waited for it goes on */

/* ---- load.c: finds the range of the request, or makes it from a copy of its scenario.
 * Calls back at once or later; the request is then another one, valid for so long. */
typedef void (*on_load)(struct es_range_core *core, const struct bring_request *request,
                        struct range *r, int status, const struct es_err *err);
void load_scenario(struct es_range_core *core, const struct bring_request *request,
                   on_load done);
bool load_has(const struct es_range_core *core, const char *name); /* on its way */

void bring_mould_done(void *arg, struct machine *m, bool ok, const struct es_err *err);

/* ---- files.c; both block */
int files_copy(const char *from, const char *to, const char *skip, struct es_err *err);
/* Puts every file of a scenario's folder into the ledger as "scenario/NAME": a ledger can
 * be scored anew wherever it is. */
int files_bundle(const struct es_scenario *scenario, struct es_store *store,
                 struct es_err *err);

/* ---- images.c: what the range stands on, for a core that comes after */
int mode_read(const char *name, enum mode *ret_mode); /* NULL leaves it */
/* To be called before machines are made of it. */
int images_keep(const struct range *r, struct es_err *err);
void images_restore(struct range *r);
/* The keys of all moulds that each range in STATE/ranges ever stood on, by its name. */
json_t *images_rests(const struct es_range_core *core);

/* ---- park.c, unpark.c */
void park_cancel(struct range *r); /* the range ends */
void park_free(struct range *r);   /* and is freed */
/* What a core before this one had begun, or what a lost connection broke off, is brought to
 * an end; the machines of the host are known. */
void park_mend(struct range *r);
void park_progress(struct machine *m);
/* ---- parked.c: which machines are parked, in RANGE/parked/ */
int parked_restore(struct range *r, struct es_err *err);

/* ---- rehearse.c */
void rehearse_cancel(struct range *r); /* the range ends */

/* ---- core.c */
void core_list_machines(struct es_range_core *core); /* and compare with what is known */

/* ---- poweroff.c: calls back once, perhaps from inside; also when the range ends */
void range_switch_off_kept(struct range *r, void (*done)(void *arg), void *arg);

/* ---- down.c */
/* `purge`: with the disks that are kept. `done` gets the names of what was removed. */
void range_down(struct range *r, bool purge,
                void (*done)(void *arg, int status, const struct es_err *err,
                             json_t *removed),
                void *arg);

/* ---- accel.c: does KVM work? Blocking [worker]. */
int accel_probe(const struct es_image *image, const char *state_dir, char *ret_accel,
                size_t size, struct es_err *err);

/* The verdict kept from an earlier probe of this host; leaves dst when there is none. */
void accel_cached(const char *state_dir, char *dst, size_t size);

/* ---- reset.c */
/* Every machine of a team anew; calls back once. */
void range_reset_team(struct range *r, int team,
                      void (*done)(void *arg, int status, const struct es_err *err),
                      void *arg);
void reset_machine_progress(const struct machine *m);

/* A hypervisor call that could not be queued answers like one that failed. */
#define hyp_submit(call, on_done, ctx)                                                   \
    do {                                                                                 \
        struct es_err hyp_err = {0};                                                     \
        if ((call) != 0)                                                                 \
            on_done(ctx, es_err_nomem(&hyp_err), &hyp_err);                              \
    } while (0)

#define reply_fail_new(reply, code, ...)                                                 \
    do {                                                                                 \
        struct es_err fail_err = {0};                                                    \
        es_err_set(&fail_err, code, __VA_ARGS__);                                        \
        (reply)->fail(reply, &fail_err);                                                 \
    } while (0)

#endif
