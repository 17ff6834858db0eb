/* ssh: a login over SSH, a command there, the host's key; by the guest's ssh.
 *
 * Keys:     host, port (22), user; password; key: a private key's text; run: a shell text
 *           run there (without it: `exit 0`).
 * Evidence: connected (the server spoke SSH); authenticated; exit, stdout_b64 of the
 *           command when authenticated (a command that ends with 255 looks like a failed
 *           login); host_key "ssh-ed25519 AAAA…", when seen.
 *
 * The password reaches ssh through SSH_ASKPASS, which is this agent's own program
 * (es_ssh_askpass, called by main when the variable is set). Key and known hosts are
 * anonymous files in memory. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "askpass.h"
#include "enshu/common/str.h"
#include "probe.h"

bool es_ssh_askpass(void)
{
    const char *password = getenv(ES_ASKPASS_VARIABLE);
    if (password == NULL)
        return false;
    dprintf(1, "%s\n", password);
    return true;
}

/* The path by which a child of this process can open the memory file; NULL on failure. */
static const char *memory_file(struct es_probe *p, const char *name, const char *text,
                               int *ret_fd)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return NULL;
    size_t len = strlen(text);
    bool newline = len > 0 && text[len - 1] != '\n';
    if (fchmod(fd, 0600) != 0 || write(fd, text, len) != (ssize_t)len ||
        (newline && write(fd, "\n", 1) != 1)) {
        close(fd);
        return NULL;
    }
    *ret_fd = fd;
    return es_arena_printf(&p->arena, "/proc/%d/fd/%d", getpid(), fd);
}

/* The known-hosts file holds "HOST TYPE KEY". */
static void tell_host_key(struct es_probe *p, int fd)
{
    char text[4096];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    const char *space = strchr(text, ' ');
    if (space != NULL && space[1] != '\0')
        es_probe_set_text(p, "host_key", space + 1);
}

static void tell(struct es_probe *p, const struct es_tool *tool, int hosts_fd)
{
    const char *said = es_buf_str(&tool->err_out);
    /* A server's banner may say anything; ssh's own failures end with 255. */
    bool in = strstr(said, "Authenticated to ") != NULL && tool->exit != 255;
    bool denied = strstr(said, "Permission denied") != NULL ||
                  strstr(said, "Too many authentication failures") != NULL;
    struct stat st;
    bool key_seen = fstat(hosts_fd, &st) == 0 && st.st_size > 0;
    es_probe_set_bool(p, "connected", in || denied || key_seen);
    es_probe_set_bool(p, "authenticated", in);
    if (in) {
        es_probe_set_int(p, "exit", tool->exit);
        es_probe_set_bytes(p, "stdout_b64", tool->out.data, tool->out.len);
    }
    tell_host_key(p, hosts_fd);
}

struct login {
    const char *host, *user, *password, *key, *run;
    int64_t port;
};

static int log_in(struct es_probe *p, const struct login *l, struct es_err *err)
{
    int hosts_fd = -1, key_fd = -1;
    char self[PATH_MAX], port[8], wait[48];
    const char *argv[48];
    size_t n = 0;
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    self[len > 0 ? len : 0] = '\0';
    int64_t left = (p->deadline_ms - es_probe_now_ms() - 500) / 1000;
    es_str_printf(port, sizeof port, "%d", (int)l->port);
    es_str_printf(wait, sizeof wait, "ConnectTimeout=%d", (int)(left < 1 ? 1 : left));
    const char *hosts = memory_file(p, "hosts", "", &hosts_fd);
    const char *key = l->key != NULL ? memory_file(p, "key", l->key, &key_fd) : "none";
    struct es_arena *a = &p->arena;
    const char *options[] = {
        wait,
        "StrictHostKeyChecking=no",
        "HashKnownHosts=no",
        "CheckHostIP=no",
        "NumberOfPasswordPrompts=1",
        "LogLevel=VERBOSE",
        "IdentitiesOnly=yes",
        "UpdateHostKeys=no",
        "ControlPath=none",
        "GlobalKnownHostsFile=/dev/null",
        es_arena_printf(a, "UserKnownHostsFile=%s", hosts != NULL ? hosts : "/dev/null"),
        es_arena_printf(a, "IdentityFile=%s", key != NULL ? key : "none"),
        l->password != NULL ? "PreferredAuthentications=password,keyboard-interactive"
                            : "PreferredAuthentications=publickey"};
    argv[n++] = "ssh", argv[n++] = "-F", argv[n++] = "none", argv[n++] = "-p";
    argv[n++] = port, argv[n++] = "-T", argv[n++] = "-l", argv[n++] = l->user;
    for (size_t i = 0; i < ES_COUNT(options); i++)
        argv[n++] = "-o", argv[n++] = options[i];
    argv[n++] = "--", argv[n++] = l->host;
    argv[n++] = l->run != NULL ? l->run : "exit 0", argv[n] = NULL;
    ES_ASSERT(n < ES_COUNT(argv));
    const char *const env[] = {es_arena_printf(a, ES_ASKPASS_VARIABLE "=%s",
                                               l->password != NULL ? l->password : ""),
                               es_arena_printf(a, "SSH_ASKPASS=%s", self),
                               "SSH_ASKPASS_REQUIRE=force", "DISPLAY=none", NULL};
    struct es_tool tool = {.argv = argv, .env = env};
    int rc = a->failed || hosts == NULL || key == NULL
                 ? es_err_set(err, ES_EIO, "no memory file for ssh's keys")
                 : es_tool_run(p, &tool, err);
    if (rc == ES_ENOENT)
        rc = es_err_set(err, ES_ENOTSUP, "this guest has no ssh");
    if (rc == 0)
        tell(p, &tool, hosts_fd);
    es_tool_finish(&tool);
    if (hosts_fd >= 0)
        close(hosts_fd);
    if (key_fd >= 0)
        close(key_fd);
    return rc;
}

ES_PROBE_LOOK(ssh)
{
    struct login l;
    int rc = es_probe_arg_text(p, "host", true, &l.host, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "port", 22, 1, 65535, &l.port, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "user", true, &l.user, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "password", false, &l.password, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "key", false, &l.key, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "run", false, &l.run, err);
    if (rc != 0)
        return rc;
    if (*l.host == '-' || *l.host == '\0' || *l.user == '-' || *l.user == '\0')
        return es_err_set(err, ES_EINVAL, "host and user: must not begin with -");
    return log_in(p, &l, err);
}
