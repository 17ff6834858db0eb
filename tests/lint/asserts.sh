#!/bin/sh
# Each START_TEST asserts something, itself or in a function of the tests that it calls, and
# is added to a test case. Usage: asserts.sh [FOLDER]; prints FILE:LINE: test: …, fails on any.
cd "${1:-.}" || exit 2
files=$(find tests -name '*.[ch]' 2>/dev/null | sort)
[ -n "$files" ] || exit 0
# shellcheck disable=SC2086
awk '
# body[k]: the words of function k; several files may have functions of one name.
function open_body(n) { k++; name[k] = n; file[k] = FILENAME; line[k] = FNR; body[k] = " "; inside = 1 }
FNR == 1 { inside = 0; macro = 0 }
{ words = $0; gsub(/"([^"\\]|\\.)*"/, " ", words); gsub(/[^A-Za-z0-9_]+/, " ", words) }
/START_TEST\(/ {
    n = $0; sub(/.*START_TEST\(/, "", n); sub(/\).*/, "", n)
    open_body(n); test[k] = 1; next
}
/^#define [A-Za-z_0-9]+\(/ { n = $2; sub(/\(.*/, "", n); open_body(n); macro = 1 }
!inside && /^[A-Za-z].*[( ]*\(/ && !/;[ \t]*$/ {
    n = $0; sub(/\(.*/, "", n); sub(/.*[ *]/, "", n); open_body(n)
}
inside { body[k] = body[k] words " " }
!inside || !(k in test) { for_suite[FILENAME] = for_suite[FILENAME] " " words }
macro && !/\\$/ { macro = 0; inside = 0 }
/^}/ { inside = 0 }
END {
    for (i = 1; i <= k; i++)
        if (body[i] ~ / (ck_assert[a-z0-9_]*|ck_abort[a-z_]*|fail_if|fail_unless) /) { good[i] = 1; asserts[name[i]] = 1 }
    for (again = 1; again;) {
        again = 0
        for (i = 1; i <= k; i++) {
            if (i in good) continue
            n = split(body[i], w, " ")
            for (j = 1; j <= n; j++)
                if (w[j] in asserts) { good[i] = 1; asserts[name[i]] = 1; again = 1; break }
        }
    }
    for (i = 1; i <= k; i++) {
        if (!(i in test)) continue
        if (!(i in good)) { printf "%s:%d: test: %s asserts nothing\n", file[i], line[i], name[i]; bad = 1 }
        if (index(for_suite[file[i]] " ", " " name[i] " ") == 0) {
            printf "%s:%d: test: %s is in no test case\n", file[i], line[i], name[i]; bad = 1
        }
    }
    exit bad
}
' $files
