/* The root file system as a folder. Everything here runs in a user namespace, with the
 * recipe's files and the packages copied to the work folder first: the root of the
 * namespace cannot look into the caller's folders. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "internal.h"

#define STATUS_MAX (64U << 20)

static int run_plain(struct build *b, const char *const *argv, struct es_err *err)
{
    return tool_run(b, &(struct tool){argv, "coreutils", false, NULL, NULL}, err);
}

/* Runs shell text as root of the namespace; $1… are the arguments. */
static int run_script(struct build *b, const char *text, const char *one,
                      struct es_err *err)
{
    const char *const argv[] = {"/bin/sh", "-eu", "-c", text, "sh", one, NULL};
    return tool_run(b, &(struct tool){argv, "dash", true, NULL, NULL}, err);
}

static int stage_folder(struct build *b, const char *recipe, const char *to,
                        struct es_err *err)
{
    const char *from =
        es_arena_printf(&b->arena, "%s/%s/rootfs/.", b->config->recipes_dir, recipe);
    if (from == NULL)
        return es_err_nomem(err);
    if (access(from, F_OK) != 0)
        return 0;
    const char *const argv[] = {"cp", "-R", "-P", "--preserve=mode",
                                "--", from, to,   NULL};
    return run_plain(b, argv, err);
}

/* common, then the recipe that this one is like, then its own. Modes of a check-out depend
 * on its owner's umask: only the execute bit counts. */
static int stage_files(struct build *b, struct es_err *err)
{
    static const char modes[] = "find stage -type d -exec chmod 755 {} +; "
                                "find stage -type f -perm /111 -exec chmod 755 {} +; "
                                "find stage -type f ! -perm /111 -exec chmod 644 {} +";
    const char *const make[] = {"mkdir", "-p", "stage", "debs", NULL};
    const char *const fix[] = {"/bin/sh", "-eu", "-c", modes, NULL};
    int rc = run_plain(b, make, err);
    if (rc == 0)
        rc = stage_folder(b, "common", "stage", err);
    if (rc == 0 && b->recipe.like != NULL)
        rc = stage_folder(b, b->recipe.like, "stage", err);
    if (rc == 0)
        rc = stage_folder(b, b->recipe.name, "stage", err);
    return rc != 0 ? rc : run_plain(b, fix, err);
}

static int copy_debs(struct build *b, const struct strings *debs, struct es_err *err)
{
    const char **argv = es_arena_alloc(&b->arena, (debs->count + 5) * sizeof *argv);
    size_t n = 0;
    if (argv == NULL)
        return es_err_nomem(err);
    argv[n++] = "cp";
    argv[n++] = "--";
    for (size_t i = 0; i < debs->count; i++)
        argv[n++] = debs->items[i];
    argv[n++] = "debs/";
    return run_plain(b, argv, err);
}

/* busybox is in every image: the initramfs is made of it. */
static int unpack_busybox(struct build *b, struct es_err *err)
{
    static const char script[] =
        "for deb in debs/*.deb; do dpkg-deb -x \"$deb\" "
        "busybox; done; busybox/bin/busybox --list-full >applets";
    struct strings only = {0}, debs = {0};
    struct strings *wanted = &b->recipe.packages;
    if (b->recipe.base == BASE_DEBIAN) {
        wanted = &only;
        if (strings_push(&b->arena, &only, "busybox-static") != 0)
            return es_err_nomem(err);
    }
    int rc = apt_closure(b, wanted, &debs, err);
    if (rc == 0)
        rc = copy_debs(b, &debs, err);
    if (rc == 0)
        rc = run_script(b, script, NULL, err);
    return rc;
}

static int make_busybox_tree(struct build *b, struct es_err *err)
{
    /* An applet gives way to a package's program of the same name, wherever that lies. */
    static const char script[] =
        "mv busybox tree\n"
        "mkdir -p busybox/bin; cp tree/bin/busybox busybox/bin/\n"
        "cd tree\n"
        "mkdir -p bin sbin usr/bin usr/sbin etc root home dev proc sys run tmp var/tmp "
        "var/log var/www mnt media opt\n"
        "chmod 755 .; chmod 700 root; chmod 1777 tmp var/tmp\n"
        "while read -r applet; do\n"
        "    name=${applet##*/}\n"
        "    if [ ! -e bin/$name ] && [ ! -e sbin/$name ] && [ ! -e usr/bin/$name ] &&\n"
        "        [ ! -e usr/sbin/$name ] && [ ! -L $applet ]; then\n"
        "        mkdir -p ${applet%/*}; ln -s /bin/busybox $applet\n"
        "    fi\n"
        "done <../applets\n"
        "cp -R -P --preserve=mode --remove-destination ../stage/. .\n";
    return run_script(b, script, NULL, err);
}

static int write_run_script(struct build *b, struct es_err *err)
{
    struct es_buf text;
    es_buf_init(&text, 1 << 20);
    es_buf_puts(&text, "set -e\nexport DEBIAN_FRONTEND=noninteractive\n");
    for (size_t i = 0; i < b->recipe.run.count; i++)
        es_buf_printf(&text, "%s\n", b->recipe.run.items[i]);
    const char *path = work_path(b, "run.sh");
    int rc = path == NULL || es_buf_status(&text) != 0
                 ? es_err_nomem(err)
                 : es_tree_write(path, es_buf_str(&text), text.len, 0644, err);
    es_buf_finish(&text);
    return rc;
}

/* What `remove` would take away below usr/share is not even unpacked. */
static int add_excludes(struct build *b, struct strings *args)
{
    const struct strings *remove = &b->recipe.remove;
    for (size_t i = 0; i < remove->count; i++)
        if (es_str_starts(remove->items[i], "usr/share/") &&
            strings_push(&b->arena, args,
                         es_arena_printf(&b->arena, "--dpkgopt=path-exclude=/%s/*",
                                         remove->items[i])) != 0)
            return ES_ENOMEM;
    return 0;
}

static const char *include_list(struct build *b)
{
    struct es_buf list;
    es_buf_init(&list, 65536);
    es_buf_puts(&list, "--include=");
    for (size_t i = 0; i < b->recipe.packages.count; i++)
        es_buf_printf(&list, "%s%s", i == 0 ? "" : ",", b->recipe.packages.items[i]);
    const char *text =
        es_buf_status(&list) == 0 ? es_arena_strdup(&b->arena, es_buf_str(&list)) : NULL;
    es_buf_finish(&list);
    return text;
}

/* The tree is thrown away when the machine stops in between: dpkg need not sync. */
static int debian_args(struct build *b, struct strings *args)
{
    const char *const fixed[] = {
        "/bin/sh",
        "-eu",
        "-c",
        "HOME=/ exec mmdebstrap --mode=unshare --format=directory \"$@\" sources/*",
        "sh",
        "--dpkgopt=force-unsafe-io"};
    const char *const made[] = {
        es_arena_printf(&b->arena, "--variant=%s", b->recipe.variant),
        es_arena_printf(&b->arena, "--aptopt=%s/proxy.conf", b->work),
        include_list(b),
        es_arena_printf(&b->arena,
                        "--customize-hook=cp %s/run.sh \"$1/run.sh\"; chroot \"$1\" "
                        "/bin/sh /run.sh; rm \"$1/run.sh\"",
                        b->work),
        b->recipe.suite,
        "tree"};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ES_COUNT(fixed); i++)
        rc = strings_push(&b->arena, args, fixed[i]);
    if (rc == 0)
        rc = add_excludes(b, args);
    for (size_t i = 0; rc == 0 && i < ES_COUNT(made); i++)
        rc = strings_push(&b->arena, args, made[i]);
    return rc;
}

static int make_debian_tree(struct build *b, struct es_err *err)
{
    struct strings args = {0};
    int rc = write_run_script(b, err);
    if (rc != 0)
        return rc;
    const char **argv = NULL;
    if (debian_args(b, &args) == 0)
        argv = es_arena_push(&b->arena, args.items, args.count, sizeof *argv);
    if (argv == NULL)
        return es_err_nomem(err);
    argv[args.count] = NULL;
    tool_say(b, "installing %zu packages with mmdebstrap", b->recipe.packages.count);
    return tool_run(b, &(struct tool){argv, "mmdebstrap", true, NULL, NULL}, err);
}

/* "Package: x" and "Version: y" of what dpkg installed. */
static int read_versions(struct build *b, struct es_err *err)
{
    struct es_buf text;
    es_buf_init(&text, STATUS_MAX);
    const char *path = work_path(b, "tree/var/lib/dpkg/status");
    int rc = path == NULL ? es_err_nomem(err) : read_text(path, STATUS_MAX, &text, err);
    const char *name = NULL;
    char *rest = rc == 0 ? (char *)(uintptr_t)es_buf_str(&text) : NULL;
    for (char *line; rc == 0 && rest != NULL && (line = strsep(&rest, "\n")) != NULL;)
        if (es_str_starts(line, "Package: "))
            name = line + 9;
        else if (es_str_starts(line, "Version: ") && name != NULL &&
                 strings_push(&b->arena, &b->versions,
                              es_arena_printf(&b->arena, "%s %s", name, line + 9)) != 0)
            rc = es_err_nomem(err);
    es_buf_finish(&text);
    return rc;
}

static int finish_debian_tree(struct build *b, struct es_err *err)
{
    static const char script[] =
        "cd tree\n"
        "cp -R -P --preserve=mode --remove-destination ../stage/. .\n"
        "rm -f etc/resolv.conf etc/apt/apt.conf.d/*proxy* usr/sbin/policy-rc.d "
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap\n"
        "rm -rf dev/* tmp/* run/*\n";
    int rc = run_script(b, script, NULL, err);
    return rc != 0 ? rc : read_versions(b, err);
}

static int add_modules(struct build *b, struct es_err *err)
{
    static const char one[] = "cd kernel/lib/modules/*/; [ -e \"$1\" ] || exit 0; "
                              "to=../../../../tree/lib/modules/${PWD##*/}; "
                              "mkdir -p $to; cp -R --parents --preserve=mode \"$1\" $to";
    static const char index[] =
        "cp kernel/lib/modules/$1/modules.builtin* kernel/lib/modules/$1/modules.order "
        "tree/lib/modules/$1/; /sbin/depmod -b tree $1";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < b->recipe.keep.count; i++)
        rc = run_script(b, one, b->recipe.keep.items[i], err);
    if (rc == 0 && b->recipe.keep.count > 0)
        rc = run_script(b, index, b->kernel_version, err);
    return rc;
}

static int mask_and_remove(struct build *b, struct es_err *err)
{
    static const char mask[] = "ln -sf /dev/null \"tree/etc/systemd/system/$1\"";
    static const char remove[] = "rm -rf -- \"tree/$1\"";
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < b->recipe.mask.count; i++)
        rc = run_script(b, mask, b->recipe.mask.items[i], err);
    for (size_t i = 0; rc == 0 && i < b->recipe.remove.count; i++)
        rc = run_script(b, remove, b->recipe.remove.items[i], err);
    return rc;
}

int tree_make(struct build *b, struct es_err *err)
{
    int rc = stage_files(b, err);
    if (rc == 0)
        rc = unpack_busybox(b, err);
    if (rc == 0 && b->recipe.base == BASE_BUSYBOX)
        rc = make_busybox_tree(b, err);
    else if (rc == 0 && (rc = make_debian_tree(b, err)) == 0)
        rc = finish_debian_tree(b, err);
    if (rc == 0)
        rc = add_modules(b, err);
    if (rc == 0)
        rc = mask_and_remove(b, err);
    return rc;
}
