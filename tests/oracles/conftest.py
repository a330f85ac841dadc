"""`--documents N`: how many documents the long run compares; and what it counted, at its end."""

import random

import pytest
from hypothesis import settings

from tests.oracles.tally import TALLY


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--documents", type=int, metavar="N", help="documents to compare with the JSON Schema validator")
    parser.addoption("--seed", type=int, metavar="N", help="make the documents of an earlier run, which named its seed")


def pytest_configure(config: pytest.Config) -> None:
    given: int | None = config.getoption("seed", None)
    # Hypothesis derandomises in CI, where a test should fail for a change and not by chance.
    TALLY.seed = given if given is not None else 0 if settings().derandomize else random.randrange(10**6)


def pytest_report_header() -> str:
    return f"oracle: --seed {TALLY.seed}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.documents and terminalreporter.config.getoption("documents", None):
        terminalreporter.section("validation against jsonschema-rs")
        for line in TALLY.lines():
            terminalreporter.line(line)
