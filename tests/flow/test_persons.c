/* Persons: random ids in the chain, names beside it that can be erased, resolved for those
 * who look. */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/core_world.h"
#include "../support/shell.h"
#include "enshu/common/str.h"

#define NAME "Midorikawa Hanako"

static const char scenario[] =
    "enshu: 1\n"
    "name: persons\n"
    "title: {en: Persons}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "nodes: {web: {image: fake, memory: 64 MiB, networks: {lab: 10.30.0.10}}}\n"
    "conditions:\n"
    "  page: {node: web, file: {path: /srv/page, exists: true}, every: 1s}\n"
    "objectives: {found: {title: {en: Found}, when: page, points: 100}}\n";

static struct core_world w;

static void begin(void)
{
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_machines_run(&w);
}

static json_t *by(const char *more)
{
    json_t *params = json_loads(more, 0, NULL);
    ck_assert_ptr_nonnull(params);
    json_object_set_new(params, "by", json_string(NAME));
    return params;
}

static void act(void)
{
    cw_call(&w, "start", by("{}"));
    cw_call(&w, "exec", by("{\"machine\": \"t1/web\", \"argv\": [\"/bin/true\"]}"));
    cw_call(&w, "correct",
            by("{\"what\": \"points\", \"team\": 1, \"points\": 3,"
               " \"reason\": \"good notes\"}"));
    cw_call(&w, "pause", by("{\"reason\": \"lunch\"}"));
}

/* Who gave the points. */
static const char *giver(void)
{
    json_t *reasons = json_object_get(
        cw_call(&w, "score.explain", json_pack("{s:i}", "team", 1)), "reasons");
    size_t i;
    json_t *reason;
    json_array_foreach (reasons, i, reason) {
        if (es_str_eq(json_string_value(json_object_get(reason, "what")), "correction"))
            return json_string_value(json_object_get(reason, "by"));
    }
    return NULL;
}

/* The events name one id, the same in all; gives it. */
static void id_of_all(char id[32])
{
    json_t *events = cw_events(&w);
    size_t i, n = 0;
    json_t *event;
    id[0] = '\0';
    json_array_foreach (events, i, event) {
        const char *text = json_string_value(json_object_get(event, "text"));
        json_t *json = text != NULL ? json_loads(text, 0, NULL) : NULL;
        const char *one = json_string_value(json_object_get(json, "by"));
        ck_assert(text == NULL || strstr(text, "Midorikawa") == NULL);
        ck_assert(text == NULL || strstr(text, w.dir) == NULL);
        if (one != NULL && strncmp(one, "p-", 2) == 0) {
            ck_assert(id[0] == '\0' || strcmp(id, one) == 0);
            snprintf(id, 32, "%s", one);
            n++;
        }
        json_decref(json);
    }
    json_decref(events);
    ck_assert_uint_ge(n, 4);
}

/* Whether the export has the name, on a line of its own. */
static bool export_names(void)
{
    size_t i;
    json_t *item;
    bool found = false;
    cw_call(&w, "ledger.export", NULL);
    json_array_foreach (w.progress, i, item) {
        json_t *line =
            json_loads(json_string_value(json_object_get(item, "line")), 0, NULL);
        found |= es_str_eq(json_string_value(json_object_get(line, "name")), NAME) &&
                 json_object_get(line, "person") != NULL;
        json_decref(line);
    }
    return found;
}

static void assert_whole(void)
{
    cw_call(&w, "ledger.verify", NULL);
    ck_assert(json_is_true(json_object_get(w.result, "chain_ok")));
    cw_assert_rescore(&w);
}

START_TEST(a_person_is_an_id_until_forgotten)
{
    char id[32], again[32];
    begin();
    act();
    id_of_all(id);
    ck_assert_str_eq(giver(), NAME);
    ck_assert(export_names());
    /* The same person after a restart. */
    cw_kill(&w);
    cw_start(&w);
    cw_call(&w, "resume", by("{}"));
    id_of_all(again);
    ck_assert_str_eq(again, id);
    ck_assert_str_eq(giver(), NAME);
    ck_assert_int_eq(
        cw_try(&w, "ledger.forget", json_pack("{s:s}", "person", "somebody else")),
        ES_ENOENT);
    cw_call(&w, "ledger.forget", json_pack("{s:s}", "person", NAME));
    ck_assert_int_eq(json_integer_value(json_object_get(w.result, "erased")), 1);
    ck_assert_str_eq(giver(), id);
    ck_assert(!export_names());
    assert_whole();
    /* Somebody of the same name is another one from now on. */
    cw_call(&w, "stop", by("{}"));
    ck_assert(export_names());
    ck_assert_str_eq(giver(), id);
    assert_whole();
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

START_TEST(a_kept_ledger_forgets_as_well)
{
    glob_t found;
    char pattern[128], out[200];
    begin();
    act();
    cw_call(&w, "down", NULL);
    cw_end(&w);
    snprintf(pattern, sizeof pattern, "%s/ledgers/*.db", w.state);
    ck_assert_int_eq(glob(pattern, 0, NULL, &found), 0);
    ck_assert_uint_eq(found.gl_pathc, 1);
    const char *file = found.gl_pathv[0];
    ck_assert_int_eq(shell_run(out, sizeof out, "grep -q Midorikawa %s*", file), 0);
    ck_assert_int_eq(shell_run(out, sizeof out,
                               "$ENSHU_BIN/enshu ledger forget '" NAME "' %s >/dev/null",
                               file),
                     0);
    ck_assert_int_ne(shell_run(out, sizeof out, "grep -q Midorikawa %s*", file), 0);
    ck_assert_int_eq(
        shell_run(out, sizeof out, "$ENSHU_BIN/enshu rescore %s >/dev/null", file), 0);
    ck_assert_int_ne(shell_run(out, sizeof out,
                               "$ENSHU_BIN/enshu ledger forget '" NAME "' %s 2>/dev/null",
                               file),
                     0);
    globfree(&found);
    cw_close(&w);
}
END_TEST

Suite *persons_suite(void);
Suite *persons_suite(void)
{
    Suite *suite = suite_create("persons");
    TCase *tc = tcase_create("persons");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_person_is_an_id_until_forgotten);
    tcase_add_test(tc, a_kept_ledger_forgets_as_well);
    suite_add_tcase(suite, tc);
    return suite;
}
