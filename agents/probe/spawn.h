/* Child processes of the agent: started here, collected by agent/job.c (asynchronously) or
 * by tool.c (inside a worker). [any]
 *
 * A child never keeps a descriptor of the agent beyond its three, has default signals, no
 * protection from the out-of-memory killer, umask 022, and is the head of a session or a
 * process group of its own, so that its whole tree can be killed. */
#ifndef ENSHU_PROBE_SPAWN_H
#define ENSHU_PROBE_SPAWN_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"

#define ES_SPAWN_GROUPS_MAX 64
#define ES_SPAWN_ARGS_MAX   256
#define ES_SPAWN_ENV_MAX    128

struct es_spawn {
    const char *const *argv; /* NULL-terminated; NULL: `run` is called in the child */
    const char *path;        /* of the program; NULL: argv[0] */
    const char *const *env;  /* NULL-terminated */
    const char *cwd;         /* NULL: "/" */
    bool any_cwd;            /* "/" will do when cwd cannot be entered */
    bool as_user;            /* take uid, gid and groups from below */
    uid_t uid;
    gid_t gid;
    gid_t groups[ES_SPAWN_GROUPS_MAX];
    size_t group_count;
    bool session;          /* a session of its own, else a process group of its own */
    bool feeds;            /* wants a standard input; else it is /dev/null */
    int (*run)(void *ctx); /* its result is the exit code */
    void *ctx;
};
struct es_spawned {
    pid_t pid;
    int in, out, err; /* non-blocking ends of ours; in is -1 unless fed */
};

int es_spawn_start(const struct es_spawn *spawn, struct es_spawned *ret_child,
                   struct es_err *err);

/* Kills the child with everything in its session or group and all its descendants. */
void es_spawn_kill_tree(pid_t pid);

/* The place of a program in the fixed path, in the arena; NULL when it is not there. */
const char *es_spawn_find(struct es_arena *arena, const char *name);

/* Fills `ret_spawn` (memory in the arena) with what a request asks to be run: `run` is a
 * shell text or a list of words; `env`, `user`, `cwd` may be NULL. ES_EINVAL, ES_ENOENT (no
 * such user or program), ES_ELIMIT, ES_ENOMEM. */
int es_spawn_command(struct es_arena *arena, const char *root, const json_t *run,
                     const json_t *env, const char *user, const char *cwd,
                     struct es_spawn *ret_spawn, struct es_err *err);

#endif
