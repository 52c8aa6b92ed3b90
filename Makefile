# Everything a developer needs. Each target installs what it uses the first time.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Tests wait for daemons, browsers and databases as much as they compute, so two share a core.
WORKERS ?= $(shell expr 2 '*' $$(nproc 2>/dev/null || echo 1))
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help demo test test-fast samples check format docs lock bench chaos pooler fuzz mutants answers soak record dist deb sbom audit clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

# Two stamps, so that `make demo` does not install the development tools.
$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON=python3.12 or so")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.runtime  ## run against simulated services whose tokens expire (SECONDS=30 ends it)
	@$(BIN)/python -m monitor demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(VENV)/.dev  ## the whole suite, PostgreSQL included (WORKERS=4 processes, ARGS="-k name")
	$(PYTEST) $(ARGS)

FAST := tests/unit tests/property tests/contract tests/test_architecture.py tests/test_catalogue.py tests/test_docs.py

test-fast: $(VENV)/.dev  ## the tests that start no process and no database server
	$(BIN)/python -m pytest -n 2 -m "not slow" $(FAST) $(ARGS)

samples: $(VENV)/.dev  ## a short run of each: chaos, soak, fuzz, answers, mutants
	$(BIN)/python -m tests.chaos --kills 20 --cluster-kills 10 --no-every-call
	$(BIN)/python -m benchmarks.soak --days 2
	$(BIN)/python -m tests.fuzz --seconds 10 list-postpost
	$(BIN)/python -m tests.answers --payloads 5000 --no-corpus
	$(BIN)/python -m tests.mutants --only log

check: $(VENV)/.dev  ## lint, types, import layers, security lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell monitor docs benchmarks migrations packaging systemd README.md CONTRIBUTING.md config.example.toml
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive monitor migrations

format: $(VENV)/.dev  ## format with ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## write the generated parts of the documents
	$(BIN)/python -m docs.generate

lock: $(VENV)/.dev  ## write the hashed requirement files
	$(BIN)/uv pip compile --quiet pyproject.toml --extra charts --extra cluster --extra postgres --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --extra charts --extra cluster --extra postgres --group dev --universal --python-version 3.11 -c requirements.txt --generate-hashes --no-emit-index-url --no-header -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --group build --universal --python-version 3.11 -c requirements-dev.txt --generate-hashes --no-emit-index-url --no-header -o requirements-build.txt

bench: $(VENV)/.dev  ## the figures of docs/performance.md, about an hour (ARGS=--quick: one)
	$(BIN)/python -m benchmarks $(ARGS)

chaos: $(VENV)/.dev  ## a thousand random kills on each database, 200 in a cluster, one at every system call: 90 minutes
	$(BIN)/python -m tests.chaos $(ARGS)

pooler: $(VENV)/.dev  ## the PostgreSQL tests of commands, daemon and standby through a PgBouncer in session mode
	TEST_PGBOUNCER=1 $(PYTEST) tests/acceptance -k "postgres or standby" $(ARGS)

fuzz: $(VENV)/.dev  ## every parser under guided fuzzing, a minute each (SECONDS=10, ARGS=list-postpost: one)
	$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

mutants: $(VENV)/.dev  ## remove each guard from a copy, which must make a test fail: half an hour (ARGS="--only web", "--only P08")
	$(BIN)/python -m tests.mutants $(ARGS)

answers: $(VENV)/.dev  ## a hundred thousand generated answers, and every hand-written one from each API: some minutes
	$(BIN)/python -m tests.answers $(ARGS)

soak: $(VENV)/.dev  ## thirty simulated days of the daemon, with outages and wrong clocks (ARGS="--days 60")
	$(BIN)/python -m benchmarks.soak $(ARGS)

record: $(VENV)/.dev  ## the whole suite, and its results into docs/reliability.md
	$(PYTEST) --record $(ARGS)
	$(BIN)/python -m docs.generate

dist: $(VENV)/.dev  ## the wheel and the source archive, reproducible to the byte
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN)/python -m hatchling build -d dist

deb: $(VENV)/.dev  ## the Debian package, for the release on which it is built
	TOOLS=$(BIN) packaging/debian/build dist

sbom: $(VENV)/.dev  ## the bill of materials (CycloneDX) of the locked runtime dependencies: dist/sbom.cdx.json
	TOOLS=$(BIN) packaging/sbom dist/sbom.cdx.json

audit: $(VENV)/.dev  ## check the locked runtime dependencies for known vulnerabilities; needs the network
	@TOOLS=$(BIN) packaging/audit

clean:  ## remove the files that the other targets made
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
