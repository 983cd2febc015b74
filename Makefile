# make run   sets everything up, starts it, sends device traffic and shows the Observations; Ctrl-C ends it
# make test  sets everything up, then runs every check and test
# Needs Python 3.13 (or uv), Node.js 20 or newer and make. For the rest see docs/develop.md.

PYTHON := .venv/bin/python
BOOTSTRAP := $(shell command -v python3 || command -v python || echo python3)

.DEFAULT_GOAL := help
.PHONY: help setup page page-test page-bench screenshots run demo migrate-demo test torture check format docs-check conformance bench bench-path bench-scale package sbom audit fhir-requests fhir-check fhir-validate lock clean

help:
	@sed -n 's/^# //p' Makefile | head -3
	@echo "more: demo migrate-demo torture check format docs-check conformance bench bench-path bench-scale page page-test page-bench screenshots package sbom audit fhir-requests fhir-check fhir-validate lock clean"

setup:
	@command -v $(BOOTSTRAP) >/dev/null || { echo "Python was not found: install Python 3.13."; exit 1; }
	@$(BOOTSTRAP) dev/bootstrap.py $(BOOTSTRAP_OPTIONS)

# The editor of GET /api/debugger, bundled. Every command that needs `setup` makes it too.
page:
	@$(BOOTSTRAP) dev/bootstrap.py --page

# A headless Chromium, for the commands that drive the page; CHROMIUM=/path names another one.
test page-test screenshots page-bench: BOOTSTRAP_OPTIONS := --browser

page-test: setup
	$(PYTHON) -m pytest -q tests/debugger

page-bench: setup
	@$(PYTHON) -m bench.page

screenshots: setup
	@$(PYTHON) -m dev.screenshots

run: setup
	@$(PYTHON) -m dev run

demo: setup
	@$(PYTHON) -m dev demo

# Beside an old service: compare, switch under traffic, go back. See docs/migrate.md.
migrate-demo: setup
	@$(PYTHON) -m dev migrate-demo

test: check
	$(PYTHON) -m pytest -q --numprocesses 2 --dist loadfile

# SEED=N gives other traffic and faults, SCENARIO="NAME..." chooses; names may be cut short. JOBS=N: as many at once.
torture: setup
	@$(PYTHON) -m tests.torture --seed $(or $(SEED),1) $(if $(JOBS),--jobs $(JOBS)) $(SCENARIO)

check: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: setup
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

# Part of `make test`, which runs all of tests/.
docs-check: setup
	$(PYTHON) -m pytest -q tests/docs

conformance: setup
	@$(PYTHON) -m tests.conformance $(VECTORS)

bench: setup
	@$(PYTHON) -m bench

# PARTS="ingest flush" limits it, BEFORE=COMMIT names what it stands beside. bench/README.md says how to read it.
bench-path: setup
	@$(PYTHON) -m bench.path $(PARTS) $(if $(BEFORE),--before $(BEFORE))

# The tables and pictures of docs/scale.md, after a figure in bench/scale/figures.json has changed.
bench-scale: setup
	@$(PYTHON) -m bench.scale --page

package: setup
	@$(PYTHON) -m tests.package

# What Azure Functions installs, as CycloneDX: sbom.json.
sbom: setup
	@$(PYTHON) -m dev.sbom

# Known vulnerabilities of what is installed, in Azure and here; asks pypi.org and registry.npmjs.org. --strict: a
# package that could not be looked up fails it, else it would pass while the service is away.
audit: setup
	$(PYTHON) -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements.txt
	$(PYTHON) -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off -r requirements-dev.txt
	npm audit --prefix dev

fhir-requests: setup
	@$(PYTHON) -m bench.fhir_requests

fhir-check: setup
	@test -n "$(FHIR_SERVICE_URL)" || { echo "Name the server: FHIR_SERVICE_URL=http://127.0.0.1:8080/fhir make fhir-check"; exit 1; }
	FHIR_SERVICE_URL=$(FHIR_SERVICE_URL) $(PYTHON) -m pytest -q tests/persist

VALIDATOR := dev/hapi-validator
EXPORT := .local/demo.ndjson

fhir-validate: setup
	@for tool in java mvn; do command -v $$tool >/dev/null || { echo "$$tool was not found: make fhir-validate needs Java 17 or newer and Maven."; exit 1; }; done
	@OBSERVATION_EFFECTIVE=dateTime $(PYTHON) -m dev demo --export $(EXPORT)
	@mvn -q -f $(VALIDATOR) compile dependency:copy-dependencies -DoutputDirectory=target/lib >&2
	@java -Dslf4j.internal.verbosity=ERROR -cp '$(VALIDATOR)/target/classes:$(VALIDATOR)/target/lib/*' medtech.Validate $(EXPORT)

lock:
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -o requirements.txt
	uv pip compile -q pyproject.toml --extra cli --extra dev --extra hub --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links -o requirements-dev.txt

clean:
	rm -rf .local .venv dev/node_modules dev/page/node_modules medtech/debugger/page/bundle dev/hapi/target dev/hapi-validator/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
