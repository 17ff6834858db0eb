/* The methods `exec` (through the agent, recorded as an effect) and `console` (serial). */
#include <string.h>

#include "inner.h"

#define EXEC_LIMIT_MS  60000
#define EXEC_BYTES_MAX (1 << 20)

struct exec {
    struct es_reply *reply;
    struct range *range;
    struct machine *machine;
    int64_t effect;
    json_t *args;
    int64_t limit_ms;
};

static void free_exec(struct exec *exec)
{
    json_decref(exec->args);
    es_free(exec);
}

static void record(struct exec *exec, int type, int a, json_t *json,
                   void (*committed)(void *arg, int status, const struct es_err *err,
                                     int64_t pos),
                   void *arg)
{
    struct machine *m = exec->machine;
    struct es_event event = {.type = type,
                             .team = m->plan->team,
                             .subject = m->plan->node,
                             .a = a,
                             .b = exec->effect};
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    int rc = range_event(exec->range, &event, text, NULL, committed, arg);
    if (rc != 0 && committed != NULL) {
        struct es_err err = {0};
        range_event_refused(exec->range, rc, &err);
        committed(arg, rc, &err, 0);
    }
}

static void on_part(struct machine *m, const char *stream, const char *data, size_t len,
                    void *arg)
{
    struct exec *exec = arg;
    (void)m;
    exec->reply->progress(exec->reply, json_pack("{s:s, s:o}", "stream", stream, "data",
                                                 es_base64_json(data, len)));
}

static void on_result(struct machine *m, const struct es_result *result, void *arg)
{
    struct exec *exec = arg;
    (void)m;
    if (!result->ok) {
        bool lost = result->seq == 0;
        record(exec, ES_EV_OUTCOME, lost ? 2 : 1,
               json_pack("{s:s, s:s}", "error", result->error_code, "text",
                         result->error_text),
               NULL, NULL);
        reply_fail_new(exec->reply, lost ? ES_ETIMEDOUT : ES_EGUEST, "%s: %s: %s",
                       exec->machine->label, result->error_code, result->error_text);
    } else {
        json_t *code = json_object_get(result->evidence, "exit");
        record(exec, ES_EV_OUTCOME, 0, json_pack("{s:O?}", "exit", code), NULL, NULL);
        exec->reply->done(exec->reply, json_incref(result->evidence));
    }
    free_exec(exec);
}

/* The intent is durable: act. */
static void on_intent(void *arg, int status, const struct es_err *intent_err, int64_t pos)
{
    struct exec *exec = arg;
    struct es_err err = {0};
    (void)pos;
    if (status != 0) {
        exec->reply->fail(exec->reply, intent_err);
        free_exec(exec);
        return;
    }
    json_t *args = exec->args;
    exec->args = NULL;
    if (machine_call_stream(exec->machine, ES_OP_EXEC, args, exec->limit_ms,
                            EXEC_BYTES_MAX, on_result, on_part, exec, &err) != 0) {
        record(exec, ES_EV_OUTCOME, 1, json_pack("{s:s}", "error", err.msg), NULL, NULL);
        exec->reply->fail(exec->reply, &err);
        free_exec(exec);
    }
}

void es_range_call_exec(struct es_range_core *core, const json_t *params,
                        struct es_reply *reply)
{
    struct range *r =
        core_find_range(core, json_string_value(json_object_get(params, "range")));
    struct es_err err = {0};
    struct machine *m =
        r != NULL ? range_find_machine(
                        r, json_string_value(json_object_get(params, "machine")), &err)
                  : NULL;
    json_t *argv = json_object_get(params, "argv"),
           *shell = json_object_get(params, "shell");
    json_int_t limit = json_integer_value(json_object_get(params, "timeout_ms"));
    if (r == NULL)
        es_err_set(&err, ES_ENOENT, "no such range; `enshu status` lists them");
    else if (m != NULL && (m->link == NULL || machine_state(m) != M_READY))
        es_err_set(&err, ES_ECONN, "%s is %s; its agent cannot be asked", m->label,
                   es_sm_name(&m->sm));
    else if (m != NULL && (json_array_size(argv) == 0) == (shell == NULL))
        es_err_set(&err, ES_EINVAL, "say what to run: either argv or shell");
    if (err.code != 0) {
        reply->fail(reply, &err);
        return;
    }
    struct exec *exec = es_calloc(1, sizeof *exec);
    if (exec == NULL) {
        es_err_nomem(&err);
        reply->fail(reply, &err);
        return;
    }
    *exec = (struct exec){.reply = reply,
                          .range = r,
                          .machine = m,
                          .effect = ++r->next_effect,
                          .limit_ms = limit > 0 ? limit : EXEC_LIMIT_MS};
    exec->args = json_pack("{s:b, s:i, s:O*, s:O*, s:O*, s:O*}", "stream", 1, "keep",
                           EXEC_BYTES_MAX, "argv", argv, "shell", shell, "user",
                           json_object_get(params, "user"), "stdin",
                           json_object_get(params, "stdin"));
    record(exec, ES_EV_INTENT, 0,
           json_pack("{s:s, s:O*, s:O*}", "what", "exec", "argv", argv, "shell", shell),
           on_intent, exec);
}

/* ---------------------------------------------------------------- console */

struct console {
    struct es_list link;
    struct es_reply *reply;
    struct es_hyp_console *hyp;
    struct machine *machine;
};

static void end_console(struct console *console)
{
    es_list_remove(&console->link);
    es_free(console);
}

static void on_console_data(void *ctx, const char *data, size_t len)
{
    struct console *console = ctx;
    console->reply->progress(console->reply,
                             json_pack("{s:o}", "data", es_base64_json(data, len)));
}

static void on_console_end(void *ctx, const struct es_err *why)
{
    struct console *console = ctx;
    struct es_reply *reply = console->reply;
    end_console(console);
    reply->on_gone = NULL;
    if (why != NULL && why->code != 0)
        reply->fail(reply, why);
    else
        reply->done(reply, json_object());
}

static void on_console_gone(struct es_reply *reply)
{
    struct console *console = reply->callee;
    es_hyp_console_close(console->hyp);
    end_console(console);
    reply->done(reply, json_object());
}

void es_range_call_console(struct es_range_core *core, const json_t *params,
                           struct es_reply *reply)
{
    static const struct es_hyp_console_events events = {.on_data = on_console_data,
                                                        .on_end = on_console_end};
    struct range *r =
        core_find_range(core, json_string_value(json_object_get(params, "range")));
    struct es_err err = {0};
    struct machine *m =
        r != NULL ? range_find_machine(
                        r, json_string_value(json_object_get(params, "machine")), &err)
                  : NULL;
    struct console *console = es_calloc(1, sizeof *console);
    if (r == NULL)
        es_err_set(&err, ES_ENOENT, "no such range; `enshu status` lists them");
    else if (console == NULL)
        es_err_nomem(&err);
    else if (m != NULL) {
        console->reply = reply;
        console->machine = m;
        es_hyp_console_open(core->hyp, m->plan->name, &events, console, &console->hyp,
                            &err);
    }
    if (err.code != 0) {
        es_free(console);
        reply->fail(reply, &err);
        return;
    }
    reply->callee = console;
    reply->on_gone = on_console_gone;
    es_list_push(&core->consoles, &console->link);
}

void es_range_call_console_send(struct es_range_core *core, const json_t *params,
                                struct es_reply *reply)
{
    struct range *r =
        core_find_range(core, json_string_value(json_object_get(params, "range")));
    const char *text = json_string_value(json_object_get(params, "data"));
    struct es_err err = {0};
    struct es_buf raw;
    struct machine *m =
        r != NULL ? range_find_machine(
                        r, json_string_value(json_object_get(params, "machine")), &err)
                  : NULL;
    int rc = ES_ENOENT;
    es_buf_init(&raw, ES_WIRE_DATA_MAX);
    if (m != NULL && es_base64_decode(text, strlen(text), &raw) == 0)
        ES_LIST_EACH (pos, tmp, &core->consoles) {
            struct console *console = ES_CONTAINER(pos, struct console, link);
            if (console->machine == m && rc == ES_ENOENT)
                rc = es_hyp_console_send(console->hyp, es_buf_str(&raw), raw.len);
        }
    es_buf_finish(&raw);
    if (rc == 0)
        reply->done(reply, json_object());
    else
        reply_fail_new(reply, rc, "nothing was typed: %s",
                       rc == ES_ENOENT ? "no console of this machine is open"
                                       : es_status_text(rc));
}
