/* See hand.h. */
#include "hand.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/link.h"
#include "hand_fork.h"
#include "lab.h"

#define ARGS_MAX 256
#define LIMIT_MS 900000U

struct guest {
    char *args[ARGS_MAX];
    char overlay[128], channel[108], base[1024];
    long long bytes; /* of its disk */
    pid_t pid;
    struct es_link *link;
    struct hand_fork fork;
    uv_thread_t thread;
    uv_async_t resumed;
    double at; /* its agent has answered, ms since the begin; 0: not yet */
};

static struct guest *guests;
static size_t guest_count, answered;
static bool are_forks, too_late;
static double began;
static uv_loop_t loop;
static int open_handles;

/* ------------------------------------------------------------------ the command lines */

static long long virtual_size(const char *path)
{
    char line[1200];
    es_str_printf(line, sizeof line, "qemu-img info -U --output=json %s", path);
    FILE *out = popen(line, "re");
    json_t *json = out != NULL ? json_loadf(out, 0, NULL) : NULL;
    long long bytes = json_integer_value(json_object_get(json, "virtual-size"));
    json_decref(json);
    if (out != NULL)
        pclose(out);
    return bytes;
}

static char *adapt_file(struct guest *g, json_t *json)
{
    const char *file = json_string_value(json_object_get(json, "filename"));
    if (es_str_ends(file, ".iso")) {
        if (lab_sh("cp --no-preserve=mode %s %s/seed.iso", file, lab.dir) != 0)
            lab_die(file, "cannot be copied");
        json_object_set_new(json, "filename", json_sprintf("%s/seed.iso", lab.dir));
    } else if (strstr(file, "/disks/") != NULL) {
        g->bytes = virtual_size(file);
        json_object_set_new(json, "filename", json_string(g->overlay));
    } else
        es_str_printf(g->base, sizeof g->base, "%s", file);
    return json_dumps(json, JSON_COMPACT);
}

/* A fork's NIC must be what its mould's was; a boot's needs nobody to talk to. */
static char *adapt_net(struct guest *g, size_t n, const json_t *json)
{
    const char *id = json_string_value(json_object_get(json, "id"));
    if (!are_forks)
        return lab_text("hubport,id=%s,hubid=%zu", id, n);
    if (g->fork.tap >= 0)
        lab_die("by hand", "machines with one NIC only");
    g->fork.tap = hand_fork_tap();
    return lab_text("tap,id=%s,fd=%d", id, g->fork.tap);
}

/* The value of an option as it is by hand; NULL drops option and value. */
static char *adapt(struct guest *g, size_t n, const char *option, const char *value)
{
    json_t *json = value[0] == '{' ? json_loads(value, 0, NULL) : NULL;
    const char *driver = json_string_value(json_object_get(json, "driver"));
    const char *ram = json_string_value(json_object_get(json, "mem-path"));
    char *made = NULL;
    if (ram != NULL)
        es_str_printf(g->fork.ram, sizeof g->fork.ram, "%s", ram);
    if (strstr(value, "masterKey0") != NULL || strcmp(option, "-add-fd") == 0 ||
        (!are_forks && strstr(value, "charmonitor") != NULL))
        ;
    else if (strncmp(value, "socket,id=charmonitor", 21) == 0)
        made = lab_text("socket,id=charmonitor,fd=%d,server=on,wait=off",
                        g->fork.monitor_fd);
    else if (strcmp(option, "-netdev") == 0)
        made = adapt_net(g, n, json);
    else if (strncmp(value, "pty,id=charserial0", 18) == 0)
        made = lab_text("file,id=charserial0,path=%s/serial%zu.log", lab.dir, n);
    else if (strncmp(value, "socket,id=charchannel0", 22) == 0)
        made = lab_text("socket,id=charchannel0,path=%s,server=on,wait=off", g->channel);
    else if (driver != NULL && strcmp(driver, "file") == 0)
        made = adapt_file(g, json);
    else
        made = lab_text("%s", value);
    json_decref(json);
    return made;
}

static void take_command(pid_t pid, const char *bytes, size_t len, void *arg)
{
    size_t *taken = arg, args = 0, n = *taken;
    (void)pid;
    if (n >= guest_count) {
        ++*taken;
        return;
    }
    struct guest *g = &guests[(*taken)++];
    es_str_printf(g->overlay, sizeof g->overlay, "%s/hand%zu.qcow2", lab.dir, n);
    es_str_printf(g->channel, sizeof g->channel, "%s/hand%zu.sock", lab.dir, n);
    g->fork.tap = g->fork.monitor_fd = -1;
    if (are_forks)
        hand_fork_listen(&g->fork, n);
    const char *at = bytes, *end = bytes + len;
    g->args[args++] = lab_text("%s", at);
    at += strlen(at) + 1;
    while (at < end && args < ARGS_MAX - 3) {
        const char *option = at, *value = at + strlen(at) + 1;
        at = value;
        if (!are_forks && strcmp(option, "-S") == 0)
            continue;
        if (value >= end || value[0] == '-') { /* an option without a value */
            g->args[args++] = lab_text("%s", option);
            continue;
        }
        at += strlen(at) + 1;
        char *made = adapt(g, n, option, value);
        if (made == NULL)
            continue;
        g->args[args++] = lab_text("%s", option);
        g->args[args++] = made;
    }
}

void hand_take(size_t count, bool forks)
{
    size_t taken = 0;
    guests = calloc(count, sizeof *guests);
    if (guests == NULL || uv_loop_init(&loop) != 0)
        abort();
    guest_count = count;
    are_forks = forks;
    lab_processes("qemu-system", take_command, &taken);
    if (taken != count)
        lab_die("QEMU", "its command lines were not found");
}

void hand_forget(void)
{
    for (size_t i = 0; i < guest_count; i++) {
        for (size_t a = 0; guests[i].args[a] != NULL; a++)
            free(guests[i].args[a]);
        if (guests[i].fork.tap >= 0)
            close(guests[i].fork.tap);
        if (guests[i].fork.monitor_fd >= 0)
            close(guests[i].fork.monitor_fd);
    }
    free(guests);
    guests = NULL;
    guest_count = 0;
    uv_loop_close(&loop);
}

/* ------------------------------------------------------------------ one run */

static void on_link_state(void *ctx, struct es_link *link, enum es_link_state now,
                          const struct es_hello *hello, const struct es_err *why)
{
    struct guest *g = ctx;
    (void)link;
    (void)hello;
    (void)why;
    if (now != ES_LINK_UP || g->at > 0)
        return;
    g->at = lab_now() - began;
    if (++answered == guest_count)
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
    open_handles--;
}

static void on_closed(uv_handle_t *handle)
{
    (void)handle;
    open_handles--;
}

static void on_limit(uv_timer_t *timer)
{
    too_late = true;
    uv_stop(timer->loop);
}

static void open_link(struct guest *g)
{
    static const struct es_link_events events = {.on_state = on_link_state,
                                                 .on_result = on_result};
    struct es_err err = {0};
    if (es_link_create(&loop, "by hand", g->channel, &events, g, &g->link, &err) != 0)
        lab_die("link", err.msg);
    open_handles++;
    es_link_open(g->link);
}

static void on_resumed(uv_async_t *async)
{
    struct guest *g = async->data;
    if (g->fork.why[0] != '\0') {
        too_late = true;
        uv_stop(&loop);
    } else if (g->link == NULL)
        open_link(g);
}

static void drive(void *arg)
{
    struct guest *g = arg;
    hand_fork_drive(&g->fork);
    uv_async_send(&g->resumed);
}

static void spawn(struct guest *g)
{
    char log[64];
    es_str_printf(log, sizeof log, "%s/hand.log", lab.dir);
    g->pid = fork();
    if (g->pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    if (are_forks && g->fork.tap >= 0)
        fcntl(g->fork.tap, F_SETFD, 0);
    if (are_forks)
        fcntl(g->fork.monitor_fd, F_SETFD, 0);
    execv(g->args[0], g->args);
    _exit(127);
}

static void start(struct guest *g)
{
    spawn(g);
    if (!are_forks) {
        open_link(g);
        return;
    }
    uv_async_init(&loop, &g->resumed, on_resumed);
    g->resumed.data = g;
    open_handles++;
    g->fork.began = began;
    if (uv_thread_create(&g->thread, drive, g) != 0)
        lab_die("by hand", "no thread");
}

static void make_disk(struct guest *g)
{
    unlink(g->channel);
    g->at = 0;
    g->link = NULL;
    int rc = are_forks ? lab_sh("cp --no-preserve=mode %.*s.overlay %s",
                                (int)(strlen(g->fork.ram) - strlen(".ram")), g->fork.ram,
                                g->overlay)
                       : lab_sh("qemu-img create -q -f qcow2 -F qcow2 -b %s %s %lld",
                                g->base, g->overlay, g->bytes);
    if (rc != 0)
        lab_die(g->overlay, "cannot be made");
}

static void end(struct guest *g)
{
    kill(g->pid, SIGKILL);
    waitpid(g->pid, NULL, 0);
    g->pid = 0;
    if (g->link != NULL)
        es_link_close(g->link, on_link_closed);
    if (are_forks) {
        uv_thread_join(&g->thread);
        uv_close((uv_handle_t *)&g->resumed, on_closed);
    }
}

static double median_of(double (*of)(const struct guest *g))
{
    double *values = calloc(guest_count, sizeof *values);
    if (values == NULL)
        abort();
    for (size_t i = 0; i < guest_count; i++)
        values[i] = of(&guests[i]);
    double median = lab_median(values, guest_count);
    free(values);
    return median;
}

static double at_of(const struct guest *g)
{
    return g->at;
}
static double start_of(const struct guest *g)
{
    return g->fork.started;
}
static double load_of(const struct guest *g)
{
    return g->fork.loaded - g->fork.started;
}
static double resume_of(const struct guest *g)
{
    return g->fork.resumed - g->fork.loaded;
}
static double hello_of(const struct guest *g)
{
    return g->at - g->fork.resumed;
}

static void give_up(void)
{
    const char *why = "the agents do not answer";
    for (size_t i = 0; i < guest_count; i++)
        if (guests[i].fork.why[0] != '\0')
            why = guests[i].fork.why;
    lab_sh("tail -n 5 %s/hand.log >&2", lab.dir);
    lab_die("by hand", why);
}

void hand_run(struct hand_run *ret_run)
{
    uv_timer_t limit;
    answered = 0;
    for (size_t i = 0; i < guest_count; i++)
        make_disk(&guests[i]);
    uv_timer_init(&loop, &limit);
    uv_timer_start(&limit, on_limit, LIMIT_MS, 0);
    open_handles = 1;
    began = lab_now();
    for (size_t i = 0; i < guest_count; i++)
        start(&guests[i]);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (too_late)
        give_up();
    *ret_run = (struct hand_run){.median = median_of(at_of),
                                 .start = median_of(start_of),
                                 .load = median_of(load_of),
                                 .resume = median_of(resume_of),
                                 .hello = median_of(hello_of)};
    for (size_t i = 0; i < guest_count; i++) {
        ret_run->cpu_s += lab_cpu_s_of(guests[i].pid);
        if (guests[i].at > ret_run->last)
            ret_run->last = guests[i].at;
        end(&guests[i]);
    }
    uv_close((uv_handle_t *)&limit, on_closed);
    while (open_handles > 0)
        uv_run(&loop, UV_RUN_ONCE);
}

void hand_kill(void)
{
    for (size_t i = 0; i < guest_count; i++)
        if (guests[i].pid > 0)
            kill(guests[i].pid, SIGKILL);
}
