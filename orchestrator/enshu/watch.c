/* enshu watch: a live table, teams by objectives, redrawn when something changes. Without
 * a terminal: a line for each thing that changed. */
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

#define COLUMN_MIN 4
#define NEWS_KEPT  6

static json_t *last;      /* the last snapshot, for what changed */
static uint64_t last_ms;  /* when it came */
static uv_timer_t ticker; /* the clock goes on between snapshots */
static bool is_ticking;
static char news[NEWS_KEPT][256];
static int news_count;
static bool on_screen;

static void say(struct es_buf *out, const char *color, const char *text)
{
    es_buf_puts(out, color);
    es_buf_puts(out, text);
}

/* ------------------------------------------------------------------ the table */

struct sign {
    const char *status, *text;
    enum out_color color;
};
static const struct sign signs[] = {{"met", "●", GREEN},
                                    {"open", "○", PLAIN},
                                    {"missed", "✗", RED},
                                    {"closed", "·", DIM}};

static const struct sign *sign_of(const char *status)
{
    for (size_t i = 0; i < ES_COUNT(signs); i++)
        if (es_str_eq(status, signs[i].status))
            return &signs[i];
    return &signs[ES_COUNT(signs) - 1];
}

/* Columns get what titles need as long as all fit; then they share what is left. */
static int column_width(const struct cli *cli, const json_t *objectives, int room)
{
    size_t count = json_array_size(objectives), i;
    const json_t *objective;
    int widest = COLUMN_MIN;
    json_array_foreach (objectives, i, objective) {
        int width = text_width(member_title(cli, objective)) + 2;
        widest = width > widest ? width : widest;
    }
    if (count == 0 || (size_t)widest * count <= (size_t)room)
        return widest;
    int share = room / (int)count;
    return share < COLUMN_MIN ? COLUMN_MIN : share;
}

static void head_row(const struct cli *cli, struct es_buf *out, const json_t *objectives,
                     int name_width, int width, size_t shown)
{
    say(out, out_color(cli, DIM), "");
    text_fit(out, "team", name_width, true);
    es_buf_puts(out, "  points  ");
    for (size_t i = 0; i < shown; i++) {
        text_fit(out, member_title(cli, json_array_get(objectives, i)), width - 1, true);
        es_buf_putc(out, ' ');
    }
    say(out, out_color(cli, PLAIN), "\n");
}

static void cell(const struct cli *cli, struct es_buf *out, const json_t *objective,
                 int width)
{
    char text[48], at[32];
    const struct sign *sign = sign_of(member_text(objective, "status"));
    int64_t met_ms = met_at(objective);
    es_str_printf(text, sizeof text, "%s", sign->text);
    if (met_ms >= 0 && width >= 12)
        es_str_printf(text, sizeof text, "%s %s", sign->text,
                      text_clock(met_ms, at, sizeof at));
    es_buf_puts(out, out_color(cli, sign->color));
    text_fit(out, text, width - 1, true);
    es_buf_puts(out, out_color(cli, PLAIN));
    es_buf_putc(out, ' ');
}

static void team_row(const struct cli *cli, struct es_buf *out, const json_t *team,
                     int name_width, int width, size_t shown)
{
    char name[200], points[32];
    json_t *objectives = member_items(team, "objectives");
    const char *title = team_title(team);
    es_str_printf(name, sizeof name, "%lld%s%.150s",
                  (long long)member_int(team, "team", 0), *title != '\0' ? " " : "",
                  title);
    text_fit(out, name, name_width, true);
    es_buf_printf(out, "%8s  ",
                  text_points(member_int(team, "total_mpts", 0), points, sizeof points));
    for (size_t i = 0; i < shown; i++)
        cell(cli, out, json_array_get(objectives, i), width);
    es_buf_putc(out, '\n');
    json_decref(objectives);
}

static int names_width(const json_t *teams)
{
    size_t i;
    const json_t *team;
    int widest = 6;
    json_array_foreach (teams, i, team) {
        int width = text_width(team_title(team)) + 4;
        widest = width > widest ? width : widest;
    }
    return widest > 20 ? 20 : widest;
}

static void table(const struct cli *cli, struct es_buf *out, const json_t *range,
                  int width)
{
    const json_t *teams = member_list(range, "teams");
    json_t *objectives = member_items(json_array_get(teams, 0), "objectives");
    int name_width = names_width(teams), room = width - name_width - 10;
    int columns = column_width(cli, objectives, room);
    size_t count = json_array_size(objectives), shown = (size_t)(room / columns), i;
    shown = shown > count ? count : shown;
    head_row(cli, out, objectives, name_width, columns, shown);
    const json_t *team;
    json_array_foreach (teams, i, team) {
        team_row(cli, out, team, name_width, columns, shown);
    }
    if (shown < count)
        es_buf_printf(out, "… %zu more objectives; a wider terminal shows them\n",
                      count - shown);
    json_decref(objectives);
}

/* "ready 7, booting t1/pc t2/pc": quiet machines are a number, others are named. */
static void machines_line(const struct cli *cli, struct es_buf *out, const json_t *range,
                          int width)
{
    const json_t *machines = member_list(range, "machines"), *machine;
    struct es_buf line;
    size_t i, ready = 0;
    es_buf_init(&line, 65536);
    json_array_foreach (machines, i, machine) {
        ready += es_str_eq(member_text(machine, "state"), "ready");
    }
    es_buf_printf(&line, "machines: %zu of %zu ready", ready, json_array_size(machines));
    json_array_foreach (machines, i, machine) {
        if (!es_str_eq(member_text(machine, "state"), "ready"))
            es_buf_printf(&line, ", %s %s", member_text(machine, "machine"),
                          member_text(machine, "state"));
    }
    es_buf_puts(out, out_color(cli, ready == json_array_size(machines) ? PLAIN : YELLOW));
    text_fit(out, es_buf_str(&line), width, false);
    es_buf_puts(out, out_color(cli, PLAIN));
    es_buf_putc(out, '\n');
    es_buf_finish(&line);
}

static void capacity_line(const struct cli *cli, struct es_buf *out,
                          const json_t *capacity, int width)
{
    bool calm = es_str_eq(member_text(capacity, "level"), "calm");
    struct es_buf line;
    if (capacity == NULL)
        return;
    es_buf_init(&line, 4096);
    show_capacity(capacity, &line);
    es_buf_puts(out, out_color(cli, calm ? PLAIN : YELLOW));
    text_fit(out, es_buf_str(&line), width, false);
    es_buf_puts(out, out_color(cli, PLAIN));
    es_buf_putc(out, '\n');
    es_buf_finish(&line);
}

static void phases_lines(const struct cli *cli, struct es_buf *out, const json_t *range,
                         int width)
{
    size_t t, p;
    const json_t *team, *phase;
    json_array_foreach (member_list(range, "teams"), t, team) {
        struct es_buf line;
        es_buf_init(&line, 65536);
        json_t *phases = member_items(team, "phases");
        json_array_foreach (phases, p, phase) {
            char took[32];
            int64_t begun =
                member_int(phase, "begun_ex_ms", member_int(phase, "begun_ms", -1));
            int64_t done =
                member_int(phase, "done_ex_ms", member_int(phase, "done_ms", -1));
            if (begun < 0)
                continue;
            es_buf_printf(&line, "  %s %s%s", member_title(cli, phase),
                          done >= 0 ? text_clock(done - begun, took, sizeof took) : "…",
                          done < 0 && member_true(phase, "stuck") ? " STUCK" : "");
        }
        json_decref(phases);
        if (line.len > 0) {
            es_buf_printf(out, "team %lld:", (long long)member_int(team, "team", 0));
            text_fit(out, es_buf_str(&line), width - 10, false);
            es_buf_putc(out, '\n');
        }
        es_buf_finish(&line);
    }
}

/* The snapshot's clock, carried on to this moment. */
static void show_running(const struct cli *cli, const json_t *range, char *dst,
                         size_t size)
{
    const json_t *then = json_object_get(range, "clock");
    json_t *clock = json_copy((json_t *)(uintptr_t)then);
    if (clock != NULL && es_str_eq(member_text(then, "state"), "running")) {
        int64_t passed = (int64_t)(uv_now(&cli->loop) - last_ms);
        int64_t speed = member_int(then, "speed_permille", 1000);
        json_object_set_new(
            clock, "ex_ms",
            json_integer(member_int(then, "ex_ms", 0) + passed * speed / 1000));
    }
    show_clock(clock, dst, size);
    json_decref(clock);
}

static void draw(struct cli *cli, const json_t *range)
{
    struct es_buf out, head;
    char clock[80];
    int width = terminal_width(STDOUT_FILENO, 80);
    es_buf_init(&out, 4U << 20);
    es_buf_init(&head, 4096);
    show_running(cli, range, clock, sizeof clock);
    es_buf_printf(&head, "%s  %s  %s", member_text(range, "range"), clock,
                  member_title(cli, range));
    es_buf_puts(&out, on_screen ? "\x1b[H" : "\x1b[2J\x1b[H");
    es_buf_puts(&out, out_color(cli, BOLD));
    text_fit(&out, es_buf_str(&head), width, false);
    es_buf_printf(&out, "%s\n", out_color(cli, PLAIN));
    if (*member_text(range, "trouble") != '\0') {
        es_buf_puts(&out, out_color(cli, RED));
        text_fit(&out, member_text(range, "trouble"), width, false);
        es_buf_printf(&out, "%s\n", out_color(cli, PLAIN));
    }
    machines_line(cli, &out, range, width);
    capacity_line(cli, &out, json_object_get(range, "capacity"), width);
    es_buf_putc(&out, '\n');
    table(cli, &out, range, width);
    es_buf_putc(&out, '\n');
    phases_lines(cli, &out, range, width);
    for (int i = 0; i < news_count; i++) {
        text_fit(&out, news[i], width, false);
        es_buf_putc(&out, '\n');
    }
    /* Each line clears its rest, so a screen that shrinks leaves nothing behind. */
    for (const char *at = es_buf_str(&out); *at != '\0';) {
        size_t len = strcspn(at, "\n");
        printf("%.*s\x1b[K%s", (int)len, at, at[len] == '\n' ? "\n" : "");
        at += len + (at[len] == '\n' ? 1 : 0);
    }
    fputs("\x1b[J", stdout);
    fflush(stdout);
    on_screen = true;
    es_buf_finish(&head);
    es_buf_finish(&out);
}

/* ------------------------------------------------------------------ plain lines */

static void tell(struct cli *cli, const char *text)
{
    if (!cli->screen) {
        out_safe(stdout, text);
        putchar('\n');
        fflush(stdout);
        return;
    }
    if (news_count == NEWS_KEPT)
        memmove(news[0], news[1], sizeof news[0] * (NEWS_KEPT - 1));
    else
        news_count++;
    es_str_printf(news[news_count - 1], sizeof news[0], "%s", text);
}

static const json_t *same_in(const json_t *list, const char *key, const json_t *item)
{
    size_t i;
    const json_t *old;
    json_array_foreach (list, i, old) {
        if (json_equal(json_object_get(old, key), json_object_get(item, key)))
            return old;
    }
    return NULL;
}

static void tell_machines(struct cli *cli, const json_t *range)
{
    size_t i;
    const json_t *machine;
    char line[400];
    json_array_foreach (member_list(range, "machines"), i, machine) {
        const json_t *old = same_in(member_list(last, "machines"), "machine", machine);
        if (old != NULL &&
            json_equal(json_object_get(old, "state"), json_object_get(machine, "state")))
            continue;
        const char *detail = member_text(machine, "detail");
        es_str_printf(line, sizeof line, "%s: %s%s%.200s",
                      member_text(machine, "machine"), member_text(machine, "state"),
                      *detail != '\0' ? ": " : "", detail);
        tell(cli, line);
    }
}

static void tell_team(struct cli *cli, const json_t *team, const char *at)
{
    const json_t *old_team = same_in(member_list(last, "teams"), "team", team);
    json_t *old_list = member_items(old_team, "objectives");
    json_t *list = member_items(team, "objectives");
    size_t i;
    const json_t *objective;
    char line[400], points[32];
    json_array_foreach (list, i, objective) {
        const json_t *old = same_in(old_list, "name", objective);
        const char *status = member_text(objective, "status");
        if (last == NULL || es_str_eq(status, member_text(old, "status")))
            continue;
        es_str_printf(line, sizeof line, "T+%s team %lld: %.150s: %s", at,
                      (long long)member_int(team, "team", 0),
                      member_title(cli, objective), status);
        tell(cli, line);
    }
    int64_t total = member_int(team, "total_mpts", 0);
    if (!cli->screen && total != member_int(old_team, "total_mpts", 0)) {
        es_str_printf(line, sizeof line, "T+%s team %lld: %s points", at,
                      (long long)member_int(team, "team", 0),
                      text_points(total, points, sizeof points));
        tell(cli, line);
    }
    json_decref(list);
    json_decref(old_list);
}

static const char *level_of(const json_t *range)
{
    const char *level = member_text(json_object_get(range, "capacity"), "level");
    return *level != '\0' ? level : "calm";
}

/* Memory of the host grew short, or is there again. */
static void tell_level(struct cli *cli, const json_t *range)
{
    struct es_buf line;
    if (es_str_eq(level_of(range), level_of(last)))
        return;
    es_buf_init(&line, 4096);
    show_capacity(json_object_get(range, "capacity"), &line);
    tell(cli, es_buf_str(&line));
    es_buf_finish(&line);
}

static void tell_changes(struct cli *cli, const json_t *range)
{
    const json_t *clock = json_object_get(range, "clock"), *team;
    char text[80], at[32], line[400];
    size_t i;
    if (!json_equal(json_object_get(clock, "state"),
                    json_object_get(json_object_get(last, "clock"), "state"))) {
        show_clock(clock, text, sizeof text);
        es_str_printf(line, sizeof line, "%s: clock %s", member_text(range, "range"),
                      text);
        tell(cli, line);
    }
    tell_level(cli, range);
    if (!cli->screen || last != NULL)
        tell_machines(cli, range);
    text_clock(member_int(clock, "ex_ms", 0), at, sizeof at);
    json_array_foreach (member_list(range, "teams"), i, team) {
        tell_team(cli, team, at);
    }
}

static void on_tick(uv_timer_t *timer)
{
    if (last != NULL)
        draw(timer->data, last);
}

static void begin_ticking(struct cli *cli)
{
    if (is_ticking)
        return;
    is_ticking = true;
    uv_timer_init(&cli->loop, &ticker);
    ticker.data = cli;
    uv_timer_start(&ticker, on_tick, 1000, 1000);
}

static void on_snapshot(struct cli *cli, const json_t *range)
{
    if (cli->json) {
        json_dumpf(range, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        return;
    }
    tell_changes(cli, range);
    json_decref(last);
    last = json_incref((json_t *)(uintptr_t)range);
    last_ms = uv_now(&cli->loop);
    if (!cli->screen)
        return;
    begin_ticking(cli);
    draw(cli, range);
}

int run_watch(struct cli *cli, struct es_err *err)
{
    json_t *params = NULL;
    int rc =
        core_range_params(cli, cli->arg_count > 0 ? cli->args[0] : NULL, &params, err);
    if (rc != 0)
        return rc;
    rc = core_call(cli, "watch", params, on_snapshot, NULL, err);
    if (is_ticking)
        uv_close((uv_handle_t *)&ticker, NULL);
    json_decref(last);
    last = NULL;
    if (rc == ES_ECANCELED) {
        rc = 0;
        err->msg[0] = '\0';
    }
    return rc;
}
