/* ledger.export: a worker writes the lines into a file without a name, then the loop sends
 * them as fast as the client reads. The range is held open for the first part only.
 *
 *   WORKING (job) --after--> SENDING --last line--> done
 *      | client left: noted      | client left: at once */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "inner.h"

#define LINE_MAX_BYTES (1U << 20)

struct ledger_export {
    struct job job;
    struct range *range; /* while working */
    struct es_reply *reply;
    FILE *lines; /* each: its length as 4 bytes, its bytes */
    struct es_buf line;
    int64_t events;
    bool gone;
};

static void finish(struct ledger_export *x, const struct es_err *err)
{
    if (err != NULL)
        x->reply->fail(x->reply, err);
    else
        x->reply->done(x->reply, json_pack("{s:I}", "events", (json_int_t)x->events));
    if (x->lines != NULL)
        fclose(x->lines);
    es_buf_finish(&x->line);
    es_free(x);
}

static void finish_failed(struct ledger_export *x, int code, const char *text)
{
    struct es_err err = {0};
    es_err_set(&err, code, "%s", text);
    finish(x, &err);
}

/* The next line into x->line: 1, 0 at the end, a status. */
static int next_line(struct ledger_export *x)
{
    uint32_t len;
    if (fread(&len, sizeof len, 1, x->lines) != 1)
        return ferror(x->lines) ? ES_EIO : 0;
    char chunk[4096];
    es_buf_clear(&x->line);
    while (len > 0) {
        size_t want = len < sizeof chunk ? len : sizeof chunk;
        if (fread(chunk, 1, want, x->lines) != want)
            return ES_EIO;
        es_buf_append(&x->line, chunk, want);
        len -= (uint32_t)want;
    }
    return es_buf_status(&x->line) != 0 ? es_buf_status(&x->line) : 1;
}

static void send_lines(struct ledger_export *x)
{
    int rc = 1;
    while (!x->gone && x->reply->unsent_bytes(x->reply) <= ES_REPLY_FULL_BYTES &&
           (rc = next_line(x)) == 1)
        x->reply->progress(
            x->reply, json_pack("{s:s%}", "line", es_buf_str(&x->line), x->line.len));
    if (x->gone)
        finish_failed(x, ES_ECANCELED, "the client left");
    else if (rc < 0)
        finish_failed(x, rc, "the exported lines cannot be read again; repeat it");
    else if (rc == 0)
        finish(x, NULL);
}

static void on_drain(struct es_reply *reply)
{
    struct ledger_export *x = reply->callee;
    if (x->range == NULL)
        send_lines(x);
}

static void on_gone(struct es_reply *reply)
{
    struct ledger_export *x = reply->callee;
    x->gone = true;
    if (x->range == NULL)
        send_lines(x);
}

static const char event_line[] = "{\"pos\":";

static int write_line(void *ctx, const char *line, size_t len)
{
    struct ledger_export *x = ctx;
    while (len > 0 && line[len - 1] == '\n')
        len--;
    uint32_t size = (uint32_t)len;
    ES_ASSERT(len <= LINE_MAX_BYTES);
    /* The head has moved on when all lines are out. */
    x->events += len > sizeof event_line - 1 &&
                 memcmp(line, event_line, sizeof event_line - 1) == 0;
    return fwrite(&size, sizeof size, 1, x->lines) == 1 &&
                   fwrite(line, 1, len, x->lines) == len
               ? 0
               : es_err_set(&x->job.err, ES_EIO,
                            "the lines cannot be written to the state folder: %s; is the "
                            "disk full?",
                            strerror(errno));
}

static void export_work(struct job *job)
{
    struct ledger_export *x = job->arg;
    struct es_err err = {0};
    job->status = es_store_export(x->range->store, write_line, x, &err);
    if (job->status != 0 && job->err.code == 0)
        job->err = err;
    if (job->status == 0 && fflush(x->lines) != 0)
        job->status = write_line(x, "", 0);
    if (job->status == 0)
        rewind(x->lines);
}

static void export_after(struct job *job)
{
    struct ledger_export *x = job->arg;
    struct range *r = x->range;
    x->range = NULL;
    range_reader_done(r);
    if (job->status != 0)
        finish(x, &job->err);
    else
        send_lines(x);
}

/* A file in the state folder that nobody can name. */
static FILE *nameless(const struct es_range_core *core)
{
    char path[PATH_BYTES + 16];
    es_str_printf(path, sizeof path, "%s/ledgers", core->state_dir);
    int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w+") : NULL;
    if (file == NULL && fd >= 0)
        close(fd);
    return file;
}

void export_start(struct range *r, struct es_reply *reply)
{
    struct es_err err = {0};
    struct ledger_export *x = es_calloc(1, sizeof *x);
    if (x == NULL) {
        es_err_nomem(&err);
        reply->fail(reply, &err);
        return;
    }
    x->job = (struct job){.what = "exporting the ledger",
                          .work = export_work,
                          .after = export_after,
                          .arg = x};
    x->range = r;
    x->reply = reply;
    es_buf_init(&x->line, LINE_MAX_BYTES);
    x->lines = nameless(r->core);
    int rc =
        x->lines == NULL
            ? es_err_set(&err, ES_EIO, "no file for the lines in the state folder: %s",
                         strerror(errno))
            : job_start(r->core, &x->job, &err);
    if (rc != 0) {
        finish(x, &err);
        return;
    }
    range_reader(r);
    reply->callee = x;
    reply->on_gone = on_gone;
    reply->on_drain = on_drain;
}
