#!/bin/sh
# Banned functions and unfinished work. Usage: words.sh [FOLDER]; prints FILE:LINE: RULE: …,
# fails on any.
cd "${1:-.}" || exit 2
code=$(find orchestrator agents include tests -name '*.[ch]' 2>/dev/null | sort)
[ -n "$code" ] || exit 0
# Comments and literals become blanks, so that only code counts; lines keep their numbers.
# shellcheck disable=SC2086
awk '
BEGIN {
    n = split("sprintf vsprintf gets alloca mktemp tmpnam vfork rand srand random srandom drand48", w, " ")
    for (i = 1; i <= n; i++) anywhere[w[i]] = 1
    # Tests fill arrays of their own from texts of their own.
    n = split("strcpy strcat stpcpy strtok atoi atol atoll atof system popen", w, " ")
    for (i = 1; i <= n; i++) product[w[i]] = 1
    n = split("malloc calloc realloc strdup strndup asprintf vasprintf reallocarray", w, " ")
    for (i = 1; i <= n; i++) memory[w[i]] = 1
    n = split("sleep usleep nanosleep clock_nanosleep uv_sleep", w, " "); for (i = 1; i <= n; i++) pause[w[i]] = 1
    # L1 and L2 take time and chance as arguments.
    n = split("time clock clock_gettime gettimeofday localtime localtime_r gmtime getenv getrandom randombytes_buf " \
        "randombytes_random randombytes_uniform uv_random uv_now uv_hrtime fork socket connect pthread_create", w, " ")
    for (i = 1; i <= n; i++) world[w[i]] = 1
}
function say(text) { printf "%s:%d: banned: %s\n", FILENAME, FNR, text; bad = 1 }
FNR == 1 { inside = 0; test = FILENAME ~ /^tests\//; bench = FILENAME ~ /^tests\/bench\//; heap = FILENAME == "orchestrator/common/mem.c"
    pure = FILENAME ~ /^orchestrator\/(wire|yaml|clock|scenario|plan|score)\// }
{
    raw = $0; code = ""; line = $0
    while (line != "") {
        if (inside) {
            at = index(line, "*/")
            if (at == 0) { line = ""; break }
            line = substr(line, at + 2); inside = 0; continue
        }
        if (match(line, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047|\/\*|\/\//) == 0) { code = code line; break }
        code = code substr(line, 1, RSTART - 1) " "
        token = substr(line, RSTART, RLENGTH); line = substr(line, RSTART + RLENGTH)
        if (token == "/*") inside = 1
        else if (token == "//") line = ""
    }
    while (match(code, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/)) {
        before = RSTART > 1 ? substr(code, RSTART - 1, 1) : ""
        name = substr(code, RSTART, RLENGTH); sub(/[ \t]*\($/, "", name)
        code = substr(code, RSTART + RLENGTH)
        if (before == "." || before == ">") continue
        if (name in anywhere || (!test && name in product)) say(name "(): use the bounded or owned way (common/str.h, common/mem.h, libsodium)")
        if (!test && !heap && name in memory) say(name "(): memory comes from common/mem.h")
        if (!test && !heap && name == "free" && raw !~ /\/\* from [A-Za-z0-9_]+ \*\//)
            say("free(): es_free, or say whose memory it is: free(x); /* from getline */")
        if (pure && name in world) say(name "(): a pure room takes time, chance and the world outside as arguments")
        if (test && !bench && name in pause) say(name "(): a test waits for an event, with a limit")
    }
}
END { exit bad }
' $code
status=$?

# Words of unfinished work, in every text of ours but this folder.
tree=$(find orchestrator agents include tests scenarios web .ci Makefile ./*.md 2>/dev/null \
    \( -path tests/lint -o -path 'tests/fuzz/corpus' \) -prune -o -type f -print | sort)
# shellcheck disable=SC2086
unfinished=$(grep -nIwE 'TODO|FIXME|XXX|HACK|WIP|TBD|[Uu]nimplemented|[Nn]ot implemented|[Nn]ot yet implemented|[Ff]or now' \
    $tree /dev/null | sed 's/^\([^:]*:[0-9]*\):/\1: unfinished:/')
if [ -n "$unfinished" ]; then
    echo "$unfinished"
    status=1
fi
exit $status
