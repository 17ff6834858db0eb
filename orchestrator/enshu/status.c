/* enshu status: ranges, what their machines do, how the teams stand. */
#include <string.h>

#include "cli.h"
#include "enshu/common/str.h"

void show_clock(const json_t *clock, char *dst, size_t size)
{
    char at[32];
    const char *state = member_text(clock, "state");
    int64_t speed = member_int(clock, "speed_permille", 1000);
    text_clock(member_int(clock, "ex_ms", 0), at, sizeof at);
    int n = snprintf(dst, size, "%.20s at T+%s", *state != '\0' ? state : "?", at);
    int64_t planned_ms = member_int(clock, "planned_ms", 0);
    if (planned_ms > 0 && n > 0 && (size_t)n < size)
        n += snprintf(dst + n, size - (size_t)n, " of %s",
                      text_clock(planned_ms, at, sizeof at));
    if (speed != 1000 && n > 0 && (size_t)n < size)
        snprintf(dst + n, size - (size_t)n, " (speed %lld.%lld)", (long long)speed / 1000,
                 (long long)speed / 100 % 10);
}

static const char *const states[] = {
    "ready",         "planned", "disk",     "queued",   "starting",  "booting",
    "personalising", "setup",   "checking", "stopping", "suspended", "failed",
    "down",          "fault",   "parking",  "parked",   "waking"};

static void print_machines(const json_t *machines)
{
    size_t total = json_array_size(machines);
    printf("  machines: %zu", total);
    for (size_t s = 0; s < ES_COUNT(states); s++) {
        size_t i, count = 0;
        const json_t *machine;
        json_array_foreach (machines, i, machine) {
            count += es_str_eq(member_text(machine, "state"), states[s]);
        }
        if (count > 0)
            printf(", %zu %s", count, states[s]);
    }
    putchar('\n');
    size_t i;
    const json_t *machine;
    json_array_foreach (machines, i, machine) {
        if (es_str_eq(member_text(machine, "state"), "ready"))
            continue;
        struct es_buf line;
        es_buf_init(&line, 4096);
        text_fit(&line, member_text(machine, "machine"), 24, true);
        es_buf_putc(&line, ' ');
        text_fit(&line, member_text(machine, "state"), 13, true);
        es_buf_putc(&line, ' ');
        text_fit(&line, member_text(machine, "detail"), 400, false);
        printf("    %s\n", es_buf_str(&line));
        es_buf_finish(&line);
    }
}

/* Each reason once, with the machine it is told of first. */
static void print_booted(const json_t *machines)
{
    json_t *reasons = json_object();
    size_t i;
    const json_t *machine;
    const char *why;
    json_t *first;
    json_array_foreach (machines, i, machine) {
        why = member_text(machine, "why_booted");
        if (*why != '\0' && json_object_get(reasons, why) == NULL)
            json_object_set(reasons, why, json_object_get(machine, "machine"));
    }
    json_object_foreach (reasons, why, first) {
        fputs("    booted, not forked: ", stdout);
        out_safe(stdout, json_string_value(first));
        fputs(": ", stdout);
        out_safe(stdout, why);
        putchar('\n');
    }
    json_decref(reasons);
}

static size_t met_count(const json_t *objectives)
{
    size_t i, met = 0;
    const json_t *objective;
    json_array_foreach (objectives, i, objective) {
        met += es_str_eq(member_text(objective, "status"), "met");
    }
    return met;
}

static void print_teams(const json_t *teams)
{
    size_t i;
    const json_t *team;
    json_array_foreach (teams, i, team) {
        char points[32];
        json_t *objectives = member_items(team, "objectives");
        printf("  team %-3lld ", (long long)member_int(team, "team", 0));
        out_safe(stdout, team_title(team));
        printf("  %s points, %zu of %zu objectives met\n",
               text_points(member_int(team, "total_mpts", 0), points, sizeof points),
               met_count(objectives), json_array_size(objectives));
        json_decref(objectives);
    }
}

static void print_range(const struct cli *cli, const json_t *range)
{
    char clock[80];
    show_clock(json_object_get(range, "clock"), clock, sizeof clock);
    fputs(out_color(cli, BOLD), stdout);
    out_safe(stdout, member_text(range, "range"));
    printf("%s  ", out_color(cli, PLAIN));
    out_safe(stdout, member_text(range, "state"));
    printf(", clock %s  ", clock);
    out_safe(stdout, member_title(cli, range));
    putchar('\n');
    if (*member_text(range, "trouble") != '\0') {
        printf("  %strouble:%s ", out_color(cli, RED), out_color(cli, PLAIN));
        out_safe(stdout, member_text(range, "trouble"));
        putchar('\n');
    }
    print_machines(member_list(range, "machines"));
    print_booted(member_list(range, "machines"));
    print_teams(member_list(range, "teams"));
}

static void print_capacity(const json_t *capacity)
{
    struct es_buf line;
    if (capacity == NULL)
        return;
    es_buf_init(&line, 4096);
    show_capacity(capacity, &line);
    out_safe(stdout, es_buf_str(&line));
    putchar('\n');
    es_buf_finish(&line);
}

int run_status(struct cli *cli, struct es_err *err)
{
    json_t *params = json_object(), *result = NULL;
    const char *range = cli->arg_count > 0 ? cli->args[0] : cli->opt[OPT_range];
    if (params == NULL)
        return es_err_nomem(err);
    params_text(params, "range", range);
    int rc = core_call(cli, "status", params, NULL, &result, err);
    if (rc != 0)
        return rc;
    const json_t *ranges = member_list(result, "ranges");
    if (cli->json) {
        out_json(result);
    } else {
        size_t i;
        const json_t *item;
        json_array_foreach (ranges, i, item) {
            print_range(cli, item);
        }
        if (json_array_size(ranges) == 0)
            puts("no range is up; bring one up with: enshu up FILE");
        else
            print_capacity(json_object_get(result, "capacity"));
    }
    json_decref(result);
    return 0;
}
