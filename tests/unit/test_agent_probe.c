/* agents/probe on a made-up root: the kinds that read files, and the account files. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../agents/probe/etc.h"
#include "../../agents/probe/probe.h"
#include "../support/guest.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

static char root[64];

static void put(const char *name, const char *text)
{
    guest_write_file(root, name, text);
}

static void setup(void)
{
    es_wire_use_allocator();
    es_str_printf(root, sizeof root, "/tmp/enshu-root-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"
                      "mori:x:1000:1000:Mori,,,:/home/mori:/bin/sh\n"
                      "broken line\n"
                      "shut:x:1001:100::/home/shut:/usr/sbin/nologin\n");
    put("etc/group", "root:x:0:\nmori:x:1000:\nusers:x:100:\nsudo:x:27:mori,other\n"
                     "adm:x:4:other,mori\n");
    put("etc/shadow",
        "root:*:19000:0:99999:7:::\nmori:$y$j9T$abc$def:20000:0:99999:7:::\n"
        "shut:$y$j9T$abc$def:20000:0:99999:7::1:\n");
}

static void teardown(void)
{
    char command[128];
    es_str_printf(command, sizeof command, "rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}

static int run(const char *kind, json_t *args, json_t **ret_evidence, struct es_err *err)
{
    json_object_set_new(args, "kind", json_string(kind));
    *ret_evidence = NULL;
    int rc = es_probe_run(root, args, es_probe_now_ms() + 30000, ret_evidence, err);
    json_decref(args);
    return rc;
}

static json_t *look(const char *kind, json_t *args)
{
    struct es_err err = {0};
    json_t *evidence;
    int rc = run(kind, args, &evidence, &err);
    ck_assert_msg(rc == 0, "%s: %s", kind, err.msg);
    return evidence;
}

static json_t *named(const char *name)
{
    return json_pack("{s:s}", "name", name);
}

/* The list as one text, in its order. */
static const char *joined(const json_t *evidence, const char *key)
{
    static char text[1024];
    size_t i, len = 0;
    const json_t *item;
    text[0] = '\0';
    ck_assert(json_is_array(json_object_get(evidence, key)));
    json_array_foreach (json_object_get(evidence, key), i, item) {
        es_str_printf(text + len, sizeof text - len, "%s%s", i > 0 ? " " : "",
                      json_string_value(item));
        len += strlen(text + len);
    }
    return text;
}

START_TEST(files)
{
    size_t len;
    char path[128];
    put("srv/flag", "secret\n");
    es_str_printf(path, sizeof path, "%s/srv/flag", root);
    ck_assert_int_eq(chmod(path, 04711), 0);
    json_t *e = look("file", json_pack("{s:s, s:i}", "path", "/srv/flag", "read", 4));
    ck_assert(guest_bool(e, "exists"));
    ck_assert_str_eq(guest_text(e, "type"), "file");
    ck_assert_str_eq(guest_text(e, "mode"), "4711");
    ck_assert_int_eq(guest_int(e, "size"), 7);
    char *text = guest_bytes(e, "content_b64", &len);
    ck_assert_str_eq(text, "secr");
    ck_assert(guest_bool(e, "truncated"));
    free(text);
    json_decref(e);
    e = look("file", json_pack("{s:s}", "path", "/srv/none"));
    ck_assert(!guest_bool(e, "exists"));
    ck_assert_uint_eq(json_object_size(e), 1);
    json_decref(e);
    es_str_printf(path, sizeof path, "%s/srv/link", root);
    ck_assert_int_eq(symlink("flag", path), 0);
    e = look("file", json_pack("{s:s}", "path", "/srv/link"));
    ck_assert_str_eq(guest_text(e, "type"), "file");
    ck_assert_str_eq(guest_text(e, "target"), "flag");
    json_decref(e);
    e = look("file", json_pack("{s:s, s:b}", "path", "/srv/link", "follow", 0));
    ck_assert_str_eq(guest_text(e, "type"), "symlink");
    json_decref(e);
    /* A FIFO in the place of a file is told, not read. */
    es_str_printf(path, sizeof path, "%s/srv/fifo", root);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    e = look("file", json_pack("{s:s, s:i}", "path", "/srv/fifo", "read", 100));
    ck_assert_str_eq(guest_text(e, "type"), "fifo");
    ck_assert_ptr_null(json_object_get(e, "content_b64"));
    json_decref(e);
}
END_TEST

START_TEST(hashes_and_the_largest_content)
{
    size_t len;
    struct es_buf line;
    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = '\0';
    put("big", big);
    put("abc", "abc");
    json_t *e = look("file", json_pack("{s:s, s:b}", "path", "/abc", "hash", 1));
    ck_assert_str_eq(guest_text(e, "sha256"), /* FIPS 180-2, appendix B.1 */
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    json_decref(e);
    e = look("file", json_pack("{s:s, s:i}", "path", "/big", "read", 1 << 20));
    free(guest_bytes(e, "content_b64", &len));
    ck_assert_uint_eq(len, ES_PROBE_BYTES_MAX);
    /* It fits into a line whatever else is told. */
    struct es_result result = {.id = 1, .seq = 1, .ok = true, .evidence = e};
    es_str_printf(result.epoch, sizeof result.epoch, "0123456789abcdef");
    es_buf_init(&line, ES_WIRE_LINE_MAX);
    ck_assert_int_eq(es_wire_put_result(&line, &result), 0);
    es_buf_finish(&line);
    json_decref(e);
    free(big);
}
END_TEST

START_TEST(directories)
{
    put("srv/b", "");
    put("srv/a/deep/er", "");
    put("srv/\xe3\x81\x82", "");
    put("srv/\xff", ""); /* not UTF-8 */
    json_t *e = look("directory", json_pack("{s:s}", "path", "/srv"));
    ck_assert_str_eq(joined(e, "entries"), "a b \xe3\x81\x82 \\xff");
    ck_assert_int_eq(guest_int(e, "count"), 4);
    ck_assert(!guest_bool(e, "truncated"));
    json_decref(e);
    e = look("directory", json_pack("{s:s, s:i}", "path", "/srv", "depth", 2));
    ck_assert_str_eq(joined(e, "entries"), "a a/deep b \xe3\x81\x82 \\xff");
    json_decref(e);
    e = look("directory", json_pack("{s:s}", "path", "/srv/b"));
    ck_assert(!guest_bool(e, "exists"));
    json_decref(e);
}
END_TEST

START_TEST(directories_have_an_end)
{
    char name[64];
    for (int i = 0; i < 2100; i++) {
        es_str_printf(name, sizeof name, "many/%d", i);
        put(name, "");
    }
    json_t *e = look("directory", json_pack("{s:s}", "path", "/many"));
    ck_assert_uint_eq(json_array_size(json_object_get(e, "entries")), 2000);
    ck_assert_int_eq(guest_int(e, "count"), 2100);
    ck_assert(guest_bool(e, "truncated"));
    json_decref(e);
}
END_TEST

START_TEST(logs)
{
    size_t len;
    struct es_err err = {0};
    json_t *e;
    put("var/log/x", "one fail\ntwo\nthree fail\nfour fail");
    e = look("log", json_pack("{s:s, s:s, s:i}", "path", "/var/log/x", "match", " fail$",
                              "max", 2));
    ck_assert_int_eq(guest_int(e, "count"), 3);
    json_t *lines = json_object_get(e, "lines_b64");
    ck_assert_uint_eq(json_array_size(lines), 2);
    json_t *first = json_pack("{s:O}", "line", json_array_get(lines, 0));
    char *text = guest_bytes(first, "line", &len);
    ck_assert_str_eq(text, "three fail");
    free(text);
    json_decref(first);
    json_decref(e);
    /* Only whole lines of the last bytes count. */
    e = look("log", json_pack("{s:s, s:s, s:i}", "path", "/var/log/x", "match", "fail",
                              "last", 14));
    ck_assert_int_eq(guest_int(e, "count"), 1);
    json_decref(e);
    e = look("log", json_pack("{s:s, s:s}", "path", "/var/log/none", "match", "x"));
    ck_assert(!guest_bool(e, "exists"));
    json_decref(e);
    ck_assert_int_eq(run("log",
                         json_pack("{s:s, s:s}", "path", "/var/log/x", "match", "(x"), &e,
                         &err),
                     ES_EINVAL);
}
END_TEST

START_TEST(users_groups_passwords)
{
    json_t *e = look("user", named("mori"));
    ck_assert_int_eq(guest_int(e, "uid"), 1000);
    ck_assert_str_eq(guest_text(e, "home"), "/home/mori");
    ck_assert_str_eq(guest_text(e, "shell"), "/bin/sh");
    ck_assert(!guest_bool(e, "locked"));
    ck_assert_str_eq(joined(e, "groups"), "mori sudo adm");
    json_decref(e);
    e = look("user", named("root"));
    ck_assert(guest_bool(e, "locked"));
    json_decref(e);
    e = look("user", named("shut")); /* expired in 1970 */
    ck_assert(guest_bool(e, "locked"));
    json_decref(e);
    e = look("user", named("broken line"));
    ck_assert(!guest_bool(e, "exists"));
    json_decref(e);
    e = look("group", named("users"));
    ck_assert_int_eq(guest_int(e, "gid"), 100);
    ck_assert_str_eq(joined(e, "members"), "shut");
    json_decref(e);
    e = look("group", named("sudo"));
    ck_assert_str_eq(joined(e, "members"), "mori other");
    json_decref(e);
    e = look("password", json_pack("{s:s}", "user", "mori"));
    ck_assert_str_eq(guest_text(e, "hash"), "$y$j9T$abc$def");
    ck_assert_int_eq(guest_int(e, "last_change_day"), 20000);
    json_decref(e);
    e = look("password", json_pack("{s:s}", "user", "nobody"));
    ck_assert(!guest_bool(e, "exists"));
    json_decref(e);
}
END_TEST

START_TEST(packages)
{
    json_t *e;
    put("var/lib/dpkg/status",
        "Package: nginx\nStatus: install ok installed\nVersion: 1.22.1-9\n\n"
        "Package: nginx-doc\nStatus: deinstall ok config-files\nVersion: 1.0\n\n"
        "Package: last\nVersion: 2\nStatus: hold ok installed");
    e = look("package", named("nginx"));
    ck_assert(guest_bool(e, "installed"));
    ck_assert_str_eq(guest_text(e, "version"), "1.22.1-9");
    ck_assert_str_eq(guest_text(e, "manager"), "dpkg");
    json_decref(e);
    e = look("package", named("nginx-doc"));
    ck_assert(!guest_bool(e, "installed"));
    json_decref(e);
    e = look("package", named("last"));
    ck_assert_str_eq(guest_text(e, "version"), "2");
    json_decref(e);
    e = look("package", named("ngin"));
    ck_assert(!guest_bool(e, "installed"));
    json_decref(e);
    char path[128];
    es_str_printf(path, sizeof path, "%s/var/lib/dpkg/status", root);
    unlink(path);
    put("lib/apk/db/installed", "C:Q1\nP:musl\nV:1.2.3-r4\n\nP:zlib\nV:1.3\n");
    e = look("package", named("musl"));
    ck_assert_str_eq(guest_text(e, "version"), "1.2.3-r4");
    ck_assert_str_eq(guest_text(e, "manager"), "apk");
    json_decref(e);
}
END_TEST

START_TEST(processes_and_services)
{
    json_t *e;
    char path[128];
    put("proc/12/comm", "nginx\n");
    put("proc/12/cmdline", "nginx: master process /usr/sbin/nginx");
    put("proc/13/comm", "kworker/0:1\n");
    put("proc/13/cmdline", "");
    e = look("process", named("nginx"));
    ck_assert_int_eq(guest_int(e, "count"), 1);
    json_decref(e);
    e = look("process", json_pack("{s:s}", "match", "^nginx: master"));
    ck_assert(guest_bool(e, "running"));
    json_decref(e);
    e = look("process", named("sshd"));
    ck_assert(!guest_bool(e, "running"));
    json_decref(e);
    e = look("service", named("nginx"));
    ck_assert(guest_bool(e, "active"));
    ck_assert_str_eq(guest_text(e, "manager"), "busybox");
    json_decref(e);
    e = look("service", named("httpd"));
    ck_assert_str_eq(guest_text(e, "state"), "not-found");
    json_decref(e);
    put("run/nginx.pid", "99\n");
    e = look("service", named("nginx"));
    ck_assert(!guest_bool(e, "active"));
    json_decref(e);
    put("etc/init.d/old", "#!/bin/sh\n[ \"$1\" = status ] && exit 0\nexit 9\n");
    es_str_printf(path, sizeof path, "%s/etc/init.d/old", root);
    ck_assert_int_eq(chmod(path, 0755), 0);
    put("etc/rc3.d/S20old", "");
    e = look("service", named("old"));
    ck_assert(guest_bool(e, "active"));
    ck_assert(guest_bool(e, "enabled"));
    ck_assert_str_eq(guest_text(e, "manager"), "sysv");
    json_decref(e);
}
END_TEST

START_TEST(sockets)
{
    json_t *e;
    put("proc/net/tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr "
                        "tm->when retrnsmt   uid\n"
                        "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 "
                        "00:00000000 00000000     0 "
                        "       0 4711 1 0 100 0 0 10 0\n"
                        "   1: 0100007F:0051 0200007F:1234 01 00000000:00000000 "
                        "00:00000000 00000000     0 "
                        "       0 4712 1 0 100 0 0 10 0\n");
    put("proc/net/tcp6", "  sl  local_address\n"
                         "   0: 00000000000000000000000000000000:0050 "
                         "00000000000000000000000000000000:0000 "
                         "0A 00000000:00000000 00:00000000 00000000     0        0 4713 "
                         "1 0 100 0 0 10 0\n");
    char path[128], link[128];
    put("proc/77/comm", "httpd\n");
    put("proc/77/fd/x", "");
    es_str_printf(path, sizeof path, "%s/proc/77/fd/3", root);
    es_str_printf(link, sizeof link, "socket:[4711]");
    ck_assert_int_eq(symlink(link, path), 0);
    e = look("port", json_pack("{s:i}", "port", 80));
    ck_assert(guest_bool(e, "listening"));
    ck_assert_str_eq(joined(e, "addresses"), "127.0.0.1 ::");
    ck_assert_str_eq(guest_text(e, "process"), "httpd");
    json_decref(e);
    e = look("port", json_pack("{s:i}", "port", 81)); /* connected, not listening */
    ck_assert(!guest_bool(e, "listening"));
    json_decref(e);
}
END_TEST

START_TEST(kernel_and_mounts)
{
    json_t *e;
    put("proc/sys/kernel/osrelease", "6.1.0-test\n");
    put("proc/sys/net/ipv4/ip_forward", "1\n");
    put("proc/modules", "nf_tables 1 0 - Live 0x0\n");
    e = look("kernel", json_pack("{s:s, s:s}", "sysctl", "net.ipv4.ip_forward", "module",
                                 "nf-tables"));
    ck_assert_str_eq(guest_text(e, "release"), "6.1.0-test");
    ck_assert_str_eq(guest_text(e, "value"), "1");
    ck_assert(guest_bool(e, "loaded"));
    json_decref(e);
    e = look("kernel", json_pack("{s:s, s:s}", "sysctl", "no.such", "module", "nf"));
    ck_assert_ptr_null(json_object_get(e, "value"));
    ck_assert(!guest_bool(e, "loaded"));
    json_decref(e);
    put("proc/self/mounts", "/dev/vda1 / ext4 rw,noatime 0 0\n"
                            "tmpfs /a\\040b tmpfs ro,nosuid 0 0\n"
                            "tmpfs / tmpfs ro 0 0\n");
    e = look("mount", json_pack("{s:s}", "path", "/a b/"));
    ck_assert(guest_bool(e, "mounted"));
    ck_assert_str_eq(joined(e, "options"), "ro nosuid");
    json_decref(e);
    e = look("mount", json_pack("{s:s}", "path", "/"));
    ck_assert_str_eq(guest_text(e, "fstype"), "tmpfs");
    json_decref(e);
    e = look("mount", json_pack("{s:s}", "path", "/none"));
    ck_assert(!guest_bool(e, "mounted"));
    json_decref(e);
}
END_TEST

START_TEST(schedules)
{
    json_t *e;
    put("etc/crontab", "# comment\nMAILTO=root\n17 * * * * root run-parts /etc/x\n"
                       "@daily mori backup\n");
    put("etc/cron.d/evil", "* * * * * www-data /tmp/.x\n");
    put("etc/cron.daily/logrotate", "");
    put("var/spool/cron/crontabs/mori", "0 5 * * * beacon\n");
    e = look("schedule", json_object());
    ck_assert(guest_bool(e, "available"));
    ck_assert_uint_eq(json_array_size(json_object_get(e, "entries")), 6);
    json_decref(e);
    e = look("schedule", json_pack("{s:s}", "user", "mori"));
    json_t *entries = json_object_get(e, "entries");
    ck_assert_uint_eq(json_array_size(entries), 3); /* MAILTO, @daily, her own */
    ck_assert_str_eq(guest_text(json_array_get(entries, 2), "source"),
                     "/var/spool/cron/crontabs/mori");
    json_decref(e);
}
END_TEST

START_TEST(keys_are_checked)
{
    struct es_err err = {0};
    json_t *e;
    ck_assert_int_eq(run("file", json_object(), &e, &err), ES_EINVAL);
    ck_assert_int_eq(run("file", json_pack("{s:i}", "path", 7), &e, &err), ES_EINVAL);
    ck_assert_int_eq(
        run("directory", json_pack("{s:s, s:i}", "path", "/", "depth", 9), &e, &err),
        ES_EINVAL);
    ck_assert_int_eq(run("port", json_pack("{s:i}", "port", 65536), &e, &err), ES_EINVAL);
    ck_assert_int_eq(run("astrology", json_object(), &e, &err), ES_ENOTSUP);
    ck_assert_str_eq(es_probe_error_code(ES_ENOTSUP), "unsupported");
}
END_TEST

/* Whatever allocation fails: the error or right evidence, and no leak. */
START_TEST(every_allocation_may_fail)
{
    static const char *const asked[] = {
        "{\"kind\": \"file\", \"path\": \"/etc/passwd\", \"read\": 100, \"hash\": true}",
        "{\"kind\": \"directory\", \"path\": \"/\", \"depth\": 3}",
        "{\"kind\": \"log\", \"path\": \"/etc/passwd\", \"match\": \"o\"}",
        "{\"kind\": \"user\", \"name\": \"mori\"}",
        "{\"kind\": \"group\", \"name\": \"sudo\"}",
        "{\"kind\": \"password\", \"user\": \"mori\"}",
        "{\"kind\": \"package\", \"name\": \"nginx\"}",
        "{\"kind\": \"process\", \"match\": \"x\"}",
        "{\"kind\": \"mount\", \"path\": \"/\"}",
        "{\"kind\": \"kernel\", \"sysctl\": \"a.b\", \"module\": \"m-m\"}",
        "{\"kind\": \"schedule\"}",
        "{\"kind\": \"command\", \"run\": [\"true\"], \"env\": {\"A\": \"b\"}}",
    };
    put("proc/12/comm", "x\n");
    put("proc/12/cmdline", "x");
    put("proc/self/mounts", "/dev/vda1 / ext4 rw,noatime 0 0\n");
    put("proc/sys/kernel/osrelease", "6\n");
    put("proc/sys/a/b", "1\n");
    put("var/lib/dpkg/status",
        "Package: nginx\nStatus: install ok installed\nVersion: 1\n");
    put("etc/cron.d/job", "* * * * * root x\n");
    for (size_t i = 0; i < ES_COUNT(asked); i++) {
        json_t *args = json_loads(asked[i], 0, NULL), *right = NULL, *e;
        struct es_err err = {0};
        int64_t until = es_probe_now_ms() + 60000;
        ck_assert_msg(es_probe_run(root, args, until, &right, &err) == 0, "%s", err.msg);
        long live = es_mem_live_count();
        bool failed = true;
        for (long n = 1; failed; n++) {
            e = NULL;
            es_mem_fail_nth(n);
            int rc = es_probe_run(root, args, until, &e, &err);
            failed = es_mem_failed();
            es_mem_fail_nth(0);
            ck_assert_msg(rc != 0 || json_equal(e, right), "%s n=%ld: wrong evidence",
                          asked[i], n);
            json_decref(e);
            ck_assert_msg(es_mem_live_count() == live, "%s n=%ld: leak", asked[i], n);
        }
        json_decref(args);
        json_decref(right);
    }
}
END_TEST

START_TEST(owners)
{
    uid_t uid;
    gid_t gid;
    struct es_err err = {0};
    ck_assert_int_eq(es_etc_owner(root, "mori", &uid, &gid, &err), 0);
    ck_assert_uint_eq(uid, 1000);
    ck_assert_uint_eq(gid, 1000);
    ck_assert_int_eq(es_etc_owner(root, "mori:sudo", &uid, &gid, &err), 0);
    ck_assert_uint_eq(gid, 27);
    ck_assert_int_eq(es_etc_owner(root, "5:6", &uid, &gid, &err), 0);
    ck_assert_uint_eq(uid, 5);
    ck_assert_uint_eq(gid, 6);
    ck_assert_int_eq(es_etc_owner(root, "nobody", &uid, &gid, &err), ES_ENOENT);
    ck_assert_int_eq(es_etc_owner(root, "", &uid, &gid, &err), ES_EINVAL);
    ck_assert(es_etc_in_list("a,mori", "mori"));
    ck_assert(!es_etc_in_list("a,moria", "mori"));
}
END_TEST

Suite *agent_probe_suite(void);
Suite *agent_probe_suite(void)
{
    Suite *suite = suite_create("agent_probe");
    TCase *tc = tcase_create("agent_probe");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, files);
    tcase_add_test(tc, hashes_and_the_largest_content);
    tcase_add_test(tc, directories);
    tcase_add_test(tc, directories_have_an_end);
    tcase_add_test(tc, logs);
    tcase_add_test(tc, users_groups_passwords);
    tcase_add_test(tc, packages);
    tcase_add_test(tc, processes_and_services);
    tcase_add_test(tc, sockets);
    tcase_add_test(tc, kernel_and_mounts);
    tcase_add_test(tc, schedules);
    tcase_add_test(tc, keys_are_checked);
    tcase_add_test(tc, every_allocation_may_fail);
    tcase_add_test(tc, owners);
    suite_add_tcase(suite, tc);
    return suite;
}
