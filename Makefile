# Vouch. `make` lists the targets. Start with `make demo`.

FILE ?= README.md
ARGS ?=
SEEDS ?= 500
OLD ?=

# Pass the demo's file through the environment, so that its name may have blanks, quotes or dollar signs.
export VOUCH_DEMO_FILE := $(value FILE)

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup toolchain chromium prometheus page verifier-hash build build-release build-demo demo test soak soak-log soak-changes soak-handoffs soak-bugs bench vectors screenshots deb package-files package-test openapi-test upgrade-test static lint-deploy fmt lint clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

NODE_MODULES := tests/node_modules/.package-lock.json tests/hosts/node_modules/.package-lock.json verifier-wasm/npm/node_modules/.package-lock.json
# Outside the sources, where no parent folder has `ws`: the package must work without it.
HOSTS := target/hosts/soak/node_modules/.package-lock.json

setup: toolchain chromium prometheus $(NODE_MODULES) ## Fetch and compile the tools for builds and tests (minutes, the first time)

toolchain:
	@verifier-wasm/toolchain.sh

chromium:
	@tests/browser/chromium.sh >/dev/null

prometheus:
	@tests/prometheus.sh >/dev/null

%/node_modules/.package-lock.json: %/package-lock.json
	@cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(HOSTS): tests/hosts/soak/package-lock.json
	@mkdir -p target/hosts/soak
	@cp tests/hosts/soak/package.json tests/hosts/soak/package-lock.json target/hosts/soak/
	@cd target/hosts/soak && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Build the page before the program, which embeds it.
page: toolchain
	@verifier-wasm/build.sh
	@. "$$(verifier-wasm/toolchain.sh --env)"; VOUCH_ESBUILD=$$VOUCH_ESBUILD web/build.sh

verifier-hash: page ## Print the SHA-256 of the verifier that the page runs, and of verify.html: the same on every machine
	@cd web/dist && sha256sum verify.html vouch-verifier/wasm/*.wasm

build: page ## Build the modules for browsers and Node.js, the page, and the program with page and S3 client
	@cargo build --locked --features s3

build-release: page
	@cargo build --locked --release --features s3

# Without the S3 client and its crates, a first build takes half the time.
build-demo: page
	@cargo build --locked

# The trap lets an interrupt end the demo but not the shell, so that make reports no error.
demo: build-demo ## Start a cluster, put FILE and verify its certificate: make demo FILE=path ARGS="..."
	@trap : INT; \
	target/debug/vouch demo "$$VOUCH_DEMO_FILE" --verify-with "node verifier-wasm/npm/bin/vouch-verify.js" $(ARGS); \
	status=$$?; [ $$status -eq 130 ] || exit $$status

test: setup build ## Run every test: Rust, then Node.js, then the page in Chromium
	@cargo test --workspace --locked
	@node --test tests/js/*.test.mjs
	@node --test tests/packages/dependencies.test.mjs tests/packages/units.test.mjs
	@node --test --test-concurrency=1 tests/browser/*.test.mjs
	@node --test tests/hosts/fast.test.mjs

soak: setup build $(HOSTS) ## Run the long tests: large files, memory use, every host of the npm package: make soak SEEDS=1000
	@cargo test --package vouch-core --lib --locked -- --ignored --nocapture
	@VOUCH_SEEDS=$(SEEDS) cargo test --package vouch-tests --test sim --locked -- more_seeds --ignored --nocapture
	@cargo test --package vouch-tests --test cluster --locked -- --ignored --nocapture --skip handoffs:: --skip versions::
	@node --test tests/hosts/soak.test.mjs
	@$(MAKE) package-test
	@$(MAKE) openapi-test
	@$(MAKE) upgrade-test

openapi-test: setup build ## Check a server against requests that schemathesis makes up from docs/openapi.yaml: make openapi-test VOUCH_SECONDS=600
	@node --test tests/openapi/soak.test.mjs

upgrade-test: build ## Update a cluster from an older revision to this one and back, under puts: make upgrade-test OLD=REVISION
	@VOUCH_OLD_PROGRAM="$$(tests/old_program.sh $(OLD))" && export VOUCH_OLD_PROGRAM && \
	cargo test --package vouch-tests --test cluster --locked -- versions:: --ignored --nocapture

soak-log: ## Run the long simulation of the ordered log, on all cores: 2,000 seeds, and 31 members
	@VOUCH_SEEDS=2000 cargo test --package vouch-node-core --lib --locked -- log::tests::more_seeds log::tests::many_members --ignored --nocapture

soak-changes: setup build ## Run the long simulation of committees that change: make soak-changes SEEDS=1000
	@VOUCH_SEEDS=$(SEEDS) cargo test --package vouch-tests --test sim --locked -- more_changes --ignored --nocapture
	@node --test tests/js/changes.test.mjs

soak-handoffs: build ## Change committees of processes under puts, and 200 times under kills
	@cargo test --package vouch-tests --test cluster --locked -- handoffs:: --ignored --nocapture

soak-bugs: ## Put known bugs back, one at a time, and check that the simulation finds each
	@cargo test --package vouch-node-core --lib --features bugs --locked -- log::tests::bugs_are_found --ignored --nocapture
	@cargo test --package vouch-tests --features bugs --test sim --locked -- bugs_are_found --ignored --nocapture

bench: setup build-release ## Measure speed, and compare each figure with its reference
	@node tests/bench/run.mjs

vectors: tests/node_modules/.package-lock.json ## Regenerate tests/vectors with the independent implementation
	@node tests/vectors/generate.mjs

screenshots: setup build ## Take pictures of every state of the page: target/screenshots
	@VOUCH_SHOTS=target/screenshots node tests/browser/shots.mjs

RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

deb: build-release package-files ## Make a Debian package: target/debian
	@PATH="$$(deploy/tools.sh deb):$$PATH" cargo deb --quiet --no-build --package vouch --locked

# The manual pages and completions that a package has, written by the program itself.
package-files: build-release
	@mkdir -p target/package
	@$(RELEASE)/vouch man --out target/package/man
	@for shell in bash zsh fish; do $(RELEASE)/vouch completions $$shell > target/package/vouch.$$shell || exit; done

package-test: deb ## Unpack the Debian package into an empty folder, and run what it installs
	@node --test tests/packages/deb.test.mjs

static: page ## Build the program without any shared library: target/x86_64-unknown-linux-musl/release
	@CC_x86_64_unknown_linux_musl=musl-gcc cargo build --locked --release --features s3 --target "$$(deploy/tools.sh static)"
	@LC_ALL=C ldd $(dir $(RELEASE))x86_64-unknown-linux-musl/release/vouch 2>&1 | grep -qE "statically linked|not a dynamic executable"
	@$(dir $(RELEASE))x86_64-unknown-linux-musl/release/vouch --version

lint-deploy: ## Check deploy/Containerfile with hadolint, and deploy/compose.yaml with check-jsonschema
	@PATH="$$(deploy/tools.sh lint):$$PATH"; \
	hadolint --failure-threshold style deploy/Containerfile && \
	check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml

fmt: ## Format the sources
	@cargo fmt --all

lint: ## Check the formatting, and run clippy
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@cargo clippy --package vouch --locked -- -D warnings
	@cargo clippy --package vouch-verifier --all-targets --features client,slices --locked -- -D warnings

clean: ## Remove build results; the tools in ~/.cache/vouch stay
	@rm -rf target verifier-wasm/npm/wasm verifier-wasm/npm/node_modules web/dist tests/node_modules tests/hosts/node_modules
