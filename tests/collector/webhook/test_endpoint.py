"""Webhooks end to end on loopback: who may send, what becomes of it, and that a retry is the same event."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from polku_collector.batch import Line, QuarantineLine
from polku_collector.settings import Webhook, WebhookHmac
from polku_collector.webhook.mapping_file import read_webhook_mapping
from polku_collector.webhook.ready import ReadyWebhook
from tests.collector.intake.world import NOW, World, intake

HERE = Path(__file__).parent
SECRET = b"the shop's secret"
SHOP = read_webhook_mapping(HERE / "shopify.yaml")
PAYMENTS = read_webhook_mapping(HERE / "stripe.yaml")
SIGNED = WebhookHmac(header="X-Shopify-Hmac-Sha256", encoding="base64")
TIMED = WebhookHmac(header="Stripe-Signature", field="v1", timestamp_field="t", signed="{timestamp}.{body}")

WEBHOOKS = {
    "shop": ReadyWebhook(Webhook("shopify.yaml", "web", SIGNED), SHOP, (b"old", SECRET)),
    "pay": ReadyWebhook(Webhook("stripe.yaml", "strict", TIMED), PAYMENTS, (SECRET,)),
    "keyed": ReadyWebhook(Webhook("shopify.yaml", "web"), SHOP),
}

ORDER: dict[str, Any] = {
    "id": 450789469,
    "test": False,
    "created_at": "2026-11-22T13:59:00+02:00",
    "total_price": "73.70",
    "currency": "EUR",
    "customer": {"id": 115310627, "email": "aino@example.com"},
    "discount_codes": [{"code": "WINTER10"}],
    "landing_site": "https://shop.example/?utm=1",
    "line_items": [
        {"sku": "P-1042", "quantity": 1, "price": "59.90"},
        {"sku": "P-2001", "quantity": 2, "price": "6.90"},
    ],
}
SESSION: dict[str, Any] = {
    "id": "evt_1",
    "type": "checkout.session.completed",
    "livemode": True,
    "created": int(NOW.timestamp()) - 60,
    "data": {
        "object": {
            "id": "cs_1",
            "client_reference_id": "u-1",
            "amount_total": 7370,
            "currency": "eur",
            "line_items": {"data": [{"price": {"product": "P-1042"}, "quantity": 1}]},
        }
    },
}


@pytest.fixture(scope="module")
def server() -> Iterator[World]:
    with intake(webhooks=WEBHOOKS) as world:
        yield world


@pytest.fixture
def world(server: World) -> World:
    server.journal.lines, server.journal.full = [], False
    server.outcomes.clear()
    return server


def encoded(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def shop(world: World, payload: Any, topic: str = "orders/create", **headers: str) -> httpx.Response:
    body = encoded(payload)
    signature = base64.b64encode(hmac.digest(SECRET, body, "sha256")).decode()
    head = {"x-shopify-hmac-sha256": signature, "x-shopify-topic": topic, "x-shopify-webhook-id": "w-1", **headers}
    return world.client.post("/v1/webhook/shop", content=body, headers=head)


def pay(world: World, payload: Any, stamp: int | None = None, secret: bytes = SECRET) -> httpx.Response:
    body, stamp = encoded(payload), int(NOW.timestamp()) if stamp is None else stamp
    signature = hmac.new(secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    head = {"stripe-signature": f"t={stamp},v1={'0' * 64},v1={signature},v0=abc"}
    return world.client.post("/v1/webhook/pay", content=body, headers=head)


def only(world: World) -> Line | QuarantineLine:
    (line,) = world.taken()
    return line


def test_an_order_of_a_shop_becomes_an_event_of_the_plan(world: World) -> None:
    answer = shop(world, ORDER)
    assert (answer.status_code, answer.json()) == (200, {"success": True, "accepted": 1, "rejected": []})
    line = only(world)
    assert isinstance(line, Line)
    assert (line.event_name, line.user_id, line.source) == ("order_completed", "115310627", "web")
    assert line.event_id == "shop:order_completed:450789469"
    assert (line.p.order_id, line.p.revenue, line.p.currency, line.p.coupon) == ("450789469", 73.7, "EUR", "WINTER10")
    assert [(item.product_id, item.quantity, item.price) for item in line.p.products] == [
        ("P-1042", 1, 59.9), ("P-2001", 2, 6.9),
    ]  # fmt: skip
    assert str(line.event_time) == "2026-11-22 11:59:00+00:00"
    assert line.context is not None
    assert line.context.page is not None
    assert line.context.page.url == "https://shop.example/?utm=1"
    assert world.outcomes == [("shop", "taken")]


def test_a_payment_becomes_an_event_of_the_plan(world: World) -> None:
    assert pay(world, SESSION).json()["accepted"] == 1
    line = only(world)
    assert isinstance(line, Line)
    assert (line.event_name, line.user_id, line.source, line.event_id) == (
        "order_completed", "u-1", "strict", "pay:order_completed:evt_1",
    )  # fmt: skip
    assert (line.p.revenue, line.p.currency, line.p.products[0].product_id) == (73.7, "EUR", "P-1042")
    assert (NOW - line.event_time).total_seconds() == pytest.approx(60, abs=1)


def test_a_delivery_that_comes_again_has_the_same_id_and_content(world: World) -> None:
    for _ in range(2):
        shop(world, ORDER)
        pay(world, SESSION)
    first, payment, second, payment_again = world.taken()
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert isinstance(payment, Line)
    assert isinstance(payment_again, Line)
    assert (first.event_id, first.digest) == (second.event_id, second.digest)
    assert (payment.event_id, payment.digest) == (payment_again.event_id, payment_again.digest)


def test_one_delivery_with_a_list_becomes_several_events_with_ids_of_their_own(world: World) -> None:
    lines = [{"type": kind, "subscription": f"sub-{number}", "currency": "eur"} for number, kind in
             enumerate(("subscription", "tax", "subscription"))]  # fmt: skip
    invoice = {"id": "evt_2", "type": "invoice.paid", "created": int(NOW.timestamp()),
               "data": {"object": {"customer": "c-1", "lines": {"data": lines}}}}  # fmt: skip
    assert pay(world, invoice).json()["accepted"] == 2
    found = world.taken()
    assert all(isinstance(line, Line) for line in found)
    assert [line.event_id for line in found] == ["pay:renewed_line:evt_2:0", "pay:renewed_line:evt_2:2"]
    assert [line.event_name for line in found] == ["subscription_renewed"] * 2


def test_what_no_entry_is_for_is_ignored_and_counted(world: World) -> None:
    assert shop(world, ORDER, topic="products/update").json() == {"success": True, "accepted": 0, "rejected": []}
    assert shop(world, ORDER | {"test": True}).json()["accepted"] == 0
    assert pay(world, SESSION | {"livemode": 1}).json()["accepted"] == 0, "1 is not true"
    assert world.taken() == []
    assert [outcome for _, outcome in world.outcomes] == ["ignored"] * 3


def test_what_the_plan_refuses_is_quarantined_as_it_was_made(world: World) -> None:
    answer = shop(world, {**ORDER, "line_items": []})
    assert answer.json()["rejected"][0]["path"] == "$.properties.products"
    line = only(world)
    assert isinstance(line, QuarantineLine)
    original = json.loads(line.original or "")
    assert (original["messageId"], original["properties"]["revenue"]) == ("shop:order_completed:450789469", 73.7)
    assert line.event_name == "order_completed", "a replay can mend it"


UNMAPPABLE = {
    "no id": ({"id": None}, "missing_id", "$.id"),
    "an id that is none": ({"id": {"a": 1}}, "missing_id", "$.id"),
    "no number": ({"total_price": "free"}, "wrong_type", "$.total_price"),
    "no list": ({"line_items": {"a": 1}}, "wrong_type", "$.line_items"),
    "no number in an item": ({"line_items": [{"sku": "P", "price": "x"}]}, "wrong_type", "@.price"),
}


@pytest.mark.parametrize("case", UNMAPPABLE)
def test_what_cannot_be_mapped_is_quarantined_as_it_came(world: World, case: str) -> None:
    change, code, path = UNMAPPABLE[case]
    (verdict,) = shop(world, {**ORDER, **change}).json()["rejected"]
    assert (verdict["code"], verdict["path"]) == (code, path)
    line = only(world)
    assert isinstance(line, QuarantineLine)
    kept = json.loads(line.original or "")
    assert (kept["webhook"], kept["entry"], kept["payload"]) == ("shop", "order_completed", {**ORDER, **change})


def test_a_payload_with_nobody_in_it_is_quarantined(world: World) -> None:
    (verdict,) = shop(world, {**ORDER, "customer": None}).json()["rejected"]
    assert verdict["code"] == "missing_id"
    assert isinstance(only(world), QuarantineLine)


@pytest.mark.parametrize("signature", [None, "", "AAAA", "§", base64.b64encode(b"x" * 32).decode()])
def test_a_delivery_that_is_not_signed_leaves_nothing(world: World, signature: str | None) -> None:
    head = {} if signature is None else {"x-shopify-hmac-sha256": signature.encode()}
    answer = world.client.post("/v1/webhook/shop", content=encoded(ORDER), headers=head)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_signature")
    assert (world.taken(), world.outcomes) == ([], [("shop", "refused")])


def test_the_signature_covers_every_byte_and_its_time(world: World) -> None:
    body = encoded(ORDER)
    signature = base64.b64encode(hmac.digest(SECRET, body, "sha256")).decode()
    for changed in (body + b" ", body.replace(b"73.70", b"7.370")):
        head = {"x-shopify-hmac-sha256": signature}
        assert world.client.post("/v1/webhook/shop", content=changed, headers=head).status_code == 401
    now = int(NOW.timestamp())
    assert pay(world, SESSION, now - 299).status_code == 200
    assert pay(world, SESSION, now - 302).status_code == 401
    assert pay(world, SESSION, now + 302).status_code == 401
    assert pay(world, SESSION, secret=b"another").status_code == 401
    forged = {"stripe-signature": f"t={now},v1={hmac.digest(SECRET, b'%d.' % (now - 1) + body, 'sha256').hex()}"}
    assert world.client.post("/v1/webhook/pay", content=body, headers=forged).status_code == 401
    assert len(world.taken()) == 1


def test_the_old_secret_and_the_new_one_are_good_while_it_is_changed(world: World) -> None:
    signature = base64.b64encode(hmac.digest(b"old", encoded(ORDER), "sha256")).decode()
    assert shop(world, ORDER, **{"x-shopify-hmac-sha256": signature}).status_code == 200


def test_without_a_secret_the_write_key_of_the_source_is_needed(world: World) -> None:
    head = {"x-shopify-topic": "orders/create"}
    for key, status in (("web-key", 200), ("past-key", 401), ("wrong", 401), ("", 401)):
        answer = world.client.post("/v1/webhook/keyed", params={"writeKey": key}, json=ORDER, headers=head)
        assert answer.status_code == status
    assert world.client.post("/v1/webhook/keyed", json=ORDER | {"writeKey": "web-key"}).status_code == 401
    assert len(world.taken()) == 1


@pytest.mark.parametrize("body", [b"", b"x", b"{", b'{"a":"\xff"}', b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"])
def test_a_payload_that_is_not_json_is_400(world: World, body: bytes) -> None:
    answer = shop(world, body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_json")


def test_a_payload_of_any_json_raises_nothing(world: World) -> None:
    for payload in (
        None,
        1,
        "x",
        [],
        [1],
        {},
        {"id": float("nan")},
        {"id": "\ud800", "customer": 5, "line_items": [None]},
    ):
        answer = shop(world, payload)
        assert answer.status_code == 200
        assert len(answer.json()["rejected"]) == 1


def test_a_payload_that_grows_without_bounds_is_413(world: World) -> None:
    many = {
        "id": "evt",
        "type": "invoice.paid",
        "data": {"object": {"lines": {"data": [{"type": "subscription"}] * 600}}},
    }
    assert pay(world, many).status_code == 413


def test_a_full_journal_is_503_and_other_addresses_are_404(world: World) -> None:
    world.journal.full = True
    answer = shop(world, ORDER)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert world.client.post("/v1/webhook/other", json=ORDER).status_code == 404
    assert world.client.get("/v1/webhook/shop").status_code == 405
