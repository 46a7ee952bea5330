# One vocabulary for people and CI. Everything runs in .venv, made from one resolution that is pinned by hashes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
WORKSPACE ?= runs/demo/workspace
BIN := .venv/bin
PACKAGES := fairtag components feature_repo pipelines serving monitoring console benchmarks
# The torch that is installed: requirements/torch-cpu.txt for one without CUDA (k8s/pin.sh torch writes it)
TORCH ?= requirements/torch.txt

# No hub, no telemetry; one compute thread a process, since two under contention are slower than one.
export HF_HUB_OFFLINE ?= 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export TOKENIZERS_PARALLELISM := false

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: install
install: .venv/.installed ## Make .venv from the pinned requirements (Python 3.11 to 3.13)

# Nothing is installed that has not the recorded hash, the packages that build a package among it. A folder of local
# wheels that pip's configuration names (for a machine without an index) is handed on: uv reads no pip configuration.
.venv/.installed: requirements/build.txt requirements/dev.txt $(TORCH) pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "missing $(PYTHON): install Python 3.11, or say make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}"; \
	export UV_COMPILE_BYTECODE=1 VIRTUAL_ENV="$(CURDIR)/.venv"; \
	pinned="$(BIN)/uv pip install --quiet --require-build-hashes --build-constraints requirements/build.txt"; \
	$$pinned --require-hashes -r requirements/dev.txt -r $(TORCH) && $$pinned --no-deps -e .
	touch $@

.PHONY: demo
demo: install ## Run the whole loop on a simulated shop and open it: minutes, no cluster, no account
	$(BIN)/fairtag run --preset demo --out runs/demo
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/fairtag console runs/demo; else echo "open the shop at http://127.0.0.1:8090 after: make shop"; fi

.PHONY: shop
shop: install ## Open the demo's shop in a browser: search, compare customers, ask why, stop
	$(BIN)/fairtag console runs/demo

.PHONY: monitor-ui
monitor-ui: install ## Open the Evidently UI on WORKSPACE
	$(BIN)/evidently ui --workspace $(WORKSPACE)

# A module of tests is dealt to one process, so that what it prepares is made once; `make test WORKERS=1` for one.
WORKERS ?= logical
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --maxprocesses 8 --dist loadscope --no-loadscope-reorder

.PHONY: test test-fast
test: install ## Run the tests, in as many processes as there are cores
	$(PYTEST)
test-fast: install ## Run the tests that take seconds, for the loop at the desk
	$(PYTEST) -m "not slow"

.PHONY: test-cluster
test-cluster: install ## Test on a real API server with KServe's controller (Go, etcd, kubectl; built once)
	tests/cluster/run.sh

.PHONY: check
check: install ## Check format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	$(BIN)/python -m benchmarks.measured --check
	requirements/lock.sh check
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run k8s/*.sh requirements/*.sh tests/cluster/*.sh; else echo "shellcheck is not installed: scripts unchecked" >&2; fi

.PHONY: fmt
fmt: install ## Format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: install ## Run every study and benchmark; tables go to runs/bench
	$(BIN)/python -m benchmarks all --out runs/bench

.PHONY: images kind kind-down
images: ## Build the image of each role with Docker and print its size
	k8s/images.sh build
kind: install ## Bring up a laptop cluster with kind (docs/cluster.md says what it needs)
	k8s/kind.sh up
kind-down: ## Take the laptop cluster down
	k8s/kind.sh down

# Add a package to pyproject.toml, then make lock: only what is new moves. UPGRADE=NAME moves one package, UPGRADE=all
# everything (docs/how-to/supply-chain.md).
.PHONY: lock sbom audit
lock: ## Pin what pyproject.toml requires, with hashes, in requirements/
	requirements/lock.sh write
sbom: install ## Write a bill of materials (CycloneDX) and the licences of each role to build/sbom
	TORCH=$(TORCH) requirements/sbom.sh
audit: install ## Look every pinned package up among the known vulnerabilities (needs a network)
	mkdir -p build && sed 's/===/==/' requirements/torch.txt >build/torch.txt # pip-audit does not read ===
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	  -r requirements/build.txt -r requirements/dev.txt -r build/torch.txt -r requirements/spark.txt
