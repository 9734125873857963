# The door to everything: `make help` lists the targets. Needs make and Python 3.11 to 3.13, nothing else.
# Pass arguments to run, test and bench with ARGS, as in `make run ARGS=--once`.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
PYTEST := $(PYTHON) -m pytest
# The services themselves come first: when they break their promises, what follows means nothing.
LEVELS := tests/services tests/integration tests/acceptance
# With `--jobs`, what only computes gives way to the levels, which mostly wait.
ASIDE  := nice

# A name on the PATH proves nothing (a version manager's shim may refuse to run), so each candidate is run.
CANDIDATES := python3.13 python3.12 python3.11 python3 python
USABLE     := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

FIND_OPA := from tests.services import jars, opa_program; print(opa_program.find_opa(jars.cache_folder()))

LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-annotate --no-header

.DEFAULT_GOAL := help
.PHONY: help install run test unit levels integration acceptance faults cluster check lint types generated arrows policy \
	format generate bench simulation simulate chaos soak lock images clean

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

test: unit levels simulation faults ## all tests, with the best services that this machine can get

unit: install ## unit tests on all cores, with branch coverage: no socket, no sleep
	$(ASIDE) $(PYTEST) tests/unit --numprocesses=auto --cov --cov-report=term $(ARGS)

levels: install
	$(PYTEST) $(LEVELS) --durations=20 $(ARGS)

simulation: install ## tests of whole workers in virtual time: 2,000 seeds, and that a missing safeguard is noticed
	$(ASIDE) $(PYTEST) tests/simulation --durations=3 $(ARGS)

faults: install ## outages, every kind of fault at once and a store that is slow, on real services
	$(PYTEST) tests/faults --durations=5 $(ARGS)

cluster: install ## what is marked `cluster`, on a Redis Cluster of six processes
	SLEEP_TEST_REDIS=cluster $(PYTEST) --quiet -m cluster tests/integration $(ARGS)

integration: install ## tests against Kafka, Redis and OPA
	$(PYTEST) tests/integration $(ARGS)

acceptance: install ## tests of the processes from outside
	$(PYTEST) tests/acceptance $(ARGS)

check: lint types generated arrows policy ## lint, format, types, generated files, arrows, policy; changes nothing

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

types: install
	$(VENV)/bin/mypy

generated: install
	$(PYTHON) -m schemas.generate --check
	$(PYTHON) -m api.describe.reference --check

arrows: install
	$(PYTEST) --quiet tests/unit/test_imports.py

policy: install ## check, format and test the authorisation rules, with opa or by building it with go
	@set -e; \
	if [ -z "$$CI" ] && ! command -v opa >/dev/null && ! command -v go >/dev/null; then \
		echo "policy: not checked, since there is neither opa nor go" >&2; \
		exit 0; \
	fi; \
	opa=$$($(PYTHON) -c '$(FIND_OPA)'); \
	"$$opa" check --strict deploy/opa; \
	"$$opa" fmt --list --fail deploy/opa; \
	"$$opa" test deploy/opa

format: install ## rewrite sources to the project's style
	$(VENV)/bin/ruff check --fix-only
	$(VENV)/bin/ruff format

generate: install ## rewrite generated files (JSON Schemas, reference pages)
	$(PYTHON) -m schemas.generate
	$(PYTHON) -m api.describe.reference

simulate: install ## run whole workers under faults in virtual time, on all cores (SEEDS=2000)
	$(PYTHON) -m tests.simulation --seeds $(or $(SEEDS),2000) $(ARGS)

chaos: install ## hurt workers, APIs, Redis and Kafka by a schedule, and check everything (SECONDS=120, SEED=1)
	$(PYTHON) -m tests.faults --seconds $(or $(SECONDS),120) --seed $(or $(SEED),1) $(ARGS)

soak: install ## the long runs: 100,000 simulations, then half an hour of chaos (SEED=1)
	$(PYTHON) -m tests.simulation --seeds 100000
	$(PYTHON) -m tests.faults --seconds 1800 --seed $(or $(SEED),1)

bench: install ## measure throughput, latency and timer lag here (ARGS selects)
	$(PYTHON) -m tests.benchmarks $(ARGS)

lock: install ## resolve requirements/*.lock anew (ARGS=--upgrade takes newer versions)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) $(ARGS) --output-file requirements/runtime.lock pyproject.toml
	$(LOCK) $(ARGS) --output-file requirements/dev.lock --extra embedded --group dev pyproject.toml

images: ## build Kafka, Redis and OPA images of our own, for machines where none can be pulled (root, Debian)
	tests/images/build.sh

clean: ## remove the environment and all caches of this folder
	rm -rf $(VENV) .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
