# Everything a person or CI does with this repository. Every target installs what it needs first,
# says what and why, and is quick when there is nothing to do.

export CARGO_TARGET_DIR ?= $(CURDIR)/target
export GEMMAD_ONNXRUNTIME ?= $(CURDIR)/.setup/onnxruntime/libonnxruntime.so
# The official library would otherwise begin to collect usage before the program can say no.
export ORT_DISABLE_TELEMETRY := 1
PREFIX  ?= /usr
DESTDIR ?=
# Where full-size folders with random weights are built, and what is passed on to the comparison.
FULL_SIZE ?= .setup/full-size
BENCH   ?=

programs := $(CARGO_TARGET_DIR)/release
# The whole workspace is always selected, so that every target shares the same built dependencies.
cargo    := --locked --release --workspace
scripts   = $(shell git grep --untracked -lIE '^\#!.*[ /](ba)?sh$$')

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo run
demo: build ## Run the main job on replayed sound and pictures, live, and check that it happened
	@$(programs)/gemmad-demo

run: build ## The same, and stay up to talk with it
	@$(programs)/gemmad-demo --stay

.PHONY: test check selftest conformity bench bench-peers fuzz calls
test: build ## Run all tests
	@if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run $(cargo) --no-fail-fast; else cargo test $(cargo) --no-fail-fast; fi

check: setup-check ## Formatting, lints, licences, known holes, shell scripts, systemd files
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path plugins/tools/Cargo.toml
	cargo clippy $(cargo) --all-targets -- --deny warnings
	python3 -m doctest .ci/dependencies.py
	.ci/dependencies.py
	shellcheck --external-sources --source-path=SCRIPTDIR $(scripts)
	systemd/check.sh $(programs)/gemmad

fuzz: setup ## Read a million random replies, each cut into tokens in three ways
	@GEMMAD_FUZZ_RUNS=1000000 cargo test $(cargo) --test reply_parsing -- --nocapture random

calls: setup ## Let random weights make ten thousand tool calls, and check them against their schemas
	@GEMMAD_CALLS=10000 cargo test $(cargo) --test random_calls -- --nocapture

selftest: setup ## Hold the demo model to the marks of its whole held-out set, on both engines
	@cargo build $(cargo) --bin gemmad
	@$(programs)/gemmad selftest runtime/demo-model

conformity: setup ## Hold both engines against transformers, every size, layout and precision
	@cargo build $(cargo) --example conformity
	@$(programs)/examples/conformity

bench: setup ## Measure our own cost for each token, and how fast the demo model is here
	cargo build $(cargo) --bin gemmad --example overhead
	@$(programs)/examples/overhead runtime/demo-model
	@$(programs)/gemmad bench runtime/demo-model

bench-peers: setup ## Measure us beside other runtimes, full size (7 GB of disk, 20 minutes alone)
	@cross/setup/peers.sh
	cargo build $(cargo) --bin gemmad
	@.setup/peers/bin/python runtime/export/peers/compare.py --gemmad $(programs)/gemmad \
	  --folder $(FULL_SIZE) --json $(FULL_SIZE)/compared.json $(BENCH)

.PHONY: build plugins model
build: plugins ## Compile the daemon, the demo and the bundled plugins
	cargo build $(cargo) --bins

plugins: setup ## Compile the bundled plugins to WebAssembly
	cargo build $(cargo) --bin gemma-plugin-component
	@plugins/build.sh

model: build ## Train the demo model again (needed by nobody; takes about two hours)
	@cross/setup/model.sh
	.setup/export/bin/python runtime/export/build_demo.py --work .setup/export/build

.PHONY: cross cross-test
cross: ## Compile for 64-bit ARM boards
	@cross/setup/aarch64.sh
	@cross/aarch64/build.sh

cross-test: cross ## Run what was compiled for ARM, in an emulator
	@cross/setup/services.sh
	@cross/aarch64/kernels.sh
	@cross/aarch64/test.sh

.PHONY: setup setup-check
setup: ## Install what building, the demo and the tests need
	@cross/setup/build.sh
	@cross/setup/services.sh
	@cross/setup/wasm.sh
	@cross/setup/onnxruntime.sh

setup-check: setup
	@cross/setup/check.sh

.PHONY: install clean
install: ## Install into DESTDIR with PREFIX (as root, after make build)
	@systemd/install.sh "$(programs)/gemmad" .setup/onnxruntime/libonnxruntime.so \
	  "$(DESTDIR)" "$(PREFIX)"

clean: ## Remove what was built; what set-up fetched stays
	cargo clean
	rm -rf .setup/plugins .setup/guest-target
