/* Bytes from a core into the agent's session: nothing is run, requests are parsed as far as
 * what to run. The first byte says how the bytes are cut into reads. */
#include <stddef.h>
#include <stdint.h>

#include "../../agents/agent/session.h"
#include "../../agents/probe/spawn.h"
#include "enshu/common/mem.h"
#include "fuzz.h"

static int64_t now_ms;

static void on_start(void *ctx, struct es_task *task)
{
    struct es_arena arena = {.max_bytes = 1U << 20};
    struct es_spawn spawn;
    struct es_err err = {0};
    const json_t *args = task->request.args, *run = json_object_get(args, "argv");
    bool *keeps = ctx;
    if (task->request.op == ES_OP_EXEC)
        es_spawn_command(
            &arena, "/nonexistent", run != NULL ? run : json_object_get(args, "shell"),
            json_object_get(args, "env"),
            json_string_value(json_object_get(args, "user")), NULL, &spawn, &err);
    es_arena_finish(&arena);
    *keeps = !*keeps;
    if (*keeps) /* every second one goes on running */
        return;
    es_session_finish(task, json_object(), false, NULL, now_ms);
}

static void on_stop(void *ctx, struct es_task *task)
{
    struct es_err err = {.code = ES_EIO, .msg = "stopped"};
    (void)ctx;
    es_session_finish(task, NULL, false, &err, now_ms);
}

int fuzz_agent_lines(const uint8_t *data, size_t size)
{
    static const struct es_session_events events = {on_start, on_stop};
    struct es_session session;
    bool keeps = false;
    if (size < 1 || size > (1U << 20))
        return 0;
    long live = es_mem_live_count();
    int rc = es_session_init(&session, &events, &keeps, "0123456789abcdef", "boot");
    ES_ASSERT(rc == 0);
    size_t step = (size_t)data[0] * 16 + 1;
    for (size_t at = 1; at < size; at += step) {
        size_t len = size - at < step ? size - at : step;
        es_session_feed(&session, (const char *)data + at, len, now_ms++);
        if (session.out.len > 1000)
            es_session_sent(&session, session.out.len / 2);
    }
    es_session_lost(&session);
    es_session_found(&session);
    es_session_lost(&session);
    /* A week later every deadline has passed. */
    for (int i = 0; i < 1000 && session.running_count > 0; i++)
        es_session_tick(&session, now_ms += ES_WIRE_DEADLINE_MAX_MS + 1);
    ES_ASSERT(session.running_count == 0);
    es_session_finish_all(&session);
    ES_ASSERT(es_mem_live_count() == live);
    return 0;
}
FUZZ_MAIN(fuzz_agent_lines)
