/* enshu exec: a command inside a machine, its bytes and its exit code. */
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/wire.h"

#define STDIN_MAX   (40U << 10) /* with base64 and the rest it fits the agent's line */
#define CHUNK_MAX   (4U << 20)
#define TIMEOUT_DEF 60000

/* Bytes of a base64 member to a stream, escaped for a terminal. */
static void write_base64(const char *text, FILE *file, bool is_tty)
{
    struct es_buf bytes;
    es_buf_init(&bytes, CHUNK_MAX);
    if (es_base64_decode(text, strlen(text), &bytes) == 0 && bytes.len > 0)
        out_bytes(file, is_tty, bytes.data, bytes.len);
    es_buf_finish(&bytes);
    fflush(file);
}

static void on_exec(struct cli *cli, const json_t *event)
{
    if (cli->json) {
        progress_event(cli, event);
        return;
    }
    const char *data = member_text(event, "data");
    if (es_str_eq(member_text(event, "stream"), "err"))
        write_base64(data, stderr, isatty(STDERR_FILENO) == 1);
    else
        write_base64(data, stdout, cli->tty_out);
}

static json_t *read_stdin(struct es_err *err)
{
    struct es_buf bytes;
    char chunk[8192];
    es_buf_init(&bytes, STDIN_MAX);
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        es_buf_append(&bytes, chunk, n);
    json_t *text = NULL;
    if (es_buf_status(&bytes) == ES_ELIMIT)
        es_err_set(err, ES_ELIMIT,
                   "standard input is longer than %u bytes; hand it over in pieces",
                   STDIN_MAX);
    else if (es_buf_status(&bytes) != 0)
        es_err_nomem(err);
    else
        text = es_base64_json(bytes.len > 0 ? bytes.data : "", bytes.len);
    es_buf_finish(&bytes);
    return text;
}

static int command_params(const struct cli *cli, json_t *params, struct es_err *err)
{
    struct es_buf line;
    es_buf_init(&line, 32768);
    json_t *argv = json_array();
    for (int i = 1; i < cli->arg_count; i++) {
        json_t *word = json_string(cli->args[i]);
        if (word == NULL) {
            json_decref(argv);
            es_buf_finish(&line);
            return es_err_set(err, ES_EINVAL, "word %d of the command is not UTF-8", i);
        }
        es_buf_printf(&line, "%s%s", i > 1 ? " " : "", cli->args[i]);
        json_array_append_new(argv, word);
    }
    int rc = 0;
    if (cli->opt[OPT_shell] == NULL) {
        json_object_set(params, "argv", argv);
    } else if (es_buf_status(&line) == 0) {
        params_text(params, "shell", es_buf_str(&line));
    } else {
        rc = es_err_set(err, ES_ELIMIT, "the shell line is too long");
    }
    json_decref(argv);
    es_buf_finish(&line);
    return rc;
}

static int exec_params(struct cli *cli, json_t *params, struct es_err *err)
{
    char name[128];
    int64_t timeout_ms = TIMEOUT_DEF;
    int rc = machine_name(cli->args[0], name, sizeof name, err);
    if (rc == 0 && cli->arg_count < 2)
        rc = es_err_set(err, ES_EINVAL, "exec: say the command after --");
    if (rc == 0)
        rc = option_duration(cli, OPT_timeout, &timeout_ms, err);
    if (rc == 0)
        rc = command_params(cli, params, err);
    if (rc != 0)
        return rc;
    params_text(params, "machine", name);
    params_text(params, "user", cli->opt[OPT_user]);
    params_text(params, "by", option_by(cli));
    json_object_set_new(params, "timeout_ms", json_integer(timeout_ms));
    if (cli->opt[OPT_stdin] == NULL)
        return 0;
    json_t *input = read_stdin(err);
    if (input == NULL)
        return err->code != 0 ? err->code : es_err_nomem(err);
    json_object_set_new(params, "stdin", input);
    return 0;
}

/* The guest's end becomes ours. */
static int exit_code_of(const json_t *result)
{
    if (member_true(result, "timeout")) {
        fputs("enshu: the command took too long and was ended\n", stderr);
        return es_status_exit(ES_ETIMEDOUT);
    }
    int64_t signal = member_int(result, "signal", 0);
    if (signal > 0)
        return (int)(128 + signal % 128);
    return (int)(member_int(result, "exit", 0) & 255);
}

int run_exec(struct cli *cli, struct es_err *err)
{
    json_t *params = json_object(), *result = NULL;
    int rc = params != NULL ? exec_params(cli, params, err) : es_err_nomem(err);
    if (rc == 0)
        rc = core_range(cli, NULL, err);
    if (rc != 0) {
        json_decref(params);
        return rc;
    }
    params_text(params, "range", cli->range);
    rc = core_call(cli, "exec", params, on_exec, &result, err);
    if (rc != 0)
        return rc;
    if (cli->json)
        out_json(result);
    else if (member_true(result, "truncated"))
        fputs("enshu: the output was cut\n", stderr);
    cli->exit_code = exit_code_of(result);
    json_decref(result);
    return 0;
}
