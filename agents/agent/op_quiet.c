/* quiet: makes a guest ready to be frozen and continued as copies, maybe days later.
 *
 * Timers of systemd that go by the calendar would see, when a fork's clock is set, that
 * they are days late, and all fire at once: they are stopped, and personalise starts them
 * again. Those that count from the boot go on. Cron notices by itself that the clock was
 * set and skips what lies between. */
#include <string.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"
#include "files.h"
#include "personalise.h"

#define LIST_MAX (256U << 10)

/* The names of active timers with a calendar, from what `systemctl show` printed: blocks of
 * KEY=VALUE, an empty line between them. */
int es_quiet_calendar_timers(char *text, json_t *names)
{
    const char *name = NULL;
    bool active = false, calendar = false;
    int rc = 0;
    for (char *rest = text, *line; rc == 0 && (line = strsep(&rest, "\n")) != NULL;) {
        if (es_str_starts(line, "Id="))
            name = line + 3;
        else if (es_str_starts(line, "ActiveState="))
            active = strcmp(line + 12, "active") == 0;
        else if (es_str_starts(line, "TimersCalendar={"))
            calendar = true;
        if (*line != '\0' && rest != NULL)
            continue;
        if (name != NULL && active && calendar)
            rc = json_array_append_new(names, json_string(name));
        name = NULL;
        active = calendar = false;
    }
    return rc == 0 ? 0 : ES_ENOMEM;
}

static int systemctl(struct es_probe *p, const char *const *argv, struct es_buf *out,
                     struct es_err *err)
{
    struct es_tool tool = {.argv = argv, .keep = LIST_MAX};
    int rc = es_tool_must(p, &tool, err);
    if (rc == 0 && tool.exit != 0)
        rc = es_err_set(err, ES_EIO, "systemctl %s ended with %d: %.200s", argv[1],
                        tool.exit, es_buf_str(&tool.err_out));
    if (rc == 0 && out != NULL)
        rc = es_buf_append(out, es_buf_str(&tool.out), tool.out.len);
    es_tool_finish(&tool);
    return rc;
}

static int find_timers(struct es_probe *p, json_t *names, struct es_err *err)
{
    static const char *const show[] = {
        "systemctl", "show",    "--property=Id,ActiveState,TimersCalendar",
        "--",        "*.timer", NULL};
    struct es_buf text;
    es_buf_init(&text, LIST_MAX);
    int rc = systemctl(p, show, &text, err);
    if (rc == 0 && es_quiet_calendar_timers(text.data, names) != 0)
        rc = es_err_nomem(err);
    if (rc == 0 && json_array_size(names) > ES_UNITS_MAX)
        rc = es_err_set(err, ES_ELIMIT, "more than %d timers", ES_UNITS_MAX);
    es_buf_finish(&text);
    return rc;
}

/* Noted before they are stopped, beside what an earlier quieting noted. */
static int note(struct es_probe *p, const json_t *names, struct es_err *err)
{
    struct es_personalise to = {.root = p->root};
    struct es_buf text;
    size_t i;
    const json_t *name;
    es_buf_init(&text, LIST_MAX);
    int rc = es_etc_read(p->root, ES_QUIET_TIMERS, &text, err);
    if (rc == 0 || rc == ES_ENOENT) {
        json_array_foreach (names, i, name)
            es_buf_printf(&text, "%s\n", json_string_value(name));
        rc = es_buf_status(&text) != 0
                 ? es_err_nomem(err)
                 : es_personalise_write(&to, ES_QUIET_TIMERS, es_buf_str(&text), text.len,
                                        0644, NULL, err);
    }
    es_buf_finish(&text);
    return rc;
}

static int stop_timers(struct es_probe *p, const json_t *names, struct es_err *err)
{
    const char *argv[ES_UNITS_MAX + 4] = {"systemctl", "stop", "--"};
    size_t i;
    const json_t *name;
    json_array_foreach (names, i, name)
        argv[i + 3] = json_string_value(name);
    argv[i + 3] = NULL;
    return systemctl(p, argv, NULL, err);
}

int es_op_quiet(const char *root, const json_t *args, int64_t deadline_ms,
                json_t **ret_evidence, struct es_err *err)
{
    struct es_probe p = {.root = root, .args = args, .deadline_ms = deadline_ms};
    json_t *names = json_array();
    int rc = names != NULL ? 0 : es_err_nomem(err);
    if (rc == 0 && *root == '\0' && access("/run/systemd/system", F_OK) == 0) {
        rc = find_timers(&p, names, err);
        if (rc == 0 && json_array_size(names) > 0) {
            rc = note(&p, names, err);
            rc = rc != 0 ? rc : stop_timers(&p, names, err);
        }
    }
    es_arena_finish(&p.arena);
    if (rc == 0) {
        sync();
        *ret_evidence = json_pack("{s:O}", "timers", names);
        rc = *ret_evidence != NULL ? 0 : es_err_nomem(err);
    } else {
        es_err_prefix(err, "quiet");
    }
    json_decref(names);
    return rc;
}
