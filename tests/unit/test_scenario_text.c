/* scenario: the JSON Schema and the reference agree with the language and with the files
 * that ship them; the bundled scenarios are without fault. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/err.h"
#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/scenario.h"

static const char *in_top(const char *name)
{
    static char path[1024];
    const char *top = getenv("ENSHU_TOP");
    snprintf(path, sizeof path, "%s/%s", top != NULL ? top : ".", name);
    return path;
}

static char *read_file(const char *name)
{
    FILE *file = fopen(in_top(name), "r");
    ck_assert_msg(file != NULL, "%s cannot be read", name);
    char *text = calloc(1, 1U << 20);
    ck_assert_ptr_nonnull(text);
    text[fread(text, 1, (1U << 20) - 1, file)] = '\0';
    fclose(file);
    return text;
}

START_TEST(reference_is_the_readme)
{
    struct es_buf out;
    es_buf_init(&out, 1U << 20);
    ck_assert_int_eq(es_scenario_reference(&out), 0);
    char *readme = read_file("scenarios/README.md");
    ck_assert_msg(
        strcmp(readme, es_buf_str(&out)) == 0,
        "scenarios/README.md is old: run enshu reference > scenarios/README.md");
    free(readme);
    es_buf_finish(&out);
}
END_TEST

START_TEST(schema_is_the_file)
{
    json_t *schema = es_scenario_schema();
    ck_assert_ptr_nonnull(schema);
    json_t *file = json_load_file(in_top("scenarios/schema.json"), 0, NULL);
    ck_assert_msg(
        json_equal(schema, file),
        "scenarios/schema.json is old: run enshu schema > scenarios/schema.json");
    json_decref(file);
    json_decref(schema);
}
END_TEST

/* Counts references and checks that each leads to a definition. */
static size_t check_refs(const json_t *defs, const json_t *value)
{
    static const char prefix[] = "#/$defs/";
    size_t n = 0, i;
    const char *key;
    json_t *item;
    if (json_is_array(value)) {
        json_array_foreach (value, i, item)
            n += check_refs(defs, item);
        return n;
    }
    json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
        if (strcmp(key, "$ref") == 0) {
            const char *target = json_string_value(item);
            ck_assert_msg(es_str_starts(target, prefix) &&
                              json_object_get(defs, target + strlen(prefix)) != NULL,
                          "%s leads nowhere", target);
            n++;
        }
        n += check_refs(defs, item);
    }
    return n;
}

START_TEST(schema_is_closed)
{
    json_t *schema = es_scenario_schema();
    ck_assert_str_eq(json_string_value(json_object_get(schema, "$schema")),
                     "https://json-schema.org/draft/2020-12/schema");
    const json_t *defs = json_object_get(schema, "$defs");
    ck_assert_uint_gt(check_refs(defs, schema), 50);
    for (int i = 0; i < ES_PROBE_COUNT; i++) {
        char name[64];
        snprintf(name, sizeof name, "probe-%s",
                 es_probe_kind_name((enum es_probe_kind)i));
        ck_assert_ptr_nonnull(json_object_get(defs, name));
    }
    const json_t *keys = json_object_get(schema, "properties");
    ck_assert_ptr_nonnull(json_object_get(keys, "conditions"));
    ck_assert_ptr_null(json_object_get(keys, "injects"));
    ck_assert(json_is_false(json_object_get(schema, "additionalProperties")));
    json_decref(schema);
}
END_TEST

static void check_bundled(const char *name)
{
    static const char line[] = "# yaml-language-server: $schema=../schema.json\n";
    static struct es_diags diags;
    char file[512];
    struct es_scenario *scenario = NULL;
    struct es_err err = {0};
    struct es_buf out;
    es_buf_init(&out, 65536);
    ck_assert_int_eq(es_str_printf(file, sizeof file, "scenarios/%s/scenario.yaml", name),
                     0);
    char *text = read_file(file);
    ck_assert_msg(es_str_starts(text, line), "%s does not begin with %s", file, line);
    free(text);
    int rc = es_scenario_load(in_top(file), &diags, &scenario, &err);
    es_diags_format(&diags, &out);
    ck_assert_msg(rc == 0 && out.len == 0, "%s:\n%s", file, es_buf_str(&out));
    es_buf_finish(&out);
    es_diags_finish(&diags);
    es_scenario_destroy(scenario);
}

START_TEST(bundled_scenarios_are_without_fault)
{
    DIR *dir = opendir(in_top("scenarios"));
    const struct dirent *entry;
    size_t n = 0;
    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL) {
        char file[512];
        if (es_str_printf(file, sizeof file, "scenarios/%s/scenario.yaml",
                          entry->d_name) != 0)
            continue;
        FILE *there = fopen(in_top(file), "r");
        if (there == NULL)
            continue;
        fclose(there);
        check_bundled(entry->d_name);
        n++;
    }
    closedir(dir);
    ck_assert_uint_ge(n, 2);
    ck_assert_int_eq(es_mem_live_count(), 0);
}
END_TEST

Suite *scenario_text_suite(void);
Suite *scenario_text_suite(void)
{
    Suite *suite = suite_create("scenario_text");
    TCase *tc = tcase_create("scenario_text");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, reference_is_the_readme);
    tcase_add_test(tc, schema_is_the_file);
    tcase_add_test(tc, schema_is_closed);
    tcase_add_test(tc, bundled_scenarios_are_without_fault);
    suite_add_tcase(suite, tc);
    return suite;
}
