/* Forking on real guests, through the programs as a user runs them: the scenario in forks/,
 * whose moulds are made once and serve all tests, which run in order. */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/exercise.h"
#include "enshu/score.h"

#define LIMIT_S 300
#define FORKS   "tests/vm/forks"
#define FREEZES 5 /* one, crash; of small: as it was, by another QEMU, another asset */

/* ------------------------------------------------------------------ in words */

/* The scenario with and, in `teams`, without its machine that all teams share: the same
 * moulds, sooner up. */
static const char *scenario(const char *range)
{
    static char path[256];
    if (es_str_eq(range, "one"))
        es_str_printf(path, sizeof path, "%s/" FORKS, exercise.top);
    else
        es_str_printf(path, sizeof path, "%s/teams", exercise.dir);
    return path;
}

static void copy_scenario(void)
{
    await_shell("cp -R %s/" FORKS " %s/teams && sed -i '/^  judge:/,/^$/d' "
                "%s/teams/scenario.yaml",
                exercise.top, exercise.dir, exercise.dir);
}

static void up(const char *range, const char *words)
{
    exercise.range = range;
    exercise_do("up %s --range %s %s", scenario(range), range, words);
}

static void down(const char *range)
{
    exercise.range = range;
    exercise_do("down %s", range);
}

static void assert_machine(const char *label, const char *key, const char *value)
{
    json_t *range = exercise_status();
    ck_assert_ptr_nonnull(range);
    ck_assert_msg(es_str_eq(status_machine(range, label, key), value),
                  "%s: %s is %s, not %s", label, key, status_machine(range, label, key),
                  value);
    json_decref(range);
}

static void assert_forked(const char *label)
{
    assert_machine(label, "state", "ready");
    assert_machine(label, "mode", "fork");
    assert_machine(label, "why_booted", "");
}

/* The frozen moulds that stand. */
static json_t *moulds(void)
{
    json_t *answer = exercise_json("mould list"), *frozen = json_array(), *one;
    size_t i;
    json_array_foreach (json_object_get(answer, "moulds"), i, one)
        if (es_str_eq(json_string_value(json_object_get(one, "kind")), "frozen"))
            json_array_append(frozen, one);
    json_decref(answer);
    return frozen;
}

/* Of the only mould that stands. */
static void mould_text(char dst[TEXT_MAX], const char *key)
{
    json_t *all = moulds();
    ck_assert_uint_eq(json_array_size(all), 1);
    char *text = json_dumps(json_object_get(json_array_get(all, 0), key),
                            JSON_COMPACT | JSON_ENCODE_ANY);
    ck_assert_ptr_nonnull(text);
    es_str_printf(dst, TEXT_MAX, "%s", text);
    free(text);
    json_decref(all);
}

/* Where it lies: of the first one that the list names. */
static const char *mould_folder(void)
{
    static char path[256];
    json_t *all = moulds();
    const char *key = json_string_value(json_object_get(json_array_get(all, 0), "key"));
    ck_assert_ptr_nonnull(key);
    es_str_printf(path, sizeof path, "%s/moulds/%s", exercise.state, key);
    json_decref(all);
    return path;
}

static int64_t head(void)
{
    json_t *range = exercise_status();
    int64_t at = json_integer_value(json_object_get(range, "ledger_head"));
    json_decref(range);
    return at;
}

/* Events of machines in the ledger after a position: what, and with which cause (NULL: any). */
static int count_events(int64_t after, int team, enum es_machine_event what,
                        const char *cause)
{
    json_t *events = exercise_events(), *event;
    size_t i;
    int count = 0;
    json_array_foreach (events, i, event) {
        const char *text = json_string_value(json_object_get(event, "text"));
        count +=
            es_str_eq(json_string_value(json_object_get(event, "name")), "machine") &&
            json_integer_value(json_object_get(event, "pos")) > after &&
            json_integer_value(json_object_get(event, "team")) == team &&
            json_integer_value(json_object_get(event, "a")) == what &&
            (cause == NULL || (text != NULL && strstr(text, cause) != NULL));
    }
    json_decref(events);
    return count;
}

/* ------------------------------------------------------------------ fork */

START_TEST(an_up_forks)
{
    copy_scenario();
    exercise_core_start();
    up("one", "--teams 2 --mode fork");
    static const char *const forked[] = {"t1/a", "t1/b", "t2/a", "t2/b"};
    for (size_t i = 0; i < ES_COUNT(forked); i++)
        assert_forked(forked[i]);
    assert_machine("range/judge", "mode", "boot");
    ck_assert_int_eq(count_events(0, 1, ES_MEV_UP, "\"fork\""), 2);
    ck_assert_int_eq(count_events(0, -1, ES_MEV_UP, "\"boot\""), 1);
    json_t *all = moulds();
    ck_assert_uint_eq(json_array_size(all), 1);
    json_decref(all);
    exercise_virsh("list --all --name"); /* the moulds, team zero, are gone */
    ck_assert_ptr_nonnull(strstr(exercise_out, "es-one-t02-b"));
    ck_assert_ptr_null(strstr(exercise_out, "es-one-t00"));
}
END_TEST

START_TEST(a_second_up_begins_with_the_fork)
{
    char before[TEXT_MAX], after[TEXT_MAX], users[TEXT_MAX];
    mould_text(before, "made_s");
    up("two", "--teams 1");
    ck_assert_msg(strstr(exercise_out, "freeze:") == NULL &&
                      strstr(exercise_out, "mould/") == NULL,
                  "%s", exercise_out);
    mould_text(after, "made_s");
    ck_assert_str_eq(before, after);
    mould_text(users, "used_by");
    ck_assert_msg(strstr(users, "\"one\"") && strstr(users, "\"two\""), "%s", users);
    assert_forked("t1/a");
    assert_forked("t1/b");
}
END_TEST

/* ------------------------------------------------------------------ what lives on */

/* "beat N UUID TAG": of the line with this number. */
static bool beat_of(const char *lines, int number, char uuid[64], char tag[64])
{
    for (const char *at = lines; *at != '\0';
         at += strcspn(at, "\n"), at += *at != '\0') {
        char line[160];
        int n = 0;
        es_str_printf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        tag[0] = '\0';
        if (sscanf(line, "beat %d %63s %63s", &n, uuid, tag) >= 2 && n == number)
            return true;
    }
    return false;
}

static void await_tag(const char *machine, const char *tag)
{
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (exercise_try("exec %s -- grep -c \" %s$\" /run/got", machine, tag) != 0) {
        ck_assert_msg(now_ms() < until, "%s does not get %s: %s", machine, tag,
                      exercise_out);
        poll(NULL, 0, 300);
    }
}

START_TEST(a_session_goes_on_in_every_team)
{
    char got[2][TEXT_MAX], text[TEXT_MAX], port[TEXT_MAX], uuid[2][64], tag[2][64];
    static const char session[] = "grep \":1B58 01\" /proc/net/tcp | cut -c7-34";
    exercise.range = "one";
    in_guest(text, "t1/a", "echo one >/run/tag");
    in_guest(text, "t2/a", "echo two >/run/tag");
    await_tag("t1/b", "one");
    await_tag("t2/b", "two");
    in_guest(got[0], "t1/b", "tail -n 120 /run/got");
    in_guest(got[1], "t2/b", "tail -n 120 /run/got");
    ck_assert_ptr_null(strstr(got[0], "two"));
    ck_assert_ptr_null(strstr(got[1], "one"));
    in_guest(port, "t1/a", session); /* the same connection in both, and no other */
    ck_assert_msg(strlen(port) > 20, "no session: %s", port);
    in_guest(text, "t2/a", session);
    ck_assert_str_eq(text, port);

    /* Until the freeze chance was one and the same; from then on each team has its own. */
    int same = 0, other = 0;
    for (int n = 1; n < 1000; n++)
        if (beat_of(got[0], n, uuid[0], tag[0]) && beat_of(got[1], n, uuid[1], tag[1])) {
            bool equal = es_str_eq(uuid[0], uuid[1]);
            ck_assert_msg(!equal || other == 0, "beat %d: %s in both", n, uuid[0]);
            same += equal;
            other += !equal;
        }
    ck_assert_int_gt(same, 0);
    ck_assert_int_gt(other, 0);
}
END_TEST

/* ------------------------------------------------------------------ what is each team's own */

enum { PARTS = 5 };
struct identity {
    char part[PARTS][128]; /* machine-id, host key, its public half, chance, password */
};

static void identity_of(struct identity *is, const char *machine)
{
    char text[TEXT_MAX], *rest = text;
    in_guest(text, machine,
             "cat /etc/machine-id; md5sum </etc/ssh/ssh_host_ed25519_key; cat "
             "/etc/ssh/ssh_host_ed25519_key.pub | cut -c1-90; head -c 16 /dev/urandom | "
             "md5sum; grep kei: /etc/shadow | cut -c1-60");
    for (int k = 0; k < PARTS; k++) {
        char *line = strsep(&rest, "\n");
        ck_assert_msg(line != NULL && strlen(line) > 16, "%s: %d: %s", machine, k, line);
        es_str_printf(is->part[k], sizeof is->part[k], "%s", line);
    }
    in_guest(text, machine, "hostname");
    ck_assert_str_eq(text, "a\n");
}

/* Teams of one range, another range, and the same range at another time. */
START_TEST(no_fork_is_another_ones_twin)
{
    struct identity is[5];
    exercise.range = "one";
    identity_of(&is[0], "t1/a");
    identity_of(&is[1], "t2/a");
    exercise.range = "two";
    identity_of(&is[2], "t1/a");
    down("two");
    up("two", "--teams 2 --mode fork");
    identity_of(&is[3], "t1/a");
    identity_of(&is[4], "t2/a");
    for (size_t a = 0; a < ES_COUNT(is); a++)
        for (size_t b = a + 1; b < ES_COUNT(is); b++)
            for (int k = 0; k < PARTS; k++)
                ck_assert_msg(!es_str_eq(is[a].part[k], is[b].part[k]),
                              "forks %zu and %zu: part %d is equal: %s", a, b, k,
                              is[a].part[k]);
    down("two");
}
END_TEST

/* A request without an answer makes the link look who is there. */
static void await_new_agent(const char *machine)
{
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    char line[160];
    es_str_printf(line, sizeof line, "grep -q '%s: its agent started anew' %s/enshud.log",
                  machine, exercise.dir);
    while (system(line) != 0) {
        ck_assert_msg(now_ms() < until, "the agent of %s does not come back", machine);
        exercise_try("exec %s --timeout 1s -- true", machine);
        poll(NULL, 0, 200);
    }
    await_machine(machine, "state", "ready");
}

/* Addresses of a service's stack and heap. */
static void layout(char dst[TEXT_MAX], const char *machine)
{
    in_guest(dst, machine,
             "grep -E \"stack|heap\" /proc/$(pidof httpd)/maps | cut -d\" \" -f1");
    ck_assert_msg(strchr(dst, '-') != NULL, "%s: no service runs: %s", machine, dst);
}

START_TEST(services_frozen_before_they_start_share_nothing)
{
    char first[TEXT_MAX], second[TEXT_MAX];
    exercise.range = "one";
    layout(first, "t1/a");
    layout(second, "t2/a");
    ck_assert_str_eq(first, second); /* frozen ready: why one wants the other way */
    layout(first, "t1/b");
    layout(second, "t2/b");
    ck_assert_str_ne(first, second);

    /* What a team does with its services later is left alone. */
    in_guest(first, "t2/b", "/etc/init.d/web stop; cat /proc/sys/kernel/random/uuid");
    in_guest(second, "t2/b", "(sleep 1; kill -9 $(pidof enshu-agent)) >/dev/null 2>&1 &");
    await_new_agent("t2/b");
    ck_assert_int_ne(exercise_try("exec t2/b -- pidof httpd"), 0);
}
END_TEST

/* ------------------------------------------------------------------ shared networks */

/* As exit code 1 of ping says, when everything else went well. */
static bool reaches(const char *machine, const char *address)
{
    int status = exercise_try("exec %s -- ping -c 2 -W 1 -i 0.1 %s", machine, address);
    ck_assert_msg(status == 0 || status == 1, "%s", exercise_out);
    return status == 0;
}

static void assert_networks(const char *range)
{
    exercise.range = range;
    ck_assert(reaches("t1/a", "10.1.0.20"));
    ck_assert(reaches("t1/a", "10.60.0.10"));
    ck_assert(reaches("t2/a", "10.60.0.10"));
    ck_assert(reaches("t1/a", "10.70.0.10"));
    ck_assert(reaches("t1/a", "10.70.2.2"));
    ck_assert(reaches("t2/a", "10.70.1.2"));
    ck_assert(!reaches("t1/a", "10.60.2.2"));
    ck_assert(!reaches("t2/a", "10.60.1.2"));
    ck_assert(reaches("range/judge", "10.60.1.2"));
    ck_assert(reaches("range/judge", "10.60.2.2"));
}

START_TEST(plugged_nics_are_the_teams_own)
{
    char address[2][TEXT_MAX], mac[2][TEXT_MAX];
    exercise.range = "one";
    for (int eth = 0; eth < 3; eth++) {
        for (int team = 0; team < 2; team++) {
            char machine[8], line[128];
            es_str_printf(machine, sizeof machine, "t%d/a", team + 1);
            es_str_printf(line, sizeof line, "ip -o -4 addr show eth%d | grep -o inet.*/",
                          eth);
            in_guest(address[team], machine, line);
            es_str_printf(line, sizeof line, "cat /sys/class/net/eth%d/address", eth);
            in_guest(mac[team], machine, line);
        }
        ck_assert(es_str_eq(mac[0], mac[1]) == (eth == 0));
        ck_assert(es_str_eq(address[0], address[1]) == (eth == 0));
    }
    ck_assert_str_eq(address[0], "inet 10.70.1.2/\n");
    ck_assert_str_eq(address[1], "inet 10.70.2.2/\n");
    assert_networks("one");
}
END_TEST

/* ------------------------------------------------------------------ reset */

static void epoch_of(char dst[32], int team)
{
    json_t *events = exercise_events(), *event;
    size_t i;
    dst[0] = '\0';
    json_array_foreach (events, i, event)
        if (es_str_eq(json_string_value(json_object_get(event, "name")), "observed") &&
            json_integer_value(json_object_get(event, "team")) == team)
            es_str_printf(dst, 32, "%s",
                          json_string_value(json_object_get(event, "epoch")));
    ck_assert_msg(dst[0] != '\0', "nothing was observed in team %d", team);
    json_decref(events);
}

START_TEST(a_reset_is_another_fork)
{
    char text[TEXT_MAX], epoch[3][32];
    struct identity old, new;
    exercise.range = "one";
    identity_of(&old, "t1/a");
    exercise_do("start");
    await_condition(1, "noted", "fail");
    await_condition(2, "noted", "fail");
    epoch_of(epoch[0], 1);
    epoch_of(epoch[1], 2);
    ck_assert_str_ne(epoch[0], epoch[1]);
    in_guest(text, "t1/a",
             "echo found >/srv/note; echo x >/run/mine; echo kei:mine | chpasswd; sync");
    await_condition(1, "noted", "pass");

    int64_t before = head();
    exercise_do("reset t1/a");
    assert_forked("t1/a");
    await_condition(1, "noted", "fail");
    ck_assert_int_eq(count_events(before, 1, ES_MEV_RESET, NULL), 1);
    ck_assert_int_eq(count_events(before, 1, ES_MEV_UP, "\"fork\""), 1);
    ck_assert_int_eq(count_events(before, 1, ES_MEV_READY, NULL), 1);
    epoch_of(epoch[2], 1);
    ck_assert_str_ne(epoch[0], epoch[2]);
    ck_assert_int_ne(exercise_try("exec t1/a -- cat /srv/note"), 0);
    ck_assert_int_ne(exercise_try("exec t1/a -- cat /run/mine"), 0);
    identity_of(&new, "t1/a"); /* the team's keys and passwords as before */
    for (int k = 0; k < PARTS; k++)
        ck_assert(es_str_eq(old.part[k], new.part[k]) == (k == 1 || k == 2 || k == 4));
    assert_networks("one");
}
END_TEST

START_TEST(a_reset_of_a_team_forks_all_of_it)
{
    char text[TEXT_MAX];
    exercise.range = "one";
    in_guest(text, "t2/a", "echo x >/srv/mine");
    int64_t before = head();
    exercise_do("reset 2");
    assert_forked("t2/a");
    assert_forked("t2/b");
    ck_assert_int_eq(count_events(before, 2, ES_MEV_UP, "\"fork\""), 2);
    ck_assert_int_eq(count_events(before, 1, ES_MEV_RESET, NULL), 0);
    ck_assert_int_ne(exercise_try("exec t2/a -- cat /srv/mine"), 0);
    in_guest(text, "t2/a", "echo again >/run/tag");
    await_tag("t2/b", "again"); /* all of one moment: the session goes on once more */
}
END_TEST

/* ------------------------------------------------------------------ the mould stays as it was */

/* What guests do to memory and disk, and what is done to them. */
static void disturb(void)
{
    char text[TEXT_MAX];
    exercise.range = "one";
    in_guest(text, "t1/a",
             "dd if=/dev/urandom of=/dev/shm/x bs=1M count=12 2>/dev/null; dd "
             "if=/dev/urandom of=/srv/x bs=1M count=12 2>/dev/null; sync; rm /srv/x; "
             "fstrim / && echo trimmed");
    ck_assert_str_eq(text, "trimmed\n");
    in_guest(text, "t1/a", "(sleep 1; reboot -f) >/dev/null 2>&1 &");
    ck_assert_int_eq(kill(exercise_qemu("t02-b"), SIGKILL), 0);
    await_machine("t2/b", "state", "fault");
    await_new_agent("t1/a");
}

START_TEST(forks_cannot_change_their_mould)
{
    char text[TEXT_MAX];
    disturb();
    assert_networks("one"); /* the NICs that were plugged in are there after the reboot */
    exercise_do("mould verify");
    ck_assert_ptr_nonnull(strstr(exercise_out, "as it was"));
    mould_text(text, "key");
    ck_assert_int_eq(exercise_try("mould rm %.12s", text + 1), 75);
    ck_assert_msg(strstr(exercise_out, "is used by one") != NULL, "%s", exercise_out);
    exercise_do("reset t2/b");
    assert_forked("t2/b");
}
END_TEST

/* One byte and back. */
static void flip(const char *file, int64_t at)
{
    char path[300];
    es_str_printf(path, sizeof path, "%s/%s", mould_folder(), file);
    FILE *f = fopen(path, "r+");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    ck_assert_int_eq(fseek(f, (long)at, SEEK_SET), 0);
    int byte = fgetc(f);
    ck_assert_int_ge(byte, 0);
    ck_assert_int_eq(fseek(f, (long)at, SEEK_SET), 0);
    ck_assert_int_ge(fputc(byte ^ 1, f), 0);
    ck_assert_int_eq(fclose(f), 0);
}

START_TEST(one_byte_that_differs_is_found)
{
    static const char *const files[] = {"a.ram", "b.state", "a.qcow2", "b.overlay"};
    char changed[64];
    exercise.range = "one";
    await_shell("chmod u+w %s/*", mould_folder());
    for (size_t i = 0; i < ES_COUNT(files); i++) {
        flip(files[i], 70000);
        ck_assert_int_eq(exercise_try("mould verify"), 74);
        es_str_printf(changed, sizeof changed, "CHANGED: %s", files[i]);
        ck_assert_msg(strstr(exercise_out, changed) != NULL, "%s", exercise_out);
        flip(files[i], 70000);
    }
    exercise_do("mould verify");
}
END_TEST

/* ------------------------------------------------------------------ the ladder */

/* The same solution in a range of this mode; the points of its team. */
static int64_t play(const char *range)
{
    char text[TEXT_MAX];
    exercise.range = range;
    await_condition(1, "noted", "fail");
    in_guest(text, "t1/a", "echo found >/srv/note");
    await_condition(1, "noted", "pass");
    exercise_do("stop");
    json_t *status = exercise_status();
    int64_t points = status_mpts(status, 1);
    json_decref(status);
    return points;
}

START_TEST(boot_and_fork_play_the_same)
{
    up("cold", "--mode boot");
    assert_machine("t1/a", "mode", "boot");
    assert_machine("t1/a", "why_booted", "booting was asked for");
    ck_assert_int_eq(count_events(0, 1, ES_MEV_UP, "boot: booting was asked for"), 2);
    exercise_do("start");
    int64_t booted = play("cold");
    down("cold");
    exercise.range = "one";
    ck_assert_int_eq(play("one"), booted);
    ck_assert_int_gt(booted, 0);
    down("one");
}
END_TEST

static void damage(bool undo)
{
    await_shell(undo ? "cd %s && mv a.state.kept a.state && chmod 0666 b.ram"
                     : "cd %s && cp -p a.state a.state.kept && chmod u+w a.state && "
                       "truncate -s 150000 a.state && chmod 0 b.ram",
                mould_folder());
}

START_TEST(what_cannot_be_forked_is_booted)
{
    damage(false);
    up("auto", "--mode auto");
    assert_machine("t1/a", "state", "ready");
    assert_machine("t1/b", "state", "ready");
    exercise_do("status auto");
    static const char *const wanted[] = {
        "booted, not forked: t1/a: fork: its mould's state could not be loaded",
        "booted, not forked: t1/b: fork: start machine es-auto-t01-b: ", "b.ram",
        "Permission denied"};
    for (size_t i = 0; i < ES_COUNT(wanted); i++)
        ck_assert_msg(strstr(exercise_out, wanted[i]) != NULL, "%s: %s", wanted[i],
                      exercise_out);
    ck_assert_int_eq(count_events(0, 1, ES_MEV_UP, "boot: fork: "), 2);
    down("auto");
}
END_TEST

START_TEST(a_fork_that_was_asked_for_fails_with_its_reason)
{
    exercise.range = "hard";
    ck_assert_int_eq(exercise_try("up %s --range hard --mode fork", scenario("hard")),
                     69);
    json_t *status = exercise_status();
    ck_assert_ptr_nonnull(strstr(status_machine(status, "t1/a", "detail"),
                                 "fork: its mould's state could not be loaded"));
    ck_assert_ptr_nonnull(
        strstr(status_machine(status, "t1/a", "detail"), "enshu mould verify"));
    ck_assert_ptr_nonnull(strstr(status_machine(status, "t1/b", "detail"), "b.ram"));
    json_decref(status);
    damage(true);
    up("hard", "--mode fork");
    assert_forked("t1/a");
    assert_forked("t1/b");
}
END_TEST

/* ------------------------------------------------------------------ crashes */

START_TEST(forks_are_adopted_and_forked_again)
{
    exercise.range = "hard";
    pid_t qemu = exercise_qemu("t01-a");
    exercise_core_kill();
    exercise_core_start();
    await_all_machines("link", "UP");
    ck_assert_int_eq(exercise_qemu("t01-a"), qemu);
    assert_forked("t1/a");
    exercise_do("reset t1/a");
    assert_forked("t1/a");
    ck_assert_int_ne(exercise_qemu("t01-a"), qemu);
    down("hard");
}
END_TEST

static void begin_up(const char *range, const char *words)
{
    exercise.range = range;
    await_shell("ENSHU_STATE=%s setsid -f %s/enshu up %s --range %s %s >/dev/null 2>&1 "
                "</dev/null",
                exercise.state, exercise.bin, scenario(range), range, words);
}

START_TEST(a_crash_in_a_freeze_is_made_good)
{
    char text[TEXT_MAX];
    mould_text(text, "key");
    exercise_do("mould rm %.12s", text + 1);
    begin_up("crash", "--teams 3");
    await_shell("ls %s/moulds/*/b.ram", exercise.state);
    exercise_core_kill();
    await_shell("ls %s/moulds/*/b.ram && ! ls %s/moulds/*/mould.json 2>&1",
                exercise.state, exercise.state);
    exercise_virsh("suspend es-crash-t00-b"); /* as for the moment of the freeze */
    exercise_core_start();
    await_shell("! ls %s/v/run/qemu/es-*.pid 2>&1", exercise.state); /* both were ended */
    json_t *none = moulds();
    ck_assert_uint_eq(json_array_size(none), 0);
    json_decref(none);
    exercise_do("gc"); /* half a mould is of no use to anyone */
    await_shell("! ls %s/moulds/*/b.ram 2>&1", exercise.state);
}
END_TEST

START_TEST(a_crash_among_forks_is_made_good)
{
    begin_up("crash", "--teams 3");
    await_shell("ls %s/v/run/qemu/es-crash-t0[1-3]*.pid", exercise.state);
    exercise_core_kill();
    json_t *frozen;
    exercise_core_start();
    frozen = moulds();
    ck_assert_uint_eq(json_array_size(frozen), 1);
    json_decref(frozen);
    up("crash", "--teams 3");
    static const char *const forked[] = {"t1/a", "t1/b", "t2/a", "t2/b", "t3/a", "t3/b"};
    for (size_t i = 0; i < ES_COUNT(forked); i++)
        assert_forked(forked[i]);
    exercise_do("reset 3");
    assert_forked("t3/a");
    down("crash");
    ck_assert_str_eq(exercise_virsh("list --all --name"), "");
    ck_assert_str_eq(exercise_virsh("net-list --all --name"), "");
    await_shell("test -z \"$(ls -A %s/ranges)\"", exercise.state);
    exercise_do("mould verify");
    exercise_do("gc");
    ck_assert_ptr_nonnull(strstr(exercise_out, "nothing was left over"));
}
END_TEST

/* ------------------------------------------------------------------ what a mould is made of */

/* Builds and gives the key that stands for it then. */
static void build(char key[64])
{
    json_t *answer = exercise_json("mould build %s/small", exercise.dir);
    es_str_printf(key, 64, "%s", json_string_value(json_object_get(answer, "key")));
    json_decref(answer);
    ck_assert_uint_eq(strlen(key), 40);
}

START_TEST(a_mould_of_other_things_is_another)
{
    char key[4][64];
    await_shell("mkdir %s/small && cd %s/small && echo one >asset && printf 'enshu: "
                "1\\nname: small\\ntitle: X\\nnodes: {m: {image: tiny, memory: 96 MiB, "
                "setup: [{copy: {from: asset, to: /srv/asset}}]}}\\n' >scenario.yaml",
                exercise.dir, exercise.dir);
    await_shell("ENSHU_STATE=%s setsid -f %s/enshu mould build %s/small >/dev/null 2>&1 "
                "</dev/null",
                exercise.state, exercise.bin, exercise.dir);
    await_shell("ls %s/moulds/*/m.ram", exercise.state);
    exercise_core_kill();
    exercise_core_start();
    build(key[0]); /* what the crash left is no hindrance */
    build(key[1]);
    ck_assert_str_eq(key[0], key[1]);
    ck_assert_int_eq(exercise_try("mould build %s/small", exercise.dir), 0);
    ck_assert_ptr_null(strstr(exercise_out, "freeze:"));

    await_shell("sed -i 's/\"qemu\": \".*\"/\"qemu\": \"1.0\"/' %s/moulds/%s/mould.json",
                exercise.state, key[0]);
    ck_assert_int_eq(exercise_try("mould build %s/small", exercise.dir), 0);
    ck_assert_ptr_nonnull(strstr(exercise_out, "freeze:")); /* under the same name */
    await_shell("! grep '\"qemu\": \"1.0\"' %s/moulds/%s/mould.json", exercise.state,
                key[0]);

    await_shell("echo two >%s/small/asset", exercise.dir);
    exercise.range = "small"; /* a range that wants the same meanwhile waits for it */
    await_shell(
        "ENSHU_STATE=%s setsid -f %s/enshu up %s/small >/dev/null 2>&1 </dev/null",
        exercise.state, exercise.bin, exercise.dir);
    build(key[2]);
    ck_assert_str_ne(key[0], key[2]);
    await_machine("t1/m", "state", "ready");
    assert_forked("t1/m");
    await_shell("test $(grep -c 'moulds frozen after' %s/enshud.log) = %d", exercise.dir,
                FREEZES);
    down("small");

    exercise_core_stop();
    await_shell("cp %s/enshu-agent %s/agent && echo >>%s/agent", exercise.bin,
                exercise.dir, exercise.dir);
    char option[128];
    es_str_printf(option, sizeof option, "--agent %s/agent", exercise.dir);
    exercise_core_start_with(option);
    build(key[3]);
    ck_assert_str_ne(key[2], key[3]);
    ck_assert_str_eq(exercise_virsh("list --all --name"), "");
}
END_TEST

Suite *fork_suite(void);
Suite *fork_suite(void)
{
    Suite *suite = suite_create("fork");
    TCase *tc = tcase_create("forks");
    tcase_set_timeout(tc, LIMIT_S);
    tcase_add_unchecked_fixture(tc, exercise_open, exercise_close);
    tcase_add_checked_fixture(tc, exercise_begin, exercise_end);
    tcase_add_test(tc, an_up_forks);
    tcase_add_test(tc, a_second_up_begins_with_the_fork);
    tcase_add_test(tc, a_session_goes_on_in_every_team);
    tcase_add_test(tc, no_fork_is_another_ones_twin);
    tcase_add_test(tc, services_frozen_before_they_start_share_nothing);
    tcase_add_test(tc, plugged_nics_are_the_teams_own);
    tcase_add_test(tc, a_reset_is_another_fork);
    tcase_add_test(tc, a_reset_of_a_team_forks_all_of_it);
    tcase_add_test(tc, forks_cannot_change_their_mould);
    tcase_add_test(tc, one_byte_that_differs_is_found);
    tcase_add_test(tc, boot_and_fork_play_the_same);
    tcase_add_test(tc, what_cannot_be_forked_is_booted);
    tcase_add_test(tc, a_fork_that_was_asked_for_fails_with_its_reason);
    tcase_add_test(tc, forks_are_adopted_and_forked_again);
    tcase_add_test(tc, a_crash_in_a_freeze_is_made_good);
    tcase_add_test(tc, a_crash_among_forks_is_made_good);
    tcase_add_test(tc, a_mould_of_other_things_is_another);
    suite_add_tcase(suite, tc);
    return suite;
}
