/* Parking real guests over a reboot of the host: core and nest end, all below their run
 * folders is gone, and every process, session, NIC and score is as it was-> And disks that
 * outlive their range. The scenario is that of forks/ with a machine whose disk is kept; the
 * tests run in order. */
#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../support/exercise.h"

#define LIMIT_S 300

static void make_scenario(void)
{
    await_shell(
        "cp -R %s/tests/vm/forks %s/course && cd %s/course && sed -i 's/^name: .*/name: "
        "course/; s/^nodes:/nodes:\\n  book:\\n    image: tiny\\n    lifetime: programme"
        "\\n    networks: {lan: 10.1.0.30}\\n    accounts: [{user: pupil, password: "
        "generate}]\\n    setup: [{run: echo once >>\\/root\\/setups}]\\n    "
        "personalise: "
        "[{run: echo again >>\\/root\\/starts}]\\n/' scenario.yaml",
        exercise.top, exercise.dir, exercise.dir);
}

static void up(void)
{
    exercise_do("up %s/course --teams 2 --range course --mode fork", exercise.dir);
}

static void assert_all(const char *key, const char *value)
{
    json_t *range = exercise_status(), *one;
    size_t i;
    ck_assert_ptr_nonnull(range);
    json_array_foreach (json_object_get(range, "machines"), i, one) {
        const char *is = json_string_value(json_object_get(one, key));
        ck_assert_msg(es_str_eq(is, value), "%s: %s is %s: %s",
                      json_string_value(json_object_get(one, "machine")), key, is,
                      json_string_value(json_object_get(one, "detail")));
    }
    ck_assert_uint_eq(i, 7);
    json_decref(range);
}

static void assert_mode(const char *machine, const char *mode)
{
    json_t *range = exercise_status();
    ck_assert_msg(es_str_eq(status_machine(range, machine, "mode"), mode), "%s: %s",
                  machine, status_machine(range, machine, "mode"));
    json_decref(range);
}

/* ------------------------------------------------------------------ before */

static struct memory { /* as it was before; each test is a process of its own */
    char counter[TEXT_MAX], session[TEXT_MAX], id[TEXT_MAX];
    int64_t ex_ms, mpts[3];
} * was;

/* Its process, with when it was started. */
static const char counter[] = "p=$(cat /run/pid); echo $p $(cut -d\" \" -f22 "
                              "/proc/$p/stat)";
static const char session[] = "grep \":1B58 01\" /proc/net/tcp | cut -c7-34";

static int64_t count_in(const char *machine)
{
    char text[TEXT_MAX];
    in_guest(text, machine, "cat /run/count");
    return strtol(text, NULL, 10);
}

static void await_counting(const char *machine, int64_t above)
{
    int64_t until = now_ms() + EXERCISE_WAIT_S * 1000;
    while (count_in(machine) <= above) {
        ck_assert_msg(now_ms() < until, "%s does not count", machine);
        poll(NULL, 0, 300);
    }
}

static void look(void)
{
    json_t *range = exercise_status();
    const json_t *clock = json_object_get(range, "clock");
    ck_assert_str_eq(json_string_value(json_object_get(clock, "state")), "paused");
    was->ex_ms = json_integer_value(json_object_get(clock, "ex_ms"));
    for (int team = 1; team <= 2; team++)
        was->mpts[team] = status_mpts(range, team);
    json_decref(range);
}

START_TEST(a_range_is_up_and_played)
{
    char text[TEXT_MAX];
    make_scenario();
    exercise_core_start();
    up();
    assert_mode("t1/a", "fork");
    assert_mode("t1/book", "boot");
    exercise_do("start");
    in_guest(text, "t1/a", "echo found >/srv/note");
    await_condition(1, "noted", "pass");
    await_condition(2, "noted", "fail");
    in_guest(text, "t1/a",
             "(i=0; while :; do i=$((i+1)); echo $i >/run/next; mv /run/next /run/count; "
             "sleep 1; done) >/dev/null 2>&1 & echo $! >/run/pid");
    await_counting("t1/a", 2);
    in_guest(was->counter, "t1/a", counter);
    in_guest(was->session, "t1/a", session);
    in_guest(was->id, "t1/a", "cat /etc/machine-id");
    ck_assert_msg(strlen(was->session) > 20, "no session: %s", was->session);
}
END_TEST

/* ------------------------------------------------------------------ asleep */

static const char machines_left[] = "test -z \"$(ls %s/v/run/qemu | grep 'es-.*pid')\"";

START_TEST(it_goes_to_sleep)
{
    exercise_do("park --reason 'over the night'");
    ck_assert_ptr_nonnull(strstr(exercise_out, "7 machines"));
    look();
    assert_all("state", "parked");
    await_shell(machines_left, exercise.state);
    ck_assert_int_ne(exercise_try("resume"), 0);
    ck_assert_ptr_nonnull(strstr(exercise_out, "unpark"));
    ck_assert_int_ne(exercise_try("down"), 0); /* book's guest has not written all */
    ck_assert_ptr_nonnull(strstr(exercise_out, "t1/book"));
}
END_TEST

/* What a reboot leaves: no process, nothing below /run. */
static void reboot(void)
{
    exercise_core_stop();
    await_shell("%s/enshu-nest stop --state %s", exercise.bin, exercise.state);
    await_shell("cd %s && rm -rf run/* v/run/* sock/*", exercise.state);
    exercise_core_start();
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

static void assert_as_it_was(void)
{
    char text[TEXT_MAX];
    struct memory before = *was;
    look();
    ck_assert_int_eq(was->ex_ms, before.ex_ms);
    ck_assert_int_eq(was->mpts[1], before.mpts[1]);
    ck_assert_int_eq(was->mpts[2], before.mpts[2]);
    in_guest(text, "t1/a", counter);
    ck_assert_str_eq(text, was->counter);
    in_guest(text, "t1/a", session);
    ck_assert_str_eq(text, was->session);
    in_guest(text, "t1/a", "cat /etc/machine-id");
    ck_assert_str_eq(text, was->id);
}

static void assert_clocks_are_right(void)
{
    static const char *const machines[] = {"t1/a", "t2/b", "t1/book", "range/judge"};
    char text[TEXT_MAX];
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        int64_t before = (int64_t)time(NULL);
        in_guest(text, machines[i], "date +%s");
        int64_t there = strtoll(text, NULL, 10);
        ck_assert_int_ge(there, before - 3);
        ck_assert_int_le(there, (int64_t)time(NULL) + 3);
    }
}

START_TEST(it_wakes_after_a_reboot_of_the_host)
{
    char text[TEXT_MAX];
    reboot();
    assert_all("state", "parked");
    exercise_do("unpark");
    ck_assert_ptr_nonnull(strstr(exercise_out, "paused"));
    assert_all("state", "ready");
    await_all_machines("link", "UP");
    assert_as_it_was();
    assert_clocks_are_right();
    await_counting("t1/a", count_in("t1/a"));
    in_guest(text, "t1/a", "echo awake >/run/tag"); /* over the session from before */
    await_tag("t1/b", "awake");
    in_guest(text, "t1/a", "ping -c 1 -W 10 10.60.0.10 >/dev/null && echo there");
    ck_assert_str_eq(text, "there\n"); /* by a NIC that was plugged into the fork */
    exercise_do("ledger verify");
    exercise_do("mould verify"); /* no fork wrote to it */
    json_t *result = exercise_json("rescore");
    ck_assert(json_is_true(json_object_get(result, "equal")));
    json_decref(result);
}
END_TEST

START_TEST(the_exercise_goes_on)
{
    char text[TEXT_MAX];
    exercise_do("resume");
    in_guest(text, "t2/a", "echo found >/srv/note");
    await_condition(2, "noted", "pass");
    await_condition(1, "noted", "pass");
    exercise_do("pause");
    json_t *result = exercise_json("rescore");
    ck_assert(json_is_true(json_object_get(result, "equal")));
    json_decref(result);
    exercise_do("park"); /* a second time, of machines that were parked */
    exercise_do("unpark");
    assert_all("state", "ready");
    in_guest(text, "t1/a", counter);
    ck_assert_str_eq(text, was->counter);
    exercise_do("reset t1/a");
    assert_mode("t1/a", "fork");
}
END_TEST

/* ------------------------------------------------------------------ a programme */

static void shadow_of(char dst[TEXT_MAX])
{
    in_guest(dst, "t1/book", "grep pupil: /etc/shadow | cut -d: -f2");
    ck_assert_uint_gt(strlen(dst), 20);
}

START_TEST(a_programme_s_disk_outlives_its_range)
{
    char text[TEXT_MAX], id[TEXT_MAX], password[TEXT_MAX];
    in_guest(text, "t1/book", "cat /root/setups /root/starts");
    ck_assert_str_eq(text, "once\nagain\n");
    in_guest(id, "t1/book", "cat /etc/machine-id");
    shadow_of(password);
    in_guest(text, "t1/book", "echo chapter one >/root/essay");
    exercise_do("down"); /* switched off: what was just written is on the disk */
    ck_assert_ptr_nonnull(strstr(exercise_out, "es-course-t01-book.qcow2"));
    await_shell(machines_left, exercise.state);
    up();
    in_guest(text, "t1/book", "cat /root/setups /root/starts /root/essay");
    ck_assert_str_eq(text, "once\nagain\nagain\nchapter one\n");
    in_guest(text, "t1/book", "cat /etc/machine-id");
    ck_assert_str_eq(text, id);
    shadow_of(text);
    ck_assert_str_eq(text, password);
    ck_assert_int_ne(exercise_try("reset t1/book"), 0);
    exercise_do("reset t1/book --force");
    in_guest(text, "t1/book", "cat /root/setups /root/starts; ls /root/essay 2>&1; :");
    ck_assert_msg(strncmp(text, "once\nagain\n", 11) == 0, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "No such file"));
    exercise_do("down --purge");
    await_shell("test ! -e %s/programme/course", exercise.state);
}
END_TEST

static void open_course(void)
{
    exercise_open();
    exercise.range = "course";
    was = mmap(NULL, sizeof *was, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
               0);
    ck_assert(was != MAP_FAILED);
}

static void close_course(void)
{
    munmap(was, sizeof *was);
    exercise_close();
}

Suite *parked_suite(void);
Suite *parked_suite(void)
{
    Suite *suite = suite_create("parked");
    TCase *tc = tcase_create("parked");
    tcase_set_timeout(tc, LIMIT_S);
    tcase_add_unchecked_fixture(tc, open_course, close_course);
    tcase_add_checked_fixture(tc, exercise_begin, exercise_end);
    tcase_add_test(tc, a_range_is_up_and_played);
    tcase_add_test(tc, it_goes_to_sleep);
    tcase_add_test(tc, it_wakes_after_a_reboot_of_the_host);
    tcase_add_test(tc, the_exercise_goes_on);
    tcase_add_test(tc, a_programme_s_disk_outlives_its_range);
    suite_add_tcase(suite, tc);
    return suite;
}
