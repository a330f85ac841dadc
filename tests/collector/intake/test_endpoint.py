"""What a whole request can get wrong: each answer says what, where and what to do; nothing crashes."""

import base64
import gzip
import json
import socket
import zlib
from collections.abc import Callable

import pytest

from polku_collector.batch import Line

from .world import GOOD, World, error


@pytest.mark.parametrize(
    "options",
    [
        {"auth": ("web-key", "")},
        {"headers": {"authorization": "Basic " + base64.b64encode(b"web-key").decode()}},  # without the colon
        {"headers": {"authorization": "Bearer web-key"}},
        {"params": {"writeKey": "web-key"}},
    ],
)
def test_a_key_is_taken_from_each_place(world: World, options: dict[str, object]) -> None:
    response = world.client.post("/v1/batch", json={"batch": [GOOD]}, **options)  # type: ignore[arg-type]
    assert (response.status_code, response.json()["accepted"]) == (200, 1)


def test_a_key_in_the_body_is_taken(world: World) -> None:
    assert world.client.post("/v1/batch", json={"batch": [GOOD], "writeKey": "web-key"}).status_code == 200
    assert world.client.post("/v1/track", json=GOOD | {"writeKey": "web-key"}).status_code == 200


@pytest.mark.parametrize("key", ["wrong", "", "WEB-KEY"])
def test_a_wrong_key_is_401(world: World, key: str) -> None:
    assert error(world.post({"batch": [GOOD]}, key=key)) == (401, "invalid_write_key")
    assert error(world.client.post("/v1/batch", json={"batch": [GOOD], "writeKey": key})) == (401, "invalid_write_key")
    assert error(world.client.post("/v1/batch", json={"batch": [GOOD]})) == (401, "invalid_write_key")
    assert world.taken() == []


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"{", b"[]", b"null", b'{"batch":{}}', b'{"batch":[}', b"\xff\xfe", b'{"a":1}']
)
def test_a_body_that_is_not_a_batch_is_400(world: World, body: bytes) -> None:
    assert error(world.post(body)) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"null", b"{"])
def test_a_single_call_that_is_not_an_object_is_400(world: World, body: bytes) -> None:
    assert error(world.post(body, path="/v1/track")) == (400, "invalid_json")


def test_too_large_is_413_declared_streamed_and_after_decompression(world: World) -> None:
    large = json.dumps({"batch": [GOOD] * 2000}).encode()
    assert len(large) > 200_000
    assert error(world.post(large)) == (413, "too_large")
    assert error(world.post(gzip.compress(large), headers={"content-encoding": "gzip"})) == (413, "too_large")
    bomb = gzip.compress(b" " * 50_000_000)
    assert error(world.post(bomb, headers={"content-encoding": "gzip"})) == (413, "too_large")


def test_a_streamed_body_is_cut_off_at_the_limit(world: World) -> None:
    chunks = (b"x" * 10_000 for _ in range(1000))
    response = world.client.post("/v1/batch", content=chunks, auth=("web-key", ""))
    assert error(response) == (413, "too_large")


def test_too_many_events_is_413(world: World) -> None:
    assert error(world.post({"batch": [{"userId": "u"}] * 501})) == (413, "too_many_events")


def test_a_body_of_a_million_small_items_is_refused_before_it_costs_anything(world: World) -> None:
    for item in (b"1", b"{}", b"null", b"[]"):
        body = b'{"batch":[' + b",".join([item] * 60_000) + b"]}"
        assert error(world.post(body[:199_000] + b"]}")) in ((413, "too_many_events"), (400, "invalid_json"))
    deep = b'{"batch":[' + b"[" * 90_000 + b"]" * 90_000 + b"]}"
    assert world.post(deep).json()["rejected"][0]["code"] == "too_deep"


def test_a_large_context_is_not_copied_into_many_events(world: World) -> None:
    body = {"batch": [GOOD] * 400, "context": {"userAgent": "x" * 190_000 * 1}}
    small = {"batch": [GOOD] * 2, "context": {"userAgent": "x" * 5_000}}
    assert error(world.post(body))[0] == 413
    assert world.post(small).status_code == 200
    lines = [line for line in world.taken() if isinstance(line, Line)]
    assert [len(line.context.user_agent or "") for line in lines if line.context] == [1024, 1024]


def test_gzip_is_taken_with_and_without_its_header(world: World) -> None:
    body = gzip.compress(json.dumps({"batch": [GOOD]}).encode())
    assert world.post(body, headers={"content-encoding": "gzip"}).status_code == 200
    assert world.post(body, headers={"content-type": "application/x-www-form-urlencoded"}).status_code == 200
    assert len(world.taken()) == 2


@pytest.mark.parametrize("cut", [5, 30])
def test_broken_gzip_is_400(world: World, cut: int) -> None:
    body = gzip.compress(json.dumps({"batch": [GOOD]}).encode())[:-cut]
    assert error(world.post(body, headers={"content-encoding": "gzip"})) == (400, "invalid_gzip")
    assert error(world.post(b"{}", headers={"content-encoding": "gzip"})) == (400, "invalid_gzip")


@pytest.mark.parametrize("encoding", ["br", "compress", "snappy", "gzip, gzip"])
def test_an_unknown_encoding_is_415(world: World, encoding: str) -> None:
    body = zlib.compress(b"{}")
    assert error(world.post(body, headers={"content-encoding": encoding})) == (415, "unsupported_encoding")


def test_a_full_journal_is_503_with_retry_after(world: World) -> None:
    world.journal.full = True
    response = world.post({"batch": [GOOD]})
    assert error(response) == (503, "journal_full")
    assert int(response.headers["retry-after"]) > 0
    assert world.client.get("/readyz").status_code == 503
    assert world.client.get("/healthz").status_code == 200


def test_a_slow_body_is_408(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port)) as connection:
        connection.sendall(b"POST /v1/batch?writeKey=web-key HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        connection.settimeout(10)
        assert b" 408 " in connection.recv(4096).split(b"\r\n")[0]


def test_a_client_that_hangs_up_harms_nobody(world: World) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", world.port)) as connection:
            connection.sendall(b"POST /v1/batch?writeKey=web-key HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert world.post({"batch": [GOOD]}).status_code == 200


def test_any_content_type_may_carry_json(world: World) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"):
        body = json.dumps({"batch": [GOOD]}).encode()
        assert world.post(body, headers={"content-type": content_type}).status_code == 200


def test_a_browser_may_ask_first(world: World) -> None:
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-retry-count",
    }
    response = world.client.options("/v1/batch", headers=asked)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "https://shop.example"
    assert "x-retry-count" in response.headers["access-control-allow-headers"]
    answered = world.post({"batch": [GOOD]}, headers={"origin": "https://shop.example"})
    assert answered.headers["access-control-allow-origin"] == "https://shop.example"


def test_other_methods_and_paths_say_where_events_go(world: World) -> None:
    assert error(world.client.get("/v1/batch")) == (405, "method_not_allowed")
    assert error(world.client.post("/v2/batch")) == (404, "not_found")
    assert "/v1/batch" in world.client.post("/nope").json()["message"]
    for path, methods in (("/v1/batch", "POST, OPTIONS"), ("/v1/pixel.gif", "GET, HEAD"), ("/healthz", "GET, HEAD")):
        answer = world.client.delete(path)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == set(methods.split(", "))


def test_a_trailing_slash_and_short_paths_work(world: World) -> None:
    for path in ("/v1/batch/", "/v1/b", "/v1/import"):
        assert world.post({"batch": [GOOD]}, path=path).status_code == 200
    assert world.post(GOOD, path="/v1/t").status_code == 200
    lines = world.taken()
    assert all(isinstance(line, Line) and line.event_name == "order_refunded" for line in lines)


@pytest.mark.parametrize("time", ["253402300800", "253402300799.9999999", "-62135596801", "1e400", "nan", "soon", ""])
def test_a_time_of_sending_that_is_none_is_passed_over(world: World, time: str) -> None:
    assert world.post({"batch": [GOOD]}, headers={"x-polku-sent-at": time}).status_code == 200
    (line,) = world.taken()
    assert line.sent_at is None


@pytest.mark.parametrize("encode", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_byte_order_mark_is_passed_over(world: World, encode: Callable[[bytes], bytes]) -> None:
    body = json.dumps({"batch": [GOOD]}).encode("utf-8-sig")
    assert world.post(encode(body)).json()["accepted"] == 1
    assert len(world.taken()) == 1
