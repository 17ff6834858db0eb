/* The real agent, run on this host against a socket the test plays the core on. Every wait
 * has a generous limit, past which the test fails. */
#ifndef TESTS_SUPPORT_GUEST_H
#define TESTS_SUPPORT_GUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct guest {
    char dir[64];  /* a fresh directory, removed at the end */
    char root[80]; /* stands for / of the agent when asked for */
    int listen_fd, fd;
    pid_t pid;
    char *bytes; /* read and not yet taken */
    size_t len;
    char epoch[17];
    int64_t next_id;
    int64_t part_bytes; /* seen in parts since guest_send */
};

/* Starts the agent, takes its connection and synchronises. */
void guest_start(struct guest *guest, bool with_root);
void guest_stop(struct guest *guest);
/* Starts it on another port than the socket. */
pid_t guest_run(const char *port, const char *root);

void guest_accept(struct guest *guest);
void guest_hang_up(struct guest *guest);
void guest_write(struct guest *guest, const char *text);
/* The next line that is no heartbeat; borrowed until the next. Empty lines count. */
char *guest_line(struct guest *guest); /* gives (free) */
/* Until the answer to the nonce. Gives the hello. */
json_t *guest_sync(struct guest *guest, const char *nonce);
/* Sends a request (takes args) with the next id, and returns the id. */
int64_t guest_send(struct guest *guest, const char *op, json_t *args,
                   int64_t deadline_ms);
void guest_send_as(struct guest *guest, int64_t id, const char *op, json_t *args,
                   int64_t deadline_ms);
/* The next result of this id; parts and results of others are passed over. Gives. */
json_t *guest_result(struct guest *guest, int64_t id);
void guest_ack(struct guest *guest, int64_t seq);
/* Request, result, acknowledgement. Gives the result. */
json_t *guest_ask(struct guest *guest, const char *op, json_t *args);
/* The evidence of a probe (gives), args being {"kind": kind, …} in jansson's pack format. */
json_t *guest_probe(struct guest *guest, const char *kind, json_t *args);

const char *guest_text(const json_t *object, const char *key);
int64_t guest_int(const json_t *object, const char *key);
bool guest_bool(const json_t *object, const char *key);
/* The error's code, or "ok". */
const char *guest_code(const json_t *result);
/* base64 field to bytes; gives (free), NUL-terminated. */
char *guest_bytes(const json_t *object, const char *key, size_t *ret_len);

/* Files below guest->dir (or the root). */
void guest_write_file(const char *dir, const char *name, const char *text);
char *guest_read_file(const char *dir, const char *name); /* gives (free) */

#endif
