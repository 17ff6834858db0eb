/* Network interfaces of the guest, seen in /sys and told by the kernel. */
#include "interface.h"

#include <dirent.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "enshu/common/str.h"

static bool read_line(const char *dir, const char *name, char *dst, size_t size)
{
    char path[300];
    es_str_printf(path, sizeof path, "/sys/class/net/%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    bool got = file != NULL && fgets(dst, (int)size, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (got)
        dst[strcspn(dst, "\n")] = '\0';
    return got;
}

bool es_interface_find(const char *mac, char name[IFNAMSIZ])
{
    char text[32], device[300];
    DIR *dir = opendir("/sys/class/net");
    struct dirent *entry;
    bool found = false, real = false;
    while (dir != NULL && !real && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' ||
            !read_line(entry->d_name, "address", text, sizeof text) ||
            strcasecmp(text, mac) != 0)
            continue;
        es_str_printf(device, sizeof device, "/sys/class/net/%s/device", entry->d_name);
        real = access(device, F_OK) == 0;
        if (real || !found)
            found = es_str_printf(name, IFNAMSIZ, "%s", entry->d_name) == 0;
    }
    if (dir != NULL)
        closedir(dir);
    return found;
}

bool es_interface_holds(uint32_t addr)
{
    struct ifaddrs *list = NULL;
    bool found = false;
    if (getifaddrs(&list) != 0)
        return false;
    for (const struct ifaddrs *at = list; at != NULL && !found; at = at->ifa_next) {
        struct sockaddr_in in;
        if (at->ifa_addr == NULL || at->ifa_addr->sa_family != AF_INET)
            continue;
        memcpy(&in, at->ifa_addr, sizeof in);
        found = ntohl(in.sin_addr.s_addr) == addr && (at->ifa_flags & IFF_UP) != 0;
    }
    freeifaddrs(list);
    return found;
}

bool es_interface_in_udev(const char *name)
{
    char index[16], path[64];
    if (!read_line(name, "ifindex", index, sizeof index))
        return false;
    es_str_printf(path, sizeof path, "/run/udev/data/n%s", index);
    return access(path, F_OK) == 0;
}

int es_interfaces_watch(void)
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void es_interfaces_wait(int fd, int timeout_ms)
{
    char drop[4096];
    struct pollfd polled = {fd, POLLIN, 0};
    poll(&polled, 1, timeout_ms);
    while (fd >= 0 && recv(fd, drop, sizeof drop, 0) > 0)
        continue;
}

bool es_interfaces_kernel_named(void)
{
    struct es_buf text;
    es_buf_init(&text, 65536);
    bool plain = access("/run/udev/control", F_OK) != 0 ||
                 (es_etc_read("", "/proc/cmdline", &text, NULL) == 0 &&
                  strstr(es_buf_str(&text), "net.ifnames=0") != NULL);
    es_buf_finish(&text);
    return plain;
}

bool es_interface_set_up(int fd, const char *name, bool up)
{
    struct ifreq req;
    memset(&req, 0, sizeof req);
    es_str_printf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &req) != 0)
        return false;
    req.ifr_flags =
        (short)(up ? req.ifr_flags | IFF_UP | IFF_RUNNING : req.ifr_flags & ~IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &req) == 0;
}

bool es_interface_rename(int fd, const char *from, const char *to)
{
    struct ifreq req;
    memset(&req, 0, sizeof req);
    es_str_printf(req.ifr_name, sizeof req.ifr_name, "%s", from);
    es_str_printf(req.ifr_newname, sizeof req.ifr_newname, "%s", to);
    return es_interface_set_up(fd, from, false) && ioctl(fd, SIOCSIFNAME, &req) == 0;
}
