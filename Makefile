# Vouch. `make` lists what there is to do; `make demo` is the place to start.

FILE ?= README.md
ARGS ?=

# The demo's file reaches the shell through the environment: any name is good, with blanks, quotes or dollar signs.
export VOUCH_DEMO_FILE := $(value FILE)

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup toolchain build build-release demo test soak bench vectors fmt lint clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: toolchain tests/node_modules/.package-lock.json ## Fetch and compile the tools that a build and the tests need (first time: minutes)

toolchain:
	@verifier-wasm/toolchain.sh

tests/node_modules/.package-lock.json: $(wildcard tests/package-lock.json)
	@cd tests && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

build: toolchain ## Build the program and, for browsers and Node.js, the verifier
	@cargo build --locked
	@verifier-wasm/build.sh

build-release: toolchain
	@cargo build --locked --release
	@verifier-wasm/build.sh

# The trap lets an interrupt end the demo and not the shell before it: make then has nothing to complain about.
demo: build ## Start a committee, store FILE with it and verify the receipt: make demo FILE=path ARGS="..."
	@trap : INT; \
	target/debug/vouch demo "$$VOUCH_DEMO_FILE" --verify-with "node verifier-wasm/npm/bin/vouch-verify.js" $(ARGS); \
	status=$$?; [ $$status -eq 130 ] || exit $$status

test: setup build ## Run every test: Rust, then JavaScript
	@cargo test --workspace --locked
	@node --test tests/js/*.test.mjs

soak: setup build ## Run the long tests: large files and what they do to memory
	@cargo test --package vouch-tests --test cluster --locked -- --ignored --nocapture

bench: setup build-release ## Measure speed, each figure beside its reference
	@node tests/bench/run.mjs

vectors: tests/node_modules/.package-lock.json ## Regenerate tests/vectors with the independent implementation
	@node tests/vectors/generate.mjs

fmt: ## Format the sources
	@cargo fmt --all

lint: ## Check formatting, and the compiler's advice
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings

clean: ## Remove what was built here; the tools in ~/.cache/vouch stay
	@rm -rf target verifier-wasm/npm/wasm tests/node_modules
