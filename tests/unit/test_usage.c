/* hyp, cgroup: what is read of a host's /proc, and the cgroups that divide its processors,
 * on made-up hosts. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../orchestrator/hyp/usage.h"
#include "../support/scratch.h"
#include "enshu/cgroup.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

static void put_bytes(const char *name, const char *bytes, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s", scratch_path(name));
    for (char *slash = strchr(path + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_uint_eq(fwrite(bytes, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

static void assert_holds(const char *name, const char *text)
{
    char found[256] = "";
    FILE *file = fopen(scratch_path(name), "r");
    ck_assert_msg(file != NULL, "%s", name);
    found[fread(found, 1, sizeof found - 1, file)] = '\0';
    fclose(file);
    ck_assert_str_eq(found, text);
}

static const char *root(void)
{
    return scratch_path("");
}

/* A process whose arguments are separated by '|'. */
static void put_process(int pid, const char *args, const char *status)
{
    char name[64], line[512];
    snprintf(line, sizeof line, "%s", args);
    size_t len = strlen(line);
    for (size_t i = 0; i < len; i++)
        if (line[i] == '|')
            line[i] = '\0';
    snprintf(name, sizeof name, "proc/%d/cmdline", pid);
    put_bytes(name, line, len + 1);
    snprintf(name, sizeof name, "proc/%d/status", pid);
    put(name, status);
}

static const char status_text[] = "Name:\tqemu-system-x86\nVmRSS:\t  400000 kB\n"
                                  "RssAnon:\t   50000 kB\nRssFile:\t  350000 kB\n"
                                  "RssShmem:\t       0 kB\nVmSwap:\t    2000 kB\n";

START_TEST(machines_are_found_by_their_command_line)
{
    struct es_hyp_processes list;
    struct es_err err = {0};
    scratch_make();
    put_process(
        10, "/usr/bin/qemu-system-x86_64|-name|guest=es-r-t01-web,debug-threads=on|-S",
        status_text);
    put_process(11, "qemu-system-x86_64|-name|guest=es-r-judge", status_text);
    put_process(12, "/usr/bin/qemu-system-x86_64|-name|guest=other,debug-threads=on",
                status_text);
    put_process(13, "vi|-name|guest=es-r-t02-web,x", status_text);
    put_process(14, "qemu-system-x86_64|-name", status_text);
    put_process(15, "qemu-system-x86_64", status_text);
    put_process(16, "", status_text);
    put_process(17, "qemu-system-x86_64|-name|guest=es-r-t03-web,x", "Name:\tzombie\n");
    put("proc/self/cmdline", "x");
    ck_assert_msg(es_hyp_processes(root(), &list, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(list.count, 2);
    for (size_t i = 0; i < list.count; i++) {
        const struct es_hyp_process *p = &list.items[i];
        ck_assert_str_eq(p->name, p->pid == 10 ? "es-r-t01-web" : "es-r-judge");
        ck_assert_int_eq(p->private_bytes, 52000 * 1024);
    }
    es_free(list.items);
    ck_assert_int_eq(es_hyp_processes("/nonexistent", &list, &err), ES_EIO);
    scratch_remove();
}
END_TEST

START_TEST(many_machines_and_no_memory)
{
    struct es_hyp_processes list;
    char args[128];
    scratch_make();
    for (int i = 1; i <= 200; i++) {
        snprintf(args, sizeof args, "qemu|-name|guest=es-r-t%03d-web,x", i);
        put_process(i, args, status_text);
    }
    for (long n = 1;; n++) {
        struct es_err err = {0};
        es_mem_fail_nth(n);
        int rc = es_hyp_processes(root(), &list, &err);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : 0);
        ck_assert_uint_eq(list.count, failed ? 0 : 200);
        es_free(list.items);
        if (!failed)
            break;
    }
    scratch_remove();
}
END_TEST

START_TEST(the_host_tells_memory_and_pressure)
{
    struct es_hyp_usage usage = {0};
    scratch_make();
    put("proc/meminfo", "MemTotal:       24000000 kB\nMemFree:         1000 kB\n"
                        "MemAvailable:   20000000 kB\nSwapTotal: 9 kB\nSwapFree: 8 kB\n");
    put("proc/pressure/memory", "some avg10=12.34 avg60=1.00 avg300=0.00 total=1\n"
                                "full avg10=0.07 avg60=0.00 avg300=0.00 total=1\n");
    put("proc/pressure/cpu", "some avg10=100.00 avg60=80.27 avg300=42.39 total=4\n");
    es_hyp_usage_host(root(), &usage);
    ck_assert_int_eq(usage.host.total_bytes, 24000000LL << 10);
    ck_assert_int_eq(usage.host.memory_bytes, 20000000LL << 10);
    ck_assert_int_eq(usage.host.swap_bytes, 8 << 10);
    ck_assert_int_gt(usage.host.cpus, 0);
    ck_assert_int_eq(usage.memory.some, 1234);
    ck_assert_int_eq(usage.memory.full, 7);
    ck_assert_int_eq(usage.cpu.some, 10000);
    ck_assert_int_eq(usage.cpu.full, -1);
    ck_assert_int_eq(usage.io.some, -1);
    put("proc/pressure/io", "some avg10=x\n");
    put("proc/meminfo", "MemTotal: -4 kB\nMemAvailable: 99999999999999999999 kB\n");
    es_hyp_usage_host(root(), &usage);
    ck_assert_int_eq(usage.io.some, -1);
    ck_assert_int_eq(usage.host.total_bytes, 0);
    ck_assert_int_eq(usage.host.memory_bytes, 0);
    scratch_remove();
}
END_TEST

/* ---------------------------------------------------------------- cgroups */

static const char mounts[] =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

static int find(struct es_cgroup *group, struct es_err *err)
{
    *err = (struct es_err){0};
    return es_cgroup_find(root(), 0, group, err);
}

START_TEST(a_delegated_cgroup_is_found)
{
    struct es_cgroup group;
    struct es_err err;
    scratch_make();
    put("proc/self/cgroup", "4:memory:/x\n");
    put("proc/self/mountinfo", mounts);
    ck_assert_int_eq(find(&group, &err), ES_ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.msg, "no cgroup of version 2"));
    put("proc/self/cgroup", "4:memory:/x\n0::/user.slice/enshud.service\n");
    ck_assert_int_eq(find(&group, &err), ES_ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.msg, "was not delegated"));
    put("sys/fs/cgroup/user.slice/enshud.service/cgroup.controllers", "memory cpuset\n");
    ck_assert_int_eq(find(&group, &err), ES_ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.msg, "no cpu controller"));
    put("sys/fs/cgroup/user.slice/enshud.service/cgroup.controllers", "cpuset cpu io\n");
    ck_assert_msg(find(&group, &err) == 0, "%s", err.msg);
    ck_assert_ptr_nonnull(strstr(group.path, "/sys/fs/cgroup/user.slice/enshud.service"));
    /* a container sees its own part of the tree as the root */
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cgroup.controllers", "cpu\n");
    ck_assert_msg(find(&group, &err) == 0, "%s", err.msg);
    ck_assert_ptr_nonnull(strstr(group.path, "/sys/fs/cgroup"));
    ck_assert_ptr_null(strstr(group.path, "cgroup/"));
    scratch_remove();
}
END_TEST

START_TEST(machines_are_put_into_groups)
{
    struct es_cgroup group;
    struct es_err err;
    scratch_make();
    put("proc/self/cgroup", "0::/d\n");
    put("proc/self/mountinfo", mounts);
    put("sys/fs/cgroup/d/cgroup.controllers", "cpu\n");
    ck_assert_int_eq(find(&group, &err), 0);
    /* the kernel makes a cgroup's files; where it does not, why is told */
    ck_assert_int_eq(es_cgroup_put(&group, "es-r-t01", 42, &err), ES_ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.msg, "es-r-t01"));
    put("sys/fs/cgroup/d/cgroup.subtree_control", "");
    put("sys/fs/cgroup/d/es-r-t01/cgroup.type", "domain\n");
    put("sys/fs/cgroup/d/es-r-t01/cgroup.procs", "");
    ck_assert_msg(es_cgroup_put(&group, "es-r-t01", 42, &err) == 0, "%s", err.msg);
    assert_holds("sys/fs/cgroup/d/cgroup.subtree_control", "+cpu");
    assert_holds("sys/fs/cgroup/d/es-r-t01/cgroup.procs", "42");
    ck_assert_int_eq(mkdir(scratch_path("sys/fs/cgroup/d/es-r-t02"), 0755), 0);
    ck_assert_int_eq(mkdir(scratch_path("sys/fs/cgroup/d/other"), 0755), 0);
    es_cgroup_sweep(&group, "es-");
    ck_assert_int_ne(access(scratch_path("sys/fs/cgroup/d/es-r-t02"), F_OK), 0);
    ck_assert_int_eq(access(scratch_path("sys/fs/cgroup/d/other"), F_OK), 0);
    ck_assert_int_eq(access(scratch_path("sys/fs/cgroup/d/es-r-t01"), F_OK), 0);
    scratch_remove();
}
END_TEST

Suite *usage_suite(void);
Suite *usage_suite(void)
{
    Suite *suite = suite_create("usage");
    TCase *tc = tcase_create("usage");
    tcase_add_test(tc, machines_are_found_by_their_command_line);
    tcase_add_test(tc, many_machines_and_no_memory);
    tcase_add_test(tc, the_host_tells_memory_and_pressure);
    tcase_add_test(tc, a_delegated_cgroup_is_found);
    tcase_add_test(tc, machines_are_put_into_groups);
    suite_add_tcase(suite, tc);
    return suite;
}
