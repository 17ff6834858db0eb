/* The XML of our objects. Pure, but for its errors. */
#ifndef ENSHU_HYP_DESCRIBE_H
#define ENSHU_HYP_DESCRIBE_H

#include "hyp_inner.h"

#define ES_HYP_XML_MAX (256U << 10)

/* Both write the XML with our metadata, the hash of everything else in it included. */
int es_hyp_machine_xml(const struct es_hyp_machine *spec, const char *accel, bool is_test,
                       struct es_buf *out, char ret_hash[33], struct es_err *err);
/* A fork gets this NIC while it is still paused: it is on a shared network, where the mould
 * had none. */
bool es_hyp_nic_is_plugged(const struct es_hyp_machine *spec, size_t nic);
int es_hyp_nic_xml(const struct es_hyp_machine *spec, size_t nic, struct es_buf *out,
                   struct es_err *err);
int es_hyp_network_xml(const char *range, const struct es_plan_network *network,
                       const char *node, struct es_buf *out, char ret_hash[33],
                       struct es_err *err);
int es_hyp_pool_xml(const char *range, const char *path, struct es_buf *out,
                    struct es_err *err);
int es_hyp_volume_xml(const char *name, const char *backing, int64_t size_bytes,
                      struct es_buf *out, struct es_err *err);

#endif
