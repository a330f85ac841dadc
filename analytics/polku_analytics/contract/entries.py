"""One entry of a drafted dictionary: type, format, enum, privacy class and examples, from the values that came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polku_analytics.contract.privacy import example_of, guess_privacy
from polku_analytics.contract.profile import Family, Profile
from polku_analytics.contract.shapes import SHAPES
from polku_schemas.amounts import counted
from polku_schemas.check import build_checker
from polku_schemas.model import Privacy, Property, StringFormat
from polku_schemas.problems import Problem

UNDESCRIBED: Final = "Not described yet."

ENUM_FROM: Final = 100
"""So many texts make an enum possible …"""
ENUM_VALUES: Final = 12
"""… if there are at most so many different ones …"""
ENUM_EACH: Final = 10
"""… and each came so often: a list that is not complete refuses good events."""
_ENUM_LENGTH: Final = 50

_SHAPED_TYPES: Final = ("date-time", "date", "uuid")

_FAMILIES: Final[Mapping[str, Family]] = {
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "object": "object",
}
_LISTS: Final[Mapping[Family, Family]] = {
    "text": "list of texts",
    "number": "list of numbers",
    "boolean": "list of booleans",
    "object": "list of objects",
}


class Entry(Struct, frozen=True):
    """A property or trait that a draft adds to a dictionary."""

    prop: Property
    comment: str
    """What was seen."""
    reason: str
    """Why it has its privacy class."""
    is_borrowed: bool
    """Whether description and privacy class are those of the built-in plan's property of this name."""


def draft_entry(
    name: str,
    family: Family,
    profile: Profile,
    fields: dict[str, Property],
    *,
    events: int,
    like: Property | None,
    builtin: Property | None,
    is_trait: bool,
) -> Entry:
    """The entry for values of one family, seen in so many events.

    `like` gives the type where another entry of the name has decided it.
    """
    guess = guess_privacy(name, profile, is_trait=is_trait)
    prop = Property(name=name, type="string", description=UNDESCRIBED, privacy=guess.privacy)
    if like is not None:
        prop = replace(prop, type=like.type, format=like.format, items=like.items, fields=like.fields)
    elif family == "object":
        prop = replace(prop, type="object", fields=fields)
    elif family == "list of objects":
        prop = replace(prop, type="array", items=replace(prop, type="object", fields=fields))
    elif family in _LISTS.values() or family == "empty list":
        prop = replace(prop, type="array", items=_scalar(prop, profile.items or Profile()))
    else:
        prop = _scalar(prop, profile)
    is_borrowed = builtin is not None and _same_type(builtin, prop)
    reason = guess.reason
    if builtin is not None and is_borrowed:
        prop = replace(prop, description=builtin.description, privacy=builtin.privacy)
        reason = "the built-in plan"
    if like is None and _is_enum(prop, profile):
        prop = replace(prop, enum=tuple(sorted(map(str, profile.distinct))))
    prop = replace(prop, examples=_examples(prop, profile))
    return Entry(prop, _comment(profile, events, prop.privacy), reason, is_borrowed)


def family_of(prop: Property) -> Family:
    """The family of the values that a property takes."""
    if prop.items is not None:
        return _LISTS[family_of(prop.items)]
    return _FAMILIES.get(prop.type, "text")


def fits(profile: Profile, prop: Property) -> bool:
    """Whether the values have the type of a property; its constraints are not asked."""
    if profile.family == "empty list":
        return prop.type == "array"
    if profile.family != family_of(prop):
        return False
    held, inner = (profile, prop) if prop.items is None else (profile.items or Profile(), prop.items)
    if inner.type == "integer":
        return held.is_integral
    return inner.type not in _SHAPED_TYPES or inner.type in (held.shapes or ())


def type_in_words(profile: Profile) -> str:
    """The type that values of one name would be given: `date`, `array of string`."""
    family = profile.family
    if family in (None, "other"):
        return "none that fits"
    if family == "object":
        return "object"
    if family == "list of objects":
        return "array of object"
    blank = Property(name="", type="string", description="")
    if family.startswith("list") or family == "empty list":
        return f"array of {_scalar(blank, profile.items or Profile()).type}"
    return _scalar(blank, profile).type


def valid_value(prop: Property, *candidates: Any) -> Any:
    """The first of some values that the property takes; None where it takes none of them."""
    check = build_checker({prop.name: replace(prop, required=True)}, "$")
    for candidate in candidates:
        if candidate is None:
            continue
        checked = check(msgspec.json.encode({prop.name: candidate}))
        if not isinstance(checked, Problem) and not checked.unplanned:
            return candidate
    return None


def _comment(profile: Profile, events: int, privacy: Privacy) -> str:
    """What was seen: how many values, how many different ones, from where to where; of persons, no value."""
    where = f" in {events} events" if events > 1 else ""
    parts = [f"{counted(profile.values, 'value')}{where}"]
    held, family = (profile, profile.family) if profile.items is None else (profile.items, profile.items.family)
    if held.distinct:
        parts.append(
            f"more than {len(held.distinct):,} different" if held.many else f"{len(held.distinct):,} different"
        )
    if family == "number" and privacy == "none":
        parts.append(f"{held.low:g} to {held.high:g}" if held.low != held.high else f"always {held.low:g}")
    is_text, is_list = profile.family == "text", "list" in (profile.family or "")
    if profile.shortest is not None and (is_text or is_list):  # a few texts among numbers have a length too
        unit = "characters" if is_text else "items"
        span = f"{profile.shortest} to {profile.longest}" if profile.shortest != profile.longest else profile.longest
        parts.append(f"{span} {unit}")
    if is_text and profile.distinct and all(map(_is_number, profile.distinct)):
        parts.append("numbers written as text")
    return ", ".join(parts)


def _scalar(prop: Property, profile: Profile) -> Property:
    family = profile.family
    if family == "number":
        return replace(prop, type="integer" if profile.is_whole else "number")
    if family == "boolean":
        return replace(prop, type="boolean")
    for shape in _SHAPED_TYPES:
        if shape in (profile.shapes or ()):
            return replace(prop, type=shape)
    found = next((shape for shape in SHAPES if shape in (profile.shapes or ())), None)
    return replace(prop, format=cast("StringFormat | None", found))


def _is_enum(prop: Property, profile: Profile) -> bool:
    """Whether the few texts that came are probably all there are."""
    return (
        (prop.type, prop.format) == ("string", None)
        and prop.privacy in ("none", "pseudonymous")
        and not profile.many
        and profile.values >= ENUM_FROM
        and 2 <= len(profile.distinct) <= ENUM_VALUES
        and min(profile.distinct.values()) >= ENUM_EACH
        and all(isinstance(text, str) and 0 < len(text) <= _ENUM_LENGTH for text in profile.distinct)
    )


def _examples(prop: Property, profile: Profile) -> tuple[Any, ...]:
    """The most frequent value, with what is personal masked; none for lists, objects, booleans and enums."""
    if prop.enum or prop.type in ("array", "object", "boolean"):
        return ()
    often = sorted(profile.distinct.items(), key=lambda item: (-item[1], str(item[0])))[:3]
    found = valid_value(prop, *(example_of(value, prop, profile) for value, _ in often))
    return () if found is None else (found,)


def _same_type(one: Property, other: Property) -> bool:
    if one.items is not None and other.items is not None:
        return one.items.type == other.items.type
    return one.type == other.type


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
