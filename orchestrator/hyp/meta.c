/* What makes an object ours: the metadata element, or for pools (which libvirt gives none)
 * a name and a UUID that belong together. */
#include <stdlib.h>
#include <string.h>

#include "enshu/common/str.h"
#include "hyp_inner.h"
#include "xml.h"

static bool parse_tag(const char *tag, struct es_hyp_meta *ret_meta)
{
    struct es_hyp_meta meta = {0};
    char number[16];
    int64_t team, instance;
    if (!es_xml_read_attr(tag, "range", meta.range, sizeof meta.range) ||
        !es_xml_read_attr(tag, "node", meta.node, sizeof meta.node) ||
        !es_xml_read_attr(tag, "kind", meta.kind, sizeof meta.kind) ||
        !es_xml_read_attr(tag, "hash", meta.hash, sizeof meta.hash) ||
        !es_xml_read_attr(tag, "team", number, sizeof number) ||
        es_str_int(number, -1, ES_PLAN_TEAMS_MAX, &team) != 0 ||
        !es_xml_read_attr(tag, "instance", number, sizeof number) ||
        es_str_int(number, 0, UINT32_MAX, &instance) != 0)
        return false;
    if (!es_str_is_name(meta.range, ES_NAME_MAX) ||
        !es_str_is_name(meta.node, ES_NAME_MAX))
        return false;
    meta.team = (int)team;
    meta.forked = es_xml_read_attr(tag, "mode", number, sizeof number) &&
                  strcmp(number, "fork") == 0;
    meta.instance = (uint32_t)instance;
    *ret_meta = meta;
    return true;
}

bool es_hyp_meta_parse(const char *text, struct es_hyp_meta *ret_meta)
{
    const char *at = strstr(text, "='" ES_HYP_NS "'");
    if (at == NULL)
        at = strstr(text, "=\"" ES_HYP_NS "\"");
    while (at != NULL && at > text && *at != '<')
        at--;
    if (at == NULL || *at != '<')
        return false;
    /* The element, with whatever prefix the namespace has. */
    const char *end = at + strcspn(at, " \t\r\n/>");
    if (end - at < 7 || strncmp(end - 6, "object", 6) != 0)
        return false;
    return parse_tag(at, ret_meta);
}

/* libvirt gives the element of our namespace alone, without its prefix. */
int es_hyp_domain_meta(virDomainPtr dom, struct es_hyp_meta *ret_meta, struct es_err *err)
{
    char *text = NULL;
    int rc;
    ES_HYP_TRY(rc, err, "look at machine", virDomainGetName(dom), NULL,
               text =
                   virDomainGetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, ES_HYP_NS, 0));
    int code = es_hyp_last_code();
    if (rc != 0)
        return code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_NO_DOMAIN_METADATA ? ES_ENOENT
                                                                               : rc;
    const char *tag = strchr(text, '<');
    bool ours = tag != NULL && parse_tag(tag, ret_meta);
    free(text); /* from libvirt */
    return ours ? 0 : ES_ENOENT;
}

int es_hyp_network_meta(virNetworkPtr net, struct es_hyp_meta *ret_meta,
                        struct es_err *err)
{
    char *text = NULL;
    int rc;
    ES_HYP_TRY(rc, err, "look at network", virNetworkGetName(net), NULL,
               text = virNetworkGetXMLDesc(net, 0));
    if (rc != 0)
        return es_hyp_last_code() == VIR_ERR_NO_NETWORK ? ES_ENOENT : rc;
    bool ours = es_hyp_meta_parse(text, ret_meta);
    free(text); /* from libvirt */
    return ours ? 0 : ES_ENOENT;
}

void es_hyp_pool_name(char dst[ES_PLAN_NAME_MAX], const char *range)
{
    int rc = es_str_printf(dst, ES_PLAN_NAME_MAX, "es-%s", range);
    ES_ASSERT(rc == 0);
}

bool es_hyp_pool_is_ours(virStoragePoolPtr pool, char ret_range[ES_NAME_MAX + 1])
{
    const char *name = virStoragePoolGetName(pool);
    char uuid[VIR_UUID_STRING_BUFLEN], ours[37];
    if (name == NULL || !es_str_starts(name, "es-") ||
        !es_str_is_name(name + 3, ES_NAME_MAX) ||
        virStoragePoolGetUUIDString(pool, uuid) != 0)
        return false;
    es_plan_uuid(ours, "pool", name + 3, "");
    if (strcmp(uuid, ours) != 0)
        return false;
    memcpy(ret_range, name + 3, strlen(name + 3) + 1);
    return true;
}
