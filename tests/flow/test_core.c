/* The whole core without guests: a range comes up over libvirt's test driver, simulated
 * agents are looked at, and score, corrections, ledger and end are as promised. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/core_account.h"
#include "../support/sqlite_faults.h"
#include "enshu/common/str.h"
#include "enshu/score.h"

static const char scenario[] =
    "enshu: 1\n"
    "name: core\n"
    "title: {en: The core alone}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "defaults: {node: {memory: 64 MiB}}\n"
    "nodes:\n"
    "  web: {image: fake, networks: {lab: 10.30.0.10}}\n"
    "  pc: {image: fake, networks: {lab: 10.30.0.11}}\n"
    "conditions:\n"
    "  web-clean: {node: web, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: "
    "2s}\n"
    "  pc-clean: {node: pc, file: {path: /tmp/bad, exists: false}, every: 1s, timeout: "
    "2s}\n"
    "  web-up: {node: web, file: {path: /srv/page, exists: true}, every: 1s, timeout: 2s,"
    " starts: pass}\n"
    "objectives:\n"
    "  clean-web: {title: {en: Clean the server}, when: web-clean, points: 100}\n"
    "  clean-pc: {title: {en: Clean the PC}, when: pc-clean, points: 50}\n"
    "services:\n"
    "  page: {title: {en: The page}, condition: web-up, round: 1s, points: 1}\n"
    "scoring: {model: drill, parts: {handling: 80, uptime: 20}}\n";

static struct core_world w;

struct wanted {
    int team;
    const char *list, *name, *key, *is;
};

static bool is_so(const json_t *range, void *ctx)
{
    const struct wanted *want = ctx;
    const json_t *item = cw_named(range, want->team, want->list, want->name);
    return es_str_eq(json_string_value(json_object_get(item, want->key)), want->is);
}

static void until_outcome(int team, const char *condition, const char *outcome)
{
    struct wanted want = {team, "conditions", condition, "outcome", outcome};
    cw_until(&w, is_so, &want);
}

static void until_met(int team, const char *objective)
{
    struct wanted want = {team, "objectives", objective, "status", "met"};
    cw_until(&w, is_so, &want);
}

static json_int_t total(int team)
{
    json_t *teams = json_object_get(cw_call(&w, "score", NULL), "teams");
    json_t *mpts = json_object_get(json_array_get(teams, (size_t)team - 1), "total_mpts");
    ck_assert(json_is_integer(mpts));
    return json_integer_value(mpts);
}

static void begin(int teams)
{
    cw_open(&w, scenario, teams);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
}

static void finish(void)
{
    cw_call(&w, "down", NULL);
    cw_end(&w);
    cw_close(&w);
}

static void assert_folder_holds(const char *folder, int count)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", w.state, folder);
    DIR *dir = opendir(path);
    ck_assert_msg(dir != NULL, "%s", path);
    int n = 0;
    char last[256] = "";
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.') {
            n++;
            snprintf(last, sizeof last, "%s", entry->d_name);
        }
    closedir(dir);
    ck_assert_msg(n == count, "%s holds %d: %s", folder, n, last);
}

static void play(void)
{
    cw_call(&w, "start", NULL);
    until_outcome(1, "web-up", "pass");
    until_outcome(1, "web-clean", "fail");
    cw_agent(&w, 1, "web")->exists = false;
    until_met(1, "clean-web");
    until_outcome(1, "web-up", "fail");
    ck_assert_int_gt(total(1), total(2));
}

static void pause_and_resume(void)
{
    struct core_agent *pc = cw_agent(&w, 1, "pc");
    cw_call(&w, "pause", json_pack("{s:s}", "reason", "lunch"));
    json_int_t at =
        json_integer_value(json_object_get(json_object_get(w.result, "clock"), "ex_ms"));
    int syncs = pc->probes;
    cw_assert_rescore(&w);
    ck_assert_int_eq(cw_try(&w, "pause", NULL), ES_ESTATE);
    cw_call(&w, "score", NULL);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(w.result, "clock"), "ex_ms")),
        at);
    ck_assert_int_le(pc->probes, syncs + 1); /* one may have been on its way */
    cw_call(&w, "resume", NULL);
    while (pc->probes <= syncs + 1)
        cw_step(&w);
}

static int exec_long(const char *key, size_t len)
{
    char *word = calloc(1, len + 1);
    ck_assert_ptr_nonnull(word);
    memset(word, 'x', len);
    json_t *params = json_pack("{s:s, s:s}", "machine", "t2/pc", key, word);
    if (json_object_get(params, "shell") == NULL)
        json_object_set_new(params, "shell", json_string("true"));
    free(word);
    return cw_try(&w, "exec", params);
}

static void exec_leaves_two_events(void)
{
    cw_call(&w, "exec",
            json_pack("{s:s, s:[s]}", "machine", "t2/pc", "argv", "/bin/true"));
    ck_assert_int_eq(json_integer_value(json_object_get(w.result, "exit")), 0);
    ck_assert_int_eq(
        cw_try(&w, "exec", json_pack("{s:s, s:[s]}", "machine", "t9/pc", "argv", "x")),
        ES_ENOENT);
    simagent_set_mode(cw_agent(&w, 2, "pc")->sim, SIMAGENT_NEVER, 0);
    ck_assert_int_eq(cw_try(&w, "exec",
                            json_pack("{s:s, s:[s], s:i}", "machine", "t2/pc", "argv",
                                      "/bin/true", "timeout_ms", 100)),
                     ES_ETIMEDOUT);
    simagent_set_mode(cw_agent(&w, 2, "pc")->sim, SIMAGENT_GOOD, 0);
    /* More than a line holds: the intent is there, and that it failed. More than the
     * ledger holds: refused. */
    ck_assert_int_eq(exec_long("stdin", ES_WIRE_LINE_MAX), ES_ELIMIT);
    ck_assert_int_eq(exec_long("shell", ES_WIRE_LINE_MAX), ES_ELIMIT);
    until_met(1, "clean-web"); /* the outcome is on its way */
    json_t *events = cw_events(&w);
    ck_assert_uint_eq(cw_count(events, "intent", -1), 3);
    ck_assert_uint_eq(cw_count(events, "outcome", 0), 1);
    ck_assert_uint_eq(cw_count(events, "outcome", 1), 1);
    ck_assert_uint_eq(cw_count(events, "outcome", 2), 1);
    json_decref(events);
}

static void corrections(void)
{
    json_int_t before = total(2);
    cw_call(&w, "correct",
            json_pack("{s:s, s:i, s:i, s:s}", "what", "points", "team", 2, "points", 30,
                      "reason", "helped"));
    ck_assert_int_gt(total(2), before);
    cw_call(&w, "correct",
            json_pack("{s:s, s:i, s:s, s:b, s:s}", "what", "override", "team", 2,
                      "subject", "clean-pc", "met", 1, "reason", "seen by eye"));
    until_met(2, "clean-pc");
    before = total(1);
    cw_call(&w, "correct",
            json_pack("{s:s, s:s, s:s}", "what", "void-condition", "subject", "web-clean",
                      "reason", "badly put"));
    ck_assert_int_lt(total(1), before);
    ck_assert_int_eq(cw_try(&w, "correct",
                            json_pack("{s:s, s:s, s:s}", "what", "void-condition",
                                      "subject", "nothing", "reason", "r")),
                     ES_ENOENT);
    cw_assert_rescore(&w);
}

START_TEST(an_exercise_from_up_to_down)
{
    begin(2);
    cw_call(&w, "status", NULL);
    ck_assert_int_eq(cw_try(&w, "resume", NULL), ES_ESTATE);
    play();
    pause_and_resume();
    exec_leaves_two_events();
    corrections();
    json_t *stopped = cw_call(&w, "stop", NULL);
    ck_assert(json_is_true(json_object_get(stopped, "signed")));
    json_int_t one = total(1), two = total(2);
    ck_assert_int_eq(cw_try(&w, "resume", NULL), ES_ESTATE);
    cw_assert_rescore(&w);
    cw_call(&w, "ledger.verify", NULL);
    ck_assert(json_is_true(json_object_get(w.result, "signed")));
    ck_assert(json_is_true(json_object_get(w.result, "chain_ok")));
    ck_assert(json_is_true(json_object_get(w.result, "signature_ok")));
    ck_assert_int_eq(total(1), one);
    ck_assert_int_eq(total(2), two);
    cw_call(&w, "down", NULL);
    /* four machines; the networks of both teams and of the mould */
    ck_assert_uint_eq(json_array_size(json_object_get(w.result, "removed")), 7);
    assert_folder_holds("ranges", 0);
    assert_folder_holds("s", 0);
    assert_folder_holds("ledgers", 1);
    ck_assert_int_eq(cw_try(&w, "down", NULL), ES_ENOENT);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

/* ---------------------------------------------------------------- agents that misbehave */

/* Team 1 is honest throughout and finds its score as if nobody else were there; the core
 * answers meanwhile. */
static void assert_team_1_unharmed(void)
{
    struct core_agent *web = cw_agent(&w, 1, "web");
    int seen = web->probes;
    while (web->probes < seen + 3)
        cw_step(&w);
    cw_call(&w, "status", NULL);
    ck_assert(is_so(json_array_get(json_object_get(w.result, "ranges"), 0),
                    &(struct wanted){1, "conditions", "web-up", "outcome", "pass"}));
    ck_assert_int_eq(cw_try(&w, "image.list", NULL), ES_EINVAL);
}

static const json_t *event_at(const json_t *events, size_t i, const char *name)
{
    const json_t *event = json_array_get(events, i);
    return es_str_eq(json_string_value(json_object_get(event, "name")), name) ? event
                                                                              : NULL;
}

/* No observation of a team that its own machines did not make, none twice. */
static void assert_ledger_is_sound(void)
{
    json_t *events = cw_events(&w), *seen = json_object();
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *event = event_at(events, i, "observed");
        char key[96];
        event = event == NULL ? event_at(events, i, "steady") : event;
        if (event == NULL || json_integer_value(json_object_get(event, "seq")) == 0)
            continue;
        snprintf(key, sizeof key, "%lld %s %lld",
                 (long long)json_integer_value(json_object_get(event, "instance")),
                 json_string_value(json_object_get(event, "epoch")),
                 (long long)json_integer_value(json_object_get(event, "seq")));
        ck_assert_msg(json_object_get(seen, key) == NULL, "twice: %s", key);
        json_object_set_new(seen, key, json_true());
        json_int_t team = json_integer_value(json_object_get(event, "team"));
        json_int_t index =
            json_integer_value(json_object_get(event, "instance")) / 1024 - 1;
        ck_assert_int_eq(w.plan->machines[index].team, team);
    }
    ck_assert_uint_gt(json_object_size(seen), 0);
    json_decref(seen);
    json_decref(events);
}

static void end_and_check(void)
{
    assert_ledger_is_sound();
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    cw_call(&w, "resume", NULL);
    finish();
}

/* One team each; the first is honest. */
static const struct {
    enum simagent_mode mode;
    bool counts; /* what it sees counts all the same */
} kinds[] = {
    {SIMAGENT_GOOD, true},        {SIMAGENT_TWICE, true},    {SIMAGENT_BACKWARDS, true},
    {SIMAGENT_OTHER_TEAM, true},  {SIMAGENT_CHUNKS, true},   {SIMAGENT_LATE, true},
    {SIMAGENT_BAD_BASE64, false}, {SIMAGENT_GARBAGE, false}, {SIMAGENT_ENDLESS, false},
    {SIMAGENT_FLOOD, false},      {SIMAGENT_NEVER, false}};
#define KINDS ((int)ES_COUNT(kinds))

static void set_modes(bool bad)
{
    static const char *const nodes[] = {"web", "pc"};
    for (int team = 1; team <= KINDS; team++)
        for (size_t n = 0; n < ES_COUNT(nodes); n++)
            simagent_set_mode(cw_agent(&w, team, nodes[n])->sim,
                              bad ? kinds[team - 1].mode : SIMAGENT_GOOD, 1500);
}

static json_int_t mpts_of(const json_t *range, int team)
{
    return json_integer_value(
        json_object_get(cw_named(range, team, "services", "page"), "mpts"));
}

struct page {
    json_int_t honest, silent;
};

/* The honest team's page earns on; the silent one's nothing. */
static bool page_earned(const json_t *range, void *ctx)
{
    const struct page *page = ctx;
    ck_assert_int_le(mpts_of(range, KINDS), page->silent);
    return mpts_of(range, 1) >= page->honest + 3000;
}

START_TEST(bad_agents_hurt_only_themselves)
{
    begin(KINDS);
    cw_call(&w, "start", NULL);
    for (int team = 1; team <= KINDS; team++)
        until_outcome(team, "web-up", "pass");
    set_modes(true);
    assert_team_1_unharmed();
    until_outcome(KINDS, "web-up", "absent");
    for (int team = 2; team <= KINDS; team++)
        cw_agent(&w, team, "pc")->exists = false;
    for (int team = 2; team <= KINDS; team++)
        if (kinds[team - 1].counts)
            until_met(team, "clean-pc");
    cw_call(&w, "status", NULL);
    const json_t *range = json_array_get(json_object_get(w.result, "ranges"), 0);
    struct page page = {mpts_of(range, 1), mpts_of(range, KINDS)};
    cw_until(&w, page_earned, &page);
    assert_team_1_unharmed();
    cw_call(&w, "exec",
            json_pack("{s:s, s:[s]}", "machine", "t1/pc", "argv", "/bin/true"));
    set_modes(false);
    for (int team = 2; team <= KINDS; team++)
        until_met(team, "clean-pc");
    assert_team_1_unharmed();
    end_and_check();
}
END_TEST

/* ---------------------------------------------------------------- a disc that refuses */

static bool is_in_trouble(const json_t *range, void *ctx)
{
    const char *trouble = json_string_value(json_object_get(range, "trouble"));
    return (trouble != NULL && trouble[0] != '\0') == *(const bool *)ctx;
}

static const char *clock_state(void)
{
    cw_call(&w, "status", NULL);
    return json_string_value(json_object_get(
        json_object_get(json_array_get(json_object_get(w.result, "ranges"), 0), "clock"),
        "state"));
}

/* A full disk frees when the reserve goes; another error leaves the ledger closed until it
 * is opened again. */
static const enum sqlite_fault faults[] = {FAULT_FULL, FAULT_SYNC, FAULT_WRITE};

static int64_t sum_acked(void)
{
    return simagent_counts(cw_agent(&w, 1, "web")->sim)->acked_seq +
           simagent_counts(cw_agent(&w, 1, "pc")->sim)->acked_seq;
}

static json_int_t head(void)
{
    cw_call(&w, "status", NULL);
    return json_integer_value(json_object_get(
        json_array_get(json_object_get(w.result, "ranges"), 0), "ledger_head"));
}

START_TEST(a_ledger_that_cannot_be_written_stops_the_clock)
{
    char reserve[128];
    bool yes = true, no = false;
    sqlite_faults_install();
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start_here(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    account_begin(&w);
    cw_call(&w, "start", NULL);
    until_outcome(1, "web-clean", "fail");
    while (w.acks < 8) /* some of it looks beside the chain */
        cw_step(&w);
    snprintf(reserve, sizeof reserve, "%s/ranges/" CORE_RANGE "/ledger.db-reserve",
             w.state);
    sqlite_faults_set(faults[_i], 3, reserve);
    cw_until(&w, is_in_trouble, &yes);
    ck_assert(sqlite_faults_happened());
    ck_assert_str_eq(clock_state(), "paused");
    /* Nothing is acknowledged or taken until it is resumed. */
    struct core_agent *web = cw_agent(&w, 1, "web");
    int64_t acked = sum_acked();
    json_int_t at = head();
    web->exists = false;
    w.on_told(web, simagent_counts(web->sim)->last_seq + 1);
    simagent_emit(web->sim, web->probe_id, json_pack("{s:b}", "exists", 0));
    cw_pause(&w, 300);
    ck_assert_int_eq(sum_acked(), acked);
    ck_assert_int_eq(head(), at);
    sqlite_faults_set(FAULT_NONE, 0, NULL);
    cw_call(&w, "resume", NULL);
    cw_until(&w, is_in_trouble, &no);
    until_met(1, "clean-web");
    while (simagent_counts(web->sim)->held > 2)
        cw_step(&w);
    ck_assert_int_gt(sum_acked(), acked);
    assert_ledger_is_sound();
    account_settle(&w);
    cw_call(&w, "pause", NULL);
    cw_assert_rescore(&w);
    account_check(&w);
    cw_call(&w, "ledger.verify", NULL);
    ck_assert(json_is_true(json_object_get(w.result, "chain_ok")));
    finish();
}
END_TEST

/* Nothing is on its way to the disc any more. */
static void await_ready_events(size_t count)
{
    size_t there = 0;
    while (there < count) {
        json_t *events = cw_events(&w);
        there = cw_count(events, "machine", ES_MEV_READY);
        json_decref(events);
    }
}

/* What cannot be made durable did not happen: no start, no stop, no correction. */
START_TEST(a_command_that_cannot_be_kept_is_refused)
{
    sqlite_faults_install();
    cw_open(&w, scenario, 1);
    cw_agents(&w, true);
    cw_start_here(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    await_ready_events(2);
    sqlite_faults_set(FAULT_WRITE, 1, NULL);
    ck_assert_int_lt(cw_try(&w, "start", NULL), 0);
    ck_assert_str_eq(clock_state(), "ready");
    ck_assert_int_eq(total(1), 0);
    ck_assert_msg(cw_try(&w, "start", NULL) == 0, "%s", w.err.msg);
    until_outcome(1, "web-clean", "fail");
    sqlite_faults_set(FAULT_WRITE, 1, NULL);
    ck_assert_int_lt(cw_try(&w, "stop", NULL), 0);
    ck_assert_str_eq(clock_state(), "paused");
    cw_call(&w, "resume", NULL);
    ck_assert_str_eq(clock_state(), "running");
    cw_call(&w, "stop", NULL);
    cw_assert_rescore(&w);
    finish();
}
END_TEST

/* Machine B answers a question that machine A was asked. */
START_TEST(a_result_for_another_machines_probe_is_ignored)
{
    begin(2);
    struct core_agent *a = cw_agent(&w, 1, "web"), *b = cw_agent(&w, 2, "web");
    cw_call(&w, "start", NULL);
    until_outcome(1, "web-clean", "fail");
    until_outcome(2, "web-clean", "fail");
    simagent_set_mode(a->sim, SIMAGENT_NEVER, 0);
    int asked = a->probes, looks = b->probes;
    while (a->probes == asked && simagent_counts(a->sim)->requests < asked + 200 &&
           b->probes < looks + 4)
        cw_step(&w);
    for (int64_t id = a->probe_id; id < a->probe_id + 20; id++)
        simagent_emit(b->sim, id, json_pack("{s:b}", "exists", 0));
    int64_t last = simagent_counts(b->sim)->last_seq;
    while (simagent_counts(b->sim)->acked_seq < last)
        cw_step(&w);
    cw_call(&w, "status", NULL);
    const json_t *range = json_array_get(json_object_get(w.result, "ranges"), 0);
    ck_assert(
        !is_so(range, &(struct wanted){1, "objectives", "clean-web", "status", "met"}));
    ck_assert(
        !is_so(range, &(struct wanted){2, "objectives", "clean-web", "status", "met"}));
    simagent_set_mode(a->sim, SIMAGENT_GOOD, 0);
    end_and_check();
}
END_TEST

static char asked_pattern[128];

static json_t *on_log_request(void *ctx, struct simagent *sim,
                              const struct es_request *request)
{
    (void)ctx;
    (void)sim;
    const char *match = json_string_value(json_object_get(request->args, "match"));
    if (match != NULL)
        es_str_printf(asked_pattern, sizeof asked_pattern, "%s", match);
    return json_pack("{s:b, s:i, s:[]}", "exists", 1, "count", 0, "lines");
}

/* A flag holds braces, a team may call itself anything. */
START_TEST(values_in_expressions_stand_for_themselves)
{
    cw_open(&w,
            "enshu: 1\nname: core\ntitle: x\nrandom: {flag: {flag: \"E{…}\"}}\n"
            "networks: {lab: {cidr: 10.30.0.0/24}}\n"
            "nodes: {web: {image: fake, networks: {lab: 10.30.0.10}}}\n"
            "conditions: {told: {node: web, every: 1s, log: {path: /a, match: '^(a|b) "
            "${random.flag}$'}}}\n",
            1);
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    asked_pattern[0] = '\0';
    simagent_on_request(cw_agent(&w, 1, "web")->sim, on_log_request, NULL);
    cw_call(&w, "start", NULL);
    while (asked_pattern[0] == '\0')
        cw_step(&w);
    char *flag = strstr(asked_pattern, "E\\{");
    ck_assert_msg(flag == asked_pattern + strlen("^(a|b) "), "%s", asked_pattern);
    ck_assert_str_eq(flag + 3 + 24, "\\}$");
    finish();
}
END_TEST

START_TEST(an_agent_that_starts_anew_is_personalised_again)
{
    begin(1);
    struct core_agent *web = cw_agent(&w, 1, "web");
    cw_call(&w, "start", NULL);
    until_outcome(1, "web-clean", "fail");
    ck_assert_int_eq(web->personalised, 1);
    simagent_restart(web->sim);
    simagent_disconnect(web->sim);
    while (web->personalised == 1)
        cw_step(&w);
    web->exists = false;
    until_met(1, "clean-web");
    end_and_check();
}
END_TEST

START_TEST(agents_of_forks_are_followed_into_their_epoch)
{
    cw_open(&w, scenario, 1);
    w.forks = true;
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    struct core_agent *web = cw_agent(&w, 1, "web");
    cw_call(&w, "start", NULL);
    until_outcome(1, "web-clean", "fail");
    web->exists = false;
    until_met(1, "clean-web");
    int64_t seq = simagent_counts(web->sim)->last_seq;
    while (simagent_counts(web->sim)->acked_seq < seq)
        cw_step(&w);
    ck_assert_int_eq(simagent_counts(web->sim)->connections, 1);
    ck_assert_int_eq(web->personalised, 1);
    end_and_check();
}
END_TEST

static const char covered[] =
    "enshu: 1\n"
    "name: covered\n"
    "title: {en: Decoys}\n"
    "languages: {default: en, complete: [en]}\n"
    "networks: {lab: {cidr: 10.30.0.0/24}}\n"
    "random: {flag: {hex: 8}}\n"
    "nodes: {web: {image: fake, memory: 64 MiB, networks: {lab: 10.30.0.10}}}\n"
    "conditions:\n"
    "  gone: {node: web, file: {path: /srv/shell, exists: false}, every: 1s,"
    " cover: [/srv/page, '/srv/${random.flag}']}\n"
    "objectives: {cut: {title: {en: Cut}, when: gone, points: 10}}\n";

static int looked[3];

static void on_probe(struct core_agent *agent, const json_t *args)
{
    const char *path = json_string_value(json_object_get(args, "path"));
    (void)agent;
    ck_assert_ptr_nonnull(path);
    ck_assert_str_eq(json_string_value(json_object_get(args, "kind")), "file");
    ck_assert_ptr_null(strstr(path, "${"));
    ck_assert_ptr_null(json_object_get(args, "exists")); /* what is right stays here */
    looked[es_str_eq(path, "/srv/shell") ? 0 : es_str_eq(path, "/srv/page") ? 1 : 2]++;
}

/* The agent is asked the same of every path; only one of them is judged. */
START_TEST(covers_are_looked_at_as_well)
{
    cw_open(&w, covered, 1);
    w.on_probe = on_probe;
    cw_agents(&w, true);
    cw_start(&w);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_call(&w, "start", NULL);
    while (looked[0] < 3)
        cw_step(&w);
    ck_assert_int_ge(looked[1], 2);
    ck_assert_int_ge(looked[2], 2);
    cw_call(&w, "pause", NULL);
    json_t *events = cw_events(&w);
    ck_assert_uint_ge(cw_count(events, "observed", ES_OUTCOME_FAIL), 1);
    ck_assert_uint_eq(cw_count(events, "observed", ES_OUTCOME_PASS), 0);
    json_decref(events);
    finish();
}
END_TEST

static bool any_boots(const json_t *range, void *ctx)
{
    size_t i;
    const json_t *machine;
    (void)ctx;
    json_array_foreach (json_object_get(range, "machines"), i, machine)
        if (strcmp(json_string_value(json_object_get(machine, "state")), "booting") == 0)
            return true;
    return false;
}

/* No agent answers: without `down` it would be waited for, for minutes. */
START_TEST(what_comes_up_is_taken_down)
{
    cw_open(&w, scenario, 2);
    cw_start(&w);
    cw_aside(&w, "up", json_pack("{s:s, s:i}", "file", w.file, "teams", 2));
    while (cw_try(&w, "status", NULL) == ES_ENOENT) /* its scenario is being copied */
        cw_pause(&w, 20);
    cw_until(&w, any_boots, NULL);
    cw_call(&w, "down", NULL);
    while (!w.aside_answered)
        cw_step(&w);
    ck_assert_int_eq(cw_try(&w, "status", NULL), ES_ENOENT);
    cw_agents(&w, true);
    ck_assert_msg(cw_up(&w) == 0, "%s", w.err.msg);
    cw_end(&w);
    cw_close(&w);
}
END_TEST

/* What a machine's coming up took, and how a reset gets on. */
START_TEST(steps_are_timed_and_a_reset_is_followed)
{
    begin(1);
    const json_t *status = cw_call(&w, "status", NULL);
    const json_t *range = json_array_get(json_object_get(status, "ranges"), 0);
    const json_t *machine = json_array_get(json_object_get(range, "machines"), 0);
    const json_t *took = json_object_get(machine, "took");
    ck_assert_int_gt(json_integer_value(json_object_get(took, "hello_us")), 0);
    ck_assert_int_gt(json_integer_value(json_object_get(took, "personalise_us")), 0);
    ck_assert_ptr_null(json_object_get(took, "start_us")); /* a fork's */

    cw_call(&w, "reset", json_pack("{s:s}", "machine", "t1/pc"));
    const char *last = NULL;
    size_t i;
    const json_t *event;
    json_array_foreach (w.progress, i, event) {
        ck_assert_str_eq(json_string_value(json_object_get(event, "machine")), "t1/pc");
        last = json_string_value(json_object_get(event, "state"));
    }
    ck_assert_uint_gt(i, 3);
    ck_assert_str_eq(last, "ready");
    finish();
}
END_TEST

Suite *core_suite(void);
Suite *core_suite(void)
{
    Suite *suite = suite_create("core");
    TCase *tc = tcase_create("core");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, an_exercise_from_up_to_down);
    tcase_add_test(tc, bad_agents_hurt_only_themselves);
    tcase_add_loop_test(tc, a_ledger_that_cannot_be_written_stops_the_clock, 0,
                        (int)ES_COUNT(faults));
    tcase_add_test(tc, a_command_that_cannot_be_kept_is_refused);
    tcase_add_test(tc, a_result_for_another_machines_probe_is_ignored);
    tcase_add_test(tc, values_in_expressions_stand_for_themselves);
    tcase_add_test(tc, covers_are_looked_at_as_well);
    tcase_add_test(tc, an_agent_that_starts_anew_is_personalised_again);
    tcase_add_test(tc, agents_of_forks_are_followed_into_their_epoch);
    tcase_add_test(tc, what_comes_up_is_taken_down);
    tcase_add_test(tc, steps_are_timed_and_a_reset_is_followed);
    suite_add_tcase(suite, tc);
    return suite;
}
