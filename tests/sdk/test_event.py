"""The event record: golden items, identifiers, and what happens to arguments that are not what they should be."""

import dataclasses
import decimal
import enum
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import polku
from polku.event import Record, encode, new_id
from polku.repair import repaired

CALLS = json.loads((Path(__file__).parents[1] / "contract" / "sdk" / "calls.json").read_text())
AT = datetime(2026, 3, 1, 12, 30, 0, 123456, UTC)


class Captured:
    """A client whose events stay in memory, with what it said."""

    def __init__(self, caplog: pytest.LogCaptureFixture, **options: Any) -> None:
        self.transport = polku.MemoryTransport()
        self.client = polku.Client("k", "http://c", transport=self.transport, **options)
        self._caplog = caplog

    def sent(self) -> list[dict[str, Any]]:
        assert self.client.close()
        return self.transport.events

    @property
    def said(self) -> str:
        return self._caplog.text


@pytest.fixture
def captured(caplog: pytest.LogCaptureFixture) -> Captured:
    return Captured(caplog)


@pytest.mark.parametrize("case", CALLS, ids=lambda case: case["call"])
def test_a_call_becomes_exactly_these_bytes(case: dict[str, Any], captured: Captured) -> None:
    call = getattr(captured.client, case["call"])
    assert call(*case["args"], **case["kwargs"], timestamp=AT) == case["kwargs"]["message_id"]
    captured.sent()
    assert captured.transport.bodies[0].startswith(b'{"batch":[' + case["item"].encode() + b'],"context":{')
    assert captured.said == ""


class Watched(Mapping[str, Any]):
    """Counts how often somebody reads all of it: whoever encodes or copies it has to."""

    def __init__(self) -> None:
        self.read = 0

    def __getitem__(self, name: str) -> Any:
        return 1

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        self.read += 1
        return iter(["a"])

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("copied")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [("track", ("x",)), ("page", ("x",)), ("screen", ("x",)), ("identify", ("u",)), ("group", ("g",))],
)
def test_an_event_is_encoded_once_and_not_copied(call: str, arguments: Any, captured: Captured) -> None:
    value = Watched()
    person = {} if call == "identify" else {"user_id": "u"}
    assert getattr(captured.client, call)(*arguments, {"v": [value]}, **person, context={"v": {"w": value}})
    assert value.read == 2, "once in the properties, once in the context"
    assert captured.client.flush()
    [event] = captured.sent()
    assert event["context"] == {"v": {"w": {"a": 1}}}
    assert value.read == 2
    assert captured.said == ""


def test_an_id_is_a_uuid_version_7_of_now() -> None:
    before = datetime.now(UTC).timestamp()
    ids = [new_id() for _ in range(1_000)]
    after = datetime.now(UTC).timestamp()
    assert len(set(ids)) == 1_000
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 7
        assert parsed.variant == uuid.RFC_4122
        assert before - 0.001 <= (parsed.int >> 80) / 1000 <= after
    assert sorted(ids, key=lambda text: text[:13]) == ids


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_hands_out_other_ids() -> None:
    new_id()  # fills the pool that the child would inherit
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id()[14:].encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    theirs = os.read(read, 100).decode()
    os.close(read)
    assert theirs not in [new_id()[14:] for _ in range(200)]


def test_time_is_utc_with_microseconds(captured: Captured) -> None:
    captured.client.track("x", user_id="u")
    timestamp = captured.sent()[0]["timestamp"]
    assert timestamp.endswith("Z")
    assert abs(datetime.fromisoformat(timestamp) - datetime.now(UTC)) < timedelta(seconds=5)


class Colour(enum.StrEnum):
    RED = "red"


class Amount(float):
    pass


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (decimal.Decimal("12.50"), 12.5),
        (Colour.RED, "red"),
        (Amount(2.5), 2.5),
        (np.float64(1.5), 1.5),
        (np.int64(7), 7),
        (np.array([1, 2]), [1, 2]),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (range(3), [0, 1, 2]),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (AT, "2026-03-01T12:30:00.123456Z"),
        ({1: "a"}, {"1": "a"}),
        (None, None),
        (2**70, 2**70),
    ],
)
def test_common_values_are_written_without_a_word(value: Any, written: Any, captured: Captured) -> None:
    captured.client.track("x", {"v": value, "kept": 1}, user_id="u")
    assert captured.sent()[0]["properties"] == {"v": written, "kept": 1}
    assert captured.said == ""


def loop() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def deep() -> Any:
    value: Any = 1
    for _ in range(200_000):
        value = [value]
    return value


def wide_loop() -> list[Any]:
    """Refers to itself so often that following every way would never end."""
    value: list[Any] = []
    value.extend({"n": value} for _ in range(50))
    for item in tuple(value):
        item["others"] = [other for other in value if other is not item]
    return value


class Evil:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")


class EvilMapping(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        -math.inf,
        np.float64("nan"),
        np.float32("inf"),
        [1, {"deep": math.nan}],
        object(),
        Evil(),
        loop(),
        wide_loop(),
        deep(),
        {None: 1},
        {(1, 2): 3},
        "\ud800",
        {"\udfff": 1},
        10**5_000,
        lambda: 1,
        (x for x in "ab"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_odd_values_are_left_out_or_repaired_with_a_warning_and_the_rest_is_sent(
    value: Any, captured: Captured
) -> None:
    for _ in range(3):
        assert captured.client.track("x", {"odd": value, "kept": 1}, user_id="u")
    events = captured.sent()
    assert [event["properties"]["kept"] for event in events] == [1, 1, 1]
    assert captured.client.stats().odd == 3
    # Once per place in the code, and naming that place.
    assert captured.said.count("WARNING") == 1
    assert "$.properties.odd" in captured.said
    assert f"{__file__}:" in captured.said


def test_a_nan_is_left_out_where_a_null_stays(captured: Captured) -> None:
    captured.client.track("x", {"nan": math.nan, "null": None, "list": [1.0, math.inf]}, user_id="u")
    assert captured.sent()[0]["properties"] == {"null": None, "list": [1.0]}


NAIVE = datetime(2026, 3, 1, 12, 30)
PLACES = {"properties", "traits", "context"}


@dataclasses.dataclass
class Shipment:
    """Holds what a program has at hand: a time without a zone, a Decimal, a NaN."""

    at: datetime = NAIVE
    cost: decimal.Decimal = decimal.Decimal("1.50")
    weight: float = math.nan


class Moment(datetime):
    pass


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (NAIVE, "2026-03-01T12:30:00Z"),
        (NAIVE.replace(microsecond=5), "2026-03-01T12:30:00.000005Z"),
        (Moment(2026, 3, 1, 12, 30), "2026-03-01T12:30:00Z"),
        (np.datetime64("2026-03-01T12:30:00"), "2026-03-01T12:30:00Z"),
        ([AT, {"at": NAIVE}], ["2026-03-01T12:30:00.123456Z", {"at": "2026-03-01T12:30:00Z"}]),
        (Shipment(), {"at": "2026-03-01T12:30:00Z", "cost": 1.5}),
        ([Shipment(AT)], [{"at": "2026-03-01T12:30:00.123456Z", "cost": 1.5}]),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_time_without_a_zone_is_taken_as_utc_with_a_warning(
    place: str, value: Any, written: Any, captured: Captured
) -> None:
    for _ in range(2):
        if place == "properties":
            captured.client.track("x", {"v": value}, user_id="u")
        else:
            captured.client.identify("u", **{place: {"v": value}})
    assert [event[place]["v"] for event in captured.sent()] == [written] * 2
    assert captured.said.count("WARNING") == 1
    assert f"$.{place}.v" in captured.said
    assert "no time zone: taken as UTC" in captured.said or "not a finite number" in captured.said


@pytest.mark.parametrize("message_id", ["m", "m" * 128])
@pytest.mark.parametrize(("value", "left"), [(NAIVE, {"": "2026-03-01T12:30:00Z"}), (math.nan, {})])
@pytest.mark.parametrize(("call", "name"), [("track", "x"), ("page", None), ("screen", None), ("identify", None)])
@pytest.mark.parametrize("place", ["values", "context"])
def test_what_is_odd_is_found_in_the_shortest_of_events(
    call: str, name: str | None, value: Any, left: Any, message_id: str, place: str, captured: Captured
) -> None:
    person = {"user_id": "u"} if call != "identify" else {"anonymous_id": "a"}
    values = {"": value} if place == "values" else None
    context = {"context": {"": value}} if place == "context" else {}
    at = datetime(2026, 3, 1, tzinfo=UTC)
    getattr(captured.client, call)(name, values, **person, message_id=message_id, timestamp=at, **context)
    [event] = captured.sent()
    assert [event[place] for place in event.keys() & PLACES] == [left]
    assert captured.said.count("WARNING") == 1


@pytest.mark.parametrize("value", ["2026-03-01T12:30:00", ["T12:30:00", AT], {"T12:30:00": NAIVE.time()}])
def test_a_text_that_looks_like_such_a_time_stays_as_it_is(value: Any, captured: Captured) -> None:
    captured.client.track("x", {"v": value}, user_id="u")
    assert captured.sent()[0]["properties"]["v"] == msgspec.to_builtins(value)
    assert captured.said == ""


@pytest.mark.parametrize(
    ("call", "args", "kwargs", "expected"),
    [
        ("track", (None,), {"user_id": "u"}, {"type": "track", "userId": "u"}),
        ("track", (5, "text"), {"user_id": "u"}, {"type": "track", "userId": "u"}),
        ("track", ("x", [1]), {"user_id": "u"}, {"event": "x", "userId": "u"}),
        ("track", ("x",), {}, {"event": "x"}),
        ("track", ("x",), {"user_id": True, "anonymous_id": "a"}, {"event": "x", "anonymousId": "a"}),
        ("track", ("x",), {"user_id": "u", "context": 5}, {"event": "x", "userId": "u"}),
        ("track", ("x",), {"user_id": "u", "message_id": b"m"}, {"event": "x", "userId": "u"}),
        ("identify", (None,), {}, {"type": "identify"}),
        ("group", (None,), {"user_id": "u"}, {"type": "group", "userId": "u"}),
        ("alias", (None, None), {}, {"type": "alias"}),
        ("page", (5,), {"user_id": "u"}, {"type": "page", "userId": "u"}),
    ],
)
def test_wrong_arguments_are_named_and_what_is_left_is_sent(
    call: str, args: Any, kwargs: Any, expected: dict[str, Any], captured: Captured
) -> None:
    """Not dropped: the collector keeps incomplete events in quarantine, where they can be mended and replayed."""
    assert getattr(captured.client, call)(*args, **kwargs)
    [event] = captured.sent()
    assert expected.items() <= event.items()
    assert set(event) - set(expected) <= {"type", "messageId", "timestamp"}
    assert captured.said.count("WARNING") == 1


@pytest.mark.parametrize("user_id", [42, np.int64(42), Colour.RED, uuid.UUID(int=42)])
def test_ids_of_databases_are_taken_as_text(user_id: Any, captured: Captured) -> None:
    captured.client.track("x", user_id=user_id)
    assert captured.sent()[0]["userId"] == str(user_id)
    assert captured.said == ""


@pytest.mark.parametrize(
    ("timestamp", "written", "warns"),
    [
        (AT.astimezone(timezone(timedelta(hours=2))), "2026-03-01T12:30:00.123456Z", False),
        (AT.astimezone(timezone(timedelta(seconds=7201))), "2026-03-01T12:30:00.123456Z", False),
        (AT.replace(tzinfo=None), "2026-03-01T12:30:00.123456Z", True),
        ("2026-03-01", None, True),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), None, True),
    ],
)
def test_timestamps(timestamp: Any, written: str | None, warns: bool, captured: Captured) -> None:
    captured.client.track("x", user_id="u", timestamp=timestamp)
    got = captured.sent()[0]["timestamp"]
    assert got == written or (written is None and datetime.fromisoformat(got).year >= 2025)
    assert ("$.timestamp" in captured.said) == warns


def test_a_warning_comes_once_per_place(captured: Captured) -> None:
    for _ in range(5):
        captured.client.track("x")
    captured.client.track("x")
    assert captured.said.count("neither user_id nor anonymous_id") == 2


def test_warnings_hold_no_values(captured: Captured) -> None:
    captured.client.track("x", {"secret": "hunter2\ud800", "n": math.nan}, user_id="anna@example.com\ud800")
    captured.sent()
    assert "surrogate" in captured.said
    assert "hunter2" not in captured.said
    assert "anna" not in captured.said


def test_an_event_that_is_too_large_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    captured = Captured(caplog, max_event_bytes=1_000)
    assert captured.client.track("x", {"text": "a" * 1_000}, user_id="u") is None
    assert captured.client.track("x", user_id="u")
    assert len(captured.sent()) == 1
    assert captured.client.stats().lost == {polku.LossReason.TOO_LARGE: 1}
    assert "bytes large: dropped" in captured.said


def test_an_event_without_any_json_form_is_dropped_and_counted(captured: Captured) -> None:
    assert captured.client.track("x", EvilMapping(a=math.nan), user_id="u") is None
    assert captured.client.stats().lost == {polku.LossReason.UNSERIALISABLE: 1}
    assert "no JSON form" in captured.said


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((5,), {"user_id": "u"}), (("x",), {}), (("x", {"a": math.nan}), {"user_id": "u"})],
)
def test_strict_raises_where_a_warning_would_be_logged(
    args: Any, kwargs: Any, caplog: pytest.LogCaptureFixture
) -> None:
    captured = Captured(caplog, strict=True)
    with pytest.raises(polku.InvalidEvent, match=r"test_event\.py"):
        captured.client.track(*args, **kwargs)
    assert captured.sent() == []


def test_a_plan_that_only_decodes_is_asked_and_its_objections_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    class Planned:
        def decode(self, raw: bytes, /) -> object:
            if b'"price":"' in raw:
                raise ValueError(f"odd: {raw!r}")
            return None

    class OneEvent:
        def find(self, call: str, name: str | None, /) -> Planned | None:
            return Planned() if (call, name) == ("track", "sold") else None

    captured = Captured(caplog, plan=OneEvent())
    captured.client.track("sold", {"price": 1.0}, user_id="u")
    assert captured.said == ""
    captured.client.track("sold", {"price": "secret"}, user_id="u")
    captured.client.track("unheard_of", user_id="u")
    assert len(captured.sent()) == 3
    assert "$.properties do not fit the plan (ValueError)" in captured.said
    assert "secret" not in captured.said
    assert "unheard_of" in captured.said


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
    | st.complex_numbers()
    | st.builds(object)
    | st.builds(Evil),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())) | st.integers(), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=60)
@given(data=st.data())
def test_no_arguments_raise_and_every_body_is_json(data: st.DataObject) -> None:
    transport = polku.MemoryTransport()
    client = polku.Client("k", "http://c", transport=transport)
    draw = data.draw
    common = {
        name: draw(anything) for name in ("anonymous_id", "timestamp", "message_id", "context") if draw(st.booleans())
    }
    returned = [
        client.track(draw(anything), draw(anything), user_id=draw(anything), **common),
        client.identify(draw(anything), draw(anything), **common),
        client.page(draw(anything), draw(anything), category=draw(anything), **common),
        client.screen(draw(anything), draw(anything), **common),
        client.group(draw(anything), draw(anything), user_id=draw(anything), **common),
        client.alias(draw(anything), draw(anything), **common),
    ]
    assert client.close()
    stats = client.stats()
    assert polku.LossReason.INTERNAL not in stats.lost
    assert len(transport.events) == stats.delivered
    assert stats.delivered + sum(stats.lost.values()) == 6
    queued = [message_id for message_id in returned if message_id is not None]
    assert [event["messageId"] for event in transport.events] == [
        message_id for message_id in queued if message_id in {event["messageId"] for event in transport.events}
    ]


@settings(max_examples=100)
@given(value=anything)
def test_what_was_repaired_can_be_encoded(value: Any) -> None:
    fixed, _ = repaired(Record(type="track", event=value, properties={"v": value}, user_id=value))
    json.loads(encode(fixed))
