/* icmp: answers to echo requests, by the guest's ping.
 *
 * Keys:     to: an address or name; count (1, at most 20).
 * Evidence: reachable (at least one answer); sent; received. */
#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"
#include "probe.h"

/* "3 packets transmitted, 2 received" (iputils), "… 2 packets received" (busybox). */
static bool parse(const char *output, int *ret_sent, int *ret_received)
{
    const char *at = strstr(output, " packets transmitted, ");
    if (at == NULL)
        return false;
    while (at > output && at[-1] >= '0' && at[-1] <= '9')
        at--;
    return sscanf(at, "%d packets transmitted, %d", ret_sent, ret_received) == 2;
}

ES_PROBE_LOOK(icmp)
{
    const char *to;
    int64_t count;
    int rc = es_probe_arg_text(p, "to", true, &to, err);
    rc = rc != 0 ? rc : es_probe_arg_int(p, "count", 1, 1, 20, &count, err);
    if (rc != 0)
        return rc;
    if (*to == '-' || *to == '\0')
        return es_err_set(err, ES_EINVAL, "to: not an address");
    char number[24], wait[24];
    /* ping waits this long for the last answer; its requests are a second apart. */
    int64_t left = (p->deadline_ms - es_probe_now_ms() - 500) / 1000 - (count - 1);
    es_str_printf(number, sizeof number, "%lld", (long long)count);
    es_str_printf(wait, sizeof wait, "%lld", (long long)(left < 1 ? 1 : left));
    const char *const plain[] = {"ping", "-n", "-c", number, "-W", wait, to, NULL};
    const char *const busybox[] = {"busybox", "ping", "-c", number, "-W", wait, to, NULL};
    struct es_tool tool = {.argv = es_tool_there(p, "ping") ? plain : busybox};
    rc = es_tool_run(p, &tool, err);
    int sent = (int)count, received = 0;
    if (rc == ES_ENOENT)
        rc = es_err_set(err, ES_ENOTSUP, "this guest has no ping");
    else if (rc == 0 && !parse(es_buf_str(&tool.out), &sent, &received) &&
             !tool.timeout) {
        const char *why = es_buf_str(&tool.err_out);
        /* No route is an observation; a ping that does not work is not. */
        if (strcasestr(why, "unreachable") == NULL)
            rc = es_err_set(err, ES_EIO, "ping failed: %.200s", why);
    }
    if (rc == 0) {
        es_probe_set_bool(p, "reachable", received > 0);
        es_probe_set_int(p, "sent", sent);
        es_probe_set_int(p, "received", received);
    }
    es_tool_finish(&tool);
    return rc;
}
