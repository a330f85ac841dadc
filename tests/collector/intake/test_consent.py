"""POST /v1/consent: decisions are counted, and nothing of the person is kept."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

import polku
from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.client_address import Proxies
from polku_collector.intake.consent import ConsentPing, judged_ping
from polku_collector.intake.judged import Arrival
from polku_collector.intake.rate import Meter, SharedBucket
from polku_collector.intake.senders import senders_of
from polku_collector.intake.validate import Validator
from polku_collector.settings import IdCookie, Source
from polku_schemas import compile_plan

from .world import LIMITS, NOW, PLAN, intake

MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
EVERYTHING = {
    "site": Source(
        keys=["site-key"],
        ip="hash",
        ack="lake",
        cors=["https://shop.example"],
        cookie=IdCookie(domain="shop.example"),
    )
}


def test_the_line_is_a_source_a_day_and_a_decision() -> None:
    """Whatever the request says beside them, and whatever the source would keep of other requests."""
    senders = senders_of(EVERYTHING, LIMITS, pseudonym=lambda text: f"pseudonym of {text}")
    with intake(senders=senders, proxies=Proxies()) as world:
        world.commits.why = "the lake is not asked"
        answer = world.post(
            {"decision": "granted", "day": "2026-11-20"},
            "site-key",
            "/v1/consent",
            headers={
                "User-Agent": "Mozilla/5.0 (person)",
                "X-Forwarded-For": "203.0.113.7",
                "Cookie": "polku_id=device-1",
                "Origin": "https://shop.example",
                "Referer": "https://shop.example/secret",
                "Accept-Language": "fi",
                "X-Polku-Sent-At": "2026-11-22T12:00:00Z",
            },
        )
        assert (answer.status_code, answer.json()) == (200, {"success": True, "accepted": 1, "rejected": []})
        assert "set-cookie" not in answer.headers
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        [line] = world.taken()
        assert isinstance(line, Line)
        stored = msgspec.to_builtins(line)
    assert set(stored) == {
        *("sequence", "received_at", "event_time", "event_id", "event_type", "event_name", "schema_version"),
        *("source", "digest", "p"),
    }
    assert (line.source, line.event_time, line.event_name) == (
        "site",
        datetime(2026, 11, 20, tzinfo=UTC),
        "consent_decided",
    )
    assert stored["p"] == {"decision": "granted"}


@pytest.mark.parametrize("day", [None, "2026-11-23", "2026-10-23", "0001-01-01"])
def test_a_day_that_is_absent_or_far_off_is_today(day: str | None) -> None:
    with intake() as world:
        ping = {"decision": "refused"} | ({} if day is None else {"day": day})
        assert world.post(ping, path="/v1/consent").status_code == 200
        [line] = world.taken()
        assert isinstance(line, Line)
        assert line.event_time == MIDNIGHT


@pytest.mark.parametrize(
    "ping",
    [
        {"decision": "granted", "anonymousId": "device-1"},
        {"decision": "granted", "context": {"userAgent": "x"}},
        {"decision": "perhaps"},
        {"day": "2026-11-22"},
        {"decision": "granted", "day": "yesterday"},
        [],
        b"",
    ],
)
def test_what_says_more_or_less_is_refused_and_nothing_of_it_is_kept(ping: object) -> None:
    with intake() as world:
        answer = world.post(ping, path="/v1/consent")
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_ping")
        assert world.taken() == []


def test_the_key_may_be_in_the_body_and_is_not_kept() -> None:
    """As a page sends it that sets no header."""
    with intake() as world:
        assert world.client.post("/v1/consent", content=b'{"decision":"granted","writeKey":"strict-key"}').is_success
        assert world.client.post("/v1/consent", content=b'{"decision":"granted","writeKey":"no"}').status_code == 401
        [line] = world.taken()
        assert isinstance(line, Line)
        assert line.source == "strict"
        assert "strict-key" not in str(msgspec.json.encode(line))


def test_over_its_rate_a_source_is_told_to_wait(tmp_path: Path) -> None:
    sources = {"slow": Source(keys=["slow-key"], rate_events_per_second=0.01, burst=1, rate_status=429)}
    senders = senders_of(sources, LIMITS, meter_of=lambda name, source: Meter(0.01, 1, SharedBucket(tmp_path / "rate")))
    with intake(senders=senders) as world:
        answers = [world.post({"decision": "granted"}, "slow-key", "/v1/consent") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 429, 429]
        assert len(world.taken()) == 1


def test_a_plan_without_the_event_keeps_it_as_it_keeps_others() -> None:
    plan = PLAN.plan
    events = {name: event for name, event in plan.events.items() if name != "consent_decided"}
    validator = Validator(compile_plan(structs.replace(plan, events=events)), LIMITS, new_id=lambda: "made")
    lines = []
    for source in (Source(keys=["k"]), Source(keys=["k"], unplanned="quarantine")):
        arrival = Arrival(NOW, None, "web", source, b'{"decision":"granted","writeKey":"k"}')
        lines += judged_ping(ConsentPing("granted"), validator, arrival).lines
    kept, refused = lines
    assert isinstance(kept, Line)
    assert (kept.anonymous_id, kept.extra) == (None, '{"properties":{"decision":"granted"}}')
    assert isinstance(refused, QuarantineLine)
    assert (refused.code, refused.original) == ("unknown_event", '{"decision":"granted","day":"2026-11-22"}')


def test_a_full_journal_counts_nothing() -> None:
    with intake() as world:
        world.journal.full = True
        answer = world.post({"decision": "granted"}, path="/v1/consent")
        assert (answer.status_code, answer.json()["error"]) == (503, "journal_full")
        assert "retry-after" in answer.headers


def test_what_the_sdk_sends_is_what_is_counted() -> None:
    with intake() as world:
        client = polku.Client("web-key", f"http://127.0.0.1:{world.port}", consent="analytics", consent_ping=True)
        client.consent(["analytics"])
        client.consent([])
        assert client.close()
        lines = [line for line in world.taken() if not isinstance(line, QuarantineLine)]
        assert [line.p.decision for line in lines] == ["granted", "withdrawn"]
