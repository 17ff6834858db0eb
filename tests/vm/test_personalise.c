/* The agent in a real guest, personalised as a mould and then as a fork would be: without
 * udev, a NIC plugged in while it waits, days later by the clock. */
#include <check.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../support/guest.h"
#include "enshu/common/str.h"
#include "enshu/image.h"
#include "enshu/wire.h"

#define BOOT_MS    240000
#define TEAM_MAC   "52:54:00:aa:00:01"
#define SHARED_MAC "52:54:00:aa:00:02"

static struct guest guest;
static struct es_image image;
static int monitor;

/* ------------------------------------------------------------------ the machine */

static void get_image(void)
{
    struct es_err err = {0};
    char recipes[600], cache[600];
    const char *top = getenv("ENSHU_TOP"), *kept = getenv("ENSHU_TEST_IMAGES");
    es_str_printf(recipes, sizeof recipes, "%s/scenarios/images", top);
    if (kept != NULL)
        es_str_printf(cache, sizeof cache, "%s", kept);
    else
        es_str_printf(cache, sizeof cache, "%s/build/images", top);
    struct es_image_config config = {recipes, cache, NULL, NULL, NULL};
    ck_assert_msg(es_image_get(&config, "tiny", NULL, false, &image, &err) == 0, "%s",
                  err.msg);
}

static void make_seed(void)
{
    struct es_err err = {0};
    char agent[600], disc[128];
    es_str_printf(agent, sizeof agent, "%s/enshu-agent", getenv("ENSHU_BIN"));
    es_str_printf(disc, sizeof disc, "%s/seed.iso", guest.dir);
    ck_assert_msg(es_image_seed(disc, agent, "i-1", "mould", &err) == 0, "%s", err.msg);
}

static void boot(void)
{
    char disk[1024], seed[128], port[128], control[128];
    es_str_printf(disk, sizeof disk, "if=virtio,snapshot=on,format=qcow2,file=%s",
                  image.disk);
    es_str_printf(seed, sizeof seed, "if=virtio,readonly=on,format=raw,file=%s/seed.iso",
                  guest.dir);
    es_str_printf(port, sizeof port, "socket,id=c,server=on,wait=off,path=%s/port",
                  guest.dir);
    es_str_printf(control, sizeof control, "unix:%s/monitor,server=on,wait=off",
                  guest.dir);
    guest.pid = fork();
    if (guest.pid != 0)
        return;
    if (freopen("/dev/null", "w", stderr) == NULL) /* warns of a network without peer */
        _exit(126);
    execlp("qemu-system-x86_64", "qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m",
           "128", "-display", "none", "-nodefaults", "-no-user-config", "-kernel",
           image.kernel, "-initrd", image.initrd, "-append", image.cmdline, "-drive",
           disk, "-drive", seed, "-device", "virtio-serial-pci", "-chardev", port,
           "-device", "virtserialport,chardev=c,name=" ES_WIRE_PORT, "-netdev",
           "hubport,id=n0,hubid=0", "-netdev", "hubport,id=n1,hubid=0", "-device",
           "virtio-net-pci,netdev=n0,mac=" TEAM_MAC, "-device",
           "pcie-root-port,id=spare,chassis=1", "-monitor", control, (char *)NULL);
    _exit(127);
}

static int connect_to(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    es_str_printf(addr.sun_path, sizeof addr.sun_path, "%s/%s", guest.dir, name);
    for (int i = 0; connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0; i++) {
        ck_assert_msg(i < 600 && waitpid(guest.pid, NULL, WNOHANG) == 0,
                      "QEMU does not listen");
        poll(NULL, 0, 50);
    }
    return fd;
}

static void setup(void)
{
    memset(&guest, 0, sizeof guest);
    es_wire_use_allocator();
    get_image();
    es_str_printf(guest.dir, sizeof guest.dir, "/tmp/enshu-person-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(guest.dir));
    make_seed();
    boot();
    monitor = connect_to("monitor");
    guest.fd = connect_to("port");
    guest_write(&guest, "\n{\"sync\": \"boot\"}\n");
    struct pollfd in = {.fd = guest.fd, .events = POLLIN};
    ck_assert_msg(poll(&in, 1, BOOT_MS) == 1, "the agent is silent");
    json_decref(guest_sync(&guest, "first"));
}

static void teardown(void)
{
    char command[128];
    kill(guest.pid, SIGKILL);
    waitpid(guest.pid, NULL, 0);
    guest_hang_up(&guest);
    close(monitor);
    es_str_printf(command, sizeof command, "rm -rf %s", guest.dir);
    ck_assert_int_eq(system(command), 0);
}

/* ------------------------------------------------------------------ asking */

static void must(json_t *result)
{
    ck_assert_msg(
        es_str_eq(guest_code(result), "ok"), "%s: %s", guest_code(result),
        json_string_value(json_object_get(json_object_get(result, "error"), "text")));
    json_decref(result);
}

static void says(const char *shell, const char *expected)
{
    size_t len;
    json_t *result = guest_ask(&guest, "exec", json_pack("{s:s}", "shell", shell));
    char *out = guest_bytes(json_object_get(result, "evidence"), "stdout", &len);
    ck_assert_msg(es_str_eq(out, expected), "%s says \"%s\", not \"%s\"", shell, out,
                  expected);
    free(out);
    json_decref(result);
}

static json_t *args_of(const char *hostname, int64_t time_us, json_t *nics)
{
    return json_pack("{s:s, s:s, s:I, s:o, s:s, s:b, s:[{s:s, s:s, s:b}]}", "hostname",
                     hostname, "random",
                     "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "time_us",
                     (json_int_t)time_us, "nics", nics, "machine_id",
                     "0123456789abcdef0123456789abcdef", "forward", 1, "accounts", "user",
                     "mori", "hash", "!", "create", 1);
}

static json_t *nic(const char *mac, const char *address, const char *name)
{
    return json_pack("{s:s, s:s, s:i, s:s}", "mac", mac, "address", address, "prefix", 24,
                     "name", name);
}

static void as_a_mould(int64_t now_us)
{
    json_t *result = guest_ask(
        &guest, "personalise",
        args_of("mould", now_us, json_pack("[o]", nic(TEAM_MAC, "10.1.0.5", "eth1"))));
    ck_assert_str_eq(guest_text(result, "epoch"), guest.epoch);
    must(result);
    says("hostname; cat /proc/sys/net/ipv4/ip_forward", "mould\n1\n");
    /* The shared network's NIC, which the mould lacks, comes first in the scenario. */
    says("ls /sys/class/net; ip -4 -o addr show eth1 | grep -c 10.1.0.5/24",
         "eth1\nlo\n1\n");
    must(guest_ask(&guest, "quiet", json_object()));
    guest_hang_up(&guest);
}

static void as_a_fork(int64_t now_us)
{
    static const char plug[] =
        "device_add virtio-net-pci,netdev=n1,bus=spare,mac=" SHARED_MAC "\n";
    char before[17];
    guest.fd = connect_to("port");
    json_decref(guest_sync(&guest, "fork"));
    memcpy(before, guest.epoch, sizeof before);
    json_t *args = args_of("web", now_us,
                           json_pack("[o, o]", nic(SHARED_MAC, "10.2.0.9", "eth0"),
                                     nic(TEAM_MAC, "10.1.0.5", "eth1")));
    json_object_set_new(args, "fork", json_true());
    int64_t id = guest_send(&guest, "personalise", args, 60000);
    ck_assert_int_eq(write(monitor, plug, sizeof plug - 1), sizeof plug - 1);
    json_t *result = guest_result(&guest, id);
    memcpy(guest.epoch, guest_text(result, "epoch"), sizeof guest.epoch);
    ck_assert_str_ne(guest.epoch, before);
    ck_assert_int_eq(guest_int(result, "seq"), 1);
    must(result);
    guest_ack(&guest, 1);
}

/* Services are begun anew by their scripts here. */
static void restart(void)
{
    says("printf '#!/bin/sh\\necho $1 >> /run/did\\n' > /etc/init.d/web;"
         "chmod +x /etc/init.d/web",
         "");
    must(guest_ask(&guest, "personalise",
                   json_pack("{s:[s, s]}", "restart", "web", "web")));
    says("cat /run/did", "restart\nrestart\n");
    json_t *result =
        guest_ask(&guest, "personalise", json_pack("{s:[s]}", "restart", "nonesuch"));
    ck_assert_str_eq(guest_code(result), "failed");
    json_decref(result);
}

START_TEST(a_mould_and_then_its_fork)
{
    char days[80];
    int64_t now_us = (int64_t)time(NULL) * 1000000;
    int64_t later_us = now_us + 5LL * 86400 * 1000000;
    as_a_mould(now_us);
    as_a_fork(later_us);
    says("hostname; cat /etc/machine-id; grep -c ^mori: /etc/passwd",
         "web\n0123456789abcdef0123456789abcdef\n1\n");
    says("ip -4 -o addr show eth0 | grep -c 10.2.0.9/24;"
         "ip -4 -o addr show eth1 | grep -c 10.1.0.5/24;"
         "ip link show eth0 | grep -c [,]UP; ip link show eth1 | grep -c [,]UP",
         "1\n1\n1\n1\n");
    es_str_printf(days, sizeof days, "echo $(( ($(date +%%s) - %lld) / 600 ))",
                  (long long)later_us / 1000000);
    says(days, "0\n");
    restart();
}
END_TEST

Suite *personalise_suite(void);
Suite *personalise_suite(void)
{
    Suite *suite = suite_create("personalise");
    TCase *tc = tcase_create("personalise");
    tcase_set_timeout(tc, 600);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_mould_and_then_its_fork);
    suite_add_tcase(suite, tc);
    return suite;
}
