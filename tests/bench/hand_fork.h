/* One fork by hand: QEMU's monitor without libvirt. */
#ifndef TESTS_BENCH_HAND_FORK_H
#define TESTS_BENCH_HAND_FORK_H

#include <stddef.h>

struct hand_fork {
    char ram[1024];    /* the mould's; beside it lie state and overlay */
    char monitor[108]; /* socket */
    int monitor_fd;    /* listening there, for QEMU to take over; -1: none */
    int tap;           /* -1: none */
    double began;
    /* Since then, ms: the monitor answers; the state is loaded; the guest runs. */
    double started, loaded, resumed;
    char why[200]; /* "": all went well */
};

void hand_fork_listen(struct hand_fork *fork, size_t n);
/* A tap as libvirt makes them, in a network namespace of its own that ends with it. */
int hand_fork_tap(void);
/* From the start of its QEMU until the guest runs. Blocks; any thread. */
void hand_fork_drive(struct hand_fork *fork);

#endif
