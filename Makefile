# The door to everything: `make help` lists the targets. Needs make and Python 3.11 to 3.13, nothing else.
# Pass arguments to run, test and bench with ARGS, as in `make run ARGS=--once`.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PYTEST := $(PYTHON) -m pytest
# The services themselves come first: when they break their promises, what follows means nothing.
LEVELS := tests/services $(wildcard tests/integration tests/acceptance tests/faults tests/simulation)

# A name on the PATH proves nothing (a version manager's shim may refuse to run), so each candidate is run.
CANDIDATES := python3.13 python3.12 python3.11 python3 python
USABLE     := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help install run test unit levels integration acceptance check lint types generated arrows format \
	generate bench lock images clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make .venv from requirements/dev.lock (quick when nothing changed)

$(STAMP): requirements/dev.lock pyproject.toml
	@set -e; \
	if [ ! -x $(PYTHON) ] || ! $(PYTHON) -c '$(USABLE)' 2>/dev/null; then \
		found=; \
		for candidate in $(CANDIDATES); do \
			if $$candidate -c '$(USABLE)' >/dev/null 2>&1; then found=$$candidate; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "no Python 3.11 to 3.13 with venv and ensurepip among: $(CANDIDATES)" >&2; \
			echo "(on Debian and Ubuntu ensurepip is in the package python3-venv)" >&2; \
			exit 1; \
		fi; \
		echo "making $(VENV) with $$found ($$($$found -c 'import platform; print(platform.python_version())'))"; \
		rm -rf $(VENV); \
		$$found -m venv $(VENV); \
	fi
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.lock
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

run: install ## start everything embedded, play the scenario, serve until Ctrl-C (ARGS=--once ends after it)
	@$(VENV)/bin/sleepctl run $(ARGS)

test: unit levels ## all tests, with the best services that this machine can get

unit: install ## unit tests with branch coverage: no socket, no sleep
	$(PYTEST) tests/unit --cov --cov-report=term $(ARGS)

levels: install
	$(PYTEST) $(LEVELS) $(ARGS)

integration: install ## tests against Kafka, Redis and OPA
	$(PYTEST) tests/integration $(ARGS)

acceptance: install ## tests of the processes from outside
	$(PYTEST) tests/acceptance $(ARGS)

check: lint types generated arrows ## lint, format, types, generated files, import arrows; changes nothing

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: install
	$(VENV)/bin/mypy

generated: install
	$(PYTHON) -m schemas.generate --check

arrows: install
	$(PYTEST) --quiet tests/unit/test_imports.py

format: install ## rewrite sources to the project's style
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

generate: install ## rewrite generated files (JSON Schemas)
	$(PYTHON) -m schemas.generate

bench: install ## measure throughput, latency and timer lag here (ARGS selects)
	$(PYTHON) -m tests.benchmarks $(ARGS)

lock: install ## resolve requirements/*.lock anew (ARGS=--upgrade takes newer versions)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) $(ARGS) --output-file requirements/runtime.lock pyproject.toml
	$(LOCK) $(ARGS) --output-file requirements/dev.lock --extra embedded --group dev pyproject.toml

images: ## build Kafka and Redis images of our own, for machines where none can be pulled (root, Debian)
	tests/images/build.sh

clean: ## remove the environment and all caches of this folder
	rm -rf $(VENV) .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
