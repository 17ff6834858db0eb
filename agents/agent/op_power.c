/* power: the guest goes down or starts again.
 *
 * The result is told first. A child that outlives the agent then asks init, and when the
 * guest still runs after a while, the kernel. File systems are synced before either. */
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "../probe/probe.h"
#include "../probe/spawn.h"
#include "agent.h"
#include "enshu/common/str.h"

#define TELL_S    1  /* for the result to leave */
#define SYSTEMD_S 90 /* for services to stop */
#define OTHER_S   10

static int run_init(void *ctx)
{
    const bool *reboots = ctx;
    const char *word = *reboots ? "reboot" : "poweroff";
    const char *const by_systemd[] = {"systemctl", "--no-block", word, NULL};
    const char *const by_init[] = {word, NULL};
    const json_t *none = NULL;
    struct es_probe p = {
        .root = "", .args = none, .deadline_ms = es_probe_now_ms() + 20000};
    bool systemd = access("/run/systemd/system", F_OK) == 0;
    struct es_tool tool = {.argv = systemd ? by_systemd : by_init};
    struct es_err err = {0};
    setsid();
    sleep(TELL_S);
    sync();
    es_tool_run(&p, &tool, &err);
    es_tool_finish(&tool);
    sleep(systemd ? SYSTEMD_S : OTHER_S);
    sync();
    reboot(*reboots ? RB_AUTOBOOT : RB_POWER_OFF);
    return 0;
}

int es_op_power(const char *root, const json_t *args, int64_t deadline_ms,
                json_t **ret_evidence, struct es_err *err)
{
    struct es_probe p = {.args = args};
    const char *what;
    (void)deadline_ms;
    int rc = es_probe_arg_text(&p, "do", true, &what, err);
    if (rc != 0)
        return rc;
    bool reboots = strcmp(what, "reboot") == 0;
    if (!reboots && strcmp(what, "off") != 0)
        return es_err_set(err, ES_EINVAL, "do: off or reboot");
    if (*root != '\0')
        return es_err_set(err, ES_ENOTSUP, "power: not with --root");
    sync();
    struct es_spawn spawn = {.run = run_init, .ctx = &reboots, .session = true};
    struct es_spawned child;
    rc = es_spawn_start(&spawn, &child, err);
    if (rc != 0)
        return rc;
    *ret_evidence = json_object();
    return *ret_evidence != NULL ? 0 : es_err_nomem(err);
}
