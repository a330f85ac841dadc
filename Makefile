# Every target does its own set-up in .venv: Python 3.11+ with venv, and make, are all a fresh machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := sdk/python schemas collector analytics tests

.PHONY: demo test check format bench clean

demo: $(STAMP)
	$(BIN)/polku demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m polku.cli plan check

format: $(STAMP)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(STAMP)
	$(BIN)/python -m tests.benchmarks $(ARGS)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group test --group check
	touch $@

clean:
	rm -rf $(VENV) polku-demo polku-data
