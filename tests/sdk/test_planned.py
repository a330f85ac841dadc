"""A client with the built-in plan says in the call what the collector says later, and no personal value."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

import polku
from polku.report import Reporter
from polku.verdicts import read_reply, report_verdicts
from polku_collector.intake.judged import Arrival
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.settings import Limits, Source
from polku_schemas import builtin_plan_path, compile_plan, load_plan

PLAN = compile_plan(load_plan(builtin_plan_path()))
GOOD: list[tuple[str, tuple[Any, ...]]] = [
    ("track", ("product_viewed", {"product_id": "P-1", "price": 12.5})),
    ("track", ("Product Viewed", {"product_id": "P-1", "price": 12})),
    ("page", ("Home", {"url": "https://shop.example/"})),  # the address of a page has columns of its own
]
BROKEN: list[tuple[str, tuple[Any, ...]]] = [
    ("track", ("product_viewed", {"product_id": "P-1", "price": "a lot"})),
    ("track", ("product_viewed", {"price": 1})),
    ("page", ("Home", {"page_type": 7})),
]
SECRET = "358401234567"
PERSONAL = [
    {"recipient": int(SECRET)},
    {"recipient": [SECRET]},
    {"recipient": SECRET * 50},
    {"share_message": {"to": SECRET}},
]


def collectors_reply(body: bytes) -> dict[str, Any]:
    """What a collector with this plan answers to a batch."""
    validator = Validator(PLAN, Limits(), lambda: "id")
    judged = validator.judge(parse_batch(body), Arrival(datetime.now(UTC), None, "s", Source(keys=["k"]), body))
    return {
        name: [{member: getattr(one, member) for member in ("index", "code", "path", "message")} for one in verdicts]
        for name, verdicts in (("rejected", judged.rejected), ("warnings", judged.warnings))
    }


def client(**options: Any) -> tuple[polku.Client, polku.MemoryTransport]:
    transport = polku.MemoryTransport()
    return polku.Client("k", "http://c", transport=transport, compression=None, plan=PLAN, **options), transport


def test_an_event_of_the_plan_is_sent_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    strict, transport = client(strict=True)
    for call, arguments in GOOD:
        assert getattr(strict, call)(*arguments, user_id="u")
    assert strict.close()
    assert (len(transport.events), caplog.text) == (len(GOOD), "")
    assert collectors_reply(transport.bodies[0]) == {"rejected": [], "warnings": []}


@pytest.mark.parametrize(("call", "arguments"), BROKEN)
def test_a_broken_event_is_sent_with_the_collectors_verdict_as_a_warning(
    call: str, arguments: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sender, transport = client()
    assert getattr(sender, call)(*arguments, user_id="u")
    assert sender.close()
    reply = collectors_reply(transport.bodies[0])
    [verdict] = reply["rejected"] + reply["warnings"]
    assert f"{verdict['path']} does not fit the plan ({verdict['code']}): {verdict['message']}" in caplog.text
    assert sender.stats().odd == 1
    strict, unsent = client(strict=True)
    with pytest.raises(polku.InvalidEvent, match=verdict["code"]):
        getattr(strict, call)(*arguments, user_id="u")
    assert strict.close()
    assert unsent.events == []


def test_a_time_without_a_zone_fits_the_plan_once_it_is_put_right(caplog: pytest.LogCaptureFixture) -> None:
    sender, transport = client()
    sender.track("order_shipped", {"order_id": "O-1", "promised_at": datetime(2026, 2, 5, 18)}, user_id="u")
    assert sender.close()
    assert collectors_reply(transport.bodies[0]) == {"rejected": [], "warnings": []}
    assert "no time zone: taken as UTC" in caplog.text
    assert "the plan" not in caplog.text


def test_a_property_that_the_plan_lacks_is_told(caplog: pytest.LogCaptureFixture) -> None:
    sender, transport = client()
    assert sender.track("product_viewed", {"product_id": "P-1", "colour": "blue"}, user_id="u")
    assert sender.close()
    assert "$.properties does not fit the plan (unknown_property): not in the plan: colour" in caplog.text
    [verdict] = collectors_reply(transport.bodies[0])["warnings"]
    assert (verdict["code"], verdict["path"]) == ("unknown_property", "$.properties")


def test_an_event_that_the_plan_lacks_is_sent_and_told(caplog: pytest.LogCaptureFixture) -> None:
    sender, transport = client()
    assert sender.track("unheard_of", {"n": 1}, user_id="u")
    assert sender.close()
    assert "track('unheard_of') $.event is not in the plan" in caplog.text
    [verdict] = collectors_reply(transport.bodies[0])["warnings"]
    assert (verdict["code"], verdict["path"]) == ("unknown_event", "$.event")
    with pytest.raises(polku.InvalidEvent, match="unheard_of"):
        client(strict=True)[0].track("unheard_of", user_id="u")


@pytest.mark.parametrize("personal", PERSONAL, ids=str)
def test_a_personal_value_reaches_no_log(personal: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    sender, transport = client()
    assert sender.track("product_shared", {"product_id": "P-1", "share_via": "mail", **personal}, user_id="u")
    assert sender.close()
    reply = read_reply(json.dumps(collectors_reply(transport.bodies[0])).encode())
    assert reply is not None
    [verdict] = reply.rejected
    assert verdict.path == f"$.properties.{next(iter(personal))}"
    report_verdicts(reply, [json.dumps(item).encode() for item in transport.events], Reporter())
    told = [record.getMessage() for record in caplog.records if record.name == "polku"]
    assert len(told) == 2, "the plan of the client, and the collector"
    assert all(verdict.code in text for text in told)
    assert SECRET not in caplog.text
