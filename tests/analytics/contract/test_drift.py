"""Where events have moved away from the plan: every figure beside plain counts of the rows that were sent."""

import datetime
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from msgspec import Struct

from polku.cli import main
from polku_analytics.commands import plan as plan_commands
from polku_analytics.contract.drift import SECTIONS, Changed, Drift, QuarantineRate, Section, Unseen, find_drift
from polku_analytics.contract.drift_facts import Beside, Cell, Facts, gather_facts
from polku_analytics.contract.drift_text import explained
from polku_analytics.contract.events import Sender
from polku_analytics.contract.observed import ObservedLake
from polku_analytics.contract.proportions import ALPHA, Share
from polku_analytics.errors import AnalyticsError
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_schemas import Plan, PlanError, compile_plan, load_plan
from tests.analytics.contract.world import PLAN, TODAY, Request, make_lake, track, write_plan

DAY = datetime.timedelta(days=1)
START = TODAY - 6 * DAY
"""The window is a week and ends with TODAY."""
BASELINE = START - 28 * DAY
BEFORE = START - 10 * DAY


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return load_plan(write_plan(tmp_path_factory.mktemp("plan")))


class Row(Struct, frozen=True):
    """One event that is sent, and what the collector says to it: nothing, or the code it is refused with."""

    item: dict[str, Any]
    day: datetime.date = TODAY
    source: str = "web"
    library: str | None = "polku-js"
    version: str | None = "1.0"
    code: str | None = None
    is_strict: bool = False

    @property
    def release(self) -> str:
        return " ".join(part for part in (self.library, self.version) if part) or "unknown library"

    @property
    def is_now(self) -> bool:
        return self.day >= START


def fill(folder: Path, plan: Plan, rows: Sequence[Row]) -> Lake:
    """A lake of these rows."""
    library = {"library": lambda row: {} if row.library is None else {"name": row.library, "version": row.version}}
    requests: dict[tuple[Any, ...], Request] = {}
    for row in rows:
        key = (row.source, row.day, row.is_strict)
        request = requests.setdefault(key, Request([], source=row.source, day=row.day, is_strict=row.is_strict))
        context = {"context": {"library": library["library"](row)} | row.item.get("context", {})}
        assert isinstance(request.items, list)
        request.items.append(row.item | context)
    return make_lake(folder, plan, requests.values())


def facts_of(lake: Lake, plan: Plan, sources: Sequence[str] = ()) -> Facts:
    return gather_facts(ObservedLake(lake, Period(BASELINE, TODAY + DAY), sources), compile_plan(plan), START)


def drift_of(
    folder: Path, plan: Plan, rows: Sequence[Row], given: Plan | None = None, sections: Sequence[Section] = SECTIONS
) -> Drift:
    """What is told of a lake of these rows, beside the plan it was filled with or another that is given."""
    return find_drift(given or plan, facts_of(fill(folder, plan, rows), given or plan), sections)


def looked(count: int, properties: Mapping[str, Any] | None = None, **row: Any) -> list[Row]:
    """Some events of the kind that needs nothing."""
    return [Row(track("looked", {"price": 5, "kind": "a"} | dict(properties or {})), **row) for _ in range(count)]


def share(rows: Iterable[Row], holds: Callable[[Row], bool]) -> Share:
    """The rows that are so, of all of them."""
    verdicts = [holds(row) for row in rows]
    return Share(sum(verdicts), len(verdicts))


def seen_at(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(12), datetime.UTC)


# All that is counted, beside plain counts ---------------------------------------------------------------------------


def random_rows(seed: int) -> list[Row]:
    """Events of every kind from several senders, before and in the window, with what they are refused for."""
    draw = random.Random(seed)
    senders = [
        ("web", "polku-js", "1.0"),
        ("web", "polku-js", "2.0"),
        ("app", "polku-swift", "1.0"),
        ("app", None, None),
    ]
    rows = []
    for number in range(700):
        source, library, version = draw.choice(senders)
        day = BASELINE + draw.randrange(35) * DAY
        maybe = {
            "price": draw.choice([None, 1, 2.5]),
            "kind": draw.choice([None, "a", "b"]),
            "hint": draw.choice(["qr", 4, None, True]),
            "deep": {"in": number},
        }
        some = {name: value for name, value in maybe.items() if draw.random() < 0.5}
        lines = [
            {"order_id": "x"} | draw.choice([{}, {"price": 3}, {"colour": "red"}, {"price": 1, "colour": None}])
            for _ in range(draw.randrange(3))
        ]
        paid = {"order_id": "O", "coupon": draw.choice([None, "c"])} | some
        address = draw.choice([{}, {"address": {"kind": "a"}}, {"address": {"day": "2026-01-01", "floor": 3}}])
        item, code = draw.choice(
            [
                (track("looked", some), None),
                (track("Order Paid", paid | address), None),
                (track("paid", paid | {"lines": lines, "tags": ["x", "y"]}), None),
                (track("Card Blocked", {"reason": "lost"}), None),
                (track("looked", {"price": "3,10"}), "wrong_type"),
                (track("looked", {"price": -1}), "out_of_range"),
                (track("paid", {"coupon": "c"}), "missing_property"),
                (
                    {"type": "identify", "userId": "u", "traits": {"age": 30, "town": "Oulu"} if number % 2 else {}},
                    None,
                ),
                (
                    {
                        "type": "page",
                        "userId": "u",
                        "properties": {"title": "Home", "url": "https://x", "theme": "dark"},
                    },
                    None,
                ),
            ]
        )
        rows.append(Row(item, day, source, library, version, code))
    for name, properties, code in (
        ("Card Blocked", {}, "unknown_event"),
        ("looked", {"hint": "nfc", "price": 1}, "unknown_property"),
        ("paid", {"order_id": "O", "coupon": "c", "lines": [{"order_id": "x", "colour": 1}]}, "unknown_property"),
    ):
        for number in range(20):
            day = BEFORE if number < 5 else TODAY
            rows.append(Row(track(name, properties), day, "kiosk", "polku-kotlin", "3", code, is_strict=True))
    return rows


NAMES = {"Order Paid": "paid", "page": "page_viewed"}
FIELDS = {"lines": ("order_id", "price", "count"), "address": ("kind", "day")}
TRAITS = ("email", "age")


def planned_of(event: str) -> tuple[str, ...]:
    paid = ("order_id", "price", "count", "is_gift", "day", "moment", "key", "email", "coupon", "kind", "tags")
    return {"paid": (*paid, "lines", "address"), "looked": ("price", "kind")}.get(event, ())


def leaves(row: Row) -> Iterator[tuple[str, Any, bool]]:
    """Every path of an event with its value, and whether it is planned: written down by hand for this plan."""
    event = event_of(row)
    for name, value in row.item.get("properties", {}).items():
        if row.item["type"] == "page" and name in ("title", "url"):
            continue
        yield name, value, name in planned_of(event)
        if name in planned_of(event) and name in FIELDS:
            for held in value if isinstance(value, list) else [value]:
                mark = "[*]." if isinstance(value, list) else "."
                yield from ((f"{name}{mark}{inner}", one, inner in FIELDS[name]) for inner, one in held.items())
    for name, value in row.item.get("traits", {}).items():
        yield f"traits.{name}", value, name in TRAITS


def event_of(row: Row) -> str:
    name = row.item.get("event", row.item["type"])
    return NAMES.get(name, name)


def cell_of(row: Row) -> Cell:
    return Cell(Sender(row.source, row.library, row.version), row.is_now)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_count_is_that_of_the_rows(plan: Plan, tmp_path: Path, seed: int) -> None:
    rows = random_rows(seed)
    facts = facts_of(fill(tmp_path, plan, rows), plan)
    assert facts.sent == Counter(map(cell_of, rows))
    assert facts.refused == Counter((row.code, cell_of(row)) for row in rows if row.code)
    accepted = [row for row in rows if row.code is None]
    shown = [row for row in rows if row.code in (None, "unknown_event", "unknown_property")]

    unplanned = Counter(cell_of(row) for row in shown if event_of(row) == "Card Blocked")
    assert facts.unplanned_events.keys() == {("track", "Card Blocked")}
    assert facts.unplanned_events["track", "Card Blocked"].cells == unplanned

    beside: dict[tuple[str, str], Counter[Cell]] = {}
    types: dict[tuple[str, str], Counter[tuple[Cell, str]]] = {}
    words = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", type(None): "null"}
    for row in shown:
        for path, value, is_planned in leaves(row) if event_of(row) != "Card Blocked" else ():
            if not is_planned:
                key = (event_of(row), path)
                beside.setdefault(key, Counter())[cell_of(row)] += 1
                types.setdefault(key, Counter())[cell_of(row), words[type(value)]] += 1
    assert {key: seen.cells for key, seen in facts.beside.items()} == beside
    for key, seen in facts.beside.items():
        found = {(cell, kind): count for cell, counts in seen.types.items() for kind, count in counts.items()}
        assert found == types[key], key

    expected: dict[tuple[str, str, Cell], int] = {}
    for row in accepted:
        for path, value, is_planned in leaves(row):
            if is_planned and value is not None:
                key_of_path = (event_of(row), path, cell_of(row))
                expected[key_of_path] = expected.get(key_of_path, 0) + 1
    counted = {
        (event, path, cell): one.part
        for (event, path), cells in facts.present.items()
        for cell, one in cells.items()
        if one.part
    }
    assert counted == expected
    events = Counter((event_of(row), cell_of(row)) for row in accepted)
    items = Counter(
        (cell_of(row), len(row.item["properties"]["lines"]) > 0)
        for row in accepted
        if "lines" in row.item.get("properties", {})
    )
    assert items
    for (event, path), cells in facts.present.items():
        for cell, one in cells.items():
            if path in planned_of(event):
                assert one.of == events[event, cell]
            elif path.startswith("lines[*]"):
                assert one.of == expected.get((event, "lines[*].order_id", cell), 0)
            elif path.startswith("address."):
                assert one.of == expected.get((event, "address", cell), 0)


# What is not planned ------------------------------------------------------------------------------------------------


def test_an_event_that_is_not_planned_is_told_with_its_senders_days_and_refusals(plan: Plan, tmp_path: Path) -> None:
    blocked = track("Card Blocked", {"reason": "lost"})
    rows = [
        *looked(3),
        *[Row(blocked, BEFORE)] * 4,
        *[Row(blocked, START), Row(blocked, TODAY), Row(blocked, TODAY - DAY, version="2.0")],
        *[Row(blocked, TODAY, "kiosk", code="unknown_event", is_strict=True)] * 2,
        *[Row(blocked, BEFORE, "kiosk", code="unknown_event", is_strict=True)] * 3,
        *[Row(track("Gone Since"), BEFORE)] * 5,
    ]
    (found,) = drift_of(tmp_path, plan, rows).unplanned_events
    assert (found.event, found.call, found.events, found.quarantined) == ("Card Blocked", "track", 5, 2)
    assert found.senders == {"kiosk polku-js 1.0": 2, "web polku-js 1.0": 2, "web polku-js 2.0": 1}
    assert (found.first, found.last) == (seen_at(BEFORE), seen_at(TODAY))


def test_unplanned_properties_fields_and_traits_are_told_with_the_type_infer_would_give(
    plan: Plan, tmp_path: Path
) -> None:
    line = {"order_id": "x", "shade": 0.5}
    paid = {"order_id": "O", "coupon": None, "lines": [line, line], "address": {"kind": "a", "since": "2026-01-02"}}
    rows = [
        *looked(3, {"hint": "qr"}),
        *looked(2, {"hint": "qr"}, version="2.0"),
        *looked(9, {"old": 1}, day=BEFORE),
        *looked(2, {"hint": "nfc"}, source="kiosk", code="unknown_property", is_strict=True),
        Row(track("paid", paid)),
        Row({"type": "identify", "userId": "u", "traits": {"town": "Oulu", "age": 3}}),
        Row({"type": "page", "userId": "u", "properties": {"title": "Home", "theme": ["dark"]}}),
        Row(
            {"type": "page", "userId": "u", "properties": {"title": "Home", "theme": ["dark"]}},
            source="kiosk",
            code="unknown_property",
            is_strict=True,
        ),
        Row({"type": "group", "groupId": "g", "userId": "u", "traits": {"seats": 3}}),
    ]
    found = drift_of(tmp_path, plan, rows).unplanned_properties
    assert {(one.event, one.path): (one.values, one.suggested_type) for one in found} == {
        ("looked", "hint"): (7, "string"),
        ("paid", "lines[*].shade"): (2, "number"),
        ("paid", "address.since"): (1, "date"),
        ("identify", "traits.town"): (1, "string"),
        ("page_viewed", "theme"): (2, "array of string"),
    }
    assert found[[one.path for one in found].index("hint")].senders == {
        "web polku-js 1.0": 3,
        "kiosk polku-js 1.0": 2,
        "web polku-js 2.0": 2,
    }


def narrower(folder: Path) -> Plan:
    """A plan that does not have all that the events were sent by."""
    paid = PLAN["events/paid.yaml"].replace("  day: {}\n", "").replace("  address: {}\n", "")
    dictionary = PLAN["properties.yaml"].replace("      count: {}\n", "")
    changes = {"events/paid.yaml": paid, "properties.yaml": dictionary, "events/looked.yaml": None}
    return load_plan(write_plan(folder, changes))


def test_what_has_a_column_is_unplanned_if_the_given_plan_lacks_it(plan: Plan, tmp_path: Path) -> None:
    line = {"order_id": "x", "count": 2}
    paid = {"order_id": "O", "coupon": None, "day": "2026-01-02", "lines": [line, line, {"order_id": "y"}]}
    rows = [
        *[Row(track("paid", paid), day) for day in (BEFORE, START, TODAY)],
        Row(track("paid", {"order_id": "O", "coupon": None, "address": {"kind": "a"}})),
        *looked(4),
    ]
    found = drift_of(tmp_path / "lake", plan, rows, narrower(tmp_path / "plan"))
    assert [(one.event, one.events) for one in found.unplanned_events] == [("looked", 4)]
    assert {(one.path, one.values, one.suggested_type, one.first, one.last) for one in found.unplanned_properties} == {
        ("day", 2, "date", seen_at(BEFORE), seen_at(TODAY)),
        ("address", 1, "object", seen_at(TODAY), seen_at(TODAY)),
        ("lines[*].count", 2, "integer", seen_at(BEFORE), seen_at(TODAY)),
    }


# What is planned and does not come ----------------------------------------------------------------------------------


def test_planned_events_that_stopped_are_told_apart_from_those_that_never_came(plan: Plan, tmp_path: Path) -> None:
    rows = [*looked(7, day=BEFORE), Row(track("paid", {"order_id": "O", "coupon": None}))]
    assert drift_of(tmp_path, plan, rows).unseen == [Unseen("looked", "", 0, 7), Unseen("page_viewed", "", 0, 0)]


@pytest.mark.parametrize("events", [99, 100])
def test_planned_properties_that_do_not_come_are_told_of_a_hundred_events(
    plan: Plan, tmp_path: Path, events: int
) -> None:
    rows = [
        *[Row(track("looked", {"kind": "a", "price": 1}), BEFORE)] * 40,
        *[Row(track("looked", {"kind": "a", "price": None}))] * events,
    ]
    told = [one for one in drift_of(tmp_path, plan, rows).unseen if one.path]
    assert told == ([Unseen("looked", "price", 100, 40)] if events == 100 else [])


def test_fields_and_traits_that_do_not_come_are_told_too(plan: Plan, tmp_path: Path) -> None:
    lines = [{"order_id": "x", "price": 1}] * 2
    full = {"order_id": "O", "coupon": "c", "lines": lines, "address": {"kind": "a"}}
    bare = {"order_id": "O", "coupon": "c", "lines": [{"order_id": "x"}] * 2, "address": {"kind": "a"}}
    rows = [
        *[Row(track("paid", full), BEFORE)] * 30,
        *[Row(track("paid", bare))] * 60,
        *[Row({"type": "identify", "userId": "u", "traits": {"email": "a@b.fi"}})] * 120,
    ]
    told = {(one.event, one.path): (one.of, one.before) for one in drift_of(tmp_path, plan, rows).unseen if one.path}
    # A field is looked at once for all events; 60 addresses are too few to miss a day in them.
    assert told == {
        ("", "lines[*].price"): (120, 60),
        ("", "lines[*].count"): (120, 0),
        ("identify", "traits.age"): (120, 0),
    }


def wider(folder: Path) -> Plan:
    """A plan that has more than the one the events came by: a property, fields, a trait, an event."""
    dictionary = PLAN["properties.yaml"].replace("      count: {}\n", "      count: {}\n      shade: {}\n")
    files = {
        "properties.yaml": dictionary.replace("    day: {}\n", "    day: {}\n    floor: {}\n")
        + "shade: {type: string, description: Shade., privacy: none}\n"
        + "floor: {type: integer, description: Floor., privacy: none}\n",
        "traits.yaml": PLAN["traits.yaml"] + "town: {type: string, description: Town., privacy: personal}\n",
        "events/looked.yaml": PLAN["events/looked.yaml"].replace("  kind: {}\n", "  kind: {}\n  shade: {}\n"),
        "events/zapped.yaml": PLAN["events/paid.yaml"].replace("paid", "zapped").replace("aliases: [Order Paid]\n", ""),
    }
    return load_plan(write_plan(folder, files))


def test_what_is_planned_by_now_is_there_although_it_was_not_planned_when_it_came(plan: Plan, tmp_path: Path) -> None:
    """A plan that somebody proposes: all of it came, in `extra`, and nothing has changed."""
    line = {"order_id": "x", "price": 1, "count": 1, "shade": "red"}
    paid = {"order_id": "O", "coupon": "c", "lines": [line], "address": {"kind": "a", "day": "2026-01-01", "floor": 3}}
    rows = []
    for day in (BEFORE, TODAY):
        rows += looked(150, {"shade": "red"}, day=day)
        rows += [Row(track("paid", paid), day)] * 150
        rows += [Row(track("Zapped", paid | {"price": 3}), day)] * 150
        rows += [
            Row({"type": "identify", "userId": "u", "traits": {"email": "a", "age": 1, "town": "Oulu"}}, day)
        ] * 150
    given = wider(tmp_path / "plan")
    facts = facts_of(fill(tmp_path, plan, rows), given)
    now, before = (Cell(Sender("web", "polku-js", "1.0"), is_now) for is_now in (True, False))
    for key in (
        ("looked", "shade"),
        ("paid", "lines[*].shade"),
        ("paid", "address.floor"),
        ("identify", "traits.town"),
        ("zapped", "price"),
        ("zapped", "lines"),
        ("zapped", "lines[*].shade"),
        ("zapped", "address.kind"),
    ):
        assert facts.present[key] == {now: Share(150, 150), before: Share(150, 150)}, key
    found = find_drift(given, facts)
    assert found.unplanned_events == found.unplanned_properties == found.changed == []
    assert ("zapped", "price") not in {(one.event, one.path) for one in found.unseen}


def test_a_null_in_extra_is_no_value_of_what_is_planned_by_now(plan: Plan, tmp_path: Path) -> None:
    rows = looked(130, {"shade": None})
    facts = facts_of(fill(tmp_path, plan, rows), wider(tmp_path / "plan"))
    assert facts.present["looked", "shade"] == {cell_of(rows[0]): Share(0, 130)}


# What has changed ---------------------------------------------------------------------------------------------------


def test_a_release_that_leaves_a_property_away_is_named_and_the_others_are_not(plan: Plan, tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = []
    for version, day, nulls in (("1.0", BEFORE, 0.1), ("1.0", TODAY, 0.1), ("2.0", BEFORE, 0.1), ("2.0", TODAY, 0.5)):
        for _ in range(400):
            kind = {} if draw.random() < nulls else {"kind": "a"}
            rows.append(Row(track("looked", {"price": 1} | kind), day, version=version))
    rows += looked(400, day=BEFORE, source="app") + looked(400, source="app")

    def is_null(row: Row) -> bool:
        return "kind" not in row.item["properties"]

    of_release = [row for row in rows if row.version == "2.0"]
    before = share((row for row in of_release if not row.is_now), is_null)
    now = share((row for row in of_release if row.is_now), is_null)
    assert drift_of(tmp_path, plan, rows).changed == [
        Changed("looked", "kind", "web", "polku-js 2.0", "null", before, now, "itself")
    ]


def test_a_release_that_is_new_is_compared_with_its_whole_source(plan: Plan, tmp_path: Path) -> None:
    rows = [
        *looked(300, day=BEFORE),
        *looked(200, {"kind": None}, day=BEFORE, version="1.1"),
        *looked(99, day=BEFORE, version="2.0"),
        *looked(150, version="2.0", properties={"kind": None}),
        *looked(500, day=BEFORE, source="app", properties={"kind": None}),
    ]
    (found,) = [one for one in drift_of(tmp_path, plan, rows).changed if one.path == "kind"]
    assert (found.release, found.compared_with) == ("polku-js 2.0", "source")
    assert (found.before, found.now) == (Share(200, 599), Share(150, 150))


def test_a_source_as_a_whole_is_told_where_none_of_its_releases_is(plan: Plan, tmp_path: Path) -> None:
    """Each of twenty releases has too few events to say anything; together they say it."""
    rows = []
    for number in range(20):
        rows += looked(20, day=BEFORE, version=f"1.{number}")
        rows += looked(10, version=f"1.{number}")
        rows += looked(10, {"kind": None}, version=f"1.{number}")
    assert drift_of(tmp_path, plan, rows).changed == [
        Changed("looked", "kind", "web", None, "null", Share(0, 400), Share(200, 400), "itself")
    ]


def test_a_type_that_has_come_up_beside_the_plan_is_told(plan: Plan, tmp_path: Path) -> None:
    rows = [
        *looked(180, {"size": 3}, day=BEFORE),
        *looked(20, {"size": "3"}, day=BEFORE),
        *looked(90, {"size": 3}),
        *looked(110, {"size": "3"}),
        *looked(200, {"size": 3}, source="app"),
        *looked(200, {"size": 3}, source="app", day=BEFORE),
    ]
    assert drift_of(tmp_path, plan, rows, sections=["changed"]).changed == [
        Changed("looked", "size", "web", "polku-js 1.0", "string", Share(20, 200), Share(110, 200), "itself")
    ]


def values(name: str, before: Sequence[str], now: Sequence[str]) -> list[Row]:
    return [
        *(row for value in before for row in looked(30, {name: value}, day=BEFORE)),
        *(row for value in now for row in looked(30, {name: value})),
    ]


def test_a_text_that_is_new_among_few_is_told_and_one_among_many_is_not(plan: Plan, tmp_path: Path) -> None:
    few, many = ["red", "green", "blue", "grey"], [f"c{number}" for number in range(21)]
    rows = [*values("shade", few, [*few, "black"]), *values("code", many, [*many, "new"])]
    rows += looked(4, {"shade": "rare"})
    assert drift_of(tmp_path, plan, rows, sections=["changed"]).changed == [
        Changed("looked", "shade", "web", None, "value black", Share(0, 120), Share(30, 154), "source")
    ]


@pytest.mark.parametrize("count", [4, 5])
def test_a_text_that_is_new_is_told_from_five_on(plan: Plan, tmp_path: Path, count: int) -> None:
    rows = [*looked(1_000, {"shade": "red"}, day=BEFORE), *looked(10, {"shade": "red"})]
    rows += looked(count, {"shade": "black"})
    told = drift_of(tmp_path, plan, rows, sections=["changed"]).changed
    assert [one.what for one in told] == ["value black"] * (count == 5)


def test_a_text_that_is_new_by_chance_is_not_told(plan: Plan, tmp_path: Path) -> None:
    """Five of 10,000 come of a value that one in 500 has: that 100 before had none of it says nothing."""
    rows = [*looked(50, {"shade": "a"}, day=BEFORE), *looked(50, {"shade": "b"}, day=BEFORE)]
    rows += [*looked(1_000, {"shade": "a"}), *looked(1_000, {"shade": "b"}), *looked(5, {"shade": "c"})]
    assert drift_of(tmp_path, plan, rows, sections=["changed"]).changed == []


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("note", "Aino Virtanen"),
        ("firstName", "Aino"),
        ("userEmail", "aino at home"),
        ("First Name", "Aino"),
        ("contact", "aino@example.com"),
        ("hint", "+358 40 1234567"),
    ],
)
def test_a_new_text_that_may_be_personal_is_not_shown(plan: Plan, tmp_path: Path, name: str, new: str) -> None:
    few = ["one", "two", "three", "four"]
    found = drift_of(tmp_path, plan, values(name, few, [*few, new]), sections=["changed"])
    assert [one.what for one in found.changed] == ["value (personal)"]
    assert new not in explained(found, "lake", "now", "before")


def test_a_single_address_among_plain_texts_is_not_shown(plan: Plan, tmp_path: Path) -> None:
    """Too few are personal to make the property so; this one is all the same."""
    rows = [*values("hint", ["one", "two", "three", "four"], ["aino@example.com", "plain"])]
    rows += [row for number in range(60) for row in looked(1, {"hint": f"colour {number}"})]
    found = drift_of(tmp_path, plan, rows, sections=["changed"])
    assert [one.what for one in found.changed] == ["value (personal)", "value plain"]


def test_the_new_name_of_a_person_is_not_shown(plan: Plan, tmp_path: Path) -> None:
    def named(name: str, day: datetime.date) -> list[Row]:
        return [Row({"type": "identify", "userId": "u", "traits": {"name": name}}, day)] * 60

    rows = [*named("Eero", BEFORE), *named("Kaisa", BEFORE), *named("Kaisa", TODAY), *named("Aino", TODAY)]
    found = drift_of(tmp_path, plan, rows, sections=["changed"])
    assert [one.what for one in found.changed] == ["value (personal)"]


# Quarantine ---------------------------------------------------------------------------------------------------------


def refused(count: int, code: str = "wrong_type", **row: Any) -> list[Row]:
    """Events that the collector refuses."""
    price = {"wrong_type": "3,10", "out_of_range": -1}[code]
    return [Row(track("looked", {"price": price}), code=code, **row) for _ in range(count)]


def test_quarantine_is_told_by_code_source_and_release(plan: Plan, tmp_path: Path) -> None:
    rows = [
        *looked(1_000, day=BEFORE),
        *refused(3, day=BEFORE),
        *looked(500),
        *refused(2),
        *refused(1, "out_of_range"),
        *looked(400, version="2.0"),
        *refused(40, version="2.0"),
        *looked(300, source="app", day=BEFORE),
        *refused(60, "out_of_range", source="app", day=BEFORE),
        *looked(300, source="app"),
        *refused(60, "out_of_range", source="app"),
        *refused(9, source="gone", day=BEFORE),
    ]
    found = drift_of(tmp_path, plan, rows).quarantine

    def rate(code: str, source: str, version: str, before: Share, has_changed: bool) -> QuarantineRate:
        sent = [row for row in rows if (row.source, row.version) == (source, version) and row.is_now]
        now = share(sent, lambda row: row.code == code)
        return QuarantineRate(source, f"polku-js {version}", code, before, now, has_changed)

    assert found == [
        rate("wrong_type", "web", "2.0", Share(3, 1_003), has_changed=True),
        rate("out_of_range", "app", "1.0", Share(60, 360), has_changed=False),
        rate("wrong_type", "web", "1.0", Share(3, 1_003), has_changed=False),
        rate("out_of_range", "web", "1.0", Share(0, 1_003), has_changed=False),
    ]


def test_events_without_a_library_do_not_change_the_rates_of_their_source(plan: Plan, tmp_path: Path) -> None:
    """Who sent what is too broken to say so is unknown: its rate is of all that its source sent, then and now."""
    rows = [
        *looked(900, day=BEFORE),
        *refused(100, day=BEFORE),
        *looked(893),
        *refused(99),
        *looked(4, library=None, version=None),
        *refused(4, library=None, version=None),
    ]
    found = drift_of(tmp_path, plan, rows).quarantine
    assert [(one.release, one.before, one.now, one.has_changed) for one in found] == [
        ("polku-js 1.0", Share(100, 1_000), Share(99, 992), False),
        ("unknown library", Share(0, 1_000), Share(4, 1_000), False),
    ]


def test_a_source_of_many_unknown_senders_is_told_as_a_whole_by_its_true_rate(plan: Plan, tmp_path: Path) -> None:
    rows = []
    for number in range(20):
        rows += [*looked(20, day=BEFORE, version=f"1.{number}"), *looked(19, version=f"1.{number}")]
        rows += refused(1, version=f"1.{number}")
    rows += [*looked(100, library=None, version=None, day=BEFORE), *looked(100, library=None, version=None)]
    told = [one for one in drift_of(tmp_path, plan, rows).quarantine if one.has_changed]
    assert told == [QuarantineRate("web", None, "wrong_type", Share(0, 500), Share(20, 500), has_changed=True)]


# False alarms -------------------------------------------------------------------------------------------------------


def test_a_stable_stream_is_told_to_have_changed_no_more_often_than_promised(plan: Plan) -> None:
    """Reports on samples of the same distribution: at most one in a hundred may tell a change."""
    draw, reports = np.random.default_rng(7), 1_000
    alarms = sum(find_drift(plan, stable_facts(draw), ["changed", "quarantine"]).is_found for _ in range(reports))
    # More have a probability of about one in ten thousand if ALPHA is kept.
    assert alarms <= reports * ALPHA + 4 * (reports * ALPHA) ** 0.5


def stable_facts(draw: np.random.Generator) -> Facts:
    """What senders of very different sizes send, in the window and before it; only chance tells the two apart."""
    facts = Facts()
    senders = [
        Sender("web", "js", "1"),
        Sender("web", "js", "2"),
        Sender("app", "swift", "1"),
        Sender("raw", None, None),
    ]
    rates = {code: draw.choice([0.0005, 0.003, 0.02]) for code in ("wrong_type", "out_of_range", "missing_property")}
    nulls = {f"p{number}": draw.choice([0.002, 0.02, 0.2, 0.5]) for number in range(8)}
    for sender in senders:
        size = int(draw.choice([120, 400, 5_000]))
        for is_now, of in ((True, size), (False, size * int(draw.choice([1, 4, 50])))):
            cell = Cell(sender, is_now)
            facts.sent[cell] += of
            for code, rate in rates.items():
                facts.refused[code, cell] += int(draw.binomial(of, rate))
            for path, rate in nulls.items():
                facts.present.setdefault(("e", path), {})[cell] = Share(of - int(draw.binomial(of, rate)), of)
            beside = facts.beside.setdefault(("e", "extra"), Beside())
            counts = draw.multinomial(of, [0.55, 0.4, 0.04, 0.01])
            beside.types[cell] = Counter(
                dict(zip(("string", "integer", "null", "list"), map(int, counts), strict=True))
            )
            texts = beside.texts.setdefault((sender.source, is_now), Counter())
            for text, count in zip("abcde", draw.multinomial(counts[0], [0.6, 0.35, 0.04, 0.008, 0.002]), strict=True):
                texts += Counter({text: int(count)})
    return facts


@pytest.mark.parametrize("seed", range(4))
def test_a_stable_lake_has_no_drift(plan: Plan, tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    rows = []
    for day, count in ((BEFORE, 1_200), (BEFORE + DAY, 1_200), (TODAY, 600)):
        for _ in range(count):
            price = draw.choice([1, 2.5]) if draw.random() < 0.9 else "x"
            kind = {"kind": draw.choice("ab")} if draw.random() < 0.7 else {}
            source, version = draw.choice([("web", "1.0"), ("web", "1.1"), ("app", "1.0")])
            code = "wrong_type" if price == "x" else None
            rows.append(Row(track("looked", {"price": price} | kind), day, source, version=version, code=code))
    found = drift_of(tmp_path, plan, rows)
    assert found.unseen == [Unseen("page_viewed", "", 0, 0), Unseen("paid", "", 0, 0)]
    assert found.changed == found.unplanned_events == found.unplanned_properties == []
    assert {one.has_changed for one in found.quarantine} == {False}


def test_a_change_of_a_tenth_is_told_whatever_else_is_compared(plan: Plan) -> None:
    """What keeps false alarms away does not keep a change away that anybody would want to know of."""
    draw = np.random.default_rng(7)
    for _ in range(50):
        facts = stable_facts(draw)
        for is_now, nulls in ((True, 800), (False, 300)):
            cells = facts.present.setdefault(("e", "moved"), {})
            cells[Cell(Sender("new", "js", "1"), is_now)] = Share(4_000 - nulls, 4_000)
        told = {(one.path, one.source, one.release) for one in find_drift(plan, facts).changed}
        assert ("moved", "new", "js 1") in told


# The command --------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(plan_commands.drift, arguments, standalone_mode=False)


def code_of(result: Result) -> int | None:
    """What the process would end with."""
    if isinstance(result.exception, SystemExit):
        return int(str(result.exception.code))
    return getattr(result.exception, "exit_code", None) if result.exception else 0


UNTIL = ("--until", str(TODAY + DAY))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_plan(tmp_path_factory.mktemp("plan")))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Lake:
    rows = [
        *looked(200, day=BEFORE),
        *looked(150, {"hint": "qr", "tone": "x"}),
        *looked(150, {"kind": None}, version="2.0"),
        *refused(20, version="2.0"),
        Row(track("Card Blocked")),
        Row(track("looked"), datetime.date(2026, 2, 1), "app"),
    ]
    return fill(tmp_path_factory.mktemp("lake"), plan, rows)


def test_the_command_tells_all_and_ends_with_1(folder: str, lake: Lake) -> None:
    result = run(folder, "--lake", lake.uri, *UNTIL)
    assert code_of(result) == 1
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    for line in (
        f"shop 1.0 beside 321 events of {lake.uri}, 2026-03-14 to 2026-03-20",
        "compared with 200 events, 2026-02-14 to 2026-03-13",
        "Card Blocked 1 0 2026-03-20 12:00 2026-03-20 12:00 web polku-js 1.0 (1)",
        "hint looked 150 string 2026-03-20 12:00 2026-03-20 12:00 web polku-js 1.0 (150)",
        "planned, never seen: 2 events: page_viewed, paid",
        "null looked kind web polku-js 2.0 0.0% of 200 (its source) 100.0% of 150",
        "wrong_type web polku-js 2.0 0.0% of 200 11.8% of 170 changed",
    ):
        assert line in lines


def test_a_lake_that_is_as_planned_ends_with_0(tmp_path: Path, plan: Plan) -> None:
    files = {"events/paid.yaml": None, "events/page_viewed.yaml": None}
    folder = write_plan(tmp_path / "plan", files)
    lake = fill(tmp_path, plan, [*looked(120, day=BEFORE), *looked(120), *refused(1, day=BEFORE)])
    result = run(str(folder), "--lake", lake.uri, *UNTIL)
    assert (code_of(result), result.output.splitlines()[-1]) == (0, "no drift")
    assert json.loads(run(str(folder), "--lake", lake.uri, *UNTIL, "--json").output)["unseen"] == []


def test_one_of_something_is_said_in_the_singular(tmp_path: Path, plan: Plan) -> None:
    folder = write_plan(tmp_path / "plan", {"events/page_viewed.yaml": None})
    lake = fill(tmp_path, plan, [*looked(1, day=BEFORE), *looked(1)])
    output = run(str(folder), "--lake", lake.uri, *UNTIL).output
    assert "beside 1 event of" in output
    assert "compared with 1 event," in output
    assert "planned, never seen: 1 event: paid" in output


@pytest.mark.parametrize("section", SECTIONS)
def test_only_one_kind_is_told_if_asked_for(folder: str, lake: Lake, section: str) -> None:
    kinds = {
        "unplanned": {"unplanned_events", "unplanned_properties"},
        "unseen": {"unseen"},
        "changed": {"changed"},
        "quarantine": {"quarantine"},
    }
    result = run(folder, "--lake", lake.uri, *UNTIL, "--json", "--only", section)
    found = json.loads(result.output)
    lists = {name for name, value in found.items() if isinstance(value, list) and value}
    assert (code_of(result), lists) == (1, kinds[section])


def test_only_one_source_is_looked_at_if_asked_for(tmp_path: Path, plan: Plan, folder: str) -> None:
    lake = fill(tmp_path, plan, [*looked(5), *looked(7, {"hint": 1}, source="app"), *refused(2, source="app")])
    events = [
        json.loads(run(folder, "--lake", lake.uri, *UNTIL, "--json", *chosen).output)["events"]
        for chosen in ((), ("--source", "app"), ("--source", "web"), ("--source", "web", "--source", "app"))
    ]
    assert events == [14, 9, 5, 14]


def test_json_is_the_same_whatever_order_python_gives_its_sets(folder: str, lake: Lake) -> None:
    outputs = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "polku.cli", "plan", "drift", folder, "--lake", lake.uri, *UNTIL, "--json"]
        done = subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=False)
        assert done.returncode == 1, done.stderr
        outputs.add(done.stdout)
    (output,) = outputs
    found = json.loads(output)
    assert list(found) == [
        "plan",
        "version",
        "events",
        "baseline_events",
        "unplanned_events",
        "unplanned_properties",
        "unseen",
        "changed",
        "quarantine",
    ]
    assert found["changed"][0] == {
        "event": "looked",
        "path": "kind",
        "source": "web",
        "release": "polku-js 2.0",
        "what": "null",
        "before": {"part": 0, "of": 200},
        "now": {"part": 150, "of": 150},
        "compared_with": "source",
    }


def test_the_window_and_the_baseline_are_as_long_as_asked_for(tmp_path: Path, plan: Plan, folder: str) -> None:
    rows = [row for back in range(40) for row in looked(1, day=TODAY - back * DAY)]
    lake = fill(tmp_path, plan, rows)
    found = {}
    for chosen in ((), ("--days", "3"), ("--days", "3", "--baseline-days", "2")):
        told = json.loads(run(folder, "--lake", lake.uri, *UNTIL, "--json", *chosen).output)
        found[chosen] = (told["events"], told["baseline_events"])
    assert list(found.values()) == [(7, 28), (3, 28), (3, 2)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--days", "0"], "--days"),
        (["--baseline-days", "0"], "--baseline-days"),
        (["--days", "9999999"], "no calendar has 9999999 days before 2026-03-21"),
        (["--baseline-days", "9999999"], "no calendar has 9999999 days before 2026-03-14"),
        (["--until", "yesterday"], "--until"),
        (["--until", "0001-01-05"], "no calendar has 7 days before 0001-01-05"),
        (["--only", "everything"], "--only"),
        (["--until", "2026-01-01"], "its newest day is 2026-03-20: try --until 2026-03-21"),
        (["--source", "wbe"], "has no events of wbe; there are some of app, web"),
        (["--source", "app"], "its newest day is 2026-02-01: try --until 2026-02-02"),
    ],
)
def test_an_option_that_makes_no_sense_ends_with_2_and_says_so(
    folder: str, lake: Lake, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "drift", folder, "--lake", lake.uri, *UNTIL, *arguments])
    assert ended.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_no_lake_an_empty_one_and_a_plan_that_is_not_clean_end_with_2(tmp_path: Path, plan: Plan, folder: str) -> None:
    missing = run(folder, "--lake", str(tmp_path / "nowhere"))
    assert code_of(missing) == 2
    assert "nowhere" in str(missing.exception)
    (tmp_path / "empty").mkdir()
    without = run(folder, "--lake", str(tmp_path / "empty"))
    assert isinstance(without.exception, AnalyticsError)
    assert "no table events" in str(without.exception)
    nothing = run(folder, "--lake", fill(tmp_path, plan, refused(1, day=BEFORE)).uri, *UNTIL)
    assert code_of(nothing) == 2
    assert "has no events" in str(nothing.exception)
    unclean = run(str(write_plan(tmp_path / "plan", {"traits.yaml": "age: {type: zap}\n"})), "--lake", str(tmp_path))
    assert isinstance(unclean.exception, PlanError)
    assert code_of(unclean) == 2


def test_refused_events_alone_are_reported(tmp_path: Path, plan: Plan, folder: str) -> None:
    """Nothing gets through any more: that is no reason to say that there is nothing."""
    lake = fill(tmp_path, plan, [*looked(200, day=BEFORE), *refused(120)])
    (rate,) = json.loads(run(folder, "--lake", lake.uri, *UNTIL, "--json").output)["quarantine"]
    assert (rate["code"], rate["now"], rate["has_changed"]) == ("wrong_type", {"part": 120, "of": 120}, True)
