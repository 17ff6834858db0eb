/* Folders and files: the state's, and those that came with the program. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/range.h"
#include "enshud.h"

#define LOCK_WAIT_MS 5000
#define LOCK_POLL_MS 20

static int make_folders(const char *path, struct es_err *err)
{
    char part[1024];
    int rc = es_str_printf(part, sizeof part, "%s", path);
    for (char *at = part + 1; rc == 0 && at != NULL;) {
        at = strchr(at, '/');
        if (at != NULL)
            *at = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return es_err_set(err, ES_EIO,
                              "cannot make the state folder %s: %s; choose another with "
                              "--state",
                              part, strerror(errno));
        if (at != NULL)
            *at++ = '/';
    }
    return rc == 0 ? 0
                   : es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
}

static int find_state(const struct options *options, struct places *ret,
                      struct es_err *err)
{
    char given[sizeof ret->state], full[PATH_MAX];
    int rc = options->state != NULL
                 ? es_str_printf(given, sizeof given, "%s", options->state)
                 : es_range_default_state(given, sizeof given, err);
    if (rc == ES_ELIMIT && options->state != NULL)
        es_err_set(err, rc, "the state folder's path is too long");
    if (rc == 0)
        rc = make_folders(given, err);
    if (rc != 0)
        return rc;
    /* Machines are told absolute paths; links in between would confuse comparisons. */
    if (realpath(given, full) == NULL)
        return es_err_set(err, ES_EIO, "%s: %s", given, strerror(errno));
    if (es_str_printf(ret->state, sizeof ret->state, "%s", full) != 0)
        return es_err_set(err, ES_ELIMIT, "the state folder's path is too long");
    if (access(ret->state, R_OK | W_OK | X_OK) != 0)
        return es_err_set(err, ES_EDENIED,
                          "the state folder %s cannot be written; choose another with "
                          "--state",
                          ret->state);
    rc = options->socket != NULL
             ? es_str_printf(ret->socket, sizeof ret->socket, "%s", options->socket)
             : es_str_printf(ret->socket, sizeof ret->socket, "%s/" SOCKET_NAME,
                             ret->state);
    return rc == 0 ? 0 : es_err_set(err, ES_ELIMIT, "the socket's path is too long");
}

/* The first of `candidates` (relative to the program's folder) that is there. */
static int find_beside(const char *what, const char *option, const char *given,
                       const char *const *candidates, char dst[PATH_MAX],
                       struct es_err *err)
{
    char exe[PATH_MAX], path[2 * PATH_MAX];
    if (given != NULL && realpath(given, dst) != NULL)
        return 0;
    if (given != NULL)
        return es_err_set(err, ES_ENOENT, "%s %s: %s", option, given, strerror(errno));
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; candidates[i] != NULL; i++) {
        if (es_str_printf(path, sizeof path, "%s/%s", exe, candidates[i]) == 0 &&
            realpath(path, dst) != NULL)
            return 0;
    }
    return es_err_set(err, ES_ENOENT,
                      "%s not found beside the program in %s%s%s; is the installation "
                      "whole?",
                      what, exe, option != NULL ? "; name it with " : "",
                      option != NULL ? option : "");
}

int places_find(const struct options *options, struct places *ret, struct es_err *err)
{
    /* Build tree (build/VARIANT/bin) first, then PREFIX/bin. */
    static const char *const recipes[] = {"../../../scenarios/images",
                                          "../share/enshu/images", NULL};
    static const char *const agent[] = {"enshu-agent", "../libexec/enshu/enshu-agent",
                                        NULL};
    static const char *const nest[] = {"enshu-nest", "../libexec/enshu/enshu-nest", NULL};
    int rc = find_state(options, ret, err);
    if (rc == 0)
        rc = find_beside("the image recipes were", "--recipes", options->recipes, recipes,
                         ret->recipes, err);
    if (rc == 0)
        rc = find_beside("the agent was", "--agent", options->agent, agent, ret->agent,
                         err);
    if (rc == 0 && options->uri == NULL)
        rc = find_beside("enshu-nest was", NULL, NULL, nest, ret->nest, err);
    return rc;
}

/* Who holds the lock, as its file says; for messages alone. */
static void read_holder(int fd, char *dst, size_t size)
{
    ssize_t n = pread(fd, dst, size - 1, 0);
    dst[n > 0 ? n : 0] = '\0';
    dst[strcspn(dst, "\n")] = '\0';
    if (dst[0] == '\0')
        es_str_printf(dst, size, "unknown");
}

/* A core that ended holds its lock until the last of its threads has: a moment after kill
 * -9, and as long as the disc takes for what it was writing. */
static bool lock_waited(int fd)
{
    for (int waited_ms = 0; waited_ms < LOCK_WAIT_MS; waited_ms += LOCK_POLL_MS) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        poll(NULL, 0, LOCK_POLL_MS);
    }
    return false;
}

int lock_take(const char *state, struct es_err *err)
{
    char path[1100], pid[32];
    es_str_printf(path, sizeof path, "%s/enshud.lock", state);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return es_err_set(err, ES_EIO, "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        read_holder(fd, pid, sizeof pid);
        fprintf(stderr, "enshud: waiting for the core with pid %s to end\n", pid);
        if (!lock_waited(fd)) {
            close(fd);
            return es_err_set(err, ES_EBUSY,
                              "another core (pid %s) uses the state folder %s; use it, "
                              "end it, or choose another folder with --state",
                              pid, state);
        }
    }
    es_str_printf(pid, sizeof pid, "%ld\n", (long)getpid());
    /* The number only helps the message above. */
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, strlen(pid), 0) < 0)
        return es_err_set(err, ES_EIO, "%s: %s", path, strerror(errno));
    return 0; /* the descriptor is the lock; it ends with the process */
}
