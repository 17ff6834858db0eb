/* A full Debian machine, forked: systemd finds nothing amiss, the journal goes on, and the
 * SSH server shows each team its own key. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "../support/exercise.h"
#include "enshu/common/err.h"

#define LIMIT_S 600 /* the image is built when there is none */

static void write_scenario(void)
{
    char path[128];
    es_str_printf(path, sizeof path, "%s/office.yaml", exercise.dir);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fputs("enshu: 1\n"
          "name: office\n"
          "title: {en: An office}\n"
          "languages: {default: en, complete: [en]}\n"
          "networks: {lan: {cidr: 10.40.0.0/24}}\n"
          "nodes:\n"
          "  pc:\n"
          "    image: debian-12\n"
          "    memory: 320 MiB\n"
          "    networks: {lan: 10.40.0.10}\n"
          "    ready: {port: {port: 22}}\n",
          file);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(a_full_machine_is_forked)
{
    write_scenario();
    exercise_core_start();
    exercise_do("up %s/office.yaml --range drill --teams 2 --mode fork", exercise.dir);
    json_t *range = exercise_status();
    ck_assert_str_eq(status_machine(range, "t1/pc", "mode"), "fork");
    ck_assert_str_eq(status_machine(range, "t2/pc", "mode"), "fork");
    json_decref(range);
}
END_TEST

static void served_key(char dst[TEXT_MAX], const char *machine)
{
    in_guest(dst, machine,
             "ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | cut -d\" \" -f2,3");
    ck_assert_msg(strncmp(dst, "ssh-ed25519 ", 12) == 0, "%s serves: %s", machine, dst);
}

START_TEST(each_serves_a_key_of_its_own)
{
    static const char *const machines[] = {"t1/pc", "t2/pc"};
    char served[2][TEXT_MAX], written[TEXT_MAX], again[TEXT_MAX];
    for (size_t i = 0; i < ES_COUNT(machines); i++) {
        served_key(served[i], machines[i]);
        in_guest(written, machines[i],
                 "cut -d\" \" -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
        ck_assert_str_eq(served[i], written);
        in_guest(again, machines[i], "systemctl restart ssh && systemctl is-active ssh");
        ck_assert_str_eq(again, "active\n");
        served_key(again, machines[i]);
        ck_assert_str_eq(again, written);
    }
    ck_assert_str_ne(served[0], served[1]);
}
END_TEST

START_TEST(systemd_finds_nothing_amiss)
{
    char text[TEXT_MAX];
    in_guest(text, "t1/pc",
             "systemctl is-system-running; systemctl --failed --no-legend");
    ck_assert_str_eq(text, "running\n"); /* and no unit failed */
    in_guest(text, "t1/pc",
             "logger after the fork; journalctl --sync; journalctl -b -o cat | "
             "grep -x \"after the fork\"");
    ck_assert_str_eq(text, "after the fork\n");
    in_guest(text, "t1/pc", "test $(hostnamectl hostname) = pc && cat /etc/machine-id");
    ck_assert_uint_eq(strlen(text), 33);
}
END_TEST

START_TEST(nothing_stays)
{
    exercise_do("down drill");
    ck_assert_str_eq(exercise_virsh("list --all --name"), "");
    exercise_core_stop();
}
END_TEST

Suite *debian_suite(void);
Suite *debian_suite(void)
{
    Suite *suite = suite_create("debian");
    TCase *tc = tcase_create("forks");
    tcase_set_timeout(tc, LIMIT_S);
    tcase_add_unchecked_fixture(tc, exercise_open, exercise_close);
    tcase_add_checked_fixture(tc, exercise_begin, exercise_end);
    tcase_add_test(tc, a_full_machine_is_forked);
    tcase_add_test(tc, each_serves_a_key_of_its_own);
    tcase_add_test(tc, systemd_finds_nothing_amiss);
    tcase_add_test(tc, nothing_stays);
    suite_add_tcase(suite, tc);
    return suite;
}
