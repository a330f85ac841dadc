"""What a mapping does to an event, what it never does, and what is wrong with a mapping file."""

import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_collector.casts import Cast, Uncastable, cast_value
from polku_collector.errors import SettingsError
from polku_collector.replay.mapping import Mapping, Mended, Step, Unmendable, mend
from polku_collector.replay.mapping_file import read_mapping

EVERYTHING = """
events:
  product_viewed:
    drop: [debug, "products[].debug"]
    rename: {prodId: product_id, "products[].sku": product_id, "seller.nm": name}
    cast:
      price: {to: number, decimal: ","}
      "products[].quantity": integer
      "tags[]": string
      sent: {to: date-time, unit: seconds}
      local: {to: date-time, zone: Europe/Helsinki}
    default: {currency: EUR, "products[].currency": USD, "seller.country": FI}
    rename_event: product_seen
  "*":
    drop: [debug]
"""


def mapping(tmp_path: Path, text: str) -> Mapping:
    file = tmp_path / "map.yaml"
    file.write_text(text)
    return read_mapping(file)


def mended(entry: Mended, properties: Any, call: str = "track") -> Any:
    member = "traits" if call == "identify" else "properties"
    item = {"type": call, "event": "e", member: properties}
    return json.loads(mend(json.dumps(item).encode(), entry, call))[member]


def test_every_step_at_every_depth(tmp_path: Path) -> None:
    entry = mapping(tmp_path, EVERYTHING).events["product_viewed"]
    item = {
        "type": "track",
        "event": "product_viewed",
        "messageId": "m",
        "properties": {
            "prodId": 7,
            "price": " 59,90 ",
            "sent": 1_700_000_000,
            "local": "2026-07-01 12:00",
            "debug": 1,
            "tags": [1, "a", True, None],
            "products": [{"sku": "s", "quantity": "2", "debug": 1, "currency": "SEK"}, {}, "odd"],
            "seller": {"nm": "N", "country": None},
            "left": {"debug": 1, "price": "1,5"},
        },
    }
    assert json.loads(mend(json.dumps(item).encode(), entry, "track")) == {
        "type": "track",
        "event": "product_seen",
        "messageId": "m",
        "properties": {
            "product_id": 7,
            "price": 59.9,
            "sent": "2023-11-14T22:13:20Z",
            "local": "2026-07-01T09:00:00Z",
            "tags": ["1", "a", "true", None],
            "products": [{"product_id": "s", "quantity": 2, "currency": "SEK"}, {"currency": "USD"}, "odd"],
            "seller": {"name": "N", "country": "FI"},
            "left": {"debug": 1, "price": "1,5"},
            "currency": "EUR",
        },
    }


def test_the_entry_is_that_of_the_name_as_sent_then_in_snake_case_then_of_any(tmp_path: Path) -> None:
    some = Mended(drop=((Step("x"),),))
    named = Mapping({"Product Viewed": some, "cart_viewed": some, "page": some})
    assert named.entry("track", "Product Viewed") == "Product Viewed"
    assert named.entry("track", "Cart Viewed") == "cart_viewed"
    assert named.entry("page", "cart_viewed") == "page"
    assert named.entry("track", "product_viewed") is None
    assert named.entry(None, None) is None
    both = Mapping({"*": some, "page": some})
    assert both.entry("track", "else") == both.entry(None, None) == both.entry("identify", None) == "*"


def test_of_identify_and_group_the_traits_are_mended(tmp_path: Path) -> None:
    entry = Mended(rename=(((Step("mail"),), "email"),))
    assert mended(entry, {"mail": "a@b.c"}, "identify") == {"email": "a@b.c"}


def test_names_may_change_places_and_nothing_is_overwritten() -> None:
    swap = Mended(rename=(((Step("a"),), "b"), ((Step("b"),), "a")))
    assert mended(swap, {"a": 1, "b": 2}) == {"a": 2, "b": 1}
    onto = Mended(rename=(((Step("old"),), "new"),))
    assert mended(onto, {"old": 1, "new": None}) == {"new": 1}
    assert mended(onto, {"old": None, "new": 1}) == {"new": 1}
    with pytest.raises(Unmendable, match="both are there") as found:
        mended(onto, {"old": 1, "new": 2})
    assert found.value.path == "$.properties.new"


def test_deeper_names_are_those_that_were_sent() -> None:
    entry = Mended(rename=(((Step("items"),), "products"), ((Step("items", True), Step("sku")), "product_id")))
    assert mended(entry, {"items": [{"sku": 1}]}) == {"products": [{"product_id": 1}]}


def test_defaults_fill_what_is_absent_or_null_also_without_properties() -> None:
    entry = Mended(default=(((Step("currency"),), "EUR"),))
    assert mended(entry, {"currency": "SEK"}) == {"currency": "SEK"}
    assert mended(entry, {"currency": None}) == mended(entry, None) == {"currency": "EUR"}
    assert json.loads(mend(b'{"event":"e"}', entry, "track"))["properties"] == {"currency": "EUR"}
    assert mended(entry, "odd") == "odd"


def test_what_cannot_be_cast_says_where() -> None:
    entry = Mended(cast=(((Step("products", True), Step("price")), Cast("number")),))
    with pytest.raises(Unmendable) as found:
        mended(entry, {"products": [{"price": "1"}, {"price": "secret"}]})
    assert found.value.path == "$.properties.products[1].price"
    assert "secret" not in str(found.value)


CASTS: list[tuple[Cast, Any, Any]] = [
    (Cast("number"), "59.90", 59.9),
    (Cast("number"), " +1e3 ", 1000.0),
    (Cast("number"), "9007199254740993", 9007199254740993),
    (Cast("number"), 5, 5),
    (Cast("number"), "59,90", Uncastable),
    (Cast("number"), "1,000.5", Uncastable),
    (Cast("number"), "1e999", Uncastable),
    (Cast("number"), "", Uncastable),
    (Cast("number"), "NaN", Uncastable),
    (Cast("number"), "١", Uncastable),
    (Cast("number"), True, Uncastable),
    (Cast("number", decimal=","), "59,90", 59.9),
    (Cast("number", decimal=","), "59.90", Uncastable),
    (Cast("number", decimal=","), "1.000,5", Uncastable),
    (Cast("integer"), "7", 7),
    (Cast("integer"), "-7.0", -7),
    (Cast("integer"), 7.0, 7),
    (Cast("integer"), "7.5", Uncastable),
    (Cast("integer"), "9223372036854775807", 9223372036854775807),
    (Cast("integer"), "9223372036854775808", Uncastable),
    (Cast("integer"), 1e300, Uncastable),
    (Cast("integer", decimal=","), "7,0", 7),
    (Cast("string"), 7, "7"),
    (Cast("string"), 7.5, "7.5"),
    (Cast("string"), False, "false"),
    (Cast("string"), "a", "a"),
    (Cast("string"), ["a"], Uncastable),
    (Cast("boolean"), "Yes", True),
    (Cast("boolean"), "0", False),
    (Cast("boolean"), 1, True),
    (Cast("boolean"), True, True),
    (Cast("boolean"), "on", Uncastable),
    (Cast("boolean"), 2, Uncastable),
    (Cast("date"), "2026-11-22", "2026-11-22"),
    (Cast("date"), "2026-11-22T23:00:00-05:00", "2026-11-22"),
    (Cast("date"), "2026-02-30", Uncastable),
    (Cast("date"), "22.11.2026", Uncastable),
    (Cast("date"), 20261122, Uncastable),
    (Cast("date-time"), "2026-11-22 12:00:00Z", "2026-11-22T12:00:00Z"),
    (Cast("date-time"), "2026-11-22t12:00z", "2026-11-22T12:00:00Z"),
    (Cast("date-time"), "2026-11-22T12:00:00.123456 +0200", "2026-11-22T10:00:00.123456Z"),
    (Cast("date-time"), "2026-11-22T12:00:00", Uncastable),
    (Cast("date-time"), "2026-11-22T23:59:60Z", Uncastable),
    (Cast("date-time"), 1_700_000_000, Uncastable),
    (Cast("date-time", zone=ZoneInfo("Europe/Helsinki")), "2026-01-01 12:00", "2026-01-01T10:00:00Z"),
    (Cast("date-time", zone=ZoneInfo("Europe/Helsinki")), "2026-01-01 12:00Z", "2026-01-01T12:00:00Z"),
    (Cast("date-time", zone=ZoneInfo("Europe/Helsinki")), "0001-01-01 00:00", Uncastable),
    (Cast("date-time", unit="seconds"), 1_700_000_000, "2023-11-14T22:13:20Z"),
    (Cast("date-time", unit="milliseconds"), 1_700_000_000_500, "2023-11-14T22:13:20.500000Z"),
    (Cast("date-time", unit="seconds"), 1e300, Uncastable),
    (Cast("date-time", unit="seconds"), "1700000000", Uncastable),
    (Cast("date-time", unit="seconds"), True, Uncastable),
    (Cast("uuid"), "6F9619FF8B86D011B42D00CF4FC964FF", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
    (Cast("uuid"), "x", Uncastable),
    (Cast("uuid"), 5, Uncastable),
]


@pytest.mark.parametrize(("cast", "value", "expected"), CASTS)
def test_casts(cast: Cast, value: Any, expected: Any) -> None:
    if expected is Uncastable:
        with pytest.raises(Uncastable):
            cast_value(value, cast)
    else:
        found = cast_value(value, cast)
        assert (found, type(found)) == (expected, type(expected))
        assert cast_value(None, cast) is None


names = st.sampled_from(["a", "b", "c", "d", "e"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["1,5"])
)
# Few leaves: what matters is where they stand.
documents = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=8)
casts = st.builds(Cast, st.sampled_from(["string", "integer", "number", "boolean", "date", "date-time", "uuid"]))
paths = st.lists(st.builds(Step, names, st.booleans()), min_size=1, max_size=3).map(
    lambda steps: (*steps[:-1], Step(steps[-1].name))
)
literals = st.text() | st.integers() | st.booleans()
entries = st.builds(
    Mended,
    drop=st.lists(paths, max_size=2).map(tuple),
    cast=st.lists(st.tuples(paths, casts), max_size=2).map(tuple),
    default=st.lists(st.tuples(paths, literals), max_size=2).map(tuple),
)


@given(entries, st.dictionaries(names, documents))
@settings(max_examples=150)
def test_it_changes_only_what_it_names_or_says_where_it_cannot(entry: Mended, properties: dict[str, Any]) -> None:
    item = {"type": "track", "event": "e", "messageId": "m", "properties": properties, "context": {"a": "1"}}
    named = {*entry.drop, *(path for path, _ in (*entry.cast, *entry.default))}
    try:
        found = json.loads(mend(json.dumps(item).encode(), entry, "track"))
    except Unmendable as error:
        assert error.path.startswith("$.properties.") or "64 bits" in str(error)
        return
    assert beside(found.pop("properties"), named) == beside(item.pop("properties"), named)
    assert found == item


def beside(value: Any, named: set[tuple[Step, ...]]) -> Any:
    """The value without the members at the named paths."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        if (Step(name),) in named:
            continue
        further = {path[1:] for path in named if len(path) > 1 and path[0] == Step(name)}
        each = {path[1:] for path in named if len(path) > 1 and path[0] == Step(name, True)}
        if isinstance(inner, list):
            kept[name] = [beside(item, each) for item in inner]
        else:
            kept[name] = beside(inner, further)
    return kept


@given(paths, st.dictionaries(names, documents))
@settings(max_examples=100)
def test_a_rename_moves_a_value_as_it_is_and_nothing_else(path: tuple[Step, ...], properties: dict[str, Any]) -> None:
    """To a name that is nowhere, and back again: the event is what it was."""
    there = Mended(rename=((path, "new"),))
    back = Mended(rename=(((*path[:-1], Step("new")), path[-1].name),))
    item = {"type": "track", "properties": properties}
    try:
        moved = mend(json.dumps(item).encode(), there, "track")
    except Unmendable as error:
        assert "64 bits" in str(error)
        return
    assert json.loads(mend(moved, back, "track")) == item


@given(st.binary(max_size=200) | documents.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=100)
def test_whatever_bytes_stand_in_quarantine_it_mends_or_says_that_it_cannot(raw: bytes) -> None:
    entry = Mended(default=(((Step("a"),), 1),), cast=(((Step("b"),), Cast("integer")),))
    try:
        mend(raw, entry, None)
    except (ValueError, Unmendable):
        return


def test_odd_numbers_and_depth_are_no_surprise() -> None:
    entry = Mended(drop=((Step("a"),),))
    with pytest.raises(Unmendable, match="64 bits"):
        mend(b'{"properties":{"b":1e999}}', entry, "track")
    assert json.loads(mend(b'{"properties":{"b":NaN}}', entry, "track")) == {"properties": {"b": None}}
    with pytest.raises(ValueError, match="deep"):
        mend(b"[" * 100_000 + b"]" * 100_000, entry, "track")


FINDINGS = [
    ("", "it mends no event"),
    ("events: {}", "it mends no event"),
    ("event: {a: {drop: [b]}}", "`event` is not known here"),
    ("events: [a]", "names with a colon"),
    ("events: {a: {}}", "nothing is to be done"),
    ("events: {a: {renam: {a: b}}}", "`renam` is not known here. Write one of cast, default, drop"),
    ("events: {a: {drop: b}}", "not a list"),
    ("events: {a: {drop: [1]}}", "not the name of a property"),
    ("events: {a: {drop: ['b..c']}}", "no path of names"),
    ("events: {a: {drop: ['b[]']}}", "ends in a list's items"),
    ("events: {a: {rename: {b: c.d}}}", "not a plain name"),
    ("events: {a: {cast: {b: float}}}", "'float' is no type to cast to. Write one of string, integer"),
    ("events: {a: {cast: {b: {to: string, decimal: ','}}}}", "`decimal` means nothing for string"),
    ("events: {a: {cast: {b: {to: number, decimal: ';'}}}}", "neither a point nor a comma"),
    ("events: {a: {cast: {b: {to: date-time, unit: hours}}}}", "'hours' is no unit"),
    ("events: {a: {cast: {b: {to: date-time, zone: Mars}}}}", "'Mars' is no time zone"),
    ("events: {a: {default: {b: [1]}}}", "a text, a number or a boolean"),
    ("events: {a: {rename_event: 3}}", "the new name is not a text"),
    ("events: {a: {drop: [b]", "not YAML"),
]


@pytest.mark.parametrize(("text", "message"), FINDINGS)
def test_a_mapping_file_is_closed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=r"map\.yaml") as found:
        mapping(tmp_path, text)
    assert message in str(found.value)


def test_all_findings_come_at_once_with_their_lines(tmp_path: Path) -> None:
    text = "events:\n  a:\n    drop: [x]\n    cast:\n      b: float\n    other: 1\n  c:\n    rename: {d: 5}\n"
    with pytest.raises(SettingsError) as found:
        mapping(tmp_path, text)
    assert [line.partition(" ")[0] for line in str(found.value).split("\n  ")[1:]] == [
        "map.yaml:6:",
        "map.yaml:5:",
        "map.yaml:8:",
    ]
    with pytest.raises(SettingsError, match="No such file"):
        read_mapping(tmp_path / "none.yaml")
