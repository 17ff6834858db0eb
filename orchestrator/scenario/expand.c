/* ${…}: replacing, and checking that every name is known. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

/* The name between ${ and } at `at` (which points behind the brace); NULL when it is not
 * closed or too long. Moves *at behind the closing brace. */
static const char *take_name(const char **at, char name[EXPAND_NAME_MAX])
{
    const char *end = strchr(*at, '}');
    if (end == NULL || end - *at >= EXPAND_NAME_MAX)
        return NULL;
    memcpy(name, *at, (size_t)(end - *at));
    name[end - *at] = '\0';
    *at = end + 1;
    return name;
}

static const char *const namespaces[] = {"team.", "node.", "account.", "random.", NULL};

/* Of a shell line only what begins with a name space of ours is replaced. */
static bool is_ours(const char *at)
{
    for (size_t i = 0; namespaces[i] != NULL; i++)
        if (es_str_starts(at, namespaces[i]))
            return true;
    return false;
}

int es_scenario_expand(const char *text,
                       const char *(*value)(void *ctx, const char *name), void *ctx,
                       struct es_buf *out, struct es_err *err)
{
    char name[EXPAND_NAME_MAX];
    for (const char *at = text; *at != '\0';) {
        const char *dollar = strchr(at, '$');
        if (dollar == NULL) {
            es_buf_puts(out, at);
            break;
        }
        es_buf_append(out, at, (size_t)(dollar - at));
        if (es_str_starts(dollar, "$${")) {
            es_buf_puts(out, "${");
            at = dollar + 3;
        } else if (dollar[1] != '{') {
            es_buf_putc(out, '$');
            at = dollar + 1;
        } else {
            at = dollar + 2;
            const char *v = take_name(&at, name) != NULL ? value(ctx, name) : NULL;
            if (v == NULL)
                return es_err_set(err, ES_EINVAL, "\"%.60s\" has no value", dollar);
            es_buf_puts(out, v);
        }
    }
    int rc = es_buf_status(out);
    if (rc != 0)
        return es_err_set(err, rc, "text with its values: %s", es_status_text(rc));
    return 0;
}

/* The variable that carries the value; another name for another value. */
static int set_variable(json_t *env, const char *name, const char *value,
                        char variable[EXPAND_NAME_MAX + 16], struct es_err *err)
{
    int n = snprintf(variable, EXPAND_NAME_MAX + 16, "ENSHU_%s", name);
    for (int i = 6; i < n; i++)
        variable[i] =
            isalnum((unsigned char)variable[i]) ? (char)toupper(variable[i]) : '_';
    for (unsigned twin = 2; twin < 100; twin++) {
        const char *old = json_string_value(json_object_get(env, variable));
        if (old == NULL)
            return json_object_set_new(env, variable, json_string(value)) == 0
                       ? 0
                       : es_err_set(err, ES_EINVAL, "the value of %s is not text", name);
        if (strcmp(old, value) == 0)
            return 0;
        snprintf(variable + n, 8, "_%u", twin % 100);
    }
    return es_err_set(err, ES_ELIMIT, "too many names like %s in one line", name);
}

int es_scenario_expand_shell(const char *line,
                             const char *(*value)(void *ctx, const char *name), void *ctx,
                             struct es_buf *out, json_t *env, struct es_err *err)
{
    char name[EXPAND_NAME_MAX], variable[EXPAND_NAME_MAX + 16];
    for (const char *at = line; *at != '\0';) {
        const char *dollar = strchr(at, '$');
        if (dollar == NULL) {
            es_buf_puts(out, at);
            break;
        }
        es_buf_append(out, at, (size_t)(dollar - at));
        if (es_str_starts(dollar, "$${") && is_ours(dollar + 3)) {
            es_buf_puts(out, "${");
            at = dollar + 3;
        } else if (dollar[1] == '{' && is_ours(dollar + 2)) {
            at = dollar + 2;
            const char *v = take_name(&at, name) != NULL ? value(ctx, name) : NULL;
            if (v == NULL)
                return es_err_set(err, ES_EINVAL, "\"%.60s\" has no value", dollar);
            int rc = set_variable(env, name, v, variable, err);
            if (rc != 0)
                return rc;
            es_buf_printf(out, "${%s}", variable);
        } else {
            es_buf_putc(out, '$');
            at = dollar + 1;
        }
    }
    int rc = es_buf_status(out);
    if (rc != 0)
        return es_err_set(err, rc, "shell line with its values: %s", es_status_text(rc));
    return 0;
}

/* ------------------------------------------------------------------ checking */

bool expand_is_used(const char *line)
{
    for (const char *at = line; (at = strstr(at, "${")) != NULL; at += 2)
        if (is_ours(at + 2))
            return true;
    return false;
}

static void note(struct load *ld, struct expansion expansion)
{
    if (strstr(expansion.text, "${") == NULL)
        return;
    struct expansion *all =
        es_arena_push(&ld->temp, ld->expansions, ld->expansion_count, sizeof *all);
    if (all == NULL)
        return;
    ld->expansions = all;
    expansion.path = load_path_copy(ld);
    expansion.place = ld->place;
    all[ld->expansion_count++] = expansion;
}

void expand_note(struct load *ld, const char *text, struct es_pos pos, bool shell)
{
    note(ld, (struct expansion){.text = text, .pos = pos, .shell = shell});
}

void expand_note_file(struct load *ld, const struct source_file *source)
{
    note(ld, (struct expansion){
                 .text = source->text, .pos = {source->name, 1, 1}, .in_file = true});
}

/* Where the text between `from` and `to` moves the position. */
static void count_lines(struct es_pos *pos, const char *from, const char *to)
{
    for (; from < to; from++) {
        if (*from == '\n') {
            pos->line++;
            pos->col = 1;
        } else if (((unsigned char)*from & 0xc0) != 0x80) {
            pos->col++;
        }
    }
}

void expand_is_plain(struct load *ld, const char *text, struct es_pos pos)
{
    if (expand_is_used(text))
        load_warn_at(ld, pos, ld->path,
                     "${…} is not replaced here; `enshu reference` marks where it is");
}

/* ------------------------------------------------------------------ what a name means */

enum meaning { UNKNOWN, COMMON, OF_TEAM };

/* The account in "NODE.USER"; NULL with *ret_node -1 when there is no such node. */
static const struct es_account *find_account(const struct load *ld, const char *rest,
                                             int *ret_node)
{
    char name[EXPAND_NAME_MAX];
    size_t len = strcspn(rest, ".");
    es_str_printf(name, sizeof name, "%.*s", (int)len, rest);
    *ret_node = rest[len] == '.' ? es_scenario_node(ld->s, name) : -1;
    if (*ret_node < 0)
        return NULL;
    const struct es_node *node = &ld->s->nodes[*ret_node];
    for (size_t i = 0; i < node->account_count; i++)
        if (es_str_eq(node->accounts[i].user, rest + len + 1))
            return &node->accounts[i];
    return NULL;
}

/* The node in "NODE.address", -1 when there is none; the name in `name`, "" when it is
 * written otherwise. */
static int find_address(const struct load *ld, const char *rest,
                        char name[EXPAND_NAME_MAX])
{
    const char *dot = strrchr(rest, '.');
    name[0] = '\0';
    if (es_str_eq(dot, ".address"))
        es_str_printf(name, EXPAND_NAME_MAX, "%.*s", (int)(dot - rest), rest);
    return es_scenario_node(ld->s, name);
}

static const char *const team_names[] = {"team.id", "team.number", "team.name", NULL};

static enum meaning meaning_of(const struct load *ld, const char *name)
{
    char node_name[EXPAND_NAME_MAX];
    int at;
    if (es_str_starts(name, "random."))
        return names_find(&ld->s->inner->names, SPACE_RANDOM, name + 7) != NULL ? OF_TEAM
                                                                                : UNKNOWN;
    if (es_str_starts(name, "account.")) {
        const struct es_account *account = find_account(ld, name + 8, &at);
        if (account == NULL)
            return UNKNOWN;
        bool is_own = ld->s->nodes[at].scope == ES_SCOPE_TEAM;
        return account->password == NULL && is_own ? OF_TEAM : COMMON;
    }
    if (es_str_starts(name, "node.")) {
        at = find_address(ld, name + 5, node_name);
        if (at < 0 || ld->s->nodes[at].nic_count == 0)
            return UNKNOWN;
        return ld->s->nodes[at].nics[0].how == ES_NIC_SLICE ? OF_TEAM : COMMON;
    }
    for (size_t i = 0; team_names[i] != NULL; i++)
        if (strcmp(team_names[i], name) == 0)
            return OF_TEAM;
    return UNKNOWN;
}

const char *expand_of_team(const struct load *ld, const char *text, bool shell,
                           char name[EXPAND_NAME_MAX])
{
    for (const char *at = text; (at = strchr(at, '$')) != NULL;) {
        if (es_str_starts(at, "$${")) {
            at += 3;
        } else if (at[1] != '{' || (shell && !is_ours(at + 2))) {
            at++;
        } else {
            at += 2;
            if (take_name(&at, name) == NULL)
                return NULL;
            if (meaning_of(ld, name) == OF_TEAM)
                return name;
        }
    }
    return NULL;
}

/* ------------------------------------------------------------------ reports */

static void report_account(struct load *ld, const struct expansion *e, const char *rest)
{
    int node;
    find_account(ld, rest, &node);
    if (node < 0)
        load_error_at(ld, e->pos, e->path,
                      "${account.%.60s} names no node; write ${account.NODE.USER}", rest);
    else
        load_error_at(ld, e->pos, e->path, "the node \"%s\" has no account \"%.60s\"",
                      ld->s->nodes[node].name, strchr(rest, '.') + 1);
}

static void report_node(struct load *ld, const struct expansion *e, const char *rest)
{
    char name[EXPAND_NAME_MAX];
    int node = find_address(ld, rest, name);
    if (name[0] == '\0')
        load_error_at(ld, e->pos, e->path,
                      "${node.%.60s} is unknown; write ${node.NODE.address}", rest);
    else if (node < 0)
        load_error_at(ld, e->pos, e->path, "${node.%.60s}: there is no node \"%.60s\"%s",
                      rest, name, load_near(ld, SPACE_NODE, name, ""));
    else
        load_error_at(ld, e->pos, e->path, "${node.%.60s}: the node is on no network",
                      rest);
}

static void report_unknown(struct load *ld, const struct expansion *e, const char *name)
{
    if (es_str_starts(name, "account."))
        report_account(ld, e, name + 8);
    else if (es_str_starts(name, "node."))
        report_node(ld, e, name + 5);
    else if (es_str_starts(name, "random."))
        load_error_at(ld, e->pos, e->path, "${%.60s} is unknown%s", name,
                      load_near(ld, SPACE_RANDOM, name + 7, "random."));
    else if (es_str_starts(name, "team."))
        load_error_at(ld, e->pos, e->path, "${%.60s} is unknown%s", name,
                      suggest(name, team_names));
    else
        load_error_at(ld, e->pos, e->path,
                      "${%.60s} is unknown: there are ${team.…}, ${node.…}, ${account.…} "
                      "and ${random.…}; write $${ for the text ${",
                      name);
}

static void check_name(struct load *ld, const struct expansion *e, const char *name)
{
    enum meaning meaning = meaning_of(ld, name);
    const char *what = es_str_starts(name, "account.") ? ", a generated password,"
                       : es_str_starts(name, "node.")  ? ", an address in a team's slice,"
                                                       : "";
    if (meaning == UNKNOWN)
        report_unknown(ld, e, name);
    else if (meaning == OF_TEAM && e->place == PLACE_SETUP)
        load_error_at(
            ld, e->pos, e->path,
            "setup runs on the mould, which has no team: ${%.60s}%s belongs into "
            "personalise",
            name, what);
    else if (meaning == OF_TEAM && e->place == PLACE_READY)
        load_error_at(ld, e->pos, e->path,
                      "ready is asked of the mould too, which has no team: ${%.60s}%s "
                      "has no value there",
                      name, what);
}

static void check_one(struct load *ld, struct expansion *e)
{
    char name[EXPAND_NAME_MAX];
    const char *counted = e->text;
    for (const char *at = e->text; (at = strchr(at, '$')) != NULL;) {
        if (es_str_starts(at, "$${")) {
            at += 3;
            continue;
        }
        if (at[1] != '{' || (e->shell && !is_ours(at + 2))) {
            at++;
            continue;
        }
        if (e->in_file) {
            count_lines(&e->pos, counted, at);
            counted = at;
        }
        at += 2;
        if (take_name(&at, name) == NULL) {
            load_error_at(ld, e->pos, e->path,
                          "\"${\" without \"}\"; write $${ for the text ${");
            return;
        }
        check_name(ld, e, name);
    }
}

void expand_check(struct load *ld)
{
    for (size_t i = 0; i < ld->expansion_count; i++)
        check_one(ld, &ld->expansions[i]);
}
