/* Inside of judging. Only orchestrator/score includes this. */
#ifndef ENSHU_SCORE_JUDGE_H
#define ENSHU_SCORE_JUDGE_H

#include "enshu/common/buf.h"
#include "enshu/score.h"

#define JUDGE_TEXT_MAX    65536 /* evidence beyond it is not looked at but failed */
#define JUDGE_PATTERN_MAX 4096

/* What a comparison found: no yes or no can be reached with BAD evidence (the guest's
 * fault: a fail) or when OURS failed (a fault). */
enum judge_answer { JUDGE_NO, JUDGE_YES, JUDGE_BAD, JUDGE_OURS };

struct judge {
    const char *(*value)(void *ctx, const char *name);
    void *ctx;
    struct es_buf text;     /* decoded evidence */
    struct es_buf expected; /* expanded expectation */
    struct es_buf escaped;  /* of one value, for a pattern */
    struct es_err err;      /* why it is OURS */
};

enum judge_answer judge_compare(struct judge *judge, const struct es_expect *expect,
                                const json_t *field, const json_t *before);
/* Bytes of a text field: decoded when it is base64. */
enum judge_answer judge_text(struct judge *judge, const char *field_name,
                             const json_t *field);
bool judge_is_base64(const char *field_name);
/* Debian's order of versions (deb-version(7)): negative, 0, positive. */
int judge_version_cmp(const char *a, const char *b);

#endif
