/* What all passes of a loading share: reports, the path of what is being bound, memory. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "room.h"

#define REPORT(severity, where)                                                          \
    do {                                                                                 \
        char text[900];                                                                  \
        va_list args;                                                                    \
        va_start(args, fmt);                                                             \
        vsnprintf(text, sizeof text, fmt, args);                                         \
        va_end(args);                                                                    \
        es_diags_add(ld->diags, severity, pos, where, "%s", text);                       \
    } while (0)

void load_error(struct load *ld, struct es_pos pos, const char *fmt, ...)
{
    REPORT(ES_SEV_ERROR, ld->path);
}

void load_error_at(struct load *ld, struct es_pos pos, const char *path, const char *fmt,
                   ...)
{
    REPORT(ES_SEV_ERROR, path);
}

void load_warn_at(struct load *ld, struct es_pos pos, const char *path, const char *fmt,
                  ...)
{
    REPORT(ES_SEV_WARNING, path);
}

bool load_is_full(const struct load *ld)
{
    return ld->diags->error_count >= ES_DIAGS_MAX;
}

const char *load_near(struct load *ld, enum space space, const char *name,
                      const char *prefix)
{
    const char *near =
        load_is_full(ld) ? NULL : names_nearest(&ld->s->inner->names, space, name);
    const char *text =
        near == NULL
            ? ""
            : es_arena_printf(&ld->temp, " (did you mean \"%s%s\"?)", prefix, near);
    return text != NULL ? text : "";
}

size_t path_push(struct load *ld, const char *key)
{
    enum { PART_MAX = 80 };
    size_t mark = ld->path_len, len = strnlen(key, PART_MAX);
    char *end = ld->path + mark;
    if (mark + len + 2 > sizeof ld->path)
        return mark; /* deeper than a path shows */
    if (mark != 0)
        *end++ = '.';
    memcpy(end, key, len);
    end[len] = '\0';
    ld->path_len = (size_t)(end - ld->path) + len;
    return mark;
}

size_t path_push_index(struct load *ld, size_t index)
{
    size_t mark = ld->path_len, room = sizeof ld->path - mark;
    int n = snprintf(ld->path + mark, room, "[%zu]", index);
    ld->path_len += (size_t)n < room ? (size_t)n : room - 1;
    return mark;
}

void path_pop(struct load *ld, size_t mark)
{
    ES_ASSERT(mark <= ld->path_len);
    ld->path_len = mark;
    ld->path[mark] = '\0';
}

void path_leave(struct load *ld, struct saved_path *saved)
{
    memcpy(saved->text, ld->path, sizeof saved->text);
    saved->len = ld->path_len;
    path_pop(ld, 0);
}

void path_return(struct load *ld, const struct saved_path *saved)
{
    memcpy(ld->path, saved->text, sizeof saved->text);
    ld->path_len = saved->len;
}

void *load_alloc(struct load *ld, size_t count, size_t size)
{
    ES_ASSERT(size != 0 && count < SIZE_MAX / 2 / size);
    return es_arena_alloc(&ld->s->arena, (count != 0 ? count : 1) * size);
}

const char *load_path_copy(struct load *ld)
{
    const char *copy = es_arena_strndup(&ld->temp, ld->path, ld->path_len);
    return copy != NULL ? copy : "";
}

json_t *load_own(struct load *ld, json_t *json)
{
    struct es_scenario_inner *inner = ld->s->inner;
    if (json == NULL) {
        ld->nomem = true;
        return NULL;
    }
    json_t **more =
        es_arena_push(&ld->s->arena, inner->jsons, inner->json_count, sizeof(json_t *));
    if (more == NULL) {
        json_decref(json);
        return NULL;
    }
    inner->jsons = more;
    inner->jsons[inner->json_count++] = json;
    return json;
}
