"""What intake accepted comes back as a document that the same plan accepts, with the same values."""

import datetime
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polku_analytics.contract.events import NotAnEvent, Sender, merged, read_item
from polku_analytics.contract.observed import NameUse, ObservedLake, _refused
from polku_analytics.errors import LakeError
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_collector.settings import Limits
from polku_schemas import Checked, Plan, Property, compile_plan, load_plan
from tests.analytics.contract.world import TODAY, Request, judge, make_lake, track, write_plan

ALWAYS = Period()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return load_plan(write_plan(tmp_path_factory.mktemp("plan")))


def documents(observed: ObservedLake, **options: Any) -> dict[tuple[str, str], list[dict[str, Any]]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for batch in observed.batches(observed.uses(), **options):
        found.setdefault((batch.call, batch.name), []).extend(map(json.loads, batch.properties))
    return found


def canonical(checked: Checked) -> tuple[Any, Any]:
    """What an accepted document comes to: its planned values, and the rest without nulls in planned places."""
    return msgspec.to_builtins(checked.values), checked.unplanned


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(max_size=10),
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5).map(float),
    "number": st.floats(0, allow_infinity=False) | st.integers(0, 2**63 - 1),
    "boolean": st.booleans(),
    "date": st.dates().map(str),
    "date-time": st.datetimes(
        datetime.datetime(2, 1, 1), datetime.datetime(9998, 1, 1), timezones=st.just(datetime.UTC)
    ).map(datetime.datetime.isoformat),
    "uuid": st.uuids().map(lambda key: str(key).upper()),
}


def values(prop: Property) -> st.SearchStrategy[Any]:
    """Values that a property takes, to the ends of its type."""
    if prop.enum:
        return st.sampled_from(prop.enum)
    if prop.items is not None:
        return st.lists(values(prop.items), max_size=3)
    return members(prop.fields) if prop.fields else SCALARS[prop.type]


def members(properties: dict[str, Property]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that are accepted, with optional members and unplanned ones."""
    required = {name: values(prop) for name, prop in properties.items() if prop.required}
    optional = {name: st.none() | values(prop) for name, prop in properties.items() if not prop.required}
    unplanned = st.dictionaries(st.text(max_size=4).map("unplanned {}".format), json_values, max_size=2)
    return st.builds(dict.__or__, st.fixed_dictionaries(required, optional=optional), st.just({}) | unplanned)


@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_intake_accepted_comes_back(plan: Plan, tmp_path: Path, data: st.DataObject) -> None:
    """Each document carries its number in `order_id`, by which it is found again."""
    paid = compile_plan(plan).find("track", "paid")
    assert paid is not None
    drawn = data.draw(st.lists(members(plan.events["paid"].properties), min_size=1, max_size=25))
    sent = [document | {"order_id": f"n{number}"} for number, document in enumerate(drawn)]
    request = Request([track("paid", document) for document in sent])
    assert not judge(plan, request).rejected
    observed = ObservedLake(make_lake(Path(tempfile.mkdtemp(dir=tmp_path)), plan, [request]), ALWAYS)
    found = documents(observed, nulls=lambda call, name: ["coupon"])["track", "paid"]
    by_number = {document["order_id"]: document for document in found}
    assert len(by_number) == len(found) == len(sent)
    for number, document in enumerate(sent):
        before = paid.check(json.dumps(document).encode())
        after = paid.check(msgspec.json.encode(by_number[f"n{number}"]))
        assert isinstance(before, Checked)
        assert isinstance(after, Checked)
        assert canonical(after) == canonical(before)


def test_unplanned_members_inside_planned_ones_come_back_in_place(plan: Plan, tmp_path: Path) -> None:
    sent = {
        "order_id": "O-1",
        "coupon": "x",
        "lines": [{"order_id": "a", "colour": {"deep": [1, None]}}, {"order_id": "b", "price": 2.5}],
        "address": {"kind": "a", "floor": 3},
        "new": None,
    }
    observed = ObservedLake(make_lake(tmp_path, plan, [Request([track("paid", sent)])]), ALWAYS)
    assert documents(observed)["track", "paid"] == [sent]


def test_times_and_days_are_written_as_json_has_them(plan: Plan, tmp_path: Path) -> None:
    sent = {"order_id": "O", "coupon": "x", "moment": "0999-01-31T23:00:00.000001-02:00", "day": "0999-01-02"}
    observed = ObservedLake(make_lake(tmp_path, plan, [Request([track("paid", sent)])]), ALWAYS)
    (found,) = documents(observed)["track", "paid"]
    assert found == sent | {"moment": "0999-02-01T01:00:00.000001Z"}


def test_a_null_is_left_away_unless_it_is_asked_for(plan: Plan, tmp_path: Path) -> None:
    items = [track("paid", {"order_id": "a", "coupon": None}), track("looked", {"price": 1})]
    observed = ObservedLake(make_lake(tmp_path, plan, [Request(items)]), ALWAYS)
    assert documents(observed) == {("track", "paid"): [{"order_id": "a"}], ("track", "looked"): [{"price": 1.0}]}
    asked = documents(observed, nulls=lambda call, name: ["coupon", "lines.price"] if name == "paid" else [])
    assert asked == {
        ("track", "paid"): [{"order_id": "a", "coupon": None}],
        ("track", "looked"): [{"price": 1.0}],
    }


def test_traits_come_back_and_those_of_a_group_do_not_count(plan: Plan, tmp_path: Path) -> None:
    items = [
        {"type": "identify", "userId": "u", "traits": {"email": "a@b.fi", "age": 31, "shoe": 43}},
        {"type": "group", "userId": "u", "groupId": "g", "traits": {"email": 5}},
        track("looked", {}, context={"traits": {"age": 32}}),
    ]
    observed = ObservedLake(make_lake(tmp_path, plan, [Request(items)]), ALWAYS)
    traits = {batch.name: batch.traits for batch in observed.batches(observed.uses())}
    assert json.loads(traits["identify"][0] or b"") == {"email": "a@b.fi", "age": 31, "shoe": 43}
    assert traits["group"] == [None]
    assert json.loads(traits["looked"][0] or b"") == {"age": 32}


@pytest.mark.parametrize("own", [1, 1_000_000])
def test_names_read_alone_and_together_are_the_same(
    own: int, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polku_analytics.contract.observed.OWN_EVENTS_A_FILE", own)
    items = [track(name, {"price": number}) for number in range(5) for name in ("looked", "O'Hara", "unheard of")]
    items += [{"type": "page", "userId": "u", "properties": {"title": "x", "more": 1}}]
    observed = ObservedLake(make_lake(tmp_path, plan, [Request(items)]), ALWAYS)
    found = documents(observed)
    prices = [{"price": float(number)} for number in range(5)]
    assert {key[1]: sorted(rows, key=str) for key, rows in found.items()} == {
        "looked": prices,
        "O'Hara": prices,
        "unheard of": prices,
        "page_viewed": [{"more": 1}],
    }


def test_uses_are_counted_as_a_reader_of_the_documents_would(plan: Plan, tmp_path: Path) -> None:
    items = [track("looked", {"price": number} if number % 3 else {"kind": "a"}) for number in range(10)]
    items += [track("paid", {"order_id": "a", "coupon": None, "other": 1})]
    observed = ObservedLake(make_lake(tmp_path, plan, [Request(items)]), ALWAYS)
    looked, paid = sorted(observed.uses(), key=lambda use: use.name)
    noon = datetime.datetime.combine(TODAY, datetime.time(12), datetime.UTC)
    counts = Counter(name for item in items[:10] for name in item["properties"])
    assert looked == NameUse("track", "looked", 10, dict(counts), 0, noon, noon)
    assert (paid.columns, paid.extras) == ({"order_id": 1}, 1)


def test_a_period_and_sources_narrow_what_is_read(plan: Plan, tmp_path: Path) -> None:
    yesterday = TODAY - datetime.timedelta(days=1)
    noon = f"{yesterday}T12:00:00Z"
    bad = track("paid", {"order_id": 1})
    requests = [
        Request([track("looked", {"price": 1}, timestamp=noon), bad], day=yesterday),
        Request([track("looked", {"price": 2}), bad]),
        Request([track("looked", {"price": 3}), bad], source="app"),
    ]
    lake = make_lake(tmp_path, plan, requests)
    day = Period(yesterday, TODAY)
    for period, sources, prices, refused in (
        (day, (), [1], ["web"]),
        (Period(TODAY), (), [2, 3], ["web", "app"]),
        (ALWAYS, ("app",), [3], ["app"]),
    ):
        observed = ObservedLake(lake, period, sources)
        assert sorted(row["price"] for row in documents(observed)["track", "looked"]) == prices
        assert sorted(row.sender.source or "" for row in observed.refused()) == sorted(refused)
    assert ObservedLake(lake, day).newest_day() == TODAY


def test_originals_in_quarantine_are_read_as_far_as_they_can_be(plan: Plan, tmp_path: Path) -> None:
    library = {"library": {"name": "polku-ios", "version": "2"}}
    items = [
        track("Order Paid", {"order_id": 5, "coupon": "x"}, context=library),
        track("looked", {"kind": "x" * 500}),
        {"type": "page", "name": "Home", "properties": {"price": 1}},
    ]
    lake = make_lake(tmp_path, plan, [Request(items)], Limits(max_quarantine_bytes=400))
    rows = {row.code: row for row in ObservedLake(lake, ALWAYS).refused()}
    assert set(rows) == {"wrong_type", "not_in_enum", "missing_id"}
    readable, page = rows["wrong_type"], rows["missing_id"].item
    assert (readable.sender, readable.name) == (Sender("web", "polku-ios", "2"), "Order Paid")
    assert readable.item is not None
    assert json.loads(readable.item.properties) == items[0]["properties"]
    assert rows["not_in_enum"].item is None  # cut
    assert page is not None
    assert (page.call, json.loads(page.properties)) == ("page", {"price": 1, "page_name": "Home"})


def test_an_event_that_the_lake_refused_is_read_from_its_journal_line() -> None:
    line = {
        "event_type": "track",
        "event_name": "paid",
        "source": "web",
        "library": "polku-js",
        "p": {"order_id": "a", "lines": [{"price": 1}]},
        "t": {"age": 3},
        "extra": json.dumps({"properties": {"lines": [{"x": 1}], "y": 2}, "traits": {"z": 3}}),
    }
    moment = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
    row = _refused("unconvertible", "$", "web", None, None, moment, "track", "paid", json.dumps(line))
    assert row.item is not None
    assert json.loads(row.item.properties) == {"order_id": "a", "lines": [{"price": 1, "x": 1}], "y": 2}
    assert json.loads(row.item.traits or b"") == {"age": 3, "z": 3}
    assert row.sender == Sender("web", "polku-js", None)


def test_a_lake_that_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="polku collector"):
        ObservedLake(Lake(tmp_path / "none", environ={}), ALWAYS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"properties": {}}', "neither a type nor an event name"),
        ('{"type": "zap"}', "is no call"),
        ('{"type": "track"}', "without an event name"),
    ],
)
def test_what_is_no_event_says_why(text: str, reason: str) -> None:
    with pytest.raises(NotAnEvent, match=reason):
        read_item(text)


def test_an_item_is_read_by_the_rules_of_the_wire() -> None:
    page = read_item('{"type":"page","name":"Home","category":"Shop","properties":{"a":1}}')
    assert json.loads(page.properties) == {"a": 1, "page_name": "Home", "page_category": "Shop"}
    odd = read_item(
        '{"type":"track","event":"x","timestamp":5,"properties":{"a":NaN},"context":{"library":{"name":"l"}}}'
    )
    assert (odd.name, odd.library, json.loads(odd.properties)) == ("x", "l", {"a": None})
    traits = read_item('{"event":"x","context":{"traits":{"age":1}}}')
    assert (traits.call, traits.traits) == ("track", b'{"age":1}')


def test_what_was_kept_beside_goes_back_where_it_was() -> None:
    assert json.loads(merged(b'{"a":[{"x":1},{}],"b":{"c":1}}', {"a": [{"y": 2}, {}], "b": {"d": 2}, "e": 3})) == {
        "a": [{"x": 1, "y": 2}, {}],
        "b": {"c": 1, "d": 2},
        "e": 3,
    }
