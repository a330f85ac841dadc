"""What the values of one name look like, gathered one by one in bounded memory."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeVar

from polku_analytics.contract.shapes import SHAPES, shapes_of
from polku_schemas.tolerant import INT64_MAX, INT64_MIN

Family = Literal[
    "text",
    "number",
    "boolean",
    "object",
    "list of texts",
    "list of numbers",
    "list of booleans",
    "list of objects",
    "empty list",
    "other",
]
"""What kind of value a JSON value is. A property has values of one family; an empty list goes with any list.

`other` is what the plan's format has no type for: mixed lists, lists with null, lists and objects inside objects.
"""

MAX_DISTINCT: Final = 1_000
"""Different values that are told apart and counted, for each name."""

MAX_COUNTED_TEXT: Final = 200
"""Longer texts are no values that anybody would list; they are not kept."""

MAX_FIELDS: Final = 500
"""Names in one object; where there are more, they are values rather than names."""


class Profile:
    """The values that one name had."""

    __slots__ = (
        "distinct",
        "families",
        "fields",
        "high",
        "is_integral",
        "is_whole",
        "items",
        "left_out",
        "longest",
        "low",
        "many",
        "nulls",
        "objects",
        "shapes",
        "shortest",
    )

    def __init__(self) -> None:
        self.families: Counter[Family] = Counter()
        self.nulls = 0
        self.distinct: Counter[str | int | float] = Counter()
        """How often each text or number came, as long as there are not too many."""
        self.many = False
        """Whether there are more than `distinct` holds."""
        self.is_whole = True
        """Whether all numbers are written as integers, of 64 bits."""
        self.is_integral = True
        """The same, or written as `2.0`, which an integer property takes too."""
        self.low: int | float | None = None
        self.high: int | float | None = None
        self.shortest: int | None = None
        """Characters of a text, items of a list."""
        self.longest: int | None = None
        self.shapes: frozenset[str] | None = None
        """The shapes that all texts have; None before the first."""
        self.items: Profile | None = None
        """The scalars in lists."""
        self.fields: dict[str, Profile] = {}
        """The members of objects, or of the objects in lists."""
        self.objects = 0
        """How many such objects there were."""
        self.left_out = 0
        """Members that were not looked at because there are too many names."""

    @classmethod
    def of(cls, profiles: Iterable[Profile]) -> Profile:
        """The values of several names as if they were one's; what is inside objects is left out."""
        whole = cls()
        for one in profiles:
            whole.families += one.families
            whole.nulls += one.nulls
            for value, count in one.distinct.items():
                whole._count(value, count)
            whole.many |= one.many
            whole.is_whole &= one.is_whole
            whole.is_integral &= one.is_integral
            whole.low, whole.shortest = _least(whole.low, one.low), _least(whole.shortest, one.shortest)
            whole.high, whole.longest = _most(whole.high, one.high), _most(whole.longest, one.longest)
            if one.shapes is not None:
                whole.shapes = one.shapes if whole.shapes is None else whole.shapes & one.shapes
            if one.items is not None:
                whole.items = one.items if whole.items is None else cls.of([whole.items, one.items])
        return whole

    @property
    def values(self) -> int:
        """How many values there are that are not null."""
        return self.families.total()

    @property
    def family(self) -> Family | None:
        """The family of most values; the first in the alphabet if several are as frequent."""
        if not self.families:
            return None
        lists = [family for family in self.families if family.startswith("list")]
        counts = {family: count for family, count in self.families.items() if family != "empty list" or not lists}
        return min(counts, key=lambda family: (-counts[family], family))

    def add(self, value: Any, depth: int = 0) -> None:
        """Take in a JSON value. Objects are looked into at the top and in lists at the top, not deeper."""
        if value is None:
            self.nulls += 1
        elif isinstance(value, str):
            self.families["text"] += 1
            self._add_text(value)
        elif isinstance(value, bool):
            self.families["boolean"] += 1
        elif isinstance(value, int | float):
            self.families[_scalar_family(value) or "other"] += 1
            self._add_number(value)
        elif isinstance(value, list):
            self.families["other" if depth else self._add_list(value)] += 1
        elif depth:
            self.families["other"] += 1
        else:
            self.families["object"] += 1
            self.add_object(value)

    def add_object(self, members: dict[str, Any], depth: int = 1) -> None:
        """Take in the members of an object, each under its name."""
        self.objects += 1
        for name, value in members.items():
            field = self.fields.get(name)
            if field is None:
                if len(self.fields) >= MAX_FIELDS:
                    self.left_out += 1
                    continue
                field = self.fields[name] = Profile()
            field.add(value, depth)

    def _add_text(self, text: str) -> None:
        if text in self.distinct:  # measured and looked at before: most texts are repeated
            self.distinct[text] += 1
            return
        self._measure(len(text))
        if self.shapes is None:
            self.shapes = shapes_of(text)
        elif self.shapes:
            self.shapes = frozenset(shape for shape in self.shapes if SHAPES[shape](text))
        if len(text) <= MAX_COUNTED_TEXT:
            self._count(text)
        else:
            self.many = True

    def _add_number(self, number: int | float) -> None:
        if not isinstance(number, int) or not INT64_MIN <= number <= INT64_MAX:
            self.is_whole = False
            self.is_integral &= isinstance(number, float) and number.is_integer() and abs(number) < INT64_MAX
        self.low, self.high = _least(self.low, number), _most(self.high, number)
        self._count(number)

    def _add_list(self, values: list[Any]) -> Family:
        self._measure(len(values))
        if not values:
            return "empty list"
        if all(isinstance(value, dict) for value in values):
            for value in values:
                self.add_object(value)
            return "list of objects"
        items = self.items or Profile()
        kinds = {_scalar_family(value) for value in values}
        if len(kinds) > 1 or None in kinds:
            return "other"
        self.items = items
        for value in values:
            items.add(value, 1)
        return _LISTS[kinds.pop()]

    def _measure(self, length: int) -> None:
        self.shortest, self.longest = _least(self.shortest, length), _most(self.longest, length)

    def _count(self, value: str | int | float, times: int = 1) -> None:
        if value in self.distinct or len(self.distinct) < MAX_DISTINCT:
            self.distinct[value] += times
        else:
            self.many = True


_Number = TypeVar("_Number", int, int | float)


def _least(one: _Number | None, other: _Number | None) -> _Number | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: _Number | None, other: _Number | None) -> _Number | None:
    return other if one is None else one if other is None else max(one, other)


_LISTS: Final[dict[str | None, Family]] = {
    "text": "list of texts",
    "number": "list of numbers",
    "boolean": "list of booleans",
}


def _scalar_family(value: Any) -> Literal["text", "number", "boolean"] | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number" if abs(value) <= sys.float_info.max else None
    return "text" if isinstance(value, str) else None
