# Set up, try, test and measure Wardtrail. `make demo` and `make test` need nothing done before.
#
# Prerequisites: Python >= 3.11 and Maven. One virtual environment serves all targets.

VENV := .venv
BIN := $(VENV)/bin
MINUTES ?= 10
SIDES ?= 2

.DEFAULT_GOAL := setup
.PHONY: setup demo test lint types imports chaos bench bench-peers clean maven

setup: $(VENV)/.project

# Also where python3 is old: a newer one may be there under its own name, or a shim that fails.
$(VENV)/.created:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	    2>/dev/null && break; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "wardtrail needs Python 3.11 or newer, with venv (Debian: python3.11-venv)" >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) && touch $@

$(VENV)/.requirements: requirements-dev.txt requirements.txt | $(VENV)/.created
	@echo "installing the locked requirements (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  -r requirements-dev.txt
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.requirements
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation -e .
	@touch $@

maven:
	@command -v mvn >/dev/null || [ -n "$(KAFKA_BOOTSTRAP_SERVERS)" ] || \
	  { echo "wardtrail needs Maven to fetch its servers (Debian: maven)" >&2; exit 1; }

demo: setup maven
	@$(BIN)/wardtrail demo

# Side by side, each side with servers of its own; then what has whole lines of its own.
test: setup maven
	@$(BIN)/pytest -m "not alone" -n $(SIDES) --dist loadfile
	@$(BIN)/pytest -m alone -n $(SIDES) --dist loadfile

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

imports: setup
	@$(BIN)/lint-imports

# Kills and freezes parts of a running line for MINUTES, with new seeds each time; with PATHS=1
# only hospitals and orders of arrival, with SEALS=1 only sealed envelopes, with FUZZ=1000000 only
# so many inputs by chance for each reader of bytes, without servers.
chaos: setup $(if $(PATHS)$(SEALS)$(FUZZ),,maven)
ifdef FUZZ
	@for target in answer framing hl7; do \
	  $(BIN)/python -m tests.fuzz.run --target $$target --runs $(FUZZ) || exit 1; \
	done
else
	@$(BIN)/python tests/chaos/run.py --minutes $(MINUTES) $(if $(PATHS),--without-servers) \
	  $(if $(SEALS),--seals)
endif

bench: setup maven
	@$(BIN)/python benchmarks/run.py

bench-peers: setup maven
	@$(BIN)/python benchmarks/peers.py

# Ends the stack of this checkout, and removes it with its data and everything built here.
clean:
	@if [ -x $(BIN)/wardtrail ]; then $(BIN)/wardtrail down || true; fi
	@rm -rf $(VENV) .wardtrail build dist *.egg-info \
	  .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
