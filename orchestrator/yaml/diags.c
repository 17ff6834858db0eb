/* Collected diagnostics. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "enshu/yaml.h"

void es_diags_finish(struct es_diags *diags)
{
    if (diags == NULL)
        return;
    es_arena_finish(&diags->arena);
    memset(diags, 0, sizeof *diags);
}

/* The place for one more of this severity, NULL when there is none. */
static struct es_diag *place_for(struct es_diags *diags, enum es_severity severity)
{
    if (diags->count < ES_DIAGS_MAX)
        return &diags->items[diags->count++];
    if (severity == ES_SEV_ERROR)
        for (size_t i = diags->count; i-- > 0;)
            if (diags->items[i].severity == ES_SEV_WARNING)
                return &diags->items[i];
    return NULL;
}

/* A copy in UTF-8: what quotes cut off in the middle of a character is left out. */
static const char *keep_text(struct es_diags *diags, const char *text)
{
    char *kept = es_arena_strdup(&diags->arena, text);
    if (kept != NULL)
        es_utf8_repair(kept);
    return kept;
}

/* Files repeat: a copy is shared by all diagnostics of one file. */
static const char *keep_file(struct es_diags *diags, const char *file)
{
    for (size_t i = 0; i < diags->count; i++)
        if (diags->items[i].pos.file != NULL &&
            strcmp(diags->items[i].pos.file, file) == 0)
            return diags->items[i].pos.file;
    return es_arena_strdup(&diags->arena, file);
}

void es_diags_add(struct es_diags *diags, enum es_severity severity, struct es_pos pos,
                  const char *path, const char *fmt, ...)
{
    size_t *counter =
        severity == ES_SEV_ERROR ? &diags->error_count : &diags->warning_count;
    ++*counter;
    const char *file = keep_file(diags, pos.file != NULL ? pos.file : "");
    struct es_diag *diag = place_for(diags, severity);
    if (diag == NULL)
        return;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *kept_path = keep_text(diags, path != NULL ? path : "");
    const char *kept_text = keep_text(diags, text);
    *diag = (struct es_diag){.severity = severity,
                             .pos = {file != NULL ? file : "", pos.line, pos.col},
                             .path = kept_path != NULL ? kept_path : "",
                             .text = kept_text != NULL ? kept_text : "out of memory"};
}

static int compare(const void *pa, const void *pb)
{
    const struct es_diag *a = *(const struct es_diag *const *)pa;
    const struct es_diag *b = *(const struct es_diag *const *)pb;
    int by_file = strcmp(a->pos.file, b->pos.file);
    if (by_file != 0)
        return by_file;
    if (a->pos.line != b->pos.line)
        return a->pos.line < b->pos.line ? -1 : 1;
    if (a->pos.col != b->pos.col)
        return a->pos.col < b->pos.col ? -1 : 1;
    return a < b ? -1 : a > b; /* as found: they lie in one array */
}

void es_diags_format(const struct es_diags *diags, struct es_buf *out)
{
    const struct es_diag *sorted[ES_DIAGS_MAX];
    for (size_t i = 0; i < diags->count; i++)
        sorted[i] = &diags->items[i];
    qsort(sorted, diags->count, sizeof sorted[0], compare);
    for (size_t i = 0; i < diags->count; i++) {
        const struct es_diag *d = sorted[i];
        es_buf_puts(out, d->pos.file);
        if (d->pos.line > 0)
            es_buf_printf(out, ":%d:%d", d->pos.line, d->pos.col);
        es_buf_puts(out, d->severity == ES_SEV_ERROR ? ": error: " : ": warning: ");
        if (*d->path != '\0')
            es_buf_printf(out, "%s: ", d->path);
        es_buf_printf(out, "%s\n", d->text);
    }
    size_t all = diags->error_count + diags->warning_count;
    if (all > diags->count)
        es_buf_printf(out, "and %zu more: mend these first\n", all - diags->count);
}
