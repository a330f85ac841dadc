"""Properties as a plan may have them, documents that fit them, and the edges on which readers may differ."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from polku_schemas import Problem, Property
from polku_schemas.check import build_checker

Properties = dict[str, Property]


class Token(str):
    """A JSON value as it is to stand in the document, for what Python's writer would not write so."""


NAMES = ("a", "b", "c", "d", "e")
SCALARS = ("string", "string", "date-time", "integer", "number", "boolean", "date", "uuid")
FORMATS = ("email", "uri", "hostname", "ipv4", "ipv6")
PATTERNS = (
    # These mean the same to every engine, up to a line break at the end; the others depend on tables of Unicode.
    *("^[A-Z]{2}$", "^[a-z0-9_]+$", "@", "ab|cd", "^(?:EUR|SEK)$", "^(a+)b$"),
    *(r"^\d{1,3}$", r"^\w+$", r"^.{2,4}$", r"\bx\b", r"^\S+$"),
)

NUMBERS = (
    *("0", "-0", "-0.0", "1", "2.0", "2.5", "1e2", "1E+2", "-3", "0.1", "5e-324", "1e-400", "1e300", "-1e308"),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"),
    *("9223372036854775807.0", "9.3e18", "18446744073709551615", "18446744073709551616", "1" * 30),
    *("9007199254740991", "9007199254740992", "9007199254740993", "9007199254740994", "-9007199254740993"),
)
NOT_QUITE_JSON = ("NaN", "Infinity", "-Infinity", "1e400", "1" * 400, r'"\ud800"', r'"a\ud83d"', r'"\udc00\ud800"')
TEXTS = (
    *("", "x", "ab", "xy z", "EUR", "FI", "FI\n", "aab", "a@b", "123", "xxxxxxx"),
    *("١٢", "é", "😀", "e\u0301", "\x00", "a\u2028", "\x1c"),
)
DATES = ("2026-01-31", "2024-02-29", "2026-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2026-1-31", "20260131")
DATE_TIMES = (
    *("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456789+02:00", "2026-01-31t12:00:00z", "2026-01-31 12:00:00Z"),
    *("2026-01-31T12:00:00", "2026-01-31T12:00Z", "2026-01-31T24:00:00Z", "2026-01-31T12:00:00+0530"),
    *("2026-06-30T23:59:60Z", "2016-12-31T23:59:60Z", "2017-01-01T00:59:60+01:00", "2026-01-31T12:00:60Z"),
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00"),
    *("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z", "2026-01-31T12:00:00-00:00"),
    *(
        "2026-01-31T12:00:00+24:00",
        "2026-02-30T12:00:00Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31",
        "2026-01-31 12:00:00",
    ),
)
_UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
UUIDS = (
    _UUID,
    _UUID.upper(),
    _UUID.replace("-", ""),
    _UUID.replace("11d0-", "11d0"),
    f"{{{_UUID}}}",
    f"urn:uuid:{_UUID}",
)
ADDRESSES = {
    "email": (
        "a@b",
        "a.b+c@example.com",
        "a..b@c",
        '"a b"@c',
        "a@[1.2.3.4]",
        "ä@b",
        "a@xn--bcher-kva.de",
        "a@xn--a",
        "a@b\n",
    ),
    "uri": (
        "https://example.com/a?b=c#d",
        "urn:a:b",
        "http://[::1]:80/",
        "/a",
        "a:",
        "http://ä/",
        "http://x/%zz",
        "x:[]",
    ),
    "hostname": ("example.com", "a", "-a", "a_b", "a" * 64, "xn--bcher-kva.de", "xn--a", "ab--c", "a.", "1.2", "é"),
    "ipv4": ("192.0.2.1", "255.255.255.256", "01.2.3.4", "1.2.3", "1.2.3.4 ", "1.2.3.4\n", "١.2.3.4"),
    "ipv6": ("::", "2001:db8::1", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1::2::3", "::1%eth0", ":1"),
}
_TOKENS = tuple(map(Token, (*NUMBERS, *NOT_QUITE_JSON)))
OTHERS = (True, False, 0, 1, 2.5, "1", "true", [], [None], [1], ["x"], {}, {"a": 1}, *_TOKENS[::7], *_TOKENS[-8:])
"""A little of every type."""


def edges(prop: Property) -> list[Any]:
    """Values around the edges of what a property takes, on both sides of them."""
    if prop.items is not None:
        members = edges(prop.items)
        lengths = {
            length for bound in (prop.min_length, prop.max_length) if bound is not None for length in (bound, bound + 1)
        }
        return [*([member] for member in members), *(members[:1] * length for length in lengths)]
    if prop.type == "object":
        return [{name: value} for name, field in prop.fields.items() for value in edges(field)]
    if prop.enum:
        return [*prop.enum, *(Token(f"{member}.0") for member in prop.enum if isinstance(member, int)), *TEXTS]
    if prop.type in ("integer", "number"):
        bounds = [bound for bound in (prop.minimum, prop.maximum) if bound is not None]
        return [*(bound + step for bound in bounds for step in (-1, 0, 0.5, 1)), *_TOKENS]
    near = {"date": DATES, "date-time": DATE_TIMES, "uuid": UUIDS, "boolean": (True, False)}.get(prop.type, TEXTS)
    return [*ADDRESSES.get(prop.format or "", ()), *near]


# Plans ------------------------------------------------------------------------------------------------------------

_texts = st.sampled_from(TEXTS) | st.text(max_size=6)
_numbers = st.integers(-5, 5) | st.sampled_from((2**53 - 1, 2**53 + 1, -(2**53) - 1)) | st.floats(-10, 10, width=32)
_integers = st.integers(-3, 3) | st.sampled_from((2**63 - 1, -(2**63), 2**53 + 1))


@st.composite
def properties(draw: st.DrawFn) -> Properties:
    """A few properties, as the reader of plans would let them through."""
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    return {name: draw(_member(name, (*SCALARS, "array", "object"))) for name in chosen}


@st.composite
def _member(draw: st.DrawFn, name: str, kinds: tuple[str, ...]) -> Property:
    prop = replace(draw(_typed(name, kinds)), required=draw(st.booleans()), nullable=draw(st.booleans()))
    if prop.type in SCALARS and not prop.required and draw(st.booleans()):
        default = draw(fitting(prop).filter(lambda value: not isinstance(value, Token)))
        if not isinstance(build_checker({name: prop}, "$")(json.dumps({name: default}).encode()), Problem):
            return replace(prop, default=default)
    return prop


@st.composite
def _typed(draw: st.DrawFn, name: str, kinds: tuple[str, ...]) -> Property:
    prop = msgspec.convert({"name": name, "type": draw(st.sampled_from(kinds)), "description": ""}, Property)
    if prop.type == "array":
        shortest, longest = draw(_bounds(st.integers(0, 3)))
        items = draw(_typed(name, (*SCALARS, "object")))
        return replace(prop, items=items, min_length=shortest, max_length=longest)
    if prop.type == "object":
        chosen = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
        return replace(prop, fields={inner: draw(_member(inner, SCALARS)) for inner in chosen})
    if prop.type in ("string", "integer") and draw(st.integers(0, 3)) == 0:
        members = _texts if prop.type == "string" else _integers
        return replace(prop, enum=tuple(draw(st.lists(members, min_size=1, max_size=4, unique=True))))
    if prop.type == "string":
        wanted, pattern = draw(st.none() | st.sampled_from(FORMATS)), draw(st.none() | st.sampled_from(PATTERNS))
        shortest, longest = draw(_bounds(st.integers(0, 6)))
        if wanted is not None and draw(st.integers(0, 4)):
            shortest = longest = pattern = None  # together they leave next to nothing that fits
        return replace(prop, min_length=shortest, max_length=longest, format=wanted, pattern=pattern)
    if prop.type in ("integer", "number"):
        low, high = draw(_bounds(_integers if prop.type == "integer" else _numbers))
        return replace(prop, minimum=low, maximum=high)
    return prop


@st.composite
def _bounds(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[Any, Any]:
    """Two bounds in order; none of them, one or both."""
    low, high = sorted((draw(values), draw(values)))
    return draw(st.sampled_from((None, low))), draw(st.sampled_from((None, high)))


# Documents that fit -----------------------------------------------------------------------------------------------

_label = st.from_regex("[A-Za-z0-9](?:[A-Za-z0-9-]{0,5}[A-Za-z0-9])?", fullmatch=True)
_hosts = st.lists(_label, min_size=1, max_size=3).map(".".join)
_local, _path = (
    st.from_regex(r"[a-z+_']{1,5}(?:\.[a-z]{1,3})?", fullmatch=True),
    st.from_regex("[a-z/?%41]*", fullmatch=True),
)
_ADDRESSES: dict[str, st.SearchStrategy[str]] = {
    "email": st.builds("{}@{}".format, _local, _hosts),
    "uri": st.builds("{}://{}/{}".format, st.sampled_from(("http", "x-y")), _hosts, _path),
    "hostname": _hosts,
    "ipv4": st.ip_addresses(v=4).map(str),
    "ipv6": st.ip_addresses(v=6).map(str),
}
_PATTERNS = {pattern: st.from_regex(pattern) for pattern in PATTERNS}
_offsets = st.sampled_from(("Z", "z", "+00:00", "+02:00", "-11:30"))
_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "date": st.dates().map(str),
    "date-time": st.builds(lambda when, offset: when.isoformat() + offset, st.datetimes(), _offsets),
    "uuid": st.uuids().map(str),
}


def objects(planned: Properties) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that fit most of the time."""
    members = {
        name: fitting(prop) if prop.required and not prop.nullable else fitting(prop) | st.none()
        for name, prop in planned.items()
    }
    required = {name: member for name, member in members.items() if planned[name].required}
    optional = {name: member for name, member in members.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def fitting(prop: Property) -> st.SearchStrategy[Any]:
    """Values that fit a property most of the time."""
    return _fitting(msgspec.json.encode(prop))  # a property holds a dictionary: it has no hash


@cache
def _fitting(encoded: bytes) -> st.SearchStrategy[Any]:
    prop = msgspec.json.decode(encoded, type=Property)
    if prop.items is not None:
        shortest = prop.min_length or 0
        longest = shortest + 2 if prop.max_length is None else min(shortest + 2, prop.max_length)
        return st.lists(fitting(prop.items), min_size=shortest, max_size=longest)
    if prop.type == "object":
        return objects(prop.fields)
    if prop.enum:
        return st.sampled_from(prop.enum)
    if prop.type == "string":
        if prop.format is not None:
            return _ADDRESSES[prop.format]
        if prop.pattern is not None:
            return _PATTERNS[prop.pattern]
        shortest = prop.min_length or 0
        return st.text(min_size=shortest, max_size=shortest + 3 if prop.max_length is None else prop.max_length)
    if prop.type == "integer":
        low = -(2**63) if prop.minimum is None else int(prop.minimum)
        whole = st.integers(low, 2**63 - 1 if prop.maximum is None else int(prop.maximum))
        return whole | whole.map(lambda value: Token(f"{value}.0"))
    if prop.type == "number":
        bounds = (None if bound is None else bound + 0.0 for bound in (prop.minimum, prop.maximum))  # -0.0 becomes 0.0
        return st.floats(*bounds, allow_nan=False, allow_infinity=False)
    return _KINDS[prop.type]
