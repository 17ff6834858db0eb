/* Calls of the core, one at a time, on a loop of our own. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "enshu/common/str.h"

struct waiting {
    struct cli *cli;
    int64_t id;
    cli_on_progress on_progress;
    json_t *result;
    struct es_err err;
    bool answered, interrupted;
};
static struct waiting *current; /* one call at a time */

static void on_progress(void *ctx, int64_t id, const json_t *event)
{
    (void)ctx;
    if (current != NULL && current->id == id && current->on_progress != NULL)
        current->on_progress(current->cli, event);
}

static void on_answer(void *ctx, int64_t id, const json_t *result,
                      const struct es_err *err)
{
    (void)ctx;
    if (current == NULL || current->id != id)
        return;
    current->answered = true;
    if (err != NULL)
        current->err = *err;
    else
        current->result = json_incref((json_t *)(uintptr_t)result);
}

static void on_closed(void *ctx, const struct es_err *why)
{
    struct cli *cli = ctx;
    es_client_close(cli->client, NULL, NULL);
    cli->client = NULL;
    if (current == NULL || current->answered)
        return;
    current->answered = true;
    current->err = *why;
    es_err_prefix(&current->err, "the answer did not come");
}

/* The first Ctrl-C asks the core to stop, the second one does not wait for it. */
static void on_signal(uv_signal_t *handle, int number)
{
    struct cli *cli = handle->data;
    if (current == NULL)
        return;
    if (current->interrupted) {
        current->answered = true;
        es_err_set(&current->err, ES_ECANCELED, "ended by signal %d", number);
        return;
    }
    current->interrupted = true;
    if (cli->client != NULL)
        es_client_cancel(cli->client, current->id);
}

int core_socket_path(struct cli *cli, char *dst, size_t size, struct es_err *err)
{
    const char *path = cli->opt[OPT_socket];
    if (path == NULL && cli->opt[OPT_state] == NULL)
        path = getenv("ENSHU_SOCKET");
    if (path != NULL && *path != '\0')
        return es_str_printf(dst, size, "%s", path) == 0
                   ? 0
                   : es_err_set(err, ES_ELIMIT, "the socket's path is too long");
    char state[1024];
    const char *dir = cli->opt[OPT_state];
    if (dir == NULL) {
        int rc = es_range_default_state(state, sizeof state, err);
        if (rc != 0)
            return rc;
        dir = state;
    }
    return es_str_printf(dst, size, "%s/enshud.sock", dir) == 0
               ? 0
               : es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
}

static int connect_core(struct cli *cli, struct es_err *err)
{
    static const struct es_client_events events = {on_progress, on_answer, on_closed};
    char path[1200];
    int rc = core_socket_path(cli, path, sizeof path, err);
    if (rc != 0)
        return rc;
    if (!cli->loop_open && uv_loop_init(&cli->loop) != 0)
        return es_err_nomem(err);
    cli->loop_open = true;
    struct es_err why = {0};
    rc = es_client_connect(&cli->loop, path, &events, cli, &cli->client, &why);
    if (rc == ES_ECONN)
        return es_err_set(err, rc,
                          "no core is running (nothing answers on %s); start one with: "
                          "enshud%s%s &",
                          path, cli->opt[OPT_state] != NULL ? " --state " : "",
                          cli->opt[OPT_state] != NULL ? cli->opt[OPT_state] : "");
    if (rc != 0)
        *err = why;
    return rc;
}

static void listen_signals(struct cli *cli, uv_signal_t handles[2])
{
    static const int numbers[2] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(&cli->loop, &handles[i]);
        handles[i].data = cli;
        uv_signal_start(&handles[i], on_signal, numbers[i]);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    handle->data = NULL;
}

int core_call(struct cli *cli, const char *method, json_t *params,
              cli_on_progress progress, json_t **ret_result, struct es_err *err)
{
    struct waiting waiting = {.cli = cli, .on_progress = progress};
    int rc = cli->client == NULL ? connect_core(cli, err) : 0;
    if (rc != 0) {
        json_decref(params);
        return rc;
    }
    uv_signal_t signals[2];
    listen_signals(cli, signals);
    rc = es_client_call(cli->client, method, params, &waiting.id, &waiting.err);
    current = &waiting;
    while (rc == 0 && !waiting.answered)
        uv_run(&cli->loop, UV_RUN_ONCE);
    current = NULL;
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&signals[i], on_handle_closed);
    while (signals[0].data != NULL || signals[1].data != NULL)
        uv_run(&cli->loop, UV_RUN_NOWAIT);
    if (waiting.err.code != 0) {
        json_decref(waiting.result);
        *err = waiting.err;
        return err->code;
    }
    if (ret_result != NULL)
        *ret_result = waiting.result;
    else
        json_decref(waiting.result);
    return 0;
}

void core_close(struct cli *cli)
{
    if (!cli->loop_open)
        return;
    if (cli->client != NULL)
        es_client_close(cli->client, NULL, NULL);
    cli->client = NULL;
    uv_run(&cli->loop, UV_RUN_DEFAULT);
    uv_loop_close(&cli->loop);
    cli->loop_open = false;
}

/* One line for each choice would not fit an error; names do. */
static int choose_range(struct cli *cli, const json_t *ranges, struct es_err *err)
{
    size_t count = json_array_size(ranges);
    if (count == 0)
        return es_err_set(err, ES_ENOENT,
                          "there is no range; bring one up with: enshu up FILE");
    if (count == 1)
        return es_str_printf(cli->range, sizeof cli->range, "%s",
                             member_text(json_array_get(ranges, 0), "range"));
    struct es_buf names;
    es_buf_init(&names, 512);
    for (size_t i = 0; i < count; i++)
        es_buf_printf(&names, "%s%s", i > 0 ? ", " : "",
                      member_text(json_array_get(ranges, i), "range"));
    es_err_set(err, ES_EINVAL, "there are %zu ranges (%s): say which with --range NAME",
               count, es_buf_str(&names));
    es_buf_finish(&names);
    return err->code;
}

int core_range(struct cli *cli, const char *given, struct es_err *err)
{
    if (given == NULL)
        given = cli->opt[OPT_range];
    if (given == NULL && !es_str_eq(getenv("ENSHU_RANGE"), ""))
        given = getenv("ENSHU_RANGE");
    if (given != NULL) {
        if (!es_str_is_name(given, sizeof cli->range - 1))
            return es_err_set(err, ES_EINVAL, "\"%.60s\" is no name of a range", given);
        return es_str_printf(cli->range, sizeof cli->range, "%s", given);
    }
    json_t *result = NULL;
    int rc = core_call(cli, "status", NULL, NULL, &result, err);
    if (rc == 0)
        rc = choose_range(cli, member_list(result, "ranges"), err);
    json_decref(result);
    return rc;
}

void params_text(json_t *params, const char *key, const char *text)
{
    if (text != NULL)
        json_object_set_new(params, key, json_string(text));
}

int core_range_params(struct cli *cli, const char *given, json_t **ret_params,
                      struct es_err *err)
{
    int rc = core_range(cli, given, err);
    if (rc != 0)
        return rc;
    *ret_params = json_pack("{s:s}", "range", cli->range);
    return *ret_params != NULL ? 0 : es_err_nomem(err);
}

/* ---------------------------------------------------------------- what commands share */

int call_shown(struct cli *cli, const char *method, json_t *params, json_t **ret_result,
               struct es_err *err)
{
    *ret_result = NULL;
    if (params == NULL)
        return es_err_nomem(err);
    json_t *result = NULL;
    int rc = core_call(cli, method, params, progress_event, &result, err);
    progress_end(cli);
    if (rc == 0 && cli->json) {
        out_json(result);
        json_decref(result);
        result = NULL;
    }
    *ret_result = result;
    return rc;
}

int call_list(struct cli *cli, const char *method, const char *key,
              void (*print)(const json_t *item), const char *none, struct es_err *err)
{
    json_t *result = NULL;
    int rc = call_shown(cli, method, json_object(), &result, err);
    if (result == NULL)
        return rc;
    size_t i;
    const json_t *item;
    json_array_foreach (member_list(result, key), i, item) {
        print(item);
    }
    if (json_array_size(member_list(result, key)) == 0)
        puts(none);
    json_decref(result);
    return rc;
}

int scenario_arg(struct cli *cli, char dst[PATH_MAX], struct es_err *err)
{
    const char *file = cli->args[0];
    int rc = check_scenario(cli, file, err);
    if (rc != 0 || realpath(file, dst) != NULL)
        return rc;
    return es_err_set(err, errno == ENOENT ? ES_ENOENT : ES_EIO, "%s: %s", file,
                      strerror(errno));
}

int check_accel(const struct cli *cli, struct es_err *err)
{
    const char *accel = cli->opt[OPT_accel];
    if (accel == NULL || es_str_eq(accel, "kvm") || es_str_eq(accel, "tcg"))
        return 0;
    return es_err_set(err, ES_EINVAL, "--accel %.20s: must be kvm or tcg", accel);
}
