/* store on a bad day: every write, sync, read and allocation fails once, the disk is full,
 * the power goes. What was acknowledged is there once, nothing is there by half. */
#include <check.h>
#include <string.h>
#include <unistd.h>

#include "../support/scratch.h"
#include "../support/sqlite_faults.h"
#include "enshu/common/mem.h"
#include "enshu/store.h"

#define BATCHES 8
#define BATCH   3

static const struct es_clock_mark mark = {
    .boot_id = "boot", .state = ES_CLOCK_RUNNING, .speed_permille = 1000};

static void remove_ledger(void)
{
    static const char *const names[] = {"l",        "l-wal",        "l-reserve",
                                        "l.synced", "l-wal.synced", "l-journal"};
    for (size_t i = 0; i < ES_COUNT(names); i++)
        unlink(scratch_path(names[i]));
}

struct outcome {
    int64_t acked;   /* the last event acknowledged */
    int64_t doubted; /* the last event of a batch whose commit failed; 0: none */
    bool refused;    /* the store took no more */
    bool blob_put, erase_tried, blob_erased;
    int64_t looks, looks_from; /* the last one acknowledged, the first one kept */
    bool looks_doubted, clear_doubted;
};

static void note_failure(struct outcome *outcome, int status, int64_t last_pos)
{
    if (status == ES_ESTATE)
        outcome->refused = true;
    else if (outcome->doubted == 0)
        outcome->doubted = last_pos;
}

/* Two looks, without an event. */
static int tell_looks(struct es_store *store, struct outcome *outcome, struct es_err *err)
{
    struct es_clock_mark now = mark;
    struct es_event looks[2] = {{.seq = outcome->looks + 1}, {.seq = outcome->looks + 2}};
    now.ex_ms = looks[1].seq;
    int status = es_store_stage_looks(store, looks, ES_COUNT(looks), false, err);
    if (status < 0)
        return status;
    status = es_store_append(store, &now, NULL, 0, err);
    if (status == 0)
        outcome->looks = looks[1].seq;
    outcome->looks_doubted = status != 0;
    return status;
}

/* A short life of a ledger, going on after a failure as far as it lets us. */
static int live(struct outcome *outcome, struct es_err *err)
{
    struct es_store *store = NULL;
    static const char secret[9000] = "secret";
    memset(outcome, 0, sizeof *outcome);
    outcome->looks_from = 1;
    int first = es_store_open(scratch_path("l"), true, &store, err);
    if (first < 0)
        return first;
    for (int i = 0; i < BATCHES; i++) {
        struct es_event events[BATCH];
        memset(events, 0, sizeof events);
        for (int j = 0; j < BATCH; j++) {
            events[j].b = outcome->acked + 1 + j;
            events[j].text = "{\"why\":\"because\"}";
        }
        int status = 0;
        if (i == 2 && es_store_put_blob(store, "n", secret, sizeof secret, err) == 0)
            outcome->blob_put = true;
        outcome->erase_tried |= i == 5;
        if (i == 5 && es_store_erase_blob(store, "n", err) == 0)
            outcome->blob_erased = true;
        struct es_clock_mark now = mark;
        now.ex_ms = outcome->looks;
        bool clears = i == 4 && es_store_stage_looks(store, NULL, 0, true, err) == 0;
        status = es_store_append(store, &now, events, BATCH, err);
        if (status == 0)
            outcome->acked = events[BATCH - 1].pos;
        else
            note_failure(outcome, status, outcome->acked + BATCH);
        if (clears && status == 0)
            outcome->looks_from = outcome->looks + 1;
        outcome->clear_doubted |= clears && status != 0;
        ck_assert_int_eq(es_store_head(store), outcome->acked);
        first = first == 0 ? status : first;
        status = tell_looks(store, outcome, err);
        first = first == 0 ? status : first;
    }
    es_store_close(store);
    return first;
}

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *last = ctx;
    ck_assert_int_eq(event->pos, *last + 1);
    ck_assert_int_eq(event->b, event->pos);
    *last = event->pos;
    return 0;
}

struct kept_looks {
    int64_t first, last;
};

static int on_look(void *ctx, const struct es_event *look)
{
    struct kept_looks *kept = ctx;
    if (kept->first == 0)
        kept->first = look->seq;
    else
        ck_assert_int_eq(look->seq, kept->last + 1);
    kept->last = look->seq;
    return 0;
}

/* The clock's last mark is the one stored with the last of them. */
static void check_looks(struct es_store *store, const struct outcome *outcome)
{
    struct kept_looks kept = {0, 0};
    struct es_clock_mark last;
    struct es_err err = {0};
    if (outcome->looks == 0 && !outcome->looks_doubted)
        return;
    int status = es_store_read_looks(store, on_look, &kept, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    if (es_store_last_mark(store, &last) != 0)
        last.ex_ms = 0;
    int64_t upto = outcome->looks;
    if (last.ex_ms != upto && outcome->looks_doubted)
        upto += 2;
    ck_assert_int_eq(last.ex_ms, upto);
    bool none = upto < outcome->looks_from;
    if (none || (kept.last == 0 && outcome->clear_doubted)) {
        ck_assert_int_eq(kept.last, 0);
    } else {
        ck_assert_int_eq(kept.last, upto);
        ck_assert(kept.first == outcome->looks_from || outcome->clear_doubted);
    }
}

/* Everything acknowledged, in order, once; beyond it at most the whole batch whose commit
 * failed, and that only when the store refused to go on after it. */
static void check_after(const struct outcome *outcome)
{
    struct es_store *store = NULL;
    struct es_err err = {0};
    struct es_store_check check;
    int64_t last = 0;
    int status = es_store_open(scratch_path("l"), true, &store, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    status = es_store_read(store, 1, true, on_event, &last, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    if (last != outcome->acked) {
        ck_assert_int_eq(last, outcome->acked + BATCH);
        ck_assert_int_eq(last, outcome->doubted);
    }
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.chain_ok);
    check_looks(store, outcome);
    struct es_buf blob;
    es_buf_init(&blob, 16384);
    status = es_store_get_blob(store, "n", &blob, &err);
    if (outcome->blob_erased)
        ck_assert_int_eq(status, ES_ENOENT);
    else if (outcome->blob_put && !outcome->erase_tried)
        ck_assert_int_eq(status, 0);
    if (status == 0)
        ck_assert_uint_eq(blob.len, 9000);
    es_buf_finish(&blob);
    struct es_event more = {.b = last + 1};
    ck_assert_int_eq(es_store_append(store, &mark, &more, 1, &err), 0);
    ck_assert_int_eq(more.pos, last + 1);
    es_store_close(store);
}

static void fail_each(enum sqlite_fault fault, int expected)
{
    sqlite_faults_install();
    long n = 1;
    for (bool happened = true; happened; n++) {
        struct outcome outcome;
        struct es_err err = {0};
        remove_ledger();
        sqlite_faults_set(fault, n, NULL);
        int status = live(&outcome, &err);
        happened = sqlite_faults_happened();
        sqlite_faults_set(FAULT_NONE, 0, NULL);
        ck_assert_msg(status == 0 || status == expected || status == ES_ESTATE, "%s",
                      err.msg);
        if (!happened)
            ck_assert_int_eq(outcome.acked, (int64_t)BATCHES * BATCH);
        check_after(&outcome);
    }
    ck_assert_int_gt(n, 5);
}

START_TEST(each_write_fails_once)
{
    fail_each(FAULT_WRITE, ES_EIO);
}
END_TEST

START_TEST(each_sync_fails_once)
{
    fail_each(FAULT_SYNC, ES_EIO);
}
END_TEST

START_TEST(each_read_fails_once)
{
    fail_each(FAULT_READ, ES_EIO);
}
END_TEST

START_TEST(the_power_goes_at_each_step)
{
    sqlite_faults_install();
    for (int kept = 0; kept < 4; kept++) {
        long n = 1;
        for (bool happened = true; happened; n++) {
            struct outcome outcome;
            struct es_err err = {0};
            remove_ledger();
            sqlite_faults_set(FAULT_POWER, n, NULL);
            live(&outcome, &err);
            happened = sqlite_faults_happened();
            sqlite_faults_power_back(scratch_path("l"), (kept & 1) != 0, (kept & 2) != 0);
            check_after(&outcome);
        }
        ck_assert_int_gt(n, 20);
    }
}
END_TEST

START_TEST(each_allocation_fails_once)
{
    sqlite_faults_install();
    long n = 1;
    for (bool happened = true; happened; n++) {
        struct outcome outcome;
        struct es_err err = {0};
        remove_ledger();
        long alive = es_mem_live_count();
        es_mem_fail_nth(n);
        int status = live(&outcome, &err);
        happened = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_msg(status == 0 || status == ES_ENOMEM || status == ES_ESTATE, "%d: %s",
                      status, err.msg);
        ck_assert_int_eq(es_mem_live_count(), alive);
        check_after(&outcome);
    }
    ck_assert_int_gt(n, 200);
}
END_TEST

START_TEST(a_full_disk_still_records_the_pause)
{
    sqlite_faults_install();
    int times_full = 0;
    for (long n = 20; n < 60; n++) {
        struct es_store *store = NULL;
        struct es_err err = {0};
        remove_ledger();
        sqlite_faults_set(FAULT_NONE, 0, NULL);
        ck_assert_int_eq(es_store_open(scratch_path("l"), true, &store, &err), 0);
        ck_assert_int_eq(access(scratch_path("l-reserve"), F_OK), 0);
        sqlite_faults_set(FAULT_FULL, n, scratch_path("l-reserve"));
        int64_t acked = 0;
        int status = 0;
        while (status == 0) {
            struct es_event event = {.b = acked + 1};
            status = es_store_append(store, &mark, &event, 1, &err);
            acked += status == 0;
        }
        ck_assert_int_eq(status, ES_EIO);
        ck_assert_ptr_nonnull(strstr(err.msg, "full"));
        ck_assert(es_store_is_full(store));
        times_full++;
        struct es_event pause = {.b = acked + 1, .type = ES_EV_CLOCK};
        status = es_store_append_reserved(store, &mark, &pause, 1, &err);
        ck_assert_msg(status == 0, "%s", err.msg);
        ck_assert(!es_store_is_full(store));
        ck_assert_int_ne(access(scratch_path("l-reserve"), F_OK), 0);
        es_store_close(store);
        sqlite_faults_set(FAULT_NONE, 0, NULL);
        check_after(&(struct outcome){.acked = acked + 1});
        ck_assert_int_eq(access(scratch_path("l-reserve"), F_OK), 0);
    }
    ck_assert_int_eq(times_full, 40);
}
END_TEST

Suite *store_faults_suite(void);
Suite *store_faults_suite(void)
{
    Suite *suite = suite_create("store_faults");
    TCase *tc = tcase_create("store_faults");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, each_write_fails_once);
    tcase_add_test(tc, each_sync_fails_once);
    tcase_add_test(tc, each_read_fails_once);
    tcase_add_test(tc, the_power_goes_at_each_step);
    tcase_add_test(tc, each_allocation_fails_once);
    tcase_add_test(tc, a_full_disk_still_records_the_pause);
    suite_add_tcase(suite, tc);
    return suite;
}
