/* http: an HTTP or HTTPS answer, by the guest's curl, else its wget (GET over http only).
 *
 * Keys:     url (http:// or https://); method (GET); headers: an object of texts; body;
 *           insecure (true): certificates are not verified; follow (false): redirects;
 *           resolve "host:port:address".
 * Evidence: reachable (an answer came); status; headers_b64 (of the last answer, at most
 *           4 KiB); body_b64 (at most 40 KiB); truncated; error when not reachable: "name"
 *           "refused" "timeout" "tls" or curl's exit code in words. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "probe.h"

#define BODY_MAX    40960U
#define HEADERS_MAX 4096U
#define ARGS_MAX    80

struct words {
    struct es_probe *p;
    const char *argv[ARGS_MAX + 1];
    size_t count;
};

static void word(struct words *w, const char *text)
{
    if (w->count < ARGS_MAX && text != NULL)
        w->argv[w->count++] = text;
}

static const char *seconds_left(struct es_probe *p)
{
    int64_t left = p->deadline_ms - es_probe_now_ms() - 300;
    left = left < 100 ? 100 : left;
    return es_arena_printf(&p->arena, "%lld.%03lld", (long long)left / 1000,
                           (long long)left % 1000);
}

static int add_headers(struct words *w, const json_t *headers, struct es_err *err)
{
    const char *name;
    const json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)headers, name, value) {
        /* "@file" in the place of a header would read a file. */
        if (*name == '\0' || *name == '@' || strpbrk(name, ": \r\n") != NULL ||
            !json_is_string(value) || strpbrk(json_string_value(value), "\r\n") != NULL)
            return es_err_set(err, ES_EINVAL, "headers: %s: not a header", name);
        word(w, "-H");
        word(w, es_arena_printf(&w->p->arena, "%s: %s", name, json_string_value(value)));
    }
    return json_object_size(headers) > 30
               ? es_err_set(err, ES_ELIMIT, "headers: at most 30")
               : 0;
}

static const char *why(int exit_code, char *dst, size_t size)
{
    switch (exit_code) {
    case 6:
        return "name";
    case 7:
        return "refused";
    case 28:
        return "timeout";
    case 35:
    case 51:
    case 60:
        return "tls";
    default:
        es_str_printf(dst, size, "curl ended with %d", exit_code);
        return dst;
    }
}

static void tell(struct es_probe *p, long status, const char *headers, size_t headers_len,
                 const char *body, size_t body_len, bool truncated)
{
    es_probe_set_bool(p, "reachable", true);
    es_probe_set_int(p, "status", status);
    es_probe_set_bytes(p, "headers_b64", headers,
                       headers_len < HEADERS_MAX ? headers_len : HEADERS_MAX);
    es_probe_set_bytes(p, "body_b64", body, body_len < BODY_MAX ? body_len : BODY_MAX);
    es_probe_set_bool(p, "truncated",
                      truncated || body_len > BODY_MAX || headers_len > HEADERS_MAX);
}

static void tell_unreachable(struct es_probe *p, const char *error)
{
    es_probe_set_bool(p, "reachable", false);
    es_probe_set_text(p, "error", error);
}

/* The output begins with `size` bytes of headers: one block for each redirect, the last
 * being the answer's. */
static void read_curl(struct es_probe *p, const struct es_tool *tool)
{
    long status = 0, size = 0;
    char text[64];
    bool stated = sscanf(es_buf_str(&tool->err_out), "%ld %ld", &status, &size) == 2;
    const char *out = es_buf_str(&tool->out);
    size_t len = tool->out.len, headers = size > 0 ? (size_t)size : 0;
    if (tool->timeout || !stated || status == 0) {
        tell_unreachable(p,
                         tool->timeout ? "timeout" : why(tool->exit, text, sizeof text));
        return;
    }
    headers = headers < len ? headers : len;
    const char *start = out;
    for (const char *at = out;
         (at = memmem(at, (size_t)(out + headers - at), "\r\n\r\n", 4)) != NULL;) {
        at += 4;
        if (at < out + headers)
            start = at;
    }
    tell(p, status, start, (size_t)(out + headers - start), out + headers, len - headers,
         tool->truncated || tool->exit != 0);
}

struct request {
    const char *url, *method, *body, *resolve;
    bool insecure, follow;
};

static int by_curl(struct es_probe *p, const struct request *r, struct es_err *err)
{
    struct words w = {.p = p};
    static const char *const fixed[] = {"curl",
                                        "-q",
                                        "-s",
                                        "-i",
                                        "--noproxy",
                                        "*",
                                        "--proto",
                                        "=http,https",
                                        "--max-redirs",
                                        "10",
                                        "--path-as-is",
                                        "-w",
                                        "%{stderr}%{http_code} %{size_header}",
                                        "-X"};
    for (size_t i = 0; i < ES_COUNT(fixed); i++)
        word(&w, fixed[i]);
    word(&w, r->method);
    word(&w, "--max-time");
    word(&w, seconds_left(p));
    if (r->insecure)
        word(&w, "-k");
    if (r->follow)
        word(&w, "-L");
    if (strcmp(r->method, "HEAD") == 0)
        word(&w, "-I");
    if (r->resolve != NULL) {
        word(&w, "--resolve");
        word(&w, r->resolve);
    }
    if (r->body != NULL) {
        word(&w, "--data-binary");
        word(&w, "@-");
    }
    int rc = add_headers(&w, json_object_get(p->args, "headers"), err);
    word(&w, "--url");
    word(&w, r->url);
    if (rc == 0 && p->arena.failed)
        rc = es_err_nomem(err);
    if (rc != 0)
        return rc;
    struct es_tool tool = {.argv = w.argv,
                           .feed = r->body,
                           .feed_len = r->body != NULL ? strlen(r->body) : 0,
                           .keep = BODY_MAX + 4 * HEADERS_MAX};
    rc = es_tool_run(p, &tool, err);
    if (rc == 0)
        read_curl(p, &tool);
    es_tool_finish(&tool);
    return rc;
}

/* busybox' wget -S prints "  HTTP/1.1 200 OK" and the headers on standard error, or
 * "server returned error: HTTP/1.1 404 Not Found". */
static int by_wget(struct es_probe *p, const struct request *r, struct es_err *err)
{
    if (strcmp(r->method, "GET") != 0 || !es_str_starts(r->url, "http://") ||
        r->body != NULL || r->resolve != NULL ||
        json_object_size(json_object_get(p->args, "headers")) > 0)
        return es_err_set(err, ES_ENOTSUP,
                          "this guest has no curl; its wget can only GET over http");
    const char *const applet[] = {"wget", "-S", "-q", "-O", "-", r->url, NULL};
    const char *const busybox[] = {"busybox", "wget", "-S",   "-q",
                                   "-O",      "-",    r->url, NULL};
    struct es_tool tool = {.argv = es_tool_there(p, "wget") ? applet : busybox};
    int rc = es_tool_run(p, &tool, err);
    if (rc == ES_ENOENT)
        rc = es_err_set(err, ES_ENOTSUP, "this guest has neither curl nor wget");
    if (rc == 0) {
        const char *said = es_buf_str(&tool.err_out), *at = said, *last = NULL;
        long status = 0;
        while ((at = strstr(at, "HTTP/1.")) != NULL)
            last = at++;
        if (last != NULL && sscanf(last, "HTTP/1.%*d %ld", &status) == 1)
            tell(p, status, last, strlen(last), es_buf_str(&tool.out), tool.out.len,
                 tool.truncated);
        else
            tell_unreachable(p, tool.timeout                          ? "timeout"
                                : strstr(said, "refused") != NULL     ? "refused"
                                : strstr(said, "bad address") != NULL ? "name"
                                                                      : "wget failed");
    }
    es_tool_finish(&tool);
    return rc;
}

ES_PROBE_LOOK(http)
{
    struct request r;
    int rc = es_probe_arg_text(p, "url", true, &r.url, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "method", false, &r.method, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "body", false, &r.body, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "resolve", false, &r.resolve, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(p, "insecure", true, &r.insecure, err);
    rc = rc != 0 ? rc : es_probe_arg_bool(p, "follow", false, &r.follow, err);
    if (rc != 0)
        return rc;
    if (!es_str_starts(r.url, "http://") && !es_str_starts(r.url, "https://"))
        return es_err_set(err, ES_EINVAL, "url: must begin with http:// or https://");
    if (r.method == NULL)
        r.method = "GET";
    if (*r.method == '\0' ||
        strspn(r.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(r.method))
        return es_err_set(err, ES_EINVAL, "method: capital letters");
    return es_tool_there(p, "curl") ? by_curl(p, &r, err) : by_wget(p, &r, err);
}
