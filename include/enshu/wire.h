/* The agent protocol, version 1: pure codec, shared by the core and the guest. [any]
 *
 * One JSON object a line, at most ES_WIRE_LINE_MAX bytes with its newline. Binary data
 * travels as base64.
 *
 * Core to agent:
 *   {"sync": NONCE}             after every connect, preceded by an empty line
 *   {"id": N, "op": OP, "args": {...}, "deadline_ms": D, "max_bytes": M}
 *   {"ack": SEQ, "epoch": E}    every result up to SEQ is durable; the agent forgets it
 * Agent to core:
 *   {"sync": NONCE, "hello": {"wire": 1, "version": S, "epoch": E, "boot_id": S,
 *                             "uptime_ms": U, "held": H}}
 *   {"seq": Q, "epoch": E, "id": N, "ok": true, "evidence": {...}, "took_ms": T}
 *   {"seq": Q, "epoch": E, "id": N, "ok": false, "error": {"code": W, "text": S},
 *    "took_ms": T}
 *   {"id": N, "part": K, "stream": "out"|"err"|"data", "data": BASE64}
 *                               chunks before a result; not held
 *   {"beat": U}                 heartbeat, uptime in ms
 *
 * Sync: whatever stood in the stream before the answer with the right nonce is noise of
 * an earlier connection; the core discards it without a strike, the agent drops partial
 * input and requests not started. After the hello the agent sends every result it holds
 * (not acknowledged) again, oldest first, then new ones; seq rises by one and never
 * restarts within an epoch. The epoch is 16 hex digits, new when the agent starts and when
 * a fork of a running guest is personalised: the result of that is the first of the new
 * epoch, and what the agent held or knew in the old one is forgotten.
 * An id the agent has seen in its epoch (finished or running) is not run again: a
 * finished one that is still held is sent again, a running one goes on.
 *
 * Ops, their args -> their evidence:
 *   probe        {"kind": K, ...look keys} -> what agents/probe/K.c documents
 *   exec         {"argv": [S...] | "shell": S, "env": {}, "stdin": B64?, "user": S?,
 *                 "cwd": S?, "keep": BYTES}
 *                -> {"exit": N | "signal": N, "stdout": B64, "stderr": B64,
 *                    "truncated": B, "timeout": B}
 *   put          {"path", "off", "data": B64, "last": B, "size": N, "mode": "0644"?,
 *                 "owner": "user:group"?, "mtime_s": N?} -> {"size": N}
 *                written beside and renamed into place at `last`
 *   get          {"path", "off", "max"} -> {"data": B64, "size": N, "eof": B}
 *   personalise  {"random": B64, "time_us", "hostname", "machine_id", "nics": [{"mac",
 *                 "address", "prefix", "name": S?}], "gateway": S?, "dns": S?,
 *                 "forward": B, "hosts": [[ADDRESS, NAME]...],
 *                 "accounts": [{"user", "hash", "create": B}],
 *                 "files": [{"path", "mode", "data": B64}],
 *                 "host_keys": [{"type", "private": S, "public": S}],
 *                 "restart": [SERVICE...], "fork": B}
 *                -> {"done": [S...], "epoch": S?}; safe to repeat. A fork answers with the
 *                epoch it begins.
 *   quiet        {} -> {"timers": [S...]}; safe to repeat. The guest is about to be frozen
 *                and continued as many copies: file systems synced, timers that go by the
 *                clock stopped until the next personalise, everything of the session but
 *                its epoch forgotten. Its result is not held. Refused ("failed") while
 *                other requests run.
 *   power        {"do": "off" | "reboot"} -> {}; file systems synced first
 *   cancel       {"target": ID} -> {"found": B}
 * Numbers are integers; ids, seqs and times lie within 0 … 2^53-1; nonces (at
 * most 64 bytes), version, boot_id, op and error code are words of [A-Za-z0-9_.+~-]. A line nested deeper than ES_WIRE_DEPTH_MAX, with more than
 * ES_WIRE_VALUES_MAX values, with an object key twice or with a NUL is not of the protocol.
 * Error codes: "bad-request", "not-found", "denied", "timeout", "limit", "unsupported",
 * "cancelled", "failed".
 */
#ifndef ENSHU_WIRE_H
#define ENSHU_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "enshu/common/buf.h"
#include "enshu/common/err.h"

#define ES_WIRE_VERSION   1
#define ES_WIRE_LINE_MAX  65536U
#define ES_WIRE_NONCE_MAX 64
#define ES_WIRE_PORT      "org.enshu.agent.0"
#define ES_WIRE_HELD_MAX                                                                 \
    4096 /* results an agent holds for an acknowledgement; past it requests are refused  \
          */
#define ES_WIRE_DATA_MAX 32768U /* raw bytes in one put, get or part */

#define ES_WIRE_INT_MAX         9007199254740991LL /* 2^53-1: exact in every JSON reader */
#define ES_WIRE_DEADLINE_MAX_MS 604800000LL        /* a week */
#define ES_WIRE_DEPTH_MAX       32
#define ES_WIRE_VALUES_MAX      16384

/* clang-format off */
#define ES_WIRE_OP_MAP(X) \
    X(PROBE, "probe") X(EXEC, "exec") X(PUT, "put") X(GET, "get") X(PERSONALISE, "personalise") \
    X(QUIET, "quiet") X(POWER, "power") X(CANCEL, "cancel")
/* clang-format on */
enum es_wire_op {
#define X(name, word) ES_OP_##name,
    ES_WIRE_OP_MAP(X)
#undef X
};
const char *es_wire_op_name(enum es_wire_op op);

struct es_hello {
    int wire;
    char version[32];
    char epoch[17];
    char boot_id[40];
    int64_t uptime_ms;
    int64_t held_count;
};

struct es_request {
    int64_t id; /* 1 … 2^53-1 */
    enum es_wire_op op;
    json_t *args;        /* owned by whoever owns the struct; NULL means {} */
    int64_t deadline_ms; /* 1 … ES_WIRE_DEADLINE_MAX_MS */
    int64_t max_bytes;   /* of evidence; 0: what fits in a line */
};

struct es_result {
    int64_t id;
    int64_t seq; /* from 1; 0 when the core made the result itself (deadline passed, link
                    lost) */
    char epoch[17];
    bool ok;
    json_t *evidence; /* when ok */
    char error_code[24];
    char error_text[256];
    int64_t took_ms;
};

enum es_wire_type {
    ES_WIRE_SYNC,    /* both ways; with hello from the agent */
    ES_WIRE_REQUEST, /* to the agent */
    ES_WIRE_ACK,     /* to the agent */
    ES_WIRE_RESULT,  /* to the core */
    ES_WIRE_PART,    /* to the core */
    ES_WIRE_BEAT,    /* to the core */
};

/* One decoded line. Release with es_wire_msg_finish. */
struct es_wire_msg {
    enum es_wire_type type;
    char nonce[ES_WIRE_NONCE_MAX + 1];
    struct es_hello hello;
    struct es_request request;
    struct es_result result;
    int64_t ack_seq;
    char ack_epoch[17];
    int64_t part_id, part_no;
    char part_stream[8];
    json_t *part_data; /* string, base64 */
    int64_t beat_ms;
};
void es_wire_msg_finish(struct es_wire_msg *msg);

/* Decodes one line without its newline. ES_EPROTO with the reason; unknown fields are
 * ignored; every field is checked for type and range. The two sides accept different
 * types: `from_agent` says which is meant. On failure *ret_msg needs no finish and is
 * zeroed, with one exception: a well-formed request whose op is not known is ES_ENOTSUP
 * with type and request.id set, so that the agent can answer "unsupported". */
int es_wire_decode(const char *line, size_t len, bool from_agent,
                   struct es_wire_msg *ret_msg, struct es_err *err);

/* Encoders append one line with newline; ES_ELIMIT when it would be too long, for the
 * protocol or for the buffer, ES_ENOMEM, ES_EINVAL when args or evidence is no JSON object
 * (the buffer is then unchanged, and its status too). Bytes of error_text that are not
 * UTF-8 are sent as "?". */
int es_wire_put_sync(struct es_buf *out, const char *nonce,
                     const struct es_hello *hello_or_null);
int es_wire_put_request(struct es_buf *out, const struct es_request *request);
int es_wire_put_result(struct es_buf *out, const struct es_result *result);
int es_wire_put_ack(struct es_buf *out, const char *epoch, int64_t seq);
int es_wire_put_part(struct es_buf *out, int64_t id, int64_t part_no, const char *stream,
                     const void *data, size_t len);
int es_wire_put_beat(struct es_buf *out, int64_t uptime_ms);

/* Cuts a byte stream into lines. */
struct es_lines {
    struct es_buf buf;
    size_t next;    /* where the next line to hand out starts in buf */
    size_t partial; /* bytes at the end of buf that are not a whole line yet */
    bool overlong;  /* the current line passed the cap; its rest is being skipped */
};
#define ES_LINES_FEED_MAX (1U << 20)
void es_lines_init(struct es_lines *lines);
void es_lines_finish(struct es_lines *lines);
/* Feeds at most ES_LINES_FEED_MAX bytes. Then call es_lines_next until it returns false,
 * whatever this returns: ES_ELIMIT in the feed that makes a line overlong, ES_ENOMEM when
 * the line being fed is lost. Either way only that line is dropped. */
int es_lines_feed(struct es_lines *lines, const char *data, size_t len);
/* Forgets everything, the unfinished line too: for a connection made anew. */
void es_lines_reset(struct es_lines *lines);
/* The next whole line, without its newline; empty lines are skipped. Borrows until the
 * next call. */
bool es_lines_next(struct es_lines *lines, const char **ret_line, size_t *ret_len);

/* Base64 (RFC 4648, padded) in JSON strings. NULL when memory is out. */
json_t *es_base64_json(const void *data, size_t len);
/* Decodes into `out` (appends). ES_EPROTO when it is not base64, ES_ELIMIT past out's
 * cap; `out` is then unchanged. */
int es_base64_decode(const char *text, size_t len, struct es_buf *out);

/* Makes jansson allocate through es_alloc and es_free, and lets the codec see an
 * allocation that failed in the middle of a number or a string (jansson itself goes on
 * with a byte missing). Every main and test program calls it first, before any json_t
 * exists. */
void es_wire_use_allocator(void);
/* Whether jansson met a failed allocation on this thread since the last watch: what it
 * parsed in between may miss bytes. */
void es_wire_alloc_watch(void);
bool es_wire_alloc_failed(void);

#endif
