/* Network interfaces of the guest, for personalise. `fd` is any socket. */
#ifndef ENSHU_AGENT_INTERFACE_H
#define ENSHU_AGENT_INTERFACE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* A bridge or VLAN shares the MAC of what it stands on: what has a device is preferred. */
bool es_interface_find(const char *mac, char ret_name[IFNAMSIZ]);
/* Whether any interface that is up has the address. */
bool es_interface_holds(uint32_t addr);
bool es_interface_set_up(int fd, const char *name, bool up);
/* Takes it down: only so it can be renamed. `to` may be a pattern like "eth%d". */
bool es_interface_rename(int fd, const char *from, const char *to);

/* A socket that tells of changes; -1: none. */
int es_interfaces_watch(void);
/* Until something changed or the time is over. */
void es_interfaces_wait(int fd, int timeout_ms);
/* Whether names are as the kernel gave them, and not udev's. */
bool es_interfaces_kernel_named(void);
/* Whether udev has done with it. */
bool es_interface_in_udev(const char *name);

#endif
