# The commands for work on this repository; `make help` lists them.
# Needs Python 3.11 or later and make; uses uv if it is installed.
.DEFAULT_GOAL := help
.PHONY: help demo up shell test test-fast check faults bench migrate lock

# Tests and services are hundreds of processes: without cached bytecode, each compiles all modules.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# More processes than cores: most tests of acceptance and faults wait. They come first, file by file.
JOBS ?= 4
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder
# As many as cores: these tests compute, and each process has servers of its own and loads all tests.
PARALLEL_FAST := -n logical --dist loadfile
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header

help: ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

# Rebuilt only when the lock or the project's own metadata changed.
$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Orderworks needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Installing the locked packages into .venv (once) ..."
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv && \
	  uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . ; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ; \
	fi
	@touch $@

demo: $(READY) ## run all functions: real servers, 150,000 orders, 20,000 updates, checked against SQL
	@$(BIN)/orderworks demo
	@echo '`make shell` opens a shell in which `orderworks` is a command.'

up: $(READY) ## run all services on this machine until Ctrl-C
	@$(BIN)/orderworks up

# The exit status of a shell is that of its last command, which is no failure of make.
shell: $(READY) ## open a shell in which `orderworks` and the other programs of .venv are commands
	@PATH="$(abspath $(BIN)):$$PATH" "$${SHELL:-/bin/sh}" || true

test: $(READY) ## run the tests on real servers and real celery processes
	@$(BIN)/python -m pytest $(PARALLEL)

test-fast: $(READY) ## run unit and integration tests without the slow ones, in about a minute
	@$(BIN)/python -m pytest $(PARALLEL_FAST) -m "not slow" tests/unit tests/integration

check: $(READY) ## lint, format, types, words, import contracts, migrations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python tools/words.py
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/migrations

faults: $(READY) ## run only the tests that kill, freeze and disconnect processes
	@$(BIN)/python -m pytest $(PARALLEL) tests/faults

bench: $(READY) ## compare imports and updates with simple implementations, on servers of their own
	@$(BIN)/orderworks bench imports
	@$(BIN)/orderworks bench updates

migrate: $(READY) ## upgrade the configured database to the newest schema
	@$(BIN)/orderworks db upgrade

lock: $(READY) ## resolve the lock files again, with hashes (UPGRADE=--upgrade for newer releases)
	@for extra in dev gateway; do \
	  $(LOCK) --extra $$extra --output-file requirements/$$extra.txt $(UPGRADE) pyproject.toml; \
	done
	@echo 'hatchling>=1.27' | $(LOCK) --constraint requirements/dev.txt --output-file requirements/build.txt -
