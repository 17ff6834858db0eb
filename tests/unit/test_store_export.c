/* store: an exported ledger can be checked and made again line by line, and a changed
 * line is found. */
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/scratch.h"
#include "../support/sqlite_faults.h"
#include "enshu/common/mem.h"
#include "enshu/store.h"
#include "enshu/wire.h"

#define EVENTS     30
#define BLOB_BYTES 120000

static const struct es_clock_mark mark = {.boot_id =
                                              "8f3a2c1e-0000-4000-8000-0123456789ab",
                                          .boottime_ms = INT64_MAX,
                                          .ex_ms = 5,
                                          .state = ES_CLOCK_PAUSED,
                                          .speed_permille = 20000};

static struct es_event sample(int64_t n)
{
    return (struct es_event){.ex_ms = n,
                             .type = 1 + (int)(n % 10),
                             .team = -1,
                             .subject = INT32_MIN,
                             .a = INT32_MAX,
                             .b = INT64_MIN + n,
                             .instance = UINT32_MAX,
                             .epoch = UINT64_MAX - (uint64_t)n,
                             .seq = INT64_MAX,
                             .text = n % 3 == 0   ? "{\"why\":\"\\\"演習\\\"\x01\x7f\"}"
                                     : n % 3 == 1 ? ""
                                                  : NULL};
}

#define PERSON "江川 太郎"

static struct es_store *make_ledger(bool is_signed)
{
    char id[ES_STORE_PERSON_BYTES];
    struct es_store *store = NULL;
    struct es_err err = {0};
    static char blob[BLOB_BYTES];
    for (size_t i = 0; i < sizeof blob; i++)
        blob[i] = (char)(i * 7);
    ck_assert_int_eq(es_store_open(scratch_path("l"), true, &store, &err), 0);
    ck_assert_int_eq(es_store_put_blob(store, "scenario", blob, sizeof blob, &err), 0);
    ck_assert_int_eq(es_store_put_blob(store, "scenario/empty", "", 0, &err), 0);
    ck_assert_int_eq(es_store_put_blob(store, "names", "Sakura", 6, &err), 0);
    ck_assert_int_eq(es_store_stage_person(store, PERSON, id, &err), 0);
    struct es_event events[5];
    for (int64_t n = 1; n <= EVENTS;) {
        size_t count = 1 + (size_t)n % 4;
        for (size_t i = 0; i < count; i++)
            events[i] = sample(n + (int64_t)i);
        ck_assert_int_eq(es_store_append(store, &mark, events, count, &err), 0);
        n += (int64_t)count;
    }
    ck_assert_int_eq(es_store_append(store, &mark, NULL, 0, &err), 0);
    if (is_signed)
        ck_assert_int_eq(es_store_sign(store, scratch_path("key"), &err), 0);
    return store;
}

static int on_line(void *ctx, const char *line, size_t len)
{
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    ck_assert(json_is_object(object));
    json_decref(object);
    ck_assert_int_eq(line[len - 1], '\n');
    ck_assert_ptr_null(memchr(line, '\n', len - 1));
    return fwrite(line, 1, len, ctx) == len ? 0 : ES_EIO;
}

static void export_to(struct es_store *store, const char *path)
{
    struct es_err err = {0};
    FILE *file = fopen(path, "w");
    int status = es_store_export(store, on_line, file, &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    fclose(file);
}

static int on_event(void *ctx, const struct es_event *event)
{
    int64_t *last = ctx;
    struct es_event want = sample(++*last);
    ck_assert_int_eq(event->pos, *last);
    ck_assert_int_eq(event->type, want.type);
    ck_assert_int_eq(event->team, want.team);
    ck_assert_int_eq(event->subject, want.subject);
    ck_assert_int_eq(event->a, want.a);
    ck_assert_int_eq(event->b, want.b);
    ck_assert_uint_eq(event->instance, want.instance);
    ck_assert_uint_eq(event->epoch, want.epoch);
    ck_assert_int_eq(event->seq, want.seq);
    ck_assert_pstr_eq(event->text, want.text);
    return 0;
}

static bool same_files(const char *path_a, const char *path_b)
{
    FILE *a = fopen(path_a, "r"), *b = fopen(path_b, "r");
    bool same = a != NULL && b != NULL;
    for (int c = 0; c != EOF && same;) {
        c = getc(a);
        same = c == getc(b);
    }
    fclose(a);
    fclose(b);
    return same;
}

static int on_person(void *ctx, const char *id, const char *name)
{
    int *count = ctx;
    ck_assert_uint_eq(strlen(id), ES_STORE_PERSON_BYTES - 1);
    ck_assert_str_eq(name, PERSON);
    ++*count;
    return 0;
}

START_TEST(an_export_comes_back_the_same)
{
    struct es_store *store = make_ledger(_i == 1);
    struct es_store_check before, after;
    struct es_err err = {0};
    ck_assert_int_eq(es_store_verify(store, &before, &err), 0);
    export_to(store, scratch_path("lines"));
    es_store_close(store);
    int status = es_store_import(scratch_path("lines"), scratch_path("copy"), &err);
    ck_assert_msg(status == 0, "%s", err.msg);
    ck_assert_int_eq(es_store_import(scratch_path("lines"), scratch_path("copy"), &err),
                     ES_EEXIST);
    ck_assert_int_ne(access(scratch_path("copy.part"), F_OK), 0);

    ck_assert_int_eq(es_store_open(scratch_path("copy"), false, &store, &err), 0);
    ck_assert_int_eq(es_store_verify(store, &after, &err), 0);
    ck_assert(after.chain_ok);
    ck_assert_int_eq(after.events, before.events);
    ck_assert_int_eq(after.batches, before.batches);
    ck_assert_str_eq(after.head_hash, before.head_hash);
    ck_assert_int_eq(after.is_signed, _i == 1);
    ck_assert_int_eq(after.signature_ok, _i == 1);
    ck_assert_str_eq(after.public_key, before.public_key);
    int64_t last = 0;
    ck_assert_int_eq(es_store_read(store, 1, true, on_event, &last, &err), 0);
    ck_assert_int_eq(last, before.events);
    struct es_buf blob;
    es_buf_init(&blob, BLOB_BYTES);
    ck_assert_int_eq(es_store_get_blob(store, "scenario", &blob, &err), 0);
    ck_assert_uint_eq(blob.len, BLOB_BYTES);
    ck_assert_int_eq(blob.data[BLOB_BYTES - 1], (char)((BLOB_BYTES - 1) * 7));
    es_buf_clear(&blob);
    ck_assert_int_eq(es_store_get_blob(store, "scenario/empty", &blob, &err), 0);
    ck_assert_int_eq(es_store_get_blob(store, "names", &blob, &err), ES_ENOENT);
    es_buf_finish(&blob);
    int persons = 0;
    ck_assert_int_eq(es_store_read_persons(store, on_person, &persons, &err), 0);
    ck_assert_int_eq(persons, 1);
    export_to(store, scratch_path("again"));
    es_store_close(store);
    ck_assert(same_files(scratch_path("lines"), scratch_path("again")));
}
END_TEST

/* ------------------------------------------------------------------ changed lines */

static char *lines[400];
static size_t line_count;

static void load_lines(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "r");
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    line_count = 0;
    for (char *at = text; *at != '\0';) {
        lines[line_count++] = at;
        at = strchr(at, '\n');
        *at++ = '\0';
        ck_assert_uint_lt(line_count, ES_COUNT(lines));
    }
}

static int import_lines(struct es_err *err)
{
    FILE *file = fopen(scratch_path("changed"), "w");
    for (size_t i = 0; i < line_count; i++)
        if (lines[i] != NULL)
            fprintf(file, "%s\n", lines[i]);
    fclose(file);
    int status = es_store_import(scratch_path("changed"), scratch_path("copy"), err);
    ck_assert_int_eq(access(scratch_path("copy"), F_OK) == 0, status == 0);
    ck_assert_int_ne(access(scratch_path("copy.part"), F_OK), 0);
    unlink(scratch_path("copy"));
    return status;
}

/* The first digit of each field's value in turn becomes another one. */
static bool change_field(char *line, int field, char *save)
{
    char *at = line;
    for (int i = 0; at != NULL && i <= field; i++) {
        at = strstr(at, "\":");
        at = at != NULL ? at + 2 : NULL;
    }
    if (at == NULL)
        return false;
    at += strcspn(at, "0123456789,}");
    if (*at < '0' || *at > '9')
        return true;
    *save = *at;
    *at = *at == '1' ? '2' : '1';
    return true;
}

START_TEST(a_changed_line_is_found)
{
    struct es_store *store = make_ledger(true);
    struct es_err err = {0};
    export_to(store, scratch_path("lines"));
    es_store_close(store);
    load_lines(scratch_path("lines"));
    ck_assert_int_eq(import_lines(&err), 0);
    int tried = 0;
    for (size_t i = 0; i < line_count; i++) {
        char *kept = lines[i];
        bool is_blob = strncmp(kept, "{\"blob\"", 7) == 0;
        if (is_blob && strstr(kept, "scenario/empty") != NULL)
            continue;
        if (strncmp(kept, "{\"person\"", 9) == 0) { /* may be left out */
            lines[i] = NULL;
            ck_assert_int_eq(import_lines(&err), 0);
            lines[i] = kept;
            continue;
        }
        lines[i] = NULL;
        int status = import_lines(&err);
        ck_assert_msg(status == ES_ECORRUPT, "line %zu removed: %d", i + 1, status);
        lines[i] = kept;
        for (int field = 0; !is_blob; field++) {
            char copy[1024], save = 0;
            ck_assert_uint_lt(strlen(kept), sizeof copy);
            memcpy(copy, kept, strlen(kept) + 1);
            if (!change_field(copy, field, &save))
                break;
            if (save == 0)
                continue;
            lines[i] = copy;
            status = import_lines(&err);
            lines[i] = kept;
            ck_assert_msg(status == ES_ECORRUPT || status == ES_ENOTSUP, "%s: %d", copy,
                          status);
            tried++;
        }
    }
    ck_assert_int_gt(tried, 300);
}
END_TEST

START_TEST(what_is_no_export_is_refused)
{
    static const char *const texts[] = {"",
                                        "\n",
                                        "{}",
                                        "{}\n",
                                        "[]\n",
                                        "no json\n",
                                        "{\"enshu_ledger\":2}\n",
                                        "{\"enshu_ledger\":3,\"id\":\"00\"}\n",
                                        "{\"enshu_ledger\":2,\"enshu_ledger\":2}\n"};
    for (size_t i = 0; i < ES_COUNT(texts); i++) {
        struct es_err err = {0};
        FILE *file = fopen(scratch_path("text"), "w");
        fputs(texts[i], file);
        fclose(file);
        int status = es_store_import(scratch_path("text"), scratch_path("copy"), &err);
        ck_assert_int_eq(status, i == 7 ? ES_ENOTSUP : ES_ECORRUPT);
        ck_assert_int_ne(access(scratch_path("copy"), F_OK), 0);
    }
    struct es_err err = {0};
    ck_assert_int_eq(es_store_import(scratch_path("none"), scratch_path("copy"), &err),
                     ES_ENOENT);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

/* ------------------------------------------------------------------ memory */

static int on_nothing(void *ctx, const char *line, size_t len)
{
    (void)line;
    *(size_t *)ctx += len;
    return 0;
}

/* Export, check, import and sign with each allocation failing once: memory is said to be
 * out, nothing leaks, and what is there afterwards is whole. */
START_TEST(each_allocation_fails_once)
{
    sqlite_faults_install();
    es_wire_use_allocator();
    struct es_store *store = make_ledger(false);
    struct es_err err = {0};
    size_t bytes = 0;
    export_to(store, scratch_path("lines"));
    long alive = es_mem_live_count(), n = 1;
    for (bool happened = true; happened; n++) {
        struct es_store_check check;
        memset(&err, 0, sizeof err);
        es_mem_fail_nth(n);
        int status = es_store_export(store, on_nothing, &bytes, &err);
        if (status == 0)
            status = es_store_verify(store, &check, &err);
        happened = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_msg(status == 0 || status == ES_ENOMEM, "%s", err.msg);
    }
    ck_assert_int_gt(n, 20);
    es_store_close(store);
    ck_assert_int_lt(es_mem_live_count(), alive);

    /* jansson's scanner ends the process when its memory fails inside an escape. */
    json_set_alloc_funcs(malloc, free);
    alive = es_mem_live_count();
    n = 1;
    for (bool happened = true; happened; n++) {
        memset(&err, 0, sizeof err);
        es_mem_fail_nth(n);
        int status = es_store_import(scratch_path("lines"), scratch_path("copy"), &err);
        happened = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_msg(status == 0 || status == ES_ENOMEM || status == ES_ESTATE, "%s",
                      err.msg);
        ck_assert_int_eq(access(scratch_path("copy"), F_OK) == 0, status == 0);
        ck_assert_int_eq(es_mem_live_count(), alive);
        if (status == 0) {
            ck_assert_int_eq(es_store_open(scratch_path("copy"), false, &store, &err), 0);
            export_to(store, scratch_path("again"));
            es_store_close(store);
            ck_assert(same_files(scratch_path("lines"), scratch_path("again")));
        }
        unlink(scratch_path("copy"));
    }
    ck_assert_int_gt(n, 200);
}
END_TEST

Suite *store_export_suite(void);
Suite *store_export_suite(void)
{
    Suite *suite = suite_create("store_export");
    TCase *tc = tcase_create("store_export");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, an_export_comes_back_the_same, 0, 2);
    tcase_add_test(tc, a_changed_line_is_found);
    tcase_add_test(tc, what_is_no_export_is_refused);
    tcase_add_test(tc, each_allocation_fails_once);
    suite_add_tcase(suite, tc);
    return suite;
}
