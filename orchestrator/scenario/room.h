/* Inside the room: the key tables' form and the state of one loading.
 *
 * Loading runs in passes over one struct load:
 *   read     the file and what it includes become one tree (files.c)
 *   bind     the key tables carry the tree into the structs of scenario.h (bind.c, with
 *            nodes.c, steps.c, conditions.c, probe.c for what a table cannot say)
 *   resolve  names become indexes (refs.c)
 *   address  automatic addresses, probers, conflicts (address.c)
 *   order    cycles, order of evaluation, trust (graph.c)
 *   check    what spans several things (check.c)
 *   hash     of every file that takes part (files.c)
 * A pass that finds errors goes on with what is left; later passes accept -1 and NULL. */
#ifndef SCENARIO_ROOM_H
#define SCENARIO_ROOM_H

#include "enshu/common/err.h"
#include "enshu/scenario.h"

/* What keys, words and values of the language say that this version does not act on. */
#define ES_NEEDS_LATER "needs enshu >= 0.2"

struct load;
struct key;

enum key_type {
    T_BOOL,
    T_INT,    /* int64_t */
    T_INT32,  /* int */
    T_STRING, /* const char *: machine text */
    T_SHELL,  /* const char *: lines of shell */
    T_TEXT,   /* struct es_text: for people */
    T_DURATION,
    T_SIZE,
    T_CHOICE,      /* int-sized enum: index of the word */
    T_CHOICE_BOOL, /* bool: the second of two words */
    T_WORD,        /* const char *: one of the words */
    T_NAME,        /* const char * */
    T_PATH,        /* const char *: a file of the scenario */
    T_REF,         /* int: index of a named thing */
    T_REFS,        /* const int *, count */
    T_STRINGS,     /* const char *const *, count */
    T_ANCHOR,      /* struct es_anchor */
    T_OBJECT,      /* a shape bound onto the struct itself, from `offset` on */
    T_LIST,        /* list of a shape: pointer, count */
    T_MAP,         /* map from names to a shape: pointer, count */
    T_CUSTOM,      /* `bind` */
    T_NOTE,        /* checked as text or list of texts, kept nowhere */
    T_LATER        /* a key of a later version */
};

enum space { /* what a name can be the name of */
             SPACE_NONE,
             SPACE_NETWORK,
             SPACE_NODE,
             SPACE_CONDITION,
             SPACE_PHASE,
             SPACE_OBJECTIVE,
             SPACE_SERVICE,
             SPACE_FACT,
             SPACE_RANDOM,
             SPACE_KIND,
             SPACE_SOLUTION,
             SPACE_TEXT, /* translations by key path */
             SPACE_FILE,
             SPACE_GROUP, /* a name that stands for several nodes */
             SPACE_COUNT
};
const char *space_word(enum space space);

enum key_flags {
    KEY_REQUIRED = 1,
    KEY_EXPANDS = 2,  /* ${…} is replaced */
    KEY_FACT_ONLY = 4 /* an anchor that must not be T */
};

typedef void bind_fn(struct load *ld, const struct key *key, const struct es_yaml *y,
                     void *value);

struct key {
    const char *name;
    enum key_type type;
    unsigned flags;
    size_t offset, count_offset;
    enum space space;         /* T_REF, T_REFS, T_MAP */
    const char *const *words; /* T_CHOICE…, T_WORD; ends with NULL */
    const char *const *later; /* words of a later version */
    const struct shape *shape;
    bind_fn *bind;
    const char
        *schema;      /* T_CUSTOM: JSON Schema of the value; '#NAME' refers to a shape */
    int64_t min, max; /* numbers, durations, sizes; lists: most items; 0, 0: none */
    const char *fallback; /* default, as the reference shows it */
    const char *doc;
};

struct shape {
    const char *name, *title, *doc;
    size_t size;
    const struct key *keys; /* ends with a NULL name */
    size_t name_offset;     /* items of a T_MAP */
    size_t pos_offset;
    bool is_named;   /* name_offset holds */
    bool has_pos;    /* pos_offset holds */
    bool has_probes; /* one kind of probe may stand among the keys */
    void (*init)(void *object);
    void (*on_probe)(struct load *ld, void *object, enum es_probe_kind kind,
                     const struct es_yaml *y);
    void (*done)(struct load *ld, void *object, const struct es_yaml *y);
};

extern const struct shape scenario_shape, network_shape, node_shape, condition_shape,
    phase_shape, objective_shape, service_shape, random_shape, solution_shape,
    solution_step_shape, sabotage_step_shape, step_shape, copy_shape, write_shape,
    script_shape, service_step_shape, ready_shape, trainee_shape, image_shape,
    account_shape, at_least_shape, languages_shape, scoring_shape, board_shape, sla_shape,
    rehearse_shape, defaults_shape;
extern const struct shape
    *const all_shapes[]; /* in the reference's order; ends with NULL */

/* ---- probes */

enum probe_role { P_LOOK, P_PRESENCE, P_EXPECT };
enum probe_type {
    PT_STRING,
    PT_PATH, /* absolute, in the guest */
    PT_REGEX,
    PT_STRINGS, /* one or a list: an expectation each */
    PT_REGEXES,
    PT_ARGV, /* a list */
    PT_MAP,  /* names to texts */
    PT_BOOL,
    PT_INT,
    PT_PORT,
    PT_HOST,
    PT_HOSTPORT, /* "address:port" to look keys host and port */
    PT_INTS,     /* a number, a list, {min, max} */
    PT_RANGE,    /* a number, {min, max} */
    PT_MODE,
    PT_WORD,
    PT_SHA256
};
struct probe_key {
    const char *name;
    enum probe_role role;
    enum probe_type type;
    const char *field; /* of the evidence or of look; NULL: as `name` */
    enum es_compare compare;
    bool negate, required, shell, plain; /* plain: no ${…} of ours */
    const char *const *words;
    int64_t min, max;
    const char *doc;
};
struct probe_table {
    const char *name, *does;
    bool inside;
    const struct probe_key *keys; /* ends with a NULL name */
};
extern const struct probe_table probe_tables[ES_PROBE_COUNT];
int probe_kind_find(const char *name);           /* -1 */
const char *probe_rule(enum es_probe_kind kind); /* beyond the keys; may be NULL */
void probe_bind(struct load *ld, enum es_probe_kind kind, const struct es_yaml *y,
                struct es_probe *probe);
json_t *probe_text(struct load *ld, const struct probe_key *key, const struct es_yaml *y);
json_t *probe_int(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max);
json_t *probe_range(struct load *ld, const struct probe_key *key,
                    const struct es_yaml *y);
json_t *probe_value(struct load *ld, const struct probe_key *key,
                    const struct es_yaml *y);
int64_t probe_regex_cost(const char *pattern);
bool probe_check_host(struct load *ld, const char *host, struct es_pos pos);
/* A copy that looks at another path. */
bool probe_has_path(enum es_probe_kind kind);
void probe_at_path(struct load *ld, const struct es_probe *probe, const char *path,
                   struct es_probe *ret_probe);

/* ---- names */

struct name_slot {
    const char *name; /* NULL: free */
    uint32_t hash;
    enum space space;
    int index;
    struct es_pos pos;
};
struct names {
    struct name_slot *slots;
    size_t cap, count;
};
const struct name_slot *names_find(const struct names *names, enum space space,
                                   const char *name);
/* NULL when memory is out (the arena remembers). The name must not be there. */
struct name_slot *names_add(struct names *names, struct es_arena *arena, enum space space,
                            const char *name, int index, struct es_pos pos);
/* The nearest name of the space, or NULL. */
const char *names_nearest(const struct names *names, enum space space, const char *name);
/* " (did you mean "…"?)" or "", with `prefix` before the name. Once the diagnostics are
 * full nothing is searched: a hostile file may hold a hundred thousand slips. */
const char *load_near(struct load *ld, enum space space, const char *name,
                      const char *prefix);

struct es_scenario_inner {
    struct names names;
    json_t **jsons;
    size_t json_count;
};

/* ---- one loading */

struct ref {
    int *slot;
    enum space space;
    const char *name, *path;
    struct es_pos pos;
};
/* Where a text is used: the mould and a range's nodes have no team, so no value of one. */
enum place { PLACE_TEAM, PLACE_SETUP, PLACE_READY };
struct expansion { /* a text with ${…} to check when all names are known */
    const char *text, *path;
    struct es_pos pos;
    enum place place;
    bool shell, in_file;
};
struct asset {
    const char *name; /* relative, "/" between parts */
    int64_t size;
};
struct source_file { /* a YAML or text file that was read whole */
    const char *name, *text;
    size_t len;
};

struct load {
    struct es_scenario *s;
    struct es_diags *diags;
    struct es_arena temp; /* released after loading */
    const char *dir;      /* real path; NULL: from memory */
    char path[512];       /* of what is being bound: "nodes.web.image" */
    size_t path_len;
    enum place place;
    bool
        slipped; /* the map just bound broke off or had an unknown key: what seems to lack
                     may be there under another name */
    struct ref *refs;
    size_t ref_count;
    struct expansion *expansions;
    size_t expansion_count;
    struct asset *assets;
    size_t asset_count;
    int64_t asset_bytes;
    struct source_file *sources;
    size_t source_count;
    struct es_node node_defaults;
    struct es_node *kinds;
    struct es_node *nodes; /* growing; moved to the scenario when bound */
    size_t node_count;
    bool *starts_set;            /* by condition */
    int64_t regex_cost;          /* of all expressions */
    const char *const *complete; /* languages */
    size_t complete_count;
    const char *const *languages; /* that have a file in lang/ */
    size_t language_count;
    const char **translations; /* by the index of SPACE_TEXT */
    bool *translation_used;
    size_t translation_count;
    bool nomem;
};

bool load_is_full(const struct load *ld); /* more diagnostics will only be counted */
void load_error(struct load *ld, struct es_pos pos, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void load_error_at(struct load *ld, struct es_pos pos, const char *path, const char *fmt,
                   ...) __attribute__((format(printf, 4, 5)));
void load_warn_at(struct load *ld, struct es_pos pos, const char *path, const char *fmt,
                  ...) __attribute__((format(printf, 4, 5)));
/* Extends ld->path; returns what path_pop needs. */
/* For what stands outside the tree being bound, such as another file. */
struct saved_path {
    char text[512];
    size_t len;
};
void path_leave(struct load *ld, struct saved_path *saved); /* the path is then empty */
void path_return(struct load *ld, const struct saved_path *saved);
size_t path_push(struct load *ld, const char *key);
size_t path_push_index(struct load *ld, size_t index);
void path_pop(struct load *ld, size_t mark);
void *load_alloc(struct load *ld, size_t count,
                 size_t size); /* in the scenario's arena */
const char *load_path_copy(struct load *ld);
json_t *load_own(struct load *ld, json_t *json); /* released with the scenario */

/* ---- bind.c */
void bind_shape(struct load *ld, const struct shape *shape, const struct es_yaml *y,
                void *object);
void bind_list(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *items, size_t *count);
bool bind_is_map(struct load *ld, const struct es_yaml *y);
bool bind_is_list(struct load *ld, const struct es_yaml *y);
/* Reports more than `max` items. */
bool bind_fits(struct load *ld, const struct es_yaml *y, int64_t max);
/* {ja: one, two}: YAML takes the rest of a text behind a comma for a key. */
bool bind_is_broken_off(const struct es_yaml *item, bool in_flow);
void report_bad_name(struct load *ld, struct es_pos pos, const char *name);
/* Registers a name of the language; false after reporting a bad or taken one. */
bool bind_name(struct load *ld, enum space space, const char *name, int index,
               struct es_pos pos);
void bind_ref(struct load *ld, enum space space, const struct es_yaml *y, int *slot);
void bind_ref_named(struct load *ld, enum space space, const char *name,
                    struct es_pos pos, int *slot);
void bind_anchor(struct load *ld, const struct key *key, const struct es_yaml *y,
                 struct es_anchor *anchor);

/* ---- scalar.c: each reports and returns false or NULL when the value is no such thing */
const char *scalar_word(struct load *ld, const struct es_yaml *y); /* names, choices */
const char *scalar_string(struct load *ld, const struct es_yaml *y);
bool scalar_bool(struct load *ld, const struct es_yaml *y, bool *ret_value);
bool scalar_int(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max,
                int64_t *ret_value);
bool scalar_duration(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max,
                     int64_t *ret_ms);
bool scalar_size(struct load *ld, const struct es_yaml *y, int64_t min, int64_t max,
                 int64_t *ret_bytes);
int scalar_choice(struct load *ld, const struct es_yaml *y, const char *const *words,
                  const char *const *later); /* -1 */
void scalar_expects(struct load *ld, const struct es_yaml *y, const char *what);
const char *suggest(const char *word, const char *const *words); /* "" or " (did …?)" */

/* ---- text.c */
void bind_text(struct load *ld, const struct es_yaml *y, struct es_text *text);
void text_load_translations(struct load *ld);
void text_check_translations(struct load *ld);

/* ---- expand.c */
enum { EXPAND_NAME_MAX = 128 };
void expand_note(struct load *ld, const char *text, struct es_pos pos, bool shell);
bool expand_is_used(const char *line); /* a shell line with ${team.…} and the like */
/* Warns of a value in a text where none is replaced. */
void expand_is_plain(struct load *ld, const char *text, struct es_pos pos);
/* The first value in the text that differs from team to team, else NULL. */
const char *expand_of_team(const struct load *ld, const char *text, bool shell,
                           char name[EXPAND_NAME_MAX]);
void expand_note_file(struct load *ld, const struct source_file *source);
void expand_check(struct load *ld);

/* ---- T_CUSTOM binders of the tables */
bind_fn bind_nodes, bind_kinds, bind_image, bind_nics, bind_password, bind_setup,
    bind_personalise, bind_ready, bind_copy, bind_write, bind_script, bind_run,
    bind_service_step, bind_mode, bind_time, bind_cidr, bind_addresses, bind_from,
    bind_at_least, bind_not, bind_parts, bind_random_flag, bind_random_int,
    bind_random_hex, bind_speed, bind_rehearse_teams, bind_version, bind_nothing,
    bind_guest_path, bind_languages, bind_defaults, bind_user_name, bind_scope;

/* ---- done hooks */
void nodes_begin(struct load *ld);
void solution_done(struct load *ld, void *object, const struct es_yaml *y);
void condition_done(struct load *ld, void *object, const struct es_yaml *y);
void step_done(struct load *ld, void *object, const struct es_yaml *y);
void solution_step_done(struct load *ld, void *object, const struct es_yaml *y);
void sabotage_done(struct load *ld, void *object, const struct es_yaml *y);
void ready_done(struct load *ld, void *object, const struct es_yaml *y);
void random_done(struct load *ld, void *object, const struct es_yaml *y);
void network_done(struct load *ld, void *object, const struct es_yaml *y);
void condition_on_probe(struct load *ld, void *object, enum es_probe_kind kind,
                        const struct es_yaml *y);
void ready_on_probe(struct load *ld, void *object, enum es_probe_kind kind,
                    const struct es_yaml *y);

/* What some shapes are bound to on their way. */
struct draft_languages {
    const char *standard;
    const char *const *complete;
    size_t complete_count;
};
struct draft_at_least {
    int64_t count;
    const int *parts;
    size_t part_count;
};
struct draft_ready {
    struct es_probe probe;
    int probe_count;
    int64_t timeout_ms;
};

/* ---- later passes */
void refs_resolve(struct load *ld); /* and builds the facts */
void address_assign(struct load *ld);
void graph_order(struct load *ld);
void solutions_join(
    struct load *ld); /* puts the steps of `from` before a solution's own */
void check_all(struct load *ld);

/* ---- files.c, assets.c, hash.c */
#define ES_ASSET_BYTES_MAX (INT64_C(16) << 20)
struct stat;
/* Whether a name can be one of a file inside the folder. */
bool files_is_inside(const char *name);
/* Opens a file or folder of the scenario; -1 after reporting. */
int files_open(struct load *ld, const char *name, struct es_pos pos, bool may_lack,
               struct stat *st);
/* Resolves the folder and reads the main file and its includes into one tree. */
int files_read(struct load *ld, const char *file, struct es_yaml **ret_root,
               struct es_err *err);
void files_read_includes(struct load *ld, struct es_yaml *root);
/* A file of the folder as text (kept); NULL after reporting. What it is used for says how
 * large it may be and whether it must be UTF-8 already here. */
enum source_use { SOURCE_YAML, SOURCE_TEXT, SOURCE_TEMPLATE };
#define SOURCE_TEXT_MAX     65536U
#define SOURCE_TEMPLATE_MAX (1U << 20)
const struct source_file *files_text(struct load *ld, const char *name, struct es_pos pos,
                                     enum source_use use, bool may_lack);
/* Notes that a file or folder takes part; reports what is wrong with it. */
bool files_asset(struct load *ld, const char *name, struct es_pos pos, bool folder_too);
void files_hash(struct load *ld);

#endif
