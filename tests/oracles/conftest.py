"""`--documents N`: how many documents the long run compares; and what it counted, at its end."""

import pytest

from tests.oracles.tally import TALLY


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--documents", type=int, metavar="N", help="documents to compare with the JSON Schema validator")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.documents and terminalreporter.config.getoption("documents", None):
        terminalreporter.section("validation against jsonschema-rs")
        for line in TALLY.lines():
            terminalreporter.line(line)
