/* personalise: addresses of network interfaces, found by their MAC, and the default route.
 * By ioctl, so that no tool is needed in the guest. IPv4. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../probe/probe.h"
#include "enshu/common/str.h"
#include "personalise.h"

#define APPEAR_MS 5000 /* a NIC plugged a moment ago shows up a little later */

static void set_address(struct sockaddr *dst, uint32_t addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(addr)};
    memcpy(dst, &in, sizeof in);
}

static bool has_mac(const char *name, const char *mac)
{
    char path[300], text[32] = "";
    es_str_printf(path, sizeof path, "/sys/class/net/%s/address", name);
    FILE *file = fopen(path, "re");
    bool right = file != NULL && fgets(text, sizeof text, file) != NULL;
    if (file != NULL)
        fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return right && strcasecmp(text, mac) == 0;
}

static bool find_by_mac(const char *mac, char name[IFNAMSIZ])
{
    DIR *dir = opendir("/sys/class/net");
    struct dirent *entry;
    bool found = false;
    while (dir != NULL && !found && (entry = readdir(dir)) != NULL)
        found = entry->d_name[0] != '.' && has_mac(entry->d_name, mac) &&
                es_str_printf(name, IFNAMSIZ, "%s", entry->d_name) == 0;
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* A bridge or VLAN on a NIC shares its MAC: an address once given is looked for there too
 * by whoever set that up; here the first of that MAC gets it. */
static int wait_for_mac(const struct es_personalise *p, const char *mac,
                        char name[IFNAMSIZ], struct es_err *err)
{
    int64_t until_ms = es_probe_now_ms() + APPEAR_MS;
    if (until_ms > p->deadline_ms - 500)
        until_ms = p->deadline_ms - 500;
    while (!find_by_mac(mac, name)) {
        if (es_probe_now_ms() >= until_ms)
            return es_err_set(err, ES_ENOENT, "no network interface has the MAC %s", mac);
        poll(NULL, 0, 50);
    }
    return 0;
}

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
    if (ioctl(fd, SIOCGIFFLAGS, &req) != 0)
        return es_probe_errno(err, name, "its flags cannot be read", errno);
    req.ifr_flags = (short)(req.ifr_flags | IFF_UP | IFF_RUNNING);
    if (ioctl(fd, SIOCSIFFLAGS, &req) != 0)
        return es_probe_errno(err, name, "cannot be brought up", errno);
    return 0;
}

static int set_nic(const struct es_personalise *p, int fd, const json_t *nic,
                   struct es_err *err)
{
    struct es_probe probe = {.args = nic};
    const char *mac, *address;
    int64_t prefix;
    uint32_t addr;
    char name[IFNAMSIZ];
    int rc = es_probe_arg_text(&probe, "mac", true, &mac, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "address", true, &address, err);
    rc = rc != 0 ? rc : es_probe_arg_int(&probe, "prefix", 24, 1, 32, &prefix, err);
    if (rc != 0)
        return rc;
    if (es_ip4_parse(address, &addr) != 0)
        return es_err_set(err, ES_EINVAL, "%s: not an IPv4 address", address);
    if (*p->root != '\0')
        return 0;
    rc = wait_for_mac(p, mac, name, err);
    return rc != 0 ? rc : bring_up(fd, name, addr, (int)prefix, err);
}

int es_personalise_nics(const struct es_personalise *p, struct es_err *err)
{
    int rc = 0;
    size_t i;
    const json_t *nic;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return es_probe_errno(err, "network", "no socket", errno);
    if (*p->root == '\0')
        bring_up(fd, "lo", INADDR_LOOPBACK, 8, NULL);
    json_array_foreach (json_object_get(p->args, "nics"), i, nic) {
        rc = set_nic(p, fd, nic, err);
        if (rc != 0)
            break;
    }
    close(fd);
    return rc;
}

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
