/* Every status an enshu function can return: X(name, number, exit code, text).
 *
 * Functions return 0 or one of these, negative. The exit code is what the command line
 * ends with when the status is what stopped it; `enshu help exit-codes` prints this
 * table. */
/* clang-format off */
#define ES_STATUS_MAP(X)                                                                  \
    X(ENOMEM,     -1, 70, "out of memory")                                                \
    X(EINVAL,     -2, 64, "invalid argument")                                             \
    X(ENOENT,     -3, 66, "not found")                                                    \
    X(EEXIST,     -4, 73, "already exists")                                               \
    X(EIO,        -5, 74, "input/output error")                                           \
    X(ELIMIT,     -6, 75, "limit reached")                                                \
    X(EBUSY,      -7, 75, "busy")                                                         \
    X(EDENIED,    -8, 77, "not allowed")                                                  \
    X(EPROTO,     -9, 76, "protocol error")                                               \
    X(ETIMEDOUT, -10, 75, "timed out")                                                    \
    X(ECANCELED, -11, 75, "cancelled")                                                    \
    X(ECONN,     -12, 69, "not connected")                                                \
    X(ECAPACITY, -13, 71, "does not fit on this host")                                    \
    X(ESTATE,    -14, 75, "not possible in this state")                                   \
    X(ESCENARIO, -15, 65, "the scenario has errors")                                      \
    X(EHYP,      -16, 69, "hypervisor error")                                             \
    X(EGUEST,    -17, 72, "the guest failed")                                             \
    X(ECORRUPT,  -18, 74, "stored data is damaged")                                       \
    X(ENOTSUP,   -19, 78, "not supported")                                                \
    X(EPROOF,    -20, 1,  "not proved")                                                   \
    X(EINTERNAL, -21, 70, "internal error")
/* clang-format on */
