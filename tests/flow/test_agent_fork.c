/* The real agent on a made-up root, made quiet and personalised as a fork would be. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../support/guest.h"
#include "enshu/common/str.h"

static struct guest guest;

static void setup(void)
{
    guest_start(&guest, true);
}

static void teardown(void)
{
    guest_stop(&guest);
}

static json_t *fork_args(const char *random)
{
    return json_pack("{s:s, s:b, s:s, s:I}", "random", random, "fork", 1, "hostname",
                     "web", "time_us", (json_int_t)1790000000000000);
}

START_TEST(a_fork_takes_an_epoch_of_its_own)
{
    char mould[17], first[17];
    memcpy(mould, guest.epoch, sizeof mould);
    json_decref(guest_ask(&guest, "exec", json_pack("{s:[s]}", "argv", "true")));
    guest_send_as(&guest, 7, "personalise", fork_args("Zmlyc3Q="), 60000);
    json_t *result = guest_result(&guest, 7);
    ck_assert_str_eq(guest_code(result), "ok");
    ck_assert_int_eq(guest_int(result, "seq"), 1);
    memcpy(first, guest_text(result, "epoch"), sizeof first);
    ck_assert_str_ne(first, mould);
    json_decref(result);
    /* Its result is held, and acknowledged, in the new epoch. */
    json_t *answer = guest_sync(&guest, "again");
    ck_assert_str_eq(guest.epoch, first);
    ck_assert_int_eq(guest_int(json_object_get(answer, "hello"), "held"), 1);
    json_decref(answer);
    json_decref(guest_result(&guest, 7));
    guest_ack(&guest, 1);
    answer = guest_sync(&guest, "once-more");
    ck_assert_int_eq(guest_int(json_object_get(answer, "hello"), "held"), 0);
    json_decref(answer);
    /* The same request in another fork, later or with other bytes: another epoch. */
    guest_send_as(&guest, 8, "personalise", fork_args("c2Vjb25k"), 60000);
    result = guest_result(&guest, 8);
    ck_assert_str_ne(guest_text(result, "epoch"), first);
    json_decref(result);
}
END_TEST

START_TEST(a_failed_one_keeps_the_epoch)
{
    json_t *result = guest_ask(&guest, "personalise", json_pack("{s:b}", "fork", 1));
    ck_assert_str_eq(guest_code(result), "bad-request"); /* no randomness */
    ck_assert_str_eq(guest_text(result, "epoch"), guest.epoch);
    json_decref(result);
    result = guest_ask(&guest, "personalise", json_pack("{s:s}", "hostname", "web"));
    ck_assert_str_eq(guest_code(result), "ok");
    ck_assert_str_eq(guest_text(result, "epoch"), guest.epoch);
    json_decref(result);
}
END_TEST

START_TEST(quieting_forgets_and_can_be_repeated)
{
    guest_send_as(&guest, 5, "exec", json_pack("{s:[s]}", "argv", "true"), 60000);
    json_decref(guest_result(&guest, 5)); /* not acknowledged */
    for (int i = 0; i < 2; i++) {
        guest_send_as(&guest, 6, "quiet", json_object(), 60000);
        json_t *result = guest_result(&guest, 6);
        ck_assert_str_eq(guest_code(result), "ok");
        ck_assert(json_is_array(
            json_object_get(json_object_get(result, "evidence"), "timers")));
        json_decref(result);
        guest_hang_up(&guest);
        guest_accept(&guest);
        json_t *answer = guest_sync(&guest, "after");
        ck_assert_int_eq(guest_int(json_object_get(answer, "hello"), "held"), 0);
        json_decref(answer);
    }
    guest_send_as(&guest, 5, "exec", json_pack("{s:[s]}", "argv", "true"), 60000);
    json_t *result = guest_result(&guest, 5);
    ck_assert_str_eq(guest_code(result), "ok");
    json_decref(result);
}
END_TEST

START_TEST(what_runs_is_in_the_way_of_quiet)
{
    int64_t id =
        guest_send(&guest, "exec", json_pack("{s:s}", "shell", "sleep 1000"), 60000);
    json_t *result = guest_ask(&guest, "quiet", json_object());
    ck_assert_str_eq(guest_code(result), "failed");
    json_decref(result);
    guest_send(&guest, "cancel", json_pack("{s:I}", "target", (json_int_t)id), 60000);
    json_decref(guest_result(&guest, id));
    result = guest_ask(&guest, "quiet", json_object());
    ck_assert_str_eq(guest_code(result), "ok");
    json_decref(result);
}
END_TEST

Suite *agent_fork_suite(void);
Suite *agent_fork_suite(void)
{
    Suite *suite = suite_create("agent_fork");
    TCase *tc = tcase_create("agent_fork");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_fork_takes_an_epoch_of_its_own);
    tcase_add_test(tc, a_failed_one_keeps_the_epoch);
    tcase_add_test(tc, quieting_forgets_and_can_be_repeated);
    tcase_add_test(tc, what_runs_is_in_the_way_of_quiet);
    suite_add_tcase(suite, tc);
    return suite;
}
