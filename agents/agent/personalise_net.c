/* personalise: network interfaces, found by their MAC, and the default route. By ioctl, so
 * that no tool is needed in the guest. IPv4.
 *
 * An interface plugged into a fork a moment ago shows up a little later: it is waited for,
 * woken by the kernel's word that a link changed. Where the kernel's own names are used
 * (no udev, or net.ifnames=0) an interface gets the name it is to have, so that names do
 * not depend on which interface came first; elsewhere udev is left to name it. An address
 * the guest has already, on whatever interface, stays there. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "enshu/common/str.h"
#include "personalise.h"

#define APPEAR_MS 8000 /* a NIC plugged a moment ago shows up a little later */
#define UDEV_MS   2000 /* for udev to name it, before it goes on without */
#define LOOK_MS   100  /* at least so often, should no word of the kernel come */
#define NICS_MAX  32

struct nic {
    const char *mac, *name;
    uint32_t addr;
    int prefix;
    bool placed; /* the guest has the address already */
    char found[IFNAMSIZ];
};

struct net {
    const struct es_personalise *p;
    int fd;    /* for ioctls */
    int links; /* tells of links, or -1 */
    bool kernel_names;
    struct nic nics[NICS_MAX];
    size_t count;
};

static void set_address(struct sockaddr *dst, uint32_t addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(addr)};
    memcpy(dst, &in, sizeof in);
}

/* ------------------------------------------------------------------ finding */

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

/* A bridge or VLAN shares the MAC of what it stands on: what has a device is preferred. */
static bool find_by_mac(const char *mac, char name[IFNAMSIZ])
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

static bool has_address(uint32_t addr)
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

static bool udev_knows(const char *name)
{
    char index[16], path[64];
    if (!read_line(name, "ifindex", index, sizeof index))
        return false;
    es_str_printf(path, sizeof path, "/run/udev/data/n%s", index);
    return access(path, F_OK) == 0;
}

static int watch_links(void)
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&addr, sizeof addr) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void wait_for_change(const struct net *net)
{
    char drop[4096];
    struct pollfd polled = {net->links, POLLIN, 0};
    poll(&polled, 1, LOOK_MS);
    while (net->links >= 0 && recv(net->links, drop, sizeof drop, 0) > 0)
        continue;
}

static int wait_for_nic(const struct net *net, struct nic *nic, int64_t until_ms,
                        struct es_err *err)
{
    while (!find_by_mac(nic->mac, nic->found)) {
        if (es_probe_now_ms() >= until_ms)
            return es_err_set(err, ES_ENOENT, "no network interface has the MAC %s",
                              nic->mac);
        wait_for_change(net);
    }
    int64_t named_ms = es_probe_now_ms() + UDEV_MS;
    while (!net->kernel_names && !udev_knows(nic->found) &&
           es_probe_now_ms() < named_ms) {
        wait_for_change(net);
        find_by_mac(nic->mac, nic->found);
    }
    return 0;
}

static int wait_for_all(struct net *net, struct es_err *err)
{
    int64_t until_ms = es_probe_now_ms() + APPEAR_MS;
    int rc = 0;
    if (until_ms > net->p->deadline_ms - 500)
        until_ms = net->p->deadline_ms - 500;
    for (size_t i = 0; i < net->count && rc == 0; i++) {
        net->nics[i].placed = has_address(net->nics[i].addr);
        if (!net->nics[i].placed)
            rc = wait_for_nic(net, &net->nics[i], until_ms, err);
    }
    return rc;
}

/* ------------------------------------------------------------------ naming */

static bool names_are_the_kernels(void)
{
    struct es_buf text;
    es_buf_init(&text, 65536);
    bool plain = access("/run/udev/control", F_OK) != 0 ||
                 (es_etc_read("", "/proc/cmdline", &text, NULL) == 0 &&
                  strstr(es_buf_str(&text), "net.ifnames=0") != NULL);
    es_buf_finish(&text);
    return plain;
}

static bool set_up(int fd, const char *name, bool up)
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

/* Only what is down can be renamed. */
static bool rename_nic(int fd, struct nic *nic, const char *name)
{
    struct ifreq req;
    memset(&req, 0, sizeof req);
    es_str_printf(req.ifr_name, sizeof req.ifr_name, "%s", nic->found);
    es_str_printf(req.ifr_newname, sizeof req.ifr_newname, "%s", name);
    if (!set_up(fd, nic->found, false) || ioctl(fd, SIOCSIFNAME, &req) != 0)
        return false;
    es_str_printf(nic->found, sizeof nic->found, "%s", name);
    return true;
}

static bool is_misnamed(const struct nic *nic)
{
    return !nic->placed && nic->name != NULL && strcmp(nic->found, nic->name) != 0;
}

/* Out of each other's way first. A name that somebody else holds is not taken. */
static void name_all(struct net *net)
{
    char spare[IFNAMSIZ];
    bool moved[NICS_MAX] = {false};
    for (size_t i = 0; i < net->count; i++) {
        es_str_printf(spare, sizeof spare, "enshu%zu", i);
        moved[i] =
            is_misnamed(&net->nics[i]) && rename_nic(net->fd, &net->nics[i], spare);
    }
    for (size_t i = 0; i < net->count; i++)
        if (moved[i] && !rename_nic(net->fd, &net->nics[i], net->nics[i].name) &&
            rename_nic(net->fd, &net->nics[i], "eth%d"))
            find_by_mac(net->nics[i].mac, net->nics[i].found);
}

/* ------------------------------------------------------------------ addresses */

static int bring_up(int fd, const char *name, uint32_t addr, int prefix,
                    struct es_err *err)
{
    struct ifreq req;
    memset(&req, 0, sizeof req);
    es_str_printf(req.ifr_name, sizeof req.ifr_name, "%s", name);
    set_address(&req.ifr_addr, addr);
    if (ioctl(fd, SIOCSIFADDR, &req) != 0)
        return es_probe_errno(err, name, "the address cannot be set", errno);
    set_address(&req.ifr_netmask, ES_IP4_MASK(prefix));
    if (ioctl(fd, SIOCSIFNETMASK, &req) != 0)
        return es_probe_errno(err, name, "the netmask cannot be set", errno);
    if (!set_up(fd, name, true))
        return es_probe_errno(err, name, "cannot be brought up", errno);
    return 0;
}

/* Once more for one that was given another name meanwhile. */
static int configure(const struct net *net, struct nic *nic, struct es_err *err)
{
    if (nic->placed)
        return 0;
    if (bring_up(net->fd, nic->found, nic->addr, nic->prefix, NULL) == 0)
        return 0;
    find_by_mac(nic->mac, nic->found);
    return bring_up(net->fd, nic->found, nic->addr, nic->prefix, err);
}

static int read_nic(const json_t *object, struct nic *nic, struct es_err *err)
{
    struct es_probe probe = {.args = object};
    const char *address;
    int64_t prefix;
    int rc = es_probe_arg_text(&probe, "mac", true, &nic->mac, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "address", true, &address, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "name", false, &nic->name, err);
    rc = rc != 0 ? rc : es_probe_arg_int(&probe, "prefix", 24, 1, 32, &prefix, err);
    if (rc != 0)
        return rc;
    nic->prefix = (int)prefix;
    if (nic->name != NULL &&
        (strlen(nic->name) >= IFNAMSIZ || strpbrk(nic->name, "/% \t\n") != NULL ||
         *nic->name == '\0'))
        return es_err_set(err, ES_EINVAL, "%s: not an interface's name", nic->name);
    if (es_ip4_parse(address, &nic->addr) != 0)
        return es_err_set(err, ES_EINVAL, "%s: not an IPv4 address", address);
    return 0;
}

static int apply(struct net *net, struct es_err *err)
{
    net->kernel_names = names_are_the_kernels();
    bring_up(net->fd, "lo", INADDR_LOOPBACK, 8, NULL);
    int rc = wait_for_all(net, err);
    if (rc == 0 && net->kernel_names)
        name_all(net);
    for (size_t i = 0; i < net->count && rc == 0; i++)
        rc = configure(net, &net->nics[i], err);
    return rc;
}

int es_personalise_nics(const struct es_personalise *p, struct es_err *err)
{
    struct net net = {.p = p, .fd = -1, .links = -1};
    size_t i;
    const json_t *nic;
    json_array_foreach (json_object_get(p->args, "nics"), i, nic) {
        if (i == NICS_MAX)
            return es_err_set(err, ES_ELIMIT, "more than %d interfaces", NICS_MAX);
        int rc = read_nic(nic, &net.nics[net.count++], err);
        if (rc != 0)
            return rc;
    }
    if (*p->root != '\0')
        return 0;
    net.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (net.fd < 0)
        return es_probe_errno(err, "network", "no socket", errno);
    net.links = watch_links();
    int rc = apply(&net, err);
    if (net.links >= 0)
        close(net.links);
    close(net.fd);
    return rc;
}

/* ------------------------------------------------------------------ default route */

static void route_to_all(struct rtentry *route, uint32_t gateway)
{
    memset(route, 0, sizeof *route);
    set_address(&route->rt_dst, 0);
    set_address(&route->rt_genmask, 0);
    set_address(&route->rt_gateway, gateway);
    route->rt_flags = RTF_UP;
    if (gateway != 0)
        route->rt_flags |= RTF_GATEWAY;
}

int es_personalise_gateway(const struct es_personalise *p, struct es_err *err)
{
    struct rtentry route;
    uint32_t addr;
    const char *gateway = json_string_value(json_object_get(p->args, "gateway"));
    int rc = 0;
    if (gateway == NULL || es_ip4_parse(gateway, &addr) != 0)
        return es_err_set(err, ES_EINVAL, "not an IPv4 address");
    if (*p->root != '\0')
        return 0;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return es_probe_errno(err, "network", "no socket", errno);
    route_to_all(&route, 0);
    route.rt_flags = 0; /* whichever default routes there are */
    for (int i = 0; i < 16 && ioctl(fd, SIOCDELRT, &route) == 0; i++)
        continue;
    route_to_all(&route, addr);
    if (ioctl(fd, SIOCADDRT, &route) != 0 && errno != EEXIST)
        rc = es_probe_errno(err, gateway, "the route through it cannot be set", errno);
    close(fd);
    return rc;
}
