"""How properties, traits and the fields of objects differ, each with the constraints in force where it stands."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

import msgspec
from msgspec.structs import replace

from polku_schemas.check import build_checker
from polku_schemas.column_types import merge
from polku_schemas.columns import column_type
from polku_schemas.compare.differences import Difference, DifferenceKind, Subject, difference
from polku_schemas.model import Privacy, Property
from polku_schemas.problems import Problem
from polku_schemas.tolerant import INT64_MAX, INT64_MIN

_PRIVACY_CLASSES: Final = get_args(Privacy)
_ENDLESS: Final = ("string", "number", "array")
"""Types whose values or lengths have no end of their own; integers have 64 bits."""


class Place:
    """Where a property stands: in an event (or among the traits), perhaps inside objects."""

    def __init__(self, subject: Subject, event: str | None, columns: Mapping[str, str]) -> None:
        self.subject = subject
        self.event = event
        self.columns = columns
        """The columns of the whole old plan: a property that is new in this event may have one already."""

    def differs(self, kind: DifferenceKind, name: str, message: str) -> Difference:
        """A difference of the property `name` that stands here."""
        who = "the trait " if self.subject == "trait" else ""
        return difference(kind, self.subject, who + message, self.event, name)


def property_differences(
    old: Mapping[str, Property], new: Mapping[str, Property], place: Place, prefix: str = ""
) -> Iterator[Difference]:
    """All differences, in the order of the new properties, then those that are gone."""
    for name, prop in new.items():
        label = prefix + name
        if name in old:
            yield from _property(old[name], prop, place, label)
        elif not prefix and (clash := column_clash(name, prop, place)) is not None:
            yield clash
        elif prop.required:
            allowed = " (null is allowed)" if prop.nullable else ""
            yield place.differs(
                DifferenceKind.REQUIRED_PROPERTY_ADDED, label, f"`{label}` is new and required{allowed}"
            )
        else:
            default = "" if prop.default is None else f"; stored as {_shown(prop.default)} where it is left out"
            message = f"`{label}` is new: {_type_name(prop)}, optional{default}"
            yield place.differs(DifferenceKind.PROPERTY_ADDED, label, message)
    for name in old:
        if name not in new:
            yield place.differs(DifferenceKind.PROPERTY_REMOVED, prefix + name, f"`{prefix}{name}` is gone")


def column_clash(name: str, prop: Property, place: Place) -> Difference | None:
    """The difference, where a property that is new here has had a column of another type elsewhere in the old plan."""
    present, wanted = place.columns.get(name), column_type(prop)
    if present is None or merge(present, wanted) is not None:
        return None
    message = f"`{name}` is new here with the type {wanted}, and has been {present} in other events"
    return place.differs(DifferenceKind.TYPE_CHANGED, name, message)


def _property(old: Property, new: Property, place: Place, label: str, *, is_item: bool = False) -> Iterator[Difference]:
    """One property that is in both. `is_item`: what a list holds, which cannot be left out."""
    if old.type != new.type:
        if column_type(old) != column_type(new):
            message = f"`{label}` is {_type_name(new)}, was {_type_name(old)}"
            yield place.differs(DifferenceKind.TYPE_CHANGED, label, message)
            return
        yield from _text_or_uuid(new, place, label)
    yield from _presence(old, new, place, label, is_item=is_item)
    if new.type != "uuid":  # which has no constraints, so what a text had before is not loosened
        yield from _values(old, new, place, label)
    if old.items is not None and new.items is not None:
        if old.items.type == new.items.type == "object":
            yield from property_differences(old.items.fields, new.items.fields, place, f"{label}.")
        else:
            yield from _property(old.items, new.items, place, f"{label}[]", is_item=True)
    if old.type == new.type == "object":
        yield from property_differences(old.fields, new.fields, place, f"{label}.")
    if not is_item:
        yield from _meaning(old, new, place, label)


def _text_or_uuid(new: Property, place: Place, label: str) -> Iterator[Difference]:
    """The two types that share a column type."""
    if new.type == "uuid":
        yield place.differs(DifferenceKind.TYPE_TIGHTENED, label, f"`{label}` is a uuid, was any string")
    else:
        message = f"`{label}` is any string, was a uuid; what is sent is stored as it is spelled from now on"
        yield place.differs(DifferenceKind.TYPE_LOOSENED, label, message)


def _presence(old: Property, new: Property, place: Place, label: str, *, is_item: bool) -> Iterator[Difference]:
    """What may stand in the place of a value: nothing, null; and what is stored then."""
    absent_before, absent_now = not (old.required or is_item), not (new.required or is_item)
    null_before, null_now = absent_before or old.nullable, absent_now or new.nullable
    if absent_before and not absent_now:
        null_left = "; null is allowed" if null_now else ""
        yield place.differs(DifferenceKind.BECAME_REQUIRED, label, f"`{label}` is required{null_left}, was optional")
    elif absent_now and not absent_before:
        left_out = (
            "its column may be empty in new rows" if new.default is None else f"left out means {_shown(new.default)}"
        )
        message = f"`{label}` is optional, was required; {left_out}"
        yield place.differs(DifferenceKind.BECAME_OPTIONAL, label, message)
    elif null_before and not null_now:
        yield place.differs(DifferenceKind.NULL_REFUSED, label, f"`{label}` may not be null any more")
    elif null_now and not null_before:
        message = f"`{label}` may be null; its column may be empty in new rows"
        yield place.differs(DifferenceKind.NULL_ALLOWED, label, message)
    if absent_before and absent_now:
        yield from _default(old, new, place, label)


def _default(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    """What is stored where an optional property is left out, or is null and null is not a value of its own."""
    before, now = _shown(old.default), _shown(new.default)
    if old.default == new.default:
        if old.default is None or old.nullable == new.nullable:
            return
        if old.nullable:
            message = f"`{label}`: null is stored as the default {now}, was stored as null"
            yield place.differs(DifferenceKind.DEFAULT_ADDED, label, message)
        else:
            message = f"`{label}`: null is stored as null, was stored as the default {before}"
            yield place.differs(DifferenceKind.DEFAULT_REMOVED, label, message)
    elif old.default is None:
        message = f"`{label}` has the default {now}: stored where it is left out, which was stored as null"
        yield place.differs(DifferenceKind.DEFAULT_ADDED, label, message)
    elif new.default is None:
        yield place.differs(DifferenceKind.DEFAULT_REMOVED, label, f"`{label}` has lost its default {before}")
    else:
        yield place.differs(DifferenceKind.DEFAULT_CHANGED, label, f"`{label}` has the default {now}, was {before}")


def _values(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    """Which values are taken."""
    if old.enum:
        yield from _from_enum(old, new, place, label)
    elif new.enum:
        yield from _to_enum(old, new, place, label)
    else:
        yield from _bounds(old, new, place, label)
        yield from _texts(old, new, place, label)


def _from_enum(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    """The old values are few, so each is tried."""
    refused = _refused(old.enum, new)
    if refused:
        message = f"`{label}` may not be {_listed(refused)} any more"
        yield place.differs(DifferenceKind.ENUM_VALUE_REMOVED, label, message)
    if not new.enum:
        if not refused:
            yield place.differs(
                DifferenceKind.ENUM_DROPPED, label, f"`{label}` is no longer limited to a list of values"
            )
        return
    added = tuple(value for value in new.enum if value not in old.enum)
    if added:
        yield place.differs(DifferenceKind.ENUM_VALUE_ADDED, label, f"`{label}` may also be {_listed(added)}")


def _to_enum(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    """A range of integers may be covered by a list of them; texts without end are not."""
    low, high = old.minimum, old.maximum
    if old.type == "integer" and low is not None and high is not None and high - low < len(new.enum):
        span = range(int(low), int(high) + 1)
        if set(span) <= set(new.enum):
            if len(span) < len(new.enum):
                message = f"`{label}` may be {_listed(new.enum)}, was from {low} to {high}"
                yield place.differs(DifferenceKind.CONSTRAINT_LOOSENED, label, message)
            return
    yield place.differs(DifferenceKind.ENUM_INTRODUCED, label, f"`{label}` may only be {_listed(new.enum)}")


def _bounds(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    low, high = (-math.inf, math.inf) if new.type in _ENDLESS else (INT64_MIN, INT64_MAX)
    for constraint, nothing, sign in (
        ("minimum", low, 1),
        ("maximum", high, -1),
        ("min_length", 0, 1),
        ("max_length", math.inf, -1),
    ):
        before, now = getattr(old, constraint), getattr(new, constraint)
        step = sign * _order(nothing if now is None else now, nothing if before is None else before)
        if step:
            kind = DifferenceKind.CONSTRAINT_TIGHTENED if step > 0 else DifferenceKind.CONSTRAINT_LOOSENED
            broken = _broken_example(old, new) if step > 0 else ""
            yield place.differs(kind, label, f"`{label}` has {_constraint(constraint, before, now)}{broken}")


def _texts(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    """Patterns and formats: which texts fit one regular expression and not another cannot be decided."""
    for constraint in ("pattern", "format"):
        before, now = getattr(old, constraint), getattr(new, constraint)
        if before == now:
            continue
        if now is None:
            kind = DifferenceKind.CONSTRAINT_LOOSENED
        else:
            kind = DifferenceKind.CONSTRAINT_TIGHTENED if before is None else DifferenceKind.CONSTRAINT_REPLACED
        broken = "" if now is None else _broken_example(old, new)
        yield place.differs(kind, label, f"`{label}` has {_constraint(constraint, before, now)}{broken}")


def _meaning(old: Property, new: Property, place: Place, label: str) -> Iterator[Difference]:
    """What senders do not notice."""
    if old.privacy != new.privacy:
        stricter = _PRIVACY_CLASSES.index(new.privacy) > _PRIVACY_CLASSES.index(old.privacy)
        kind = DifferenceKind.PRIVACY_STRICTER if stricter else DifferenceKind.PRIVACY_LOOSER
        follows = (
            "new events are stored as `privacy` in plan.yaml says of this class; what is stored already stays as it is"
            if stricter
            else "new events are stored as `privacy` in plan.yaml says of this class; what was not kept stays away"
        )
        yield place.differs(kind, label, f"`{label}` is {new.privacy}, was {old.privacy}: {follows}")
    for key, word in (("description", "another description"), ("examples", "other examples")):
        if getattr(old, key) != getattr(new, key):
            yield place.differs(DifferenceKind.WORDING_CHANGED, label, f"`{label}` has {word}")


def _refused(values: tuple[Any, ...], prop: Property) -> tuple[Any, ...]:
    """Those of `values` that the collector would refuse for `prop`."""
    check = build_checker({prop.name: prop}, "$")
    return tuple(value for value in values if isinstance(check(msgspec.json.encode({prop.name: value})), Problem))


def _broken_example(old: Property, new: Property) -> str:
    """An example of the old plan that does not fit any more: a witness where nobody can decide."""
    refused = _refused(old.examples[:20], replace(new, enum=()))
    return f"; the example {_shown(refused[0])} does not fit any more" if refused else ""


def _constraint(constraint: str, before: Any, now: Any) -> str:
    if now is None:
        return f"no {constraint}, was {_shown(before)}"
    return f"{constraint} {_shown(now)}, was {'without' if before is None else _shown(before)}"


def _order(one: float, other: float) -> int:
    return (one > other) - (one < other)


def _type_name(prop: Property) -> str:
    return f"array of {prop.items.type}" if prop.items is not None else prop.type


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(_shown(value) for value in values)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
