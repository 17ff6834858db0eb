#!/bin/sh
# Form: size of files, headers that stand alone, formatting. Usage: form.sh [FOLDER]; CC and
# CPPFLAGS come from the makefile. Prints FILE: RULE: …, fails on any.
cd "${1:-.}" || exit 2
status=0
code=$(find orchestrator agents include tests -name '*.[ch]' 2>/dev/null | sort)
[ -n "$code" ] || exit 0

# Tables (include/enshu/tbl/) may be longer, and so may tests.
for file in $code; do
    lines=$(wc -l <"$file")
    case $file in
    include/enshu/tbl/*) continue ;;
    tests/*) most=1000 ;;
    *) most=600 ;;
    esac
    if [ "$lines" -gt $most ]; then
        echo "$file:$most: size: $lines lines, at most $most: split it by what it does"
        status=1
    fi
done

for header in $(echo "$code" | grep '\.h$'); do
    # shellcheck disable=SC2086
    if ! ${CC:-cc} -std=c11 -fsyntax-only -Iinclude -D_GNU_SOURCE -DES_VERSION='"0"' $CPPFLAGS -include "$header" \
        -x c /dev/null >/dev/null 2>&1; then
        echo "$header:1: header: it does not compile alone: include what it uses"
        status=1
    fi
done

if command -v clang-format >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    unformatted=$(clang-format --dry-run -Werror $code 2>&1 |
        sed -n 's/^\([^ :]*\):[0-9]*:[0-9]*: error.*/\1:1: format: run make format/p' | sort -u)
    if [ -n "$unformatted" ]; then
        echo "$unformatted"
        status=1
    fi
else
    echo "form.sh: clang-format is missing, formatting is not checked" >&2
fi
exit $status
