# The door to everything: `make help` says what is needed and lists the targets.
# Pass arguments to run, test and bench with ARGS, as in `make run ARGS=--once`.

# All that is made goes into this folder; where it cannot be written to, into a folder of the user's cache.
ifeq ($(shell test -w . && echo yes),yes)
MADE :=
VENV := .venv
else
MADE := $(shell base="$${XDG_CACHE_HOME:-$${HOME:+$$HOME/.cache}}"; \
	test -z "$$base" || echo "$$base/somabrain-sleep/checkout-$$(pwd | cksum | cut -d ' ' -f 1)")
VENV := $(if $(MADE),$(MADE)/venv)
export COVERAGE_FILE := $(MADE)/coverage
export HYPOTHESIS_STORAGE_DIRECTORY := $(MADE)/hypothesis
export MYPY_CACHE_DIR := $(MADE)/mypy
export PYTEST_ADDOPTS := -o 'cache_dir=$(MADE)/pytest'
export PYTHONPYCACHEPREFIX := $(MADE)/pycache
export RUFF_CACHE_DIR := $(MADE)/ruff
endif
# Recipes let the shell read it, so that it may have spaces.
export VENV
BIN    := "$$VENV"/bin
PYTHON := $(BIN)/python
PYTEST := $(PYTHON) -m pytest
# Of the unit tests; measured once in CI, since it doubles their time.
COVERAGE := --cov --cov-report=term
# The services themselves come first: when they break their promises, what follows means nothing.
LEVELS := tests/services tests/integration
# With `--jobs`, what only computes gives way to the levels, which mostly wait. Read in a recipe, where it is known.
ASIDE   = $(if $(findstring jobserver,$(MAKEFLAGS)),nice)

# A name on the PATH proves nothing (a version manager's shim may refuse to run, and slowly), so each candidate is run,
# first that of the environment. One that can make environments is taken before one that cannot.
CANDIDATES := python3.13 python3.12 python3.11 python3 python
IN_RANGE   := sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

FIND_OPA := from tests.services import jars, opa_program; print(opa_program.find_opa(jars.cache_folder()))

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
	--no-emit-index-url --no-annotate --no-header

# The plugin of the Docker command, or else the program of its own.
COMPOSE = $(if $(shell docker compose version 2>/dev/null),docker compose,docker-compose) --project-name somabrain-sleep --file deploy/compose.yaml

.DEFAULT_GOAL := help
.PHONY: help install run up down test unit levels integration acceptance clients faults cluster check lint types generated arrows policy node \
	site diagrams format generate bench simulation simulate chaos attack soak lock images clean

help: ## say what is needed, and list the targets
	@echo "Needs make and Python 3.11 to 3.13 with venv, on Linux; nothing else. \`make test\` takes three quarters of an hour on 2 cores."
	@echo "Tests run on a Docker engine, else on Java and Maven, else on what comes with the environment, and say which."
	@echo "Everything is kept in $${VENV:-no folder: make VENV=...}; \`make VENV=FOLDER TARGET\` takes another one."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: ## make the environment from requirements/dev.lock (quick when nothing changed)
	@for wish in 'import ensurepip, venv, sys; $(IN_RANGE)' 'import sys; $(IN_RANGE)'; do \
		for candidate in "$$VENV/bin/python" $(CANDIDATES); do \
			if "$$candidate" -c "$$wish" >/dev/null 2>&1; then \
				exec "$$candidate" requirements/environment.py "$$VENV"; \
			fi; \
		done; \
	done; \
	echo "environment: no Python 3.11 to 3.13 on the PATH (looked for $(CANDIDATES))" >&2; \
	exit 1

run: install ## start everything embedded, play the scenario, serve until Ctrl-C (ARGS=--once ends after it)
	@$(BIN)/sleepctl run $(ARGS)

up: ## build the image, start a whole installation with Docker Compose, and wait until it serves (ARGS="--profile grafana")
	docker build --file deploy/docker/Dockerfile --tag somabrain-sleep .
	$(COMPOSE) $(ARGS) up --detach
	@echo "API and console: http://127.0.0.1:$${PROXY_PORT:-8080}/console/  gate: $${GATE_PORT:-8090}  Prometheus: $${PROMETHEUS_PORT:-9090}"
	@echo "A token: $(COMPOSE) run --rm sleepctl token --key /keys/key.pem --tenant acme"

down: ## end that installation; its data stay (ARGS=--volumes removes them)
	$(COMPOSE) --profile grafana --profile tools down $(ARGS)

# About three quarters of an hour on 2 cores with a real Kafka, less without. Each run of pytest adds its failed tests to the file
# (tests/support/failures.py), so that they are listed at the end, whichever level they are of.
test: install ## all tests, with the best services that this machine can get
	@failures="$$SLEEP_TEST_FAILURES"; status=0; \
	test -n "$$failures" || { failures="$$(mktemp)" && trap 'rm -f "$$failures"' EXIT; }; \
	SLEEP_TEST_FAILURES="$$failures" $(MAKE) --no-print-directory --keep-going unit levels acceptance simulation faults || status=$$?; \
	test "$$status" = 0 || { echo "failed tests:"; grep -E '^(FAILED|ERROR) ' "$$failures" || echo "none: see above"; }; \
	exit "$$status"

unit: install ## unit tests on all cores, with branch coverage: no socket, no sleep
	$(ASIDE) $(PYTEST) tests/unit --numprocesses=auto $(COVERAGE) $(ARGS)

levels: install ## tests/services and tests/integration
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
	$(PYTEST) tests/acceptance --durations=10 $(ARGS)

clients: install ## generate clients in Python, TypeScript, Go and Java, compile them, call a running API with each
	$(PYTEST) tests/clients --durations=8 $(ARGS)

check: lint types generated arrows policy node site ## lint, format, types, generated files, arrows, policy, Node client, site; changes no source

lint: install ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: install ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy --config-file clients/python/pyproject.toml

generated: install ## whether the generated files are what the code says
	$(PYTHON) -m docs.generator --check

arrows: install ## which package may import which
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

node: ## style and unit tests of the Node client, where there is Node 20 or newer; `make clients` checks its types
	@set -e; \
	if ! node --eval 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null; then \
		test -z "$$CI" || { echo "node: Node 20 or newer is not installed" >&2; exit 1; }; \
		echo "node: not checked, since there is no Node 20 or newer" >&2; \
		exit 0; \
	fi; \
	cd clients/node && npm test

site: install ## build the documentation into build/site; fails for a warning, a broken link or anchor
	$(PYTHON) -m docs.site $(if $(MADE),--into "$(MADE)/site") $(ARGS)

diagrams: install ## draw the diagrams of the pages that have changed, with Chromium and npm
	$(PYTHON) -m docs.site.draw

format: install ## rewrite sources to the project's style
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

generate: install ## rewrite generated files (JSON Schemas, reference pages, plots)
	$(PYTHON) -m docs.generator

simulate: install ## run whole workers under faults in virtual time, on all cores (SEEDS=2000)
	$(PYTHON) -m tests.simulation --seeds $(or $(SEEDS),2000) $(ARGS)

chaos: install ## hurt workers, APIs, Redis and Kafka by a schedule, and check everything (SECONDS=120, SEED=1)
	$(PYTHON) -m tests.faults --seconds $(or $(SECONDS),120) --seed $(or $(SEED),1) $(ARGS)

attack: install ## attack an installation of its own in every known way, a line each with its bound (ARGS=--short)
	$(PYTHON) -m tests.attack $(ARGS)

soak: install ## the long runs: 100,000 simulations, half an hour of chaos, an hour that watches memory (SEED=1)
	$(PYTHON) -m tests.simulation --seeds 100000
	$(PYTHON) -m tests.faults --seconds 1800 --seed $(or $(SEED),1)
	$(PYTHON) -m tests.attack.soak --minutes $(or $(MINUTES),60) --seed $(or $(SEED),1)

bench: install ## measure throughput, latency and timer lag here (ARGS selects)
	PYTHONPATH=clients/python $(PYTHON) -m tests.benchmarks $(ARGS)

lock: install ## resolve requirements/*.lock anew (ARGS=--upgrade takes newer versions)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) $(ARGS) --extra otel --extra postgres --output-file requirements/runtime.lock pyproject.toml
	$(LOCK) $(ARGS) --output-file requirements/build.lock --group build
	$(LOCK) $(ARGS) --output-file requirements/dev.lock --extra embedded --extra otel --group dev pyproject.toml

images: ## build Kafka, Redis and OPA images of our own, for machines where none can be pulled (root, Debian)
	tests/images/build.sh

clean: ## remove the environment and all caches of this folder
	@if [ -d "$$VENV" ] && [ "$$VENV" != .venv ] && [ ! -e "$$VENV/pyvenv.cfg" ] && [ ! -e "$$VENV/.installing" ]; then \
		echo "clean: $$VENV is something else than an environment, and stays" >&2; \
		exit 1; \
	fi
	rm -rf "$$VENV" $(if $(MADE),"$(MADE)") .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
