/* Checked state machines: a table of states and allowed moves; a move not in it is an
 * assertion, every move may leave a trace line. */
#ifndef ENSHU_COMMON_SM_H
#define ENSHU_COMMON_SM_H

#include <stdint.h>

#define ES_SM_STATES_MAX 32

struct es_sm_state {
    const char *name;
    uint32_t allowed; /* bit set of the states that may follow */
};
struct es_sm {
    const struct es_sm_state *table;
    int state;
    const char *what; /* borrows: shown in traces, "team 3 web" */
};
#define ES_SM_TO(state) (1U << (state))

void es_sm_init(struct es_sm *sm, const struct es_sm_state *table, int start,
                const char *what);
void es_sm_move(struct es_sm *sm, int to);
static inline int es_sm_state(const struct es_sm *sm)
{
    return sm->state;
}
const char *es_sm_name(const struct es_sm *sm);

#endif
