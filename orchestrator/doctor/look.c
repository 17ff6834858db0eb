/* How the checks look at a host: files below a root, rights by mode, programs' versions. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor_inner.h"
#include "enshu/common/str.h"

#define VERSION_WAIT_MS 10000

void look_path(const struct es_doctor_host *host, const char *path, char *dst,
               size_t size)
{
    ES_ASSERT(path[0] == '/');
    if (es_str_printf(dst, size, "%s%s", host->root, path) != 0)
        dst[0] = '\0';
}

bool look_there(const struct es_doctor_host *host, const char *path)
{
    char full[1024];
    struct stat st;
    look_path(host, path, full, sizeof full);
    return stat(full, &st) == 0;
}

bool look_read(const struct es_doctor_host *host, const char *path, char *dst,
               size_t size)
{
    char full[1024];
    size_t len = 0;
    look_path(host, path, full, sizeof full);
    dst[0] = '\0';
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    for (ssize_t n; len < size - 1 && (n = read(fd, dst + len, size - 1 - len)) > 0;)
        len += (size_t)n;
    close(fd);
    dst[len] = '\0';
    return true;
}

int64_t look_number(const struct es_doctor_host *host, const char *path, const char *key)
{
    char text[8192];
    if (!look_read(host, path, text, sizeof text))
        return -1;
    const char *at = strstr(text, key);
    if (at == NULL)
        return -1;
    at += strlen(key);
    at += strspn(at, ": \t");
    return isdigit((unsigned char)*at) ? (int64_t)strtoll(at, NULL, 10) : -1;
}

bool look_may_open(const struct es_doctor_host *host, const char *path, bool others)
{
    char full[1024];
    struct stat st;
    look_path(host, path, full, sizeof full);
    if (stat(full, &st) != 0)
        return false;
    if (others)
        return (st.st_mode & 06) == 06;
    if (host->live)
        return access(full, R_OK | W_OK) == 0;
    return host->uid == 0 || (st.st_uid == host->uid && (st.st_mode & 0600) == 0600) ||
           (st.st_mode & 06) == 06;
}

bool look_program(const struct es_doctor_host *host, const char *name, char *dst,
                  size_t size)
{
    for (const char *at = host->path; *at != '\0';) {
        size_t len = strcspn(at, ":");
        struct stat st;
        if (len > 0 && *at == '/' &&
            es_str_printf(dst, size, "%s%.*s/%s", host->root, (int)len, at, name) == 0 &&
            stat(dst, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0)
            return true;
        at += len + (at[len] == ':' ? 1 : 0);
    }
    dst[0] = '\0';
    return false;
}

static pid_t start(const char *program, int *ret_fd)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(null, STDERR_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl(program, program, "--version", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    if (pid < 0)
        close(out[0]);
    *ret_fd = out[0];
    return pid;
}

void look_version(const struct es_doctor_host *host, const char *program, char *dst,
                  size_t size)
{
    char text[1024];
    int fd;
    dst[0] = '\0';
    pid_t pid = host->live ? start(program, &fd) : -1;
    if (pid < 0)
        return;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&wait, 1, VERSION_WAIT_MS) > 0 ? read(fd, text, sizeof text - 1) : 0;
    close(fd);
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    text[n > 0 ? n : 0] = '\0';
    const char *at = text + strcspn(text, "0123456789");
    es_str_printf(dst, size, "%.*s", (int)strspn(at, "0123456789."), at);
}
