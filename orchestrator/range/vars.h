/* Values that a scenario's texts name, team by team. */
#ifndef ORCHESTRATOR_RANGE_VARS_H
#define ORCHESTRATOR_RANGE_VARS_H

#include "inner.h"

/* ${…} of one team. */
struct vars {
    struct range *range;
    int team;
    char value[512];
};
const char *vars_value(void *ctx,
                       const char *name); /* for es_scenario_expand, es_judge */
char *vars_expand(struct range *range, int team, const char *text,
                  struct es_err *err); /* es_free */
/* What the agent gets for a probe: values in place of ${…}; in a shell line they become
 * environment variables and never part of the line. */
json_t *vars_look(struct range *range, int team, enum es_probe_kind kind,
                  const json_t *look, struct es_err *err);
/* The shell line with variables in place of ${…}, which are added to `env`; es_free it. */
char *vars_shell(struct range *range, int team, const char *line, json_t *env,
                 struct es_err *err);
json_t *vars_env(struct range *range, int team,
                 const struct machine *m); /* for shell steps */
int vars_password(struct range *range, int team, int node,
                  const struct es_account *account, char *dst, size_t size);
void vars_derive(const struct range *range, const char *purpose, int team,
                 unsigned char *dst, size_t len);

#endif
