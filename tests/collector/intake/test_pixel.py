"""The pixel: always an image, one event a GET, and a status that says whether it was stored."""

import base64
import json
import struct
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.pixel import GIF

from .world import World


def get(
    world: World, fields: dict[str, Any] | list[tuple[str, str]] | str, path: str = "/v1/pixel.gif"
) -> httpx.Response:
    query = fields if isinstance(fields, str) else urlencode(fields)
    answer = world.client.get(f"{path}?{query}", headers={"user-agent": "Mail/1"})
    assert answer.headers["content-type"] == "image/gif"
    assert "no-store" in answer.headers["cache-control"]
    assert answer.content == GIF
    return answer


def only(world: World) -> Line | QuarantineLine:
    (line,) = world.taken()
    return line


def encoded(item: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(item).encode()).decode().rstrip("=")


OPENED = {"writeKey": "web-key", "event": "product_viewed", "userId": "u1", "messageId": "m1", "p.product_id": "p1"}


def test_the_image_is_a_whole_gif_of_one_transparent_pixel() -> None:
    assert GIF.startswith(b"GIF89a")
    assert GIF.endswith(b";")
    assert struct.unpack("<HH", GIF[6:10]) == (1, 1)
    assert b"!\xf9\x04\x01" in GIF, "transparent"


def test_plain_fields_are_an_event_typed_by_the_plan(world: World) -> None:
    assert get(world, OPENED | {"p.price": "12.50", "p.position": "3", "p.colour": "12"}).status_code == 200
    line = only(world)
    assert isinstance(line, Line)
    assert (line.event_name, line.user_id, line.event_id, line.source) == ("product_viewed", "u1", "m1", "web")
    assert (line.p.product_id, line.p.price) == ("p1", 12.5)
    assert line.context is not None
    assert line.context.user_agent == "Mail/1"
    assert json.loads(line.extra or "")["properties"]["colour"] == "12", "what the plan does not know stays a text"


def test_a_long_user_agent_is_cut_as_in_a_batch(world: World) -> None:
    world.client.get("/v1/pixel.gif", params=OPENED, headers={"user-agent": "x" * 3000})
    line = only(world)
    assert isinstance(line, Line)
    assert line.context is not None
    assert line.context.user_agent == "x" * 1024


def test_a_text_that_does_not_fit_its_type_is_told_by_the_plan(world: World) -> None:
    for text in ("dear", "", "true", "1e999", "[1]"):
        assert get(world, OPENED | {"p.price": text}).status_code == 200
        line = only(world)
        assert isinstance(line, QuarantineLine)
        assert line.path == "$.properties.price"


def test_repeated_properties_are_a_list_and_a_number_like_text_stays_a_text(world: World) -> None:
    get(world, [*OPENED.items(), ("p.tag", "a"), ("p.tag", "b")])
    line = only(world)
    assert isinstance(line, Line)
    assert json.loads(line.extra or "")["properties"]["tag"] == ["a", "b"]
    get(world, OPENED | {"p.product_id": "007"})
    line = only(world)
    assert isinstance(line, Line)
    assert line.p.product_id == "007"


def test_data_is_an_item_as_segments_pixel_has_it(world: World) -> None:
    item = {"userId": "u1", "event": "product_viewed", "messageId": "m1", "properties": {"product_id": "p?>~"}}
    for data in (encoded(item), encoded(item) + "==", base64.b64encode(json.dumps(item).encode()).decode()):
        for path in ("/v1/pixel.gif", "/v1/pixel/track", "/v1/pixel.gif/"):
            assert get(world, {"writeKey": "web-key", "data": data}, path).status_code == 200
            line = only(world)
            assert isinstance(line, Line)
            assert (line.p.product_id, line.event_type) == ("p?>~", "track")
    get(world, {"data": encoded(item | {"writeKey": "web-key"})})
    assert isinstance(only(world), Line), "the key may be inside, as Segment has it"


def test_plain_fields_go_over_data(world: World) -> None:
    item = {"event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1", "price": 1}}
    get(world, {"writeKey": "web-key", "data": encoded(item), "userId": "u2", "p.price": "2"})
    line = only(world)
    assert isinstance(line, Line)
    assert (line.user_id, line.p.product_id, line.p.price) == ("u2", "p1", 2.0)


def test_other_calls_have_addresses_of_their_own(world: World) -> None:
    get(world, {"writeKey": "web-key", "anonymousId": "a", "name": "Home"}, "/v1/pixel/page")
    get(world, {"writeKey": "web-key", "userId": "u", "groupId": "g", "type": "page"}, "/v1/pixel/group")
    get(world, {"writeKey": "web-key", "anonymousId": "a", "type": "screen"})
    assert [line.event_type for line in world.taken()] == ["page", "group", "screen"]


TOO_DEEP = b'{"event":"x","properties":{"a":' + b"[" * 1500 + b"]" * 1500 + b"}}"

BAD = {
    "no id": ({"event": "product_viewed"}, "missing_id"),
    "no event": ({"userId": "u"}, "missing_event_name"),
    "no field at all": ({}, "missing_event_name"),
    "no base64": ({"data": "§§§"}, "invalid_json"),
    "no JSON": ({"data": encoded("x")[:-1] + "A"}, "invalid_json"),
    "a list": ({"data": encoded([1]), "userId": "u"}, "not_an_object"),
    "no UTF-8": ({"data": base64.b64encode(b'{"event":"\xff"}').decode()}, "invalid_utf8"),
    "no UTF-8, and fields": ({"data": base64.b64encode(b'{"a":"\xff"}').decode(), "userId": "u"}, "invalid_utf8"),
    "UTF-16": ({"data": base64.b64encode('{"a":1}'.encode("utf-16")).decode(), "userId": "u"}, "invalid_utf8"),
    "too deep": ({"data": base64.b64encode(TOO_DEEP).decode(), "userId": "u"}, "too_deep"),
    "a time that is none": ({"event": "x", "userId": "u", "timestamp": "soon"}, "invalid_time"),
    "no end": ({"data": base64.b64encode(b'{"a":' + b"9" * 5000 + b"}").decode(), "userId": "u"}, "invalid_json"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_event_is_an_image_too_and_is_quarantined(world: World, case: str) -> None:
    fields, code = BAD[case]
    assert get(world, {"writeKey": "web-key", **fields}).status_code == 200
    line = only(world)
    assert isinstance(line, QuarantineLine)
    assert line.code == code
    assert "web-key" not in json.dumps([line.original, line.context]), "a key is not kept"


def test_half_a_character_is_repaired_and_a_thousand_fields_are_refused(world: World) -> None:
    get(world, urlencode(OPENED) + "&p.query=%ff%fe")
    assert isinstance(only(world), Line)
    get(world, urlencode(OPENED) + "&p.x=1" * 2000)
    line = only(world)
    assert isinstance(line, QuarantineLine)
    assert line.code == "too_large"


def test_without_a_key_nothing_is_stored_and_the_status_says_so(world: World) -> None:
    assert get(world, {"event": "product_viewed", "userId": "u"}).status_code == 401
    assert get(world, OPENED | {"writeKey": "wrong"}).status_code == 401
    assert world.taken() == []


def test_a_full_journal_is_told_by_the_status(world: World) -> None:
    world.journal.full = True
    answer = get(world, OPENED)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0


def test_head_is_answered_and_is_no_event(world: World) -> None:
    answer = world.client.head("/v1/pixel.gif", params=OPENED)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(GIF))
    assert world.taken() == []
    assert world.client.post("/v1/pixel.gif", params=OPENED).status_code == 405
    assert world.taken() == []
