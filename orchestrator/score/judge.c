/* Verdicts. The evidence was made by a guest that may be hostile; the expectations come
 * from the scenario and never leave the core, except in `why`, and there not when they hold
 * a ${…}: flags and passwords are among those. */
#include "judge.h"

#include <stdio.h>
#include <string.h>

#include "enshu/common/str.h"

#define SHOWN_MAX 80

/* A short, harmless form of a value for `why`. */
static void show(const json_t *value, const char *field_name, char *dst, size_t size)
{
    char plain[3 * SHOWN_MAX + 1];
    const char *text = plain;
    size_t len;
    if (json_is_string(value)) {
        text = json_string_value(value);
        len = json_string_length(value);
        if (judge_is_base64(field_name) && len > 0) {
            snprintf(dst, size, "other data");
            return;
        }
    } else {
        len = json_dumpb(value, plain, sizeof plain, JSON_ENCODE_ANY | JSON_COMPACT);
        if (len == 0 || len > sizeof plain) {
            snprintf(dst, size, "of another kind");
            return;
        }
    }
    struct es_buf out;
    es_buf_init(&out, 16 * SHOWN_MAX);
    bool cut = len > SHOWN_MAX;
    int status = es_str_escape_terminal(&out, text, cut ? SHOWN_MAX : len, false);
    snprintf(dst, size, "%s%s", status == 0 ? es_buf_str(&out) : "other", cut ? "…" : "");
    es_buf_finish(&out);
}

static bool secret(const json_t *value)
{
    size_t i;
    json_t *item;
    if (json_is_array(value))
        json_array_foreach (value, i, item) {
            if (secret(item))
                return true;
        }
    return json_is_string(value) && strstr(json_string_value(value), "${") != NULL;
}

static const char *wording(const struct es_expect *expect)
{
    switch (expect->compare) {
    case ES_CMP_REGEX:
        return expect->negate ? "not to match" : "to match";
    case ES_CMP_CONTAINS:
        return expect->negate ? "not to contain" : "to contain";
    case ES_CMP_RANGE:
        return expect->negate ? "outside" : "within";
    case ES_CMP_ONE_OF:
        return expect->negate ? "none of" : "one of";
    case ES_CMP_VERSION:
        return expect->negate ? "below" : "at least";
    case ES_CMP_SHA256:
        return expect->negate ? "another SHA-256 than" : "the SHA-256";
    case ES_CMP_EQUALS:
    case ES_CMP_CHANGED:
        break;
    }
    return expect->negate ? "anything but" : "";
}

static void explain(const struct es_expect *expect, const json_t *field, char *why,
                    size_t size)
{
    char actual[8 * SHOWN_MAX], expected[8 * SHOWN_MAX];
    if (field == NULL) {
        snprintf(why, size, "%s is missing", expect->key);
    } else if (expect->compare == ES_CMP_CHANGED) {
        snprintf(why, size, "%s: %s since the start", expect->field,
                 json_is_false(expect->value) != expect->negate ? "changed"
                                                                : "unchanged");
    } else if (secret(expect->value)) {
        snprintf(why, size, "%s is not what is expected", expect->key);
    } else {
        const char *words = wording(expect);
        show(field, expect->field, actual, sizeof actual);
        show(expect->value, "", expected, sizeof expected);
        snprintf(why, size, "%s is %s, expected %s%s%s", expect->key, actual, words,
                 words[0] != '\0' ? " " : "", expected);
    }
}

static enum es_outcome judge_presence(const struct es_probe *probe,
                                      const json_t *evidence, char *why, size_t size)
{
    const json_t *field = json_object_get(evidence, probe->presence_field);
    const char *want = probe->present ? "true" : "false";
    if (!json_is_boolean(field)) {
        snprintf(why, size, "%s is missing, expected %s", probe->presence_field, want);
        return ES_OUTCOME_FAIL;
    }
    bool present = json_is_true(field);
    if (present != probe->present)
        snprintf(why, size, "%s is %s, expected %s", probe->presence_field,
                 present ? "true" : "false", want);
    return present == probe->present ? ES_OUTCOME_PASS : ES_OUTCOME_FAIL;
}

static enum es_outcome judge_expect(struct judge *judge, const struct es_expect *expect,
                                    const json_t *evidence, const json_t *baseline,
                                    char *why, size_t size)
{
    const json_t *field = json_object_get(evidence, expect->field);
    const json_t *before = json_object_get(baseline, expect->field);
    enum judge_answer answer = judge_compare(judge, expect, field, before);
    if (answer == JUDGE_OURS) {
        snprintf(why, size, "%s: %s", expect->key, judge->err.msg);
        return ES_OUTCOME_FAULT;
    }
    if (answer == (expect->negate ? JUDGE_NO : JUDGE_YES))
        return ES_OUTCOME_PASS;
    explain(expect, field, why, size);
    return ES_OUTCOME_FAIL;
}

static enum es_outcome judge_all(const struct es_probe *probe, const json_t *evidence,
                                 const json_t *baseline, struct judge *judge, char *why,
                                 size_t size)
{
    if (!json_is_object(evidence)) {
        snprintf(why, size, "there is no evidence");
        return ES_OUTCOME_FAIL;
    }
    enum es_outcome outcome = ES_OUTCOME_PASS;
    if (probe->presence_field != NULL) {
        outcome = judge_presence(probe, evidence, why, size);
        if (!probe->present)
            return outcome;
    }
    for (size_t i = 0; i < probe->expect_count && outcome == ES_OUTCOME_PASS; i++)
        outcome = judge_expect(judge, &probe->expects[i], evidence, baseline, why, size);
    return outcome;
}

enum es_outcome es_judge(const struct es_probe *probe, const json_t *evidence,
                         const json_t *baseline,
                         const char *(*value)(void *ctx, const char *name), void *ctx,
                         char *why, size_t why_size)
{
    ES_ASSERT(probe != NULL && why != NULL && why_size > 0);
    ES_ASSERT(probe->expect_count == 0 || probe->expects != NULL);
    struct judge judge = {.value = value, .ctx = ctx};
    es_buf_init(&judge.text, JUDGE_TEXT_MAX);
    es_buf_init(&judge.expected, JUDGE_TEXT_MAX);
    es_buf_init(&judge.escaped, JUDGE_TEXT_MAX);
    snprintf(why, why_size, "as expected");
    enum es_outcome outcome = judge_all(probe, evidence, baseline, &judge, why, why_size);
    /* A text cut by its size must not end within a character. */
    for (size_t len = strlen(why); len > 0 && !es_utf8_valid(why, len);)
        why[--len] = '\0';
    es_buf_finish(&judge.text);
    es_buf_finish(&judge.expected);
    es_buf_finish(&judge.escaped);
    return outcome;
}
