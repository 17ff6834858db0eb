/* Progress of long calls: one line a machine, updated in place on a terminal; a plain line
 * an event elsewhere; JSON lines with --json. */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

#define ROWS_MAX  4096
#define DRAW_MS   80
#define LINES_DEF 24

struct row {
    char name[72], state[32], detail[160];
};
struct progress {
    struct cli *cli;
    struct row *rows;
    size_t count, cap;
    int drawn; /* lines on the screen now */
    uv_timer_t timer;
    bool timer_busy;
};

static enum out_color state_color(const char *state)
{
    if (es_str_eq(state, "ready") || es_str_eq(state, "done") ||
        es_str_eq(state, "parked"))
        return GREEN;
    if (es_str_eq(state, "failed") || es_str_eq(state, "fault") ||
        es_str_eq(state, "down"))
        return RED;
    return YELLOW;
}

static struct row *find_row(struct progress *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->rows[i].name, name) == 0)
            return &p->rows[i];
    if (p->count >= ROWS_MAX)
        return NULL;
    if (p->count == p->cap) {
        size_t cap = p->cap == 0 ? 16 : 2 * p->cap;
        struct row *rows = es_grow(p->rows, cap, sizeof *rows);
        if (rows == NULL)
            return NULL;
        p->rows = rows;
        p->cap = cap;
    }
    struct row *row = &p->rows[p->count++];
    memset(row, 0, sizeof *row);
    es_str_printf(row->name, sizeof row->name, "%s", name);
    return row;
}

static int screen_lines(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row >= 4)
        return size.ws_row;
    return LINES_DEF;
}

static void draw_row(const struct progress *p, const struct row *row, int width,
                     int name_width)
{
    struct es_buf line;
    es_buf_init(&line, 4096);
    es_buf_puts(&line, "  ");
    text_fit(&line, row->name, name_width, true);
    es_buf_printf(&line, "  %s", out_color(p->cli, state_color(row->state)));
    text_fit(&line, row->state, 13, true);
    es_buf_printf(&line, "%s  ", out_color(p->cli, PLAIN));
    int rest = width - name_width - 20;
    if (rest > 0)
        text_fit(&line, row->detail, rest, false);
    fprintf(stderr, "%s\x1b[K\n", es_buf_str(&line));
    es_buf_finish(&line);
}

static int erase(struct progress *p)
{
    int lines = p->drawn;
    if (lines > 0)
        fprintf(stderr, "\x1b[%dA\x1b[J", lines);
    p->drawn = 0;
    return lines;
}

/* Rows that are done give way when the screen is too small for all. */
static void draw(struct progress *p, bool final)
{
    int width = terminal_width(STDERR_FILENO, 80), lines = screen_lines() - 2;
    int name_width = 8;
    size_t quiet = 0, hidden = 0;
    for (size_t i = 0; i < p->count; i++) {
        int w = text_width(p->rows[i].name);
        name_width = w > name_width ? w : name_width;
        quiet += state_color(p->rows[i].state) == GREEN;
    }
    name_width = name_width > width / 2 ? width / 2 : name_width;
    bool is_tight = !final && p->count > (size_t)lines;
    erase(p);
    for (size_t i = 0; i < p->count; i++) {
        bool skip =
            is_tight && (state_color(p->rows[i].state) == GREEN || p->drawn >= lines - 1);
        if (skip) {
            hidden++;
            continue;
        }
        draw_row(p, &p->rows[i], width, name_width);
        p->drawn++;
    }
    if (is_tight) {
        fprintf(stderr, "  … %zu more, %zu of %zu ready\x1b[K\n", hidden, quiet,
                p->count);
        p->drawn++;
    }
    fflush(stderr);
}

static void on_timer(uv_timer_t *timer)
{
    struct progress *p = timer->data;
    p->timer_busy = false;
    draw(p, false);
}

static struct progress *begin(struct cli *cli)
{
    if (cli->progress != NULL)
        return cli->progress;
    struct progress *p = es_calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->cli = cli;
    uv_timer_init(&cli->loop, &p->timer);
    p->timer.data = p;
    cli->progress = p;
    return p;
}

static void say_plain(const char *name, const char *state, const char *detail)
{
    out_safe(stderr, name);
    fputs(*name != '\0' ? ": " : "", stderr);
    out_safe(stderr, state);
    fputs(*state != '\0' && *detail != '\0' ? ": " : "", stderr);
    out_safe(stderr, detail);
    fputc('\n', stderr);
}

static void count_text(const json_t *event, char *dst, size_t size)
{
    int64_t total = member_int(event, "total", 0);
    dst[0] = '\0';
    if (total > 0)
        snprintf(dst, size, "%lld/%lld", (long long)member_int(event, "done", 0),
                 (long long)total);
}

void progress_event(struct cli *cli, const json_t *event)
{
    if (cli->json) {
        json_dumpf(event, stderr, JSON_COMPACT);
        fputc('\n', stderr);
        return;
    }
    const char *name = member_text(event, "machine"),
               *state = member_text(event, "state");
    const char *detail = member_text(event, "detail");
    char count[48];
    count_text(event, count, sizeof count);
    if (*name == '\0') {
        name = member_text(event, "step");
        state = *count != '\0' ? count : member_text(event, "what");
    }
    if (*detail == '\0')
        detail = member_text(event, "text");
    struct progress *p = cli->tty_err ? begin(cli) : NULL;
    struct row *row = p != NULL ? find_row(p, name) : NULL;
    if (row == NULL) {
        say_plain(name, state, detail);
        return;
    }
    es_str_printf(row->state, sizeof row->state, "%s", state);
    es_str_printf(row->detail, sizeof row->detail, "%s", detail);
    if (!p->timer_busy) {
        p->timer_busy = true;
        uv_timer_start(&p->timer, on_timer, DRAW_MS, 0);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct progress *p = handle->data;
    es_free(p->rows);
    es_free(p);
}

void progress_end(struct cli *cli)
{
    struct progress *p = cli->progress;
    if (p == NULL)
        return;
    draw(p, true);
    cli->progress = NULL;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}
