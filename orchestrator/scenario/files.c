/* The scenario's folder: reading, includes, assets, the hash of all that takes part.
 *
 * Nothing outside the folder is opened: names are relative, hold no "..", and the real
 * path behind them (symbolic links followed) must lie inside. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "room.h"

#define ASSET_BYTES_MAX  (INT64_C(16) << 20)
#define ASSETS_BYTES_MAX (INT64_C(64) << 20)
enum { FOLDER_DEPTH_MAX = 16, ASSETS_MAX = 10000 };

/* ------------------------------------------------------------------ paths */

static bool is_inside_name(const char *name)
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
static int open_inside(struct load *ld, const char *name, struct es_pos pos,
                       bool may_lack, struct stat *st)
{
    char full[PATH_MAX], real[PATH_MAX];
    if (!is_inside_name(name)) {
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

const struct source_file *files_text(struct load *ld, const char *name, struct es_pos pos,
                                     size_t max_bytes, bool may_lack)
{
    struct stat st;
    size_t len = 0;
    for (size_t i = 0; i < ld->source_count; i++)
        if (strcmp(ld->sources[i].name, name) == 0)
            return &ld->sources[i];
    int fd = open_inside(ld, name, pos, may_lack, &st);
    if (fd < 0)
        return NULL;
    const char *text = NULL;
    if (!S_ISREG(st.st_mode))
        load_error(ld, pos, "\"%.60s\" is no file", name);
    else if (ld->source_count >= 1000)
        load_error(ld, pos, "more than 1000 files of text");
    else if ((text = read_all(ld, fd, max_bytes, &len)) == NULL && !ld->temp.failed)
        load_error(ld, pos, "the file \"%.60s\" cannot be read: %s", name,
                   strerror(errno));
    close(fd);
    if (text == NULL)
        return NULL;
    if (len > max_bytes) {
        load_error(ld, pos, "the file \"%.60s\" is too large: at most %zu KiB", name,
                   max_bytes / 1024);
        return NULL;
    }
    bool is_yaml = es_str_ends(name, ".yaml"); /* those bytes the parser looks at */
    if (!is_yaml && (!es_utf8_valid(text, len) || strlen(text) != len)) {
        load_error(ld, pos, "the file \"%.60s\" is no UTF-8 text", name);
        return NULL;
    }
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
        ld, ld->s->file, (struct es_pos){ld->s->file, 0, 0}, ES_YAML_FILE_MAX + 1, false);
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
        if (strcmp(item->key, "enshu") == 0 || strcmp(item->key, "include") == 0)
            continue;
        if (!is_shared_section(item->key) && strncmp(item->key, "x-", 2) != 0) {
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
        files_text(ld, name, item->pos, ES_YAML_FILE_MAX + 1, false);
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
    path_return(ld, &saved);
    if (part->partial)
        root->partial = true;
    graft(ld, root, part);
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

/* ------------------------------------------------------------------ assets */

static void add_asset(struct load *ld, const char *name, int64_t size, struct es_pos pos)
{
    struct names *names = &ld->s->inner->names;
    if (names_find(names, SPACE_FILE, name) != NULL)
        return;
    if (size > ASSET_BYTES_MAX) {
        load_error(ld, pos, "\"%.60s\" is too large: a file has at most 16 MiB", name);
        return;
    }
    if (ld->asset_bytes <= ASSETS_BYTES_MAX && ld->asset_bytes + size > ASSETS_BYTES_MAX)
        load_error(ld, pos, "with \"%.60s\" the scenario's files have more than 64 MiB",
                   name);
    ld->asset_bytes += size;
    struct asset *all =
        es_arena_push(&ld->temp, ld->assets, ld->asset_count, sizeof *all);
    const char *kept = es_arena_strdup(&ld->s->arena, name);
    if (all == NULL || kept == NULL)
        return;
    ld->assets = all;
    all[ld->asset_count] = (struct asset){kept, size};
    names_add(names, &ld->s->arena, SPACE_FILE, kept, (int)ld->asset_count++, pos);
}

static void add_folder(struct load *ld, int fd, const char *name, struct es_pos pos,
                       int depth);

static void add_entry(struct load *ld, int dir, const char *folder, const char *entry,
                      struct es_pos pos, int depth)
{
    char name[PATH_MAX];
    struct stat st;
    if (es_str_printf(name, sizeof name, "%s%s", folder, entry) != 0 ||
        !is_inside_name(name)) {
        load_error(ld, pos, "\"%.60s%.60s\" has a name that cannot be used", folder,
                   entry);
        return;
    }
    if (fstatat(dir, entry, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        load_error(ld, pos, "\"%.60s\" cannot be read: %s", name, strerror(errno));
    } else if (S_ISREG(st.st_mode)) {
        add_asset(ld, name, st.st_size, pos);
    } else if (!S_ISDIR(st.st_mode)) {
        load_error(ld, pos, "\"%.60s\" is neither file nor folder; links are not copied",
                   name);
    } else if (depth == FOLDER_DEPTH_MAX) {
        load_error(ld, pos, "\"%.60s\" is more than %d folders deep", name,
                   FOLDER_DEPTH_MAX);
    } else {
        int fd = openat(dir, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            load_error(ld, pos, "\"%.60s\" cannot be read: %s", name, strerror(errno));
        else
            add_folder(ld, fd, name, pos, depth + 1);
    }
}

/* Takes the descriptor. `name` with or without its last "/". */
static void add_folder(struct load *ld, int fd, const char *name, struct es_pos pos,
                       int depth)
{
    char folder[PATH_MAX];
    const char *slash = es_str_ends(name, "/") ? "" : "/";
    DIR *dir = fdopendir(fd);
    const struct dirent *entry;
    if (dir == NULL) {
        close(fd);
        ld->nomem = true;
        return;
    }
    es_str_printf(folder, sizeof folder, "%s%s", name, slash);
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (ld->asset_count >= ASSETS_MAX) {
            load_error(ld, pos, "more than %d files", ASSETS_MAX);
            break;
        }
        add_entry(ld, dirfd(dir), folder, entry->d_name, pos, depth);
    }
    closedir(dir);
}

bool files_asset(struct load *ld, const char *name, struct es_pos pos, bool folder_too)
{
    char plain[1100];
    struct stat st;
    size_t len = strlen(name);
    if (len >= sizeof plain)
        len = sizeof plain - 1;
    memcpy(plain, name, len);
    while (folder_too && len > 1 && plain[len - 1] == '/')
        len--;
    plain[len] = '\0';
    if (names_find(&ld->s->inner->names, SPACE_FILE, plain) != NULL)
        return true;
    int fd = open_inside(ld, plain, pos, false, &st);
    if (fd < 0)
        return false;
    if (S_ISDIR(st.st_mode) && folder_too) {
        add_folder(ld, fd, plain, pos, 0);
        return true;
    }
    close(fd);
    if (S_ISDIR(st.st_mode) && es_str_ends(name, "/"))
        load_error(ld, pos, "\"%.60s\" is a folder, not a file", name);
    else if (S_ISDIR(st.st_mode))
        load_error(ld, pos,
                   "\"%.60s\" is a folder; a folder to copy is written \"%.60s/\"", plain,
                   plain);
    else if (!S_ISREG(st.st_mode) || folder_too)
        load_error(ld, pos, "\"%.60s\" is no %s", name, folder_too ? "folder" : "file");
    else
        add_asset(ld, plain, st.st_size, pos);
    return S_ISREG(st.st_mode) && !folder_too;
}

/* ------------------------------------------------------------------ the hash */

struct item {
    const char *name;
    const struct source_file *source; /* NULL: read from the folder */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static void hash_number(crypto_generichash_state *state, uint64_t n)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n >> (8 * i));
    crypto_generichash_update(state, bytes, sizeof bytes);
}

/* Content of an asset, its own hash of it fed into the whole: lengths need not be known
 * before. */
static void hash_asset(struct load *ld, crypto_generichash_state *state, const char *name)
{
    unsigned char chunk[16384], digest[crypto_generichash_BYTES];
    crypto_generichash_state inner;
    struct stat st;
    struct es_pos pos = {name, 0, 0};
    int fd = open_inside(ld, name, pos, false, &st);
    if (fd < 0)
        return;
    crypto_generichash_init(&inner, NULL, 0, sizeof digest);
    int64_t total = 0;
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && total <= ASSET_BYTES_MAX) {
        crypto_generichash_update(&inner, chunk, (unsigned long long)n);
        total += n;
    }
    if (n < 0)
        load_error(ld, pos, "the file cannot be read: %s", strerror(errno));
    close(fd);
    crypto_generichash_final(&inner, digest, sizeof digest);
    crypto_generichash_update(state, digest, sizeof digest);
}

static void hash_source(crypto_generichash_state *state, const struct source_file *source)
{
    unsigned char digest[crypto_generichash_BYTES];
    crypto_generichash(digest, sizeof digest, (const unsigned char *)source->text,
                       source->len, NULL, 0);
    crypto_generichash_update(state, digest, sizeof digest);
}

void files_hash(struct load *ld)
{
    size_t count = 0, total = ld->source_count + ld->asset_count;
    struct item *items = es_arena_alloc(&ld->temp, (total + 1) * sizeof *items);
    unsigned char digest[32];
    crypto_generichash_state state;
    if (items == NULL)
        return;
    for (size_t i = 0; i < ld->source_count; i++) {
        if (names_find(&ld->s->inner->names, SPACE_FILE, ld->sources[i].name) == NULL)
            items[count++] = (struct item){ld->sources[i].name, &ld->sources[i]};
    }
    for (size_t i = 0; i < ld->asset_count; i++)
        items[count++] = (struct item){ld->assets[i].name, NULL};
    qsort(items, count, sizeof *items, by_name);
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    for (size_t i = 0; i < count; i++) {
        hash_number(&state, strlen(items[i].name));
        crypto_generichash_update(&state, (const unsigned char *)items[i].name,
                                  strlen(items[i].name));
        if (items[i].source != NULL)
            hash_source(&state, items[i].source);
        else
            hash_asset(ld, &state, items[i].name);
    }
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(ld->s->hash, sizeof ld->s->hash, digest, sizeof digest);
}
