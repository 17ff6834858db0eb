/* See xml.h. */
#include "xml.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/str.h"

void es_xml_init(struct es_xml *xml, struct es_buf *out)
{
    *xml = (struct es_xml){.out = out};
}

static void put_escaped(struct es_xml *xml, const char *s)
{
    if (!es_utf8_valid(s, strlen(s)))
        xml->status = ES_EINVAL;
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '&')
            es_buf_puts(xml->out, "&amp;");
        else if (c == '<')
            es_buf_puts(xml->out, "&lt;");
        else if (c == '>')
            es_buf_puts(xml->out, "&gt;");
        else if (c == '\'')
            es_buf_puts(xml->out, "&apos;");
        else if (c == '"')
            es_buf_puts(xml->out, "&quot;");
        else if (c == '\t' || c == '\n')
            es_buf_printf(xml->out, "&#%d;", c);
        else if (c < 0x20)
            xml->status = ES_EINVAL;
        else
            es_buf_putc(xml->out, *s);
    }
}

static void indent(struct es_xml *xml)
{
    for (int i = 0; i < xml->depth; i++)
        es_buf_puts(xml->out, "  ");
}

void es_xml_open(struct es_xml *xml, const char *name)
{
    ES_ASSERT(xml->depth < ES_XML_DEPTH && !xml->has_text);
    if (xml->in_tag)
        es_buf_puts(xml->out, ">\n");
    indent(xml);
    es_buf_printf(xml->out, "<%s", name);
    xml->open[xml->depth++] = name;
    xml->in_tag = true;
}

void es_xml_attr(struct es_xml *xml, const char *name, const char *value)
{
    ES_ASSERT(xml->in_tag && value != NULL);
    es_buf_printf(xml->out, " %s='", name);
    put_escaped(xml, value);
    es_buf_putc(xml->out, '\'');
}

void es_xml_attr_int(struct es_xml *xml, const char *name, long long value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", value);
    es_xml_attr(xml, name, text);
}

void es_xml_text(struct es_xml *xml, const char *text)
{
    ES_ASSERT(xml->in_tag && text != NULL);
    es_buf_putc(xml->out, '>');
    put_escaped(xml, text);
    xml->in_tag = false;
    xml->has_text = true;
}

void es_xml_close(struct es_xml *xml)
{
    ES_ASSERT(xml->depth > 0);
    const char *name = xml->open[--xml->depth];
    if (xml->in_tag) {
        es_buf_puts(xml->out, "/>\n");
    } else {
        if (!xml->has_text)
            indent(xml);
        es_buf_printf(xml->out, "</%s>\n", name);
    }
    xml->in_tag = xml->has_text = false;
}

void es_xml_text_element(struct es_xml *xml, const char *name, const char *text)
{
    es_xml_open(xml, name);
    es_xml_text(xml, text);
    es_xml_close(xml);
}

void es_xml_element(struct es_xml *xml, const char *name, ...)
{
    va_list args;
    const char *attr;
    es_xml_open(xml, name);
    va_start(args, name);
    while ((attr = va_arg(args, const char *)) != NULL)
        es_xml_attr(xml, attr, va_arg(args, const char *));
    va_end(args);
    es_xml_close(xml);
}

int es_xml_finish(struct es_xml *xml)
{
    ES_ASSERT(xml->depth == 0);
    return xml->status != 0 ? xml->status : es_buf_status(xml->out);
}

/* ------------------------------------------------------------------ reading */

static bool unescape(const char *s, size_t len, char *dst, size_t size)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&apos;", '\''}, {"&quot;", '"'}};
    size_t n = 0;
    for (size_t i = 0; i < len; n++) {
        if (n + 1 >= size)
            return false;
        size_t used = 0;
        for (size_t k = 0; s[i] == '&' && used == 0 && k < ES_COUNT(entities); k++)
            if (strncmp(s + i, entities[k].name, strlen(entities[k].name)) == 0) {
                used = strlen(entities[k].name);
                dst[n] = entities[k].c;
            }
        if (s[i] == '&' && used == 0)
            return false;
        if (used == 0)
            dst[n] = s[i];
        i += used != 0 ? used : 1;
    }
    dst[n] = '\0';
    return true;
}

bool es_xml_read_attr(const char *tag, const char *name, char *dst, size_t size)
{
    const char *p = tag + strcspn(tag, " \t\r\n/>");
    for (;;) {
        p += strspn(p, " \t\r\n");
        size_t len = strcspn(p, "= \t\r\n/>");
        const char *quote = p + len;
        if (len == 0 || *quote != '=' || (quote[1] != '\'' && quote[1] != '"'))
            return false;
        const char *value = quote + 2, *end = strchr(value, quote[1]);
        if (end == NULL)
            return false;
        if (strlen(name) == len && strncmp(p, name, len) == 0)
            return unescape(value, (size_t)(end - value), dst, size);
        p = end + 1;
    }
}
