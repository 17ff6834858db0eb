/* Dispatch, look keys, evidence. */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "enshu/common/str.h"
#include "enshu/wire.h"
#include "etc.h"

static const struct kind {
    const char *name;
    int (*look)(struct es_probe *p, struct es_err *err);
} kinds[] = {
#define X(kind, place, does) {#kind, es_probe_look_##kind},
    ES_PROBE_MAP(X)
#undef X
};

int64_t es_probe_now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const char *es_probe_error_code(int status)
{
    switch (status) {
    case ES_EINVAL:
    case ES_EPROTO:
        return "bad-request";
    case ES_ENOENT:
        return "not-found";
    case ES_EDENIED:
        return "denied";
    case ES_ETIMEDOUT:
        return "timeout";
    case ES_ELIMIT:
        return "limit";
    case ES_ENOTSUP:
        return "unsupported";
    case ES_ECANCELED:
        return "cancelled";
    default:
        return "failed";
    }
}

int es_probe_run(const char *root, const json_t *args, int64_t deadline_ms,
                 json_t **ret_evidence, struct es_err *err)
{
    struct es_probe p = {.root = root, .args = args, .deadline_ms = deadline_ms};
    const char *name;
    int rc = es_probe_arg_text(&p, "kind", true, &name, err);
    if (rc != 0)
        return rc;
    const struct kind *kind = NULL;
    for (size_t i = 0; i < ES_COUNT(kinds) && kind == NULL; i++)
        if (strcmp(kinds[i].name, name) == 0)
            kind = &kinds[i];
    if (kind == NULL)
        return es_err_set(err, ES_ENOTSUP, "this agent knows no probe %s", name);
    p.evidence = json_object();
    p.nomem = p.evidence == NULL;
    rc = p.nomem ? ES_ENOMEM : kind->look(&p, err);
    if (rc == 0 && (p.nomem || p.arena.failed))
        rc = es_err_nomem(err);
    es_arena_finish(&p.arena);
    if (rc != 0) {
        json_decref(p.evidence);
        return rc;
    }
    *ret_evidence = p.evidence;
    return 0;
}

/* ------------------------------------------------------------------ look keys */

int es_probe_arg_text(const struct es_probe *p, const char *key, bool required,
                      const char **ret_text, struct es_err *err)
{
    const json_t *value = json_object_get(p->args, key);
    if (value == NULL || json_is_null(value)) {
        *ret_text = NULL;
        return required ? es_err_set(err, ES_EINVAL, "%s: missing", key) : 0;
    }
    if (!json_is_string(value))
        return es_err_set(err, ES_EINVAL, "%s: not a text", key);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return es_err_set(err, ES_EINVAL, "%s: holds a NUL", key);
    *ret_text = json_string_value(value);
    return 0;
}

int es_probe_arg_int(const struct es_probe *p, const char *key, int64_t otherwise,
                     int64_t min, int64_t max, int64_t *ret_value, struct es_err *err)
{
    const json_t *value = json_object_get(p->args, key);
    *ret_value = otherwise;
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_integer(value))
        return es_err_set(err, ES_EINVAL, "%s: not a whole number", key);
    int64_t v = json_integer_value(value);
    if (v < min || v > max)
        return es_err_set(err, ES_EINVAL, "%s: not between %lld and %lld", key,
                          (long long)min, (long long)max);
    *ret_value = v;
    return 0;
}

int es_probe_arg_bool(const struct es_probe *p, const char *key, bool otherwise,
                      bool *ret_value, struct es_err *err)
{
    const json_t *value = json_object_get(p->args, key);
    *ret_value = otherwise;
    if (value == NULL || json_is_null(value))
        return 0;
    if (!json_is_boolean(value))
        return es_err_set(err, ES_EINVAL, "%s: not true or false", key);
    *ret_value = json_is_true(value);
    return 0;
}

/* ------------------------------------------------------------------ evidence */

void es_probe_set(struct es_probe *p, const char *key, json_t *value)
{
    if (value == NULL || json_object_set_new(p->evidence, key, value) != 0)
        p->nomem = true;
}

void es_probe_set_int(struct es_probe *p, const char *key, int64_t value)
{
    es_probe_set(p, key, json_integer(value));
}

void es_probe_set_bool(struct es_probe *p, const char *key, bool value)
{
    es_probe_set(p, key, json_boolean(value));
}

json_t *es_probe_text_json(const char *text, size_t len)
{
    if (memchr(text, '\0', len) == NULL && es_utf8_valid(text, len))
        return json_stringn(text, len);
    struct es_buf out;
    es_buf_init(&out, len * 4 + 1);
    es_str_escape_terminal(&out, text, len, true);
    json_t *value = es_buf_status(&out) == 0 ? json_string(es_buf_str(&out)) : NULL;
    es_buf_finish(&out);
    return value;
}

void es_probe_set_text(struct es_probe *p, const char *key, const char *text)
{
    es_probe_set(p, key, es_probe_text_json(text, strlen(text)));
}

void es_probe_set_bytes(struct es_probe *p, const char *key, const void *data, size_t len)
{
    es_probe_set(p, key, es_base64_json(data != NULL ? data : "", len));
}

static bool add(struct es_probe *p, const char *key, json_t *value, size_t cost,
                size_t *left)
{
    json_t *list = json_object_get(p->evidence, key);
    if (list == NULL) {
        es_probe_set(p, key, json_array());
        list = json_object_get(p->evidence, key);
    }
    if (cost > *left || value == NULL || list == NULL) {
        p->nomem = p->nomem || value == NULL || list == NULL;
        json_decref(value);
        return false;
    }
    *left -= cost;
    if (json_array_append_new(list, value) != 0)
        p->nomem = true;
    return true;
}

bool es_probe_add_text(struct es_probe *p, const char *key, const char *text,
                       size_t *left)
{
    json_t *value = es_probe_text_json(text, strlen(text));
    return add(p, key, value, value != NULL ? json_string_length(value) + 3 : 0, left);
}

bool es_probe_add_bytes(struct es_probe *p, const char *key, const void *data, size_t len,
                        size_t *left)
{
    return add(p, key, es_base64_json(data, len), len + 3, left);
}

/* ------------------------------------------------------------------ places */

const char *es_probe_path(struct es_probe *p, const char *path)
{
    return *p->root == '\0' ? path : es_arena_printf(&p->arena, "%s%s", p->root, path);
}

bool es_probe_exists(struct es_probe *p, const char *path)
{
    const char *full = es_probe_path(p, path);
    return full != NULL && access(full, F_OK) == 0;
}

int es_probe_errno(struct es_err *err, const char *path, const char *what, int code)
{
    int status = code == ENOENT || code == ENOTDIR ? ES_ENOENT
                 : code == EACCES || code == EPERM ? ES_EDENIED
                 : code == ENOMEM                  ? ES_ENOMEM
                 : code == ENAMETOOLONG            ? ES_EINVAL
                                                   : ES_EIO;
    return es_err_set(err, status, "%s: %s: %s", path, what, strerror(code));
}

static bool parse_address(const char *host, int64_t port, struct sockaddr_storage *addr,
                          unsigned *ret_len)
{
    union {
        struct sockaddr_storage any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    memset(&a, 0, sizeof a);
    if (inet_pton(AF_INET, host, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons((uint16_t)port);
        *ret_len = sizeof a.v4;
    } else if (inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons((uint16_t)port);
        *ret_len = sizeof a.v6;
    } else {
        return false;
    }
    *addr = a.any;
    return true;
}

static bool find_host(struct es_probe *p, const char *host, int64_t port,
                      struct sockaddr_storage *ret_addr, unsigned *ret_len)
{
    if (parse_address(host, port, ret_addr, ret_len))
        return true;
    struct es_buf buf;
    es_buf_init(&buf, ES_ETC_FILE_MAX);
    bool found = false;
    if (es_etc_read(p->root, "/etc/hosts", &buf, NULL) == 0) {
        char *rest = buf.data, *line;
        while (!found && (line = strsep(&rest, "\n")) != NULL) {
            char *save, *addr, *name;
            line[strcspn(line, "#")] = '\0';
            addr = strtok_r(line, " \t", &save);
            while (addr != NULL && !found &&
                   (name = strtok_r(NULL, " \t", &save)) != NULL)
                found = strcasecmp(name, host) == 0 &&
                        parse_address(addr, port, ret_addr, ret_len);
        }
    }
    es_buf_finish(&buf);
    return found;
}

int es_probe_arg_target(struct es_probe *p, struct sockaddr_storage *ret_addr,
                        unsigned *ret_len, struct es_err *err)
{
    const char *host;
    int64_t port;
    int rc = es_probe_arg_text(p, "host", true, &host, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "port", 0, 1, 65535, &port, err);
    if (rc != 0)
        return rc;
    if (port == 0)
        return es_err_set(err, ES_EINVAL, "port: missing");
    return find_host(p, host, port, ret_addr, ret_len)
               ? 0
               : es_err_set(err, ES_ENOTSUP,
                            "%s: neither an address nor a name in /etc/hosts", host);
}
