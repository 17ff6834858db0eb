/* The XML of our objects against tests/golden/xml, and how it is escaped and read back. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../orchestrator/hyp/describe.h"
#include "../../orchestrator/hyp/xml.h"
#include "../support/hyp_world.h"

static struct hyp_world w;
static struct es_buf out;

static void setup(void)
{
    hw_init(&w);
    hw_make_plan(&w, "may12", 2);
    es_buf_init(&out, ES_HYP_XML_MAX);
}

static void teardown(void)
{
    es_buf_finish(&out);
    hw_finish(&w);
}

/* On a difference the text found lies beside the test's objects, to look at and, when it
 * is right, to copy. */
static void matches(const char *name)
{
    char path[512], wanted[16384];
    snprintf(path, sizeof path, "%s/tests/golden/xml/%s.xml", getenv("ENSHU_TOP"), name);
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(wanted, 1, sizeof wanted - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    wanted[n] = '\0';
    if (strcmp(wanted, es_buf_str(&out)) == 0)
        return;
    snprintf(path, sizeof path, "%s/%s.xml", getenv("ENSHU_BIN"), name);
    f = fopen(path, "w");
    if (f != NULL) {
        fputs(es_buf_str(&out), f);
        fclose(f);
    }
    ck_abort_msg("tests/golden/xml/%s.xml differs from %s", name, path);
}

START_TEST(machines)
{
    struct es_err err = {0};
    char hash[33], again[33];
    struct es_hyp_machine spec = hw_spec(&w, 1, 0);
    spec.serial_log = "/range/console.log";
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", false, &out, hash, &err), 0);
    matches("machine-tcg");
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", false, &out, again, &err), 0);
    ck_assert_str_eq(hash, again);
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "cache='unsafe'"));
    spec.disk_kept = true; /* what its guest flushes is on the disk */
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", false, &out, again, &err), 0);
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "cache='writeback'"));
    ck_assert_ptr_null(strstr(es_buf_str(&out), "unsafe"));
    spec.disk_kept = false;
    spec.graphics = true;
    spec.instance = 7;
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "kvm", false, &out, again, &err), 0);
    ck_assert_str_ne(hash, again);
    matches("machine-kvm-graphics");
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", true, &out, again, &err), 0);
    matches("machine-test");
}
END_TEST

/* A mould writes its memory to a file, and a fork must find the same devices in the same
 * slots; its NIC on a shared network comes later. */
START_TEST(moulds_and_forks)
{
    struct es_err err = {0};
    char hash[33], mould_skeleton[33], skeleton[33];
    es_plan_destroy(w.plan);
    w.plan = NULL;
    ck_assert_int_eq(es_plan_make(&w.scenario, "may12", 2, true, &w.plan, &err), 0);
    struct es_hyp_machine mould = hw_spec(&w, 0, 0), fork = hw_spec(&w, 2, 0);
    mould.memory = ES_HYP_MEMORY_MOULD;
    fork.memory = ES_HYP_MEMORY_FORK;
    mould.ram = fork.ram = "/moulds/web.ram";
    ck_assert_int_eq(es_hyp_machine_xml(&mould, "tcg", false, &out, hash, &err), 0);
    matches("machine-mould");
    ck_assert_int_eq(es_hyp_machine_xml(&fork, "tcg", false, &out, hash, &err), 0);
    matches("machine-fork");
    ck_assert(!es_hyp_nic_is_plugged(&fork, 0));
    ck_assert(es_hyp_nic_is_plugged(&fork, 1));
    ck_assert_int_eq(es_hyp_nic_xml(&fork, 1, &out, &err), 0);
    matches("machine-fork-nic");

    hw_open_test(&w, "<node/>");
    struct es_hyp_machine again = hw_spec(&w, 0, 0);
    ck_assert_int_eq(es_hyp_machine_skeleton(w.hyp, &mould, mould_skeleton, &err), 0);
    again.disk = "/elsewhere/other.qcow2";
    again.instance = 9;
    ck_assert_int_eq(es_hyp_machine_skeleton(w.hyp, &again, skeleton, &err), 0);
    ck_assert_str_eq(skeleton, mould_skeleton); /* paths and instances are no devices */
    again = hw_spec(&w, 0, 1);
    ck_assert_int_eq(es_hyp_machine_skeleton(w.hyp, &again, skeleton, &err), 0);
    ck_assert_str_ne(skeleton, mould_skeleton);
}
END_TEST

START_TEST(networks_pools_volumes)
{
    struct es_err err = {0};
    char hash[33];
    ck_assert_int_eq(
        es_hyp_network_xml("may12", &w.plan->networks[1], "office", &out, hash, &err), 0);
    matches("network");
    es_buf_clear(&out);
    ck_assert_int_eq(es_hyp_pool_xml("may12", "/range/disks", &out, &err), 0);
    matches("pool");
    es_buf_clear(&out);
    ck_assert_int_eq(
        es_hyp_volume_xml("a.qcow2", "/images/root.qcow2", 1 << 30, &out, &err), 0);
    matches("volume");
}
END_TEST

START_TEST(values_cannot_break_out)
{
    struct es_err err = {0};
    char hash[33];
    struct es_hyp_machine spec = hw_spec(&w, 1, 1);
    spec.cmdline = "a='1' b=\"2\" </cmdline><devices/> & \xe6\xbc\x94";
    spec.disk = "/tmp/'/><hostdev mode='subsystem'/>";
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", false, &out, hash, &err), 0);
    matches("machine-hostile");
    spec.cmdline = "bell\a";
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", false, &out, hash, &err),
                     ES_EINVAL);
    ck_assert_str_eq(err.msg,
                     "es-may12-t01-pc cannot be described to libvirt: a value holds "
                     "control bytes or is not UTF-8");
    spec.cmdline = "\xff";
    ck_assert_int_eq(es_hyp_machine_xml(&spec, "tcg", false, &out, hash, &err),
                     ES_EINVAL);
}
END_TEST

static bool parses(const char *xml, struct es_hyp_meta *meta)
{
    return es_hyp_meta_parse(xml, meta);
}

START_TEST(metadata_read_back)
{
    struct es_hyp_meta meta;
    struct es_err err = {0};
    char hash[33];
    ck_assert_int_eq(
        es_hyp_network_xml("may12", &w.plan->networks[0], "game", &out, hash, &err), 0);
    ck_assert(parses(es_buf_str(&out), &meta));
    ck_assert_str_eq(meta.range, "may12");
    ck_assert_str_eq(meta.node, "game");
    ck_assert_str_eq(meta.kind, "network");
    ck_assert_str_eq(meta.hash, hash);
    ck_assert_int_eq(meta.team, -1);
    static const char *const bad[] = {
        "",
        "<network/>",
        "<a x='https://enshu.org/libvirt/1'/>",
        "<enshu:object xmlns:enshu='https://enshu.org/libvirt/1'/>",
        "<enshu:object xmlns:enshu='https://enshu.org/libvirt/1' range='a' team='1' "
        "node='b' kind='network' hash='c' instance='-1'/>",
        "<enshu:object xmlns:enshu='https://enshu.org/libvirt/1' range='A/../b' team='1' "
        "node='b' kind='network' hash='c' instance='1'/>",
        "<enshu:object xmlns:enshu='https://enshu.org/libvirt/1' range='a team='1'",
        "https://enshu.org/libvirt/1",
        "='https://enshu.org/libvirt/1'"};
    for (size_t i = 0; i < ES_COUNT(bad); i++)
        ck_assert_msg(!parses(bad[i], &meta), "%s", bad[i]);
}
END_TEST

START_TEST(attributes_read_back)
{
    char value[16];
    static const char tag[] =
        "<a b='1 &lt;2&amp;' cc=\"it&apos;s\" long='0123456789abcdef'>";
    ck_assert(es_xml_read_attr(tag, "b", value, sizeof value));
    ck_assert_str_eq(value, "1 <2&");
    ck_assert(es_xml_read_attr(tag, "cc", value, sizeof value));
    ck_assert_str_eq(value, "it's");
    ck_assert(!es_xml_read_attr(tag, "c", value, sizeof value));
    ck_assert(!es_xml_read_attr(tag, "long", value, sizeof value));
    ck_assert(!es_xml_read_attr("<a b='&#1;'/>", "b", value, sizeof value));
}
END_TEST

Suite *hyp_xml_suite(void);
Suite *hyp_xml_suite(void)
{
    Suite *suite = suite_create("hyp_xml");
    TCase *tc = tcase_create("xml");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, machines);
    tcase_add_test(tc, moulds_and_forks);
    tcase_add_test(tc, networks_pools_volumes);
    tcase_add_test(tc, values_cannot_break_out);
    tcase_add_test(tc, metadata_read_back);
    tcase_add_test(tc, attributes_read_back);
    suite_add_tcase(suite, tc);
    return suite;
}
