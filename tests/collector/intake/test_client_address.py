"""Whose address it is, and what is left of it."""

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest

from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.client_address import AddressRule, Proxies, parsed
from polku_collector.intake.senders import senders_of
from polku_collector.settings import Source
from polku_schemas.privacy import PSEUDONYM, pseudonyms

from .world import GOOD, LIMITS, World, intake

OURS = tuple(ipaddress.ip_network(network) for network in ("127.0.0.0/8", "10.0.0.0/8", "fd00::/8"))
POLICIES = ("drop", "truncate", "keep", "hash")
PSEUDONYM_OF = pseudonyms(b"a key of sixteen bytes or more")


@pytest.mark.parametrize(
    ("peer", "header", "value", "client"),
    [
        ("8.8.8.8", "x-forwarded-for", "1.1.1.1", "8.8.8.8"),  # nobody we trust says so
        ("10.0.0.1", "x-forwarded-for", "", "10.0.0.1"),
        ("10.0.0.1", "x-forwarded-for", "1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),  # the client wrote the first
        ("10.0.0.1", "x-forwarded-for", "10.9.9.9, 1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "x-forwarded-for", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "x-forwarded-for", "1.1.1.1, unknown", None),
        ("10.0.0.1", "x-forwarded-for", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", "x-forwarded-for", "[2001:db8::1]:443", "2001:db8::1"),
        ("10.0.0.1", "x-forwarded-for", "1.1.1.1:5555", "1.1.1.1"),
        ("::ffff:10.0.0.1", "x-forwarded-for", "::ffff:1.1.1.1", "1.1.1.1"),
        ("10.0.0.1", "forwarded", 'for=6.6.6.6, for="[2001:db8::7]:80";proto=https;by=10.0.0.2', "2001:db8::7"),
        ("10.0.0.1", "forwarded", "proto=https;For=1.1.1.1, for=10.0.0.2", "1.1.1.1"),
        ("10.0.0.1", "forwarded", "for=_hidden", None),
        ("10.0.0.1", "forwarded", "by=1.1.1.1", None),
        # The client says the host, and a proxy puts it in quotes.
        ("10.0.0.1", "forwarded", 'host="a;for=6.6.6.6";for=1.1.1.1', "1.1.1.1"),
        ("10.0.0.1", "forwarded", 'host="a,for=6.6.6.6";for=1.1.1.1, for=10.0.0.2', "1.1.1.1"),
        ("10.0.0.1", "forwarded", r'host="a\";for=6.6.6.6,\\";for=1.1.1.1', "1.1.1.1"),
        ("10.0.0.1", "forwarded", 'for=1.1.1.1;host="x,for=6.6.6.6"', "1.1.1.1"),
        # What it wrote itself stands before what a proxy says, whatever it leaves open.
        ("10.0.0.1", "forwarded", 'for="6.6.6.6, for=1.1.1.1', "1.1.1.1"),
        ("10.0.0.1", "forwarded", 'for="6.6.6.6, for=1.1.1.1;host="x"', "1.1.1.1"),
        ("10.0.0.1", "forwarded", 'for="6.6.6.6;a=\\, for="1.1.1.1"', "1.1.1.1"),
    ],
)
def test_the_client_is_the_nearest_that_is_none_of_ours(peer: str, header: str, value: str, client: str | None) -> None:
    # Several header lines are one list.
    lines = [part.encode() for part in value.split(", ")]
    other = "forwarded" if header == "x-forwarded-for" else "x-forwarded-for"
    headers = [(header.encode(), line) for line in lines] + [(other.encode(), b"for=9.9.9.9")]
    found = Proxies(OURS, header.encode()).client_of({"client": (peer, 1), "headers": headers})
    assert (None if found is None else str(found)) == client


@pytest.mark.parametrize(
    ("policy", "address", "stored"),
    [
        ("drop", "203.0.113.77", None),
        ("truncate", "203.0.113.77", "203.0.113.0"),
        ("truncate", "2001:db8:1:2:3::4", "2001:db8:1::"),
        ("keep", "2001:DB8::4", "2001:db8::4"),
        ("hash", "203.0.113.77", PSEUDONYM_OF("203.0.113.77")),
        ("keep", "localhost", None),
    ],
)
def test_what_is_stored_of_an_address(policy: Any, address: str, stored: str | None) -> None:
    assert AddressRule(policy, PSEUDONYM_OF).stored(parsed(address)) == stored


@pytest.fixture(scope="module")
def behind() -> Iterator[World]:
    sources = {policy: Source(keys=[f"{policy}-key"], ip=policy) for policy in POLICIES}
    with intake(senders=senders_of(sources, LIMITS, pseudonym=PSEUDONYM_OF), proxies=Proxies(OURS)) as running:
        yield running


def ip_of(line: object) -> Any:
    assert isinstance(line, Line)
    return json.loads(line.extra or "{}").get("context", {}).get("ip")


STORED = {"drop": None, "truncate": "203.0.113.0", "keep": "203.0.113.77", "hash": PSEUDONYM_OF("203.0.113.77")}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_policy_holds_for_the_connection_the_event_and_its_batch(behind: World, policy: str) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.77"}
    said = {"context": {"ip": "203.0.113.77"}}
    tolerant = {"context": {"ip": "203.0.113.77", "screen": {"width": 1}}}
    cases: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"batch": [GOOD]}, forwarded),
        ({"batch": [GOOD | said]}, {"x-forwarded-for": "198.51.100.1"}),
        ({"batch": [GOOD | tolerant]}, {}),
        ({"batch": [GOOD]} | said, {}),
        ({"batch": [GOOD | said]} | {"context": {"ip": "198.51.100.1"}}, {}),
        ({"batch": [GOOD | {"context": {"ip": "no address"}}]}, forwarded),
        ({"batch": [GOOD | {"context": {"ip": 7}}]}, forwarded),
    ]
    digests = set()
    for body, headers in cases:
        assert behind.post(body, key=f"{policy}-key", headers=headers).json()["accepted"] == 1
        (line,) = behind.taken()
        assert ip_of(line) == STORED[policy]
        assert isinstance(line, Line)
        digests.add(line.digest)
        assert "screen" not in body["batch"][0].get("context", {}) or "width" in (line.extra or "")
    assert len(digests) == 1  # a retry from another network is no other event


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "event",
    [
        b'{"type":"track","userId":"u","context":{"ip":"203.0.113.77"}}',
        b'{"type":"track","userId":"u","context":{"\\u0069p":"203.0.113.77"}}',
        b'{"type":"track","userId":"u","context":{"ip":"203.0.113.77"},"context":{}}',
        b'{"type":"track","userId":"u","context":{"ip":"203.0.113.77","ip":""}}',
        b'{"type":"track","userId":"u","request_ip":"203.0.113.77"}',
        b'{"type":"track","userId":"u","context":{"ip":["203.0.113.77"]}}',
        b'{"type":"track","userId":"u","context":{"ip":"203.0.113.77"},"properties":tru}',
        b'{"type":"track","userId":"\xff","context":{"ip" : "203.0.113.77"}}',
        b'{"type":"track","userId":"u","context":{"\\u0069\\u0070":"203.0.113.77"},"properties":tru}',
        b'{"type":"track","userId":"u","\\u0072equest_ip":"203.0.113.77","properties":tru}',
        b'{"type":"track","userId":"u","context":{"ip":["198.51.100.1","203.0.113.77"]},"properties":tru}',
    ],
)
def test_the_original_of_a_refused_event_obeys_too(behind: World, policy: str, event: bytes) -> None:
    behind.post(b'{"batch":[' + event + b"]}", key=f"{policy}-key")
    (line,) = behind.taken()
    assert isinstance(line, QuarantineLine)
    kept = line.original or __import__("base64").b64decode(line.original_base64 or "").decode("latin-1")
    assert '"type":"track"' in kept.replace(" ", "")
    assert ("203.0.113.77" in kept) == (policy == "keep")
    if policy == "hash" and event.endswith(b'"203.0.113.77"}}') and event.startswith(b'{"type":"track","userId":"u"'):
        assert PSEUDONYM.search(kept)


def test_an_original_without_an_address_is_kept_byte_for_byte(behind: World) -> None:
    event = b'{ "type":"track",  "userId":"u\\u00e9", "context":{"zip":"1"} }'
    behind.post(b'{"batch":[' + event + b"]}", key="drop-key")
    (line,) = behind.taken()
    assert isinstance(line, QuarantineLine) and line.original == event.decode().strip()
