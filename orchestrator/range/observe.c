/* What was seen, by an agent or from here: judged, and made an event or a look (steady.c).
 * What an agent told already is not taken again. */
#include <stdio.h>
#include <string.h>

#include "inner.h"
#include "vars.h"

/* What a change was seen by is kept beside the chain, under its name there. */
static const char *stage(struct range *r, const json_t *evidence, char name[65])
{
    struct es_err err = {0};
    char *text = json_dumps(evidence, JSON_COMPACT);
    int rc = text == NULL
                 ? es_err_nomem(&err)
                 : es_store_stage_evidence(r->store, text, strlen(text), name, &err);
    es_free(text);
    if (rc == 0)
        return name;
    es_log_warn("range %s: evidence is not kept: %s", r->name, err.msg);
    return NULL;
}

static char *change_text(struct range *r, struct probe_slot *slot,
                         enum es_outcome outcome, const char *why, const json_t *evidence)
{
    char name[65];
    if (slot->last == (int)outcome)
        return NULL;
    slot->last = (int)outcome;
    json_t *json = json_pack("{s:s, s:s*}", "why", why, "evidence",
                             evidence != NULL ? stage(r, evidence, name) : NULL);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

/* After a restart, before what is on its way to the ledger is in the fold. */
static bool was_told(const struct probe_slot *slot, const struct es_event *event)
{
    return slot->told.instance == event->instance && slot->told.epoch == event->epoch &&
           event->seq <= slot->told.seq;
}

static void observe(struct range *r, struct probe_slot *slot, enum es_outcome outcome,
                    const char *why, struct machine *m, const struct es_result *result)
{
    struct es_event event = {.type = ES_EV_OBSERVED,
                             .team = slot->team,
                             .subject = slot->condition,
                             .a = (int)outcome};
    if (result != NULL && result->seq != 0) {
        event.instance = machine_identity(m);
        event.seq = result->seq;
        if (sscanf(result->epoch, "%16llx", (unsigned long long *)&event.epoch) != 1)
            event.epoch = 0;
        /* Results of an epoch arrive in rising order; a lower one is a resend. */
        if (event.seq <= m->seq_taken || was_told(slot, &event) ||
            es_score_seen(r->score, event.instance, event.epoch, event.seq)) {
            machine_ack(m);
            return;
        }
        m->seq_taken = event.seq;
        range_hold_ack(m, event.seq);
    }
    int taken = steady_take(r, slot, &event, event.seq != 0 ? m : NULL);
    if (taken > 0)
        slot->last = (int)outcome;
    if (taken < 0 && event.seq != 0)
        range_not_taken(m, event.seq);
    if (taken != 0)
        return;
    char *text =
        change_text(r, slot, outcome, why, event.seq != 0 ? result->evidence : NULL);
    int rc = range_event(r, &event, text, event.seq != 0 ? m : NULL, NULL, NULL);
    if (rc == 0)
        steady_note(r, &event);
    else if (event.seq != 0)
        range_not_taken(m, event.seq);
}

static bool another_answers(const struct range *r, const struct machine *silent)
{
    uint64_t now = uv_now(r->core->loop);
    for (size_t i = 0; i < r->machine_count; i++) {
        const struct machine *m = &r->machines[i];
        if (m != silent && m->link != NULL && es_link_state(m->link) == ES_LINK_UP &&
            now - es_link_last_heard_ms(m->link) < SILENT_LIMIT_MS)
            return true;
    }
    return false;
}

/* The machine is alone, its channel stands, and nobody answers there: nothing tells a stopped
 * agent from a fault of ours, and a trainee must not gain by the doubt. */
static bool silent_alone(const struct range *r, const struct machine *silent)
{
    size_t ready = 0;
    for (size_t i = 0; i < r->machine_count; i++)
        ready += machine_state(&r->machines[i]) == M_READY;
    enum es_link_state link =
        silent->link != NULL ? es_link_state(silent->link) : ES_LINK_IDLE;
    return ready == 1 && (link == ES_LINK_SYNCING || link == ES_LINK_UP);
}

/* The machine could not be asked, or did not answer: what the host knows instead. */
static enum es_outcome host_outcome(const struct range *r, const struct machine *m,
                                    char *why, size_t size)
{
    enum machine_state state = m != NULL ? machine_state(m) : M_FAULT;
    if (m == NULL || state == M_FAULT || state == M_FAILED || state == M_SUSPENDED) {
        es_str_printf(why, size, "the machine failed on our side: %.150s",
                      m != NULL ? m->detail : "it is not there");
        return ES_OUTCOME_FAULT;
    }
    if (state == M_DOWN) {
        es_str_printf(why, size, "the machine is switched off");
        return ES_OUTCOME_ABSENT;
    }
    if (state != M_READY) {
        es_str_printf(why, size, "the machine is %s", machine_states[state].name);
        return ES_OUTCOME_UNKNOWN;
    }
    if (another_answers(r, m) || silent_alone(r, m)) {
        es_str_printf(why, size, "the machine runs, its agent alone is silent");
        return ES_OUTCOME_ABSENT;
    }
    es_str_printf(why, size, "no agent answers");
    return ES_OUTCOME_FAULT;
}

void observe_unasked(struct range *r, struct probe_slot *slot, const struct es_err *err)
{
    char why[256];
    enum es_outcome outcome = ES_OUTCOME_FAULT;
    if (err == NULL)
        outcome = host_outcome(r, slot->machine, why, sizeof why);
    else
        es_str_printf(why, sizeof why, "could not be asked: %.200s", err->msg);
    observe(r, slot, outcome, why, NULL, NULL);
}

void observe_result(struct machine *m, const struct es_result *result)
{
    struct range *r = m->range;
    int team, condition;
    char why[256] = "";
    machine_id_probe(result->id, &team, &condition);
    struct probe_slot *slot = probing_slot(r, team, condition);
    /* The socket says who speaks: a result for a probe another machine does is no result. */
    if (slot == NULL || slot->machine != m || r->clock.state == ES_CLOCK_STOPPED) {
        machine_ack(m);
        return;
    }
    if (slot->busy_id == result->id)
        slot->in_flight = false;
    if (r->clock.state != ES_CLOCK_RUNNING) {
        machine_ack(
            m); /* seen while the clock stood still: looked at again when it runs */
        return;
    }
    enum es_outcome outcome;
    const struct es_condition *c = &r->scenario->conditions[slot->condition];
    if (result->seq == 0 && !result->ok)
        outcome = host_outcome(r, m, why, sizeof why);
    else if (!result->ok) {
        outcome = ES_OUTCOME_UNKNOWN;
        es_str_printf(why, sizeof why, "not observable: %s: %.180s", result->error_code,
                      result->error_text);
    } else {
        struct vars v = {.range = r, .team = team};
        const char *user = json_string_value(json_object_get(c->probe.look, "user"));
        const json_t *baseline =
            user != NULL ? json_object_get(m->baselines, user) : NULL;
        outcome = es_judge(&c->probe, result->evidence, baseline, vars_value, &v, why,
                           sizeof why);
    }
    observe(r, slot, outcome, why, m, result);
}
