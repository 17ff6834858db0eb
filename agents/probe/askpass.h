/* How a password reaches ssh: it runs SSH_ASKPASS, which is the agent itself. */
#ifndef ENSHU_PROBE_ASKPASS_H
#define ENSHU_PROBE_ASKPASS_H

#include <stdbool.h>

#define ES_ASKPASS_VARIABLE "ENSHU_ASKPASS"

/* Prints the password when this process was started to do so. */
bool es_ssh_askpass(void);

#endif
