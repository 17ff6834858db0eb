/* The program's commands: each prints its result and returns a status. */
#ifndef ORCHESTRATOR_NEST_COMMANDS_H
#define ORCHESTRATOR_NEST_COMMANDS_H

#include "nest.h"

int command_start(struct options *options, struct es_err *err);
int command_stop(struct options *options, struct es_err *err);
int command_status(struct options *options, struct es_err *err);
int command_exec(struct options *options, struct es_err *err);

#endif
