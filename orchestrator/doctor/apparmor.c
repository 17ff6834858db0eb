/* AppArmor: whether it confines libvirtd, and whether its machines may open the memory files
 * of moulds, which libvirt itself does not know of (mode fork). */
#include <string.h>

#include "doctor_inner.h"
#include "enshu/common/str.h"

#define PROFILE "/etc/apparmor.d/usr.sbin.libvirtd"
/* What Debian's abstraction of libvirt's machines takes in, and what `make install` puts
 * there. */
#define LOCAL "/etc/apparmor.d/local/abstractions/libvirt-qemu"
#define RULES "/etc/apparmor.d/local/enshu-qemu"

static char text[65536]; /* a list of profiles is long */

/* Only root sees the list of profiles; the file of libvirtd's tells the rest. */
static bool confines_libvirt(const struct es_doctor_host *host, bool *ret_seen)
{
    look_read(host, "/sys/kernel/security/apparmor/profiles", text, sizeof text);
    *ret_seen = text[0] != '\0';
    if (*ret_seen)
        return strstr(text, "libvirtd (enforce)") != NULL;
    return look_there(host, PROFILE) &&
           !look_there(host, "/etc/apparmor.d/disable/usr.sbin.libvirtd");
}

/* Whether one line allows reading, writing and locking below STATE/moulds. */
static bool allows(const char *line, size_t len, const char *state)
{
    static const char home[] = "@{HOME}";
    char folder[1100];
    line += strspn(line, " \t");
    size_t path_len = strcspn(line, " \t\n");
    const char *rights = line + path_len + strspn(line + path_len, " \t");
    if (path_len > len || strncmp(rights, "rwk,", 4) != 0 ||
        es_str_printf(folder, sizeof folder, "%s/moulds/**", state) != 0)
        return false;
    const char *want = folder;
    if (strncmp(line, home, strlen(home)) == 0) {
        /* A home is /root or one folder below /home. */
        if (es_str_starts(want, "/root/"))
            want += strlen("/root");
        else if (es_str_starts(want, "/home/"))
            want += strlen("/home/") + strcspn(want + strlen("/home/"), "/");
        line += strlen(home);
        path_len -= strlen(home);
    }
    return strlen(want) == path_len && strncmp(line, want, path_len) == 0;
}

static bool has_rule(const struct es_doctor_host *host, const char *file)
{
    look_read(host, file, text, sizeof text);
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (allows(line, len, host->state_dir))
            return true;
        line += len + (line[len] == '\n' ? 1 : 0);
    }
    return false;
}

static bool takes_in_rules(const struct es_doctor_host *host)
{
    look_read(host, LOCAL, text, sizeof text);
    const char *at = strstr(text, "<local/enshu-qemu>");
    while (at != NULL && at > text && at[-1] != '\n')
        at--;
    return at != NULL && strstr(at, "include") != NULL;
}

static void system_libvirt(const struct es_doctor_host *host,
                           struct es_doctor_finding *finding)
{
    char remedy[sizeof finding->remedy];
    if (has_rule(host, LOCAL) || (takes_in_rules(host) && has_rule(host, RULES))) {
        found(finding, ES_DOCTOR_OK, NULL,
              "in force; machines may open the memory of moulds");
        return;
    }
    es_str_printf(remedy, sizeof remedy,
                  "as root: add the line \"%.200s/moulds/** rwk,\" to " LOCAL
                  " (make install does so for the usual state folders)",
                  host->state_dir);
    found(
        finding, ES_DOCTOR_WARN, remedy,
        "in force, and machines may not open the memory of moulds: forking them would be "
        "denied");
}

void check_apparmor(const struct es_doctor_host *host, struct es_doctor_finding *finding)
{
    char enabled[16];
    bool seen;
    look_read(host, "/sys/module/apparmor/parameters/enabled", enabled, sizeof enabled);
    if (enabled[0] != 'Y') {
        found(finding, ES_DOCTOR_OK, NULL, "not in force");
        return;
    }
    bool confines = confines_libvirt(host, &seen);
    if (confines && host->uri != NULL && es_str_starts(host->uri, "qemu:///"))
        system_libvirt(host, finding);
    else if (confines && seen && host->uri == NULL)
        found(finding, ES_DOCTOR_WARN,
              "if machines do not start, as root: aa-complain /usr/sbin/libvirtd",
              "in force, and its profile of libvirtd is enforced: the embedded libvirtd "
              "may be denied its folders");
    else
        found(finding, ES_DOCTOR_OK, NULL, "in force%s",
              !seen      ? " (only root sees its profiles)"
              : confines ? ""
                         : ", libvirtd not confined");
}
