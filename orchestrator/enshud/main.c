/* enshud: limits and places first, then the core, then the control socket; the same way
 * back at the end. Machines outlive it.
 *
 *   OPENING --ready--> SERVING --signal or shutdown--> CLOSING --> exit
 *      | cannot open, signal                             ^
 *      +-------------------------------------------------+ */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "enshu/common/log.h"
#include "enshu/common/mem.h"
#include "enshu/control.h"
#include "enshu/range.h"
#include "enshu/wire.h"
#include "enshud.h"

#define THREADS "24" /* blocking libvirt, disc and image work side by side */

static struct {
    uv_loop_t loop;
    uv_signal_t signals[3];
    struct places places;
    struct es_range_core *core;
    struct es_control *control;
    bool closing;
    int status;
} self;

/* Descriptors as many as allowed, worker threads, no SIGPIPE; before the loop is made. */
static void set_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    setenv("UV_THREADPOOL_SIZE", THREADS, 0);
    signal(SIGPIPE, SIG_IGN);
}

static void close_signals(void)
{
    for (size_t i = 0; i < ES_COUNT(self.signals); i++)
        uv_close((uv_handle_t *)&self.signals[i], NULL);
}

static void on_core_closed(void *ctx)
{
    (void)ctx;
    self.core = NULL;
    close_signals();
}

static void on_control_closed(void *ctx)
{
    (void)ctx;
    self.control = NULL;
    es_range_core_close(self.core, on_core_closed, NULL);
}

static void begin_close(void)
{
    if (self.closing)
        return;
    self.closing = true;
    if (self.control != NULL)
        es_control_close(self.control, on_control_closed, NULL);
    else
        es_range_core_close(self.core, on_core_closed, NULL);
}

static void fail(int status, const struct es_err *err)
{
    self.status = status;
    fprintf(stderr, "enshud: %s\n", err->msg);
    begin_close();
}

static void on_ready(void *ctx, int status, const struct es_err *err)
{
    (void)ctx;
    struct es_err why = {0};
    if (self.closing)
        return;
    if (status != 0) {
        fail(status, err);
        return;
    }
    status =
        es_control_create(&self.loop, self.core, self.places.socket, &self.control, &why);
    if (status != 0) {
        fail(status, &why);
        return;
    }
    printf("enshud: ready on %s\n", self.places.socket);
    fflush(stdout);
}

static void on_shutdown(void *ctx)
{
    (void)ctx;
    begin_close();
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)handle;
    if (self.closing) {
        es_log_warn("signal %d again: not waiting any longer", number);
        _exit(es_status_exit(ES_ECANCELED));
    }
    es_log_info("signal %d: ending, machines go on", number);
    begin_close();
}

static void listen_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < ES_COUNT(self.signals); i++) {
        uv_signal_init(&self.loop, &self.signals[i]);
        uv_signal_start(&self.signals[i], on_signal, numbers[i]);
    }
}

static int serve(const struct options *options, struct es_err *err)
{
    const struct es_range_config config = {.state_dir = self.places.state,
                                           .uri = options->uri,
                                           .accel = options->accel,
                                           .recipes_dir = self.places.recipes,
                                           .agent_path = self.places.agent,
                                           .nest_path = self.places.nest};
    if (uv_loop_init(&self.loop) != 0)
        return es_err_nomem(err);
    listen_signals();
    int rc = es_range_core_create(&self.loop, &config, on_ready, on_shutdown, NULL,
                                  &self.core, err);
    if (rc != 0)
        close_signals();
    uv_run(&self.loop, UV_RUN_DEFAULT);
    uv_loop_close(&self.loop);
    return rc;
}

static int run(int argc, char **argv, struct es_err *err)
{
    struct options options = {0};
    int rc = options_read(&options, argc, argv, err);
    if (rc != 0)
        return rc;
    if (options.help) {
        options_help();
        return 0;
    }
    if (options.version) {
        puts("enshud " ES_VERSION);
        return 0;
    }
    set_limits();
    rc = places_find(&options, &self.places, err);
    if (rc == 0)
        rc = lock_take(self.places.state, err);
    return rc == 0 ? serve(&options, err) : rc;
}

int main(int argc, char **argv)
{
    struct es_err err = {0};
    uv_replace_allocator(es_alloc, es_realloc, es_calloc, es_free);
    es_wire_use_allocator();
    int rc = run(argc, argv, &err);
    if (rc != 0)
        fprintf(stderr, "enshud: %s\n", err.msg);
    return es_status_exit(rc != 0 ? rc : self.status);
}
