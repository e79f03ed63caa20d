# What people do here. `make run` and `make test` need nothing but Python 3.11 or newer; both make what they need.
#
#   make run     the server on 127.0.0.1:8000 with an embedded store and demo customers
#   make test    linters, types, import contracts, tests       ARGS="tests/unit/policy -k consent"
#   make lint    the same without the tests
#   make bench   the standard job against its peers            ARGS="--quick"
#   make bench-events  events through the whole machine, beside decisions   ARGS="--quick"
#   make bench-outcomes  outcomes by webhook, beside decisions           ARGS="--quick"
#   make bench-overload  what is still answered at 1.5, 2 and 4 times the peak   ARGS="--quick"
#   make bench-nodes  one, two and four nodes over one store     ARGS="--quick"
#   make capacity  nodes, shards, memory for so many customers and decisions   ARGS="--customers 10M --decisions 10000"
#   make load    the mix of callers for five minutes, against budgets    ARGS="--quick"
#   make load-url  the same against a deployment that runs               URL=https://… ARGS="--customers FILE"
#   make soak    the mix for an hour: does anything grow, slow down or get lost?   ARGS="--minutes 1"
#   make prove   the guarantees again, with many more interleavings: several minutes
#   make chaos   every fault in full, under load, all guarantees judged   ARGS="--publish"
#   make cluster  the store's tests and the guarantees again, on a cluster, then behind Sentinel
#   make fuzz    foreign bytes at every parser, guided by coverage       ARGS="webhooks --seconds 120"
#   make schemathesis  the whole API from its own document, with many examples
#   make sbom    the bill of materials: reports/sbom.json (CycloneDX)
#   make audit   bandit over the code, pip-audit over what is locked
#   make train   trains and registers the demo's model         ARGS="--data DIR"
#   make mutate  makes small mistakes in policy/ and sees which ones the tests notice: an hour   ARGS='"policy.hours*"'
#   make lock    resolves the lock files again, for every platform and Python
#   make clients the clients of Segment and RudderStack that the tests drive, where Node and npm are there
#   make newcomer  builds the package, installs it apart, and serves with it

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# A lock file holds pins and hashes and nothing else: no address, so that any mirror serves it.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
           --no-emit-index-url --no-emit-find-links --strip-extras

.PHONY: run test lint bench bench-events bench-outcomes bench-overload bench-nodes capacity load load-url soak \
        chaos cluster prove fuzz schemathesis sbom audit mutate train lock newcomer clean clients
.DEFAULT_GOAL := test

run: $(VENV)/.run
	@exec $(BIN)/nextbest serve --demo $(ARGS)

# Tests that start whole servers wait most of the time: they run beside all others, and tell what they found after them.
# Those that look at how long answers take run last, alone.
SERVERS := tests/faults tests/guarantees tests/http

test: lint
ifeq ($(ARGS),)
	@mkdir -p reports
	@$(BIN)/pytest $(SERVERS) -m "not clock" >reports/servers.txt 2>&1 & servers=$$!; \
	  trap 'kill $$servers; exit 130' INT TERM; \
	  $(BIN)/pytest $(addprefix --ignore=,$(SERVERS)); others=$$?; \
	  wait $$servers; servers=$$?; cat reports/servers.txt; exit $$((servers | others))
	$(BIN)/pytest $(SERVERS) -m clock
else
	$(BIN)/pytest $(ARGS)
endif

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m loadtests.standard.bench $(ARGS)

bench-events: $(VENV)/.dev
	$(BIN)/python -m loadtests.events.bench $(ARGS)

bench-outcomes: $(VENV)/.dev
	$(BIN)/python -m loadtests.outcomes.bench $(ARGS)

bench-overload: $(VENV)/.dev
	$(BIN)/python -m loadtests.overload.bench $(ARGS)

bench-nodes: $(VENV)/.dev
	$(BIN)/python -m loadtests.nodes.bench $(ARGS)

capacity: $(VENV)/.dev
	$(BIN)/python -m loadtests.capacity $(ARGS)

load: $(VENV)/.dev
	$(BIN)/python -m loadtests.mix $(ARGS)

load-url: $(VENV)/.dev
	$(BIN)/python -m loadtests.mix --url $(URL) $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python -m loadtests.soak $(ARGS)

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos $(ARGS)

cluster: $(VENV)/.dev
	NEXTBEST_TEST_STORE=cluster $(BIN)/pytest tests/store tests/guarantees
	NEXTBEST_TEST_STORE=sentinel $(BIN)/pytest tests/store tests/guarantees

fuzz: $(VENV)/.dev
	nice -n 19 $(BIN)/python -m tests.fuzz $(ARGS)

schemathesis: $(VENV)/.dev
	$(BIN)/pytest -m long tests/http/test_schemathesis.py

sbom: $(VENV)/.dev
	@mkdir -p reports
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON -o reports/sbom.json

audit: $(VENV)/.dev
	$(BIN)/bandit -q -c pyproject.toml -r app policy models
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock $(ARGS)

prove: $(VENV)/.dev
	$(BIN)/pytest -m long tests/guarantees tests/faults tests/unit/features

mutate: $(VENV)/.dev
	nice -n 19 $(BIN)/python -m tests.mutation.run $(ARGS)

train: $(VENV)/.dev
	$(BIN)/python -m models.train $(ARGS)

newcomer: $(VENV)/.dev
	$(BIN)/pytest -m newcomer

lock: $(VENV)/.dev
	$(COMPILE) $(UPGRADE) pyproject.toml --output-file requirements.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --extra dev --extra train --constraints requirements.lock --output-file requirements-dev.lock
	printf 'hatchling\neditables\n' | $(COMPILE) $(UPGRADE) - --output-file requirements-build.lock

clients: .clients/.installed

.clients/.installed: tests/clients/requirements.txt tests/clients/package.json
	$(PYTHON) -m venv .clients
	.clients/bin/python -m pip --disable-pip-version-check install --quiet -r tests/clients/requirements.txt
	if command -v npm >/dev/null; then cp tests/clients/package.json .clients/ && cd .clients && \
	  npm install --ignore-scripts --no-audit --no-fund; fi
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist reports

# The project itself is installed in place, by a build backend that is pinned and hashed like everything else.
$(VENV)/.run: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --no-compile --require-hashes -r requirements.lock -r requirements-build.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "nextbest needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
