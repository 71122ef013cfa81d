# Vouch. `make` lists what there is to do; `make demo` is the place to start.

FILE ?= README.md
ARGS ?=
SEEDS ?= 500

# The demo's file reaches the shell through the environment: any name is good, with blanks, quotes or dollar signs.
export VOUCH_DEMO_FILE := $(value FILE)

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup toolchain chromium page build build-release build-demo demo test soak soak-bugs bench vectors screenshots fmt lint clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

NODE_MODULES := tests/node_modules/.package-lock.json tests/hosts/node_modules/.package-lock.json verifier-wasm/npm/node_modules/.package-lock.json
# Outside of the sources: no folder above has a `ws`, which the package must not need.
HOSTS := target/hosts/soak/node_modules/.package-lock.json

setup: toolchain chromium $(NODE_MODULES) ## Fetch and compile the tools that a build and the tests need (first time: minutes)

toolchain:
	@verifier-wasm/toolchain.sh

chromium:
	@tests/browser/chromium.sh >/dev/null

%/node_modules/.package-lock.json: %/package-lock.json
	@cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(HOSTS): tests/hosts/soak/package-lock.json
	@mkdir -p target/hosts/soak
	@cp tests/hosts/soak/package.json tests/hosts/soak/package-lock.json target/hosts/soak/
	@cd target/hosts/soak && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Before the program, which carries the page within it.
page: toolchain
	@verifier-wasm/build.sh
	@. "$$(verifier-wasm/toolchain.sh --env)"; VOUCH_ESBUILD=$$VOUCH_ESBUILD web/build.sh

build: page ## Build the modules for browsers and Node.js, the page, and the program with the page and the client for S3 in it
	@cargo build --locked --features s3

build-release: page
	@cargo build --locked --release --features s3

# Without the client for S3 and the crates that it brings: a first build takes half of the time.
build-demo: page
	@cargo build --locked

# The trap lets an interrupt end the demo and not the shell before it: make then has nothing to complain about.
demo: build-demo ## Start a committee, store FILE with it and verify the receipt: make demo FILE=path ARGS="..."
	@trap : INT; \
	target/debug/vouch demo "$$VOUCH_DEMO_FILE" --verify-with "node verifier-wasm/npm/bin/vouch-verify.js" $(ARGS); \
	status=$$?; [ $$status -eq 130 ] || exit $$status

test: setup build ## Run every test: Rust, then Node.js, then the page in Chromium
	@cargo test --workspace --locked
	@node --test tests/js/*.test.mjs
	@node --test --test-concurrency=1 tests/browser/*.test.mjs
	@node --test tests/hosts/fast.test.mjs

soak: setup build $(HOSTS) ## Run the long tests: large files, what they do to memory, every host of the npm package: make soak SEEDS=1000
	@cargo test --package vouch-core --lib --locked -- --ignored --nocapture
	@VOUCH_SEEDS=$(SEEDS) cargo test --package vouch-tests --test sim --locked -- more_seeds --ignored --nocapture
	@cargo test --package vouch-tests --test cluster --locked -- --ignored --nocapture
	@node --test tests/hosts/soak.test.mjs

soak-bugs: ## Put bugs back that were found before, one at a time, and have the simulation find each
	@cargo test --package vouch-tests --features bugs --test sim --locked -- bugs_are_found --ignored --nocapture

bench: setup build-release ## Measure speed, each figure beside its reference
	@node tests/bench/run.mjs

vectors: tests/node_modules/.package-lock.json ## Regenerate tests/vectors with the independent implementation
	@node tests/vectors/generate.mjs

screenshots: setup build ## Take pictures of every state of the page: target/screenshots
	@VOUCH_SHOTS=target/screenshots node tests/browser/shots.mjs

fmt: ## Format the sources
	@cargo fmt --all

lint: ## Check formatting, and the compiler's advice
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo clippy --package vouch --locked -- -D warnings

clean: ## Remove what was built here; the tools in ~/.cache/vouch stay
	@rm -rf target verifier-wasm/npm/wasm verifier-wasm/npm/node_modules web/dist tests/node_modules tests/hosts/node_modules
