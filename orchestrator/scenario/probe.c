/* Binds one probe: its look keys to the JSON the agent gets, the others to expectations. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

enum { EXPECTS_MAX = 64 };

struct draft {
    struct load *ld;
    struct es_probe *probe;
    const struct probe_table *table;
    struct es_expect expects[EXPECTS_MAX];
    size_t expect_count;
    bool presence_set;
    struct es_pos first_expect;
    const char *first_expect_key;
};

static void set_look(struct draft *d, const char *name, json_t *value)
{
    if (value == NULL || json_object_set_new(d->probe->look, name, value) != 0)
        d->ld->nomem = true;
}

static void add_expect(struct draft *d, const struct probe_key *key,
                       enum es_compare compare, json_t *value, struct es_pos pos)
{
    if (load_own(d->ld, value) == NULL)
        return;
    if (d->expect_count == EXPECTS_MAX) {
        load_error(d->ld, pos, "more than %d things are expected of one probe; split it",
                   EXPECTS_MAX);
        return;
    }
    d->expects[d->expect_count++] =
        (struct es_expect){key->name, key->field, compare, key->negate, value};
}

/* ------------------------------------------------------------------ keys */

static void bind_numbers(struct draft *d, const struct probe_key *key,
                         const struct es_yaml *y)
{
    if (y->type == ES_YAML_MAP) {
        json_t *range = probe_range(d->ld, key, y);
        if (range != NULL)
            add_expect(d, key, ES_CMP_RANGE, range, y->pos);
        return;
    }
    if (key->type == PT_INTS && y->type == ES_YAML_LIST) {
        json_t *list = json_array();
        for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
            json_t *value = probe_int(d->ld, item, key->min, key->max);
            if (value != NULL && json_array_append_new(list, value) != 0)
                d->ld->nomem = true;
        }
        add_expect(d, key, ES_CMP_ONE_OF, list, y->pos);
        return;
    }
    json_t *value = probe_int(d->ld, y, key->min, key->max);
    if (value == NULL)
        return;
    if (key->compare == ES_CMP_RANGE) {
        json_t *range = json_array();
        int low = json_array_append(range, value);
        int high = json_array_append_new(range, value); /* takes it even when it fails */
        d->ld->nomem = d->ld->nomem || low != 0 || high != 0;
        add_expect(d, key, ES_CMP_RANGE, range, y->pos);
        return;
    }
    add_expect(d, key, ES_CMP_EQUALS, value, y->pos);
}

static void bind_hostport(struct draft *d, const struct probe_key *key,
                          const struct es_yaml *y)
{
    const char *text = scalar_string(d->ld, y);
    if (text == NULL)
        return;
    const char *colon = strrchr(text, ':');
    int64_t port;
    char host[256];
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host ||
        es_str_int(colon + 1, 1, 65535, &port) != 0) {
        load_error(d->ld, y->pos, "\"%.60s\" is not \"address:port\"", text);
        return;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (!probe_check_host(d->ld, host, y->pos))
        return;
    expand_note(d->ld, text, y->pos, key->shell);
    set_look(d, "host", json_string(host));
    set_look(d, "port", json_integer(port));
}

static void bind_expect(struct draft *d, const struct probe_key *key,
                        const struct es_yaml *y)
{
    if (d->first_expect_key == NULL) {
        d->first_expect_key = key->name;
        d->first_expect = y->key_pos;
    }
    if (key->type == PT_INTS || key->type == PT_RANGE) {
        bind_numbers(d, key, y);
        return;
    }
    if ((key->type == PT_STRINGS || key->type == PT_REGEXES) && y->type == ES_YAML_LIST) {
        size_t i = 0;
        for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
            size_t mark = path_push_index(d->ld, i++);
            json_t *value = probe_text(d->ld, key, item);
            if (value != NULL)
                add_expect(d, key, key->compare, value, item->pos);
            path_pop(d->ld, mark);
        }
        return;
    }
    json_t *value = probe_value(d->ld, key, y);
    if (value == NULL)
        return;
    struct probe_key as = *key;
    if (key->compare == ES_CMP_CHANGED) {
        as.negate = json_is_false(value);
        json_decref(value);
        value = json_true();
    }
    add_expect(d, &as, key->compare, value, y->pos);
}

static void bind_key(struct draft *d, const struct probe_key *key,
                     const struct es_yaml *y)
{
    if (key->role == P_PRESENCE) {
        d->presence_set = scalar_bool(d->ld, y, &d->probe->present);
    } else if (key->role == P_EXPECT) {
        bind_expect(d, key, y);
    } else if (key->type == PT_HOSTPORT) {
        bind_hostport(d, key, y);
    } else {
        json_t *value = probe_value(d->ld, key, y);
        if (value != NULL)
            set_look(d, key->name, value);
    }
}

/* ------------------------------------------------------------------ what a kind adds */

static bool expects_field(const struct draft *d, const char *field)
{
    for (size_t i = 0; i < d->expect_count; i++)
        if (strcmp(d->expects[i].field, field) == 0)
            return true;
    return false;
}

static const struct probe_key *key_of(const struct draft *d, const char *name)
{
    const struct probe_key *key = d->table->keys;
    while (key->name != NULL && strcmp(key->name, name) != 0)
        key++;
    ES_ASSERT(key->name != NULL);
    return key;
}

static bool looks_at(const struct draft *d, const char *name)
{
    return json_object_get(d->probe->look, name) != NULL;
}

static void add_defaults(struct draft *d, struct es_pos pos)
{
    bool present = d->probe->present;
    switch (d->probe->kind) {
    case ES_PROBE_file:
        if (expects_field(d, "content_b64"))
            set_look(d, "read", json_integer(49152));
        if (expects_field(d, "sha256"))
            set_look(d, "hash", json_true());
        break;
    case ES_PROBE_log:
        if (present && !expects_field(d, "count"))
            add_expect(d, key_of(d, "count"), ES_CMP_RANGE, json_pack("[i,n]", 1), pos);
        break;
    case ES_PROBE_command:
        if (!expects_field(d, "exit"))
            add_expect(d, key_of(d, "exit"), ES_CMP_EQUALS, json_integer(0), pos);
        break;
    case ES_PROBE_kernel:
        if (looks_at(d, "module") && !expects_field(d, "loaded"))
            add_expect(d, key_of(d, "loaded"), ES_CMP_EQUALS, json_true(), pos);
        break;
    case ES_PROBE_tcp:
        if (expects_field(d, "banner_b64") && !looks_at(d, "read"))
            set_look(d, "read", json_integer(4096));
        break;
    case ES_PROBE_ssh:
        if (present && !expects_field(d, "authenticated"))
            add_expect(d, key_of(d, "authenticated"), ES_CMP_EQUALS, json_true(), pos);
        break;
    default:
        break;
    }
}

static void check_kind(struct draft *d, const struct es_yaml *y)
{
    struct load *ld = d->ld;
    struct es_pos pos = y->key_pos;
    const char *url = json_string_value(json_object_get(d->probe->look, "url"));
    if (d->presence_set && !d->probe->present && d->first_expect_key != NULL)
        load_error(ld, d->first_expect, "%s: false leaves nothing to expect of %s",
                   d->probe->presence_field, d->first_expect_key);
    switch (d->probe->kind) {
    case ES_PROBE_process:
        if (y->count > 0 && !looks_at(d, "name") && !looks_at(d, "match"))
            load_error(ld, pos, "name, match or both are needed");
        break;
    case ES_PROBE_kernel:
        if (es_yaml_get(y, "value") != NULL && !looks_at(d, "sysctl"))
            load_error(ld, pos, "value needs sysctl");
        if (es_yaml_get(y, "loaded") != NULL && !looks_at(d, "module"))
            load_error(ld, pos, "loaded needs module");
        break;
    case ES_PROBE_ssh:
        if (!looks_at(d, "password") && !looks_at(d, "key") && d->probe->present &&
            es_yaml_get(y, "authenticated") == NULL)
            load_error(ld, pos, "a login needs password or key");
        break;
    case ES_PROBE_http:
        if (url != NULL && !es_str_starts(url, "http://") &&
            !es_str_starts(url, "https://"))
            load_error(ld, pos, "url begins with http:// or https://");
        break;
    default:
        break;
    }
}

static bool is_known(const struct probe_table *table, const char *name)
{
    for (const struct probe_key *key = table->keys; key->name != NULL; key++)
        if (strcmp(key->name, name) == 0)
            return true;
    return es_str_starts(name, "x-");
}

static void report_unknown(struct draft *d, const struct es_yaml *item, bool in_flow)
{
    const char *names[32];
    size_t n = 0;
    if (bind_is_broken_off(item, in_flow)) {
        load_error(
            d->ld, item->key_pos,
            "\"%.60s\" is no key: a comma or colon inside {…} ends a text; quote this "
            "text",
            item->key);
        return;
    }
    for (const struct probe_key *key = d->table->keys; key->name != NULL; key++)
        names[n++] = key->name;
    ES_ASSERT(n < ES_COUNT(names));
    names[n] = NULL;
    const char *near = load_is_full(d->ld) ? "" : suggest(item->key, names);
    if (*near == '\0' && strcmp(item->key, "text") == 0)
        near = " (did you mean \"contains\"?)";
    load_error(d->ld, item->key_pos, "unknown key%s%s", near,
               *near == '\0' ? "; `enshu reference` lists those of each probe" : "");
}

void probe_bind(struct load *ld, enum es_probe_kind kind, const struct es_yaml *y,
                struct es_probe *probe)
{
    struct draft d = {.ld = ld, .probe = probe, .table = &probe_tables[kind]};
    *probe = (struct es_probe){.kind = kind, .pos = y->key_pos, .present = true};
    probe->look = load_own(ld, json_object());
    if (probe->look == NULL || !bind_is_map(ld, y))
        return;
    bool slipped = y->partial;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        if (is_known(d.table, item->key))
            continue;
        size_t mark = path_push(ld, item->key);
        report_unknown(&d, item, y->flow);
        path_pop(ld, mark);
        slipped = true;
    }
    for (const struct probe_key *key = d.table->keys; key->name != NULL; key++) {
        if (key->role == P_PRESENCE)
            probe->presence_field = key->name;
        const struct es_yaml *item = es_yaml_get(y, key->name);
        if (item == NULL) {
            if (key->required && !slipped)
                load_error(ld, y->key_pos, "the key \"%s\" is missing", key->name);
            continue;
        }
        size_t mark = path_push(ld, key->name);
        bind_key(&d, key, item);
        path_pop(ld, mark);
    }
    if (!slipped)
        check_kind(&d, y);
    add_defaults(&d, y->key_pos);
    struct es_expect *kept = load_alloc(ld, d.expect_count, sizeof *kept);
    if (kept == NULL)
        return;
    memcpy(kept, d.expects, d.expect_count * sizeof *kept);
    probe->expects = kept;
    probe->expect_count = d.expect_count;
}

void probe_at_path(struct load *ld, const struct es_probe *probe, const char *path,
                   struct es_probe *ret_probe)
{
    *ret_probe = *probe;
    ret_probe->look = load_own(ld, json_object());
    if (ret_probe->look == NULL)
        return;
    /* Not json_copy: it leaves out what memory does not suffice for, and says nothing. */
    if (json_object_update(ret_probe->look, probe->look) != 0 ||
        json_object_set_new(ret_probe->look, "path", json_string(path)) != 0)
        ld->nomem = true;
}
