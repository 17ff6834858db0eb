/* enshu doctor: the findings of the room doctor, and what a running core says itself. */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/str.h"
#include "enshu/doctor.h"

#define PROGRAMS "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct report {
    struct cli *cli;
    json_t *list; /* NULL unless --json */
    enum es_doctor_level worst;
};

static void on_finding(void *ctx, const struct es_doctor_finding *finding)
{
    static const enum out_color colors[] = {GREEN, YELLOW, RED};
    struct report *report = ctx;
    const struct cli *cli = report->cli;
    const char *level = es_doctor_level_name(finding->level);
    if (finding->level > report->worst)
        report->worst = finding->level;
    if (report->list != NULL) {
        json_array_append_new(report->list,
                              json_pack("{s:s, s:s, s:s, s:s}", "check", finding->check,
                                        "level", level, "text", finding->text, "remedy",
                                        finding->remedy));
        return;
    }
    printf("%s%-4s%s  %-11s  ", out_color(cli, colors[finding->level]), level,
           out_color(cli, PLAIN), finding->check);
    out_safe(stdout, finding->text);
    putchar('\n');
    if (finding->remedy[0] == '\0')
        return;
    fputs("                   -> ", stdout);
    out_safe(stdout, finding->remedy);
    putchar('\n');
}

/* What a running core knows better than any look from outside. */
static void tell_core(struct report *report, int rc, const json_t *core,
                      const struct es_err *err)
{
    struct es_doctor_finding finding = {.check = "core"};
    if (rc == ES_ECONN) {
        es_str_printf(finding.text, sizeof finding.text, "none is running");
    } else if (rc != 0) {
        finding.level = ES_DOCTOR_FAIL;
        es_str_printf(finding.text, sizeof finding.text, "%.300s", err->msg);
        es_str_printf(finding.remedy, sizeof finding.remedy, "ask the user who runs it");
    } else if (!member_true(core, "hypervisor")) {
        finding.level = ES_DOCTOR_FAIL;
        es_str_printf(finding.text, sizeof finding.text,
                      "runs (pid %lld) but has lost libvirt at %.150s",
                      (long long)member_int(core, "pid", 0), member_text(core, "uri"));
        es_str_printf(finding.remedy, sizeof finding.remedy,
                      "it tries again by itself; see its log");
    } else {
        const char *accel = member_text(core, "accel");
        es_str_printf(finding.text, sizeof finding.text,
                      "runs (pid %lld) on %.150s, accelerator %.20s",
                      (long long)member_int(core, "pid", 0), member_text(core, "uri"),
                      *accel != '\0' ? accel : "not tried yet");
    }
    on_finding(report, &finding);
}

static const char *user_name(void)
{
    const struct passwd *entry = getpwuid(geteuid());
    return entry != NULL ? entry->pw_name : "?";
}

int run_doctor(struct cli *cli, struct es_err *err)
{
    struct report report = {.cli = cli, .list = cli->json ? json_array() : NULL};
    char state[1024];
    const char *root = cli->opt[OPT_root], *path = getenv("PATH");
    int rc = cli->opt[OPT_state] != NULL
                 ? es_str_printf(state, sizeof state, "%s", cli->opt[OPT_state])
                 : es_range_default_state(state, sizeof state, err);
    if (rc != 0)
        return rc == ES_ELIMIT
                   ? es_err_set(err, rc, "the state folder's path is too long")
                   : rc;
    bool live = root == NULL || es_str_eq(root, "/");
    char programs[4096];
    if (!live || path == NULL ||
        es_str_printf(programs, sizeof programs, "%s:" PROGRAMS, path) != 0)
        es_str_printf(programs, sizeof programs, PROGRAMS);
    json_t *core = NULL;
    struct es_err core_err = {0};
    int core_rc =
        live ? core_call(cli, "version", NULL, NULL, &core, &core_err) : ES_ECONN;
    const struct es_doctor_host host = {.root = live ? "" : root,
                                        .state_dir = state,
                                        .uri = cli->opt[OPT_uri],
                                        .core = (pid_t)member_int(core, "pid", 0),
                                        .user = user_name(),
                                        .uid = geteuid(),
                                        .path = programs,
                                        .live = live};
    es_doctor_run(&host, on_finding, &report);
    if (live)
        tell_core(&report, core_rc, core, &core_err);
    json_decref(core);
    if (report.list != NULL)
        out_json(report.list);
    else if (report.worst == ES_DOCTOR_OK)
        puts("everything is in order");
    json_decref(report.list);
    cli->exit_code = report.worst == ES_DOCTOR_FAIL ? es_status_exit(ES_EPROOF) : 0;
    return 0;
}
