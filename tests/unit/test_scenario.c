/* scenario: a whole scenario bound to its structs; every value that later rooms rest on. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/scenario.h"
#include "enshu/wire.h"

static struct es_diags diags;
static struct es_scenario *s;

static int parse(const char *text)
{
    struct es_err err = {0};
    return es_scenario_parse("t.yaml", text, strlen(text), &diags, &s, &err);
}

static void tidy(void)
{
    es_scenario_destroy(s);
    s = NULL;
    es_diags_finish(&diags);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static const char whole[] =
    "enshu: 1\n"
    "name: midori\n"
    "version: \"2026.1\"\n"
    "title: {ja: みどり, en: Midori}\n"
    "languages: {default: ja, complete: [ja, en]}\n"
    "authors: [me]\n"
    "duration: 3h30m\n"
    "random: {beacon: {hex: 12}, web_flag: {flag: \"ENSHU{…}\"}, port: {int: [20000, "
    "29999]}}\n"
    "defaults: {node: {memory: 512 MiB}}\n"
    "kinds: {server: {image: {recipe: debian-12}}}\n"
    "networks:\n"
    "  office: {cidr: 10.20.0.0/24, gateway: fw, names: {web: 10.20.0.10}}\n"
    "  game: {cidr: 10.60.0.0/16, scope: range, slice: 24, meet: true}\n"
    "nodes:\n"
    "  fw: {kind: server, networks: {office: 10.20.0.1}}\n"
    "  web:\n"
    "    kind: server\n"
    "    networks: {office: 10.20.0.10, game: slice+2}\n"
    "    accounts: [{user: admin, password: generate}]\n"
    "    setup:\n"
    "      - run: systemctl enable nginx ${HOME}\n"
    "      - write: {to: /a, text: \"x\"}\n"
    "    personalise:\n"
    "      - write: {to: /root/.flag, text: \"${random.web_flag} "
    "${account.web.admin}\"}\n"
    "    ready: {http: {url: \"http://127.0.0.1/\", status: 200}}\n"
    "    trainee: {console: graphic, as: mori}\n"
    "  pc: {image: tiny, count: 3, networks: {office: {}, game: }}\n"
    "conditions:\n"
    "  site_up: {from: prober.office, http: {url: \"http://10.20.0.10/\", status: [200, "
    "301], contains: hello}, every: 20s, timeout: 5s}\n"
    "  gone: {node: web, file: {path: /var/www/.c, exists: false}, cover: [/x, /y]}\n"
    "  banner: {from: pc-1, tcp: {to: \"203.0.113.66:443\", open: false}, control: "
    "site_up}\n"
    "  both: {all: [site_up, gone], for: 1m}\n"
    "  early: {fact: both.pass, within: 30m, of: contain.begun}\n"
    "  rec: {at-least: {count: 1, of: [gone, banner]}, after: contain.begun+10m}\n"
    "phases:\n"
    "  contain: {title: {ja: あ, en: b}, done: both, plan: 90m}\n"
    "objectives:\n"
    "  cut: {phase: contain, when: both, points: 100, title: {ja: あ, en: b}, "
    "techniques: [T1071.001]}\n"
    "services:\n"
    "  website: {condition: site_up, round: 1m, points: 5, sla: {after: 5, penalty: 25}, "
    "waive: [contain.begun]}\n"
    "scoring: {parts: {handling: 50, uptime: 10}}\n"
    "solutions:\n"
    "  straight:\n"
    "    steps:\n"
    "      - {await: T+1m}\n"
    "      - {node: web, run: rm /var/www/.c, proves: [gone, banner]}\n"
    "sabotage:\n"
    "  - {node: web, run: systemctl stop nginx, breaks: [site_up]}\n"
    "rehearse: {teams: 1, speed: 20}\n";

static void parse_whole(void)
{
    struct es_buf out;
    es_buf_init(&out, 65536);
    int rc = parse(whole);
    es_diags_format(&diags, &out);
    ck_assert_str_eq(es_buf_str(&out), "");
    es_buf_finish(&out);
    ck_assert_int_eq(rc, 0);
}

START_TEST(solutions_go_on_from_others)
{
    ck_assert_int_eq(
        parse("enshu: 1\nname: x\ntitle: x\nnodes: {web: {image: tiny}}\n"
              "conditions: {a: {node: web, file: {path: /a}}}\n"
              "solutions:\n"
              "  last: {from: middle, steps: [{await: T+3m}], expect: [a.pass]}\n"
              "  middle: {from: first, steps: [{await: T+2m}]}\n"
              "  first: {steps: [{await: T+1m}, {node: web, run: ls, proves: [a]}]}\n"
              "  same: {from: first}\n"),
        0);
    const struct es_solution *last = &s->solutions[0], *middle = &s->solutions[1];
    ck_assert_uint_eq(last->step_count, 4);
    ck_assert_int_eq(last->steps[0].await.offset_ms, 60000);
    ck_assert_str_eq(last->steps[1].run.text, "ls");
    ck_assert_int_eq(last->steps[2].await.offset_ms, 120000);
    ck_assert_int_eq(last->steps[3].await.offset_ms, 180000);
    ck_assert_uint_eq(last->expect_count, 1);
    ck_assert_int_eq(last->expects[0], es_scenario_fact(s, "a.pass"));
    ck_assert_uint_eq(middle->step_count, 3);
    ck_assert_int_eq(middle->from, 2);
    ck_assert_uint_eq(s->solutions[2].step_count, 2);
    ck_assert_uint_eq(s->solutions[3].step_count, 2);
}
END_TEST

START_TEST(head)
{
    parse_whole();
    ck_assert_str_eq(s->name, "midori");
    ck_assert_str_eq(s->version, "2026.1");
    ck_assert_str_eq(es_text_get(&s->title, "en"), "Midori");
    ck_assert_str_eq(s->title.items[0].lang, "ja");
    ck_assert_str_eq(es_text_get(&s->title, "fr"), "みどり");
    ck_assert_int_eq(s->duration_ms, 12600000);
    ck_assert_uint_eq(strlen(s->hash), 64);
    ck_assert_int_eq(s->rehearse_speed_permille, 20000);
    ck_assert_uint_eq(s->randoms_count, 3);
    ck_assert_int_eq(s->randoms[0].digits, 12);
    ck_assert_str_eq(s->randoms[1].format, "ENSHU{…}");
    ck_assert_int_eq(s->randoms[2].max, 29999);
}
END_TEST

START_TEST(nodes)
{
    parse_whole();
    ck_assert_uint_eq(s->nodes_count, 6);
    const struct es_node *web = &s->nodes[es_scenario_node(s, "web")];
    ck_assert_str_eq(web->recipe, "debian-12");
    ck_assert_int_eq(web->memory_bytes, 512LL << 20);
    ck_assert_int_eq(web->cpus, 1);
    ck_assert_uint_eq(web->nic_count, 2);
    ck_assert_int_eq(web->nics[0].how, ES_NIC_FIXED);
    ck_assert_uint_eq(web->nics[0].addr, 0x0a14000a);
    ck_assert_int_eq(web->nics[1].how, ES_NIC_SLICE);
    ck_assert_uint_eq(web->nics[1].offset, 2);
    ck_assert_uint_eq(web->setup_count, 2);
    ck_assert_int_eq(web->setup[0].kind, ES_STEP_RUN);
    ck_assert_str_eq(web->setup[1].to, "/a");
    ck_assert_ptr_null(web->accounts[0].password);
    ck_assert(web->has_ready);
    ck_assert_int_eq(web->ready.kind, ES_PROBE_http);
    ck_assert_int_eq(web->ready_timeout_ms, 300000);
    ck_assert_str_eq(web->trainee.console, "graphic");
    ck_assert_str_eq(web->trainee.as, "mori");
    ck_assert_int_eq(es_scenario_node(s, "pc"), -1);
    const struct es_node *pc = &s->nodes[es_scenario_node(s, "pc-3")];
    ck_assert_uint_eq(pc->nics[0].addr, 0x0a140066);
    ck_assert_uint_eq(pc->nics[1].offset, 102);
    ck_assert_str_eq(pc->trainee.console, "serial");
    const struct es_node *prober = &s->nodes[es_scenario_node(s, "prober-office")];
    ck_assert(prober->is_prober && prober->hidden);
    ck_assert_str_eq(prober->recipe, "prober");
    ck_assert_uint_eq(prober->nics[0].addr, 0x0a1400fe);
    ck_assert_int_eq(prober->memory_bytes, 128LL << 20);
}
END_TEST

START_TEST(conditions)
{
    parse_whole();
    const struct es_condition *up = &s->conditions[es_scenario_condition(s, "site_up")];
    ck_assert_int_eq(up->kind, ES_COND_PROBE);
    ck_assert_int_eq(up->prober, 0);
    ck_assert_int_eq(up->node, -1);
    ck_assert_int_eq(up->every_ms, 20000);
    ck_assert_int_eq(up->timeout_ms, 5000);
    ck_assert_int_eq(up->trust, ES_TRUST_A);
    ck_assert(up->starts_pass);
    ck_assert_str_eq(up->probe.presence_field, "reachable");
    ck_assert(up->probe.present);
    ck_assert_uint_eq(up->probe.expect_count, 2);
    ck_assert_int_eq(up->probe.expects[0].compare, ES_CMP_ONE_OF);
    ck_assert_str_eq(up->probe.expects[1].field, "body_b64");
    const struct es_condition *gone = &s->conditions[es_scenario_condition(s, "gone")];
    ck_assert_int_eq(gone->trust, ES_TRUST_C);
    ck_assert(!gone->probe.present);
    ck_assert_uint_eq(gone->cover_count, 2);
    ck_assert_str_eq(json_string_value(json_object_get(gone->covers[1].look, "path")),
                     "/y");
    const struct es_condition *banner =
        &s->conditions[es_scenario_condition(s, "banner")];
    ck_assert_int_eq(banner->control, 0);
    ck_assert_int_eq(json_integer_value(json_object_get(banner->probe.look, "port")),
                     443);
    const struct es_condition *both = &s->conditions[es_scenario_condition(s, "both")];
    ck_assert_uint_eq(both->part_count, 2);
    ck_assert_int_eq(both->for_ms, 60000);
    const struct es_condition *early = &s->conditions[es_scenario_condition(s, "early")];
    ck_assert_int_eq(early->fact, es_scenario_fact(s, "both.pass"));
    ck_assert_int_eq(early->of, es_scenario_fact(s, "contain.begun"));
    ck_assert_int_eq(early->within_ms, 1800000);
    const struct es_condition *rec = &s->conditions[es_scenario_condition(s, "rec")];
    ck_assert_int_eq(rec->least, 1);
    ck_assert_int_eq(rec->after.offset_ms, 600000);
}
END_TEST

START_TEST(facts)
{
    parse_whole();
    for (int i = 0; i < (int)s->facts_count; i++) {
        ck_assert_int_eq(es_scenario_fact(s, s->facts[i].name), i);
        ck_assert_int_eq(es_scenario_fact_of(s, s->facts[i].kind, s->facts[i].subject),
                         i);
    }
    ck_assert_int_ge(es_scenario_fact(s, "cut.met"), 0);
    ck_assert_int_ge(es_scenario_fact(s, "web.down"), 0);
    ck_assert_int_eq(es_scenario_fact(s, "web.up"), -1);
    ck_assert_int_eq(es_scenario_fact_of(s, ES_FACT_PHASE_DONE, 1), -1);
}
END_TEST

START_TEST(judging)
{
    parse_whole();
    ck_assert_int_eq(s->phases[0].plan_ms, 5400000);
    const struct es_objective *cut = &s->objectives[es_scenario_objective(s, "cut")];
    ck_assert_int_eq(cut->phase, 0);
    ck_assert_int_eq(cut->points, 100);
    ck_assert_str_eq(cut->part, "handling");
    ck_assert_str_eq(cut->techniques[0], "T1071.001");
    ck_assert_int_eq(s->services[0].sla_after, 5);
    ck_assert_int_eq(s->services[0].sla_penalty, 25);
    ck_assert_int_eq(s->services[0].waive[0], es_scenario_fact(s, "contain.begun"));
    ck_assert_uint_eq(s->scoring.part_count, 2);
    ck_assert_int_eq(s->scoring.parts[1].weight, 10);
    ck_assert_uint_eq(s->solutions[0].step_count, 2);
    ck_assert_int_eq(s->solutions[0].steps[0].await.offset_ms, 60000);
    ck_assert_int_eq(s->solutions[0].steps[0].node, -1);
    ck_assert_str_eq(s->solutions[0].steps[1].run.text, "rm /var/www/.c");
    ck_assert_int_eq(s->sabotage[0].proves[0], es_scenario_condition(s, "site_up"));
}
END_TEST

START_TEST(order_puts_parts_first)
{
    parse_whole();
    size_t at[16] = {0};
    for (size_t i = 0; i < s->conditions_count; i++)
        at[s->condition_order[i]] = i;
    for (size_t i = 0; i < s->conditions_count; i++) {
        const struct es_condition *c = &s->conditions[i];
        for (size_t k = 0; k < c->part_count; k++)
            ck_assert_uint_lt(at[c->parts[k]], at[i]);
        if (c->control >= 0)
            ck_assert_uint_lt(at[c->control], at[i]);
    }
}
END_TEST

/* Every kind of probe, with every key. */
static size_t read_probes(char *text, size_t size)
{
    char path[1024];
    const char *top = getenv("ENSHU_TOP");
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/scenario/probes",
             top != NULL ? top : ".");
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    size_t len = fread(text, 1, size - 1, file);
    fclose(file);
    text[len] = '\0';
    return len;
}

START_TEST(every_probe)
{
    static char text[16384];
    ck_assert_uint_gt(read_probes(text, sizeof text), 0);
    ck_assert_int_eq(parse(text), 0);
    bool seen[ES_PROBE_COUNT] = {false};
    for (size_t i = 0; i < s->conditions_count; i++)
        if (s->conditions[i].kind == ES_COND_PROBE)
            seen[s->conditions[i].probe.kind] = true;
    for (int i = 0; i < ES_PROBE_COUNT; i++)
        ck_assert_msg(seen[i], "no %s", es_probe_kind_name((enum es_probe_kind)i));
    const struct es_probe *file = &s->conditions[0].probe;
    ck_assert_int_eq(json_integer_value(json_object_get(file->look, "read")), 49152);
    ck_assert(json_is_true(json_object_get(file->look, "hash")));
    ck_assert_ptr_null(json_object_get(file->look, "contains"));
    const struct es_probe *password =
        &s->conditions[es_scenario_condition(s, "c06")].probe;
    ck_assert_int_eq(password->expects[0].compare, ES_CMP_CHANGED);
    ck_assert_str_eq(password->expects[0].field, "hash");
    const struct es_probe *command =
        &s->conditions[es_scenario_condition(s, "c22")].probe;
    ck_assert(json_is_array(json_object_get(command->look, "run")));
    ck_assert_ptr_null(command->presence_field);
    ck_assert_str_eq(command->expects[0].field, "exit");
    const struct es_probe *log = &s->conditions[es_scenario_condition(s, "c03")].probe;
    ck_assert_int_eq(json_integer_value(json_array_get(log->expects[0].value, 1)), 3);
}
END_TEST

static void fail_each_allocation(const char *text)
{
    es_wire_use_allocator(); /* those of JSON count too */
    for (long n = 1;; n++) {
        es_mem_fail_nth(n);
        int rc = parse(text);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : 0);
        if (!failed)
            break;
        ck_assert_ptr_null(s);
        es_diags_finish(&diags);
        ck_assert_int_eq(es_mem_live_count(), 0);
    }
}

START_TEST(every_allocation_fails_once)
{
    static char text[16384];
    fail_each_allocation(whole);
    tidy();
    read_probes(text, sizeof text);
    fail_each_allocation(text);
}
END_TEST

static const char *lookup(void *ctx, const char *name)
{
    (void)ctx;
    return es_str_eq(name, "team.id")     ? "7"
           : es_str_eq(name, "team.name") ? "a; rm"
                                          : NULL;
}

START_TEST(expanding)
{
    struct es_buf out;
    struct es_err err = {0};
    es_buf_init(&out, 1000);
    ck_assert_int_eq(
        es_scenario_expand("a ${team.id} $${x} $5 $", lookup, NULL, &out, &err), 0);
    ck_assert_str_eq(es_buf_str(&out), "a 7 ${x} $5 $");
    ck_assert_int_eq(es_scenario_expand("${nope}", lookup, NULL, &out, &err), ES_EINVAL);
    ck_assert_int_eq(es_scenario_expand("${team.id", lookup, NULL, &out, &err),
                     ES_EINVAL);
    es_buf_clear(&out);
    json_t *env = json_object();
    ck_assert_int_eq(
        es_scenario_expand_shell("echo ${HOME} \"${team.name}\" $${team.id} $x", lookup,
                                 NULL, &out, env, &err),
        0);
    ck_assert_str_eq(es_buf_str(&out),
                     "echo ${HOME} \"${ENSHU_TEAM_NAME}\" ${team.id} $x");
    ck_assert_str_eq(json_string_value(json_object_get(env, "ENSHU_TEAM_NAME")), "a; rm");
    json_decref(env);
    es_buf_finish(&out);
}
END_TEST

Suite *scenario_suite(void);
Suite *scenario_suite(void)
{
    Suite *suite = suite_create("scenario");
    TCase *tc = tcase_create("scenario");
    tcase_add_checked_fixture(tc, NULL, tidy);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, solutions_go_on_from_others);
    tcase_add_test(tc, head);
    tcase_add_test(tc, nodes);
    tcase_add_test(tc, conditions);
    tcase_add_test(tc, facts);
    tcase_add_test(tc, judging);
    tcase_add_test(tc, order_puts_parts_first);
    tcase_add_test(tc, every_probe);
    tcase_add_test(tc, every_allocation_fails_once);
    tcase_add_test(tc, expanding);
    suite_add_tcase(suite, tc);
    return suite;
}
