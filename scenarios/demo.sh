#!/bin/bash
# The bundled drill on real machines for two teams: team 1 follows the solution, team 2 does
# nothing. Shows progress and the score with its reasons, then takes everything down.
#
#   scenarios/demo.sh BIN [SCENARIO]      KEEP=1 leaves it running; TEAMS=N; ENSHU_STATE=DIR
set -eu
bin=$1
top=$(cd "$(dirname "$0")/.." && pwd)
scenario=${2:-$top/scenarios/city-hall}
range=demo
export PATH="$bin:$PATH" ENSHU_STATE="${ENSHU_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/enshu}"
export ENSHU_RANGE=$range
log=$ENSHU_STATE/enshud.log
mkdir -p "$ENSHU_STATE"
started=

say() { printf '\n== %s\n' "$*" >&2; }

finish() {
    status=$?
    trap - EXIT INT TERM
    if [ -n "${KEEP:-}" ] && [ "$status" = 0 ]; then
        say "left running; look around with"
        cat >&2 <<TEXT
  export PATH=$bin:\$PATH ENSHU_STATE=$ENSHU_STATE
  enshu status                 what runs
  enshu watch $range             live table
  enshu console t2/web         a machine's serial console (leave with Ctrl-])
  enshu exec t2/web -- ip a    run something through the agent
  enshu score explain 1        the reason behind each point
  enshu down $range              take it down; then: enshu-nest stop --state $ENSHU_STATE
TEXT
        exit 0
    fi
    [ "$status" = 0 ] || { say "something went wrong; the end of $log:"; tail -n 15 "$log" >&2 || true; }
    if [ -n "$started" ]; then
        say "taking everything down"
        enshu down "$range" >/dev/null 2>&1 || true
        kill "$started" 2>/dev/null || true
        wait "$started" 2>/dev/null || true
        enshu-nest stop --state "$ENSHU_STATE" || true
    else
        enshu down "$range" || true
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

enshu validate "$scenario"
if ! enshu version --json 2>/dev/null | grep -q '"state"'; then
    say "starting the orchestrator with its embedded libvirt (log: $log)"
    enshud --state "$ENSHU_STATE" >"$log" 2>&1 &
    started=$!
    until grep -q '^enshud: ready' "$log"; do
        kill -0 "$started" 2>/dev/null || { wait "$started"; exit 1; }
        sleep 0.2
    done
fi

say "bringing up $(basename "$scenario") for ${TEAMS:-2} teams"
enshu plan "$scenario" --teams "${TEAMS:-2}" >&2
enshu up "$scenario" --teams "${TEAMS:-2}" --range "$range"

say "the exercise starts; team 2 looks out of the window"
enshu start "$range"
enshu watch "$range" >&2 &
watcher=$!

# Waits until a condition of team 1 passes; the exercise itself paces this.
await() {
    for _ in $(seq 1 300); do
        if enshu score "$range" --team 1 --json | tr -d '\n ' |
            grep -q "\"$1\":{\"outcome\":\"pass\""; then
            return 0
        fi
        sleep 1
    done
    say "condition $1 did not come to pass within five minutes"
    return 1
}
solve() { # machine, script
    say "team 1 on $1: $2"
    enshu exec "t1/$1" --range "$range" --stdin -- /bin/sh -s <"$scenario/$2"
}

solve web solve/note.sh
await noted
solve web solve/contain.sh
await contained
solve web solve/web.sh
solve pc solve/pc.sh
await recovered

say "the exercise ends"
enshu stop "$range"
kill "$watcher" 2>/dev/null || true
wait "$watcher" 2>/dev/null || true

say "scoreboard"
enshu score "$range"
for team in $(seq 1 "${TEAMS:-2}"); do
    say "why team $team has its points"
    enshu score explain "$team" --range "$range"
done
say "the score again, from the ledger alone"
enshu rescore "$range"
enshu ledger verify "$range"
