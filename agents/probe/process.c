/* process: running processes.
 *
 * Keys:     name: the kernel's name of the process or the last part of its program's path;
 *           match: a POSIX extended regular expression over the command line. Both given:
 *           both must hold; none: every process.
 * Evidence: running; count; pids, at most 100. The agent's own processes do not count. */
#include <regex.h>
#include <string.h>

#include "proc.h"

struct search {
    struct es_probe *p;
    const char *name;
    regex_t *regex; /* NULL: none */
    int64_t count;
};

static bool on_process(void *ctx, const struct es_proc *proc)
{
    struct search *s = ctx;
    if (s->name != NULL && strcmp(proc->name, s->name) != 0 &&
        strcmp(proc->program, s->name) != 0)
        return true;
    if (s->regex != NULL &&
        (proc->line[0] == '\0' || regexec(s->regex, proc->line, 0, NULL, 0) != 0))
        return true;
    if (s->count++ < 100 && json_array_append_new(json_object_get(s->p->evidence, "pids"),
                                                  json_integer(proc->pid)) != 0)
        s->p->nomem = true;
    return true;
}

ES_PROBE_LOOK(process)
{
    const char *pattern;
    struct search s = {.p = p};
    regex_t regex;
    int rc = es_probe_arg_text(p, "name", false, &s.name, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "match", false, &pattern, err);
    if (rc != 0)
        return rc;
    if (pattern != NULL) {
        char why[128];
        int code = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
        if (code != 0) {
            regerror(code, &regex, why, sizeof why);
            return es_err_set(err, ES_EINVAL, "match: %s", why);
        }
        s.regex = &regex;
    }
    es_probe_set(p, "pids", json_array());
    rc = es_proc_each(p, on_process, &s, err);
    if (pattern != NULL)
        regfree(&regex);
    es_probe_set_bool(p, "running", s.count > 0);
    es_probe_set_int(p, "count", s.count);
    return rc;
}
