/* enshu, the command line: one table of commands, each a function over what was parsed;
 * most of them are one call of the control socket and a way to show its answer.
 *
 * Results go to standard output, everything else to standard error. With --json the result
 * is the core's JSON, progress is JSON lines on standard error. Text from the core may
 * hold bytes from guests and trainees: it passes out_* (escaped) before it reaches a
 * terminal. Functions return 0 or a status; its exit code is the program's. */
#ifndef ENSHU_CLI_H
#define ENSHU_CLI_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <uv.h>

#include "enshu/common/buf.h"
#include "enshu/common/err.h"
#include "enshu/control.h"
#include "enshu/plan.h"

/* ---- the tables (table.c) */

/* X(name, argument or NULL, text) */
/* clang-format off */
#define CLI_OPTION_MAP(X)                                                                   \
    X(help,    NULL,     "this text")                                                      \
    X(json,    NULL,     "print the result as JSON; progress as JSON lines on standard error") \
    X(socket,  "PATH",   "the core's socket (default: $ENSHU_SOCKET, else enshud.sock in the state folder)") \
    X(state,   "DIR",    "the state folder (default: $ENSHU_STATE, else ~/.local/state/enshu)") \
    X(range,   "NAME",   "which range (default: $ENSHU_RANGE, else the only one there is)")        \
    X(teams,   "N",      "how many teams (default 1)")                                     \
    X(team,    "N",      "only this team")                                                 \
    X(mode,    "auto|fork|boot", "how machines come to be (default: fork where host and scenario allow)") \
    X(accel,   "kvm|tcg", "the accelerator (default: found out by booting a probe guest)") \
    X(dot,     NULL,     "print a graph for graphviz")                                     \
    X(lang,    "LANG",   "language of titles: ja, en, … (default from $LANG)")             \
    X(by,      "NAME",   "who did it, for the ledger (default: $USER)")                    \
    X(reason,  "TEXT",   "why, for the ledger")                                            \
    X(user,    "NAME",   "run as this user of the guest (default root)")                   \
    X(timeout, "TIME",   "give up after this long, for example 30s (default 1m)")          \
    X(stdin,   NULL,     "hand standard input (at most 40 KiB) to the command")           \
    X(shell,   NULL,     "the words are one line for the guest's shell")                   \
    X(force,   NULL,     "do so all the same: build what is cached, drop a disk that is kept") \
    X(purge,   NULL,     "drop the disks that are kept, too")                              \
    X(packages, "A,B",   "extra Debian packages; they make a derived image")               \
    X(keep,    NULL,     "leave the range running afterwards")                             \
    X(patience, "TIME",  "wait this much longer than conditions need for what does not come (default 1m30s)") \
    X(points,  "N",      "how many points; may be negative")                               \
    X(met,     "yes|no", "what the objective is to be")                                    \
    X(from,    "TIME",   "from this exercise time, for example 12m30s")                    \
    X(to,      "TIME",   "to this exercise time")                                          \
    X(output,  "FILE",   "write to this file instead of standard output")                  \
    X(root,    "DIR",    "look at the system under this folder instead of /")              \
    X(uri,     "URI",    "the libvirt to look at (default: the embedded one)")
/* clang-format on */
enum cli_option_id {
#define X(name, arg, text) OPT_##name,
    CLI_OPTION_MAP(X)
#undef X
        OPT_COUNT
};
struct cli_option {
    const char *name, *arg, *text;
};
extern const struct cli_option cli_options[OPT_COUNT];

struct cli;
struct cli_command {
    const char *name;     /* one or two words */
    const char *args;     /* "FILE [RANGE]" */
    const char *summary;  /* one line */
    const char *details;  /* paragraphs, "" none */
    const char *examples; /* lines */
    const char *options;  /* words of CLI_OPTION_MAP */
    int min_args, max_args;
    bool raw; /* after the first argument everything is the command's */
    int (*run)(struct cli *cli, struct es_err *err);
};
extern const struct cli_command cli_commands[]; /* ends with name NULL */

/* ---- without a core (offline.c) */

/* The result of `rescore` from a ledger's file, which need not be one of ours; gives. */
int offline_rescore(const char *path, json_t **ret_result, struct es_err *err);
/* The same of `ledger forget`. */
int offline_forget(const char *path, const char *who, json_t **ret_result,
                   struct es_err *err);

/* ---- what was asked (options.c) */

#define CLI_ARGS_MAX 4096
struct progress;
struct cli {
    const struct cli_command *command;
    const char *opt[OPT_COUNT]; /* NULL: not given; flags: "" */
    char **args;
    int arg_count;
    bool json;
    const char *lang;
    /* the terminal */
    bool tty_out, tty_err, color;
    bool screen; /* standard output can be drawn on */
    /* the core */
    uv_loop_t loop;
    bool loop_open;
    struct es_client *client;
    struct progress *progress;
    char range[64];
    int exit_code; /* when the result is no error but not good either */
};
/* Finds the command and its options; ES_EINVAL with what is wrong. */
int options_parse(struct cli *cli, int argc, char **argv, struct es_err *err);
int option_int(const struct cli *cli, enum cli_option_id id, int64_t min, int64_t max,
               int64_t def, int64_t *ret, struct es_err *err);
int option_duration(const struct cli *cli, enum cli_option_id id, int64_t *ret_ms,
                    struct es_err *err); /* untouched when not given */
const char *option_by(const struct cli *cli);

/* ---- the core (call.c) */

typedef void (*cli_on_progress)(struct cli *cli, const json_t *event);
int core_socket_path(struct cli *cli, char *dst, size_t size, struct es_err *err);
/* Connects when not connected, calls, runs the loop until the answer. Takes params.
 * Ctrl-C cancels. *ret_result (may be NULL) gives a reference. */
int core_call(struct cli *cli, const char *method, json_t *params,
              cli_on_progress on_progress, json_t **ret_result, struct es_err *err);
/* The range meant: `given` if not NULL, else --range, else $ENSHU_RANGE, else the only one
 * there is; kept in cli->range. */
int core_range(struct cli *cli, const char *given, struct es_err *err);
/* "range" and the options that are set; *ret_params gives a reference. */
int core_range_params(struct cli *cli, const char *given, json_t **ret_params,
                      struct es_err *err);
void core_close(struct cli *cli);
/* Calls with progress shown and prints the JSON when that is wanted: *ret_result is NULL
 * then, else gives a reference. Takes params. */
int call_shown(struct cli *cli, const char *method, json_t *params, json_t **ret_result,
               struct es_err *err);
/* The same for a list, the member `key` of the answer; `none` is said of an empty one. */
int call_list(struct cli *cli, const char *method, const char *key,
              void (*print)(const json_t *item), const char *none, struct es_err *err);
/* The scenario that the first argument names, once it is valid. Its path is absolute: the
 * core has a working directory of its own. */
int scenario_arg(struct cli *cli, char dst[PATH_MAX], struct es_err *err);
int check_accel(const struct cli *cli, struct es_err *err);
/* Adds a member when text is not NULL. */
void params_text(json_t *params, const char *key, const char *text);

/* ---- progress (progress.c): lines per machine, in place on a terminal */
void progress_event(struct cli *cli, const json_t *event);
void progress_end(struct cli *cli); /* the last state stands */

/* ---- output (out.c) */

/* Display columns of UTF-8 text; bytes that are none count as they would be escaped. */
int text_width(const char *text);
/* Appends text cut to `width` columns ("…" where cut); padded when `pad`. Escapes. */
void text_fit(struct es_buf *out, const char *text, int width, bool pad);
void out_safe(FILE *file, const char *text); /* escaped, one line */
void out_bytes(FILE *file, bool is_tty, const char *data, size_t len);
int out_json(const json_t *value);
int terminal_width(int fd, int def);
enum out_color { PLAIN, BOLD, DIM, RED, GREEN, YELLOW };
const char *out_color(const struct cli *cli,
                      enum out_color color); /* "" without colour */
/* "1:02:03" */
char *text_clock(int64_t ex_ms, char *dst, size_t size);
/* "12.5" from 12500 */
char *text_points(int64_t mpts, char *dst, size_t size);
char *text_bytes(int64_t bytes, char *dst, size_t size);

/* ---- reading JSON answers */
const char *member_text(const json_t *object, const char *key); /* "" when absent */
int64_t member_int(const json_t *object, const char *key, int64_t def);
bool member_true(const json_t *object, const char *key);
const json_t *member_list(const json_t *object, const char *key); /* NULL when absent */
/* A list of objects with a member "name", from such a list or from {name: object}; gives a
 * reference. */
json_t *member_items(const json_t *object, const char *key);
/* What a team is called, "" when it is only a number. */
const char *team_title(const json_t *team);
int64_t met_at(const json_t *objective); /* exercise time; -1 */
/* A title: string or {lang: text}; else `name`. */
const char *member_title(const struct cli *cli, const json_t *object);

/* ---- commands */
/* clang-format off */
#define CLI_RUN_MAP(X)                                                                   \
    X(validate) X(plan) X(schema) X(reference) X(doctor) X(version) X(help)              \
    X(image_build) X(image_list) X(image_rm) X(mould_list)           \
    X(mould_build) X(mould_rm) X(mould_verify) X(up) X(status) X(watch) X(start)           \
    X(pause) X(resume) X(stop) X(exec) X(console) X(reset) X(score) X(score_explain)     \
    X(rescore) X(ledger_export) X(ledger_verify) X(ledger_forget) X(correct)            \
    X(rehearse) X(down) X(gc) X(shutdown) X(park) X(unpark)
/* clang-format on */
#define X(name) int run_##name(struct cli *cli, struct es_err *err);
CLI_RUN_MAP(X)
#undef X

/* local.c: prints the diagnostics of a scenario; 0 or ES_ESCENARIO after them. */
int check_scenario(struct cli *cli, const char *file, struct es_err *err);
void help_command(const struct cli_command *command, FILE *file);
/* status.c: one range, for status and watch. */
void show_clock(const json_t *clock, char *dst, size_t size);
/* capacity.c: one line without its end. */
void show_capacity(const json_t *capacity, struct es_buf *out);
int machine_name(const char *given, char *dst, size_t size, struct es_err *err);

#endif
