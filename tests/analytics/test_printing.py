"""Tables for people, of values that anybody may have sent."""

import pytest

from polku_analytics.errors import UnknownNameError
from polku_analytics.printing import aligned, as_csv


def test_a_value_gives_the_terminal_no_commands_and_stays_in_its_line() -> None:
    text = aligned(["name"], [["red\x1b[31m\x07\x9b"], ["two\nlines\ttab"], ["turned\u202eround"], ["äiti 👩‍🚀"]])
    assert text.splitlines()[2:] == [
        r"red\x1b[31m\x07\x9b",
        r"two lines\x09tab",
        r"turned\u202eround",
        "äiti 👩‍🚀",
    ]
    assert as_csv(["name"], [["two\nlines"]]) == 'name\r\n"two\nlines"\r\n', "programs get it as it is"


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
