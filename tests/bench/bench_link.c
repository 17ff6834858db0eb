/* What a thousand links cost: simulated agents in a process of their own, four results a
 * second each, acknowledged at once. Links alone: what a durable ledger adds is measured
 * with the core.
 *
 *   bench-link [LINKS [RATE [SECONDS]]]   ENSHU_BIN names the folder of enshu-simagents */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/link.h"

static uv_loop_t loop;
static uv_process_t simulator;
static uv_pipe_t from_simulator, to_simulator;
static int64_t link_count = 1000, rate = 4, seconds = 10, results, up;
static struct es_link **links;
static char dir[64] = "/tmp/enshu-bench-XXXXXX";
static char told[512];
static size_t told_len;
static double cpu_s, began_s, first_up_s;

static double cpu_now(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static double now_s(void)
{
    return (double)uv_hrtime() / 1e9;
}

static void on_result(void *ctx, struct es_link *link, const struct es_result *result)
{
    (void)ctx;
    results++;
    es_link_ack(link, result->epoch, result->seq);
}

static void on_end(uv_timer_t *timer)
{
    cpu_s = cpu_now() - cpu_s;
    uv_close((uv_handle_t *)timer, NULL);
    for (int64_t i = 0; i < link_count; i++)
        es_link_close(links[i], NULL);
    uv_process_kill(&simulator, SIGTERM);
}

static void on_state(void *ctx, struct es_link *link, enum es_link_state state,
                     const struct es_hello *hello, const struct es_err *why)
{
    static uv_timer_t end;
    (void)ctx;
    (void)link;
    (void)hello;
    if (why != NULL)
        fprintf(stderr, "%s\n", why->msg);
    if (state != ES_LINK_UP || ++up != link_count)
        return;
    first_up_s = now_s() - began_s;
    results = 0;
    cpu_s = cpu_now();
    uv_timer_init(&loop, &end);
    uv_timer_start(&end, on_end, (uint64_t)seconds * 1000, 0);
}

static const struct es_link_events events = {on_state, on_result, NULL};

static int open_links(void)
{
    char path[128], name[32];
    struct es_err err = {0};
    began_s = now_s();
    for (int64_t i = 0; i < link_count; i++) {
        snprintf(path, sizeof path, "%s/agent-%04d.sock", dir, (int)i);
        snprintf(name, sizeof name, "agent %d", (int)i);
        if (es_link_create(&loop, name, path, &events, NULL, &links[i], &err) != 0) {
            fprintf(stderr, "%s\n", err.msg);
            return -1;
        }
        es_link_open(links[i]);
    }
    return 0;
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
    (void)handle;
    (void)wanted;
    *ret_buf = uv_buf_init(told + told_len, (unsigned)(sizeof told - 1 - told_len));
}

static void on_told(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf)
{
    (void)buf;
    if (count < 0) {
        uv_close((uv_handle_t *)stream, NULL);
        uv_close((uv_handle_t *)&to_simulator, NULL);
        return;
    }
    bool first = told_len == 0;
    told_len += (size_t)count;
    if (first && count > 0 && open_links() != 0)
        exit(1);
}

static void on_exit_(uv_process_t *process, int64_t status, int number)
{
    (void)status;
    (void)number;
    uv_close((uv_handle_t *)process, NULL);
}

static int spawn(void)
{
    char program[1024], count[16], each[16];
    const char *bin = getenv("ENSHU_BIN");
    snprintf(program, sizeof program, "%s/enshu-simagents",
             bin != NULL ? bin : "build/release/bin");
    snprintf(count, sizeof count, "%d", (int)link_count);
    snprintf(each, sizeof each, "%d", (int)rate);
    char *args[] = {program, dir, count, each, NULL};
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE,
         .data.stream = (uv_stream_t *)&to_simulator},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
         .data.stream = (uv_stream_t *)&from_simulator},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    uv_process_options_t options = {.file = program,
                                    .args = args,
                                    .stdio = stdio,
                                    .stdio_count = 3,
                                    .exit_cb = on_exit_};
    uv_pipe_init(&loop, &to_simulator, 0);
    uv_pipe_init(&loop, &from_simulator, 0);
    int rc = uv_spawn(&loop, &simulator, &options);
    if (rc != 0)
        fprintf(stderr, "cannot run %s: %s\n", program, uv_strerror(rc));
    else
        uv_read_start((uv_stream_t *)&from_simulator, on_alloc, on_told);
    return rc;
}

static void report(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double per_s = (double)results / (double)seconds;
    double cpu_percent = cpu_s / (double)seconds * 100;
    const char *simulated = strchr(told, '{');
    printf("%-34s %10" PRId64 "\n", "links", link_count);
    printf("%-34s %10.0f\n", "all up after, ms", first_up_s * 1000);
    printf("%-34s %10.0f\n", "results/s", per_s);
    printf("%-34s %10.1f\n", "CPU of the links, % of a core", cpu_percent);
    printf("%-34s %10.1f\n", "CPU per result, us", cpu_s / (double)results * 1e6);
    printf("%-34s %10.1f\n", "memory, MB", (double)use.ru_maxrss / 1024);
    printf("{\"bench\": \"link\", \"links\": %" PRId64
           ", \"results_per_s\": %.0f, \"cpu_percent\": %.1f, \"rss_kb\": %ld, "
           "\"simulated\": %.*s}\n",
           link_count, per_s, cpu_percent, use.ru_maxrss,
           simulated != NULL ? (int)strcspn(simulated, "\n") : 4,
           simulated != NULL ? simulated : "null");
}

static void clean(void)
{
    char path[128];
    for (int64_t i = 0; i < link_count; i++) {
        snprintf(path, sizeof path, "%s/agent-%04d.sock", dir, (int)i);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/acked.log", dir);
    unlink(path);
    rmdir(dir);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if ((argc > 1 && es_str_int(argv[1], 1, 20000, &link_count) != 0) ||
        (argc > 2 && es_str_int(argv[2], 0, 100000, &rate) != 0) ||
        (argc > 3 && es_str_int(argv[3], 1, 3600, &seconds) != 0)) {
        fprintf(stderr, "usage: bench-link [LINKS [RATE [SECONDS]]]\n");
        return 64;
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* the simulated agents inherit it */
        setrlimit(RLIMIT_NOFILE, &files);
    }
    es_wire_use_allocator();
    links = calloc((size_t)link_count, sizeof(struct es_link *));
    if (links == NULL || mkdtemp(dir) == NULL || uv_loop_init(&loop) != 0 || spawn() != 0)
        return 70;
    uv_run(&loop, UV_RUN_DEFAULT);
    report();
    clean();
    return uv_loop_close(&loop) == 0 ? 0 : 70;
}
