"""What real clients send that a collector can trip over (their requests as they were recorded)."""

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from polku_collector.batch import Line

from .world import GOOD, World, intake

BATCH = json.dumps({"batch": [GOOD]}).encode()
BASIC = {"authorization": "Basic " + base64.b64encode(b"web-key:").decode()}


def line_of(world: World) -> Line:
    (line,) = world.taken()
    assert isinstance(line, Line)
    return line


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, BATCH),  # analytics-next, posthog-js
        ({"content-type": "text/plain;charset=UTF-8"}, BATCH),  # sendBeacon with a string
        ({"content-type": "application/x-www-form-urlencoded"}, BATCH),
        ({"content-type": "application/json; charset=utf-8"}, BATCH),
        ({}, BATCH),
        ({"content-type": ""}, BATCH),
        ({"content-type": "application/x-www-form-urlencoded"}, gzip.compress(BATCH)),  # rudder-sdk-node
        ({"content-type": "text/plain"}, gzip.compress(BATCH)),  # posthog-js: nothing says gzip
        ({}, gzip.compress(BATCH)),
    ],
)
def test_a_body_is_json_whatever_its_headers_say(world: World, headers: dict[str, str], body: bytes) -> None:
    response = world.client.post("/v1/batch", content=body, headers=headers | BASIC)
    assert (response.status_code, response.json()["accepted"]) == (200, 1)
    assert line_of(world).event_id == "m1"


@pytest.mark.parametrize(
    "header",
    [
        *("authorization", "content-type", "content-encoding", "x-retry-count", "x-polku-sent-at", "x-write-key"),
        *("anonymousid", "sentat", "rsa-recovered", "rsa-retry-attempt", "rsa-since-last-attempt"),
        *("rsa-since-first-attempt", "sp-anonymous", "posthog-sdk-info", "posthog-attempt", "posthog-request-id"),
        "posthog-request-timestamp",
    ],
)
def test_a_preflight_allows_every_header_that_browsers_send(world: World, header: str) -> None:
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": header,
    }
    response = world.client.options("/v1/t", headers=asked)
    assert response.status_code in (200, 204)
    assert header in response.headers["access-control-allow-headers"].split(", ")
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-origin"] == "https://shop.example"  # with credentials never *


@pytest.mark.parametrize(
    "nulls",
    [
        {"anonymousId": None},
        {"messageId": None},
        {"timestamp": None, "originalTimestamp": None, "sentAt": None},
        {"context": None},
        {"context": {"library": None, "page": None, "traits": None, "ip": None, "sessionId": None}},
        {"traits": None},
        {"integrations": None, "_metadata": None, "groupId": None, "previousId": None},
        {"category": None, "name": None},
    ],
)
def test_null_is_absent(world: World, nulls: dict[str, Any]) -> None:
    response = world.post({"batch": [GOOD | nulls], "context": None, "sentAt": None})
    assert response.json() == {"success": True, "accepted": 1, "rejected": []}
    assert line_of(world).anonymous_id is None


def test_null_properties_are_no_properties(world: World) -> None:
    event = {"type": "identify", "userId": None, "anonymousId": "a1", "properties": None, "traits": None}
    assert world.post({"batch": [event]}).json()["accepted"] == 1
    line = line_of(world)
    assert (line.user_id, line.anonymous_id) == (None, "a1")


@pytest.mark.parametrize("key", ["k", "ke", "key", "key?~>"])  # one to no padding; + and / in the standard alphabet
def test_credentials_come_padded_or_not_in_either_alphabet(key: str) -> None:
    from polku_collector.intake.receive import presented_key

    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for text in (encode(f"{key}:".encode()), encode(key.encode())):
            for sent in (text, text.rstrip(b"=")):
                assert presented_key({b"authorization": b"Basic " + sent}, b"") == key
    assert presented_key({b"authorization": b"Basic *"}, b"") == ""


@pytest.mark.parametrize(
    "path",
    ["/v1/batch", "/v1/batch/", "/v1/import", "/v1/b", *(f"/v1/{call}" for call in ("track", "t", "track/"))],
)
def test_success_is_exactly_200(world: World, path: str) -> None:
    body = GOOD if "/t" in path else {"batch": [GOOD]}
    assert world.post(body, path=path).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
@pytest.mark.parametrize(
    "path", ["/healthz/", "/readyz/", "/metrics/", "/v1", "/v1/", "/v1/batch//", "//v1/batch", "/"]
)
def test_nothing_is_ever_redirected(world: World, method: str, path: str) -> None:
    """Some clients take a redirect for success, and what they sent is gone."""
    assert not 300 <= world.client.request(method, path, follow_redirects=False).status_code < 400


def test_a_full_journal_is_503_because_429_is_final_for_some(world: World) -> None:
    world.journal.full = True
    assert world.post({"batch": [GOOD]}).status_code == 503


@pytest.mark.parametrize(
    ("headers", "path", "document"),
    [
        (BASIC, "/v1/batch", {}),
        ({"authorization": "Bearer web-key"}, "/v1/batch", {}),
        ({"x-write-key": "web-key"}, "/v1/batch", {}),
        ({"x-write-key": "web-key:secret"}, "/v1/batch", {}),  # Jitsu's server keys
        ({}, "/v1/batch?writeKey=web-key", {}),
        ({}, "/v1/batch?x=1&writeKey=web%2Dkey", {}),
        ({}, "/v1/batch", {"writeKey": "web-key"}),
    ],
)
def test_a_key_is_found_wherever_clients_put_it(
    world: World, headers: dict[str, str], path: str, document: dict[str, str]
) -> None:
    response = world.client.post(path, json={"batch": [GOOD], **document}, headers=headers)
    assert response.json()["accepted"] == 1


def test_a_key_in_the_host_part_of_the_address_is_a_basic_user_name(world: World) -> None:
    response = world.client.post(f"http://web-key@127.0.0.1:{world.port}/v1/batch", json={"batch": [GOOD]})
    assert response.json()["accepted"] == 1


@pytest.fixture(scope="module")
def prefixed() -> Iterator[World]:
    with intake(prefixes=["/events", "/events/eu"]) as running:
        yield running


@pytest.mark.parametrize("prefix", ["", "/events", "/events/eu"])
def test_the_host_of_a_client_may_have_a_path(prefixed: World, prefix: str) -> None:
    assert prefixed.post({"batch": [GOOD]}, path=f"{prefix}/v1/batch/").json()["accepted"] == 1
    assert prefixed.client.get(f"{prefix}/healthz").status_code == 200
    assert prefixed.post({"batch": [GOOD]}, path=f"/other{prefix}/v1/batch").status_code == 404
    assert prefixed.post({"batch": [GOOD]}, path="/eventsx/v1/batch").status_code == 404
