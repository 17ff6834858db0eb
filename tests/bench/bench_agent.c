/* The agent's numbers: bytes of the static program, resident memory, wake-ups while idle,
 * time of a request. Usage: bench-agent [AGENT [IDLE_SECONDS]]. A table on standard error,
 * JSON on standard output. */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"

#define ROUNDS 300

struct core {
    int fd;
    FILE *in;
    pid_t agent;
    long long id;
};

static void fail(const char *what)
{
    fprintf(stderr, "bench-agent: %s\n", what);
    exit(EXIT_FAILURE);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void start(struct core *core, const char *program)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char line[4096];
    es_str_printf(addr.sun_path, sizeof addr.sun_path, "/tmp/enshu-bench-agent-%d",
                  (int)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0 || listen(fd, 1) != 0)
        fail("no socket");
    core->agent = fork();
    if (core->agent == 0) {
        execl(program, program, "--port", addr.sun_path, (char *)NULL);
        _exit(127);
    }
    struct pollfd polled = {fd, POLLIN, 0};
    if (poll(&polled, 1, 10000) != 1)
        fail("the agent does not start");
    core->fd = accept(fd, NULL, NULL);
    close(fd);
    unlink(addr.sun_path);
    core->in = fdopen(core->fd, "r");
    if (core->in == NULL || dprintf(core->fd, "\n{\"sync\": \"bench\"}\n") < 0)
        fail("no connection");
    do
        if (fgets(line, sizeof line, core->in) == NULL)
            fail("the agent hung up");
    while (strstr(line, "hello") == NULL);
}

/* One request to its result, acknowledged; milliseconds. */
static double request(struct core *core, const char *op, const char *args)
{
    static char line[70000], epoch[32];
    long long seq;
    double begin = now_ms();
    dprintf(core->fd,
            "{\"id\": %lld, \"op\": \"%s\", \"args\": %s, \"deadline_ms\": 10000, "
            "\"max_bytes\": 0}\n",
            ++core->id, op, args);
    do
        if (fgets(line, sizeof line, core->in) == NULL)
            fail("the agent hung up");
    while (sscanf(line, "{\"seq\":%lld,\"epoch\":\"%16[0-9a-f]", &seq, epoch) != 2);
    if (strstr(line, "\"ok\":true") == NULL)
        fail(line);
    dprintf(core->fd, "{\"ack\": %lld, \"epoch\": \"%s\"}\n", seq, epoch);
    return now_ms() - begin;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static json_t *latency(struct core *core, const char *what, const char *op,
                       const char *args)
{
    static double ms[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        ms[i] = request(core, op, args);
    qsort(ms, ROUNDS, sizeof *ms, by_size);
    fprintf(stderr, "  %-28s median %7.2f ms   p99 %7.2f ms\n", what, ms[ROUNDS / 2],
            ms[ROUNDS * 99 / 100]);
    return json_pack("{s:s, s:f, s:f}", "what", what, "median_ms", ms[ROUNDS / 2],
                     "p99_ms", ms[ROUNDS * 99 / 100]);
}

static long status_of(pid_t pid, const char *key)
{
    char path[64], line[256];
    long value = -1;
    size_t len = strlen(key);
    es_str_printf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            value = atol(line + len + 1);
    if (file != NULL)
        fclose(file);
    return value;
}

int main(int argc, char **argv)
{
    char path[512];
    struct core core = {0};
    struct stat st;
    const char *bin = getenv("ENSHU_BIN");
    es_str_printf(path, sizeof path, "%s/enshu-agent", bin != NULL ? bin : ".");
    const char *program = argc > 1 ? argv[1] : path;
    int idle_s = argc > 2 ? atoi(argv[2]) : 10;
    if (stat(program, &st) != 0 || idle_s < 1)
        fail("usage: bench-agent [AGENT [IDLE_SECONDS]]");
    start(&core, program);
    json_t *requests = json_pack(
        "[o, o, o]",
        latency(
            &core, "put, 4 bytes", "put",
            "{\"path\": \"/tmp/enshu-bench-put\", \"off\": 0, \"data\": \"YWJjZA==\", "
            "\"last\": true, \"size\": 4}"),
        latency(&core, "probe file", "probe",
                "{\"kind\": \"file\", \"path\": \"/etc/passwd\"}"),
        latency(&core, "exec true", "exec", "{\"argv\": [\"true\"]}"));
    unlink("/tmp/enshu-bench-put");
    long before = status_of(core.agent, "voluntary_ctxt_switches");
    sleep((unsigned)idle_s);
    double wakeups =
        (double)(status_of(core.agent, "voluntary_ctxt_switches") - before) / idle_s;
    long rss_kib = status_of(core.agent, "VmRSS");
    fprintf(stderr, "  on disc %lld bytes, resident %ld KiB, idle %.2f wake-ups/s\n",
            (long long)st.st_size, rss_kib, wakeups);
    json_t *all = json_pack("{s:s, s:I, s:I, s:f, s:o}", "bench", "agent", "disc_bytes",
                            (json_int_t)st.st_size, "resident_kib", (json_int_t)rss_kib,
                            "idle_wakeups_per_s", wakeups, "requests", requests);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
    kill(core.agent, SIGTERM);
    waitpid(core.agent, NULL, 0);
    fclose(core.in);
    return EXIT_SUCCESS;
}
