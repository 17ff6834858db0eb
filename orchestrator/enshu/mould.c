/* Commands of moulds. */
#include <stdio.h>
#include <time.h>

#include "cli.h"

static void print_mould(const json_t *mould)
{
    char size[32], when[32] = "";
    time_t made = (time_t)member_int(mould, "made_s", 0);
    struct tm tm;
    if (made > 0 && localtime_r(&made, &tm) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
    printf("%.12s  %-6.10s  ", member_text(mould, "key"), member_text(mould, "kind"));
    out_safe(stdout, member_text(mould, "scenario"));
    if (json_object_get(mould, "node") != NULL) {
        putchar('/');
        out_safe(stdout, member_text(mould, "node"));
    }
    printf("  %s", text_bytes(member_int(mould, "bytes", 0), size, sizeof size));
    size_t machines = json_array_size(member_list(mould, "machines"));
    if (machines > 0)
        printf("  %zu machine%s", machines, machines == 1 ? "" : "s");
    printf("  %s", when);
    size_t i;
    const json_t *user;
    json_array_foreach (member_list(mould, "used_by"), i, user) {
        fputs(i == 0 ? "  used by " : ", ", stdout);
        out_safe(stdout, json_string_value(user));
    }
    putchar('\n');
}

int run_mould_list(struct cli *cli, struct es_err *err)
{
    return call_list(cli, "mould.list", "moulds", print_mould, "no moulds", err);
}

int run_mould_build(struct cli *cli, struct es_err *err)
{
    char path[PATH_MAX];
    json_t *result = NULL;
    int rc = check_accel(cli, err);
    if (rc == 0)
        rc = scenario_arg(cli, path, err);
    if (rc != 0)
        return rc;
    json_t *params = json_pack("{s:s}", "file", path);
    params_text(params, "accel", cli->opt[OPT_accel]);
    rc = call_shown(cli, "mould.build", params, &result, err);
    if (result != NULL)
        printf("mould %.12s stands\n", member_text(result, "key"));
    json_decref(result);
    return rc;
}

int run_mould_rm(struct cli *cli, struct es_err *err)
{
    json_t *result = NULL;
    int rc = call_shown(cli, "mould.rm", json_pack("{s:s}", "key", cli->args[0]), &result,
                        err);
    if (result != NULL)
        printf("removed %.12s\n", member_text(result, "removed"));
    json_decref(result);
    return rc;
}

/* A changed mould is an answer, not a failure of the call; the exit code tells. */
int run_mould_verify(struct cli *cli, struct es_err *err)
{
    json_t *params = json_object(), *result = NULL;
    params_text(params, "key", cli->arg_count > 0 ? cli->args[0] : NULL);
    int rc = params != NULL
                 ? core_call(cli, "mould.verify", params, progress_event, &result, err)
                 : es_err_nomem(err);
    progress_end(cli);
    if (rc != 0)
        return rc;
    if (cli->json)
        out_json(result);
    size_t i;
    const json_t *mould;
    json_array_foreach (member_list(result, "moulds"), i, mould) {
        if (cli->json)
            continue;
        printf("%.12s  ", member_text(mould, "key"));
        out_safe(stdout, member_text(mould, "scenario"));
        if (member_true(mould, "ok"))
            puts("  as it was");
        else
            printf("  CHANGED: %.80s\n", member_text(mould, "changed"));
    }
    if (!member_true(result, "ok"))
        rc =
            es_err_set(err, ES_ECORRUPT,
                       "a mould is not what it was: take down what uses it and remove it "
                       "with `enshu mould rm`");
    json_decref(result);
    return rc;
}
