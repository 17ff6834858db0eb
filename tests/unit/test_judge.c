/* score/judge: verdicts from evidence, honest and hostile. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "enshu/common/mem.h"
#include "enshu/common/str.h"
#include "enshu/score.h"

#define PASS  ES_OUTCOME_PASS
#define FAIL  ES_OUTCOME_FAIL
#define FAULT ES_OUTCOME_FAULT

static const char *value_of(void *ctx, const char *name)
{
    (void)ctx;
    if (strcmp(name, "random.flag") == 0)
        return "ENSHU{a.b}";
    if (strcmp(name, "team.id") == 0)
        return "t1";
    return NULL;
}

static json_t *json(const char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    ck_assert_msg(value != NULL, "%s: %s", text, error.text);
    return value;
}

static char why[256];
static enum es_outcome judge_one(enum es_compare compare, const char *field, bool negate,
                                 const char *expected, const char *evidence,
                                 const char *baseline)
{
    struct es_expect expect = {.key = "the-key",
                               .field = field,
                               .compare = compare,
                               .negate = negate,
                               .value = json(expected)};
    struct es_probe probe = {.present = true, .expects = &expect, .expect_count = 1};
    json_t *seen = json(evidence), *before = baseline != NULL ? json(baseline) : NULL;
    enum es_outcome outcome =
        es_judge(&probe, seen, before, value_of, NULL, why, sizeof why);
    json_decref(expect.value);
    json_decref(seen);
    json_decref(before);
    return outcome;
}

START_TEST(presence)
{
    static const struct {
        bool present;
        const char *evidence;
        enum es_outcome want;
        const char *why;
    } cases[] = {
        {true, "{\"exists\": true, \"mode\": \"0644\"}", PASS, "as expected"},
        {true, "{\"exists\": true, \"mode\": \"0600\"}", FAIL,
         "mode is 0600, expected 0644"},
        {true, "{\"exists\": true}", FAIL, "mode is missing"},
        {true, "{\"exists\": false}", FAIL, "exists is false, expected true"},
        {true, "{}", FAIL, "exists is missing, expected true"},
        {true, "{\"exists\": 1, \"mode\": \"0644\"}", FAIL,
         "exists is missing, expected true"},
        {true, "[]", FAIL, "there is no evidence"},
        {true, "null", FAIL, "there is no evidence"},
        {false, "{\"exists\": false}", PASS, "as expected"},
        {false, "{\"exists\": false, \"mode\": \"0600\"}", PASS, "as expected"},
        {false, "{\"exists\": true, \"mode\": \"0644\"}", FAIL,
         "exists is true, expected false"},
        {false, "{\"exists\": \"false\"}", FAIL, "exists is missing, expected false"},
    };
    json_t *mode = json("\"0644\"");
    struct es_expect expect = {.key = "mode", .field = "mode", .value = mode};
    struct es_probe probe = {
        .presence_field = "exists", .expects = &expect, .expect_count = 1};
    for (size_t i = 0; i < ES_COUNT(cases); i++) {
        json_t *evidence = json(cases[i].evidence);
        probe.present = cases[i].present;
        enum es_outcome got =
            es_judge(&probe, evidence, NULL, NULL, NULL, why, sizeof why);
        ck_assert_msg(got == cases[i].want, "case %zu", i);
        ck_assert_str_eq(why, cases[i].why);
        json_decref(evidence);
    }
    ck_assert_int_eq(es_judge(&probe, NULL, NULL, NULL, NULL, why, sizeof why), FAIL);
    json_decref(mode);
}
END_TEST

struct compare_case {
    enum es_compare compare;
    const char *field;
    const char *expected, *evidence;
    enum es_outcome want, negated;
};

static const struct compare_case equality[] = {
    {ES_CMP_EQUALS, "f", "200", "{\"f\": 200}", PASS, FAIL},
    {ES_CMP_EQUALS, "f", "200", "{\"f\": 404}", FAIL, PASS},
    {ES_CMP_EQUALS, "f", "200", "{\"f\": \"200\"}", FAIL, FAIL}, /* wrong type */
    {ES_CMP_EQUALS, "f", "true", "{\"f\": true}", PASS, FAIL},
    {ES_CMP_EQUALS, "f", "true", "{\"f\": false}", FAIL, PASS},
    {ES_CMP_EQUALS, "f", "\"a\"", "{\"f\": \"a\"}", PASS, FAIL},
    {ES_CMP_EQUALS, "f", "\"a\"", "{\"f\": \"a \"}", FAIL, PASS},
    {ES_CMP_EQUALS, "f", "\"a\"", "{\"f\": \"a\\u0000\"}", FAIL, PASS},
    {ES_CMP_EQUALS, "f", "\"a\"", "{\"f\": null}", FAIL, FAIL},
    {ES_CMP_EQUALS, "f", "\"a\"", "{\"f\": {\"a\": 1}}", FAIL, FAIL},
    {ES_CMP_EQUALS, "f", "\"a\"", "{}", FAIL, FAIL},
    {ES_CMP_EQUALS, "f_b64", "\"hi\"", "{\"f_b64\": \"aGk=\"}", PASS, FAIL},
    {ES_CMP_EQUALS, "f_b64", "\"hi\"", "{\"f_b64\": \"aGkK\"}", FAIL, PASS},
    {ES_CMP_EQUALS, "f_b64", "\"hi\"", "{\"f_b64\": \"*not base64*\"}", FAIL, FAIL},
    {ES_CMP_EQUALS, "f_b64", "\"\"", "{\"f_b64\": \"\"}", PASS, FAIL},
    {ES_CMP_EQUALS, "f", "\"${random.flag}\"", "{\"f\": \"ENSHU{a.b}\"}", PASS, FAIL},
    {ES_CMP_EQUALS, "f", "\"$${x}\"", "{\"f\": \"${x}\"}", PASS, FAIL},
    {ES_CMP_EQUALS, "f", "\"${random.none}\"", "{\"f\": \"x\"}", FAULT, FAULT},
    {ES_CMP_ONE_OF, "f", "[200, 301]", "{\"f\": 301}", PASS, FAIL},
    {ES_CMP_ONE_OF, "f", "[200, 301]", "{\"f\": 500}", FAIL, PASS},
    {ES_CMP_ONE_OF, "f", "[200, 301]", "{\"f\": \"200\"}", FAIL, FAIL},
    {ES_CMP_ONE_OF, "f", "[\"a\", 3]", "{\"f\": 3}", PASS, FAIL},
    {ES_CMP_ONE_OF, "f", "[\"a\", \"${team.id}\"]", "{\"f\": \"t1\"}", PASS, FAIL},
    {ES_CMP_RANGE, "f", "[1, 3]", "{\"f\": 1}", PASS, FAIL},
    {ES_CMP_RANGE, "f", "[1, 3]", "{\"f\": 3}", PASS, FAIL},
    {ES_CMP_RANGE, "f", "[1, 3]", "{\"f\": 4}", FAIL, PASS},
    {ES_CMP_RANGE, "f", "[1, null]", "{\"f\": 999999999999}", PASS, FAIL},
    {ES_CMP_RANGE, "f", "[null, 3]", "{\"f\": -5}", PASS, FAIL},
    {ES_CMP_RANGE, "f", "[1, 3]", "{\"f\": 2.0}", FAIL, FAIL},
    {ES_CMP_RANGE, "f", "[1, 3]", "{\"f\": \"2\"}", FAIL, FAIL},
    {ES_CMP_SHA256, "f_b64",
     "\"2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824\"",
     "{\"f_b64\": \"aGVsbG8=\"}", PASS, FAIL},
    {ES_CMP_SHA256, "sha256",
     "\"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"",
     "{\"sha256\": \"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"}",
     PASS, FAIL},
    {ES_CMP_SHA256, "sha256", "\"2cf2\"", "{\"sha256\": \"\"}", FAIL, PASS},
};

static const struct compare_case searching[] = {
    {ES_CMP_CONTAINS, "f", "\"b\"", "{\"f\": \"abc\"}", PASS, FAIL},
    {ES_CMP_CONTAINS, "f", "\"x\"", "{\"f\": \"abc\"}", FAIL, PASS},
    {ES_CMP_CONTAINS, "f", "\"x\"", "{\"f\": 5}", FAIL, FAIL},
    {ES_CMP_CONTAINS, "f_b64", "\"ll\"", "{\"f_b64\": \"aGVsbG8=\"}", PASS, FAIL},
    {ES_CMP_CONTAINS, "f", "\"after\"", "{\"f\": \"nul\\u0000after\"}", PASS, FAIL},
    {ES_CMP_CONTAINS, "f", "\"wheel\"", "{\"f\": [\"users\", \"wheel\"]}", PASS, FAIL},
    {ES_CMP_CONTAINS, "f", "\"whee\"", "{\"f\": [\"users\", \"wheel\"]}", FAIL, PASS},
    {ES_CMP_CONTAINS, "f", "\"a\"", "{\"f\": []}", FAIL, PASS},
    {ES_CMP_CONTAINS, "f", "\"a\"", "{\"f\": [1, null, {}, \"a\"]}", PASS, FAIL},
    {ES_CMP_CONTAINS, "f", "80", "{\"f\": [22, 80]}", PASS, FAIL},
    {ES_CMP_CONTAINS, "f", "\"ell\"", "{\"f\": [5, {\"line_b64\": \"aGVsbG8=\"}]}", PASS,
     FAIL},
    {ES_CMP_CONTAINS, "f", "\"elx\"", "{\"f\": [{\"line_b64\": \"aGVsbG8=\"}]}", FAIL,
     PASS},
    {ES_CMP_CONTAINS, "f", "\"ell\"", "{\"f\": [{\"line_b64\": 5}]}", FAIL, PASS},
    {ES_CMP_REGEX, "f", "\"^h.*o$\"", "{\"f\": [{\"line_b64\": \"aGVsbG8=\"}]}", PASS,
     FAIL},
    {ES_CMP_CONTAINS, "f", "\"${random.flag}\"", "{\"f\": \"x ENSHU{a.b} y\"}", PASS,
     FAIL},
    {ES_CMP_REGEX, "f", "\"^b+$\"", "{\"f\": \"a\\nbbb\\nc\"}", PASS, FAIL},
    {ES_CMP_REGEX, "f", "\"^b+$\"", "{\"f\": \"abbb\"}", FAIL, PASS},
    {ES_CMP_REGEX, "f", "\"a.b\"", "{\"f\": \"a\\nb\"}", FAIL, PASS},
    {ES_CMP_REGEX, "f", "\"a|b\"", "{\"f\": 7}", FAIL, FAIL},
    {ES_CMP_REGEX, "f_b64", "\"h(e|x)l{2}o\"", "{\"f_b64\": \"aGVsbG8=\"}", PASS, FAIL},
    {ES_CMP_REGEX, "f_b64", "\"h\"", "{\"f_b64\": \"====\"}", FAIL, FAIL},
    {ES_CMP_REGEX, "f", "\"b$\"", "{\"f\": \"a\\u0000b\"}", PASS, FAIL},
    {ES_CMP_REGEX, "f", "\"root\"", "{\"f\": [3, \"x\", \"0 3 * * * root sh\"]}", PASS,
     FAIL},
    {ES_CMP_REGEX, "f", "\"root\"", "{\"f\": [3, {}]}", FAIL, PASS},
    {ES_CMP_REGEX, "f", "\"(\"", "{\"f\": \"a\"}", FAULT, FAULT},
    /* a value stands for itself: its dot and braces are no operators */
    {ES_CMP_REGEX, "f", "\"^${random.flag}$\"", "{\"f\": \"ENSHU{a.b}\"}", PASS, FAIL},
    {ES_CMP_REGEX, "f", "\"^${random.flag}$\"", "{\"f\": \"ENSHU{aXb}\"}", FAIL, PASS},
    {ES_CMP_VERSION, "f", "\"1.22.1-9+deb12u3\"", "{\"f\": \"1.22.1-9+deb12u3\"}", PASS,
     FAIL},
    {ES_CMP_VERSION, "f", "\"1.22.1-9\"", "{\"f\": \"1.22.1-9+deb12u3\"}", PASS, FAIL},
    {ES_CMP_VERSION, "f", "\"1.22.10\"", "{\"f\": \"1.22.9-1\"}", FAIL, PASS},
    {ES_CMP_VERSION, "f", "\"1:1.0\"", "{\"f\": \"9.9\"}", FAIL, PASS},
    {ES_CMP_VERSION, "f", "\"1.0\"", "{\"f\": \"1.0~rc1\"}", FAIL, PASS},
    {ES_CMP_VERSION, "f", "\"1.0\"", "{\"f\": \"\"}", FAIL, FAIL},
    {ES_CMP_VERSION, "f", "\"1.0\"", "{\"f\": 2}", FAIL, FAIL},
};

static void run(const struct compare_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct compare_case *c = &cases[i];
        enum es_outcome plain =
            judge_one(c->compare, c->field, false, c->expected, c->evidence, NULL);
        enum es_outcome negated =
            judge_one(c->compare, c->field, true, c->expected, c->evidence, NULL);
        ck_assert_msg(plain == c->want && negated == c->negated,
                      "%s against %s: %s, negated %s (%s)", c->evidence, c->expected,
                      es_outcome_name(plain), es_outcome_name(negated), why);
    }
}

START_TEST(comparisons)
{
    run(equality, ES_COUNT(equality));
    run(searching, ES_COUNT(searching));
}
END_TEST

START_TEST(changed_since_personalise)
{
    const char *before = "{\"f\": \"$y$old\"}";
    ck_assert_int_eq(
        judge_one(ES_CMP_CHANGED, "f", false, "true", "{\"f\": \"$y$new\"}", before),
        PASS);
    ck_assert_int_eq(
        judge_one(ES_CMP_CHANGED, "f", false, "true", "{\"f\": \"$y$old\"}", before),
        FAIL);
    ck_assert_str_eq(why, "f: unchanged since the start");
    ck_assert_int_eq(
        judge_one(ES_CMP_CHANGED, "f", true, "true", "{\"f\": \"$y$new\"}", before),
        FAIL);
    ck_assert_str_eq(why, "f: changed since the start");
    ck_assert_int_eq(judge_one(ES_CMP_CHANGED, "f", false, "true", "{\"f\": 3}", before),
                     FAIL);
    ck_assert_int_eq(judge_one(ES_CMP_CHANGED, "f", false, "true", "{}", before), FAIL);
    ck_assert_int_eq(
        judge_one(ES_CMP_CHANGED, "f", false, "true", "{\"f\": \"a\"}", NULL), FAULT);
    ck_assert_str_eq(why, "the-key: what it was at personalise is not known; reset the "
                          "machine");
}
END_TEST

START_TEST(reasons)
{
    judge_one(ES_CMP_EQUALS, "f", false, "200", "{\"f\": 502}", NULL);
    ck_assert_str_eq(why, "the-key is 502, expected 200");
    judge_one(ES_CMP_RANGE, "f", false, "[1, null]", "{\"f\": 0}", NULL);
    ck_assert_str_eq(why, "the-key is 0, expected within [1,null]");
    judge_one(ES_CMP_CONTAINS, "f", true, "\"evil\"", "{\"f\": \"so evil\"}", NULL);
    ck_assert_str_eq(why, "the-key is so evil, expected not to contain evil");
    judge_one(ES_CMP_REGEX, "f_b64", false, "\"x+\"", "{\"f_b64\": \"aGk=\"}", NULL);
    ck_assert_str_eq(why, "the-key is other data, expected to match x+");
    /* what may be a flag or a password is never told */
    judge_one(ES_CMP_EQUALS, "f", false, "\"${random.flag}\"", "{\"f\": \"x\"}", NULL);
    ck_assert_str_eq(why, "the-key is not what is expected");
    judge_one(ES_CMP_ONE_OF, "f", false, "[\"${random.flag}\"]", "{\"f\": \"x\"}", NULL);
    ck_assert_str_eq(why, "the-key is not what is expected");
    /* escapes of the guest do not reach a terminal */
    judge_one(ES_CMP_EQUALS, "f", false, "\"a\"", "{\"f\": \"\\u001b[2J\\n\"}", NULL);
    ck_assert_str_eq(why, "the-key is \\x1b[2J\\x0a, expected a");
}
END_TEST

/* Text longer than the cap fails, in no time and without a crash; what is shown of any
 * evidence is short, valid UTF-8. */
START_TEST(huge_evidence)
{
    size_t len = 200000;
    char *text = malloc(len + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', len);
    text[len] = '\0';
    json_t *evidence = json_pack("{s:s, s:[s, s]}", "f", text, "list", text, "b");
    json_object_set_new(evidence, "f_b64", json_string(text));
    static const enum es_compare all[] = {ES_CMP_EQUALS, ES_CMP_REGEX, ES_CMP_CONTAINS,
                                          ES_CMP_VERSION, ES_CMP_SHA256};
    json_t *expected = json("\"(a*)*b\"");
    for (size_t i = 0; i < ES_COUNT(all); i++)
        for (int field = 0; field < 2; field++) {
            struct es_expect expect = {.key = "k",
                                       .field = field == 0 ? "f" : "f_b64",
                                       .compare = all[i],
                                       .negate = i % 2 == 1,
                                       .value = expected};
            struct es_probe probe = {
                .present = true, .expects = &expect, .expect_count = 1};
            ck_assert_int_eq(
                es_judge(&probe, evidence, NULL, NULL, NULL, why, sizeof why), FAIL);
            ck_assert(es_utf8_valid(why, strlen(why)));
        }
    struct es_expect expect = {
        .key = "k", .field = "list", .compare = ES_CMP_CONTAINS, .value = expected};
    struct es_probe probe = {.present = true, .expects = &expect, .expect_count = 1};
    ck_assert_int_eq(es_judge(&probe, evidence, NULL, NULL, NULL, why, sizeof why), FAIL);
    json_decref(expected);
    json_decref(evidence);
    free(text);
    char small[4];
    ck_assert_int_eq(es_judge(&probe, NULL, NULL, NULL, NULL, small, sizeof small), FAIL);
    ck_assert_str_eq(small, "the");
}
END_TEST

/* The longest text that is looked at, with a pattern that is slow where one backtracks. */
START_TEST(patient_patterns)
{
    size_t len = 65000;
    char *text = malloc(len + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', len);
    text[len] = '\0';
    json_t *evidence = json_pack("{s:s}", "f", text), *expected = json("\"(a*)*b\"");
    struct es_expect expect = {
        .key = "k", .field = "f", .compare = ES_CMP_REGEX, .value = expected};
    struct es_probe probe = {.present = true, .expects = &expect, .expect_count = 1};
    ck_assert_int_eq(es_judge(&probe, evidence, NULL, NULL, NULL, why, sizeof why), FAIL);
    json_decref(expected);
    json_decref(evidence);
    free(text);
}
END_TEST

/* Text cut in the middle of a character stays valid. */
START_TEST(cut_evidence_is_valid_text)
{
    for (int pad = 0; pad < 3; pad++) {
        struct es_buf evidence;
        es_buf_init(&evidence, 512);
        es_buf_printf(&evidence, "{\"f\": \"%.*s", pad, "xx");
        for (int i = 0; i < 60; i++)
            es_buf_puts(&evidence, "演");
        es_buf_puts(&evidence, "\"}");
        judge_one(ES_CMP_EQUALS, "f", false, "\"a\"", es_buf_str(&evidence), NULL);
        ck_assert_msg(es_utf8_valid(why, strlen(why)), "%s", why);
        ck_assert_uint_gt(strlen(why), 60);
        es_buf_finish(&evidence);
    }
}
END_TEST

START_TEST(out_of_memory)
{
    json_t *evidence = json("{\"f\": \"one\", \"f_b64\": \"aGk=\"}");
    json_t *pattern = json("\"o${team.id}?n\"");
    struct es_expect expects[] = {
        {.key = "a",
         .field = "f_b64",
         .compare = ES_CMP_EQUALS,
         .negate = true,
         .value = pattern},
        {.key = "b",
         .field = "f",
         .compare = ES_CMP_REGEX,
         .negate = true,
         .value = pattern},
    };
    struct es_probe probe = {.present = true, .expects = expects, .expect_count = 2};
    bool all_through = false;
    for (long nth = 1; !all_through; nth++) {
        ck_assert_int_lt(nth, 100);
        es_mem_fail_nth(nth);
        enum es_outcome outcome =
            es_judge(&probe, evidence, NULL, value_of, NULL, why, sizeof why);
        all_through = !es_mem_failed();
        es_mem_fail_nth(0);
        ck_assert_int_eq(outcome, all_through ? PASS : FAULT); /* never the team's loss */
        ck_assert_int_eq(es_mem_live_count(), 0);
    }
    json_decref(pattern);
    json_decref(evidence);
}
END_TEST

/* Mutated evidence: any verdict, no crash (the sanitizers watch). */
START_TEST(any_evidence)
{
    static const char *const values[] = {
        "null",    "true", "-1",          "9223372036854775807",
        "1e300",   "\"\"", "\"\\u0000\"", "[]",
        "[[[]]]",  "{}",   "{\"f\": []}", "\"aGk=\"",
        "\"a=b\"",
    };
    static const char *const wants[] = {"1",      "true",         "\"a\"",      "[1, 2]",
                                        "[null]", "[null, null]", "\"[a-z]*\"", "[]"};
    char evidence[256];
    for (size_t v = 0; v < ES_COUNT(values); v++)
        for (size_t w = 0; w < ES_COUNT(wants); w++)
            for (int c = ES_CMP_EQUALS; c <= ES_CMP_CHANGED; c++)
                for (int negate = 0; negate < 2; negate++) {
                    snprintf(evidence, sizeof evidence, "{\"f\": %s, \"f_b64\": %s}",
                             values[v], values[v]);
                    judge_one((enum es_compare)c, "f", negate, wants[w], evidence, "{}");
                    judge_one((enum es_compare)c, "f_b64", negate, wants[w], evidence,
                              evidence);
                    ck_assert_uint_gt(strlen(why), 0);
                }
}
END_TEST

Suite *judge_suite(void);
Suite *judge_suite(void)
{
    Suite *suite = suite_create("judge");
    TCase *tc = tcase_create("judge");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, presence);
    tcase_add_test(tc, comparisons);
    tcase_add_test(tc, changed_since_personalise);
    tcase_add_test(tc, reasons);
    tcase_add_test(tc, huge_evidence);
    tcase_add_test(tc, patient_patterns);
    tcase_add_test(tc, cut_evidence_is_valid_text);
    tcase_add_test(tc, out_of_memory);
    tcase_add_test(tc, any_evidence);
    suite_add_tcase(suite, tc);
    return suite;
}
