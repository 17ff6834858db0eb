/* Commands that need no core: they use the rooms scenario and plan directly. */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"

#define OUTPUT_MAX (64U << 20)

/* The folder of a scenario with its slash, "" for the current one. Diagnostics name files
 * relative to it; editors want them relative to where the person stands. */
static void folder_of(const char *file, char *dst, size_t size)
{
    struct stat st;
    const char *slash = strrchr(file, '/');
    size_t len = slash != NULL ? (size_t)(slash - file) + 1 : 0;
    bool is_folder = stat(file, &st) == 0 && S_ISDIR(st.st_mode);
    if (es_str_eq(file, "."))
        len = 0;
    else if (is_folder)
        len = strlen(file);
    if (es_str_printf(dst, size, "%.*s%s", (int)len, file,
                      is_folder && len > 0 && file[len - 1] != '/' ? "/" : "") != 0)
        dst[0] = '\0';
}

static const char *severity_name(enum es_severity severity)
{
    return severity == ES_SEV_ERROR ? "error" : "warning";
}

static json_t *diag_json(const char *folder, const struct es_diag *diag)
{
    char path[2 * PATH_MAX];
    es_str_printf(path, sizeof path, "%s%s", folder, diag->pos.file);
    es_utf8_repair(path);
    return json_pack("{s:s, s:s*, s:i, s:i, s:s*, s:s*}", "severity",
                     severity_name(diag->severity), "file", path, "line", diag->pos.line,
                     "column", diag->pos.col, "path", diag->path, "text", diag->text);
}

/* One file's diagnostics to `report`, for --json. */
static void report_file(json_t *report, const char *file, const struct es_diags *diags,
                        int status, const struct es_err *err)
{
    char folder[PATH_MAX], name[PATH_MAX], why[sizeof err->msg];
    json_t *list = json_array();
    folder_of(file, folder, sizeof folder);
    es_str_printf(name, sizeof name, "%s", file);
    es_utf8_repair(name);
    for (size_t i = 0; i < diags->count; i++)
        json_array_append_new(list, diag_json(folder, &diags->items[i]));
    json_t *item =
        json_pack("{s:s, s:b, s:I, s:I, s:o}", "file", name, "valid", status == 0,
                  "errors", (json_int_t)diags->error_count, "warnings",
                  (json_int_t)diags->warning_count, "diagnostics", list);
    if (item != NULL && status != 0 && status != ES_ESCENARIO) {
        memcpy(why, err->msg, sizeof why);
        es_utf8_repair(why);
        json_object_set_new(item, "error", json_string(why));
    }
    json_array_append_new(report, item);
}

static void print_diags(FILE *out, bool is_tty, const char *file,
                        const struct es_diags *diags)
{
    struct es_buf text;
    char folder[PATH_MAX];
    es_buf_init(&text, OUTPUT_MAX);
    es_diags_format(diags, &text);
    folder_of(file, folder, sizeof folder);
    const char *at = es_buf_str(&text);
    for (size_t i = 0; *at != '\0'; i++) {
        size_t len = strcspn(at, "\n");
        /* The last line may count what was left out; it names no file. */
        if (i < diags->count)
            out_safe(out, folder);
        out_bytes(out, is_tty, at, len + (at[len] == '\n' ? 1 : 0));
        at += len + (at[len] == '\n' ? 1 : 0);
    }
    es_buf_finish(&text);
}

/* Loads; gives the scenario when there is one. */
static int load(const char *file, struct es_diags *diags, struct es_scenario **ret,
                struct es_err *err)
{
    memset(diags, 0, sizeof *diags);
    *ret = NULL;
    return es_scenario_load(file, diags, ret, err);
}

int check_scenario(struct cli *cli, const char *file, struct es_err *err)
{
    struct es_diags diags;
    struct es_scenario *scenario;
    int rc = load(file, &diags, &scenario, err);
    print_diags(stderr, cli->tty_err, file, &diags);
    if (rc == ES_ESCENARIO)
        es_err_set(err, rc, "%s has %zu error%s", file, diags.error_count,
                   diags.error_count == 1 ? "" : "s");
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
    return rc;
}

static int validate_one(struct cli *cli, const char *file, json_t *report,
                        struct es_err *err)
{
    struct es_diags diags;
    struct es_scenario *scenario;
    int rc = load(file, &diags, &scenario, err);
    if (report != NULL) {
        report_file(report, file, &diags, rc, err);
    } else {
        print_diags(stdout, cli->tty_out, file, &diags);
        if (rc == 0)
            printf("%s: valid%s\n", file,
                   diags.warning_count > 0 ? ", with warnings" : "");
        else if (rc != ES_ESCENARIO)
            printf("%s: %s\n", file, err->msg);
    }
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
    return rc;
}

int run_validate(struct cli *cli, struct es_err *err)
{
    int worst = 0, bad = 0;
    json_t *report = cli->json ? json_array() : NULL;
    for (int i = 0; i < cli->arg_count; i++) {
        struct es_err why = {0};
        int rc = validate_one(cli, cli->args[i], report, &why);
        bad += rc != 0;
        /* The scenario's own errors say more than a file that is missing. */
        if (rc != 0 && worst != ES_ESCENARIO)
            worst = rc;
    }
    if (report != NULL)
        out_json(report);
    json_decref(report);
    if (worst != 0)
        es_err_set(err, worst, "%d of %d scenario%s not valid", bad, cli->arg_count,
                   cli->arg_count == 1 ? " is" : "s are");
    return worst;
}

/* Memory and disk of this host as the plan may use them. */
static void look_at_host(const char *state_dir, struct es_plan_host *host)
{
    char line[128];
    long long kib;
    memset(host, 0, sizeof *host);
    host->cpus = sysconf(_SC_NPROCESSORS_ONLN);
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %lld kB", &kib) == 1)
            host->memory_bytes = kib * 1024;
        else if (sscanf(line, "MemTotal: %lld kB", &kib) == 1)
            host->total_bytes = kib * 1024;
        else if (sscanf(line, "SwapFree: %lld kB", &kib) == 1)
            host->swap_bytes = kib * 1024;
    if (file != NULL)
        fclose(file);
    char state[1024];
    struct statvfs fs;
    if (es_str_printf(state, sizeof state, "%s", state_dir) != 0 || state[0] == '\0')
        return;
    /* The folder may not be there yet: its nearest parent is on the same disk. */
    while (statvfs(state, &fs) != 0 && strrchr(state, '/') != NULL && state[1] != '\0')
        *(strrchr(state, '/') == state ? state + 1 : strrchr(state, '/')) = '\0';
    if (statvfs(state, &fs) == 0)
        host->disk_bytes = (int64_t)(fs.f_bavail * fs.f_frsize);
}

/* What the plan takes as forks, by the figures that lie in the state folder. */
static int need_as_forks(const struct es_plan *plan, const char *state_dir,
                         struct es_plan_need *need, struct es_err *err)
{
    const struct es_scenario *s = plan->scenario;
    int64_t *measured = es_calloc(s->nodes_count + 1, sizeof *measured);
    if (measured == NULL)
        return es_err_nomem(err);
    json_t *figures = es_range_measured(state_dir, s->name);
    for (size_t n = 0; n < s->nodes_count; n++) {
        int64_t bytes = member_int(figures, s->nodes[n].name, 0);
        measured[n] = bytes > 0 ? bytes : 0;
    }
    json_decref(figures);
    es_plan_need(plan, measured, need);
    es_free(measured);
    return 0;
}

static int print_plan(const struct cli *cli, const struct es_plan *plan,
                      const struct es_plan_host *host, const struct es_plan_need *forked,
                      struct es_err *err)
{
    struct es_buf text;
    if (cli->json) {
        json_t *json = es_plan_json(plan, host, forked);
        if (json == NULL)
            return es_err_nomem(err);
        out_json(json);
        json_decref(json);
        return 0;
    }
    es_buf_init(&text, OUTPUT_MAX);
    int rc = cli->opt[OPT_dot] != NULL ? es_plan_dot(plan, &text)
                                       : es_plan_text(plan, host, forked, &text);
    if (rc == 0)
        fwrite(es_buf_str(&text), 1, text.len, stdout);
    else
        es_err_nomem(err);
    es_buf_finish(&text);
    return rc;
}

static int show_plan(struct cli *cli, const struct es_plan *plan, struct es_err *err)
{
    struct es_plan_host host;
    struct es_plan_need need, *forked = NULL;
    char state[1024] = "";
    int rc = 0;
    if (cli->opt[OPT_state] != NULL)
        es_str_printf(state, sizeof state, "%s", cli->opt[OPT_state]);
    else
        es_range_default_state(state, sizeof state, NULL);
    look_at_host(state, &host);
    if (es_str_eq(cli->opt[OPT_mode], "fork")) {
        rc = need_as_forks(plan, state, &need, err);
        forked = &need;
    }
    if (rc == 0)
        rc = print_plan(cli, plan, &host, forked, err);
    return rc != 0 ? rc : es_plan_fits(plan, &host, forked, err);
}

int run_plan(struct cli *cli, struct es_err *err)
{
    struct es_diags diags;
    struct es_scenario *scenario;
    struct es_plan *plan = NULL;
    int64_t teams;
    int rc = option_int(cli, OPT_teams, 1, ES_PLAN_TEAMS_MAX, 1, &teams, err);
    if (rc == 0 && cli->json && cli->opt[OPT_dot] != NULL)
        rc = es_err_set(err, ES_EINVAL, "plan: say --json or --dot, not both");
    if (rc != 0)
        return rc;
    rc = load(cli->args[0], &diags, &scenario, err);
    print_diags(stderr, cli->tty_err, cli->args[0], &diags);
    if (rc == ES_ESCENARIO)
        es_err_set(err, rc, "%s has %zu error%s", cli->args[0], diags.error_count,
                   diags.error_count == 1 ? "" : "s");
    if (rc == 0) {
        const char *range = cli->opt[OPT_range];
        rc = es_plan_make(scenario, range != NULL ? range : scenario->name, (int)teams,
                          true, &plan, err);
    }
    if (rc == 0)
        rc = show_plan(cli, plan, err);
    es_plan_destroy(plan);
    es_scenario_destroy(scenario);
    es_diags_finish(&diags);
    return rc;
}

int run_schema(struct cli *cli, struct es_err *err)
{
    (void)cli; /* JSON in any case */
    json_t *schema = es_scenario_schema();
    if (schema == NULL)
        return es_err_nomem(err);
    out_json(schema);
    json_decref(schema);
    return 0;
}

int run_reference(struct cli *cli, struct es_err *err)
{
    struct es_buf text;
    es_buf_init(&text, OUTPUT_MAX);
    int rc = es_scenario_reference(&text);
    if (rc != 0) {
        es_err_nomem(err);
    } else if (cli->json) {
        json_t *json = json_pack("{s:s}", "markdown", es_buf_str(&text));
        out_json(json);
        json_decref(json);
    } else {
        fwrite(es_buf_str(&text), 1, text.len, stdout);
    }
    es_buf_finish(&text);
    return rc;
}
