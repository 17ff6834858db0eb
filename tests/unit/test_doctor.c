/* doctor: every check on a made-up host below a folder, in order and out of order. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/err.h"
#include "enshu/common/str.h"
#include "enshu/doctor.h"
#include "enshu/wire.h"

static char root[64], state[128];
static struct es_doctor_host host;
static struct es_doctor_finding findings[32];
static size_t finding_count;

static void path_of(const char *path, char *dst, size_t size)
{
    ck_assert_int_eq(es_str_printf(dst, size, "%s%s", root, path), 0);
}

static void put(const char *path, const char *text, mode_t mode)
{
    char full[512];
    path_of(path, full, sizeof full);
    for (char *slash = full + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL;
         slash++) {
        *slash = '\0';
        mkdir(full, 0755);
        *slash = '/';
    }
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, mode);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static void take_away(const char *path)
{
    char full[512];
    path_of(path, full, sizeof full);
    ck_assert_int_eq(unlink(full), 0);
}

#define PROCESSOR "processor\t: 0\nflags\t\t: fpu vmx sse\n"
#define LIMITS(n)                                                                        \
    "Limit  Soft  Hard  Units\nMax open files            1024  " n "  files\n"

static const char *const programs[] = {
    "mmdebstrap", "qemu-img", "mke2fs",   "busybox",  "cpio",
    "depmod",     "zstd",     "dpkg-deb", "iptables", "qemu-system-x86_64"};

/* A host on which everything is in order, seen by an ordinary user. */
static void setup(void)
{
    es_wire_use_allocator();
    snprintf(root, sizeof root, "/tmp/enshu-doctor-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    snprintf(state, sizeof state, "%s/s", root);
    put("/proc/cpuinfo", PROCESSOR PROCESSOR, 0644);
    put("/proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    8388608 kB\n", 0644);
    put("/proc/self/limits", LIMITS("65536"), 0644);
    put("/proc/sys/kernel/osrelease", "6.1.0\n", 0644);
    put("/proc/sys/user/max_user_namespaces", "1000\n", 0644);
    put("/proc/sys/kernel/unprivileged_userns_clone", "1\n", 0644);
    put("/sys/module/apparmor/parameters/enabled", "N\n", 0644);
    put("/proc/sys/kernel/sched_autogroup_enabled", "1\n", 0644);
    put("/proc/self/cgroup", "0::/user/core\n", 0644);
    put("/proc/77/cgroup", "1:cpu:/\n0::/elsewhere\n", 0644);
    put("/proc/self/mountinfo",
        "41 31 0:38 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", 0644);
    put("/sys/fs/cgroup/user/core/cgroup.controllers", "cpu memory\n", 0644);
    put("/dev/kvm", "", 0666);
    put("/dev/net/tun", "", 0666);
    put("/etc/subuid", "other:1:65536\nmori:100000:65536\n", 0644);
    put("/etc/subgid", "1000:100000:65536\n", 0644);
    put("/usr/sbin/libvirtd", "", 0755);
    put("/usr/bin/newuidmap", "", 04755);
    put("/s/accel.json", "{\"accel\":\"kvm\",\"kernel\":\"6.1.0\"}", 0644);
    for (size_t i = 0; i < ES_COUNT(programs); i++) {
        char path[64];
        snprintf(path, sizeof path, "/usr/bin/%s", programs[i]);
        put(path, "", 0755);
    }
    host = (struct es_doctor_host){.root = root,
                                   .state_dir = state,
                                   .user = "mori",
                                   .uid = 1000,
                                   .path = "/usr/sbin:/usr/bin"};
}

static void teardown(void)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static void on_finding(void *ctx, const struct es_doctor_finding *finding)
{
    ck_assert_ptr_null(ctx);
    ck_assert_uint_lt(finding_count, ES_COUNT(findings));
    findings[finding_count++] = *finding;
}

static enum es_doctor_level look(void)
{
    finding_count = 0;
    return es_doctor_run(&host, on_finding, NULL);
}

/* The named check has this level and text, all others are ok. */
static void expect(const char *check, enum es_doctor_level level, const char *text,
                   const char *remedy)
{
    bool seen = false;
    ck_assert_int_ge(look(), level);
    for (size_t i = 0; i < finding_count; i++) {
        const struct es_doctor_finding *f = &findings[i];
        if (strcmp(f->check, "disk") == 0) /* the real one below the folder */
            continue;
        bool is_it = strcmp(f->check, check) == 0;
        ck_assert_msg(is_it ? f->level == level : f->level == ES_DOCTOR_OK, "%s: %s: %s",
                      f->check, es_doctor_level_name(f->level), f->text);
        seen = seen || is_it;
        if (!is_it)
            continue;
        ck_assert_msg(strstr(f->text, text) != NULL, "%s: %s", f->check, f->text);
        ck_assert_msg(strstr(f->remedy, remedy) != NULL, "%s: %s", f->check, f->remedy);
    }
    ck_assert_msg(seen, "no finding of %s", check);
}

START_TEST(shares_need_a_delegated_cgroup)
{
    expect("CPU shares", ES_DOCTOR_OK, "by team", "");
    put("/sys/fs/cgroup/user/core/cgroup.controllers", "memory\n", 0644);
    expect("CPU shares", ES_DOCTOR_WARN, "has no cpu controller, if the core is started",
           "Delegate=cpu");
    host.core = 77;
    expect("CPU shares", ES_DOCTOR_WARN, "cgroup /elsewhere was not delegated",
           "Delegate=cpu");
    put("/sys/fs/cgroup/elsewhere/cgroup.controllers", "cpu\n", 0644);
    expect("CPU shares", ES_DOCTOR_OK, "by team", "");
    put("/proc/77/cgroup", "1:cpu:/\n", 0644);
    expect("CPU shares", ES_DOCTOR_WARN, "autogroups", "Delegate=cpu");
    put("/proc/sys/kernel/sched_autogroup_enabled", "0\n", 0644);
    expect("CPU shares", ES_DOCTOR_WARN, "by thread", "Delegate=cpu");
}
END_TEST

START_TEST(a_good_host_is_in_order)
{
    expect("processor", ES_DOCTOR_OK, "2 processors with hardware virtualisation", "");
    expect("kvm", ES_DOCTOR_OK, "everybody", "");
    expect("accelerator", ES_DOCTOR_OK, "KVM: a probe guest booted", "");
    expect("uidmap", ES_DOCTOR_OK, "65536 subordinate ids for user mori", "");
    expect("memory", ES_DOCTOR_OK, "8.0 GiB", "");
}
END_TEST

START_TEST(each_lack_is_found_with_its_remedy)
{
    put("/proc/cpuinfo", PROCESSOR, 0644);
    expect("processor", ES_DOCTOR_WARN, "one processor", "two or more");
    put("/proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\nflags\t: novmx\n", 0644);
    expect("processor", ES_DOCTOR_OK, "no vmx or svm", "");
    put("/proc/meminfo", "MemAvailable: 2097152 kB\n", 0644);
    expect("memory", ES_DOCTOR_WARN, "2.0 GiB", "enshu plan");
    put("/proc/meminfo", "MemAvailable: 500000 kB\n", 0644);
    expect("memory", ES_DOCTOR_FAIL, "0.4 GiB", "enshu plan");
    put("/proc/meminfo", "MemAvailable: 8388608 kB\n", 0644);
    put("/proc/self/limits", LIMITS("2048"), 0644);
    expect("open files", ES_DOCTOR_WARN, "2048", "ulimit");
    put("/proc/self/limits", LIMITS("512"), 0644);
    expect("open files", ES_DOCTOR_FAIL, "512", "ulimit");
    put("/proc/self/limits", "", 0644);
    take_away("/usr/bin/qemu-system-x86_64");
    expect("qemu", ES_DOCTOR_FAIL, "not installed", "apt-get install qemu-system-x86");
    put("/usr/bin/qemu-system-x86_64", "", 0755);
    take_away("/usr/bin/iptables");
    expect("iptables", ES_DOCTOR_FAIL, "not installed", "apt-get install iptables");
    put("/usr/bin/iptables", "", 0755);
    take_away("/usr/bin/zstd");
    put("/usr/bin/cpio", "", 0644);
    expect("image tools", ES_DOCTOR_FAIL, "cpio, zstd", "apt-get install cpio zstd");
}
END_TEST

START_TEST(kvm_names_whose_rights_are_missing)
{
    put("/dev/kvm", "", 0660);
    expect("kvm", ES_DOCTOR_WARN, "this user cannot open it", "chmod 0666 /dev/kvm");
    host.uri = "qemu:///system";
    put("/run/libvirt/libvirt-sock", "", 0666);
    expect("kvm", ES_DOCTOR_OK, "mode 0660", "");
    host.uri = NULL;
    take_away("/dev/kvm");
    expect("kvm", ES_DOCTOR_WARN, "there is no /dev/kvm", "nested");
}
END_TEST

START_TEST(the_probe_guests_verdict_is_told)
{
    put("/s/accel.json",
        "{\"accel\":\"tcg\",\"kernel\":\"6.1.0\",\"why\":\"the guest hung\"}", 0644);
    expect("accelerator", ES_DOCTOR_WARN, "TCG: the guest hung", "accel.json");
    put("/proc/sys/kernel/osrelease", "6.2.0\n", 0644);
    expect("accelerator", ES_DOCTOR_OK, "not tried yet on this kernel", "");
    put("/s/accel.json", "nonsense", 0644);
    expect("accelerator", ES_DOCTOR_OK, "not tried yet", "");
}
END_TEST

START_TEST(what_the_embedded_libvirt_needs)
{
    take_away("/usr/sbin/libvirtd");
    expect("libvirt", ES_DOCTOR_FAIL, "/usr/sbin/libvirtd", "apt-get install libvirt");
    put("/usr/sbin/libvirtd", "", 0755);
    put("/proc/sys/kernel/unprivileged_userns_clone", "0\n", 0644);
    expect("namespaces", ES_DOCTOR_FAIL, "ordinary users", "sysctl");
    host.uid = 0;
    expect("namespaces", ES_DOCTOR_OK, "", "");
    host.uid = 1000;
    put("/proc/sys/kernel/unprivileged_userns_clone", "1\n", 0644);
    put("/proc/sys/user/max_user_namespaces", "0\n", 0644);
    expect("namespaces", ES_DOCTOR_FAIL, "no user namespace", "max_user_namespaces");
    put("/proc/sys/user/max_user_namespaces", "9\n", 0644);
    put("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", 0644);
    expect("namespaces", ES_DOCTOR_FAIL, "AppArmor", "sysctl");
    take_away("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    put("/dev/net/tun", "", 0600);
    host.uid = 1001; /* the files are not this user's */
    put("/etc/subgid", "mori:100000:65536\n", 0644);
    if (geteuid() != 1001)
        expect("tun", ES_DOCTOR_FAIL, "user mori", "chmod 0666 /dev/net/tun");
    take_away("/dev/net/tun");
    expect("tun", ES_DOCTOR_FAIL, "there is no /dev/net/tun", "modprobe");
    put("/dev/net/tun", "", 0666);
    put("/sys/module/apparmor/parameters/enabled", "Y\n", 0644);
    expect("apparmor", ES_DOCTOR_OK, "only root sees", "");
    put("/sys/kernel/security/apparmor/profiles", "/usr/sbin/libvirtd (enforce)\n", 0644);
    expect("apparmor", ES_DOCTOR_WARN, "enforced", "aa-complain");
}
END_TEST

#define ARMOR "/etc/apparmor.d/"
#define LOCAL ARMOR "local/abstractions/libvirt-qemu"

/* The rules as they are installed, taken in the way libvirt's profile does. */
START_TEST(apparmor_has_a_rule_for_moulds)
{
    char rule[400], path[512], rules[2048] = "";
    host.uri = "qemu:///system?socket=/run/libvirt/libvirt-sock";
    put("/sys/module/apparmor/parameters/enabled", "Y\n", 0644);
    expect("apparmor", ES_DOCTOR_OK, "only root sees", "");
    put(ARMOR "usr.sbin.libvirtd", "profile libvirtd {}\n", 0644);
    expect("apparmor", ES_DOCTOR_WARN, "memory of moulds", LOCAL);
    snprintf(rule, sizeof rule, "  %s/moulds/** rwk,\n", state);
    put(LOCAL, rule, 0644);
    expect("apparmor", ES_DOCTOR_OK, "may open", "");
    snprintf(rule, sizeof rule, "# %s/moulds/** rwk,\n%s/moulds/** r,\n", state, state);
    put(LOCAL, rule, 0644);
    expect("apparmor", ES_DOCTOR_WARN, "would be denied", state);
    snprintf(path, sizeof path, "%s/orchestrator/enshud/apparmor", getenv("ENSHU_TOP"));
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    rules[fread(rules, 1, sizeof rules - 1, file)] = '\0';
    fclose(file);
    put(ARMOR "local/enshu-qemu", rules, 0644);
    host.state_dir = "/home/mori/.local/state/enshu";
    expect("apparmor", ES_DOCTOR_WARN, "would be denied", "/home/mori");
    put(LOCAL, "# of the site\ninclude if exists <local/enshu-qemu>\n", 0644);
    expect("apparmor", ES_DOCTOR_OK, "may open", "");
    host.state_dir = "/root/.local/state/enshu";
    expect("apparmor", ES_DOCTOR_OK, "may open", "");
    host.state_dir = "/var/lib/enshu";
    expect("apparmor", ES_DOCTOR_OK, "may open", "");
    host.state_dir = "/home/mori/deeper/.local/state/enshu";
    expect("apparmor", ES_DOCTOR_WARN, "would be denied", "deeper");
    put("/sys/kernel/security/apparmor/profiles", "libvirtd (complain)\n", 0644);
    expect("apparmor", ES_DOCTOR_OK, "not confined", "");
}
END_TEST

START_TEST(subordinate_ids_are_counted)
{
    put("/etc/subuid", "other:1:99999\n", 0644);
    expect("uidmap", ES_DOCTOR_FAIL, "has 0 subordinate user ids and 65536 group ids",
           "usermod --add-subuids");
    put("/etc/subuid", "mori:1:5\nmori:9:70000\nbad line\n:::\n", 0644);
    expect("uidmap", ES_DOCTOR_OK, "70000", "");
    put("/usr/bin/newuidmap", "", 0755);
    expect("uidmap", ES_DOCTOR_WARN, "not setuid", "reinstall");
    take_away("/usr/bin/newuidmap");
    expect("uidmap", ES_DOCTOR_FAIL, "newuidmap is not installed", "uidmap");
    host.uid = 0;
    expect("uidmap", ES_DOCTOR_OK, "root", "");
}
END_TEST

START_TEST(another_libvirt_needs_its_socket)
{
    host.uri = "qemu:///system";
    expect("libvirt", ES_DOCTOR_FAIL, "does not answer", "systemctl start libvirtd");
    put("/run/libvirt/virtqemud-sock", "", 0600);
    host.uid = 1001;
    put("/etc/subgid", "mori:100000:65536\n", 0644);
    if (geteuid() != 1001)
        expect("libvirt", ES_DOCTOR_FAIL, "may not open", "adduser");
    put("/run/libvirt/virtqemud-sock", "", 0666);
    expect("libvirt", ES_DOCTOR_OK, "answers", "");
    host.uri = "qemu+ssh://there/system";
    expect("libvirt", ES_DOCTOR_OK, "a running core tells", "");
    look();
    for (size_t i = 0; i < finding_count; i++)
        ck_assert_str_ne(findings[i].check, "tun");
}
END_TEST

START_TEST(the_state_folder_must_fit_its_sockets)
{
    host.state_dir =
        "/tmp/a-folder-with-a-name-that-is-far-too-long-for-any-socket-in-it";
    finding_count = 0;
    ck_assert_int_eq(es_doctor_run(&host, on_finding, NULL), ES_DOCTOR_FAIL);
    bool seen = false;
    for (size_t i = 0; i < finding_count; i++)
        seen = seen || (strcmp(findings[i].check, "state") == 0 &&
                        findings[i].level == ES_DOCTOR_FAIL &&
                        strstr(findings[i].remedy, "--state") != NULL);
    ck_assert(seen);
    host.state_dir = "relative";
    ck_assert_int_eq(look(), ES_DOCTOR_FAIL);
    host.state_dir = "/proc/no/such/place"; /* a disk without room */
    ck_assert_int_eq(look(), ES_DOCTOR_FAIL);
}
END_TEST

Suite *doctor_suite(void);
Suite *doctor_suite(void)
{
    Suite *suite = suite_create("doctor");
    TCase *tc = tcase_create("host");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_good_host_is_in_order);
    tcase_add_test(tc, shares_need_a_delegated_cgroup);
    tcase_add_test(tc, each_lack_is_found_with_its_remedy);
    tcase_add_test(tc, kvm_names_whose_rights_are_missing);
    tcase_add_test(tc, the_probe_guests_verdict_is_told);
    tcase_add_test(tc, what_the_embedded_libvirt_needs);
    tcase_add_test(tc, apparmor_has_a_rule_for_moulds);
    tcase_add_test(tc, subordinate_ids_are_counted);
    tcase_add_test(tc, another_libvirt_needs_its_socket);
    tcase_add_test(tc, the_state_folder_must_fit_its_sockets);
    suite_add_tcase(suite, tc);
    return suite;
}
