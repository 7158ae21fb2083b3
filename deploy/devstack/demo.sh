#!/usr/bin/env bash
# The demonstration: demo.sh PROGRAMS, the folder with the built programs. Each run has payment ids of its own.
set -euo pipefail
programs=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PATH="$programs:$PATH"

step() { printf '\n== %s\n' "$*"; }

payments=.kilat/demo/payments.csv
mkdir -p .kilat/demo

step "the private stack"
devstack --root "$PWD" up

step "20,000 payments between 2,000 accounts, three in ten with a conversion"
loadtest gen --rows 20000 --accounts 2000 --seed 7 --fx-share 0.3 --id-prefix "D$(date +%s)-" --out "$payments"

step "accounts, opened and funded"
loadtest seed --accounts "$payments.accounts.csv"
loadtest seed --accounts deploy/devstack/demo_accounts.csv

step "the replay"
loadtest replay --csv "$payments"

step "the ledger, checked from outside"
loadtest verify

port=$(devstack --root "$PWD" ps | awk '$1 == "gateway" { print $3 }')
cat <<END

The stack is up: http://127.0.0.1:$port takes payments. For example, between two accounts that are funded:

  curl -i http://127.0.0.1:$port/payments -H 'Content-Type: application/json' \\
    -d '{"source_account":"ACC_SRC_ABC","destination_account":"ACC_DST_DEF","amount":12.50,"currency":"USD"}'

\`make ps\` shows what runs, \`make logs\` what it says, \`make down\` stops it.
END
