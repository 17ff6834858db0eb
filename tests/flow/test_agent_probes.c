/* The real agent's probes that need a living system: processes, sockets, tools. Kinds that
 * read files are tested on a made-up root in tests/unit/test_agent_probe.c. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/guest.h"
#include "enshu/common/err.h"
#include "enshu/common/str.h"

static struct guest guest;

static void setup(void)
{
    guest_start(&guest, false);
}

static void teardown(void)
{
    guest_stop(&guest);
}

/* A socket bound to a free port of 127.0.0.1. */
static int local_socket(int type, int *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    if (type == SOCK_STREAM)
        ck_assert_int_eq(listen(fd, 8), 0);
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

START_TEST(commands_tell_exit_and_output)
{
    size_t len;
    json_t *e = guest_probe(&guest, "command",
                            json_pack("{s:s}", "run", "echo out; echo err >&2; exit 3"));
    char *out = guest_bytes(e, "stdout_b64", &len),
         *err = guest_bytes(e, "stderr_b64", &len);
    ck_assert_int_eq(guest_int(e, "exit"), 3);
    ck_assert_str_eq(out, "out\n");
    ck_assert_str_eq(err, "err\n");
    ck_assert(!guest_bool(e, "timeout"));
    free(out);
    free(err);
    json_decref(e);
    e = guest_probe(&guest, "command", json_pack("{s:s}", "run", "yes | head -c 200000"));
    free(guest_bytes(e, "stdout_b64", &len));
    ck_assert_uint_eq(len, 46 << 10);
    ck_assert(guest_bool(e, "truncated"));
    json_decref(e);
}
END_TEST

START_TEST(a_command_past_its_time_is_evidence)
{
    json_t *args = json_pack("{s:s, s:s}", "kind", "command", "run",
                             "trap '' TERM; sleep 3000 | sleep 3000");
    json_t *result = guest_result(&guest, guest_send(&guest, "probe", args, 1000));
    ck_assert_str_eq(guest_code(result), "ok");
    ck_assert(guest_bool(json_object_get(result, "evidence"), "timeout"));
    json_decref(result);
}
END_TEST

START_TEST(a_probe_that_never_ends_is_killed)
{
    /* Exponential work for a matcher with back references. */
    char line[2000];
    memset(line, 'a', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    guest_write_file(guest.dir, "log", line);
    char path[128];
    es_str_printf(path, sizeof path, "%s/log", guest.dir);
    json_t *args = json_pack("{s:s, s:s, s:s}", "kind", "log", "path", path, "match",
                             "^(a*)*(a*)*(a*)*\\1\\2\\3b$");
    json_t *result = guest_result(&guest, guest_send(&guest, "probe", args, 700));
    ck_assert_str_eq(guest_code(result), "timeout");
    json_decref(result);
    result = guest_ask(&guest, "exec", json_pack("{s:s}", "shell", "true"));
    ck_assert_str_eq(guest_code(result), "ok");
    json_decref(result);
}
END_TEST

START_TEST(processes_are_seen)
{
    json_t *e =
        guest_probe(&guest, "process",
                    json_pack("{s:s, s:s}", "name", "enshu-tests-none", "match", "x"));
    ck_assert(!guest_bool(e, "running"));
    json_decref(e);
    char pattern[64];
    es_str_printf(pattern, sizeof pattern, "^sleep 98765%d$", (int)getpid());
    char shell[128];
    es_str_printf(shell, sizeof shell, "sleep 98765%d >/dev/null 2>&1 & echo -n $!",
                  (int)getpid());
    json_t *result = guest_ask(&guest, "exec", json_pack("{s:s}", "shell", shell));
    size_t len;
    char *pid = guest_bytes(json_object_get(result, "evidence"), "stdout", &len);
    json_decref(result);
    /* The shell's child has not yet become `sleep` when its number is known. */
    e = guest_probe(&guest, "process",
                    json_pack("{s:s, s:s}", "name", "sleep", "match", pattern));
    while (!guest_bool(e, "running")) {
        json_decref(e);
        e = guest_probe(&guest, "process",
                        json_pack("{s:s, s:s}", "name", "sleep", "match", pattern));
    }
    ck_assert_int_eq(guest_int(e, "count"), 1);
    ck_assert_int_eq(json_integer_value(json_array_get(json_object_get(e, "pids"), 0)),
                     atoi(pid));
    json_decref(e);
    json_decref(guest_ask(&guest, "exec", json_pack("{s:[s,s]}", "argv", "kill", pid)));
    free(pid);
}
END_TEST

START_TEST(listening_sockets_are_seen)
{
    int port;
    int fd = local_socket(SOCK_STREAM, &port);
    json_t *e = guest_probe(&guest, "port", json_pack("{s:i}", "port", port));
    ck_assert(guest_bool(e, "listening"));
    ck_assert_str_eq(
        json_string_value(json_array_get(json_object_get(e, "addresses"), 0)),
        "127.0.0.1");
    json_decref(e);
    e = guest_probe(&guest, "port",
                    json_pack("{s:i, s:s}", "port", port, "address", "10.9.8.7"));
    ck_assert(!guest_bool(e, "listening"));
    json_decref(e);
    close(fd);
    fd = local_socket(SOCK_DGRAM, &port);
    e = guest_probe(&guest, "port",
                    json_pack("{s:i, s:s}", "port", port, "proto", "udp"));
    ck_assert(guest_bool(e, "listening"));
    json_decref(e);
    close(fd);
}
END_TEST

struct peer {
    int fd;
    const char *says; /* after it has heard something, when `first` is NULL */
    const char *first;
};

static void *serve_once(void *ctx)
{
    const struct peer *peer = ctx;
    char heard[2048];
    int fd = accept(peer->fd, NULL, NULL);
    if (peer->first != NULL && write(fd, peer->first, strlen(peer->first)) < 0)
        abort();
    if (peer->says != NULL && (read(fd, heard, sizeof heard) < 0 ||
                               write(fd, peer->says, strlen(peer->says)) < 0))
        abort();
    shutdown(fd, SHUT_WR);
    while (read(fd, heard, sizeof heard) > 0)
        continue;
    close(fd);
    return NULL;
}

START_TEST(tcp_tells_open_banner_and_refusal)
{
    int port;
    size_t len;
    pthread_t thread;
    struct peer peer = {.fd = local_socket(SOCK_STREAM, &port), .first = "220 hello\r\n"};
    pthread_create(&thread, NULL, serve_once, &peer);
    json_t *e = guest_probe(
        &guest, "tcp",
        json_pack("{s:s, s:i, s:i}", "host", "127.0.0.1", "port", port, "read", 100));
    pthread_join(thread, NULL);
    ck_assert(guest_bool(e, "open"));
    char *banner = guest_bytes(e, "banner_b64", &len);
    ck_assert_str_eq(banner, "220 hello\r\n");
    free(banner);
    json_decref(e);
    close(peer.fd);
    e = guest_probe(&guest, "tcp",
                    json_pack("{s:s, s:i}", "host", "127.0.0.1", "port", port));
    ck_assert(!guest_bool(e, "open"));
    ck_assert_str_eq(guest_text(e, "error"), "refused");
    json_decref(e);
    json_t *result = guest_ask(&guest, "probe",
                               json_pack("{s:s, s:s, s:i}", "kind", "tcp", "host",
                                         "no.such.name.invalid", "port", 1));
    ck_assert_str_eq(guest_code(result), "unsupported");
    json_decref(result);
}
END_TEST

static void *echo_once(void *ctx)
{
    const struct peer *peer = ctx;
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    char heard[100];
    ssize_t n =
        recvfrom(peer->fd, heard, sizeof heard, 0, (struct sockaddr *)&from, &len);
    if (n > 0 && sendto(peer->fd, heard, (size_t)n, 0, (struct sockaddr *)&from, len) < 0)
        abort();
    return NULL;
}

START_TEST(udp_tells_answer_and_silence)
{
    int port;
    size_t len;
    pthread_t thread;
    struct peer peer = {.fd = local_socket(SOCK_DGRAM, &port)};
    pthread_create(&thread, NULL, echo_once, &peer);
    json_t *e = guest_probe(
        &guest, "udp",
        json_pack("{s:s, s:i, s:s}", "host", "127.0.0.1", "port", port, "send", "ping?"));
    pthread_join(thread, NULL);
    ck_assert(guest_bool(e, "answered"));
    char *data = guest_bytes(e, "data_b64", &len);
    ck_assert_str_eq(data, "ping?");
    free(data);
    json_decref(e);
    json_t *args = json_pack("{s:s, s:s, s:i, s:s}", "kind", "udp", "host", "127.0.0.1",
                             "port", port, "send", "anyone?");
    json_t *result = guest_result(&guest, guest_send(&guest, "probe", args, 600));
    ck_assert(!guest_bool(json_object_get(result, "evidence"), "answered"));
    json_decref(result);
    close(peer.fd);
}
END_TEST

START_TEST(http_tells_status_headers_body)
{
    int port;
    size_t len;
    char url[64];
    pthread_t thread;
    struct peer peer = {.fd = local_socket(SOCK_STREAM, &port),
                        .says = "HTTP/1.1 404 Not Found\r\nX-Mark: 1\r\n"
                                "Content-Length: 9\r\n\r\nnot here\n"};
    es_str_printf(url, sizeof url, "http://127.0.0.1:%d/x", port);
    pthread_create(&thread, NULL, serve_once, &peer);
    json_t *e = guest_probe(&guest, "http", json_pack("{s:s}", "url", url));
    pthread_join(thread, NULL);
    ck_assert(guest_bool(e, "reachable"));
    ck_assert_int_eq(guest_int(e, "status"), 404);
    char *headers = guest_bytes(e, "headers_b64", &len);
    ck_assert_ptr_nonnull(strstr(headers, "X-Mark: 1\r\n"));
    ck_assert(es_str_starts(headers, "HTTP/1.1 404"));
    free(headers);
    char *body = guest_bytes(e, "body_b64", &len);
    ck_assert_str_eq(body, "not here\n");
    free(body);
    json_decref(e);
    close(peer.fd);
    e = guest_probe(&guest, "http", json_pack("{s:s}", "url", url));
    ck_assert(!guest_bool(e, "reachable"));
    ck_assert_str_eq(guest_text(e, "error"), "refused");
    json_decref(e);
    json_t *result = guest_ask(&guest, "probe",
                               json_pack("{s:s, s:s, s:{s:s}}", "kind", "http", "url",
                                         url, "headers", "@/etc/passwd", "x"));
    ck_assert_str_eq(guest_code(result), "bad-request");
    json_decref(result);
}
END_TEST

START_TEST(words_that_look_like_options_are_refused)
{
    static const char *const bad[][3] = {
        {"icmp", "to", "-f"},         {"http", "url", "-o/tmp/x"},
        {"http", "url", "file:///x"}, {"dns", "server", "-f/x"},
        {"service", "name", "../x"},  {"kernel", "sysctl", "../../x"},
    };
    for (size_t i = 0; i < ES_COUNT(bad); i++) {
        json_t *result = guest_ask(&guest, "probe",
                                   json_pack("{s:s, s:s, s:s}", "kind", bad[i][0],
                                             bad[i][1], bad[i][2], "name", "../x"));
        ck_assert_str_eq(guest_code(result), "bad-request");
        json_decref(result);
    }
    json_t *result = guest_ask(&guest, "probe",
                               json_pack("{s:s, s:s, s:s}", "kind", "ssh", "host",
                                         "-oProxyCommand=x", "user", "u"));
    ck_assert_str_eq(guest_code(result), "bad-request");
    json_decref(result);
}
END_TEST

START_TEST(ssh_without_a_server_is_not_connected)
{
    int port;
    close(local_socket(SOCK_STREAM, &port));
    json_t *result =
        guest_ask(&guest, "probe",
                  json_pack("{s:s, s:s, s:i, s:s, s:s}", "kind", "ssh", "host",
                            "127.0.0.1", "port", port, "user", "mori", "password", "x"));
    if (strcmp(guest_code(result), "unsupported") != 0) { /* this host has ssh */
        const json_t *e = json_object_get(result, "evidence");
        ck_assert(!guest_bool(e, "connected"));
        ck_assert(!guest_bool(e, "authenticated"));
    }
    json_decref(result);
}
END_TEST

Suite *agent_probes_suite(void);
Suite *agent_probes_suite(void)
{
    Suite *suite = suite_create("agent_probes");
    TCase *tc = tcase_create("agent_probes");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, commands_tell_exit_and_output);
    tcase_add_test(tc, a_command_past_its_time_is_evidence);
    tcase_add_test(tc, a_probe_that_never_ends_is_killed);
    tcase_add_test(tc, processes_are_seen);
    tcase_add_test(tc, listening_sockets_are_seen);
    tcase_add_test(tc, tcp_tells_open_banner_and_refusal);
    tcase_add_test(tc, udp_tells_answer_and_silence);
    tcase_add_test(tc, http_tells_status_headers_body);
    tcase_add_test(tc, words_that_look_like_options_are_refused);
    tcase_add_test(tc, ssh_without_a_server_is_not_connected);
    suite_add_tcase(suite, tc);
    return suite;
}
