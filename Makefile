# Everything a developer types. `make` alone lists it.
#
# All that is made lies in this directory: .venv (Python packages), .tools (etcd, restic, kubectl, …). Nothing
# else of the machine is changed.

PYTHON  ?= python3
VENV    := .venv
TOOLS   := .tools
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.made-for-pyproject
SOURCES := src tests
# How many tests run at once. Each worker starts its own etcd and S3 server, when its tests need them.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
IMAGE   ?= kubedr/backup:dev
ARGS    ?=
DEMO_PROGRAMS := etcd etcdctl etcdutl restic kubectl weed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# An environment that is active elsewhere must not leak into this one.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-stop bench-admission bench-backup bench-controllers test check format generate venv tools image clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: venv ## Show a backup and its restore on this machine (KEEP=1 leaves it running)
	@$(BIN)/python -m kubedr_server.local.tools install --dir $(TOOLS) $(DEMO_PROGRAMS)
	@$(BIN)/python -m kubedr_server.local.demo --tools $(TOOLS) $(if $(filter-out 0 no,$(KEEP)),--keep)

demo-stop: ## End a demo that was left running
	@$(BIN)/python -m kubedr_server.local.demo stop

test: venv tools ## Run all tests (ARGS='-k name' for some of them)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

bench-admission: venv ## Measure the webhooks beside kopf's; writes docs/design/benchmarks.md
	$(BIN)/python -m pip install --quiet --group bench
	PYTHONPATH=tests $(BIN)/python -m benchmarks.admission $(ARGS)

bench-controllers: venv ## Measure the controllers beside kopf's; writes docs/design/benchmarks-controllers.md
	$(BIN)/python -m pip install --quiet --group bench
	PYTHONPATH=tests $(BIN)/python -m benchmarks.controllers $(ARGS)

bench-backup: venv tools ## Measure backups beside etcdctl and restic; writes docs/design/benchmarks-backup.md
	PYTHONPATH=tests $(BIN)/python -m benchmarks.backup $(ARGS)

check: venv ## Check format, lint, types, layers, and that generated files are up to date
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/kubedr generate --check

format: venv ## Format the code
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

generate: venv ## Write the CRDs and the API reference from the API types
	$(BIN)/kubedr generate

venv: $(STAMP) ## Make the virtual environment

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: try 'make PYTHON=python3.12 …'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@# One that works is only brought up to date; one that another Python made is not built upon.
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear --upgrade-deps $(VENV)
	$(BIN)/python -m pip install --quiet 'pip>=25.1'  # the first that knows --group
	$(BIN)/python -m pip install --quiet --editable '.[local]' --group dev
	@touch $@

tools: venv ## Get etcd, restic, kubectl, helm, promtool and the S3 server, unless they are on PATH
	@$(BIN)/python -m kubedr_server.local.tools install --dir $(TOOLS) $(DEMO_PROGRAMS) helm promtool

image: ## Build the backup image (IMAGE=name:tag)
	@if docker info >/dev/null 2>&1; then builder=docker; \
	else builder=$$(command -v podman || command -v buildah) || { \
	  echo "A running docker, podman or buildah is needed to build an image" >&2; exit 1; }; fi; \
	set -x; "$$builder" build -t '$(IMAGE)' -f images/backup/Dockerfile $(ARGS) .

clean: ## Remove what was made here: .venv, .tools and caches
	rm -rf $(VENV) $(TOOLS) .demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
