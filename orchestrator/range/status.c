/* What a range looks like from outside, and its watchers. Snapshots are coalesced: at most
 * one every WATCH_EVERY_MS, with the news since the last. */
#include <string.h>

#include "capacity.h"
#include "inner.h"
#include "programme.h"

#define NEWS_MAX 500

static const char *const phase_names[] = {"bringing-up", "up",     "failed",    "leaving",
                                          "parking",     "parked", "unparking", "waking"};

/* NULL: it came up before this core did. */
static json_t *took_json(const struct machine *m)
{
    const struct es_hyp_fork_times *fork = &m->took.fork;
    if (m->took.hello_us == 0)
        return NULL;
    json_t *took = json_pack("{s:I, s:I, s:I}", "hello_us", (json_int_t)m->took.hello_us,
                             "personalise_us", (json_int_t)m->took.personalise_us,
                             "ready_us", (json_int_t)m->took.ready_us);
    json_t *steps =
        m->forked
            ? json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "clear_us",
                        (json_int_t)fork->clear_us, "disk_us", (json_int_t)fork->disk_us,
                        "start_us", (json_int_t)fork->start_us, "load_us",
                        (json_int_t)fork->load_us, "plug_us", (json_int_t)fork->plug_us,
                        "resume_us", (json_int_t)fork->resume_us)
            : NULL;
    if (steps != NULL)
        json_object_update(took, steps);
    json_decref(steps);
    return took;
}

json_t *machine_progress_json(const struct machine *m)
{
    return json_pack("{s:s, s:s, s:s}", "machine", m->label, "state", es_sm_name(&m->sm),
                     "detail", m->detail);
}

static json_t *machine_json(const struct machine *m)
{
    char address[16] = "";
    if (m->plan->nic_count > 0)
        es_ip4_format(m->plan->nics[0].addr, address);
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:b, s:o*}",
                     "machine", m->label, "team", m->plan->team, "node", m->node->name,
                     "state", es_sm_name(&m->sm), "detail", m->detail, "link",
                     m->link != NULL ? es_link_state_name(es_link_state(m->link))
                                     : "none",
                     "address", address, "instance", (int)m->instance, "mode",
                     m->forked ? "fork" : "boot", "why_booted", machine_why_booted(m),
                     "kept", (int)machine_is_kept(m), "took", took_json(m));
}

/* Every language; a text in one alone is a string. */
static json_t *text_json(const struct es_text *text, const char *standard)
{
    if (text->count <= 1)
        return json_string(es_text_get(text, ""));
    json_t *all = json_object();
    for (size_t i = 0; i < text->count; i++)
        json_object_set_new(
            all, text->items[i].lang[0] != '\0' ? text->items[i].lang : standard,
            json_string(text->items[i].text));
    return all;
}

static const char *const objective_words[] = {"closed", "open", "met", "missed"};

static json_t *team_json(struct range *r, int team)
{
    json_t *objectives = json_array(), *conditions = json_array(), *phases = json_array(),
           *services = json_array();
    for (size_t i = 0; i < r->scenario->objectives_count; i++) {
        struct es_objective_state state;
        const struct es_objective *objective = &r->scenario->objectives[i];
        es_score_objective(r->score, team, (int)i, &state);
        json_array_append_new(
            objectives,
            json_pack("{s:s, s:o, s:s, s:I, s:I, s:I}", "name", objective->name, "title",
                      text_json(&objective->title, r->scenario->default_language),
                      "status", objective_words[state.status], "met_ex_ms",
                      (json_int_t)state.met_ex_ms, "mpts", (json_int_t)state.mpts,
                      "points", (json_int_t)objective->points));
    }
    for (size_t i = 0; i < r->scenario->conditions_count; i++) {
        struct es_condition_state state;
        es_score_condition(r->score, team, (int)i, &state);
        json_array_append_new(conditions,
                              json_pack("{s:s, s:s, s:I}", "name",
                                        r->scenario->conditions[i].name, "outcome",
                                        es_outcome_name(state.outcome), "since_ex_ms",
                                        (json_int_t)state.since_ex_ms));
    }
    for (size_t i = 0; i < r->scenario->phases_count; i++) {
        struct es_phase_state state;
        es_score_phase(r->score, team, (int)i, &state);
        json_array_append_new(
            phases, json_pack("{s:s, s:o, s:I, s:I, s:b, s:b}", "name",
                              r->scenario->phases[i].name, "title",
                              text_json(&r->scenario->phases[i].title,
                                        r->scenario->default_language),
                              "begun_ex_ms", (json_int_t)state.begun_ex_ms, "done_ex_ms",
                              (json_int_t)state.done_ex_ms, "stuck", (int)state.stuck,
                              "late", (int)state.late));
    }
    for (size_t i = 0; i < r->scenario->services_count; i++) {
        struct es_service_state state;
        es_score_service(r->score, team, (int)i, &state);
        json_array_append_new(services, json_pack("{s:s, s:s, s:I, s:I, s:I}", "name",
                                                  r->scenario->services[i].name, "last",
                                                  es_outcome_name(state.last), "rounds",
                                                  (json_int_t)state.rounds, "passed",
                                                  (json_int_t)state.passed, "mpts",
                                                  (json_int_t)state.mpts));
    }
    return json_pack(
        "{s:i, s:s, s:I, s:o, s:o, s:o, s:o}", "team", team, "name", r->team_names[team],
        "total_mpts", (json_int_t)es_score_total_mpts(r->score, team), "objectives",
        objectives, "conditions", conditions, "phases", phases, "services", services);
}

json_t *status_json(struct range *r)
{
    json_t *machines = json_array(), *teams = json_array();
    range_advance(r);
    for (size_t i = 0; i < r->machine_count; i++)
        if (!r->machines[i].mould || r->phase == R_BRINGING)
            json_array_append_new(machines, machine_json(&r->machines[i]));
    for (int team = 1; r->score != NULL && team <= r->team_count; team++)
        json_array_append_new(teams, team_json(r, team));
    return json_pack(
        "{s:s, s:s, s:s, s:o, s:s, s:{s:s, s:I, s:I, s:i}, s:s, s:o, s:o, s:I}", "range",
        r->name, "state", phase_names[r->phase], "scenario", r->scenario->name, "title",
        text_json(&r->scenario->title, r->scenario->default_language), "scenario_hash",
        r->scenario->hash, "clock", "state", es_clock_state_name(r->clock.state), "ex_ms",
        (json_int_t)range_now_ex(r), "planned_ms", (json_int_t)r->scenario->duration_ms,
        "speed_permille", (int)r->clock.speed_permille, "trouble", r->trouble, "machines",
        machines, "teams", teams, "ledger_head",
        (json_int_t)(r->store != NULL ? es_store_head(r->store) : 0));
}

static void on_watch_timer(uv_timer_t *timer)
{
    struct range *r = timer->data;
    if (!r->dirty || r->phase == R_LEAVING)
        return;
    r->dirty = false;
    json_t *snapshot = status_json(r);
    if (snapshot != NULL && r->news != NULL)
        json_object_set(snapshot, "news", r->news);
    if (snapshot != NULL)
        json_object_set_new(snapshot, "capacity", capacity_json(r->core));
    json_decref(r->news);
    r->news = NULL;
    ES_LIST_EACH (pos, tmp, &r->watchers) { /* one snapshot for all */
        struct watcher *watcher = ES_CONTAINER(pos, struct watcher, link);
        watcher->reply->progress(watcher->reply, json_incref(snapshot));
    }
    json_decref(snapshot);
}

void range_changed(struct range *r)
{
    if (es_list_empty(&r->watchers) || r->phase == R_LEAVING)
        return;
    r->dirty = true;
    if (!uv_is_active((uv_handle_t *)&r->watch_timer))
        uv_timer_start(&r->watch_timer, on_watch_timer, WATCH_EVERY_MS, 0);
}

void range_news(struct range *r, json_t *news)
{
    if (es_list_empty(&r->watchers) || news == NULL) {
        json_decref(news);
        return;
    }
    if (r->news == NULL)
        r->news = json_array();
    if (json_array_size(r->news) >= NEWS_MAX)
        json_array_remove(r->news, 0);
    json_array_append_new(r->news, news);
    range_changed(r);
}

void range_watch_end(struct range *r)
{
    ES_LIST_EACH (pos, tmp, &r->watchers) {
        struct watcher *watcher = ES_CONTAINER(pos, struct watcher, link);
        es_list_remove(&watcher->link);
        watcher->reply->on_gone = NULL;
        watcher->reply->done(watcher->reply, json_pack("{s:s}", "range", r->name));
        es_free(watcher);
    }
    json_decref(r->news);
    r->news = NULL;
}

static void on_watcher_gone(struct es_reply *reply)
{
    struct watcher *watcher = reply->callee;
    es_list_remove(&watcher->link);
    es_free(watcher);
    reply->done(reply, json_object());
}

void es_range_call_watch(struct es_range_core *core, const json_t *params,
                         struct es_reply *reply)
{
    const char *name = json_string_value(json_object_get(params, "range"));
    struct range *r = core_find_range(core, name);
    struct watcher *watcher = es_calloc(1, sizeof *watcher);
    if (r == NULL || watcher == NULL) {
        es_free(watcher);
        reply_fail_new(reply, r == NULL ? ES_ENOENT : ES_ENOMEM,
                       "no range %s; `enshu status` lists them", name);
        return;
    }
    watcher->range = r;
    watcher->reply = reply;
    reply->callee = watcher;
    reply->on_gone = on_watcher_gone;
    es_list_push(&r->watchers, &watcher->link);
    range_changed(r);
}
