#!/usr/bin/env bash
# The demonstration: demo.sh PROGRAMS, the folder with the built programs. Each run has payment ids of its own.
set -euo pipefail
programs=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$programs:$PATH"

step() { printf '\n== %s\n' "$*"; }
stack() { devstack --root "$PWD" "$@"; }

# port_of MEMBER: its first port.
port_of() { stack ps | awk -v name="$1" '$1 == name { print $3 }'; }

# random_digits BYTES: as many bytes in hexadecimal.
random_digits() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# Whether every target of Prometheus answered its last scrape, within half a minute.
all_targets_up() {
    local poll
    for poll in {1..60}; do
        if stack ps | grep -qE '^prometheus .* ready, ([1-9][0-9]*) of \1 targets up$'; then return 0; fi
        sleep 0.5
    done
    return 1
}

run=$(date +%s)
payments=.kilat/demo/payments.csv
mkdir -p .kilat/demo

step "the private stack"
stack up

step "20,000 payments between 2,000 accounts, three in ten with a conversion"
loadtest gen --rows 20000 --accounts 2000 --seed 7 --fx-share 0.3 --id-prefix "D$run-" --out "$payments"

step "accounts, opened and funded"
loadtest seed --accounts "$payments.accounts.csv"

step "the replay"
loadtest replay --csv "$payments"

step "the ledger, checked from outside"
loadtest verify

step "the last of the payments that were traced, one in a hundred"
if ! all_targets_up; then
    stack ps
    printf 'demo: Prometheus does not reach all its targets\n' >&2
    exit 1
fi
# A configuration may have turned traces off.
stack trace || true

port=$(port_of gateway)
cat <<END

The stack is up: http://127.0.0.1:$port/ shows it live, and takes payments. For example, one between two funded accounts that is traced for sure, and its trace:

  curl -i http://127.0.0.1:$port/payments -H 'Content-Type: application/json' \\
    -H 'traceparent: 00-$(random_digits 16)-$(random_digits 8)-01' \\
    -d '{"id":"TRY-$run","source_account":"ACC_SRC_ABC","destination_account":"ACC_DST_DEF","amount":12.50,"currency":"USD"}'
  make trace PAYMENT=TRY-$run

Prometheus answers on http://127.0.0.1:$(port_of prometheus).
\`make ps\` shows what runs, \`make logs\` what it says, \`make down\` stops it.
END
