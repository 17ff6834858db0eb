/* personalise: network interfaces, found by their MAC, and the default route. By ioctl, so
 * that no tool is needed in the guest. IPv4.
 *
 * An interface plugged into a fork a moment ago shows up a little later: it is waited for,
 * woken by the kernel's word that a link changed. Where the kernel's own names are used
 * (no udev, or net.ifnames=0) an interface gets the name it is to have, so that names do
 * not depend on which interface came first; elsewhere udev is left to name it. An address
 * the guest has already, on whatever interface, stays there. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../probe/probe.h"
#include "enshu/common/str.h"
#include "interface.h"
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

/* ------------------------------------------------------------------ waiting */

static int wait_for_nic(const struct net *net, struct nic *nic, int64_t until_ms,
                        struct es_err *err)
{
    while (!es_interface_find(nic->mac, nic->found)) {
        if (es_probe_now_ms() >= until_ms)
            return es_err_set(err, ES_ENOENT, "no network interface has the MAC %s",
                              nic->mac);
        es_interfaces_wait(net->links, LOOK_MS);
    }
    int64_t named_ms = es_probe_now_ms() + UDEV_MS;
    while (!net->kernel_names && !es_interface_in_udev(nic->found) &&
           es_probe_now_ms() < named_ms) {
        es_interfaces_wait(net->links, LOOK_MS);
        es_interface_find(nic->mac, nic->found);
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
        net->nics[i].placed = es_interface_holds(net->nics[i].addr);
        if (!net->nics[i].placed)
            rc = wait_for_nic(net, &net->nics[i], until_ms, err);
    }
    return rc;
}

/* ------------------------------------------------------------------ naming */

static bool rename_nic(int fd, struct nic *nic, const char *name)
{
    if (!es_interface_rename(fd, nic->found, name))
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
            es_interface_find(net->nics[i].mac, net->nics[i].found);
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
    if (!es_interface_set_up(fd, name, true))
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
    es_interface_find(nic->mac, nic->found);
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
    net->kernel_names = es_interfaces_kernel_named();
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
    net.links = es_interfaces_watch();
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
