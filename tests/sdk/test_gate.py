"""What passes on its way out: consent, sampling, before_send, the switch; and what an operator sees of it."""

import asyncio
import json
import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import polku
from polku.errors import WithheldReason


def made(**options: Any) -> tuple[polku.Client, polku.MemoryTransport]:
    transport = polku.MemoryTransport()
    return polku.Client("k", "http://c", transport=transport, **options), transport


def events_of(client: polku.Client, transport: polku.MemoryTransport) -> list[dict[str, Any]]:
    assert client.flush()
    return transport.events


# before_send --------------------------------------------------------------------------------------------------


def test_before_send_changes_and_holds_back_in_order() -> None:
    def without_mail(event: dict[str, Any]) -> dict[str, Any] | None:
        event["properties"].pop("mail", None)
        return event

    def no_health_checks(event: dict[str, Any]) -> dict[str, Any] | None:
        assert "mail" not in event["properties"]
        return None if event["event"] == "health" else {**event, "event": event["event"].lower()}

    client, transport = made(before_send=[without_mail, no_health_checks])
    properties = {"mail": "a@b.c", "n": 1}
    sent = client.track("Seen", properties, user_id="u", context={"page": {"path": "/"}})
    assert client.track("health", properties, user_id="u") is None
    assert properties == {"mail": "a@b.c", "n": 1}, "what the program goes on using stays as it was"
    [event] = events_of(client, transport)
    assert (event["event"], event["properties"], event["messageId"]) == ("seen", {"n": 1}, sent)
    assert event["context"]["page"] == {"path": "/"}
    stats = client.stats()
    assert (stats.withheld, stats.lost, stats.delivered) == ({"before_send": 1}, {}, 1)


@pytest.mark.parametrize(
    "hook",
    [
        lambda event: 1 / 0,
        lambda event: "no event",
        lambda event: {},
        lambda event: {"type": "rumour"},
    ],
    ids=["raises", "text", "nothing", "another call"],
)
def test_a_hook_that_fails_lets_nothing_out(hook: Callable[[Any], Any], caplog: pytest.LogCaptureFixture) -> None:
    """It may be what keeps personal data in: without its word the event must not leave."""
    client, transport = made(before_send=hook)
    assert client.track("x", {"mail": "a@b.c"}, user_id="u") is None
    assert events_of(client, transport) == []
    assert client.stats().lost == {"hook_failed": 1}
    assert "was not sent" in caplog.text
    assert "a@b.c" not in caplog.text


def test_a_typed_event_comes_to_a_hook_as_what_would_be_sent() -> None:
    from polku.typed import Event

    class Seen(Event, name="seen"):
        n: int

    def hook(event: dict[str, Any]) -> dict[str, Any]:
        event["properties"]["n"] += 1
        return event

    client, transport = made(before_send=hook)
    client.track(Seen(n=1), user_id="u")
    [event] = events_of(client, transport)
    assert (event["event"], event["properties"]) == ("seen", {"n": 2})


# Consent ------------------------------------------------------------------------------------------------------


def test_without_consent_nothing_leaves_and_nothing_is_spooled(tmp_path: Any) -> None:
    client, transport = made(consent="analytics", spool=str(tmp_path))
    assert client.track("before", user_id="u") is None
    client.consent(["marketing"])
    assert client.track("refused", user_id="u") is None
    assert list(tmp_path.iterdir()) == []
    client.consent(["analytics", "marketing"])
    assert client.track("agreed", user_id="u") is not None
    client.consent([])
    assert client.track("withdrawn", user_id="u") is None
    [event] = events_of(client, transport)
    assert event["event"] == "agreed"
    assert event["context"]["consent"] == ["analytics", "marketing"]
    assert client.stats().withheld == {"consent": 3}
    client.close()


def test_events_may_wait_for_the_decision_and_then_tell_of_it() -> None:
    client, transport = made(consent="analytics", consent_buffer_events=3)
    ids = [client.track("x", {"n": n}, user_id="u") for n in range(5)]
    assert client.flush()
    assert (transport.events, client.stats().queued, client.stats().withheld) == ([], 3, {"consent": 2})
    client.consent(["analytics"])
    assert [event["messageId"] for event in events_of(client, transport)] == ids[2:]
    assert all(event["context"]["consent"] == ["analytics"] for event in transport.events)


def test_a_refusal_discards_what_waited() -> None:
    client, transport = made(consent="analytics", consent_buffer_events=3)
    client.track("x", user_id="u")
    client.consent([])
    assert client.close()
    assert (transport.events, client.stats().queued, client.stats().withheld) == ([], 0, {"consent": 1})


def test_what_never_was_decided_does_not_leave_at_the_end() -> None:
    client, transport = made(consent="analytics", consent_buffer_events=3)
    client.track("x", user_id="u")
    assert client.close()
    assert transport.events == []
    assert client.stats().withheld == {"consent": 1}


def test_on_a_server_each_event_has_the_consent_of_its_person() -> None:
    client, transport = made(consent="analytics")
    client.track("yes", user_id="a", context={"consent": ["analytics"]})
    client.track("no", user_id="b", context={"consent": []})
    client.track("unknown", user_id="c")
    assert [event["event"] for event in events_of(client, transport)] == ["yes"]


NO_LISTS = [
    {"analytics": False},
    {"analytics": True},
    False,
    5,
    b"analytics",
    iter(["analytics"]),
]


@pytest.mark.parametrize("said", NO_LISTS, ids=lambda said: type(said).__name__)
def test_what_is_no_list_is_no_agreement(said: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A name is found in an object that says no to it."""
    client, transport = made(consent="analytics")
    client.consent(["analytics"])
    client.track("own", user_id="a", context={"consent": said})
    client.consent(said)
    client.track("of the client", user_id="a")
    with polku.scope(consent=said):
        client.track("of the scope", user_id="a")
    assert events_of(client, transport) == []
    assert (client.stats().withheld, client.stats().lost) == ({"consent": 3}, {})
    assert "$.context.consent is a" in caplog.text
    assert "consent('') its argument is a" in caplog.text


def test_strict_raises_for_a_consent_that_is_no_list_and_nothing_leaves() -> None:
    client, transport = made(consent="analytics", strict=True)
    with pytest.raises(polku.InvalidEvent, match="not a list"):
        client.consent({"analytics": True})  # type: ignore[arg-type]
    assert client.track("x", user_id="a") is None
    assert events_of(client, transport) == []


def test_a_word_in_a_longer_one_is_no_agreement() -> None:
    client, transport = made(consent="analytics")
    client.track("own", user_id="a", context={"consent": "no analytics"})
    client.consent("no analytics")
    client.track("of the client", user_id="a")
    assert events_of(client, transport) == []


@pytest.mark.parametrize(
    "said", ["analytics", ("analytics",), {"analytics"}, frozenset(["analytics"]), {"analytics": 1}.keys()]
)
def test_each_kind_of_list_is_one_and_a_word_is_a_list_of_one(said: Any) -> None:
    client, transport = made(consent="analytics")
    client.consent(said)
    client.track("x", user_id="a")
    client.track("y", user_id="a", context={"consent": said})
    with polku.scope(consent=said):
        client.track("z", user_id="a")
    assert [event["context"]["consent"] for event in events_of(client, transport)] == [["analytics"]] * 3


# Counted decisions --------------------------------------------------------------------------------------------


def test_each_new_decision_is_counted_and_nothing_else_is_told() -> None:
    client, transport = made(consent="analytics", consent_ping=True)
    for purposes in (["marketing"], [], ["analytics"], ["analytics", "marketing"], [], None, ["analytics"]):
        client.consent(purposes)
    client.track("x", {"n": 1}, user_id="user-1", context={"ip": "203.0.113.7"})
    assert client.close()
    assert [ping["decision"] for ping in transport.pings] == ["refused", "granted", "withdrawn", "granted"]
    assert {frozenset(ping) for ping in transport.pings} == {frozenset({"decision", "day"})}
    assert [event["event"] for event in transport.events] == ["x"]


def test_nothing_is_counted_unless_asked_for_or_when_switched_off() -> None:
    for options in ({}, {"consent_ping": True, "enabled": False}):
        client, transport = made(consent="analytics", **options)
        client.consent(["analytics"])
        assert client.close()
        assert transport.pings == []


def test_the_request_has_nothing_of_the_program_or_the_person(collector: Any) -> None:
    """Not even after events of the person went over the same connection."""
    client = polku.Client("k", collector.url, consent="analytics", consent_ping=True, context={"locale": "fi"})
    client.consent(["analytics"])
    client.track("x", user_id="user-1", anonymous_id="device-1")
    assert client.flush()
    client.consent([])
    assert client.close()
    pings = [got for got in collector.received if got.path == "/v1/consent"]
    assert len(pings) == 2
    for ping, decision in zip(pings, ("granted", "withdrawn"), strict=True):
        day = datetime.now(UTC).date()
        assert json.loads(ping.raw) in [
            {"decision": decision, "day": str(day - timedelta(days=back))} for back in (0, 1)
        ]
        assert set(ping.headers) == {"host", "content-length", "authorization", "content-type"}


def test_a_decision_is_sent_again_only_when_it_was_certainly_not_counted(collector: Any, reply: Any) -> None:
    """It has no id: the collector could not know it from another."""
    collector.script = [reply(503, headers={"Retry-After": "0"}), reply(), reply(drop=True)]
    client = polku.Client("k", collector.url, consent="analytics", consent_ping=True, retry_base_seconds=0.01)
    client.consent([])
    deadline = time.monotonic() + 10
    while len(collector.received) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    client.consent(["analytics"])
    assert client.close()
    assert [json.loads(got.raw)["decision"] for got in collector.received] == ["refused", "refused", "granted"]


def test_a_forked_child_does_not_count_its_parents_decision(collector: Any) -> None:
    client = polku.Client("k", collector.url, consent="analytics", consent_ping=True)
    collector.script = []
    client._delivery._pings.append(b"{}")  # as if it waited when the fork came
    client._worker.forget_parent()
    assert client.close()
    assert collector.received == []


def test_on_the_event_loop_decisions_are_counted_too(collector: Any) -> None:
    async def program() -> None:
        async with polku.AsyncClient("k", collector.url, consent="analytics", consent_ping=True) as client:
            client.consent([])

    asyncio.run(program())
    [got] = collector.received
    assert (got.path, json.loads(got.raw)["decision"]) == ("/v1/consent", "refused")


def test_counting_needs_a_purpose_that_is_decided_about() -> None:
    with pytest.raises(polku.SettingsError, match="consent_ping"):
        made(consent_ping=True)


# Sampling -----------------------------------------------------------------------------------------------------


def test_people_are_drawn_as_a_whole_and_everywhere_alike() -> None:
    (one, sent), (other, sent_too) = made(sample_people=0.2), made(sample_people=0.2)
    for n in range(3000):
        for name in ("seen", "bought"):
            one.track(name, {"n": n}, anonymous_id=f"visitor-{n}")
        other.track("seen", {"n": n}, anonymous_id=f"visitor-{n}", user_id=f"user-{n}")
    drawn = [event["anonymousId"] for event in events_of(one, sent)]
    people = set(drawn)
    assert len(drawn) == 2 * len(people)
    assert {event["anonymousId"] for event in events_of(other, sent_too)} == people
    # Within four standard deviations of what was asked for.
    assert abs(len(people) - 600) < 4 * math.sqrt(3000 * 0.2 * 0.8)
    assert all(event["context"]["sampling"] == {"weight": 5.0} for event in sent.events)
    assert one.stats().withheld == {"sampled": 6000 - len(drawn)}


def test_events_are_drawn_by_name_and_their_weights_multiply() -> None:
    client, transport = made(sample_people=0.5, sample_events={"scrolled": 0.25})
    for n in range(2000):
        client.track("scrolled", user_id=f"user-{n}")
        client.track("bought", user_id=f"user-{n}")
    found = events_of(client, transport)
    scrolled = [event for event in found if event["event"] == "scrolled"]
    assert abs(len(scrolled) - 250) < 4 * math.sqrt(2000 * 0.125 * 0.875)
    assert {event["context"]["sampling"]["weight"] for event in scrolled} == {8.0}
    assert {event["context"]["sampling"]["weight"] for event in found if event["event"] == "bought"} == {2.0}


def test_a_share_of_all_changes_nothing() -> None:
    client, transport = made(sample_people=1, sample_events={"x": 1})
    client.track("x", user_id="u")
    assert "sampling" not in events_of(client, transport)[0].get("context", {})


# Switches -----------------------------------------------------------------------------------------------------


def test_switched_off_a_client_does_nothing_at_all(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLKU_DISABLED", "1")
    client, transport = made(spool=str(tmp_path / "spool"))
    assert client.track("x", user_id="u") is None
    assert client.flush()
    assert client.close()
    assert transport.bodies == []
    assert client.stats().withheld == {"disabled": 1}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["option", "environment"])
def test_switched_off_a_client_starts_no_thread(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    if how == "environment":
        monkeypatch.setenv("POLKU_DISABLED", "1")
    client, transport = made(**({"enabled": False} if how == "option" else {}))
    assert client.track("x", user_id="u") is None
    assert client.identify("u", {"a": 1}) is None
    client.consent(["analytics"])
    assert client.flush()
    assert client.close()
    assert (started, transport.bodies) == ([], [])


@pytest.mark.parametrize(("value", "shows"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_environment_switches_debug_on(
    value: str, shows: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLKU_DEBUG", value)
    client, _ = made()
    client.track("x", user_id="u")
    assert client.close()
    assert ("→ {" in capsys.readouterr().err) is shows


def test_debug_shows_each_event_and_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = {
        "success": True,
        "accepted": 2,
        "rejected": [{"index": 1, "code": "wrong_type", "path": "$.properties.n", "message": "expected a number"}],
        "warnings": [{"index": 2, "code": "unknown_property", "path": "$.properties", "message": "not in the plan"}],
    }
    transport = polku.MemoryTransport(polku.Answer(200, json.dumps(verdicts).encode()))
    client = polku.Client("k", "http://c", transport=transport, debug=True)
    for name in ("good", "bad", "odd"):
        client.track(name, {"n": "ä"}, user_id="u")
    assert client.flush()
    shown = capsys.readouterr().err.splitlines()
    assert next(line for line in shown if line.startswith("→")).startswith('→ {"type":"track","event":"good"')
    assert [line for line in shown if not line.startswith("→")] == [
        "✓ good",
        "✗ bad: wrong_type at $.properties.n: expected a number",
        "! odd: unknown_property at $.properties: not in the plan",
    ]


# What the collector is told of losses --------------------------------------------------------------------------


def test_the_collector_is_told_of_each_loss_once_with_a_batch_that_arrives() -> None:
    gone = polku.Answer(503)
    transport = polku.MemoryTransport(gone, gone)
    client = polku.Client("k", "http://c", transport=transport, retry_base_seconds=0.01, max_event_bytes=500)
    client.track("x", {"text": "y" * 1000}, user_id="u")
    client.track("x", {"text": "y" * 1000}, user_id="u")
    client.track("small", user_id="u")
    assert client.flush()
    client.track("small", user_id="u")
    assert client.flush()
    told = [json.loads(body).get("lost") for body in transport.bodies]
    assert len(told) == 4
    assert told[0] == told[1] == told[2], "the same telling, so that it counts once"
    assert [(one["reason"], one["count"]) for one in told[0]] == [("too_large", 2)]
    assert told[3] is None


def test_at_the_end_it_is_told_of_losses_that_no_batch_follows() -> None:
    transport = polku.MemoryTransport()
    client = polku.Client("k", "http://c", transport=transport, max_event_bytes=200)
    client.track("x", {"text": "y" * 1000}, user_id="u")
    assert client.close()
    [body] = map(json.loads, transport.bodies)
    assert (body["batch"], [(one["reason"], one["count"]) for one in body["lost"]]) == ([], [("too_large", 1)])


# Full queues ---------------------------------------------------------------------------------------------------


def test_a_full_queue_can_drop_the_oldest(collector: Any, reply: Any, caplog: pytest.LogCaptureFixture) -> None:
    collector.script = [reply(503)]
    client = polku.Client(
        "k", collector.url, full_queue="drop_oldest", queue_events=10, batch_events=4, retry_base_seconds=0.2
    )
    for n in range(4):
        client.track("x", {"n": n}, user_id="u")
    while not collector.received:
        pass
    with caplog.at_level(logging.WARNING):
        for n in range(4, 100):
            assert client.track("x", {"n": n}, user_id="u") is not None
        assert client.flush()
        assert client.close()
    # What was being sent stays, and of the rest the newest.
    assert [item["properties"]["n"] for item in collector.taken] == [0, 1, 2, 3, *range(94, 100)]
    assert client.stats().lost == {"queue_full": 90}
    assert "queue_full" in caplog.text


def test_every_reason_to_withhold_is_in_the_guide() -> None:
    from pathlib import Path

    docs = (Path(__file__).parents[2] / "docs" / "sdk-python.md").read_text()
    assert [reason for reason in WithheldReason if f"`{reason}`" not in docs] == []
