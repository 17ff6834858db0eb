/* The program enshu against a fake core: what it asks, what it prints, how it ends. */
#define _XOPEN_SOURCE 700
#include <check.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "../support/cli_runner.h"
#include "../support/shell.h"
#include "enshu/common/str.h"

#undef fail /* check's; es_reply has a member of that name */

#define MACHINE(name, state, detail)                                                     \
    "{\"machine\":\"" name "\",\"state\":\"" state "\",\"detail\":\"" detail "\"}"
#define TEAM(n, name, mpts, one, two)                                                    \
    "{\"team\":" n ",\"name\":\"" name "\",\"total_mpts\":" mpts                         \
    ",\"objectives\":[{\"name\":\"find-shell\",\"title\":{\"ja\":"                       \
    "\"ウェブシェルを見つける\","                                             \
    "\"en\":\"Find the web shell\"},\"status\":\"" one "\",\"met_ex_ms\":754000,"        \
    "\"mpts\":50000},{\"name\":\"cut-c2\",\"title\":{\"ja\":"                            \
    "\"攻撃者との通信を遮断する\","                                          \
    "\"en\":\"Cut the attacker off\"},\"status\":\"" two "\",\"met_ex_ms\":-1,"          \
    "\"mpts\":0}],\"phases\":[{\"name\":\"detect\",\"begun_ex_ms\":1000,"                \
    "\"done_ex_ms\":61000,\"stuck\":false}]}"
#define RANGE(name)                                                                       \
    "{\"range\":\"" name                                                                  \
    "\",\"state\":\"up\",\"title\":{\"ja\":\"みどり市役所への攻撃\","           \
    "\"en\":\"Midori City Hall under attack\"},\"clock\":{\"state\":\"running\","         \
    "\"ex_ms\":3723000},\"trouble\":\"\",\"machines\":[" MACHINE(                         \
        "t1/web", "ready",                                                                \
        "") "," MACHINE("t2/web", "booting",                                              \
                        "evil \\u001b[31mred") "],\"teams\":[" TEAM("1", "みどり",        \
                                                                    "62500", "met",       \
                                                                    "open") "," TEAM("2", \
                                                                                     "",  \
                                                                                     "0", \
                                                                                     "o"  \
                                                                                     "p"  \
                                                                                     "e"  \
                                                                                     "n", \
                                                                                     "c"  \
                                                                                     "l"  \
                                                                                     "o"  \
                                                                                     "s"  \
                                                                                     "e"  \
                                                                                     "d") "]}"
#define ONE_RANGE "{\"ranges\":[" RANGE("monday") "]}"

static const struct cli_script scripts[] = {
    {"status", NULL, ONE_RANGE, 0},
    {"version", NULL,
     "{\"version\":\"9.9\",\"pid\":42,\"state\":\"/s\",\"uri\":\"qemu:///"
     "system\",\"hypervisor\":true,\"accel\":\"tcg\"}",
     0},
    {"start", NULL, "{\"clock\":{\"state\":\"running\",\"ex_ms\":0}}", 0},
    {"pause", NULL, "already paused", ES_ESTATE},
    {"resume", NULL, "{\"clock\":{\"state\":\"running\",\"ex_ms\":0}}", 0},
    {"stop", NULL, "{\"clock\":{\"state\":\"stopped\",\"ex_ms\":9000},\"signed\":true}",
     0},
    {"exec",
     "{\"stream\":\"out\",\"data\":\"AP8bWzMxbWEK\"}\n{\"stream\":\"err\",\"data\":"
     "\"b29wcwo=\"}",
     "{\"exit\":7}", 0},
    {"console", "{\"data\":\"bG9naW46IA==\"}", NULL, 0},
    {"console.send", NULL, "{}", 0},
    {"reset", MACHINE("t1/web", "stopping", "") "\n" MACHINE("t1/web", "ready", "4.2s"),
     "{\"machines\":[\"t1/web\"]}", 0},
    {"score", NULL, "{\"teams\":[" TEAM("1", "みどり", "62500", "met", "open") "]}", 0},
    {"score.explain", NULL,
     "{\"team\":1,\"reasons\":[{\"ex_ms\":754000,\"pos\":17,\"part\":\"handling\","
     "\"what\":\"find-shell\",\"text\":\"met by "
     "\\u001b]0;x\",\"by\":\"mori\\u0007\",\"mpts\":50000}],\"total_mpts\":62500}",
     0},
    {"rescore", NULL,
     "{\"events\":12,\"digest\":\"abcd\",\"live_digest\":\"ffff\",\"equal\":false,"
     "\"teams\":[{\"team\":1,\"total_mpts\":1}]}",
     0},
    {"correct", NULL, "{\"pos\":99}", 0},
    {"ledger.export", "{\"line\":\"{\\\"pos\\\":1}\"}\n{\"line\":\"{\\\"pos\\\":2}\"}",
     "{\"events\":2}", 0},
    {"ledger.verify", NULL,
     "{\"events\":2,\"batches\":1,\"chain_ok\":true,\"signed\":true,\"signature_ok\":"
     "false,\"head\":\"ab\"}",
     0},
    {"ledger.forget", NULL, "{\"erased\":2}", 0},
    {"image.build",
     "{\"step\":\"packages\",\"text\":\"unpacking\",\"done\":3,\"total\":9}",
     "{\"name\":\"tiny\",\"digest\":\"0123456789abcdef\",\"bytes\":2048,\"took_ms\":1500,"
     "\"cached\":false}",
     0},
    {"image.list", NULL,
     "{\"images\":[{\"name\":\"tiny\",\"digest\":\"0123456789abcdef\",\"bytes\":2048,"
     "\"built\":\"2026-01-02\",\"packages\":[\"nginx\"]}]}",
     0},
    {"image.rm", NULL, "there is no image \"ff\"", ES_ENOENT},
    {"down", NULL,
     "{\"removed\":[\"es-monday-t01-web\"],\"kept\":[\"/s/programme/monday/b.qcow2\"]}",
     0},
    {"park", MACHINE("t1/web", "parking", "saving") "\n" MACHINE("t1/web", "parked", ""),
     "{\"range\":\"monday\",\"machines\":1,\"bytes\":3145728,\"took_ms\":1250}", 0},
    {"unpark", MACHINE("t1/web", "waking", ""),
     "{\"range\":\"monday\",\"machines\":1,\"took_ms\":700,\"clock\":{\"state\":"
     "\"paused\",\"ex_ms\":61000}}",
     0},
    {"watch", RANGE("monday"), NULL, 0},
    {"gc", NULL, NULL, 0},
    {NULL, NULL, NULL, 0}};

static void setup(void)
{
    cli_world_open(scripts);
}

static void teardown(void)
{
    cli_world_close();
}

static void has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

static void has_not(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) == NULL, "\"%s\" is in:\n%s", part, text);
}

START_TEST(without_a_core_one_line_says_how_to_start_it)
{
    static const char *const commands[] = {"status", "start", "exec t1/web -- ls",
                                           "console t1/web", "gc"};
    snprintf(world.socket, sizeof world.socket, "%s/none", world.dir);
    for (size_t i = 0; i < ES_COUNT(commands); i++) {
        ck_assert_int_eq(cli_run(commands[i]), 69);
        has(world.err, "no core is running");
        has(world.err, "enshud");
        ck_assert_ptr_eq(strchr(world.err, '\n'), world.err + world.err_len - 1);
        ck_assert_uint_eq(world.out_len, 0);
    }
    snprintf(world.socket, sizeof world.socket, "%s/sock", world.dir);
}
END_TEST

START_TEST(every_command_has_help_with_examples)
{
    ck_assert_int_eq(cli_run(""), 0);
    static char overview[CLI_OUT_MAX];
    memcpy(overview, world.out, world.out_len + 1);
    int seen = 0;
    char *next = overview;
    for (char *line; (line = strsep(&next, "\n")) != NULL;) {
        if (!es_str_starts(line, "  ") || es_str_starts(line, "  enshu"))
            continue;
        char name[32], words[64];
        snprintf(name, sizeof name, "%.14s", line + 2);
        for (size_t n = strlen(name); n > 0 && name[n - 1] == ' '; n--)
            name[n - 1] = '\0';
        snprintf(words, sizeof words, "help %s", name);
        ck_assert_msg(cli_run(words) == 0, "%s: %s", words, world.err);
        has(world.out, "Examples:\n  enshu ");
        has(world.out, "Options:\n");
        snprintf(words, sizeof words, "%s --help", name);
        ck_assert_int_eq(cli_run(words), 0);
        seen++;
    }
    ck_assert_int_ge(seen, 28);
    ck_assert_int_eq(cli_run("help exit-codes"), 0);
    has(world.out, "69  not connected (ECONN)");
    has(world.out, "65  the scenario has errors (ESCENARIO)");
    has(world.out, "hypervisor error (EHYP)\n  70  out of memory");
    ck_assert_int_eq(cli_run("image --help"), 0);
    has(world.out, "enshu image build NAME");
    has(world.out, "enshu image rm DIGEST");
    ck_assert_int_eq(cli_run("help methods"), 0);
    has(world.out, "score.explain  CALL");
    has(world.out, "up  STREAM");
}
END_TEST

START_TEST(slips_are_told_with_what_was_meant)
{
    static const struct {
        const char *words, *text;
    } rows[] = {
        {"sttaus", "did you mean \"status\"?"},
        {"status --rnage x", "did you mean --range?"},
        {"status --teams 2", "--teams is no option of status"},
        {"score explain", "needs TEAM"},
        {"image", "image what?"},
        {"validate -x", "no option -x"},
        {"-x", "no option -x"},
        {"reset foo", "no machine"},
        {"plan x --json --dot", "not both"},
        {"status a b", "one word too many"},
        {"exec web -- ls", "no machine"},
        {"exec t1/web", "say the command"},
        {"score explain web", "no team"},
        {"status --range", "needs a value"},
        {"status --json=1", "takes no value"},
        {"correct points 1 --points 5", "--reason"},
        {"correct points 1 --reason x", "--points"},
        {"correct override a --reason x --team 1", "--met"},
        {"correct void span --reason x", "--from TIME"},
        {"correct void span --reason x --from 5 --to 6", "must be a duration"},
        {"score --team 0", "must be a number from 1 to 1000"},
        {"start '../x'", "no name of a range"},
    };
    for (size_t i = 0; i < ES_COUNT(rows); i++) {
        ck_assert_msg(cli_run(rows[i].words) == 64, "%s ended with %d", rows[i].words,
                      world.exit_code);
        has(world.err, rows[i].text);
        ck_assert_uint_eq(world.out_len, 0);
    }
}
END_TEST

START_TEST(status_speaks_the_language_and_escapes)
{
    ck_assert_int_eq(cli_run("status"), 0);
    has(world.out,
        "monday  up, clock running at T+1:02:03  Midori City Hall under attack");
    has(world.out, "2, 1 ready, 1 booting");
    has(world.out, "evil \\x1b[31mred");
    has(world.out, "team 1   みどり  62.5 points, 1 of 2 objectives met");
    has_not(world.out, "\x1b");
    ck_assert_int_eq(cli_run("status --lang ja"), 0);
    has(world.out, "みどり市役所への攻撃");
    world.env[0] = "LANG=ja_JP.UTF-8";
    ck_assert_int_eq(cli_run("status"), 0);
    has(world.out, "みどり市役所への攻撃");
}
END_TEST

START_TEST(json_is_the_raw_result)
{
    static const char *const commands[] = {
        "status",       "score",   "score explain 1",
        "start",        "version", "image list",
        "reset t1/web", "down",    "correct points 1 --points 3 --reason x"};
    for (size_t i = 0; i < ES_COUNT(commands); i++) {
        char words[128];
        snprintf(words, sizeof words, "%s --json", commands[i]);
        ck_assert_int_eq(cli_run(words), 0);
        json_t *json = json_loads(world.out, 0, NULL);
        ck_assert_msg(json_is_object(json), "%s: %s", words, world.out);
        json_decref(json);
    }
    ck_assert_int_eq(cli_run("reset t1/web --json"), 0);
    char *end = strchr(world.err, '\n');
    ck_assert_ptr_nonnull(end);
    json_t *line = json_loadb(world.err, (size_t)(end - world.err), 0, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(line, "state")), "stopping");
    json_decref(line);
}
END_TEST

START_TEST(commands_say_what_the_core_needs_to_hear)
{
    static const struct {
        const char *words;
        int code;
        const char *params, *out;
    } rows[] = {
        {"start", 0, "{\"by\":\"mori\",\"range\":\"monday\"}",
         "monday: running at T+0:00:00"},
        {"start other --by 'A B'", 0, "{\"by\":\"A B\",\"range\":\"other\"}", "other:"},
        {"stop --reason 'time is up' --range x", 0,
         "{\"by\":\"mori\",\"range\":\"x\",\"reason\":\"time is up\"}", "ledger signed"},
        {"reset 2", 0, "{\"range\":\"monday\",\"team\":2}", "2 is reset"},
        {"reset 1/web", 0, "{\"machine\":\"t1/web\",\"range\":\"monday\"}", "is reset"},
        {"score --team 1", 0, "{\"range\":\"monday\",\"team\":1}", "Find the web shell"},
        {"correct points 2 --points -5 --reason late", 0,
         "{\"by\":\"mori\",\"points\":-5,\"range\":\"monday\",\"reason\":\"late\","
         "\"team\":2,\"what\":\"points\"}",
         "recorded as event 99"},
        {"correct override cut-c2 --team 1 --met no --reason r", 0,
         "{\"by\":\"mori\",\"met\":false,\"range\":\"monday\",\"reason\":\"r\","
         "\"subject\":\"cut-c2\",\"team\":1,\"what\":\"override\"}",
         "event 99"},
        {"correct void span --from 1m --to 2m --reason r", 0,
         "{\"by\":\"mori\",\"from_ms\":60000,\"range\":\"monday\",\"reason\":\"r\",\"to_"
         "ms\":120000,\"what\":\"void-span\"}",
         "event 99"},
        {"image build tiny --packages a,b --force", 0,
         "{\"force\":true,\"name\":\"tiny\",\"packages\":[\"a\",\"b\"]}",
         "tiny 0123456789ab, 2.0 KiB, built in 1.5s"},
        {"image list", 0, "{}", "2026-01-02  1 package"},
        {"down", 0, "{\"range\":\"monday\"}", "range monday is down"},
        {"down --purge", 0, "{\"purge\":true,\"range\":\"monday\"}",
         "kept /s/programme/monday/b.qcow2"},
        {"reset t1/web --force", 0,
         "{\"force\":true,\"machine\":\"t1/web\",\"range\":\"monday\"}",
         "t1/web is reset"},
        {"park --reason 'over night'", 0,
         "{\"by\":\"mori\",\"range\":\"monday\",\"reason\":\"over night\"}",
         "monday is parked: 1 machine, 3.0 MiB, in 1.2s; wake it with: enshu unpark "
         "monday"},
        {"unpark monday", 0, "{\"by\":\"mori\",\"range\":\"monday\"}",
         "monday is up again: 1 machine in 0.7s; clock paused at T+0:01:01; go on with: "
         "enshu resume monday"},
        {"score explain t1", 0, "{\"range\":\"monday\",\"team\":1}",
         "T+0:12:34        50  handling   find-shell               met by \\x1b]0;x, by "
         "mori\\x07  [event 17]"},
        {"rescore", 74, "{\"range\":\"monday\"}", "DIFFERS"},
        {"ledger verify", 74, "{\"range\":\"monday\"}", "BAD"},
        {"ledger forget mori --range monday", 0,
         "{\"person\":\"mori\",\"range\":\"monday\"}", "2 ids without a name"},
        {"exec t1/web --by mori --shell --timeout 5s -- 'echo a'", 7,
         "{\"by\":\"mori\",\"machine\":\"t1/web\",\"range\":\"monday\",\"shell\":\"echo "
         "a\",\"timeout_ms\":5000}",
         ""},
        {"exec 2/web ls -l --json", 7,
         "{\"argv\":[\"ls\",\"-l\",\"--json\"],\"by\":\"mori\",\"machine\":\"t2/"
         "web\",\"range\":\"monday\",\"timeout_ms\":60000}",
         ""},
    };
    for (size_t i = 0; i < ES_COUNT(rows); i++) {
        ck_assert_msg(cli_run(rows[i].words) == rows[i].code, "%s ended with %d: %s",
                      rows[i].words, world.exit_code, world.err);
        ck_assert_str_eq(world.params, rows[i].params);
        has(world.out, rows[i].out);
    }
}
END_TEST

START_TEST(refusals_become_exit_codes)
{
    ck_assert_int_eq(cli_run("pause"), 75);
    ck_assert_str_eq(world.err, "enshu: already paused\n");
    ck_assert_int_eq(cli_run("image rm ff"), 66);
    has(world.err, "there is no image \"ff\"");
}
END_TEST

START_TEST(the_range_may_be_left_out_only_when_it_is_clear)
{
    static const struct cli_script none[] = {{"status", NULL, "{\"ranges\":[]}", 0},
                                             {NULL, NULL, NULL, 0}};
    static const struct cli_script two[] = {
        {"status", NULL, "{\"ranges\":[" RANGE("a") "," RANGE("b") "]}", 0},
        {NULL, NULL, NULL, 0}};
    world.scripts = none;
    ck_assert_int_eq(cli_run("start"), 66);
    has(world.err, "enshu up FILE");
    ck_assert_int_eq(cli_run("status"), 0);
    has(world.out, "no range is up");
    world.scripts = two;
    ck_assert_int_eq(cli_run("start"), 64);
    has(world.err, "2 ranges (a, b): say which");
    world.env[0] = "ENSHU_RANGE=b";
    world.scripts = scripts;
    ck_assert_int_eq(cli_run("resume"), 0);
    has(world.params, "\"range\":\"b\"");
    ck_assert_int_eq(cli_run("resume --range a"), 0);
    has(world.params, "\"range\":\"a\"");
}
END_TEST

START_TEST(exec_passes_bytes_to_a_pipe_and_escapes_them_on_a_terminal)
{
    ck_assert_int_eq(cli_run("exec t1/web -- cat"), 7);
    ck_assert_uint_eq(world.out_len, 9);
    ck_assert_mem_eq(world.out, "\0\xff\x1b[31ma\n", 9);
    ck_assert_str_eq(world.err, "oops\n");
    cli_begin_terminal("exec t1/web -- cat");
    ck_assert_int_eq(cli_wait_terminal(), 7);
    has(world.out, "\\x00\\xff\\x1b[31ma\r\n");
    has_not(world.out, "\x1b");
    world.input = "hello";
    ck_assert_int_eq(cli_run("exec t1/web --stdin -- cat"), 7);
    has(world.params, "\"stdin\":\"aGVsbG8=\"");
}
END_TEST

START_TEST(exec_ends_like_the_guests_command)
{
    static const struct {
        const char *result;
        int code;
    } rows[] = {{"{\"exit\":0}", 0},
                {"{\"signal\":9}", 137},
                {"{\"exit\":3,\"timeout\":true}", 75}};
    for (size_t i = 0; i < ES_COUNT(rows); i++) {
        struct cli_script one[] = {{"status", NULL, ONE_RANGE, 0},
                                   {"exec", NULL, rows[i].result, 0},
                                   {NULL, NULL, NULL, 0}};
        world.scripts = one;
        ck_assert_int_eq(cli_run("exec t1/web -- x"), rows[i].code);
    }
    world.scripts = scripts;
}
END_TEST

START_TEST(the_console_is_raw_and_left_with_its_key)
{
    cli_begin_terminal("console t1/web");
    cli_await("login: ");
    cli_type("root\r", 5);
    while (strcmp(world.fake.last_method, "console.send") != 0)
        uv_run(&world.loop, UV_RUN_ONCE);
    ck_assert_str_eq(
        world.params,
        "{\"data\":\"cm9vdA0=\",\"machine\":\"t1/web\",\"range\":\"monday\"}");
    cli_type("\x03", 1);
    while (strstr(world.params, "Aw==") == NULL)
        uv_run(&world.loop, UV_RUN_ONCE);
    cli_type("\x1d", 1);
    ck_assert_int_eq(cli_wait_terminal(), 0);
    while (world.gone_count == 0)
        uv_run(&world.loop, UV_RUN_ONCE);
}
END_TEST

START_TEST(the_ledger_goes_to_a_file_that_is_not_there)
{
    char words[200], path[120];
    ck_assert_int_eq(cli_run("ledger export"), 0);
    ck_assert_str_eq(world.out, "{\"pos\":1}\n{\"pos\":2}\n");
    snprintf(path, sizeof path, "%s/out.jsonl", world.dir);
    snprintf(words, sizeof words, "ledger export --output %s", path);
    ck_assert_int_eq(cli_run(words), 0);
    ck_assert_int_eq(access(path, R_OK), 0);
    ck_assert_int_eq(cli_run(words), 73);
}
END_TEST

START_TEST(progress_is_plain_lines_or_one_line_a_machine)
{
    ck_assert_int_eq(cli_run("reset t1/web"), 0);
    ck_assert_str_eq(world.err, "t1/web: stopping\nt1/web: ready: 4.2s\n");
    ck_assert_int_eq(cli_run("image build tiny"), 0);
    ck_assert_str_eq(world.err, "packages: 3/9: unpacking\n");
    cli_begin_terminal("reset t1/web");
    ck_assert_int_eq(cli_wait_terminal(), 0);
    has(world.out, "t1/web");
    has(world.out, "ready");
    has_not(world.out, "stopping");
}
END_TEST

/* Columns of a line on the screen, control sequences left out. */
static int columns_of(const char *line, size_t len)
{
    int sum = 0;
    mbstate_t state = {0};
    for (size_t i = 0; i < len;) {
        if (line[i] == '\x1b') {
            i += 2;
            while (i < len && ((line[i] >= '0' && line[i] <= '9') || line[i] == ';'))
                i++;
            i++;
            continue;
        }
        wchar_t wide;
        size_t n = mbrtowc(&wide, line + i, len - i, &state);
        ck_assert_msg(n > 0 && n <= len, "not UTF-8: %.*s", (int)len, line);
        sum += line[i] == '\r' ? 0 : wcwidth(wide);
        i += n;
    }
    return sum;
}

START_TEST(the_watch_table_keeps_within_eighty_columns)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    world.env[0] = "LANG=ja_JP.UTF-8";
    cli_begin_terminal("watch");
    cli_await("0:01:00");
    cli_await("T+1:02:04"); /* the clock goes on between snapshots */
    cli_type("\x03", 1);
    ck_assert_int_eq(cli_wait_terminal(), 0);
    has(world.out, "みどり市役所への攻撃");
    has(world.out, "ウェブシェル");
    has(world.out, "攻撃者との通信");
    has(world.out, "●");
    has(world.out, "62.5");
    has(world.out, "\x1b[32m");
    for (const char *line = world.out; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        ck_assert_int_le(columns_of(line, len), 80);
        line += len + (line[len] == '\n');
    }
}
END_TEST

START_TEST(no_color_is_respected)
{
    world.env[0] = "NO_COLOR=1";
    cli_begin_terminal("watch");
    cli_await("62.5");
    cli_type("\x03", 1);
    ck_assert_int_eq(cli_wait_terminal(), 0);
    for (const char *at = world.out; (at = strchr(at, '\x1b')) != NULL; at++) {
        size_t n = 2 + strspn(at + 2, "0123456789;");
        ck_assert_msg(at[n] != 'm', "a colour: %.10s", at + 1);
    }
}
END_TEST

#define MOMENT(state, ex_ms, mpts, one)                                                  \
    "{\"range\":\"monday\",\"clock\":{\"state\":\"" state "\",\"ex_ms\":" ex_ms          \
    "},\"teams\":[" TEAM("1", "", mpts, one, "open") "]}"

START_TEST(a_terminal_without_signs_gets_plain_lines)
{
    world.env[0] = "TERM=dumb";
    cli_begin_terminal("watch");
    cli_await("62.5 points");
    cli_type("\x03", 1);
    ck_assert_int_eq(cli_wait_terminal(), 0);
    has_not(world.out, "\x1b");
}
END_TEST

START_TEST(watch_without_a_terminal_tells_changes)
{
    static const struct cli_script moving[] = {
        {"status", NULL, ONE_RANGE, 0},
        {"watch",
         MOMENT("running", "1000", "0", "open") "\n" MOMENT("paused", "2000", "50000",
                                                            "met"),
         "{}", 0},
        {NULL, NULL, NULL, 0}};
    world.scripts = moving;
    ck_assert_int_eq(cli_run("watch monday"), 0);
    has(world.out, "monday: clock running at T+0:00:01\n");
    has(world.out, "monday: clock paused at T+0:00:02\n");
    has(world.out, "T+0:00:02 team 1: Find the web shell: met\n");
    has(world.out, "T+0:00:02 team 1: 50 points\n");
    has_not(world.out, "\x1b");
}
END_TEST

START_TEST(an_interrupt_cancels_the_call)
{
    cli_begin("gc");
    cli_await_held(1);
    ck_assert_int_eq(kill(world.pid, SIGINT), 0);
    ck_assert_int_eq(cli_wait(), 75);
    has(world.err, "cancelled");
    ck_assert_int_eq(world.gone_count, 1);
}
END_TEST

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

START_TEST(a_core_that_dies_is_told)
{
    bool closed = false;
    cli_begin("gc");
    cli_await_held(1);
    es_control_close(world.control, on_closed, &closed);
    world.control = NULL;
    ck_assert_int_eq(cli_wait(), 69);
    has(world.err, "the answer did not come");
    ck_assert(closed);
}
END_TEST

static void put_file(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", world.dir, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static const char *hello(void)
{
    static char path[4096];
    ck_assert_ptr_nonnull(getenv("ENSHU_TOP"));
    snprintf(path, sizeof path, "%s/scenarios/hello", getenv("ENSHU_TOP"));
    return path;
}

START_TEST(validate_prints_every_problem_where_it_stands)
{
    char words[6000], line[300];
    put_file("bad.yaml", "enshu: 1\nname: x\ntitel: a\nnodes: {web: {imag: 1}}\n");
    snprintf(words, sizeof words, "validate %s/bad.yaml %s %s/none.yaml", world.dir,
             hello(), world.dir);
    ck_assert_int_eq(cli_run(words), 65);
    snprintf(line, sizeof line,
             "%s/bad.yaml:3:1: error: titel: unknown key (did you mean", world.dir);
    has(world.out, line);
    has(world.out, "bad.yaml:4:15: error: nodes.web.imag:");
    has(world.out, "hello: valid\n");
    has(world.err, "2 of 3 scenarios are not valid");
    snprintf(words, sizeof words, "validate %s", hello());
    ck_assert_int_eq(cli_run(words), 0);
    snprintf(words, sizeof words, "validate %s/none.yaml", world.dir);
    ck_assert_int_eq(cli_run(words), 66);
    snprintf(words, sizeof words, "validate --json %s/bad.yaml", world.dir);
    ck_assert_int_eq(cli_run(words), 65);
    json_t *list = json_loads(world.out, 0, NULL);
    const json_t *diags = json_object_get(json_array_get(list, 0), "diagnostics");
    ck_assert_uint_eq(json_array_size(diags), 2);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_array_get(diags, 1), "line")), 4);
    json_decref(list);
    ck_assert_int_eq(world.fake.calls, 0);
}
END_TEST

/* With figures of another time it was up; without, by estimate. */
START_TEST(plan_counts_forks_too)
{
    char words[5000];
    snprintf(words, sizeof words, "plan %s --teams 3 --mode fork --state %s", hello(),
             world.dir);
    ck_assert_int_eq(cli_run(words), 0);
    has(world.out, "if booted");
    has(world.out, "0 machines measured, 6 estimated");
    const char *const folders[] = {"moulds", "moulds/a", "moulds/b", "moulds/c"};
    for (size_t i = 0; i < ES_COUNT(folders); i++) {
        snprintf(words, sizeof words, "%s/%s", world.dir, folders[i]);
        ck_assert_int_eq(mkdir(words, 0755), 0);
    }
    put_file("moulds/a/usage.json", "{\"scenario\": \"hello\", \"measured_s\": 9, "
                                    "\"nodes\": {\"box\": 41943040}}");
    put_file("moulds/b/usage.json", "{\"scenario\": \"hello\", \"measured_s\": 5, "
                                    "\"nodes\": {\"box\": 1, \"prober-lab\": 1}}");
    put_file("moulds/c/usage.json", "{\"scenario\": \"other\", \"measured_s\": 99}");
    snprintf(words, sizeof words, "plan %s --teams 3 --mode fork --state %s --json",
             hello(), world.dir);
    ck_assert_int_eq(cli_run(words), 0);
    json_t *plan = json_loads(world.out, 0, NULL);
    const json_t *forked = json_object_get(plan, "forked");
    ck_assert_int_eq(json_integer_value(json_object_get(forked, "measured")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(forked, "estimated")), 3);
    /* boxes 40 x 1.25 + 8, probers 64 + 128 / 4 */
    ck_assert_int_eq(json_integer_value(json_object_get(forked, "memory_bytes")),
                     3 * (58LL << 20) + 3 * (96LL << 20));
    json_decref(plan);
}
END_TEST

START_TEST(plan_shows_and_refuses_what_cannot_fit)
{
    char words[5000];
    snprintf(words, sizeof words, "plan %s --teams 2", hello());
    ck_assert_int_eq(cli_run(words), 0);
    has(world.out, "es-hello-t02-box");
    has(world.out, "it fits");
    snprintf(words, sizeof words, "plan %s --teams 2 --json", hello());
    ck_assert_int_eq(cli_run(words), 0);
    json_t *json = json_loads(world.out, 0, NULL);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "teams")), 2);
    json_decref(json);
    snprintf(words, sizeof words, "plan %s --dot", hello());
    ck_assert_int_eq(cli_run(words), 0);
    ck_assert_int_eq(strncmp(world.out, "graph", 5), 0);
    put_file("big.yaml", "enshu: 1\nname: big\ntitle: big\nduration: 1h\n"
                         "networks: {lan: {cidr: 10.0.0.0/24}}\n"
                         "nodes: {pc: {image: tiny, memory: 1024 GiB, networks: {lan: "
                         "10.0.0.5}}}\n");
    snprintf(words, sizeof words, "plan %s/big.yaml --teams 900", world.dir);
    ck_assert_msg(cli_run(words) == 71, "%d %s %s", world.exit_code, world.out,
                  world.err);
    has(world.err, "of memory");
}
END_TEST

START_TEST(up_checks_the_scenario_before_it_asks_the_core)
{
    static const struct cli_script up[] = {
        {"up", MACHINE("t1/box", "ready", ""),
         "{\"range\":\"hello\",\"teams\":1,\"machines\":2}", 0},
        {"rehearse",
         "{\"step\":\"problem\",\"what\":\"site-up\",\"text\":\"never fails\"}",
         "{\"proved\":false,\"path\":\"/"
         "c.json\",\"certificate\":{\"problems\":[{\"stage\":"
         "\"sabotage\",\"what\":\"site-up\",\"text\":\"was never seen to fail\"}]}}",
         0},
        {NULL, NULL, NULL, 0}};
    char words[5000], file[4200];
    put_file("bad.yaml", "enshu: 1\nname: x\ntitel: a\n");
    snprintf(words, sizeof words, "up %s/bad.yaml", world.dir);
    ck_assert_int_eq(cli_run(words), 65);
    has(world.err, "bad.yaml:3:1: error: titel");
    ck_assert_int_eq(world.fake.calls, 0);
    world.scripts = up;
    snprintf(words, sizeof words, "up %s --teams 3 --range r1", hello());
    ck_assert_int_eq(cli_run(words), 0);
    has(world.out, "range hello is up: 3 teams, 2 machines");
    snprintf(file, sizeof file, "\"file\":\"%s\"", hello());
    has(world.params, file);
    has(world.params, "\"range\":\"r1\",\"teams\":3");
    snprintf(words, sizeof words, "up %s --accel xen", hello());
    ck_assert_int_eq(cli_run(words), 64);
    snprintf(words, sizeof words, "rehearse %s --keep", hello());
    ck_assert_int_eq(cli_run(words), 1);
    has(world.err, "problem: site-up: never fails\n");
    has(world.params, "\"keep\":true");
    has(world.out, "NOT proved playable; certificate: /c.json\n"
                   "  sabotage: site-up: was never seen to fail\n");
}
END_TEST

START_TEST(schema_and_reference_need_no_core)
{
    ck_assert_int_eq(cli_run("schema"), 0);
    json_t *schema = json_loads(world.out, 0, NULL);
    ck_assert(json_is_object(schema));
    json_decref(schema);
    ck_assert_int_eq(cli_run("reference"), 0);
    has(world.out, "# The scenario language");
    ck_assert_int_eq(cli_run("reference --json"), 0);
    json_t *reference = json_loads(world.out, 0, NULL);
    has(json_string_value(json_object_get(reference, "markdown")), "# The scenario");
    json_decref(reference);
    ck_assert_int_eq(world.fake.calls, 0);
}
END_TEST

START_TEST(completion_follows_the_tables)
{
    static const struct {
        const char *words, *gives;
    } rows[] = {
        {"enshu resc", "rescore"},
        {"enshu image ''", "build list rm"},
        {"enshu score explain --r", "--range"},
        {"enshu --socket /x up --accel ''", "kvm tcg"},
        {"enshu help ver", "version"},
        {"enshu up Makef", "Makefile"},
        {"enshu xyz --", ""},
    };
    for (size_t i = 0; i < ES_COUNT(rows); i++) {
        char said[1024];
        ck_assert_int_eq(
            shell_run(
                said, sizeof said,
                "bash -c 'cd %s && PATH=%s:$PATH && . orchestrator/enshu/enshu.bash "
                "&& COMP_WORDS=(\"$@\") && COMP_CWORD=$(($# - 1)) && _enshu && "
                "echo \"${COMPREPLY[*]}\"' bash %s",
                getenv("ENSHU_TOP"), getenv("ENSHU_BIN"), rows[i].words),
            0);
        said[strcspn(said, "\n")] = '\0';
        ck_assert_str_eq(said, rows[i].gives);
    }
}
END_TEST

START_TEST(doctor_says_what_to_do_and_fails_where_nothing_could_run)
{
    char words[200];
    snprintf(words, sizeof words, "doctor --root %s --state %s/state", world.dir,
             world.dir);
    ck_assert_int_eq(cli_run(words), 1);
    has(world.out, "fail  qemu ");
    has(world.out, "-> as root: apt-get install qemu-system-x86");
    snprintf(words, sizeof words, "doctor --root %s --state %s/state --json", world.dir,
             world.dir);
    ck_assert_int_eq(cli_run(words), 1);
    json_t *list = json_loads(world.out, 0, NULL);
    ck_assert_uint_ge(json_array_size(list), 14);
    size_t i;
    json_t *item;
    json_array_foreach (list, i, item) {
        bool is_ok = strcmp(json_string_value(json_object_get(item, "level")), "ok") == 0;
        bool has_remedy = json_string_length(json_object_get(item, "remedy")) > 0;
        ck_assert(is_ok || has_remedy);
    }
    json_decref(list);
}
END_TEST

START_TEST(a_reader_that_leaves_is_no_failure)
{
    char command[8192];
    snprintf(command, sizeof command, "set -o pipefail; '%s/enshu' help methods | true",
             getenv("ENSHU_BIN"));
    FILE *bash = popen("bash -s", "w");
    fprintf(bash, "%s\n", command);
    ck_assert_int_eq(pclose(bash), 0);
}
END_TEST

Suite *cli_suite(void);
Suite *cli_suite(void)
{
    Suite *suite = suite_create("cli");
    TCase *tc = tcase_create("enshu");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, without_a_core_one_line_says_how_to_start_it);
    tcase_add_test(tc, every_command_has_help_with_examples);
    tcase_add_test(tc, slips_are_told_with_what_was_meant);
    tcase_add_test(tc, status_speaks_the_language_and_escapes);
    tcase_add_test(tc, json_is_the_raw_result);
    tcase_add_test(tc, commands_say_what_the_core_needs_to_hear);
    tcase_add_test(tc, refusals_become_exit_codes);
    tcase_add_test(tc, the_range_may_be_left_out_only_when_it_is_clear);
    tcase_add_test(tc, exec_passes_bytes_to_a_pipe_and_escapes_them_on_a_terminal);
    tcase_add_test(tc, exec_ends_like_the_guests_command);
    tcase_add_test(tc, the_console_is_raw_and_left_with_its_key);
    tcase_add_test(tc, the_ledger_goes_to_a_file_that_is_not_there);
    tcase_add_test(tc, progress_is_plain_lines_or_one_line_a_machine);
    tcase_add_test(tc, the_watch_table_keeps_within_eighty_columns);
    tcase_add_test(tc, no_color_is_respected);
    tcase_add_test(tc, a_terminal_without_signs_gets_plain_lines);
    tcase_add_test(tc, watch_without_a_terminal_tells_changes);
    tcase_add_test(tc, an_interrupt_cancels_the_call);
    tcase_add_test(tc, a_core_that_dies_is_told);
    tcase_add_test(tc, validate_prints_every_problem_where_it_stands);
    tcase_add_test(tc, plan_shows_and_refuses_what_cannot_fit);
    tcase_add_test(tc, plan_counts_forks_too);
    tcase_add_test(tc, up_checks_the_scenario_before_it_asks_the_core);
    tcase_add_test(tc, schema_and_reference_need_no_core);
    tcase_add_test(tc, completion_follows_the_tables);
    tcase_add_test(tc, doctor_says_what_to_do_and_fails_where_nothing_could_run);
    tcase_add_test(tc, a_reader_that_leaves_is_no_failure);
    suite_add_tcase(suite, tc);
    return suite;
}
