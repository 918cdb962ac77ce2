# weir's common tasks. Each does its own set-up; nothing but Rust need be installed by hand.

CARGO ?= cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help:
	@echo 'make demo    watch the kernel spread connections over endpoints'
	@echo 'make test    all tests, in a network namespace of their own'
	@echo 'make test-apiserver'
	@echo '             those that kube-apiserver must pass, too: KUBE_APISERVER and ETCD name the programs'
	@echo 'make churn   many changes, flat memory: CHANGES=1000000 of them if it does not say otherwise'
	@echo 'make soak    lives of a node at random on the real kernel, for MINUTES=n'
	@echo 'make build   target/release/weir'
	@echo 'make bench   what weir takes, end to end, into docs/performance.md: 25 minutes; less with,'
	@echo '             for example, BENCH=change,packet SERVICES=10000, which leaves the page alone'
	@echo 'make bench-code'
	@echo '             parts of the code by themselves, with criterion'
	@echo 'make count   the instructions of a change, against the recorded figure, and how they grow'
	@echo 'make lint    format, clippy and documentation'
	@echo 'make deps    Debian packages that these need (done by them, too)'

.PHONY: deps
deps:
	@tests/tools/deps

.PHONY: build
build: deps
	$(CARGO) build --release

# Tests run where the machine's own network is out of reach: cargo fetches and builds before.
.PHONY: test
test: deps
	$(CARGO) test --workspace --no-run
	NFT_1_1=$$(tests/tools/nft-1.1) && export NFT_1_1 && \
		DEPLOY_TOOLS=$$(tests/tools/deploy-tools) && export DEPLOY_TOOLS && \
		tests/tools/in-netns $(CARGO) test --workspace --offline
ifneq ($(and $(KUBE_APISERVER),$(ETCD)),)
	$(MAKE) test-apiserver
endif

# WEIR_SOAK_SEED, which a failure tells, repeats one life.
MINUTES ?= 10
.PHONY: soak
soak: deps
	$(CARGO) test --package weir --test kernel --no-run
	WEIR_SOAK_MINUTES=$(MINUTES) tests/tools/in-netns \
		$(CARGO) test --package weir --test kernel --offline -- --nocapture soak

# They start both programs, on the loopback of that namespace.
.PHONY: test-apiserver
test-apiserver: deps
	@if [ -z "$$KUBE_APISERVER" ] || [ -z "$$ETCD" ]; then \
		echo 'test-apiserver: set KUBE_APISERVER and ETCD to the paths of kube-apiserver and etcd' >&2; exit 1; \
	fi
	$(CARGO) test --package weir --test api --no-run
	tests/tools/in-netns $(CARGO) test --package weir --test api --offline -- --ignored

# make test makes some 10,000 changes.
CHANGES ?= 1000000
.PHONY: churn
churn: deps
	$(CARGO) test --release --package weir --test kernel --no-run
	CHURN_CHANGES=$(CHANGES) tests/tools/in-netns \
		$(CARGO) test --release --package weir --test kernel --offline -- --nocapture churn::

.PHONY: demo
demo: deps
	$(CARGO) build --release --package weir --package weir-testbed --bins
	tests/tools/in-netns $(TARGET)/release/weir-demo

.PHONY: bench
bench: deps
	$(CARGO) build --release --package weir --package weir-bench --package weir-testbed --bins
ifeq ($(BENCH)$(SERVICES),)
	rm -rf $(TARGET)/criterion
	$(MAKE) bench-code
	tests/tools/in-netns $(TARGET)/release/weir-bench $(TARGET)/release/weir docs/performance.md \
		$(TARGET)/criterion
	tests/tools/bench-apply $(TARGET)/release/weir
	tests/tools/in-netns $(TARGET)/release/weir-bench-affinity $(TARGET)/release/weir
else
	tests/tools/in-netns $(TARGET)/release/weir-bench $(TARGET)/release/weir
endif

.PHONY: bench-code
bench-code: deps
	$(CARGO) bench --workspace --bench ruleset --bench agent --no-run
	tests/tools/in-netns $(CARGO) bench --offline --workspace --bench ruleset --bench agent

.PHONY: count
count: deps
	tests/tools/count-instructions
	tests/tools/count-growth

.PHONY: lint
lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --document-private-items
