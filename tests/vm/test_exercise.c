/* The whole way on real guests, through the programs as a user runs them: one range for two
 * teams, brought up, played, disturbed, stopped, taken down. The tests run in order and
 * share it. */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/exercise.h"
#include "enshu/clock.h"
#include "enshu/common/err.h"
#include "enshu/score.h"

#define LIMIT_S 600
#define DRILL   "scenarios/city-hall-tiny"

static json_t *status(void)
{
    json_t *range = exercise_status();
    ck_assert_msg(range != NULL, "no status of %s: %s", exercise.range, exercise_out);
    return range;
}

static int64_t clock_ms(const json_t *range, const char **ret_state)
{
    const json_t *clock = json_object_get(range, "clock");
    *ret_state = json_string_value(json_object_get(clock, "state"));
    return json_integer_value(json_object_get(clock, "ex_ms"));
}

static int64_t ledger_head(void)
{
    json_t *range = status();
    int64_t head = json_integer_value(json_object_get(range, "ledger_head"));
    json_decref(range);
    return head;
}

static void await_ledger(int64_t head)
{
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (ledger_head() <= head) {
        ck_assert_msg(now_ms() < until, "nothing new in the ledger since event %lld",
                      (long long)head);
        poll(NULL, 0, 300);
    }
}

static int64_t points(int team)
{
    json_t *range = status();
    int64_t mpts = status_mpts(range, team);
    json_decref(range);
    return mpts;
}

static void solve(const char *machine, const char *script)
{
    exercise_do("exec %s --stdin -- /bin/sh -s <%s/" DRILL "/solve/%s", machine,
                exercise.top, script);
}

static void keep_out(char *dst, size_t size)
{
    ck_assert_int_eq(es_str_printf(dst, size, "%s", exercise_out), 0);
}

static void assert_rescored_equal(void)
{
    json_t *result = exercise_json("rescore");
    ck_assert(json_is_true(json_object_get(result, "equal")));
    json_decref(result);
    exercise_do("ledger verify");
}

/* ------------------------------------------------------------------ bringing up */

START_TEST(teams_come_up)
{
    exercise_core_start();
    exercise_do("up %s/" DRILL " --teams 2 --range drill", exercise.top);
    json_t *range = status();
    ck_assert_str_eq(json_string_value(json_object_get(range, "state")), "up");
    json_t *machines = json_object_get(range, "machines");
    ck_assert_uint_eq(json_array_size(machines), 8);
    for (size_t i = 0; i < 8; i++) {
        const json_t *machine = json_array_get(machines, i);
        ck_assert_str_eq(json_string_value(json_object_get(machine, "state")), "ready");
        ck_assert_str_eq(json_string_value(json_object_get(machine, "link")), "UP");
    }
    json_decref(range);
}
END_TEST

START_TEST(up_again_changes_nothing)
{
    char before[8192];
    exercise_virsh("list; for n in net-list pool-list; do virsh -q -c '%s' $n; done",
                   exercise.uri);
    keep_out(before, sizeof before);
    int64_t head = ledger_head();
    exercise_do("up %s/" DRILL " --teams 2 --range drill", exercise.top);
    exercise_virsh("list; for n in net-list pool-list; do virsh -q -c '%s' $n; done",
                   exercise.uri);
    ck_assert_str_eq(before, exercise_out); /* running numbers of domains included */
    ck_assert_int_eq(ledger_head(), head);
    ck_assert_int_ne(
        exercise_try("up %s/" DRILL " --teams 3 --range drill", exercise.top), 0);
}
END_TEST

/* The same command in both teams; whether it prints the same. */
static bool equal_in_teams(const char *node, const char *command)
{
    char first[4096];
    exercise_do("exec t1/%s -- sh -c '%s'", node, command);
    keep_out(first, sizeof first);
    ck_assert_msg(first[0] != '\0', "%s prints nothing", command);
    exercise_do("exec t2/%s -- sh -c '%s'", node, command);
    return es_str_eq(first, exercise_out);
}

START_TEST(teams_differ_as_designed_and_are_apart)
{
    ck_assert(!equal_in_teams("web", "cat /root/.flag"));
    ck_assert(!equal_in_teams("web", "cat /etc/machine-id"));
    ck_assert(!equal_in_teams("web", "head -c 16 /dev/urandom | md5sum"));
    ck_assert(equal_in_teams("web", "hostname"));
    ck_assert(equal_in_teams("web", "ip -o link | grep -o ether.*"));
    ck_assert(equal_in_teams("web", "ip -o -4 addr"));

    ck_assert_ptr_null(strstr(exercise_nest("ip -o -4 addr"), "2:"));
    exercise_nest("ip -o addr show type bridge");
    ck_assert_str_eq(exercise_out, "");

    /* Equal addresses: each team meets its own machine, and only its own. */
    exercise_do("exec t1/web -- sh -c 'echo one >/srv/www/who; echo 1'");
    exercise_do("exec t2/web -- sh -c 'echo two >/srv/www/who; echo 2'");
    exercise_do("exec t1/pc -- wget -q -O - http://10.20.0.10/who");
    ck_assert_str_eq(exercise_out, "one\n");
    exercise_do("exec t2/pc -- wget -q -O - http://10.20.0.10/who");
    ck_assert_str_eq(exercise_out, "two\n");
}
END_TEST

/* ------------------------------------------------------------------ playing */

static bool has_reason(const json_t *reasons, const char *what)
{
    for (size_t i = 0; i < json_array_size(reasons); i++) {
        const json_t *one = json_array_get(reasons, i);
        const char *name = json_string_value(json_object_get(one, "what"));
        if (name != NULL && strstr(name, what) != NULL)
            return true;
    }
    return false;
}

static void assert_reasons(void)
{
    static const char *const wanted[] = {"find-c2", "cut-c2", "back-to-work", "website"};
    json_t *explained = exercise_json("score explain 1");
    json_t *reasons = json_object_get(explained, "reasons");
    int64_t sum = 0;
    for (size_t i = 0; i < json_array_size(reasons); i++)
        sum += json_integer_value(json_object_get(json_array_get(reasons, i), "mpts"));
    for (size_t i = 0; i < ES_COUNT(wanted); i++)
        ck_assert_msg(has_reason(reasons, wanted[i]), "no reason %s: %s", wanted[i],
                      exercise_out);
    ck_assert_int_gt(sum, 0);
    json_decref(explained);
}

START_TEST(who_solves_scores)
{
    exercise_do("start");
    await_condition(1, "site-up", "pass");
    await_condition(2, "site-up", "pass");
    await_condition(1, "c2-cut", "fail");
    await_condition(2, "implant-gone", "fail");
    solve("t1/web", "note.sh");
    await_condition(1, "noted", "pass");
    exercise_do("exec t1/web -- sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'");
    await_condition(1, "contained", "pass");
    solve("t1/web", "web.sh");
    solve("t1/pc", "pc.sh");
    await_condition(1, "recovered", "pass");

    json_t *range = status();
    ck_assert_str_eq(status_condition(range, 2, "noted"), "fail");
    ck_assert_str_eq(status_condition(range, 2, "contained"), "fail");
    ck_assert_int_gt(status_mpts(range, 1), status_mpts(range, 2));
    json_decref(range);
    assert_reasons();
    assert_rescored_equal();
}
END_TEST

/* ------------------------------------------------------------------ cheating */

static int condition_index(const char *name)
{
    json_t *range = status();
    json_t *team = json_array_get(json_object_get(range, "teams"), 0);
    json_t *all = json_object_get(team, "conditions");
    int found = -1;
    for (size_t i = 0; i < json_array_size(all); i++)
        if (es_str_eq(json_string_value(json_object_get(json_array_get(all, i), "name")),
                      name))
            found = (int)i;
    json_decref(range);
    ck_assert_int_ge(found, 0);
    return found;
}

static int64_t member(const json_t *event, const char *name)
{
    return json_integer_value(json_object_get(event, name));
}

/* How many events of a kind the ledger holds after a position; -1: any. */
static int count_events(int64_t after, const char *name, int team, int subject, int a)
{
    json_t *events = exercise_events();
    int count = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = json_array_get(events, i);
        count += member(event, "pos") > after &&
                 es_str_eq(json_string_value(json_object_get(event, "name")), name) &&
                 (team < 0 || member(event, "team") == team) &&
                 (subject < 0 || member(event, "subject") == subject) &&
                 (a < 0 || member(event, "a") == a);
    }
    json_decref(events);
    return count;
}

/* Looks, by themselves or summed up. */
static int count_looks(int64_t after, int team, int subject, int a)
{
    return count_events(after, "observed", team, subject, a) +
           count_events(after, "steady", team, subject, a);
}

/* He needs the agent to stop the agent, so a shell left behind does it for him. */
START_TEST(a_stopped_agent_gains_nothing)
{
    int implant = condition_index("implant-gone");
    int64_t before = ledger_head();
    exercise_do("exec t2/pc -- sh -c '(sleep 1; kill -STOP $(pidof enshu-agent); sleep "
                "45; kill -CONT $(pidof enshu-agent)) >/dev/null 2>&1 &'");
    await_condition(2, "implant-gone", "absent");
    ck_assert_int_eq(count_looks(before, 2, implant, ES_OUTCOME_PASS), 0);
    await_condition(2, "implant-gone", "fail"); /* the agent goes on */
    ck_assert_int_eq(count_looks(before, 2, implant, ES_OUTCOME_PASS), 0);
    ck_assert_int_gt(count_looks(before, 2, implant, ES_OUTCOME_ABSENT), 0);
}
END_TEST

START_TEST(faked_clients_gain_nothing)
{
    int site = condition_index("site-up");
    exercise_do("exec t2/web -- sh -c 'for p in /bin /sbin /usr/bin /usr/sbin; do for c "
                "in curl wget nc; do rm -f $p/$c; printf \"#!/bin/sh\\necho Midori; exit "
                "0\\n\" >$p/$c; chmod 0755 $p/$c; done; done; killall httpd'");
    await_condition(2, "site-up", "fail");
    int64_t down = ledger_head();
    await_ledger(down + 20); /* several more looks */
    ck_assert_int_eq(count_looks(down, 2, site, ES_OUTCOME_PASS), 0);
    exercise_do("exec t2/web -- sh -c 'httpd -h /srv/www -p 80'");
    await_condition(2, "site-up", "pass");
}
END_TEST

/* ------------------------------------------------------------------ faults of ours */

/* The QEMU processes of all machines, one line each. */
static const char *machines_now(char *dst, size_t size)
{
    await_shell("cd %s/v/run/qemu && grep -H . es-*.pid", exercise.state);
    keep_out(dst, size);
    return dst;
}

START_TEST(libvirtd_is_killed_and_comes_back)
{
    char before[4096], after[4096];
    machines_now(before, sizeof before);
    int64_t restarts = exercise_nest_field("restarts");
    int64_t score = points(1);
    ck_assert_int_eq(kill((pid_t)exercise_nest_field("libvirtd"), SIGKILL), 0);
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (exercise_nest_field("restarts") == restarts ||
           exercise_nest_field("answers") == 0) {
        ck_assert_msg(now_ms() < until, "libvirtd does not come back");
        poll(NULL, 0, 300);
    }
    await_ledger(ledger_head());
    ck_assert_str_eq(machines_now(after, sizeof after), before);
    await_all_machines("state", "ready");
    await_all_machines("link", "UP");
    ck_assert_int_ge(points(1), score);
    ck_assert_ptr_nonnull(strstr(exercise_do("version"), "connected"));
    ck_assert_ptr_null(strstr(exercise_out, "not connected"));
}
END_TEST

/* Also shows that events come again after libvirtd's restart. */
START_TEST(a_killed_machine_is_our_fault)
{
    int64_t head = ledger_head(), score = points(1);
    int64_t began = now_ms();
    ck_assert_int_eq(kill(exercise_qemu("t01-pc"), SIGKILL), 0);
    await_machine("t1/pc", "state", "fault");
    int64_t took = now_ms() - began;
    fprintf(stderr, "a killed machine was shown after %lld ms\n", (long long)took);
    ck_assert_int_lt(took, 60000);
    await_condition(1, "implant-gone", "fault");
    ck_assert_int_ge(points(1), score);
    ck_assert_int_eq(count_events(head, "machine", 1, -1, ES_MEV_FAULT), 1);

    exercise_do("reset t1/pc");
    await_machine("t1/pc", "state", "ready");
    await_condition(1, "implant-gone", "fail"); /* a reset solves nothing */
    ck_assert_int_eq(count_events(head, "machine", 1, -1, ES_MEV_RESET), 1);
    ck_assert_int_eq(count_events(head, "machine", 1, -1, ES_MEV_READY), 1);
    json_t *range = status();
    ck_assert_str_eq(status_machine(range, "t2/pc", "state"), "ready");
    json_decref(range);
}
END_TEST

START_TEST(the_core_is_killed_and_comes_back)
{
    char before[4096], after[4096];
    const char *state;
    machines_now(before, sizeof before);
    json_t *range = status();
    int64_t ex_ms = clock_ms(range, &state);
    ck_assert_str_eq(state, "running");
    json_decref(range);
    int64_t began = now_ms();
    exercise_core_kill();
    exercise_core_start();
    int64_t away_ms = now_ms() - began;

    ck_assert_str_eq(machines_now(after, sizeof after), before);
    await_all_machines("state", "ready");
    await_all_machines("link", "UP");
    range = status();
    ck_assert_int_ge(clock_ms(range, &state), ex_ms);
    if (away_ms < ES_CLOCK_GAP_MAX_MS / 2)
        ck_assert_str_eq(state, "running");
    else if (es_str_eq(state, "paused")) /* a host so loaded that it was away too long */
        exercise_do("resume");
    json_decref(range);
    solve("t2/web", "note.sh");
    await_condition(2, "noted", "pass");
    assert_rescored_equal();
}
END_TEST

/* ------------------------------------------------------------------ looking in, clock */

static pid_t console(const char *machine, int *ret_terminal)
{
    char program[1100];
    es_str_printf(program, sizeof program, "%s/enshu", exercise.bin);
    pid_t pid = forkpty(ret_terminal, NULL, NULL, NULL);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setenv("ENSHU_STATE", exercise.state, 1);
        setenv("ENSHU_RANGE", exercise.range, 1);
        execl(program, program, "console", machine, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Types until the answer is seen: the first keys may come before the line is open. */
static void await_typed(int terminal, const char *keys, const char *answer)
{
    static char seen[65536];
    size_t len = 0;
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (strstr(seen, answer) == NULL) {
        struct pollfd in = {.fd = terminal, .events = POLLIN};
        ck_assert_msg(now_ms() < until, "the console says: %s", seen);
        if (poll(&in, 1, 3000) == 0)
            ck_assert_int_eq(write(terminal, keys, strlen(keys)), (ssize_t)strlen(keys));
        else if (len < sizeof seen - 1) {
            ssize_t n = read(terminal, seen + len, sizeof seen - 1 - len);
            ck_assert_msg(n > 0, "the console ended: %s", seen);
            len += (size_t)n;
            seen[len] = '\0';
        }
    }
}

START_TEST(the_console_answers)
{
    int terminal, ended;
    pid_t pid = console("t1/web", &terminal);
    await_typed(terminal, "echo con$((40+2))\r", "con42");
    ck_assert_int_eq(write(terminal, "\x1d", 1), 1);
    ck_assert_int_eq(waitpid(pid, &ended, 0), pid);
    ck_assert(WIFEXITED(ended));
    ck_assert_int_eq(WEXITSTATUS(ended), 0);
    close(terminal);
}
END_TEST

START_TEST(a_pause_stops_looking)
{
    const char *state;
    exercise_do("pause --reason lunch");
    json_t *range = status();
    int64_t ex_ms = clock_ms(range, &state);
    ck_assert_str_eq(state, "paused");
    json_decref(range);
    int64_t head = ledger_head();
    exercise_do("exec t1/web -- sleep 9"); /* two rounds of every look */
    ck_assert_int_eq(count_looks(head, -1, -1, -1), 0);
    range = status();
    ck_assert_int_eq(clock_ms(range, &state), ex_ms);
    json_decref(range);
    exercise_do("resume");
    await_ledger(ledger_head() + 5);
    ck_assert_int_gt(count_looks(head, -1, -1, -1), 0);
}
END_TEST

START_TEST(the_stop_signs)
{
    exercise_do("stop");
    ck_assert_msg(strstr(exercise_out, "signed") != NULL, "%s", exercise_out);
    json_t *check = exercise_json("ledger verify");
    ck_assert(json_is_true(json_object_get(check, "chain_ok")));
    ck_assert(json_is_true(json_object_get(check, "signed")));
    ck_assert(json_is_true(json_object_get(check, "signature_ok")));
    json_decref(check);
    assert_rescored_equal();
    ck_assert_int_gt(points(1), points(2));
    ck_assert_int_ne(exercise_try("start"), 0);
}
END_TEST

/* ------------------------------------------------------------------ the end */

static void assert_folder_empty(const char *name)
{
    char path[256];
    es_str_printf(path, sizeof path, "%s/%s", exercise.state, name);
    await_shell("ls -A %s; test -z \"$(ls -A %s)\"", path, path);
}

/* On the nest's libvirt: this one machine and network, or nothing. */
static void assert_only(const char *name)
{
    char line[64];
    es_str_printf(line, sizeof line, "%s%s", name, *name != '\0' ? "\n" : "");
    ck_assert_str_eq(exercise_virsh("list --all --name"), line);
    ck_assert_str_eq(exercise_virsh("net-list --all --name"), line);
    ck_assert_str_eq(exercise_virsh("pool-list --all --name"), "");
    assert_folder_empty("ranges");
    assert_folder_empty("s");
}

START_TEST(down_leaves_nothing)
{
    pid_t qemu = exercise_qemu("t01-web");
    exercise_do("down");
    await_gone(qemu);
    assert_only("");
    ck_assert_int_eq(exercise_nest_field("machines"), 0);
    ck_assert_str_eq(exercise_nest("ip -o link show type bridge"), "");
    ck_assert_str_eq(exercise_nest("ip -o link show type tun"), "");
    await_shell("ls %s/ledgers/drill-*.db", exercise.state); /* the record is kept */
    ck_assert_int_ne(exercise_try("down drill"), 0);
}
END_TEST

/* ------------------------------------------------------------------ rehearsal */

START_TEST(a_rehearsal_proves_a_scenario)
{
    exercise.range = "rehearsal";
    json_t *result = exercise_json("rehearse %s/scenarios/hello", exercise.top);
    ck_assert(json_is_true(json_object_get(result, "proved")));
    const char *path = json_string_value(json_object_get(result, "path"));
    json_t *kept = json_load_file(path, 0, NULL);
    ck_assert_msg(kept != NULL, "no certificate at %s", path);
    json_t *conditions = json_object_get(kept, "conditions");
    ck_assert_uint_eq(json_array_size(conditions), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *one = json_array_get(conditions, i);
        ck_assert_int_ge(member(one, "seen_pass_ex_ms"), 0);
        ck_assert_int_ge(member(one, "seen_fail_ex_ms"), 0);
    }
    ck_assert_uint_eq(json_array_size(json_object_get(kept, "problems")), 0);
    json_decref(kept);
    json_decref(result);
}
END_TEST

/* A solution that does nothing, and an objective that is met before anyone did a thing.
 * Its range is kept for the next test. */
START_TEST(a_rehearsal_fails_loudly)
{
    exercise.range = "rehearsal";
    await_shell("cp -R %s/scenarios/hello %s/broken && sed -i -e 's|run: rm -f "
                "/tmp/.miner|run: \"true\"|' -e 's|^objectives:|&\\n  given: {when: "
                "site-up, points: 10}|' %s/broken/scenario.yaml",
                exercise.top, exercise.dir, exercise.dir);
    ck_assert_int_eq(
        exercise_try("rehearse %s/broken --keep --patience 10s", exercise.dir), 1);
    ck_assert_msg(strstr(exercise_out, "NOT proved") != NULL, "%s", exercise_out);
    ck_assert_msg(strstr(exercise_out, "miner-gone") != NULL, "%s", exercise_out);
    ck_assert_msg(strstr(exercise_out, "given") != NULL, "%s", exercise_out);
    ck_assert_ptr_null(strstr(exercise_out, "site-up: "));
}
END_TEST

/* What the last rehearsal kept, after its folder was lost. */
START_TEST(gc_takes_leftovers_and_nothing_else)
{
    exercise.range = "rehearsal";
    pid_t qemu = exercise_qemu("t01-box");
    exercise_core_kill();
    await_shell("rm -rf %s/ranges/rehearsal", exercise.state);
    await_shell("printf \"<domain type='qemu'><name>foreign</name><memory "
                "unit='MiB'>16</memory><os><type>hvm</type></os></domain>\" >%s/d.xml",
                exercise.dir);
    exercise_virsh("create --paused %s/d.xml", exercise.dir);
    await_shell("printf \"<network><name>foreign</name><bridge "
                "name='foreign0'/></network>\" >%s/n.xml",
                exercise.dir);
    exercise_virsh("net-create %s/n.xml", exercise.dir);
    exercise_core_start();

    exercise_do("gc");
    ck_assert_msg(strstr(exercise_out, "removed rehearsal") != NULL, "%s", exercise_out);
    await_gone(qemu);
    assert_only("foreign");
    exercise_virsh("destroy foreign");
    exercise_virsh("net-destroy foreign");
    exercise_do("gc");
    ck_assert_ptr_nonnull(strstr(exercise_out, "nothing was left over"));
}
END_TEST

START_TEST(the_end_leaves_no_process_and_no_socket)
{
    exercise_core_stop();
    await_shell("%s/enshu-nest stop --state %s", exercise.bin, exercise.state);
    await_shell("%s/enshu-nest status --state %s; test $? = 66", exercise.bin,
                exercise.state);
    await_shell("find %s -type s; test -z \"$(find %s -type s)\"", exercise.state,
                exercise.state);
    /* [/] keeps the search from finding itself. */
    await_shell("grep -la '[/]%s/s' /proc/[0-9]*/cmdline 2>/dev/null; "
                "test -z \"$(grep -la '[/]%s/s' /proc/[0-9]*/cmdline 2>/dev/null)\"",
                exercise.dir + 1, exercise.dir + 1);
}
END_TEST

Suite *exercise_suite(void);
Suite *exercise_suite(void)
{
    Suite *suite = suite_create("exercise");
    TCase *tc = tcase_create("exercise");
    tcase_set_timeout(tc, LIMIT_S);
    tcase_add_unchecked_fixture(tc, exercise_open, exercise_close);
    tcase_add_checked_fixture(tc, exercise_begin, exercise_end);
    tcase_add_test(tc, teams_come_up);
    tcase_add_test(tc, up_again_changes_nothing);
    tcase_add_test(tc, teams_differ_as_designed_and_are_apart);
    tcase_add_test(tc, who_solves_scores);
    tcase_add_test(tc, a_stopped_agent_gains_nothing);
    tcase_add_test(tc, faked_clients_gain_nothing);
    tcase_add_test(tc, libvirtd_is_killed_and_comes_back);
    tcase_add_test(tc, a_killed_machine_is_our_fault);
    tcase_add_test(tc, the_core_is_killed_and_comes_back);
    tcase_add_test(tc, the_console_answers);
    tcase_add_test(tc, a_pause_stops_looking);
    tcase_add_test(tc, the_stop_signs);
    tcase_add_test(tc, down_leaves_nothing);
    tcase_add_test(tc, a_rehearsal_proves_a_scenario);
    tcase_add_test(tc, a_rehearsal_fails_loudly);
    tcase_add_test(tc, gc_takes_leftovers_and_nothing_else);
    tcase_add_test(tc, the_end_leaves_no_process_and_no_socket);
    suite_add_tcase(suite, tc);
    return suite;
}
