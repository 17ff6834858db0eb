/* personalise: makes a guest that is equal to others into the machine it is to be. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../probe/etc.h"
#include "../probe/probe.h"
#include "agent.h"
#include "enshu/common/str.h"
#include "files.h"
#include "personalise.h"

#define RANDOM_MAX 1024

static const struct part {
    const char *name;
    const char *key; /* whose absence makes the part unnecessary */
    es_personalise_part *run;
} parts[] = {
    {"random", "random", es_personalise_random},
    {"clock", "time_us", es_personalise_clock},
    {"hostname", "hostname", es_personalise_hostname},
    {"machine_id", "machine_id", es_personalise_machine_id},
    {"nics", "nics", es_personalise_nics},
    {"gateway", "gateway", es_personalise_gateway},
    {"dns", "dns", es_personalise_dns},
    {"hosts", "hosts", es_personalise_hosts},
    {"accounts", "accounts", es_personalise_accounts},
    {"files", "files", es_personalise_files},
};

int es_op_personalise(const char *root, const json_t *args, int64_t deadline_ms,
                      json_t **ret_evidence, struct es_err *err)
{
    struct es_personalise p = {root, args, deadline_ms};
    json_t *done = json_array();
    int rc = done != NULL ? 0 : es_err_nomem(err);
    for (size_t i = 0; i < ES_COUNT(parts) && rc == 0; i++) {
        const json_t *value = json_object_get(args, parts[i].key);
        if (value == NULL || json_is_null(value))
            continue;
        rc = parts[i].run(&p, err);
        if (rc != 0)
            es_err_prefix(err, "personalise: %s", parts[i].name);
        else if (json_array_append_new(done, json_string(parts[i].name)) != 0)
            rc = es_err_nomem(err);
    }
    if (rc == 0) {
        *ret_evidence = json_pack("{s:O}", "done", done);
        rc = *ret_evidence != NULL ? 0 : es_err_nomem(err);
    }
    json_decref(done);
    return rc;
}

static int text_of(const struct es_personalise *p, const char *key, const char **ret_text,
                   struct es_err *err)
{
    struct es_probe probe = {.args = p->args};
    return es_probe_arg_text(&probe, key, true, ret_text, err);
}

/* Two guests that continue from one moment would draw the same random numbers. */
int es_personalise_random(const struct es_personalise *p, struct es_err *err)
{
    const char *text;
    struct es_buf bytes;
    union {
        struct rand_pool_info info;
        char room[sizeof(struct rand_pool_info) + RANDOM_MAX];
    } pool;
    int rc = text_of(p, "random", &text, err);
    if (rc != 0)
        return rc;
    es_buf_init(&bytes, RANDOM_MAX);
    rc = es_base64_decode(text, strlen(text), &bytes);
    if (rc != 0)
        rc = es_err_set(err, rc, "not base64 of at most %d bytes", RANDOM_MAX);
    else if (*p->root == '\0' && bytes.len > 0) {
        pool.info.entropy_count = (int)bytes.len * 8;
        pool.info.buf_size = (int)bytes.len;
        memcpy(pool.room + offsetof(struct rand_pool_info, buf), bytes.data, bytes.len);
        int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool.info) != 0)
            rc = es_probe_errno(err, "/dev/urandom", "takes no randomness", errno);
        /* Kernels before 4.14 lack it; they mix on the next read. */
        else if (ioctl(fd, RNDRESEEDCRNG) != 0 && errno != EINVAL && errno != ENOTTY)
            rc = es_probe_errno(err, "/dev/urandom", "cannot be reseeded", errno);
        if (fd >= 0)
            close(fd);
    }
    es_buf_finish(&bytes);
    return rc;
}

int es_personalise_clock(const struct es_personalise *p, struct es_err *err)
{
    struct es_probe probe = {.args = p->args};
    struct timespec now;
    int64_t want_us;
    int rc = es_probe_arg_int(&probe, "time_us", 0, 1, ES_WIRE_INT_MAX, &want_us, err);
    if (rc != 0 || *p->root != '\0')
        return rc;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    if (llabs(want_us - now_us) <= 1000000)
        return 0;
    now.tv_sec = want_us / 1000000;
    now.tv_nsec = want_us % 1000000 * 1000;
    return clock_settime(CLOCK_REALTIME, &now) == 0
               ? 0
               : es_probe_errno(err, "clock", "cannot be set", errno);
}

/* ------------------------------------------------------------------ files */

static int write_file(const struct es_personalise *p, const char *path, const char *data,
                      size_t len, mode_t mode, struct es_err *err)
{
    char full[PATH_MAX];
    if (es_str_printf(full, sizeof full, "%s%s", p->root, path) != 0)
        return es_err_set(err, ES_ELIMIT, "%s: the path is too long", path);
    int rc = es_files_make_parents(full, 0755, err);
    return rc != 0 ? rc : es_etc_write(p->root, path, data, len, mode, err);
}

static int check_hostname(const char *name, struct es_err *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > 64 ||
        strspn(name,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != len)
        return es_err_set(err, ES_EINVAL, "%s: not a host name", name);
    return 0;
}

int es_personalise_hostname(const struct es_personalise *p, struct es_err *err)
{
    const char *name;
    char line[80];
    int rc = text_of(p, "hostname", &name, err);
    rc = rc != 0 ? rc : check_hostname(name, err);
    if (rc != 0)
        return rc;
    es_str_printf(line, sizeof line, "%s\n", name);
    rc = write_file(p, "/etc/hostname", line, strlen(line), 0644, err);
    if (rc == 0 && *p->root == '\0' && sethostname(name, strlen(name)) != 0)
        rc = es_probe_errno(err, name, "cannot be the host's name", errno);
    /* The name must resolve even when no other names are given. */
    if (rc == 0 && json_object_get(p->args, "hosts") == NULL)
        rc = es_personalise_hosts(p, err);
    return rc;
}

int es_personalise_machine_id(const struct es_personalise *p, struct es_err *err)
{
    const char *id;
    char line[40], full[PATH_MAX];
    struct stat st;
    int rc = text_of(p, "machine_id", &id, err);
    if (rc != 0)
        return rc;
    if (strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32)
        return es_err_set(err, ES_EINVAL, "not 32 hex digits");
    es_str_printf(line, sizeof line, "%s\n", id);
    rc = write_file(p, "/etc/machine-id", line, strlen(line), 0444, err);
    /* D-Bus' own is mostly a link to it. */
    if (rc == 0 &&
        es_str_printf(full, sizeof full, "%s/var/lib/dbus/machine-id", p->root) == 0 &&
        lstat(full, &st) == 0 && S_ISREG(st.st_mode))
        rc = write_file(p, "/var/lib/dbus/machine-id", line, strlen(line), 0444, err);
    return rc;
}

int es_personalise_dns(const struct es_personalise *p, struct es_err *err)
{
    const char *server;
    char line[80];
    int rc = text_of(p, "dns", &server, err);
    if (rc != 0)
        return rc;
    if (strlen(server) > 45 ||
        strspn(server, "0123456789abcdefABCDEF.:") != strlen(server))
        return es_err_set(err, ES_EINVAL, "%s: not an address", server);
    es_str_printf(line, sizeof line, "nameserver %s\n", server);
    return write_file(p, "/etc/resolv.conf", line, strlen(line), 0644, err);
}

/* ------------------------------------------------------------------ /etc/hosts */

#define BEGIN "# enshu: begin"
#define END   "# enshu: end"

/* The lines that are not ours, nor the installer's for an earlier host name. */
static void keep_others(char *text, struct es_buf *out)
{
    bool ours = false;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strcmp(line, BEGIN) == 0)
            ours = true;
        else if (strcmp(line, END) == 0)
            ours = false;
        else if (!ours && strncmp(line, "127.0.1.1", 9) != 0 &&
                 (*line != '\0' || rest != NULL))
            es_buf_printf(out, "%s\n", line);
    }
}

static int add_names(const struct es_personalise *p, struct es_buf *out,
                     struct es_err *err)
{
    size_t i;
    const json_t *pair;
    json_array_foreach (json_object_get(p->args, "hosts"), i, pair) {
        const char *addr = json_string_value(json_array_get(pair, 0));
        const char *name = json_string_value(json_array_get(pair, 1));
        if (addr == NULL || name == NULL || *addr == '\0' ||
            strspn(addr, "0123456789abcdefABCDEF.:") != strlen(addr))
            return es_err_set(err, ES_EINVAL, "entry %zu is not [address, name]", i);
        int rc = check_hostname(name, err);
        if (rc != 0)
            return rc;
        es_buf_printf(out, "%s\t%s\n", addr, name);
    }
    return 0;
}

int es_personalise_hosts(const struct es_personalise *p, struct es_err *err)
{
    struct es_buf old, out;
    const char *name = json_string_value(json_object_get(p->args, "hostname"));
    es_buf_init(&old, ES_ETC_FILE_MAX);
    es_buf_init(&out, ES_ETC_FILE_MAX);
    int rc = es_etc_read(p->root, "/etc/hosts", &old, err);
    if (rc == 0 && old.data != NULL)
        keep_others(old.data, &out);
    else if (rc == ES_ENOENT)
        rc = es_buf_puts(&out, "127.0.0.1\tlocalhost\n");
    if (rc == 0) {
        es_buf_puts(&out, BEGIN "\n");
        if (name != NULL)
            es_buf_printf(&out, "127.0.1.1\t%s\n", name);
        rc = add_names(p, &out, err);
        es_buf_puts(&out, END "\n");
    }
    if (rc == 0 && es_buf_status(&out) != 0)
        rc = es_err_set(err, es_buf_status(&out), "/etc/hosts would be too large");
    if (rc == 0)
        rc = write_file(p, "/etc/hosts", es_buf_str(&out), out.len, 0644, err);
    es_buf_finish(&old);
    es_buf_finish(&out);
    return rc;
}

/* ------------------------------------------------------------------ given files */

static int put_file(const struct es_personalise *p, const json_t *file,
                    struct es_err *err)
{
    struct es_probe probe = {.args = file};
    const char *path, *mode_text, *text;
    char full[PATH_MAX];
    mode_t mode = 0644;
    struct es_buf data;
    int rc = es_probe_arg_text(&probe, "path", true, &path, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "mode", false, &mode_text, err);
    rc = rc != 0 ? rc : es_probe_arg_text(&probe, "data", true, &text, err);
    if (rc == 0 && mode_text != NULL)
        rc = es_files_mode(mode_text, &mode, err);
    if (rc == 0 && (path[0] != '/' || path[strlen(path) - 1] == '/'))
        rc = es_err_set(err, ES_EINVAL, "%s: not the path of a file", path);
    if (rc != 0)
        return rc;
    es_buf_init(&data, ES_WIRE_LINE_MAX);
    rc = es_base64_decode(text, strlen(text), &data);
    if (rc != 0)
        rc = es_err_set(err, rc, "%s: data: not base64", path);
    else
        rc = write_file(p, path, es_buf_str(&data), data.len, mode, err);
    if (rc == 0 && es_str_printf(full, sizeof full, "%s%s", p->root, path) == 0 &&
        chmod(full, mode) != 0)
        rc = es_probe_errno(err, path, "the mode cannot be set", errno);
    es_buf_finish(&data);
    return rc;
}

int es_personalise_files(const struct es_personalise *p, struct es_err *err)
{
    size_t i;
    const json_t *file;
    json_array_foreach (json_object_get(p->args, "files"), i, file) {
        int rc = put_file(p, file, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}
