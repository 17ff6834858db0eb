/* A range as an object: its memory, its folder, its return after a restart of the core. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capacity.h"
#include "domains.h"
#include "inner.h"
#include "programme.h"

static const char *const folders[] = {"", "/disks", "/log"};

static int make_folders(const struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 16];
    for (size_t i = 0; i < ES_COUNT(folders); i++) {
        es_str_printf(path, sizeof path, "%s%s", r->dir, folders[i]);
        /* QEMU's user passes through to its disk and writes the console's log. */
        mode_t mode = es_str_eq(folders[i], "/log") ? 0777 : 0711;
        if (mkdir(path, mode) != 0 && errno != EEXIST)
            return es_err_set(err, ES_EIO, "cannot make the folder %s: %s", path,
                              strerror(errno));
        chmod(path, mode);
    }
    return 0;
}

static int init_timers(struct range *r)
{
    uv_timer_init(r->core->loop, &r->tick);
    uv_timer_init(r->core->loop, &r->watch_timer);
    r->tick.data = r->watch_timer.data = r;
    r->open_handles += 2;
    return 0;
}

static int fill(struct range *r, struct es_err *err)
{
    const struct es_scenario *s = r->scenario;
    int rc = es_plan_make(s, r->name, r->team_count, true, &r->plan, err);
    if (rc != 0)
        return rc;
    r->images = es_calloc(s->nodes_count, sizeof *r->images);
    r->mould_hash = es_calloc(s->nodes_count, sizeof *r->mould_hash);
    r->team_names = es_calloc((size_t)r->team_count + 1, sizeof *r->team_names);
    r->changed_at = es_calloc((size_t)r->team_count + 1, sizeof *r->changed_at);
    r->persons = json_object();
    r->machines = es_calloc(r->plan->machine_count, sizeof *r->machines);
    r->measured = es_calloc(s->nodes_count, sizeof *r->measured);
    r->measured_kept = es_calloc(s->nodes_count, sizeof *r->measured_kept);
    if (r->images == NULL || r->mould_hash == NULL || r->team_names == NULL ||
        r->changed_at == NULL || r->persons == NULL || r->machines == NULL ||
        r->measured == NULL || r->measured_kept == NULL)
        return es_err_nomem(err);
    for (int team = 1; team <= r->team_count; team++)
        es_str_printf(r->team_names[team], TEAM_NAME_MAX, "Team %d", team);
    return 0;
}

static void free_range(struct range *r)
{
    struct es_range_core *core = r->core;
    void (*on_gone)(void *arg) = r->range_gone;
    void *arg = r->range_gone_arg;
    if (es_list_linked(&r->link)) {
        es_list_remove(&r->link);
        core->range_count--;
    }
    ES_ASSERT(es_list_empty(&r->effects));
    probing_finish(r);
    es_free(r->freeze);
    park_free(r);
    es_store_close(r->store);
    es_score_destroy(r->score);
    es_plan_destroy(r->plan);
    es_scenario_destroy(r->scenario);
    es_free(r->images);
    es_free(r->mould_hash);
    es_free(r->team_names);
    es_free(r->changed_at);
    json_decref(r->persons);
    es_free(r->machines);
    es_free(r->by_domain);
    es_free(r->measured);
    es_free(r->measured_kept);
    es_free(r->roles);
    es_free(r->pending);
    es_free(r->flying);
    es_free(r->flying_events);
    sodium_memzero(r->secret, sizeof r->secret);
    es_free(r);
    if (on_gone != NULL)
        on_gone(arg);
    if (core->closing)
        core_maybe_closed(core);
}

static int create(struct es_range_core *core, const char *name,
                  struct es_scenario *scenario, int team_count, struct range **ret_range,
                  struct es_err *err)
{
    if (core->range_count >= RANGES_MAX)
        return es_err_set(err, ES_ELIMIT,
                          "%d ranges are there already; take one down first", RANGES_MAX);
    if (!es_str_is_name(name, ES_NAME_MAX))
        return es_err_set(err, ES_EINVAL,
                          "a range's name has at most %d letters a-z, digits, - . _ and "
                          "begins with a letter "
                          "or digit",
                          ES_NAME_MAX);
    struct range *r = es_calloc(1, sizeof *r);
    if (r == NULL)
        return es_err_nomem(err);
    r->core = core;
    r->team_count = team_count;
    r->scenario = scenario;
    es_list_init(&r->watchers);
    es_list_init(&r->rescores);
    es_list_init(&r->corrections);
    es_list_init(&r->effects);
    es_clock_init(&r->clock);
    es_str_printf(r->accel, sizeof r->accel, "%s", core->accel);
    es_str_printf(r->name, sizeof r->name, "%s", name);
    int rc = es_str_printf(r->dir, sizeof r->dir, "%s/ranges/%s", core->state_dir, name);
    if (rc == 0)
        rc = es_str_printf(r->seed_disc, sizeof r->seed_disc, "%s/ranges/%s/seed.iso",
                           core->state_dir, name);
    rc = rc != 0 ? es_err_set(err, rc, "the state folder's path is too long")
                 : fill(r, err);
    if (rc != 0) {
        r->scenario = NULL; /* stays with the caller */
        free_range(r);
        return rc;
    }
    init_timers(r);
    *ret_range = r;
    for (size_t i = 0; i < r->plan->machine_count; i++) {
        rc = machine_init(&r->machines[i], r, (int)i, err);
        if (rc != 0)
            return rc;
        r->machine_count++;
    }
    rc = domains_index(r, err);
    if (rc == 0)
        rc = roles_make(r, err);
    if (rc != 0)
        return rc;
    es_list_push(&core->ranges, &r->link);
    core->range_count++;
    return 0;
}

static int write_identity(struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 32], hex[2 * SEED_BYTES + 1], file[2 * PATH_BYTES];
    es_str_printf(file, sizeof file, "%s/%s", r->scenario->dir, r->scenario->file);
    sodium_bin2hex(hex, sizeof hex, r->secret, SEED_BYTES);
    json_t *teams = json_array();
    for (int team = 1; team <= r->team_count; team++)
        json_array_append_new(teams, json_string(r->team_names[team]));
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:i, s:o}", "range", r->name, "scenario_file", file,
                  "hash", r->scenario->hash, "team_count", r->team_count, "teams", teams);
    int rc = json != NULL ? es_store_put_blob(r->store, "secret", hex, strlen(hex), err)
                          : es_err_nomem(err);
    sodium_memzero(hex, sizeof hex);
    es_str_printf(path, sizeof path, "%s/range.json", r->dir);
    if (rc == 0 && json_dump_file(json, path, JSON_INDENT(1)) != 0)
        rc = es_err_set(err, ES_EIO, "cannot write %s; is the disc full?", path);
    if (rc == 0)
        json_object_del(json,
                        "scenario_file"); /* where it lies here is nobody's business */
    char *text = rc == 0 ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (rc != 0)
        return rc;
    struct es_event event = {.type = ES_EV_CREATED, .team = -1, .subject = -1};
    return range_event(r, &event, text, NULL, NULL, NULL) != 0 ? es_err_nomem(err) : 0;
}

/* Remembers the name, so that `gc` knows what was ours when the folder is lost. */
static int note_made(const struct range *r, struct es_err *err)
{
    char path[PATH_BYTES + 64];
    es_str_printf(path, sizeof path, "%s/made/%s", r->core->state_dir, r->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "cannot write %s: %s", path, strerror(errno));
    close(fd);
    return 0;
}

int range_create(struct es_range_core *core, const char *name,
                 struct es_scenario *scenario, int team_count, struct range **ret_range,
                 struct es_err *err)
{
    struct range *r = NULL;
    int rc = create(core, name, scenario, team_count, &r, err);
    if (rc != 0 && r == NULL)
        return rc;
    randombytes_buf(r->secret, SEED_BYTES);
    if (rc == 0)
        rc = make_folders(r, err);
    if (rc == 0 && range_keeps(r))
        rc = programme_secret(r, err);
    if (rc == 0)
        rc = note_made(r, err);
    if (rc == 0)
        rc = probing_init(r, err);
    if (rc == 0)
        rc = range_open_ledger(r, true, NULL, NULL, err);
    if (rc == 0)
        rc = write_identity(r, err);
    if (rc != 0) {
        r->scenario = NULL;
        range_close(r, NULL, NULL);
        return rc;
    }
    probing_tick(r);
    *ret_range = r;
    return 0;
}

/* ---------------------------------------------------------------- the end */

static void on_handle_closed(uv_handle_t *handle)
{
    struct range *r = handle->data;
    r->open_handles--;
    range_close(r, NULL, NULL);
}

void range_hold(struct range *r)
{
    r->open_handles++;
}

bool range_release(struct range *r)
{
    ES_ASSERT(r->open_handles > 0);
    r->open_handles--;
    if (r->phase != R_LEAVING)
        return false;
    range_close(r, NULL, NULL);
    return true;
}

void range_reader(struct range *r)
{
    r->readers++;
    range_hold(r);
}

bool range_reader_done(struct range *r)
{
    r->readers--;
    return range_release(r);
}

bool range_is_busy(const struct range *r)
{
    bool busy = r->phase == R_BRINGING || r->phase == R_LEAVING ||
                r->phase == R_PARKING || r->phase == R_UNPARKING ||
                r->phase == R_WAKING || r->taking_down || r->rehearsal_busy;
    for (size_t i = 0; i < r->machine_count && !busy; i++)
        busy = r->machines[i].resetting || r->machines[i].on_settled != NULL;
    return busy;
}

int range_check_up(const struct range *r, struct es_err *err)
{
    if (r->phase == R_PARKED)
        return es_err_set(err, ES_ESTATE,
                          "range %s is parked; `enshu unpark %s` wakes it", r->name,
                          r->name);
    if (r->phase == R_PARKING || r->phase == R_UNPARKING || r->phase == R_WAKING ||
        r->taking_down)
        return es_err_set(err, ES_EBUSY, "range %s is being worked on; wait for it",
                          r->name);
    if (r->phase != R_UP)
        return es_err_set(err, ES_ESTATE,
                          "range %s is not up; bring it up first with `enshu up`",
                          r->name);
    return 0;
}

/* Called again by each thing that ends; the last one frees. A commit in flight is waited
 * for. */
void range_close(struct range *r, void (*on_gone)(void *arg), void *arg)
{
    if (on_gone != NULL) {
        r->range_gone = on_gone;
        r->range_gone_arg = arg;
    }
    if (r->phase != R_LEAVING) {
        r->phase = R_LEAVING;
        range_watch_end(r);
        bring_cancel(r);
        range_rescore_waiting(r);
        range_corrected(r);
        for (size_t i = 0; i < r->machine_count; i++)
            machine_close(&r->machines[i]);
        effects_leave(r);
        rehearse_cancel(r);
        park_cancel(r);
        uv_close((uv_handle_t *)&r->tick, on_handle_closed);
        uv_close((uv_handle_t *)&r->watch_timer, on_handle_closed);
    }
    if (r->open_handles == 0 && !r->commit_in_flight && r->pending_count == 0)
        free_range(r);
}

/* ---------------------------------------------------------------- look-ups */

struct machine *range_machine(struct range *r, int team, int node)
{
    int index = es_plan_machine_of(r->plan, team, node);
    if (index < 0)
        index = es_plan_machine_of(r->plan, -1, node); /* one for all teams */
    return index >= 0 ? &r->machines[index] : NULL;
}

struct machine *range_find_machine(struct range *r, const char *label, struct es_err *err)
{
    const char *slash = strchr(label, '/');
    struct machine *found = NULL;
    int64_t team = 0;
    char digits[8];
    if (slash != NULL && *label == 't' && slash - label < (ptrdiff_t)sizeof digits) {
        memcpy(digits, label + 1, (size_t)(slash - label - 1));
        digits[slash - label - 1] = '\0';
        es_str_int(digits, 1, ES_PLAN_TEAMS_MAX, &team);
    }
    for (size_t i = 0; i < r->machine_count; i++) {
        struct machine *m = &r->machines[i];
        if (m->mould)
            continue;
        if (es_str_eq(m->label, label) ||
            (team > 0 && m->plan->team == team && es_str_eq(m->node->name, slash + 1)))
            return m;
        if (slash == NULL && es_str_eq(m->node->name, label)) {
            if (found != NULL) {
                es_err_set(err, ES_EINVAL,
                           "several teams have a machine %s; say which, as in t1/%s",
                           label, label);
                return NULL;
            }
            found = m;
        }
    }
    if (found == NULL)
        es_err_set(err, ES_ENOENT,
                   "range %s has no machine %s; `enshu status` lists them", r->name,
                   label);
    return found;
}

/* ---------------------------------------------------------------- after a restart of the core */

struct restoring {
    struct range *range;
    struct es_err *err;
};

static void restore_step(struct range *r, int step)
{
    r->parked = step;
    for (size_t i = 0; i < r->machine_count && step == ES_PARK_UNPARKED; i++)
        r->machines[i].whole = true;
}

static int restore_event(void *ctx, const struct es_event *event)
{
    struct restoring *x = ctx;
    struct range *r = x->range;
    if (event->type == ES_EV_INTENT || event->type == ES_EV_OUTCOME)
        return effects_recall(r, event, x->err);
    if (event->type == ES_EV_PARK)
        restore_step(r, event->a);
    /* A running clock belongs to a range that is up, whatever could not be written. */
    if (event->type == ES_EV_CLOCK && event->a == ES_CLOCK_RUNNING)
        r->parked = 0;
    if (event->type != ES_EV_MACHINE)
        return 0;
    int index = es_plan_machine_of(r->plan, event->team, event->subject);
    if (index < 0)
        return 0;
    struct machine *m = &r->machines[index];
    m->instance = event->instance & 0x3ff;
    m->was_ready = event->a == ES_MEV_READY;
    m->whole &= event->a != ES_MEV_UP;
    m->was_suspended = event->a == ES_MEV_FAULT && event->b == 1;
    return 0;
}

static int restore_phase(struct range *r, struct es_err *err)
{
    r->phase = r->parked == ES_PARK_PARKING     ? R_PARKING
               : r->parked == ES_PARK_PARKED    ? R_PARKED
               : r->parked == ES_PARK_UNPARKING ? R_UNPARKING
                                                : R_UP;
    return parked_restore(r, err);
}

static int restore(struct es_range_core *core, const char *name, struct es_err *err)
{
    char path[PATH_BYTES + 300];
    json_error_t json_err;
    struct range *r = NULL;
    struct es_scenario *scenario = NULL;
    struct es_clock_mark mark;
    bool ran_on = false;
    es_str_printf(path, sizeof path, "%s/ranges/%s/range.json", core->state_dir, name);
    json_t *json = json_load_file(path, 0, &json_err);
    const char *file = json_string_value(json_object_get(json, "scenario_file"));
    int teams = (int)json_integer_value(json_object_get(json, "team_count"));
    struct es_diags *diags = es_calloc(1, sizeof *diags);
    int rc =
        file == NULL || teams < 1 || diags == NULL
            ? es_err_set(err, ES_ECORRUPT, "%s cannot be read: %s", path, json_err.text)
            : es_scenario_load(file, diags, &scenario, err);
    if (diags != NULL)
        es_diags_finish(diags);
    es_free(diags);
    if (rc == 0 &&
        !es_str_eq(scenario->hash, json_string_value(json_object_get(json, "hash"))))
        rc = es_err_set(
            err, ES_ESTATE,
            "the scenario %s changed since the range was made; put it back as it was",
            file);
    json_decref(json);
    if (rc == 0)
        rc = create(core, name, scenario, teams, &r, err);
    if (r == NULL) {
        es_scenario_destroy(scenario);
        return rc;
    }
    struct restoring restoring = {.range = r, .err = err};
    if (rc == 0)
        rc = probing_init(r, err);
    if (rc == 0)
        rc = range_open_ledger(r, false, restore_event, &restoring, err);
    struct es_buf hex;
    es_buf_init(&hex, 256);
    if (rc == 0)
        rc = es_store_get_blob(r->store, "secret", &hex, err);
    if (rc == 0 && sodium_hex2bin(r->secret, SEED_BYTES, es_buf_str(&hex), hex.len, NULL,
                                  NULL, NULL) != 0)
        rc = es_err_set(err, ES_ECORRUPT, "the range's secret is damaged");
    es_buf_finish(&hex);
    if (rc == 0)
        images_restore(r);
    for (size_t i = 0; i < r->machine_count && rc == 0; i++)
        baselines_restore(&r->machines[i]);
    if (rc == 0)
        rc = restore_phase(r, err);
    if (rc != 0) {
        range_close(r, NULL, NULL);
        return rc;
    }
    if (es_store_last_mark(r->store, &mark) == 0) {
        es_clock_restore(&r->clock, &mark, core->boot_id, core_boottime_ms(), &ran_on);
        if (mark.state == ES_CLOCK_RUNNING && !ran_on) {
            struct es_event paused = {.type = ES_EV_CLOCK,
                                      .team = -1,
                                      .subject = -1,
                                      .a = ES_CLOCK_PAUSED,
                                      .b = r->clock.speed_permille};
            range_event(
                r, &paused,
                es_strdup("{\"by\":\"core\",\"reason\":\"the core was away too long\"}"),
                NULL, NULL, NULL);
            es_str_printf(
                r->trouble, sizeof r->trouble,
                "paused: the core was away for more than %d s; resume when ready",
                ES_CLOCK_GAP_MAX_MS / 1000);
        }
    }
    effects_restored(r);
    r->unlisted = true;
    probing_tick(r);
    es_log_info("range %s: restored at event %lld, clock %s", r->name,
                (long long)es_store_head(r->store), es_clock_state_name(r->clock.state));
    return 0;
}

void range_restore_all(struct es_range_core *core)
{
    char path[PATH_BYTES + 16];
    es_str_printf(path, sizeof path, "%s/ranges", core->state_dir);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        struct es_err err = {0};
        if (entry->d_name[0] == '.' || core_find_range(core, entry->d_name) != NULL)
            continue;
        if (restore(core, entry->d_name, &err) != 0)
            es_log_error("range %s cannot be restored: %s", entry->d_name, err.msg);
    }
    if (dir != NULL)
        closedir(dir);
}
