/* Commands of the ledger: export, verify, forget. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/str.h"

static FILE *export_file; /* core_call hands on no context */

static void on_export(struct cli *cli, const json_t *event)
{
    (void)cli;
    const json_t *line = json_object_get(event, "line");
    if (json_is_string(line)) {
        fputs(json_string_value(line), export_file);
        if (!es_str_ends(json_string_value(line), "\n"))
            fputc('\n', export_file);
    } else if (line != NULL) {
        json_dumpf(line, export_file, JSON_COMPACT);
        fputc('\n', export_file);
    }
}

int run_ledger_export(struct cli *cli, struct es_err *err)
{
    const char *path = cli->opt[OPT_output];
    json_t *params = NULL, *result = NULL;
    int rc =
        core_range_params(cli, cli->arg_count > 0 ? cli->args[0] : NULL, &params, err);
    if (rc != 0)
        return rc;
    export_file = path != NULL ? fopen(path, "wxe") : stdout;
    if (export_file == NULL) {
        json_decref(params);
        return es_err_set(err, errno == EEXIST ? ES_EEXIST : ES_EIO, "%s: %s", path,
                          strerror(errno));
    }
    rc = core_call(cli, "ledger.export", params, on_export, &result, err);
    bool is_written = fflush(export_file) == 0 && !ferror(export_file);
    if (path != NULL)
        is_written = fclose(export_file) == 0 && is_written;
    if (rc == 0 && !is_written)
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disk full?",
                        path != NULL ? path : "standard output");
    if (rc == 0)
        fprintf(stderr, "%lld events\n", (long long)member_int(result, "events", 0));
    json_decref(result);
    return rc;
}

int run_ledger_verify(struct cli *cli, struct es_err *err)
{
    json_t *params = NULL, *result = NULL;
    int rc =
        core_range_params(cli, cli->arg_count > 0 ? cli->args[0] : NULL, &params, err);
    if (rc == 0)
        rc = core_call(cli, "ledger.verify", params, NULL, &result, err);
    if (rc != 0)
        return rc;
    bool chain_ok = member_true(result, "chain_ok"),
         has_sign = member_true(result, "signed");
    bool signature_ok = member_true(result, "signature_ok");
    if (cli->json)
        out_json(result);
    else
        printf("%lld events in %lld batches, head %.16s\nchain: %s\nsignature: %s\n",
               (long long)member_int(result, "events", 0),
               (long long)member_int(result, "batches", 0), member_text(result, "head"),
               chain_ok ? "whole" : "BROKEN",
               !has_sign      ? "none yet (made at the stop)"
               : signature_ok ? "good"
                              : "BAD");
    bool good = chain_ok && (!has_sign || signature_ok);
    cli->exit_code = good ? 0 : es_status_exit(ES_ECORRUPT);
    json_decref(result);
    return 0;
}

/* In a range's ledger, or in a file that `down` kept. */
int run_ledger_forget(struct cli *cli, struct es_err *err)
{
    const char *who = cli->args[0], *of = cli->arg_count > 1 ? cli->args[1] : NULL;
    json_t *params = NULL, *result = NULL;
    bool file = of != NULL && access(of, R_OK) == 0;
    int rc = file ? offline_forget(of, who, &result, err)
                  : core_range_params(cli, of, &params, err);
    if (rc == 0 && !file) {
        params_text(params, "person", who);
        rc = core_call(cli, "ledger.forget", params, NULL, &result, err);
    }
    if (rc != 0)
        return rc;
    if (cli->json)
        out_json(result);
    else
        printf("forgotten: the chain keeps %lld id%s without a name\n",
               (long long)member_int(result, "erased", 0),
               member_int(result, "erased", 0) == 1 ? "" : "s");
    json_decref(result);
    return 0;
}
