"""How deep and how wide one event may be."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from polku_collector.batch import Line
from polku_collector.intake.shape import Shape

from .world import GOOD, LIMITS, World, intake

LIMITED = msgspec.structs.replace(LIMITS, max_depth=10, max_keys=50)


@pytest.fixture(scope="module")
def narrow() -> Iterator[World]:
    with intake(limits=LIMITED) as running:
        yield running


def nested(depth: int) -> Any:
    value: Any = "x"
    for level in range(depth):
        value = [value] if level % 2 else {"k": value}
    return value


@pytest.mark.parametrize(
    ("member", "most"), [("properties", 8), ("traits", 8), ("context", 8), ("properties in a group call", 8)]
)
def test_an_event_is_as_deep_as_the_limit_and_no_deeper(narrow: World, member: str, most: int) -> None:
    """The event is one level, the member another."""
    call = {"type": "group", "groupId": "g"} if "group" in member else {}
    name = member.partition(" ")[0]
    known = GOOD["properties"] if name == "properties" else {}
    for depth, codes in ((most, []), (most + 1, ["too_deep"]), (most + 500, ["too_deep"])):
        event = GOOD | call | {name: known | {"unknown": nested(depth)}}  # type: ignore[operator]
        answer = narrow.post({"batch": [GOOD, event, GOOD]}).json()
        assert [verdict["code"] for verdict in answer["rejected"]] == codes
        narrow.taken()


@pytest.mark.parametrize("member", ["properties", "traits", "context"])
def test_an_event_has_as_many_keys_as_the_limit_and_no_more(narrow: World, member: str) -> None:
    for count, codes in ((40, []), (60, ["too_many_keys"])):
        values = {f"k{number}": number for number in range(count)}
        known = GOOD["properties"] if member == "properties" else {}
        event = GOOD | {member: known | values}  # type: ignore[operator]
        answer = narrow.post({"batch": [GOOD, event, GOOD]}).json()
        assert [verdict["code"] for verdict in answer["rejected"]] == codes
        assert answer["accepted"] == 3 - len(codes)


def test_keys_count_wherever_they_are(narrow: World) -> None:
    event = GOOD | {"properties": {"order_id": "o", "list": [{"a": 1, "b": 2}] * 30}}
    (verdict,) = narrow.post({"batch": [event]}).json()["rejected"]
    assert (verdict["code"], verdict["message"]) == ("too_many_keys", "62 keys, at most 50")


def test_brackets_and_colons_inside_of_text_do_not_count(narrow: World) -> None:
    text = '[{"\\":' * 500
    event = GOOD | {"properties": {"order_id": "o", "text": text}, "context": {"text": text}}
    assert narrow.post({"batch": [event]}).json()["rejected"] == []
    assert all(isinstance(line, Line) for line in narrow.taken()[-1:])


def test_the_measure_is_that_of_a_parser() -> None:
    for value in ({}, [], nested(3), {"a": [{"b": {}}], "c": "]}:"}, {"x" * 9: 1}):
        raw = json.dumps(value).encode()

        def depth(part: Any) -> int:
            inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
            return 0 if inner is None else 1 + max(map(depth, inner), default=0)

        most = depth(value)
        assert Shape(most, 100).problem(raw) is None
        assert Shape(most - 1, 100).problem(raw) is not None
