"""What a proposed plan would do to real events: every figure beside the collector's own verdicts on what was sent."""

import datetime
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from polku_analytics.commands import plan as plan_commands
from polku_analytics.contract.observed import ObservedLake
from polku_analytics.contract.trial import QuarantineTrial, Trial, Trying, Undecided, try_plan
from polku_analytics.errors import AnalyticsError
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_schemas import Plan, PlanError, load_plan
from tests.analytics.contract.world import PLAN, TODAY, Request, judge, make_lake, track, write_plan

PROPOSED = {
    "properties.yaml": PLAN["properties.yaml"]
    .replace("price: {type: number, description: Price., privacy: none, minimum: 0}", "")
    .replace("kind: {type: string, description: Kind., privacy: none, enum: [a, b]}", "")
    + """\
price: {type: number, description: Price., privacy: none, minimum: 3, maximum: 8}
kind: {type: string, description: Kind., privacy: none, enum: [a]}
colour: {type: string, description: Colour., privacy: none, max_length: 4}
""",
    "traits.yaml": "age: {type: integer, description: Age., privacy: personal, minimum: 18}\n",
    "events/looked.yaml": PLAN["events/looked.yaml"].replace("  kind: {}\n", "  colour: {required: true}\n").replace(
        "{price: 5}", "{price: 5, colour: red}"
    ),
    "events/zapped.yaml": """\
name: zapped
version: "1.0"
owner: shop
description: New.
stage: none
touchpoint: screen
properties: {price: {}}
examples: [{price: 4}]
""",
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return load_plan(write_plan(tmp_path_factory.mktemp("plan")))


@pytest.fixture(scope="module")
def proposed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("proposed"), PROPOSED)


@pytest.fixture(scope="module")
def proposed(proposed_folder: Path) -> Plan:
    return load_plan(proposed_folder)


def items(count: int, seed: int) -> list[dict[str, Any]]:
    """Events of all kinds: accepted and refused, planned and not, now and by the proposed plan."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        price = draw.choice([1, 4.5, 7, 9, 20.0])
        properties = {
            "price": price,
            **({"kind": draw.choice("ab")} if draw.random() < 0.5 else {}),
            **({"colour": draw.choice(["red", "green"])} if draw.random() < 0.7 else {}),
        }
        lines = [{"order_id": "x", "price": draw.choice([1, 5])} for _ in range(draw.randrange(3))]
        paid = {"order_id": "O", "coupon": "c", "email": "aino@example.com"}
        found.append(
            draw.choice(
                [
                    track("looked", properties),
                    track("looked", properties | {"price": draw.choice([5, "5"])}),
                    # One fault at most: the collector names the first of several, and no row keeps their order.
                    track("Order Paid", paid | draw.choice([{"lines": lines}, {"price": price}, {"odd": 1}])),
                    track("zapped", {"price": draw.choice([1, 5, "x"])}),
                    track("Nobody knows", {"a": number}),
                    {"type": "identify", "userId": "u", "traits": {"age": draw.choice([5, 30]), "email": "a@b.fi"}},
                    {
                        "type": "page",
                        "userId": "u",
                        "name": "Home",
                        "properties": {"title": "Home", "url": "https://x"},
                    },
                ]
            )
        )
    return found


def requests() -> list[Request]:
    return [
        Request(items(300, 1)),
        Request(items(200, 2), source="app", version="2.0"),
        Request(items(150, 3), source="app", version="2.1"),
        Request(items(150, 4), source="kiosk", is_strict=True),
    ]


def places(path: str) -> str:
    return re.sub(r"\[\d+\]", "[*]", path)


def event_of(plan: Plan, item: dict[str, Any]) -> str:
    names = {"Order Paid": "paid", "page": "page_viewed"}
    return names.get(item.get("event", item["type"]), item.get("event", item["type"]))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Lake:
    return make_lake(tmp_path_factory.mktemp("lake"), plan, requests())


@pytest.fixture(scope="module")
def trial(lake: Lake, proposed: Plan) -> Trial:
    return try_plan(proposed, ObservedLake(lake, Period()))


def verdicts(plan: Plan, sent: Sequence[Request]) -> list[list[Any]]:
    """For each request and item: what the collector says with this plan (a code and path, `unplanned` or None)."""
    found = []
    for request in sent:
        judged = judge(plan, request)
        refused = {verdict.index: (str(verdict.code), places(verdict.path)) for verdict in judged.rejected}
        found.append(
            [
                refused.get(index) or ("unplanned" if getattr(line, "unplanned", False) else None)
                for index, line in enumerate(judged.lines)
            ]
        )
    return found


def test_every_figure_is_what_the_collector_would_say(trial: Trial, plan: Plan, proposed: Plan) -> None:
    breaks: Counter[tuple[Any, ...]] = Counter()
    by_event: dict[str, Counter[str]] = {}
    for request, before, after in zip(
        requests(), verdicts(plan, requests()), verdicts(proposed, requests()), strict=True
    ):
        release = f"{request.library} {request.version}"
        for item, was, now in zip(request.items, before, after, strict=True):
            if isinstance(was, tuple):
                continue  # refused then: it is in quarantine
            counts = by_event.setdefault(event_of(plan, item), Counter())
            counts["events"] += 1
            if isinstance(now, tuple):
                breaks[request.source, event_of(plan, item), *now, release] += 1
                counts["would_break"] += 1
            else:
                key = {(None, "unplanned"): "becomes_unplanned", ("unplanned", None): "becomes_planned"}.get((was, now))
                counts[key or ("stays_unplanned" if now else "plain")] += 1
    found = {
        (one.source, one.event, one.code, one.path, release): count
        for one in trial.breaks
        for release, count in one.releases.items()
    }
    assert found == dict(breaks)
    assert len({code for _, _, code, _, _ in found}) >= 4
    for event in trial.by_event:
        expected = by_event.pop(event.event)
        for name in ("events", "would_break", "stays_unplanned", "becomes_unplanned", "becomes_planned"):
            assert getattr(event, name) == expected[name], (event, name)
    assert not by_event
    assert trial.would_break == breaks.total() == sum(one.events for one in trial.breaks)
    assert trial.events == sum(event.events for event in trial.by_event)


def test_what_is_in_quarantine_is_tried_too(trial: Trial, plan: Plan, proposed: Plan) -> None:
    expected: dict[tuple[Any, ...], list[int]] = {}
    for request, before, after in zip(
        requests(), verdicts(plan, requests()), verdicts(proposed, requests()), strict=True
    ):
        for item, was, now in zip(request.items, before, after, strict=True):
            if isinstance(was, tuple):
                counts = expected.setdefault((request.source, event_of(plan, item), was[0]), [0, 0])
                counts[0] += 1
                counts[1] += not isinstance(now, tuple)
    found = {(one.source, one.event, one.code): [one.events, one.would_pass] for one in trial.quarantine}
    assert found == expected
    assert sum(one.unknown for one in trial.quarantine) == 0
    assert {one.would_pass > 0 for one in trial.quarantine} == {True, False}


def test_a_source_named_strict_breaks_where_others_only_keep_what_is_unplanned(lake: Lake, proposed: Plan) -> None:
    """As intake does with `unplanned = "quarantine"`."""
    observed = ObservedLake(lake, Period(), ["web"])
    loose, strict = try_plan(proposed, observed), try_plan(proposed, observed, ["web"])
    kept = sum(event.stays_unplanned + event.becomes_unplanned for event in loose.by_event)
    assert kept > 0
    assert strict.would_break == loose.would_break + kept
    assert {one.code for one in strict.breaks} - {one.code for one in loose.breaks} == {
        "unknown_event",
        "unknown_property",
    }
    judged = judge(proposed, Request(requests()[0].items, is_strict=True)).rejected
    codes = Counter(str(verdict.code) for verdict in judged)
    refused_before = Counter(str(v.code) for v in judge(load_plan_of(lake), requests()[0]).rejected)
    found: Counter[str] = Counter()
    for one in strict.breaks:
        found[one.code] += one.events
    assert found["unknown_event"] == codes["unknown_event"]
    assert found.total() + refused_before.total() == codes.total()


def load_plan_of(lake: Lake) -> Plan:
    folder = Path(lake.uri).parent / "plan-again"
    return load_plan(write_plan(folder))


def test_a_source_that_was_strict_is_found_in_quarantine(trial: Trial) -> None:
    assert trial.strict_sources == ["kiosk"]


def test_nothing_is_proven_of_an_event_that_did_not_come(plan: Plan, proposed: Plan, tmp_path: Path) -> None:
    observed = ObservedLake(make_lake(tmp_path, plan, [Request([track("looked", {"price": 5})])]), Period())
    assert try_plan(plan, observed).nothing_seen == ["page_viewed", "paid"]
    assert try_plan(proposed, observed).nothing_seen == ["page_viewed", "paid", "zapped"]


def test_a_required_property_that_may_be_null_is_taken_as_null_and_said_to_be_unknown(
    plan: Plan, tmp_path: Path
) -> None:
    sent = [track("paid", {"order_id": "a", "coupon": None})] * 3 + [track("paid", {"order_id": "a", "coupon": "x"})]
    observed = ObservedLake(make_lake(tmp_path, plan, [Request(sent)]), Period())
    trial = try_plan(plan, observed)
    assert trial.passes
    assert trial.undecided == [Undecided("paid", "coupon", 3)]


def test_a_required_property_without_a_column_is_missing(plan: Plan, tmp_path: Path) -> None:
    lake = make_lake(tmp_path, plan, [Request([track("looked", {"price": 5})])])
    files = {
        "properties.yaml": PLAN["properties.yaml"]
        + "size: {type: integer, description: S., privacy: none, nullable: true}\n",
        "events/looked.yaml": PLAN["events/looked.yaml"].replace("  price: {}", "  price: {}\n  size: {required: true}")
        .replace("{price: 5}", "{price: 5, size: null}"),
    }  # fmt: skip
    trial = try_plan(load_plan(write_plan(tmp_path / "new", files)), ObservedLake(lake, Period()))
    assert [(one.code, one.path) for one in trial.breaks] == [("missing_property", "$.properties.size")]


def test_a_type_that_the_table_cannot_hold_is_no_pass_whatever_the_events_are(plan: Plan, tmp_path: Path) -> None:
    lake = make_lake(tmp_path, plan, [Request([track("page_x")])])
    text = PLAN["properties.yaml"].replace("count: {type: integer,", "count: {type: string,")
    trial = try_plan(load_plan(write_plan(tmp_path / "new", {"properties.yaml": text})), ObservedLake(lake, Period()))
    assert trial.would_break == 0
    assert any("`count`" in clash and "for life" in clash for clash in trial.clashes)
    assert not trial.passes


def test_a_personal_value_is_not_shown(lake: Lake, tmp_path: Path) -> None:
    text = PLAN["properties.yaml"].replace(
        "email: {type: string, description: Address., privacy: personal}",
        "email: {type: string, description: Address., privacy: personal, pattern: '@corp'}",
    )
    trial = try_plan(load_plan(write_plan(tmp_path, {"properties.yaml": text})), ObservedLake(lake, Period()))
    (example,) = {one.example for one in trial.breaks if one.path == "$.properties.email"}
    assert example == "expected a match of @corp, came the string"


def test_what_no_plan_decides_is_not_said_to_pass(plan: Plan, tmp_path: Path) -> None:
    sent = [
        {"type": "track", "event": "looked"},
        track("looked", {"price": "x" * 200_000}),
        track("looked", {"price": -1}),
    ]
    observed = ObservedLake(make_lake(tmp_path, plan, [Request(sent)]), Period())
    assert try_plan(plan, observed).quarantine == [
        QuarantineTrial("web", "looked", "missing_id", 1, 0, 1),
        QuarantineTrial("web", "looked", "out_of_range", 1, 0, 0),
        QuarantineTrial("web", "looked", "wrong_type", 1, 0, 1),  # its original is cut
    ]


def test_an_empty_trial_proves_nothing(plan: Plan) -> None:
    assert Trying(plan).result().nothing_seen == list(plan.events)


# The command --------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(plan_commands.test, arguments, standalone_mode=False)


def days(lake: Lake) -> list[str]:
    return ["--against", lake.uri, "--until", str(TODAY + datetime.timedelta(days=1))]


def test_the_command_tells_what_would_break_and_ends_with_1(lake: Lake, trial: Trial, proposed_folder: Path) -> None:
    result = run(str(proposed_folder), *days(lake))
    assert isinstance(result.exception, SystemExit)
    assert result.exception.code == 1
    assert f"would break: {trial.would_break:,} of {trial.events:,}" in result.output
    assert "$.properties.lines[*].price" in result.output
    as_json = run(str(proposed_folder), *days(lake), "--json")
    assert json.loads(as_json.output)["would_break"] == trial.would_break


def test_the_command_ends_with_0_where_nothing_breaks(lake: Lake, tmp_path: Path) -> None:
    result = run(str(write_plan(tmp_path)), *days(lake), "--source", "web")
    assert (result.exit_code, result.exception) == (0, None)
    assert "would break: 0 of" in result.output


def test_a_lake_without_such_events_is_an_error_that_names_the_days_there_are(lake: Lake, tmp_path: Path) -> None:
    result = run(str(write_plan(tmp_path)), "--against", lake.uri, "--until", "2026-03-01")
    assert isinstance(result.exception, AnalyticsError)
    assert result.exception.exit_code == 2
    assert "its newest day is 2026-03-20: try --until 2026-03-21" in str(result.exception)


def test_a_plan_that_is_not_clean_is_an_error(lake: Lake, tmp_path: Path) -> None:
    folder = write_plan(tmp_path, {"traits.yaml": "age: {type: zap}\n"})
    result = run(str(folder), *days(lake))
    assert isinstance(result.exception, PlanError)
    assert result.exception.exit_code == 2
