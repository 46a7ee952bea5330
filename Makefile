# One vocabulary for people and CI. Everything runs in .venv, made from one pinned resolution.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
UV_VERSION := 0.13.9
WORKSPACE ?= runs/demo/workspace
BIN := .venv/bin
PACKAGES := fairtag components feature_repo pipelines serving monitoring console benchmarks
ROLES := pipelines data train serve monitor spark

# No hub, no telemetry; one compute thread a process, since two under contention are slower than one.
export HF_HUB_OFFLINE ?= 1
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export TOKENIZERS_PARALLELISM := false
# torch would bring its CUDA libraries on Linux; what it pins itself is not pinned twice (see make lock)
UNPINNED := triton cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
  nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
SPARK := pyspark py4j # resolved with the rest, installed with requirements/spark.txt alone

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: install
install: .venv/.installed ## Make .venv from the pinned requirements (Python 3.11 to 3.13)

# uv reads no pip configuration: a folder of local wheels named there is handed on.
.venv/.installed: requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "missing $(PYTHON): install Python 3.11, or say make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	export UV_FIND_LINKS="$${UV_FIND_LINKS:-$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)}"; \
	export UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy VIRTUAL_ENV="$(CURDIR)/.venv"; \
	$(BIN)/uv pip install --quiet -r requirements/dev.txt && $(BIN)/uv pip install --quiet --no-deps -e .
	touch $@

.PHONY: demo
demo: install ## Run the whole loop on a simulated shop: minutes, no cluster, no account
	$(BIN)/fairtag run --preset demo --out runs/demo

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
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run k8s/*.sh tests/cluster/*.sh; else echo "shellcheck is not installed: scripts unchecked" >&2; fi

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

# One resolution for all roles: dev holds everything, a role is a cut of it.
.PHONY: lock
lock: ## Resolve once and pin requirements/*.txt
	export UV_CUSTOM_COMPILE_COMMAND="make lock"; skip="$$(printf -- '--no-emit-package %s ' $(UNPINNED))"; \
	unset UV_FIND_LINKS; compile="$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate pyproject.toml"; \
	$$compile $$skip $$(printf -- '--no-emit-package %s ' $(SPARK)) --all-extras --group dev -o requirements/dev.txt; \
	for role in $(ROLES); do $$compile $$skip --extra $$role -c requirements/dev.txt -o requirements/$$role.txt; done
