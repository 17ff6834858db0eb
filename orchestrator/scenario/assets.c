/* Assets: the files a scenario copies into machines. They are counted, capped and noted for
 * the hash; what a folder holds belongs to it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "room.h"

#define ASSETS_BYTES_MAX (INT64_C(64) << 20)
enum { FOLDER_DEPTH_MAX = 16, ASSETS_MAX = 10000 };

static void add_asset(struct load *ld, const char *name, int64_t size, struct es_pos pos)
{
    struct names *names = &ld->s->inner->names;
    if (names_find(names, SPACE_FILE, name) != NULL)
        return;
    if (size > ES_ASSET_BYTES_MAX) {
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
        !files_is_inside(name)) {
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
    int fd = files_open(ld, plain, pos, false, &st);
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
