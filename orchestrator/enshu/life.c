/* Commands of images and of a range's life: mostly one call and a line about its answer. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "enshu/common/str.h"

static json_t *split(const char *list)
{
    json_t *array = json_array();
    while (array != NULL && *list != '\0') {
        size_t len = strcspn(list, ",");
        if (len > 0)
            json_array_append_new(array, json_stringn(list, len));
        list += len + (list[len] == ',' ? 1 : 0);
    }
    return array;
}

int run_image_build(struct cli *cli, struct es_err *err)
{
    json_t *params = json_pack("{s:s, s:b}", "name", cli->args[0], "force",
                               cli->opt[OPT_force] != NULL);
    if (params != NULL && cli->opt[OPT_packages] != NULL)
        json_object_set_new(params, "packages", split(cli->opt[OPT_packages]));
    json_t *result = NULL;
    int rc = call_shown(cli, "image.build", params, &result, err);
    if (result == NULL)
        return rc;
    char size[32];
    printf("%s %.12s, %s, %s in %lld.%llds\n", cli->args[0],
           member_text(result, "digest"),
           text_bytes(member_int(result, "bytes", 0), size, sizeof size),
           member_true(result, "cached") ? "from the cache" : "built",
           (long long)member_int(result, "took_ms", 0) / 1000,
           (long long)member_int(result, "took_ms", 0) / 100 % 10);
    json_decref(result);
    return rc;
}

static void print_image(const json_t *image)
{
    char size[32], built[40];
    const json_t *when = json_object_get(image, "built");
    if (json_is_integer(when))
        snprintf(built, sizeof built, "%lld", (long long)json_integer_value(when));
    else
        snprintf(built, sizeof built, "%.39s", member_text(image, "built"));
    printf("%-16.40s %.12s  %10s  ", member_text(image, "name"),
           member_text(image, "digest"),
           text_bytes(member_int(image, "bytes", 0), size, sizeof size));
    out_safe(stdout, built);
    size_t count = json_array_size(member_list(image, "packages"));
    if (count > 0)
        printf("  %zu package%s", count, count == 1 ? "" : "s");
    putchar('\n');
}

int run_image_list(struct cli *cli, struct es_err *err)
{
    return call_list(cli, "image.list", "images", print_image, "no images in the cache",
                     err);
}

int run_image_rm(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    int rc = call_shown(cli, "image.rm", json_pack("{s:s}", "digest", cli->args[0]),
                        &result, err);
    if (result != NULL)
        printf("removed %s\n", cli->args[0]);
    json_decref(result);
    return rc;
}

int run_up(struct cli *cli, struct es_err *err)
{
    int64_t teams;
    char path[PATH_MAX];
    int rc = option_int(cli, OPT_teams, 1, ES_PLAN_TEAMS_MAX, 1, &teams, err);
    if (rc == 0)
        rc = check_accel(cli, err);
    if (rc == 0)
        rc = scenario_arg(cli, path, err);
    if (rc != 0)
        return rc;
    json_t *params = json_pack("{s:s, s:I}", "file", path, "teams", (json_int_t)teams);
    params_text(params, "range", cli->opt[OPT_range]);
    params_text(params, "accel", cli->opt[OPT_accel]);
    params_text(params, "mode", cli->opt[OPT_mode]);
    json_t *result = NULL;
    rc = call_shown(cli, "up", params, &result, err);
    if (rc == ES_ECANCELED)
        es_err_set(err, rc,
                   "no longer waiting; the range goes on coming up, see: enshu "
                   "status");
    if (result == NULL)
        return rc;
    const json_t *machines = json_object_get(result, "machines");
    printf("range ");
    out_safe(stdout, member_text(result, "range"));
    printf(" is up: %lld team%s, %lld machines; begin with: enshu start\n",
           (long long)teams, teams == 1 ? "" : "s",
           json_is_integer(machines) ? (long long)json_integer_value(machines)
                                     : (long long)json_array_size(machines));
    json_decref(result);
    return rc;
}

static const char *range_arg(const struct cli *cli)
{
    return cli->arg_count > 0 ? cli->args[0] : NULL;
}

static int move_clock(struct cli *cli, const char *method, struct es_err *err)
{
    json_t *params = NULL, *result = NULL;
    int rc = core_range_params(cli, range_arg(cli), &params, err);
    if (rc != 0)
        return rc;
    params_text(params, "by", option_by(cli));
    params_text(params, "reason", cli->opt[OPT_reason]);
    rc = call_shown(cli, method, params, &result, err);
    if (result == NULL)
        return rc;
    char text[80];
    show_clock(json_object_get(result, "clock"), text, sizeof text);
    printf("%s: %s%s\n", cli->range, text,
           member_true(result, "signed") ? ", ledger signed" : "");
    json_decref(result);
    return rc;
}

int run_start(struct cli *cli, struct es_err *err)
{
    return move_clock(cli, "start", err);
}

int run_pause(struct cli *cli, struct es_err *err)
{
    return move_clock(cli, "pause", err);
}

int run_resume(struct cli *cli, struct es_err *err)
{
    return move_clock(cli, "resume", err);
}

int run_stop(struct cli *cli, struct es_err *err)
{
    return move_clock(cli, "stop", err);
}

/* `park` and `unpark`. */
static int sleep_or_wake(struct cli *cli, const char *method, json_t **ret_result,
                         struct es_err *err)
{
    json_t *params = NULL;
    int rc = core_range_params(cli, range_arg(cli), &params, err);
    if (rc != 0)
        return rc;
    params_text(params, "by", option_by(cli));
    params_text(params, "reason", cli->opt[OPT_reason]);
    return call_shown(cli, method, params, ret_result, err);
}

static void print_seconds(const json_t *result)
{
    int64_t ms = member_int(result, "took_ms", 0);
    printf("%lld.%llds", (long long)ms / 1000, (long long)ms / 100 % 10);
}

int run_park(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    char size[32];
    int rc = sleep_or_wake(cli, "park", &result, err);
    if (result == NULL)
        return rc;
    int64_t machines = member_int(result, "machines", 0);
    printf("%s is parked: %lld machine%s, %s, in ", cli->range, (long long)machines,
           machines == 1 ? "" : "s",
           text_bytes(member_int(result, "bytes", 0), size, sizeof size));
    print_seconds(result);
    printf("; wake it with: enshu unpark %s\n", cli->range);
    json_decref(result);
    return rc;
}

int run_unpark(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    char clock[80];
    int rc = sleep_or_wake(cli, "unpark", &result, err);
    if (result == NULL)
        return rc;
    show_clock(json_object_get(result, "clock"), clock, sizeof clock);
    int64_t machines = member_int(result, "machines", 0);
    printf("%s is up again: %lld machine%s in ", cli->range, (long long)machines,
           machines == 1 ? "" : "s");
    print_seconds(result);
    const char *state = member_text(json_object_get(result, "clock"), "state");
    printf("; clock %s", clock);
    if (es_str_eq(state, "paused") || es_str_eq(state, "ready"))
        printf("; go on with: enshu %s %s", *state == 'p' ? "resume" : "start",
               cli->range);
    putchar('\n');
    json_decref(result);
    return rc;
}

int machine_name(const char *given, char *dst, size_t size, struct es_err *err)
{
    const char *slash = strchr(given, '/');
    bool is_bare = given[0] >= '0' && given[0] <= '9';
    if (slash == NULL || slash == given || slash[1] == '\0' ||
        es_str_printf(dst, size, "%s%s", is_bare ? "t" : "", given) != 0)
        return es_err_set(err, ES_EINVAL,
                          "\"%.60s\" is no machine; say TEAM/NODE, for example t1/web",
                          given);
    return 0;
}

/* "2", "t2": a team; else a machine. */
static int reset_subject(const char *given, json_t *params, struct es_err *err)
{
    int64_t team;
    const char *digits = given[0] == 't' ? given + 1 : given;
    if (es_str_int(digits, 1, ES_PLAN_TEAMS_MAX, &team) == 0) {
        json_object_set_new(params, "team", json_integer(team));
        return 0;
    }
    char name[128];
    int rc = machine_name(given, name, sizeof name, err);
    if (rc == 0)
        params_text(params, "machine", name);
    return rc;
}

int run_reset(struct cli *cli, struct es_err *err)
{
    json_t *params = json_object(), *result = NULL;
    int rc =
        params != NULL ? reset_subject(cli->args[0], params, err) : es_err_nomem(err);
    if (rc == 0)
        rc = core_range(cli, NULL, err);
    if (rc != 0) {
        json_decref(params);
        return rc;
    }
    params_text(params, "range", cli->range);
    if (cli->opt[OPT_force] != NULL)
        json_object_set_new(params, "force", json_true());
    rc = call_shown(cli, "reset", params, &result, err);
    if (result != NULL)
        printf("%s: %s is reset\n", cli->range, cli->args[0]);
    json_decref(result);
    return rc;
}

int run_down(struct cli *cli, struct es_err *err)
{
    json_t *params = NULL, *result = NULL;
    int rc = core_range_params(cli, range_arg(cli), &params, err);
    if (rc != 0)
        return rc;
    if (cli->opt[OPT_purge] != NULL)
        json_object_set_new(params, "purge", json_true());
    rc = call_shown(cli, "down", params, &result, err);
    if (result == NULL)
        return rc;
    printf("range %s is down\n", cli->range);
    size_t i;
    const json_t *disk;
    json_array_foreach (member_list(result, "kept"), i, disk) {
        fputs("kept ", stdout);
        out_safe(stdout, json_is_string(disk) ? json_string_value(disk) : "?");
        putchar('\n');
    }
    json_decref(result);
    return rc;
}

int run_gc(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    int rc = call_shown(cli, "gc", json_object(), &result, err);
    if (result == NULL)
        return rc;
    size_t i;
    const json_t *name;
    json_array_foreach (member_list(result, "removed"), i, name) {
        fputs("removed ", stdout);
        out_safe(stdout, json_is_string(name) ? json_string_value(name) : "?");
        putchar('\n');
    }
    if (json_array_size(member_list(result, "removed")) == 0)
        puts("nothing was left over");
    json_decref(result);
    return rc;
}

int run_shutdown(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    int rc = call_shown(cli, "shutdown", json_object(), &result, err);
    if (result != NULL)
        puts("the core ends; machines go on");
    json_decref(result);
    return rc;
}

static void print_problems(const json_t *certificate)
{
    size_t i;
    const json_t *problem;
    json_array_foreach (member_list(certificate, "problems"), i, problem) {
        fputs("  ", stdout);
        out_safe(stdout, member_text(problem, "stage"));
        fputs(": ", stdout);
        out_safe(stdout, member_text(problem, "what"));
        fputs(": ", stdout);
        out_safe(stdout, member_text(problem, "text"));
        putchar('\n');
    }
}

int run_rehearse(struct cli *cli, struct es_err *err)
{
    char path[PATH_MAX];
    int64_t patience_ms = -1;
    int rc = check_accel(cli, err);
    if (rc == 0)
        rc = option_duration(cli, OPT_patience, &patience_ms, err);
    if (rc == 0)
        rc = scenario_arg(cli, path, err);
    if (rc != 0)
        return rc;
    json_t *params =
        json_pack("{s:s, s:b}", "file", path, "keep", cli->opt[OPT_keep] != NULL);
    params_text(params, "accel", cli->opt[OPT_accel]);
    if (patience_ms >= 0)
        json_object_set_new(params, "patience_ms", json_integer(patience_ms));
    json_t *result = NULL;
    if (params == NULL)
        return es_err_nomem(err);
    rc = core_call(cli, "rehearse", params, progress_event, &result, err);
    progress_end(cli);
    if (rc != 0)
        return rc;
    bool is_proved = member_true(result, "proved");
    if (cli->json) {
        out_json(result);
    } else {
        printf("%s%s%s; certificate: ", out_color(cli, is_proved ? GREEN : RED),
               is_proved ? "proved playable" : "NOT proved playable",
               out_color(cli, PLAIN));
        out_safe(stdout, member_text(result, "path"));
        putchar('\n');
        print_problems(json_object_get(result, "certificate"));
    }
    cli->exit_code = is_proved ? 0 : es_status_exit(ES_EPROOF);
    json_decref(result);
    return 0;
}
