/* Every kind of probe: X(kind, place, does).
 *
 * place IN: looks inside the guest it runs on (`node:`); OUT: looks out of one over the
 * network (`from:`). The keys of a kind stand in es_probe_keys()
 * (orchestrator/scenario/probe_keys.c): some say where to look and go to the agent, the
 * others say what is expected, are compared in the core and never enter a guest. The
 * agent's side is agents/probe/<kind>.c: it returns raw evidence. */
/* clang-format off */
#define ES_PROBE_MAP(X)                                                                              \
    X(file,      IN,  "a file or directory: existence, type, permissions, owner, size, hash, text inside") \
    X(directory, IN,  "names in a directory, recursive to a depth, capped")                          \
    X(log,       IN,  "lines of a text or log file that match")                                      \
    X(user,      IN,  "an account: existence, uid, shell, lock, groups")                             \
    X(group,     IN,  "a group and its members")                                                     \
    X(password,  IN,  "whether an account's password was changed since the mould or is a known one") \
    X(package,   IN,  "a package (dpkg, rpm, apk) and its version")                                  \
    X(process,   IN,  "running processes by name or command line")                                   \
    X(service,   IN,  "a service of systemd or sysv: active, enabled")                               \
    X(port,      IN,  "listening ports")                                                             \
    X(kernel,    IN,  "kernel release, a sysctl, a loaded module")                                   \
    X(firewall,  IN,  "firewall rules as nft or iptables lists them")                                \
    X(mount,     IN,  "mounted file systems and their options")                                      \
    X(schedule,  IN,  "scheduled jobs: crontabs, cron.d, systemd timers")                            \
    X(command,   IN,  "a command's exit code and output; with from: it looks over the network")      \
    X(icmp,      OUT, "answers to echo requests")                                                    \
    X(tcp,       OUT, "whether a TCP port accepts, and what it says first")                          \
    X(udp,       OUT, "an answer to a datagram")                                                     \
    X(dns,       OUT, "what a name server answers")                                                  \
    X(http,      OUT, "an HTTP or HTTPS answer: status, headers, body")                              \
    X(ssh,       OUT, "a login over SSH, a command there, a host key")
/* clang-format on */
