/* A process that appends to a ledger is killed with -9 at random moments, forty times.
 * Every event it reported as acknowledged is there afterwards, once, and the chain
 * holds. */
#include <check.h>
#include <poll.h>
#include <sodium.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/scratch.h"
#include "enshu/common/mem.h"
#include "enshu/store.h"

#define ROUNDS 40

/* The child: batches of changing size, and after each the last pos down the pipe. */
static void append_for_ever(int fd)
{
    struct es_store *store = NULL;
    struct es_err err = {0};
    struct es_clock_mark mark = {.boot_id = "boot", .speed_permille = 1000};
    static struct es_event events[200];
    if (es_store_open(scratch_path("l"), true, &store, &err) < 0)
        _exit(1);
    for (int64_t next = es_store_head(store) + 1;;) {
        size_t count = 1 + (size_t)next % ES_COUNT(events);
        for (size_t i = 0; i < count; i++, next++)
            events[i] = (struct es_event){.b = next, .text = next % 2 ? "{}" : NULL};
        char name[65];
        if (es_store_stage_evidence(store, &next, sizeof next, name, &err) < 0 ||
            es_store_append(store, &mark, events, count, &err) < 0)
            _exit(2);
        int64_t acked = events[count - 1].pos;
        if (write(fd, &acked, sizeof acked) != sizeof acked)
            _exit(3);
    }
}

/* Kills the child after `reports` acknowledgements and up to 3 ms more; gives the last
 * acknowledged pos. */
static int64_t run_and_kill(uint32_t reports)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(fds[0]);
        append_for_ever(fds[1]);
    }
    close(fds[1]);
    int64_t acked = 0, pos;
    for (uint32_t i = 0; i < reports && read(fds[0], &pos, sizeof pos) == sizeof pos; i++)
        acked = pos;
    struct timespec wait = {.tv_nsec = (long)randombytes_uniform(3000000)};
    ppoll(NULL, 0, &wait, NULL);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    int wstatus;
    ck_assert_int_eq(waitpid(pid, &wstatus, 0), pid);
    ck_assert_msg(WIFSIGNALED(wstatus) && WTERMSIG(wstatus) == SIGKILL, "status %x",
                  wstatus);
    /* What it still said before it died counts too. */
    while (read(fds[0], &pos, sizeof pos) == sizeof pos)
        acked = pos;
    close(fds[0]);
    return acked;
}

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *last = ctx;
    ck_assert_int_eq(event->pos, *last + 1);
    ck_assert_int_eq(event->b, event->pos);
    *last = event->pos;
    return 0;
}

START_TEST(acknowledged_events_survive_a_kill)
{
    int64_t before = 0;
    ck_assert_int_ge(sodium_init(), 0);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t acked = run_and_kill(randombytes_uniform(12));
        struct es_store *store = NULL;
        struct es_err err = {0};
        struct es_store_check check;
        int64_t last = 0;
        int status = es_store_open(scratch_path("l"), true, &store, &err);
        ck_assert_msg(status == 0, "round %d: %s", round, err.msg);
        status = es_store_read(store, 1, true, on_event, &last, &err);
        ck_assert_msg(status == 0, "round %d: %s", round, err.msg);
        ck_assert_int_ge(last, acked);
        ck_assert_int_ge(last, before);
        ck_assert_int_eq(last, es_store_head(store));
        ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
        ck_assert(check.chain_ok);
        ck_assert_int_eq(check.events, last);
        before = last;
        es_store_close(store);
    }
    ck_assert_int_gt(before, ROUNDS);
}
END_TEST

Suite *store_crash_suite(void);
Suite *store_crash_suite(void)
{
    Suite *suite = suite_create("store_crash");
    TCase *tc = tcase_create("store_crash");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, acknowledged_events_survive_a_kill);
    suite_add_tcase(suite, tc);
    return suite;
}
