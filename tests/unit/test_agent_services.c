/* agent/op_personalise and op_quiet on a made-up root: what services live on. Host keys and
 * who is told of them, journals that follow their machine-id, timers, forwarding. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../agents/agent/agent.h"
#include "../../agents/agent/personalise.h"
#include "../../agents/probe/probe.h"
#include "../support/guest.h"
#include "enshu/common/str.h"

#define ID_A "0123456789abcdef0123456789abcdef"
#define ID_B "1123456789abcdef0123456789abcdef"

static char root[64];

static void setup(void)
{
    es_wire_use_allocator();
    es_str_printf(root, sizeof root, "/tmp/enshu-root-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
    char command[128];
    es_str_printf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}

static int run(const char *text, struct es_err *err)
{
    json_error_t why;
    json_t *args = json_loads(text, 0, &why), *evidence = NULL;
    ck_assert_msg(args != NULL, "%s", why.text);
    int rc = es_op_personalise(root, args, es_probe_now_ms() + 10000, &evidence, err);
    json_decref(evidence);
    json_decref(args);
    return rc;
}

static void must(const char *text)
{
    struct es_err err = {0};
    ck_assert_msg(run(text, &err) == 0, "%s", err.msg);
}

static const char *below(const char *name)
{
    static char path[2][256];
    static int turn;
    turn ^= 1;
    es_str_printf(path[turn], sizeof path[turn], "%s/%s", root, name);
    return path[turn];
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(below(name), &st) == 0;
}

static void holds(const char *name, const char *expected)
{
    char *text = guest_read_file(root, name);
    ck_assert_str_eq(text, expected);
    free(text);
}

static mode_t mode_of(const char *name)
{
    struct stat st;
    ck_assert_int_eq(stat(below(name), &st), 0);
    return st.st_mode & 07777;
}

/* ------------------------------------------------------------------ host keys */

static const char keys_1[] = "{\"host_keys\": [{\"type\": \"ed25519\", \"private\": "
                             "\"secret 1\\n\", \"public\": \"open 1\\n\"}]}";
static const char keys_2[] = "{\"host_keys\": [{\"type\": \"ed25519\", \"private\": "
                             "\"secret 2\\n\", \"public\": \"open 2\\n\"}]}";

static void install_sshd(void)
{
    guest_write_file(root, "usr/sbin/sshd", "");
    guest_write_file(root, "etc/ssh/ssh_host_rsa_key", "another copy's");
    guest_write_file(root, "etc/ssh/ssh_host_rsa_key.pub", "another copy's");
    guest_write_file(root, "etc/ssh/ssh_host_ed25519_key", "another copy's");
    guest_write_file(root, "etc/ssh/sshd_config", "# kept\n");
}

START_TEST(host_keys_replace_all_others)
{
    install_sshd();
    must(keys_1);
    holds("etc/ssh/ssh_host_ed25519_key", "secret 1\n");
    holds("etc/ssh/ssh_host_ed25519_key.pub", "open 1\n");
    ck_assert_int_eq(mode_of("etc/ssh/ssh_host_ed25519_key"), 0600);
    ck_assert_int_eq(mode_of("etc/ssh/ssh_host_ed25519_key.pub"), 0644);
    ck_assert(!is_there("etc/ssh/ssh_host_rsa_key"));
    ck_assert(!is_there("etc/ssh/ssh_host_rsa_key.pub"));
    holds("etc/ssh/sshd_config", "# kept\n");
}
END_TEST

START_TEST(without_a_server_there_are_no_host_keys)
{
    must(keys_1);
    ck_assert(!is_there("etc/ssh"));
    guest_write_file(root, "etc/ssh/ssh_config", "# a client's\n");
    must(keys_1);
    ck_assert(!is_there("etc/ssh/ssh_host_ed25519_key"));
}
END_TEST

/* A program named sshd that waits for a signal, and the file that names it. */
static pid_t start_server(const char *program)
{
    char command[256], text[16];
    es_str_printf(command, sizeof command, "cp /bin/sleep %s/%s", root, program);
    ck_assert_int_eq(system(command), 0);
    int fds[2];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0); /* closed by the program's start */
    pid_t pid = fork();
    if (pid == 0) {
        execl(below(program), program, "1000", (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    ck_assert_int_eq(read(fds[0], text, 1), 0);
    close(fds[0]);
    es_str_printf(text, sizeof text, "%d\n", (int)pid);
    guest_write_file(root, "run/sshd.pid", text);
    return pid;
}

START_TEST(a_server_that_hands_keys_to_sessions_is_told_of_new_ones)
{
    int status;
    install_sshd();
    must(keys_1);
    pid_t pid = start_server("sshd");
    must(keys_2); /* each session of an older one reads the files */
    ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
    guest_write_file(root, "usr/lib/openssh/sshd-session", "a program");
    must(keys_2); /* nothing new */
    ck_assert_int_eq(waitpid(pid, &status, WNOHANG), 0);
    must(keys_1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP);
    must(keys_2); /* the file names nobody any more */
}
END_TEST

START_TEST(whoever_has_the_servers_number_is_left_alone)
{
    int status;
    install_sshd();
    guest_write_file(root, "usr/lib/openssh/sshd-session", "a program");
    pid_t pid = start_server("other");
    must(keys_1);
    kill(pid, SIGTERM);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    guest_write_file(root, "run/sshd.pid", "rubbish");
    must(keys_2);
    holds("etc/ssh/ssh_host_ed25519_key", "secret 2\n");
}
END_TEST

/* ------------------------------------------------------------------ the rest */

START_TEST(a_journal_follows_the_machine_id)
{
    guest_write_file(root, "etc/machine-id", ID_A "\n");
    guest_write_file(root, "var/lib/dbus/machine-id", ID_A "\n");
    guest_write_file(root, "var/log/journal/" ID_A "/system.journal", "entries");
    ck_assert_int_eq(mkdir(below("run"), 0755), 0);
    ck_assert_int_eq(mkdir(below("run/log"), 0755), 0);
    ck_assert_int_eq(mkdir(below("run/log/journal"), 0750), 0);
    must("{\"machine_id\": \"" ID_B "\"}");
    holds("etc/machine-id", ID_B "\n");
    holds("var/lib/dbus/machine-id", ID_B "\n");
    holds("var/log/journal/" ID_B "/system.journal", "entries");
    /* Who writes below the old name goes on. */
    guest_write_file(root, "var/log/journal/" ID_A "/user.journal", "more");
    holds("var/log/journal/" ID_B "/user.journal", "more");
    /* One that is to be made yet comes to lie in the right place. */
    guest_write_file(root, "run/log/journal/" ID_A "/system.journal", "early");
    holds("run/log/journal/" ID_B "/system.journal", "early");
    ck_assert_int_eq(mode_of("run/log/journal/" ID_B), 0750);
    must("{\"machine_id\": \"" ID_B "\"}");
    holds("var/log/journal/" ID_B "/system.journal", "entries");
}
END_TEST

START_TEST(no_journal_is_made_where_there_is_none)
{
    guest_write_file(root, "etc/machine-id", "uninitialized\n");
    must("{\"machine_id\": \"" ID_A "\"}");
    must("{\"machine_id\": \"" ID_B "\"}");
    ck_assert(!is_there("var/log"));
}
END_TEST

START_TEST(seeds_for_the_next_boot_are_renewed)
{
    guest_write_file(root, "var/lib/systemd/random-seed", "the same everywhere");
    must("{\"random\": \"AAECAwQFBgc=\"}");
    char *first = guest_read_file(root, "var/lib/systemd/random-seed");
    struct stat st;
    ck_assert_int_eq(stat(below("var/lib/systemd/random-seed"), &st), 0);
    ck_assert_int_eq(st.st_size, 512);
    ck_assert_str_ne(first, "the same everywhere");
    ck_assert(!is_there("var/lib/urandom"));
    free(first);
}
END_TEST

START_TEST(a_gateway_forwards)
{
    must("{\"forward\": true}"); /* a kernel that cannot, here: no such file */
    guest_write_file(root, "proc/sys/net/ipv4/ip_forward", "0\n");
    must("{\"forward\": false}");
    holds("proc/sys/net/ipv4/ip_forward", "0\n");
    must("{\"forward\": true}");
    holds("proc/sys/net/ipv4/ip_forward", "1\n");
}
END_TEST

START_TEST(timers_are_started_once_and_late_for_nothing)
{
    static const char stamp[] = "var/lib/systemd/timers/stamp-daily.timer";
    struct timespec old[2] = {{.tv_sec = 86400}, {.tv_sec = 86400}};
    struct stat st;
    guest_write_file(root, stamp, "");
    guest_write_file(root, "run/enshu/timers", "daily.timer\nno.stamp.timer\n");
    ck_assert_int_eq(utimensat(AT_FDCWD, below(stamp), old, 0), 0);
    must("{\"hostname\": \"web\"}"); /* the clock is what they wait for */
    ck_assert(is_there("run/enshu/timers"));
    must("{\"time_us\": 1790000000000000}");
    ck_assert(!is_there("run/enshu/timers"));
    ck_assert_int_eq(stat(below(stamp), &st), 0);
    ck_assert_int_gt(st.st_mtime, 86400);
    must("{\"time_us\": 1790000000000000}");
}
END_TEST

START_TEST(timers_of_the_calendar_are_found)
{
    char text[] = "TimersCalendar={ OnCalendar=daily ; next_elapse=x }\n"
                  "TimersCalendar={ OnCalendar=weekly ; next_elapse=y }\n"
                  "Id=both.timer\nActiveState=active\n\n"
                  "Id=boot.timer\nActiveState=active\n\n"
                  "Id=off.timer\nActiveState=inactive\n"
                  "TimersCalendar={ OnCalendar=daily ; next_elapse=x }\n\n"
                  "TimersCalendar={ OnCalendar=daily ; next_elapse=x }\n"
                  "Id=last.timer\nActiveState=active\n";
    json_t *names = json_array(),
           *expected = json_pack("[s, s]", "both.timer", "last.timer");
    ck_assert_int_eq(es_quiet_calendar_timers(text, names), 0);
    ck_assert(json_equal(names, expected));
    ck_assert_int_eq(es_quiet_calendar_timers(NULL, names), 0);
    ck_assert_uint_eq(json_array_size(names), 2);
    json_decref(names);
    json_decref(expected);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *args, *part;
    } cases[] = {
        {"{\"host_keys\": [{\"type\": \"../x\", \"private\": \"\", \"public\": \"\"}]}",
         "host_keys"},
        {"{\"host_keys\": [{\"type\": \"rsa\", \"public\": \"\"}]}", "host_keys"},
        {"{\"host_keys\": [7]}", "host_keys"},
        {"{\"forward\": 1}", "forward"},
        {"{\"restart\": \"nginx\"}", "restart"},
        {"{\"restart\": [\"nginx\", \"-x\"]}", "restart"},
        {"{\"restart\": [\"a b\"]}", "restart"},
        {"{\"restart\": [\"../../bin/sh\"]}", "restart"},
        {"{\"fork\": 1}", "fork"},
        {"{\"nics\": [{\"mac\": \"x\", \"address\": \"1.2.3.4\", \"name\": \"a/b\"}]}",
         "nics"},
    };
    install_sshd();
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        struct es_err err = {0};
        int rc = run(cases[i].args, &err);
        ck_assert_msg(rc == ES_EINVAL, "%s: %d %s", cases[i].args, rc, err.msg);
        ck_assert_msg(strstr(err.msg, cases[i].part) != NULL, "%s", err.msg);
    }
}
END_TEST

Suite *agent_services_suite(void);
Suite *agent_services_suite(void)
{
    Suite *suite = suite_create("agent_services");
    TCase *tc = tcase_create("agent_services");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, host_keys_replace_all_others);
    tcase_add_test(tc, without_a_server_there_are_no_host_keys);
    tcase_add_test(tc, a_server_that_hands_keys_to_sessions_is_told_of_new_ones);
    tcase_add_test(tc, whoever_has_the_servers_number_is_left_alone);
    tcase_add_test(tc, a_journal_follows_the_machine_id);
    tcase_add_test(tc, no_journal_is_made_where_there_is_none);
    tcase_add_test(tc, seeds_for_the_next_boot_are_renewed);
    tcase_add_test(tc, a_gateway_forwards);
    tcase_add_test(tc, timers_are_started_once_and_late_for_nothing);
    tcase_add_test(tc, timers_of_the_calendar_are_found);
    tcase_add_test(tc, what_is_wrong_is_named);
    suite_add_tcase(suite, tc);
    return suite;
}
