"""An event that the lake could not convert is judged again as the item it was; decisions about ids are pure."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from polku_collector.batch import Line
from polku_collector.compose_replay import Judge
from polku_collector.lake.reading import unconvertible
from polku_collector.lake.replayed import Origin, is_replay_file, origin_of, replay_key, with_origin
from polku_collector.replay.decide import Fate, Passed, fates, in_order
from polku_collector.replay.known import Answer, Holder
from polku_collector.replay.mapping import Mapping, Mended, Step
from polku_collector.replay.rows import Quarantined, Stays

from .world import NOW, PLAN, SETTINGS, World, viewed

CONTEXT = {
    "library": {"name": "lib", "version": "1"},
    "page": {"url": "https://x.example/a", "title": "A"},
    "campaign": {"name": "c", "source": "s"},
    "userAgent": "UA",
    "locale": "fi",
    "timezone": "Europe/Helsinki",
    "sessionId": "s1",
    "consent": ["a"],
    "network": {"wifi": True},
}
ITEMS: list[dict[str, Any]] = [
    viewed("m1", product_id="p", price=3, color="red"),
    viewed("m2", product_id="p") | {"context": CONTEXT, "timestamp": "2026-11-22T11:00:00Z", "groupId": "g"},
    {"type": "page", "messageId": "m3", "anonymousId": "a", "properties": {"url": "https://x.example/b", "odd": 1}},
    {"type": "identify", "messageId": "m4", "userId": "u", "traits": {"email": "a@b.example", "shoe": 44}},
    {"type": "group", "messageId": "m5", "userId": "u", "groupId": "g", "traits": {"plan": "gold"}},
    {"type": "alias", "messageId": "m6", "userId": "u", "previousId": "a"},
    {"type": "track", "event": "unheard_of", "messageId": "m7", "userId": "u", "properties": {"a": [1]}},
    {"type": "track", "event": "product_viewed", "messageId": "m8", "userId": "u", "properties": {"product_id": "p"}}
    | {"timestamp": "2019-01-01T00:00:00Z"},  # taken as the time of receipt
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item["messageId"]))
def test_an_accepted_line_is_judged_to_be_itself(item: dict[str, Any], tmp_path: Any) -> None:
    lines: list[Any] = []
    world = World(tmp_path)
    world.journal = lines.extend  # type: ignore[method-assign]
    world.send(item, sent_at=NOW - timedelta(hours=2))
    (line,) = lines
    line.sequence = 7
    refused = unconvertible(msgspec.json.encode(line), "why")
    row = Quarantined(
        stream="s",
        sequence=refused.sequence,
        received_at=refused.received_at,
        source=refused.source,
        event_id=refused.event_id,
        event_type=refused.event_type,
        event_name=refused.event_name,
        code=refused.code,
        original=refused.original,
        sent_at=refused.sent_at,
        file="",
    )
    again = Judge(PLAN, SETTINGS, Mapping())(row)
    assert isinstance(again, Line)
    assert plain(again) == plain(line)


def plain(line: Line) -> dict[str, Any]:
    """A line by its values; its number and its digest are of the bytes it came in."""
    document: dict[str, Any] = msgspec.to_builtins(line)
    if line.extra:
        document["extra"] = json.loads(line.extra)
    return {name: value for name, value in document.items() if name not in ("sequence", "digest") and value != {}}


def test_a_line_that_was_cut_or_whose_id_was_taken_stays() -> None:
    row = Quarantined(
        stream="s", sequence=1, received_at=NOW, source="web", code="unconvertible", original='{"sequence":1', file=""
    )
    judge = Judge(PLAN, SETTINGS, Mapping())
    cut, taken = judge(row), judge(msgspec.structs.replace(row, code="duplicate_id"))
    assert isinstance(cut, Stays)
    assert isinstance(taken, Stays)
    assert (cut.outcome, taken.outcome) == ("unreadable", "taken")


@pytest.mark.parametrize(("old", "new"), [("email", "note"), ("note", "email"), ("email", "product_id")])
def test_a_mapping_carries_no_protected_value_to_another_name(old: str, new: str) -> None:
    secret = "aino@example.com"
    plan = msgspec.structs.replace(PLAN, privacy={"personal": "drop", "sensitive": "drop"})
    item = viewed("m", **{old: secret})
    row = Quarantined(
        stream="s",
        sequence=1,
        received_at=NOW,
        source="web",
        event_type="track",
        event_name="product_viewed",
        code="missing_property",
        original=json.dumps(item),  # from before the plan had the rule
        file="",
    )
    mended = Mended(rename=(((Step(old),), new),), default=(((Step("product_id"),), "p"),))
    again = Judge(plan, SETTINGS, Mapping({"product_viewed": mended}))(row)
    assert isinstance(again, Line)
    assert secret not in msgspec.json.encode(again).decode()
    assert again.p.product_id == "p"


def passed(event_id: str | None, digest: int = 1, sequence: int = 1, seconds: int = 0) -> Passed:
    row = Quarantined(
        stream="s",
        sequence=sequence,
        received_at=NOW + timedelta(seconds=seconds),
        source="web",
        code="wrong_type",
        file="",
    )
    line = Line(
        received_at=NOW,
        event_time=NOW,
        event_id=event_id or row.made_id,
        event_type="track",
        event_name="e",
        source="web",
        digest=digest,
    )
    return Passed(row, line)


@pytest.mark.parametrize(
    ("events", "answers", "expected"),
    [
        ([passed("a")], ["free"], ["replay"]),
        ([passed("a", 1), passed("a", 1), passed("a", 2)], ["free"] * 3, ["replay", "duplicate", "taken"]),
        ([passed("a", 1), passed("a", 2)], [Holder(1)] * 2, ["duplicate", "taken"]),
        ([passed("a", 1)], [Holder(None)], ["taken"]),
        ([passed("a")], ["not asked"], ["later"]),
        ([passed(None)], ["not asked"], ["replay"]),
    ],
)
def test_fates(events: list[Passed], answers: list[Answer], expected: list[Fate]) -> None:
    assert fates(events, answers) == expected


def test_the_first_received_goes_first() -> None:
    late, second, first = passed("a", seconds=1, sequence=1), passed("b", sequence=3), passed("c", sequence=2)
    assert in_order([late, second, first]) == [first, second, late]


def test_origins_go_into_extra_and_come_out() -> None:
    origin = Origin("s", 3, 4)
    for extra in (None, '{"properties":{"a":1}}'):
        text = with_origin(extra, origin)
        assert origin_of(text) == origin
        assert json.loads(text) == {
            **json.loads(extra or "{}"),
            "replayed": {"stream": "s", "sequence": 3, "digest": 4},
        }
    assert origin_of('{"properties":{}}') is origin_of(None) is None
    assert replay_key("event_date=2026-01-01/x-0.parquet") == "event_date=2026-01-01/replay-x-0.parquet"
    assert is_replay_file("event_date=2026-01-01/replay-x.parquet")
    assert not is_replay_file("event_date=2026-01-01/x.parquet")
