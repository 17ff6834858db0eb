/* `stop`, `status` and `exec`. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "enshu/common/str.h"

#define STOP_WAIT_MS 60000

static int end_supervisor(pid_t pid, struct es_err *err)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH ? 0
                              : es_err_set(err, ES_EIO, "cannot watch process %d: %s",
                                           (int)pid, strerror(errno));
    struct pollfd in = {.fd = fd, .events = POLLIN};
    if (kill(pid, SIGTERM) != 0 && errno != ESRCH) {
        close(fd);
        return es_err_set(err, ES_EDENIED,
                          "cannot end process %d: %s; stop the nest as "
                          "the user who started it",
                          (int)pid, strerror(errno));
    }
    if (poll(&in, 1, STOP_WAIT_MS) != 1)
        kill(pid, SIGKILL);
    poll(&in, 1, STOP_WAIT_MS);
    close(fd);
    return 0;
}

/* What the supervisor tidies itself, for when it was killed. */
static void remove_runtime(const struct nest *nest, bool purge)
{
    static const char *const gone[] = {"sock", "run", "net", "nest.json", "v/run"};
    char path[256];
    for (size_t i = 0; i < ES_COUNT(gone); i++)
        es_tree_remove(AT_FDCWD, nest_path(nest, gone[i], path), NULL);
    if (purge) {
        es_tree_remove(AT_FDCWD, nest_path(nest, "v", path), NULL);
        es_tree_remove(AT_FDCWD, nest_path(nest, "nest.log", path), NULL);
    }
}

int command_stop(struct options *options, struct es_err *err)
{
    struct nest nest;
    if (access(options->state, F_OK) != 0)
        return 0;
    int rc = nest_open(&nest, options, err);
    if (rc != 0)
        return rc;
    int lock = record_start_lock(&nest, err);
    if (lock < 0)
        return lock;
    bool known = record_read(&nest) == 0;
    pid_t pid = record_supervisor(&nest);
    rc = pid != 0 ? end_supervisor(pid, err) : 0;
    if (rc == 0 && known && space_kill_all(&nest) != 0)
        rc = es_err_set(err, ES_EBUSY, "some processes of the nest in %s do not end",
                        nest.dir);
    if (rc == 0)
        remove_runtime(&nest, options->purge);
    close(lock);
    return rc;
}

static void count_machine(pid_t pid, void *ctx)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    if (fgets(name, sizeof name, f) != NULL && es_str_starts(name, "qemu-system"))
        ++*(int *)ctx;
    fclose(f);
}

static int print_json(const struct nest *nest, pid_t pid, bool answers, int machines)
{
    char uri[160];
    es_str_printf(uri, sizeof uri, "qemu:///system?socket=%s/sock/libvirt-sock",
                  nest->dir);
    json_t *root =
        json_pack("{s:b, s:b, s:i, s:i, s:s, s:i, s:i, s:i, s:i, s:b, s:s}", "running",
                  (int)(pid != 0), "answers", (int)answers, "supervisor", (int)pid,
                  "libvirtd", (int)nest->libvirtd, "uri", uri, "restarts", nest->restarts,
                  "machines", machines, "qemu_uid", (int)nest->qemu_uid, "qemu_gid",
                  (int)nest->qemu_gid, "kvm", (int)nest->kvm, "kvm_why", nest->kvm_why);
    if (root == NULL)
        return ES_ENOMEM;
    json_dumpf(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
    return 0;
}

/* A nest that is not running is an answer too; scripts read the exit code. */
int command_status(struct options *options, struct es_err *err)
{
    struct nest nest;
    int machines = 0;
    if (access(options->state, F_OK) != 0)
        return es_err_set(err, ES_ENOENT,
                          "there is no nest in %s; start one with: "
                          "enshu-nest start --state %s",
                          options->state, options->state);
    int rc = nest_open(&nest, options, err);
    if (rc != 0)
        return rc;
    bool known = record_read(&nest) == 0;
    pid_t pid = record_supervisor(&nest);
    bool answers = pid != 0 && daemon_answers(&nest, 5000);
    if (known)
        space_each(&nest, count_machine, &machines);
    if (options->json)
        rc = print_json(&nest, pid, answers, machines);
    else if (pid != 0)
        printf("running: supervisor %d, libvirtd %d (%s, restarted %d times), %d "
               "machines\nkvm: %s%s%s\nuri: qemu:///system?socket=%s/sock/libvirt-sock\n",
               (int)pid, (int)nest.libvirtd, answers ? "answers" : "does not answer",
               nest.restarts, machines, nest.kvm ? "yes" : "no", nest.kvm ? "" : ": ",
               nest.kvm_why, nest.dir);
    if (rc == 0 && pid == 0)
        rc = es_err_set(err, ES_ENOENT, "no nest runs in %s%s", nest.dir,
                        machines > 0 ? ", but machines of one do: start it again to keep "
                                       "them, stop it to end them"
                                     : "");
    return rc;
}

int command_exec(struct options *options, struct es_err *err)
{
    struct nest nest;
    int rc = nest_open(&nest, options, err);
    if (rc != 0)
        return rc;
    pid_t pid = record_supervisor(&nest);
    if (pid == 0)
        return es_err_set(err, ES_ENOENT, "no nest runs in %s; start it first", nest.dir);
    rc = space_enter(&nest, pid, err);
    if (rc != 0)
        return rc;
    char uri[256]; /* so that virsh finds this daemon */
    es_str_printf(uri, sizeof uri, "qemu:///system?socket=%s/sock/libvirt-sock",
                  nest.dir);
    setenv("LIBVIRT_DEFAULT_URI", uri, 0);
    execvp(options->command[0], options->command);
    return es_err_set(err, ES_ENOENT, "cannot run %s: %s", options->command[0],
                      strerror(errno));
}
