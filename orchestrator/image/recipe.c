/* recipe.yaml to struct recipe. The key table is the format's definition. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/yaml.h"
#include "internal.h"

bool recipe_name_ok(const char *name)
{
    return name != NULL && es_str_is_name(name, 48);
}

int strings_push(struct es_arena *arena, struct strings *list, const char *text)
{
    const char **items =
        text == NULL ? NULL
                     : es_arena_push(arena, list->items, list->count, sizeof *items);
    if (items == NULL)
        return ES_ENOMEM;
    items[list->count++] = text;
    list->items = items;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void strings_sort(struct strings *list)
{
    if (list->count == 0)
        return;
    qsort(list->items, list->count, sizeof *list->items, compare);
    size_t kept = 1;
    for (size_t i = 1; i < list->count; i++)
        if (!es_str_eq(list->items[i], list->items[kept - 1]))
            list->items[kept++] = list->items[i];
    list->count = kept;
}

/* A relative path that stays below its folder. */
static bool path_ok(const char *s)
{
    return s[0] != '\0' && s[0] != '/' && s[0] != '-' && strstr(s, "..") == NULL;
}
static bool package_ok(const char *s)
{
    return s[0] != '-' && strlen(s) < 100 &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+-.:")] == '\0';
}
static bool module_ok(const char *s)
{
    return s[0] != '\0' && strlen(s) < 64 &&
           s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-")] == '\0';
}
static bool unit_ok(const char *s)
{
    return s[0] != '\0' && s[0] != '.' && strchr(s, '/') == NULL && strlen(s) < 128;
}
static bool any_text(const char *s)
{
    return s[0] != '\0';
}

struct reader {
    struct es_arena *arena;
    struct es_diags *diags;
};

static void complain(struct reader *r, const struct es_yaml *node, const char *key,
                     const char *text)
{
    es_diags_add(r->diags, ES_SEV_ERROR, node->pos, key, "%s", text);
}

static const char *read_text_key(struct reader *r, const struct es_yaml *map,
                                 const char *key, const char *fallback,
                                 bool (*ok)(const char *))
{
    struct es_yaml *node = es_yaml_get(map, key);
    if (node == NULL)
        return fallback;
    node->used = true;
    if (node->type == ES_YAML_SCALAR && ok(node->text))
        return node->text;
    complain(r, node, key, "is not a value this key takes; see scenarios/images");
    return fallback;
}

static int read_list(struct reader *r, const struct es_yaml *map, const char *key,
                     bool (*ok)(const char *), struct strings *out)
{
    struct es_yaml *node = es_yaml_get(map, key);
    if (node == NULL)
        return 0;
    node->used = true;
    if (node->type != ES_YAML_LIST || node->count > PACKAGES_MAX) {
        complain(r, node, key, "write a list of at most 256 items: [one, two]");
        return 0;
    }
    for (struct es_yaml *item = node->child; item != NULL; item = item->next) {
        item->used = true;
        if (item->type != ES_YAML_SCALAR || !ok(item->text))
            complain(r, item, key, "is not a value this list takes");
        else if (strings_push(r->arena, out, item->text) != 0)
            return ES_ENOMEM;
    }
    return 0;
}

static void report_unknown(struct reader *r, const struct es_yaml *map)
{
    for (struct es_yaml *node = map->child; node != NULL; node = node->next)
        if (!node->used && !es_str_starts(node->key, "x-"))
            es_diags_add(r->diags, ES_SEV_ERROR, node->key_pos, node->key,
                         "unknown key of an image recipe");
}

static int read_modules(struct reader *r, const struct es_yaml *root,
                        struct recipe *recipe)
{
    struct es_yaml *modules = es_yaml_get(root, "modules");
    if (modules == NULL)
        return 0;
    modules->used = true;
    if (modules->type != ES_YAML_MAP) {
        complain(r, modules, "modules", "write a map: {load: […], keep: […]}");
        return 0;
    }
    int rc = read_list(r, modules, "load", module_ok, &recipe->load);
    if (rc == 0)
        rc = read_list(r, modules, "keep", path_ok, &recipe->keep);
    report_unknown(r, modules);
    return rc;
}

static int read_root(struct reader *r, const struct es_yaml *root, struct recipe *recipe)
{
    const char *version = read_text_key(r, root, "enshu-image", "", any_text);
    const char *base = read_text_key(r, root, "base", "", any_text);
    const char *disk = read_text_key(r, root, "disk", "", any_text);
    read_text_key(r, root, "doc", "", any_text);
    recipe->like = read_text_key(r, root, "like", NULL, recipe_name_ok);
    recipe->suite = read_text_key(r, root, "suite", "bookworm", module_ok);
    recipe->variant = read_text_key(r, root, "variant", "apt", module_ok);
    recipe->kernel =
        read_text_key(r, root, "kernel", "linux-image-cloud-amd64", package_ok);
    recipe->cmdline = read_text_key(r, root, "cmdline", "console=ttyS0", any_text);
    recipe->base = es_str_eq(base, "debian") ? BASE_DEBIAN : BASE_BUSYBOX;
    if (!es_str_eq(version, "1"))
        complain(r, root, "enshu-image", "must be 1");
    if (!es_str_eq(base, "debian") && !es_str_eq(base, "busybox"))
        complain(r, root, "base", "must be busybox or debian");
    if (es_str_size(disk, &recipe->disk_bytes) != 0 || recipe->disk_bytes < (8 << 20) ||
        recipe->disk_bytes > (1LL << 40))
        complain(r, root, "disk", "must be a size from 8 MiB to 1 TiB");
    int rc = read_modules(r, root, recipe);
    if (rc == 0)
        rc = read_list(r, root, "packages", package_ok, &recipe->packages);
    if (rc == 0)
        rc = read_list(r, root, "mask", unit_ok, &recipe->mask);
    if (rc == 0)
        rc = read_list(r, root, "remove", path_ok, &recipe->remove);
    if (rc == 0)
        rc = read_list(r, root, "run", any_text, &recipe->run);
    report_unknown(r, root);
    return rc;
}

static int parse(struct es_arena *arena, const char *file, const struct es_buf *text,
                 struct es_diags *diags, struct recipe *recipe, struct es_err *err)
{
    struct reader r = {arena, diags};
    struct es_yaml *root = NULL;
    int rc = es_yaml_parse(arena, file, es_buf_str(text), text->len, diags, &root);
    if (rc == 0 && (root == NULL || root->type != ES_YAML_MAP))
        return es_err_set(err, ES_ESCENARIO, "%s: an image recipe is a map", file);
    if (rc == 0)
        rc = read_root(&r, root, recipe);
    if (rc == ES_ENOMEM || arena->failed)
        return es_err_nomem(err);
    if (diags->error_count == 0)
        return rc == 0 ? 0 : es_err_set(err, rc, "%s cannot be read", file);
    struct es_buf out;
    es_buf_init(&out, ES_ERR_MSG_MAX);
    es_diags_format(diags, &out);
    es_err_set(err, ES_ESCENARIO, "%s", es_buf_str(&out));
    es_buf_finish(&out);
    err->msg[strcspn(err->msg, "\n")] = '\0';
    return ES_ESCENARIO;
}

int recipe_load(struct es_arena *arena, const char *recipes_dir, const char *name,
                struct recipe *ret_recipe, struct es_err *err)
{
    struct recipe recipe = {0};
    if (!recipe_name_ok(name))
        return es_err_set(err, ES_EINVAL, "%.60s is not the name of an image recipe",
                          name != NULL ? name : "");
    recipe.name = es_arena_strdup(arena, name);
    recipe.dir = es_arena_printf(arena, "%s/%s", recipes_dir, name);
    const char *path = es_arena_printf(arena, "%s/%s/recipe.yaml", recipes_dir, name);
    if (recipe.name == NULL || recipe.dir == NULL || path == NULL)
        return es_err_nomem(err);
    struct es_buf text;
    es_buf_init(&text, ES_YAML_FILE_MAX);
    int rc = read_text(path, ES_YAML_FILE_MAX, &text, err);
    if (rc == ES_ENOENT)
        es_err_set(err, ES_ENOENT,
                   "there is no image recipe %s (looked for %s); the folders beside it "
                   "are the ones there are",
                   name, path);
    struct es_diags *diags = rc == 0 ? es_calloc(1, sizeof *diags) : NULL;
    if (rc == 0)
        rc = diags != NULL ? parse(arena, path, &text, diags, &recipe, err)
                           : es_err_nomem(err);
    if (diags != NULL)
        es_diags_finish(diags);
    es_free(diags);
    es_buf_finish(&text);
    if (rc == 0)
        *ret_recipe = recipe;
    return rc;
}
