/* The table of checks and how it is run. */
#include "enshu/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "doctor_inner.h"

static const struct check {
    const char *name;
    doctor_check run;
    bool embedded_only;
} checks[] = {
#define X(name, function, embedded) {name, check_##function, embedded},
    DOCTOR_CHECK_MAP(X)
#undef X
};

const char *es_doctor_level_name(enum es_doctor_level level)
{
    static const char *const names[] = {"ok", "warn", "fail"};
    ES_ASSERT((size_t)level < ES_COUNT(names));
    return names[level];
}

void found(struct es_doctor_finding *finding, enum es_doctor_level level,
           const char *remedy, const char *fmt, ...)
{
    va_list args;
    finding->level = level;
    va_start(args, fmt);
    vsnprintf(finding->text, sizeof finding->text, fmt, args);
    va_end(args);
    snprintf(finding->remedy, sizeof finding->remedy, "%s", remedy != NULL ? remedy : "");
}

enum es_doctor_level es_doctor_run(const struct es_doctor_host *host,
                                   void (*each)(void *ctx,
                                                const struct es_doctor_finding *finding),
                                   void *ctx)
{
    ES_ASSERT(host->root != NULL && host->state_dir != NULL && host->path != NULL);
    enum es_doctor_level worst = ES_DOCTOR_OK;
    for (size_t i = 0; i < ES_COUNT(checks); i++) {
        if (checks[i].embedded_only && host->uri != NULL)
            continue;
        struct es_doctor_finding finding = {.check = checks[i].name};
        checks[i].run(host, &finding);
        /* A finding that is not ok says what to do. */
        ES_ASSERT(finding.text[0] != '\0');
        ES_ASSERT(finding.level == ES_DOCTOR_OK || finding.remedy[0] != '\0');
        worst = finding.level > worst ? finding.level : worst;
        each(ctx, &finding);
    }
    return worst;
}
