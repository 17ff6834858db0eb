/* enshu-nest: a private libvirt daemon in namespaces of our own, and the supervisor that
 * owns it.
 *
 * The supervisor is one process per state directory. It lives inside the namespaces (a
 * user namespace too unless the caller is root), is a subreaper, starts libvirtd, starts
 * it again in the same namespaces when it ends, and outlives whoever called `start`. Its
 * life is the life of a POSIX lock on DIR/nest.lock, so F_GETLK names its pid and a stale
 * pid can never be believed.
 *
 * The network namespace is pinned twice: by the supervisor, and by a file bound inside the
 * mount namespace (DIR/net). If the supervisor itself is killed, `start` finds a surviving
 * process of the namespace by its inode (recorded in DIR/nest.json), enters its namespaces
 * and supervises from there: machines and networks are kept.
 *
 *   DIR/nest.lock   held by the supervisor        DIR/sock/  libvirtd's sockets (caller only)
 *   DIR/start.lock  held by start and stop        DIR/run/   machines' channel sockets
 *   DIR/nest.json   what runs, for status         DIR/v/     libvirt's run lib etc cache log
 *   DIR/nest.log    supervisor and libvirtd       DIR/net    the pinned network namespace
 */
#ifndef ORCHESTRATOR_NEST_NEST_H
#define ORCHESTRATOR_NEST_NEST_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "enshu/common/err.h"
#include "enshu/common/tree.h"

#define SOCKET_PATH_MAX  107 /* what a Unix socket's address holds */
#define SOCKET_NAME_ROOM 44  /* kept for the names of machines' sockets below DIR/run */
#define DIR_MAX          (SOCKET_PATH_MAX - SOCKET_NAME_ROOM - 5)
#define SHARES_MAX       8
#define QEMU_ID          64055 /* Debian's number for libvirt-qemu; needs no such user */

enum kvm_choice { KVM_AUTO, KVM_YES, KVM_NO };

struct options {
    const char *state;
    enum kvm_choice kvm;
    const char *shares[SHARES_MAX]; /* folders QEMU must reach besides the state's own */
    size_t share_count;
    bool json;
    bool purge;
    char **command; /* of exec, NULL-terminated */
};

struct nest {
    const struct options *options;
    char dir[DIR_MAX + 1];
    uid_t uid; /* the caller, outside */
    gid_t gid;
    bool user_ns;             /* the caller is not root */
    uid_t qemu_uid, qemu_gid; /* inside the namespaces */
    bool kvm;                 /* machines can use /dev/kvm */
    char kvm_why[160];
    ino_t net_ino;
    pid_t libvirtd;
    int restarts;
};

/* paths.c */
int nest_open(struct nest *nest, const struct options *options, struct es_err *err);
/* DIR/name; `name` is one of the fixed names above, so it always fits. */
const char *nest_path(const struct nest *nest, const char *name, char dst[256]);

/* record.c: who runs, and DIR/nest.json */
int record_take_lock(const struct nest *nest, struct es_err *err); /* for life */
pid_t record_supervisor(const struct nest *nest);                  /* 0: none */
int record_start_lock(const struct nest *nest,
                      struct es_err *err); /* gives a descriptor */
int record_write(const struct nest *nest, struct es_err *err);
int record_read(struct nest *nest); /* ES_ENOENT when there is none */

/* space.c */
/* In the forked child: leaves the caller's namespaces. In a user namespace the ids are
 * mapped by `space_map_ids`, called in the parent when `ask_fd` speaks. */
int space_leave(struct nest *nest, int ask_fd, int answer_fd, struct es_err *err);
int space_map_ids(pid_t child, struct es_err *err);
int space_check(const struct nest *nest, struct es_err *err);
int space_enter(const struct nest *nest, pid_t pid, struct es_err *err);
/* Calls `each` for every process in the recorded network namespace but this one. */
int space_each(const struct nest *nest, void (*each)(pid_t pid, void *ctx), void *ctx);
pid_t space_survivor(const struct nest *nest); /* 0: none */
/* Ends every process of the namespace: SIGTERM, then SIGKILL. */
int space_kill_all(const struct nest *nest);

/* names.c: before each start of libvirtd; safe to repeat */
int names_add(const struct nest *nest, struct es_err *err);

/* mounts.c */
int mounts_build(struct nest *nest, struct es_err *err);

/* kvm.c */
void kvm_decide(struct nest *nest);

/* daemon.c */
int daemon_configure(const struct nest *nest, struct es_err *err);
int daemon_spawn(struct nest *nest, struct es_err *err);
/* Whether libvirtd answers a call on its socket within `wait_ms` once connected. */
bool daemon_answers(const struct nest *nest, int wait_ms);

/* supervisor.c */
/* Never returns. `report_fd` takes one line when the first start fails. */
_Noreturn void supervise(struct nest *nest, int report_fd);

#endif
