/* Machines: what was seen on or from one that went down, was at fault or was reset is not
 * known until it is seen again. */
#include "fold.h"

static void forget_all(struct es_score *score, int team, int node, int raw)
{
    LISTS_EACH(cond, &score->model.conds_of, node)
    {
        const struct cond_state *state = &team_of(score, team)->conds[*cond];
        bool keep = (state->raw == ES_OUTCOME_FAULT && raw == ES_OUTCOME_UNKNOWN) ||
                    state->raw == ES_OUTCOME_NONE || state->voids > 0;
        condition_forget(score, team, *cond, keep ? state->raw : raw);
    }
}

/* Our machine died: what looked for it over the network, or for something behind it,
 * proves nothing. */
static void spoil_outward(struct es_score *score, int team)
{
    for (size_t c = 0; c < score->model.conditions; c++) {
        const struct cond_def *def = &score->model.conds[c];
        const struct cond_state *state = &team_of(score, team)->conds[c];
        if (def->outward && (state->raw == ES_OUTCOME_FAIL ||
                             (state->raw == ES_OUTCOME_PASS && !def->present)))
            condition_forget(score, team, (int)c, ES_OUTCOME_FAULT);
    }
}

static void set_fault(struct es_score *score, int team, struct node_state *node,
                      bool fault)
{
    if (node->fault == fault)
        return;
    node->fault = fault;
    team_of(score, team)->faults += fault ? 1 : -1;
    ES_ASSERT(team_of(score, team)->faults >= 0);
    if (fault)
        spoil_outward(score, team);
}

static void take(struct es_score *score, int team, const struct es_event *event)
{
    int index = event->subject;
    ES_ASSERT(index >= 0 && (size_t)index < score->model.nodes);
    struct node_state *node = &team_of(score, team)->nodes[index];
    bool down = false;
    switch (event->a) {
    case ES_MEV_UP:
    case ES_MEV_READY:
        set_fault(score, team, node, false);
        break;
    case ES_MEV_DOWN:
        down = true;
        forget_all(score, team, index, ES_OUTCOME_UNKNOWN);
        break;
    case ES_MEV_FAULT:
        down = true;
        forget_all(score, team, index, ES_OUTCOME_FAULT);
        set_fault(score, team, node, true);
        break;
    case ES_MEV_RESET:
        forget_all(score, team, index, ES_OUTCOME_UNKNOWN);
        set_fault(score, team, node, false);
        break;
    default:
        ES_ASSERT(false && "a machine event");
    }
    node->down = down;
    node->instance = down ? event->instance : 0;
    fact_set(score, team, model_fact(&score->model, ES_FACT_NODE_DOWN, index), down,
             event->pos);
    if (event->a == ES_MEV_RESET)
        fact_set(score, team, model_fact(&score->model, ES_FACT_NODE_RESET, index), true,
                 event->pos);
    settle(score, team);
}

void machine_event(struct es_score *score, const struct es_event *event)
{
    for (int team = 1; team <= score->team_count; team++)
        if (event->team == team || event->team < 0)
            take(score, team, event);
}
