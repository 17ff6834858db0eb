/* yaml: the positioned tree, its caps, and what it says about text it cannot read. */
#include <check.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/yaml.h"

static struct es_arena arena;
static struct es_diags diags;
static struct es_yaml *root;

static int parse_bytes(const char *text, size_t len)
{
    es_arena_finish(&arena);
    es_diags_finish(&diags);
    root = NULL;
    return es_yaml_parse(&arena, "t.yaml", text, len, &diags, &root);
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static void tidy(void)
{
    es_arena_finish(&arena);
    es_diags_finish(&diags);
    ck_assert_int_eq(es_mem_live_count(), 0);
}

static void assert_says(const char *text, const char *expected)
{
    struct es_buf out;
    es_buf_init(&out, 65536);
    parse(text);
    es_diags_format(&diags, &out);
    ck_assert_str_eq(es_buf_str(&out), expected);
    es_buf_finish(&out);
}

START_TEST(tree)
{
    ck_assert_int_eq(parse("a: 1\nb: [x, \"y\"]\nc:\n  d: |\n    text\n    more\n  e:\n"),
                     0);
    ck_assert_int_eq(root->type, ES_YAML_MAP);
    ck_assert_uint_eq(root->count, 3);
    const struct es_yaml *b = es_yaml_get(root, "b");
    ck_assert_int_eq(b->type, ES_YAML_LIST);
    ck_assert(b->flow);
    ck_assert_int_eq(b->key_pos.line, 2);
    ck_assert_int_eq(b->key_pos.col, 1);
    ck_assert_int_eq(b->pos.col, 4);
    ck_assert_str_eq(b->child->text, "x");
    ck_assert(!b->child->quoted);
    ck_assert(b->child->next->quoted);
    const struct es_yaml *c = es_yaml_get(root, "c");
    ck_assert_str_eq(es_yaml_get(c, "d")->text, "text\nmore\n");
    ck_assert(es_yaml_get(c, "d")->quoted);
    ck_assert_int_eq(es_yaml_get(c, "e")->type, ES_YAML_NULL);
    ck_assert_ptr_null(es_yaml_get(c, "z"));
    ck_assert_ptr_null(es_yaml_get(b, "x"));
    ck_assert_str_eq(root->pos.file, "t.yaml");
}
END_TEST

START_TEST(core_tags_are_text)
{
    ck_assert_int_eq(parse("a: !!str 42\n"), 0);
    ck_assert_uint_eq(diags.error_count, 0);
    ck_assert(es_yaml_get(root, "a")->quoted);
}
END_TEST

static const struct {
    const char *text, *says;
} bad[] = {
    {"a: 1\nb: 2\na: 3\n",
     "t.yaml:3:1: error: the key \"a\" stands here twice, first in line 1\n"},
    {"x:\n  - {a: 1, a: 2}\n",
     "t.yaml:2:12: error: x[0]: the key \"a\" stands here twice, first in line 2\n"},
    {"a: &x 1\nb: *x\n",
     "t.yaml:1:4: error: a: \"&\" would name an anchor; anchors are not part of the "
     "language: quote this text\n"
     "t.yaml:2:4: error: b: \"*\" would be an alias; aliases are not part of the "
     "language: "
     "quote this text\n"},
    {"a: !x 1\n", "t.yaml:1:4: error: a: \"!\" would be a tag; tags are not part of the "
                  "language: quote this text\n"},
    {"a: @x\n", "t.yaml:1:4: error: a text cannot begin with \"@\"; quote this text\n"},
    {"a: %x\n", "t.yaml:1:4: error: a text cannot begin with \"%\"; quote this text\n"},
    {"a: b: c\n",
     "t.yaml:1:5: error: a colon and a space inside a text; quote this text\n"},
    {"a:\n\tb: 1\n", "t.yaml:2:1: error: a tab cannot stand here; indent with spaces\n"},
    {"a: \"x\n", "t.yaml:1:4: error: the quotation that begins here is not closed\n"},
    {"a: \"\\q\"\n", "t.yaml:1:5: error: an unknown escape in \"…\"; write \\\\ for a "
                     "backslash, or use '…'\n"},
    {"a: \"x\\0y\"\n", "t.yaml:1:4: error: a: a NUL inside a text; remove it\n"},
    {"a: 1\n---\nb: 2\n",
     "t.yaml:2:1: error: a second document; a file holds one: remove the \"---\"\n"},
    {"", "t.yaml: error: the file is empty\n"},
    {"# nothing\n", "t.yaml: error: the file is empty\n"},
    {"\xef\xbb\xbf"
     "a: 1\n",
     "t.yaml:1:1: error: the file begins with a byte order mark; save it as UTF-8 "
     "without "
     "one\n"},
    {"a: 1\nb: \xe3\x81\x82\xff\n",
     "t.yaml:2:5: error: a byte that is not UTF-8; save the file as UTF-8\n"},
    {"? [a]\n: 1\n",
     "t.yaml:1:3: error: a key must be a plain word; quote a text that begins with a "
     "bracket\n"},
    {"a: [x] y\n", "t.yaml:1:8: error: this does not belong to the map above it: check "
                   "the indentation, "
                   "and quote a text that begins with a quote or bracket\n"},
};

START_TEST(bad_text)
{
    assert_says(bad[_i].text, bad[_i].says);
    ck_assert_uint_gt(diags.error_count, 0);
}
END_TEST

START_TEST(bytes)
{
    ck_assert_int_eq(parse_bytes("a: \0b\n", 6), ES_ESCENARIO);
    ck_assert_str_eq(diags.items[0].text, "a NUL byte in the text; remove it");
    ck_assert_int_eq(parse_bytes("\xff\xfe"
                                 "a\0:\0",
                                 6),
                     ES_ESCENARIO);
    ck_assert_str_eq(diags.items[0].text, "the file is UTF-16; save it as UTF-8");
    ck_assert_int_eq(parse_bytes("\0a\0:", 4), ES_ESCENARIO);
    ck_assert_str_eq(diags.items[0].text, "the file is UTF-16; save it as UTF-8");
}
END_TEST

/* A text of `count` times `unit`, with `prefix` before; es_free it. */
static char *repeated(const char *prefix, const char *unit, size_t count)
{
    struct es_buf buf;
    es_buf_init(&buf, 4U << 20);
    es_buf_puts(&buf, prefix);
    for (size_t i = 0; i < count; i++)
        es_buf_puts(&buf, unit);
    return es_buf_take(&buf);
}

static const struct {
    const char *prefix, *unit;
    size_t count;
    const char *says;
    int rc;
} big[] = {
    {"a: ", "[", 160000, "nested more than 32 deep; nothing after this was read", 0},
    {"a: ", "[\n", 160000, "nested more than 32 deep; nothing after this was read", 0},
    {"a: ", "{a: ", 160000, "nested more than 32 deep; nothing after this was read", 0},
    {"", "- ", 160000, "nested more than 32 deep; nothing after this was read", 0},
    {"", "? ", 160000,
     "a key must be a plain word; quote a text that begins with a bracket", 0},
    {"a: ", "x", 65537, "this text has more than 64 KiB; put it into a file", 0},
    {"", "- a\n", 200000,
     "more than 200000 items; split the exercise or put data into files", 0},
    {"", "#", 1048577,
     "the file has 1048577 bytes, at most 1048576 are read; split it with include",
     ES_ESCENARIO},
};

START_TEST(caps)
{
    char *text = repeated(big[_i].prefix, big[_i].unit, big[_i].count);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(parse(text), big[_i].rc);
    es_free(text);
    ck_assert_uint_ge(diags.count, 1);
    ck_assert_str_eq(diags.items[0].text, big[_i].says);
}
END_TEST

START_TEST(many_keys)
{
    struct es_buf buf;
    es_buf_init(&buf, 4U << 20);
    for (int i = 0; i < 50000; i++)
        es_buf_printf(&buf, "k%d: %d\n", i, i);
    es_buf_puts(&buf, "k49999: 1\n");
    ck_assert_int_eq(parse(es_buf_str(&buf)), 0);
    es_buf_finish(&buf);
    ck_assert_uint_eq(root->count, 50000);
    ck_assert_uint_eq(diags.error_count, 1);
}
END_TEST

START_TEST(diagnostics_are_sorted_and_capped)
{
    for (int i = 0; i < ES_DIAGS_MAX; i++)
        es_diags_add(&diags, ES_SEV_WARNING, (struct es_pos){"b", 60 - i, 1}, "p", "w%d",
                     i);
    es_diags_add(&diags, ES_SEV_ERROR, (struct es_pos){"a", 9, 2}, "", "wrong");
    ck_assert_uint_eq(diags.count, ES_DIAGS_MAX);
    ck_assert_uint_eq(diags.error_count, 1);
    struct es_buf out;
    es_buf_init(&out, 65536);
    es_diags_format(&diags, &out);
    ck_assert_ptr_eq(
        strstr(es_buf_str(&out), "a:9:2: error: wrong\nb:12:1: warning: p: w48\n"),
        es_buf_str(&out));
    ck_assert_ptr_nonnull(strstr(es_buf_str(&out), "and 1 more: mend these first\n"));
    es_buf_finish(&out);
}
END_TEST

START_TEST(every_allocation_fails_once)
{
    static const char text[] = "a: {b: [1, 2, *x], a: &y 2, b: 3}\nc: \"d\"\n";
    for (long n = 1;; n++) {
        es_mem_fail_nth(n);
        int rc = parse(text);
        bool failed = es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(rc, failed ? ES_ENOMEM : 0);
        if (!failed)
            break;
        es_arena_finish(&arena);
        es_diags_finish(&diags);
        ck_assert_int_eq(es_mem_live_count(), 0);
    }
}
END_TEST

Suite *yaml_suite(void);
Suite *yaml_suite(void)
{
    Suite *s = suite_create("yaml");
    TCase *tc = tcase_create("yaml");
    tcase_add_checked_fixture(tc, NULL, tidy);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, tree);
    tcase_add_test(tc, core_tags_are_text);
    tcase_add_loop_test(tc, bad_text, 0, ES_COUNT(bad));
    tcase_add_test(tc, bytes);
    tcase_add_loop_test(tc, caps, 0, ES_COUNT(big));
    tcase_add_test(tc, many_keys);
    tcase_add_test(tc, diagnostics_are_sorted_and_capped);
    tcase_add_test(tc, every_allocation_fails_once);
    suite_add_tcase(s, tc);
    return s;
}
