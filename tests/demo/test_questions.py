"""The page of questions: every command in it has an answer on the demo's web shop, and one that says something."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from polku_analytics.commands import options
from polku_demo.datasets import webshop
from polku_demo.run import run
from polku_schemas import builtin_plan_path, load_plan

PAGE = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
PLAN = load_plan(builtin_plan_path())


def commands(answer: str) -> list[str]:
    return re.findall(r"`(polku [^`]+)`", answer)


NOT_QUESTIONS = ("polku build", "polku build --watch", "polku send")
"""These go on for ever, or make what is asked about."""
ASKED = sorted(
    {(number.zfill(2), line) for number, _, answer in ROWS for line in commands(answer) if line not in NOT_QUESTIONS}
)


NOTHING = {
    'polku query "SELECT code, count(*) AS n FROM quarantine GROUP BY code"': "code  n",
    "polku anomalies": "days that can be judged is strange",
    "polku identity": "no merge looks wrong, and nobody looks like one person twice",
    "polku recommend": "and a row must stand on 5: lower --fewest to 2",
}
"""What finds nothing in this shop, and rightly so: nothing is refused in it, nothing strange planted, it is small."""
PEOPLE = 150
"""Fewer have no page that was measured often enough."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("shop")
    (outcome,) = run([webshop(PEOPLE, 1)], folder)
    (folder / "polku-data").mkdir()
    (folder / "polku-data" / "lake").symlink_to(outcome.lake)
    yield folder


def test_all_questions_are_there_and_each_is_answered_or_waits_for_a_reason() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 58))
    for number, question, answer in ROWS:
        assert commands(answer) or "tests/" in answer or "waits: " in answer, f"{number}: {question}"


@pytest.mark.parametrize(("number", "line"), ASKED, ids=[f"{number}-{line[6:30]}" for number, line in ASKED])
def test_a_question_is_answered(number: str, line: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(options, "load_plan", functools.cache(lambda path: PLAN))
    name, *arguments = shlex.split(line)[1:]
    group = "polku.commands"
    if name == "plan":
        group, (name, *arguments) = "polku.plan_commands", arguments
    (command,) = importlib.metadata.entry_points(group=group, name=name)
    result = CliRunner().invoke(command.load(), arguments, standalone_mode=False)
    assert result.exception is None, f"{line}: {result.exception}"
    if line in NOTHING:
        assert NOTHING[line] in result.output
        return
    assert "(no rows)" not in result.output
    # A table of `query` without rows is its head and a line.
    assert len(result.output.splitlines()) > {"report": 0, "query": 2}.get(name, 3), result.output
