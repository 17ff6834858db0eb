/* Commands of judging: scoreboard, reasons, corrections. */
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/str.h"

/* Calls `method` for the range (argument 0, or none) with the team when given. */
static int call_range(struct cli *cli, const char *method, bool first_is_range,
                      int64_t team, json_t **ret_result, struct es_err *err)
{
    json_t *params = NULL;
    const char *given = first_is_range && cli->arg_count > 0 ? cli->args[0] : NULL;
    int rc = core_range_params(cli, given, &params, err);
    if (rc != 0)
        return rc;
    if (team > 0)
        json_object_set_new(params, "team", json_integer(team));
    return core_call(cli, method, params, NULL, ret_result, err);
}

static int team_arg(const char *text, int64_t *ret, struct es_err *err)
{
    const char *digits = text[0] == 't' ? text + 1 : text;
    if (es_str_int(digits, 1, ES_PLAN_TEAMS_MAX, ret) == 0)
        return 0;
    return es_err_set(err, ES_EINVAL, "\"%.40s\" is no team; say its number", text);
}

static void print_parts(const json_t *team)
{
    size_t i;
    const json_t *part;
    json_array_foreach (member_list(team, "parts"), i, part) {
        char points[32];
        fputs(i == 0 ? "    " : ", ", stdout);
        out_safe(stdout, member_text(part, "name"));
        printf(" %s of %lld",
               text_points(member_int(part, "scaled_mpts", 0), points, sizeof points),
               (long long)member_int(part, "weight", 0));
    }
    if (json_array_size(member_list(team, "parts")) > 0)
        putchar('\n');
}

/* The title of an objective, from the range's status; else its name. */
static const char *title_of(const struct cli *cli, const json_t *status,
                            const json_t *objective)
{
    const json_t *range = json_array_get(member_list(status, "ranges"), 0);
    const json_t *team = json_array_get(member_list(range, "teams"), 0), *known;
    size_t i;
    json_array_foreach (member_list(team, "objectives"), i, known) {
        if (es_str_eq(member_text(known, "name"), member_text(objective, "name")))
            return member_title(cli, known);
    }
    return member_title(cli, objective);
}

static void print_objectives(const struct cli *cli, const json_t *known,
                             const json_t *team)
{
    size_t i;
    const json_t *objective;
    json_t *objectives = member_items(team, "objectives");
    json_array_foreach (objectives, i, objective) {
        struct es_buf line;
        char points[32], at[32] = "";
        const char *status = member_text(objective, "status");
        int64_t met_ex_ms = met_at(objective);
        if (met_ex_ms >= 0)
            text_clock(met_ex_ms, at, sizeof at);
        es_buf_init(&line, 4096);
        text_fit(&line, status, 8, true);
        text_fit(&line, title_of(cli, known, objective), 44, true);
        printf("    %s %8s  %s%s\n", es_buf_str(&line),
               text_points(member_int(objective, "mpts", 0), points, sizeof points),
               met_ex_ms >= 0 ? "T+" : "", at);
        es_buf_finish(&line);
    }
    json_decref(objectives);
}

static void print_board(const struct cli *cli, const json_t *result, const json_t *known)
{
    size_t i;
    const json_t *team;
    json_array_foreach (member_list(result, "teams"), i, team) {
        char points[32];
        printf("%steam %lld", out_color(cli, BOLD),
               (long long)member_int(team, "team", 0));
        fputs(*team_title(team) != '\0' ? " " : "", stdout);
        out_safe(stdout, team_title(team));
        printf("%s  %s points\n", out_color(cli, PLAIN),
               text_points(member_int(team, "total_mpts", 0), points, sizeof points));
        print_parts(team);
        print_objectives(cli, known, team);
    }
}

int run_score(struct cli *cli, struct es_err *err)
{
    int64_t team;
    json_t *result = NULL, *known = NULL;
    struct es_err ignored = {0};
    int rc = option_int(cli, OPT_team, 1, ES_PLAN_TEAMS_MAX, 0, &team, err);
    if (rc == 0)
        rc = call_range(cli, "score", true, team, &result, err);
    if (rc != 0)
        return rc;
    if (cli->json) {
        out_json(result);
    } else {
        /* Only for titles: names do without. */
        core_call(cli, "status", json_pack("{s:s}", "range", cli->range), NULL, &known,
                  &ignored);
        print_board(cli, result, known);
    }
    json_decref(known);
    json_decref(result);
    return 0;
}

/* How points become the score, part by part. */
static void print_scaling(const json_t *team)
{
    size_t i;
    const json_t *part;
    json_array_foreach (member_list(team, "parts"), i, part) {
        char earned[32], possible[32], scaled[32];
        fputs("part ", stdout);
        out_safe(stdout, member_text(part, "name"));
        printf(
            ": %s of %s, which count %s of %lld\n",
            text_points(member_int(part, "earned_mpts", 0), earned, sizeof earned),
            text_points(member_int(part, "possible_mpts", 0), possible, sizeof possible),
            text_points(member_int(part, "scaled_mpts", 0), scaled, sizeof scaled),
            (long long)member_int(part, "weight", 0));
    }
}

static void print_reason(const json_t *reason)
{
    char at[32], points[32];
    struct es_buf line;
    es_buf_init(&line, 8192);
    text_fit(&line, member_text(reason, "part"), 10, true);
    es_buf_putc(&line, ' ');
    text_fit(&line, member_text(reason, "what"), 24, true);
    es_buf_putc(&line, ' ');
    text_fit(&line, member_text(reason, "text"), 400, false);
    int64_t pos = member_int(reason, "pos", 0);
    printf("T+%-8s %8s  %s", text_clock(member_int(reason, "ex_ms", 0), at, sizeof at),
           text_points(member_int(reason, "mpts", 0), points, sizeof points),
           es_buf_str(&line));
    if (*member_text(reason, "by") != '\0') {
        fputs(", by ", stdout);
        out_safe(stdout, member_text(reason, "by"));
    }
    if (pos > 0)
        printf("  [event %lld]", (long long)pos);
    putchar('\n');
    es_buf_finish(&line);
}

int run_score_explain(struct cli *cli, struct es_err *err)
{
    int64_t team = 0;
    json_t *result = NULL, *board = NULL;
    int rc = team_arg(cli->args[0], &team, err);
    if (rc == 0)
        rc = call_range(cli, "score.explain", false, team, &result, err);
    if (rc == 0 && !cli->json)
        rc = call_range(cli, "score", false, team, &board, err);
    if (rc != 0) {
        json_decref(result);
        return rc;
    }
    if (cli->json) {
        out_json(result);
    } else {
        size_t i;
        const json_t *reason;
        char points[32];
        json_array_foreach (member_list(result, "reasons"), i, reason) {
            print_reason(reason);
        }
        if (json_array_size(member_list(result, "reasons")) == 0)
            puts("no points yet");
        print_scaling(json_array_get(member_list(board, "teams"), 0));
        printf("team %lld: %s points\n", (long long)team,
               text_points(member_int(result, "total_mpts", 0), points, sizeof points));
    }
    json_decref(board);
    json_decref(result);
    return 0;
}

int run_rescore(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    bool file = cli->arg_count > 0 &&
                (strchr(cli->args[0], '/') != NULL || access(cli->args[0], R_OK) == 0);
    int rc = file ? offline_rescore(cli->args[0], &result, err)
                  : call_range(cli, "rescore", true, 0, &result, err);
    if (rc != 0)
        return rc;
    bool equal = file || member_true(result, "equal");
    if (cli->json) {
        out_json(result);
    } else {
        size_t i;
        const json_t *team;
        json_array_foreach (member_list(result, "teams"), i, team) {
            char points[32];
            printf("team %lld  %s points\n", (long long)member_int(team, "team", 0),
                   text_points(member_int(team, "total_mpts", 0), points, sizeof points));
        }
        printf("%lld events, digest %.16s: %s%s%s\n",
               (long long)member_int(result, "events", 0), member_text(result, "digest"),
               out_color(cli, equal ? GREEN : RED),
               file    ? "computed from the file alone, chain whole"
               : equal ? "equal to the live score"
                       : "DIFFERS from the live score",
               out_color(cli, PLAIN));
    }
    cli->exit_code = equal ? 0 : es_status_exit(ES_ECORRUPT);
    json_decref(result);
    return 0;
}

/* ------------------------------------------------------------------ corrections */

static int correct_points(struct cli *cli, json_t *params, struct es_err *err)
{
    int64_t team = 0, points = 0;
    if (cli->opt[OPT_points] == NULL)
        return es_err_set(err, ES_EINVAL, "correct points: say how many with --points N");
    int rc = team_arg(cli->args[1], &team, err);
    if (rc == 0)
        rc = option_int(cli, OPT_points, -1000000, 1000000, 0, &points, err);
    json_object_set_new(params, "team", json_integer(team));
    json_object_set_new(params, "points", json_integer(points));
    return rc;
}

static int correct_override(struct cli *cli, json_t *params, struct es_err *err)
{
    const char *met = cli->opt[OPT_met];
    if (cli->opt[OPT_team] == NULL || (!es_str_eq(met, "yes") && !es_str_eq(met, "no")))
        return es_err_set(err, ES_EINVAL,
                          "correct override: say --team N and --met yes or --met no");
    params_text(params, "subject", cli->args[1]);
    json_object_set_new(params, "met", json_boolean(es_str_eq(met, "yes")));
    return 0;
}

/* "void condition NAME", "void node NAME", "void span" with --from and --to. */
static int correct_void(struct cli *cli, json_t *params, struct es_err *err)
{
    int64_t from_ms = -1, to_ms = -1;
    char what[32];
    bool is_span = es_str_eq(cli->args[1], "span");
    bool is_known =
        es_str_eq(cli->args[1], "condition") || es_str_eq(cli->args[1], "node");
    if (is_span ? cli->arg_count != 2 : !is_known || cli->arg_count != 3)
        return es_err_set(err, ES_EINVAL,
                          "correct void: say condition NAME, node NAME or span");
    if (is_span && (cli->opt[OPT_from] == NULL || cli->opt[OPT_to] == NULL))
        return es_err_set(err, ES_EINVAL, "correct void span: say --from TIME --to TIME");
    int rc = option_duration(cli, OPT_from, &from_ms, err);
    if (rc == 0)
        rc = option_duration(cli, OPT_to, &to_ms, err);
    if (rc != 0)
        return rc;
    es_str_printf(what, sizeof what, "void-%s", cli->args[1]);
    params_text(params, "what", what);
    params_text(params, "subject", is_span ? NULL : cli->args[2]);
    if (from_ms >= 0)
        json_object_set_new(params, "from_ms", json_integer(from_ms));
    if (to_ms >= 0)
        json_object_set_new(params, "to_ms", json_integer(to_ms));
    return 0;
}

/* Checks the words and says them in the core's way. */
static int correct_params(struct cli *cli, json_t *params, struct es_err *err)
{
    const char *what = cli->args[0];
    int64_t team;
    if (cli->opt[OPT_reason] == NULL || *cli->opt[OPT_reason] == '\0')
        return es_err_set(err, ES_EINVAL, "correct needs --reason TEXT");
    int rc = option_int(cli, OPT_team, 1, ES_PLAN_TEAMS_MAX, 0, &team, err);
    if (rc != 0)
        return rc;
    if (team > 0)
        json_object_set_new(params, "team", json_integer(team));
    params_text(params, "what", what);
    params_text(params, "reason", cli->opt[OPT_reason]);
    params_text(params, "by", option_by(cli));
    if (es_str_eq(what, "void"))
        return correct_void(cli, params, err);
    if (cli->arg_count > 2)
        return es_err_set(err, ES_EINVAL, "correct %.40s: \"%.40s\" is one word too many",
                          what, cli->args[2]);
    if (es_str_eq(what, "points"))
        return correct_points(cli, params, err);
    if (es_str_eq(what, "override"))
        return correct_override(cli, params, err);
    return es_err_set(err, ES_EINVAL, "correct %.40s: must be points, override or void",
                      what);
}

int run_correct(struct cli *cli, struct es_err *err)
{
    json_t *params = json_object(), *result = NULL;
    int rc = params != NULL ? correct_params(cli, params, err) : es_err_nomem(err);
    if (rc == 0)
        rc = core_range(cli, NULL, err);
    if (rc != 0) {
        json_decref(params);
        return rc;
    }
    params_text(params, "range", cli->range);
    rc = core_call(cli, "correct", params, NULL, &result, err);
    if (rc == 0 && cli->json)
        out_json(result);
    else if (rc == 0)
        printf("recorded as event %lld\n", (long long)member_int(result, "pos", 0));
    json_decref(result);
    return rc;
}
