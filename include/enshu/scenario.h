/* A scenario as plain data: what one exercise folder says, checked, with every reference
 * resolved to an index. Pure: reads through a file callback, no clock, no libvirt.
 *
 * The loader never stops at the first problem: es_scenario_load returns up to
 * ES_DIAGS_MAX diagnostics at once. The key tables behind it (orchestrator/scenario)
 * drive validation, the JSON Schema and the language reference alike.
 *
 * Everything below is owned by the scenario's arena and constant after loading; pointers
 * and indexes stay valid until es_scenario_destroy. An index of -1 means none. [any] */
#ifndef ENSHU_SCENARIO_H
#define ENSHU_SCENARIO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/tbl/probe.h"
#include "enshu/yaml.h"

/* clang-format off */
#define ES_SCENARIO_LIMITS(X) \
    X(NETWORKS, 64) X(NAMES, 1000) X(NODES, 1000) X(NICS, 16) X(CONDITIONS, 2000) X(OBJECTIVES, 1000) \
    X(PHASES, 64) X(SERVICES, 200) X(STEPS, 500) X(SOLUTIONS, 50) X(INCLUDES, 64)
/* clang-format on */
enum {
#define X(name, value) ES_MAX_##name = (value),
    ES_SCENARIO_LIMITS(X)
#undef X
        ES_NAME_MAX = 40
};

/* Text for people, in one or more languages; the first item is the scenario's default
 * language or, for a plain string, has lang "". */
struct es_text_item {
    const char *lang, *text;
};
struct es_text {
    const struct es_text_item *items;
    size_t count;
};
/* The text in `lang`, else in the default language, else "". */
const char *es_text_get(const struct es_text *text, const char *lang);

enum es_scope { ES_SCOPE_TEAM, ES_SCOPE_WORLD, ES_SCOPE_RANGE };

struct es_name_addr {
    const char *name;
    uint32_t addr;
};

struct es_network {
    const char *name;
    struct es_pos pos;
    uint32_t net; /* host byte order */
    int prefix;
    enum es_scope scope;
    int slice;        /* prefix length each team owns on a shared network; 0: none */
    bool meet;        /* teams on it can reach each other */
    int gateway, dns; /* nodes */
    const struct es_name_addr *names;
    size_t name_count;
};

/* The loader chooses what a scenario leaves open, so AUTO does not remain after loading: a
 * team's node on a shared network has SLICE, every other FIXED. Range nodes and probers on
 * a sliced network have addresses in slice 0, which belongs to no team. */
enum es_nic_how { ES_NIC_FIXED, ES_NIC_SLICE, ES_NIC_AUTO };
struct es_nic {
    int network;
    struct es_pos pos;
    enum es_nic_how how;
    uint32_t addr;   /* FIXED */
    uint32_t offset; /* SLICE: from the start of the team's slice */
};

struct es_account {
    const char *user;
    const char *password; /* NULL: generated for each team */
};

enum es_step_kind {
    ES_STEP_COPY,
    ES_STEP_WRITE,
    ES_STEP_SCRIPT,
    ES_STEP_RUN,
    ES_STEP_SERVICE
};
/* One item of `setup`, `personalise`, or what a solution or sabotage runs. */
struct es_step {
    enum es_step_kind kind;
    struct es_pos pos;
    const char *text;  /* RUN: shell line; WRITE: the text; SERVICE: name */
    const char *from;  /* COPY, SCRIPT: path of the asset inside the scenario's folder */
    const char *to;    /* COPY, WRITE */
    const char *owner; /* "user" or "user:group"; NULL: root */
    int mode;          /* -1: 0644 (files), kept for folders */
    int64_t mtime_s;   /* -1: none */
    bool template_;    /* ${...} inside the asset is replaced */
    const char *service_state; /* SERVICE: "started" "stopped" "restarted" "enabled" … */
    int64_t timeout_ms;
};

/* One comparison of a probe's evidence with what is expected; made from the key table. */
enum es_compare {
    ES_CMP_EQUALS,   /* JSON equality (text: exact) */
    ES_CMP_REGEX,    /* POSIX ERE found in text or decoded *_b64 */
    ES_CMP_CONTAINS, /* text is part of text or decoded *_b64; value is in an array */
    ES_CMP_RANGE,    /* integer in [min, max], either may be null: value is [min, max] */
    ES_CMP_ONE_OF,   /* equals one of an array */
    ES_CMP_VERSION,  /* at least this Debian-style version */
    ES_CMP_SHA256,   /* sha256 hex of the field */
    ES_CMP_CHANGED   /* password: differs from what it was at personalise */
};
struct es_expect {
    const char *key;   /* as written: "status" */
    const char *field; /* of the evidence: "status", "content_b64" */
    enum es_compare compare;
    bool negate; /* `not-…` keys: must not hold */
    json_t *value;
};

enum es_probe_kind {
#define X(kind, place, does) ES_PROBE_##kind,
    ES_PROBE_MAP(X)
#undef X
        ES_PROBE_COUNT
};
const char *es_probe_kind_name(enum es_probe_kind kind);

struct es_probe {
    enum es_probe_kind kind;
    struct es_pos pos;
    json_t *look;               /* args for the agent; its strings may hold ${…} */
    const char *presence_field; /* "exists", "open", …: of the evidence; NULL: this kind
                                   has none */
    bool present;               /* what is expected of it (default true) */
    const struct es_expect *expects;
    size_t expect_count;
};

/* Where a fact becomes true: time zero of the exercise, or a fact, plus an offset. */
struct es_anchor {
    bool set;
    int fact; /* -1: the start of the exercise */
    int64_t offset_ms;
};

enum es_condition_kind {
    ES_COND_PROBE,
    ES_COND_ALL,
    ES_COND_ANY,
    ES_COND_NOT,
    ES_COND_AT_LEAST,
    ES_COND_FACT
};
enum es_trust { ES_TRUST_A, ES_TRUST_B, ES_TRUST_C }; /* prober, host, trainees' guest */

struct es_condition {
    const char *name;
    struct es_pos pos;
    struct es_text title;
    enum es_condition_kind kind;
    /* PROBE: exactly one of node (inside it or out of it) and prober (a network) is set */
    int node, prober;
    struct es_probe probe;
    const struct es_probe *covers; /* decoys, sent with the real one */
    size_t cover_count;
    int64_t every_ms, timeout_ms;
    int control; /* condition that must pass for this verdict to count */
    enum es_trust trust;
    /* ALL, ANY, NOT, AT_LEAST: conditions; `least` of them */
    const int *parts;
    size_t part_count;
    int least;
    /* FACT: true once it is true, and (within_ms >= 0) at most that long after `of` */
    int fact, of;
    int64_t within_ms;
    int64_t for_ms;         /* must pass this long; 0: at once */
    struct es_anchor after; /* not known before */
    bool starts_pass;       /* what a rehearsal must find at first */
};

/* clang-format off */
#define ES_FACT_MAP(X)                                                            \
    X(CONDITION_PASS, "pass") X(CONDITION_FAIL, "fail")                           \
    X(OBJECTIVE_MET, "met") X(OBJECTIVE_LOST, "lost")                             \
    X(PHASE_BEGUN, "begun") X(PHASE_DONE, "done")                                 \
    X(NODE_RESET, "reset") X(NODE_DOWN, "down")
/* clang-format on */
enum es_fact_kind {
#define X(name, word) ES_FACT_##name,
    ES_FACT_MAP(X)
#undef X
};
struct es_fact {
    const char *name; /* "webshell_gone.pass" */
    enum es_fact_kind kind;
    int subject; /* index among its kind */
};

struct es_phase {
    const char *name;
    struct es_pos pos;
    struct es_text title;
    struct es_anchor from;     /* default: the phase before it is done, or the start */
    int done;                  /* condition */
    int64_t plan_ms, stuck_ms; /* 0: none */
};

enum es_judged { ES_JUDGED_ONCE, ES_JUDGED_HELD, ES_JUDGED_AT_END };
struct es_objective {
    const char *name;
    struct es_pos pos;
    struct es_text title;
    int phase;
    int when; /* condition */
    enum es_judged judged;
    struct es_anchor opens, closes; /* default: the start; never */
    int64_t points;
    const char *part; /* of the scoring; default "handling" */
    bool may_start_met;
    const char *const *techniques;
    size_t technique_count;
};

struct es_service {
    const char *name;
    struct es_pos pos;
    struct es_text title;
    int condition;
    int64_t round_ms;
    int64_t points;                 /* each passing round */
    int64_t sla_after, sla_penalty; /* rounds missed in a row; points; 0: none */
    const int *waive;               /* facts */
    size_t waive_count;
    const char *part; /* default "uptime" */
};

struct es_part {
    const char *name;
    int64_t weight;
};
struct es_scoring {
    const char *model;           /* "drill" | "uptime" */
    const struct es_part *parts; /* as written, else equal to the parts used */
    size_t part_count;
    struct es_anchor freeze;
    const char *board_trainees, *board_public; /* "own" "ranks" "all" "none" */
};

enum es_random_kind { ES_RANDOM_HEX, ES_RANDOM_FLAG, ES_RANDOM_INT };
struct es_random {
    const char *name;
    enum es_random_kind kind;
    int64_t digits, min, max;
    const char *format; /* FLAG: "ENSHU{…}", the ellipsis is replaced by 24 hex digits */
};

struct es_solution_step {
    struct es_pos pos;
    struct es_anchor await; /* wait for it first, when set */
    int node;               /* -1: only waits */
    struct es_step run;     /* SCRIPT or RUN */
    const int *proves;      /* conditions seen to pass after it (sabotage: to fail) */
    size_t prove_count;
};
struct es_solution {
    const char *name;
    struct es_pos pos;
    const struct es_solution_step *steps; /* those of `from` first */
    size_t step_count;
    int from;           /* solution it goes on from */
    const int *expects; /* facts that must be true at its end */
    size_t expect_count;
};

struct es_node {
    const char *name;
    struct es_pos pos;
    struct es_text title;
    const char *recipe;          /* image: {recipe: …} */
    const char *const *packages; /* extra, make a derived image */
    size_t package_count;
    int64_t memory_bytes, disk_bytes;
    int cpus;
    enum es_scope scope;
    bool hidden, programme;
    bool before_services; /* frozen with what setup starts stopped */
    const struct es_nic *nics;
    size_t nic_count;
    const struct es_account *accounts;
    size_t account_count;
    const struct es_step *setup, *personalise;
    size_t setup_count, personalise_count;
    bool has_ready;
    struct es_probe ready;
    int64_t ready_timeout_ms;
    struct {
        const char *console; /* "serial" "graphic" "none" */
        const char *as;
        bool power, reset;
    } trainee;
    bool is_prober; /* made for prober.<network>; hidden; recipe "prober" */
};

#define ES_MAX_SERVICES_OF 64
/* The services that the node's setup leaves to run, in its order; at most
 * ES_MAX_SERVICES_OF are written to `names`, and how many there are returned. */
size_t es_node_services(const struct es_node *node, const char **names);

struct es_scenario {
    struct es_arena arena;
    const char *dir, *file;
    const char *name, *version, *license;
    struct es_text title, marking, description;
    const char *default_language;
    int64_t duration_ms;
    char hash[65]; /* of every file of the folder that takes part, in order of name */

    /* Names beside them; probers of networks are appended to nodes by the loader. */
#define ES_LIST_OF(type, name)                                                           \
    const struct type *name;                                                             \
    size_t name##_count
    ES_LIST_OF(es_network, networks);
    ES_LIST_OF(es_node, nodes);
    ES_LIST_OF(es_condition, conditions);
    ES_LIST_OF(es_fact, facts);
    ES_LIST_OF(es_phase, phases);
    ES_LIST_OF(es_objective, objectives);
    ES_LIST_OF(es_service, services);
    ES_LIST_OF(es_random, randoms);
    ES_LIST_OF(es_solution, solutions);
    ES_LIST_OF(es_solution_step, sabotage);
#undef ES_LIST_OF
    const int *condition_order; /* conditions, parts and controls before what uses them */
    struct es_scoring scoring;
    int32_t rehearse_speed_permille;
    struct es_scenario_inner *inner; /* the loader's own; NULL in one made by hand */
};

/* Reads `file` ("…/scenario.yaml" or its folder) with what it includes. Returns 0 with
 * *ret_scenario (warnings may stand in diags), or ES_ESCENARIO (diags say why), ES_ENOENT,
 * ES_ENOMEM. */
int es_scenario_load(const char *file, struct es_diags *diags,
                     struct es_scenario **ret_scenario, struct es_err *err);
/* The same from memory, for tests and fuzzing; includes and assets are then errors. */
int es_scenario_parse(const char *name, const char *text, size_t len,
                      struct es_diags *diags, struct es_scenario **ret_scenario,
                      struct es_err *err);
void es_scenario_destroy(struct es_scenario *scenario);

/* Index by name, -1 when there is none. */
int es_scenario_node(const struct es_scenario *scenario, const char *name);
int es_scenario_condition(const struct es_scenario *scenario, const char *name);
int es_scenario_objective(const struct es_scenario *scenario, const char *name);
int es_scenario_fact(const struct es_scenario *scenario, const char *name);
int es_scenario_fact_of(const struct es_scenario *scenario, enum es_fact_kind kind,
                        int subject);

/* Replaces ${name} through `value` (NULL: unknown name, ES_EINVAL) and $${ by ${. */
int es_scenario_expand(const char *text,
                       const char *(*value)(void *ctx, const char *name), void *ctx,
                       struct es_buf *out, struct es_err *err);
/* For shell lines (`run:`): a value never becomes part of the line. ${team.id} turns into
 * ${ENSHU_TEAM_ID} and the value into env["ENSHU_TEAM_ID"]; ${HOME} and all else without a
 * dot stays the shell's own; $${team.id} becomes ${team.id}. `env` is an object the caller
 * made. */
int es_scenario_expand_shell(const char *line,
                             const char *(*value)(void *ctx, const char *name), void *ctx,
                             struct es_buf *out, json_t *env, struct es_err *err);

/* JSON Schema 2020-12 of the language (gives a reference) and the reference in Markdown. */
json_t *es_scenario_schema(void);
int es_scenario_reference(struct es_buf *out);

#endif
