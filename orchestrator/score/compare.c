/* One expectation against one field of evidence. */
#include <regex.h>
#include <sodium.h>
#include <string.h>

#include "enshu/common/str.h"
#include "judge.h"

/* ---- evidence */

bool judge_is_base64(const char *field_name)
{
    return es_str_ends(field_name, "_b64");
}

enum judge_answer judge_text(struct judge *judge, const char *field_name,
                             const json_t *field)
{
    es_buf_clear(&judge->text);
    if (!json_is_string(field))
        return JUDGE_BAD;
    const char *text = json_string_value(field);
    size_t len = json_string_length(field);
    if (!judge_is_base64(field_name)) {
        if (len > JUDGE_TEXT_MAX)
            return JUDGE_BAD;
        if (es_buf_append(&judge->text, text, len) != 0)
            return es_err_nomem(&judge->err), JUDGE_OURS;
        return JUDGE_YES;
    }
    if (len > JUDGE_TEXT_MAX / 3 * 4)
        return JUDGE_BAD;
    unsigned char *bytes = es_alloc(len + 1);
    size_t bytes_len = 0;
    if (bytes == NULL) {
        es_err_nomem(&judge->err);
        return JUDGE_OURS;
    }
    bool decoded = sodium_base642bin(bytes, len + 1, text, len, NULL, &bytes_len, NULL,
                                     sodium_base64_VARIANT_ORIGINAL) == 0;
    int status = decoded ? es_buf_append(&judge->text, bytes, bytes_len) : 0;
    es_free(bytes);
    if (status != 0)
        es_err_nomem(&judge->err);
    return status != 0 ? JUDGE_OURS : decoded ? JUDGE_YES : JUDGE_BAD;
}

/* ---- expectations */

/* A value that is put into a pattern stands for itself. */
static const char *escaped_value(void *ctx, const char *name)
{
    struct judge *judge = ctx;
    const char *value = judge->value != NULL ? judge->value(judge->ctx, name) : NULL;
    if (value == NULL)
        return NULL;
    es_buf_clear(&judge->escaped);
    return es_str_escape_regex(&judge->escaped, value) == 0 ? es_buf_str(&judge->escaped)
                                                            : NULL;
}

static const char *plain_value(void *ctx, const char *name)
{
    struct judge *judge = ctx;
    return judge->value != NULL ? judge->value(judge->ctx, name) : NULL;
}

static bool expand(struct judge *judge, const char *text, bool pattern)
{
    es_buf_clear(&judge->expected);
    return es_scenario_expand(text, pattern ? escaped_value : plain_value, judge,
                              &judge->expected, &judge->err) == 0;
}

/* ---- comparisons */

static enum judge_answer yes_if(bool yes)
{
    return yes ? JUDGE_YES : JUDGE_NO;
}

static enum judge_answer equals(struct judge *judge, const char *name,
                                const json_t *field, const json_t *value)
{
    if (!json_is_string(value)) {
        if (json_typeof(field) != json_typeof(value) &&
            !(json_is_boolean(field) && json_is_boolean(value)))
            return JUDGE_BAD;
        return yes_if(json_equal(field, value) != 0);
    }
    enum judge_answer read = judge_text(judge, name, field);
    if (read != JUDGE_YES)
        return read;
    if (!expand(judge, json_string_value(value), false))
        return JUDGE_OURS;
    return yes_if(judge->text.len == judge->expected.len &&
                  memcmp(es_buf_str(&judge->text), es_buf_str(&judge->expected),
                         judge->text.len) == 0);
}

static enum judge_answer one_of(struct judge *judge, const char *name,
                                const json_t *field, const json_t *values)
{
    enum judge_answer answer = JUDGE_BAD;
    size_t i;
    json_t *value;
    json_array_foreach (values, i, value) {
        enum judge_answer one = equals(judge, name, field, value);
        if (one == JUDGE_YES || one == JUDGE_OURS)
            return one;
        if (one == JUDGE_NO)
            answer = JUDGE_NO;
    }
    return answer;
}

static enum judge_answer contains(struct judge *judge, const char *name,
                                  const json_t *field, const json_t *value);

/* Scheduled jobs come as objects: what is looked for stands in their lines. */
static const char line_name[] = "line_b64";

/* Yes when any item of an array is the value, or an item's line holds it; items of another
 * kind are passed over. */
static enum judge_answer has_item(struct judge *judge, const char *name,
                                  const json_t *array, const json_t *value)
{
    size_t i;
    json_t *item;
    json_array_foreach (array, i, item) {
        const json_t *line = json_object_get(item, line_name);
        enum judge_answer one = line != NULL ? contains(judge, line_name, line, value)
                                             : equals(judge, name, item, value);
        if (one == JUDGE_YES || one == JUDGE_OURS)
            return one;
    }
    return JUDGE_NO;
}

static enum judge_answer contains(struct judge *judge, const char *name,
                                  const json_t *field, const json_t *value)
{
    if (json_is_array(field))
        return has_item(judge, name, field, value);
    if (!json_is_string(value))
        return JUDGE_BAD;
    enum judge_answer read = judge_text(judge, name, field);
    if (read != JUDGE_YES)
        return read;
    if (!expand(judge, json_string_value(value), false))
        return JUDGE_OURS;
    return yes_if(memmem(es_buf_str(&judge->text), judge->text.len,
                         es_buf_str(&judge->expected), judge->expected.len) != NULL);
}

static enum judge_answer bad_pattern(struct judge *judge, const char *why)
{
    es_err_set(&judge->err, ES_EINVAL, "the expected pattern cannot be used: %s", why);
    return JUDGE_OURS;
}

static enum judge_answer search(struct judge *judge, const char *name,
                                const json_t *field, const regex_t *regex)
{
    enum judge_answer read = judge_text(judge, name, field);
    if (read != JUDGE_YES)
        return read;
    regmatch_t all = {.rm_so = 0, .rm_eo = (regoff_t)judge->text.len};
    int found = regexec(regex, es_buf_str(&judge->text), 1, &all, REG_STARTEND);
    if (found == REG_ESPACE)
        return bad_pattern(judge, "it takes too much memory");
    return yes_if(found == 0);
}

static enum judge_answer matches(struct judge *judge, const char *name,
                                 const json_t *field, const json_t *value)
{
    regex_t regex;
    if (!json_is_string(value))
        return bad_pattern(judge, "it is not text");
    if (!expand(judge, json_string_value(value), true))
        return JUDGE_OURS;
    if (judge->expected.len > JUDGE_PATTERN_MAX)
        return bad_pattern(judge, "it is too long");
    if (regcomp(&regex, es_buf_str(&judge->expected),
                REG_EXTENDED | REG_NOSUB | REG_NEWLINE) != 0)
        return bad_pattern(judge, "it is not a POSIX extended regular expression");
    enum judge_answer answer = JUDGE_NO;
    if (json_is_array(field)) {
        size_t i;
        json_t *item;
        json_array_foreach (field, i, item) {
            const json_t *line = json_object_get(item, line_name);
            if (answer == JUDGE_NO || answer == JUDGE_BAD)
                answer = line != NULL ? search(judge, line_name, line, &regex)
                                      : search(judge, name, item, &regex);
        }
        answer = answer == JUDGE_BAD ? JUDGE_NO : answer;
    } else {
        answer = search(judge, name, field, &regex);
    }
    regfree(&regex);
    return answer;
}

static enum judge_answer in_range(const json_t *field, const json_t *value)
{
    if (!json_is_integer(field))
        return JUDGE_BAD;
    json_int_t number = json_integer_value(field);
    const json_t *min = json_array_get(value, 0), *max = json_array_get(value, 1);
    return yes_if((!json_is_integer(min) || number >= json_integer_value(min)) &&
                  (!json_is_integer(max) || number <= json_integer_value(max)));
}

static enum judge_answer at_least_version(struct judge *judge, const char *name,
                                          const json_t *field, const json_t *value)
{
    enum judge_answer read = judge_text(judge, name, field);
    if (read != JUDGE_YES)
        return read;
    if (judge->text.len == 0 || strlen(es_buf_str(&judge->text)) != judge->text.len)
        return JUDGE_BAD;
    if (!json_is_string(value) || !expand(judge, json_string_value(value), false))
        return JUDGE_OURS;
    return yes_if(
        judge_version_cmp(es_buf_str(&judge->text), es_buf_str(&judge->expected)) >= 0);
}

static enum judge_answer has_sha256(struct judge *judge, const char *name,
                                    const json_t *field, const json_t *value)
{
    enum judge_answer read = judge_text(judge, name, field);
    if (read != JUDGE_YES)
        return read;
    if (!json_is_string(value) || !expand(judge, json_string_value(value), false))
        return JUDGE_OURS;
    char hex[2 * crypto_hash_sha256_BYTES + 1];
    const char *actual = es_buf_str(&judge->text);
    if (judge_is_base64(name)) {
        unsigned char hash[crypto_hash_sha256_BYTES];
        crypto_hash_sha256(hash, (const unsigned char *)actual, judge->text.len);
        actual = sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    }
    return yes_if(strcasecmp(actual, es_buf_str(&judge->expected)) == 0);
}

static enum judge_answer changed(struct judge *judge, const json_t *field,
                                 const json_t *before, const json_t *value)
{
    if (before == NULL) {
        es_err_set(&judge->err, ES_ENOENT,
                   "what it was at personalise is not known; reset the machine");
        return JUDGE_OURS;
    }
    if (json_typeof(field) != json_typeof(before))
        return JUDGE_BAD;
    bool differs = json_equal(field, before) == 0;
    return yes_if(json_is_false(value) ? !differs : differs);
}

enum judge_answer judge_compare(struct judge *judge, const struct es_expect *expect,
                                const json_t *field, const json_t *before)
{
    ES_ASSERT(expect->field != NULL && expect->value != NULL);
    if (field == NULL)
        return JUDGE_BAD;
    const char *name = expect->field;
    switch (expect->compare) {
    case ES_CMP_EQUALS:
        return equals(judge, name, field, expect->value);
    case ES_CMP_REGEX:
        return matches(judge, name, field, expect->value);
    case ES_CMP_CONTAINS:
        return contains(judge, name, field, expect->value);
    case ES_CMP_RANGE:
        return in_range(field, expect->value);
    case ES_CMP_ONE_OF:
        return one_of(judge, name, field, expect->value);
    case ES_CMP_VERSION:
        return at_least_version(judge, name, field, expect->value);
    case ES_CMP_SHA256:
        return has_sha256(judge, name, field, expect->value);
    case ES_CMP_CHANGED:
        return changed(judge, field, before, expect->value);
    }
    ES_ASSERT(false && "a comparison");
    return JUDGE_OURS;
}
