#!/bin/sh
# Plants one violation at a time in a small clean tree and expects its rule to speak.
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d) || exit 2
trap 'rm -rf "$tree"' EXIT
failed=0 count=0

clean_tree() {
    rm -rf "${tree:?}"/*
    mkdir -p "$tree/include/enshu/common" "$tree/orchestrator/common" "$tree/orchestrator/score" \
        "$tree/orchestrator/store" "$tree/orchestrator/hyp" "$tree/agents/probe" "$tree/tests/unit" "$tree/include/enshu/tbl"
    cp "$here/../../.clang-format" "$tree/"
    for door in score store hyp wire; do echo 'struct es_thing;' >"$tree/include/enshu/$door.h"; done
    echo 'struct es_err;' >"$tree/include/enshu/common/err.h"
    cat >"$tree/tests/unit/test_a.c" <<'END'
static void helper(int x)
{
    ck_assert(x);
}

START_TEST(one)
{
    helper(1);
}
END_TEST

void suite(void)
{
    tcase_add_test(tc, one);
}
END
    cat >"$tree/orchestrator/store/a.c" <<'END'
#include <sqlite3.h>
#include <uv.h>

#include "enshu/common/err.h"
#include "enshu/score.h"
#include "enshu/store.h"

/* strcpy(in, a) comment; malloc(1) */
const char *text(void)
{
    free(0); /* from getline */
    return "system(1)";
}
END
}

# plant FILE RULE TEXT…: the lines in a file of their own.
plant() {
    file=$1 rule=$2
    shift 2
    clean_tree
    mkdir -p "$tree/$(dirname "$file")"
    printf '%s\n' "$@" >"$tree/$file"
    expect "$file" "$rule" "$*"
}

expect() {
    count=$((count + 1))
    if out=$(sh "$here/lint.sh" "$tree" 2>&1); then
        echo "selftest: lint passes with $1: $3" >&2
        failed=1
    elif ! echo "$out" | grep -q "^$1:[0-9]*: $2:"; then
        echo "selftest: lint does not say \"$2\" of $1 ($3) but: $out" >&2
        failed=1
    fi
}

clean_tree
if ! out=$(sh "$here/lint.sh" "$tree" 2>&1); then
    echo "selftest: the clean tree fails: $out" >&2
    failed=1
fi

plant orchestrator/score/x.c deps '#include "enshu/store.h"'
plant orchestrator/score/x.c deps '#include <uv.h>'
plant orchestrator/score/x.c deps '#include <enshu/hyp.h>'
plant orchestrator/score/x.c banned 'int f(void)' '{' '    return (int)time(0);' '}'
plant orchestrator/score/x.c banned 'int f(void)' '{' '    return randombytes_random() > 0;' '}'
plant orchestrator/common/x.c deps '#include <jansson.h>'
plant orchestrator/hyp/x.c deps '#include "enshu/store.h"'
plant orchestrator/hyp/x.c deps '#include <sqlite3.h>'
plant orchestrator/store/x.c deps '#include <libvirt/libvirt.h>'
plant orchestrator/store/x.c deps '#include <yaml.h>'
plant orchestrator/store/x.c deps '#include <archive.h>'
plant orchestrator/store/x.c deps '#include "../score/score_inner.h"'
plant orchestrator/store/x.c deps '#include "orchestrator/score/score_inner.h"'
plant orchestrator/lobby/x.c deps 'struct es_x;'
plant include/enshu/score.h deps '#include "enshu/store.h"'
plant agents/probe/x.c deps '#include "enshu/score.h"'
plant orchestrator/store/x.c banned 'void f(char *a)' '{' '    strcpy(a, "b");' '}'
plant orchestrator/store/x.c banned 'void f(char *a)' '{' '    free(a);' '}'
plant orchestrator/store/x.c banned 'void *f(void)' '{' '    return malloc(1); /* note */' '}'
plant orchestrator/store/x.c banned 'int f(void)' '{' '    return "\"" != 0 && rand();' '}'
plant tests/unit/x.c banned 'void f(void)' '{' '    sleep(1);' '}'
plant tests/unit/x.c banned 'void f(void)' '{' '    uv_sleep(1);' '}'
plant orchestrator/store/x.c banned 'int f(const char *a)' '{' '    return atoi(a);' '}'
plant tests/unit/x.c banned 'int f(char *a)' '{' '    return sprintf(a, "x");' '}'
plant agents/probe/x.c deps '#include "../agent/agent.h"'
plant orchestrator/store/x.c unfinished '/* TODO: more */'
plant scenarios/x.yaml unfinished 'title: not implemented yet'
plant orchestrator/store/x.h header 'size_t f(void);'
plant orchestrator/store/x.c format 'int   f( void );'
plant tests/unit/x.c test 'START_TEST(two)' '{' '    helper_of_nobody();' '}' 'END_TEST' '' \
    'void s(void)' '{' '    tcase_add_test(tc, two);' '}'
plant tests/unit/x.c test 'START_TEST(two)' '{' '    ck_assert(1);' '}' 'END_TEST'
clean_tree
yes 'extern int a;' | head -601 >"$tree/orchestrator/store/x.c"
expect orchestrator/store/x.c size '601 lines'

[ $failed -eq 0 ] && echo "lint selftest: $count planted violations found"
exit $failed
