# Everything works from a fresh checkout, as root and as an ordinary user; what it writes lies in target/ and .kilat/.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps build demo test simulate bench up down restart ps logs trace watch clean

# rustup puts cargo here; not every shell has it on its path.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Where cargo puts programs, whether CARGO_TARGET_DIR or a configuration file moved it.
PROGRAMS = $(shell cargo metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release
DEVSTACK = "$(PROGRAMS)/devstack" --root "$(CURDIR)"
BENCHSTACK = "$(PROGRAMS)/devstack" --root "$(CURDIR)/.kilat/bench"

help: ## List the targets.
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

deps: ## Install what is missing: nats-server, Postgres, Prometheus; say what else is.
	@deploy/devstack/install.sh

build: ## Build the programs, optimised.
	cargo build --release --locked --workspace --bins

demo: deps build ## Start the stack, replay 20,000 payments, verify the ledger, draw a trace, leave the stack up.
	@deploy/devstack/demo.sh "$(PROGRAMS)"

bench: deps build ## Measure beside pgbench, on a stack of its own; QUICK=1 takes 4 minutes, SOAK=600 adds a steady load.
	@"$(PROGRAMS)/loadtest" bench --root "$(CURDIR)" $(if $(QUICK),--quick) $(if $(SOAK),--soak "$(SOAK)")

test: ## Run everything that must pass.
	@deploy/devstack/install.sh checks
	cargo fmt --all --check
	.kilat/bin/cargo-deny --locked --config .cargo/deny.toml check licenses bans sources
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --document-private-items
	cargo test --workspace --locked

# The number of seeds, the first one (any, when it is not said), and whether its steps are told. Of the whole workspace, so
# that what `make test` has built is what runs.
SEEDS ?= 2000
simulate: ## Play the pipeline in memory, with faults from SEEDS=2000 seeds from SEED=n on; TRACE=1 tells every step.
	@KILAT_SIMULATE_SEEDS="$(SEEDS)" KILAT_SIMULATE_SEED="$(or $(SEED),$(shell od -An -N6 -tu8 /dev/urandom | tr -d ' '))" \
		KILAT_SIMULATE_TRACE="$(TRACE)" cargo test --quiet --locked --workspace --test simulation -- --exact no_seed_breaks_a_promise

up: deps build ## Start what is not running of the private stack.
	@$(DEVSTACK) up

# A stack that runs must stay stoppable after `cargo clean`; so must one that a killed benchmark has left.
down: ## Stop the private stack.
	@if [ ! -x "$(PROGRAMS)/devstack" ] && compgen -G '.kilat/run/*.pid' >/dev/null; then \
		cargo build --release --locked --package devstack; \
	fi
	@if [ -x "$(PROGRAMS)/devstack" ]; then $(DEVSTACK) down; fi
	@if [ -x "$(PROGRAMS)/devstack" -a -d .kilat/bench ]; then $(BENCHSTACK) down; fi

restart: build ## Stop the private stack and start it again.
	@$(DEVSTACK) restart

ps: ## Show what runs of the private stack.
	@if [ -x "$(PROGRAMS)/devstack" ]; then $(DEVSTACK) ps; else echo "nothing was started: run \`make up\`"; fi

logs: ## Show the ends of the logs; FOLLOW=1 goes on.
	@if [ -x "$(PROGRAMS)/devstack" ]; then $(DEVSTACK) logs $(if $(FOLLOW),--follow); else echo "nothing was started: run \`make up\`"; fi

trace: ## Draw the trace of PAYMENT=id, or of the newest traced payment.
	@if [ -x "$(PROGRAMS)/devstack" ]; then $(DEVSTACK) trace $(if $(PAYMENT),"$(PAYMENT)"); else echo "nothing was started: run \`make up\`"; fi

watch: ## Watch how every role does, second by second; COUNT=n ends after so many.
	@if [ -x "$(PROGRAMS)/devstack" ]; then $(DEVSTACK) watch $(if $(COUNT),--count "$(COUNT)"); else echo "nothing was started: run \`make up\`"; fi

clean: down ## Stop the private stack; remove its data and everything built.
	@if [ -x "$(PROGRAMS)/devstack" -a -d .kilat/bench ]; then $(BENCHSTACK) clean; fi
	@if [ -x "$(PROGRAMS)/devstack" ]; then $(DEVSTACK) clean; fi
	cargo clean
