/* Machines: kinds and defaults, copies by `count`, images, addresses as written. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "room.h"

enum { COUNT_MAX = 200 };

void bind_nothing(struct load *ld, const struct key *key, const struct es_yaml *y,
                  void *value)
{
    (void)ld; /* read where its neighbours are known */
    (void)key;
    (void)y;
    (void)value;
}

void bind_scope(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    static const char *const words[] = {"team", "range", NULL}, *const later[] = {"world",
                                                                                  NULL};
    (void)key;
    int i = scalar_choice(ld, y, words, later);
    if (i >= 0)
        *(enum es_scope *)value = i == 0 ? ES_SCOPE_TEAM : ES_SCOPE_RANGE;
}

void bind_image(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    struct es_node *node = value;
    (void)key;
    node->packages = NULL;
    node->package_count = 0;
    if (y->type != ES_YAML_MAP) {
        const char *recipe = scalar_string(ld, y);
        node->recipe = recipe != NULL ? recipe : node->recipe;
    } else {
        bind_shape(ld, &image_shape, y, node);
    }
    if (node->recipe != NULL && (!es_str_is_name(node->recipe, ES_NAME_MAX) ||
                                 strstr(node->recipe, "..") != NULL))
        load_error(ld, y->pos, "\"%.60s\" cannot name an image recipe", node->recipe);
    for (size_t i = 0; i < node->package_count; i++)
        if (strspn(node->packages[i], "abcdefghijklmnopqrstuvwxyz0123456789+.-") !=
                strlen(node->packages[i]) ||
            strchr("+.-", node->packages[i][0]) != NULL)
            load_error(ld, y->pos, "\"%.60s\" cannot name a package", node->packages[i]);
}

static void bind_nic(struct load *ld, const struct es_yaml *y, struct es_nic *nic)
{
    int64_t offset;
    nic->how = ES_NIC_AUTO;
    nic->pos = y->pos;
    bind_ref_named(ld, SPACE_NETWORK, y->key, y->key_pos, &nic->network);
    if (y->type == ES_YAML_NULL || (y->type == ES_YAML_MAP && y->count == 0))
        return;
    const char *text = scalar_string(ld, y);
    if (text == NULL)
        return;
    if (es_str_starts(text, "slice+") && es_str_int(text + 6, 0, 1 << 23, &offset) == 0) {
        nic->how = ES_NIC_SLICE;
        nic->offset = (uint32_t)offset;
    } else if (es_ip4_parse(text, &nic->addr) == 0) {
        nic->how = ES_NIC_FIXED;
    } else {
        load_error(
            ld, y->pos,
            "\"%.60s\" is no IPv4 address; write one, slice+N, or {} for an automatic "
            "one",
            text);
    }
}

void bind_nics(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *value)
{
    struct es_node *node = value;
    (void)key;
    if (!bind_is_map(ld, y))
        return;
    if (y->count > ES_MAX_NICS) {
        load_error(ld, y->pos, "%zu networks, a node can be on %d", y->count,
                   ES_MAX_NICS);
        return;
    }
    struct es_nic *nics = load_alloc(ld, y->count, sizeof *nics);
    size_t n = 0;
    if (nics == NULL)
        return;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        bind_nic(ld, item, &nics[n++]);
        path_pop(ld, mark);
    }
    node->nics = nics;
    node->nic_count = n;
}

void bind_user_name(struct load *ld, const struct key *key, const struct es_yaml *y,
                    void *value)
{
    const char *name = scalar_string(ld, y);
    (void)key;
    if (name == NULL)
        return;
    size_t len = strlen(name);
    if (len == 0 || len > 32 || strchr("0123456789-", name[0]) != NULL ||
        strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != len)
        load_error(ld, y->pos,
                   "\"%.60s\" cannot be a login name: use a-z, 0-9, \"-\" and \"_\"",
                   name);
    else
        *(const char **)value = name;
}

void bind_password(struct load *ld, const struct key *key, const struct es_yaml *y,
                   void *value)
{
    struct es_account *account = value;
    const char *text = scalar_string(ld, y);
    (void)key;
    if (text == NULL || strcmp(text, "generate") == 0)
        return;
    if (*text == '\0' || strpbrk(text, ":\n\r") != NULL || strlen(text) > 128) {
        load_error(ld, y->pos,
                   "a password has 1 to 128 characters, no colon and no line break");
        return;
    }
    expand_is_plain(ld, text, y->pos);
    account->password = text;
}

void bind_ready(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    struct es_node *node = value;
    struct draft_ready draft = {0};
    (void)key;
    ready_shape.init(&draft);
    ld->place = PLACE_READY;
    bind_shape(ld, &ready_shape, y, &draft);
    ld->place = PLACE_TEAM;
    node->has_ready = draft.probe_count == 1;
    node->ready = draft.probe;
    node->ready_timeout_ms = draft.timeout_ms;
}

void ready_on_probe(struct load *ld, void *object, enum es_probe_kind kind,
                    const struct es_yaml *y)
{
    struct draft_ready *draft = object;
    draft->probe_count++;
    probe_bind(ld, kind, y, &draft->probe);
}

void ready_done(struct load *ld, void *object, const struct es_yaml *y)
{
    const struct draft_ready *draft = object;
    if (draft->probe_count != 1 && !(draft->probe_count == 0 && ld->slipped))
        load_error(ld, y->key_pos, "exactly one probe is needed, such as port or http");
}

/* ------------------------------------------------------------------ kinds and defaults */

static void node_init(struct es_node *node)
{
    *node = (struct es_node){.memory_bytes = INT64_C(256) << 20, .cpus = 1};
    node->ready_timeout_ms = 300000;
}

void bind_defaults(struct load *ld, const struct key *key, const struct es_yaml *y,
                   void *value)
{
    (void)key;
    (void)value;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next)
        if (y->type == ES_YAML_MAP && es_str_eq(item->key, "count"))
            load_error(ld, item->key_pos, "count belongs to a node");
    bind_shape(ld, &node_shape, y, &ld->node_defaults);
}

void bind_kinds(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    (void)key;
    (void)value;
    if (!bind_is_map(ld, y) || !bind_fits(ld, y, ES_MAX_NODES))
        return;
    ld->kinds = es_arena_alloc(&ld->temp, (y->count + 1) * sizeof *ld->kinds);
    size_t n = 0;
    if (ld->kinds == NULL)
        return;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        if (es_str_starts(item->key, "x-"))
            continue;
        size_t mark = path_push(ld, item->key);
        const struct es_yaml *inner;
        if ((inner = es_yaml_get(item, "kind")) != NULL ||
            (inner = es_yaml_get(item, "count")) != NULL)
            load_error(ld, inner->key_pos, "%s belongs to a node, not to a kind",
                       inner->key);
        bind_name(ld, SPACE_KIND, item->key, (int)n, item->key_pos);
        ld->kinds[n] = ld->node_defaults;
        bind_shape(ld, &node_shape, item, &ld->kinds[n++]);
        path_pop(ld, mark);
    }
}

/* ------------------------------------------------------------------ nodes */

static struct es_node node_base(struct load *ld, const struct es_yaml *y)
{
    const struct es_yaml *kind = es_yaml_get(y, "kind");
    struct es_node node = ld->node_defaults;
    size_t mark = path_push(ld, "kind");
    const char *name = kind != NULL ? scalar_word(ld, kind) : NULL;
    const struct name_slot *slot =
        name != NULL ? names_find(&ld->s->inner->names, SPACE_KIND, name) : NULL;
    if (slot != NULL)
        node = ld->kinds[slot->index];
    else if (name != NULL)
        load_error(ld, kind->pos, "there is no kind \"%.60s\"%s", name,
                   load_near(ld, SPACE_KIND, name, ""));
    path_pop(ld, mark);
    return node;
}

static int node_copies(struct load *ld, const struct es_yaml *y)
{
    const struct es_yaml *count = es_yaml_get(y, "count");
    int64_t n = 1;
    if (count == NULL)
        return 0;
    size_t mark = path_push(ld, "count");
    bool good = scalar_int(ld, count, 1, COUNT_MAX, &n);
    path_pop(ld, mark);
    return good ? (int)n : 1;
}

static void check_node(struct load *ld, const struct es_node *node, int copies)
{
    if (node->recipe == NULL && !ld->slipped)
        load_error(ld, node->pos, "the key \"image\" is missing");
    for (size_t i = 0; i < node->account_count; i++)
        for (size_t k = 0; k < i; k++)
            if (es_str_eq(node->accounts[i].user, node->accounts[k].user))
                load_error(ld, node->pos, "the account \"%s\" stands here twice",
                           node->accounts[i].user);
    for (size_t i = 0; copies > 1 && i < node->nic_count; i++) {
        if (node->nics[i].how == ES_NIC_AUTO)
            continue;
        load_error(ld, node->nics[i].pos,
                   "%d copies cannot share one address; write {} for automatic ones",
                   copies);
        ((struct es_nic *)(uintptr_t)node->nics)[i].how = ES_NIC_AUTO;
    }
    if (node->hidden && node->trainee.console != NULL &&
        strcmp(node->trainee.console, "none") != 0)
        load_error(ld, node->pos, "a hidden node has no console for trainees");
}

static void add_node(struct load *ld, const struct es_node *node, const char *name)
{
    if (ld->node_count >= ES_MAX_NODES) {
        if (ld->node_count == ES_MAX_NODES)
            load_error(ld, node->pos, "more than %d nodes", ES_MAX_NODES);
        ld->node_count = ES_MAX_NODES + 1;
        return;
    }
    struct es_node *nodes =
        es_arena_push(&ld->temp, ld->nodes, ld->node_count, sizeof *nodes);
    if (nodes == NULL)
        return;
    ld->nodes = nodes;
    if (!bind_name(ld, SPACE_NODE, name, (int)ld->node_count, node->pos))
        return;
    nodes[ld->node_count] = *node;
    nodes[ld->node_count].name = name;
    if (nodes[ld->node_count].trainee.console == NULL)
        nodes[ld->node_count].trainee.console = node->hidden ? "none" : "serial";
    ld->node_count++;
}

static void bind_node(struct load *ld, const struct es_yaml *y)
{
    struct es_node node = node_base(ld, y);
    node.pos = y->key_pos;
    bind_shape(ld, &node_shape, y, &node);
    if (y->type != ES_YAML_MAP)
        return;
    int copies = node_copies(ld, y);
    check_node(ld, &node, copies);
    if (strchr(y->key, '_') != NULL)
        load_error(ld, y->key_pos,
                   "a node's name becomes a host name: \"_\" cannot be in it");
    else if (es_str_starts(y->key, "prober-"))
        load_error(ld, y->key_pos, "names that begin with \"prober-\" are made by enshu");
    if (copies == 0) {
        add_node(ld, &node, y->key);
        return;
    }
    char last[16];
    snprintf(last, sizeof last, "-%d", copies);
    if (strlen(y->key) + strlen(last) > ES_NAME_MAX) {
        load_error(ld, y->key_pos, "too long a name for %d copies: at most %d characters",
                   copies, ES_NAME_MAX - (int)strlen(last));
        return;
    }
    bind_name(ld, SPACE_GROUP, y->key, copies, y->key_pos);
    for (int i = 1; i <= copies && ld->node_count <= ES_MAX_NODES; i++) {
        const char *name = es_arena_printf(&ld->s->arena, "%.60s-%d", y->key, i);
        if (name != NULL)
            add_node(ld, &node, name);
    }
}

void bind_nodes(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    (void)key;
    (void)value;
    if (!bind_is_map(ld, y))
        return;
    for (const struct es_yaml *item = y->child; item != NULL; item = item->next) {
        size_t mark = path_push(ld, item->key);
        if (!es_str_starts(item->key, "x-"))
            bind_node(ld, item);
        path_pop(ld, mark);
    }
}

void nodes_begin(struct load *ld)
{
    node_init(&ld->node_defaults);
}
