/* The serial console: a libvirt stream that never blocks, its events on the loop. Opening
 * and ending it are calls to libvirtd, so they run on a worker; the object lives until the
 * ending job has answered. */
#include <string.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"

#define SEND_MAX   (64U << 10)
#define READ_BYTES 8192

struct es_hyp_console {
    struct es_hyp_job closing; /* first; its destruction is the console's */
    struct es_list link;
    struct es_hyp *hyp;
    char machine[ES_PLAN_NAME_MAX];
    struct es_hyp_console_events events;
    void *ctx;
    virStreamPtr stream; /* set by the opening job */
    struct es_buf out;
    int watched;         /* VIR_STREAM_EVENT_… asked for; 0: no callback registered */
    bool opening, ended; /* ended: no callback any more */
};

struct open_job {
    struct es_hyp_job job;
    struct es_hyp_console *console;
};

/* ------------------------------------------------------------------ the end */

static void release(struct es_hyp_console *console)
{
    struct es_hyp *hyp = console->hyp;
    es_list_remove(&console->link);
    es_buf_finish(&console->out);
    es_free(console);
    es_hyp_maybe_closed(hyp);
}

static int run_close(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct es_hyp_console *console = (struct es_hyp_console *)base;
    (void)conn;
    (void)err;
    virStreamAbort(console->stream);
    virStreamFree(console->stream);
    console->stream = NULL;
    return 0;
}

static void on_closed(struct es_hyp_job *base)
{
    struct es_hyp_console *console = (struct es_hyp_console *)base;
    if (console->stream != NULL) /* cancelled: no worker is left to do it */
        virStreamFree(console->stream);
    release(console);
}

/* Stops the callbacks and lets a worker end the stream. */
static void finish(struct es_hyp_console *console)
{
    console->ended = true;
    if (console->watched != 0)
        virStreamEventRemoveCallback(console->stream);
    console->watched = 0;
    if (console->opening)
        return; /* the opening job goes on here */
    if (console->stream == NULL) {
        release(console);
        return;
    }
    console->closing.hyp = console->hyp;
    console->closing.run = run_close;
    console->closing.destroy = on_closed;
    es_hyp_submit(console->hyp, &console->closing);
}

static void end(struct es_hyp_console *console, const struct es_err *why)
{
    if (console->ended)
        return;
    void (*on_end)(void *, const struct es_err *) = console->events.on_end;
    void *ctx = console->ctx;
    struct es_err copy = *why;
    finish(console);
    on_end(ctx, &copy);
}

/* ------------------------------------------------------------------ traffic [loop] */

static void watch(struct es_hyp_console *console)
{
    int wanted =
        VIR_STREAM_EVENT_READABLE | VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR;
    if (console->out.len > 0)
        wanted |= VIR_STREAM_EVENT_WRITABLE;
    if (wanted == console->watched)
        return;
    virStreamEventUpdateCallback(console->stream, wanted);
    console->watched = wanted;
}

static void read_some(struct es_hyp_console *console)
{
    char data[READ_BYTES];
    struct es_err err = {0};
    while (!console->ended) {
        int n = virStreamRecv(console->stream, data, sizeof data);
        if (n == -2)
            return;
        if (n < 0)
            es_hyp_error(&err, "read the console of", console->machine);
        if (n == 0)
            es_err_set(&err, ES_ECONN, "the console of %s has ended", console->machine);
        if (n <= 0)
            end(console, &err);
        else
            console->events.on_data(console->ctx, data, (size_t)n);
    }
}

static void write_some(struct es_hyp_console *console)
{
    while (console->out.len > 0) {
        int n = virStreamSend(console->stream, console->out.data, console->out.len);
        if (n == -2)
            return;
        if (n < 0) {
            struct es_err err = {0};
            es_hyp_error(&err, "write to the console of", console->machine);
            end(console, &err);
            return;
        }
        es_buf_consume(&console->out, (size_t)n);
    }
    watch(console);
}

static void on_stream(virStreamPtr stream, int events, void *opaque)
{
    struct es_hyp_console *console = opaque;
    (void)stream;
    if ((events & VIR_STREAM_EVENT_READABLE) != 0)
        read_some(console);
    if ((events & VIR_STREAM_EVENT_WRITABLE) != 0 && !console->ended)
        write_some(console);
    if ((events & (VIR_STREAM_EVENT_HANGUP | VIR_STREAM_EVENT_ERROR)) != 0) {
        struct es_err err = {0};
        es_err_set(&err, ES_ECONN, "the console of %s has ended", console->machine);
        end(console, &err);
    }
}

/* ------------------------------------------------------------------ opening */

static int run_open(struct es_hyp_job *base, virConnectPtr conn, struct es_err *err)
{
    struct es_hyp_console *console = ((struct open_job *)base)->console;
    struct es_hyp_meta meta;
    virDomainPtr dom;
    virStreamPtr stream = NULL;
    int rc = es_hyp_domain_ours(conn, console->machine, &dom, &meta, err);
    if (rc != 0)
        return rc;
    ES_HYP_TRY(rc, err, "open a stream to", console->machine, NULL,
               stream = virStreamNew(conn, VIR_STREAM_NONBLOCK));
    if (rc == 0)
        ES_HYP_TRY(rc, err, "open the console of", console->machine, -1,
                   virDomainOpenConsole(dom, NULL, stream, 0));
    virDomainFree(dom);
    if (rc == 0)
        console->stream = stream;
    else if (stream != NULL)
        virStreamFree(stream);
    return rc;
}

static void on_opened(struct es_hyp_job *base)
{
    struct es_hyp_console *console = ((struct open_job *)base)->console;
    console->opening = false;
    if (console->ended) {
        finish(console);
        return;
    }
    if (base->status != 0) {
        end(console, &base->err);
        return;
    }
    console->watched = VIR_STREAM_EVENT_READABLE;
    if (virStreamEventAddCallback(console->stream, console->watched, on_stream, console,
                                  NULL) != 0) {
        struct es_err err = {0};
        console->watched = 0;
        es_hyp_error(&err, "watch the console of", console->machine);
        end(console, &err);
        return;
    }
    watch(console);
}

int es_hyp_console_open(struct es_hyp *hyp, const char *machine,
                        const struct es_hyp_console_events *events, void *ctx,
                        struct es_hyp_console **ret_console, struct es_err *err)
{
    ES_ASSERT(events->on_data != NULL && events->on_end != NULL);
    struct es_hyp_console *console = es_calloc(1, sizeof *console);
    if (console == NULL)
        return es_err_nomem(err);
    console->hyp = hyp;
    console->events = *events;
    console->ctx = ctx;
    console->opening = true;
    es_buf_init(&console->out, SEND_MAX);
    if (es_str_printf(console->machine, sizeof console->machine, "%s", machine) != 0) {
        es_free(console);
        return es_err_set(err, ES_ENOENT, "there is no machine %.40s…", machine);
    }
    struct open_job *job = es_hyp_job_new(hyp, sizeof *job, run_open, NULL, NULL);
    if (job == NULL) {
        es_free(console);
        return es_err_nomem(err);
    }
    job->console = console;
    job->job.finish = on_opened;
    es_hyp_submit(hyp, &job->job);
    es_list_push(&hyp->consoles, &console->link);
    *ret_console = console;
    return 0;
}

int es_hyp_console_send(struct es_hyp_console *console, const char *data, size_t len)
{
    if (console->ended)
        return ES_ECONN;
    if (len > SEND_MAX - console->out.len)
        return ES_EBUSY;
    int rc = es_buf_append(&console->out, data, len);
    if (rc == 0 && !console->opening)
        watch(console);
    return rc;
}

void es_hyp_console_close(struct es_hyp_console *console)
{
    if (console != NULL && !console->ended)
        finish(console);
}

void es_hyp_consoles_cancel(struct es_hyp *hyp, int code, const char *why)
{
    struct es_err err = {0};
    es_err_set(&err, code, "%s", why);
    ES_LIST_EACH (pos, tmp, &hyp->consoles)
        end(ES_CONTAINER(pos, struct es_hyp_console, link), &err);
}
