/* Subordinate ids: /etc/subuid and /etc/subgid, newuidmap and newgidmap. */
#include "enshu/idmap.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enshu/common/str.h"

struct range {
    unsigned long start, count;
};

/* The largest range of a file like /etc/subuid for this user (by name or number). */
static struct range subordinate(const char *file, const char *name, uid_t uid)
{
    struct range best = {0, 0};
    char number[24], line[512];
    snprintf(number, sizeof number, "%lu", (unsigned long)uid);
    FILE *f = fopen(file, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *first = strchr(line, ':');
        char *second = first != NULL ? strchr(first + 1, ':') : NULL;
        if (second == NULL)
            continue;
        *first = '\0';
        if (!es_str_eq(line, number) && !es_str_eq(line, name))
            continue;
        struct range r = {strtoul(first + 1, NULL, 10), strtoul(second + 1, NULL, 10)};
        if (r.count > best.count)
            best = r;
    }
    if (f != NULL)
        fclose(f);
    return best;
}

int es_idmap_find(struct es_idmap *ret_map, struct es_err *err)
{
    struct es_idmap map = {.uid = geteuid(), .gid = getegid()};
    if (map.uid == 0) {
        map.uid_base = map.gid_base = ES_IDMAP_ROOT_BASE;
        map.uid_count = map.gid_count = ES_IDMAP_ROOT_COUNT;
        *ret_map = map;
        return 0;
    }
    if (access("/usr/bin/newuidmap", X_OK) != 0)
        return es_err_set(err, ES_ENOENT,
                          "newuidmap is missing; as root: apt-get install uidmap");
    char text[1024], name[64] = "";
    struct passwd entry, *found = NULL;
    if (getpwuid_r(map.uid, &entry, text, sizeof text, &found) == 0 && found != NULL)
        snprintf(name, sizeof name, "%s", found->pw_name);
    struct range u = subordinate("/etc/subuid", name, map.uid);
    struct range g = subordinate("/etc/subgid", name, map.uid);
    if (u.count < 1000 || g.count < 1000)
        return es_err_set(err, ES_EDENIED,
                          "user %s has too few subordinate ids in /etc/subuid and "
                          "/etc/subgid; as root: usermod --add-subuids 100000-165535 "
                          "--add-subgids 100000-165535 %s",
                          name, name[0] != '\0' ? name : "NAME");
    map.uid_base = u.start;
    map.uid_count = u.count;
    map.gid_base = g.start;
    map.gid_count = g.count;
    *ret_map = map;
    return 0;
}

static int write_map(pid_t child, const char *name, unsigned long base,
                     unsigned long count, struct es_err *err)
{
    char path[64], line[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)child, name);
    int n = snprintf(line, sizeof line, "0 %lu %lu\n", base, count);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t done = fd >= 0 ? write(fd, line, (size_t)n) : -1;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    if (done != n)
        return es_err_set(
            err, ES_EDENIED,
            "cannot map the ids %lu+%lu into a user namespace: %s; inside a "
            "container, give it these ids",
            base, count, strerror(saved));
    return 0;
}

static int run_map(const char *tool, pid_t child, unsigned long own, unsigned long base,
                   unsigned long count, struct es_err *err)
{
    char pid[16], id[24], first[24], length[24];
    snprintf(pid, sizeof pid, "%d", (int)child);
    snprintf(id, sizeof id, "%lu", own);
    snprintf(first, sizeof first, "%lu", base);
    snprintf(length, sizeof length, "%lu", count);
    pid_t helper = fork();
    if (helper == 0) {
        execl(tool, tool, pid, "0", id, "1", "1", first, length, (char *)NULL);
        _exit(127);
    }
    int status;
    if (helper < 0 || waitpid(helper, &status, 0) != helper || status != 0)
        return es_err_set(err, ES_EDENIED,
                          "%s could not map the ids %lu+%lu; check /etc/subuid, "
                          "/etc/subgid and that %s is setuid root",
                          tool, base, count, tool);
    return 0;
}

int es_idmap_apply(const struct es_idmap *map, pid_t child, struct es_err *err)
{
    int rc;
    if (map->uid == 0) {
        rc = write_map(child, "uid_map", map->uid_base, map->uid_count, err);
        return rc != 0 ? rc
                       : write_map(child, "gid_map", map->gid_base, map->gid_count, err);
    }
    rc = run_map("/usr/bin/newuidmap", child, map->uid, map->uid_base, map->uid_count,
                 err);
    return rc != 0 ? rc
                   : run_map("/usr/bin/newgidmap", child, map->gid, map->gid_base,
                             map->gid_count, err);
}
