/* plan: names, numbers, places, capacity. */
#include <check.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/plan.h"

enum { OFFICE, GAME };
enum { WEB, PC, JUDGE, PROBER };

static const struct es_name_addr office_names[] = {{"www.example", 0x0a140014}};
static const struct es_nic web_nics[] = {
    {.network = OFFICE, .how = ES_NIC_FIXED, .addr = 0x0a14000a},
    {.network = GAME, .how = ES_NIC_SLICE, .offset = 2}};
static const struct es_nic pc_nics[] = {{.network = OFFICE, .how = ES_NIC_AUTO}};
static const struct es_nic judge_nics[] = {{.network = GAME, .how = ES_NIC_AUTO}};
static const struct es_nic prober_nics[] = {{.network = OFFICE, .how = ES_NIC_AUTO}};

/* Two nodes and a prober in each team, one node of the range. */
struct fixture {
    struct es_network networks[2];
    struct es_node nodes[4];
    struct es_scenario scenario;
};

static struct es_scenario *fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->networks[OFFICE] = (struct es_network){.name = "office",
                                              .net = 0x0a140000,
                                              .prefix = 24,
                                              .gateway = WEB,
                                              .dns = WEB,
                                              .names = office_names,
                                              .name_count = 1};
    f->networks[GAME] = (struct es_network){.name = "game",
                                            .net = 0x0a3c0000,
                                            .prefix = 16,
                                            .scope = ES_SCOPE_RANGE,
                                            .slice = 24,
                                            .gateway = -1,
                                            .dns = -1};
    static const char *const names[] = {"web", "pc", "judge", "prober-office"};
    static const struct es_nic *const nics[] = {web_nics, pc_nics, judge_nics,
                                                prober_nics};
    for (int i = 0; i < 4; i++)
        f->nodes[i] = (struct es_node){.name = names[i],
                                       .recipe = "tiny",
                                       .memory_bytes = 256LL << 20,
                                       .disk_bytes = 1024LL << 20,
                                       .cpus = 1,
                                       .nics = nics[i],
                                       .nic_count = i == WEB ? 2 : 1};
    f->nodes[JUDGE].scope = ES_SCOPE_RANGE;
    f->nodes[PROBER].is_prober = f->nodes[PROBER].hidden = true;
    f->scenario = (struct es_scenario){.name = "drill",
                                       .networks = f->networks,
                                       .networks_count = 2,
                                       .nodes = f->nodes,
                                       .nodes_count = 4};
    return &f->scenario;
}

static struct es_plan *make(const struct es_scenario *s, int teams, bool mould)
{
    struct es_err err = {0};
    struct es_plan *plan = NULL;
    ck_assert_msg(es_plan_make(s, "may12", teams, mould, &plan, &err) == 0, "%s",
                  err.msg);
    return plan;
}

static const struct es_plan_machine *of(const struct es_plan *plan, int team, int node)
{
    int at = es_plan_machine_of(plan, team, node);
    ck_assert_int_ge(at, 0);
    return &plan->machines[at];
}

START_TEST(objects_and_names)
{
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, true);
    ck_assert_uint_eq(plan->network_count, 4); /* game, office of t00 t01 t02 */
    ck_assert_uint_eq(plan->machine_count, 10);
    ck_assert_str_eq(plan->networks[0].name, "es-may12-game");
    ck_assert_int_eq(plan->networks[0].team, -1);
    ck_assert(plan->networks[0].isolate_teams);
    ck_assert_str_eq(plan->networks[2].name, "es-may12-t01-office");
    ck_assert(!plan->networks[2].isolate_teams);
    ck_assert_uint_eq(strlen(plan->networks[2].bridge), 14);
    ck_assert_str_eq(of(plan, -1, JUDGE)->name, "es-may12-judge");
    ck_assert_str_eq(of(plan, 0, WEB)->name, "es-may12-t00-web");
    ck_assert_str_eq(of(plan, 2, PROBER)->name, "es-may12-t02-prober-office");
    ck_assert_int_eq(es_plan_machine_of(plan, 1, JUDGE), -1);
    ck_assert_int_eq(es_plan_machine_of(plan, 3, WEB), -1);
    for (size_t i = 0; i < plan->machine_count; i++)
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(plan->machines[i].uuid, plan->machines[k].uuid);
    es_plan_destroy(plan);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

START_TEST(same_words_same_plan)
{
    struct fixture f;
    struct es_plan *a = make(fixture_init(&f), 2, false), *b = make(&f.scenario, 3, true);
    ck_assert_str_eq(of(a, 1, WEB)->uuid, of(b, 1, WEB)->uuid);
    ck_assert_str_eq(of(a, 2, WEB)->nics[1].mac, of(b, 2, WEB)->nics[1].mac);
    /* version and variant of the UUID */
    ck_assert_int_eq(of(a, 1, WEB)->uuid[14], '8');
    ck_assert_ptr_nonnull(strchr("89ab", of(a, 1, WEB)->uuid[19]));
    es_plan_destroy(a);
    es_plan_destroy(b);
}
END_TEST

START_TEST(macs_follow_the_scope)
{
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, true);
    const struct es_plan_machine *one = of(plan, 1, WEB), *two = of(plan, 2, WEB);
    ck_assert_str_eq(one->nics[0].mac, two->nics[0].mac);
    ck_assert_str_eq(one->nics[0].mac, of(plan, 0, WEB)->nics[0].mac);
    ck_assert_str_ne(one->nics[1].mac, two->nics[1].mac);
    ck_assert_str_ne(one->nics[0].mac, of(plan, 1, PC)->nics[0].mac);
    ck_assert(strncmp(one->nics[0].mac, "52:", 3) == 0);
    es_plan_destroy(plan);
}
END_TEST

START_TEST(places_and_slices)
{
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, true);
    ck_assert_uint_eq(es_plan_address(plan, 1, WEB, OFFICE), 0x0a14000a);
    ck_assert_uint_eq(es_plan_address(plan, 2, WEB, OFFICE), 0x0a14000a);
    ck_assert_uint_eq(es_plan_address(plan, 1, WEB, GAME), 0x0a3c0102);
    ck_assert_uint_eq(es_plan_address(plan, 2, WEB, GAME), 0x0a3c0202);
    ck_assert_uint_eq(es_plan_address(plan, 2, WEB, -1), 0x0a14000a);
    ck_assert_uint_eq(es_plan_address(plan, 2, JUDGE, -1), 0x0a3c0002);
    ck_assert_uint_eq(es_plan_address(plan, 1, PC, OFFICE), 0x0a140002);
    ck_assert_uint_eq(es_plan_address(plan, 1, PROBER, OFFICE), 0x0a140003);
    ck_assert_uint_eq(es_plan_address(plan, 1, PC, GAME), 0);
    /* the mould stays off shared networks */
    ck_assert_uint_eq(of(plan, 0, WEB)->nic_count, 1);
    ck_assert_uint_eq(of(plan, 1, WEB)->nic_count, 2);
    ck_assert_int_eq(of(plan, 1, WEB)->nics[1].prefix, 16);
    ck_assert(of(plan, 1, WEB)->nics[1].isolated);
    ck_assert(!of(plan, 1, WEB)->nics[0].isolated);
    ck_assert(!of(plan, -1, JUDGE)->nics[0].isolated);
    es_plan_destroy(plan);
    f.networks[GAME].meet = true;
    plan = make(&f.scenario, 2, false);
    ck_assert(!of(plan, 1, WEB)->nics[1].isolated);
    ck_assert_int_eq(es_plan_machine_of(plan, 0, WEB), -1);
    es_plan_destroy(plan);
}
END_TEST

static const char *host_of(const struct es_plan_machine *machine, const char *name)
{
    static char text[16];
    for (size_t i = 0; i < machine->host_count; i++)
        if (es_str_eq(machine->hosts[i].name, name))
            return es_ip4_format(machine->hosts[i].addr, text);
    return "-";
}

START_TEST(names_and_routes)
{
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, false);
    const struct es_plan_machine *web = of(plan, 2, WEB), *pc = of(plan, 2, PC);
    ck_assert_str_eq(host_of(pc, "web"), "10.20.0.10");
    ck_assert_str_eq(host_of(pc, "www.example"), "10.20.0.20");
    ck_assert_str_eq(host_of(pc, "judge"), "-");
    ck_assert_str_eq(host_of(pc, "prober-office"), "-");
    ck_assert_str_eq(host_of(web, "judge"), "10.60.0.2");
    ck_assert_str_eq(host_of(of(plan, -1, JUDGE), "web"), "-");
    ck_assert_uint_eq(pc->gateway, 0x0a14000a);
    ck_assert_uint_eq(pc->dns, 0x0a14000a);
    ck_assert_uint_eq(web->gateway, 0);
    es_plan_destroy(plan);
    f.nodes[WEB].hidden = true;
    plan = make(&f.scenario, 1, false);
    ck_assert_str_eq(host_of(of(plan, 1, PC), "web"), "-");
    ck_assert_str_eq(host_of(of(plan, 1, PROBER), "web"), "10.20.0.10");
    es_plan_destroy(plan);
}
END_TEST

/* The loader gives automatic addresses too; its choice is kept. */
START_TEST(a_loaded_scenario)
{
    static const char text[] =
        "enshu: 1\nname: drill\nversion: \"1\"\ntitle: T\n"
        "networks:\n"
        "  office: {cidr: 10.20.0.0/24, gateway: web, names: {www: 10.20.0.10}}\n"
        "  game: {cidr: 10.60.0.0/16, scope: range, slice: 24}\n"
        "nodes:\n"
        "  web:\n    image: {recipe: tiny}\n"
        "    networks: {office: 10.20.0.10, game: slice+2}\n"
        "  pc:\n    image: {recipe: tiny}\n    networks: {office: {}}\n"
        "  judge:\n    image: {recipe: tiny}\n    scope: range\n    networks: {game: "
        "{}}\n"
        "conditions:\n"
        "  up: {from: prober.game, tcp: {to: \"10.60.0.1:80\", open: true}, starts: "
        "pass}\n";
    struct es_diags diags = {0};
    struct es_scenario *s = NULL;
    struct es_err err = {0};
    int rc = es_scenario_parse("t.yaml", text, strlen(text), &diags, &s, &err);
    ck_assert_msg(rc == 0, "%s %s", err.msg,
                  diags.count > 0 ? diags.items[0].text : "without a diagnostic");
    struct es_plan *plan = make(s, 3, true);
    int pc = es_scenario_node(s, "pc"), web = es_scenario_node(s, "web");
    ck_assert_uint_eq(es_plan_address(plan, 3, web, 1), 0x0a3c0302);
    ck_assert_uint_eq(es_plan_address(plan, 1, pc, 0), s->nodes[pc].nics[0].addr);
    ck_assert_uint_eq(of(plan, 2, pc)->gateway, 0x0a14000a);
    ck_assert_str_eq(host_of(of(plan, 2, pc), "www"), "10.20.0.10");
    int prober = es_scenario_node(s, "prober-game");
    ck_assert_int_ge(prober, 0);
    ck_assert(s->nodes[prober].scope == ES_SCOPE_RANGE);
    ck_assert_uint_ne(es_plan_address(plan, 1, prober, -1), 0);
    ck_assert_uint_eq(es_plan_address(plan, 1, prober, -1),
                      es_plan_address(plan, 2, prober, -1));
    es_plan_destroy(plan);
    es_scenario_destroy(s);
    es_diags_finish(&diags);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

/* A name that stands on several networks, or is a node's too, is known once; nodes of a team
 * on the same networks share their list. */
START_TEST(many_names)
{
    struct es_buf text;
    struct es_diags diags = {0};
    struct es_scenario *s = NULL;
    es_buf_init(&text, 1U << 20);
    es_buf_puts(&text, "enshu: 1\nname: x\ntitle: x\nnetworks:\n");
    for (int net = 0; net < 2; net++) {
        es_buf_printf(&text, "  n%d: {cidr: 10.%d.0.0/16, names: {", net, net);
        for (int i = 0; i < 1000; i++)
            es_buf_printf(&text, "h%d: 10.%d.1.%d, ", i + net * 500, net, i % 200 + 1);
        es_buf_printf(&text, "m1: 10.%d.9.9}}\n", net);
    }
    es_buf_puts(&text, "nodes:\n");
    for (int i = 0; i < 900; i++)
        es_buf_printf(&text, "  m%d: {image: tiny, networks: {n0: {}%s}}\n", i,
                      i % 2 != 0 ? ", n1: {}" : "");
    int rc = es_scenario_parse("t.yaml", es_buf_str(&text), text.len, &diags, &s, NULL);
    ck_assert_int_eq(rc, ES_ESCENARIO); /* one name too many */
    es_diags_finish(&diags);
    char *extra = strstr(text.data, ", m1: 10.0.9.9");
    memset(extra, ' ', strlen(", m1: 10.0.9.9"));
    extra = strstr(text.data, "h1499: 10.1.1.200, ");
    memset(extra, ' ', strlen("h1499: 10.1.1.200, "));
    ck_assert_int_eq(
        es_scenario_parse("t.yaml", es_buf_str(&text), text.len, &diags, &s, NULL), 0);
    struct es_plan *plan = make(s, 2, true);
    int first = es_scenario_node(s, "m0"), both = es_scenario_node(s, "m1");
    const struct es_plan_machine *one = of(plan, 2, first), *two = of(plan, 2, both);
    ck_assert_uint_eq(one->host_count, 1000 + 900);
    ck_assert_uint_eq(two->host_count, 1500 - 1 + 900);
    ck_assert_ptr_eq(of(plan, 2, first + 2)->hosts, one->hosts);
    ck_assert_ptr_eq(of(plan, 2, both + 2)->hosts, two->hosts);
    ck_assert_str_eq(host_of(two, "h500"), "10.0.1.101");
    ck_assert_str_eq(host_of(two, "h1000"), "10.1.1.101");
    ck_assert_str_eq(host_of(two, "m1"), "10.1.9.9"); /* as written */
    ck_assert_str_ne(host_of(one, "m1"), "10.1.9.9");
    es_plan_destroy(plan);
    es_scenario_destroy(s);
    es_diags_finish(&diags);
    es_buf_finish(&text);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

static void refuses(const struct es_scenario *s, int teams, int code, const char *part)
{
    struct es_err err = {0};
    struct es_plan *plan = NULL;
    ck_assert_int_eq(es_plan_make(s, "may12", teams, true, &plan, &err), code);
    ck_assert_ptr_null(plan);
    ck_assert_msg(strstr(err.msg, part) != NULL, "%s", err.msg);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

START_TEST(refuses_what_has_no_place)
{
    struct fixture f;
    refuses(fixture_init(&f), 256, ES_ELIMIT, "has room for 255 teams with a /24 each");
    refuses(&f.scenario, ES_PLAN_TEAMS_MAX + 1, ES_ELIMIT, "up to 1000 teams");
    f.networks[GAME].slice = 0;
    refuses(&f.scenario, 1, ES_EINVAL, "needs slice");
    fixture_init(&f);
    f.networks[OFFICE].prefix = 30;
    f.networks[OFFICE].net = 0x0a140008;
    refuses(&f.scenario, 1, ES_ELIMIT, "no free address left");
    fixture_init(&f);
    f.nodes[PC].nics = web_nics;
    refuses(&f.scenario, 1, ES_EINVAL, "10.20.0.10 on network office is used twice");
    fixture_init(&f);
    f.nodes[JUDGE].nics = pc_nics;
    refuses(&f.scenario, 1, ES_EINVAL, "network office exists once for each team");
    static const struct es_nic fixed[] = {
        {.network = GAME, .how = ES_NIC_FIXED, .addr = 0x0a3c0105}};
    fixture_init(&f);
    f.nodes[PC].nics = fixed;
    refuses(&f.scenario, 1, ES_EINVAL, "write slice+N");
    fixture_init(&f);
    f.nodes[JUDGE].nics = fixed;
    refuses(&f.scenario, 1, ES_EINVAL, "lies in the slice of team 1");
    static const struct es_nic far[] = {
        {.network = GAME, .how = ES_NIC_SLICE, .offset = 256}};
    fixture_init(&f);
    f.nodes[PC].nics = far;
    refuses(&f.scenario, 1, ES_ELIMIT, "slice+256 is outside");
}
END_TEST

START_TEST(capacity)
{
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, true);
    /* judge and two teams of three run at once; the mould's disks stay */
    ck_assert_int_eq(plan->memory_bytes, 7 * (320LL << 20));
    ck_assert_int_eq(plan->disk_bytes, 10 * (256LL << 20));
    ck_assert_int_eq(plan->cpus, 7);
    struct es_plan_host host = {.memory_bytes = 2752LL << 20, .disk_bytes = 3584LL << 20};
    struct es_err err = {0};
    ck_assert_int_eq(es_plan_fits(plan, &host, NULL, &err), 0);
    host.memory_bytes--;
    ck_assert_int_eq(es_plan_fits(plan, &host, NULL, &err), ES_ECAPACITY);
    ck_assert_ptr_nonnull(strstr(err.msg, "needs 2240 MiB of memory"));
    host.memory_bytes = 0;
    ck_assert_int_eq(es_plan_fits(plan, &host, NULL, &err), 0);
    host.disk_bytes--;
    ck_assert_int_eq(es_plan_fits(plan, &host, NULL, &err), ES_ECAPACITY);
    ck_assert_ptr_nonnull(strstr(err.msg, "MiB of disk"));
    es_plan_destroy(plan);
}
END_TEST

START_TEST(capacity_of_forks)
{
    const int64_t mib = 1LL << 20;
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, true);
    struct es_plan_need need;
    struct es_err err = {0};
    es_plan_need(plan, NULL, &need);
    ck_assert_int_eq(need.guest_bytes, 7 * 256 * mib);
    ck_assert_int_eq(need.qemu_bytes, 7 * 64 * mib);
    /* six forks by estimate, 64 + 256 / 4 each; the judge is booted */
    ck_assert_int_eq(need.forked_bytes, 6 * 128 * mib + 320 * mib);
    ck_assert_uint_eq(need.estimated, 6);
    const int64_t measured[4] = {
        [WEB] = 80 * mib, [PC] = 1000 * mib, [JUDGE] = 900 * mib};
    es_plan_need(plan, measured, &need);
    /* web 80 x 1.25 + 8; pc no more than booted; the judge is no fork */
    ck_assert_int_eq(need.forked_bytes, 2 * (108 + 320 + 128) * mib + 320 * mib);
    ck_assert_uint_eq(need.measured, 4);
    ck_assert_uint_eq(need.estimated, 2);
    struct es_plan_host host = {.memory_bytes = need.forked_bytes + 512 * mib};
    ck_assert_int_eq(es_plan_fits(plan, &host, &need, &err), 0);
    ck_assert_int_eq(es_plan_fits(plan, &host, NULL, &err), ES_ECAPACITY);
    host.memory_bytes--;
    ck_assert_int_eq(es_plan_fits(plan, &host, &need, &err), ES_ECAPACITY);
    ck_assert_ptr_nonnull(strstr(err.msg, "4 machines measured, 2 estimated"));
    ck_assert_ptr_nonnull(strstr(err.msg, "2240 MiB if booted"));
    es_plan_destroy(plan);
}
END_TEST

START_TEST(the_reserve)
{
    const int64_t gib = 1LL << 30;
    struct es_plan_host host = {0};
    ck_assert_int_eq(es_plan_reserve(&host), gib / 2);
    host.total_bytes = 32 * gib;
    ck_assert_int_eq(es_plan_reserve(&host), 2 * gib);
    host.swap_bytes = gib / 4; /* swap stands in for some of it, */
    ck_assert_int_eq(es_plan_reserve(&host), 2 * gib - gib / 4);
    host.swap_bytes = 100 * gib; /* never for all */
    ck_assert_int_eq(es_plan_reserve(&host), gib);
}
END_TEST

/* However it was measured, a fork is never counted as more than a booted machine, nor as
 * less than it was seen to take as long as that is not more than one. */
START_TEST(costs_are_bounded)
{
    for (int64_t guest = 0; guest <= 1LL << 34; guest = guest * 2 + 4096)
        for (int64_t measured = 0; measured <= 1LL << 36;
             measured = measured * 2 + 4096) {
            int64_t booted = es_plan_cost(guest, false, measured);
            int64_t forked = es_plan_cost(guest, true, measured);
            ck_assert_int_eq(booted, guest + ES_PLAN_QEMU_BYTES);
            ck_assert_int_le(forked, booted);
            ck_assert_int_ge(forked, measured < booted ? measured : booted);
        }
}
END_TEST

START_TEST(shown_three_ways)
{
    struct fixture f;
    struct es_plan *plan = make(fixture_init(&f), 2, true);
    struct es_plan_host host = {.memory_bytes = 1LL << 30, .cpus = 2};
    json_t *json = es_plan_json(plan, &host, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "machines")), 10);
    ck_assert(json_is_false(json_object_get(json_object_get(json, "host"), "fits")));
    json_t *last = json_array_get(json_object_get(json, "machines"), 7);
    ck_assert_str_eq(json_string_value(json_object_get(last, "node")), "web");
    json_t *nic = json_array_get(json_object_get(last, "nics"), 1);
    ck_assert_str_eq(json_string_value(json_object_get(nic, "address")), "10.60.2.2");
    json_decref(json);
    struct es_buf out;
    es_buf_init(&out, 1 << 20);
    ck_assert_int_eq(es_plan_dot(plan, &out), 0);
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out),
                                 "\"m:es-may12-t02-web\" -- "
                                 "\"n:es-may12-game\" "
                                 "[label=\"10.60.2.2\", style=dashed];"));
    es_buf_clear(&out);
    ck_assert_int_eq(es_plan_text(plan, &host, NULL, &out), 0);
    ck_assert_ptr_nonnull(
        strstr(es_buf_str(&out), "office=10.20.0.10/24 game=10.60.1.2/16"));
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "it does not fit: range may12 needs"));
    struct es_plan_need need;
    es_plan_need(plan, NULL, &need);
    es_buf_clear(&out);
    ck_assert_int_eq(es_plan_text(plan, &host, &need, &out), 0);
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "guests 1792, QEMU 448, if booted"));
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "0 machines measured, 6 estimated"));
    json = es_plan_json(plan, &host, &need);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(json, "forked"),
                                                        "memory_bytes")),
                     need.forked_bytes);
    json_decref(json);
    es_buf_finish(&out);
    es_plan_destroy(plan);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    struct fixture f;
    fixture_init(&f);
    for (long n = 1;; n++) {
        struct es_plan *plan = NULL;
        struct es_err err = {0};
        es_mem_fail_nth(n);
        int rc = es_plan_make(&f.scenario, "may12", 60, true, &plan, &err);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : 0);
        es_plan_destroy(plan);
        ck_assert_int_eq(es_mem_live_count(), 0);
        if (!failed)
            break;
        ck_assert_int_lt(n, 1000);
    }
}
END_TEST

Suite *plan_suite(void);
Suite *plan_suite(void)
{
    Suite *suite = suite_create("plan");
    TCase *tc = tcase_create("plan");
    tcase_add_test(tc, objects_and_names);
    tcase_add_test(tc, same_words_same_plan);
    tcase_add_test(tc, macs_follow_the_scope);
    tcase_add_test(tc, places_and_slices);
    tcase_add_test(tc, names_and_routes);
    tcase_add_test(tc, a_loaded_scenario);
    tcase_add_test(tc, many_names);
    tcase_add_test(tc, refuses_what_has_no_place);
    tcase_add_test(tc, capacity);
    tcase_add_test(tc, capacity_of_forks);
    tcase_add_test(tc, the_reserve);
    tcase_add_test(tc, costs_are_bounded);
    tcase_add_test(tc, shown_three_ways);
    tcase_add_test(tc, every_allocation_may_fail);
    suite_add_tcase(suite, tc);
    return suite;
}
