/* scenario: folders on disc: includes, assets, translations, the hash of all that takes
 * part; addresses and limits that need many nodes. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/scratch.h"
#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/scenario.h"

#define HEAD "enshu: 1\nname: x\ntitle: X\n"

static struct es_diags diags;
static struct es_scenario *s;
static struct es_err err;

static void prepare(void)
{
    scratch_make();
}

static void forget(void)
{
    es_scenario_destroy(s);
    s = NULL;
    es_diags_finish(&diags);
}

static void tidy(void)
{
    forget();
    scratch_remove();
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(scratch_path(name), "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, strlen(text), file), strlen(text));
    ck_assert_int_eq(fclose(file), 0);
}

static int load(void)
{
    forget();
    memset(&err, 0, sizeof err);
    return es_scenario_load(scratch_path("scenario.yaml"), &diags, &s, &err);
}

static void assert_says(const char *expected)
{
    struct es_buf out;
    es_buf_init(&out, 65536);
    es_diags_format(&diags, &out);
    ck_assert_str_eq(es_buf_str(&out), expected);
    es_buf_finish(&out);
}

START_TEST(no_file)
{
    ck_assert_int_eq(load(), ES_ENOENT);
    ck_assert_ptr_nonnull(strstr(err.msg, "scenario.yaml"));
    put("other.yaml", HEAD);
    ck_assert_int_eq(es_scenario_load(scratch_path("."), &diags, &s, &err), ES_ENOENT);
    put("scenario.yaml", HEAD);
    ck_assert_int_eq(es_scenario_load(scratch_path("."), &diags, &s, &err), 0);
    ck_assert_str_eq(s->file, "scenario.yaml");
}
END_TEST

START_TEST(includes_add_their_sections)
{
    put("scenario.yaml",
        HEAD "include: [a.yaml, b.yaml]\nnodes:\n  one: {image: tiny}\n");
    put("a.yaml", "include: [c.yaml]\nnodes:\n  two: {image: tiny}\n");
    put("b.yaml", "networks: {lan: {cidr: 10.0.0.0/24}}\nx-note: free\n");
    put("c.yaml", "kinds: {k: {image: tiny, cpus: 3}}\nnodes:\n  three: {kind: k}\n");
    ck_assert_int_eq(load(), 0);
    assert_says("");
    ck_assert_uint_eq(s->nodes_count, 3);
    ck_assert_int_eq(s->nodes[es_scenario_node(s, "three")].cpus, 3);
    ck_assert_str_eq(s->nodes[es_scenario_node(s, "two")].pos.file, "a.yaml");
    ck_assert_uint_eq(s->networks_count, 1);
}
END_TEST

START_TEST(the_hash_covers_what_takes_part)
{
    char first[65];
    ck_assert_int_eq(mkdir(scratch_path("assets"), 0755), 0);
    put("scenario.yaml", HEAD "include: [a.yaml]\n");
    put("a.yaml", "nodes:\n  web:\n    image: tiny\n    setup:\n"
                  "      - copy: {from: assets/, to: /srv/}\n      - script: run.sh\n");
    put("assets/one", "1");
    put("run.sh", "true\n");
    put("apart", "not of the scenario");
    ck_assert_int_eq(load(), 0);
    assert_says("");
    strcpy(first, s->hash);
    put("apart", "changed");
    ck_assert_int_eq(load(), 0);
    ck_assert_str_eq(s->hash, first);
    static const struct {
        const char *name, *before, *after;
    } parts[] = {{"assets/one", "1", "2"}, {"run.sh", "true\n", "false\n"}};
    for (size_t i = 0; i < ES_COUNT(parts); i++) {
        put(parts[i].name, parts[i].after);
        ck_assert_int_eq(load(), 0);
        ck_assert_str_ne(s->hash, first);
        put(parts[i].name, parts[i].before);
        ck_assert_int_eq(load(), 0);
        ck_assert_str_eq(s->hash, first);
    }
    ck_assert_int_eq(rename(scratch_path("assets/one"), scratch_path("assets/two")), 0);
    ck_assert_int_eq(load(), 0);
    ck_assert_str_ne(s->hash, first);
}
END_TEST

START_TEST(links_stay_inside)
{
    put("scenario.yaml",
        HEAD "nodes:\n  a: {image: tiny, setup: [{script: in}, {script: out}]}\n");
    put("run.sh", "true\n");
    ck_assert_int_eq(symlink("run.sh", scratch_path("in")), 0);
    ck_assert_int_eq(symlink("/bin/sh", scratch_path("out")), 0);
    ck_assert_int_eq(load(), ES_ESCENARIO);
    assert_says(
        "scenario.yaml:5:51: error: nodes.a.setup[1].script: \"out\" leads out of the "
        "scenario's folder\n");
}
END_TEST

START_TEST(assets_are_capped)
{
    put("scenario.yaml",
        HEAD "nodes:\n  a: {image: tiny, setup: [{copy: {from: big/, to: /}}, "
             "{script: huge}, {script: fifo}]}\n");
    ck_assert_int_eq(mkdir(scratch_path("big"), 0755), 0);
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "big/%d", i);
        put(name, "");
        ck_assert_int_eq(truncate(scratch_path(name), 15 << 20), 0);
    }
    put("huge", "");
    ck_assert_int_eq(truncate(scratch_path("huge"), (16 << 20) + 1), 0);
    ck_assert_int_eq(mkfifo(scratch_path("fifo"), 0600), 0);
    ck_assert_int_eq(load(), ES_ESCENARIO);
    ck_assert_uint_eq(diags.error_count, 3);
    ck_assert_ptr_nonnull(strstr(diags.items[0].text, "more than 64 MiB"));
    ck_assert_str_eq(diags.items[1].text,
                     "\"huge\" is too large: a file has at most 16 MiB");
    ck_assert_str_eq(diags.items[2].text, "\"fifo\" is no file");
}
END_TEST

START_TEST(texts_from_files_and_translations)
{
    put("scenario.yaml",
        "enshu: 1\nname: x\nlanguages: {default: ja, complete: [ja, en]}\n"
        "title: みどり\ndescription: {ja: {file: d.ja.md}, en: {file: d.en.md}}\n"
        "nodes:\n  web: {image: tiny, title: サーバー}\n");
    put("d.ja.md", "せつめい\n");
    put("d.en.md", "What it is\n");
    ck_assert_int_eq(mkdir(scratch_path("lang"), 0755), 0);
    put("lang/en.yaml", "title: Midori\nnodes:\n  web: {title: Server}\n");
    ck_assert_int_eq(load(), 0);
    assert_says("");
    ck_assert_str_eq(es_text_get(&s->title, "en"), "Midori");
    ck_assert_str_eq(es_text_get(&s->title, "ja"), "みどり");
    ck_assert_str_eq(es_text_get(&s->description, "en"), "What it is\n");
    ck_assert_str_eq(es_text_get(&s->nodes[0].title, "en"), "Server");
    /* Languages that need not be complete may have translations too. */
    put("lang/fr.yaml", "description: {file: d.fr.md}\n");
    put("d.fr.md", "Ce que c'est\n");
    ck_assert_int_eq(load(), 0);
    assert_says("");
    ck_assert_str_eq(es_text_get(&s->description, "fr"), "Ce que c'est\n");
    ck_assert_str_eq(es_text_get(&s->title, "fr"), "みどり");
    put("lang/en.yaml", "title: Midori\n");
    ck_assert_int_eq(load(), ES_ESCENARIO);
    assert_says("scenario.yaml:7:29: error: nodes.web.title: no text in \"en\", which "
                "languages.complete promises\n");
}
END_TEST

START_TEST(memory_has_no_files)
{
    static const char text[] =
        HEAD "include: [a.yaml]\nnodes:\n  a: {image: tiny, setup: "
             "[{script: run.sh}]}\n";
    put("run.sh", "");
    ck_assert_int_eq(es_scenario_parse("m.yaml", text, strlen(text), &diags, &s, &err),
                     ES_ESCENARIO);
    assert_says(
        "m.yaml:4:11: error: include[0]: \"a.yaml\": this scenario has no folder, so "
        "no files\n"
        "m.yaml:6:37: error: nodes.a.setup[0].script: \"run.sh\": this scenario has no "
        "folder, so no files\n");
}
END_TEST

START_TEST(shared_networks)
{
    put("scenario.yaml", HEAD
        "networks:\n"
        "  game: {cidr: 10.60.0.0/16, scope: range, slice: 24}\n"
        "nodes:\n"
        "  a: {image: tiny, networks: {game: slice+100}}\n"
        "  b: {image: tiny, count: 2, networks: {game: {}}}\n"
        "  ref: {image: tiny, scope: range, networks: {game: }}\n"
        "  dns: {image: tiny, scope: range, networks: {game: 10.60.0.53}}\n"
        "conditions:\n"
        "  up: {from: prober.game, icmp: {to: \"${node.a.address}\"}, starts: pass}\n"
        "sabotage: [{node: a, run: poweroff, breaks: [up]}]\n");
    ck_assert_int_eq(load(), 0);
    assert_says("");
    ck_assert_uint_eq(s->nodes[es_scenario_node(s, "b-1")].nics[0].offset, 101);
    ck_assert_uint_eq(s->nodes[es_scenario_node(s, "b-2")].nics[0].offset, 102);
    const struct es_node *prober = &s->nodes[es_scenario_node(s, "prober-game")];
    const struct es_node *ref = &s->nodes[es_scenario_node(s, "ref")];
    ck_assert_int_eq(prober->scope, ES_SCOPE_RANGE);
    ck_assert_int_eq(ref->nics[0].how, ES_NIC_FIXED);
    ck_assert_uint_eq(ref->nics[0].addr, 0x0a3c00fe);
    ck_assert_uint_eq(prober->nics[0].addr, 0x0a3c00fd);
    ck_assert_int_eq(s->conditions[0].trust, ES_TRUST_A);
}
END_TEST

Suite *scenario_files_suite(void);
Suite *scenario_files_suite(void)
{
    Suite *suite = suite_create("scenario_files");
    TCase *tc = tcase_create("scenario_files");
    tcase_add_checked_fixture(tc, prepare, tidy);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, no_file);
    tcase_add_test(tc, includes_add_their_sections);
    tcase_add_test(tc, the_hash_covers_what_takes_part);
    tcase_add_test(tc, links_stay_inside);
    tcase_add_test(tc, assets_are_capped);
    tcase_add_test(tc, texts_from_files_and_translations);
    tcase_add_test(tc, memory_has_no_files);
    tcase_add_test(tc, shared_networks);
    suite_add_tcase(suite, tc);
    return suite;
}
