/* Packages from the apt sources this machine is configured with, without touching its own
 * apt: package lists and archives of our own below the cache, and an empty dpkg status, so
 * that what this machine has installed makes no difference. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

#define SOURCES_MAX (1U << 20)
#define OUTPUT_MAX  (4U << 20)

/* Whether one of the words is the suite or belongs to it ("bookworm-updates"). */
static bool has_suite(const char *text, size_t len, const char *suite)
{
    size_t n = strlen(suite);
    for (size_t i = 0; i + n <= len; i++) {
        bool starts = i == 0 || strchr(" \t:\n", text[i - 1]) != NULL;
        if (!starts || memcmp(text + i, suite, n) != 0)
            continue;
        if (i + n == len || strchr(" \t\n-/", text[i + n]) != NULL)
            return true;
    }
    return false;
}

/* Keeps the lines (one-line style) or paragraphs (deb822) of our suite. */
static int filter(const char *text, bool deb822, const char *suite, struct es_buf *out)
{
    const char *end = deb822 ? "\n\n" : "\n";
    while (*text != '\0') {
        const char *stop = strstr(text, end);
        size_t len = stop != NULL ? (size_t)(stop - text) : strlen(text);
        const char *suites = deb822 ? strstr(text, "Suites:") : text;
        bool wanted = suites != NULL && suites < text + len;
        if (wanted && deb822)
            wanted = has_suite(suites, strcspn(suites, "\n"), suite) &&
                     memmem(text, len, "Enabled: no", 11) == NULL;
        else if (wanted)
            wanted = es_str_starts(text, "deb ") && has_suite(text, len, suite);
        if (wanted) {
            es_buf_append(out, text, len);
            es_buf_puts(out, end);
        }
        text += len;
        text += stop != NULL ? strlen(end) : 0;
    }
    return es_buf_status(out);
}

static int copy_source(struct build *b, const char *path, const char *name,
                       int *ret_count, struct es_err *err)
{
    bool deb822 = es_str_ends(name, ".sources");
    struct es_buf text, kept;
    if (!deb822 && !es_str_ends(name, ".list"))
        return 0;
    es_buf_init(&text, SOURCES_MAX);
    es_buf_init(&kept, SOURCES_MAX);
    int rc = read_text(path, SOURCES_MAX, &text, err);
    if (rc == ES_ENOENT)
        rc = 0;
    if (rc == 0)
        rc = filter(es_buf_str(&text), deb822, b->recipe.suite, &kept);
    if (rc == 0 && kept.len > 0) {
        const char *to = work_path(b, "sources/%s", name);
        rc = to == NULL ? es_err_nomem(err)
                        : es_tree_write(to, es_buf_str(&kept), kept.len, 0644, err);
        ++*ret_count;
    }
    es_buf_finish(&text);
    es_buf_finish(&kept);
    return rc;
}

static int copy_sources(struct build *b, struct es_err *err)
{
    int count = 0;
    const char *dir = work_path(b, "sources");
    int rc = dir == NULL ? es_err_nomem(err) : es_tree_make(dir, 0755, err);
    if (rc == 0)
        rc = copy_source(b, "/etc/apt/sources.list", "sources.list", &count, err);
    DIR *parts = rc == 0 ? opendir("/etc/apt/sources.list.d") : NULL;
    for (struct dirent *entry; parts != NULL && rc == 0 && (entry = readdir(parts));) {
        const char *path =
            es_arena_printf(&b->arena, "/etc/apt/sources.list.d/%s", entry->d_name);
        rc = path == NULL ? es_err_nomem(err)
                          : copy_source(b, path, entry->d_name, &count, err);
    }
    if (parts != NULL)
        closedir(parts);
    if (rc == 0 && count == 0)
        rc = es_err_set(err, ES_ENOENT,
                        "no apt source of this machine offers %s; add one to "
                        "/etc/apt/sources.list.d, for example: deb "
                        "http://deb.debian.org/debian %s main",
                        b->recipe.suite, b->recipe.suite);
    return rc;
}

/* Proxies of the host's apt configuration, for tools that do not read it. */
static int write_proxies(struct build *b, struct es_err *err)
{
    const char *const argv[] = {"apt-config",   "dump",    "--no-empty", "--format",
                                "%F \"%v\";%n", "Acquire", NULL};
    struct es_buf out, kept;
    es_buf_init(&out, OUTPUT_MAX);
    es_buf_init(&kept, 65536);
    int rc = tool_run(b, &(struct tool){argv, "apt", false, &out, NULL}, err);
    char *rest = rc == 0 ? (char *)(uintptr_t)es_buf_str(&out) : NULL;
    for (char *line; rest != NULL && (line = strsep(&rest, "\n")) != NULL;)
        if (strstr(line, "::Proxy") != NULL)
            es_buf_printf(&kept, "%s\n", line);
    const char *path = work_path(b, "proxy.conf");
    if (rc == 0)
        rc = path == NULL ? es_err_nomem(err)
                          : es_tree_write(path, es_buf_str(&kept), kept.len, 0644, err);
    es_buf_finish(&out);
    es_buf_finish(&kept);
    return rc;
}

static int write_config(struct build *b, struct es_err *err)
{
    const char *cache = b->config->cache_dir;
    const char *status = work_path(b, "status");
    b->apt = work_path(b, "apt.conf");
    const char *text = es_arena_printf(
        &b->arena,
        "Dir::State \"%s/apt/state\";\nDir::State::lists \"%s/apt/lists\";\n"
        "Dir::State::status \"%s\";\nDir::Cache \"%s/apt/cache\";\n"
        "Dir::Cache::archives \"%s/apt/archives\";\n"
        "Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"%s/sources\";\n"
        "APT::Sandbox::User \"root\";\nAPT::Install-Recommends \"false\";\n"
        "APT::Install-Suggests \"false\";\nAcquire::Languages \"none\";\n"
        "Acquire::Retries \"3\";\n#clear APT::Update::Post-Invoke-Success;\n"
        "#clear APT::Update::Post-Invoke;\n",
        cache, cache, status, cache, cache, b->work);
    static const char *const folders[] = {"state", "lists/partial", "cache",
                                          "archives/partial"};
    int rc = text == NULL || status == NULL || b->apt == NULL ? es_err_nomem(err) : 0;
    for (size_t i = 0; rc == 0 && i < ES_COUNT(folders); i++) {
        const char *dir = es_arena_printf(&b->arena, "%s/apt/%s", cache, folders[i]);
        rc = dir == NULL ? es_err_nomem(err) : es_tree_make(dir, 0755, err);
    }
    if (rc == 0)
        rc = es_tree_write(status, "", 0, 0644, err);
    return rc != 0 ? rc : es_tree_write(b->apt, text, strlen(text), 0644, err);
}

int apt_prepare(struct build *b, struct es_err *err)
{
    int rc = copy_sources(b, err);
    if (rc == 0)
        rc = write_config(b, err);
    if (rc == 0)
        rc = write_proxies(b, err);
    if (rc != 0)
        return rc;
    tool_say(b, "reading the package lists");
    const char *const argv[] = {"apt-get", "-c", b->apt, "-qq", "update", NULL};
    return tool_run(b, &(struct tool){argv, "apt", false, NULL, NULL}, err);
}

/* "Inst NAME (VERSION ORIGIN [ARCH]) …" to a version line and the archive's path. */
static int take_inst(struct build *b, char *line, struct strings *debs)
{
    char *name = line + 5;
    char *version = strstr(name, " (");
    char *arch = version != NULL ? strchr(version, '[') : NULL;
    /* "[old version]" would stand before the parenthesis; nothing is installed here. */
    if (arch == NULL)
        return 0;
    *version = '\0';
    version += 2;
    version[strcspn(version, " ")] = '\0';
    arch++;
    arch[strcspn(arch, "]")] = '\0';
    name[strcspn(name, ":")] = '\0';
    struct es_buf file;
    es_buf_init(&file, 1024);
    es_buf_printf(&file, "%s/apt/archives/%s_", b->config->cache_dir, name);
    for (const char *p = version; *p != '\0'; p++)
        if (*p == ':')
            es_buf_puts(&file, "%3a");
        else
            es_buf_putc(&file, *p);
    es_buf_printf(&file, "_%s.deb", arch);
    const char *deb = es_arena_strdup(&b->arena, es_buf_str(&file));
    int rc = es_buf_status(&file);
    es_buf_finish(&file);
    if (rc == 0)
        rc = strings_push(&b->arena, &b->versions,
                          es_arena_printf(&b->arena, "%s %s", name, version));
    return rc != 0 ? rc : strings_push(&b->arena, debs, deb);
}

static int apt_install(struct build *b, const char *how, const struct strings *packages,
                       struct es_buf *out, struct es_err *err)
{
    const char *argv[PACKAGES_MAX + 16] = {"apt-get", "-c", b->apt,    "-qq",
                                           "-y",      how,  "install", "--"};
    size_t n = 8;
    for (size_t i = 0; i < packages->count && n < ES_COUNT(argv) - 1; i++)
        argv[n++] = packages->items[i];
    return tool_run(b, &(struct tool){argv, "apt", false, out, NULL}, err);
}

int apt_closure(struct build *b, const struct strings *packages, struct strings *ret_debs,
                struct es_err *err)
{
    struct es_buf out;
    es_buf_init(&out, OUTPUT_MAX);
    int rc = apt_install(b, "--simulate", packages, &out, err);
    char *rest = rc == 0 ? (char *)(uintptr_t)es_buf_str(&out) : NULL;
    for (char *line; rc == 0 && rest != NULL && (line = strsep(&rest, "\n")) != NULL;)
        if (es_str_starts(line, "Inst ") && take_inst(b, line, ret_debs) != 0)
            rc = es_err_nomem(err);
    es_buf_finish(&out);
    if (rc != 0)
        return rc;
    tool_say(b, "fetching %zu packages", ret_debs->count);
    return apt_install(b, "--download-only", packages, NULL, err);
}

/* A kernel's metapackage depends on the kernel of the day; its other dependencies build
 * an initramfs, which we do ourselves. */
static const char *real_kernel(struct build *b, struct es_err *err)
{
    const char *const argv[] = {"apt-cache",      "-c", b->apt, "depends",
                                b->recipe.kernel, NULL};
    struct es_buf out;
    es_buf_init(&out, OUTPUT_MAX);
    const char *found = NULL;
    if (tool_run(b, &(struct tool){argv, "apt", false, &out, NULL}, err) == 0) {
        const char *hit = strstr(es_buf_str(&out), "Depends: linux-image-");
        found = hit == NULL
                    ? b->recipe.kernel
                    : es_arena_strndup(&b->arena, hit + 9, strcspn(hit + 9, "\n"));
        if (found == NULL)
            es_err_nomem(err);
    }
    es_buf_finish(&out);
    return found;
}

int apt_kernel(struct build *b, const char **ret_deb, struct es_err *err)
{
    const char *package = real_kernel(b, err);
    const char *archives =
        es_arena_printf(&b->arena, "%s/apt/archives", b->config->cache_dir);
    if (package == NULL)
        return err != NULL ? err->code : ES_EIO;
    if (archives == NULL)
        return es_err_nomem(err);
    const char *const uris[] = {"apt-get",      "-c",       b->apt,  "-qq",
                                "--print-uris", "download", package, NULL};
    struct es_buf out;
    es_buf_init(&out, 65536);
    int rc = tool_run(b, &(struct tool){uris, "apt", false, &out, NULL}, err);
    const char *name = rc == 0 ? strstr(es_buf_str(&out), "' ") : NULL;
    if (rc == 0 && name == NULL)
        rc = es_err_set(err, ES_ENOENT, "apt knows no package %s", package);
    if (rc == 0) {
        name = es_arena_strndup(&b->arena, name + 2, strcspn(name + 2, " \n"));
        *ret_deb = es_arena_printf(&b->arena, "%s/%s", archives, name);
        if (*ret_deb == NULL ||
            strings_push(&b->arena, &b->versions,
                         es_arena_printf(&b->arena, "%s %s", b->recipe.kernel, name)) !=
                0)
            rc = es_err_nomem(err);
    }
    es_buf_finish(&out);
    if (rc != 0)
        return rc;
    tool_say(b, "fetching %s", package);
    const char *const get[] = {"apt-get", "-c", b->apt, "-qq", "download", package, NULL};
    return tool_run(b, &(struct tool){get, "apt", false, NULL, archives}, err);
}
