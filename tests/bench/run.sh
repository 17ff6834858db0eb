#!/bin/bash
# Every bench program, one after another: its table as it goes, its JSON in
# OUT/results.json (an object each), and at the end what the goals are and what was
# measured. A missed goal is shown as missed, and nothing fails because of it.
#
#   tests/bench/run.sh BIN OUT [NAME...]     NAME: scenario score store agent link hyp core
#                                            fanout boot fork park density fill
#
# BENCH_RUNS=3 runs of each boot, BENCH_BOOT="tiny debian-12" images to boot (empty: none),
# BENCH_SECONDS=10 of each load, BENCH_AGENTS=1000, BENCH_MACHINES=10000, BENCH_EVENTS=1000000;
# BENCH_FANOUT=300 machines at a time, BENCH_DENSITY and BENCH_FILL the words of
# bench_density.c for memory after a while, and for as many as fit (empty: none);
# BENCH_FORK, BENCH_PARK words of theirs;
# BENCH_IMAGES and BENCH_ACCEL as lab.h says.
set -eu
bin=$(realpath "$1") out=$2
shift 2
top=$(cd "$(dirname "$0")/../.." && pwd)
names=("$@")
[ ${#names[@]} -gt 0 ] || names=(scenario score store agent link hyp core fanout boot fork park density fill)
export ENSHU_BIN=$bin ENSHU_TOP=$top
mkdir -p "$out"
density=${BENCH_DENSITY-teams=20 nodes=3 minutes=10 fill=0}
# Without users: it is memory that is filled, and processors are few. What forks keep is
# measured, and admitted by, when they have run five minutes.
fill=${BENCH_FILL-teams=20 nodes=3 minutes=6 users=0 every=60 fill=20480}
read -ra boots <<<"${BENCH_BOOT-tiny debian-12}"

words_of() {
    case $1 in
    store) echo "$out ${BENCH_EVENTS:-1000000}" ;;
    hyp) echo "${BENCH_MACHINES:-10000}" ;;
    link | core)
        if [ "$1" = link ]; then echo "${BENCH_AGENTS:-1000} 4 ${BENCH_SECONDS:-10}"
        else echo "${BENCH_AGENTS:-1000} ${BENCH_SECONDS:-10}"; fi ;;
    fanout) echo "${BENCH_FANOUT:-300}" ;;
    density) echo "$density" ;;
    fill) echo "$fill" ;;
    boot) echo "${BENCH_RUNS:-3} ${boots[*]}" ;;
    fork) echo "${BENCH_FORK:-}" ;;
    park) echo "${BENCH_PARK:-}" ;;
    esac
}

# One bench: its table goes to standard error already, or stands before its JSON.
run_one() {
    local name=$1 program=$1 words
    read -ra words <<<"$(words_of "$name")"
    [ "$name" != fill ] || program=density
    printf '\n== %s (load %s)\n' "$name" "$(cut -d' ' -f1 /proc/loadavg)"
    if { [ "$name" = boot ] && [ ${#boots[@]} -eq 0 ]; } ||
        { [ "$program" = density ] && [ ${#words[@]} -eq 0 ]; }; then
        echo "  left out"
        return
    fi
    "$bin/bench-$program" "${words[@]}" >"$out/$name.out" || { echo "  bench-$name failed" && return; }
    sed -n '/^[{]/q;p' "$out/$name.out"
    sed -n '/^[{]/,$p' "$out/$name.out" >"$out/$name.json"
}

host() {
    printf '{"cpus": %s, "model": "%s", "kernel": "%s", "kvm": %s, "load_before": %s, "at": "%s"}\n' \
        "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" \
        "$([ -w /dev/kvm ] && echo true || echo false)" "$(cut -d' ' -f1 /proc/loadavg)" \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}

cd "$top"
for name in "${names[@]}"; do rm -f "$out/$name.json" "$out/$name.out"; done
host >"$out/host.json"
for name in "${names[@]}"; do run_one "$name" 2>&1; done
printf '\n'
"$bin/bench-goals" "$out"
