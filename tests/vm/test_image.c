/* Images and seed discs: keys and caches without a machine, then tiny built and booted. */
#include <archive.h>
#include <archive_entry.h>
#include <check.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/image.h"

#define BOOT_MS 240000

static char dir[] = "/tmp/enshu-image-XXXXXX";
static char recipes[600], cache[600];
static struct es_image_config config;
static struct es_err err;
static int lines;

static void on_line(void *ctx, const char *line)
{
    (void)ctx;
    ck_assert_ptr_null(strchr(line, '\n'));
    lines++;
}

/* Built images are kept between runs: what went in is their key. */
static void setup(void)
{
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    es_str_printf(recipes, sizeof recipes, "%s/scenarios/images", getenv("ENSHU_TOP"));
    const char *kept = getenv("ENSHU_TEST_IMAGES");
    if (kept != NULL)
        es_str_printf(cache, sizeof cache, "%s", kept);
    else
        es_str_printf(cache, sizeof cache, "%s/build/images", getenv("ENSHU_TOP"));
    config = (struct es_image_config){recipes, cache, on_line, NULL, NULL};
    memset(&err, 0, sizeof err);
    lines = 0;
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    ck_assert_int_eq(system(line), 0);
}

static void teardown(void)
{
    shell("rm -rf %s", dir);
}

static void write_recipe(const char *name, const char *text)
{
    char path[256];
    es_str_printf(recipes, sizeof recipes, "%s/recipes", dir);
    shell("mkdir -p %s/recipes/common %s/recipes/one", dir, dir);
    es_str_printf(path, sizeof path, "%s/recipes/%s/recipe.yaml", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    es_str_printf(cache, sizeof cache, "%s/cache", dir);
}

START_TEST(recipes_are_checked)
{
    static struct es_image image;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"enshu-image: 1\nbase: gentoo\ndisk: 64 MiB\n", "busybox or debian"},
        {"enshu-image: 1\nbase: busybox\ndisk: 1 KiB\n", "8 MiB"},
        {"enshu-image: 2\nbase: busybox\ndisk: 64 MiB\n", "must be 1"},
        {"enshu-image: 1\nbase: busybox\ndisk: 64 MiB\nflavour: x\n", "unknown key"},
        {"enshu-image: 1\nbase: busybox\ndisk: 64 MiB\nremove: [../..]\n", "remove"},
        {"enshu-image: 1\nbase: busybox\ndisk: 64 MiB\npackages: [-x]\n", "packages"},
        {"[a, b]\n", "map"},
    };
    for (size_t i = 0; i < ES_COUNT(bad); i++) {
        write_recipe("one", bad[i].text);
        ck_assert_int_eq(es_image_get(&config, "one", NULL, false, &image, &err),
                         ES_ESCENARIO);
        ck_assert_msg(strstr(err.msg, bad[i].says) != NULL, "%s", err.msg);
    }
    ck_assert_int_eq(es_image_get(&config, "two", NULL, false, &image, &err), ES_ENOENT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no image recipe two"));
    ck_assert_int_eq(es_image_get(&config, "../one", NULL, false, &image, &err),
                     ES_EINVAL);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

START_TEST(packages_are_checked)
{
    static struct es_image image;
    static const char *const bad[] = {"nginx; reboot", NULL};
    write_recipe("one", "enshu-image: 1\nbase: busybox\ndisk: 64 MiB\n");
    ck_assert_int_eq(es_image_get(&config, "one", bad, false, &image, &err), ES_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "not the name of a Debian package"));
}
END_TEST

START_TEST(a_cancelled_build_leaves_nothing)
{
    static struct es_image image;
    atomic_bool cancel;
    atomic_init(&cancel, true);
    config.cancel = &cancel;
    write_recipe("one", "enshu-image: 1\nbase: busybox\ndisk: 64 MiB\n");
    ck_assert_int_eq(es_image_get(&config, "one", NULL, false, &image, &err),
                     ES_ECANCELED);
    shell("test -z \"$(ls %s/cache/one | grep -v lock)\"", dir);
    json_t *list = NULL;
    ck_assert_int_eq(es_image_list(&config, &list, &err), 0);
    ck_assert_uint_eq(json_array_size(list), 0);
    json_decref(list);
    ck_assert_int_eq(es_image_remove(&config, "abcdef", &err), ES_ENOENT);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

static void write_agent(char path[256])
{
    es_str_printf(path, 256, "%s/agent", dir);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    /* As an agent does without udev: the port is found by its name. */
    fputs("#!/bin/sh\n"
          "for port in /sys/class/virtio-ports/*; do\n"
          "  [ \"$(cat $port/name)\" = org.enshu.agent.0 ] || continue\n"
          "  dev=/dev/${port##*/}\n"
          "  { hostname; [ -L /bin/sh ] && echo busybox; cat /proc/1/comm; } >$dev\n"
          "done\n"
          "exec sleep 1000000\n",
          f);
    fclose(f);
}

START_TEST(seed_discs)
{
    char agent[256], disc[256], text[512];
    write_agent(agent);
    es_str_printf(disc, sizeof disc, "%s/seed.iso", dir);
    ck_assert_int_eq(es_image_seed(disc, agent, "team1-web-3", "web", &err), 0);
    struct archive *a = archive_read_new();
    archive_read_support_format_iso9660(a);
    ck_assert_int_eq(archive_read_open_filename(a, disc, 10240), ARCHIVE_OK);
    int seen = 0;
    for (struct archive_entry *e; archive_read_next_header(a, &e) == ARCHIVE_OK;) {
        const char *name = archive_entry_pathname(e);
        if (es_str_eq(name, "enshu-agent") || es_str_eq(name, "start"))
            ck_assert_int_eq(archive_entry_perm(e) & 0111, 0111);
        if (es_str_eq(name, "meta-data")) {
            la_ssize_t n = archive_read_data(a, text, sizeof text - 1);
            ck_assert_int_gt(n, 0);
            text[n] = '\0';
            ck_assert_str_eq(text,
                             "instance-id: \"team1-web-3\"\nlocal-hostname: \"web\"\n");
        }
        seen += archive_entry_filetype(e) == AE_IFREG;
    }
    archive_read_free(a);
    ck_assert_int_eq(seen, 4);
    char label[33] = "";
    FILE *f = fopen(disc, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, 0x8000 + 40, SEEK_SET), 0);
    ck_assert_uint_eq(fread(label, 1, 6, f), 6);
    fclose(f);
    ck_assert_str_eq(label, "CIDATA");
    ck_assert_int_eq(es_image_seed(disc, agent, "a\nb", "web", &err), ES_EINVAL);
    ck_assert_int_eq(es_image_seed(disc, "/nowhere", "a", "web", &err), ES_ENOENT);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

/* Every allocation fails once: the error is passed on, nothing is kept or left behind. */
START_TEST(memory_runs_out)
{
    static struct es_image image;
    char agent[256], disc[256];
    atomic_bool cancel;
    atomic_init(&cancel, true);
    write_agent(agent);
    es_str_printf(disc, sizeof disc, "%s/seed.iso", dir);
    write_recipe("one", "enshu-image: 1\nbase: busybox\ndisk: 64 MiB\n"
                        "modules: {load: [isofs]}\npackages: [busybox-static]\n");
    config.cancel = &cancel;
    bool failed = true;
    for (long n = 1; failed; n++) {
        es_mem_fail_nth(n);
        int rc = es_image_get(&config, "one", NULL, false, &image, &err);
        failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : ES_ECANCELED);
        ck_assert_int_eq(es_mem_live_count(), 0);
        ck_assert_int_lt(n, 10000);
    }
    failed = true;
    for (long n = 1; failed; n++) {
        es_mem_fail_nth(n);
        int rc = es_image_seed(disc, agent, "i", "web", &err);
        failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : 0);
        ck_assert_int_eq(access(disc, F_OK), failed ? -1 : 0);
        ck_assert_int_eq(es_mem_live_count(), 0);
    }
}
END_TEST

static int listen_on(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    es_str_printf(addr.sun_path, sizeof addr.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, sizeof addr), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

static pid_t boot(const struct es_image *image, const char *disc, const char *socket_path)
{
    char disk[1024], seed[512], port[512];
    es_str_printf(disk, sizeof disk, "if=virtio,snapshot=on,format=qcow2,file=%s",
                  image->disk);
    es_str_printf(seed, sizeof seed, "if=virtio,readonly=on,format=raw,file=%s", disc);
    es_str_printf(port, sizeof port, "socket,id=c,path=%s", socket_path);
    pid_t child = fork();
    if (child == 0) {
        execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "q35,accel=tcg",
               "-m", "128", "-display", "none", "-nodefaults", "-no-user-config",
               "-kernel", image->kernel, "-initrd", image->initrd, "-append",
               image->cmdline, "-drive", disk, "-drive", seed, "-device",
               "virtio-serial-pci", "-chardev", port, "-device",
               "virtserialport,chardev=c,name=org.enshu.agent.0", (char *)NULL);
        _exit(127);
    }
    return child;
}

START_TEST(tiny_is_built_once_and_starts_the_agent)
{
    static struct es_image image, again;
    char agent[256], disc[256], path[108], said[256] = "";
    ck_assert_msg(es_image_get(&config, "tiny", NULL, false, &image, &err) == 0, "%s",
                  err.msg);
    ck_assert(image.cached || lines > 0);
    ck_assert_int_eq(es_image_get(&config, "tiny", NULL, false, &again, &err), 0);
    ck_assert(again.cached);
    ck_assert_str_eq(image.digest, again.digest);
    char magic[4] = "";
    FILE *kernel = fopen(image.kernel, "re");
    ck_assert_ptr_nonnull(kernel);
    ck_assert_uint_eq(fread(magic, 1, sizeof magic, kernel), sizeof magic);
    fclose(kernel);
    ck_assert_mem_eq(magic, "\177ELF", 4); /* unpacked: QEMU maps it */
    json_t *list = NULL;
    ck_assert_int_eq(es_image_list(&config, &list, &err), 0);
    ck_assert_uint_ge(json_array_size(list), 1);
    json_decref(list);

    write_agent(agent);
    es_str_printf(disc, sizeof disc, "%s/seed.iso", dir);
    es_str_printf(path, sizeof path, "%s/s", dir);
    ck_assert_int_eq(es_image_seed(disc, agent, "i-1", "web", &err), 0);
    int listener = listen_on(path);
    pid_t machine = boot(&image, disc, path);
    int port = accept(listener, NULL, NULL);
    ck_assert_int_ge(port, 0);
    struct pollfd in = {.fd = port, .events = POLLIN};
    size_t len = 0;
    while (strstr(said, "init\n") == NULL && len < sizeof said - 1 &&
           poll(&in, 1, BOOT_MS) == 1) {
        ssize_t n = read(port, said + len, sizeof said - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        said[len] = '\0';
    }
    kill(machine, SIGKILL);
    waitpid(machine, NULL, 0);
    close(port);
    close(listener);
    ck_assert_str_eq(said, "tiny\nbusybox\ninit\n");
}
END_TEST

Suite *image_suite(void);
Suite *image_suite(void)
{
    Suite *suite = suite_create("image");
    TCase *tc = tcase_create("image");
    tcase_set_timeout(tc, 600);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, recipes_are_checked);
    tcase_add_test(tc, packages_are_checked);
    tcase_add_test(tc, a_cancelled_build_leaves_nothing);
    tcase_add_test(tc, seed_discs);
    tcase_add_test(tc, memory_runs_out);
    tcase_add_test(tc, tiny_is_built_once_and_starts_the_agent);
    suite_add_tcase(suite, tc);
    return suite;
}
