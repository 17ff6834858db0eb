/* The methods `exec` (through the agent, recorded as an effect) and `console` (serial). */
#include <string.h>

#include "inner.h"

#define EXEC_LIMIT_MS  60000
#define EXEC_BYTES_MAX (1 << 20)

static void on_part(void *arg, const char *stream, const char *data, size_t len)
{
    struct es_reply *reply = arg;
    reply->progress(reply, json_pack("{s:s, s:o}", "stream", stream, "data",
                                     es_base64_json(data, len)));
}

static void on_done(void *arg, const json_t *evidence, const struct es_err *err)
{
    struct es_reply *reply = arg;
    if (err != NULL)
        reply->fail(reply, err);
    else
        reply->done(reply, json_incref((json_t *)(uintptr_t)evidence));
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
    const char *by = NULL;
    if (err.code == 0 && m != NULL)
        person_id(r, call_param(params, "by"), &by, &err);
    if (err.code != 0) {
        reply->fail(reply, &err);
        return;
    }
    struct effect_call call = {.op = ES_OP_EXEC,
                               .limit_ms = limit > 0 ? limit : EXEC_LIMIT_MS,
                               .max_bytes = EXEC_BYTES_MAX,
                               .part = on_part,
                               .done = on_done,
                               .arg = reply};
    call.args = json_pack("{s:b, s:i, s:O*, s:O*, s:O*, s:O*}", "stream", 1, "keep",
                          EXEC_BYTES_MAX, "argv", argv, "shell", shell, "user",
                          json_object_get(params, "user"), "stdin",
                          json_object_get(params, "stdin"));
    json_t *shown = json_pack("{s:s, s:s, s:O*, s:O*}", "what", "exec", "by", by, "argv",
                              argv, "shell", shell);
    if (effect_start(m, &call, shown, &err) != 0)
        reply->fail(reply, &err);
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
    else if (m != NULL && machine_state(m) == M_PARKED)
        es_err_set(&err, ES_ESTATE, "%s is parked; `enshu unpark %s` wakes it", m->label,
                   r->name);
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
