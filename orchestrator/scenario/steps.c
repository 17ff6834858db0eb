/* Steps: what is put into a guest and run there, by setup, personalise, solutions and
 * sabotage. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "enshu/common/str.h"
#include "room.h"

void bind_guest_path(struct load *ld, const struct key *key, const struct es_yaml *y,
                     void *value)
{
    const char *path = scalar_string(ld, y);
    (void)key;
    if (path == NULL)
        return;
    expand_is_plain(ld, path, y->pos);
    if (path[0] != '/' || strlen(path) >= 4096 || strstr(path, "/../") != NULL ||
        es_str_ends(path, "/.."))
        load_error(ld, y->pos, "a path in a guest begins with \"/\" and holds no \"..\"");
    else
        *(const char **)value = path;
}

void bind_mode(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *value)
{
    const char *text = scalar_string(ld, y);
    (void)key;
    if (text == NULL)
        return;
    size_t len = strlen(text);
    int mode = 0;
    for (size_t i = 0; i < len && i < 4; i++)
        mode = mode * 8 + (text[i] - '0');
    if (len < 3 || len > 4 || strspn(text, "01234567") != len)
        load_error(
            ld, y->pos,
            "permissions are three or four octal digits in quotes, such as \"0644\"");
    else
        *(int *)value = mode;
}

/* "2026-10-03T09:13[:07]+09:00" or …Z */
static bool parse_time(const char *text, int64_t *ret_s)
{
    struct tm tm = {0};
    int used = 0, zone_h = 0, zone_m = 0;
    char sign = 'Z';
    if (sscanf(text, "%4d-%2d-%2dT%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
               &tm.tm_hour, &tm.tm_min, &used) != 5 ||
        used != 16)
        return false;
    text += used;
    if (*text == ':') {
        if (sscanf(text, ":%2d%n", &tm.tm_sec, &used) != 1 || used != 3)
            return false;
        text += used;
    }
    if (strcmp(text, "Z") != 0) {
        if (sscanf(text, "%c%2d:%2d%n", &sign, &zone_h, &zone_m, &used) != 3 ||
            used != 6 || text[6] != '\0' || (sign != '+' && sign != '-'))
            return false;
    }
    if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > 31 || tm.tm_hour < 0 || tm.tm_hour > 23 || tm.tm_min < 0 ||
        tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 59 || zone_h < 0 || zone_h > 14 ||
        zone_m < 0 || zone_m > 59)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    int64_t zone = zone_h * 3600 + zone_m * 60, day = tm.tm_mday;
    int64_t at = timegm(&tm);
    if (tm.tm_mday != day)
        return false; /* the 31st of a month that has 30 */
    *ret_s = at - (sign == '-' ? -zone : zone);
    return *ret_s >= 0;
}

void bind_time(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *value)
{
    const char *text = scalar_string(ld, y);
    (void)key;
    if (text != NULL && !parse_time(text, value))
        load_error(ld, y->pos, "\"%.60s\" is no time such as \"2026-10-03T09:13+09:00\"",
                   text);
}

/* ------------------------------------------------------------------ the five things */

static void note_template(struct load *ld, const char *name, struct es_pos pos)
{
    const struct source_file *source = files_text(ld, name, pos, SOURCE_TEMPLATE, false);
    if (source != NULL)
        expand_note_file(ld, source);
}

void bind_copy(struct load *ld, const struct key *key, const struct es_yaml *y,
               void *value)
{
    struct es_step *step = value;
    const struct es_yaml *from = es_yaml_get(y, "from");
    (void)key;
    step->kind = ES_STEP_COPY;
    bind_shape(ld, &copy_shape, y, step);
    if (from == NULL)
        return;
    size_t mark = path_push(ld, "from");
    step->from = scalar_string(ld, from);
    if (step->from != NULL) {
        bool folder = es_str_ends(step->from, "/");
        if (!files_asset(ld, step->from, from->pos, folder))
            step->from = NULL;
        else if (folder && step->template_)
            load_error(ld, from->pos, "template is for single files");
        else if (step->template_)
            note_template(ld, step->from, from->pos);
    }
    path_pop(ld, mark);
}

void bind_write(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    (void)key;
    ((struct es_step *)value)->kind = ES_STEP_WRITE;
    bind_shape(ld, &write_shape, y, value);
}

void bind_script(struct load *ld, const struct key *key, const struct es_yaml *y,
                 void *value)
{
    struct es_step *step = value;
    (void)key;
    step->kind = ES_STEP_SCRIPT;
    step->from = scalar_string(ld, y);
    if (step->from != NULL && !files_asset(ld, step->from, y->pos, false))
        step->from = NULL;
}

void bind_run(struct load *ld, const struct key *key, const struct es_yaml *y,
              void *value)
{
    struct es_step *step = value;
    (void)key;
    step->kind = ES_STEP_RUN;
    step->text = scalar_string(ld, y);
    if (step->text == NULL)
        return;
    if (*step->text == '\0')
        load_error(ld, y->pos, "expected a shell line, found an empty text");
    expand_note(ld, step->text, y->pos, true);
}

void bind_service_step(struct load *ld, const struct key *key, const struct es_yaml *y,
                       void *value)
{
    struct es_step *step = value;
    (void)key;
    step->kind = ES_STEP_SERVICE;
    step->service_state = "started";
    if (y->type == ES_YAML_MAP)
        bind_shape(ld, &service_step_shape, y, step);
    else
        step->text = scalar_string(ld, y);
    if (step->text != NULL &&
        (*step->text == '\0' || *step->text == '-' ||
         strspn(step->text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                            "0123456789@_.-:") != strlen(step->text)))
        load_error(ld, y->pos, "\"%.60s\" cannot name a service", step->text);
}

static size_t keys_present(const struct es_yaml *y, const char *const *names)
{
    size_t n = 0;
    for (size_t i = 0; names[i] != NULL; i++)
        n += es_yaml_get(y, names[i]) != NULL;
    return n;
}

void step_done(struct load *ld, void *object, const struct es_yaml *y)
{
    static const char *const things[] = {"copy",    "write",  "script", "run",
                                         "service", "traces", NULL};
    (void)object;
    if (keys_present(y, things) != 1 && !ld->slipped)
        load_error(ld, y->pos,
                   "a step is exactly one of copy, write, script, run and service");
}

static void bind_step_list(struct load *ld, const struct es_yaml *y,
                           const struct es_step **steps, size_t *count)
{
    static const struct key list = {.shape = &step_shape, .max = ES_MAX_STEPS};
    bind_list(ld, &list, y, steps, count);
}

void bind_setup(struct load *ld, const struct key *key, const struct es_yaml *y,
                void *value)
{
    struct es_node *node = value;
    (void)key;
    ld->place = PLACE_SETUP;
    bind_step_list(ld, y, &node->setup, &node->setup_count);
    ld->place = PLACE_TEAM;
}

void bind_personalise(struct load *ld, const struct key *key, const struct es_yaml *y,
                      void *value)
{
    struct es_node *node = value;
    (void)key;
    bind_step_list(ld, y, &node->personalise, &node->personalise_count);
}

/* The last step that names a service decides. */
static bool is_last_of_service(const struct es_node *node, size_t at)
{
    for (size_t i = at + 1; i < node->setup_count; i++)
        if (node->setup[i].kind == ES_STEP_SERVICE &&
            es_str_eq(node->setup[i].text, node->setup[at].text))
            return false;
    return true;
}

size_t es_node_services(const struct es_node *node, const char **names)
{
    size_t count = 0;
    for (size_t i = 0; i < node->setup_count; i++) {
        const struct es_step *step = &node->setup[i];
        if (step->kind != ES_STEP_SERVICE || step->text == NULL ||
            es_str_eq(step->service_state, "stopped") ||
            es_str_eq(step->service_state, "disabled") || !is_last_of_service(node, i))
            continue;
        if (count < ES_MAX_SERVICES_OF)
            names[count] = step->text;
        count++;
    }
    return count;
}

/* ------------------------------------------------------------------ proving */

static const char *const later_steps[] = {"answer", "decide", "report", NULL};
static const char *const runs[] = {"script", "run", NULL};

void solution_step_done(struct load *ld, void *object, const struct es_yaml *y)
{
    const struct es_solution_step *step = object;
    size_t run_count = keys_present(y, runs);
    bool has_node = es_yaml_get(y, "node") != NULL;
    if (keys_present(y, later_steps) > 0 || ld->slipped)
        return;
    if (run_count > 1)
        load_error(ld, y->pos, "a step is one of script and run");
    else if (has_node && run_count == 0)
        load_error(ld, y->pos, "nothing runs on the node: add script or run");
    else if (!has_node && run_count == 1)
        load_error(ld, y->pos, "the key \"node\" is missing: where does it run?");
    else if (!has_node && es_yaml_get(y, "await") == NULL)
        load_error(ld, y->pos, "an empty step: add await, or node with script or run");
    else if (run_count == 1 && step->prove_count == 0)
        load_error(
            ld, y->pos,
            "this step proves nothing: name in proves the conditions that pass after "
            "it, or join it with the next step");
}

void sabotage_done(struct load *ld, void *object, const struct es_yaml *y)
{
    const struct es_solution_step *step = object;
    if (ld->slipped)
        return;
    if (keys_present(y, runs) != 1)
        load_error(ld, y->pos, "a step is one of script and run");
    if (es_yaml_get(y, "breaks") == NULL ||
        (step->proves != NULL && step->prove_count == 0))
        load_error(
            ld, y->pos,
            "this step breaks nothing: name in breaks the conditions that fail after "
            "it");
}

void solution_done(struct load *ld, void *object, const struct es_yaml *y)
{
    const struct es_yaml *steps = es_yaml_get(y, "steps");
    (void)object;
    if (steps == NULL && es_yaml_get(y, "from") == NULL && !ld->slipped)
        load_error(ld, y->key_pos, "the key \"steps\" is missing");
    if (steps != NULL && steps->type == ES_YAML_LIST && steps->count == 0)
        load_error(ld, steps->pos, "a solution without steps");
}
