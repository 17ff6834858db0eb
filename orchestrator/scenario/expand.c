/* ${…}: replacing, and checking that every name is known. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

enum { EXPAND_NAME_MAX = 128 };

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
    expansion.in_setup = ld->in_setup;
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

/* The account `user` of node `name`, both in "name.user"; NULL after reporting. */
static const struct es_account *find_account(struct load *ld, const struct expansion *e,
                                             const char *rest)
{
    const char *dot = strchr(rest, '.');
    const char *node_name =
        dot != NULL ? es_arena_strndup(&ld->temp, rest, (size_t)(dot - rest)) : NULL;
    int i = es_scenario_node(ld->s, node_name);
    if (i < 0) {
        load_error_at(ld, e->pos, e->path,
                      "${account.%.60s} names no node; write ${account.NODE.USER}", rest);
        return NULL;
    }
    const struct es_node *node = &ld->s->nodes[i];
    for (size_t k = 0; k < node->account_count; k++)
        if (es_str_eq(node->accounts[k].user, dot + 1))
            return &node->accounts[k];
    load_error_at(ld, e->pos, e->path, "the node \"%s\" has no account \"%.60s\"",
                  node->name, dot + 1);
    return NULL;
}

static void check_node(struct load *ld, const struct expansion *e, const char *rest)
{
    size_t len = strlen(rest);
    const char *name = es_str_ends(rest, ".address")
                           ? es_arena_strndup(&ld->temp, rest, len - strlen(".address"))
                           : NULL;
    if (name == NULL) {
        load_error_at(ld, e->pos, e->path,
                      "${node.%.60s} is unknown; write "
                      "${node.NODE.address}",
                      rest);
        return;
    }
    if (es_scenario_node(ld->s, name) >= 0)
        return;
    load_error_at(ld, e->pos, e->path, "${node.%.60s}: there is no node \"%.60s\"%s",
                  rest, name, load_near(ld, SPACE_NODE, name, ""));
}

static void check_name(struct load *ld, const struct expansion *e, const char *name)
{
    static const char *const known[] = {"team.id", "team.number", "team.name", NULL};
    const struct es_account *account = NULL;
    bool of_team = false;
    if (es_str_starts(name, "team.")) {
        of_team = true;
        for (size_t i = 0; known[i] != NULL; i++)
            if (strcmp(known[i], name) == 0)
                goto found;
        load_error_at(ld, e->pos, e->path, "${%.60s} is unknown%s", name,
                      suggest(name, known));
        return;
    }
    if (es_str_starts(name, "random.")) {
        of_team = true;
        if (names_find(&ld->s->inner->names, SPACE_RANDOM, name + 7) != NULL)
            goto found;
        load_error_at(ld, e->pos, e->path, "${%.60s} is unknown%s", name,
                      load_near(ld, SPACE_RANDOM, name + 7, "random."));
        return;
    }
    if (es_str_starts(name, "node.")) {
        check_node(ld, e, name + 5);
        return;
    }
    if (es_str_starts(name, "account.")) {
        account = find_account(ld, e, name + 8);
        if (account == NULL || account->password != NULL)
            return;
        goto found;
    }
    load_error_at(ld, e->pos, e->path,
                  "${%.60s} is unknown: there are ${team.…}, ${node.…}, ${account.…} and "
                  "${random.…}; write $${ for the text ${",
                  name);
    return;
found:
    if (e->in_setup)
        load_error_at(
            ld, e->pos, e->path,
            "setup runs on the mould, which has no team: ${%.60s}%s belongs into "
            "personalise",
            name, of_team ? "" : ", a generated password,");
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
