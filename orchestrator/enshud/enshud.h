/* enshud: what its files share. Wiring only: options, folders and limits before the loop,
 * then core, control socket and signals on it. */
#ifndef ENSHUD_H
#define ENSHUD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "enshu/common/err.h"

#define SOCKET_NAME "enshud.sock"

struct options {
    const char *state, *uri, *accel, *recipes, *agent, *socket;
    bool help, version;
};
int options_read(struct options *options, int argc, char **argv, struct es_err *err);
void options_help(void);

/* Everything found out before the core is made. */
struct places {
    char state[1024], socket[1100], recipes[PATH_MAX], agent[PATH_MAX], nest[PATH_MAX];
};
/* The state folder (made when it is not there), the socket, and what the program brings
 * along: beside it in a build tree, below its prefix when installed. */
int places_find(const struct options *options, struct places *ret, struct es_err *err);

/* One core a state folder: held until the process ends. Waits some seconds for a core that
 * is ending; ES_EBUSY when another goes on. */
int lock_take(const char *state, struct es_err *err);

#endif
