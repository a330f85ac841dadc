"""Bytes of documents: some that fit a plan, each with its neighbours of one change; some that are anything at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from hypothesis import strategies as st

from .plans import NAMES, NOT_QUITE_JSON, NUMBERS, OTHERS, TEXTS, Properties, Token, edges, objects

_EVERY = 6
"""Of the edges of each property only every so-maniest is tried with one document, so that there are more plans."""

_BODIES = (
    *(b"", b" \n", b"null", b" null ", b"[]", b'"a"', b"5", b"true", b"{", b"{}}", b"\xef\xbb\xbf{}", b"{} {}"),
    *(b'{"a":1,}', b"{'a':1}", b'{"a":01}', b'{"a":+1}', b'{"a":.5}', b'{"a":1.}', b'{"a":"\t"}', b'{"\\u0061":1}'),
)
_DAMAGE = (b"\xff", b'"', b"\\ud800", b"\n", b"\x00", b"}", b",", b"\\u12", b"1", b"e", b"-", b".", b"/**/")

_scalars = st.none() | st.booleans() | st.integers(-6, 6) | st.sampled_from(TEXTS) | st.text(max_size=4)
_anything = st.recursive(
    _scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=5,
)


def bases(planned: Properties) -> st.SearchStrategy[list[Any]]:
    """Three values to start from: objects that fit and, now and then, anything."""
    fits = objects(planned)
    return st.lists(st.one_of(*[fits] * 9, _anything), min_size=3, max_size=3)


def around(bases: list[Any], planned: Properties) -> Iterator[bytes]:
    """The values, what is one change away from the first, and what is between them. The same for the same values."""
    base = bases[0]
    raw = written(base)
    turn = crc32(raw)
    yield from map(written, bases)
    yield written(base, ascii_only=True)
    yield raw.replace(b": ", b" :\n\t")
    yield _BODIES[turn % len(_BODIES)]
    at = turn % (len(raw) + 1)
    yield raw[:at] + _DAMAGE[turn % len(_DAMAGE)] + raw[at + turn % 2 :]
    if isinstance(base, dict):
        yield from map(written, _changed(base, planned, turn))
        yield from _with_more(base, turn)
        for other in bases[1:]:
            for name in other if isinstance(other, dict) else ():
                yield written({**base, name: other[name]})


def _changed(base: dict[str, Any], planned: Properties, turn: int) -> Iterator[dict[str, Any]]:
    """The object with one member removed, null or at an edge of its property; inside its members, too."""
    for name in base:
        yield {other: value for other, value in base.items() if other != name}
        yield {**base, name: None}
    for name, prop in planned.items():
        for value in (*edges(prop)[turn % _EVERY :: _EVERY], OTHERS[turn % len(OTHERS)]):
            yield {**base, name: value}
        inner, value = prop.items or prop, base.get(name)
        if isinstance(value, dict):
            for changed in _changed(value, inner.fields, turn):
                yield {**base, name: changed}
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for changed in _changed(value[0], inner.fields, turn):
                yield {**base, name: [*value[1:], changed]}


def _with_more(base: dict[str, Any], turn: int) -> Iterator[bytes]:
    """The object with something in it that no plan knows, or with a member twice."""
    depth = 97 + turn % 7
    yield written({"deep": Token("[" * depth + "]" * depth), **base})
    yield written({**base, "more": Token(NOT_QUITE_JSON[turn % len(NOT_QUITE_JSON)])})
    yield written({**base, "more": Token(NUMBERS[turn % len(NUMBERS)])})
    yield written({"more": [base], **dict(reversed(base.items()))})
    raw = written(base).removesuffix(b"}")
    for name, value in list(base.items())[:1]:
        for again in (value, None, 7):
            yield raw + b", " + written({name: again}).removeprefix(b"{")


def written(value: Any, *, ascii_only: bool = False) -> bytes:
    """A value as JSON, with its tokens as they are."""
    return _text(value, ascii_only).encode("utf-8", "surrogatepass")


def _text(value: Any, ascii_only: bool) -> str:
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, dict):
        pairs = (
            f"{json.dumps(name, ensure_ascii=ascii_only)}: {_text(item, ascii_only)}" for name, item in value.items()
        )
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_text(item, ascii_only) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)
