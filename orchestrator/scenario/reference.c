/* The language reference in Markdown, from the key tables. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

static const char intro[] =
    "# The scenario language\n"
    "\n"
    "Written by `enshu reference`; do not edit. One exercise is a folder: "
    "`scenario.yaml`, the "
    "files it includes,\n"
    "what it copies into machines, `lang/`. `enshu validate FILE` checks it, `enshu "
    "schema` "
    "prints a JSON Schema for\n"
    "editors: begin a scenario with `# yaml-language-server: $schema=../schema.json` "
    "(the file "
    "that\n"
    "`enshu schema > schema.json` makes).\n"
    "\n"
    "## Rules of the text\n"
    "\n"
    "- Unknown keys are errors; keys that begin with `x-` are free. Duplicate keys are "
    "errors. "
    "No anchors, aliases, tags.\n"
    "- A *text* for people is a string, `{ja: …, en: …}` or `{file: brief.md}`. "
    "`lang/<code>.yaml` may hold\n"
    "  translations by key path; the languages of `languages.complete` leave no text "
    "out.\n"
    "- A *duration* is `90s`, `15m`, `1h30m`, `2d`; a *size* `512 MiB`; a *time* `T` "
    "(the "
    "start), `T+1h30m`, a fact, or a\n"
    "  fact with an offset such as `web-down.pass+10m`. All times run on the exercise "
    "clock.\n"
    "- Quote a text that holds `: ` or, inside `{…}`, a comma; that begins with one of "
    "``[ { * & ! % @ ` | >``; that is\n"
    "  `yes`, `no`, `on`, `off`, `true`, `false`; or that is a number.\n"
    "- Names have at most 40 characters of a-z, 0-9, `-` and `_`, and are unique over "
    "nodes, "
    "conditions, phases, objectives\n"
    "  and services.\n"
    "- Limits: a file of 1 MiB, 32 levels, 200000 items, 64 KiB a text; a file that is "
    "copied "
    "16 MiB, all of them 64 MiB.\n"
    "\n"
    "## Values in texts\n"
    "\n"
    "| written | value |\n"
    "|---|---|\n"
    "| `${team.id}` `${team.number}` `${team.name}` | of the team |\n"
    "| `${node.NODE.address}` | address of a node, for this team |\n"
    "| `${account.NODE.USER}` | password of an account |\n"
    "| `${random.NAME}` | a value of `random` |\n"
    "\n"
    "They are replaced in the keys marked ✎ and in the texts of probes; an unknown name "
    "is an "
    "error, `$${` is the text `${`.\n"
    "In shell lines they become environment variables: write them inside double quotes, "
    "`\"${team.name}\"`, never inside\n"
    "single ones. `${HOME}` and all else without one of the four words stays the shell's "
    "own. "
    "Files are templates only with\n"
    "`template: true`.\n"
    "\n";

static const char *type_word(const struct key *key)
{
    switch (key->type) {
    case T_BOOL:
        return "true or false";
    case T_INT:
    case T_INT32:
        return "number";
    case T_STRING:
        return "string";
    case T_SHELL:
        return "shell line";
    case T_TEXT:
        return "text";
    case T_DURATION:
        return "duration";
    case T_SIZE:
        return "size";
    case T_NAME:
        return "name";
    case T_PATH:
        return "file";
    case T_ANCHOR:
        return "time";
    case T_STRINGS:
        return "list of strings";
    case T_OBJECT:
        return "map";
    case T_NOTE:
        return "string or list";
    default:
        return "";
    }
}

/* Cells of a table cannot hold a bar. */
static void cell(struct es_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            es_buf_putc(out, '\\');
        es_buf_putc(out, *text);
    }
}

static void put_words(struct es_buf *out, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++)
        es_buf_printf(out, "%s`%s`", i == 0 ? "" : " ", words[i]);
}

static const char *custom_word(const struct key *key)
{
    const char *schema = key->schema;
    if (strstr(schema, "\"array\"") == schema + strlen("{\"type\":"))
        return "list";
    if (strstr(schema, "\"object\"") == schema + strlen("{\"type\":") || schema[0] == '#')
        return "map";
    if (strstr(schema, "anyOf") != NULL)
        return "string or map";
    if (strstr(schema, "\"integer\"") != NULL || strstr(schema, "\"number\"") != NULL ||
        strstr(schema, "const") != NULL)
        return "number";
    return "string";
}

static void put_type(struct es_buf *out, const struct key *key)
{
    switch (key->type) {
    case T_CHOICE:
    case T_CHOICE_BOOL:
    case T_WORD:
        put_words(out, key->words);
        break;
    case T_REF:
        es_buf_puts(out, space_word(key->space));
        break;
    case T_REFS:
        es_buf_printf(out, "list of %ss", space_word(key->space));
        break;
    case T_LIST:
        es_buf_printf(out, "list, see %s", key->shape->title);
        break;
    case T_MAP:
        es_buf_printf(out, "map of names, see %s", key->shape->title);
        break;
    case T_CUSTOM:
        es_buf_puts(out, custom_word(key));
        break;
    default:
        es_buf_puts(out, type_word(key));
        break;
    }
}

static void put_key(struct es_buf *out, const struct key *key)
{
    es_buf_printf(out, "| `%s`%s | ", key->name,
                  (key->flags & KEY_EXPANDS) != 0 ? " ✎" : "");
    put_type(out, key);
    es_buf_printf(out, " | %s | ",
                  (key->flags & KEY_REQUIRED) != 0 ? "needed"
                  : key->fallback != NULL          ? key->fallback
                                                   : "");
    cell(out, key->doc);
    es_buf_puts(out, " |\n");
}

static void put_shape(struct es_buf *out, const struct shape *shape)
{
    bool later = false;
    es_buf_printf(out, "### %s\n\n", shape->title);
    if (shape->doc != NULL)
        es_buf_printf(out, "%s\n\n", shape->doc);
    es_buf_puts(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
    for (const struct key *key = shape->keys; key->name != NULL; key++) {
        if (key->type == T_LATER)
            later = true;
        else
            put_key(out, key);
    }
    if (later) {
        es_buf_puts(out, "\nKnown, and refused because it " ES_NEEDS_LATER ":");
        const char *comma = "";
        for (const struct key *key = shape->keys; key->name != NULL; key++) {
            if (key->type != T_LATER)
                continue;
            es_buf_printf(out, "%s `%s` (%s)", comma, key->name, key->doc);
            comma = ",";
        }
        es_buf_puts(out, ".\n");
    }
    es_buf_puts(out, "\n");
}

/* ------------------------------------------------------------------ probes */

static const char *probe_type_word(const struct probe_key *key)
{
    switch (key->type) {
    case PT_STRING:
    case PT_HOST:
    case PT_HOSTPORT:
    case PT_PATH:
    case PT_SHA256:
        return "string";
    case PT_REGEX:
        return "expression";
    case PT_STRINGS:
        return "string or list";
    case PT_REGEXES:
        return "expression or list";
    case PT_ARGV:
        return "shell line or list";
    case PT_MAP:
        return "map";
    case PT_BOOL:
        return "true or false";
    case PT_INT:
    case PT_PORT:
        return "number";
    case PT_INTS:
        return "number, list or range";
    case PT_RANGE:
        return "number or range";
    case PT_MODE:
        return "string";
    case PT_WORD:
        break;
    }
    return "";
}

static void put_probe(struct es_buf *out, enum es_probe_kind kind)
{
    const struct probe_table *table = &probe_tables[kind];
    static const char *const roles[] = {"look", "there", "expect"};
    es_buf_printf(out, "### %s\n\n", table->name);
    cell(out, table->does);
    es_buf_printf(out, ". %s",
                  table->inside ? "Looks inside a node (`node:`)."
                                : "Looks over the network (`from:`).");
    if (probe_rule(kind) != NULL)
        es_buf_printf(out, " %s", probe_rule(kind));
    es_buf_puts(out, "\n\n| key | | value | meaning |\n|---|---|---|---|\n");
    for (const struct probe_key *key = table->keys; key->name != NULL; key++) {
        es_buf_printf(out, "| `%s` | %s | ", key->name,
                      key->required ? "look, needed" : roles[key->role]);
        if (key->type == PT_WORD)
            put_words(out, key->words);
        else
            es_buf_puts(out, probe_type_word(key));
        es_buf_puts(out, " | ");
        cell(out, key->doc);
        es_buf_puts(out, " |\n");
    }
    es_buf_puts(out, "\n");
}

static const char probes_intro[] =
    "## Probes\n"
    "\n"
    "One in each observing condition, and in `ready`. *look* says where and goes to the "
    "agent; "
    "*there* and *expect* say\n"
    "what must be found; they are compared outside and never enter a machine. A *range* "
    "is "
    "`{min: 1, max: 4}`, either may be\n"
    "left out. Expressions are POSIX extended regular expressions of at most 512 bytes; "
    "values in\n"
    "them stand for themselves.\n"
    "\n";

static const char facts_intro[] =
    "## Facts\n"
    "\n"
    "Every named thing has facts, usable in `fact`, `of`, `waive` and as times:\n"
    "\n"
    "| of a | facts |\n"
    "|---|---|\n"
    "| condition | `NAME.pass` `NAME.fail` |\n"
    "| objective | `NAME.met` `NAME.lost` |\n"
    "| phase | `NAME.begun` `NAME.done` |\n"
    "| node | `NAME.reset` `NAME.down` |\n"
    "\n";

int es_scenario_reference(struct es_buf *out)
{
    es_buf_puts(out, intro);
    es_buf_puts(out, facts_intro);
    es_buf_puts(out, "## Keys\n\n");
    for (size_t i = 0; all_shapes[i] != NULL; i++)
        put_shape(out, all_shapes[i]);
    es_buf_puts(out, probes_intro);
    for (int i = 0; i < ES_PROBE_COUNT; i++)
        put_probe(out, (enum es_probe_kind)i);
    if (es_buf_status(out) == 0) /* one newline at the end of the file */
        out->data[--out->len] = '\0';
    return es_buf_status(out);
}
