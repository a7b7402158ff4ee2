# make demo   the main job on the embedded model and data
# make test   every check that CI runs
# Both set up what they need in .venv and .venv-*; of the machine only Python 3.11+ is asked.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet
DEMO := demo-output
DEMO_DATA := src/textmill/assets/demo/data/packages.jsonl

# The gateway's clients, each with its own pins: a notebook's environment is not textmill's. The old
# SDK pins packages that Python 3.12 cannot install.
CLIENTS := .venv-sagemaker-2.257/stamp
CLIENTS_FULL := $(CLIENTS) .venv-awscli-1/stamp $(shell $(PYTHON) -c \
  'import sys; print(".venv-sagemaker-2.165/stamp" if sys.version_info < (3, 12) else "")')

# How many processes `auto` means is in tests/conftest.py.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: demo test test-full docs lock clean

demo: $(VENV)/run.stamp
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	@BIN=$(BIN) sh examples/demo.sh $(DEMO_DATA) $(DEMO)

test: $(VENV)/test.stamp $(CLIENTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -m "not full"

test-full: $(VENV)/test.stamp $(CLIENTS_FULL)
	$(PYTEST)

docs: $(VENV)/test.stamp
	$(BIN)/python docs/generate.py

# New pins for requirements/*.txt from pyproject.toml and requirements/test.in.
lock:
	PYTHON=$(PYTHON) sh requirements/lock.sh

$(VENV)/bin/python:
	@echo "Setting up $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "textmill needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "this Python has no venv module: install it (Debian: python3-venv)"; exit 1; }

$(VENV)/run.stamp: pyproject.toml requirements/run.txt | $(VENV)/bin/python
	@echo "Installing textmill and its locked dependencies (about 520 MB on disk) …"
	@$(PIP) -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/test.stamp: requirements/test.txt $(VENV)/run.stamp
	@echo "Installing the test tools: torch and transformers are the oracles (about 1 GB on disk) …"
	@$(PIP) -r requirements/test.txt
	@touch $@

.venv-%/stamp: requirements/%.txt
	@echo "Installing $* for the gateway's tests (up to 300 MB on disk) …"
	@rm -rf .venv-$* && $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python -m pip --disable-pip-version-check --no-input install --quiet -r $<
	@touch $@

clean:
	rm -rf $(VENV) .venv-* $(DEMO) build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
