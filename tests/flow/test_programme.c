/* Nodes with `lifetime: programme`: disk, passwords and secrets outlive `down`, setup is
 * done once, and nothing short of --force or --purge takes the disk. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/core_world.h"
#include "../support/shell.h"
#include "enshu/common/str.h"

#define BOOK  "programme/" CORE_RANGE "/es-" CORE_RANGE "-t01-book"
#define SHELF "programme/" CORE_RANGE "/es-" CORE_RANGE "-shelf"

static const char scenario[] =
    "enshu: 1\n"
    "name: course\n"
    "title: {en: A course}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}, hall: {cidr: 10.40.0.0/16, scope: range, "
    "slice: 24}}\n"
    "defaults: {node: {memory: 64 MiB, image: fake}}\n"
    "nodes:\n"
    "  book:\n"
    "    lifetime: programme\n"
    "    networks: {lab: 10.30.0.10}\n"
    "    accounts: [{user: pupil, password: generate}]\n"
    "  shelf:\n"
    "    lifetime: programme\n"
    "    scope: range\n"
    "    networks: {hall: 10.40.0.10}\n"
    "    setup: [{run: make shelf}]\n"
    "    personalise: [{run: dust shelf}]\n"
    "  pc: {networks: {lab: 10.30.0.11}}\n"
    "conditions:\n"
    "  bad: {node: pc, file: {path: /tmp/bad, exists: true}, every: 1s}\n"
    "objectives:\n"
    "  found: {title: {en: Found}, when: bad, points: 100}\n";

static struct core_world w;

/* ---------------------------------------------------------------- agents */

static struct seen { /* of the machine's last life */
    char machine_id[40];
    json_t *accounts;
    int setups, dustings;
} book, shelf;
static int setup_exit; /* what the next setup ends with */

static json_t *run_step(struct seen *seen, const json_t *args)
{
    const char *line = json_string_value(json_object_get(args, "shell"));
    bool is_setup = line != NULL && es_str_eq(line, "make shelf");
    seen->setups += is_setup;
    seen->dustings += line != NULL && es_str_eq(line, "dust shelf");
    return json_pack("{s:i, s:s, s:s}", "exit", is_setup ? setup_exit : 0, "stdout", "",
                     "stderr", "");
}

static json_t *on_request(void *ctx, struct simagent *sim,
                          const struct es_request *request)
{
    struct core_agent *agent = ctx;
    const char *node = w.scenario->nodes[agent->plan->node].name;
    struct seen *seen = es_str_eq(node, "book")    ? &book
                        : es_str_eq(node, "shelf") ? &shelf
                                                   : NULL;
    (void)sim;
    if (request->op == ES_OP_EXEC && seen != NULL)
        return run_step(seen, request->args);
    if (request->op == ES_OP_PERSONALISE && seen != NULL) {
        const char *id = json_string_value(json_object_get(request->args, "machine_id"));
        snprintf(seen->machine_id, sizeof seen->machine_id, "%s", id);
        json_decref(seen->accounts);
        seen->accounts = json_deep_copy(json_object_get(request->args, "accounts"));
    }
    if (request->op == ES_OP_PROBE)
        return json_pack("{s:b}", "exists", 0);
    return json_pack("{s:b}", "sim", 1);
}

/* Called anew before each `up`: sockets go with `down`. */
static void open_agents(void)
{
    cw_agents(&w, true);
    for (size_t i = 0; i < w.plan->machine_count; i++)
        if (w.agents[i].sim != NULL)
            simagent_on_request(w.agents[i].sim, on_request, &w.agents[i]);
    book.setups = book.dustings = shelf.setups = shelf.dustings = 0;
}

/* ---------------------------------------------------------------- the world */

static const char *below(const char *name)
{
    static char path[4][400];
    static unsigned next;
    char *at = path[next++ % 4];
    snprintf(at, sizeof path[0], "%s/%s", w.state, name);
    return at;
}

static int up(void)
{
    open_agents();
    return cw_up(&w);
}

static void begin(void)
{
    char out[256];
    memset(&book, 0, sizeof book);
    memset(&shelf, 0, sizeof shelf);
    setup_exit = 0;
    cw_open(&w, scenario, 1);
    int rc = shell_run(out, sizeof out,
                       "for f in %s/images/fake/*/root.qcow2; do qemu-img create -q -f "
                       "qcow2 \"$f\" 1M; done",
                       w.state);
    ck_assert_msg(rc == 0, "qemu-img: %s", out);
    cw_start(&w);
}

/* The agents are silent, so that the power button is what ends the machines. */
static void down(bool purge)
{
    for (size_t i = 0; i < w.plan->machine_count; i++)
        if (w.agents[i].sim != NULL) {
            simagent_set_mode(w.agents[i].sim, SIMAGENT_DEAF, 0);
            simagent_disconnect(w.agents[i].sim);
        }
    cw_call(&w, "down", json_pack("{s:b}", "purge", (int)purge));
}

static void finish(void)
{
    json_decref(book.accounts);
    json_decref(shelf.accounts);
    cw_end(&w);
    cw_close(&w);
}

static json_t *record(const char *of)
{
    char name[200];
    snprintf(name, sizeof name, "%s.json", of);
    json_t *json = json_load_file(below(name), 0, NULL);
    ck_assert_msg(json != NULL, "no %s", name);
    return json;
}

static json_int_t number_of(const char *of)
{
    json_t *json = record(of);
    json_int_t number = json_integer_value(json_object_get(json, "number"));
    json_decref(json);
    return number;
}

static ino_t disk_of(const char *of)
{
    char name[200];
    struct stat st;
    snprintf(name, sizeof name, "%s.qcow2", of);
    ck_assert_msg(stat(below(name), &st) == 0, "no %s", name);
    ck_assert_uint_eq(st.st_mode & 077, 0);
    return st.st_ino;
}

static bool has_password(void)
{
    const json_t *pupil = json_array_get(book.accounts, 0);
    ck_assert_str_eq(json_string_value(json_object_get(pupil, "user")), "pupil");
    return json_object_get(pupil, "hash") != NULL;
}

/* ---------------------------------------------------------------- what stays */

START_TEST(a_disk_outlives_its_range)
{
    char machine_id[40], secret[33] = "", again[33] = "";
    begin();
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    ino_t disk = disk_of(BOOK);
    ck_assert(has_password());
    ck_assert_int_eq(shelf.setups, 1);
    snprintf(machine_id, sizeof machine_id, "%s", book.machine_id);
    FILE *file = fopen(below("programme/" CORE_RANGE "/secret"), "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(secret, 1, 32, file), 32);
    fclose(file);

    down(false);
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "kept")), 2);
    ck_assert_int_eq(cw_try_bare(&w, "gc"), 0);
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "removed")), 0);
    cw_end(&w);
    cw_start(&w);
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    ck_assert_uint_eq(disk_of(BOOK), disk);
    ck_assert_str_eq(book.machine_id, machine_id);
    ck_assert(!has_password()); /* it is the pupil's own by now */
    ck_assert_int_eq(shelf.setups, 0);
    ck_assert_int_eq(shelf.dustings, 1);
    file = fopen(below("programme/" CORE_RANGE "/secret"), "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(again, 1, 32, file), 32);
    fclose(file);
    ck_assert_mem_eq(secret, again, 32);
    down(true);
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "kept")), 0);
    ck_assert_int_ne(access(below("programme/" CORE_RANGE), F_OK), 0);
    finish();
}
END_TEST

START_TEST(a_range_that_is_down_is_purged)
{
    begin();
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    down(false);
    ck_assert_int_eq(cw_try(&w, "down", NULL), ES_ENOENT);
    disk_of(BOOK);
    cw_call(&w, "down", json_pack("{s:b}", "purge", 1));
    ck_assert_int_ne(access(below("programme/" CORE_RANGE), F_OK), 0);
    ck_assert_int_eq(cw_try(&w, "down", json_pack("{s:b}", "purge", 1)), ES_ENOENT);
    finish();
}
END_TEST

START_TEST(a_machine_that_ends_starts_from_its_disk)
{
    begin();
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    ino_t disk = disk_of(BOOK);
    cw_end(&w); /* and with it all machines of the test driver */
    cw_start(&w);
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    ck_assert_uint_eq(disk_of(BOOK), disk);
    ck_assert_int_eq(number_of(BOOK), 1);
    ck_assert(!has_password());
    down(true);
    finish();
}
END_TEST

/* ---------------------------------------------------------------- what takes it */

START_TEST(a_reset_must_be_meant)
{
    char machine_id[40];
    begin();
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    ino_t disk = disk_of(BOOK);
    snprintf(machine_id, sizeof machine_id, "%s", book.machine_id);
    ck_assert_int_eq(cw_try(&w, "reset", json_pack("{s:s}", "machine", "t1/book")),
                     ES_ESTATE);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "--force"));
    ck_assert_int_eq(cw_try(&w, "reset", json_pack("{s:i}", "team", 1)), ES_ESTATE);
    cw_call(&w, "reset", json_pack("{s:s}", "machine", "t1/pc")); /* the others may be */
    ck_assert_uint_eq(disk_of(BOOK), disk);
    ck_assert_int_eq(number_of(BOOK), 1);
    cw_call(&w, "reset", json_pack("{s:s, s:b}", "machine", "t1/book", "force", 1));
    ck_assert_int_eq(number_of(BOOK), 2);
    ck_assert_str_ne(book.machine_id, machine_id);
    ck_assert(has_password());
    down(true);
    finish();
}
END_TEST

START_TEST(a_parked_one_is_not_taken_down)
{
    begin();
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    cw_call(&w, "park", NULL);
    ck_assert_int_eq(cw_try(&w, "down", NULL), ES_ESTATE);
    ck_assert_ptr_nonnull(strstr(w.err.msg, "unpark"));
    cw_call(&w, "unpark", NULL);
    down(false);
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "kept")), 2);
    cw_call(&w, "down", json_pack("{s:b}", "purge", 1));
    finish();
}
END_TEST

START_TEST(another_scenario_s_disk_is_left_alone)
{
    begin();
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    down(false);
    FILE *file = fopen(w.file, "r+");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, strstr(scenario, "course") - scenario, SEEK_SET), 0);
    ck_assert_int_ge(fputs("bourse", file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(up(), ES_EEXIST);
    ck_assert_msg(strstr(w.err.msg, "course") != NULL &&
                      strstr(w.err.msg, "--purge") != NULL,
                  "%s", w.err.msg);
    down(true);
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    down(true);
    finish();
}
END_TEST

/* ---------------------------------------------------------------- half done */

START_TEST(what_was_half_set_up_is_made_anew)
{
    begin();
    setup_exit = 1;
    ck_assert_int_eq(up(), ES_EGUEST);
    ck_assert_int_eq(number_of(SHELF), 1);
    ck_assert_int_eq(shelf.setups, 1);
    ck_assert_int_eq(shelf.dustings, 0);
    setup_exit = 0;
    ck_assert_msg(up() == 0, "%s", w.err.msg);
    ck_assert_int_eq(number_of(SHELF), 2);
    ck_assert_int_eq(shelf.setups, 1);
    ck_assert_int_eq(shelf.dustings, 1);
    ck_assert_int_eq(number_of(BOOK), 1);
    down(true);
    finish();
}
END_TEST

Suite *programme_suite(void);
Suite *programme_suite(void)
{
    Suite *suite = suite_create("programme");
    TCase *tc = tcase_create("programme");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, a_disk_outlives_its_range);
    tcase_add_test(tc, a_range_that_is_down_is_purged);
    tcase_add_test(tc, a_machine_that_ends_starts_from_its_disk);
    tcase_add_test(tc, a_reset_must_be_meant);
    tcase_add_test(tc, a_parked_one_is_not_taken_down);
    tcase_add_test(tc, another_scenario_s_disk_is_left_alone);
    tcase_add_test(tc, what_was_half_set_up_is_made_anew);
    suite_add_tcase(suite, tc);
    return suite;
}
