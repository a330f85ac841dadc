"""A drafted plan loads, accepts the events it was drafted from, and shows nobody's data."""

import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.commands.plan import infer
from polku_analytics.contract.drafting import Drafted, draft_from
from polku_analytics.contract.ndjson import EventFile
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_schemas import Plan, builtin_plan_path, load_plan
from tests.analytics.contract.world import PLAN, TODAY, Request, judge, make_lake, track, write_plan

WORDS = load_plan(builtin_plan_path())


def ndjson(folder: Path, items: Iterable[Any]) -> Path:
    path = folder / "events.ndjson"
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return path


def drafted(folder: Path, items: Iterable[Any], **options: Any) -> Drafted:
    events = EventFile(str(ndjson(folder, items)))
    found = draft_from(events.batches, folder / "draft", "a file", WORDS, **options)
    assert found is not None
    return found


def refused(plan: Plan, items: Sequence[dict[str, Any]]) -> int:
    """How many of the items a collector with this plan refuses."""
    return len(judge(plan, Request(items)).rejected)


def notes(found: Drafted) -> str:
    return "\n".join(note.text for note in found.draft.notes)


# Any events ---------------------------------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70) | st.just(10**400),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(
        ["2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00", "a@b.fi", "true", "12", "null", "# x"]
    ),
    st.uuids().map(str),
)
names = st.sampled_from(
    [
        *("price", "productId", "product_id", "Product ID", "order", "class", "source"),
        *("trait_x", "p", "name", "lines"),
        *("2nd", "été", "Заказ", "a" * 80, "", " ", "x\ny", "extra", "true", "kind", "email"),
    ]
) | st.text(max_size=4)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
event_names = st.sampled_from(
    [
        *("Order Completed", "order_completed", "order", "identify", "Page Viewed", "Заказ", " padded "),
        *("a" * 150, "2", "select"),
    ]
) | st.text(min_size=1, max_size=5)  # fmt: skip
tracked = st.builds(track, event_names, st.dictionaries(names, values, max_size=4))
identified = st.builds(
    lambda traits: {"type": "identify", "userId": "u", "traits": traits}, st.dictionaries(names, values, max_size=3)
)
paged = st.builds(
    lambda call, properties: {"type": call, "userId": "u", "name": "x", "properties": properties},
    st.sampled_from(["page", "screen"]),
    st.dictionaries(names, values, max_size=3),
)


@given(items=st.lists(tracked | tracked | identified | paged, max_size=30), one=tracked | paged)
@settings(max_examples=60)
def test_any_events_give_a_plan_that_loads_and_says_how_many_it_refuses(
    items: list[dict[str, Any]], one: dict[str, Any]
) -> None:
    items = [one, *items]
    with tempfile.TemporaryDirectory() as folder:
        found = drafted(Path(folder), items)
        plan = load_plan(Path(folder) / "draft")
        assert plan == found.plan
        assert found.trial.events == len(items)
        assert found.trial.would_break == refused(plan, items)


@given(
    items=st.lists(
        st.builds(
            lambda name, shape, value, many: track(
                name, {f"{shape} value": value, **({"Lines": many} if many else {})}
            ),
            event_names,
            st.just("One"),
            st.none() | st.text(max_size=6),
            st.lists(st.fixed_dictionaries({}, optional={"size": st.integers(), "on": st.booleans()}), max_size=3),
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(max_examples=40)
def test_events_that_do_not_contradict_each_other_are_all_accepted(items: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = drafted(Path(folder), items)
        assert (found.trial.would_break, refused(found.plan, items)) == (0, 0)
        assert not [note for note in found.draft.notes if note.kind == "type"]


# What is decided ----------------------------------------------------------------------------------------------------


def orders(count: int = 120) -> list[dict[str, Any]]:
    draw = random.Random(7)
    return [
        track(
            "Order Completed",
            {
                "order_id": f"O-{number}",
                "total": draw.random() * 100,
                "count": draw.randrange(1, 9),
                "paid_at": "2026-01-31T12:00:00.5+02:00",
                "deliver_on": "2026-02-01",
                "request_key": "5b3cdb0e-7f5f-4c5e-9f6a-0123456789ab",
                "is_gift": draw.random() < 0.5,
                "payment": draw.choice(["card", "bank", "invoice"]),
                "tags": draw.choice([["a"], [], ["b", "c"]]),
                "lines": [{"sku": "S-1", "price": 5, "colour": None}, {"sku": "S-2", "price": 4.5}],
                **({"coupon": "X"} if number % 3 == 0 else {}),
            },
        )
        for number in range(count)
    ]


def test_types_are_those_of_the_values(tmp_path: Path) -> None:
    plan = drafted(tmp_path, orders()).plan
    types = {name: prop.type for name, prop in plan.properties.items()}
    assert types == {
        "order_id": "string",
        "total": "number",
        "count": "integer",
        "paid_at": "date-time",
        "deliver_on": "date",
        "request_key": "uuid",
        "is_gift": "boolean",
        "payment": "string",
        "tags": "array",
        "lines": "array",
        "sku": "string",
        "price": "number",
        "coupon": "string",
    }
    lines, tags = plan.properties["lines"].items, plan.properties["tags"].items
    assert lines is not None
    assert tags is not None
    assert {name: field.required for name, field in lines.fields.items()} == {"price": True, "sku": True}
    assert tags.type == "string"


def test_what_came_with_every_event_is_required_if_there_are_enough(tmp_path: Path) -> None:
    event = drafted(tmp_path, orders()).plan.events["order_completed"]
    assert {name for name, prop in event.properties.items() if not prop.required} == {"coupon"}
    assert event.aliases == ("Order Completed",)
    few = drafted(tmp_path, orders(19), force=True).plan.events["order_completed"]
    assert not any(prop.required for prop in few.properties.values())


def test_few_values_that_come_often_are_an_enum(tmp_path: Path) -> None:
    plan = drafted(tmp_path, orders()).plan
    assert plan.properties["payment"].enum == ("bank", "card", "invoice")
    assert not plan.properties["coupon"].enum  # one value is no choice
    rare = [*orders(), track("Order Completed", {"payment": "cash"})]
    assert not drafted(tmp_path, rare, force=True).plan.properties["payment"].enum


def test_the_files_say_what_was_seen(tmp_path: Path) -> None:
    drafted(tmp_path, orders())
    event = (tmp_path / "draft" / "events" / "order_completed.yaml").read_text()
    dictionary = (tmp_path / "draft" / "properties.yaml").read_text()
    assert "  total: {required: true}  # in all 120\n" in event
    assert "  coupon: {}  # in 40 of 120 (33.3%)\n" in event
    assert "owner: unassigned  # review: who answers for it\n" in event
    assert "count:\n  # 120 values, 8 different, 1 to 8\n  type: integer\n" in dictionary


def test_a_text_among_numbers_is_not_measured_as_if_it_were_a_list(tmp_path: Path) -> None:
    drafted(tmp_path, [track("bought", {"price": price, "parts": [{"size": 1}]}) for price in (3.1, 4.5, "3,10")])
    dictionary = (tmp_path / "draft" / "properties.yaml").read_text()
    assert "price:\n  # 3 values, 3 different, 3.1 to 4.5\n" in dictionary
    assert "parts:\n  # 3 values, 1 items\n" in dictionary


def test_the_same_events_give_the_same_files(tmp_path: Path) -> None:
    shuffled = orders()
    random.Random(1).shuffle(shuffled)
    for folder, items in ((tmp_path / "a", orders()), (tmp_path / "b", shuffled)):
        folder.mkdir()
        drafted(folder, items)
    for file in ("properties.yaml", "traits.yaml", "plan.yaml"):
        assert (tmp_path / "a/draft" / file).read_text() == (tmp_path / "b/draft" / file).read_text()


def test_one_name_has_one_type_and_the_minority_gets_a_name_beside_it(tmp_path: Path) -> None:
    items = [track("viewed", {"price": 5})] * 30 + [track("applied", {"price": "5 EUR"})] * 3
    items += [track("viewed", {"price": "free"})]
    found = drafted(tmp_path, items)
    assert found.plan.properties["price"].type == "integer"
    assert found.plan.events["applied"].properties.keys() == {"price_text"}
    assert "`price` holds numbers elsewhere, but texts in 3 values of applied: drafted there as `price_text`" in notes(
        found
    )
    assert [(one.event, one.path, one.events) for one in found.trial.breaks] == [("viewed", "$.properties.price", 1)]


def test_a_property_and_a_trait_of_one_name_have_one_type(tmp_path: Path) -> None:
    items = [track("x", {"age": 5})] * 9 + [{"type": "identify", "userId": "u", "traits": {"age": "5"}}]
    plan = drafted(tmp_path, items).plan
    assert plan.properties["age"].type == "integer"
    assert plan.traits.keys() == {"age_text"}


def test_names_that_a_plan_cannot_have_are_changed_and_said(tmp_path: Path) -> None:
    properties = {"productId": "a", "product_id": "b", "order": 1, "source": "s", "2nd": 2}
    found = drafted(tmp_path, [track("select", properties)] * 30)
    assert set(found.plan.properties) == {"product_id", "order_property", "source_property", "property_2nd"}
    event = found.plan.events["select_event"]
    assert event.aliases == ("select",)
    assert {name for name, prop in event.properties.items() if prop.required} == {"product_id"}
    assert "`productId` and `product_id` of select_event would both be `product_id`" in notes(found)
    assert "`order` of select_event is drafted as `order_property`; until it is sent as that" in notes(found)
    assert found.trial.would_break == 0


def test_what_no_plan_can_describe_stays_in_extra(tmp_path: Path) -> None:
    odd = {
        "mixed": [1, "a"],
        "nested": [[1]],
        "holes": [1, None],
        "deep": {"a": {"b": 1}},
        "empty": {},
        "nothing": None,
    }
    found = drafted(tmp_path, [track("x", odd)] * 25)
    assert found.plan.events["x"].properties == {}
    assert found.trial.would_break == 0
    for name in ("mixed", "nested", "holes", "a", "empty"):
        assert f"`{name}` of x" in notes(found)


def test_the_built_in_plan_lends_its_words(tmp_path: Path) -> None:
    plan, builtin = drafted(tmp_path, orders()).plan, WORDS
    assert plan.properties["order_id"].description == builtin.properties["order_id"].description
    assert plan.properties["order_id"].privacy == "pseudonymous"
    assert plan.events["order_completed"].description == builtin.events["order_completed"].description
    assert plan.properties["request_key"].description == "Not described yet."


# Nobody's data ------------------------------------------------------------------------------------------------------

SECRETS = {
    "email": "aino.virtanen@corp.fi",
    "contact": "write to aino.virtanen@corp.fi",
    "phone": "+358 40 123 4567",
    "caller": "+358401234567",
    "first_name": "Aino",
    "customer_name": "Aino Virtanen",
    "shipping_address": "Mannerheimintie 17 B",
    "ip": "83.150.77.12",
    "client": "83.150.77.12",
    "host": "2001:db8:85a3::8a2e:370:7334",
    "payment": "4111 1111 1111 1111",
    "account": "FI21 1234 5600 0007 85",
    "session": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sflKxwRJSMeKKF2QT4",
    "secret": "hunter2hunter2",
    "comment": "Please call Aino, she waits at home",
    "said": "Aino would like to have her money back soon",
    "order_id": "FI-777123",
    "birthday": "1986-04-12",
    "latitude": 60.169857,
    "phone_digits_phone": 358401234567,
    "age": 37,
}


def test_no_personal_value_is_in_any_file(tmp_path: Path) -> None:
    """However often it came: with the same person in every event, counting does not protect her."""
    items = [track("signed", SECRETS), {"type": "identify", "userId": "u", "traits": SECRETS}] * 60
    found = drafted(tmp_path, items)
    written = "".join(path.read_text() for path in sorted((tmp_path / "draft").rglob("*.yaml")))
    for name, value in SECRETS.items():
        assert str(value) not in written, name
    for part in ("virtanen", "Aino", "Mannerheim", "358", "4111", "777123", "1986", "60.1", "hunter", "83.150"):
        assert part not in written, part
    classes = {name: prop.privacy for name, prop in found.plan.properties.items()}
    assert all(privacy != "none" for privacy in classes.values()), classes
    assert {"secret", "payment", "account", "session", "birthday", "latitude"} <= {
        name for name, privacy in classes.items() if privacy == "sensitive"
    }


def test_a_text_that_few_events_share_keeps_its_shape_only(tmp_path: Path) -> None:
    items = [track("x", {"title": f"Tent {number}", "kind": "Blue tent"}) for number in range(8)]
    drafted(tmp_path, items)
    written = (tmp_path / "draft" / "events" / "x.yaml").read_text()
    assert "{kind: Blue tent, title: Xxxx 0}" in written


# From a lake, into a plan, as a command -----------------------------------------------------------------------------


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(infer, arguments, input=stdin, standalone_mode=False)


def test_a_plan_is_completed_with_what_it_does_not_know(tmp_path: Path) -> None:
    base = write_plan(tmp_path / "plan")
    items = [
        track(
            "Order Paid",
            {"order_id": "O", "coupon": "c", "count": 1, "size": 4, "lines": [{"order_id": "a", "hue": "red"}]},
        )
    ]
    items += [track("looked", {"price": "5"}), track("Cart Seen", {"price": 5, "kind": "zzz", "new": True})]
    items += [{"type": "identify", "userId": "u", "traits": {"age": 5, "shoe": 43}}] * 2
    lake = make_lake(
        tmp_path / "lake", load_plan(base), [Request(items), Request(items, source="kiosk", is_strict=True)]
    )
    out = tmp_path / "out"
    result = run("--lake", lake.uri, "--until", "2026-03-21", "--plan", str(base), "--out", str(out))
    assert result.exception is None, result.output
    plan = load_plan(out)
    assert plan.version == "1.1"
    paid = plan.events["paid"]
    assert (paid.version, paid.properties["size"].type, paid.properties["size"].required) == ("1.1", "integer", False)
    assert plan.properties["lines"].items is not None
    assert plan.properties["lines"].items.fields["hue"].type == "string"
    assert plan.events["cart_seen"].properties.keys() == {"price", "kind", "new"}
    assert plan.traits["shoe"].type == "integer"
    assert plan.events["looked"].version == "1.0"
    # What people have written is untouched but for the lines that were added.
    for file in ("events/looked.yaml", "events/page_viewed.yaml"):
        assert (out / file).read_bytes() == (base / file).read_bytes()
    before, after = PLAN["events/paid.yaml"], (out / "events/paid.yaml").read_text()
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    assert added == ['version: "1.1"', "  size: {}  # in 2 of 2 (100.0%)".replace("2 of 2 (100.0%)", "all 2")]
    # `kind: zzz` breaks the enum of the plan: the draft cannot change that, and says so.
    assert "not_in_enum" in result.output


def test_where_all_is_planned_nothing_is_written(tmp_path: Path) -> None:
    base = write_plan(tmp_path / "plan")
    file = ndjson(tmp_path, [track("looked", {"price": 5})])
    result = run(str(file), "--plan", str(base), "--out", str(tmp_path / "out"))
    assert "is planned: nothing was written" in result.output
    assert not (tmp_path / "out").exists()


def test_a_plan_written_in_another_style_is_left_to_people(tmp_path: Path) -> None:
    looked = PLAN["events/looked.yaml"].replace("properties:\n  price: {}\n  kind: {}\n", "properties: {price: {}}\n")
    base = write_plan(tmp_path / "plan", {"events/looked.yaml": looked})
    file = ndjson(tmp_path, [track("looked", {"size": 5})])
    result = run(str(file), "--plan", str(base), "--out", str(tmp_path / "out"))
    assert "by hand  events/looked.yaml: add size to `properties`" in result.output
    assert (tmp_path / "out/events/looked.yaml").read_text() == looked


def test_an_event_without_properties_gets_its_first(tmp_path: Path) -> None:
    base = write_plan(tmp_path / "plan")
    file = ndjson(tmp_path, [{"type": "page", "properties": {"size": 5, "url": "https://x", "title": "X"}}])
    assert run(str(file), "--plan", str(base), "--out", str(base), "--force").exception is None
    assert load_plan(base).events["page_viewed"].properties.keys() == {"size"}


def test_a_lake_and_a_file_give_the_same_types(tmp_path: Path) -> None:
    base = load_plan(write_plan(tmp_path / "plan"))
    items = orders()
    lake = make_lake(tmp_path / "lake", base, [Request(items)])
    assert run("--lake", lake.uri, "--until", "2026-03-21", "--out", str(tmp_path / "a")).exception is None
    assert run(str(ndjson(tmp_path, items)), "--out", str(tmp_path / "b")).exception is None
    assert load_plan(tmp_path / "a").events == load_plan(tmp_path / "b").events


def test_lines_of_every_form_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    lines = [
        json.dumps({"batch": [track("In Batch", {"a": 1}), {"type": "zap"}], "sentAt": "2026-01-01T00:00:00Z"}),
        json.dumps({"event": "Flat", "b": 1, "type": "gift", "userId": "u", "timestamp": "2026-01-01T00:00:00Z"}),
        json.dumps({"event": "Untyped", "properties": {"c": 1}, "distinct_id": "u"}),
        "",
        '{"event": "Odd", "properties": {"d": NaN, "e": "\\ud83d"}}',
        "not json",
        "[1]",
        json.dumps({"type": "page", "name": "Home", "properties": {"f": 1, "url": "https://x"}}),
    ]
    result = run("-", "--out", str(tmp_path / "draft"), stdin="\n".join(lines))
    plan = load_plan(tmp_path / "draft")
    assert {name: set(event.properties) for name, event in plan.events.items()} == {
        "in_batch": {"a"},
        "flat": {"b", "type"},
        "untyped": {"c"},
        "odd": {"e"},
        "page_viewed": {"f", "page_name"},
    }
    assert plan.events["page_viewed"].call == "page"
    assert "passed over 3 that are no events:\n  line 1: its type 'zap' is no call\n  line 6: not JSON" in result.output
    assert "5 events read from standard input" in result.output


def test_only_the_events_that_are_asked_for(tmp_path: Path) -> None:
    file = ndjson(tmp_path, [track("A b", {"a": 1}), track("c", {"d": 1})])
    assert run(str(file), "--events", "a_b", "--out", str(tmp_path / "x")).exception is None
    assert load_plan(tmp_path / "x").events.keys() == {"a_b"}
    result = run(str(file), "--events", "a_c", "--out", str(tmp_path / "y"))
    assert isinstance(result.exception, UnknownNameError)


def test_files_that_are_there_are_not_written_over(tmp_path: Path) -> None:
    file, out = ndjson(tmp_path, orders()), tmp_path / "draft"
    assert run(str(file), "--out", str(out)).exception is None
    (out / "properties.yaml").write_text("mine: 1\n")
    (out / "traits.yaml").unlink()
    result = run(str(file), "--out", str(out))
    assert isinstance(result.exception, AnalyticsError)
    assert "has properties.yaml already" in str(result.exception)
    assert (out / "properties.yaml").read_text() == "mine: 1\n"
    assert not (out / "traits.yaml").exists()  # nothing at all was written
    assert run(str(file), "--out", str(out), "--force").exception is None
    assert load_plan(out).events


@pytest.mark.parametrize("text", ["", "\n\n", "nonsense\n"])
def test_a_file_without_events_is_an_error(tmp_path: Path, text: str) -> None:
    result = run("-", "--out", str(tmp_path / "draft"), stdin=text)
    assert isinstance(result.exception, AnalyticsError)
    assert result.exception.exit_code == 2
    assert not (tmp_path / "draft").exists()


def test_a_file_that_is_not_there_and_no_file_at_all_are_errors(tmp_path: Path) -> None:
    assert isinstance(run(str(tmp_path / "none"), "--out", str(tmp_path / "d")).exception, AnalyticsError)
    assert "--lake" in str(run("--out", str(tmp_path / "d")).exception)
    assert TODAY
