/* Writes indented XML; every value is escaped. Bytes that XML cannot hold make the writer
 * fail with ES_EINVAL. */
#ifndef ENSHU_HYP_XML_H
#define ENSHU_HYP_XML_H

#include "enshu/common/buf.h"

#define ES_XML_DEPTH 16

struct es_xml {
    struct es_buf *out;
    const char *open[ES_XML_DEPTH]; /* borrows */
    int depth;
    bool in_tag;   /* "<name" is not closed yet */
    bool has_text; /* the element holds text: no indentation */
    int status;
};

void es_xml_init(struct es_xml *xml, struct es_buf *out);
void es_xml_open(struct es_xml *xml, const char *name);
void es_xml_attr(struct es_xml *xml, const char *name, const char *value);
void es_xml_attr_int(struct es_xml *xml, const char *name, long long value);
void es_xml_text(struct es_xml *xml, const char *text);
void es_xml_close(struct es_xml *xml);
/* <name/>, <name>text</name>, and an element with the given pairs of attributes, ended by
 * NULL. */
void es_xml_text_element(struct es_xml *xml, const char *name, const char *text);
void es_xml_element(struct es_xml *xml, const char *name, ...) __attribute__((sentinel));
/* 0, or why what was written cannot be used. */
int es_xml_finish(struct es_xml *xml);

/* The value of attribute `name` in the tag that begins at `tag` ("<…"), unescaped; false
 * when it is missing or does not fit. */
bool es_xml_read_attr(const char *tag, const char *name, char *dst, size_t size);

#endif
