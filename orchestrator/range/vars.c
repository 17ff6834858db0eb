/* Values of ${…}: what a team's texts and shells may use. Secrets are derived from the
 * range's secret, so they are the same after every restart and different in every range. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "vars.h"

void vars_derive(const struct range *range, const char *purpose, int team,
                 unsigned char *dst, size_t len)
{
    unsigned char hash[crypto_generichash_BYTES_MAX];
    char word[256];
    ES_ASSERT(len <= sizeof hash);
    es_str_printf(word, sizeof word, "%d/%s", team, purpose);
    crypto_generichash(hash, sizeof hash, (const unsigned char *)word, strlen(word),
                       range->secret, SEED_BYTES);
    memcpy(dst, hash, len);
}

static int random_text(const struct range *r, const struct es_random *random, int team,
                       char *dst, size_t size)
{
    unsigned char bytes[64];
    char hex[2 * sizeof bytes + 1], purpose[ES_NAME_MAX + 16];
    es_str_printf(purpose, sizeof purpose, "random/%s", random->name);
    vars_derive(r, purpose, team, bytes, sizeof bytes);
    sodium_bin2hex(hex, sizeof hex, bytes, sizeof bytes);
    if (random->kind == ES_RANDOM_INT) {
        uint64_t v, span = (uint64_t)(random->max - random->min) + 1;
        memcpy(&v, bytes, sizeof v);
        return es_str_printf(dst, size, "%lld",
                             (long long)(random->min + (int64_t)(v % span)));
    }
    if (random->kind == ES_RANDOM_HEX) {
        int digits = (int)(random->digits < 128 ? random->digits : 128);
        return es_str_printf(dst, size, "%.*s", digits, hex);
    }
    static const char ellipsis[] = "\xe2\x80\xa6";
    const char *gap = strstr(random->format, ellipsis);
    size_t gap_len = sizeof ellipsis - 1;
    if (gap == NULL) {
        gap = strstr(random->format, "...");
        gap_len = 3;
    }
    if (gap == NULL)
        return es_str_printf(dst, size, "%s%.24s", random->format, hex);
    return es_str_printf(dst, size, "%.*s%.24s%s", (int)(gap - random->format),
                         random->format, hex, gap + gap_len);
}

int vars_password(struct range *range, int team, int node,
                  const struct es_account *account, char *dst, size_t size)
{
    /* No letters that are easily taken for others when read aloud or from paper. */
    static const char alphabet[] = "abcdefghjkmnpqrstuvwxyz23456789";
    unsigned char bytes[12];
    char purpose[2 * ES_NAME_MAX + 80];
    if (account->password != NULL)
        return es_str_printf(dst, size, "%s", account->password);
    /* One machine for all teams has one password, whoever asks for it. */
    if (range->scenario->nodes[node].scope == ES_SCOPE_RANGE)
        team = -1;
    es_str_printf(purpose, sizeof purpose, "password/%s/%.64s",
                  range->scenario->nodes[node].name, account->user);
    vars_derive(range, purpose, team, bytes, sizeof bytes);
    if (size < sizeof bytes + 1)
        return ES_ELIMIT;
    for (size_t i = 0; i < sizeof bytes; i++)
        dst[i] = alphabet[bytes[i] % (sizeof alphabet - 1)];
    dst[sizeof bytes] = '\0';
    return 0;
}

static int account_value(struct vars *v, const char *rest)
{
    const struct es_scenario *s = v->range->scenario;
    for (size_t n = 0; n < s->nodes_count; n++) {
        size_t len = strlen(s->nodes[n].name);
        if (strncmp(rest, s->nodes[n].name, len) != 0 || rest[len] != '.')
            continue;
        for (size_t a = 0; a < s->nodes[n].account_count; a++)
            if (es_str_eq(s->nodes[n].accounts[a].user, rest + len + 1))
                return vars_password(v->range, v->team, (int)n, &s->nodes[n].accounts[a],
                                     v->value, sizeof v->value);
    }
    return ES_ENOENT;
}

static int node_value(struct vars *v, const char *rest)
{
    char name[ES_NAME_MAX + 1];
    const char *dot = strrchr(rest, '.');
    if (dot == NULL || !es_str_eq(dot, ".address") || dot - rest > ES_NAME_MAX)
        return ES_ENOENT;
    memcpy(name, rest, (size_t)(dot - rest));
    name[dot - rest] = '\0';
    int node = es_scenario_node(v->range->scenario, name);
    if (node < 0)
        return ES_ENOENT;
    uint32_t addr = es_plan_address(v->range->plan, v->team, node, -1);
    if (addr == 0)
        return ES_ENOENT;
    es_ip4_format(addr, v->value);
    return 0;
}

static int team_value(struct vars *v, const char *rest)
{
    if (es_str_eq(rest, "id"))
        return es_str_printf(v->value, sizeof v->value, "t%02d", v->team);
    if (es_str_eq(rest, "number"))
        return es_str_printf(v->value, sizeof v->value, "%d", v->team);
    if (es_str_eq(rest, "name") && v->team >= 1 && v->team <= v->range->team_count)
        return es_str_printf(v->value, sizeof v->value, "%s",
                             v->range->team_names[v->team]);
    return ES_ENOENT;
}

const char *vars_value(void *ctx, const char *name)
{
    struct vars *v = ctx;
    const struct es_scenario *s = v->range->scenario;
    int rc = ES_ENOENT;
    if (es_str_starts(name, "team."))
        rc = team_value(v, name + 5);
    else if (es_str_starts(name, "node."))
        rc = node_value(v, name + 5);
    else if (es_str_starts(name, "account."))
        rc = account_value(v, name + 8);
    else if (es_str_starts(name, "random."))
        for (size_t i = 0; i < s->randoms_count; i++)
            if (es_str_eq(s->randoms[i].name, name + 7))
                rc = random_text(v->range, &s->randoms[i], v->team, v->value,
                                 sizeof v->value);
    return rc == 0 ? v->value : NULL;
}

char *vars_expand(struct range *range, int team, const char *text, struct es_err *err)
{
    struct vars v = {.range = range, .team = team};
    struct es_buf out;
    es_buf_init(&out, 1U << 20);
    int rc = es_scenario_expand(text, vars_value, &v, &out, err);
    char *result = rc == 0 ? es_buf_take(&out) : NULL;
    if (rc == 0 && result == NULL)
        es_err_nomem(err);
    es_buf_finish(&out);
    return result;
}

static json_t *expand_json(struct range *range, int team, const json_t *value,
                           struct es_err *err)
{
    if (json_is_string(value)) {
        char *text = vars_expand(range, team, json_string_value(value), err);
        json_t *string = text != NULL ? json_string(text) : NULL;
        es_free(text);
        return string;
    }
    if (json_is_array(value)) {
        json_t *out = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            if (json_array_append_new(
                    out, expand_json(range, team, json_array_get(value, i), err)) != 0)
                goto fail_array;
        return out;
    fail_array:
        json_decref(out);
        return NULL;
    }
    if (json_is_object(value)) {
        json_t *out = json_object(), *item;
        const char *key;
        json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
            if (json_object_set_new(out, key, expand_json(range, team, item, err)) != 0) {
                json_decref(out);
                return NULL;
            }
        }
        return out;
    }
    return json_deep_copy(value);
}

char *vars_shell(struct range *range, int team, const char *line, json_t *env,
                 struct es_err *err)
{
    struct vars v = {.range = range, .team = team};
    struct es_buf out;
    es_buf_init(&out, 1U << 20);
    int rc = es_scenario_expand_shell(line, vars_value, &v, &out, env, err);
    char *result = rc == 0 ? es_buf_take(&out) : NULL;
    if (rc == 0 && result == NULL)
        es_err_nomem(err);
    es_buf_finish(&out);
    return result;
}

/* Puts the shell line and its variables into `look`; false after filling err. */
static bool set_shell(struct range *range, int team, const char *line, json_t *look,
                      struct es_err *err)
{
    json_t *env = json_object_get(look, "env");
    env = env != NULL ? json_incref(env) : json_object();
    char *text = vars_shell(range, team, line, env, err);
    bool good = text != NULL &&
                json_object_set_new(look, "run", json_string(text)) == 0 &&
                (json_object_size(env) == 0 || json_object_set(look, "env", env) == 0);
    es_free(text);
    json_decref(env);
    return good;
}

struct pattern {
    struct vars vars;
    struct es_buf escaped;
};

static const char *pattern_value(void *ctx, const char *name)
{
    struct pattern *p = ctx;
    const char *value = vars_value(&p->vars, name);
    es_buf_clear(&p->escaped);
    return value != NULL && es_str_escape_regex(&p->escaped, value) == 0
               ? es_buf_str(&p->escaped)
               : NULL;
}

/* Puts an expression into `look`; values in it stand for themselves. */
static bool set_pattern(struct range *range, int team, const char *text, json_t *look,
                        struct es_err *err)
{
    struct pattern p = {.vars = {.range = range, .team = team}};
    struct es_buf out;
    es_buf_init(&p.escaped, 2 * sizeof p.vars.value);
    es_buf_init(&out, 1U << 20);
    bool good = es_scenario_expand(text, pattern_value, &p, &out, err) == 0 &&
                json_object_set_new(look, "match", json_string(es_buf_str(&out))) == 0;
    es_buf_finish(&out);
    es_buf_finish(&p.escaped);
    return good;
}

json_t *vars_look(struct range *range, int team, enum es_probe_kind kind,
                  const json_t *look, struct es_err *err)
{
    const char *line = json_string_value(json_object_get(look, "run"));
    const char *match = json_string_value(json_object_get(look, "match"));
    json_t *rest = json_copy((json_t *)(uintptr_t)look);
    if (rest == NULL)
        return NULL;
    if (line != NULL)
        json_object_del(rest, "run");
    if (match != NULL)
        json_object_del(rest, "match");
    json_t *out = expand_json(range, team, rest, err);
    json_decref(rest);
    bool good = out != NULL;
    if (good && match != NULL)
        good = set_pattern(range, team, match, out, err);
    /* A command on a third machine (ssh) gets no variables, so it holds no values. */
    if (good && line != NULL)
        good = kind == ES_PROBE_command
                   ? set_shell(range, team, line, out, err)
                   : json_object_set_new(out, "run", json_string(line)) == 0;
    if (good)
        return out;
    json_decref(out);
    return NULL;
}

/* ENSHU_RANDOM_WEB_FLAG for random.web-flag. */
static void set_env(json_t *env, const char *prefix, const char *a, const char *b,
                    const char *value)
{
    char name[256];
    if (value == NULL ||
        es_str_printf(name, sizeof name, "ENSHU_%s%s%s%s%s", prefix,
                      *a != '\0' ? "_" : "", a, *b != '\0' ? "_" : "", b) != 0)
        return;
    for (char *p = name; *p != '\0'; p++) {
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
        else if (!((*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9')))
            *p = '_';
    }
    json_object_set_new(env, name, json_string(value));
}

json_t *vars_env(struct range *range, int team, const struct machine *m)
{
    const struct es_scenario *s = range->scenario;
    struct vars v = {.range = range, .team = team};
    json_t *env = json_object();
    char name[3 * ES_NAME_MAX + 80];
    set_env(env, "NODE", "", "", m->node->name);
    for (size_t n = 0; n < s->nodes_count; n++) {
        es_str_printf(name, sizeof name, "node.%s.address", s->nodes[n].name);
        set_env(env, "ADDRESS", s->nodes[n].name, "", vars_value(&v, name));
    }
    if (team == 0)
        return env; /* the mould knows nothing of a team */
    set_env(env, "TEAM", "", "", vars_value(&v, "team.number"));
    set_env(env, "TEAM", "ID", "", vars_value(&v, "team.id"));
    set_env(env, "TEAM", "NAME", "", vars_value(&v, "team.name"));
    for (size_t i = 0; i < s->randoms_count; i++) {
        es_str_printf(name, sizeof name, "random.%s", s->randoms[i].name);
        set_env(env, "RANDOM", s->randoms[i].name, "", vars_value(&v, name));
    }
    for (size_t n = 0; n < s->nodes_count; n++)
        for (size_t a = 0; a < s->nodes[n].account_count; a++) {
            es_str_printf(name, sizeof name, "account.%s.%.64s", s->nodes[n].name,
                          s->nodes[n].accounts[a].user);
            set_env(env, "ACCOUNT", s->nodes[n].name, s->nodes[n].accounts[a].user,
                    vars_value(&v, name));
        }
    return env;
}
