/* store: what was acknowledged is read back, the chain finds every change, blobs and
 * evidence, the signature. */
#include <check.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/scratch.h"
#include "enshu/common/mem.h"
#include "enshu/store.h"

static const struct es_clock_mark mark = {
    .boot_id = "8f3a2c1e-0000-4000-8000-0123456789ab",
    .boottime_ms = 123456,
    .ex_ms = 1000,
    .state = ES_CLOCK_RUNNING,
    .speed_permille = 1000,
};

static struct es_store *open_ledger(bool create)
{
    struct es_store *store = NULL;
    struct es_err err = {0};
    int status = es_store_open(scratch_path("ledger"), create, &store, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    return store;
}

/* Extreme values in every field, so that a swapped or cut column shows. */
static void make_events(struct es_event *events, size_t count, int64_t from)
{
    for (size_t i = 0; i < count; i++) {
        int64_t n = from + (int64_t)i;
        events[i] = (struct es_event){.ex_ms = n * 10,
                                      .type = 1 + (int)(n % 10),
                                      .team = (int)(n % 5) - 1,
                                      .subject = INT32_MAX - (int)n,
                                      .a = (int)-n,
                                      .b = INT64_MIN + n,
                                      .instance = UINT32_MAX - (uint32_t)n,
                                      .epoch = UINT64_MAX - (uint64_t)n,
                                      .seq = INT64_MAX - n,
                                      .text = n % 3 == 0   ? "{\"why\":\"演習\"}"
                                              : n % 3 == 1 ? ""
                                                           : NULL};
    }
}

static void append(struct es_store *store, size_t count)
{
    struct es_event events[64];
    struct es_err err = {0};
    ck_assert_uint_le(count, ES_COUNT(events));
    make_events(events, count, es_store_head(store) + 1);
    int64_t head = es_store_head(store);
    int status = es_store_append(store, &mark, events, count, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    ck_assert_int_eq(es_store_head(store), head + (int64_t)count);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(events[i].pos, head + 1 + (int64_t)i);
}

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *next = ctx;
    struct es_event want;
    ck_assert_int_eq(event->pos, *next);
    make_events(&want, 1, *next);
    ck_assert_int_eq(event->ex_ms, want.ex_ms);
    ck_assert_int_eq(event->type, want.type);
    ck_assert_int_eq(event->team, want.team);
    ck_assert_int_eq(event->subject, want.subject);
    ck_assert_int_eq(event->a, want.a);
    ck_assert_int_eq(event->b, want.b);
    ck_assert_uint_eq(event->instance, want.instance);
    ck_assert_uint_eq(event->epoch, want.epoch);
    ck_assert_int_eq(event->seq, want.seq);
    ck_assert_pstr_eq(event->text, want.text);
    (*next)++;
    return 0;
}

START_TEST(events_come_back_as_stored)
{
    struct es_store *store = open_ledger(true);
    struct es_clock_mark last;
    struct es_err err = {0};
    ck_assert_int_eq(es_store_head(store), 0);
    ck_assert_int_eq(es_store_last_mark(store, &last), ES_ENOENT);
    append(store, 1);
    append(store, 0);
    for (int i = 0; i < 300; i++)
        append(store, 40);
    es_store_close(store);

    store = open_ledger(false);
    ck_assert_int_eq(es_store_head(store), 12001);
    ck_assert_int_eq(es_store_last_mark(store, &last), 0);
    ck_assert_str_eq(last.boot_id, mark.boot_id);
    ck_assert_int_eq(last.boottime_ms, mark.boottime_ms);
    ck_assert_int_eq(last.ex_ms, mark.ex_ms);
    ck_assert_int_eq(last.state, mark.state);
    static const int64_t starts[] = {1, 2, 41, 42, 43, 5000, 12000, 12001, 12002};
    for (size_t i = 0; i < ES_COUNT(starts); i++) {
        int64_t next = starts[i];
        int status = es_store_read(store, next, i % 2 == 0, on_event, &next, &err);
        ck_assert_msg(status == 0, "%s", err.msg);
        ck_assert_int_eq(next, 12002);
    }
    es_store_close(store);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

static int typed_count;

static int on_typed(void *ctx, const struct es_event *event)
{
    int64_t *last = ctx;
    struct es_event want;
    ck_assert(event->type == ES_EV_VOID || event->type == ES_EV_NOTE);
    ck_assert_int_gt(event->pos, *last);
    make_events(&want, 1, event->pos);
    ck_assert_int_eq(event->b, want.b);
    ck_assert_pstr_eq(event->text, want.text);
    *last = event->pos;
    typed_count++;
    return 0;
}

START_TEST(chosen_types_alone_are_read)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    for (int i = 0; i < 200; i++)
        append(store, 50);
    int64_t last = 0;
    int status = es_store_read_types(store, 1U << ES_EV_VOID | 1U << ES_EV_NOTE, on_typed,
                                     &last, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    ck_assert_int_eq(typed_count, 2000);
    ck_assert_int_eq(es_store_read_types(store, 1U << 30, on_typed, &last, &err), 0);
    ck_assert_int_eq(typed_count, 2000);
    es_store_close(store);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

static int on_stop(void *ctx, const struct es_event *event)
{
    int *calls = ctx;
    (*calls)++;
    return event->pos == 3 ? 77 : 0;
}

START_TEST(a_reader_can_stop)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    int calls = 0;
    append(store, 10);
    ck_assert_int_eq(es_store_read(store, 1, true, on_stop, &calls, &err), 77);
    ck_assert_int_eq(calls, 3);
    es_store_close(store);
}
END_TEST

START_TEST(bad_batches_are_refused_whole)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    struct es_event events[2];
    make_events(events, 2, 1);
    events[1].text = "\xff\xfe";
    ck_assert_int_eq(es_store_append(store, &mark, events, 2, &err), ES_EINVAL);
    char *huge = es_alloc(ES_STORE_TEXT_MAX + 2);
    memset(huge, 'x', ES_STORE_TEXT_MAX + 1);
    huge[ES_STORE_TEXT_MAX + 1] = '\0';
    events[1].text = huge;
    ck_assert_int_eq(es_store_append(store, &mark, events, 2, &err), ES_ELIMIT);
    ck_assert_int_eq(es_store_head(store), 0);
    huge[ES_STORE_TEXT_MAX] = '\0';
    ck_assert_int_eq(es_store_append(store, &mark, events, 2, &err), 0);
    ck_assert_int_eq(es_store_head(store), 2);
    es_free(huge);
    static struct es_event many[ES_STORE_BATCH_MAX + 1];
    ck_assert_int_eq(es_store_append(store, &mark, many, ES_COUNT(many), &err),
                     ES_ELIMIT);
    ck_assert_int_eq(es_store_append(store, &mark, many, ES_STORE_BATCH_MAX, &err), 0);
    struct es_store_check check;
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.chain_ok);
    ck_assert_int_eq(check.events, ES_STORE_BATCH_MAX + 2);
    es_store_close(store);
}
END_TEST

START_TEST(a_second_process_is_told)
{
    struct es_store *store = open_ledger(true);
    append(store, 1);
    pid_t pid = fork();
    if (pid == 0) {
        struct es_store *second = NULL;
        struct es_err err = {0};
        int status = es_store_open(scratch_path("ledger"), true, &second, &err);
        _exit(status == ES_EBUSY && strstr(err.msg, "another process") != NULL ? 7 : 1);
    }
    int wstatus;
    ck_assert_int_eq(waitpid(pid, &wstatus, 0), pid);
    ck_assert(WIFEXITED(wstatus));
    ck_assert_int_eq(WEXITSTATUS(wstatus), 7);
    append(store, 1);
    es_store_close(store);
}
END_TEST

START_TEST(what_is_no_ledger_is_refused)
{
    struct es_store *store = NULL;
    struct es_err err = {0};
    ck_assert_int_eq(es_store_open(scratch_path("none"), false, &store, &err), ES_ENOENT);
    FILE *file = fopen(scratch_path("text"), "w");
    fputs("not a database at all, but long enough to look at\n", file);
    fclose(file);
    ck_assert_int_eq(es_store_open(scratch_path("text"), true, &store, &err),
                     ES_ECORRUPT);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(scratch_path("other"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    ck_assert_int_eq(es_store_open(scratch_path("other"), true, &store, &err),
                     ES_ECORRUPT);
    es_store_close(open_ledger(true));
    ck_assert_int_eq(sqlite3_open(scratch_path("ledger"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA user_version=99", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    ck_assert_int_eq(es_store_open(scratch_path("ledger"), true, &store, &err),
                     ES_ENOTSUP);
    ck_assert_ptr_null(store);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

/* ------------------------------------------------------------------ changes are found */

static const struct {
    const char *sql;
    int64_t bad_pos; /* the first event of the batch that was changed */
} changes[] = {
    {"UPDATE event SET a = a + 1 WHERE pos = 25", 21},
    {"UPDATE event SET text = text || ' ' WHERE pos = 24", 21},
    {"UPDATE event SET text = NULL WHERE pos = 25", 21},
    {"UPDATE event SET epoch = 5 WHERE pos = 1", 1},
    {"DELETE FROM event WHERE pos = 25", 25},
    {"DELETE FROM batch WHERE id = 2", 11},
    {"UPDATE batch SET ex_ms = ex_ms + 1 WHERE id = 3", 21},
    {"UPDATE batch SET boot_id = 'x' WHERE id = 3", 21},
    {"UPDATE batch SET wall_us = 0 WHERE id = 4", 31},
    {"UPDATE batch SET last_pos = last_pos - 1 WHERE id = 2", 11},
    {"UPDATE batch SET hash = zeroblob(32) WHERE id = 2", 11},
    {"UPDATE batch SET hash = x'00' WHERE id = 2", 11},
    {"UPDATE ledger SET created_us = created_us + 1", 1},
};

START_TEST(a_changed_ledger_is_found)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    for (int i = 0; i < 5; i++)
        append(store, 10);
    es_store_close(store);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(scratch_path("ledger"), &db), SQLITE_OK);
    ck_assert_int_ne(sqlite3_exec(db, changes[_i].sql, NULL, NULL, NULL),
                     _i < 12 ? SQLITE_OK : -1);
    ck_assert_int_eq(sqlite3_exec(db,
                                  "DROP TRIGGER event_stays; DROP TRIGGER event_kept;"
                                  "DROP TRIGGER batch_stays; DROP TRIGGER batch_kept;",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    if (_i < 12)
        ck_assert_int_eq(sqlite3_exec(db, changes[_i].sql, NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);

    store = open_ledger(false);
    struct es_store_check check;
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert_msg(!check.chain_ok, "%s", changes[_i].sql);
    ck_assert_int_eq(check.bad_pos, changes[_i].bad_pos);
    int64_t next = 1;
    ck_assert_int_eq(es_store_read(store, 1, true, on_event, &next, &err), ES_ECORRUPT);
    ck_assert_int_le(next, check.bad_pos);
    es_store_close(store);
}
END_TEST

START_TEST(a_changed_tail_stops_the_opening)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    append(store, 10);
    append(store, 10);
    es_store_close(store);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(scratch_path("ledger"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db,
                                  "DROP TRIGGER event_stays;"
                                  "UPDATE event SET team = 3 WHERE pos = 20",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_int_eq(es_store_open(scratch_path("ledger"), false, &store, &err),
                     ES_ECORRUPT);
    ck_assert_ptr_nonnull(strstr(err.msg, "event 11"));
}
END_TEST

/* Bytes of the file itself, as a bad disk changes them: an error or a failed check, never
 * another content that passes. */
START_TEST(damaged_pages_are_found)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    for (int i = 0; i < 40; i++)
        append(store, 40);
    es_store_close(store);
    struct stat st;
    ck_assert_int_eq(stat(scratch_path("ledger"), &st), 0);
    int found = 0, tried = 0;
    for (off_t off = 150; off < st.st_size; off += 997) {
        int fd = open(scratch_path("ledger"), O_RDWR);
        unsigned char kept, changed;
        ck_assert_int_eq(pread(fd, &kept, 1, off), 1);
        changed = (unsigned char)(kept ^ 0x55);
        ck_assert_int_eq(pwrite(fd, &changed, 1, off), 1);
        struct es_store_check check = {0};
        int64_t next = 1;
        int status = es_store_open(scratch_path("ledger"), false, &store, &err);
        if (status == 0) {
            ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
            status = es_store_read(store, 1, true, on_event, &next, &err);
            ck_assert_int_eq(status == 0, check.chain_ok);
            ck_assert(status != 0 || next == 1601);
            es_store_close(store);
        }
        ck_assert_msg(status == 0 || status == ES_ECORRUPT, "%s", err.msg);
        found += status != 0;
        tried++;
        ck_assert_int_eq(pwrite(fd, &kept, 1, off), 1);
        close(fd);
    }
    /* The rest hit free space, or an index that no reading needs. */
    ck_assert_int_gt(found, tried / 2);
}
END_TEST

/* ------------------------------------------------------------------ signature */

START_TEST(the_head_is_signed)
{
    struct es_store *store = open_ledger(true);
    struct es_store_check check;
    struct es_err err = {0};
    append(store, 10);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.chain_ok);
    ck_assert(!check.is_signed);
    const char *key = scratch_path("key");
    int status = es_store_sign(store, key, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    struct stat st;
    ck_assert_int_eq(stat(key, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.is_signed);
    ck_assert(check.signature_ok);
    char first_key[65];
    memcpy(first_key, check.public_key, sizeof first_key);

    append(store, 1);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(!check.is_signed);
    ck_assert_int_eq(es_store_sign(store, key, &err), 0);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.is_signed && check.signature_ok);
    ck_assert_str_eq(check.public_key, first_key);

    ck_assert_int_eq(chmod(key, 0644), 0);
    ck_assert_int_eq(es_store_sign(store, key, &err), ES_EDENIED);
    ck_assert_int_eq(chmod(key, 0600), 0);
    ck_assert_int_eq(truncate(key, 10), 0);
    ck_assert_int_eq(es_store_sign(store, key, &err), ES_ECORRUPT);
    es_store_close(store);

    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(scratch_path("ledger"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "UPDATE signature SET signature = zeroblob(64)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    store = open_ledger(false);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.chain_ok && check.is_signed);
    ck_assert(!check.signature_ok);
    es_store_close(store);
}
END_TEST

/* ------------------------------------------------------------------ blobs */

static bool file_holds(const char *path, const char *needle)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    static char bytes[4 << 20];
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return memmem(bytes, len, needle, strlen(needle)) != NULL;
}

START_TEST(blobs_are_kept_and_erased)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    struct es_buf out;
    es_buf_init(&out, 4096);
    ck_assert_int_eq(es_store_get_blob(store, "names", &out, &err), ES_ENOENT);
    ck_assert_int_eq(es_store_put_blob(store, "names", "Sakura-Watanabe", 15, &err), 0);
    ck_assert_int_eq(es_store_put_blob(store, "names", "Sakura-Takahashi", 16, &err), 0);
    ck_assert_int_eq(es_store_put_blob(store, "empty", NULL, 0, &err), 0);
    ck_assert_int_eq(es_store_put_blob(store, "", "x", 1, &err), ES_EINVAL);
    ck_assert_int_eq(es_store_get_blob(store, "names", &out, &err), 0);
    ck_assert_str_eq(es_buf_str(&out), "Sakura-Takahashi");
    es_buf_clear(&out);
    ck_assert_int_eq(es_store_get_blob(store, "empty", &out, &err), 0);
    ck_assert_uint_eq(out.len, 0);
    ck_assert_int_eq(es_store_erase_blob(store, "names", &err), 0);
    ck_assert_int_eq(es_store_erase_blob(store, "names", &err), ES_ENOENT);
    ck_assert_int_eq(es_store_get_blob(store, "names", &out, &err), ES_ENOENT);
    ck_assert(!file_holds(scratch_path("ledger"), "Sakura"));
    ck_assert(!file_holds(scratch_path("ledger-wal"), "Sakura"));
    es_buf_finish(&out);
    es_store_close(store);
}
END_TEST

START_TEST(evidence_goes_with_its_batch)
{
    struct es_store *store = open_ledger(true);
    struct es_err err = {0};
    struct es_buf out;
    char name[65], lost[65];
    es_buf_init(&out, 4096);
    ck_assert_int_eq(es_store_stage_evidence(store, "proof", 5, name, &err), 0);
    ck_assert_int_eq(es_store_get_blob(store, name, &out, &err), ES_ENOENT);
    append(store, 1);
    ck_assert_int_eq(es_store_get_blob(store, name, &out, &err), 0);
    ck_assert_str_eq(es_buf_str(&out), "proof");

    struct es_event bad = {.text = "\xff"};
    ck_assert_int_eq(es_store_stage_evidence(store, "proof", 5, lost, &err), 0);
    ck_assert_str_ne(name, lost);
    ck_assert_int_eq(es_store_append(store, &mark, &bad, 1, &err), ES_EINVAL);
    append(store, 1);
    ck_assert_int_eq(es_store_get_blob(store, lost, &out, &err), ES_ENOENT);
    es_store_close(store);

    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(scratch_path("ledger"), &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "UPDATE blob SET data = x'00'", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    store = open_ledger(false);
    ck_assert_int_eq(es_store_get_blob(store, name, &out, &err), ES_ECORRUPT);
    es_buf_finish(&out);
    es_store_close(store);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

/* ------------------------------------------------------------------ on the loop */

struct run {
    struct es_store *store;
    uv_loop_t loop;
    struct es_event events[8];
    int commits;
};

static int on_person(void *ctx, const char *id, const char *name)
{
    char *all = ctx;
    ck_assert_int_eq(strncmp(id, "p-", 2), 0);
    strcat(all, name);
    strcat(all, ",");
    return 0;
}

static void assert_persons(struct es_store *store, size_t len)
{
    char all[200] = "";
    struct es_err err = {0};
    ck_assert_int_eq(es_store_read_persons(store, on_person, all, &err), 0);
    ck_assert_uint_eq(strlen(all), len);
}

START_TEST(persons_can_be_forgotten)
{
    static const char name[] = "Midorikawa Hanako";
    struct es_store *store = open_ledger(true);
    char first[ES_STORE_PERSON_BYTES], second[ES_STORE_PERSON_BYTES],
        other[ES_STORE_PERSON_BYTES];
    struct es_store_check check;
    struct es_err err = {0};
    int count = 0;
    ck_assert_int_eq(es_store_stage_person(store, "", first, &err), ES_EINVAL);
    ck_assert_int_eq(es_store_stage_person(store, "\xff", first, &err), ES_EINVAL);
    ck_assert_int_eq(es_store_stage_person(store, name, first, &err), 0);
    ck_assert_int_eq(es_store_stage_person(store, name, second, &err), 0);
    ck_assert_int_eq(es_store_stage_person(store, "Mori", other, &err), 0);
    ck_assert_str_ne(first, second);
    assert_persons(store, 0); /* with the next commit */
    append(store, 2);
    assert_persons(store, 2 * sizeof name + 5);
    ck_assert_int_eq(es_store_forget_person(store, "nobody", &count, &err), ES_ENOENT);
    ck_assert_int_eq(es_store_forget_person(store, name, &count, &err), 0);
    ck_assert_int_eq(count, 2);
    assert_persons(store, 5);
    ck_assert(!file_holds(scratch_path("ledger"), "Midorikawa"));
    ck_assert(!file_holds(scratch_path("ledger-wal"), "Midorikawa"));
    ck_assert_int_eq(es_store_forget_person(store, other, &count, &err), 0);
    ck_assert_int_eq(count, 1);
    assert_persons(store, 0);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.chain_ok);
    es_store_close(store);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

static int on_kept_look(void *ctx, const struct es_event *look)
{
    int64_t *next = ctx;
    ck_assert_int_eq(look->seq, *next);
    ck_assert_int_eq(look->ex_ms, 10 * *next);
    ck_assert_int_eq(look->team, 7);
    ck_assert_int_eq(look->subject, 8);
    ck_assert_int_eq(look->a, ES_OUTCOME_PASS);
    ck_assert_uint_eq(look->instance, UINT32_MAX);
    ck_assert_uint_eq(look->epoch, UINT64_MAX);
    ck_assert_ptr_null(look->text);
    (*next)++;
    return 0;
}

static void stage(struct es_store *store, int64_t first, size_t count, bool afresh)
{
    struct es_event looks[600];
    struct es_err err = {0};
    ck_assert_uint_le(count, ES_COUNT(looks));
    for (size_t i = 0; i < count; i++)
        looks[i] = (struct es_event){.seq = first + (int64_t)i,
                                     .ex_ms = 10 * (first + (int64_t)i),
                                     .team = 7,
                                     .subject = 8,
                                     .a = ES_OUTCOME_PASS,
                                     .instance = UINT32_MAX,
                                     .epoch = UINT64_MAX};
    ck_assert_int_eq(es_store_stage_looks(store, looks, count, afresh, &err), 0);
}

static void assert_looks(struct es_store *store, int64_t first, int64_t last)
{
    struct es_err err = {0};
    int64_t next = first;
    int status = es_store_read_looks(store, on_kept_look, &next, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    ck_assert_int_eq(next, last + 1);
}

static void assert_mark(struct es_store *store, int64_t ex_ms)
{
    struct es_clock_mark last;
    ck_assert_int_eq(es_store_last_mark(store, &last), 0);
    ck_assert_int_eq(last.ex_ms, ex_ms);
    ck_assert_str_eq(last.boot_id, mark.boot_id);
    ck_assert_int_eq(last.state, mark.state);
}

START_TEST(looks_lie_beside_the_chain)
{
    struct es_store *store = open_ledger(true);
    struct es_store_check check;
    struct es_clock_mark now = mark;
    struct es_err err = {0};
    append(store, 3);
    now.ex_ms = 4000;
    stage(store, 1, 600, false);
    assert_looks(store, 1, 0); /* not yet */
    ck_assert_int_eq(es_store_append(store, &now, NULL, 0, &err), 0);
    assert_looks(store, 1, 600);
    assert_mark(store, 4000);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert_int_eq(check.batches, 1);
    es_store_close(store);

    store = open_ledger(false);
    assert_mark(store, 4000);
    assert_looks(store, 1, 600);
    stage(store, 601, 1, false);
    append(store, 1); /* its mark is younger */
    assert_mark(store, mark.ex_ms);
    assert_looks(store, 1, 601);
    stage(store, 602, 2, true);
    append(store, 1);
    assert_looks(store, 602, 603);
    es_store_close(store);

    store = open_ledger(false);
    assert_mark(store, mark.ex_ms);
    assert_looks(store, 602, 603);
    ck_assert_int_eq(es_store_verify(store, &check, &err), 0);
    ck_assert(check.chain_ok);
    ck_assert_int_eq(check.batches, 3);
    es_store_close(store);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

static void on_commit(void *ctx, int status, const struct es_err *err)
{
    struct run *run = ctx;
    ck_assert_msg(status == 0, "%s", err != NULL ? err->msg : "");
    run->commits++;
    ck_assert_int_eq(es_store_head(run->store), run->commits * 8);
    ck_assert_int_eq(run->events[7].pos, run->commits * 8);
    if (run->commits == 20)
        return;
    make_events(run->events, 8, run->commits * 8 + 1);
    ck_assert_int_eq(es_store_commit(run->store, &run->loop, &mark, run->events, 8,
                                     on_commit, run, NULL),
                     0);
}

START_TEST(commits_run_beside_the_loop)
{
    static struct run run;
    struct es_err err = {0};
    ck_assert_int_eq(uv_loop_init(&run.loop), 0);
    run.store = open_ledger(true);
    make_events(run.events, 8, 1);
    ck_assert_int_eq(es_store_commit(run.store, &run.loop, &mark, run.events, 8,
                                     on_commit, &run, &err),
                     0);
    ck_assert_int_eq(es_store_commit(run.store, &run.loop, &mark, run.events, 8,
                                     on_commit, &run, &err),
                     ES_EBUSY);
    ck_assert_int_eq(run.commits, 0);
    ck_assert_int_eq(uv_run(&run.loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(run.commits, 20);
    int64_t next = 1;
    ck_assert_int_eq(es_store_read(run.store, 1, true, on_event, &next, &err), 0);
    ck_assert_int_eq(next, 161);
    es_store_close(run.store);
    ck_assert_int_eq(uv_loop_close(&run.loop), 0);
}
END_TEST

static void read_beside(void *ctx)
{
    struct run *run = ctx;
    for (int64_t head = 0; head < (int64_t)20 * 8;) {
        struct es_store_check check;
        struct es_err err = {0};
        head = es_store_head(run->store);
        ck_assert_int_eq(es_store_verify(run->store, &check, &err), 0);
        ck_assert(check.chain_ok);
        ck_assert_int_ge(check.events, head);
        int64_t next = 1;
        ck_assert_int_eq(es_store_read(run->store, 1, true, on_event, &next, &err), 0);
        ck_assert_int_gt(next, check.events);
    }
}

START_TEST(readers_and_commits_share_the_ledger)
{
    static struct run run;
    uv_thread_t thread;
    ck_assert_int_eq(uv_loop_init(&run.loop), 0);
    run.store = open_ledger(true);
    make_events(run.events, 8, 1);
    ck_assert_int_eq(es_store_commit(run.store, &run.loop, &mark, run.events, 8,
                                     on_commit, &run, NULL),
                     0);
    ck_assert_int_eq(uv_thread_create(&thread, read_beside, &run), 0);
    ck_assert_int_eq(uv_run(&run.loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_thread_join(&thread), 0);
    ck_assert_int_eq(run.commits, 20);
    es_store_close(run.store);
    ck_assert_int_eq(uv_loop_close(&run.loop), 0);
}
END_TEST

/* A reader of everything, that says where it is. */
struct long_read {
    struct es_store *store;
    atomic_long at;
    atomic_bool ended;
};

static int on_read_one(void *ctx, const struct es_event *event)
{
    struct long_read *run = ctx;
    atomic_store(&run->at, event->pos);
    return 0;
}

static void read_all(void *ctx)
{
    struct long_read *run = ctx;
    struct es_err err = {0};
    ck_assert_int_eq(es_store_read(run->store, 1, true, on_read_one, run, &err), 0);
    atomic_store(&run->ended, true);
}

/* Whoever reads a large ledger lets in a commit between two pieces of it. */
START_TEST(a_commit_does_not_wait_for_a_reader_to_end)
{
    static struct long_read run;
    static struct es_event events[ES_STORE_BATCH_MAX];
    uv_thread_t thread;
    struct es_err err = {0};
    run.store = open_ledger(true);
    for (int i = 0; i < 40; i++) {
        make_events(events, ES_COUNT(events), es_store_head(run.store) + 1);
        ck_assert_int_eq(
            es_store_append(run.store, &mark, events, ES_COUNT(events), &err), 0);
    }
    ck_assert_int_eq(uv_thread_create(&thread, read_all, &run), 0);
    while (atomic_load(&run.at) == 0)
        ck_assert(!atomic_load(&run.ended));
    append(run.store, 1);
    ck_assert(!atomic_load(&run.ended));
    ck_assert_int_eq(uv_thread_join(&thread), 0);
    ck_assert_int_eq(atomic_load(&run.at), (int64_t)40 * ES_STORE_BATCH_MAX);
    es_store_close(run.store);
}
END_TEST

Suite *store_suite(void);
Suite *store_suite(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, events_come_back_as_stored);
    tcase_add_test(tc, chosen_types_alone_are_read);
    tcase_add_test(tc, a_reader_can_stop);
    tcase_add_test(tc, damaged_pages_are_found);
    tcase_add_test(tc, readers_and_commits_share_the_ledger);
    tcase_add_test(tc, a_commit_does_not_wait_for_a_reader_to_end);
    tcase_add_test(tc, bad_batches_are_refused_whole);
    tcase_add_test(tc, a_second_process_is_told);
    tcase_add_test(tc, what_is_no_ledger_is_refused);
    tcase_add_loop_test(tc, a_changed_ledger_is_found, 0, (int)ES_COUNT(changes));
    tcase_add_test(tc, a_changed_tail_stops_the_opening);
    tcase_add_test(tc, the_head_is_signed);
    tcase_add_test(tc, blobs_are_kept_and_erased);
    tcase_add_test(tc, evidence_goes_with_its_batch);
    tcase_add_test(tc, looks_lie_beside_the_chain);
    tcase_add_test(tc, persons_can_be_forgotten);
    tcase_add_test(tc, commits_run_beside_the_loop);
    suite_add_tcase(suite, tc);
    return suite;
}
