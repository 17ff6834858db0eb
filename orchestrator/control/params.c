/* Parameters against the words of the method table: "name:type" and "name:type!". */
#include <string.h>

#include "control_inner.h"
#include "enshu/common/str.h"

struct word {
    char name[32], type[12];
    bool required;
};

/* Cuts the next word off *spec; false at the end. */
static bool next_word(const char **spec, struct word *ret)
{
    const char *s = *spec + strspn(*spec, " ");
    if (*s == '\0')
        return false;
    size_t len = strcspn(s, " ");
    const char *colon = memchr(s, ':', len);
    ES_ASSERT(colon != NULL);
    size_t name_len = (size_t)(colon - s), type_len = len - name_len - 1;
    ret->required = s[len - 1] == '!';
    type_len -= ret->required ? 1 : 0;
    ES_ASSERT(name_len > 0 && name_len < sizeof ret->name);
    ES_ASSERT(type_len > 0 && type_len < sizeof ret->type);
    memcpy(ret->name, s, name_len);
    ret->name[name_len] = '\0';
    memcpy(ret->type, colon + 1, type_len);
    ret->type[type_len] = '\0';
    *spec = s + len;
    return true;
}

static bool type_ok(const char *type, const json_t *value)
{
    if (strcmp(type, "string") == 0)
        return json_is_string(value);
    if (strcmp(type, "int") == 0)
        return json_is_integer(value);
    if (strcmp(type, "bool") == 0)
        return json_is_boolean(value);
    if (strcmp(type, "list") == 0)
        return json_is_array(value);
    ES_ASSERT(strcmp(type, "object") == 0);
    return json_is_object(value);
}

struct names {
    struct word words[24];
    size_t count;
};
static const char *name_at(const void *ctx, size_t i)
{
    const struct names *names = ctx;
    return i < names->count ? names->words[i].name : NULL;
}

static int check_known(const struct es_method *method, const struct names *names,
                       const json_t *params, struct es_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)params, key, value) {
        size_t i = 0;
        while (i < names->count && strcmp(names->words[i].name, key) != 0)
            i++;
        if (i < names->count)
            continue;
        const char *near = es_str_nearest(key, name_at, names);
        return es_err_set(err, ES_EINVAL, "%s: unknown parameter \"%.40s\"%s%s%s",
                          method->name, key, near != NULL ? " (did you mean \"" : "",
                          near != NULL ? near : "", near != NULL ? "\"?)" : "");
    }
    return 0;
}

int control_params_check(const struct es_method *method, const json_t *params,
                         struct es_err *err)
{
    struct names names = {.count = 0};
    const char *spec = method->params;
    while (names.count < ES_COUNT(names.words) &&
           next_word(&spec, &names.words[names.count])) {
        const struct word *word = &names.words[names.count++];
        const json_t *value = json_object_get(params, word->name);
        if (value == NULL && word->required)
            return es_err_set(err, ES_EINVAL, "%s: parameter \"%s\" is missing",
                              method->name, word->name);
        if (value != NULL && !type_ok(word->type, value))
            return es_err_set(err, ES_EINVAL, "%s: parameter \"%s\" must be of type %s",
                              method->name, word->name, word->type);
    }
    ES_ASSERT(names.count < ES_COUNT(names.words));
    return check_known(method, &names, params, err);
}

static const char *method_at(const void *ctx, size_t i)
{
    return ((const struct es_method *)ctx)[i].name;
}

const struct es_method *control_method_find(const struct es_method *table,
                                            const char *name, struct es_err *err)
{
    for (const struct es_method *m = table; m->name != NULL; m++)
        if (strcmp(m->name, name) == 0)
            return m;
    const char *near = es_str_nearest(name, method_at, table);
    es_err_set(err, ES_ENOTSUP, "unknown method \"%.60s\"%s%s%s", name,
               near != NULL ? " (did you mean \"" : "", near != NULL ? near : "",
               near != NULL ? "\"?)" : "; see `enshu help methods`");
    return NULL;
}
