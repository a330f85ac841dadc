"""What holds for one source and not for another: keys, origins, robots."""

import hashlib
from collections.abc import Iterator

import pytest

from polku_collector.batch import Line
from polku_collector.intake.senders import senders_of
from polku_collector.lake.enrich import UserAgents
from polku_collector.settings import Source
from polku_collector.write_keys import KeyRing, hashed

from .world import GOOD, LIMITS, World, error, intake

SHOP = "https://shop.example"
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PERSON = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
SOURCES = {
    "any": Source(keys=["any-key"]),
    "shop": Source(keys=["shop-key"], cors=[SHOP]),
    "hashed": Source(keys=["sha256:" + hashlib.sha256(b"secret-key").hexdigest()]),
    "people": Source(keys=["people-key"], bots="refuse"),
}


@pytest.fixture(scope="module")
def mixed() -> Iterator[World]:
    agents = UserAgents(max_entries=10)
    with intake(
        senders=senders_of(SOURCES, LIMITS, is_bot=lambda: lambda text: agents.resolve([text])[0].is_bot)
    ) as it:
        yield it


def test_a_key_may_be_hashed_in_the_settings(mixed: World) -> None:
    assert mixed.post({"batch": [GOOD]}, key="secret-key").json()["accepted"] == 1
    assert error(mixed.post({"batch": [GOOD]}, key=SOURCES["hashed"].keys[0])) == (401, "invalid_write_key")
    digest = SOURCES["hashed"].keys[0].removeprefix("sha256:")
    for key in (digest, SOURCES["hashed"].keys[0]):
        bearer = {"authorization": f"Bearer {key}"}
        assert error(mixed.client.post("/v1/batch", json={"batch": [GOOD]}, headers=bearer))[0] == 401


def test_only_digests_are_looked_up() -> None:
    """And what was right before, by Python's keyed hash. A list would compare a guess with a key, byte by byte."""
    ring = KeyRing([("a", ["one", "two"]), ("b", [hashed("three")])])
    for _ in range(2):
        assert [ring.owner_of(key) for key in ("one", "two", "three", "four", "")] == ["a", "a", "b", None, None]
    assert all(isinstance(kept, bytes) and len(kept) == 32 for kept in ring._owner_of)
    assert set(ring._known) == {"one", "two", "three"}, "guesses take no room"


@pytest.mark.parametrize("path", ["/v1/batch?writeKey=shop-key", "/v1/batch"])
def test_a_page_of_another_origin_is_refused_and_nothing_is_stored(mixed: World, path: str) -> None:
    mixed.taken()
    mixed.counted.refusals.clear()
    body = {"batch": [GOOD]} | ({} if "?" in path else {"writeKey": "shop-key"})
    refused = mixed.client.post(path, json=body, headers={"origin": "https://other.example"})
    assert error(refused) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in refused.headers
    assert (mixed.taken(), mixed.counted.refusals) == ([], [("shop", "origin", 0)])
    taken = mixed.client.post(path, json=body, headers={"origin": SHOP})
    assert (taken.status_code, taken.headers["access-control-allow-origin"]) == (200, SHOP)
    assert mixed.client.post(path, json=body).status_code == 200  # no browser
    elsewhere = mixed.post({"batch": [GOOD]}, key="any-key", headers={"origin": "https://other.example"})
    assert elsewhere.headers["access-control-allow-origin"] == "https://other.example"


def test_a_preflight_is_answered_for_all_sources_together() -> None:
    asked = {"access-control-request-method": "POST"}
    with intake(senders=senders_of({"shop": SOURCES["shop"]}, LIMITS)) as world:
        for origin, allowed in ((SHOP, SHOP), ("https://other.example", None), (SHOP + ".evil.example", None)):
            response = world.client.options("/v1/batch", headers=asked | {"origin": origin})
            assert (response.status_code, response.headers.get("access-control-allow-origin")) == (204, allowed)


def test_robots_are_told_and_counted_and_not_stored(mixed: World) -> None:
    mixed.taken()
    mixed.counted.refusals.clear()
    robot, person = ({"context": {"userAgent": agent}} for agent in (ROBOT, PERSON))
    broken = {"type": "track", "userId": "u"}
    batch = {"batch": [GOOD | person, GOOD | robot | {"messageId": "r"}, broken, GOOD, GOOD | robot]}
    answer = mixed.post(batch, key="people-key").json()
    assert answer["accepted"] == 2
    assert [(verdict["index"], verdict["code"]) for verdict in answer["rejected"]] == [
        *((1, "bot"), (2, "missing_event_name"), (4, "bot"))
    ]
    assert answer["rejected"][0]["message_id"] == "r"
    assert mixed.counted.refusals == [("people", "bot", 2)]
    lines = mixed.taken()
    assert len(lines) == 3 and sum(isinstance(line, Line) for line in lines) == 2
    whole = mixed.post({"batch": [GOOD], "context": {"userAgent": ROBOT}}, key="people-key")
    assert (whole.status_code, whole.json()["accepted"], mixed.taken()) == (200, 0, [])
    assert mixed.post({"batch": [GOOD | robot]}, key="any-key").json()["rejected"] == []  # flagged in the lake
