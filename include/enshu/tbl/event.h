/* Every event a ledger can hold: X(name, number, word, meaning of the fields).
 * Numbers are stored: never reuse one. Unnamed fields are 0 (team, subject: -1). `by`: the id
 * of a person (store.h), or "admin", "core"; `request`, `evidence`: what lies beside the
 * chain under that name. */
/* clang-format off */
#define ES_EVENT_MAP(X)                                                                              \
    X(CREATED,  1, "created",  "text: {scenario, hash, range, teams:[{id,title}], nodes…}")          \
    X(CLOCK,    2, "clock",    "a: new es_clock_state; b: speed permille; seq: exercise time jumped to (ex_ms: left), 0: no jump; text: {by, reason}?") \
    X(OBSERVED, 3, "observed", "team, subject: condition, a: outcome, instance, epoch, seq; text: {why, evidence}? on change") \
    X(MACHINE,  4, "machine",  "team, subject: node, a: es_machine_event, instance; b: 1 suspended for want of memory (fault); text: {cause}?") \
    X(INTENT,   5, "intent",   "team, subject: node, b: effect id, instance, epoch: the agent's that is to do it; text: {what, by, request…}") \
    X(OUTCOME,  6, "outcome",  "team, subject: node, b: effect id, a: 0 done, 1 failed, 2 uncertain; instance, epoch, seq: of its answer; text: {…}") \
    X(VOID,     7, "void",     "a: 0 condition, 1 node, 2 span; team (-1 all), subject; text: {from_ms, to_ms, by, reason}") \
    X(POINTS,   8, "points",   "team, b: points; text: {part?, by, reason}")                         \
    X(OVERRIDE, 9, "override", "team, subject: objective, a: 1 met, 0 not met; text: {by, reason}")  \
    X(NOTE,    10, "note",     "text: {by, text}")                                                   \
    X(STEADY,  11, "steady",   "observations that told nothing new; team, subject: condition, a: outcome, b: exercise time of the last; instance, epoch, seq: of the last an agent told; text: {count, told, first_ms, first_seq, gap_ms}") \
    X(PARK,    12, "park",     "a: es_park_event; text: {by?, reason?}; no fact and no point follows from it")
#define ES_MACHINE_EVENT_MAP(X) \
    X(UP, 1, "up") X(READY, 2, "ready") X(DOWN, 3, "down") X(FAULT, 4, "fault") X(RESET, 5, "reset")
/* Odd ones are intents: a core that comes after ends what was begun. */
#define ES_PARK_EVENT_MAP(X) \
    X(PARKING, 1, "parking") X(PARKED, 2, "parked") X(UNPARKING, 3, "unparking") X(UNPARKED, 4, "unparked")
/* clang-format on */
