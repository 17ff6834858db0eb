/* The scenario's folder: opening, reading, includes.
 *
 * Nothing outside the folder is opened: names are relative, hold no "..", and the real
 * path behind them (symbolic links followed) must lie inside. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "room.h"

/* ------------------------------------------------------------------ paths */

bool files_is_inside(const char *name)
{
    if (*name == '\0' || *name == '/' || strlen(name) >= 1024)
        return false;
    for (const char *part = name; part != NULL;) {
        size_t len = strcspn(part, "/");
        if ((len == 1 && part[0] == '.') ||
            (len == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part = part[len] == '/' ? part + len + 1 : NULL;
    }
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == '\\')
            return false;
    return true;
}

/* Opens a file or folder of the scenario; -1 after reporting. */
int files_open(struct load *ld, const char *name, struct es_pos pos, bool may_lack,
               struct stat *st)
{
    char full[PATH_MAX], real[PATH_MAX];
    if (!files_is_inside(name)) {
        load_error(ld, pos, "\"%.60s\" is no path inside the scenario's folder", name);
        return -1;
    }
    if (ld->dir == NULL) {
        load_error(ld, pos, "\"%.60s\": this scenario has no folder, so no files", name);
        return -1;
    }
    if (es_str_printf(full, sizeof full, "%s/%s", ld->dir, name) != 0 ||
        realpath(full, real) == NULL) {
        if (!may_lack || errno != ENOENT)
            load_error(ld, pos, "the file \"%.60s\" cannot be read: %s", name,
                       strerror(errno));
        return -1;
    }
    size_t len = strlen(ld->dir);
    if (strncmp(real, ld->dir, len) != 0 || (real[len] != '/' && len > 1)) {
        load_error(ld, pos, "\"%.60s\" leads out of the scenario's folder", name);
        return -1;
    }
    int fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, st) != 0) {
        load_error(ld, pos, "the file \"%.60s\" cannot be read: %s", name,
                   strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

/* All of a file, with a NUL behind it; NULL when reading fails (errno) or memory is out. */
static char *read_all(struct load *ld, int fd, size_t max_bytes, size_t *ret_len)
{
    size_t len = 0, cap = 16384;
    char *text = es_arena_alloc(&ld->temp, cap + 1);
    while (text != NULL) {
        ssize_t n = read(fd, text + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return NULL;
        len += (size_t)n;
        if (n == 0 || len > max_bytes)
            break;
        if (len < cap)
            continue;
        char *more = es_arena_alloc(&ld->temp, cap * 4 + 1);
        if (more != NULL)
            memcpy(more, text, len);
        text = more;
        cap *= 4;
    }
    if (text != NULL)
        text[len] = '\0';
    *ret_len = len;
    return text;
}

/* ------------------------------------------------------------------ sources */

static const struct source_file *add_source(struct load *ld, const char *name,
                                            const char *text, size_t len)
{
    struct source_file *all =
        es_arena_push(&ld->temp, ld->sources, ld->source_count, sizeof *all);
    const char *kept = es_arena_strdup(&ld->s->arena, name);
    if (all == NULL || kept == NULL)
        return NULL;
    ld->sources = all;
    all[ld->source_count] = (struct source_file){kept, text, len};
    return &all[ld->source_count++];
}

/* Whether the file can be used: small enough and, when it is no YAML (its bytes the parser
 * looks at), text. */
static bool check_source(struct load *ld, const char *name, struct es_pos pos,
                         const char *text, size_t len, enum source_use use)
{
    static const size_t most[] = {ES_YAML_FILE_MAX + 1, SOURCE_TEXT_MAX,
                                  SOURCE_TEMPLATE_MAX};
    if (len > most[use])
        load_error(ld, pos, "the file \"%.60s\" is too large: at most %zu KiB", name,
                   most[use] / 1024);
    else if (use != SOURCE_YAML && (!es_utf8_valid(text, len) || strlen(text) != len))
        load_error(ld, pos, "the file \"%.60s\" is no UTF-8 text", name);
    else if (use == SOURCE_TEXT && len == 0)
        load_error(ld, pos, "the file \"%.60s\" is empty", name);
    else
        return true;
    return false;
}

const struct source_file *files_text(struct load *ld, const char *name, struct es_pos pos,
                                     enum source_use use, bool may_lack)
{
    struct stat st;
    size_t len = 0;
    for (size_t i = 0; i < ld->source_count; i++) {
        const struct source_file *known = &ld->sources[i];
        if (strcmp(known->name, name) == 0)
            return check_source(ld, name, pos, known->text, known->len, use) ? known
                                                                             : NULL;
    }
    int fd = files_open(ld, name, pos, may_lack, &st);
    if (fd < 0)
        return NULL;
    const char *text = NULL;
    if (!S_ISREG(st.st_mode))
        load_error(ld, pos, "\"%.60s\" is no file", name);
    else if (ld->source_count >= 1000)
        load_error(ld, pos, "more than 1000 files of text");
    else if ((text = read_all(ld, fd, ES_YAML_FILE_MAX + 1, &len)) == NULL &&
             !ld->temp.failed)
        load_error(ld, pos, "the file \"%.60s\" cannot be read: %s", name,
                   strerror(errno));
    close(fd);
    if (text == NULL || !check_source(ld, name, pos, text, len, use))
        return NULL;
    const char *kept = es_arena_alloc(&ld->s->arena, len + 1);
    if (kept == NULL)
        return NULL;
    memcpy((void *)(uintptr_t)kept, text, len);
    return add_source(ld, name, kept, len);
}

/* ------------------------------------------------------------------ main file, includes */

static int find_dir(struct load *ld, const char *file, const char **ret_name,
                    struct es_err *err)
{
    char path[PATH_MAX], real[PATH_MAX];
    struct stat st;
    if (stat(file, &st) != 0)
        return es_err_set(err, ES_ENOENT, "the scenario %.300s cannot be read: %s", file,
                          strerror(errno));
    const char *slash = strrchr(file, '/');
    *ret_name = slash != NULL ? slash + 1 : file;
    size_t len = slash != NULL ? (size_t)(slash - file) : 0;
    if (S_ISDIR(st.st_mode)) {
        *ret_name = "scenario.yaml";
        len = strlen(file);
    }
    if (len >= sizeof path)
        return es_err_set(err, ES_ENOENT, "the path of the scenario is too long");
    memcpy(path, file, len);
    path[len] = '\0';
    if (len == 0)
        memcpy(path, slash == NULL ? "." : "/", 2);
    if (realpath(path, real) == NULL)
        return es_err_set(err, ES_ENOENT, "the folder %.300s cannot be read: %s", path,
                          strerror(errno));
    ld->dir = es_arena_strdup(&ld->s->arena, real);
    return ld->dir != NULL ? 0 : es_err_nomem(err);
}

int files_read(struct load *ld, const char *file, struct es_yaml **ret_root,
               struct es_err *err)
{
    const char *name = NULL;
    struct stat st;
    int rc = find_dir(ld, file, &name, err);
    if (rc != 0)
        return rc;
    char full[PATH_MAX];
    if (es_str_printf(full, sizeof full, "%s/%s", ld->dir, name) != 0 ||
        stat(full, &st) != 0)
        return es_err_set(err, ES_ENOENT, "%.200s has no %s: %s", ld->dir, name,
                          strerror(errno));
    ld->s->dir = ld->dir;
    ld->s->file = es_arena_strdup(&ld->s->arena, name);
    if (ld->s->file == NULL)
        return es_err_nomem(err);
    const struct source_file *source = files_text(
        ld, ld->s->file, (struct es_pos){ld->s->file, 0, 0}, SOURCE_YAML, false);
    if (source == NULL)
        return ES_ESCENARIO;
    return es_yaml_parse(&ld->s->arena, source->name, source->text, source->len,
                         ld->diags, ret_root);
}

static const char *const shared_sections[] = {
    "networks",   "nodes",    "kinds",  "conditions", "phases",
    "objectives", "services", "random", "solutions",  "sabotage"};

static bool is_shared_section(const char *key)
{
    for (size_t i = 0; i < ES_COUNT(shared_sections); i++)
        if (strcmp(shared_sections[i], key) == 0)
            return true;
    return false;
}

static void append(struct es_yaml *container, struct es_yaml *items)
{
    struct es_yaml **end = &container->child;
    while (*end != NULL)
        end = &(*end)->next;
    *end = items;
    for (; items != NULL; items = items->next)
        container->count++;
}

/* Moves the sections of an included file into the tree of the main file. */
static void graft(struct load *ld, struct es_yaml *root, struct es_yaml *part)
{
    struct es_yaml *next;
    for (struct es_yaml *item = part->child; item != NULL; item = next) {
        next = item->next;
        item->next = NULL;
        struct es_yaml *there = es_yaml_get(root, item->key);
        if (strcmp(item->key, "include") == 0 || es_str_starts(item->key, "x-"))
            continue;
        if (strcmp(item->key, "enshu") == 0) {
            size_t mark = path_push(ld, item->key);
            bind_version(ld, NULL, item, NULL);
            path_pop(ld, mark);
        } else if (!is_shared_section(item->key)) {
            load_error_at(ld, item->key_pos, item->key,
                          "this section belongs into the main file");
        } else if (there == NULL) {
            append(root, item);
        } else if (there->type == item->type &&
                   (item->type == ES_YAML_MAP || item->type == ES_YAML_LIST)) {
            append(there, item->child);
        } else if (item->type != ES_YAML_NULL) {
            load_error_at(ld, item->key_pos, item->key,
                          "this section has another form in %s:%d", there->key_pos.file,
                          there->key_pos.line);
        }
    }
}

struct include { /* one file of the chain that led here */
    const struct include *up;
    const char *name;
};

static void read_includes_of(struct load *ld, struct es_yaml *root,
                             const struct es_yaml *tree, const struct include *chain);

static void read_include(struct load *ld, struct es_yaml *root,
                         const struct es_yaml *item, const struct include *chain)
{
    const char *name = scalar_string(ld, item);
    struct es_yaml *part = NULL;
    if (name == NULL)
        return;
    for (const struct include *at = chain; at != NULL; at = at->up)
        if (strcmp(at->name, name) == 0) {
            load_error(ld, item->pos, "%s includes itself, through %s", name,
                       chain->name);
            return;
        }
    for (size_t i = 0; i < ld->source_count; i++)
        if (strcmp(ld->sources[i].name, name) == 0) {
            load_error(ld, item->pos, "%s is included already", name);
            return;
        }
    if (ld->source_count > ES_MAX_INCLUDES) {
        load_error(ld, item->pos, "more than %d included files", ES_MAX_INCLUDES);
        return;
    }
    const struct source_file *source =
        files_text(ld, name, item->pos, SOURCE_YAML, false);
    if (source == NULL)
        return;
    int rc = es_yaml_parse(&ld->s->arena, source->name, source->text, source->len,
                           ld->diags, &part);
    if (rc == ES_ENOMEM)
        ld->nomem = true;
    if (part == NULL)
        return;
    if (part->type != ES_YAML_MAP) {
        load_error_at(ld, part->pos, "", "an included file is a map of sections");
        return;
    }
    struct include here = {chain, name};
    struct saved_path saved;
    path_leave(ld, &saved);
    read_includes_of(ld, root, part, &here);
    graft(ld, root, part);
    path_return(ld, &saved);
    if (part->partial)
        root->partial = true;
}

static void read_includes_of(struct load *ld, struct es_yaml *root,
                             const struct es_yaml *tree, const struct include *chain)
{
    const struct es_yaml *list = es_yaml_get(tree, "include");
    size_t outer = path_push(ld, "include"), i = 0;
    if (list != NULL && bind_is_list(ld, list))
        for (const struct es_yaml *item = list->child; item != NULL; item = item->next) {
            size_t mark = path_push_index(ld, i++);
            read_include(ld, root, item, chain);
            path_pop(ld, mark);
        }
    path_pop(ld, outer);
}

void files_read_includes(struct load *ld, struct es_yaml *root)
{
    struct include main_file = {NULL, ld->s->file};
    read_includes_of(ld, root, root, &main_file);
}
