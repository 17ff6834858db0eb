/* What became of one observation: X(name, number, word). Numbers are stored in ledgers:
 * never reuse one. */
/* clang-format off */
#define ES_OUTCOME_MAP(X)                                                                 \
    X(NONE,    0, "none")     /* not observed yet */                                      \
    X(PASS,    1, "pass")                                                                 \
    X(FAIL,    2, "fail")                                                                 \
    X(UNKNOWN, 3, "unknown")  /* the host saw why it could not be observed */             \
    X(FAULT,   4, "fault")    /* our side failed; never a team's loss */                  \
    X(ABSENT,  5, "absent")   /* the machine runs, its agent alone is silent */
/* clang-format on */
