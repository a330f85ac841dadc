"""Request bodies that are rendered once; the ids and microseconds in them are written anew for each request.

A load generator must cost less than what it measures, so this imports nothing that it does not need.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

_ID_HEAD = "01a0b1c2-d3e4-7f50-8a6b-"
_ID_DIGITS = 12
NO_ID = _ID_HEAD + "0" * _ID_DIGITS
"""What stands for the id while a body is made."""
_ID_MARK = '"messageId":"' + _ID_HEAD
_TIME_MARK = '"timestamp":"'
_TIME_DIGITS = 6
# Odd, so that n → n·K mod 2^48 never gives the same id twice; the digits look random, as those of real ids do.
_SPREAD, _ID_MASK = 0x9E3779B97F4B | 1, (1 << 48) - 1


class Template(Struct, frozen=True):
    """One request body and where its ids and microseconds stand."""

    body: bytes
    ids: list[int]
    micros: list[int]


def template(body: bytes) -> Template:
    """Where the ids and microseconds of a body stand."""
    return Template(
        body, _places(body, _ID_MARK.encode()), _places(body, _TIME_MARK.encode(), len("2026-01-01T00:00:00."))
    )


def patched(of: Template, first: int) -> bytes:
    """The body with the ids (and microseconds) number `first`, `first + 1`, …"""
    body = bytearray(of.body)
    number = first
    for place, micros in zip(of.ids, of.micros, strict=True):
        body[place : place + _ID_DIGITS] = b"%012x" % (number * _SPREAD & _ID_MASK)
        body[micros : micros + _TIME_DIGITS] = b"%06d" % (number % 1_000_000)
        number += 1
    return bytes(body)


def save(templates: list[Template], path: Path) -> Path:
    """Keep templates for another process."""
    path.write_bytes(msgspec.msgpack.encode(templates))
    return path


def saved(path: Path) -> list[Template]:
    """What `save` kept."""
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Template])


def _places(body: bytes, mark: bytes, beyond: int = 0) -> list[int]:
    places, at = [], body.find(mark)
    while at >= 0:
        places.append(at + len(mark) + beyond)
        at = body.find(mark, at + 1)
    return places
