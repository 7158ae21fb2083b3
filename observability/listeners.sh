#!/usr/bin/env bash
# What a thousand listeners cost those who pay: how long acceptance takes at 500 payments a second with listeners to /events, half of
# which never read, and without them, in interleaved pairs on the private stack. listeners.sh PROGRAMS [PAIRS] [SECONDS]
set -euo pipefail
# A measurement that fails inside `$(...)` ends the script too.
shopt -s inherit_errexit
programs=$1 pairs=${2:-3} seconds=${3:-40}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$programs:$PATH"
streams=1000 stalled=500 rate=500
work=.kilat/listeners
mkdir -p "$work"

stack() { devstack --root "$PWD" "$@"; }

# The gateway's memory in use, in MB.
memory() { awk '/VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$(stack ps | awk '$1 == "gateway" { print $2 }')/status"; }

# Payments between the same accounts each time, under ids of their own; the 99th percentile of acceptance, in milliseconds.
measure() {
    loadtest gen --rows $((rate * seconds)) --accounts 2000 --seed 7 --fx-share 0.3 --id-prefix "L$(date +%s%N)-" --out "$work/payments.csv" >/dev/null
    loadtest seed --accounts "$work/payments.csv.accounts.csv" >/dev/null
    rm -f "$work/replay.json"
    loadtest replay --csv "$work/payments.csv" --rate "$rate" --json "$work/replay.json" >"$work/replay.txt" || { cat "$work/replay.txt" >&2; return 1; }
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["accept_ms"]["p99"])' "$work/replay.json"
}

measure_with_listeners() {
    local listening p99
    # From before the first payment until after the last.
    loadtest listen --streams "$streams" --stalled "$stalled" --duration $((seconds + 15)) >"$work/listen.txt" &
    listening=$!
    # Most of them are there after this.
    sleep 3
    printf 'memory of the gateway, MB: %s' "$(memory)" >&2
    (while kill -0 "$listening" 2>/dev/null; do sleep 10; printf ' %s' "$(memory)" >&2; done) &
    p99=$(measure)
    wait "$listening"
    wait
    printf '\n' >&2
    cat "$work/listen.txt" >&2
    echo "$p99"
}

median() { sort -n | awk '{ value[NR] = $1 } END { print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'; }

stack up >/dev/null
measure >/dev/null
rm -f "$work/pairs.txt"
for pair in $(seq "$pairs"); do
    if ((pair % 2)); then
        with=$(measure_with_listeners)
        without=$(measure)
    else
        without=$(measure)
        with=$(measure_with_listeners)
    fi
    awk -v pair="$pair" -v with="$with" -v without="$without" 'BEGIN { printf "pair %s: accept p99 %.2f ms with, %.2f ms without: %.3f\n", pair, with, without, with / without }' | tee -a "$work/pairs.txt"
done
printf 'median ratio %s\n' "$(awk '{ print $NF }' "$work/pairs.txt" | median)"
