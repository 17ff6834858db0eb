/* Faults of the text itself: bytes that are not YAML, and libyaml's findings in the words
 * of an author. */
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/str.h"
#include "room.h"

static void add(struct es_diags *diags, struct es_pos pos, const char *text)
{
    es_diags_add(diags, ES_SEV_ERROR, pos, "", "%s", text);
}

/* Line and column (in characters) of the byte at `offset`. */
static struct es_pos position(const char *file, const char *text, size_t offset)
{
    struct es_pos pos = {file, 1, 1};
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            pos.line++;
            pos.col = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            pos.col++;
        }
    }
    return pos;
}

/* The first byte that starts no valid UTF-8 sequence. */
static size_t first_invalid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = 1;
        while (n <= 4 && (i + n > len || !es_utf8_valid(text + i, n)))
            n++;
        if (n > 4)
            return i;
        i += n;
    }
    return len;
}

static bool is_utf16(const char *text, size_t len)
{
    if (len < 2)
        return false;
    return memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0 ||
           (text[0] == '\0' && text[1] != '\0') ||
           (text[0] != '\0' && text[1] == '\0' && len % 2 == 0);
}

int yaml_check_bytes(const char *file, const char *text, size_t len,
                     struct es_diags *diags)
{
    struct es_pos whole = {file, 1, 1};
    const char *nul;
    if (len > ES_YAML_FILE_MAX) {
        es_diags_add(diags, ES_SEV_ERROR, (struct es_pos){file, 0, 0}, "",
                     "the file has %zu bytes, at most %u are read; split it with include",
                     len, ES_YAML_FILE_MAX);
        return ES_ESCENARIO;
    }
    if (is_utf16(text, len)) {
        add(diags, whole, "the file is UTF-16; save it as UTF-8");
        return ES_ESCENARIO;
    }
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        add(diags, whole,
            "the file begins with a byte order mark; save it as UTF-8 without one");
        return ES_ESCENARIO;
    }
    if ((nul = memchr(text, '\0', len)) != NULL) {
        add(diags, position(file, text, (size_t)(nul - text)),
            "a NUL byte in the text; remove it");
        return ES_ESCENARIO;
    }
    if (!es_utf8_valid(text, len)) {
        add(diags, position(file, text, first_invalid(text, len)),
            "a byte that is not UTF-8; save the file as UTF-8");
        return ES_ESCENARIO;
    }
    return 0;
}

/* The character libyaml points at, '\0' at the end. */
static char char_at(const char *text, size_t len, yaml_mark_t mark)
{
    size_t i = 0;
    for (size_t line = 0; line < mark.line; line++) {
        const char *nl = memchr(text + i, '\n', len - i);
        if (nl == NULL)
            return '\0';
        i = (size_t)(nl - text) + 1;
    }
    for (size_t col = 0; i < len; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80 && col++ == mark.column)
            return text[i];
    return '\0';
}

static const struct saying {
    const char *problem; /* part of libyaml's own words */
    const char *text;
    bool at_context; /* what opened it is the better place to look at */
} sayings[] = {
    {"mapping values are not allowed",
     "a colon and a space inside a text; quote this text", false},
    {"did not find expected ',' or",
     "the […] or {…} is not closed, or a text in it holds a colon, quote or bracket; "
     "close "
     "it, or quote this text",
     false},
    {"unknown escape",
     "an unknown escape in \"…\"; write \\\\ for a backslash, or use '…'", false},
    {"found unexpected end of stream", "the quotation that begins here is not closed",
     true},
    {"found unexpected document indicator",
     "the quotation that begins here is not closed", true},
    {"did not find expected key",
     "this does not belong to the map above it: check the indentation, and quote a text "
     "that begins with a quote or bracket",
     false},
    {"did not find expected '-' indicator",
     "this does not belong to the list above it: check the indentation and the \"-\"",
     false},
    {"could not find expected ':'",
     "a key without \": \"; check the indentation, and quote a text of several lines",
     true},
    {"did not find expected alphabetic or numeric",
     "a text cannot begin with \"*\" or \"&\"; quote this text", false},
    {"block sequence entries are not allowed",
     "\"- \" starts a list item, which cannot stand here; check the indentation, or "
     "quote "
     "this text",
     false},
    {"tag", "a text cannot begin with \"!\"; quote this text", false},
    {"did not find expected '!'", "a text cannot begin with \"!\"; quote this text",
     false},
    {"did not find expected whitespace",
     "a text cannot begin with \"!\", \"|\" or \">\"; quote this text", false},
    {"did not find expected comment or line break",
     "a text cannot begin with \"|\" or \">\"; quote this text", false},
    {"control characters are not allowed", "a control character; remove it", false},
    {"did not find expected <document start>",
     "text after the end of the document; check the indentation", false},
    {"directive", "a line cannot begin with \"%\"; quote this text", false},
    {"did not find expected node content",
     "a text is missing here, or begins with a sign of YAML; quote this text", false},
    {"incompatible YAML document", "only YAML 1.1 and 1.2 are read; remove this line",
     false},
};

void yaml_explain(const yaml_parser_t *parser, const char *file, const char *text,
                  size_t len, struct es_diags *diags)
{
    const char *problem = parser->problem != NULL ? parser->problem : "unreadable";
    yaml_mark_t mark = parser->problem_mark;
    struct es_pos pos = {file, (int)mark.line + 1, (int)mark.column + 1};
    if (parser->error == YAML_READER_ERROR)
        pos = position(file, text,
                       parser->problem_offset < len ? parser->problem_offset : len);
    char c = char_at(text, len, mark);
    if (c == '\t') {
        add(diags, pos, "a tab cannot stand here; indent with spaces");
        return;
    }
    bool no_text = strstr(problem, "did not find expected node content") != NULL ||
                   strstr(problem, "mapping keys are not allowed") != NULL;
    if (strstr(problem, "cannot start any token") != NULL ||
        (no_text && c != '\0' && strchr(",]}?", c) != NULL)) {
        es_diags_add(diags, ES_SEV_ERROR, pos, "",
                     "a text cannot begin with \"%c\"; quote this text", c);
        return;
    }
    for (size_t i = 0; i < ES_COUNT(sayings); i++) {
        if (strstr(problem, sayings[i].problem) == NULL)
            continue;
        if (sayings[i].at_context && parser->context != NULL)
            pos = (struct es_pos){file, (int)parser->context_mark.line + 1,
                                  (int)parser->context_mark.column + 1};
        add(diags, pos, sayings[i].text);
        return;
    }
    es_diags_add(diags, ES_SEV_ERROR, pos, "", "%s; check the indentation and the quotes",
                 problem);
}
