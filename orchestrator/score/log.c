/* The reasons that the state does not tell afterwards: rounds, penalties, corrections.
 * Rounds alike that follow each other are one line. */
#include "fold.h"

static struct reason *append(struct es_score *score)
{
    if (score->log_count == score->log_cap) {
        size_t cap = score->log_cap == 0 ? 64 : score->log_cap * 2;
        struct reason *log = es_grow(score->log, cap, sizeof *log);
        if (log == NULL) {
            score->failed = true;
            return NULL;
        }
        score->log = log;
        score->log_cap = cap;
    }
    struct reason *reason = &score->log[score->log_count++];
    *reason = (struct reason){.ex_ms = score->now_ms};
    return reason;
}

void log_round(struct es_score *score, int team, int service, int verdict, int64_t round)
{
    const struct es_service *def = &score->model.scenario->services[service];
    struct service_state *state = &team_of(score, team)->services[service];
    int64_t pos = team_of(score, team)->conds[def->condition].cause;
    int64_t mpts = verdict == ROUND_PASS ? def->points * 1000 : 0;
    if (state->last_reason >= 0) {
        struct reason *last = &score->log[state->last_reason];
        ES_ASSERT(last->team == team && last->subject == service);
        if (last->verdict == verdict && last->pos == pos && last->last + 1 == round) {
            last->last = round;
            last->mpts += mpts;
            return;
        }
    }
    struct reason *reason = append(score);
    if (reason == NULL)
        return;
    reason->kind = REASON_ROUNDS;
    reason->team = team;
    reason->subject = service;
    reason->verdict = verdict;
    reason->pos = pos;
    reason->mpts = mpts;
    reason->first = reason->last = round;
    state->last_reason = (int64_t)score->log_count - 1;
}

void log_penalty(struct es_score *score, int team, int service)
{
    const struct es_service *def = &score->model.scenario->services[service];
    struct reason *reason = append(score);
    if (reason == NULL)
        return;
    ES_ASSERT(def->sla_after > 0);
    reason->kind = REASON_PENALTY;
    reason->team = team;
    reason->subject = service;
    reason->pos = team_of(score, team)->conds[def->condition].cause;
    reason->mpts = -def->sla_penalty * 1000;
}

int log_correction(struct es_score *score, enum reason_kind kind, int team, int subject,
                   int64_t mpts, const struct es_event *event, const json_t *text)
{
    const char *why = json_string_value(json_object_get(text, "reason"));
    const char *by = json_string_value(json_object_get(text, "by"));
    char *kept = es_strdup(why != NULL ? why : "");
    char *kept_by = by != NULL ? es_strdup(by) : NULL;
    struct reason *reason =
        kept != NULL && (by == NULL || kept_by != NULL) ? append(score) : NULL;
    if (reason == NULL) {
        es_free(kept);
        es_free(kept_by);
        score->failed = true;
        return ES_ENOMEM;
    }
    reason->kind = kind;
    reason->team = team;
    reason->subject = subject;
    reason->pos = event->pos;
    reason->mpts = mpts;
    reason->text = kept;
    reason->by = kept_by;
    return 0;
}

const struct reason *log_override(const struct es_score *score, int team, int objective)
{
    for (size_t i = score->log_count; i-- > 0;) {
        const struct reason *reason = &score->log[i];
        if (reason->kind == REASON_OVERRIDE && reason->team == team &&
            reason->subject == objective)
            return reason;
    }
    return NULL;
}

void log_finish(struct es_score *score)
{
    for (size_t i = 0; i < score->log_count; i++) {
        es_free(score->log[i].text);
        es_free(score->log[i].by);
    }
    es_free(score->log);
    score->log = NULL;
    score->log_count = score->log_cap = 0;
}
