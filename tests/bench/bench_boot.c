/* From the request to the agents' answers: four machines through `enshu up`, against the
 * same QEMU command lines started by hand, in turns; and where the rest of the time goes.
 *
 *   bench-boot [RUNS [IMAGE...]]      (3 tiny debian-12)
 *
 * ENSHU_BIN and ENSHU_TOP as for the tests; BENCH_IMAGES a folder of built images (default
 * build/images; what is missing is built first and not measured); BENCH_ACCEL kvm or tcg
 * (default: found out). By hand means: overlays, seed discs and all parsing of command
 * lines are done before the clock starts; then four QEMUs are started at once, and it
 * stops when the last agent has answered the same synchronisation the core uses. The
 * command lines are those that libvirt gave its QEMUs, but for what cannot be handed on:
 * the descriptors of taps (a hub without a peer instead), monitor and logs, and the pause
 * before the start. A table on standard error, JSON on standard output. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/link.h"

#define MACHINES 4
#define RUNS_MAX 50
#define ARGS_MAX 256
#define LIMIT_MS 900000U
#define STATE_MAP                                                                        \
    X(PLANNED, "planned")                                                                \
    X(DISK, "disk")                                                                      \
    X(QUEUED, "queued")                                                                  \
    X(STARTING, "starting")                                                              \
    X(BOOTING, "booting")                                                                \
    X(PERSONALISING, "personalising")                                                    \
    X(CHECKING, "checking")                                                              \
    X(READY, "ready")

enum state {
#define X(NAME, word) S_##NAME,
    STATE_MAP
#undef X
        STATES
};
static const char *const state_words[] = {
#define X(NAME, word) word,
    STATE_MAP
#undef X
};

struct seen { /* one machine of one `up`: when it came to each state, ms; 0: never */
    char name[64];
    double at_ms[STATES];
};

struct up {
    double cpu_s; /* of the QEMUs, until all are ready */
    struct seen machines[MACHINES];
    size_t count;
};

struct guest { /* one machine by hand */
    char *args[ARGS_MAX];
    char overlay[256], channel[108], base[1024];
    long long bytes;
    pid_t pid;
    struct es_link *link;
};

static char dir[32] = "/tmp/enshu-boot-XXXXXX", state[64];
static const char *bin, *top;
static pid_t core = -1;
static uv_loop_t loop;
static struct guest guests[MACHINES];
static size_t guest_count;
static int up_count, open_links;
static bool too_late;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
    char line[8192];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    return len > 0 && (size_t)len < sizeof line ? system(line) : -1;
}

static void clean(void)
{
    for (size_t i = 0; i < guest_count; i++)
        if (guests[i].pid > 0)
            kill(guests[i].pid, SIGKILL);
    if (core > 0) {
        sh("%s/enshu down boot --state %s >/dev/null 2>&1", bin, state);
        kill(core, SIGTERM);
        waitpid(core, NULL, 0);
    }
    core = -1;
    sh("%s/enshu-nest stop --state %s >/dev/null 2>&1; rm -rf %s", bin, state, dir);
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-boot: %s: %s\n", what, why);
    if (state[0] != '\0')
        sh("tail -n 15 %s/core.log >&2", dir);
    clean();
    exit(EXIT_FAILURE);
}

/* ------------------------------------------------------------------ the core */

static void start_core(void)
{
    const char *accel = getenv("BENCH_ACCEL");
    char path[1024], log[64];
    struct stat st;
    snprintf(path, sizeof path, "%s/enshud", bin);
    snprintf(log, sizeof log, "%s/core.log", dir);
    core = fork();
    if (core == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        if (accel != NULL)
            execl(path, path, "--state", state, "--accel", accel, (char *)NULL);
        else
            execl(path, path, "--state", state, (char *)NULL);
        _exit(127);
    }
    char socket[96];
    snprintf(socket, sizeof socket, "%s/enshud.sock", state);
    for (int i = 0; i < 1200 && stat(socket, &st) != 0; i++) {
        if (waitpid(core, NULL, WNOHANG) != 0) {
            core = -1;
            die("enshud", "it ended before it was ready");
        }
        usleep(100000);
    }
}

static void write_scenario(const char *image)
{
    char path[64];
    snprintf(path, sizeof path, "%s/scenario/boot.yaml", dir);
    FILE *file = fopen(path, "w");
    if (file == NULL)
        die(path, strerror(errno));
    fprintf(file,
            "enshu: 1\nname: boot\ntitle: {en: Boot}\n"
            "languages: {default: en, complete: [en]}\n"
            "networks: {lab: {cidr: 10.30.0.0/24}}\n"
            "defaults: {node: {image: %s, memory: %s}}\nnodes:\n",
            image, strcmp(image, "tiny") == 0 ? "96 MiB" : "384 MiB");
    for (int i = 0; i < MACHINES; i++)
        fprintf(file, "  m%d: {networks: {lab: 10.30.0.%d}}\n", i, i + 10);
    fclose(file);
}

static void take_line(struct up *up, const char *line, double at_ms)
{
    json_t *json = json_loads(line, 0, NULL);
    const char *name = json_string_value(json_object_get(json, "machine"));
    const char *word = json_string_value(json_object_get(json, "state"));
    size_t m = 0;
    while (name != NULL && m < up->count && strcmp(up->machines[m].name, name) != 0)
        m++;
    if (name != NULL && word != NULL && m < MACHINES) {
        if (m == up->count)
            snprintf(up->machines[up->count++].name, sizeof up->machines[m].name, "%s",
                     name);
        for (int s = 0; s < STATES; s++)
            if (strcmp(word, state_words[s]) == 0 && up->machines[m].at_ms[s] <= 0)
                up->machines[m].at_ms[s] = at_ms;
    }
    json_decref(json);
}

static void run_up(struct up *up)
{
    char line[8192];
    memset(up, 0, sizeof *up);
    snprintf(line, sizeof line,
             "%s/enshu up %s/scenario/boot.yaml --range boot --state %s --json 2>&1", bin,
             dir, state);
    double from = now_ms();
    FILE *out = popen(line, "re");
    char last[1024] = "";
    while (out != NULL && fgets(line, sizeof line, out) != NULL) {
        take_line(up, line, now_ms() - from);
        snprintf(last, sizeof last, "%.1000s", line);
    }
    if (out == NULL || pclose(out) != 0)
        die("enshu up", last);
}

static void run_down(void)
{
    if (sh("%s/enshu down boot --state %s >/dev/null", bin, state) != 0)
        die("enshu down", "failed");
}

/* ------------------------------------------------------------------ the command lines */

static long long virtual_size(const char *path)
{
    char line[1200];
    long long bytes = 0;
    snprintf(line, sizeof line, "qemu-img info -U --output=json %s", path);
    FILE *out = popen(line, "re");
    json_t *json = out != NULL ? json_loadf(out, 0, NULL) : NULL;
    bytes = json_integer_value(json_object_get(json, "virtual-size"));
    json_decref(json);
    if (out != NULL)
        pclose(out);
    return bytes;
}

static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *fmt, ...)
{
    char *made = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&made, fmt, args) < 0)
        abort();
    va_end(args);
    return made;
}

/* The value of an option as it is by hand; NULL drops option and value. */
static char *adapt(struct guest *g, size_t n, const char *option, const char *value)
{
    json_t *json = value[0] == '{' ? json_loads(value, 0, NULL) : NULL;
    const char *driver = json_string_value(json_object_get(json, "driver"));
    const char *file = json_string_value(json_object_get(json, "filename"));
    char *made = NULL;
    if (strstr(value, "masterKey0") != NULL || strstr(value, "charmonitor") != NULL ||
        strcmp(option, "-add-fd") == 0)
        ;
    else if (strcmp(option, "-netdev") == 0)
        made = text("hubport,id=%s,hubid=%zu",
                    json_string_value(json_object_get(json, "id")), n);
    else if (strncmp(value, "pty,id=charserial0", 18) == 0)
        made = text("file,id=charserial0,path=%s/serial%zu.log", dir, n);
    else if (strncmp(value, "socket,id=charchannel0", 22) == 0)
        made = text("socket,id=charchannel0,path=%s,server=on,wait=off", g->channel);
    else if (driver != NULL && strcmp(driver, "file") == 0 && es_str_ends(file, ".iso")) {
        if (sh("cp %s %s/seed.iso", file, dir) != 0)
            die(file, "cannot be copied");
        json_object_set_new(json, "filename", json_sprintf("%s/seed.iso", dir));
        made = json_dumps(json, JSON_COMPACT);
    } else if (driver != NULL && strcmp(driver, "file") == 0 &&
               strstr(file, "/disks/") != NULL) {
        g->bytes = virtual_size(file);
        json_object_set_new(json, "filename", json_string(g->overlay));
        made = json_dumps(json, JSON_COMPACT);
    } else {
        if (driver != NULL && strcmp(driver, "file") == 0)
            snprintf(g->base, sizeof g->base, "%s", file);
        made = text("%s", value);
    }
    json_decref(json);
    return made;
}

static void take_command(const char *bytes, size_t len)
{
    struct guest *g = &guests[guest_count];
    size_t args = 0, n = guest_count;
    *g = (struct guest){.pid = 0};
    snprintf(g->overlay, sizeof g->overlay, "%s/hand%zu.qcow2", dir, n);
    snprintf(g->channel, sizeof g->channel, "%s/hand%zu.sock", dir, n);
    const char *at = bytes, *end = bytes + len;
    g->args[args++] = text("%s", at);
    at += strlen(at) + 1;
    while (at < end && args < ARGS_MAX - 3) {
        const char *option = at, *value = at + strlen(at) + 1;
        at = value;
        if (strcmp(option, "-S") == 0)
            continue;
        if (value >= end || value[0] == '-') { /* an option without a value */
            g->args[args++] = text("%s", option);
            continue;
        }
        at += strlen(at) + 1;
        char *made = adapt(g, n, option, value);
        if (made == NULL)
            continue;
        g->args[args++] = text("%s", option);
        g->args[args++] = made;
    }
    guest_count++;
}

static double cpu_s_of(long pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    const char *at = file != NULL && fgets(line, sizeof line, file) != NULL
                         ? strrchr(line, ')')
                         : NULL;
    if (at != NULL && sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                             &user, &system) != 2)
        user = system = 0;
    if (file != NULL)
        fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Processor time of our QEMUs so far; takes their command lines too when asked. */
static double look_at_qemus(bool take)
{
    static char bytes[65536];
    char path[300];
    double cpu_s = 0;
    int found = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd >= 0 ? read(fd, bytes, sizeof bytes - 1) : -1;
        if (fd >= 0)
            close(fd);
        bytes[len > 0 ? len : 0] = '\0';
        if (len <= 0 || strstr(bytes, "qemu-system") == NULL ||
            memmem(bytes, (size_t)len, state, strlen(state)) == NULL)
            continue;
        cpu_s += cpu_s_of(atol(entry->d_name));
        if (take && found++ < MACHINES)
            take_command(bytes, (size_t)len);
    }
    if (proc != NULL)
        closedir(proc);
    if (take && found != MACHINES)
        die("QEMU", "its command lines were not found");
    return cpu_s;
}

static void forget_commands(void)
{
    for (size_t i = 0; i < guest_count; i++)
        for (size_t a = 0; guests[i].args[a] != NULL; a++) {
            free(guests[i].args[a]);
            guests[i].args[a] = NULL;
        }
    guest_count = 0;
}

/* ------------------------------------------------------------------ by hand */

static void on_link_state(void *ctx, struct es_link *link, enum es_link_state now,
                          const struct es_hello *hello, const struct es_err *why)
{
    bool *up = ctx;
    (void)link;
    (void)hello;
    (void)why;
    if (now != ES_LINK_UP || *up)
        return;
    *up = true;
    if (++up_count == MACHINES)
        uv_stop(&loop);
}

static void on_result(void *ctx, struct es_link *link, const struct es_result *result)
{
    (void)ctx;
    (void)link;
    (void)result;
}

static void on_link_closed(void *ctx)
{
    (void)ctx;
    open_links--;
}

static void on_limit(uv_timer_t *timer)
{
    too_late = true;
    uv_stop(timer->loop);
}

static void spawn(struct guest *g)
{
    char log[64];
    snprintf(log, sizeof log, "%s/hand.log", dir);
    g->pid = fork();
    if (g->pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execv(g->args[0], g->args);
    _exit(127);
}

static double run_by_hand(double *ret_cpu_s)
{
    static const struct es_link_events events = {.on_state = on_link_state,
                                                 .on_result = on_result};
    static bool up[MACHINES];
    uv_timer_t limit;
    memset(up, 0, sizeof up);
    up_count = 0;
    for (size_t i = 0; i < guest_count; i++) {
        unlink(guests[i].channel);
        if (sh("qemu-img create -q -f qcow2 -F qcow2 -b %s %s %lld", guests[i].base,
               guests[i].overlay, guests[i].bytes) != 0)
            die(guests[i].overlay, "cannot be made");
    }
    uv_timer_init(&loop, &limit);
    uv_timer_start(&limit, on_limit, LIMIT_MS, 0);
    double from = now_ms();
    for (size_t i = 0; i < guest_count; i++) {
        struct es_err err = {0};
        spawn(&guests[i]);
        if (es_link_create(&loop, "by hand", guests[i].channel, &events, &up[i],
                           &guests[i].link, &err) != 0)
            die("link", err.msg);
        open_links++;
        es_link_open(guests[i].link);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    double took = now_ms() - from;
    *ret_cpu_s = 0;
    for (size_t i = 0; i < guest_count; i++)
        *ret_cpu_s += cpu_s_of(guests[i].pid);
    if (too_late) {
        sh("tail -n 5 %s/hand.log >&2", dir);
        die("by hand", "the agents do not answer");
    }
    uv_close((uv_handle_t *)&limit, NULL);
    for (size_t i = 0; i < guest_count; i++) {
        es_link_close(guests[i].link, on_link_closed);
        kill(guests[i].pid, SIGKILL);
        waitpid(guests[i].pid, NULL, 0);
        guests[i].pid = 0;
    }
    while (open_links > 0)
        uv_run(&loop, UV_RUN_ONCE);
    return took;
}

/* ------------------------------------------------------------------ results */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *values, size_t count)
{
    double sorted[RUNS_MAX * MACHINES];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, by_size);
    return count == 0 ? 0 : (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static double last_at(const struct up *up, enum state s)
{
    double last = 0;
    for (size_t i = 0; i < up->count; i++)
        if (up->machines[i].at_ms[s] > last)
            last = up->machines[i].at_ms[s];
    return last;
}

/* Median time that machines spent from one state to the next. */
static double spent(const struct up *ups, size_t runs, enum state from, enum state to)
{
    double values[RUNS_MAX * MACHINES];
    size_t count = 0;
    for (size_t r = 0; r < runs; r++)
        for (size_t i = 0; i < ups[r].count; i++) {
            const double *at = ups[r].machines[i].at_ms;
            if ((from == STATES || at[from] > 0) && at[to] > 0)
                values[count++] = at[to] - (from == STATES ? 0 : at[from]);
        }
    return median(values, count);
}

static json_t *report(const char *image, const struct up *ups, const double *hand,
                      const double *hand_cpu_s, size_t runs)
{
    static const struct {
        const char *what, *key;
        enum state from, to;
    } parts[] = {
        {"before its disk: scenario, plan, network", "before_ms", STATES, S_DISK},
        {"disk", "disk_ms", S_DISK, S_QUEUED},
        {"queue", "queue_ms", S_QUEUED, S_STARTING},
        {"start call", "start_ms", S_STARTING, S_BOOTING},
        {"boot, from the call's return to the agent", "boot_ms", S_BOOTING,
         S_PERSONALISING},
        {"personalise and check", "personalise_ms", S_PERSONALISING, S_READY}};
    double totals[RUNS_MAX], agents[RUNS_MAX], ratios[RUNS_MAX], to_agent[RUNS_MAX];
    double cpu_s[RUNS_MAX];
    for (size_t r = 0; r < runs; r++) {
        totals[r] = last_at(&ups[r], S_READY);
        agents[r] = last_at(&ups[r], S_PERSONALISING);
        ratios[r] = totals[r] / hand[r];
        to_agent[r] = agents[r] / hand[r];
        cpu_s[r] = ups[r].cpu_s;
    }
    json_t *json = json_pack(
        "{s:s, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "image", image, "machines", MACHINES,
        "runs", (int)runs, "by_hand_ms", median(hand, runs), "enshu_agent_ms",
        median(agents, runs), "enshu_ready_ms", median(totals, runs), "ratio_to_agent",
        median(to_agent, runs), "ratio_to_ready", median(ratios, runs));
    fprintf(stderr, "  %d of %s, %zu runs in turns\n", MACHINES, image, runs);
    fprintf(stderr, "    %-44s %10.0f ms\n", "by hand, to the last agent's answer",
            median(hand, runs));
    fprintf(stderr, "    %-44s %10.0f ms   ratio %.2f\n", "enshu up, the same",
            median(agents, runs), median(to_agent, runs));
    fprintf(stderr, "    %-44s %10.0f ms   ratio %.2f\n", "enshu up, all ready",
            median(totals, runs), median(ratios, runs));
    fprintf(stderr, "    %-44s %10.1f s, by hand %.1f s\n",
            "processor time of the QEMUs until then", median(cpu_s, runs),
            median(hand_cpu_s, runs));
    json_object_set_new(json, "by_hand_cpu_s", json_real(median(hand_cpu_s, runs)));
    json_object_set_new(json, "enshu_cpu_s", json_real(median(cpu_s, runs)));
    for (size_t i = 0; i < ES_COUNT(parts); i++) {
        double ms = spent(ups, runs, parts[i].from, parts[i].to);
        fprintf(stderr, "      %-42s %10.0f ms\n", parts[i].what, ms);
        json_object_set_new(json, parts[i].key, json_real(ms));
    }
    return json;
}

/* The first `up` builds images and is not measured; it gives the command lines. */
static json_t *measure(const char *image, size_t runs)
{
    static struct up ups[RUNS_MAX];
    static double hand[RUNS_MAX], hand_cpu_s[RUNS_MAX];
    write_scenario(image);
    run_up(&ups[0]);
    look_at_qemus(true);
    run_down();
    for (size_t r = 0; r < runs; r++) {
        hand[r] = run_by_hand(&hand_cpu_s[r]);
        run_up(&ups[r]);
        ups[r].cpu_s = look_at_qemus(false);
        run_down();
        fprintf(stderr, "    run %zu: by hand %.0f ms, enshu up %.0f ms\n", r + 1,
                hand[r], last_at(&ups[r], S_READY));
    }
    json_t *json = report(image, ups, hand, hand_cpu_s, runs);
    forget_commands();
    return json;
}

static void prepare(void)
{
    const char *images = getenv("BENCH_IMAGES");
    bin = getenv("ENSHU_BIN") != NULL ? getenv("ENSHU_BIN") : "build/release/bin";
    top = getenv("ENSHU_TOP") != NULL ? getenv("ENSHU_TOP") : ".";
    if (mkdtemp(dir) == NULL || chmod(dir, 0711) != 0 || uv_loop_init(&loop) != 0)
        die(dir, strerror(errno));
    snprintf(state, sizeof state, "%s/s", dir);
    char fallback[1024];
    snprintf(fallback, sizeof fallback, "%s/build/images", top);
    images = images != NULL ? images : fallback;
    if (sh("mkdir -p %s %s %s/scenario && ln -s \"$(realpath %s)\" %s/images", images,
           state, dir, images, state) != 0)
        die(images, "no folder for images");
}

int main(int argc, char **argv)
{
    int64_t runs = 3;
    if (argc > 1 && es_str_int(argv[1], 1, RUNS_MAX, &runs) != 0) {
        fprintf(stderr, "usage: bench-boot [RUNS [IMAGE...]]\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    es_wire_use_allocator();
    prepare();
    start_core();
    fprintf(stderr, "boots\n");
    json_t *images = json_array();
    static const char *const usual[] = {"tiny", "debian-12"};
    size_t count = argc > 2 ? (size_t)argc - 2 : ES_COUNT(usual);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(images,
                              measure(argc > 2 ? argv[2 + i] : usual[i], (size_t)runs));
    json_t *json = json_pack("{s:s, s:o}", "bench", "boot", "images", images);
    json_dumpf(json, stdout, JSON_INDENT(1));
    putchar('\n');
    json_decref(json);
    clean();
    return EXIT_SUCCESS;
}
