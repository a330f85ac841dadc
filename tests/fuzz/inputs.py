"""Makes requests from a seed and a number: honest events, broken ones whose fault is known, and anything else.

Most are made with care (a batch whose items each are known to be good, or bad for a known reason), because what must
not happen is that one of them changes another. The rest is bent: bytes flipped, cut, doubled; encodings that lie.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import random
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

ORIGIN = "https://a.example"
SECRET = b"the fuzzer's secret"
MAX_EVENT_BYTES = 3_000
MAX_BODY_BYTES = 60_000
MAX_EVENTS = 200

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Headers = list[tuple[bytes, bytes]]


def key_of(slot: int) -> str:
    """The write key of a slot. Each request of a wave has a source of its own: what it left is told apart by that.

    A key with a byte too few or too many is nobody's.
    """
    return f"key-{zlib.crc32(b'%d' % slot):08x}"


def source_of(slot: int) -> str:
    return f"s{slot}"


@dataclass
class Known:
    """What must become of one item: accepted with these properties, or refused with this code."""

    event_id: str | None
    code: str | None = None
    properties: dict[str, Any] | None = None


@dataclass
class Input:
    """One request, and what is known of it. `known` is None where nobody can say what its items are."""

    number: int
    slot: int
    kind: str
    method: str
    path: str
    query: bytes = b""
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    known: list[Known] | None = None
    status: int | None = None
    """What it must be answered with, where that is known and not 200."""

    def shown(self) -> str:
        return (
            f"input {self.number} ({self.kind}): {self.method} {self.path}?{self.query[:200]!r} "
            f"headers {self.headers} body[{len(self.body)}] {self.body[:1500]!r}"
        )


def make_input(seed: int, number: int, slot: int) -> Input:
    """The input of this number: always the same for the same seed."""
    rng = random.Random(f"{seed}:{number}")
    maker = rng.choices(_MAKERS, _WEIGHTS)[0]
    made = maker(rng, number, slot, f"{seed}-{number}")
    if rng.random() < 0.5:
        made.headers += _strange_headers(rng)
    origins = [value for name, value in made.headers if name == b"origin"]
    if slot % 4 == 3 and origins and origins[-1] != ORIGIN.encode():  # its source names the pages that may send
        made.known = made.status = None
    return made


# Items ------------------------------------------------------------------------------------------------------------


def _good(rng: random.Random, event_id: str) -> tuple[bytes, Known]:
    properties: dict[str, Any] = {"product_id": event_id}
    for name, values in _VALID.items():
        if rng.random() < 0.2:
            properties[name] = rng.choice(values)
    item = {"type": "track", "event": rng.choice(["product_viewed", "Product Viewed"]), "messageId": event_id,
            "userId": rng.choice(["u1", 7, "é\u2028"]), "properties": properties}  # fmt: skip
    if rng.random() < 0.3:
        item["context"] = rng.choice(_VALID_CONTEXTS)
    if rng.random() < 0.2:
        item["timestamp"] = rng.choice(["2026-11-22T11:00:00Z", "2026-11-22T13:00:00.123456+02:00"])
    if rng.random() < 0.2:
        item[rng.choice(["integrations", "anonymousId", "_metadata", "channel"])] = None
    pairs = list(item.items())
    rng.shuffle(pairs)
    return _written(rng, dict(pairs)), Known(event_id, None, properties)


_VALID: dict[str, list[Any]] = {
    "price": [1, 59.9, 0, 1e-3],
    "name": ["Wool sweater", "naïve \U0001f9e6", '"quoted" \\ back', "tab\tnewline\n", "\x00", "]},{"],
    "position": [1, 3],
    "category": ["Clothing/Sweaters"],
    "in_stock": [True, False],
    "currency": ["EUR"],
}
_VALID_CONTEXTS: list[Any] = [
    {"library": {"name": "fuzz", "version": "1"}},
    {"page": {"url": "https://shop.example/a?b=c#d", "title": "A"}, "consent": ["analytics"]},
    {"campaign": {"name": "Spring", "source": "news"}, "locale": "fi-FI", "timezone": "Europe/Helsinki"},
    {"userAgent": "Mozilla/5.0", "ip": "192.0.2.1"},
    {"consent": ["statistics"]},
]


def _bad(rng: random.Random, event_id: str) -> tuple[bytes, Known]:
    base: dict[str, Any] = {"type": "track", "event": "product_viewed", "messageId": event_id, "userId": "u",
                            "properties": {"product_id": event_id}}  # fmt: skip
    code, change = rng.choice(_FAULTS)
    made = change(rng, base)
    raw = made if isinstance(made, bytes) else _written(rng, made)
    return raw, Known(None, code)


def _without(name: str) -> Callable[[random.Random, dict[str, Any]], dict[str, Any]]:
    return lambda rng, item: {key: value for key, value in item.items() if key != name}


def _with(**members: Any) -> Callable[[random.Random, dict[str, Any]], dict[str, Any]]:
    return lambda rng, item: item | members


_NOBODY = _without("userId")
_FAULTS: list[tuple[str, Callable[[random.Random, dict[str, Any]], dict[str, Any] | bytes]]] = [
    ("missing_property", _with(properties={})),
    ("missing_property", _with(properties=None)),
    ("missing_property", _without("properties")),
    ("wrong_type", _with(properties={"product_id": 5})),
    ("wrong_type", _with(properties={"product_id": ["a"]})),
    ("wrong_type", _with(properties={"product_id": "p", "price": "59,90"})),
    ("out_of_range", _with(properties={"product_id": "p", "position": 1 << 70})),
    ("not_an_object", _with(properties=[1])),
    ("missing_id", _NOBODY),
    ("missing_id", _with(userId="", anonymousId=None)),
    ("invalid_id", _with(userId=[1])),
    ("invalid_id", _with(userId="x" * 2000)),
    ("invalid_id", _with(messageId="x" * 129)),
    ("invalid_id", _with(messageId=5)),
    ("missing_type", _without("type")),
    ("unknown_type", _with(type="buy")),
    ("missing_event_name", _without("event")),
    ("missing_event_name", _with(event="")),
    ("too_long", _with(event="x" * 300)),
    ("invalid_time", _with(timestamp="yesterday")),
    ("invalid_time", _with(timestamp=5)),
    ("too_large", lambda rng, item: item | {"properties": {"product_id": "p", "x": "y" * (MAX_EVENT_BYTES + 1)}}),
    ("too_deep", lambda rng, item: json.dumps(item)[:-1].encode() + b',"n":NaN,"x":' + b"[" * 70 + b"]" * 70 + b"}"),
    ("not_an_object", lambda rng, item: rng.choice([b"null", b"5", b'"x"', b"[]", b"true", b"[{}]"])),
    ("invalid_json", lambda rng, item: rng.choice([b'{"a":}', b'{"a" 1}', b'{"a":01}', b"{,}", b"nul"])),
    ("invalid_utf8", lambda rng, item: b'{"type":"track","event":"\xff\xfe","userId":"u"}'),
]  # fmt: skip


def _anything(rng: random.Random, event_id: str) -> tuple[bytes, None]:
    item: dict[str, Any] = {"type": rng.choice(["track", "page", "identify", "group", "alias", "screen"]),
                            "event": rng.choice(["product_viewed", "order_completed", "zz", "searched"]),
                            "userId": "u", "properties": {"product_id": "p"}}  # fmt: skip
    for _ in range(rng.randint(1, 4)):
        where = rng.choice([item, item, item.setdefault("properties", {}), item.setdefault("context", {})])
        if not isinstance(where, dict):
            continue
        where[rng.choice(_NAMES)] = _value(rng, 3)
    return _written(rng, item, odd=True), None


_NAMES = [
    *("type", "event", "messageId", "userId", "anonymousId", "groupId", "previousId", "timestamp", "sentAt"),
    *("originalTimestamp", "name", "category", "properties", "traits", "context", "writeKey", "integrations"),
    *("product_id", "price", "products", "quantity", "order_id", "revenue", "currency", "page", "campaign"),
    *("library", "consent", "sessionId", "locale", "ip", "channel", "url", "title", "email", "birthday", "x", ""),
]
_TEXTS = [
    *("", "a", "\x00", "\u2028", "\ud800", "\udfff\ud83d", "\U0001f600", "NaN", "null", '"', "\\", "\n", "\r\n"),
    *("2026-11-22T11:00:00Z", "2026-11-22t11:00:00z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999999Z"),
    *("2026-02-30", "-1", "1e309", "x" * 300, "é" * 1100, "%00", "$.a", "psn-0"),
]
_NUMBERS = [
    *(0, -0.0, 1, -1, 1.5, 1e308, 5e-324, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**400),
    *(float("nan"), float("inf"), float("-inf"), 1e22, 0.1, 1e400),
]


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return rng.choice(_NUMBERS)
    if kind in (3, 4):
        return rng.choice(_TEXTS)
    if kind == 5:
        return [_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(_NAMES + _TEXTS): _value(rng, depth - 1) for _ in range(rng.randrange(4))}


def _written(rng: random.Random, item: dict[str, Any], *, odd: bool = False) -> bytes:
    """JSON as different clients write it. `odd`: as none should."""
    separators = rng.choice([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n ")])
    text = json.dumps(item, separators=separators, ensure_ascii=rng.random() < 0.5 or odd)
    raw = text.encode("utf-8", "surrogatepass")
    if odd and rng.random() < 0.2:  # a name that stands twice
        raw = raw[:-1] + b"," + json.dumps(rng.choice(_NAMES)).encode() + b":" + _short(rng) + b"}"
    return raw


def _short(rng: random.Random) -> bytes:
    return rng.choice([b"null", b"1", b'"x"', b"[]", b"{}", b"true", b"-0", b"1E2", b'"\\u0000"', b'"\\ud83d\\ude00"'])


# Requests ---------------------------------------------------------------------------------------------------------


def _batch(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    kinds = rng.choice(
        [(_good,), (_good, _bad), (_good, _bad), (_good, _bad, _anything), (_anything,), (_good,) * 9 + (_bad,)]
    )
    count = rng.choices([0, 1, 2, 3, 5, 8, 20, 60], [4, 25, 20, 15, 10, 8, 4, 1])[0]
    made = [rng.choice(kinds)(rng, f"{ids}-{index}") for index in range(count)]
    known = [expected for _, expected in made]
    gap = rng.choice([b"", b" ", b"\n\t"])
    members = [b'"batch":%b[%b]' % (gap, (gap + b"," + gap).join(raw for raw, _ in made))]
    for name, values in _OUTER.items():
        if rng.random() < 0.15:
            members.append(b'"%b":%b' % (name, rng.choice(values)))
    rng.shuffle(members)
    body = b"{" + (gap + b",").join(members) + gap + b"}"
    path = rng.choice(["/v1/batch", "/v1/batch", "/v1/batch/", "/v1/b", "/v1/import"])
    request = Input(number, slot, "batch", "POST", path, body=body)
    if None not in known:
        request.known = [expected for expected in known if expected is not None]
    _give_key(rng, request)
    _encode(rng, request)
    return request


# What stands beside `batch`: whatever it is, it changes no event for the worse.
_OUTER: dict[bytes, list[bytes]] = {
    b"sentAt": [b'"2026-11-22T12:00:00Z"', b"null", b'"soon"', b"5", b"{}"],
    b"context": [b"null", b'{"locale":"fi"}', b'{"library":{"name":"l"}}', b"[]", b'"x"', b'{"traits":{"email":"a@b"}}',
                 b'{"consent":["analytics"]}', b'{"page":5,"device":{"id":1}}'],
    b"integrations": [b"{}", b'{"All":true}', b"[[[]]]", b'"\\ud800"'],
    b"metadata": [b"1e999", b"-0.0", b"NaN", b'"}],"'],
    b"\\u0062atch2": [b"[]"],
}  # fmt: skip


def _single(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    raw, expected = rng.choice([_good, _bad, _anything])(rng, ids)
    request = Input(
        number, slot, "single", "POST", rng.choice(["/v1/track", "/v1/t", "/v1/page", "/v1/alias/"]), body=raw
    )
    # The address says the type, and what is no object is refused as a whole.
    otherwise = ("missing_type", "unknown_type", "not_an_object", "invalid_json")
    if request.path in ("/v1/track", "/v1/t") and expected is not None and expected.code not in otherwise:
        request.known = [expected]
    _give_key(rng, request)
    _encode(rng, request)
    return request


def _pixel(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    request = Input(
        number, slot, "pixel", rng.choice(["GET"] * 9 + ["HEAD"]), rng.choice(["/v1/pixel.gif", "/v1/pixel/track"])
    )
    fields: list[tuple[str, Any]] = [("writeKey", key_of(slot))]
    kind = rng.randrange(4)
    if kind == 0:
        fields += [
            ("event", "product_viewed"),
            ("userId", "u"),
            ("messageId", ids),
            ("p.product_id", ids),
            ("p.price", "1.5"),
        ]
        request.known = [Known(ids, None, {"product_id": ids, "price": 1.5})]
    elif kind == 1:
        raw, expected = rng.choice([_good, _bad, _anything])(rng, ids)
        text = rng.choice([base64.b64encode, base64.urlsafe_b64encode])(raw).decode()
        fields.append(("data", text if rng.random() < 0.5 else text.rstrip("=")))
        if expected is not None and expected.code is None:
            request.known = [expected]
    else:
        for _ in range(rng.randrange(6)):
            name = rng.choice(_NAMES)
            fields.append((rng.choice(["", "p.", "p.", "data"]) + name, rng.choice(_TEXTS)))
    rng.shuffle(fields)
    request.query = urlencode(fields, errors="surrogatepass").encode()
    if rng.random() < 0.1 and kind > 1:
        request.query = _bent(rng, request.query)
    if request.method == "HEAD":
        request.known = []
    return request


def _consent(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    """A decision about consent: one that is counted, one that says more or less than that, or anything."""
    request = Input(number, slot, "consent", "POST", "/v1/consent")
    ping: dict[str, Any] = {"decision": rng.choice(_DECISIONS)}
    if rng.random() < 0.5:
        ping["day"] = rng.choice(_DAYS)
    request.known = [Known(None, None, {"decision": ping["decision"]})]
    kind = rng.randrange(10)
    if kind < 3:
        ping |= rng.choice(_NO_PINGS)
        request.known = [Known(None, "invalid_ping")]
    elif kind == 3:
        ping[rng.choice(["decision", "day", "writeKey", *_NAMES])] = _value(rng, 3)
        request.known = None
    request.body = _written(rng, ping, odd=kind == 3)
    if kind == 4:
        request.body = rng.choice([b"", b"{}", b"null", b"[]", b'"granted"', b"{", b'{"decision":}', b"\xff"])
        request.known = [Known(None, "invalid_ping")]
    _give_key(rng, request)
    _encode(rng, request)
    if request.known is not None and request.known[0].code is not None:  # it is still what it was: refused as a whole
        request.known, request.status = None, 400
    return request


_DECISIONS = ["granted", "refused", "withdrawn"]
# Of any day: what is too far off is counted today.
_DAYS: list[Any] = [None, "2026-11-22", "2026-02-28", "0001-01-01", "9999-12-31"]
_NO_PINGS: list[dict[str, Any]] = [
    *({"decision": other} for other in ("Granted", "", "denied", None, True, 1, ["granted"], {"granted": 1})),
    *({"day": other} for other in ("yesterday", "2026-02-30", "2026-11-22T12:00:00Z", "", 20261122, [], True)),
    *({name: "u1"} for name in ("userId", "anonymousId", "messageId", "event", "sessionId", "decisions", "")),
    *({"context": {"ip": "192.0.2.1"}}, {"properties": {"decision": "granted"}}, {"traits": {"email": "a@b"}}),
    {"writeKey": 5},
]


def _webhook(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    payload: Any = {"id": ids, "kind": "sale", "user": "u", "lines": [{"sku": ids, "price": "1.50"}]}
    request = Input(number, slot, "webhook", "POST", f"/v1/webhook/w{slot}")
    if rng.random() < 0.5:
        for _ in range(rng.randint(1, 3)):
            payload[rng.choice(["id", "kind", "user", "lines", "x"])] = _value(rng, 3)
        if rng.random() < 0.1:
            payload = _value(rng, 3)
    else:
        event_id = f"w{slot}:product_viewed:{ids}:0"
        request.known = [Known(event_id, None, {"product_id": ids, "price": 1.5})]
    request.body = json.dumps(payload).encode("utf-8", "surrogatepass")
    kind = rng.randrange(10)
    if kind == 0:
        request.body, request.known = _bent(rng, request.body), None
    elif kind == 1:
        request.known, request.status = None, 401
    signature = hmac.digest(b"another" if kind == 1 else SECRET, request.body, "sha256").hex().encode()
    request.headers.append((b"x-signature", signature))
    return request


def _elsewhere(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    path = rng.choice(
        ["/", "/v1", "/v1/", "/v1/batch/x", "/v1/webhook/", "/v1/webhook/none", "/healthz", "/readyz", "//v1/batch",
         "/v1/openapi.json", "/v1/%62atch", "/v1/consent/", "/v1/consent/x", "/v1/pixel", "/v1/pixel.gif/x", "/\ufffd"]
    )  # fmt: skip
    method = rng.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "X"])
    return Input(number, slot, "elsewhere", method, path, b"writeKey=" + key_of(slot).encode(), body=b"{}")


def _other_method(rng: random.Random, number: int, slot: int, ids: str) -> Input:
    request = rng.choice([_batch, _batch, _consent])(rng, number, slot, ids)
    request.method = rng.choice(["GET", "PUT", "HEAD", "OPTIONS", "DELETE"])
    request.kind, request.known, request.status = "method", None, 204 if request.method == "OPTIONS" else 405
    return request


_MAKERS = [_batch, _single, _pixel, _webhook, _consent, _elsewhere, _other_method]
_WEIGHTS = [50, 14, 13, 11, 8, 2, 2]


def _give_key(rng: random.Random, request: Input) -> None:
    key = key_of(request.slot).encode()
    kind = rng.randrange(20)
    if kind < 8:
        request.headers.append((b"authorization", b"Basic " + base64.b64encode(key + rng.choice([b"", b":", b":x"]))))
    elif kind < 12:
        request.headers.append((b"authorization", rng.choice([b"Bearer ", b"bearer ", b"BEARER "]) + key))
    elif kind < 18:
        request.query = rng.choice([b"", b"a=b&", b"%ff=%ff&"]) + b"writeKey=" + key
    elif kind == 18:  # none: the body is read, and may be refused for itself
        request.known = None
        request.headers.append((b"authorization", rng.choice([b"\xff", b"Digest x", b""])))
    else:
        request.known, request.status = None, 401
        wrong = [b"Basic", b"Basic !", b"Bearer", b"Basic /////w==", b"Bearer key-\xff", b"Basic " + key + b"\xff"]
        request.headers.append((b"authorization", rng.choice(wrong)))


def _encode(rng: random.Random, request: Input) -> None:
    kind = rng.randrange(20)
    if kind < 3:
        request.body = gzip.compress(request.body, 1, mtime=0)
        if rng.random() < 0.7:
            request.headers.append((b"content-encoding", rng.choice([b"gzip", b"GZIP", b" gzip ", b"x-gzip"])))
    elif kind == 10:
        request.body = zlib.compress(request.body, 1)
        request.headers.append((b"content-encoding", b"deflate"))
    elif kind == 11:
        half = len(request.body) // 2
        request.body = zstd.compress(request.body[:half], 1) + zstd.compress(request.body[half:], 1)
        if rng.random() < 0.5:
            request.headers.append((b"content-encoding", b"zstd"))
    elif kind == 12 and rng.random() < 0.3:
        packed_body = rng.choice([zstd.compress(request.body, 1), zlib.compress(request.body, 1)])
        request.headers.append((b"content-encoding", rng.choice([b"zstd", b"deflate"])))
        request.body, request.known = _bent(rng, packed_body), None
    elif kind == 3:
        text = request.body
        data = quote(text) if rng.random() < 0.5 else quote(base64.b64encode(text))
        request.body = b"data=" + data.encode() + rng.choice([b"", b"&v=1"])
    elif kind == 4:
        request.known = None
        lying = rng.choice([b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"\xff", b"compress", b"identity", b""])
        request.headers.append((b"content-encoding", lying))
        if rng.random() < 0.5:
            packed: list[Callable[[bytes], bytes]] = [zlib.compress, gzip.compress, base64.b64encode]
            request.body = rng.choice(packed)(request.body)
    elif kind < 8:
        request.body, request.known = _bent(rng, request.body), None
        if rng.random() < 0.2:
            request.body = gzip.compress(request.body, 1, mtime=0)
    elif kind == 8 and rng.random() < 0.3:
        request.body, request.known = _bent(rng, gzip.compress(request.body, 1, mtime=0)), None
    elif kind == 9 and rng.random() < 0.02:
        request.body, request.known = _large(rng), None


def _large(rng: random.Random) -> bytes:
    size = rng.choice([MAX_BODY_BYTES - 20, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 3 * MAX_BODY_BYTES])
    return rng.choice(
        [
            b'{"batch":[' + b"[" * (size // 2),
            b'{"batch":[' + b"{}," * (size // 3) + b"{}]}",
            b'{"batch":[{"a":"' + b"\\" * size + b'"}]}',
            b" " * size + b"{}",
            gzip.compress(b"[" * (20 * size)),
            b'"' * size,
        ]
    )


def _bent(rng: random.Random, raw: bytes) -> bytes:
    """A few bytes that are not as they were."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(raw) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
        elif kind == 1:
            raw = raw[:at]
        elif kind == 2:
            raw = raw[:at] + rng.choice(_PIECES) + raw[at:]
        elif kind == 3:
            end = min(len(raw), at + rng.randrange(40))
            raw = raw[:at] + raw[end:]
        elif kind == 4:
            end = min(len(raw), at + rng.randrange(40))
            raw = raw[:end] + raw[at:end] + raw[end:]
        elif kind == 5:
            raw = raw[at:]
        else:
            raw = rng.choice([b"\xef\xbb\xbf", b"\x1f\x8b", b"data=", b" ", b"\x00"]) + raw
    return raw


_PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\n", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\\u"),
    *(b"\\ud800", b"NaN", b"Infinity", b"1e999", b"null", b'"batch":', b'"writeKey":"x",', b"//", b"[[[[", b"0", b"-"),
    *(b'"type":"track",', b'"messageId":"x",', b"{}", b"\xe2\x80\xa8", b"data=", b"%", b"&"),
]


def _strange_headers(rng: random.Random) -> Headers:
    found: Headers = []
    for _ in range(rng.randint(1, 3)):
        name, values = rng.choice(_STRANGE)
        found.append((name, rng.choice(values)))
    return found


# None of these may change what becomes of the events.
_STRANGE: list[tuple[bytes, list[bytes]]] = [
    (
        b"content-type",
        [b"", b"text/plain", b"application/json; charset=utf-16", b"multipart/form-data", b"\xff\xff", b";;"],
    ),
    (
        b"x-polku-sent-at",
        [b"", b"now", b"2026-11-22T12:00:00Z", b"\xff", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z"],
    ),
    (b"origin", [b"null", b"https://a.example", b"\xff", b"", b"*", b"https://" + b"a" * 3000]),
    (b"cookie", [b"polku_id=a-1", b"polku_id=", b"=;=;", b"\xff=\xff", b"polku_id=<>; polku_id=b"]),
    (b"content-length", [b"5", b"-1", b"x", b"\xff"]),
    (b"user-agent", [b"", b"\xff\xfe", b"Mozilla/5.0 " + b"x" * 3000]),
    (b"access-control-request-headers", [b"authorization", b"\xff"]),
    (b"x-write-key", [b"wrong", b"\xff"]),
    (b"x-forwarded-for", [b"192.0.2.1, 10.0.0.1", b"\xff", b"::1"]),
    (b"accept", [b"*/*"]),
    (b"expect", [b"100-continue"]),
]
