/* agent/op_personalise on a made-up root: what is written, and that repeating it changes
 * nothing. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../agents/agent/agent.h"
#include "../../agents/probe/probe.h"
#include "../support/guest.h"
#include "enshu/common/str.h"

static char root[64];

static void setup(void)
{
    es_wire_use_allocator();
    es_str_printf(root, sizeof root, "/tmp/enshu-root-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    guest_write_file(root, "etc/passwd",
                     "root:x:0:0:root:/root:/bin/bash\n"
                     "taken:x:1000:1000::/home/taken:/bin/sh");
    guest_write_file(root, "etc/group", "root:x:0:\ntaken:x:1000:\n");
    guest_write_file(root, "etc/shadow",
                     "root:*:19000:0:99999:7:::\n"
                     "taken:!:19000:0:99999:7:::\n");
    guest_write_file(root, "etc/hosts",
                     "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n"
                     "192.0.2.9\tkept\n");
    guest_write_file(root, "etc/skel/.profile", "# skeleton\n");
}

static void teardown(void)
{
    char command[128];
    es_str_printf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}

static int run(const char *text, json_t **ret_evidence, struct es_err *err)
{
    json_error_t why;
    json_t *args = json_loads(text, 0, &why);
    ck_assert_msg(args != NULL, "%s", why.text);
    *ret_evidence = NULL;
    int rc = es_op_personalise(root, args, es_probe_now_ms() + 10000, ret_evidence, err);
    json_decref(args);
    return rc;
}

static void must(const char *text)
{
    struct es_err err = {0};
    json_t *evidence;
    int rc = run(text, &evidence, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    json_decref(evidence);
}

static void holds(const char *name, const char *expected)
{
    char *text = guest_read_file(root, name);
    ck_assert_str_eq(text, expected);
    free(text);
}

static const char whole[] =
    "{\"hostname\": \"web-3\", \"machine_id\": \"0123456789abcdef0123456789abcdef\","
    " \"random\": \"AAECAwQFBgc=\", \"time_us\": 1790000000000000,"
    " \"gateway\": \"10.20.0.1\", \"dns\": \"10.20.0.1\","
    " \"nics\": [{\"mac\": \"52:54:00:00:00:01\", \"address\": \"10.20.0.10\", "
    "\"prefix\": "
    "24}],"
    " \"hosts\": [[\"10.20.0.11\", \"db\"], [\"10.20.0.12\", \"mail\"]],"
    " \"accounts\": [{\"user\": \"mori\", \"hash\": \"$6$aa$bb\", \"create\": true},"
    "               {\"user\": \"taken\", \"hash\": \"$6$cc$dd\", \"create\": false}],"
    " \"files\": [{\"path\": \"/etc/ssh/key\", \"mode\": \"0600\", \"data\": "
    "\"a2V5Cg==\"}]}";

START_TEST(everything_is_written)
{
    struct es_err err = {0};
    struct stat st;
    char path[128];
    json_t *evidence;
    ck_assert_msg(run(whole, &evidence, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(json_array_size(json_object_get(evidence, "done")), 11);
    json_decref(evidence);
    holds("etc/hostname", "web-3\n");
    holds("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    holds("etc/resolv.conf", "nameserver 10.20.0.1\n");
    holds("etc/hosts",
          "127.0.0.1\tlocalhost\n192.0.2.9\tkept\n# enshu: begin\n"
          "127.0.1.1\tweb-3\n10.20.0.11\tdb\n10.20.0.12\tmail\n# enshu: end\n");
    holds("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"
                        "taken:x:1000:1000::/home/taken:/bin/sh\n"
                        "mori:x:1001:1001::/home/mori:/bin/sh\n");
    holds("etc/group", "root:x:0:\ntaken:x:1000:\nmori:x:1001:\n");
    holds("home/mori/.profile", "# skeleton\n");
    char *shadow = guest_read_file(root, "etc/shadow");
    ck_assert_ptr_nonnull(strstr(shadow, "root:*:19000:0:99999:7:::\n"));
    ck_assert_ptr_nonnull(strstr(shadow, "\ntaken:$6$cc$dd:"));
    ck_assert_ptr_nonnull(strstr(shadow, "\nmori:$6$aa$bb:"));
    free(shadow);
    holds("etc/ssh/key", "key\n");
    es_str_printf(path, sizeof path, "%s/etc/ssh/key", root);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    es_str_printf(path, sizeof path, "%s/home/mori", root);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0700);
}
END_TEST

START_TEST(repeating_changes_nothing)
{
    static const char *const names[] = {"etc/hosts",  "etc/passwd",   "etc/group",
                                        "etc/shadow", "etc/hostname", "etc/ssh/key"};
    char *before[ES_COUNT(names)];
    must(whole);
    for (size_t i = 0; i < ES_COUNT(names); i++)
        before[i] = guest_read_file(root, names[i]);
    must(whole);
    for (size_t i = 0; i < ES_COUNT(names); i++) {
        holds(names[i], before[i]);
        free(before[i]);
    }
}
END_TEST

START_TEST(a_later_name_replaces_the_earlier)
{
    must("{\"hostname\": \"one\"}");
    must("{\"hostname\": \"two\"}");
    holds("etc/hosts", "127.0.0.1\tlocalhost\n192.0.2.9\tkept\n# enshu: begin\n"
                       "127.0.1.1\ttwo\n# enshu: end\n");
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *args;
        int status;
        const char *part;
    } cases[] = {
        {"{\"hostname\": \"a b\"}", ES_EINVAL, "hostname"},
        {"{\"hostname\": 7}", ES_EINVAL, "hostname"},
        {"{\"machine_id\": \"xyz\"}", ES_EINVAL, "machine_id"},
        {"{\"random\": \"*\"}", ES_EPROTO, "random"},
        {"{\"gateway\": \"x\"}", ES_EINVAL, "gateway"},
        {"{\"dns\": \"1.2.3.4\\nx\"}", ES_EINVAL, "dns"},
        {"{\"nics\": [{\"mac\": \"x\", \"address\": \"1.2.3\", \"prefix\": 24}]}",
         ES_EINVAL, "nics"},
        {"{\"nics\": [7]}", ES_EINVAL, "nics"},
        {"{\"hosts\": [[\"1.2.3.4\"]]}", ES_EINVAL, "hosts"},
        {"{\"accounts\": [{\"user\": \"none\", \"hash\": \"x\", \"create\": false}]}",
         ES_ENOENT, "accounts"},
        {"{\"accounts\": [{\"user\": \"a:b\", \"hash\": \"x\", \"create\": true}]}",
         ES_EINVAL, "accounts"},
        {"{\"accounts\": [{\"user\": \"taken\", \"hash\": \"a:b\"}]}", ES_EINVAL,
         "accounts"},
        {"{\"files\": [{\"path\": \"relative\", \"data\": \"\"}]}", ES_EINVAL, "files"},
        {"{\"files\": [{\"path\": \"/x\", \"mode\": \"rw\", \"data\": \"\"}]}", ES_EINVAL,
         "files"},
    };
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        struct es_err err = {0};
        json_t *evidence;
        int rc = run(cases[i].args, &evidence, &err);
        ck_assert_msg(rc == cases[i].status, "%s: %d %s", cases[i].args, rc, err.msg);
        ck_assert_msg(strstr(err.msg, cases[i].part) != NULL, "%s", err.msg);
    }
}
END_TEST

Suite *agent_personalise_suite(void);
Suite *agent_personalise_suite(void)
{
    Suite *suite = suite_create("agent_personalise");
    TCase *tc = tcase_create("agent_personalise");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, everything_is_written);
    tcase_add_test(tc, repeating_changes_nothing);
    tcase_add_test(tc, a_later_name_replaces_the_earlier);
    tcase_add_test(tc, what_is_wrong_is_named);
    suite_add_tcase(suite, tc);
    return suite;
}
