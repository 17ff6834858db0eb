/* dns: what a name server answers, by the guest's dig, else busybox' nslookup (type A).
 *
 * Keys:     server: an address; name; type (A).
 * Evidence: answered (a reply came, whatever it says); rcode "NOERROR" "NXDOMAIN" … when
 *           answered; answers: the data of the records of that type. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "probe.h"

struct question {
    const char *server, *name, *type;
    size_t left;
};

static void tell(struct es_probe *p, const char *rcode)
{
    es_probe_set_bool(p, "answered", *rcode != '\0');
    if (*rcode != '\0')
        es_probe_set_text(p, "rcode", rcode);
}

/* ";; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 1" and "name. 60 IN A 192.0.2.1" */
static void read_dig(struct es_probe *p, struct question *q, char *output)
{
    char rcode[32] = "";
    for (char *rest = output, *line; (line = strsep(&rest, "\n")) != NULL;) {
        const char *status = strstr(line, "status: ");
        char type[32];
        int at = 0;
        if (*line == ';' && status != NULL)
            sscanf(status, "status: %31[A-Z0-9]", rcode);
        if (*line == ';' || sscanf(line, "%*s %*s %*s %31s %n", type, &at) != 1 ||
            at == 0)
            continue;
        if (strcasecmp(type, q->type) == 0)
            es_probe_add_text(p, "answers", line + at, &q->left);
    }
    tell(p, rcode);
}

/* busybox: "** server can't find NAME: NXDOMAIN", or "Name: …" then "Address: 192.0.2.1" or "Address 1: 192.0.2.1 name"; the server's
 * own address stands before the first "Name:". */
static void read_nslookup(struct es_probe *p, struct question *q, char *output)
{
    char rcode[32] = "";
    bool named = false;
    for (char *rest = output, *line; (line = strsep(&rest, "\n")) != NULL;) {
        char address[64];
        const char *failed = strstr(line, "can't find ");
        if (failed != NULL && (failed = strrchr(line, ' ')) != NULL)
            sscanf(failed, " %31[A-Z0-9]", rcode);
        named = named || es_str_starts(line, "Name:");
        if (!named)
            continue;
        es_str_printf(rcode, sizeof rcode, "NOERROR");
        if (sscanf(line, "Address: %63s", address) == 1 ||
            sscanf(line, "Address %*d: %63s", address) == 1)
            es_probe_add_text(p, "answers", address, &q->left);
    }
    tell(p, rcode);
}

static int ask(struct es_probe *p, struct question *q, bool dig, struct es_err *err)
{
    char at[128], wait[24];
    int64_t left = (p->deadline_ms - es_probe_now_ms() - 300) / 1000;
    es_str_printf(at, sizeof at, "@%s", q->server);
    es_str_printf(wait, sizeof wait, "+time=%lld", (long long)(left < 1 ? 1 : left));
    const char *const digs[] = {"dig",    at,          "-t",      q->type,
                                "-q",     q->name,     wait,      "+tries=1",
                                "+noall", "+comments", "+answer", NULL};
    const char *const busybox[] = {"busybox", "nslookup", q->name, q->server, NULL};
    const char *const applet[] = {"nslookup", q->name, q->server, NULL};
    const char *const *without = es_tool_there(p, "nslookup") ? applet : busybox;
    struct es_tool tool = {.argv = dig ? digs : without};
    int rc = es_tool_run(p, &tool, err);
    if (rc == ES_ENOENT)
        rc = es_err_set(err, ES_ENOTSUP, "this guest has neither dig nor nslookup");
    if (rc == 0) {
        es_probe_set(p, "answers", json_array());
        struct es_buf *out = &tool.out;
        es_buf_append(out, "\n", 1);
        if (!dig && tool.err_out.len > 0 && out->status == 0)
            es_buf_append(out, tool.err_out.data, tool.err_out.len);
        if (out->data == NULL)
            tell(p, "");
        else if (dig)
            read_dig(p, q, out->data);
        else
            read_nslookup(p, q, out->data);
    }
    es_tool_finish(&tool);
    return rc;
}

static bool is_plain(const char *text)
{
    if (*text == '-' || *text == '+' || *text == '@' || *text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && strchr("._-:*", *text) == NULL)
            return false;
    return true;
}

ES_PROBE_LOOK(dns)
{
    struct question q = {.left = ES_PROBE_LIST_MAX};
    int rc = es_probe_arg_text(p, "server", true, &q.server, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "name", true, &q.name, err);
    rc = rc != 0 ? rc : es_probe_arg_text(p, "type", false, &q.type, err);
    if (rc != 0)
        return rc;
    if (q.type == NULL)
        q.type = "A";
    if (!is_plain(q.server) || !is_plain(q.name) || !is_plain(q.type) ||
        strlen(q.server) > 100)
        return es_err_set(err, ES_EINVAL, "server, name and type: letters, digits, .-_:");
    bool dig = es_tool_there(p, "dig");
    if (!dig && strcasecmp(q.type, "A") != 0)
        return es_err_set(err, ES_ENOTSUP,
                          "this guest has no dig; without it only type A");
    return ask(p, &q, dig, err);
}
