/* YAML text as a tree of nodes that know where they stand, and the diagnostics that speak
 * of them.
 *
 * The only room that includes <yaml.h>. Used for scenarios, image recipes and session
 * files. Caps hold before anything is built: 1 MiB a file, depth 32, 200 000 events, 64
 * KiB a scalar; anchors, aliases, tags other than the core's and duplicate keys are
 * errors. A problem never stops the reading of what follows it unless the text itself
 * cannot be read on. [any], one thread at a time for one document. */
#ifndef ENSHU_YAML_H
#define ENSHU_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/common/buf.h"
#include "enshu/common/err.h"
#include "enshu/common/mem.h"

#define ES_YAML_FILE_MAX   (1U << 20)
#define ES_YAML_DEPTH_MAX  32
#define ES_YAML_EVENTS_MAX 200000
#define ES_YAML_SCALAR_MAX 65536
#define ES_DIAGS_MAX       50

struct es_pos {
    const char
        *file; /* borrows from the document's arena; relative to the scenario's folder */
    int line, col; /* from 1; 0 when there is none */
};

enum es_severity { ES_SEV_ERROR, ES_SEV_WARNING };

struct es_diag {
    enum es_severity severity;
    struct es_pos pos;
    const char *path; /* "nodes.web.image"; "" for the whole file */
    const char *text; /* what is wrong and what to do, with "(did you mean …?)" where a
                         near name exists */
};

/* Collected diagnostics, at most ES_DIAGS_MAX kept: when full, an error takes the place of
 * the last warning, and the rest is only counted. Zero it before use; everything in it is
 * copied, so it outlives what it speaks of. `arena.failed` says that memory ran out. */
struct es_diags {
    struct es_arena arena;
    struct es_diag items[ES_DIAGS_MAX];
    size_t count;       /* kept */
    size_t error_count; /* all, kept or not */
    size_t warning_count;
};
void es_diags_finish(struct es_diags *diags);
void es_diags_add(struct es_diags *diags, enum es_severity severity, struct es_pos pos,
                  const char *path, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* One line each: "file:line:col: error: path: text", sorted by file, line, column; then
 * how many more there were. */
void es_diags_format(const struct es_diags *diags, struct es_buf *out);

enum es_yaml_type { ES_YAML_NULL, ES_YAML_SCALAR, ES_YAML_LIST, ES_YAML_MAP };

struct es_yaml {
    enum es_yaml_type type;
    struct es_pos pos;     /* of the value */
    struct es_pos key_pos; /* of its key, in a map */
    const char *key;       /* in a map; else NULL */
    const char *text;      /* scalars; NUL-terminated, NUL inside is an error */
    bool quoted;           /* or a block scalar: surely text */
    bool flow;             /* a list or map written as […] or {…} */
    struct es_yaml *child; /* first item of a list or map */
    struct es_yaml *next;  /* next sibling */
    size_t count;          /* items */
    bool
        partial; /* a list or map the text broke off in; the root says it for the whole */
    bool broken; /* a scalar that was reported already; readers stay silent */
    bool used; /* a reader took notice of it; readers report the others as unknown keys */
};

/* Parses `len` bytes into a tree in `arena`. Returns 0 (with *ret_root, maybe partial,
 * and problems in diags), ES_ESCENARIO when nothing usable could be read (diags say why),
 * ES_ENOMEM. */
int es_yaml_parse(struct es_arena *arena, const char *file, const char *text, size_t len,
                  struct es_diags *diags, struct es_yaml **ret_root);
/* The value of a key; NULL when absent. */
struct es_yaml *es_yaml_get(const struct es_yaml *map, const char *key);

#endif
