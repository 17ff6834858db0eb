/* port: sockets that listen.
 *
 * Keys:     port; proto "tcp" (default) or "udp"; address: only sockets bound to it, or to
 *           every address.
 * Evidence: listening; addresses, as bound ("0.0.0.0", "::1"); process: the name of a
 *           process that has the first of them open, when one is seen. */
#include <arpa/inet.h>
#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "proc.h"

struct search {
    struct es_probe *p;
    int64_t port;
    const char *address;
    unsigned state; /* as in the kernel's table */
    size_t left;
    uint64_t inode; /* of the first found */
    char process[64];
};

/* The kernel prints an address as 32-bit words in the machine's byte order. */
static bool parse_local(const char *hex, bool v6, char *dst, size_t size,
                        unsigned *ret_port)
{
    unsigned word[4] = {0};
    struct in6_addr addr;
    if (!v6) {
        if (sscanf(hex, "%8x:%x", &word[0], ret_port) != 2)
            return false;
        return inet_ntop(AF_INET, word, dst, (socklen_t)size) != NULL;
    }
    if (sscanf(hex, "%8x%8x%8x%8x:%x", &word[0], &word[1], &word[2], &word[3],
               ret_port) != 5)
        return false;
    memcpy(&addr, word, sizeof addr);
    return inet_ntop(AF_INET6, &addr, dst, (socklen_t)size) != NULL;
}

static bool wanted_address(const struct search *s, const char *bound)
{
    return s->address == NULL || strcmp(bound, s->address) == 0 ||
           strcmp(bound, "0.0.0.0") == 0 || strcmp(bound, "::") == 0;
}

static bool look_in(struct search *s, const char *table, bool v6)
{
    char name[64], line[512];
    es_str_printf(name, sizeof name, "/proc/net/%s%s", table, v6 ? "6" : "");
    const char *full = es_probe_path(s->p, name);
    FILE *file = full != NULL ? fopen(full, "re") : NULL;
    if (file == NULL)
        return false;
    while (fgets(line, sizeof line, file) != NULL) {
        char local[64], bound[INET6_ADDRSTRLEN];
        unsigned state, port;
        uint64_t inode;
        if (sscanf(line, " %*d: %63s %*s %x %*s %*s %*s %*u %*d %" SCNu64, local, &state,
                   &inode) != 3 ||
            state != s->state || !parse_local(local, v6, bound, sizeof bound, &port) ||
            port != s->port || !wanted_address(s, bound))
            continue;
        if (s->inode == 0)
            s->inode = inode;
        es_probe_add_text(s->p, "addresses", bound, &s->left);
    }
    fclose(file);
    return true;
}

static bool on_process(void *ctx, const struct es_proc *proc)
{
    struct search *s = ctx;
    char dir_path[512], want[64];
    es_str_printf(want, sizeof want, "socket:[%" PRIu64 "]", s->inode);
    es_str_printf(dir_path, sizeof dir_path, "%s/proc/%lld/fd", s->p->root,
                  (long long)proc->pid);
    DIR *dir = opendir(dir_path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char target[64];
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (strcmp(target, want) == 0)
            snprintf(s->process, sizeof s->process, "%s", proc->name);
    }
    if (dir != NULL)
        closedir(dir);
    return s->process[0] == '\0';
}

ES_PROBE_LOOK(port)
{
    const char *proto;
    struct search s = {.p = p, .left = ES_PROBE_LIST_MAX};
    int rc = es_probe_arg_int(p, "port", 0, 1, 65535, &s.port, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "proto", false, &proto, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "address", false, &s.address, err);
    if (rc != 0)
        return rc;
    if (s.port == 0)
        return es_err_set(err, ES_EINVAL, "port: missing");
    if (proto != NULL && strcmp(proto, "tcp") != 0 && strcmp(proto, "udp") != 0)
        return es_err_set(err, ES_EINVAL, "proto: tcp or udp");
    bool udp = es_str_eq(proto, "udp");
    s.state = udp ? 7 : 10;
    es_probe_set(p, "addresses", json_array());
    bool v4 = look_in(&s, udp ? "udp" : "tcp", false);
    bool v6 = look_in(&s, udp ? "udp" : "tcp", true);
    if (!v4 && !v6)
        return es_err_set(err, ES_EIO, "/proc/net cannot be read");
    es_probe_set_bool(p, "listening",
                      json_array_size(json_object_get(p->evidence, "addresses")) > 0);
    if (s.inode != 0)
        rc = es_proc_each(p, on_process, &s, err);
    if (s.process[0] != '\0')
        es_probe_set_text(p, "process", s.process);
    return rc;
}
