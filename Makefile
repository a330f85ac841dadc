# Every target does its own set-up in .venv: Python 3.11+ with venv, and make, are all a fresh machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The peers that the oracles ask bring older packages of what we use newer.
ORACLES := .venv-oracles
# PySpark with Spark in it, which cannot lie beside the client that our extra has.
SPARK := .venv-spark
SOURCES := sdk/python schemas collector analytics tests
DOCUMENTS ?= 100000
INPUTS ?= 20000
# Whole collectors that are started, killed, reloaded, replayed and measured, also by who follows a page of docs/.
PROCESSES := tests/e2e tests/test_benchmarks.py tests/collector/test_process.py tests/collector/test_new_plan.py \
	tests/collector/test_maintenance.py tests/collector/test_privacy.py tests/collector/test_reload.py \
	tests/collector/test_logs.py tests/collector/test_stays_home.py tests/collector/lake/test_creation.py \
	tests/collector/mirror/test_process.py tests/collector/replay/test_process.py tests/collector/test_ack_lake.py \
	tests/collector/test_traces.py tests/collector/test_recipes.py tests/collector/test_operator_questions.py tests/docs/test_pages.py tests/sdk/test_hosts.py \
	tests/sdk/send tests/pytest_polku
# Models, analyses and the demo: lakes are built and asked.
ANALYTICS := tests/analytics tests/demo
# What other targets name, beside the folders that want to be named (`pytest_ignore_collect`).
ELSEWHERE := tests/power_cut tests/chaos tests/fuzz tests/engines tests/oracles
# Packages of the system are installed where they are missing, with sudo unless one is root.
APT := $(if $(filter 0,$(shell id -u)),,sudo) apt-get

# Tests start some hundred processes. Where this is set, each of them compiles all of our modules anew: a quarter of what it
# takes to start and stop a collector.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-analytics test-processes power-cut chaos test-browser test-infra test-node test-oracles test-engines test-spark fuzz check format bench clean

demo: $(STAMP)
	$(BIN)/polku demo $(ARGS)

test: $(STAMP)
	$(BIN)/pytest --numprocesses auto --dist worksteal $(addprefix --ignore=,$(ELSEWHERE) $(PROCESSES) $(ANALYTICS)) $(ARGS)

test-analytics: $(STAMP)
	$(BIN)/pytest --numprocesses auto --dist worksteal $(ANALYTICS) $(ARGS)

test-processes: $(STAMP)
	$(BIN)/pytest --numprocesses auto --dist worksteal $(PROCESSES) $(ARGS)

power-cut: $(STAMP)
	$(BIN)/python -m pip install --quiet --group chaos
	command -v strace >/dev/null || { $(APT) update -qq && $(APT) install -y -qq strace >/dev/null; }
	$(BIN)/pytest tests/power_cut tests/chaos $(ARGS)

chaos: $(STAMP)
	$(BIN)/python -m pip install --quiet --group chaos
	$(BIN)/python -m tests.chaos $(if $(LONG),--long) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

test-browser: $(STAMP)
	$(BIN)/python -m pip install --quiet --group browser
	command -v chromium >/dev/null || { $(APT) update -qq && $(APT) install -y -qq chromium >/dev/null; }
	command -v npm >/dev/null || { $(APT) update -qq && $(APT) install -y -qq nodejs npm >/dev/null; }
	npm install --prefix sdk/browser --no-package-lock --no-audit --no-fund --silent
	$(BIN)/pytest tests/browser $(ARGS)

# Where systemd runs, Debian also starts a Prometheus of the package, on port 9090. The tests take other ports.
test-infra: $(STAMP)
	command -v promtool >/dev/null || { $(APT) update -qq && $(APT) install -y -qq --no-install-recommends prometheus >/dev/null; }
	$(BIN)/pytest tests/infra $(ARGS)

test-node: $(STAMP)
	command -v npm >/dev/null || { $(APT) update -qq && $(APT) install -y -qq nodejs npm >/dev/null; }
	npm install --prefix tests/node --no-package-lock --no-audit --no-fund --silent
	$(BIN)/pytest tests/node $(ARGS)

# retentioneering calls home unless it is told not to.
test-oracles: $(ORACLES)/.installed
	RETENTIONEERING_NO_TRACK=1 $(ORACLES)/bin/pytest tests/oracles --documents $(DOCUMENTS) $(ARGS)

test-engines: $(STAMP)
	$(BIN)/python -m pip install --quiet --group engines
	$(BIN)/pytest tests/engines $(ARGS)

# Not part of CI: it gets half a GB, and Spark starts each of its many small queries anew.
test-spark: $(STAMP)
	command -v java >/dev/null || { echo 'make test-spark needs Java 17 or newer, and finds no java' >&2; exit 1; }
	test -e $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	$(SPARK)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(SPARK)/bin/python -m pip install --quiet --group spark-server
	$(BIN)/python -m pip install --quiet --group engines
	$(BIN)/pytest tests/engines --apache-spark $(SPARK) $(ARGS)

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --group fuzz
	$(BIN)/pytest tests/fuzz
	$(BIN)/python -m tests.fuzz.described
	$(BIN)/python -m tests.fuzz --inputs $(INPUTS) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m polku.cli plan check --strict

format: $(STAMP)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m tests.benchmarks $(ARGS)

# ChannelAttribution has no wheels.
$(ORACLES)/.installed: pyproject.toml
	command -v g++ >/dev/null || { $(APT) update -qq && $(APT) install -y -qq g++ python3-dev >/dev/null; }
	$(PYTHON) -m venv $(ORACLES)
	$(ORACLES)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(ORACLES)/bin/python -m pip install --quiet --editable '.[all]' --group test --group analysis-oracles
	touch $@

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable '.[all]' --group test --group check
	touch $@

clean:
	rm -rf $(VENV) $(ORACLES) $(SPARK) tests/node/node_modules sdk/browser/node_modules polku-demo polku-data
