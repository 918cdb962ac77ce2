# weir's common tasks. Each does its own set-up; nothing but Rust need be installed by hand.

CARGO ?= cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help:
	@echo 'make demo    watch the kernel spread connections over endpoints'
	@echo 'make test    all tests, in a network namespace of their own'
	@echo 'make test-apiserver'
	@echo '             those that kube-apiserver must pass, too: KUBE_APISERVER and ETCD name the programs'
	@echo 'make soak    lives of a node at random on the real kernel, for MINUTES=n'
	@echo 'make build   target/release/weir'
	@echo 'make bench   weir apply against nft -f, and what session affinity costs'
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

.PHONY: demo
demo: deps
	$(CARGO) build --release --package weir --package weir-testbed --bins
	tests/tools/in-netns $(TARGET)/release/weir-demo

.PHONY: bench
bench: build
	tests/tools/bench-apply $(TARGET)/release/weir
	$(CARGO) build --release --package weir-testbed --bins
	tests/tools/in-netns $(TARGET)/release/weir-bench-affinity $(TARGET)/release/weir

.PHONY: lint
lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps --document-private-items
