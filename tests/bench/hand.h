/* The machines that run in the lab, by hand: the command lines that libvirt gave its QEMUs,
 * run without libvirt and without enshu. What cannot be handed on is replaced: descriptors
 * of monitor, logs and taps, libvirt's secret, and for a boot the pause before the start.
 *
 * Disks, sockets and taps are made, and all text is read, before the clock starts. Then all
 * QEMUs are started at once; a machine's clock stops when its agent has answered the
 * synchronisation that the core uses. A fork is driven on a thread of its own: the same
 * capability, descriptor, device state and resume as in enshu, on the monitor itself. */
#ifndef TESTS_BENCH_HAND_H
#define TESTS_BENCH_HAND_H

#include <stdbool.h>
#include <stddef.h>

/* Takes the command lines of the machines that run now; there must be `count`. */
void hand_take(size_t count, bool forks);
void hand_forget(void);
void hand_kill(void); /* at the end of the program */

/* In ms; of forks the three steps alone, medians. */
struct hand_run {
    double last, median; /* until the agent's answer */
    double start, load, resume, hello;
    double cpu_s; /* of the QEMUs until then */
};
void hand_run(struct hand_run *ret_run);

#endif
