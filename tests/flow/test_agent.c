/* The real agent over its channel: sync, resends, deadlines, caps, files. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/guest.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

static struct guest guest;

static void setup(void)
{
    guest_start(&guest, false);
}

static void teardown(void)
{
    guest_stop(&guest);
}

/* A shell line in the guest's directory. */
static json_t *shell(const char *text)
{
    return json_pack("{s:s, s:s}", "shell", text, "cwd", guest.dir);
}

static bool exists(const char *name)
{
    char path[128];
    es_str_printf(path, sizeof path, "%s/%s", guest.dir, name);
    return access(path, F_OK) == 0;
}

static void make_fifo(const char *name)
{
    char path[128];
    es_str_printf(path, sizeof path, "%s/%s", guest.dir, name);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
}

/* Lets whoever reads the FIFO go on. */
static void open_gate(const char *name)
{
    char path[128];
    es_str_printf(path, sizeof path, "%s/%s", guest.dir, name);
    int fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

START_TEST(sync_comes_through_half_lines)
{
    guest_write(&guest, "{\"id\": 7, \"op\": \"ex");
    guest_write(&guest, "\n{\"sync\": \"n-2\"}\n");
    char *line = guest_line(&guest);
    ck_assert_str_eq(line, ""); /* ends what half line the core may have */
    free(line);
    line = guest_line(&guest);
    json_t *answer = json_loads(line, 0, NULL);
    ck_assert_str_eq(guest_text(answer, "sync"), "n-2");
    const json_t *hello = json_object_get(answer, "hello");
    ck_assert_int_eq(guest_int(hello, "wire"), ES_WIRE_VERSION);
    ck_assert_str_eq(guest_text(hello, "epoch"), guest.epoch);
    ck_assert_int_eq(guest_int(hello, "held"), 0);
    ck_assert_int_gt(guest_int(hello, "uptime_ms"), 0);
    json_decref(answer);
    free(line);
}
END_TEST

START_TEST(nothing_is_run_before_the_sync)
{
    guest_hang_up(&guest);
    guest_accept(&guest);
    guest_send(&guest, "exec", shell("touch ran"), 60000);
    json_decref(guest_sync(&guest, "again"));
    json_decref(guest_ask(&guest, "exec", shell("true")));
    ck_assert(!exists("ran"));
}
END_TEST

START_TEST(results_are_held_until_acknowledged)
{
    int64_t id = guest_send(&guest, "exec", shell("echo once >> log"), 60000);
    json_t *first = guest_result(&guest, id);
    guest_hang_up(&guest);
    guest_accept(&guest);
    json_t *answer = guest_sync(&guest, "second");
    ck_assert_int_eq(guest_int(json_object_get(answer, "hello"), "held"), 1);
    json_decref(answer);
    json_t *again = guest_result(&guest, id);
    ck_assert(json_equal(first, again));
    /* An acknowledgement of another epoch is none. */
    guest_write(&guest, "{\"ack\": 99, \"epoch\": \"0000000000000000\"}\n");
    answer = guest_sync(&guest, "third");
    ck_assert_int_eq(guest_int(json_object_get(answer, "hello"), "held"), 1);
    json_decref(answer);
    guest_ack(&guest, guest_int(again, "seq"));
    answer = guest_sync(&guest, "fourth");
    ck_assert_int_eq(guest_int(json_object_get(answer, "hello"), "held"), 0);
    json_decref(answer);
    json_decref(first);
    json_decref(again);
}
END_TEST

START_TEST(results_made_while_away_arrive_later)
{
    make_fifo("gate");
    int64_t id = guest_send(&guest, "exec", shell("cat gate; echo done"), 60000);
    json_decref(guest_ask(&guest, "exec", shell("true"))); /* so the first has started */
    guest_hang_up(&guest);
    open_gate("gate");
    guest_accept(&guest);
    json_decref(guest_sync(&guest, "back"));
    json_t *result = guest_result(&guest, id);
    ck_assert_int_eq(guest_int(json_object_get(result, "evidence"), "exit"), 0);
    json_decref(result);
}
END_TEST

START_TEST(an_id_is_not_run_twice)
{
    make_fifo("gate");
    static const char text[] = "cat gate; echo x >> log";
    int64_t id = guest_send(&guest, "exec", shell(text), 60000);
    guest_send_as(&guest, id, "exec", shell(text), 60000);
    json_decref(guest_ask(&guest, "exec", shell("true")));
    /* A reconnect does not end what runs, nor run it again. */
    json_decref(guest_sync(&guest, "again"));
    guest_send_as(&guest, id, "exec", shell(text), 60000);
    open_gate("gate");
    json_t *first = guest_result(&guest, id);
    guest_send_as(&guest, id, "exec", shell(text), 60000);
    json_t *again = guest_result(&guest, id);
    ck_assert(json_equal(first, again));
    guest_ack(&guest, guest_int(first, "seq"));
    guest_send_as(&guest, id, "exec", shell(text), 60000);
    json_t *refused = guest_result(&guest, id);
    ck_assert_str_eq(guest_code(refused), "bad-request");
    char *log = guest_read_file(guest.dir, "log");
    ck_assert_str_eq(log, "x\n");
    free(log);
    json_decref(first);
    json_decref(again);
    json_decref(refused);
}
END_TEST

/* Gone, or dead and only waiting for its parent. */
static bool is_dead(int pid)
{
    char path[64], text[512] = "";
    es_str_printf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return true;
    size_t n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    fclose(file);
    const char *after = strrchr(text, ')');
    return after == NULL || after[2] == 'Z' || after[2] == 'X';
}

START_TEST(a_deadline_kills_the_whole_tree)
{
    json_t *result = guest_result(
        &guest,
        guest_send(&guest, "exec",
                   shell("sleep 3000 & echo $! > inner; echo said; sleep 3000"), 3000));
    const json_t *evidence = json_object_get(result, "evidence");
    size_t len;
    ck_assert_str_eq(guest_code(result), "ok");
    ck_assert(guest_bool(evidence, "timeout"));
    ck_assert_int_eq(guest_int(evidence, "signal"), SIGKILL);
    char *said = guest_bytes(evidence, "stdout", &len);
    ck_assert_str_eq(said, "said\n");
    char *inner = guest_read_file(guest.dir, "inner");
    ck_assert_int_gt(atoi(inner), 1);
    ck_assert(is_dead(atoi(inner)));
    free(inner);
    free(said);
    json_decref(result);
}
END_TEST

START_TEST(a_daemon_left_behind_does_not_hold_up_the_result)
{
    json_t *result =
        guest_ask(&guest, "exec", shell("sleep 3000 & echo $! > inner; echo said"));
    const json_t *evidence = json_object_get(result, "evidence");
    ck_assert_int_eq(guest_int(evidence, "exit"), 0);
    ck_assert(!guest_bool(evidence, "timeout"));
    char *inner = guest_read_file(guest.dir, "inner");
    ck_assert(!is_dead(atoi(inner)));
    kill(atoi(inner), SIGKILL);
    free(inner);
    json_decref(result);
}
END_TEST

START_TEST(output_is_capped_or_streamed)
{
    size_t len;
    json_t *args = shell("head -c 300000 /dev/zero");
    json_object_set_new(args, "keep", json_integer(1000));
    json_t *result = guest_ask(&guest, "exec", args);
    const json_t *evidence = json_object_get(result, "evidence");
    free(guest_bytes(evidence, "stdout", &len));
    ck_assert_uint_eq(len, 1000);
    ck_assert(guest_bool(evidence, "truncated"));
    json_decref(result);

    args = shell("head -c 3000000 /dev/zero; echo err >&2");
    json_object_set_new(args, "stream", json_true());
    result = guest_ask(&guest, "exec", args);
    ck_assert_int_eq(guest.part_bytes, 3000004);
    ck_assert(!guest_bool(json_object_get(result, "evidence"), "truncated"));
    json_decref(result);
}
END_TEST

START_TEST(exec_feeds_sets_and_reports)
{
    size_t len;
    json_t *result = guest_ask(&guest, "exec",
                               json_pack("{s:[s,s,s], s:s, s:{s:s}}", "argv", "sh", "-c",
                                         "cat; echo $WHO; echo no >&2; exit 4", "stdin",
                                         "aW5wdXQ=", "env", "WHO", "mori $(id)"));
    const json_t *evidence = json_object_get(result, "evidence");
    char *out = guest_bytes(evidence, "stdout", &len);
    char *err = guest_bytes(evidence, "stderr", &len);
    ck_assert_str_eq(out, "inputmori $(id)\n");
    ck_assert_str_eq(err, "no\n");
    ck_assert_int_eq(guest_int(evidence, "exit"), 4);
    free(out);
    free(err);
    json_decref(result);
    result = guest_ask(&guest, "exec",
                       json_pack("{s:[s]}", "argv", "/there/is/no/such/program"));
    ck_assert_str_eq(guest_code(result), "not-found");
    json_decref(result);
}
END_TEST

START_TEST(bad_lines_do_no_harm)
{
    static const struct {
        const char *line, *code;
    } cases[] = {
        {"{\"id\": 901, \"op\": \"fly\", \"args\": {}, \"deadline_ms\": 5, "
         "\"max_bytes\": 0}\n",
         "unsupported"},
        {"{\"id\": 902, \"op\": \"exec\"}\n", "bad-request"},
        {"{\"id\": 903, \"op\": 7, \"args\": {}, \"deadline_ms\": 5, \"max_bytes\": 0}\n",
         "bad-request"},
        {"{\"id\": 904, \"op\": \"exec\", \"args\": {\"argv\": [7]}, \"deadline_ms\": "
         "5000, "
         "\"max_bytes\": 0}\n",
         "bad-request"},
        {"{\"id\": 905, \"op\": \"exec\", \"args\": {\"argv\": []}, \"deadline_ms\": "
         "5000, "
         "\"max_bytes\": 0}\n",
         "bad-request"},
        {"{\"id\": 906, \"op\": \"get\", \"args\": {\"path\": \"/\"}, \"deadline_ms\": "
         "5000, "
         "\"max_bytes\": 0}\n",
         "failed"},
        {"{\"id\": 907, \"op\": \"probe\", \"args\": {\"kind\": \"file\"}, "
         "\"deadline_ms\": 5000, \"max_bytes\": 0}\n",
         "bad-request"},
        {"{\"id\": 908, \"op\": \"probe\", \"args\": {\"kind\": \"file\", \"path\": "
         "\"/\"}, \"deadline_ms\": 5000, \"max_bytes\": 10}\n",
         "limit"},
    };
    guest_write(&guest, "}{\n[[[[[[\n\"text\"\n{\"id\": 1e400}\n{}\n\x01\xff\xfe\n");
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        guest_write(&guest, cases[i].line);
        json_t *result = guest_result(&guest, 901 + (int64_t)i);
        ck_assert_str_eq(guest_code(result), cases[i].code);
        json_decref(result);
    }
    char *endless = malloc(200001);
    memset(endless, '[', 200000);
    endless[200000] = '\0';
    guest_write(&guest, endless);
    guest_write(&guest, "\n");
    free(endless);
    json_t *result = guest_ask(&guest, "exec", shell("true"));
    ck_assert_str_eq(guest_code(result), "ok");
    json_decref(result);
}
END_TEST

START_TEST(too_many_requests_are_refused_and_can_be_cancelled)
{
    enum { RUNNING = 16, QUEUED = 256 };
    int64_t first = 0, last = 0;
    make_fifo("gate");
    for (int i = 0; i < RUNNING + QUEUED + 1; i++) {
        last = guest_send(&guest, "exec", shell("cat gate"), 60000);
        first = i == 0 ? last : first;
    }
    json_t *result = guest_result(&guest, last);
    ck_assert_str_eq(guest_code(result), "limit");
    json_decref(result);
    const int64_t targets[] = {first, last - 1};
    for (size_t i = 0; i < ES_COUNT(targets); i++) {
        /* The target's own result may come before the answer to the cancel. */
        guest_send(&guest, "cancel", json_pack("{s:I}", "target", (json_int_t)targets[i]),
                   60000);
        result = guest_result(&guest, targets[i]);
        ck_assert_str_eq(guest_code(result), "cancelled");
        json_decref(result);
    }
    result = guest_ask(&guest, "cancel", json_pack("{s:i}", "target", 4711));
    ck_assert(!guest_bool(json_object_get(result, "evidence"), "found"));
    json_decref(result);
    /* A sync forgets the queued ones; the refused one may be asked again. */
    json_decref(guest_sync(&guest, "again"));
    guest_send_as(&guest, last, "cancel",
                  json_pack("{s:I}", "target", (json_int_t)first + 1), 60000);
    result = guest_result(&guest, first + 1);
    ck_assert_str_eq(guest_code(result), "cancelled");
    json_decref(result);
}
END_TEST

/* ------------------------------------------------------------------ files */

static json_t *put_piece(const char *path, const char *data, size_t len, int64_t off,
                         bool last, int64_t size)
{
    json_t *text = es_base64_json(data, len);
    return guest_ask(&guest, "put",
                     json_pack("{s:s, s:I, s:o, s:b, s:I, s:s, s:i}", "path", path, "off",
                               (json_int_t)off, "data", text, "last", last, "size",
                               (json_int_t)size, "mode", "0640", "mtime_s", 86400));
}

START_TEST(files_go_in_and_come_out)
{
    enum { SIZE = 100000, PIECE = 30000 };
    char path[128], *data = malloc(SIZE);
    struct stat st;
    for (int i = 0; i < SIZE; i++)
        data[i] = (char)(i * 7 ^ i >> 8);
    es_str_printf(path, sizeof path, "%s/a/b/file", guest.dir);
    for (int off = 0; off < SIZE; off += PIECE) {
        bool last = off + PIECE >= SIZE;
        size_t len = last ? (size_t)(SIZE - off) : PIECE;
        ck_assert(!exists("a/b/file"));
        /* Each piece twice: one sent again changes nothing. */
        json_t *result =
            off > 0 ? put_piece(path, data + off, len, off, false, SIZE) : NULL;
        json_decref(result);
        result = put_piece(path, data + off, len, off, last, SIZE);
        ck_assert_str_eq(guest_code(result), "ok");
        ck_assert_int_eq(guest_int(json_object_get(result, "evidence"), "size"),
                         off + (int64_t)len);
        json_decref(result);
    }
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, SIZE);
    ck_assert_int_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(st.st_mtime, 86400);
    int64_t off = 0;
    for (bool eof = false; !eof;) {
        size_t len;
        json_t *result = guest_ask(&guest, "get",
                                   json_pack("{s:s, s:I, s:i}", "path", path, "off",
                                             (json_int_t)off, "max", 32768));
        const json_t *evidence = json_object_get(result, "evidence");
        char *bytes = guest_bytes(evidence, "data", &len);
        ck_assert_int_eq(guest_int(evidence, "size"), SIZE);
        ck_assert_int_eq(memcmp(bytes, data + off, len), 0);
        eof = guest_bool(evidence, "eof");
        off += (int64_t)len;
        free(bytes);
        json_decref(result);
    }
    ck_assert_int_eq(off, SIZE);
    free(data);
}
END_TEST

START_TEST(a_wrong_put_leaves_the_old_file)
{
    char path[128], beside[128], target[128];
    guest_write_file(guest.dir, "file", "old");
    es_str_printf(path, sizeof path, "%s/file", guest.dir);
    json_t *result = put_piece(path, "new", 3, 0, true, 4);
    ck_assert_str_eq(guest_code(result), "bad-request");
    json_decref(result);
    result = put_piece(path, "new", 3, 10, true, 13);
    ck_assert_str_eq(guest_code(result), "bad-request");
    json_decref(result);
    /* A link in the place beside must not be followed. */
    es_str_printf(beside, sizeof beside, "%s/.file.enshu", guest.dir);
    es_str_printf(target, sizeof target, "%s/target", guest.dir);
    guest_write_file(guest.dir, "target", "untouched");
    unlink(beside);
    ck_assert_int_eq(symlink(target, beside), 0);
    result = put_piece(path, "new", 3, 3, true, 6);
    ck_assert_str_ne(guest_code(result), "ok");
    json_decref(result);
    char *text = guest_read_file(guest.dir, "file");
    ck_assert_str_eq(text, "old");
    free(text);
    text = guest_read_file(guest.dir, "target");
    ck_assert_str_eq(text, "untouched");
    free(text);
}
END_TEST

/* ------------------------------------------------------------------ ports */

START_TEST(a_terminal_is_a_port_too)
{
    struct guest other = {.fd = -1};
    int status;
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(master, 0);
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    other.pid = guest_run(ptsname(master), NULL);
    other.fd = master;
    /* Before the agent has set the terminal raw it echoes; the sync passes over that. */
    char *line;
    static const char sync[] = "\n{\"sync\": \"tty\"}\n";
    ck_assert_int_eq(write(master, sync, sizeof sync - 1), sizeof sync - 1);
    json_t *answer = NULL;
    while (json_object_get(answer, "hello") == NULL) {
        json_decref(answer);
        line = guest_line(&other);
        answer = json_loads(line, 0, NULL);
        free(line);
    }
    json_decref(answer);
    kill(other.pid, SIGTERM);
    ck_assert_int_eq(waitpid(other.pid, &status, 0), other.pid);
    ck_assert_int_eq(status, 0);
    guest_hang_up(&other);
}
END_TEST

Suite *agent_suite(void);
Suite *agent_suite(void)
{
    Suite *suite = suite_create("agent");
    TCase *tc = tcase_create("agent");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, sync_comes_through_half_lines);
    tcase_add_test(tc, nothing_is_run_before_the_sync);
    tcase_add_test(tc, results_are_held_until_acknowledged);
    tcase_add_test(tc, results_made_while_away_arrive_later);
    tcase_add_test(tc, an_id_is_not_run_twice);
    tcase_add_test(tc, a_deadline_kills_the_whole_tree);
    tcase_add_test(tc, a_daemon_left_behind_does_not_hold_up_the_result);
    tcase_add_test(tc, output_is_capped_or_streamed);
    tcase_add_test(tc, exec_feeds_sets_and_reports);
    tcase_add_test(tc, bad_lines_do_no_harm);
    tcase_add_test(tc, too_many_requests_are_refused_and_can_be_cancelled);
    tcase_add_test(tc, files_go_in_and_come_out);
    tcase_add_test(tc, a_wrong_put_leaves_the_old_file);
    tcase_add_test(tc, a_terminal_is_a_port_too);
    suite_add_tcase(suite, tc);
    return suite;
}
