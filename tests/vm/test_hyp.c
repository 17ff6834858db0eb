/* hyp on real machines: QEMU under the embedded libvirt daemon, guests from the recipe
 * tiny. Three machines are booted once and everything is tried on them. */
#include <check.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/hyp_world.h"
#include "../support/shell.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/image.h"

#define WEB1 "es-may12-t01-web"
#define WEB2 "es-may12-t02-web"

static struct hyp_world w;
static struct es_image image;
static char state[96];

static const char *env(const char *name)
{
    const char *value = getenv(name);
    ck_assert_msg(value != NULL, "%s is not set; run this through make", name);
    return value;
}

static int libvirtd_pid(void)
{
    char out[2048];
    shell_run(out, sizeof out, "%s/enshu-nest status --state %s --json", env("ENSHU_BIN"),
              state);
    json_t *root = json_loads(out, 0, NULL);
    ck_assert_msg(root != NULL, "%s", out);
    int pid = (int)json_integer_value(json_object_get(root, "libvirtd"));
    json_decref(root);
    return pid;
}

/* ------------------------------------------------------------------ consoles */

struct terminal {
    struct es_hyp_console *console;
    struct es_buf seen;
    const char *awaited;
    bool ended;
};
static struct terminal *current;

static void on_data(void *ctx, const char *data, size_t len)
{
    struct terminal *t = ctx;
    es_buf_append(&t->seen, data, len);
}

static void on_end(void *ctx, const struct es_err *why)
{
    struct terminal *t = ctx;
    (void)why;
    t->ended = true;
    t->console = NULL;
}

static bool saw_awaited(struct hyp_world *unused)
{
    (void)unused;
    return current->ended || strstr(es_buf_str(&current->seen), current->awaited) != NULL;
}

static void await(struct terminal *t, const char *text)
{
    current = t;
    t->awaited = text;
    hw_wait_for(&w, saw_awaited);
    ck_assert_msg(strstr(es_buf_str(&t->seen), text) != NULL, "%s not in: %s", text,
                  es_buf_str(&t->seen));
}

static void open_terminal(struct terminal *t, const char *machine)
{
    static const struct es_hyp_console_events events = {on_data, on_end};
    struct es_err err = {0};
    memset(t, 0, sizeof *t);
    es_buf_init(&t->seen, 1 << 20);
    ck_assert_int_eq(es_hyp_console_open(w.hyp, machine, &events, t, &t->console, &err),
                     0);
    /* A prompt that was printed already comes again for an empty line. */
    ck_assert_int_eq(es_hyp_console_send(t->console, "\n", 1), 0);
    await(t, "/ # ");
}

/* Runs a line in the guest's shell and returns its exit status. */
static int guest(struct terminal *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int guest(struct terminal *t, const char *fmt, ...)
{
    static int serial;
    char line[512], mark[32];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    snprintf(line + n, sizeof line - (size_t)n, "; echo \"<$?\"+%d\">\"\n", ++serial);
    es_buf_clear(&t->seen);
    ck_assert_int_eq(es_hyp_console_send(t->console, line, strlen(line)), 0);
    snprintf(mark, sizeof mark, "+%d>", serial);
    await(t, mark);
    const char *at = strstr(es_buf_str(&t->seen), mark);
    while (at > t->seen.data && *at != '<')
        at--;
    int64_t status = -1;
    char number[8];
    es_str_printf(number, sizeof number, "%.*s", (int)strcspn(at + 1, "+"), at + 1);
    es_str_int(number, 0, 255, &status);
    return (int)status;
}

static void close_terminal(struct terminal *t)
{
    es_hyp_console_close(t->console);
    es_buf_finish(&t->seen);
}

/* ------------------------------------------------------------------ a range */

static void setup(void)
{
    char out[512], cache[256], recipes[256];
    hw_init(&w);
    signal(SIGPIPE, SIG_IGN); /* as every program of ours does */
    chmod(w.dir, 0711);
    snprintf(state, sizeof state, "%s/n", w.dir);
    snprintf(cache, sizeof cache, "%s/build/images", env("ENSHU_TOP"));
    snprintf(recipes, sizeof recipes, "%s/scenarios/images", env("ENSHU_TOP"));
    struct es_image_config config = {.recipes_dir = recipes, .cache_dir = cache};
    struct es_err err = {0};
    int rc = es_image_get(&config, "tiny", NULL, false, &image, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    rc = shell_run(out, sizeof out,
                   "%s/enshu-nest start --state %s --kvm no --share %s --share %s 2>&1",
                   env("ENSHU_BIN"), state, w.dir, cache);
    ck_assert_msg(rc == 0, "%s", out);
    out[strcspn(out, "\n")] = '\0';
    hw_open(&w, out);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
    hw_make_plan(&w, "may12", 2);
}

static void teardown(void)
{
    char out[512];
    int rc = shell_run(out, sizeof out, "%s/enshu-nest stop --state %s --purge 2>&1",
                       env("ENSHU_BIN"), state);
    hw_finish(&w);
    ck_assert_msg(rc == 0, "%s", out);
}

struct paths {
    char disk[256], seed[256], channel[256], log[256];
};

static void prepare(const char *name, struct paths *p)
{
    struct es_err err = {0};
    char agent[256], volume[ES_PLAN_NAME_MAX + 8];
    snprintf(p->disk, sizeof p->disk, "%s/disks/%s.qcow2", w.dir, name);
    snprintf(p->seed, sizeof p->seed, "%s/%s.iso", w.dir, name);
    snprintf(p->channel, sizeof p->channel, "%s/run/%s", state, name);
    snprintf(p->log, sizeof p->log, "%s/run/%s.log", state, name);
    snprintf(agent, sizeof agent, "%s/enshu-agent", env("ENSHU_BIN"));
    int rc = es_image_seed(p->seed, agent, name, "web", &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    snprintf(volume, sizeof volume, "%s.qcow2", name);
    w.pending++;
    ck_assert_int_eq(es_hyp_volume_apply(w.hyp, "may12", volume, image.disk, 96 << 20,
                                         false, hw_done, &w),
                     0);
    hw_wait(&w);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
}

static struct es_hyp_machine real_spec(int team, int node, const struct paths *p)
{
    struct es_hyp_machine spec = hw_spec(&w, team, node);
    spec.kernel = image.kernel;
    spec.initrd = image.initrd;
    spec.cmdline = image.cmdline;
    spec.disk = p->disk;
    spec.seed = p->seed;
    spec.channel = p->channel;
    spec.serial_log = p->log;
    return spec;
}

static void address(struct terminal *t, int team, int node)
{
    char text[16];
    es_ip4_format(es_plan_address(w.plan, team, node, 1), text);
    ck_assert_int_eq(guest(t, "ip link set eth%d up && ip addr add %s/16 dev eth%d",
                           node == 0, text, node == 0),
                     0);
}

static int ping(struct terminal *t, int team, int node)
{
    char text[16];
    es_ip4_format(es_plan_address(w.plan, team, node, 1), text);
    return guest(t, "ping -c 2 -W 2 %s >/dev/null", text);
}

static void bring_up(void)
{
    static const struct {
        int team, node;
    } machines[] = {{1, 0}, {2, 0}, {-1, 2}};
    w.pending++;
    char pool[96];
    snprintf(pool, sizeof pool, "%s/disks", w.dir);
    ck_assert_int_eq(es_hyp_pool_apply(w.hyp, "may12", pool, hw_done, &w), 0);
    hw_wait(&w);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
    for (size_t i = 0; i < w.plan->network_count; i++)
        ck_assert_msg(hw_network(&w, i) == 0, "%s", w.err.msg);
    for (size_t i = 0; i < ES_COUNT(machines); i++) {
        struct paths p;
        int at = es_plan_machine_of(w.plan, machines[i].team, machines[i].node);
        prepare(w.plan->machines[at].name, &p);
        struct es_hyp_machine spec = real_spec(machines[i].team, machines[i].node, &p);
        ck_assert_msg(hw_start(&w, &spec) == 0, "%s", w.err.msg);
        ck_assert_msg(hw_start(&w, &spec) == 0, "%s", w.err.msg); /* it runs: done */
    }
}

static void check_isolation(struct terminal *web1, struct terminal *web2,
                            struct terminal *judge)
{
    open_terminal(web1, WEB1);
    open_terminal(web2, WEB2);
    open_terminal(judge, "es-may12-judge");
    address(web1, 1, 0);
    address(web2, 2, 0);
    address(judge, -1, 2);
    ck_assert_int_eq(ping(web1, -1, 2), 0);
    ck_assert_int_eq(ping(web2, -1, 2), 0);
    ck_assert_int_ne(ping(web1, 2, 0), 0);
    ck_assert_int_eq(ping(judge, 2, 0), 0);
    /* the seed and the disk are what they should be */
    ck_assert_int_eq(guest(web1, "grep -q enshu /etc/os-release"), 0);
    ck_assert_int_eq(guest(web1, "findfs LABEL=CIDATA"), 0);
    ck_assert_int_eq(guest(web1, "grep -q org.enshu.agent.0 "
                                 "/sys/class/virtio-ports/*/name"),
                     0);
}

/* The bridges have no address of the host. */
static void check_bridges(void)
{
    char out[4096];
    shell_run(out, sizeof out, "%s/enshu-nest exec --state %s -- ip -o addr | grep ' es'",
              env("ENSHU_BIN"), state);
    ck_assert_str_eq(out, "");
    shell_run(out, sizeof out,
              "%s/enshu-nest exec --state %s -- ip -o link | grep -c ': es'",
              env("ENSHU_BIN"), state);
    ck_assert_str_eq(out, "3\n");
}

static void on_info(void *ctx, int status, const struct es_hyp_info *info,
                    const struct es_err *err)
{
    if (info != NULL)
        w.info = *info;
    hw_done(ctx, status, err);
}

static void check_info(void)
{
    w.pending++;
    ck_assert_int_eq(es_hyp_info(w.hyp, on_info, &w), 0);
    hw_wait(&w);
    ck_assert_msg(w.status == 0, "%s", w.err.msg);
    ck_assert_str_eq(w.info.hypervisor, "QEMU");
    ck_assert(!w.info.kvm_advertised); /* the nest was told so */
    ck_assert_int_gt(w.info.host.memory_bytes, 64 << 20);
}

static void check_libvirtd_restart(void)
{
    w.event_count = 0;
    ck_assert_int_eq(kill(libvirtd_pid(), SIGKILL), 0);
    hw_wait_event(&w, "", ES_HYP_LOST);
    ck_assert_int_ne(hw_list(&w, NULL), 0); /* answered, not stuck */
    hw_wait_event(&w, "", ES_HYP_CONNECTED);
    ck_assert_msg(hw_list(&w, "may12") == 0, "%s", w.err.msg);
    ck_assert(hw_find(&w, WEB1)->running);
    ck_assert(hw_find(&w, "es-may12-game")->running);
    ck_assert_ptr_nonnull(hw_find(&w, "es-may12"));
}

static void check_killed_qemu(void)
{
    char path[160], text[32] = "";
    snprintf(path, sizeof path, "%s/v/run/qemu/" WEB1 ".pid", state);
    FILE *f = fopen(path, "r");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_ptr_nonnull(fgets(text, sizeof text, f));
    fclose(f);
    text[strcspn(text, "\n")] = '\0';
    int64_t pid = 0;
    ck_assert_int_eq(es_str_int(text, 2, INT32_MAX, &pid), 0);
    uint64_t killed = uv_hrtime();
    ck_assert_int_eq(kill((pid_t)pid, SIGKILL), 0);
    hw_wait_event(&w, WEB1, ES_HYP_CRASHED);
    printf("  a killed QEMU was seen after %d ms\n",
           (int)((uv_hrtime() - killed) / 1000000));
}

static bool is_listed(const char *name)
{
    ck_assert_msg(hw_list(&w, "may12") == 0, "%s", w.err.msg);
    return hw_find(&w, name) != NULL;
}

START_TEST(machines_live_and_end)
{
    struct terminal web1, web2, judge;
    char out[4096];
    bring_up();
    hw_wait_event(&w, WEB1, ES_HYP_STARTED);
    check_info();
    check_bridges();
    check_isolation(&web1, &web2, &judge);
    close_terminal(&web1);
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_suspend(w.hyp, WEB2, hw_done, &w), 0);
    hw_wait(&w);
    hw_wait_event(&w, WEB2, ES_HYP_SUSPENDED);
    check_libvirtd_restart();
    ck_assert(hw_find(&w, WEB2)->paused);
    ck_assert(web2.ended && judge.ended); /* consoles went with the connection */
    es_buf_finish(&web2.seen);
    es_buf_finish(&judge.seen);
    w.pending++;
    ck_assert_int_eq(es_hyp_machine_resume(w.hyp, WEB2, hw_done, &w), 0);
    hw_wait(&w);
    hw_wait_event(&w, WEB2, ES_HYP_RESUMED);
    check_killed_qemu();
    open_terminal(&judge, "es-may12-judge");
    ck_assert_int_eq(es_hyp_console_send(judge.console, "reboot -f\n", 10), 0);
    hw_wait_event(&w, "es-may12-judge", ES_HYP_REBOOTED);
    close_terminal(&judge);
    ck_assert_msg(hw_stop(&w, WEB2, true) == 0, "%s", w.err.msg);
    ck_assert(!is_listed(WEB2));
    ck_assert_msg(hw_remove(&w, "may12") == 0, "%s", w.err.msg);
    ck_assert_int_eq(hw_list(&w, NULL), 0);
    ck_assert_uint_eq(w.object_count, 0);
    shell_run(out, sizeof out, "ls %s/disks 2>/dev/null; ls %s/run | grep -v log", w.dir,
              state);
    ck_assert_str_eq(out, "");
    shell_run(out, sizeof out,
              "%s/enshu-nest exec --state %s -- ip -o link | grep ': es'",
              env("ENSHU_BIN"), state);
    ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(a_failed_start_says_why)
{
    struct paths p = {.disk = "/nonexistent/disk.qcow2"};
    ck_assert_int_eq(hw_network(&w, 1), 0);
    struct es_hyp_machine spec = real_spec(1, 1, &p);
    spec.seed = spec.channel = spec.serial_log = NULL;
    ck_assert_int_eq(hw_start(&w, &spec), ES_EHYP);
    ck_assert_msg(strstr(w.err.msg,
                         "start machine es-may12-t01-pc: Cannot access storage "
                         "file '/nonexistent/disk.qcow2'") != NULL &&
                      strstr(w.err.msg, "; look whether the file is there") != NULL,
                  "%s", w.err.msg);
    spec = real_spec(1, 0, &p);
    spec.disk = spec.seed = spec.channel = spec.serial_log = NULL;
    ck_assert_int_eq(hw_start(&w, &spec), ES_EHYP);
    ck_assert_msg(strstr(w.err.msg, "apply the networks first") != NULL, "%s", w.err.msg);
    ck_assert_int_eq(hw_remove(&w, "may12"), 0);
}
END_TEST

Suite *hyp_suite(void);
Suite *hyp_suite(void)
{
    Suite *suite = suite_create("hyp");
    TCase *tc = tcase_create("machines");
    tcase_set_timeout(tc, 300);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_failed_start_says_why);
    tcase_add_test(tc, machines_live_and_end);
    suite_add_tcase(suite, tc);
    return suite;
}
