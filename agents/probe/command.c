/* command: the exit code and output of a command.
 *
 * Keys:     run: a shell text, or a list of words; user: runs as this user; env: an object
 *           of texts.
 * Evidence: exit (-1 when killed); stdout_b64, stderr_b64 (together at most
 *           ES_PROBE_BYTES_MAX, output first); truncated; timeout: it was killed because
 *           the time was over. */
#include "probe.h"
#include "spawn.h"

ES_PROBE_LOOK(command)
{
    const char *user;
    struct es_spawn spawn;
    int rc = es_probe_arg_text(p, "user", false, &user, err);
    if (rc == 0)
        rc = es_spawn_command(&p->arena, p->root, json_object_get(p->args, "run"),
                              json_object_get(p->args, "env"), user, NULL, &spawn, err);
    if (rc != 0)
        return rc;
    spawn.session = false; /* of the worker's: killed with it */
    struct es_tool tool = {.spawn = &spawn};
    rc = es_tool_run(p, &tool, err);
    if (rc == 0) {
        size_t room = ES_PROBE_BYTES_MAX - tool.out.len;
        size_t errs = tool.err_out.len < room ? tool.err_out.len : room;
        es_probe_set_int(p, "exit", tool.exit);
        es_probe_set_bytes(p, "stdout_b64", tool.out.data, tool.out.len);
        es_probe_set_bytes(p, "stderr_b64", tool.err_out.data, errs);
        es_probe_set_bool(p, "truncated", tool.truncated || errs < tool.err_out.len);
        es_probe_set_bool(p, "timeout", tool.timeout);
    }
    es_tool_finish(&tool);
    return rc;
}
