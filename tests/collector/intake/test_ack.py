"""A source that is answered after the commit: every way in waits, none of the others does, and waiting is bounded."""

from collections.abc import Iterator

import msgspec
import pytest

from polku_collector.intake.senders import senders_of
from polku_collector.settings import Source, Webhook
from polku_collector.webhook.ready import ReadyWebhook
from tests.collector.webhook.test_endpoint import ORDER, SHOP

from .world import GOOD, LIMITS, World, error, intake

SOURCES = {"web": Source(keys=["web-key"]), "ledger": Source(keys=["ledger-key"], ack="lake")}
WEBHOOKS = {"shop": ReadyWebhook(Webhook("shopify.yaml", "ledger"), SHOP)}
BAD = GOOD | {"properties": {}}
WAYS_IN = {
    "batch": lambda world, key: world.post({"batch": [GOOD, BAD]}, key=key),
    "single": lambda world, key: world.post(GOOD, key=key, path="/v1/track"),
    "refused by the plan": lambda world, key: world.post({"batch": [BAD]}, key=key),
    "pixel": lambda world, key: world.client.get(
        "/v1/pixel.gif", params={"writeKey": key, "event": "product_viewed", "userId": "u", "p.product_id": "p"}
    ),
    "webhook": lambda world, key: world.post(
        ORDER, key=key, path="/v1/webhook/shop", headers={"x-shopify-topic": "orders/create"}
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[World]:
    with intake(senders=senders_of(SOURCES, LIMITS), webhooks=WEBHOOKS) as world:
        yield world


@pytest.fixture
def world(server: World) -> World:
    server.journal.lines, server.commits.asked, server.commits.why = [], [], None
    return server


@pytest.mark.parametrize("way", WAYS_IN)
def test_every_way_in_waits_until_its_last_event_is_committed(world: World, way: str) -> None:
    answer = WAYS_IN[way](world, "ledger-key")
    assert answer.status_code == 200
    assert world.commits.asked == [max(line.sequence for line in world.taken())]
    world.commits.why = "the lake did not have them after 30 seconds"
    late = WAYS_IN[way](world, "ledger-key")
    assert (late.status_code, late.headers["retry-after"]) == (503, "5")
    if way != "pixel":
        assert error(late) == (503, "not_committed")
        assert late.json()["message"].startswith(
            "the events are journalled and will be committed: the lake did not have them after 30 seconds. Sending"
        )
    assert world.taken()  # as the answer says


def test_other_sources_do_not_wait(world: World) -> None:
    world.commits.why = "the lake is away"
    assert [WAYS_IN[way](world, "web-key").status_code for way in ("batch", "single", "pixel")] == [200] * 3
    assert world.commits.asked == []


def test_nobody_waits_for_nothing(world: World) -> None:
    world.commits.why = "the lake is away"
    assert world.post({"batch": []}, key="ledger-key").status_code == 200


def test_what_waits_is_bounded_and_what_finds_no_room_is_not_stored() -> None:
    limits = msgspec.structs.replace(LIMITS, max_held_bytes=1000)
    with intake(limits, senders_of(SOURCES, limits)) as small:
        assert error(small.post({"batch": [GOOD]}, key="ledger-key")) == (503, "busy")
        assert small.taken() == []
        assert small.post({"batch": [GOOD]}).status_code == 200  # of a source that does not wait
    roomy = msgspec.structs.replace(LIMITS, max_held_bytes=20_000)
    with intake(roomy, senders_of(SOURCES, roomy)) as world:  # room for one: it is given back each time
        for why in (None, "the lake is away", None):
            world.commits.why = why
            assert world.post({"batch": [GOOD]}, key="ledger-key").status_code == (200 if why is None else 503)
