#include "monitor.h"

#include <errno.h>
#include <libvirt/libvirt-qemu.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define IO_LIMIT_S     60
#define MOVED_LIMIT_MS 60000
#define LOOK_EVERY_MS  2

static int parse(const char *command, const char *name, const char *reply,
                 json_t **ret_value, struct es_err *err)
{
    json_error_t json_err;
    json_t *root = json_loads(reply, 0, &json_err);
    json_t *value = json_object_get(root, "return");
    const char *why =
        json_string_value(json_object_get(json_object_get(root, "error"), "desc"));
    int rc = 0;
    if (value == NULL)
        rc = es_err_set(err, ES_EHYP, "machine %s: QEMU refuses %s: %s", name, command,
                        why != NULL ? why : json_err.text);
    else if (ret_value != NULL)
        *ret_value = json_incref(value);
    json_decref(root);
    return rc;
}

int es_hyp_monitor(virDomainPtr dom, const char *command, json_t *args, int fd,
                   json_t **ret_value, struct es_err *err)
{
    const char *name = virDomainGetName(dom);
    unsigned fd_count = fd >= 0 ? 1 : 0;
    char *reply = NULL;
    json_t *root = json_pack("{s:s, s:o*}", "execute", command, "arguments", args);
    char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (text == NULL)
        return es_err_nomem(err);
    int rc;
    ES_HYP_TRY(rc, err, command, name, -1,
               virDomainQemuMonitorCommandWithFiles(dom, text, fd_count,
                                                    fd_count > 0 ? &fd : NULL, NULL, NULL,
                                                    &reply, 0));
    es_free(text);
    if (rc == 0)
        rc = parse(command, name, reply, ret_value, err);
    free(reply); /* from libvirt */
    return rc;
}

int es_hyp_monitor_ignore_shared(virDomainPtr dom, bool on, struct es_err *err)
{
    return es_hyp_monitor(dom, "migrate-set-capabilities",
                          json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability",
                                    "x-ignore-shared", "state", on),
                          -1, NULL, err);
}

int es_hyp_monitor_socket(virDomainPtr dom, const char *name, int *ret_fd,
                          struct es_err *err)
{
    const struct timeval limit = {.tv_sec = IO_LIMIT_S};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return es_err_set(err, ES_EIO, "no socket pair: %s", strerror(errno));
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int rc = es_hyp_monitor(dom, "getfd", json_pack("{s:s}", "fdname", name), pair[1],
                            NULL, err);
    close(pair[1]);
    if (rc != 0)
        close(pair[0]);
    else
        *ret_fd = pair[0];
    return rc;
}

int es_hyp_monitor_moved(virDomainPtr dom, struct es_err *err)
{
    const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};
    for (int waited_ms = 0; waited_ms < MOVED_LIMIT_MS; waited_ms += LOOK_EVERY_MS) {
        json_t *value = NULL;
        int rc = es_hyp_monitor(dom, "query-migrate", NULL, -1, &value, err);
        const char *status = json_string_value(json_object_get(value, "status"));
        bool done = status != NULL && strcmp(status, "completed") == 0;
        if (rc == 0 && status != NULL &&
            (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)) {
            const char *why = json_string_value(json_object_get(value, "error-desc"));
            rc = es_err_set(err, ES_EHYP, "machine %s: its state could not be moved: %s",
                            virDomainGetName(dom), why != NULL ? why : status);
        }
        json_decref(value);
        if (rc != 0 || done)
            return rc;
        nanosleep(&pause, NULL);
    }
    return es_err_set(err, ES_ETIMEDOUT,
                      "machine %s: its state was not moved within %d s; is the host "
                      "overloaded?",
                      virDomainGetName(dom), MOVED_LIMIT_MS / 1000);
}
