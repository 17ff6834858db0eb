/* What to run, as whom, with which environment: from a request to a struct es_spawn. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "etc.h"
#include "spawn.h"

#define PATH_TEXT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const char *es_spawn_find(struct es_arena *arena, const char *name)
{
    /* Not /usr/local: what the system shipped is preferred to what was put there. */
    static const char *const dirs[] = {"/usr/sbin", "/usr/bin",        "/sbin",
                                       "/bin",      "/usr/local/sbin", "/usr/local/bin"};
    if (strchr(name, '/') != NULL)
        return access(name, X_OK) == 0 ? name : NULL;
    for (size_t i = 0; i < ES_COUNT(dirs); i++) {
        char *path = es_arena_printf(arena, "%s/%s", dirs[i], name);
        if (path != NULL && access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

static int take_argv(struct es_arena *arena, const json_t *run, struct es_spawn *spawn,
                     struct es_err *err)
{
    size_t count = json_is_string(run) ? 3 : json_array_size(run);
    if (count == 0)
        return es_err_set(err, ES_EINVAL,
                          "no command: give a shell text or a list of words");
    if (count > ES_SPAWN_ARGS_MAX)
        return es_err_set(err, ES_ELIMIT, "a command has at most %d words",
                          ES_SPAWN_ARGS_MAX);
    const char **argv = es_arena_alloc(arena, (count + 1) * sizeof *argv);
    if (argv == NULL)
        return es_err_nomem(err);
    spawn->argv = argv;
    if (json_is_string(run)) {
        argv[0] = "sh", argv[1] = "-c";
        argv[2] = es_arena_strdup(arena, json_string_value(run));
        spawn->path = "/bin/sh";
        return argv[2] != NULL ? 0 : es_err_nomem(err);
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *word = json_array_get(run, i);
        if (!json_is_string(word))
            return es_err_set(err, ES_EINVAL, "word %zu of the command is not a text", i);
        argv[i] = es_arena_strdup(arena, json_string_value(word));
        if (argv[i] == NULL)
            return es_err_nomem(err);
    }
    spawn->path = es_spawn_find(arena, argv[0]);
    if (spawn->path == NULL)
        return es_err_set(err, arena->failed ? ES_ENOMEM : ES_ENOENT,
                          "%s: no such program in this guest", argv[0]);
    return 0;
}

struct environment {
    struct es_arena *arena;
    const char *items[ES_SPAWN_ENV_MAX + 1];
    size_t count;
};

static int set_env(struct environment *env, const char *name, const char *value)
{
    size_t len = strlen(name), i = 0;
    while (i < env->count &&
           (strncmp(env->items[i], name, len) != 0 || env->items[i][len] != '='))
        i++;
    if (i == ES_SPAWN_ENV_MAX)
        return ES_ELIMIT;
    env->items[i] = es_arena_printf(env->arena, "%s=%s", name, value);
    if (env->items[i] == NULL)
        return ES_ENOMEM;
    if (i == env->count)
        env->count++;
    return 0;
}

static int take_env(struct es_arena *arena, const json_t *extra,
                    const struct es_etc_user *user, struct es_spawn *spawn,
                    struct es_err *err)
{
    struct environment env = {.arena = arena};
    int rc = set_env(&env, "PATH", PATH_TEXT);
    rc = rc != 0 ? rc : set_env(&env, "HOME", user->home);
    rc = rc != 0 ? rc : set_env(&env, "USER", user->name);
    rc = rc != 0 ? rc : set_env(&env, "LOGNAME", user->name);
    rc = rc != 0 ? rc : set_env(&env, "SHELL", user->shell);
    rc = rc != 0 ? rc : set_env(&env, "LANG", "C.UTF-8");
    const char *name;
    const json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)extra, name, value) {
        if (!json_is_string(value) || *name == '\0' || strchr(name, '=') != NULL)
            return es_err_set(err, ES_EINVAL, "environment: %s: not a name with a text",
                              name);
        rc = rc != 0 ? rc : set_env(&env, name, json_string_value(value));
    }
    if (rc != 0)
        return rc == ES_ENOMEM ? es_err_nomem(err)
                               : es_err_set(err, rc, "environment: at most %d names",
                                            ES_SPAWN_ENV_MAX);
    const char **copy = es_arena_alloc(arena, (env.count + 1) * sizeof *copy);
    if (copy == NULL)
        return es_err_nomem(err);
    memcpy(copy, env.items, env.count * sizeof *copy);
    spawn->env = copy;
    return 0;
}

int es_spawn_command(struct es_arena *arena, const char *root, const json_t *run,
                     const json_t *env, const char *user, const char *cwd,
                     struct es_spawn *ret_spawn, struct es_err *err)
{
    struct es_spawn spawn = {.session = true, .any_cwd = cwd == NULL};
    struct es_etc_user who = {.name = "root", .home = "/", .shell = "/bin/sh"};
    if (access("/root", X_OK) == 0)
        es_str_printf(who.home, sizeof who.home, "/root");
    if (user != NULL) {
        int rc = es_etc_user_by_name(root, user, &who, err);
        if (rc != 0)
            return rc;
        spawn.as_user = true;
        spawn.uid = who.uid;
        spawn.gid = who.gid;
        if (es_etc_user_groups(root, user, who.gid, spawn.groups, ES_SPAWN_GROUPS_MAX,
                               &spawn.group_count) != 0)
            return es_err_nomem(err);
    }
    int rc = take_argv(arena, run, &spawn, err);
    if (rc == 0)
        rc = take_env(arena, env, &who, &spawn, err);
    if (rc != 0)
        return rc;
    spawn.cwd = es_arena_strdup(arena, cwd != NULL ? cwd : user != NULL ? who.home : "/");
    if (spawn.cwd == NULL)
        return es_err_nomem(err);
    *ret_spawn = spawn;
    return 0;
}
