"""The stories planted in `b2b` and `media` are found by the commands, and nothing is found in their shuffled twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.commands.anomalies import anomalies
from polku_analytics.commands.attribution import attribution
from polku_analytics.commands.compare import compare
from polku_analytics.commands.friction import friction
from polku_analytics.commands.funnel import funnel
from polku_analytics.commands.identity import identity
from polku_analytics.commands.query import query
from polku_analytics.commands.routes import graph
from polku_analytics.commands.tasks import tasks
from polku_analytics.lake import Lake
from polku_demo import b2b, events, media
from polku_demo.b2b import B2b
from polku_demo.calls import Call
from polku_demo.media import Media
from polku_demo.planted import USER_AGENTS
from tests.analytics.conftest import write_table
from tests.demo.world import PLAN, Row, ask, stored

BROWSER_OF = {agent: name for name, agent in USER_AGENTS.items()}
KEPT = ("order_id", "revenue", "currency", "page_type", "form_type", "error_code", "content_id", "subscription_id")


def lake_of(calls: Sequence[Call], channels: dict[str, str], folder: Path) -> str:
    """The calls as the collector would store them, as far as the questions below need it."""

    def more(sent: Row) -> Row:
        context = sent.get("context", {})
        return {
            "group_id": sent.get("groupId"),
            "browser": BROWSER_OF.get(context.get("userAgent", "")),
            "page_path": context.get("page", {}).get("path"),
        }

    rows = stored(calls, channels, KEPT, more)
    # Not a file a day: a thousand small files take longer to open than the questions below.
    write_table(folder / "events", rows, partition=None)
    build(Lake(folder), PLAN)
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def one_plan() -> Iterator[None]:
    """Commands read the plan anew each; here it is always the same one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "load_plan", lambda folder: PLAN)
        yield


Lakes = tuple[str, str]


@pytest.fixture(scope="module")
def software(tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    return tuple(  # type: ignore[return-value]
        lake_of(B2b(shuffled=twin).calls, b2b.SOURCES, tmp_path_factory.mktemp("b2b") / "lake")
        for twin in (False, True)
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    return tuple(  # type: ignore[return-value]
        lake_of(Media(400, shuffled=twin).calls, media.SOURCES, tmp_path_factory.mktemp("media") / "lake")
        for twin in (False, True)
    )


@pytest.mark.parametrize("make_calls", [lambda **more: B2b(30, **more).calls, lambda **more: Media(30, **more).calls])
def test_a_seed_is_the_same_story_everywhere_and_every_id_is_used_once(make_calls: Callable[..., list[Call]]) -> None:
    first, again, other = make_calls(seed=1), make_calls(seed=1), make_calls(seed=2)
    assert first == again
    assert not {call.message_id for call in first} & {call.message_id for call in other}
    assert len({call.message_id for call in first}) == len(first)
    assert [call.timestamp for call in first] == sorted(call.timestamp for call in first)


def test_a_better_landing_page_is_found(software: Lakes) -> None:
    question = ("--change", str(b2b.LANDING_DAY), "--days", "21", "--goal", "cta_clicked", "--unit", "session")
    verdicts = []
    for lake in software:
        rows = {(row["comparison"], row["measure"]): row for row in ask(compare, lake, *question)}
        assert rows["no-change control", "conversion"]["verdict"] == "no difference shown"
        verdicts.append(rows["change", "conversion"]["verdict"])
    assert verdicts == ["higher", "no difference shown"]


def test_a_form_that_breaks_in_one_browser_is_found(software: Lakes) -> None:
    question = ("--goal", "form_submitted", "--by", "page", "--breakdown", "browser", "--fewest", "5")
    costly = [[row for row in ask(friction, lake, *question) if row["verdict"] == "costly"] for lake in software]
    broken = [row for row in costly[0] if row["browser"] == b2b.BROKEN_BROWSER]
    assert (broken[0]["friction"], broken[0]["units"] > 50) == ("error", True)
    others = [row for row in costly[0] if row["browser"] != b2b.BROKEN_BROWSER and row["friction"] == "error"]
    assert all(row["lost"] < broken[0]["lost"] / 5 for row in others)
    assert [row for row in costly[1] if row["friction"] == "error"] == []


def test_payment_that_breaks_in_one_browser_is_found(films: Lakes) -> None:
    question = ("--goal", "subscription_started", "--breakdown", "browser", "--fewest", "5")
    costly = [
        [row for row in ask(friction, lake, *question) if row["verdict"] == "costly" and row["friction"] == "error"]
        for lake in films
    ]
    top = max(costly[0], key=lambda row: row["lost"])
    assert (top["browser"], top["place"]) == (media.BROKEN_BROWSER, "payment")
    assert all(row["lost"] < top["lost"] / 5 for row in costly[0] if row is not top)
    assert costly[1] == []


def test_a_quiet_day_stands_out(films: Lakes) -> None:
    found = [[(row["day"], row["verdict"]) for row in ask(anomalies, lake)] for lake in films]
    assert found == [[(str(media.QUIET_DAY), "lower")], []]


def test_people_who_share_a_device_stay_two(films: Lakes) -> None:
    for lake, twin in zip(films, (False, True), strict=True):
        told = Media(400, shuffled=twin)
        found = ask(identity, lake, "--shared-by", "2", "--top", "1000")
        assert {row["finding"] for row in found} == (set() if twin else {"shared_device"})
        assert len(found) == told.shared_devices
        for row in found:
            first, second = (int(name.removeprefix("viewer-")) for name in row["ids"].split(", "))
            assert (row["count"], second, first % 20) == (2, first + 1, 0)
            assert row["id"].endswith(f"pair-{first // 2}") and row["days"] > 1
        assert ask(query, lake, "SELECT count(*) AS people FROM persons")[0]["people"] == told.viewers
    assert Media(400).shared_devices > 5


def test_contracts_of_companies_are_all_attributed(software: Lakes) -> None:
    told = B2b()
    rows = ask(attribution, software[0], "--by", "touchpoint", "--model", "linear", "--lookback", "90d")
    assert sum(round(row["conversions"] * 10**6) for row in rows) == told.orders * 10**6
    assert {"page", "cta", "form", "email", "service"} <= {row["item"] for row in rows}


def test_the_nine_touchpoints_of_a_sale_come_in_their_order_online_and_offline(software: Lakes) -> None:
    """Found, looked at, "book a call", the form, a mail, the call, a mail, the contract, feedback."""
    told = B2b().calls
    steps = (
        *("page_viewed[page_type = 'home']", "cta_clicked", "form_submitted", "email_sent", "agent_contacted"),
        *("email_sent", "order_completed", "feedback_requested"),
    )
    found = [row["count"] for row in ask(funnel, software[0], *steps, "--window", "90d")]
    leads, buyers = (
        len({call.user_id for call in told if isinstance(call.values, kind)})
        for kind in (events.FormSubmitted, events.OrderCompleted)
    )
    assert found[2:] == [leads] * 4 + [buyers] * 2 and found[0] > found[1] > leads > buyers > 50
    whole = "page → cta → page → form → email → service → email → order → survey"
    ways = ask(graph, software[0], "--variants", "--unit", "person", "--collapse", "--top", "50")
    assert next(row["people"] for row in ways if row["variant"] == whole) > 10
    where = ask(query, software[0], "SELECT DISTINCT touchpoint, channel FROM touchpoints WHERE touchpoint <> 'error'")
    assert {row["touchpoint"]: row["channel"] for row in where} == {
        **dict.fromkeys(("page", "cta", "form"), "web"),
        **dict.fromkeys(("email", "survey"), "email"),
        "service": "call_centre",
        "order": "server",
    }


def test_a_streaming_service_is_asked_by_the_same_commands(films: Lakes) -> None:
    """How long choosing takes, and how many watch to the end and rate."""
    told = Media(400).calls
    (choosing,) = ask(tasks, films[0], "page_viewed", "playback_started", "--unit", "session")
    assert (choosing["median_seconds"], choosing["p90_seconds"]) == (60.0, 60.0)
    steps = {
        "playback_started": events.PlaybackStarted,
        "playback_completed": events.PlaybackCompleted,
        "content_rated": events.ContentRated,
    }
    found = {row["name"]: row["count"] for row in ask(funnel, films[0], *steps, "--unit", "session")}
    assert found == {name: sum(isinstance(call.values, kind) for call in told) for name, kind in steps.items()}
    assert found["content_rated"] > 50


def test_the_dates_are_those_of_the_calls() -> None:
    assert b2b.FIRST_DAY < b2b.LANDING_DAY < b2b.LAST_DAY and media.FIRST_DAY < media.QUIET_DAY
    calls = B2b(20).calls
    assert calls[0].timestamp.date() >= b2b.FIRST_DAY
    assert calls[-1].timestamp < datetime.combine(
        b2b.LAST_DAY, datetime.min.time(), calls[0].timestamp.tzinfo
    ) + timedelta(days=15)
