#!/bin/sh
# Who may include what. Usage: deps.sh [FOLDER]; prints FILE:LINE: deps: …, fails on any.
#
# A room has a rank; its files may include its own door and doors of a lower rank. The
# rooms of L3 stand beside each other and know nothing of one another; those of L2 and L4
# are ordered within their level. Each foreign library with a room of its own is included
# by that room alone. agents/agent rests on agents/probe.
cd "${1:-.}" || exit 2
files=$(find orchestrator agents include -name '*.[ch]' 2>/dev/null | sort)
[ -n "$files" ] || exit 0
# shellcheck disable=SC2086
awk '
BEGIN {
    # L0 and L1
    rank["tbl"] = 0; rank["common"] = 1; rank["wire"] = 10; rank["yaml"] = 11; rank["idmap"] = 12; rank["cgroup"] = 13
    # L2: clock, then what a scenario is, what it needs, what it is worth
    rank["clock"] = 20; rank["scenario"] = 21; rank["plan"] = 22; rank["score"] = 23
    # L3: no order among them
    rank["store"] = 30; rank["image"] = 30; rank["link"] = 30; rank["hyp"] = 30
    rank["doctor"] = 30
    # L4
    rank["range"] = 40; rank["report"] = 41; rank["control"] = 42; rank["gateway"] = 42
    # programs
    rank["enshud"] = 50; rank["enshu"] = 50; rank["nest"] = 50; rank["web"] = 50

    owner["yaml.h"] = "yaml"; owner["libvirt/"] = "hyp"; owner["sqlite3.h"] = "store"
    owner["archive.h"] = "image"; owner["archive_entry.h"] = "image"
    owner["libwebsockets.h"] = "gateway"
}
function say(text) { printf "%s:%d: deps: %s\n", FILENAME, FNR, text; bad = 1 }
FNR == 1 {
    n = split(FILENAME, part, "/")
    agent = part[1] == "agents"
    if (part[1] == "include") {
        room = part[3]; sub(/\.h$/, "", room)
        if (n > 3) room = part[3]
    } else {
        room = part[2]
    }
    if (!agent && !(room in rank)) say("room \"" room "\" has no rank in tests/lint/deps.sh")
}
/^[ \t]*#[ \t]*include[ \t]*("|<enshu\/)/ {
    split($0, quoted, /[<>"]/); name = quoted[2]
    if (FILENAME ~ /^agents\/agent\// && name ~ /^\.\.\/probe\/[^\/]*$/) next
    if (name ~ /(^|\/)\.\.(\/|$)/) say("\"" name "\" reaches into another folder")
    if (name !~ /^enshu\//) {
        if (name ~ /\// && !agent) say("\"" name "\": a room is entered by its door in include/enshu/ only")
        next
    }
    split(name, step, "/"); door = step[2]; sub(/\.h$/, "", door)
    if (!(door in rank)) { say("door \"" door "\" has no rank in tests/lint/deps.sh"); next }
    if (agent) {
        if (door != "wire" && door != "common" && door != "tbl")
            say("an agent may use wire and common, not " door)
        next
    }
    if (door != room && rank[door] >= rank[room]) say(room " may not use " door ": includes point downwards only")
}
/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, cut, /[<>]/); name = cut[2]
    for (lib in owner)
        if ((name == lib || (lib ~ /\/$/ && index(name, lib) == 1)) && room != owner[lib])
            say("<" name "> belongs to the room " owner[lib])
    if (name == "uv.h" && !agent && rank[room] < 30) say("the rooms below L3 know no event loop")
    if (name ~ /^(uv|jansson|sodium)\.h$/ && room == "common") say("common rests on libc alone")
    if (name == "check.h") say("<check.h> belongs to tests")
}
END { exit bad }
' $files
