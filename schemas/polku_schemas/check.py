"""The slow path of validation: says exactly what is wrong with a JSON object, and saves what can be saved.

The fast path (`compile.py`) accepts or raises; what it refuses comes here. This path is more tolerant in ways
that lose nothing: it takes `2.0` for an integer, keeps unplanned keys apart instead of refusing them, and
repairs what `tolerant.py` can repair. It never raises. Single values are `values.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from polku_schemas.model import Property
from polku_schemas.problems import Problem, ProblemCode
from polku_schemas.tolerant import MAX_DEPTH, make_json_safe, read_json
from polku_schemas.values import Fields, Refusal, check_members, fields_of


class Sorted(msgspec.Struct):
    """A JSON object sorted into what the plan knows and what it does not."""

    values: dict[str, Any]
    unplanned: dict[str, Any]
    repaired: bool


class Document(msgspec.Struct):
    """A JSON object as it came: the members that the plan knows, not checked yet, and the others."""

    planned: dict[str, Any]
    unplanned: dict[str, Any]
    """In an object or list of objects of the plan, only the unplanned members, in the same shape."""
    strict: bool
    """Whether it was plain JSON: then all numbers are numbers."""
    repaired: bool


class Checker:
    """Reads and checks JSON objects with some properties. `root` is the path of the object."""

    __slots__ = ("_fields", "_root")

    def __init__(self, properties: Mapping[str, Property], root: str) -> None:
        self._fields = fields_of(properties)
        self._root = root

    def read(self, raw: bytes) -> Document | Problem:
        """Read an object and take it apart. Null and nothing at all count as an empty one."""
        try:
            value, strict, repaired = read_json(raw)
        except UnicodeDecodeError as error:
            return self._problem(ProblemCode.INVALID_UTF8, "UTF-8", f"the byte 0x{raw[error.start]:02x}")
        except json.JSONDecodeError as error:
            came = f"something else at character {error.pos} ({error.msg})"
            return self._problem(ProblemCode.INVALID_JSON, "JSON", came)
        except RecursionError:
            return self._too_deep()
        if value is None:
            value = {}
        if type(value) is not dict:
            # A text here may be the whole object, written as JSON once more: nobody knows what would be repeated.
            return Refusal(ProblemCode.NOT_AN_OBJECT, "an object", value, private=True).problem(self._root)
        unplanned = _take_unplanned(value, self._fields)
        if unplanned:
            try:
                repaired = make_json_safe(unplanned) or repaired
            except RecursionError:
                return self._too_deep()
        return Document(value, unplanned, strict, repaired)

    def check(self, document: Document) -> Sorted | Problem:
        """Check what the plan knows."""
        try:
            values = check_members(document.planned, self._fields)
        except Refusal as refused:
            return refused.problem(self._root)
        return Sorted(values, document.unplanned, document.repaired)

    def _too_deep(self) -> Problem:
        return self._problem(ProblemCode.TOO_DEEP, f"at most {MAX_DEPTH} levels", "more")

    def _problem(self, code: ProblemCode, expected: str, came: str) -> Problem:
        return Problem.of(code, self._root, expected, came)


def build_checker(properties: Mapping[str, Property], root: str) -> Callable[[bytes], Sorted | Problem]:
    """A function that checks the JSON object in some bytes against `properties`.

    `root` is the path of the object.
    """
    checker = Checker(properties, root)

    def check(raw: bytes) -> Sorted | Problem:
        document = checker.read(raw)
        return document if isinstance(document, Problem) else checker.check(document)

    return check


def _take_unplanned(document: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """Take out of an object what the plan does not know, at each level, and hand it back."""
    unplanned: dict[str, Any] = {}
    if not fields.names.issuperset(document):
        unplanned = {name: value for name, value in document.items() if name not in fields.names}
        for name in unplanned:
            del document[name]
    for name, inner in fields.nested.items():
        value = document.get(name)
        if type(value) is dict:
            if rest := _take_unplanned(value, inner):
                unplanned[name] = rest
        elif type(value) is list:
            rests = [_take_unplanned(item, inner) if type(item) is dict else {} for item in value]
            if any(rests):
                unplanned[name] = rests
    return unplanned
