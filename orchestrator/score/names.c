/* Words of the tables. */
#include "enshu/score.h"

const char *es_outcome_name(enum es_outcome outcome)
{
    switch (outcome) {
#define X(name, number, word)                                                            \
    case ES_OUTCOME_##name:                                                              \
        return word;
        ES_OUTCOME_MAP(X)
#undef X
    }
    return "?";
}

const char *es_event_name(int type)
{
    switch (type) {
#define X(name, number, word, fields)                                                    \
    case number:                                                                         \
        return word;
        ES_EVENT_MAP(X)
#undef X
    default:
        return NULL;
    }
}
