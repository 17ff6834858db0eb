/* Machines and networks on a hypervisor, asynchronously; libvirt behind it, the only room
 * that includes <libvirt/...>. Message-shaped: plain structs, names and ids; the same
 * interface can be served by another host.
 *
 * Blocking libvirt calls run on workers over at least ES_HYP_CONNECTIONS connections;
 * libvirt's events arrive on the uv loop. Every call answers once, on the loop, never from
 * inside the submitting call. A lost connection is re-opened with back-off; calls in
 * between fail with ES_ECONN. Applying is idempotent: what is there and equal is left.
 * Every object carries our metadata element
 *   <enshu:object xmlns:enshu="https://enshu.org/libvirt/1" range= team= node= kind= hash= instance=/>
 * and nothing without it is ever touched. [loop] */
#ifndef ENSHU_HYP_H
#define ENSHU_HYP_H

#include <uv.h>

#include "enshu/plan.h"

/* Of these calls the ends of machines, which mostly wait, are the longest. */
#define ES_HYP_CONNECTIONS 8
/* How long a machine may take to shut down when asked to, before it is destroyed. */
#define ES_HYP_STOP_MS 10000

struct es_hyp;

enum es_hyp_event {
    ES_HYP_STARTED,
    ES_HYP_STOPPED, /* shut down by the guest or by us */
    ES_HYP_CRASHED, /* QEMU ended by itself or was killed, guest panic */
    ES_HYP_REBOOTED,
    ES_HYP_SUSPENDED,
    ES_HYP_RESUMED,
    ES_HYP_SAVED,   /* and ended by it */
    ES_HYP_PRESSED, /* memory is short on the host: ask for its usage; machine is NULL */
    ES_HYP_CONNECTED, /* the connection is up (again): reconcile; machine is NULL */
    ES_HYP_LOST       /* the connection is down; machine is NULL */
};
const char *es_hyp_event_name(enum es_hyp_event event);

struct es_hyp_config {
    const char *uri;
    const char *accel; /* "kvm" or "tcg" */
    int connections;   /* 0: ES_HYP_CONNECTIONS */
    const char *root;  /* tests: a folder in the place of the host's root */
    void (*on_event)(void *ctx, const char *machine, enum es_hyp_event event,
                     const char *detail);
    void *ctx;
};

typedef void (*es_hyp_done)(void *ctx, int status, const struct es_err *err);

/* Connects; `on_open` tells the result; on failure the handle is closed by the caller. */
int es_hyp_open(uv_loop_t *loop, const struct es_hyp_config *config, es_hyp_done on_open,
                void *ctx, struct es_hyp **ret_hyp, struct es_err *err);
/* Waits for calls in flight, then frees and calls back. */
void es_hyp_close(struct es_hyp *hyp, void (*on_closed)(void *ctx), void *ctx);

struct es_hyp_info {
    struct es_plan_host
        host; /* memory free for guests now, disk left to 0, logical CPUs */
    char libvirt_version[24], qemu_version[24], hypervisor[24];
    bool kvm_advertised;
};
int es_hyp_info(struct es_hyp *hyp,
                void (*on_info)(void *ctx, int status, const struct es_hyp_info *info,
                                const struct es_err *err),
                void *ctx);

/* How much of the last ten seconds some, and all, of the host's tasks stood still for want
 * of something (pressure stall information), in hundredths of a per cent; -1: not told. */
struct es_hyp_pressure {
    int some, full;
};
struct es_hyp_used {
    char name[ES_PLAN_NAME_MAX];
    int64_t private_bytes; /* that are its alone, swapped out or not: what it wrote of a
                              mould's memory, or all of its own, and QEMU's */
};
struct es_hyp_usage {
    struct es_plan_host host; /* disk left to 0 */
    struct es_hyp_pressure memory, cpu, io;
    const struct es_hyp_used
        *machines; /* that run here; borrows until on_usage returns */
    size_t machine_count;
};
/* Read from the host's /proc, so of a local hypervisor only: else ES_ENOTSUP. */
int es_hyp_usage(struct es_hyp *hyp,
                 void (*on_usage)(void *ctx, int status, const struct es_hyp_usage *usage,
                                  const struct es_err *err),
                 void *ctx);

/* CPU shares: machines of one group share what one group gets, however many they are.
 * Needs a cgroup (version 2) with the cpu controller that was delegated to this process;
 * ES_ENOTSUP says what is missing. Groups that end up empty are removed. Repeated for the
 * same machines it changes nothing. */
struct es_hyp_share {
    char name[ES_PLAN_NAME_MAX];
    char group[ES_PLAN_NAME_MAX];
};
int es_hyp_share(struct es_hyp *hyp, const struct es_hyp_share *shares, size_t count,
                 es_hyp_done done, void *ctx);

/* A storage pool of the range: a folder for disks, made when it is missing. It must hold
 * nothing else: taking the range down removes every file in it (the folder stays). */
int es_hyp_pool_apply(struct es_hyp *hyp, const char *range, const char *path,
                      es_hyp_done done, void *ctx);
/* qcow2 overlay `name` in the range's pool on `backing` (absolute path of a qcow2), or an
 * empty disk when NULL. An existing one is kept unless `renew`. */
int es_hyp_volume_apply(struct es_hyp *hyp, const char *range, const char *name,
                        const char *backing, int64_t size_bytes, bool renew,
                        es_hyp_done done, void *ctx);
int es_hyp_volume_remove(struct es_hyp *hyp, const char *range, const char *name,
                         es_hyp_done done, void *ctx);

int es_hyp_network_apply(struct es_hyp *hyp, const char *range,
                         const struct es_plan_network *network, es_hyp_done done,
                         void *ctx);

/* Where a guest's memory is. */
enum es_hyp_memory {
    ES_HYP_MEMORY_OWN, /* nowhere else */
    ES_HYP_MEMORY_MOULD, /* in a file made at the start, which it writes: it can be frozen */
    ES_HYP_MEMORY_FORK /* in a mould's file, which it only reads: what it writes is its own */
};

/* All that a machine needs beyond its plan. Paths are absolute, on the hypervisor's host. */
struct es_hyp_machine {
    const struct es_plan *plan; /* borrows until done */
    const struct es_plan_machine *machine;
    const char *kernel, *initrd, *cmdline;
    const char *disk;       /* the overlay, or a disk of its own */
    bool disk_kept;         /* it outlives the range: what the guest flushes is on it */
    const char *seed;       /* ISO image with label CIDATA, read-only */
    const char *channel;    /* Unix socket QEMU listens on for org.enshu.agent.0 */
    const char *serial_log; /* NULL: none; keeps what the console printed */
    const char *accel;      /* "kvm", "tcg"; NULL: the configuration's */
    uint32_t instance;      /* of this machine in this exercise; into the metadata */
    bool graphics;          /* VNC on a Unix socket only, no TCP */
    enum es_hyp_memory memory;
    const char *ram; /* file of the guest's memory, unless it is its own */
};
int es_hyp_machine_start(struct es_hyp *hyp, const struct es_hyp_machine *spec,
                         es_hyp_done done, void *ctx);
/* Gracefully: asks the guest and waits up to ES_HYP_STOP_MS. A machine that is not there
 * is stopped already: 0. */
int es_hyp_machine_stop(struct es_hyp *hyp, const char *name, bool gracefully,
                        es_hyp_done done, void *ctx);
int es_hyp_machine_suspend(struct es_hyp *hyp, const char *name, es_hyp_done done,
                           void *ctx);
int es_hyp_machine_resume(struct es_hyp *hyp, const char *name, es_hyp_done done,
                          void *ctx);

/* Writes the device state of a suspended machine that runs as ES_HYP_MEMORY_MOULD to the
 * file `state`; its memory is in `ram` already. The machine stays suspended and can only be
 * stopped then; ram, state and disk together are what forks continue from. */
int es_hyp_machine_freeze(struct es_hyp *hyp, const char *name, const char *state,
                          es_hyp_done done, void *ctx);

/* A digest of the machine's devices, memory and processors; of nothing that differs from
 * team to team or range to range. A fork and its mould must have the same. */
int es_hyp_machine_skeleton(const struct es_hyp *hyp, const struct es_hyp_machine *spec,
                            char ret_hash[33], struct es_err *err);

struct es_hyp_fork {
    struct es_hyp_machine machine; /* memory: ES_HYP_MEMORY_FORK */
    const char *overlay; /* an empty overlay of the mould's disk: copied to `disk` */
    const char *state;
};
/* How long each step of a fork took. */
struct es_hyp_fork_times {
    int64_t clear_us;  /* ending what ran under its name */
    int64_t disk_us;   /* the overlay */
    int64_t start_us;  /* QEMU through libvirt, paused */
    int64_t load_us;   /* the device state */
    int64_t plug_us;   /* NICs of shared networks */
    int64_t resume_us; /* and the guest runs */
};
typedef void (*es_hyp_forked)(void *ctx, int status,
                              const struct es_hyp_fork_times *times,
                              const struct es_err *err);
/* Continues a frozen machine as another one. What runs under its name is ended first.
 * NICs on team networks are those of the mould; NICs on shared networks are plugged in
 * before the guest runs. */
int es_hyp_machine_fork(struct es_hyp *hyp, const struct es_hyp_fork *fork,
                        es_hyp_forked done, void *ctx);
/* Whether this hypervisor can fork: libvirt 8.2 on a local socket (descriptors are passed to
 * QEMU's monitor), QEMU 6.0 (memory objects as JSON). False with the reason in `why`. */
bool es_hyp_can_fork(const struct es_hyp *hyp, const struct es_hyp_info *info, char *why,
                     size_t size);

/* Writes a machine, memory and all, to the file `path` and ends it: what was suspended
 * continues from that moment. A machine that is not there but whose file is whole was saved
 * before: 0; that has neither: ES_ENOENT. The file may still be in the host's cache. */
int es_hyp_machine_save(struct es_hyp *hyp, const char *name, const char *path,
                        es_hyp_done done, void *ctx);
/* Continues a saved machine of the range, suspended. What runs under its name is ended
 * first. Its networks must be there. The file stays: once the machine has run, disk and
 * file no longer belong together. */
int es_hyp_machine_restore(struct es_hyp *hyp, const char *range, const char *name,
                           const char *path, es_hyp_done done, void *ctx);

enum es_hyp_kind { ES_HYP_MACHINE, ES_HYP_NETWORK, ES_HYP_POOL };
struct es_hyp_object {
    enum es_hyp_kind kind;
    char name[ES_PLAN_NAME_MAX], uuid[37], range[ES_NAME_MAX + 1];
    int team;
    char node[ES_NAME_MAX + 1]; /* network name for networks */
    uint32_t instance;
    bool running, paused, forked;
};
/* What is there of ours, of one range or (NULL) of all. Objects borrow until on_list returns. */
int es_hyp_list(struct es_hyp *hyp, const char *range,
                void (*on_list)(void *ctx, int status,
                                const struct es_hyp_object *objects, size_t count,
                                const struct es_err *err),
                void *ctx);
/* Removes every machine, network, volume and pool of the range; machines in parallel. */
int es_hyp_range_remove(struct es_hyp *hyp, const char *range, es_hyp_done done,
                        void *ctx);

/* The serial console as a byte stream. */
struct es_hyp_console;
struct es_hyp_console_events {
    void (*on_data)(void *ctx, const char *data, size_t len);
    void (*on_end)(void *ctx, const struct es_err *why); /* then the console is gone */
};
int es_hyp_console_open(struct es_hyp *hyp, const char *machine,
                        const struct es_hyp_console_events *events, void *ctx,
                        struct es_hyp_console **ret_console, struct es_err *err);
int es_hyp_console_send(struct es_hyp_console *console, const char *data,
                        size_t len);                       /* ES_EBUSY past 64 KiB */
void es_hyp_console_close(struct es_hyp_console *console); /* no callback after */

/* Tests: the n-th hypervisor call from the next on fails with ES_EHYP; 0 off. */
void es_hyp_fail_nth(long n);
bool es_hyp_failed(void); /* whether the planned failure has happened */

#endif
