/* libvirt's event loop over uv, driven through libvirt's own functions: shared and reused
 * descriptors, threads, timers, release, a second loop. */
#include <check.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../orchestrator/hyp/event.h"
#include "enshu/common/mem.h"

static uv_loop_t loop;
static struct es_hyp_event_release release;
static bool released;
static int freed;

static void on_released(struct es_hyp_event_release *r)
{
    (void)r;
    released = true;
}

static void open_loop(void)
{
    struct es_err err = {0};
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_msg(es_hyp_event_acquire(&loop, &err) == 0, "%s", err.msg);
    freed = 0;
}

static void close_loop(void)
{
    released = false;
    es_hyp_event_release(&release, on_released);
    ck_assert(!released); /* never from inside */
    while (!released)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static void on_free(void *opaque)
{
    (void)opaque;
    freed++;
}

/* Counts what it is called with; reads one byte when `drain`. */
struct watch {
    int id, events, count;
    bool drain, once;
};

static void on_handle(int id, int fd, int events, void *opaque)
{
    struct watch *w = opaque;
    char byte;
    w->id = id;
    w->events |= events;
    w->count++;
    if (w->drain)
        ck_assert_int_eq(read(fd, &byte, 1), 1);
    if (w->once)
        ck_assert_int_eq(virEventRemoveHandle(id), 0);
}

static void run_until(const int *counter, int value)
{
    while (*counter < value)
        uv_run(&loop, UV_RUN_ONCE);
}

START_TEST(two_watches_share_a_descriptor)
{
    int fds[2];
    struct watch in = {.drain = true}, out = {.once = true};
    open_loop();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    int a = virEventAddHandle(fds[0], VIR_EVENT_HANDLE_READABLE, on_handle, &in, on_free);
    int b =
        virEventAddHandle(fds[0], VIR_EVENT_HANDLE_WRITABLE, on_handle, &out, on_free);
    ck_assert_int_gt(a, 0);
    ck_assert_int_gt(b, 0);
    run_until(&out.count, 1);
    ck_assert_int_eq(out.events, VIR_EVENT_HANDLE_WRITABLE);
    ck_assert_int_eq(in.count, 0);
    run_until(&freed, 1);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    run_until(&in.count, 1);
    ck_assert_int_eq(in.events, VIR_EVENT_HANDLE_READABLE);
    ck_assert_int_eq(out.count, 1);
    /* a watch without events is quiet, and comes back */
    virEventUpdateHandle(a, 0);
    ck_assert_int_eq(write(fds[1], "y", 1), 1);
    for (int i = 0; i < 5; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    ck_assert_int_eq(in.count, 1);
    virEventUpdateHandle(a, VIR_EVENT_HANDLE_READABLE);
    run_until(&in.count, 2);
    /* the other end goes: an end of file to read */
    in.drain = false;
    in.once = true;
    close(fds[1]);
    run_until(&in.count, 3);
    run_until(&freed, 2);
    ck_assert_int_eq(virEventRemoveHandle(a), -1);
    close(fds[0]);
    close_loop();
}
END_TEST

/* Between two turns of the loop a descriptor is closed and its number given out again. */
START_TEST(a_reused_number_is_watched)
{
    int one[2], two[2];
    struct watch first = {.drain = true}, second = {.drain = true};
    open_loop();
    ck_assert_int_eq(pipe(one), 0);
    int id =
        virEventAddHandle(one[0], VIR_EVENT_HANDLE_READABLE, on_handle, &first, on_free);
    ck_assert_int_eq(write(one[1], "x", 1), 1);
    run_until(&first.count, 1);
    ck_assert_int_eq(virEventRemoveHandle(id), 0);
    int number = one[0];
    close(one[0]);
    ck_assert_int_eq(pipe(two), 0);
    ck_assert_int_eq(two[0], number);
    id =
        virEventAddHandle(two[0], VIR_EVENT_HANDLE_READABLE, on_handle, &second, on_free);
    ck_assert_int_eq(write(two[1], "y", 1), 1);
    run_until(&second.count, 1);
    ck_assert_int_eq(first.count, 1);
    virEventRemoveHandle(id);
    run_until(&freed, 2);
    close(one[1]);
    close(two[0]);
    close(two[1]);
    close_loop();
}
END_TEST

struct timer {
    int id, count, stop_at;
};

static void on_timeout(int id, void *opaque)
{
    struct timer *t = opaque;
    t->id = id;
    if (++t->count == t->stop_at)
        virEventUpdateTimeout(id, -1);
}

START_TEST(timers)
{
    struct timer now = {.stop_at = 3}, soon = {.stop_at = 2}, off = {0};
    open_loop();
    int a = virEventAddTimeout(0, on_timeout, &now, on_free);
    int b = virEventAddTimeout(5, on_timeout, &soon, on_free);
    int c = virEventAddTimeout(-1, on_timeout, &off, on_free);
    run_until(&now.count, 3);
    run_until(&soon.count, 2);
    ck_assert_int_eq(now.id, a);
    ck_assert_int_eq(now.count, 3);
    ck_assert_int_eq(off.count, 0);
    virEventUpdateTimeout(c, 0);
    off.stop_at = 1;
    run_until(&off.count, 1);
    ck_assert_int_eq(virEventRemoveTimeout(a), 0);
    ck_assert_int_eq(virEventRemoveTimeout(b), 0);
    ck_assert_int_eq(virEventRemoveTimeout(c), 0);
    ck_assert_int_eq(virEventRemoveTimeout(c), -1);
    ck_assert_int_eq(virEventRemoveHandle(a), -1); /* a timer is no watch */
    ck_assert_int_eq(freed, 0);                    /* only from the loop */
    run_until(&freed, 3);
    close_loop();
}
END_TEST

#define ROUNDS 2000

/* Adds, changes and removes from its own thread while the loop runs. */
static void busy(void *arg)
{
    int fds[2];
    struct watch watch = {0};
    struct timer timer = {.stop_at = 1};
    (void)arg;
    ck_assert_int_eq(pipe(fds), 0);
    for (int i = 0; i < ROUNDS; i++) {
        int a = virEventAddHandle(fds[0], 0, on_handle, &watch, NULL);
        int b = virEventAddTimeout(-1, on_timeout, &timer, NULL);
        virEventUpdateHandle(a, VIR_EVENT_HANDLE_READABLE);
        virEventUpdateTimeout(b, 60000);
        virEventUpdateHandle(a, 0);
        ck_assert_int_eq(virEventRemoveHandle(a), 0);
        ck_assert_int_eq(virEventRemoveTimeout(b), 0);
    }
    close(fds[1]);
    close(fds[0]);
}

START_TEST(any_thread_may_call)
{
    uv_thread_t threads[3];
    struct timer tick = {0};
    open_loop();
    int id = virEventAddTimeout(1, on_timeout, &tick, on_free);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(uv_thread_create(&threads[i], busy, NULL), 0);
    run_until(&tick.count, 20);
    for (int i = 0; i < 3; i++)
        uv_thread_join(&threads[i]);
    virEventRemoveTimeout(id);
    run_until(&freed, 1);
    close_loop();
}
END_TEST

START_TEST(one_loop_after_another)
{
    struct timer t = {.stop_at = 1};
    struct es_err err = {0};
    uv_loop_t other;
    open_loop();
    ck_assert_int_eq(uv_loop_init(&other), 0);
    ck_assert_int_eq(es_hyp_event_acquire(&other, &err), ES_ESTATE);
    ck_assert_int_eq(es_hyp_event_acquire(&loop, &err), 0); /* a second user */
    released = false;
    es_hyp_event_release(&release, on_released);
    while (!released)
        uv_run(&loop, UV_RUN_ONCE);
    /* what libvirt left behind moves to the next loop */
    virEventAddTimeout(60000, on_timeout, &t, on_free);
    released = false;
    es_hyp_event_release(&release, on_released);
    while (!released)
        uv_run(&loop, UV_RUN_ONCE);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(uv_loop_close(&other), 0);
    virEventUpdateTimeout(1, 0);
    open_loop();
    run_until(&t.count, 1);
    virEventRemoveTimeout(t.id);
    run_until(&freed, 1);
    close_loop();
}
END_TEST

Suite *hyp_event_suite(void);
Suite *hyp_event_suite(void)
{
    Suite *suite = suite_create("hyp_event");
    TCase *tc = tcase_create("event");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, two_watches_share_a_descriptor);
    tcase_add_test(tc, a_reused_number_is_watched);
    tcase_add_test(tc, timers);
    tcase_add_test(tc, any_thread_may_call);
    tcase_add_test(tc, one_loop_after_another);
    suite_add_tcase(suite, tc);
    return suite;
}
