/* Checked state machines. */
#include "enshu/common/sm.h"

#include "enshu/common/err.h"
#include "enshu/common/log.h"

void es_sm_init(struct es_sm *sm, const struct es_sm_state *table, int start,
                const char *what)
{
    ES_ASSERT(start >= 0 && start < ES_SM_STATES_MAX);
    sm->table = table;
    sm->state = start;
    sm->what = what;
}

void es_sm_move(struct es_sm *sm, int to)
{
    ES_ASSERT(to >= 0 && to < ES_SM_STATES_MAX);
    es_log_debug("%s: %s -> %s", sm->what, sm->table[sm->state].name, sm->table[to].name);
    if ((sm->table[sm->state].allowed & ES_SM_TO(to)) == 0)
        es_log_error("%s: move %s -> %s is not in its table", sm->what,
                     sm->table[sm->state].name, sm->table[to].name);
    ES_ASSERT((sm->table[sm->state].allowed & ES_SM_TO(to)) != 0);
    sm->state = to;
}

const char *es_sm_name(const struct es_sm *sm)
{
    return sm->table[sm->state].name;
}
