/* Does KVM work here? /dev/kvm that opens is no proof: nested and para-virtual hosts abort
 * or hang. A guest kernel is booted with it, once; the verdict is kept with the host's boot
 * parameters it was found under. [worker] */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"

#define PROBE_LIMIT_MS 30000
static const char sign_of_life[] = "Linux version";

static void verdict_path(const char *state_dir, char *dst, size_t size)
{
    es_str_printf(dst, size, "%s/accel.json", state_dir);
}

void accel_cached(const char *state_dir, char *dst, size_t size)
{
    char path[PATH_BYTES + 16];
    struct utsname host;
    verdict_path(state_dir, path, sizeof path);
    json_t *json = json_load_file(path, 0, NULL);
    const char *accel = json_string_value(json_object_get(json, "accel"));
    const char *kernel = json_string_value(json_object_get(json, "kernel"));
    if (uname(&host) == 0 && es_str_eq(kernel, host.release) &&
        (es_str_eq(accel, "kvm") || es_str_eq(accel, "tcg")))
        es_str_printf(dst, size, "%s", accel);
    json_decref(json);
}

static void keep(const char *state_dir, const char *accel, const char *why)
{
    char path[PATH_BYTES + 16];
    struct utsname host;
    verdict_path(state_dir, path, sizeof path);
    if (uname(&host) != 0)
        return;
    json_t *json =
        json_pack("{s:s, s:s, s:s}", "accel", accel, "kernel", host.release, "why", why);
    if (json == NULL || json_dump_file(json, path, JSON_INDENT(1)) != 0)
        es_log_warn("cannot keep the accelerator's verdict in %s", path);
    json_decref(json);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads the guest's console until it shows life, ends, or the time is over. */
static bool shows_life(int fd)
{
    char text[8192];
    size_t len = 0;
    int64_t until = now_ms() + PROBE_LIMIT_MS;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        text[len] = '\0';
        if (strstr(text, sign_of_life) != NULL)
            return true;
        if (len > sizeof text / 2) {
            memmove(text, text + len - 64, 64);
            len = 64;
        }
    }
}

static bool kvm_boots(const struct es_image *image)
{
    int out[2];
    if (pipe2(out, O_CLOEXEC) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("qemu-system-x86_64", "qemu-system-x86_64", "-accel", "kvm", "-cpu",
               "host", "-machine", "q35", "-m", "256", "-nodefaults", "-no-user-config",
               "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none",
               "-kernel", image->kernel, "-append", "console=ttyS0 panic=-1",
               (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    bool alive = pid > 0 && shows_life(out[0]);
    close(out[0]);
    if (pid > 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    return alive;
}

int accel_probe(const struct es_image *image, const char *state_dir, char *ret_accel,
                size_t size, struct es_err *err)
{
    const char *accel = "tcg", *why;
    if (access("/dev/kvm", R_OK | W_OK) != 0)
        why = errno == ENOENT ? "there is no /dev/kvm" : "/dev/kvm may not be opened";
    else if (kvm_boots(image)) {
        accel = "kvm";
        why = "a guest booted with it";
    } else
        why = "/dev/kvm opens, but a guest does not boot with it";
    keep(state_dir, accel, why);
    es_log_info("accelerator: %s (%s)", accel, why);
    return es_str_printf(ret_accel, size, "%s", accel) == 0
               ? 0
               : es_err_set(err, ES_EINTERNAL, "no room for the accelerator's name");
}
