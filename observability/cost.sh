#!/usr/bin/env bash
# What telemetry costs: CPU of stages and gateway for one settled payment, with metrics and traces and without,
# in interleaved pairs on the private stack. cost.sh PROGRAMS [PAIRS] [PAYMENTS]; the programs are what `make build` makes.
set -euo pipefail
# A measurement that fails inside `$(...)` ends the script too.
shopt -s inherit_errexit
programs=$1 pairs=${2:-5} payments=${3:-40000}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$programs:$PATH"
work=.kilat/cost
mkdir -p "$work"

stack() { devstack --root "$PWD" "$@"; }

# The processes' time on a core so far, in clock ticks.
ticks() {
    local total=0 name pid fields
    for name in stages gateway; do
        pid=$(stack ps | awk -v name="$name" '$1 == name { print $2 }')
        fields=$(sed 's/.*) //' "/proc/$pid/stat")
        total=$((total + $(awk '{ print $12 + $13 }' <<<"$fields")))
    done
    echo "$total"
}

# prepare PAYMENTS: between the same accounts each time, with enough money, under ids of their own.
prepare() {
    loadtest gen --rows "$1" --accounts 20000 --seed 7 --fx-share 0.3 --id-prefix "C$(date +%s%N)-" --out "$work/payments.csv" >/dev/null
    loadtest seed --accounts "$work/payments.csv.accounts.csv" >/dev/null
}

replay() {
    rm -f "$work/replay.json"
    loadtest replay --csv "$work/payments.csv" --connections 512 --json "$work/replay.json" >"$work/replay.txt"
}

# measure true|false: microseconds a payment.
measure() {
    local before after
    stack restart stages gateway --set "telemetry.enabled=$1" >/dev/null
    # Ends when risk has read what accounts have sent lately: that is no cost of what follows.
    prepare 500
    replay
    prepare "$payments"
    before=$(ticks)
    replay
    after=$(ticks)
    grep -Eq "\"settled\": ?$payments\b" "$work/replay.json" || { cat "$work/replay.txt" >&2; return 1; }
    awk -v ticks=$((after - before)) -v hz="$(getconf CLK_TCK)" -v payments="$payments" 'BEGIN { printf "%.1f\n", ticks / hz * 1e6 / payments }'
}

median() { sort -n | awk '{ value[NR] = $1 } END { print NR % 2 ? value[(NR + 1) / 2] : (value[NR / 2] + value[NR / 2 + 1]) / 2 }'; }

stack up >/dev/null
trap 'stack restart stages gateway >/dev/null' EXIT
rm -f "$work/pairs.txt.new"
measure true >/dev/null
printf '%-6s %10s %10s %8s   microseconds of CPU a payment\n' pair with without ratio
for pair in $(seq "$pairs"); do
    if ((pair % 2)); then
        with=$(measure true)
        without=$(measure false)
    else
        without=$(measure false)
        with=$(measure true)
    fi
    awk -v pair="$pair" -v with="$with" -v without="$without" 'BEGIN { printf "%-6s %10.1f %10.1f %8.3f\n", pair, with, without, with / without }' | tee -a "$work/pairs.txt.new"
done
printf 'median ratio %s\n' "$(awk '{ print $4 }' "$work/pairs.txt.new" | median)"
mv "$work/pairs.txt.new" "$work/pairs.txt"
