"""Makes a call of a row: which column is which member of the event, and what its texts become. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Literal

import msgspec

from polku.event import Record
from polku.send.casts import Cast, Uncastable, cast_value, moment
from polku.send.problem import Problem

Row = Mapping[str, Any]
TypesOf = Callable[[str, str | None], Mapping[str, str]]
"""Types of the properties of an event, by the call and the event's name."""

TEXTS = ("event", "user_id", "anonymous_id", "group_id", "previous_id", "name", "category")
OBJECTS = ("properties", "traits", "context")


class Constant(msgspec.Struct, frozen=True):
    """The same value for each row."""

    value: Any


class Column(msgspec.Struct, frozen=True):
    """A value of the row, and what is done with it, in this order."""

    name: str
    cast: Cast | None = None
    divide: float | None = None
    case: Literal["upper", "lower"] | None = None
    default: Any = None


Value = Constant | Column


class RowMapping(msgspec.Struct, frozen=True):
    """How rows become events."""

    call: str = "track"
    texts: dict[str, Value] = {}
    """Members of the record that are texts, by their names there."""
    id: Value | None = None
    timestamp: Column | None = None
    objects: dict[str, dict[str, Value]] = {}
    """Members of the record that are objects, name by name …"""
    rest: str | None = "properties"
    """… and the one that all columns go into that are not named anywhere."""
    casts: dict[str, Cast] = {}
    """What becomes of a property (or trait) that has no cast of its own."""

    def named_columns(self) -> frozenset[str]:
        """Columns with a place of their own: no part of the rest."""
        values = [*self.texts.values(), self.id, self.timestamp]
        values += [value for members in self.objects.values() for value in members.values()]
        return frozenset(value.name for value in values if isinstance(value, Column))

    def needed_columns(self) -> list[str]:
        """Columns that a table must have, in the order of the mapping: all that are named, but those with a default."""
        values = [*self.texts.values(), self.id, self.timestamp]
        values += [value for members in self.objects.values() for value in members.values()]
        names = [value.name for value in values if isinstance(value, Column) and value.default is None]
        if self.rest is not None and self.rest not in self.objects:
            names += self.casts
        return list(dict.fromkeys(names))


class Mapper:
    """A mapping at work; `types_of` is the plan's word on types, for what the mapping leaves open."""

    def __init__(self, mapping: RowMapping, types_of: TypesOf | None = None) -> None:
        self._mapping = mapping
        self._types_of = types_of
        self._named = mapping.named_columns()
        self.needed_columns = mapping.needed_columns()
        self._casts: dict[str | None, Mapping[str, Cast]] = {}

    def record(self, row: Row) -> Record | Problem:
        """The call that a row is; its message id is None where no column has one."""
        mapping = self._mapping
        record = Record(type=mapping.call)
        texts = mapping.texts if mapping.id is None else {**mapping.texts, "message_id": mapping.id}
        for name, value in texts.items():
            try:
                found = _found(value, row)
            except Uncastable as error:
                return Problem("wrong_type", f"$.{name}", str(error))
            if found is not None:
                setattr(record, name, found if isinstance(found, str) else _text(found))
        if mapping.timestamp is not None:
            found = _at(row, mapping.timestamp.name)
            if found is not None:
                try:
                    record.timestamp = moment(found, mapping.timestamp.cast or _ISO)
                except Uncastable as error:
                    return Problem("invalid_time", "$.timestamp", str(error))
        casts = self._casts_of(record.event)
        for member, values in mapping.objects.items():
            made = self._object(member, values, row, casts if member == mapping.rest else {})
            if isinstance(made, Problem):
                return made
            setattr(record, member, made)
        if mapping.rest is not None and mapping.rest not in mapping.objects:
            rest = {name: value for name, value in row.items() if name not in self._named and value is not None}
            problem = _cast_all(rest, casts, mapping.rest)
            if problem is not None:
                return problem
            setattr(record, mapping.rest, rest)
        return record

    def _object(
        self, member: str, values: dict[str, Value], row: Row, casts: Mapping[str, Cast]
    ) -> dict[str, Any] | Problem:
        made: dict[str, Any] = {}
        for name, value in values.items():
            try:
                found = _found(value, row, casts.get(name))
            except Uncastable as error:
                return Problem("wrong_type", f"$.{member}.{name}", str(error))
            if found is not None:
                made[name] = found
        return made

    def _casts_of(self, event: str | None) -> Mapping[str, Cast]:
        if self._types_of is None:
            return self._mapping.casts
        casts = self._casts.get(event)
        if casts is None:
            planned = self._types_of(self._mapping.call, event)
            casts = {name: Cast(kind, zone=None) for name, kind in planned.items()}  # type: ignore[arg-type]
            casts.update(self._mapping.casts)
            self._casts[event] = casts
        return casts


_ISO = Cast("date-time", zone=UTC)
"""As on the wire: a time without a zone is UTC."""


def _found(value: Value, row: Row, otherwise: Cast | None = None) -> Any:
    """What a row has for a value; None for nothing. Raises Uncastable."""
    if isinstance(value, Constant):
        return value.value
    found = _at(row, value.name)
    if found is None:
        return value.default
    cast = value.cast or otherwise
    if cast is not None:
        found = cast_value(found, cast)
    if value.divide is not None:
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise Uncastable("only a number is divided: say `cast`")
        found = found / value.divide
    if value.case is not None and isinstance(found, str):
        found = found.upper() if value.case == "upper" else found.lower()
    return found


def _at(row: Row, name: str) -> Any:
    """A column; of nested rows also a path with points."""
    if name in row or "." not in name:
        return row.get(name)
    found: Any = row
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _cast_all(values: dict[str, Any], casts: Mapping[str, Cast], member: str) -> Problem | None:
    for name, cast in casts.items():
        if name in values:
            try:
                values[name] = cast_value(values[name], cast)
            except Uncastable as error:
                return Problem("wrong_type", f"$.{member}.{name}", str(error))
    return None


def _text(value: Any) -> Any:
    """Ids are often whole numbers; anything else odd is told by who encodes the event."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
