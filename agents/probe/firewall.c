/* firewall: the rules in force.
 *
 * Keys:     none.
 * Evidence: available; tool "nft" "iptables" "none"; rules_b64: what `nft list ruleset`
 *           prints or, where nft is not there or lists nothing, `iptables-save` and
 *           `ip6tables-save`; truncated (at most ES_PROBE_BYTES_MAX). */
#include <string.h>

#include "probe.h"

/* Appends the output of one tool. ES_ENOENT: not there or it does not work here. */
static int list(struct es_probe *p, const char *const *argv, struct es_buf *rules,
                bool *truncated, struct es_err *err)
{
    struct es_tool tool = {.argv = argv};
    int rc = es_tool_run(p, &tool, err);
    if (rc == 0 && tool.timeout)
        rc = es_err_set(err, ES_ETIMEDOUT, "%s took too long", argv[0]);
    else if (rc == 0 && tool.exit != 0)
        rc = es_err_set(err, ES_ENOENT, "%s failed: %.200s", argv[0],
                        es_buf_str(&tool.err_out));
    if (rc == 0) {
        size_t room = rules->max_bytes - rules->len;
        size_t take = tool.out.len < room ? tool.out.len : room;
        *truncated = *truncated || tool.truncated || take < tool.out.len;
        rc = es_buf_append(rules, es_buf_str(&tool.out), take);
    }
    es_tool_finish(&tool);
    return rc;
}

ES_PROBE_LOOK(firewall)
{
    static const char *const nft[] = {"nft", "list", "ruleset", NULL};
    static const char *const save4[] = {"iptables-save", NULL};
    static const char *const save6[] = {"ip6tables-save", NULL};
    struct es_buf rules;
    bool truncated = false;
    const char *tool = "nft";
    es_buf_init(&rules, ES_PROBE_BYTES_MAX);
    int rc_nft = list(p, nft, &rules, &truncated, err);
    int rc = rc_nft;
    if (rc == ES_ENOENT || (rc == 0 && rules.len == 0)) {
        rc = list(p, save4, &rules, &truncated, err);
        if (rc == 0) {
            tool = "iptables";
            list(p, save6, &rules, &truncated, NULL);
        } else if (rc_nft == 0 && rc == ES_ENOENT) {
            rc = 0;
        }
    }
    bool there = es_tool_there(p, "nft") || es_tool_there(p, "iptables-save");
    if (rc == 0 || (rc == ES_ENOENT && !there)) {
        es_probe_set_bool(p, "available", rc == 0);
        es_probe_set_text(p, "tool", rc == 0 ? tool : "none");
        es_probe_set_bytes(p, "rules_b64", es_buf_str(&rules), rules.len);
        es_probe_set_bool(p, "truncated", truncated);
        rc = 0;
    } else if (rc == ES_ENOENT) {
        rc = err->code = ES_EIO; /* the tool is there and does not work */
    }
    es_buf_finish(&rules);
    return rc;
}
