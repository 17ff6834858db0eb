/* The keys of every kind of probe: where to look (goes to the agent), what must be there,
 * what else is expected (compared in the core; never enters a guest). */
#include <string.h>

#include "room.h"

/* clang-format off */
#define LOOK(n, t, ...) {.name = (n), .role = P_LOOK, .type = (t), .doc = __VA_ARGS__}
#define NEED(n, t, ...) {.name = (n), .role = P_LOOK, .type = (t), .required = true, .doc = __VA_ARGS__}
#define THERE(n, text)  {.name = (n), .role = P_PRESENCE, .type = PT_BOOL, .doc = (text)}
#define WANT(n, t, c, f, ...) {.name = (n), .role = P_EXPECT, .type = (t), .compare = ES_CMP_##c, .field = (f), .doc = __VA_ARGS__}
#define WORDS(...) .words = (const char *const[]){__VA_ARGS__, NULL}
#define TEXTS(prefix, f, what)                                                                       \
    WANT(prefix "contains", PT_STRINGS, CONTAINS, f, what " holds this text; a list: all of them"),  \
    WANT("not-" prefix "contains", PT_STRINGS, CONTAINS, f, what " does not hold it; a list: none", .negate = true), \
    WANT(prefix "regex", PT_REGEXES, REGEX, f, what " matches this POSIX extended regular expression"), \
    WANT("not-" prefix "regex", PT_REGEXES, REGEX, f, what " does not match it", .negate = true)
#define END {.name = NULL}
#define PATH NEED("path", PT_PATH, "absolute path in the guest")

static const struct probe_key file_keys[] = {
    PATH, LOOK("follow", PT_BOOL, "follow a symbolic link at the end of the path; default true"),
    THERE("exists", "it is there; default true"),
    WANT("type", PT_WORD, EQUALS, "type", "what it is", WORDS("file", "directory", "symlink", "socket", "fifo", "device")),
    WANT("mode", PT_MODE, EQUALS, "mode", "permissions, quoted: \"0640\""),
    WANT("owner", PT_STRING, EQUALS, "owner", "name of its owner"),
    WANT("not-owner", PT_STRING, EQUALS, "owner", "not this owner", .negate = true),
    WANT("group", PT_STRING, EQUALS, "group", "name of its group"),
    WANT("size", PT_RANGE, RANGE, "size", "bytes: a number or {min, max}", .max = INT64_MAX),
    WANT("sha256", PT_SHA256, SHA256, "sha256", "hash of its content"),
    WANT("not-sha256", PT_SHA256, SHA256, "sha256", "not this content", .negate = true),
    WANT("target", PT_STRING, EQUALS, "target", "where a symbolic link leads; with follow: false"),
    TEXTS("", "content_b64", "its text (first 48 KiB)"),
    END};
static const struct probe_key directory_keys[] = {
    PATH, LOOK("depth", PT_INT, "how deep names are listed, 1 to 8; default 1", .min = 1, .max = 8),
    THERE("exists", "it is there; default true"),
    WANT("contains", PT_STRINGS, CONTAINS, "entries", "a name in it, relative; a list: all of them"),
    WANT("not-contains", PT_STRINGS, CONTAINS, "entries", "no such name in it", .negate = true),
    WANT("count", PT_RANGE, RANGE, "count", "how many names: a number or {min, max}", .max = 1000000),
    END};
static const struct probe_key log_keys[] = {
    PATH, NEED("match", PT_REGEX, "POSIX extended regular expression a line must match"),
    LOOK("last", PT_INT, "bytes from the end that are searched, at most 16 MiB; default 1 MiB", .min = 1, .max = 16777216),
    LOOK("max", PT_INT, "matching lines that are kept as evidence; default 20", .min = 1, .max = 500),
    THERE("exists", "the file is there; default true"),
    WANT("count", PT_RANGE, RANGE, "count", "lines that match: a number or {min, max}; default at least 1", .max = INT64_MAX),
    END};
static const struct probe_key user_keys[] = {
    NEED("name", PT_STRING, "login name"), THERE("exists", "it is there; default true"),
    WANT("uid", PT_RANGE, RANGE, "uid", "a number or {min, max}", .max = 4294967295),
    WANT("gid", PT_RANGE, RANGE, "gid", "a number or {min, max}", .max = 4294967295),
    WANT("home", PT_STRING, EQUALS, "home", "home directory"),
    WANT("shell", PT_STRING, EQUALS, "shell", "login shell"),
    WANT("not-shell", PT_STRING, EQUALS, "shell", "not this login shell", .negate = true),
    WANT("locked", PT_BOOL, EQUALS, "locked", "no password fits"),
    WANT("groups", PT_STRINGS, CONTAINS, "groups", "member of this group; a list: of all"),
    WANT("not-groups", PT_STRINGS, CONTAINS, "groups", "member of none of these", .negate = true),
    END};
static const struct probe_key group_keys[] = {
    NEED("name", PT_STRING, "name of the group"), THERE("exists", "it is there; default true"),
    WANT("gid", PT_RANGE, RANGE, "gid", "a number or {min, max}", .max = 4294967295),
    WANT("members", PT_STRINGS, CONTAINS, "members", "this user is in it; a list: all of them"),
    WANT("not-members", PT_STRINGS, CONTAINS, "members", "none of these users is in it", .negate = true),
    END};
static const struct probe_key password_keys[] = {
    NEED("user", PT_STRING, "login name"), THERE("exists", "the account is there; default true"),
    WANT("changed", PT_BOOL, CHANGED, "hash", "its password is another than after personalise"),
    WANT("locked", PT_BOOL, EQUALS, "locked", "no password fits"),
    END};
static const struct probe_key package_keys[] = {
    NEED("name", PT_STRING, "name of the package"), THERE("installed", "it is installed; default true"),
    WANT("version", PT_STRING, EQUALS, "version", "exactly this version, quoted"),
    WANT("version-at-least", PT_STRING, VERSION, "version", "this version or a later one, quoted"),
    END};
static const struct probe_key process_keys[] = {
    LOOK("name", PT_STRING, "name of the program"),
    LOOK("match", PT_REGEX, "POSIX extended regular expression over the command line"),
    THERE("running", "there is one; default true"),
    WANT("count", PT_RANGE, RANGE, "count", "how many: a number or {min, max}", .max = 1000000),
    END};
static const struct probe_key service_keys[] = {
    NEED("name", PT_STRING, "service of systemd or sysv"), THERE("active", "it runs; default true"),
    WANT("enabled", PT_BOOL, EQUALS, "enabled", "it is started at boot"),
    WANT("state", PT_STRING, EQUALS, "state", "state as systemd names it"),
    END};
static const struct probe_key port_keys[] = {
    NEED("port", PT_PORT, "port number"), LOOK("proto", PT_WORD, "default tcp", WORDS("tcp", "udp")),
    LOOK("address", PT_HOST, "only sockets bound to it, or to every address"),
    THERE("listening", "something listens; default true"),
    WANT("process", PT_STRING, EQUALS, "process", "name of the process that has it open"),
    WANT("not-process", PT_STRING, EQUALS, "process", "not this process", .negate = true),
    END};
static const struct probe_key kernel_keys[] = {
    LOOK("sysctl", PT_STRING, "a setting such as net.ipv4.ip_forward"),
    LOOK("module", PT_STRING, "a kernel module"),
    WANT("value", PT_STRING, EQUALS, "value", "value of the sysctl, quoted"),
    WANT("loaded", PT_BOOL, EQUALS, "loaded", "the module is loaded; default true with module"),
    WANT("release", PT_STRING, EQUALS, "release", "exactly this kernel release"),
    WANT("release-at-least", PT_STRING, VERSION, "release", "this kernel release or a later one"),
    END};
static const struct probe_key firewall_keys[] = {
    THERE("available", "nft or iptables is there; default true"),
    TEXTS("", "rules_b64", "the list of rules"),
    END};
static const struct probe_key mount_keys[] = {
    NEED("path", PT_PATH, "mount point"), THERE("mounted", "something is mounted there; default true"),
    WANT("source", PT_STRING, EQUALS, "source", "what is mounted"),
    WANT("fstype", PT_STRING, EQUALS, "fstype", "type of its file system"),
    WANT("options", PT_STRINGS, CONTAINS, "options", "this option is set; a list: all"),
    WANT("not-options", PT_STRINGS, CONTAINS, "options", "none of these options is set", .negate = true),
    END};
static const struct probe_key schedule_keys[] = {
    LOOK("user", PT_STRING, "only jobs that run as this user"),
    THERE("available", "there is cron or systemd; default true"),
    TEXTS("", "entries", "a line of a crontab or timer"),
    END};
static const struct probe_key command_keys[] = {
    NEED("run", PT_ARGV, "a shell line, or a list of words run without a shell", .shell = true),
    LOOK("user", PT_STRING, "run as this user; default root"),
    LOOK("env", PT_MAP, "environment variables"),
    WANT("exit", PT_INTS, EQUALS, "exit", "exit code: a number, a list or {min, max}; default 0", .max = 255),
    TEXTS("", "stdout_b64", "its output"),
    TEXTS("stderr-", "stderr_b64", "its error output"),
    END};
static const struct probe_key icmp_keys[] = {
    NEED("to", PT_HOST, "address"), LOOK("count", PT_INT, "echo requests; default 1", .min = 1, .max = 20),
    THERE("reachable", "an answer comes; default true"),
    WANT("received", PT_RANGE, RANGE, "received", "answers: a number or {min, max}", .max = 20),
    END};
static const struct probe_key tcp_keys[] = {
    NEED("to", PT_HOSTPORT, "\"address:port\""), LOOK("send", PT_STRING, "text sent first"),
    LOOK("read", PT_INT, "bytes of the answer wanted; default 0, or 4096 when something is expected of it", .min = 0, .max = 16384),
    THERE("open", "the port accepts; default true"),
    TEXTS("", "banner_b64", "the answer"),
    END};
static const struct probe_key udp_keys[] = {
    NEED("to", PT_HOSTPORT, "\"address:port\""), NEED("send", PT_STRING, "text sent"),
    LOOK("read", PT_INT, "bytes of the answer kept; default 2048", .min = 1, .max = 16384),
    THERE("answered", "an answer comes; default true"),
    TEXTS("", "data_b64", "the answer"),
    END};
static const struct probe_key dns_keys[] = {
    NEED("server", PT_HOST, "address of the name server"), NEED("name", PT_STRING, "name asked for"),
    LOOK("type", PT_WORD, "default A", WORDS("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT", "ANY")),
    THERE("answered", "a reply comes, whatever it says; default true"),
    WANT("rcode", PT_WORD, EQUALS, "rcode", "code of the reply", WORDS("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "FORMERR", "NOTIMP")),
    WANT("answers", PT_STRINGS, CONTAINS, "answers", "this record is among them; a list: all of them"),
    WANT("not-answers", PT_STRINGS, CONTAINS, "answers", "none of these is", .negate = true),
    END};
static const struct probe_key http_keys[] = {
    NEED("url", PT_STRING, "http:// or https://"), LOOK("method", PT_WORD, "default GET", WORDS("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
    LOOK("headers", PT_MAP, "headers sent"), LOOK("body", PT_STRING, "body sent"),
    LOOK("insecure", PT_BOOL, "certificates are not verified; default true"),
    LOOK("follow", PT_BOOL, "redirects are followed; default false"),
    LOOK("resolve", PT_STRING, "\"host:port:address\": the address to use for a name"),
    THERE("reachable", "an answer comes; default true"),
    WANT("status", PT_INTS, EQUALS, "status", "status: a number, a list or {min, max}", .min = 100, .max = 599),
    TEXTS("", "body_b64", "the body"),
    TEXTS("header-", "headers_b64", "the header"),
    END};
static const struct probe_key ssh_keys[] = {
    NEED("host", PT_HOST, "address"), LOOK("port", PT_PORT, "default 22"), NEED("user", PT_STRING, "login name"),
    LOOK("password", PT_STRING, "password; often ${account.NODE.USER}"), LOOK("key", PT_STRING, "text of a private key"),
    LOOK("run", PT_STRING, "shell line run there; holds no ${…} of enshu", .plain = true),
    THERE("connected", "the server speaks SSH; default true"),
    WANT("authenticated", PT_BOOL, EQUALS, "authenticated", "the login works; default true"),
    WANT("exit", PT_INTS, EQUALS, "exit", "exit code of the command", .max = 255),
    WANT("host-key", PT_STRING, EQUALS, "host_key", "the server's key, \"ssh-ed25519 AAAA…\""),
    TEXTS("", "stdout_b64", "the command's output"),
    END};

static const char *const rules[ES_PROBE_COUNT] = {
    [ES_PROBE_process] = "At least one of `name` and `match`.",
    [ES_PROBE_command] = "With `node` it runs inside, with `from` it looks over the network. `${…}` in the shell line become environment variables.",
    [ES_PROBE_ssh] = "`password` or `key`.",
    [ES_PROBE_kernel] = "At least one key.",
};
#define PLACE_IN true
#define PLACE_OUT false
const struct probe_table probe_tables[ES_PROBE_COUNT] = {
#define X(kind, place, text) [ES_PROBE_##kind] = {#kind, text, PLACE_##place, kind##_keys},
    ES_PROBE_MAP(X)
#undef X
};
/* clang-format on */

const char *probe_rule(enum es_probe_kind kind)
{
    return rules[kind];
}

const char *es_probe_kind_name(enum es_probe_kind kind)
{
    ES_ASSERT((unsigned)kind < ES_PROBE_COUNT);
    return probe_tables[kind].name;
}

int probe_kind_find(const char *name)
{
    for (int i = 0; i < ES_PROBE_COUNT; i++)
        if (strcmp(probe_tables[i].name, name) == 0)
            return i;
    return -1;
}

bool probe_has_path(enum es_probe_kind kind)
{
    return kind == ES_PROBE_file || kind == ES_PROBE_directory || kind == ES_PROBE_log;
}
