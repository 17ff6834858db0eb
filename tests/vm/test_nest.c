/* enshu-nest: its life, and what survives whose death. */
#include <check.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/str.h"

static char dir[] = "/tmp/enshu-nest-XXXXXX";
static char state[64];

/* Runs a shell line; returns its exit code and, when asked, what it printed. */
static int run(char *out, size_t size, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int run(char *out, size_t size, const char *fmt, ...)
{
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    FILE *f = popen(line, "r");
    ck_assert_ptr_nonnull(f);
    char unread[4096];
    size_t len = out != NULL ? fread(out, 1, size - 1, f) : 0;
    if (out != NULL)
        out[len] = '\0';
    while (fread(unread, 1, sizeof unread, f) > 0)
        ;
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int nest(char *out, size_t size, const char *command, const char *rest)
{
    return run(out, size, "%s/enshu-nest %s --state %s %s 2>&1", getenv("ENSHU_BIN"),
               command, state, rest);
}

static int field(const char *name)
{
    char out[2048];
    run(out, sizeof out, "%s/enshu-nest status --state %s --json 2>/dev/null",
        getenv("ENSHU_BIN"), state);
    json_t *root = json_loads(out, 0, NULL);
    ck_assert_msg(root != NULL, "status said: %s", out);
    json_t *value = json_object_get(root, name);
    int number = json_is_boolean(value) ? json_boolean_value(value)
                                        : (int)json_integer_value(value);
    json_decref(root);
    return number;
}

/* Waits until a field has another value; a test's time-out ends what hangs. */
static void wait_changed(const char *name, int old)
{
    for (int value = old; value == old || value == 0; value = field(name))
        poll(NULL, 0, 20);
}

static void setup(void)
{
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(dir));
    es_str_printf(state, sizeof state, "%s/n", dir);
}

static void teardown(void)
{
    nest(NULL, 0, "stop", "--purge");
    ck_assert_int_eq(run(NULL, 0, "rm -rf %s", dir), 0);
}

START_TEST(starts_once_and_leaves_nothing)
{
    char out[2048], uri[256];
    ck_assert_msg(nest(out, sizeof out, "start", "") == 0, "%s", out);
    es_str_printf(uri, sizeof uri, "qemu:///system?socket=%s/sock/libvirt-sock\n", state);
    ck_assert_str_eq(out, uri);
    int supervisor = field("supervisor");
    ck_assert_int_eq(nest(out, sizeof out, "start", ""), 0);
    ck_assert_str_eq(out, uri);
    ck_assert_int_eq(field("supervisor"), supervisor);
    ck_assert_int_eq(nest(out, sizeof out, "exec", "-- ip -o link"), 0);
    ck_assert_ptr_nonnull(strstr(out, "lo:"));
    ck_assert_ptr_null(strstr(out, "2:"));

    int libvirtd = field("libvirtd");
    ck_assert_int_eq(nest(out, sizeof out, "stop", ""), 0);
    ck_assert_int_ne(kill(libvirtd, 0), 0);
    ck_assert_int_eq(nest(out, sizeof out, "status", ""), 66);
    es_str_printf(out, sizeof out, "%s/sock/libvirt-sock", state);
    ck_assert_int_ne(access(out, F_OK), 0);
    ck_assert_int_eq(nest(out, sizeof out, "stop", ""), 0);
}
END_TEST

START_TEST(starters_do_not_race)
{
    char out[2048];
    const char *bin = getenv("ENSHU_BIN");
    run(out, sizeof out,
        "for i in 1 2 3 4; do %s/enshu-nest start --state %s & done; wait", bin, state);
    run(out, sizeof out, "pgrep -xc -f '%s/enshu-nest start --state %s'", bin, state);
    ck_assert_str_eq(out, "1\n");
}
END_TEST

static void make_network(void)
{
    static const char xml[] =
        "<network><name>keep</name><bridge name=\"keep0\"/></network>";
    char out[2048];
    ck_assert_msg(run(out, sizeof out,
                      "echo '%s' >%s/net.xml; virsh -q -c "
                      "'qemu:///system?socket=%s/sock/libvirt-sock' net-create "
                      "%s/net.xml 2>&1",
                      xml, dir, state, dir) == 0,
                  "%s", out);
}

static void assert_network(void)
{
    char out[2048];
    ck_assert_msg(run(out, sizeof out,
                      "virsh -q -c 'qemu:///system?socket=%s/sock/libvirt-sock' "
                      "net-list --name 2>&1",
                      state) == 0,
                  "%s", out);
    ck_assert_msg(strstr(out, "keep") != NULL, "networks: %s", out);
}

START_TEST(libvirtd_comes_back_with_its_networks)
{
    ck_assert_int_eq(nest(NULL, 0, "start", ""), 0);
    make_network();
    int old = field("libvirtd");
    ck_assert_int_eq(kill(old, SIGKILL), 0);
    wait_changed("libvirtd", old);
    wait_changed("answers", 0);
    assert_network();
    ck_assert_int_eq(field("restarts"), 1);
}
END_TEST

/* What a host does to us that adds a user: its new /etc/passwd is not the one we covered. */
START_TEST(libvirtd_comes_back_when_its_names_are_gone)
{
    char out[2048];
    ck_assert_int_eq(nest(NULL, 0, "start", ""), 0);
    ck_assert_int_eq(
        nest(out, sizeof out, "exec", "-- sh -c 'umount /etc/passwd /etc/group; :'"), 0);
    int old = field("libvirtd");
    ck_assert_int_eq(kill(old, SIGKILL), 0);
    wait_changed("libvirtd", old);
    wait_changed("answers", 0);
    ck_assert_int_eq(field("restarts"), 1);
    ck_assert_int_eq(
        nest(out, sizeof out, "exec", "-- grep -c ^libvirt-qemu: /etc/passwd"), 0);
}
END_TEST

START_TEST(a_killed_supervisor_is_replaced_in_the_same_namespaces)
{
    char out[2048];
    ck_assert_int_eq(nest(NULL, 0, "start", ""), 0);
    make_network();
    int old = field("supervisor");
    ck_assert_int_eq(kill(old, SIGKILL), 0);
    while (field("running"))
        poll(NULL, 0, 20);
    ck_assert_msg(nest(out, sizeof out, "start", "") == 0, "%s", out);
    ck_assert_int_ne(field("supervisor"), old);
    assert_network();
}
END_TEST

START_TEST(bad_states_are_explained)
{
    char out[2048], longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ck_assert_int_eq(run(out, sizeof out, "%s/enshu-nest start --state %s/%s 2>&1",
                         getenv("ENSHU_BIN"), dir, longer),
                     75);
    ck_assert_ptr_nonnull(strstr(out, "choose a shorter --state"));
    ck_assert_int_eq(nest(out, sizeof out, "start", "--share /nowhere"), 66);
    ck_assert_ptr_nonnull(strstr(out, "make the folder first"));
    ck_assert_int_eq(nest(out, sizeof out, "exec", "-- true"), 66);
    ck_assert_int_eq(nest(out, sizeof out, "start", "surplus"), 64);
}
END_TEST

Suite *nest_suite(void);
Suite *nest_suite(void)
{
    Suite *suite = suite_create("nest");
    TCase *tc = tcase_create("nest");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, starts_once_and_leaves_nothing);
    tcase_add_test(tc, starters_do_not_race);
    tcase_add_test(tc, libvirtd_comes_back_with_its_networks);
    tcase_add_test(tc, libvirtd_comes_back_when_its_names_are_gone);
    tcase_add_test(tc, a_killed_supervisor_is_replaced_in_the_same_namespaces);
    tcase_add_test(tc, bad_states_are_explained);
    suite_add_tcase(suite, tc);
    return suite;
}
