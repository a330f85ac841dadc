"""Tables for people, of values that anybody may have sent."""

import datetime

import pytest

from polku_analytics.errors import UnknownNameError
from polku_analytics.printing import aligned, as_csv, explained
from polku_analytics.result import AnalysisResult


def test_a_value_gives_the_terminal_no_commands_and_stays_in_its_line() -> None:
    text = aligned(["name"], [["red\x1b[31m\x07\x9b"], ["two\nlines\ttab"], ["turned\u202eround"], ["äiti 👩‍🚀"]])
    assert text.splitlines()[2:] == [
        r"red\x1b[31m\x07\x9b",
        r"two lines\x09tab",
        r"turned\u202eround",
        "äiti 👩‍🚀",
    ]
    assert as_csv(["name"], [["two\nlines"]]) == 'name\r\n"two\nlines"\r\n', "programs get it as it is"


def test_a_table_is_short_of_digits_that_nobody_reads_and_csv_has_all() -> None:
    moment = datetime.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.UTC)
    row = [123.456789, 0.123456, 1e-9, -1e-9, 0.0, moment]
    names = ["a", "b", "c", "d", "e", "f"]
    answer = AnalysisResult(
        question="?",
        unit="person",
        window=None,
        options={"models": ["first", "last"], "flag": True},
        coverage={},
        as_of=moment,
        columns=names,
        rows=[row],
        sql="",
    )
    lines = explained(answer).splitlines()
    assert lines[4].split("  ") == ["123.46", "0.1235", "<0.0001", ">-0.0001", "0", "2026-03-01 12:00:00+00:00"]
    assert "models: first, last; flag: true" in lines[6]
    assert lines[-1] == "as of 2026-03-01 12:00:00+00:00"
    assert as_csv(names, [row]).splitlines()[1] == (
        "123.456789,0.123456,1e-09,-1e-09,0.0,2026-03-01 12:00:00.123456+00:00"
    )


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("lst_touch", ["last_touch", "linear"], "unknown model 'lst_touch'. Did you mean last_touch?"),
        ("nosuch", ["linear", "first"], "unknown model 'nosuch'. Known: first, linear."),
        ("nosuch", [f"name_{n}" for n in range(13)], "unknown model 'nosuch'."),
        ("nosuch", [], "unknown model 'nosuch'."),
    ],
)
def test_an_unknown_name_is_told_the_near_ones_or_the_few_there_are(name: str, known: list[str], said: str) -> None:
    assert str(UnknownNameError("model", name, iter(known))) == said


def test_who_names_an_event_that_is_like_no_other_is_told_where_they_stand() -> None:
    known = [f"name_{n}" for n in range(13)]
    error = UnknownNameError("event", "nosuch", known, {"Other Spelling": "name_1"})
    assert str(error) == "unknown event 'nosuch'. `polku plan list` shows the events of the plan."
