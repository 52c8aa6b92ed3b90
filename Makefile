# Everything a developer or a newcomer needs. Each target sets up what it uses; a second run starts at once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test test-fast check format docs lock bench chaos fuzz mutants record dist deb sbom audit clean
.DEFAULT_GOAL := help

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

# Two stamps, so that the demo need not wait for the developers' tools.
$(VENV)/.runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON=python3.12 or so")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.runtime  ## a simulated world: watch tokens run out (SECONDS=30 ends by itself)
	@$(BIN)/python -m monitor demo $(if $(SECONDS),--seconds $(SECONDS))

test: $(VENV)/.dev  ## the whole suite, PostgreSQL included
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-fast: $(VENV)/.dev  ## what needs no subprocess and no database server
	$(BIN)/python -m pytest -n 2 tests/unit tests/property tests/contract tests/test_architecture.py tests/test_docs.py $(ARGS)

check: $(VENV)/.dev  ## lint, types, import floors, security lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive monitor migrations

format: $(VENV)/.dev  ## let ruff tidy up
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## write those parts of the documents that repeat what the code says
	$(BIN)/python -m docs.generate

lock: $(VENV)/.dev  ## make the hashed requirement files anew
	$(BIN)/uv pip compile --quiet pyproject.toml --extra charts --extra postgres --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --extra charts --extra postgres --group dev --universal --python-version 3.11 -c requirements.txt --generate-hashes --no-emit-index-url --no-header -o requirements-dev.txt

bench: $(VENV)/.dev  ## the figures of docs/performance.md, 25 minutes (ARGS=--quick: one)
	$(BIN)/python -m benchmarks $(ARGS)

chaos: $(VENV)/.dev  ## a thousand random kills on each database, and one at every system call: about an hour
	$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/.dev  ## every parser under guided fuzzing, a minute each (SECONDS=10, ARGS=list-postpost: one)
	$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

mutants: $(VENV)/.dev  ## take each guard out of a copy and see a test turn red: ten minutes (ARGS="--only web")
	$(BIN)/python -m tests.mutants $(ARGS)

record: $(VENV)/.dev  ## the whole suite, and its results into docs/reliability.md
	$(BIN)/python -m pytest -n 2 --dist worksteal --record $(ARGS)
	$(BIN)/python -m docs.generate

dist: $(VENV)/.dev  ## the wheel and the source archive, the same bytes whoever builds them
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(BIN)/python -m hatchling build -d dist

deb: $(VENV)/.dev  ## the Debian package, for the release it is built on
	TOOLS=$(BIN) packaging/debian/build dist

sbom: $(VENV)/.dev  ## the bill of materials (CycloneDX) of what is locked for running: dist/sbom.cdx.json
	TOOLS=$(BIN) packaging/sbom dist/sbom.cdx.json

audit: $(VENV)/.dev  ## ask for known vulnerabilities in what is locked for running; takes network
	@TOOLS=$(BIN) packaging/audit

clean:  ## remove what the other targets made
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
